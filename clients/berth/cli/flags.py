"""Translation of refused fields into the options that the user typed."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Generator

_OTHERWISE = {"labels": "--label", "not_before": "--after-time"}
_SAME = (
    "depends_on", "env", "gpu_memory", "gpus", "grace", "name", "notify", "on_oom", "priority",
    "python", "retries", "share", "snapshot", "time_limit", "warn_before", "workdir",
)  # fmt: skip
_FLAGS = {**{name: f"--{name.replace('_', '-')}" for name in _SAME}, **_OTHERWISE}
_NAMES = "|".join(_FLAGS)
_AT_THE_START = re.compile(rf"^({_NAMES})(?:\.[\w.-]+)?(?=: |$)")
_QUOTED = re.compile(rf"'({_NAMES})'")


def in_flags(sentence: str) -> str:
    """Rewrite `time_limit: …` as `--time-limit: …`, and `'workdir'` as `--workdir`."""
    begun = _AT_THE_START.sub(lambda found: _FLAGS[found[1]], sentence)
    return _QUOTED.sub(lambda found: _FLAGS[found[1]], begun)


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
            one.model_copy(update={"field": in_flags(one.field), "problem": in_flags(one.problem)})
            for one in error.problem.fields
        ]
        renamed = error.problem.model_copy(update={"fields": fields})
        raise InvalidRequest(in_flags(str(error)), renamed) from error
