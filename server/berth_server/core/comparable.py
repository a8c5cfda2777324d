"""Differences between the runs of an ablation that are not the ablation's own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

STEPS = "steps made"
_OWN = frozenset({"ablation"})


class Difference(NamedTuple):
    """One thing in which a run differs, its value, and that of most runs."""

    what: str
    value: str
    usual: str


@dataclass(frozen=True, slots=True)
class RunFacts:
    """A run as it reported itself; `steps` only of one that ended well."""

    labels: Mapping[str, str]
    settings: Mapping[str, str] = field(default_factory=dict[str, str])
    steps: float | None = None


def differences(runs: Sequence[RunFacts]) -> list[list[Difference]]:
    """
    Return for each run in which settings it differs from most others.

    A setting that has the value of one of the run's labels, in every run, is what the ablation
    varies. Runs that reported nothing are compared by nothing.
    """
    told = [dict(run.settings) | ({STEPS: f"{run.steps:g}"} if run.steps is not None else {})
            for run in runs]  # fmt: skip
    found: list[list[Difference]] = [[] for _ in runs]
    keys = dict.fromkeys(key for one in told for key in one if key not in _OWN)
    for key in keys:
        values = [one[key] for one in told if key in one]
        usual, count = Counter(values).most_common(1)[0]
        if count == len(values) or _is_labelled(key, runs, told):
            continue
        for one, mine in zip(told, found, strict=True):
            if key in one and one[key] != usual:
                mine.append(Difference(key, one[key], usual))
    return found


def _is_labelled(key: str, runs: Sequence[RunFacts], told: Sequence[Mapping[str, str]]) -> bool:
    names = set.intersection(*(set(run.labels) for run in runs))
    return any(
        all(
            _same(run.labels[name], one[key])
            for run, one in zip(runs, told, strict=True)
            if key in one
        )
        for name in names
    )


def _same(label: str, value: str) -> bool:
    name = value.partition(" (")[0]  # of a model or data: the folder's name, then the digest
    try:
        return label.rstrip("/").rpartition("/")[2] == name or float(label) == float(value)
    except ValueError:
        return False
