"""
Column store of dialogues: a million of them without a hundred million Python objects.

The words lie as one JSON line a dialogue in a buffer that may be a memory-mapped file; what
splits, samples and history ask for lies in columns beside it. A `Dialogue` is made when it is
looked at.
"""

import json
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from typing import Any, cast, overload

import numpy as np

from berth_trainer.data.records import Dialogue, Turn

Array = np.ndarray[Any, Any]
COLUMNS = {
    "record_at": np.int64,  # where dialogue i begins in the buffer; one more than dialogues
    "turn_at": np.int64,  # where its turns begin in the turn columns; likewise
    "turn_speaker": np.int32,  # who says the turn, as a number among `speakers`; -1: no target
    "turn_words": np.uint64,  # what the turn says, hashed
    "name": np.uint64,  # the dialogue's id, hashed
    "words": np.uint64,  # what all of its turns say, hashed: twins have the same
    "in_time": np.int64,  # the dialogues' numbers in time order
}
_KEPT_DIALOGUES = 4096


def hashed(text: str) -> int:
    """Return 64 hash bits of a text, the same on every machine and in every run."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")


def encoded(dialogue: Dialogue) -> bytes:
    """Return a dialogue as one line of the buffer."""
    turns = [(turn.speaker, turn.text) for turn in dialogue.turns]
    line = [dialogue.id, dialogue.targets, dialogue.order, turns]
    return json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def decoded(line: bytes) -> Dialogue:
    name, targets, (when, key), turns = json.loads(line)
    said = tuple(Turn(speaker, text) for speaker, text in turns)
    return Dialogue(name, said, tuple(targets), (when, key))


@dataclass(frozen=True, slots=True)
class Store:
    """A corpus as columns; `buffer` holds the lines, `columns` what COLUMNS names."""

    buffer: Any
    columns: dict[str, Array]
    speakers: tuple[str, ...]
    digest: str  # of every word, whatever file it came from
    read: Callable[[int], Dialogue] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "read", lru_cache(_KEPT_DIALOGUES)(self._read))

    def __len__(self) -> int:
        return len(self.columns["record_at"]) - 1

    def _read(self, index: int) -> Dialogue:
        begin, end = self.columns["record_at"][index : index + 2]
        return decoded(bytes(self.buffer[begin:end]))


def build(dialogues: Iterable[Dialogue], write: Callable[[bytes], object]) -> Store:
    """Stream dialogues into columns and their lines to `write`; the store has no buffer yet."""
    columns = {name: array(_CODES[kind]) for name, kind in COLUMNS.items()}
    columns["record_at"].append(0)
    columns["turn_at"].append(0)
    numbers: dict[str, int] = {}
    orders: list[tuple[float, str]] = []
    digest = blake2b(digest_size=16)
    for dialogue in dialogues:
        line = encoded(dialogue)
        digest.update(line)
        write(line)
        for turn in dialogue.turns:
            known = turn.speaker in dialogue.targets
            code = numbers.setdefault(turn.speaker, len(numbers)) if known else -1
            columns["turn_speaker"].append(code)
            columns["turn_words"].append(hashed(turn.text))
        orders.append(dialogue.order)
        columns["name"].append(hashed(dialogue.id))
        columns["words"].append(hashed("\x1f".join(turn.text for turn in dialogue.turns)))
        columns["record_at"].append(columns["record_at"][-1] + len(line))
        columns["turn_at"].append(len(columns["turn_words"]))
    columns["in_time"].extend(sorted(range(len(orders)), key=orders.__getitem__))
    arrays = {name: np.frombuffer(column, COLUMNS[name]) if column else np.zeros(0, COLUMNS[name])
              for name, column in columns.items()}  # fmt: skip
    return Store(b"", arrays, tuple(numbers), digest.hexdigest())


_CODES = {np.int64: "q", np.int32: "i", np.uint64: "Q"}


def in_memory(dialogues: Iterable[Dialogue]) -> "Dialogues":
    """Return a store in memory, for few dialogues."""
    lines: list[bytes] = []
    store = build(dialogues, lines.append)
    return every(Store(b"".join(lines), store.columns, store.speakers, store.digest))


def every(store: Store) -> "Dialogues":
    """Return all dialogues of a store."""
    return Dialogues(store, store.columns["in_time"])


class Dialogues(Sequence[Dialogue]):
    """A selection of a store's dialogues, in time order."""

    def __init__(self, store: Store, chosen: Array) -> None:
        self.store, self.chosen = store, chosen

    def __len__(self) -> int:
        return len(self.chosen)

    @overload
    def __getitem__(self, index: int) -> Dialogue: ...
    @overload
    def __getitem__(self, index: slice) -> "Dialogues": ...
    def __getitem__(self, index: int | slice) -> "Dialogue | Dialogues":
        if isinstance(index, slice):
            return Dialogues(self.store, self.chosen[index])
        return self.store.read(int(self.chosen[index]))

    def __iter__(self) -> Iterator[Dialogue]:
        return (self.store.read(int(index)) for index in self.chosen)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Dialogues)
            and self.store.digest == other.store.digest
            and np.array_equal(self.chosen, other.chosen)
        )

    def __hash__(self) -> int:
        return hash((self.store.digest, self.chosen.tobytes()))

    def turns(self) -> tuple[Array, Array, Array]:
        """
        Return every turn: the index of its dialogue, its place there, its target or -1.

        In time order.
        """
        at = self.store.columns["turn_at"]
        begins = at[self.chosen]
        counts = at[self.chosen + 1] - begins
        owner = np.repeat(np.arange(len(self.chosen)), counts)
        place = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
        speaker = self.store.columns["turn_speaker"][np.repeat(begins, counts) + place]
        return owner, place, speaker


def as_dialogues(dialogues: Sequence[Dialogue]) -> Dialogues:
    """Return the dialogues as a store's, converted where they are not yet."""
    return dialogues if isinstance(dialogues, Dialogues) else in_memory(dialogues)


def as_ints(values: Array) -> list[int]:
    """Return plain ints, which index lists and dictionaries."""
    return cast("list[int]", values.tolist())
