"""
Supervisor of attempts on a Slurm cluster: carries out what `states.decide` decides.

Level-triggered like the box's own: after every listing of the cluster and every new desired state
each attempt is compared with its run directory and with Slurm's word, so that a lost answer, a
restart of either side or a controller that forgot its jobs is repaired by the next look.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial

import anyio
import anyio.abc
import anyio.to_thread
import structlog

from berth.home import Home
from berth.protocol.internal import DesiredAttempt, DesiredState, ObservedAttempt
from berth.protocol.states import Outcome
from berth_worker.attempts.reconcile import StopTerms
from berth_worker.attempts.rundir import RunDir
from berth_worker.attempts.supervisor import ReportTrigger
from berth_worker.devices import AttemptProcesses
from berth_worker.launch import LaunchError
from berth_worker.slurm import records, states, submission
from berth_worker.slurm.client import Cluster, RefusedError, SlurmClient, UnansweredError
from berth_worker.slurm.cluster_attempt import ClusterAttempt
from berth_worker.slurm.listing import ClusterJob
from berth_worker.slurm.options import SlurmOptions

_log = structlog.get_logger(__name__)
_CALLS_AT_ONCE = 4
_PREFER_S = 30.0
"""Time for which a waiting job keeps its wish for the nodes that Berth planned."""
_HARD_STOP_AFTER_S = 10.0
_STRAY_AFTER_S = 60.0
_AGAIN_S = 5.0
_SETTLED_S = 5.0
"""Time between looks into a run directory while Slurm's word stays the same."""


