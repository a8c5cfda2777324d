"""In which order ready jobs are offered the GPUs."""

from __future__ import annotations

from berth_server.core.model import JobView, Snapshot
from berth_server.core.readiness import is_ready
from berth_server.core.settings import PolicySettings


def ranked(snapshot: Snapshot, settings: PolicySettings) -> list[JobView]:  # noqa: ARG001 - the weights live there
    """
    Return the ready jobs, next first.

    Higher priority first; then the one that was submitted earlier; then the lower id.
    """
    now = snapshot.now
    ready = [job for job in snapshot.queue if is_ready(job, now)]
    ready.sort(key=lambda job: (-job.priority, job.queued_ts, job.id))
    return ready
