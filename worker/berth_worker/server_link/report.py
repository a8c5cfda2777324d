"""Reports to the server."""

from __future__ import annotations

import time

from berth.protocol.gpus import BoxSnapshot
from berth.protocol.internal import WorkerReport
from berth_worker.attempts.supervisor import Supervisor
from berth_worker.devices.sampling import Sampler, differs

_REPEAT_AFTER_S = 3.0


class Reporter:
    """
    Builds the reports.

    With every sample of the devices, once a second, a report holds all attempts; in between, those
    that have changed. The devices are included when they show something new, else every three
    seconds; without attempts that is the only report, so that an empty box sleeps.
    """

    def __init__(self, frame: WorkerReport, sampler: Sampler, supervisor: Supervisor) -> None:
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
        return report.model_dump_json().encode()
