"""
Supervisor of attempts on a Slurm cluster: carries out what `states.decide` decides.

Level-triggered like the box's own: after every listing of the cluster and every new desired state
each attempt is compared with its run directory and with Slurm's word, so that a lost answer, a
restart of either side or a controller that forgot its jobs is repaired by the next look.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import partial

import anyio.abc
import structlog

from berth.home import Home
from berth.protocol.internal import DesiredAttempt, DesiredState, ObservedAttempt
from berth_worker.attempts.rundir import RunDir
from berth_worker.attempts.supervisor import ReportTrigger
from berth_worker.attempts.unreported import Unreported
from berth_worker.devices import AttemptProcesses
from berth_worker.slurm import ending, records, states, submission
from berth_worker.slurm.calls import Calls
from berth_worker.slurm.client import SlurmClient
from berth_worker.slurm.cluster_attempt import ClusterAttempt
from berth_worker.slurm.found import Found
from berth_worker.slurm.gpu_use import GpuUse
from berth_worker.slurm.listing import ClusterJob
from berth_worker.slurm.options import SlurmOptions
from berth_worker.slurm.steps import Steps
from berth_worker.slurm.stops import Stops
from berth_worker.slurm.strays import Strays
from berth_worker.slurm.watch import Cluster

_log = structlog.get_logger(__name__)
_PREFER_S = 30.0
"""Time for which a waiting job keeps its wish for the nodes that Berth planned."""
_SETTLED_S = 5.0
"""Time between looks into a run directory while Slurm's word stays the same."""
_LOOKS_A_SECOND = 1000


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
        self._client = client
        self._trigger = trigger
        self._home_name = submission.home_name(home)
        self._cluster = cluster
        self._seen: Cluster | None = None
        self._calls = Calls(tasks, self._look_again)
        self._strays = Strays(client, self._calls)
        self._steps = Steps(client, self._calls, options, self._report)
        self._stops = Stops(client, self._calls, self._steps)
        self._attempts: dict[str, ClusterAttempt] = {}
        self._unreported = Unreported()
        self._by_name: dict[str, list[ClusterJob]] = {}
        self._broken: frozenset[str] = frozenset()
        """Nodes on which Slurm starts nothing."""
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
        return self._unreported.taken_from(self._attempts, everything=everything)

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

    def use(self) -> dict[str, GpuUse]:
        """Return the readings of GPUs that running attempts have left, by the GPU's name."""
        found: dict[str, GpuUse] = {}
        for attempt in self._attempts.values():
            if attempt.phase == "running" and attempt.found is not None:
                found.update(attempt.found.use)
        return found

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
        self._broken = frozenset(node.name for node in cluster.nodes if node.problem is not None)
        now = time.monotonic()
        unexplained = {
            job.id for jobs in by_name.values() for job in jobs if not states.has_ended(job)
        }
        for attempt in self._attempts.values():
            jobs = by_name.get(attempt.name, [])
            attempt.absent_since = None if jobs else (attempt.absent_since or now)
            unexplained.difference_update(job.id for job in jobs)
            attempt.listings += attempt.recorded_at is not None
            self._step(attempt)
        if self._asked:
            self._strays.look(unexplained, now)

    # One attempt

    def _new(self, desired: DesiredAttempt) -> ClusterAttempt:
        folder = RunDir(
            desired.run_dir, desired.attempt, desired.token, desired.uid, written_by_user=True
        )
        name = submission.job_name(self._home_name, desired)
        return ClusterAttempt(desired, name, folder, known_since=time.monotonic())

    def _look_again(self, attempt: ClusterAttempt) -> None:
        if self._attempts.get(attempt.desired.attempt) is attempt:
            self._step(attempt)

    def _step(self, attempt: ClusterAttempt) -> None:
        """Compare an attempt with the facts and begin what follows from them."""
        if attempt.busy or (attempt.phase == "ended" and attempt.clear):
            return
        jobs = [
            job
            for job in self._by_name.get(attempt.name) or attempt.remembered
            if (job.id, job.submitted_at) not in attempt.superseded
        ]
        if self._is_settled(attempt, jobs):
            return
        over = not jobs or any(states.has_ended(job) for job in jobs) or attempt.found is None
        found = records.read(
            attempt.folder, attempt.found, ending=over, nodes=attempt.desired.nodes
        )
        attempt.note(found, time.monotonic())
        job = states.counting(jobs, found.slurm_job)
        before = attempt.observed()
        self._take(attempt, found, job)
        if attempt.phase != "ended":
            self._decide(attempt, found, job)
        elif job is None or states.has_ended(job):
            attempt.clear = True
        elif states.is_waiting(job):
            self._stops.cancel(attempt, job)
        if attempt.observed() != before:
            self._report(attempt)
        for other in jobs:
            if job is not None and other.id != job.id and not states.has_ended(other):
                self._stops.cancel(attempt, other)

    def _is_settled(self, attempt: ClusterAttempt, jobs: list[ClusterJob]) -> bool:
        """Return whether nothing can have happened since the last look that matters already."""
        now = time.monotonic()
        quiet_s = max(_SETTLED_S, len(self._attempts) / _LOOKS_A_SECOND)
        last_jobs, last = attempt.looked_at
        is_quiet = attempt.phase == "running" or attempt.waiting is not None
        # A job of which Slurm says nothing new is the same object in each listing.
        unchanged = (
            is_quiet
            and now - last < quiet_s
            and len(jobs) == len(last_jobs) > 0
            and all(job is before for job, before in zip(jobs, last_jobs, strict=True))
        )
        if unchanged and attempt.desired.action == "run":
            return True
        attempt.looked_at = (tuple(jobs), now)
        return False

    def _take(self, attempt: ClusterAttempt, found: Found, job: ClusterJob | None) -> None:
        attempt.claimed = found.claimed
        attempt.job_id = job.id if job is not None else found.slurm_job
        attempt.started_at = found.started_at or attempt.started_at
        attempt.saved_at = attempt.folder.saved_at() or attempt.saved_at
        attempt.facts = found.facts or attempt.facts
        attempt.placed = found.placed or attempt.placed
        if attempt.desired.action == "stop" and attempt.phase != "ended":
            self._stops.stop(attempt, found, job)

    def _decide(self, attempt: ClusterAttempt, found: Found, job: ClusterJob | None) -> None:
        now = time.monotonic()
        if found.refused and (job is None or states.has_ended(job) or states.is_waiting(job)):
            self._stops.take_back(attempt, job)
            return
        broken = job is not None and not self._broken.isdisjoint(job.nodes)
        decision = states.decide(attempt.facts_now(found, job, now, broken=broken))
        attempt.waiting = decision.sentence if decision.step in {"wait", "run"} else None
        if decision.step == "submit" and attempt.desired.action == "run":
            attempt.phase = "starting"
            attempt.avoid = self._broken
            if job is not None:
                attempt.superseded |= {(job.id, job.submitted_at)}
            self._calls.run(attempt, self._steps.submit)
        elif decision.step == "submit":
            self._calls.run(attempt, self._steps.block)
        elif decision.step == "account":
            self._calls.run(attempt, self._steps.account)
        elif decision.step == "abandon" and job is not None:
            self._stops.abandon(attempt, found, job)
        elif decision.step == "end":
            self._end(attempt, found, job, decision)
        elif attempt.phase != "stopping":
            running = decision.step == "run" and found.started_at is not None
            attempt.phase = "running" if running or attempt.phase == "running" else "starting"
        if job is not None and states.is_waiting(job) and not found.claimed:
            self._prefer_no_longer(attempt, job, now)

    def _prefer_no_longer(self, attempt: ClusterAttempt, job: ClusterJob, now: float) -> None:
        """Let a job that Slurm cannot start where Berth planned it run anywhere."""
        if attempt.waiting_since is None:
            attempt.waiting_since = now
        elif 0 < attempt.waiting_since <= now - _PREFER_S:
            attempt.waiting_since = -1.0
            self._calls.ask(attempt, partial(self._client.let_run_anywhere, job.id))

    def _end(
        self,
        attempt: ClusterAttempt,
        found: Found,
        job: ClusterJob | None,
        decision: states.Decision,
    ) -> None:
        attempt.record = None if found.record is None else states.agreed(found.record, job)
        verdict = ending.judge(attempt, found, job, decision)
        attempt.phase = "ended"
        attempt.outcome, attempt.message = verdict.outcome, verdict.message
        attempt.port_taken = verdict.port_taken
        attempt.clear = job is None or states.has_ended(job)
        _log.info(
            "attempt ended",
            action="attempt.ended",
            attempt=attempt.desired.attempt,
            slurm_job=attempt.job_id,
            outcome=verdict.outcome.value,
        )

    def _report(self, attempt: ClusterAttempt) -> None:
        self._unreported.add(attempt.desired.attempt)
        self._trigger.report_now()
