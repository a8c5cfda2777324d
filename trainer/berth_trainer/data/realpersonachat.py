"""Reader of RealPersonaChat: a folder with `dialogues/*.json` and `interlocutors.json`."""

import json
from collections.abc import Iterator
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any

from berth_trainer.data.records import Dialogue, Profiles, Source, merge_turns
from berth_trainer.data.texts import Oddities, Reader, clean, pieces
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
        "realpersonachat",
        "ja",
        [people, *files],
        lambda profiles, oddities: _read(people, files, profiles, oddities),
    )


def dialogue_file(folder: Path, name: str) -> Path | None:
    """Return the file of a dialogue by its id, None where it is gone meanwhile."""
    files = sorted((folder / "dialogues").glob("*.json"))
    likely = [file for file in files if file.stem.lstrip("0") == name.lstrip("0")]
    for file in [*likely, *files]:
        try:
            record = _load(file, Oddities())
            found = _dialogue(record, Reader(file, Oddities())).id
        except UserError:
            continue
        if found == name:
            return file
    return None


def _read(
    people: Path, files: list[Path], profiles: Profiles, oddities: Oddities
) -> Iterator[Dialogue]:
    known: dict[str, Any] = _load(people, oddities)
    if not isinstance(known, dict):  # pyright: ignore[reportUnnecessaryIsInstance]  # it is the user's file
        raise UserError(f"{people} should be an object with one entry per speaker.")
    persons = {clean(name): person for name, person in known.items()}
    about = Reader(people, oddities)
    for file in files:
        dialogue = _dialogue(_load(file, oddities), Reader(file, oddities))
        for speaker in dialogue.targets:
            if speaker not in persons:
                raise UserError(
                    f"{people} lacks the speaker {speaker} of {file}; the two do "
                    "not belong together."
                )
            if speaker not in profiles:
                try:
                    profiles[speaker] = _profile(persons[speaker], about, f"speaker {speaker}")
                except (TypeError, ValueError, AttributeError) as error:
                    raise UserError(
                        f"the speaker {speaker} in {people} does not follow RealPersonaChat's "
                        f"format: {error}."
                    ) from error
        yield dialogue


def _dialogue(record: Any, reader: Reader) -> Dialogue:
    file = reader.file
    try:
        record = reader.mapping(record, "dialogue", "the file")
        spoken = reader.items(record["utterances"], "utterances", "the dialogue")
        said = [_said(utterance, n, reader) for n, utterance in enumerate(spoken)]
        name = reader.name(record["dialogue_id"], clean(file.stem), "dialogue_id", "the dialogue")
        begun = min((_seconds(u.get("timestamp")) for u in spoken if u), default=_NEVER)
    except (KeyError, TypeError, AttributeError) as error:
        why = f"it lacks the field {error}" if isinstance(error, KeyError) else str(error)
        raise UserError(f"{file} is not a RealPersonaChat dialogue: {why}.") from error
    turns = merge_turns(said)
    targets = tuple(dict.fromkeys(turn.speaker for turn in turns))
    return Dialogue(name, turns, targets, (begun, name.zfill(8)))


def _said(utterance: Any, number: int, reader: Reader) -> tuple[str, str]:
    place = f"utterance {number}"
    if utterance is None:
        return "", reader.text(None, "turn", place)
    utterance = reader.mapping(utterance, "utterance", place)
    text = reader.text(utterance["text"], "turn", place)
    speaker = reader.name(utterance["interlocutor_id"], "", "interlocutor_id", place)
    if text and not speaker:
        raise TypeError(f"{place} names no interlocutor_id")
    return speaker, text


_NEVER = float("inf")  # dialogues without a time come last, in the order of their ids


def _seconds(timestamp: Any) -> float:
    try:
        return datetime.fromisoformat(str(timestamp)).timestamp()
    except ValueError:
        return _NEVER


def _profile(person: Any, reader: Reader, place: str) -> tuple[str, ...]:
    """Return persona sentences, then demographics, then one line of scores per scale."""
    person = reader.mapping(person, "profile", place)
    lines = reader.lines(person.get("persona", []), "persona sentence", place)
    about = reader.mapping(person.get("demographic_information") or {}, "demographics", place)
    facts = [(key, reader.fact(value, "profile value", place)) for key, value in about.items()]
    lines.append(clean("、".join(f"{key}: {fact}" for key, fact in facts if fact)))
    scores = reader.mapping(person.get("personality") or {}, "personality", place)
    for scale, names in groupby(scores, key=lambda name: name.partition("_")[0]):
        found = [(name, reader.fact(scores[name], "score", place)) for name in names]
        scored = [f"{_trait(name)} {float(score):.2f}" for name, score in found if score]
        if scored:
            lines.append(clean(f"{scale}: {'、'.join(scored)}"))
    return tuple(line for line in lines if line)


def _trait(name: str) -> str:
    return name.partition("_")[2] or name


def _load(file: Path, oddities: Oddities) -> Any:
    try:
        return json.loads("".join(pieces(file, oddities)).removeprefix("\ufeff"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file} cannot be read as JSON: {error}.") from error
