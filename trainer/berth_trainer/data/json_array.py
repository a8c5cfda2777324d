"""The items of a JSON list one by one, however long the list is."""

import json
from collections.abc import Iterator
from typing import Any, TextIO

_PIECE = 1 << 20  # characters
_BLANK = " \t\r\n"


def items(text: TextIO) -> Iterator[Any]:
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
    """Without blanks in front, and not empty unless the text is over."""
    held = held.lstrip(_BLANK)
    while not held:
        piece = text.read(_PIECE)
        if not piece:
            raise ValueError("the list does not end")
        held = piece.lstrip(_BLANK)
    return held
