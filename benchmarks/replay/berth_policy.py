"""Berth's own policy behind the engine's interface: builds snapshots, obeys plans."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from knowledge import Knowledge
from workload import TraceJob

from berth.protocol.states import JobState
from berth_server.core.estimate import Estimate, RunKey, RunTimes
from berth_server.core.model import (
    GpuView,
    JobView,
    LeaseView,
    RunningView,
    Snapshot,
    Usage,
)
from berth_server.core.policy import plan
from berth_server.core.settings import USAGE_HALF_LIFE, PolicySettings

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
_CARD_BYTES = 80 * 2**30


class BerthPolicy:
    """
    The very code that the server runs, in virtual time.

    With `true_lengths` it knows how long every job will run, as no server can: what is left of
    a gap to other policies is then not for want of better estimates. `knowledge` tells of which
    jobs it knows something, as a server does.
    """

    def __init__(
        self,
        gpus: int,
        settings: PolicySettings,
        *,
        true_lengths: bool = False,
        knowledge: Knowledge | None = None,
    ) -> None:
        self.settings = settings
        self.knowledge = knowledge or Knowledge()
        self.history = RunTimes()
        self.true_lengths = true_lengths
        self.free = [
            GpuView(uuid=f"GPU-{i}", index=i, memory_total_bytes=_CARD_BYTES) for i in range(gpus)
        ]
        self.gpus = list(self.free)
        self.jobs: dict[int, TraceJob] = {}
        self.queue: dict[int, JobView] = {}
        self.running: dict[int, RunningView] = {}
        self.traced: dict[int, TraceJob] = {}
        """The jobs of `running`."""
        self.by_key: dict[tuple[str, int], set[int]] = {}
        self.ended: dict[tuple[str, int], int] = {}
        self.usage: dict[str, float] = {}
        self.usage_at_s = 0.0

    def arrive(self, job: TraceJob) -> None:
        """Queue it with what history knows now."""
        self.jobs[job.id] = job
        self.queue[job.id] = self._view(job)
        self.by_key.setdefault((job.user, job.gpus), set()).add(job.id)

    def end(self, job: TraceJob, now_s: float) -> None:
        """Free its GPUs, learn its length, and now and then tell the waiting ones of its kind."""
        run = self.running.pop(job.id)
        del self.traced[job.id]
        for uuid in run.gpu_uuids:
            i = int(uuid[4:])
            self.gpus[i] = self.free[i]
        self.history.record(_key(job), job.length_s)
        self._decay(now_s)
        self.usage[job.user] = self.usage.get(job.user, 0.0) + job.length_s * job.gpus
        key = (job.user, job.gpus)
        seen = self.ended[key] = self.ended.get(key, 0) + 1
        if seen <= 8 or seen % 8 == 0:
            for waiting in self.by_key.get(key, ()):
                self.queue[waiting] = self._view(self.jobs[waiting])

    def starts(self, now_s: float) -> Iterable[TraceJob]:
        """Ask the policy."""
        self._decay(now_s)
        now = EPOCH + timedelta(seconds=now_s)
        snapshot = Snapshot(
            now=now,
            gpus=tuple(self.gpus),
            queue=tuple(self.queue.values()),
            running=tuple(self._reporting(run, now) for run in self.running.values()),
            user_usage={u: Usage(decayed_gpu_s=s) for u, s in self.usage.items()},
            sizes=self.history.sizes,
        )
        decision = plan(snapshot, self.settings)
        for start in decision.starts:
            view = self.queue.pop(start.job_id)
            job = self.jobs.pop(start.job_id)
            self.by_key[job.user, job.gpus].discard(job.id)
            attempt = f"{job.id}.1"
            lease = LeaseView(job_id=job.id, attempt=attempt, user=job.user)
            for uuid in start.gpu_uuids:
                i = int(uuid[4:])
                self.gpus[i] = GpuView(
                    uuid=uuid, index=i, memory_total_bytes=_CARD_BYTES, lease=lease
                )
            self.traced[job.id] = job
            self.running[job.id] = RunningView(
                job_id=job.id,
                attempt=attempt,
                user=job.user,
                name=view.name,
                gpu_uuids=start.gpu_uuids,
                started_at=now,
                time_limit=view.time_limit,
                estimate=view.estimate,
            )
            yield job

    def _view(self, job: TraceJob) -> JobView:
        return JobView(
            id=job.id,
            name="",
            user=job.user,
            state=JobState.QUEUED,
            gpus=job.gpus,
            queued_at=EPOCH + timedelta(seconds=job.arrives_s),
            time_limit=None if job.limit_s is None else timedelta(seconds=job.limit_s),
            estimate=Estimate((job.length_s,))
            if self.true_lengths
            else self.knowledge.estimate(job) or self.history.estimate(_key(job)),
        )

    def _reporting(self, run: RunningView, now: datetime) -> RunningView:
        """The run with the time left that it tells, if it does."""
        assert run.started_at is not None
        elapsed_s = (now - run.started_at).total_seconds()
        remaining = self.knowledge.remaining(self.traced[run.job_id], elapsed_s, now)
        return run if remaining is None else replace(run, remaining=remaining)

    def _decay(self, now_s: float) -> None:
        """Let past use fade (per ended job, at its end)."""
        faded = 0.5 ** ((now_s - self.usage_at_s) / USAGE_HALF_LIFE.total_seconds())
        self.usage_at_s = now_s
        for user in self.usage:
            self.usage[user] *= faded


def _key(job: TraceJob) -> RunKey:
    return RunKey(user=job.user, script="", gpus=job.gpus, limit_s=job.limit_s)
