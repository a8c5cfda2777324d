"""Steps of an attempt that take a while: its submit, its block, the question to accounting."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import anyio
import structlog

from berth.protocol.states import Outcome
from berth_worker.launch import LaunchError
from berth_worker.slurm import records, states, submission
from berth_worker.slurm.calls import Calls
from berth_worker.slurm.client import RefusedError, SlurmClient, UnansweredError
from berth_worker.slurm.cluster_attempt import ClusterAttempt
from berth_worker.slurm.options import SlurmOptions

_log = structlog.get_logger(__name__)
_AGAIN_S = 5.0


class Steps:
    """The steps; each leaves what it found in the attempt, which is looked at again after it."""

    def __init__(
        self,
        client: SlurmClient,
        calls: Calls,
        options: SlurmOptions,
        report: Callable[[ClusterAttempt], None],
    ) -> None:
        self._client = client
        self._calls = calls
        self._options = options
        self._report = report

    async def submit(self, attempt: ClusterAttempt) -> None:
        """Submit its job; without an answer the next listings tell whether Slurm has it."""
        desired = attempt.desired
        try:
            await self._calls.in_thread(partial(submission.prepare, desired, attempt.folder))
            wanted = submission.submission(desired, attempt.name, self._options, attempt.avoid)
            attempt.submitted_at = time.monotonic()
            attempt.job_id = await self._calls.in_thread(partial(self._client.submit, wanted))
        except (RefusedError, LaunchError) as error:
            refused = isinstance(error, RefusedError)
            sentence = f"Slurm refused it: {error}" if refused else str(error)
            await self._calls.in_thread(partial(records.refuse, attempt.folder, sentence))
            attempt.phase, attempt.outcome = "ended", Outcome.LAUNCH_ERROR
            attempt.message, attempt.clear = sentence, True
            self._report(attempt)
        except (UnansweredError, OSError) as error:
            _log.warning(
                "a submit has no answer yet",
                action="slurm.unanswered",
                attempt=desired.attempt,
                reason=str(error),
            )
            attempt.waiting = states.unanswered(str(error))
            self._report(attempt)
            await anyio.sleep(_AGAIN_S)
        else:
            attempt.absent_since = None
            attempt.found = None  # it has just been submitted
            _log.info(
                "attempt submitted",
                action="slurm.submitted",
                attempt=desired.attempt,
                slurm_job=attempt.job_id,
            )

    async def block(self, attempt: ClusterAttempt) -> None:
        """Claim it so that it never starts, unless it has started."""
        try:
            await self._calls.in_thread(partial(records.block, attempt.folder))
        except OSError as error:
            _log.warning("an attempt cannot be blocked yet", reason=error.strerror)
            await anyio.sleep(_AGAIN_S)

    async def account(self, attempt: ClusterAttempt) -> None:
        """Ask accounting about a job that the controller no longer knows."""
        try:
            known = await self._calls.in_thread(partial(self._client.ended, attempt.name))
        except UnansweredError:
            known = []
        attempt.accounted = True
        attempt.remembered = tuple(replace(job, name=attempt.name) for job in known)
