"""Expansion of an ablation's file into its cells, parameters x values, as pure data."""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Mapping
from typing import Any, cast

_CAPS = ("max_running", "max_gpu_hours", "early_stop")
_KEYS = ("name", "base", "matrix", "seeds", "include", "exclude", *_CAPS)
_MOST = 10_000
_SEED = "seed"


class MatrixError(ValueError):
    """An invalid ablation; the message is one sentence that names the fix."""


def expand(
    plan: Mapping[str, Any], *, name: str | None = None, where: str = "the ablation"
) -> dict[str, Any]:
    """
    Return the AblationSpec of a plan as JSON data: one cell per combination not excluded.

    `{key}` in command, script, workdir, name and values of env stands for the cell's value;
    `${key}` is left to the shell. `name` stands in for the plan's own, `where` names the plan
    in errors. Raises MatrixError naming what is missing.
    """
    for key in plan:
        if key not in _KEYS:
            raise MatrixError(f"{where}: {key!r} is unknown{_near(key, _KEYS)}")
    chosen = name or plan.get("name")
    if not isinstance(chosen, str) or not chosen:
        raise MatrixError(f"{where}: `name` is missing; give the ablation a name.")
    base = plan.get("base")
    if not isinstance(base, dict):
        raise MatrixError(f"{where}: `base` is missing; write the job that all runs share.")
    job = cast("dict[str, Any]", base)
    matrix = _matrix(plan, where)
    cells = _cells(plan, matrix, where)
    keys = dict.fromkeys(key for cell in cells for key in cell)
    unused = [key for key in keys if not _uses(job, key)]
    if unused:
        raise MatrixError(
            f"{where}: {{{unused[0]}}} appears nowhere in `base`, so its runs would be identical; "
            "use it in the command."
        )
    caps = {key: plan[key] for key in _CAPS if plan.get(key) is not None}
    made = [{"values": cell, "job": _job(job, cell, chosen)} for cell in cells]
    return {"name": chosen, "cells": made, **caps}


def _cells(
    plan: Mapping[str, Any], matrix: dict[str, list[str]], where: str
) -> list[dict[str, str]]:
    excluded = _mappings(plan, "exclude", where)
    for one in excluded:
        for key, word in one.items():
            _known_key("exclude", key, matrix, where)
            if word not in matrix[key]:
                raise MatrixError(
                    f"{where}: `exclude` names {key}: {word}, which `matrix` does not have."
                )
    count = 1
    for values in matrix.values():
        count *= len(values)
    if count > _MOST:
        raise MatrixError(f"{where}: {count} combinations are too many; the limit is {_MOST}.")
    combinations = (
        dict(zip(matrix, values, strict=True)) for values in itertools.product(*matrix.values())
    )
    # Without a matrix its product is one empty combination, which is no run.
    kept = [
        one for one in combinations if one and not any(ex.items() <= one.items() for ex in excluded)
    ]
    for one in _included(plan, matrix, where):
        if one in kept:
            repeated = ", ".join(f"{key}: {word}" for key, word in one.items())
            raise MatrixError(f"{where}: `include` repeats {repeated}; remove it.")
        kept.append(one)
    if not kept:
        raise MatrixError(f"{where}: `exclude` leaves no run; remove an entry.")
    return kept


def _included(
    plan: Mapping[str, Any], matrix: dict[str, list[str]], where: str
) -> list[dict[str, str]]:
    """Whole cells beyond the matrix; one that names no seed is run with each."""
    found: list[dict[str, str]] = []
    for one in _mappings(plan, "include", where):
        for key in one:
            if matrix:
                _known_key("include", key, matrix, where)
        seeds = matrix[_SEED] if "seeds" in plan and _SEED not in one else [None]
        for seed in seeds:
            cell = one if seed is None else {**one, _SEED: seed}
            missing = [key for key in matrix if key not in cell]
            if missing:
                raise MatrixError(
                    f"{where}: an entry of `include` lacks {missing[0]}; each entry needs "
                    "a value for every key."
                )
            found.append({key: cell[key] for key in (matrix or cell)})
    return found


