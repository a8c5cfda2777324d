"""Work of a run: how many steps, epochs or rounds it is asked to do, and at what shape."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from berth_server.core.progress import vocabulary

Unit = Literal["step", "epoch", "round"]
_UNITS: tuple[Unit, ...] = ("step", "epoch", "round")
_SHAPES = re.compile(
    r"(?:^|_)(?:batch|bs|length|len|seq|accum\w*|model|width|dim|hidden|layers?|heads?|block|image|"
    r"img|res|resolution|size|precision|bf16|fp16|fp8|dtype|compile|lora|r|pack\w*|samples?|data|"
    r"dataset|train)(?:_|$)"
)
_BESIDE = re.compile(
    r"(?:^|_)(?:eval\w*|val\w*|test|save|log\w*|warmup|output|dir|name|seed|lr)(?:_|$)"
)
_MOST_KEYS = 400
_LONGEST_SHAPE = 2000
_MOST = 1e12


@dataclass(frozen=True, slots=True)
class Work:
    """Amount of work of a run. Runs of one script, shape and number of GPUs take as long a unit."""

    unit: Unit
    amount: float
    shape: str = ""
    """The settings that decide how long a unit takes, as `name=value`, sorted."""
    planned_s: float | None = None
    """Seconds that the bundled trainer's plan expects of it all."""

    @property
    def words(self) -> str:
        """`4,000 steps`, `1 epoch`."""
        return f"{self.amount:,.10g} {self.unit}{'' if self.amount == 1 else 's'}"

    def encode(self) -> str:
        """JSON for the database."""
        return json.dumps([self.unit, self.amount, self.shape, self.planned_s])

    @classmethod
    def decode(cls, text: str | None) -> Work | None:
        """Work of a row; None for none, and for what an earlier or later version wrote."""
        try:
            unit, amount, shape, planned_s = json.loads(text or "null")
        except (TypeError, ValueError):
            return None
        return cls(unit, float(amount), str(shape), planned_s) if unit in _UNITS else None


def work_of(arguments: Sequence[str], configs: Sequence[Mapping[str, object]] = ()) -> Work | None:
    """
    Work that a command's arguments and the configuration files that they name ask for.

    None where nothing says how much. The command counts before the files, steps before epochs.
    """
    found = [*_options(arguments)]
    for config in configs:
        found += _flat(config)
    amounts: dict[str, float] = {}
    shape: dict[str, str] = {}
    for name, value in found[:_MOST_KEYS]:
        short = name.rpartition(".")[2].lower().replace("-", "_")
        unit = vocabulary.total_of(short)
        if unit is not None:
            number = _number(value)
            if number is not None:
                amounts.setdefault(unit, number)
        elif _SHAPES.search(short) and not _BESIDE.search(short):
            shape.setdefault(short, value)
    for unit in _UNITS:
        if unit in amounts:
            words = " ".join(f"{name}={value}" for name, value in sorted(shape.items()))
            return Work(unit, amounts[unit], words[:_LONGEST_SHAPE])
    return None


def _options(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """`--name value`, `--name=value` and `name=value`."""
    for word, after in zip(arguments, (*arguments[1:], ""), strict=False):
        name, equals, value = word.lstrip("-+").partition("=")
        if not name or not re.fullmatch(r"[A-Za-z][\w.\-]*", name):
            continue
        if equals:
            yield name, value
        elif word.startswith("-") and after and not after.startswith("-"):
            yield name, after


def _flat(config: Mapping[str, object], depth: int = 0) -> Iterator[tuple[str, str]]:
    for name, value in config.items():
        if isinstance(value, Mapping):
            if depth < 4:
                yield from _flat(cast("Mapping[str, Any]", value), depth + 1)
        elif isinstance(value, str | int | float):
            yield str(name), str(value)


def _number(value: str) -> float | None:
    try:
        number = float(value.strip("'\"").replace("_", ""))
    except ValueError:
        return None
    return number if 0 < number < _MOST else None
