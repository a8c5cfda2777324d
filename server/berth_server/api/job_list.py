"""A list of jobs in pieces that can be read one after another."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from json import JSONDecodeError

from berth_server.api.problems import ApiError

_PIECE_BYTES = 64 << 10
_SCAN = json.JSONDecoder()
_SPACE = " \t\n\r"
_SPACES = re.compile(f"[{_SPACE}]*")


def pieces(raw: bytes, *, most_jobs: int, most_bytes: int) -> Iterator[tuple[int, bytes]]:
    """
    Divide a JSON list into shorter lists: each with the position of its first entry.

    A library call that reads a whole list keeps every other thread waiting until it is done.
    Raises ApiError where it is no list, has too many entries, or one that is too large.
    """
    first, begun = 0, None
    ended = 0
    text = _text(raw)
    for count, (start, ended) in enumerate(_entries(text), 1):
        if count > most_jobs:
            raise ApiError(
                413, f"A submit may make {most_jobs} jobs; send the list in several submits."
            )
        if ended - start > most_bytes:
            raise ApiError(
                413,
                f"A job may have {most_bytes >> 10} KiB as JSON; put data and long scripts into "
                "files.",
            )
        if begun is None:
            begun = start
        if ended - begun >= _PIECE_BYTES:
            yield first, _list(text[begun:ended])
            first, begun = count, None
    if begun is not None:
        yield first, _list(text[begun:ended])


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise _not_json(error.reason) from None


def _list(entries: str) -> bytes:
    return b"[" + entries.encode() + b"]"


def _entries(text: str) -> Iterator[tuple[int, int]]:
    """Yield where each entry of a list begins and ends. Raises ApiError where it is none."""
    place = _after_space(text, 1)
    if text[place : place + 1] != "]":
        while True:
            start = place
            place = _entry(text, start)
            yield start, place
            place = _after_space(text, place)
            mark = text[place : place + 1]
            if mark == "]":
                break
            if mark != ",":
                raise _not_json(f"expected `,` or `]` at character {place + 1}")
            place = _after_space(text, place + 1)
    if text[place + 1 :].strip(_SPACE):
        raise _not_json(f"trailing characters at character {place + 2}")


def _entry(text: str, start: int) -> int:
    """Return the place after the JSON value that begins at `start`."""
    try:
        return _SCAN.raw_decode(text, start)[1]
    except JSONDecodeError as error:
        raise _not_json(f"{error.msg.lower()} at character {error.pos + 1}") from None
    except (ValueError, RecursionError):
        raise _not_json("a number is too long or it is nested too deeply") from None


def _after_space(text: str, place: int) -> int:
    found = _SPACES.match(text, place)
    return place if found is None else found.end()


def _not_json(reason: str) -> ApiError:
    return ApiError(400, f"The body is not valid JSON: {reason}.")
