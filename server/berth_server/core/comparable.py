"""Differences between the runs of an ablation that are not the ablation's own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from berth.protocol.message import Code, Message

Kind = Literal["setting", "training_samples", "samples_per_step", "changed_by_resume", "steps_made"]
_OWN = ("setting", "ablation")
_MOST_KEYS = 300  # runs name their settings themselves
_MOST = 0.5  # share of shortened samples from which on a run is said to be

Fact = tuple[Kind, str]
"""A kind, and the name of the setting; of other kinds the kind again."""


class Difference(NamedTuple):
    """One thing in which a run differs, its value, and that of most runs."""

    kind: Kind
    what: str
    value: str
    usual: str


@dataclass(frozen=True, slots=True)
class RunFacts:
    """A run as it reported itself; `steps` only of one that ended well."""

    labels: Mapping[str, str]
    facts: Mapping[Fact, str] = field(default_factory=dict[Fact, str])
    steps: float | None = None


def differences(runs: Sequence[RunFacts]) -> list[list[Difference]]:
    """
    Return for each run in what it differs from most others.

    A setting that has the value of one of the run's labels, in every run, is what the ablation
    varies. Runs that reported nothing are compared by nothing.
    """
    told: list[dict[Fact, str]] = [dict(run.facts) for run in runs]
    for run, one in zip(runs, told, strict=True):
        if run.steps is not None:
            one["steps_made", "steps_made"] = f"{run.steps:g}"
    found: list[list[Difference]] = [[] for _ in runs]
    keys = dict.fromkeys(key for one in told for key in one if key != _OWN)
    for key in list(keys)[:_MOST_KEYS]:
        values = [one[key] for one in told if key in one]
        usual, count = Counter(values).most_common(1)[0]
        if count == len(values) or _is_labelled(key, runs, told):
            continue
        for one, mine in zip(told, found, strict=True):
            if key in one and one[key] != usual:
                mine.append(Difference(*key, one[key], usual))
    return found


def sentence_of(found: Difference) -> Message:
    """Return the difference in words."""
    _, what, value, usual = found
    match found.kind:
        case "setting":
            return Message.of(
                _code(what), " is ", _code(value), "; most runs have ", _code(usual), "."
            )
        case "training_samples":
            return Message.of(f"It has {value} training samples; most runs have {usual}.")
        case "samples_per_step":
            return Message.of(f"A step takes {value} samples; in most runs it takes {usual}.")
        case "steps_made":
            return Message.of(f"It made {value} steps; most runs made {usual}.")
        case "changed_by_resume":
            if not value:
                return Message.of("It was not changed by a resume; most runs were.")
            changed = [piece for name in value.split(", ") for piece in (", ", _code(name))]
            return Message.of("A resume changed ", *changed[1:], ".")


def shortening_of(samples: float, left_out: Mapping[str, float]) -> Message | None:
    """Return in words what most samples had to leave out; None where most fit."""
    if samples <= _MOST:
        return None
    parts = ", ".join(f"{share:.0%} of the {part}" for part, share in left_out.items())
    lost = f": {parts}, in characters of all samples" if parts else ""
    return Message.of(f"{samples:.0%} of the training samples leave something out{lost}.")


def _code(text: str) -> Code | str:
    return Code(text=text) if text else "empty"


def _is_labelled(key: Fact, runs: Sequence[RunFacts], told: Sequence[Mapping[Fact, str]]) -> bool:
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
