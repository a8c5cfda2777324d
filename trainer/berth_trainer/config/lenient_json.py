"""JSON parser that accepts `//` and `/* */` comments and trailing commas."""

import json
from typing import Any

from berth_trainer.errors import UserError


def parse(text: str, name: str) -> Any:
    """
    Parse `text`. Raises UserError, with `name` in its sentence, where it is not JSON.

    Comments and trailing commas are blanked in place, so line and column stay true.
    """
    try:
        return json.loads(_blank_extras(text.removeprefix("\ufeff")), object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        raise UserError(
            f"{name} is not valid JSON at line {error.lineno}, column {error.colno}: "
            f"{_plainly(error.msg)}."
        ) from error
    except _TwiceError as error:
        raise UserError(f"{name} names the key {error} twice in one object; keep one.") from error


def _plainly(message: str) -> str:
    if message.startswith("Invalid control character"):
        return "a text ends without its closing quote"
    return f"{message[:1].lower()}{message[1:]}"


class _TwiceError(Exception):
    pass


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _TwiceError(f"{key!r}")
        found[key] = value
    return found


def _blank_extras(text: str) -> str:
    """Replace comments and trailing commas by spaces; newlines stay."""
    out = list(text)
    place, end = 0, len(text)
    comma = -1  # the last comma with nothing but blanks and comments after it
    while place < end:
        character = text[place]
        if character == '"':
            place = _after_string(text, place)
            comma = -1
            continue
        if text.startswith(("//", "/*"), place):
            stop = _after_comment(text, place)
            for index in range(place, stop):
                if out[index] != "\n":
                    out[index] = " "
            place = stop
            continue
        if character in "]}" and comma >= 0:
            out[comma] = " "
        if character == ",":
            comma = place
        elif not character.isspace():
            comma = -1
        place += 1
    return "".join(out)


def _after_string(text: str, start: int) -> int:
    place = start + 1
    while place < len(text) and text[place] not in '"\n':
        place += 2 if text[place] == "\\" else 1
    return min(place + 1, len(text))


def _after_comment(text: str, start: int) -> int:
    if text.startswith("//", start):
        stop = text.find("\n", start)
        return len(text) if stop < 0 else stop
    stop = text.find("*/", start + 2)
    return len(text) if stop < 0 else stop + 2
