"""Answers of a trained model to the test split, for people and for leaderboards."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from berth_trainer.ablations import Ablation
from berth_trainer.data.dataset import PersonaDataset
from berth_trainer.data.encode import Encoder
from berth_trainer.data.load import Material, make_dataset
from berth_trainer.data.samples import open_questions
from berth_trainer.hardware import look
from berth_trainer.model_loading import fit_to_model, load_config, load_model, load_tokenizer
from berth_trainer.prompts import WORDINGS
from berth_trainer.ranks import Ranks, meet, say
from berth_trainer.settings import PredictSettings, Settings

PREDICTIONS = "predictions.jsonl"


def predict(
    *,
    settings: Settings,
    ablation: Ablation,
    ranks: Ranks,
    material: Material,
    model: Path,
    output_dir: Path,
) -> Path:
    """
    Write `predictions.jsonl`: a line for each test sample, in their order.

    The ranks share the samples and each holds the whole model, so it must fit on one GPU.
    Where the data hold the answer back, `reference` is null.
    """
    import torch
    from torch import distributed

    hardware = look(settings, os.environ)
    config = load_config(str(model))
    tokenizer = load_tokenizer(str(model))
    length = fit_to_model(settings, config, tokenizer)
    encoder = Encoder(tokenizer, WORDINGS[material.language], length)
    dataset = _questions(settings, ablation, material, encoder)
    if ranks.world_size > 1:
        distributed.init_process_group("gloo")  # results alone travel, and those are text
    device = f"cuda:{ranks.local_rank}" if hardware.cuda else "cpu"
    answerer = _Answerer(load_model(str(model), config, hardware), tokenizer, encoder, device)
    mine = list(range(ranks.rank, len(dataset), ranks.world_size))
    with torch.inference_mode():
        answers = dict(answerer.answers(dataset, mine, settings.predict))
    path = output_dir / PREDICTIONS
    gathered: list[dict[int, str]] = [answers]
    if ranks.world_size > 1:
        gathered = [{} for _ in range(ranks.world_size)]
        distributed.all_gather_object(gathered, answers)
    if ranks.first:
        every = {index: text for share in gathered for index, text in share.items()}
        _write(path, dataset, every)
    say(f"{len(dataset):,} answers are in {path}")
    if ranks.world_size > 1:
        meet()  # a rank that leaves while another still talks to it ends in an abort
        distributed.destroy_process_group()
    return path


class _Answerer:
    def __init__(self, model: Any, tokenizer: Any, encoder: Encoder, device: str) -> None:
        self._model = model.to(device).eval()
        self._model.config.use_cache = True
        self._tokenizer = tokenizer
        self._encoder = encoder
        self._device = device
        ends = {tokenizer.eos_token_id, encoder.end_of_turn()}
        self._ends = sorted(end for end in ends if end is not None)

    def answers(
        self, dataset: PersonaDataset, indices: Sequence[int], settings: PredictSettings
    ) -> Iterator[tuple[int, str]]:
        """Pairs of index and answer, a batch at a time."""
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


def _questions(
    settings: Settings, ablation: Ablation, material: Material, encoder: Encoder
) -> PersonaDataset:
    """The test samples, up to the usual limit, and every question whose answer is held back."""
    held = material.splits.test
    dataset = make_dataset(
        material,
        held,
        settings=settings,
        ablation=ablation,
        encoder=encoder,
        limit=settings.data.max_eval_samples,
    )
    return replace(dataset, more=open_questions(held))


def _write(path: Path, dataset: PersonaDataset, answers: dict[int, str]) -> None:
    """Whole or not at all: a leaderboard file cut short would pass for a complete one."""
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
