"""`#BERTH` options: those of `berth submit`, in a script."""

from __future__ import annotations

from collections.abc import Sequence

from berth.commands.errors import CommandError
from berth.commands.headers.option import Option

_TEXT = {
    "name": "name",
    "time-limit": "time_limit",
    "workdir": "workdir",
    "python": "python",
    "grace": "grace",
    "warn-before": "warn_before",
    "gpu-memory": "gpu_memory",
    "after-time": "not_before",
}
_NUMBERS = {"gpus": "gpus", "priority": "priority", "retries": "retries"}
_SWITCHES = frozenset({"share", "hold", "preemptible", "snapshot"})
_LISTS = {"depends-on": "depends_on", "notify": "notify"}
_PAIRS = {"env": "env", "label": "labels"}


def read(options: Sequence[Option]) -> dict[str, object]:
    """Read the options into fields of a job. Raises CommandError for one that submit lacks."""
    fields: dict[str, object] = {}
    for option in options:
        name = option.name
        if name in _SWITCHES:
            fields[name] = True
            continue
        value = option.value
        if not value:
            raise CommandError(f"`{option.said}` needs a value; give it, or leave the line out.")
        if name in _TEXT:
            fields[_TEXT[name]] = value
        elif name in _NUMBERS:
            fields[_NUMBERS[name]] = _number(option, value)
        elif name == "on-oom":
            fields["on_oom"] = {"steps": value.split(",")}
        elif name in _LISTS:
            parts = [each for each in value.split(",") if each] if name == "depends-on" else [value]
            fields[_LISTS[name]] = [*_so_far(fields, _LISTS[name]), *_spread(parts, name)]
        elif name in _PAIRS:
            key, equals, text = value.partition("=")
            if not equals:
                raise CommandError(f"`{option.said}` is not of the form NAME=VALUE.")
            known = fields.setdefault(_PAIRS[name], {})
            assert isinstance(known, dict)
            known[key] = text
        else:
            raise CommandError(
                f"`{option.said}` is no option of `berth submit` that a script can hold; "
                "`berth submit --help` lists them."
            )
    return fields


def _so_far(fields: dict[str, object], key: str) -> list[object]:
    found = fields.get(key)
    return list(found) if isinstance(found, list) else []  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]


def _spread(parts: list[str], name: str) -> list[str]:
    """`afterany:3:4` names two jobs."""
    if name != "depends-on":
        return parts
    found: list[str] = []
    for part in parts:
        kind, colon, listed = part.partition(":")
        found += [f"{kind}:{each}" for each in listed.split(":")] if colon else [part]
    return found


def _number(option: Option, value: str) -> int:
    if not value.removeprefix("-").isdecimal():
        raise CommandError(f"`{option.said}` needs a whole number.")
    return int(value[:9])
