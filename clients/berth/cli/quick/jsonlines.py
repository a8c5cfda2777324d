"""JSON Lines: one job a line, as programs write them; read without YAML."""

from __future__ import annotations

import json
from typing import Any

from berth.cli.failure import Failure


class _Number(str):
    """A number as it is written: text fields keep it, others get its value."""

    __slots__ = ()


def jobs(where: str, text: str, texts: set[str]) -> list[Any]:
    """Return the jobs of a file; blank lines are passed over. Raises Failure with the line."""
    found: list[Any] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(
                line, parse_int=_Number, parse_float=_Number, object_pairs_hook=_unique
            )
        except ValueError as error:
            problem = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
            raise Failure(f"{where} line {number}: not valid JSON: {problem}.") from None
        if not isinstance(value, dict):
            raise Failure(f'{where} line {number}: write one job, like {{"command": "true"}}.')
        found.append({key: _value(one, as_text=key in texts) for key, one in value.items()})
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"{key!r} is given twice; keep one of them")
        found[key] = value
    return found


def _value(value: Any, *, as_text: bool) -> Any:
    if isinstance(value, dict):
        return {key: _value(one, as_text=as_text) for key, one in value.items()}
    if isinstance(value, list):
        return [_value(one, as_text=as_text) for one in value]
    if not isinstance(value, _Number):
        return value
    return str(value) if as_text else json.loads(value)
