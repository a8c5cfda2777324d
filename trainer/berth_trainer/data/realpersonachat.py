"""Reader of RealPersonaChat: a folder with `dialogues/*.json` and `interlocutors.json`."""

import json
from collections.abc import Iterator
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any

from berth_trainer.data.records import Dialogue, Profiles, Source, merge_turns
from berth_trainer.errors import UserError


def is_realpersonachat(path: Path) -> bool:
    return (path / "dialogues").is_dir() and (path / "interlocutors.json").is_file()


def open_realpersonachat(path: Path) -> Source:
    """Open the folder; both speakers of a dialogue are targets. Raises UserError."""
    if not is_realpersonachat(path):
        raise UserError(
            f"{path} is not a RealPersonaChat folder: it should hold dialogues/ and "
            "interlocutors.json; set data.train_path to the folder that does."
        )
    files = sorted((path / "dialogues").glob("*.json"))
    if not files:
        raise UserError(f"{path / 'dialogues'} holds no *.json file.")
    people = path / "interlocutors.json"
    return Source(
        "realpersonachat", "ja", [people, *files], lambda profiles: _read(people, files, profiles)
    )


def _read(people: Path, files: list[Path], profiles: Profiles) -> Iterator[Dialogue]:
    known: dict[str, Any] = _load(people)
    if not isinstance(known, dict):  # pyright: ignore[reportUnnecessaryIsInstance]  # it is the user's file
        raise UserError(f"{people} should be an object with one entry per speaker.")
    for file in files:
        dialogue = _dialogue(_load(file), file)
        for speaker in dialogue.targets:
            if speaker not in known:
                raise UserError(
                    f"{people} lacks the speaker {speaker} of {file}; the two do "
                    "not belong together."
                )
            if speaker not in profiles:
                try:
                    profiles[speaker] = _profile(known[speaker])
                except (TypeError, ValueError, AttributeError) as error:
                    raise UserError(
                        f"the speaker {speaker} in {people} does not follow RealPersonaChat's "
                        f"format: {error}."
                    ) from error
        yield dialogue


def _dialogue(record: dict[str, Any], file: Path) -> Dialogue:
    try:
        said = [(str(u["interlocutor_id"]), str(u["text"])) for u in record["utterances"]]
        name = str(record["dialogue_id"])
        begun = min((_seconds(u.get("timestamp")) for u in record["utterances"]), default=_NEVER)
    except (KeyError, TypeError, AttributeError) as error:
        why = f"it lacks the field {error}" if isinstance(error, KeyError) else str(error)
        raise UserError(f"{file} is not a RealPersonaChat dialogue: {why}.") from error
    turns = merge_turns(said)
    targets = tuple(dict.fromkeys(turn.speaker for turn in turns))
    return Dialogue(name, turns, targets, (begun, name.zfill(8)))


_NEVER = float("inf")  # dialogues without a time come last, in the order of their ids


def _seconds(timestamp: Any) -> float:
    try:
        return datetime.fromisoformat(str(timestamp)).timestamp()
    except ValueError:
        return _NEVER


def _profile(person: dict[str, Any]) -> tuple[str, ...]:
    """Return persona sentences, then demographics, then one line of scores per scale."""
    lines = [str(sentence).strip() for sentence in person.get("persona", [])]
    about: dict[str, Any] = person.get("demographic_information") or {}
    if about:
        lines.append("、".join(f"{key}: {value}" for key, value in about.items()))
    scores: dict[str, Any] = person.get("personality") or {}
    for scale, names in groupby(scores, key=lambda name: name.partition("_")[0]):
        scored = [f"{_trait(name)} {float(scores[name]):.2f}" for name in names]
        lines.append(f"{scale}: {'、'.join(scored)}")
    return tuple(line for line in lines if line)


def _trait(name: str) -> str:
    return name.partition("_")[2] or name


def _load(file: Path) -> Any:
    try:
        return json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read as JSON: {error}.") from error
