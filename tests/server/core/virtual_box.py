"""A box in virtual time that is driven by plans alone, and looks at each of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta

from tests.server.core.promises import Promises
from tests.server.core.watching import (
    look_at_explanations,
    look_at_starts,
    look_at_the_aged,
)

from berth.protocol.states import JobState
from berth_server.core.forecast import plan_with_forecast as plan
from berth_server.core.model import (
    AblationView,
    DependencyView,
    GpuView,
    JobView,
    LeaseView,
    Plan,
    ReservationView,
    RunningView,
    Snapshot,
    Start,
    Unavailable,
    Usage,
)
from berth_server.core.settings import CalendarRule, Limits, PolicySettings

GIB = 1 << 30
START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
CARDS = (80, 80, 80, 80, 80, 80, 40, 40)
"""GiB of each GPU: two are smaller, so that not every job can use every GPU."""
STOPPING = timedelta(seconds=30)
WEEK = frozenset(range(7))
POLICIES = (
    PolicySettings(age_cap=timedelta(days=2)),
    PolicySettings(
        age_cap=timedelta(hours=5),
        user_limits=Limits(running_gpus=6, running_jobs=3),
        group_limits=Limits(running_gpus=7),
    ),
    PolicySettings(shadow_quantile=None, backfill_quantile=None),
    PolicySettings(
        age_cap=timedelta(days=2),
        user_limits=Limits(running_gpus=2, gpu_hours=300.0),
        limits_by_user={"eve": Limits(running_jobs=1)},
        calendar=(
            CalendarRule(
                name="nights",
                weekdays=WEEK,
                starts=time(22),
                ends=time(7),
                limits=Limits(running_gpus=8, running_jobs=6),
            ),
            CalendarRule(
                name="red noon",
                weekdays=WEEK,
                starts=time(11),
                ends=time(13),
                limits=Limits(running_jobs=0),
                groups=frozenset({"red"}),
            ),
        ),
    ),
)
USERS = {"ada": "red", "bob": "red", "eve": None}
CAPS = {
    "wide": AblationView(max_running=2),
    "dear": AblationView(budget_gpu_s=40 * 3600.0),
    "both": AblationView(max_running=1, budget_gpu_s=100 * 3600.0),
}


class VirtualBox:
    """A simulated box with its queue, attempts and troubles; `decide` makes and applies plans."""

    def __init__(self) -> None:
        self.now = START
        self.policy = POLICIES[0]
        self.jobs: dict[int, JobView] = {}
        """Pending, as submitted."""
        self.needs: dict[int, tuple[int, ...]] = {}
        self.ends: dict[int, datetime] = {}
        """When each running attempt will end."""
        self.works: dict[int, timedelta] = {}
        """How long each job works, within its limit."""
        self.runs: dict[int, RunningView] = {}
        self.submitted: dict[int, JobView] = {}
        self.final: dict[int, JobState] = {}
        self.requeue: set[int] = set()
        """Jobs that were preempted and go back to the queue."""
        self.troubles: dict[int, Unavailable] = {}
        self.reservations: dict[int, ReservationView] = {}
        self.caps = dict(CAPS)
        self.used_s: dict[tuple[str, str], float] = {}
        """GPU-seconds of ended attempts, by user, group and ablation."""
        self.promises = Promises()

    def submit(self, job: JobView, *, works: timedelta, needs: tuple[int, ...]) -> None:
        self.submitted[job.id] = self.jobs[job.id] = job
        self.works[job.id] = works
        self.needs[job.id] = needs

    def stop(self, job_id: int, then: JobState) -> None:
        run = self.runs[job_id]
        if not run.stopping:
            self.runs[job_id] = replace(run, stopping=True)
            self.ends[job_id] = self.now + STOPPING
        if then is JobState.QUEUED:
            self.requeue.add(job_id)
        self.promises.forget()

    def over(self, job_id: int, state: JobState) -> None:
        run = self.runs.pop(job_id)
        del self.ends[job_id]
        for key, used_s in self.used_by(run):
            self.used_s[key] = self.used_s.get(key, 0.0) + used_s
        if job_id in self.requeue:
            self.requeue.discard(job_id)
            self.jobs[job_id] = replace(self.submitted[job_id], state=JobState.QUEUED)
        else:
            self.final[job_id] = state

    def used_by(self, run: RunningView) -> list[tuple[tuple[str, str], float]]:
        """Usage of a running attempt so far, under each name that it counts for."""
        assert run.started_at is not None
        used_s = (self.now - run.started_at).total_seconds() * run.counted_gpus
        names = [("user", run.user), ("group", run.group), ("ablation", run.ablation)]
        return [((kind, name), used_s) for kind, name in names if name is not None]

    def used(self) -> dict[tuple[str, str], float]:
        """The same of all attempts, ended ones included."""
        total = dict(self.used_s)
        for run in self.runs.values():
            for key, used_s in self.used_by(run):
                total[key] = total.get(key, 0.0) + used_s
        return total

    def deps(self, job_id: int) -> tuple[DependencyView, ...]:
        return tuple(
            DependencyView(job_id=other, state=self.state(other)) for other in self.needs[job_id]
        )

    def state(self, job_id: int) -> JobState:
        if job_id in self.jobs:
            return self.jobs[job_id].state
        return JobState.RUNNING if job_id in self.runs else self.final[job_id]

    def cards(self) -> tuple[GpuView, ...]:
        """The GPUs with their leases; asserts that no GPU is given twice."""
        whole: dict[str, LeaseView] = {}
        parts: dict[str, list[LeaseView]] = {}
        for run in self.runs.values():
            lease = LeaseView(
                job_id=run.job_id,
                attempt=run.attempt,
                user=run.user,
                memory_bytes=run.memory_bytes,
            )
            for uuid in run.gpu_uuids:
                # No GPU twice, whole or in parts beyond its memory.
                assert uuid not in whole
                if run.memory_bytes is None:
                    assert uuid not in parts
                    whole[uuid] = lease
                else:
                    parts.setdefault(uuid, []).append(lease)
        cards = tuple(
            GpuView(
                uuid=f"GPU-{i}",
                index=i,
                memory_total_bytes=size * GIB,
                lease=whole.get(f"GPU-{i}"),
                shares=tuple(parts.get(f"GPU-{i}", ())),
                unavailable=self.troubles.get(i),
            )
            for i, size in enumerate(CARDS)
        )
        for card in cards:
            assert sum(part.memory_bytes or 0 for part in card.shares) <= card.memory_total_bytes
        return cards

    def snapshot(self) -> Snapshot:
        used = self.used()

        def usage(kind: str) -> dict[str, Usage]:
            return {
                n: Usage(decayed_gpu_s=s, budget_gpu_s=s) for (k, n), s in used.items() if k == kind
            }

        return Snapshot(
            now=self.now,
            gpus=self.cards(),
            queue=tuple(replace(job, dependencies=self.deps(i)) for i, job in self.jobs.items()),
            running=tuple(self.runs.values()),
            reservations=tuple(self.reservations.values()),
            user_usage=usage("user"),
            group_usage=usage("group"),
            ablations={
                name: replace(caps, used_gpu_s=used.get(("ablation", name), 0.0))
                for name, caps in self.caps.items()
            },
        )

    def decide(self) -> Plan:
        """Plan, look at the plan, carry it out; return the plan that was made."""
        snapshot = self.snapshot()
        made = plan(snapshot, self.policy)
        look_at_starts(snapshot, made)
        look_at_the_aged(snapshot, made)
        look_at_explanations(snapshot, made)
        turned = replace(snapshot, queue=snapshot.queue[::-1], running=snapshot.running[::-1])
        assert plan(turned, self.policy) == made
        self.promises.look(snapshot, made)
        for preemption in made.preemptions:
            assert self.runs[preemption.job_id].preemptible
            self.stop(preemption.job_id, JobState.QUEUED)
        for start in made.starts:
            self.start(start)
        self.look_at_the_calendar({self.submitted[i].user for i in made.started})
        return made

    def look_at_the_calendar(self, users: set[str]) -> None:
        """Usage of these users, counted by hand against the limits of `POLICIES[3]` at this hour."""
        if self.policy is not POLICIES[3]:
            return
        night = self.now.hour >= 22 or self.now.hour < 7
        for user in users:
            mine = [run for run in self.runs.values() if run.user == user]
            jobs = 6 if night else 1 if user == "eve" else len(mine)
            gpus = 8.0 if night else 8.0 if user == "eve" else 2.0
            assert len(mine) <= jobs
            assert sum(run.counted_gpus for run in mine) <= gpus + 1e-6
            assert USERS[user] is None or not 11 <= self.now.hour < 13

    def start(self, start: Start) -> None:
        job = self.jobs.pop(start.job_id)
        self.ends[job.id] = self.now + self.works[job.id]
        part = 1.0
        if start.memory_bytes is not None:
            card = int(start.gpu_uuids[0].removeprefix("GPU-"))
            part = start.memory_bytes / (CARDS[card] * GIB)
        self.runs[job.id] = RunningView(
            job_id=job.id,
            attempt=f"{job.id}.1",
            user=job.user,
            group=job.group,
            name=job.name,
            gpu_uuids=start.gpu_uuids,
            started_at=self.now,
            time_limit=job.time_limit,
            priority=job.priority,
            preemptible=job.preemptible,
            memory_bytes=start.memory_bytes,
            part=part,
            eligible_at=job.queued_at,
            ablation=job.ablation,
        )

    def pass_time(self, length: timedelta) -> None:
        """Let jobs end and plans be made at their moments until then."""
        target = self.now + length
        while True:
            wake = self.decide().wake_at
            moments = [*self.ends.values(), *([wake] if wake else [])]
            at = min((moment for moment in moments if moment < target), default=target)
            self.now = max(self.now, at)
            self.what_is_due()
            if at == target:
                break
        self.decide()

    def what_is_due(self) -> None:
        for job_id in [job_id for job_id, end in self.ends.items() if end <= self.now]:
            stopped = self.runs[job_id].stopping
            self.over(job_id, JobState.CANCELLED if stopped else JobState.SUCCEEDED)
        self.reservations = {
            i: one for i, one in self.reservations.items() if one.ends_at > self.now
        }
        for card, trouble in list(self.troubles.items()):
            if trouble.until is not None and trouble.until <= self.now:
                del self.troubles[card]
