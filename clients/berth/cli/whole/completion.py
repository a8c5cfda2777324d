"""Completion of what the server knows: jobs, users, labels, GPUs, ablations; nothing without it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from berth.sdk.client import Client

Choices = list[tuple[str, str]]
_RECENT = 50
"""Jobs that are looked at: who completes waits."""


def jobs(incomplete: str) -> Choices:
    """Ids of recent jobs, with state and name."""
    return _asked(
        incomplete,
        lambda client: (
            (str(job.id), f"{job.state} {job.name}") for job in client.jobs(limit=_RECENT)
        ),
    )


def users(incomplete: str) -> Choices:
    """Names of users, with how many of their jobs run."""
    return _asked(
        incomplete,
        lambda client: (
            (one.user, f"{one.running} running, {one.pending} pending")
            for one in client.users().users
        ),
    )


def labels(incomplete: str) -> Choices:
    """Pairs of recent jobs, with the newest job of each."""
    return _asked(
        incomplete,
        lambda client: {
            f"{key}={value}": f"job {job.id}"
            for job in reversed(list(client.jobs(limit=_RECENT)))
            for key, value in job.labels.items()
        }.items(),
    )


def gpus(incomplete: str) -> Choices:
    """Indices of GPUs, with who holds each."""
    return _asked(
        incomplete,
        lambda client: ((str(gpu.index), gpu.holder.sentence) for gpu in client.gpus().gpus),
    )


def ablations(incomplete: str) -> Choices:
    """Names of ablations."""
    return _asked(
        incomplete, lambda client: ((one.id, "ablation") for one in client.ablations().ablations)
    )


def _asked(incomplete: str, find: Callable[[Client], Iterable[tuple[str, str]]]) -> Choices:
    from berth.cli.session import connect
    from berth.sdk.errors import BerthError

    try:
        with connect(patience=0.0) as client:
            return [(word, said) for word, said in find(client) if word.startswith(incomplete)]
    except BerthError:
        return []
