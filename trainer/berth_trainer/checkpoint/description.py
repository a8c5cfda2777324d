"""Description of a run: what a later run is compared with before it resumes."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path
from typing import Any

from berth_trainer.config.settings import Settings
from berth_trainer.data.load import Material
from berth_trainer.data.prompt_variants import BUILT_IN, PromptVariant

Description = Mapping[str, Any]
_SECTIONS = ("model", "data", "history", "training", "deepspeed", "lora")
_ELSEWHERE = ("data.cache_folder", "data.cache_gib")  # no run differs by them
_SAMPLED, _BLOCK = 16, 1 << 16
_PLACES = frozenset({"data.train_path", "data.test_path", "model.path"})  # digests tell more


def describe(
    settings: Settings, variant: PromptVariant, material: Material, model: str, *, max_steps: int
) -> dict[str, Any]:
    """
    Return what the config file and the flags ask for, by key.

    Before the memory plan and the out-of-memory ladder: what those decide is not the user's will.
    """
    found: dict[str, Any] = {
        "ablation": _ablation(variant),
        "model": model_digest(model),
        "data": data_digest(material),
        "data.language": material.language,
    }
    for section in _SECTIONS:
        for key, value in asdict(getattr(settings, section)).items():
            found.setdefault(f"{section}.{key}", value)
    found["training.max_steps"] = max_steps
    return {key: value for key, value in found.items() if _counts(key, settings, variant)}


def _ablation(variant: PromptVariant) -> str:
    """Return the name, with the parts where they are not those that the name says."""
    built_in = BUILT_IN.get(variant.key)
    usual = built_in is not None and built_in.parts == variant.parts
    return variant.key if usual else f"{variant.key} ({', '.join(variant.parts)})"


def _counts(key: str, settings: Settings, variant: PromptVariant) -> bool:
    """Return whether a run with these settings depends on the key."""
    if key.startswith("lora."):
        return key == "lora.r" or settings.lora.r > 0
    if key.startswith("history."):
        lever = {"history.count": "fixed_count", "history.ratio": "fixed_ratio"}.get(key)
        return variant.use_history and lever in {None, settings.history.strategy}
    return key not in _ELSEWHERE


def data_digest(material: Material) -> str:
    """Return a digest of the words and profiles of the training and the test corpus."""
    splits, digest = material.splits, blake2b(digest_size=8)
    for dialogues in (splits.train, splits.test):
        store = getattr(dialogues, "store", None)
        digest.update(str(getattr(store, "digest", "")).encode())
    profiles = sorted((name, list(lines)) for name, lines in material.corpus.profiles.items())
    digest.update(json.dumps(profiles).encode("utf-8", "replace"))
    return digest.hexdigest()


def model_digest(name: str) -> str:
    """Return a digest of a model's folder: small files whole, weights by samples. Else the name."""
    folder = Path(name)
    if not folder.is_dir():
        return name
    digest = blake2b(digest_size=8)
    for file in sorted(folder.iterdir()):
        weights = file.suffix in {".safetensors", ".bin"}
        if not file.is_file() or not (weights or file.name in _TOLD):
            continue
        size = file.stat().st_size
        digest.update(f"{file.name} {size}\n".encode())
        with file.open("rb") as opened:
            if not weights:
                digest.update(opened.read())
                continue
            for place in range(_SAMPLED):
                opened.seek(max(0, size - _BLOCK) * place // (_SAMPLED - 1))
                digest.update(opened.read(_BLOCK))
    return digest.hexdigest()


_TOLD = frozenset({
    "config.json", "tokenizer.json", "tokenizer.model", "chat_template.jinja",
    "tokenizer_config.json", "special_tokens_map.json",
})  # fmt: skip


def shown(description: Description, key: str) -> str:
    """Return a value as people read it; a digest with the place that it was read from."""
    value = description.get(key)
    place = {"model": "model.path", "data": "data.train_path"}.get(key)
    if place:
        return f"{description.get(place)} (contents {value})"
    return str(json.dumps(value) if isinstance(value, bool) else value)


def is_place(key: str) -> bool:
    return key in _PLACES
