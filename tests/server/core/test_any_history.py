"""
The policy over time: whatever users, cards and clocks do, its promises hold.

A box is driven by the plans alone, in virtual time; after every step each promise is looked at.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from berth.protocol.base import parse_duration
from berth.protocol.states import JobState
from berth_server.core.explain import explain
from berth_server.core.limits import Tally
from berth_server.core.model import (
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
)
from berth_server.core.policy import plan
from berth_server.core.settings import Limits, PolicySettings

GIB = 1 << 30
START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
CARDS = (80, 80, 80, 80, 80, 80, 40, 40)
"""GiB of each card: two are smaller, so that not every job can use every card."""
STOPPING = timedelta(seconds=30)
SLACK = timedelta(minutes=1)
"""What is about to end counts as a minute, however little is left of it."""
POLICIES = (
    PolicySettings(replan_every=timedelta(hours=1), age_cap=timedelta(days=2)),
    PolicySettings(
        replan_every=timedelta(hours=1),
        age_cap=timedelta(hours=5),
        user_limits=Limits(running_gpus=6, running_jobs=3),
        group_limits=Limits(running_gpus=7),
    ),
    PolicySettings(replan_every=timedelta(hours=1), shadow_quantile=None, backfill_quantile=None),
)
USERS = {"ada": "red", "bob": "red", "eve": None}


class AnyHistory(RuleBasedStateMachine):
    """A box and its users."""

    @initialize(policy=st.sampled_from(range(len(POLICIES))))
    def begin(self, policy: int) -> None:
        self.now = START
        self.policy = POLICIES[policy]
        self.numbers = count(1)
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
        self.troubles: dict[int, Unavailable] = {}
        self.reservations: dict[int, ReservationView] = {}
        self.promised: dict[int, tuple[datetime, set[int]]] = {}
        """
        By when each blocked job that claimed cards has them if everybody keeps the limit, and
        who was before it in the order then.
        """

    # What happens

    @rule(
        gpus=st.sampled_from([0, 1, 1, 1, 2, 4, 6, 8]),
        share=st.sampled_from([None, None, None, 10, 30, 60]),
        user=st.sampled_from(sorted(USERS)),
        priority=st.sampled_from([0, 0, 0, 3, -3]),
        hours=st.sampled_from([None, 1, 1, 2, 6, 24, 48]),
        part=st.floats(0.01, 1.0),
        preemptible=st.booleans(),
        hold=st.sampled_from([False, False, False, True]),
        later=st.sampled_from([None, None, 3]),
        after=st.lists(st.integers(0, 30), max_size=2),
        big=st.booleans(),
    )
    def submit(
        self, gpus, share, user, priority, hours, part, preemptible, hold, later, after, big
    ):
        number = len(self.submitted) + 1
        memory = share or (80 if big and gpus <= CARDS.count(80) else 20)
        self.needs[number] = tuple({1 + n % number for n in after} - {number})
        self.works[number] = timedelta(hours=(hours or 24) * part)
        self.submitted[number] = self.jobs[number] = JobView(
            id=number,
            name=f"job-{number}",
            user=user,
            group=USERS[user],
            state=JobState.HELD if hold else JobState.QUEUED,
            gpus=1 if share else gpus,
            share=share is not None,
            gpu_memory_bytes=memory * GIB,
            queued_at=self.now,
            priority=priority,
            time_limit=None if hours is None else timedelta(hours=hours),
            preemptible=preemptible,
            not_before=None if later is None else self.now + timedelta(hours=later),
        )
        self.decide()

    @rule(number=st.integers(0, 60), verb=st.sampled_from(["cancel", "hold", "release"]))
    def act(self, number, verb):
        pending, running = sorted(self.jobs), sorted(self.runs)
        if verb == "cancel" and running and number % 2:
            self.stop(running[number % len(running)], JobState.CANCELLED)
        elif pending:
            job_id = pending[number % len(pending)]
            if verb == "cancel":
                del self.jobs[job_id]
                self.final[job_id] = JobState.CANCELLED
            else:
                state = JobState.HELD if verb == "hold" else JobState.QUEUED
                self.jobs[job_id] = replace(self.jobs[job_id], state=state)
        self.decide()

    @rule(number=st.integers(0, 60), good=st.booleans())
    def exit(self, number, good):
        running = sorted(self.runs)
        if running:
            self.over(
                running[number % len(running)], JobState.SUCCEEDED if good else JobState.FAILED
            )
        self.decide()

    @rule(
        card=st.integers(0, 7),
        kind=st.sampled_from([None, "outsider", "leftover", "unhealthy", "draining", "unknown"]),
        hours=st.sampled_from([None, 2]),
    )
    def trouble(self, card, kind, hours):
        self.troubles.pop(card, None)
        if kind is not None:
            until = self.now + timedelta(hours=hours) if hours and kind == "draining" else None
            self.troubles[card] = Unavailable(kind=kind, sentence=f"It is {kind}.", until=until)
        self.promised.clear()
        self.decide()

    @rule(
        cards=st.sets(st.integers(0, 7), min_size=1),
        starts=st.integers(-1, 5),
        lasts=st.integers(1, 12),
        user=st.sampled_from(sorted(USERS)),
    )
    def reserve(self, cards, starts, lasts, user):
        number = next(self.numbers)
        starts_at = self.now + timedelta(hours=starts)
        self.reservations[number] = ReservationView(
            id=number,
            gpu_uuids=tuple(f"GPU-{i}" for i in sorted(cards)),
            starts_at=starts_at,
            ends_at=starts_at + timedelta(hours=lasts),
            users=frozenset({user}),
        )
        self.promised.clear()
        self.decide()

    @rule(policy=st.sampled_from(range(len(POLICIES))))
    def new_settings(self, policy):
        self.policy = POLICIES[policy]
        self.promised.clear()
        self.decide()

    @rule(hours=st.sampled_from([0.2, 1.0, 5.0, 30.0, 80.0]))
    def time_passes(self, hours):
        target = self.now + timedelta(hours=hours)
        while True:
            wake = self.decide().wake_at
            moments = [*self.ends.values(), *([wake] if wake else [])]
            at = min((moment for moment in moments if moment < target), default=target)
            self.now = max(self.now, at)
            for job_id in [job_id for job_id, end in self.ends.items() if end <= self.now]:
                stopped = self.runs[job_id].stopping
                self.over(job_id, JobState.CANCELLED if stopped else JobState.SUCCEEDED)
            self.reservations = {
                i: one for i, one in self.reservations.items() if one.ends_at > self.now
            }
            for card, trouble in list(self.troubles.items()):
                if trouble.until is not None and trouble.until <= self.now:
                    del self.troubles[card]
            if at == target:
                break
        self.decide()

    def teardown(self) -> None:
        """Every job reaches an end once nothing is wrong with the box."""
        if not hasattr(self, "jobs"):
            return
        self.troubles.clear()
        self.reservations.clear()
        self.policy = POLICIES[0]
        self.promised.clear()
        self.jobs = {i: replace(job, state=JobState.QUEUED) for i, job in self.jobs.items()}
        for _ in range(3 * len(self.submitted) + 1):
            lost = {JobState.FAILED, JobState.CANCELLED}
            for job_id in [i for i in self.jobs if lost & {d.state for d in self.deps(i)}]:
                del self.jobs[job_id]
                self.final[job_id] = JobState.CANCELLED
            if not self.jobs and not self.runs:
                break
            self.time_passes(hours=80.0)
        assert self.final.keys() == self.submitted.keys()

    # How the box carries it out

    def stop(self, job_id: int, then: JobState) -> None:
        run = self.runs[job_id]
        if not run.stopping:
            self.runs[job_id] = replace(run, stopping=True)
            self.ends[job_id] = self.now + STOPPING
        if then is JobState.QUEUED:
            self.requeue.add(job_id)
        self.promised.clear()

    @property
    def requeue(self) -> set[int]:
        """Jobs that were preempted and go back to the queue."""
        return self.__dict__.setdefault("_requeue", set())

    def over(self, job_id: int, state: JobState) -> None:
        del self.runs[job_id]
        del self.ends[job_id]
        if job_id in self.requeue:
            self.requeue.discard(job_id)
            self.jobs[job_id] = replace(self.submitted[job_id], state=JobState.QUEUED)
        else:
            self.final[job_id] = state

    def deps(self, job_id: int) -> tuple[DependencyView, ...]:
        return tuple(
            DependencyView(job_id=other, state=self.state(other)) for other in self.needs[job_id]
        )

    def state(self, job_id: int) -> JobState:
        if job_id in self.jobs:
            return self.jobs[job_id].state
        return JobState.RUNNING if job_id in self.runs else self.final[job_id]

    def snapshot(self) -> Snapshot:
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
                # No card twice, whole or in parts beyond its memory.
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
        return Snapshot(
            now=self.now,
            gpus=cards,
            queue=tuple(replace(job, dependencies=self.deps(i)) for i, job in self.jobs.items()),
            running=tuple(self.runs.values()),
            reservations=tuple(self.reservations.values()),
        )

    def decide(self) -> Plan:
        """Plan, look at the plan, carry it out; return the plan that was made after it."""
        snapshot = self.snapshot()
        made = plan(snapshot, self.policy)
        look_at_starts(snapshot, made)
        look_at_the_aged(snapshot, made)
        look_at_explanations(snapshot, made)
        turned = replace(snapshot, queue=snapshot.queue[::-1], running=snapshot.running[::-1])
        assert plan(turned, self.policy) == made
        self.look_at_promises(made)
        for preemption in made.preemptions:
            assert self.runs[preemption.job_id].preemptible
            self.stop(preemption.job_id, JobState.QUEUED)
        for start in made.starts:
            self.start(start)
        return made

    def start(self, start: Start) -> None:
        job = self.jobs.pop(start.job_id)
        self.ends[job.id] = self.now + self.works[job.id]
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
            part=start.memory_bytes / (CARDS[card_of(start)] * GIB) if job.share else 1.0,
            eligible_at=job.queued_at,
        )

    def look_at_promises(self, made: Plan) -> None:
        """
        Who claims cards has them by then, unless somebody before it in the order started
        meanwhile: nobody who kept the limit and went ahead of it from behind puts it off.
        """
        latest = {claim.job_id: claim.latest for claim in made.claims}
        ahead = {job_id: set(made.order[: made.order.index(job_id)]) for job_id in latest}
        for job_id, (at, before) in self.promised.items():
            if latest.get(job_id) is None or ahead[job_id] - before:
                # Done with, or somebody came past it by age, priority or points.
                continue
            if not ahead[job_id] & set(made.started):
                assert latest[job_id] <= at + SLACK
        self.promised = {}
        # What has no limit keeps none; of leftovers and attempts that stop the end is a guess,
        # and a guess that is off by a minute can miss the gap before a reservation.
        guesses = any(one.kind == "leftover" for one in self.troubles.values())
        guesses = guesses or bool(self.reservations) or bool(made.preemptions)
        views = [*self.runs.values(), *[self.jobs[i] for i in made.started]]
        if all(view.time_limit for view in views) and not guesses:
            self.promised = {i: (at, ahead[i]) for i, at in latest.items() if at is not None}


def card_of(start: Start) -> int:
    """The index of the first card of a start."""
    return int(start.gpu_uuids[0].removeprefix("GPU-"))


def look_at_starts(snapshot: Snapshot, made: Plan) -> None:
    """Gangs are whole, on cards that are free, fit and not kept for others; nobody early."""
    cards = {card.uuid: card for card in snapshot.gpus}
    tally = Tally(snapshot, made.settings)
    for start in made.starts:
        job = snapshot.pending[start.job_id]
        assert len(set(start.gpu_uuids)) == len(start.gpu_uuids) == job.gpus
        assert job.state is not JobState.HELD
        assert job.not_before is None or job.not_before <= snapshot.now
        assert all(need.state is JobState.SUCCEEDED for need in job.dependencies)
        assert tally.hit(job) is None
        tally.add(job)
        length = job.time_limit or made.settings.assumed_length
        for uuid in start.gpu_uuids:
            assert cards[uuid].lease is None
            assert cards[uuid].unavailable is None
            assert cards[uuid].memory_total_bytes >= (job.gpu_memory_bytes or 0)
            for kept in snapshot.reservations:
                if uuid in kept.gpu_uuids and not kept.admits(job.user, job.group):
                    apart = kept.ends_at <= snapshot.now
                    assert apart or kept.starts_at >= snapshot.now + length


def look_at_the_aged(snapshot: Snapshot, made: Plan) -> None:
    """Nobody starts on a card that a job past the cap, before it in the order, waits for."""
    claimed = {claim.job_id for claim in made.claims}
    place = {job_id: i for i, job_id in enumerate(made.order)}
    for job_id in made.order[: made.aged]:
        job = snapshot.pending[job_id]
        assert snapshot.now - job.queued_at > made.settings.age_cap
        if job_id in made.started or job_id not in claimed:
            continue
        usable = {
            card.uuid
            for card in snapshot.gpus
            if card.memory_total_bytes >= (job.gpu_memory_bytes or 0)
        }
        for start in made.starts:
            if place[start.job_id] > place[job_id]:
                assert not usable & set(start.gpu_uuids)


def look_at_explanations(snapshot: Snapshot, made: Plan) -> None:
    """Each waits for a reason exactly when it does not start, and what would help does."""
    for job in snapshot.queue:
        told = explain(snapshot, made, job.id)
        assert any(reason.blocking for reason in told.reasons) == (job.id not in made.started)
        assert told.expected_start is None or told.expected_start >= snapshot.now
        if job.id in made.positions:
            assert told.position == made.positions[job.id]
        for hint in told.would_help:
            changed = with_hint(snapshot, job, hint)
            if changed is not None:
                others = tuple(one for one in snapshot.queue if one.id != job.id)
                tried = replace(snapshot, queue=(*others, changed))
                assert job.id in plan(tried, made.settings).started, hint


def with_hint(snapshot: Snapshot, job: JobView, hint: str) -> JobView | None:
    """The job as the hint would have it; None where the hint is not about the job itself."""
    if "start now" not in hint and "starts now" not in hint:
        return None
    if shorter := re.search(r"time limit of at most (\S+) it", hint):
        return replace(job, time_limit=parse_duration(shorter[1]))
    if fewer := re.search(r"With (\d+) GPUs? it", hint):
        return replace(job, gpus=int(fewer[1]))
    assert "higher priority" in hint
    return replace(job, priority=max(one.priority for one in snapshot.queue) + 1)


TestAnyHistory = AnyHistory.TestCase
TestAnyHistory.settings = settings(max_examples=50, stateful_step_count=25, deadline=None)
