"""Reader of the digital-twin format: one JSON list of people with recorded dialogues."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from berth_trainer.data.records import Dialogue, Profiles, Source, merge_turns
from berth_trainer.errors import UserError

PARTNER = "partner"
_PIECE = 1 << 20  # characters
_BLANK = " \t\r\n"


def open_digitaltwin(path: Path) -> Source:
    """Open a file, or a folder's `train.json`; the person of an item is its only target."""
    file = path / "train.json" if path.is_dir() else path
    if not file.is_file():
        raise UserError(
            f"{path} holds neither train.json, as digital-twin data do, nor dialogues/ and "
            "interlocutors.json, as RealPersonaChat does; set data.train_path to the folder that "
            "does, and data.dataset to auto."
        )
    return Source("digitaltwin", "zh", [file], lambda profiles: _read(file, profiles))


def _read(file: Path, profiles: Profiles) -> Iterator[Dialogue]:
    count = 0
    for number, item in enumerate(_items(file)):
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
                    yield Dialogue(key, merge_turns(said), (person,), (float(count), key))
                    count += 1
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"item {number} of {file} does not follow the digital-twin format: "
                f"{_missing(error)}."
            ) from error


def _missing(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)


def _who(source: Any, person: str, names: set[str]) -> str:
    return person if str(source).strip().lower() in names else PARTNER


def _profile(user: dict[str, Any]) -> tuple[str, ...]:
    """Return the profile's keys, then free text about the personality, then the scales."""
    lines = [f"{key}: {_flat(value)}" for key, value in user["profile"].items() if value]
    personality: dict[str, Any] = user.get("personality") or {}
    lines += str(personality.get("unstructured") or "").splitlines()
    for scale, entry in (personality.get("structured") or {}).items():
        for name, dimension in (entry.get("dimensions") or {}).items():
            score, text = dimension.get("score", ""), dimension.get("description", "")
            lines.append(f"{scale} / {name}: {score} {text}".rstrip())
    return tuple(line.strip() for line in lines if line.strip())


def _flat(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_flat(item) for item in value)
    if isinstance(value, dict):
        return ", ".join(f"{key} {_flat(item)}" for key, item in value.items())
    return str(value)


def _items(file: Path) -> Iterator[Any]:
    try:
        with file.open(encoding="utf-8") as text:
            found = False
            for item in json_items(text):
                found = True
                yield item
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read as JSON: {error}.") from error
    if not found:
        raise UserError(f"{file} should hold a list of items in the digital-twin format.")


def json_items(text: TextIO) -> Iterator[Any]:
    """
    Yield each item as soon as it is read; no more than one and a piece of text is in memory.

    Raises ValueError where the text is no JSON list.
    """
    decoder = json.JSONDecoder()
    held = _filled(text, "").lstrip("\ufeff")
    if not held.startswith("["):
        raise ValueError("it does not begin with [")
    held, first = held[1:], True
    while True:
        held = _filled(text, held)
        if held[:1] == "]":
            return
        if not first:
            if held[:1] != ",":
                raise ValueError(f"a comma or ] is missing before {held[:20]!r}")
            held = _filled(text, held[1:])
        more = _PIECE
        while True:
            try:
                item, end = decoder.raw_decode(held)
            except ValueError:
                piece = text.read(more)
                if not piece:
                    raise
                held, more = held + piece, more * 2  # twice as much each time: linear altogether
                continue
            # A number may go on in the next piece: what ends an item must be there.
            if held[end:].lstrip(_BLANK)[:1] not in {",", "]"} and (piece := text.read(_PIECE)):
                held += piece
                continue
            break
        yield item
        held, first = held[end:], False


def _filled(text: TextIO, held: str) -> str:
    """Return `held` without leading blanks, read on where it is empty."""
    held = held.lstrip(_BLANK)
    while not held:
        piece = text.read(_PIECE)
        if not piece:
            raise ValueError("the list does not end")
        held = piece.lstrip(_BLANK)
    return held
