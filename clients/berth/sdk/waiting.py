"""Client calls that wait for jobs."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from berth.protocol.events import Event
from berth.protocol.jobs import Job
from berth.sdk.box import BoxCalls
from berth.sdk.errors import Silent, Unreachable, WaitTimeout
from berth.sdk.jobs import JobCalls
from berth.sdk.parse import parse
from berth.sdk.patience import Patience

# The server sends a comment every 15 s; a stream that is silent for longer is broken.
_QUIET_S = 45.0
# A stream has no clock, so the last seconds before a deadline are spent polling.
_CLOSE_S = 10.0
_POLL_S = 0.1


class WaitingCalls(JobCalls, BoxCalls):
    """Wait for jobs to end."""

    def wait(self, job_ids: int | Iterable[int], timeout: float | None = None) -> list[Job]:
        """
        Block until every job has ended; return the jobs in the order asked for.

        Follows the stream of events instead of polling. Raises `WaitTimeout` after `timeout`
        seconds; the jobs keep running.
        """
        ids = [job_ids] if isinstance(job_ids, int) else list(job_ids)
        deadline = None if timeout is None else time.monotonic() + timeout
        ended: dict[int, Job] = {}
        for changed in self._changes(deadline):
            for job_id in ids:
                if job_id in ended or changed not in {None, job_id}:
                    continue
                job = self.job(job_id)
                if job.state.is_final:
                    ended[job_id] = job
            if len(ended) == len(set(ids)):
                return [ended[job_id] for job_id in ids]
        left = [str(job_id) for job_id in ids if job_id not in ended]
        raise WaitTimeout(
            f"Job {left[0]} has not ended after {timeout:g} s; it keeps running."
            if len(left) == 1
            else f"Jobs {', '.join(left)} have not ended after {timeout:g} s; they keep running."
        )

    def _changes(self, deadline: float | None) -> Iterator[int | None]:
        """
        Yield ids of jobs that changed; None when any may have. Ends at `deadline`.

        The position in the event log is taken before the first read, so that no later change is
        missed.
        """
        last = self.events(limit=1, newest=True).last_id
        patience = Patience(self._channel.patience_s)
        yield None
        while True:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return
            if left is not None and left <= _CLOSE_S:
                time.sleep(min(_POLL_S, left))
                yield None
                continue
            # Shorter than the server's comments, or the end of the silence would never be noticed.
            quiet_s = _QUIET_S if left is None else min(_CLOSE_S, left - _CLOSE_S)
            try:
                with self._channel.stream(
                    "/api/v1/events/stream", params={"after": last}, quiet_s=quiet_s
                ) as stream:
                    patience.opened()
                    for message in stream:
                        if message.event != "message" or not message.data:
                            continue
                        event = parse(Event, message.data.encode())
                        last = max(last, event.id)
                        if event.job_id is not None:
                            yield event.job_id
                        if deadline is not None and deadline - time.monotonic() <= _CLOSE_S:
                            break
                    else:
                        patience.spend(Unreachable("The server ended the stream of events."))
            except Silent:
                continue
            except Unreachable as error:
                patience.spend(error)
            yield None
