"""Readiness of a pending job, GPUs aside: hold, dependencies, start time."""

from __future__ import annotations

from datetime import datetime

from berth.protocol.states import JobState
from berth_server.core.dependencies import is_met
from berth_server.core.model import DependencyView, JobView


def unmet(job: JobView) -> tuple[DependencyView, ...]:
    """The dependencies that have not ended as they must."""
    return tuple(d for d in job.dependencies if not is_met(d.state, d.kind))


def is_ready(job: JobView, now: datetime) -> bool:
    """True if only GPUs and limits stand between the job and its start."""
    if job.state is JobState.HELD:
        return False
    if job.not_before is not None and job.not_before > now:
        return False
    return not job.dependencies or not unmet(job)
