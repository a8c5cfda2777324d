"""From one file to the jobs of an ablation: every combination of a matrix, as pure data."""

from __future__ import annotations

import itertools
import re
from typing import Any, cast

from berth.cli.failure import Failure

LABEL = "ablation"
_KEYS = {"name", "base", "matrix", "exclude"}
_MOST = 10_000


def expand(plan: dict[str, Any], where: str, name: str) -> list[dict[str, Any]]:
    """
    The job specs of an ablation, one per combination that is not excluded.

    `{key}` in command, script, workdir, name and values of env stands for the combination's
    value; `${key}` is left to the shell. Each job is labelled with the ablation and its values.
    Raises Failure naming what is missing.
    """
    unknown = sorted(set(plan) - _KEYS)
    if unknown:
        raise Failure(f"{where}: {unknown[0]!r} is not known; write {', '.join(sorted(_KEYS))}.")
    base = plan.get("base")
    if not isinstance(base, dict):
        raise Failure(f"{where}: `base` is missing; write the job that all runs share there.")
    job = cast("dict[str, Any]", base)
    matrix = _matrix(plan.get("matrix"), where)
    excluded = _excluded(plan.get("exclude"), matrix, where)
    unused = [key for key in matrix if not _uses(job, key)]
    if unused:
        raise Failure(
            f"{where}: {{{unused[0]}}} stands nowhere in `base`, so that its runs would be the same; "
            "put it into the command."
        )
    if (count := _count(matrix)) > _MOST:
        raise Failure(f"{where}: {count} combinations are too many; the most are {_MOST}.")
    combinations = [
        dict(zip(matrix, values, strict=True)) for values in itertools.product(*matrix.values())
    ]
    kept = [one for one in combinations if not any(ex.items() <= one.items() for ex in excluded)]
    if not kept:
        raise Failure(f"{where}: `exclude` leaves no run; take something out of it.")
    return [_job(job, one, name) for one in kept]


def _job(base: dict[str, Any], values: dict[str, str], name: str) -> dict[str, Any]:
    spec = cast("dict[str, Any]", _filled(base, values))
    spec.setdefault("name", "-".join([name, *values.values()])[:200])
    given = spec.get("labels")
    labels = cast("dict[str, Any]", given) if isinstance(given, dict) else {}
    spec["labels"] = {**labels, **values, LABEL: name}
    return spec


def _filled(value: Any, values: dict[str, str]) -> Any:
    if isinstance(value, str):
        # A brace of the shell's own ${name}, or of anything else, stays.
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


def _count(matrix: dict[str, list[str]]) -> int:
    count = 1
    for values in matrix.values():
        count *= len(values)
    return count


def _matrix(value: Any, where: str) -> dict[str, list[str]]:
    if not isinstance(value, dict) or not value:
        raise Failure(f"{where}: `matrix` is missing; write like `matrix: {{seed: [1, 2]}}`.")
    matrix = cast("dict[str, Any]", value)
    for key, values in matrix.items():
        if not isinstance(values, list) or not values:
            raise Failure(f"{where}: `matrix.{key}` is no list; write like `{key}: [1, 2]`.")
        words = cast("list[Any]", values)
        if not all(isinstance(word, str) for word in words):
            raise Failure(f"{where}: `matrix.{key}` may hold words and numbers only.")
        if len(set(words)) < len(words):
            raise Failure(f"{where}: `matrix.{key}` names a value twice; keep one of them.")
    return matrix


def _excluded(value: Any, matrix: dict[str, list[str]], where: str) -> list[dict[str, str]]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(
        isinstance(one, dict) for one in cast("list[Any]", value)
    ):
        raise Failure(f"{where}: `exclude` is a list of combinations, like `- {{seed: 2}}`.")
    excluded = cast("list[dict[str, Any]]", value)
    for one in excluded:
        for key, word in one.items():
            if word not in matrix.get(key, ()):
                raise Failure(f"{where}: `exclude` names {key}: {word}, which `matrix` has not.")
    return excluded
