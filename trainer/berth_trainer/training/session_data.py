"""Encoded splits of a run, and the packed rows of the training split."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np

from berth_trainer.config.environment import usable_cores
from berth_trainer.config.settings import Settings
from berth_trainer.data.dataset import PersonaDataset
from berth_trainer.data.encode import IGNORED, PARTS, Encoder
from berth_trainer.data.load import Material, make_dataset
from berth_trainer.data.packing import PackedDataset, measure, pack
from berth_trainer.data.places import place_of
from berth_trainer.data.prompt_variants import PromptVariant
from berth_trainer.data.records import Dialogue
from berth_trainer.data.store import as_ints
from berth_trainer.data.tokens import TokenDataset, cached
from berth_trainer.errors import UserError
from berth_trainer.model import chunked_loss
from berth_trainer.training.ranks import Ranks, log0, warn

Encoded = PersonaDataset | TokenDataset
_CLOSING = 4  # tokens that a mark and the line break behind it may take
_PROBED = 64  # samples that stand for all where they are encoded on access


@dataclass(frozen=True, slots=True)
class Data:
    """The three splits, from the cache or encoded on access."""

    train: Encoded
    validation: Encoded
    test: Encoded


def prepare_data(
    material: Material, settings: Settings, variant: PromptVariant, encoder: Encoder
) -> Data:
    """Return the splits with one prompt variant; encode what the cache lacks."""
    limits, splits = settings.data, material.splits

    def dataset(
        name: str, dialogues: Sequence[Dialogue], limit: int, encoder: Encoder = encoder
    ) -> Encoded:
        made = make_dataset(
            material,
            dialogues,
            settings=settings,
            variant=variant,
            encoder=encoder,
            limit=limit,
        )
        if material.cache is None:
            warn_of_spelled_tokens(settings, made, made, name)
            return made
        found = cached(
            made,
            material.cache,
            tokenizer=encoder.tokenizer,
            recipe=[encoder.max_length, encoder.closing, astuple(encoder.wording)],
            processes=usable_cores(),
        )
        warn_of_spelled_tokens(settings, found, made, name)
        return found

    train = dataset("training", splits.train, limits.max_train_samples, encoder.for_training())
    log_shortened(train, encoder.max_length)
    check_labels(train, encoder.max_length)
    warn_of_cut_answers(train, encoder)
    return Data(
        train=train,
        validation=dataset("validation", splits.validation, limits.max_eval_samples),
        test=dataset("test", splits.test, limits.max_eval_samples),
    )


def log_shortened(samples: Encoded, length: int) -> None:
    """Log how many samples were shortened: then prompt variants differ less than their names say."""
    if not isinstance(samples, TokenDataset) or samples.shortened is None:
        return
    cut = int(samples.shortened.sum())
    if cut:
        lost = ", ".join(f"{share:.0%} of the {part}" for part, share in _lost(samples))
        how = f" ({lost}, in characters of all samples)" if lost else ""
        log0(
            f"{cut:,} of {len(samples):,} training samples are longer than training.max_length "
            f"{length}: parts that do not fit are left out{how}."
        )


def shortened(samples: Encoded) -> dict[str, Any] | None:
    """Return the share of samples that left something out, and how much of each part all lack."""
    if not isinstance(samples, TokenDataset) or samples.shortened is None:
        return None
    share = float(samples.shortened.mean())
    if not share:
        return None
    return {"samples": round(share, 4), "left_out": {k: round(v, 4) for k, v in _lost(samples)}}


def _lost(samples: TokenDataset) -> list[tuple[str, float]]:
    """Return the share of each part's characters that is left out, of all samples together."""
    if samples.parts is None:
        return []
    sizes = zip(PARTS, samples.parts.tolist(), strict=True)
    return [(part, 1 - kept / whole) for part, (kept, whole) in sizes if whole]


