"""Problems of invalid input, as sentences that name the fix."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from berth import jobfiles
from berth.protocol.message import FieldRef, Message, quoted
from berth.protocol.problems import FieldProblem, InvalidField

_MOST_JOBS = 10**6  # of a list; a field of any name may be unknown
_PLAINER = (
    ("Input should be greater than or equal to", "write at least"),
    ("Input should be less than or equal to", "write at most"),
    ("Input should be a valid integer", "write a whole number"),
    ("Input should be a valid string", "write text"),
    ("Input should be '", "choose '"),
)
"""Messages of pydantic, and plainer ones."""


def field_problems(error: ValidationError, model: type[BaseModel] | None) -> list[FieldProblem]:
    """Return every problem of `model`'s data, field by field; unknown fields, often typos, first."""
    errors = error.errors(include_url=False)
    errors.sort(key=lambda one: one["type"] != "extra_forbidden")
    return [_field(one, model) for one in errors]


def summary(fields: Sequence[FieldProblem]) -> Message:
    """Return one sentence: the first problem, and the other fields with problems."""
    first = fields[0]
    place, _, within = first.field.partition(".")
    position = jobfiles.whole(place, _MOST_JOBS)
    path = first.field if position is None else within
    named = any(part.kind == "field" for part in first.problem_parts.root)
    pieces: list[FieldRef | Message | str] = []
    if position is not None:
        pieces.append(f"The {ordinal(position)} job of the list: ")
    if path and not named:
        pieces += [FieldRef(path=path, text=path), ": "]
    pieces.append(first.problem_parts.without_stop())
    more = len(fields) - 1
    if more:
        pieces.append(f" (and {more} more: {', '.join(f.field for f in fields[1:6])})")
    whole = Message.of(*pieces)
    return whole if str(whole).endswith("?") else Message.of(whole, ".")


def ordinal(index: int) -> str:
    """Return the ordinal of an index from 0: `1st`, `2nd`, `13th`."""
    number = index + 1
    teens = 10 < number % 100 < 20
    ending = "th" if teens else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def plain(message: str) -> str:
    """Return a message of pydantic's, to stand inside a sentence."""
    text = message.removeprefix("Value error, ").strip()
    for words, plainer in _PLAINER:
        text = text.replace(words, plainer)
    return text[:1].lower() + text[1:] if text.startswith("Input ") else text


def nearest(name: str, known: Sequence[str]) -> str:
    """Return the end of a sentence about an unknown name: what may have been meant."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; there are {', '.join(known)}" if known else "; there are none"


def _field(error: Any, model: type[BaseModel] | None) -> FieldProblem:
    path = [str(part) for part in error["loc"] if not str(part).startswith(("function-", "list["))]
    problem = Message.of(plain(error["msg"]))
    cause = error.get("ctx", {}).get("error")
    if isinstance(cause, InvalidField):
        path.append(cause.field)
        problem = cause.message
    elif error["type"] == "extra_forbidden":
        owner = _owner(model, error["loc"][:-1])
        known = list(owner.model_fields) if owner else []
        problem = Message.of("there is no field ", quoted(path[-1]), nearest(path[-1], known))
    elif error["type"] in {"too_long", "string_too_long"}:
        what = "characters" if isinstance(error["input"], str) else "entries"
        most = error["ctx"]["max_length"]
        problem = Message.of(f"this is too long; write at most {most} {what}")
    elif error["type"] == "missing":
        problem = Message.of("the field ", quoted(path[-1]), " is missing")
    return FieldProblem(field=".".join(path), problem=str(problem), problem_parts=problem)


def _owner(model: type[BaseModel] | None, path: Sequence[str | int]) -> type[BaseModel] | None:
    """Return the model that a path within `model` leads to."""
    for part in path:
        if model is not None and isinstance(part, str) and part in model.model_fields:
            model = _model_in(model.model_fields[part].annotation) or model
    return model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for arg in get_args(annotation) if (found := _model_in(arg))), None)
