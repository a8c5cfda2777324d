"""Texts of data files: any JSON value as plain text; oddities are counted with their first place."""

import codecs
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from berth_trainer.errors import UserError

CUT = "\ufdd0"  # no character: text never holds it, so the encoder may mark places with it
REPLACED = "\ufffd"
_NO_TEXT = re.compile("[\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")  # lone surrogates, noncharacters
_UNDECODED = re.compile("[\udc80-\udcff]")
_INVISIBLE = "\ufeff\u200b\u2060"
_MOST_DAMAGED = 0.01  # share of undecodable characters from which a file is in another encoding

_READ_AS = {
    "null": "null, read as empty",
    "empty": "empty, left out",
    "number": "a number, read as its digits",
    "boolean": "true or false instead of text, read as empty",
    "list": "a list, read as the texts in it",
    "object": "an object, read as the text in it",
    "surrogate": f"not valid Unicode (lone surrogates), replaced by {REPLACED}",
    "bytes": f"not UTF-8, undecodable bytes replaced by {REPLACED}",
}


@dataclass(slots=True)
class Oddities:
    """Counts of values that are no plain text, by kind, with the first place of each."""

    found: dict[tuple[str, str], list[Any]] = field(default_factory=dict[Any, list[Any]])

    def count(self, kind: str, file: Path, part: str, place: str, times: int = 1) -> None:
        entry = self.found.setdefault((kind, part), [0, f"{file}, {place}"])
        entry[0] += times

    def sentences(self) -> list[str]:
        """Return one sentence for each kind of value in each part of the data."""
        return [
            f"{times:,} {part}{'s' if times > 1 else ''} {'are' if times > 1 else 'is'} "
            f"{_READ_AS[kind]}; the first: {place}."
            for (kind, part), (times, place) in sorted(self.found.items())
        ]


@dataclass(frozen=True, slots=True)
class Reader:
    """Reader of the values of one file that notes what is odd about them."""

    file: Path
    oddities: Oddities

    def text(self, value: Any, part: str, place: str) -> str:
        """Return a spoken or written text; what is none becomes the text in it, or empty."""
        kind = _kind(value)
        if kind is None:
            clean = self._clean(value, part, place)
            if not clean:
                self.oddities.count("empty", self.file, part, place)
            return clean
        self.oddities.count(kind, self.file, part, place)
        return self._clean("\n".join(_texts_in(value)), part, place)

    def fact(self, value: Any, part: str, place: str) -> str:
        """Return a profile's value on one line: numbers and true or false are values like any."""
        if value is None or (isinstance(value, float) and not math.isfinite(value)):
            self.oddities.count("null", self.file, part, place)
            return ""
        if isinstance(value, Mapping):
            pairs: Mapping[Any, Any] = value
            facts = [(str(key), self.fact(item, part, place)) for key, item in pairs.items()]
            return self._clean(
                ", ".join(f"{key} {fact}" for key, fact in facts if fact), part, place
            )
        if isinstance(value, list):
            items: list[Any] = value
            return ", ".join(filter(None, (self.fact(item, part, place) for item in items)))
        if isinstance(value, bool):
            return "true" if value else "false"
        return self._clean(str(value), part, place)

    def lines(self, value: Any, part: str, place: str) -> list[str]:
        """Return the lines of a text, or the texts of a list, each whole."""
        if value is None:
            self.oddities.count("null", self.file, part, place)
            return []
        if isinstance(value, list):
            items: list[Any] = value
            return [text for item in items if (text := self.fact(item, part, place))]
        lines = map(str.strip, self.fact(value, part, place).splitlines())
        return [line for line in lines if line]

    def mapping(self, value: Any, part: str, place: str) -> dict[str, Any]:
        """Return an object; null is an empty one. Raises TypeError for anything else."""
        if value is None:
            self.oddities.count("null", self.file, part, place)
            return {}
        if not isinstance(value, dict):
            raise TypeError(f"{part} should be an object, not {_name(value)} ({place})")
        found: dict[str, Any] = value
        return found

    def items(self, value: Any, part: str, place: str) -> list[Any]:
        """Return a list; null is an empty one. Raises TypeError for anything else."""
        if value is None:
            self.oddities.count("null", self.file, part, place)
            return []
        if not isinstance(value, list):
            raise TypeError(f"{part} should be a list, not {_name(value)} ({place})")
        found: list[Any] = value
        return found

    def name(self, value: Any, other: str, part: str, place: str) -> str:
        """Return an identifier; `other` where the file has none."""
        if value is None or isinstance(value, (list, dict, bool)) or not str(value).strip():
            self.oddities.count(_kind(value) or "empty", self.file, part, place)
            return other
        return self._clean(str(value), part, place)

    def _clean(self, text: str, part: str, place: str) -> str:
        clean, odd = _NO_TEXT.subn(REPLACED, text)
        if odd:
            self.oddities.count("surrogate", self.file, part, place)
        return clean.strip().strip(_INVISIBLE).strip()


def clean(text: str) -> str:
    """Return text that can be encoded: lone surrogates and noncharacters are replaced."""
    return _NO_TEXT.sub(REPLACED, text)


def pieces(file: Path, oddities: Oddities, size: int = 1 << 20) -> Iterator[str]:
    """
    Yield a file's text piece by piece, without a byte-order mark; UTF-16 and UTF-32 are known.

    Undecodable bytes are replaced and counted. Raises UserError where they are so many that
    the file must be in another encoding, OSError or ValueError where it cannot be read.
    """
    with file.open("rb") as opened:
        piece = opened.read(max(size, 4))
        encoding = json.detect_encoding(piece)
        errors = "surrogateescape" if encoding.startswith("utf-8") else "strict"
        decoder = codecs.getincrementaldecoder(encoding)(errors)
        damaged = total = lines = 0
        first = ""
        while True:
            text = decoder.decode(piece, final=not piece)
            if bad := _UNDECODED.search(text):
                first = first or f"line {lines + text.count(chr(10), 0, bad.start()) + 1}"
                text, found = _UNDECODED.subn(REPLACED, text)
                damaged += found
            total, lines = total + len(text), lines + text.count("\n")
            if text:
                yield text
            if not piece:
                break
            piece = opened.read(size)
    if damaged > max(2, _MOST_DAMAGED * total):
        raise UserError(
            f"{file} is not in UTF-8 ({damaged:,} of its bytes, the first in {first}): convert "
            "it, for example with iconv."
        )
    if damaged:
        oddities.count("bytes", file, "file", first)


def _kind(value: Any) -> str | None:
    """Return the kind of a value that is no text, None for a text."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "null"
    if isinstance(value, str):
        return None
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "number"
    return "list" if isinstance(value, list) else "object"


def _name(value: Any) -> str:
    kind = _kind(value) or "text"
    return {"object": "an object"}.get(kind, f"a {kind}")


def _texts_in(value: Any) -> Iterator[str]:
    """Yield the texts in a value: of a list each, of a message part `{"text": …}` its text."""
    kind = _kind(value)
    if kind is None:
        yield value
    elif kind == "number":
        yield str(value)
    elif kind == "list":
        for item in value:
            yield from _texts_in(item)
    elif kind == "object":
        yield from _texts_in(value.get("text"))
