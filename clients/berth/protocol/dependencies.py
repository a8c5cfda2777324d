"""Dependencies of jobs: `41` or `afterok:41`, `afterany:41`, `afternotok:41`."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema

from berth.protocol.base import Wire

_WRITTEN = re.compile(r"(?:(afterok|afterany|afternotok):)?#?(\d{1,19})")
_MOST = 2**63 - 1


class DependencyKind(StrEnum):
    """End that the other job must have."""

    AFTEROK = "afterok"
    AFTERANY = "afterany"
    AFTERNOTOK = "afternotok"


class Dependency(Wire):
    """A job that has to end first, and how."""

    job_id: int = Field(examples=[41])
    """The other job."""
    kind: DependencyKind = DependencyKind.AFTEROK
    """`afterok`: it must succeed. `afterany`: it must end, however. `afternotok`: it must fail or
    be cancelled."""


def parse(written: int | str) -> Dependency:
    """Read a dependency as a spec holds it. Raises ValueError with a sentence."""
    if isinstance(written, bool):
        raise ValueError(_SENTENCE.format(written))  # noqa: TRY004 - becomes a validation error
    match = _WRITTEN.fullmatch(str(written))
    number = int(match[2]) if match else 0
    if match is None or not 1 <= number <= _MOST:
        raise ValueError(_SENTENCE.format(written))
    return Dependency(job_id=number, kind=DependencyKind(match[1] or "afterok"))


_SENTENCE = (
    "{!r} is no dependency; write a job's id like 41, or afterok:41, afterany:41, afternotok:41."
)


def _normal(value: object) -> int | str:
    if not isinstance(value, int | str):
        raise ValueError(_SENTENCE.format(value))  # noqa: TRY004 - becomes a validation error
    found = parse(value)
    if found.kind is DependencyKind.AFTEROK:
        return found.job_id
    return f"{found.kind.value}:{found.job_id}"


DependencyRef = Annotated[
    int | str,
    BeforeValidator(_normal),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": _MOST},
                {"type": "string", "pattern": r"^(afterok|afterany|afternotok):#?[0-9]{1,19}$"},
            ]
        }
    ),
]
"""A job's id, which stands for `afterok`, or `afterany:41`, `afternotok:41`."""