def warn_of_spelled_tokens(
    settings: Settings, samples: Encoded, made: PersonaDataset, name: str
) -> None:
    """Warn once of texts that spell the tokenizer's control tokens, with the first's file and place."""
    control = made.encoder.control
    if isinstance(samples, TokenDataset) and samples.spelled is not None:
        held = as_ints(np.flatnonzero(samples.spelled))
    else:
        held = [i for i in range(len(made)) if any(map(control.spells, _texts(made, i).values()))]
    if not held:
        return
    sample, texts = made.sample(held[0]), _texts(made, held[0])
    part = next((part for part, text in texts.items() if control.spells(text)), "prompt")
    warn(
        f"{len(held):,} of {len(samples):,} {name} samples hold text that spells a control token "
        f"of the model, {control.example(texts.get(part, ''))}: it is read as plain text. The "
        f"first, in its {part}: {place_of(settings, name, sample, part)}."
    )


def _texts(made: PersonaDataset, index: int) -> dict[str, str]:
    """Return what a sample says, by part."""
    parts = made.parts(index)
    return {
        "words": made.sample(index).target.text,
        "context": "\n".join(said.text for said in parts.context),
        "history": "\n".join(parts.history),
        "profile": "\n".join(parts.profile),
    }


def check_labels(samples: Encoded, length: int) -> None:
    """
    Warn of samples whose answer was cut off. Raises UserError where that is all of them.

    Without a cache a few samples stand for all.
    """
    if isinstance(samples, TokenDataset):
        learned = [int(count) for count in samples.answers]
    else:
        places = range(0, len(samples), max(1, len(samples) // _PROBED))
        labels = (samples[place]["labels"] for place in places)
        learned = [sum(label != IGNORED for label in one) for one in labels]
    empty = sum(1 for count in learned if not count)
    if learned and empty == len(learned):
        raise UserError(
            f"no training sample has a token to learn within training.max_length {length}: raise "
            "it, or check the chat template of the model."
        )
    if empty:
        warn(
            f"{empty:,} of {len(learned):,} training samples have no token to learn within "
            f"training.max_length {length}; raise it."
        )


def warn_of_cut_answers(samples: Encoded, encoder: Encoder) -> None:
    """Warn of answers that lost their end: of those the model never learns to end its turn."""
    end = encoder.end_of_turn()
    if not isinstance(samples, TokenDataset) or end is None:
        return
    longest = as_ints(np.flatnonzero(samples.answers == encoder.longest_answer))
    cut = sum(end not in samples[index]["labels"][-_CLOSING:] for index in longest)
    if cut:
        warn(
            f"{cut:,} of {len(samples):,} training samples have an answer of more than half of "
            f"training.max_length {encoder.max_length}: its end and the mark that ends it are cut "
            "off and not learned; raise it."
        )


def packed_rows(samples: Encoded, model: Any, budget: int, ranks: Ranks) -> PackedDataset:
    """Return rows of `budget` tokens. Raises UserError for a model that might mix up samples."""
    if not chunked_loss.is_able(model):
        raise UserError(
            f"training.pack_tokens is not known to keep samples apart in {type(model).__name__}; "
            "set it to 0."
        )
    lengths = (
        as_ints(samples.lengths)
        if isinstance(samples, TokenDataset)
        else measure(samples, rank=ranks.rank, world_size=ranks.world_size)
    )
    rows = pack(lengths, budget)
    fill = sum(lengths) / (len(rows) * budget)
    log0(f"{len(samples):,} samples in {len(rows):,} rows of {budget:,} tokens, {fill:.1%} full.")
    return PackedDataset(samples, rows)


def max_label_tokens(samples: Encoded, packed: PackedDataset | None, batch_size: int) -> int | None:
    """
    Return the most label tokens in one micro-batch.

    None where the samples are encoded only when they are asked for.
    """
    if not isinstance(samples, TokenDataset):
        return None
    if packed is None:
        return batch_size * int(samples.answers.max())
    return max(int(samples.answers[list(row)].sum()) for row in packed.rows)
