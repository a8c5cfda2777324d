"""Reports to the server."""

from __future__ import annotations

import time

import structlog

from berth.protocol.base import Wire
from berth.protocol.gpus import BoxSnapshot
from berth.protocol.internal import ObservedAttempt, WorkerReport
from berth_worker.attempts.supervision import Supervision
from berth_worker.devices.sampling import Sampler, differs

_log = structlog.get_logger(__name__)
_REPEAT_AFTER_S = 3.0
_UNSENDABLE = (
    "What the worker knows of it cannot be sent; see its run directory and the worker's log."
)


class Reporter:
    """
    Builds the reports.

    With every sample of the devices, once a second, a report holds all attempts; in between, those
    that have changed. The devices are included when they show something new, else every three
    seconds; without attempts that is the only report, so that an empty box sleeps.
    """

    def __init__(self, frame: WorkerReport, sampler: Sampler, supervisor: Supervision) -> None:
        """`frame` holds the constant fields."""
        self._frame = frame
        self._sampler = sampler
        self._supervisor = supervisor
        self._sent: BoxSnapshot | None = None
        self._sent_at = 0.0
        self._considered: BoxSnapshot | None = None

    @property
    def due(self) -> bool:
        """True when the last sample is to be reported."""
        return (
            self._supervisor.has_attempts
            or time.monotonic() - self._sent_at >= _REPEAT_AFTER_S
            or (self._sampler.latest is not None and differs(self._sampler.latest, self._sent))
        )

    def build(self, *, whole: bool) -> bytes:
        """Build the next report; `whole`: the server may know nothing of earlier reports."""
        latest = self._sampler.latest
        now = time.monotonic()
        snapshot = None
        if latest is not None and latest is not self._sent:
            due = whole or now - self._sent_at >= _REPEAT_AFTER_S
            if due or differs(latest, self._sent):
                snapshot, self._sent, self._sent_at = latest, latest, now
        elif whole:
            snapshot = latest
        everything = whole or latest is not self._considered
        self._considered = latest
        attempts = self._supervisor.observed(everything=everything)
        report = self._frame.model_copy(update={"snapshot": snapshot, "attempts": attempts})
        try:
            return report.model_dump_json().encode()
        except (ValueError, RecursionError):
            kept = tuple(one for one in map(_sendable, attempts) if one is not None)
            devices = snapshot if snapshot is not None and _is_sendable(snapshot) else None
            report = report.model_copy(update={"snapshot": devices, "attempts": kept})
            return report.model_dump_json().encode()

    def build_single(self) -> list[bytes]:
        """Build one report for each attempt, for a server that refuses them together."""
        attempts = self._supervisor.observed(everything=True)
        kept = (one for one in map(_sendable, attempts) if one is not None)
        return [
            self._frame.model_copy(update={"attempts": (one,)}).model_dump_json().encode()
            for one in kept
        ]


def _is_sendable(part: Wire) -> bool:
    try:
        part.model_dump_json()
    except (ValueError, RecursionError):
        return False
    return True


def _sendable(attempt: ObservedAttempt) -> ObservedAttempt | None:
    """Return the attempt, or what of it can be sent; None when nothing can."""
    if _is_sendable(attempt):
        return attempt
    _log.error(
        "an attempt cannot be reported in full",
        action="report.incomplete",
        attempt=attempt.attempt,
    )
    plain = attempt.model_copy(update={"message": _UNSENDABLE, "launch": None})
    return plain if _is_sendable(plain) else None
