"""Predictions: the answers of a trained model to the test split, and their metrics."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from berth_trainer.checkpoint.atomic_file import write_json
from berth_trainer.config.settings import PredictSettings, Settings
from berth_trainer.data.collate import Collate
from berth_trainer.data.dataset import PersonaDataset
from berth_trainer.data.encode import Encoder
from berth_trainer.data.load import Material, make_dataset
from berth_trainer.data.prompt_variants import PromptVariant
from berth_trainer.data.prompts import WORDINGS
from berth_trainer.data.samples import open_questions
from berth_trainer.model import chunked_loss
from berth_trainer.model.hardware import detect_hardware
from berth_trainer.model.loading import fit_to_model, load_config, load_model, load_tokenizer
from berth_trainer.training import text_metrics
from berth_trainer.training.evaluation import evaluate
from berth_trainer.training.metrics import MetricsFile
from berth_trainer.training.ranks import Ranks, barrier, log0
from berth_trainer.training.session_data import warn_of_spelled_tokens

PREDICTIONS = "predictions.jsonl"
METRICS = "predictions_metrics.json"


def predict(
    *,
    settings: Settings,
    variant: PromptVariant,
    ranks: Ranks,
    material: Material,
    model: Path,
    output_dir: Path,
) -> Path:
    """
    Write `predictions.jsonl`, one line per test sample in order, and the metrics of the answers
    in `predictions_metrics.json` and `metrics.jsonl`.

    The ranks share the samples and each holds the whole model, so it must fit on one GPU.
    Where the data withhold the answer, `reference` is null.
    """
    from torch import distributed

    hardware = detect_hardware(settings, os.environ)
    config = load_config(str(model))
    tokenizer = load_tokenizer(str(model))
    length = fit_to_model(settings, config, tokenizer)
    encoder = Encoder(tokenizer, WORDINGS[material.language], length)
    dataset = _questions(settings, variant, material, encoder)
    warn_of_spelled_tokens(settings, dataset, dataset, "test")
    if ranks.world_size > 1:
        distributed.init_process_group("gloo")  # only results are exchanged, and those are text
    device = f"cuda:{ranks.local_rank}" if hardware.cuda else "cpu"
    loaded = load_model(str(model), config, hardware)
    if settings.training.loss_chunk and chunked_loss.is_able(loaded):
        chunked_loss.install(loaded, settings.training.loss_chunk)
    generator = _Generator(loaded, tokenizer, encoder, device)
    answers = _all_answers(generator, dataset, settings.predict, ranks, seed=settings.training.seed)
    known = [index for index in range(len(dataset)) if dataset.sample(index).target.text]
    judged = evaluate(
        loaded,
        [dataset[index] for index in known],
        collate=Collate(tokenizer.pad_token_id, length),
        batch_size=settings.training.eval_batch_size or settings.training.batch_size,
        device=device,
    )
    path = output_dir / PREDICTIONS
    if ranks.is_main:
        _write(path, dataset, answers)
        found = text_metrics.measure(
            [answers[index] for index in known],
            [dataset.sample(index).target.text for index in known],
            material.language,
        )
        if known:
            found |= {"test_loss": judged.loss, "test_perplexity": judged.perplexity}
        _report(found, variant, output_dir, count=len(known))
    log0(f"{len(dataset):,} answers are in {path}")
    if ranks.world_size > 1:
        barrier()  # a rank that exits while another still talks to it ends in an abort
        distributed.destroy_process_group()
    return path


def _all_answers(
    generator: "_Generator",
    dataset: PersonaDataset,
    settings: PredictSettings,
    ranks: Ranks,
    *,
    seed: int,
) -> dict[int, str]:
    """Return the answer to each sample; the ranks share the work. A collective."""
    import torch
    from torch import distributed

    torch.manual_seed(seed + ranks.rank)  # for a temperature; ranks must not draw the same
    mine = list(range(ranks.rank, len(dataset), ranks.world_size))
    with torch.inference_mode():
        answers = dict(generator.answers(dataset, mine, settings))
    if ranks.world_size == 1:
        return answers
    gathered: list[dict[int, str]] = [{} for _ in range(ranks.world_size)]
    distributed.all_gather_object(gathered, answers)
    return {index: text for share in gathered for index, text in share.items()}


class _Generator:
    def __init__(self, model: Any, tokenizer: Any, encoder: Encoder, device: str) -> None:
        from transformers import GenerationConfig

        self._model = model.to(device).eval()
        self._model.config.use_cache = True
        # The model's own would add penalties, bans and lengths that nobody asked for here.
        self._model.generation_config = GenerationConfig(use_cache=True)
        self._tokenizer = tokenizer
        self._encoder = encoder
        self._device = device
        ends = {tokenizer.eos_token_id, encoder.end_of_turn()}
        self._ends = sorted(end for end in ends if end is not None)

    def answers(
        self, dataset: PersonaDataset, indices: Sequence[int], settings: PredictSettings
    ) -> Iterator[tuple[int, str]]:
        """Yield pairs of index and answer, a batch at a time."""
        for start in range(0, len(indices), settings.batch_size):
            batch = indices[start : start + settings.batch_size]
            prompts = [
                self._encoder.encode_prompt(dataset.parts(i), leaving=settings.max_new_tokens)
                for i in batch
            ]
            yield from zip(batch, self._complete(prompts, settings), strict=True)

    def _complete(self, prompts: list[list[int]], settings: PredictSettings) -> list[str]:
        import torch

        pad = self._tokenizer.pad_token_id
        width = max(map(len, prompts))
        ids = [[pad] * (width - len(prompt)) + prompt for prompt in prompts]
        mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
        sampling = settings.temperature > 0
        out = self._model.generate(
            input_ids=torch.tensor(ids, device=self._device),
            attention_mask=torch.tensor(mask, device=self._device),
            max_new_tokens=settings.max_new_tokens,
            do_sample=sampling,
            temperature=settings.temperature if sampling else None,
            top_p=None,
            top_k=None,
            eos_token_id=self._ends or None,
            pad_token_id=pad,
        )
        texts: list[str] = self._tokenizer.batch_decode(out[:, width:], skip_special_tokens=True)
        return [text.strip() for text in texts]


def _report(
    found: dict[str, float], variant: PromptVariant, output_dir: Path, *, count: int
) -> None:
    """Print the metrics as a table, and write them where runs are compared."""
    facts = {"ablation": variant.key, "answers": count, **found}
    write_json(output_dir / METRICS, facts)
    if not found:
        log0("The test split withholds every answer: there is nothing to compare with.")
        return
    log0(f"{variant.name}: {count:,} answers against what was said")
    for name, value in found.items():
        log0(f"  {name:<17}{value:>10.4f}")
    run_dir = os.environ.get("BERTH_RUN_DIR")
    folders = [output_dir, *([Path(run_dir)] if run_dir else [])]
    MetricsFile(folders).write(_steps(output_dir), found)


def _steps(output_dir: Path) -> int:
    """Return the steps of training: the point of the curve where the metrics belong."""
    try:
        return int(json.loads((output_dir / "results.json").read_text("utf-8"))["steps"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def _questions(
    settings: Settings, variant: PromptVariant, material: Material, encoder: Encoder
) -> PersonaDataset:
    """Return the test samples, up to the limit, and every question whose answer is withheld."""
    held = material.splits.test
    dataset = make_dataset(
        material,
        held,
        settings=settings,
        variant=variant,
        encoder=encoder,
        limit=settings.data.max_eval_samples,
    )
    return replace(dataset, more=open_questions(held))


def _write(path: Path, dataset: PersonaDataset, answers: dict[int, str]) -> None:
    """Write the file atomically: a leaderboard file cut short would pass for a complete one."""
    lines: list[str] = []
    for index in range(len(dataset)):
        sample = dataset.sample(index)
        line = {
            "dialogue": sample.dialogue.id,
            "turn": sample.index,
            "person": sample.target.speaker,
            "answered": sample.context[-1].text,
            "prediction": answers[index],
            "reference": sample.target.text or None,
        }
        lines.append(json.dumps(line, ensure_ascii=False))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    temporary.replace(path)
