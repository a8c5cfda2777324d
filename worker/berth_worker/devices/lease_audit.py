"""Lease audit: the processes that the driver shows against the attempts' leases."""

from __future__ import annotations

import structlog

from berth.protocol.gpus import BoxSnapshot
from berth_worker.attempts.supervision import Supervision

_log = structlog.get_logger(__name__)


class LeaseAudit:
    """
    Checks every snapshot for attempts outside their leases.

    The server decides what happens to an escaped attempt: it sees the same snapshot, in which each
    process carries its attempt. Here an escape is logged once.
    """

    def __init__(self, supervisor: Supervision) -> None:
        """`supervisor` knows the leases."""
        self._supervisor = supervisor
        self._logged: set[tuple[str, str]] = set()

    def check(self, snapshot: BoxSnapshot) -> None:
        """Record the pids of each attempt and log escapes."""
        for attempt, uuid, pid in on_gpus(snapshot):
            self._supervisor.add_seen_pid(attempt, pid)
            lease = self._supervisor.lease(attempt)
            if lease and uuid not in lease and (attempt, uuid) not in self._logged:
                self._logged.add((attempt, uuid))
                _log.warning(
                    "a job runs on a GPU outside its lease",
                    action="audit.escaped",
                    attempt=attempt,
                    gpu=uuid,
                    pid=pid,
                )


def on_gpus(snapshot: BoxSnapshot) -> list[tuple[str, str, int]]:
    """Return attempt, GPU and pid of every process that belongs to an attempt."""
    return [
        (process.attempt, gpu.uuid, process.pid)
        for gpu in snapshot.gpus
        for process in gpu.processes
        if process.attempt is not None
    ]
