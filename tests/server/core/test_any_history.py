"""
The policy over time: whatever users, GPUs and clocks do, its promises hold.

A box is driven by the plans alone, in virtual time; after every step each promise is looked at.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import count

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from tests.server.core.virtual_box import CAPS, CARDS, GIB, POLICIES, USERS, VirtualBox

from berth.protocol.message import Message
from berth.protocol.states import JobState
from berth_server.core.model import JobView, ReservationView, Unavailable


class AnyHistory(RuleBasedStateMachine):
    """A box and its users."""

    @initialize(policy=st.sampled_from(range(len(POLICIES))))
    def begin(self, policy: int) -> None:
        self.box = VirtualBox()
        self.box.policy = POLICIES[policy]
        self.numbers = count(1)

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
        ablation=st.sampled_from([None, None, *CAPS]),
    )
    def submit(
        self,
        gpus,
        share,
        user,
        priority,
        hours,
        part,
        preemptible,
        hold,
        later,
        after,
        big,
        ablation,
    ):
        box = self.box
        number = len(box.submitted) + 1
        memory = share or (80 if big and gpus <= CARDS.count(80) else 20)
        job = JobView(
            id=number,
            name=f"job-{number}",
            user=user,
            group=USERS[user],
            state=JobState.HELD if hold else JobState.QUEUED,
            gpus=1 if share else gpus,
            share=share is not None,
            gpu_memory_bytes=memory * GIB,
            queued_at=box.now,
            priority=priority,
            time_limit=None if hours is None else timedelta(hours=hours),
            preemptible=preemptible,
            not_before=None if later is None else box.now + timedelta(hours=later),
            ablation=ablation,
        )
        needs = tuple({1 + n % number for n in after} - {number})
        box.submit(job, works=timedelta(hours=(hours or 24) * part), needs=needs)
        box.decide()

    @rule(number=st.integers(0, 60), verb=st.sampled_from(["cancel", "hold", "release"]))
    def act(self, number, verb):
        box = self.box
        pending, running = sorted(box.jobs), sorted(box.runs)
        if verb == "cancel" and running and number % 2:
            box.stop(running[number % len(running)], JobState.CANCELLED)
        elif pending:
            job_id = pending[number % len(pending)]
            if verb == "cancel":
                del box.jobs[job_id]
                box.final[job_id] = JobState.CANCELLED
            else:
                state = JobState.HELD if verb == "hold" else JobState.QUEUED
                box.jobs[job_id] = replace(box.jobs[job_id], state=state)
        box.decide()

    @rule(number=st.integers(0, 60), good=st.booleans())
    def exit(self, number, good):
        box = self.box
        running = sorted(box.runs)
        if running:
            state = JobState.SUCCEEDED if good else JobState.FAILED
            box.over(running[number % len(running)], state)
        box.decide()

    @rule(
        card=st.integers(0, 7),
        kind=st.sampled_from([None, "outsider", "leftover", "unhealthy", "draining", "unknown"]),
        hours=st.sampled_from([None, 2]),
    )
    def trouble(self, card, kind, hours):
        box = self.box
        box.troubles.pop(card, None)
        if kind is not None:
            until = box.now + timedelta(hours=hours) if hours and kind == "draining" else None
            box.troubles[card] = Unavailable(
                kind=kind, message=Message.of(f"It is {kind}"), until=until
            )
        box.promises.forget()
        box.decide()

    @rule(
        cards=st.sets(st.integers(0, 7), min_size=1),
        starts=st.integers(-1, 5),
        lasts=st.integers(1, 12),
        user=st.sampled_from(sorted(USERS)),
    )
    def reserve(self, cards, starts, lasts, user):
        box = self.box
        number = next(self.numbers)
        starts_at = box.now + timedelta(hours=starts)
        box.reservations[number] = ReservationView(
            id=number,
            gpu_uuids=tuple(f"GPU-{i}" for i in sorted(cards)),
            starts_at=starts_at,
            ends_at=starts_at + timedelta(hours=lasts),
            users=frozenset({user}),
        )
        box.promises.forget()
        box.decide()

    @rule(number=st.integers(0, 60))
    def unreserve(self, number):
        if self.box.reservations:
            kept = sorted(self.box.reservations)
            del self.box.reservations[kept[number % len(kept)]]
            self.box.promises.forget()
        self.box.decide()

    @rule(name=st.sampled_from(sorted(CAPS)), running=st.sampled_from([None, 1, 3]))
    def other_caps(self, name, running):
        caps = self.box.caps
        caps[name] = replace(caps[name], max_running=running)
        self.box.promises.forget()
        self.box.decide()

    @rule(policy=st.sampled_from(range(len(POLICIES))))
    def new_settings(self, policy):
        self.box.policy = POLICIES[policy]
        self.box.promises.forget()
        self.box.decide()

    @rule(hours=st.sampled_from([0.2, 1.0, 5.0, 30.0, 80.0]))
    def time_passes(self, hours):
        self.box.pass_time(timedelta(hours=hours))

    @rule(seconds=st.sampled_from([-1, 0, 1]))
    def the_clock_jumps_over_an_edge(self, seconds):
        """To about the next hour at which the calendar changes, without a plan on the way."""
        box = self.box
        day = box.now.replace(hour=0, minute=0, second=0, microsecond=0)
        edges = (day + timedelta(hours=hour) for hour in (7, 11, 13, 22, 24 + 7))
        at = next(edge for edge in edges if edge > box.now + timedelta(seconds=1))
        box.now = at + timedelta(seconds=seconds)
        # Whoever ended meanwhile is seen to have ended only now.
        box.promises.forget()
        box.what_is_due()
        box.decide()

    def teardown(self) -> None:
        """Every job reaches an end once nothing is wrong with the box."""
        if not hasattr(self, "box"):
            return
        box = self.box
        box.troubles.clear()
        box.reservations.clear()
        box.policy = POLICIES[0]
        box.caps.clear()
        box.promises.forget()
        box.jobs = {i: replace(job, state=JobState.QUEUED) for i, job in box.jobs.items()}
        for _ in range(3 * len(box.submitted) + 1):
            lost = {JobState.FAILED, JobState.CANCELLED}
            for job_id in [i for i in box.jobs if lost & {d.state for d in box.deps(i)}]:
                del box.jobs[job_id]
                box.final[job_id] = JobState.CANCELLED
            if not box.jobs and not box.runs:
                break
            box.pass_time(timedelta(hours=80))
        assert box.final.keys() == box.submitted.keys()


TestAnyHistory = AnyHistory.TestCase
TestAnyHistory.settings = settings(max_examples=50, stateful_step_count=25, deadline=None)
