"""Translation of refused fields into the options that the user typed."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from berth.protocol.message import Message, Part

_OTHERWISE = {
    "labels": "--label",
    "not_before": "--after-time",
    "starts_at": "--from",
    "ends_at": "--to",
    "users": "--for",
    "groups": "--for-group",
}
_SAME = (
    "depends_on", "env", "gpu_memory", "gpus", "grace", "name", "notify", "on_oom", "priority",
    "python", "retries", "share", "snapshot", "time_limit", "warn_before", "workdir",
)  # fmt: skip
_FLAGS = {**{name: f"--{name.replace('_', '-')}" for name in _SAME}, **_OTHERWISE}


def flag(path: str) -> str:
    """Return the option of a field of a job, `--env` of `env.HOME`; the path itself without one."""
    return _FLAGS.get(path.partition(".")[0], path)


def in_flags(message: Message) -> Message:
    """Make a message name options instead of fields."""
    return type(message)(tuple(map(_renamed, message.root)))


def _renamed(part: Part) -> Part:
    if part.kind == "field" and (option := flag(part.path)) != part.path:
        return part.model_copy(update={"text": option})
    return part


@contextlib.contextmanager
def fields_as_flags(*, wanted: bool) -> Generator[None]:
    """Make the server's refusals in this block name options instead of fields, if `wanted`."""
    from berth.sdk.errors import InvalidRequest

    try:
        yield
    except InvalidRequest as error:
        if not wanted or error.problem is None:
            raise
        fields = [
            one.model_copy(
                update={
                    "field": flag(one.field),
                    "problem": str(in_flags(one.problem_parts)) or one.problem,
                    "problem_parts": in_flags(one.problem_parts),
                }
            )
            for one in error.problem.fields
        ]
        detail = in_flags(error.problem.detail_parts)
        renamed = error.problem.model_copy(update={"fields": fields, "detail_parts": detail})
        raise InvalidRequest(str(detail) or str(error), renamed) from error
