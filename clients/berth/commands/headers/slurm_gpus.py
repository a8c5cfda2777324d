"""The number of GPUs of a Slurm header, in all its spellings."""

from __future__ import annotations

import re
from collections.abc import Mapping

from berth.commands.errors import CommandError
from berth.commands.headers.option import Option

NAMES = frozenset(
    {"gres", "gpus", "gpus-per-node", "gpus-per-task", "gpus-per-socket", "tres-per-node"}
    | {"tres-per-task"}
)
_GRES = re.compile(r"(?:gres[:/])?gpu(?:[:/=]([A-Za-z][\w.-]*))?(?:[:/=](\d{1,6}))?(?:\([^)]*\))?")
_COUNT = re.compile(r"(?:([A-Za-z][\w.-]*):)?(\d{1,6})")


def count(options: Mapping[str, Option]) -> tuple[int | None, list[str]]:
    """The GPUs that the options ask for on one node, and notes. Raises CommandError."""
    notes: list[str] = []
    found: int | None = None
    for name in (
        "gpus",
        "gpus-per-task",
        "tres-per-task",
        "gpus-per-node",
        "tres-per-node",
        "gres",
    ):
        option = options.get(name)
        if option is None:
            continue
        number, models = _number(option, generic=name in {"gres", "tres-per-node", "tres-per-task"})
        if models:
            notes.append(
                f"`{option.said}` names the model {models[0]}, which Berth does not choose by; "
                "`--gpu-memory` asks for large ones."
            )
        if number is None:
            notes.append(f"`{option.said}` has no meaning here: Berth gives out GPUs alone.")
            continue
        if name.endswith("per-task"):
            number *= _tasks(options)
        found = number if found is None else found
    socket = options.get("gpus-per-socket")
    if socket:
        notes.append(
            f"`{socket.said}` has no meaning here: Berth does not count sockets; write --gpus=N."
        )
    return found, notes


def _number(option: Option, *, generic: bool) -> tuple[int | None, list[str]]:
    total: int | None = None
    models: list[str] = []
    for part in (option.value or "").split(","):
        match = (_GRES if generic else _COUNT).fullmatch(part)
        if match is None and generic and not part.startswith(("gpu", "gres")):
            continue
        if match is None:
            raise CommandError(
                f"`{option.said}` is no number of GPUs; write it like --gpus=4 or --gres=gpu:4."
            )
        model, number = match.groups()
        total = (total or 0) + (1 if number is None else int(number))
        models += [model] if model else []
    return total, models


def _tasks(options: Mapping[str, Option]) -> int:
    for name in ("ntasks", "ntasks-per-node", "tasks-per-node"):
        value = options[name].value if name in options else None
        if value and value.isdecimal():
            return max(1, int(value[:6]))
    return 1
