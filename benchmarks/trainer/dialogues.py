"""Real dialogues as token ids, encoded once and kept in a file that travels to the GPU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from berth_trainer.data.tokens import TokenDataset

ABLATION = "profile_and_history_and_context"


def prepare(data: Path, out: Path, *, max_length: int, count: int) -> None:
    """
    Encode `count` samples of the corpus at `data` (RealPersonaChat's format) into `out`.

    The tokenizer is made from the dialogues themselves: which ids come out changes nothing that
    is measured here.
    """
    import numpy as np

    from berth_trainer.config.config_file import settings_from
    from berth_trainer.data import prompt_variants
    from berth_trainer.data.encode import Encoder
    from berth_trainer.data.load import load_material, make_dataset
    from berth_trainer.data.prompts import WORDINGS

    document = {"model": {"path": "none"}, "data": {"train_path": str(data.absolute())}}
    settings = settings_from(document, source=Path("benchmark.json"))
    material = load_material(settings)
    dataset = make_dataset(
        material,
        material.splits.train,
        settings=settings,
        variant=prompt_variants.choose(ABLATION, {}),
        encoder=Encoder(_tokenizer(data), WORDINGS[material.language], max_length),
        limit=count,
    )
    encoded = [dataset[index] for index in range(len(dataset))]
    out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        out,
        ids=np.concatenate([np.array(one["input_ids"], dtype=np.int32) for one in encoded]),
        lengths=np.array([len(one["input_ids"]) for one in encoded], dtype=np.int32),
        prompts=np.array([one["labels"].count(-100) for one in encoded], dtype=np.int32),
    )


def load(path: Path) -> TokenDataset:
    """Return what `prepare` wrote, as the trainer's samples."""
    import numpy as np

    from berth_trainer.data.tokens import TokenDataset

    with np.load(path) as held:
        ids, lengths, prompts = (held[name] for name in ("ids", "lengths", "prompts"))
    begins = np.cumsum(lengths) - lengths
    return TokenDataset(tokens=ids, begins=begins, lengths=lengths, answers=lengths - prompts)


def _tokenizer(data: Path) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    from berth_trainer.demo.model import CHAT_TEMPLATE, SPECIAL

    texts = [path.read_text("utf-8") for path in sorted((data / "dialogues").glob("*.json"))]
    bare = Tokenizer(models.BPE())
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bare.decoder = decoders.ByteLevel()
    bare.train_from_iterator(
        (said["text"] for text in texts for said in json.loads(text)["utterances"]),
        trainers.BpeTrainer(
            vocab_size=16_000,
            special_tokens=SPECIAL,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bare,
        pad_token="<pad>",
        eos_token="<eos>",
        bos_token="<bos>",
        additional_special_tokens=SPECIAL[3:],
        chat_template=CHAT_TEMPLATE,
    )
