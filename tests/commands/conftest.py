"""A lease and a runtime to rewrite commands for."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from berth.commands import LeaseFacts, Rewritten, Runtime, read, rewrite

LEASE = LeaseFacts(indices=(2, 3, 6, 7), visible=(2, 3, 6, 7), port=31007)
RUNTIME = Runtime(python="/envs/twin/bin/python", accelerate_config="/berth/accelerate.yaml")


@pytest.fixture
def lease() -> LeaseFacts:
    """Four GPUs without a fence: the job sees the box's indices."""
    return LEASE


@pytest.fixture
def fenced() -> LeaseFacts:
    """The same GPUs inside a fence: the job counts from 0."""
    return LeaseFacts(indices=(2, 3, 6, 7), visible=(0, 1, 2, 3), port=31007)


@pytest.fixture
def runtime() -> Runtime:
    """An environment of the user's."""
    return RUNTIME


@pytest.fixture
def safe(lease, runtime) -> Callable[..., Rewritten]:
    """Read and rewrite a command for the lease."""

    def rewritten(command=None, *, script=None, on=lease, with_=runtime) -> Rewritten:
        return rewrite(read(command, script), on, with_)

    return rewritten
