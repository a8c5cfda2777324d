"""Reads the digital-twin format: one JSON list of people with recorded dialogues."""

import json
from pathlib import Path
from typing import Any

from berth_trainer.data.records import Corpus, Dialogue, merge_turns
from berth_trainer.problem import Problem

PARTNER = "partner"


def read_digitaltwin(path: Path) -> Corpus:
    """Read a file, or `train.json` of a folder; the person of an item is its only target."""
    file = path / "train.json" if path.is_dir() else path
    items = _load(file)
    dialogues: list[Dialogue] = []
    profiles: dict[str, tuple[str, ...]] = {}
    for number, item in enumerate(items):
        try:
            person = str(item["user_hash"])
            user: dict[str, Any] = item["user"]
            names = {"user", str(user["profile"].get("name", "user")).lower()}
            profiles[person] = _profile(user)
            for c, collection in enumerate(item["task"]["task_behavior_collections"]):
                for d, entry in enumerate(collection["data"]):
                    key = f"{file.stem}/{number}/{c}/{d}"
                    said = [(_who(t["source"], person, names), str(t["content"]))
                            for t in entry["context"]]  # fmt: skip
                    said.append((person, str(entry.get("continuation") or "")))
                    order = (float(len(dialogues)), key)
                    dialogues.append(Dialogue(key, merge_turns(said), (person,), order))
        except (KeyError, TypeError, AttributeError) as error:
            raise Problem(
                f"item {number} of {file} does not follow the digital-twin format: "
                f"{_missing(error)}."
            ) from error
    return Corpus("digitaltwin", "zh", tuple(dialogues), profiles)


def _missing(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)


def _who(source: Any, person: str, names: set[str]) -> str:
    return person if str(source).strip().lower() in names else PARTNER


def _profile(user: dict[str, Any]) -> tuple[str, ...]:
    """The profile's own keys first, then free text about the personality, then the scales."""
    lines = [f"{key}: {_flat(value)}" for key, value in user["profile"].items() if value]
    personality: dict[str, Any] = user.get("personality") or {}
    lines += str(personality.get("unstructured") or "").splitlines()
    for scale, told in (personality.get("structured") or {}).items():
        for name, dimension in (told.get("dimensions") or {}).items():
            score, text = dimension.get("score", ""), dimension.get("description", "")
            lines.append(f"{scale} / {name}: {score} {text}".rstrip())
    return tuple(line.strip() for line in lines if line.strip())


def _flat(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_flat(item) for item in value)
    if isinstance(value, dict):
        return ", ".join(f"{key} {_flat(item)}" for key, item in value.items())
    return str(value)


def _load(file: Path) -> list[Any]:
    try:
        items = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        raise Problem(f"{file} does not exist; set data.train_path to your data.") from None
    except (OSError, ValueError) as error:
        raise Problem(f"{file} cannot be read as JSON: {error}.") from error
    if not isinstance(items, list) or not items:
        raise Problem(f"{file} should hold a list of items in the digital-twin format.")
    return items
