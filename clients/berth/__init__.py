"""
Berth: a GPU job queue for the box that a lab shares.

`import berth` costs next to nothing: the names below are loaded when they are first used.

    import berth

    with berth.Client() as client:
        job = client.submit({"command": "deepspeed --num_gpus=4 train.py", "time_limit": "12h"})
        print(client.wait(job.id)[0].state)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from berth.protocol.ablations import AblationSpec
    from berth.protocol.jobs import Job, JobPatch
    from berth.protocol.specs import JobSpec, OomLadder
    from berth.protocol.states import JobState, Outcome
    from berth.sdk.client import Client
    from berth.sdk.errors import (
        BerthError,
        Conflict,
        Forbidden,
        InvalidRequest,
        NotFound,
        Refused,
        ServerTrouble,
        Unauthorized,
        Unreachable,
        WaitTimeout,
    )
    from berth.sdk.matrix import MatrixError

    __version__: str

_WHERE = {
    "berth.sdk.client": ("Client",),
    "berth.sdk.errors": (
        "BerthError",
        "Conflict",
        "Forbidden",
        "InvalidRequest",
        "NotFound",
        "Refused",
        "ServerTrouble",
        "Unauthorized",
        "Unreachable",
        "WaitTimeout",
    ),
    "berth.sdk.matrix": ("MatrixError",),
    "berth.protocol.ablations": ("AblationSpec",),
    "berth.protocol.jobs": ("Job", "JobPatch"),
    "berth.protocol.specs": ("JobSpec", "OomLadder"),
    "berth.protocol.states": ("JobState", "Outcome"),
}
_HOMES = {name: module for module, names in _WHERE.items() for name in names}

__all__ = [
    "AblationSpec",
    "BerthError",
    "Client",
    "Conflict",
    "Forbidden",
    "InvalidRequest",
    "Job",
    "JobPatch",
    "JobSpec",
    "JobState",
    "MatrixError",
    "NotFound",
    "OomLadder",
    "Outcome",
    "Refused",
    "ServerTrouble",
    "Unauthorized",
    "Unreachable",
    "WaitTimeout",
    "__version__",
]


def __getattr__(name: str) -> object:
    if name == "__version__":
        metadata = importlib.import_module("importlib.metadata")
        value: object = metadata.version("gpuberth")
    elif name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module 'berth' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
