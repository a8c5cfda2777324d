"""Notices on stderr about a followed job while it has no log to show."""

from __future__ import annotations

from typing import TYPE_CHECKING

from berth.cli import jobtext, text
from berth.cli.session import note
from berth.gpunames import named

if TYPE_CHECKING:
    from berth.protocol.attempts import Attempt
    from berth.protocol.jobs import Job
    from berth.sdk.client import Client


class WaitNotices:
    """Prints how an attempt ended, what the job waits for, and where the next attempt starts."""

    def __init__(self, client: Client, known: Job | None = None) -> None:
        """`known` is the job as the user has seen it: that is not repeated."""
        self._client = client
        self._ended = 0
        self._waits = None if known is None else _waits(known)

    def __call__(self, job: Job) -> None:
        """Print what is new about the job since the last call."""
        for attempt in job.attempts:
            if attempt.number > self._ended and attempt.state.value == "ended":
                self._ended = attempt.number
                note(f"Attempt {attempt.id} ended. {self._end(job, attempt)}")
        if job.state.is_active:
            attempt = job.attempts[-1]
            where = f" on {named(attempt.gpu_indices)}" if attempt.gpu_indices else ""
            note(f"Attempt {attempt.id} starts{where}.")
            self._waits = None
        elif (waits := _waits(job)) != self._waits:
            self._waits = waits
            note(text.clean(jobtext.submitted(job)))

    def _end(self, job: Job, attempt: Attempt) -> str:
        """Return the event's sentence: how the attempt ended, and how many tries are left."""
        newest = self._client.events(job=job.id, newest=True, limit=20).events
        again = [
            text.message(event.message_parts, event.message)
            for event in newest
            if event.attempt == attempt.id and event.kind in {"job.queued", "job.waiting"}
        ]
        return again[-1] if again else jobtext.message(attempt) or jobtext.attempt_line(attempt)


def _waits(job: Job) -> str:
    """Return what it waits for, without the times that change constantly."""
    return f"{job.state.value} {jobtext.reason(job)}"
