"""Reader of the digital-twin format: one JSON list of people with recorded dialogues."""

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from berth_trainer.data.records import Dialogue, Profiles, Source, merge_turns
from berth_trainer.data.texts import Oddities, Reader, clean, pieces
from berth_trainer.errors import UserError

PARTNER = "partner"
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
    return Source(
        "digitaltwin", "zh", [file], lambda profiles, oddities: _read(file, profiles, oddities)
    )


def _read(file: Path, profiles: Profiles, oddities: Oddities) -> Iterator[Dialogue]:
    count, reader, stem = 0, Reader(file, oddities), clean(file.stem)
    for number, item in enumerate(_items(file, oddities)):
        try:
            item = reader.mapping(item, "item", f"item {number}")  # noqa: PLW2901  # the same, known to be one
            person = reader.name(item["user_hash"], f"item {number}", "user_hash", f"item {number}")
            user = reader.mapping(item["user"], "user", f"item {number}")
            profile = reader.mapping(user.get("profile"), "profile", f"item {number}")
            called = profile.get("name")
            names = {"user", *([called.strip().lower()] if isinstance(called, str) else [])} - {""}
            profiles[person] = _profile(user, profile, reader, f"item {number}")
            task = reader.mapping(item["task"], "task", f"item {number}")
            collections = task["task_behavior_collections"]
            for c, collection in enumerate(
                reader.items(collections, "collection", f"item {number}")
            ):
                place = f"item {number}, collection {c}"
                about = reader.mapping(collection, "collection", place)
                for d, told in enumerate(reader.items(about["data"], "dialogue", place)):
                    place = f"item {number}, collection {c}, dialogue {d}"
                    entry = reader.mapping(told, "dialogue", place)
                    turns = reader.items(entry["context"], "context", place)
                    said = [_said(turn, n, person, names, reader, place)
                            for n, turn in enumerate(turns)]  # fmt: skip
                    answer = entry.get("continuation")  # null: withheld, as in a leaderboard file
                    if answer is not None and answer != "":
                        said.append((person, reader.text(answer, "continuation", place)))
                    key = f"{stem}/{number}/{c}/{d}"
                    yield Dialogue(key, merge_turns(said), (person,), (float(count), key))
                    count += 1
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"item {number} of {file} does not follow the digital-twin format: "
                f"{_missing(error)}."
            ) from error


def _missing(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)


def _said(
    turn: Any, number: int, person: str, names: set[str], reader: Reader, place: str
) -> tuple[str, str]:
    place = f"{place}, turn {number}"
    if turn is None:
        return PARTNER, reader.text(None, "turn", place)
    turn = reader.mapping(turn, "turn", place)
    source = reader.name(turn["source"], "", "turn's source", place)
    speaker = person if source.strip().lower() in names else PARTNER
    return speaker, reader.text(turn["content"], "turn", place)


def _profile(
    user: dict[str, Any], profile: dict[str, Any], reader: Reader, place: str
) -> tuple[str, ...]:
    """Return the profile's keys, then free text about the personality, then the scales."""
    facts = [(key, reader.fact(value, "profile value", place)) for key, value in profile.items()]
    lines = [clean(f"{key}: {fact}") for key, fact in facts if fact]
    personality = reader.mapping(user.get("personality") or {}, "personality", place)
    if personality.get("unstructured"):
        lines += reader.lines(personality["unstructured"], "personality", place)
    scales = reader.mapping(personality.get("structured") or {}, "scales", place)
    for scale, entry in scales.items():
        about = reader.mapping(entry, "scale", f"{place}, {scale}")
        dimensions = reader.mapping(about.get("dimensions") or {}, "dimensions", place)
        for name, dimension in dimensions.items():
            held = dimension if isinstance(dimension, dict) else {"score": dimension}
            told = [reader.fact(held[key], "score", f"{place}, {scale} / {name}")
                    for key in ("score", "description") if held.get(key, "") != ""]  # fmt: skip
            if any(told):
                lines.append(clean(f"{scale} / {name}: {' '.join(filter(None, told))}"))
    return tuple(line.strip() for line in lines if line.strip())


def _items(file: Path, oddities: Oddities) -> Iterator[Any]:
    try:
        found, text = False, pieces(file, oddities)
        for item in json_items(text):
            found = True
            yield item
        for _ in text:  # to the end: damage is judged by the whole file
            pass
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file} cannot be read as JSON: {error}.") from error
    if not found:
        raise UserError(f"{file} should hold a list of items in the digital-twin format.")


def json_items(text: Iterator[str]) -> Iterator[Any]:
    """
    Yield each item as soon as it is read; no more than one and a piece of text is in memory.

    Raises ValueError where the text is no JSON list.
    """
    decoder = json.JSONDecoder()
    held = _filled(text, "")
    if held.startswith("\ufeff"):
        held = _filled(text, held[1:])
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
        item, held = _item(decoder, text, held)
        yield item
        first = False


def _item(decoder: json.JSONDecoder, text: Iterator[str], held: str) -> tuple[Any, str]:
    """Return the item at the beginning of `held`, read on until it is whole, and the rest."""
    more = 1
    while True:
        try:
            item, end = decoder.raw_decode(held)
        except ValueError:
            added = list(islice(text, more))
            if not added:
                raise
            # Twice as much each time: linear altogether.
            held, more = held + "".join(added), more * 2
            continue
        # A number may go on in the next piece: what ends an item must be there.
        if held[end:].lstrip(_BLANK)[:1] not in {",", "]"} and (piece := next(text, "")):
            held += piece
            continue
        return item, held[end:]


def _filled(text: Iterator[str], held: str) -> str:
    """Return `held` without leading blanks, read on where it is empty."""
    held = held.lstrip(_BLANK)
    while not held:
        piece = next(text, "")
        if not piece:
            raise ValueError("the list does not end")
        held = piece.lstrip(_BLANK)
    return held