def _job(base: dict[str, Any], values: dict[str, str], name: str) -> dict[str, Any]:
    spec = cast("dict[str, Any]", _filled(base, values))
    spec.setdefault("name", "-".join([name, *values.values()])[:200])
    return spec


def _filled(value: Any, values: dict[str, str]) -> Any:
    if isinstance(value, str):
        # Braces of the shell's ${name}, and any others, stay.
        return re.sub(
            r"(?<!\$)\{(" + "|".join(map(re.escape, values)) + r")\}",
            lambda match: values[match[1]],
            value,
        )
    if isinstance(value, list):
        return [_filled(one, values) for one in cast("list[Any]", value)]
    if isinstance(value, dict):
        return {key: _filled(one, values) for key, one in cast("dict[str, Any]", value).items()}
    return value


def _uses(base: dict[str, Any], key: str) -> bool:
    return _filled(base, {key: "\0"}) != base


def _matrix(plan: Mapping[str, Any], where: str) -> dict[str, list[str]]:
    value = plan.get("matrix")
    if value is None and (plan.get("seeds") is not None or plan.get("include")):
        value = {}
    elif not isinstance(value, dict) or not value:
        raise MatrixError(
            f"{where}: `matrix` is missing; write it like `matrix: {{lr: [1e-4, 5e-5]}}`."
        )
    matrix = {
        key: _words(values, f"matrix.{key}", key, where)
        for key, values in cast("dict[str, Any]", value).items()
    }
    if plan.get("seeds") is not None:
        if _SEED in matrix:
            raise MatrixError(
                f"{where}: both `seeds` and `matrix.seed` are given; keep one of them."
            )
        matrix[_SEED] = _seeds(plan["seeds"], where)
    return matrix


def _seeds(value: Any, where: str) -> list[str]:
    """A list of seeds, or how many: `3` is 0, 1, 2."""
    if isinstance(value, list):
        return _words(cast("Any", value), "seeds", "seeds", where)
    count = _word(value)
    if count is None or not count.isdecimal() or not 1 <= int(count) <= _MOST:
        raise MatrixError(
            f"{where}: `seeds` must be a number of seeds, like `seeds: 3`, or a list."
        )
    return [str(seed) for seed in range(int(count))]


def _words(values: Any, path: str, key: str, where: str) -> list[str]:
    if not isinstance(values, list) or not values:
        raise MatrixError(f"{where}: `{path}` is not a list; write it like `{key}: [1, 2]`.")
    words = [_word(one) for one in cast("list[Any]", values)]
    if None in words:
        raise MatrixError(f"{where}: `{path}` may contain only words and numbers.")
    if len(set(words)) < len(words):
        raise MatrixError(f"{where}: `{path}` contains a value twice; keep one of them.")
    return cast("list[str]", words)


def _word(value: Any) -> str | None:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, str | int | float) else None


def _mappings(plan: Mapping[str, Any], key: str, where: str) -> list[dict[str, str]]:
    value = plan.get(key)
    if value is None:
        return []
    entries = cast("list[Any]", value) if isinstance(value, list) else [None]
    found: list[dict[str, str]] = []
    for one in entries:
        words = (
            {name: _word(word) for name, word in cast("dict[str, Any]", one).items()}
            if isinstance(one, dict)
            else {"": None}
        )
        if None in words.values():
            raise MatrixError(
                f"{where}: `{key}` must be a list of combinations, like `- {{seed: 2}}`."
            )
        found.append(cast("dict[str, str]", words))
    return found


def _known_key(what: str, key: str, matrix: dict[str, list[str]], where: str) -> None:
    if key not in matrix:
        raise MatrixError(
            f"{where}: `{what}` names {key!r}, which `matrix` does not have{_near(key, list(matrix))}"
        )


def _near(key: str, known: list[str] | tuple[str, ...]) -> str:
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; write {', '.join(known)}."