class SlurmExecutor:
    """All attempts that the server wants. Belongs to the event loop's thread."""

    def __init__(
        self,
        tasks: anyio.abc.TaskGroup,
        client: SlurmClient,
        home: Home,
        options: SlurmOptions,
        trigger: ReportTrigger,
        cluster: Callable[[], Cluster | None],
    ) -> None:
        """`cluster` returns the last listing of the cluster."""
        self._tasks = tasks
        self._client = client
        self._options = options
        self._trigger = trigger
        self._home_name = submission.home_name(home)
        self._cluster = cluster
        self._seen: Cluster | None = None
        self._calls = anyio.CapacityLimiter(_CALLS_AT_ONCE)
        self._attempts: dict[str, ClusterAttempt] = {}
        self._changed: set[str] = set()
        self._by_name: dict[str, list[ClusterJob]] = {}
        self._strays: dict[int, float] = {}
        self._asked = False
        """A desired state has come: who is not in it is not wanted."""

    # The interface that the worker's reports and audit use

    def apply(self, desired: DesiredState) -> None:
        """Take in a new desired state and act on it."""
        self._asked = True
        wanted = {one.attempt for one in desired.attempts}
        for name in self._attempts.keys() - wanted:
            del self._attempts[name]
        for one in desired.attempts:
            known = self._attempts.get(one.attempt)
            if known is None:
                known = self._attempts[one.attempt] = self._new(one)
            known.desired = one
            self._step(known)

    def observed(self, *, everything: bool) -> tuple[ObservedAttempt, ...]:
        """Return the attempts to report: `everything`, or those changed since the last call."""
        changed, self._changed = self._changed, set()
        reported = (
            attempt.observed()
            for name, attempt in self._attempts.items()
            if everything or name in changed
        )
        return tuple(one for one in reported if one is not None)

    @property
    def has_attempts(self) -> bool:
        """True when the server wants any."""
        return bool(self._attempts)

    def processes(self) -> Mapping[str, AttemptProcesses]:
        """Return the processes of this box that belong to attempts: none, they are on nodes."""
        return {}

    def add_seen_pid(self, attempt: str, pid: int) -> None:
        """Do nothing: Slurm accounts for the processes of its jobs."""

    def lease(self, attempt: str) -> frozenset[str]:
        """Return the names of the GPUs that an attempt holds."""
        known = self._attempts.get(attempt)
        return frozenset(gpu.uuid for gpu in known.placed) if known else frozenset()

    def look(self) -> None:
        """Take in the latest listing of the cluster and act on it."""
        cluster = self._cluster()
        if cluster is None or cluster is self._seen:
            return
        self._seen = cluster
        by_name: defaultdict[str, list[ClusterJob]] = defaultdict(list)
        mine = f"berth-{self._home_name}-"
        for job in cluster.jobs:
            if job.name.startswith(mine):
                by_name[job.name].append(job)
        self._by_name = by_name
        now = time.monotonic()
        for attempt in self._attempts.values():
            listed = bool(by_name.get(attempt.name))
            attempt.absent_since = None if listed else (attempt.absent_since or now)
            self._step(attempt)
        self._cancel_strays(now)

    # One attempt

    def _new(self, desired: DesiredAttempt) -> ClusterAttempt:
        folder = RunDir(
            desired.run_dir, desired.attempt, desired.token, desired.uid, written_by_user=True
        )
        return ClusterAttempt(desired, submission.job_name(self._home_name, desired), folder)

    def _step(self, attempt: ClusterAttempt) -> None:
        """Compare an attempt with the facts and begin what follows from them."""
        if attempt.busy or (attempt.phase == "ended" and attempt.clear):
            return
        jobs = self._by_name.get(attempt.name, [])
        if self._is_settled(attempt, jobs):
            return
        ending = not jobs or any(states.has_ended(job) for job in jobs) or attempt.found is None
        found = attempt.found = records.read(attempt.folder, attempt.found, ending=ending)
        job = states.counting(jobs, found.slurm_job)
        before = attempt.observed()
        self._take(attempt, found, job)
        if attempt.phase != "ended":
            self._decide(attempt, found, job)
        elif job is None or states.has_ended(job):
            attempt.clear = True
        if attempt.observed() != before:
            self._report(attempt)
        for other in jobs:
            if job is not None and other.id != job.id and not states.has_ended(other):
                self._call(attempt, partial(self._client.cancel, other.id))

    def _is_settled(self, attempt: ClusterAttempt, jobs: list[ClusterJob]) -> bool:
        """Return whether nothing can have happened since the last look that matters already."""
        now = time.monotonic()
        word = " ".join(f"{job.id}:{job.state}:{job.reason}" for job in jobs)
        last_word, last = attempt.looked_at
        is_quiet = attempt.phase == "running" or attempt.waiting is not None
        unchanged = bool(word) and word == last_word and now - last < _SETTLED_S
        if is_quiet and unchanged and attempt.desired.action == "run":
            return True
        attempt.looked_at = (word, now)
        return False

    def _take(self, attempt: ClusterAttempt, found: records.Found, job: ClusterJob | None) -> None:
        attempt.claimed = found.claimed
        attempt.job_id = job.id if job is not None else found.slurm_job
        attempt.started_at = found.started_at or attempt.started_at
        attempt.saved_at = attempt.folder.saved_at() or attempt.saved_at
        attempt.facts = found.facts or attempt.facts
        attempt.placed = found.placed or attempt.placed
        if attempt.desired.action == "stop" and attempt.phase != "ended":
            self._stop(attempt, found, job)

    def _decide(
        self, attempt: ClusterAttempt, found: records.Found, job: ClusterJob | None
    ) -> None:
        now = time.monotonic()
        if found.refused and (job is None or states.has_ended(job) or states.is_waiting(job)):
            self._take_back(attempt, job)
            return
        facts = states.Facts(
            claimed=found.claimed,
            record=found.record,
            job=job,
            submitted_ago_s=None
            if found.submitted_at is None
            else max(0.0, time.time() - found.submitted_at),
            absent_s=0.0 if attempt.absent_since is None else now - attempt.absent_since,
            accounted=attempt.accounted,
        )
        decision = states.decide(facts)
        attempt.waiting = decision.sentence if decision.step == "wait" else None
        if decision.step == "submit" and attempt.desired.action == "run":
            attempt.phase = "starting"
            self._run(attempt, self._submit)
        elif decision.step == "submit":
            self._run(attempt, self._block)
        elif decision.step == "account":
            self._run(attempt, self._account)
        elif decision.step == "end":
            self._end(attempt, found, job, decision)
        elif attempt.phase == "unstarted" or decision.step == "run":
            running = found.started_at is not None
            if attempt.phase != "stopping":
                attempt.phase = "running" if running and decision.step == "run" else "starting"
        if job is not None and states.is_waiting(job):
            self._prefer_no_longer(attempt, job, now)

    def _prefer_no_longer(self, attempt: ClusterAttempt, job: ClusterJob, now: float) -> None:
        """Let a job that Slurm cannot start where Berth planned it run anywhere."""
        if attempt.waiting_since is None:
            attempt.waiting_since = now
        elif 0 < attempt.waiting_since <= now - _PREFER_S:
            attempt.waiting_since = -1.0
            self._call(attempt, partial(self._client.let_run_anywhere, job.id))

    # Ends

    def _end(
        self,
        attempt: ClusterAttempt,
        found: records.Found,
        job: ClusterJob | None,
        decision: states.Decision,
    ) -> None:
        attempt.phase = "ended"
        attempt.record = None if found.record is None else states.agreed(found.record, job)
        outcome, sentence = decision.outcome, decision.sentence
        if outcome is Outcome.LAUNCH_ERROR:
            sentence = records.with_words_of_slurm(attempt.folder, sentence or "")
        if outcome is None:
            verdict = records.judge(attempt, job)
            outcome, sentence = verdict.outcome, verdict.message
        elif outcome is Outcome.LOST and found.lost_node is not None:
            sentence = (
                f"Its part on {found.lost_node} fell silent, so the other nodes' parts were "
                "ended; submit it again, with --resume to go on from its last checkpoint."
            )
        elif attempt.desired.action == "stop" and outcome is Outcome.CANCELLED:
            outcome, sentence = attempt.desired.stop_reason or outcome, None
        attempt.outcome, attempt.message = outcome, sentence
        attempt.clear = job is None or states.has_ended(job)
        _log.info(
            "attempt ended",
            action="attempt.ended",
            attempt=attempt.desired.attempt,
            slurm_job=attempt.job_id,
            outcome=outcome.value,
        )

    def _take_back(self, attempt: ClusterAttempt, job: ClusterJob | None) -> None:
        """End an attempt that was stopped before its start."""
        if job is not None and not states.has_ended(job):
            self._call(attempt, partial(self._client.take_back, job.id))
        attempt.phase = "ended"
        attempt.outcome = attempt.desired.stop_reason or Outcome.CANCELLED
        attempt.message = "It was stopped before it started."
        attempt.waiting = None
        attempt.clear = True

    # Stopping

    def _stop(self, attempt: ClusterAttempt, found: records.Found, job: ClusterJob | None) -> None:
        """Ask the attempt's shim to end it, or see to it that it never starts."""
        if found.refused or found.record is not None:
            return
        now = time.monotonic()
        if not found.claimed:
            self._run(attempt, self._block)
            return
        terms = StopTerms.of(attempt.desired)
        if attempt.stop_terms != terms:
            attempt.stop_terms, attempt.phase = terms, "stopping"
            wait = terms.grace + terms.warning
            attempt.stop_at = now + wait.total_seconds() + _HARD_STOP_AFTER_S
            records.write_stop_terms(attempt.folder, terms)
            if job is not None and not states.has_ended(job):
                self._run(attempt, partial(self._terminate, number=job.id))
        elif attempt.stop_at is not None and now >= attempt.stop_at and job is not None:
            attempt.stop_at = now + _HARD_STOP_AFTER_S
            self._call(attempt, partial(self._client.cancel, job.id))

    async def _terminate(self, attempt: ClusterAttempt, *, number: int) -> None:
        try:
            await anyio.to_thread.run_sync(self._client.terminate, number, limiter=self._calls)
        except UnansweredError as error:
            _log.warning("Slurm gave no answer", action="slurm.unanswered", reason=str(error))
            attempt.stop_terms = None  # asked again at the next look

    async def _block(self, attempt: ClusterAttempt) -> None:
        try:
            await anyio.to_thread.run_sync(records.block, attempt.folder)
        except OSError as error:
            _log.warning("an attempt cannot be blocked yet", reason=error.strerror)
            await anyio.sleep(_AGAIN_S)

    # Calls

    async def _submit(self, attempt: ClusterAttempt) -> None:
        desired = attempt.desired
        try:
            await anyio.to_thread.run_sync(submission.prepare, desired, attempt.folder)
            wanted = submission.submission(desired, attempt.name, self._options)
            attempt.job_id = await anyio.to_thread.run_sync(
                self._client.submit, wanted, limiter=self._calls
            )
        except (RefusedError, LaunchError) as error:
            sentence = (
                f"Slurm refused it: {error}" if isinstance(error, RefusedError) else str(error)
            )
            await anyio.to_thread.run_sync(records.refuse, attempt.folder, sentence)
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

    async def _account(self, attempt: ClusterAttempt) -> None:
        """Ask accounting about a job that the controller no longer knows."""
        try:
            known = await anyio.to_thread.run_sync(
                self._client.ended, attempt.name, limiter=self._calls
            )
        except UnansweredError:
            known = []
        attempt.accounted = True
        if known:
            self._by_name[attempt.name] = [replace(job, name=attempt.name) for job in known]

    def _call(self, attempt: ClusterAttempt, command: Callable[[], None]) -> None:
        async def call(_: ClusterAttempt) -> None:
            try:
                await anyio.to_thread.run_sync(command, limiter=self._calls)
            except UnansweredError as error:
                _log.warning("Slurm gave no answer", action="slurm.unanswered", reason=str(error))

        self._run(attempt, call)

    def _run(
        self,
        attempt: ClusterAttempt,
        step: Callable[[ClusterAttempt], Awaitable[None]],
    ) -> None:
        if attempt.busy:
            return
        attempt.busy = True
        self._tasks.start_soon(self._guard, attempt, step)

    async def _guard(
        self,
        attempt: ClusterAttempt,
        step: Callable[[ClusterAttempt], Awaitable[None]],
    ) -> None:
        try:
            await step(attempt)
        except Exception:  # noqa: BLE001 - logged and tried again; others must not wait
            _log.exception(
                "an attempt failed unexpectedly and is looked at again",
                action="attempt.trouble",
                attempt=attempt.desired.attempt,
            )
            await anyio.sleep(1)
        finally:
            attempt.busy = False
        if self._attempts.get(attempt.desired.attempt) is attempt:
            self._step(attempt)

    def _report(self, attempt: ClusterAttempt) -> None:
        self._changed.add(attempt.desired.attempt)
        self._trigger.report_now()

    # Jobs that no one wants

    def _cancel_strays(self, now: float) -> None:
        """Cancel jobs of this home that no desired attempt explains, after a minute."""
        if not self._asked:
            return
        wanted = {attempt.name for attempt in self._attempts.values()}
        seen = {
            job.id
            for name, jobs in self._by_name.items()
            if name not in wanted
            for job in jobs
            if not states.has_ended(job)
        }
        self._strays = {number: self._strays.get(number, now) for number in seen}
        for number, since in self._strays.items():
            if now - since >= _STRAY_AFTER_S:
                self._strays[number] = now
                self._tasks.start_soon(self._cancel_stray, number)

    async def _cancel_stray(self, number: int) -> None:
        try:
            await anyio.to_thread.run_sync(self._client.cancel, number, limiter=self._calls)
        except UnansweredError as error:
            _log.warning("Slurm gave no answer", action="slurm.unanswered", reason=str(error))
        else:
            _log.warning(
                "a job that no attempt explains was cancelled",
                action="slurm.stray",
                slurm_job=number,
            )
