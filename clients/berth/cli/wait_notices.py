"""What a followed job does while there is no log to show: told on stderr."""

from __future__ import annotations

from typing import TYPE_CHECKING

from berth.cli import jobtext, text
from berth.cli.session import note
from berth.gpunames import named

if TYPE_CHECKING:
    from berth.protocol.jobs import Attempt, Job
    from berth.sdk.client import Client


class WaitNotices:
    """Tells how an attempt ended, what the job waits for, and where the next attempt starts."""

    def __init__(self, client: Client, told: Job | None = None) -> None:
        """`told` is the job as the user knows it already: that is not said again."""
        self._client = client
        self._ended = 0
        self._waits = None if told is None else _waits(told)

    def __call__(self, job: Job) -> None:
        """Say what is new about the job since the last call."""
        for attempt in job.attempts:
            if attempt.number > self._ended and attempt.state.value == "ended":
                self._ended = attempt.number
                note(f"Attempt {attempt.id} ended. {text.sentence(self._end(job, attempt))}")
        if job.state.is_active:
            attempt = job.attempts[-1]
            where = f" on {named(attempt.gpu_indices)}" if attempt.gpu_indices else ""
            note(f"Attempt {attempt.id} starts{where}.")
            self._waits = None
        elif (waits := _waits(job)) != self._waits:
            self._waits = waits
            note(text.sentence(jobtext.submitted(job)))

    def _end(self, job: Job, attempt: Attempt) -> str:
        """The event's sentence: it says how the attempt ended, and how many tries are left."""
        newest = self._client.events(job=job.id, newest=True, limit=20).events
        again = [
            event.message
            for event in newest
            if event.attempt == attempt.id and event.kind in {"job.queued", "job.waiting"}
        ]
        return again[-1] if again else attempt.message or jobtext.attempt_line(attempt)


def _waits(job: Job) -> str:
    """What it waits for, without the times that differ at every look."""
    return f"{job.state.value} {jobtext.without_forecast(job.reason or '')}"
