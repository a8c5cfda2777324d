"""What the server is told."""

from __future__ import annotations

import time

from berth.protocol.gpus import BoxSnapshot
from berth.protocol.internal import WorkerReport
from berth_worker.attempts.supervisor import Supervisor
from berth_worker.devices.sampling import Sampler, tells_news

_REPEAT_AFTER_S = 3.0


class Reporter:
    """
    Makes the reports.

    With every look at the devices, so every second, they tell of all attempts; in between, of
    those with news. The devices themselves are told when they show something new, else every
    three seconds; without attempts that is the only report, so that an empty box sleeps.
    """

    def __init__(self, frame: WorkerReport, sampler: Sampler, supervisor: Supervisor) -> None:
        """`frame` holds what stays the same."""
        self._frame = frame
        self._sampler = sampler
        self._supervisor = supervisor
        self._told: BoxSnapshot | None = None
        self._told_at = 0.0
        self._considered: BoxSnapshot | None = None

    @property
    def due(self) -> bool:
        """Whether what the last look showed is to be told."""
        return (
            self._supervisor.has_attempts
            or time.monotonic() - self._told_at >= _REPEAT_AFTER_S
            or (self._sampler.latest is not None and tells_news(self._sampler.latest, self._told))
        )

    def build(self, *, whole: bool) -> bytes:
        """The next report; `whole`: the server may know nothing of what it was told before."""
        latest = self._sampler.latest
        now = time.monotonic()
        snapshot = None
        if latest is not None and latest is not self._told:
            due = whole or now - self._told_at >= _REPEAT_AFTER_S
            if due or tells_news(latest, self._told):
                snapshot, self._told, self._told_at = latest, latest, now
        elif whole:
            snapshot = latest
        everything = whole or latest is not self._considered
        self._considered = latest
        attempts = self._supervisor.observed(everything=everything)
        report = self._frame.model_copy(update={"snapshot": snapshot, "attempts": attempts})
        return report.model_dump_json().encode()
