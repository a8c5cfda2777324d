"""Whether every job is where it should be: what the driver shows against the leases."""

from __future__ import annotations

import structlog

from berth.protocol.gpus import BoxSnapshot
from berth_worker.attempts.supervisor import Supervisor

_log = structlog.get_logger(__name__)


class Audit:
    """
    Looks every snapshot over.

    The server decides what becomes of an escape: it sees it in the same snapshot, where each
    process carries its attempt. Here it is logged, once, and remembered until the end.
    """

    def __init__(self, supervisor: Supervisor) -> None:
        """`supervisor` knows the leases."""
        self._supervisor = supervisor
        self._told: set[tuple[str, str]] = set()

    def check(self, snapshot: BoxSnapshot) -> None:
        """Note who is where."""
        for attempt, uuid, pid in on_gpus(snapshot):
            self._supervisor.add_seen_pid(attempt, pid)
            lease = self._supervisor.lease(attempt)
            if lease and uuid not in lease and (attempt, uuid) not in self._told:
                self._told.add((attempt, uuid))
                _log.warning(
                    "a job is on a GPU that is not its own",
                    action="audit.escaped",
                    attempt=attempt,
                    gpu=uuid,
                    pid=pid,
                )


def on_gpus(snapshot: BoxSnapshot) -> list[tuple[str, str, int]]:
    """Attempt, GPU and pid of every process that belongs to an attempt."""
    return [
        (process.attempt, gpu.uuid, process.pid)
        for gpu in snapshot.gpus
        for process in gpu.processes
        if process.attempt is not None
    ]
