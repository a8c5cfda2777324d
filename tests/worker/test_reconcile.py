"""The decisions alone, under ten thousand turns of fortune."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from berth.protocol.internal import DesiredAttempt, DesiredState
from berth_worker.attempts import reconcile
from berth_worker.attempts.reconcile import (
    Adopt,
    Block,
    Fail,
    Forget,
    ObservedPhase,
    Start,
    Stop,
    StopTerms,
    decide,
)

NAMES = [f"{job}.1" for job in range(1, 5)]
GRACES = [timedelta(seconds=s) for s in (0, 5, 60)]


def desired_attempt(name: str, action: str = "run", grace: timedelta = GRACES[1]) -> DesiredAttempt:
    job, number = map(int, name.split("."))
    return DesiredAttempt(
        attempt=name,
        token=name,
        action=action,
        run_dir=f"/runs/{job}/{number}",
        job_id=job,
        number=number,
        user="ada",
        command="true",
        workdir="/",
        gpus=(),
        grace=grace,
        warn_before=GRACES[0],
    )


class Box(RuleBasedStateMachine):
    """A server, a worker that may be killed, and run directories that remember."""

    def __init__(self) -> None:
        super().__init__()
        self.desired: dict[str, DesiredAttempt] = {}
        self.seen: dict[str, ObservedPhase] = {}
        self.disk: dict[str, str] = {}
        self.starts: dict[str, int] = {}
        self.retired: set[str] = set()

    @rule(name=st.sampled_from(NAMES), action=st.sampled_from(["run", "stop"]))
    def server_wants(self, name: str, action: str) -> None:
        """A stop is never taken back, a released attempt never comes again."""
        old = self.desired.get(name)
        if name in self.retired or (old is not None and old.action == "stop"):
            return
        self.desired[name] = desired_attempt(name, action)

    @rule(name=st.sampled_from(NAMES), grace=st.sampled_from(GRACES))
    def server_changes_the_grace(self, name: str, grace: timedelta) -> None:
        """A more urgent stop."""
        old = self.desired.get(name)
        if old is not None and old.action == "stop":
            self.desired[name] = desired_attempt(name, "stop", grace)

    @rule(name=st.sampled_from(NAMES))
    def server_releases(self, name: str) -> None:
        """Only what has ended is released."""
        if name in self.desired and self.seen.get(name, ObservedPhase("running")).phase == "ended":
            del self.desired[name]
            self.retired.add(name)

    @rule()
    def worker_acts(self) -> None:
        """One round of decisions, carried out."""
        state = DesiredState(generation=1, attempts=tuple(self.desired.values()))
        for action in decide(state, self.seen):
            self.carry_out(action)

    def carry_out(self, action: reconcile.Action) -> None:
        if isinstance(action, Forget):
            del self.seen[action.attempt]
            return
        name = action.attempt.attempt
        match action:
            case Adopt():
                assert name not in self.seen
                phases = {"claimed": "running", "ended": "ended", "refused": "ended"}
                self.seen[name] = ObservedPhase(phases.get(self.disk.get(name, ""), "unstarted"))
            case Start():
                assert action.attempt.action == "run"
                assert name not in self.disk
                self.seen[name] = ObservedPhase(
                    "starting", start_failures=self.seen[name].start_failures
                )
            case Block():
                assert name not in self.disk
                self.disk[name] = "refused"
                self.seen[name] = ObservedPhase("ended")
            case Fail():
                assert self.seen[name].start_failures >= reconcile.MAX_START_FAILURES
                self.disk[name] = "refused"
                self.seen[name] = ObservedPhase("ended")
            case Stop():
                assert action.attempt.action == "stop"
                terms = StopTerms.of(action.attempt)
                assert self.seen[name].stop_terms != terms
                old = self.seen[name]
                self.seen[name] = ObservedPhase("stopping", terms, old.start_failures)

    @rule(name=st.sampled_from(NAMES), refused=st.booleans())
    def start_comes_through(self, name: str, refused: bool) -> None:
        """The shim claims the attempt, or the box has no process for it."""
        seen = self.seen.get(name)
        if seen is None or seen.phase not in {"starting", "stopping"} or name in self.disk:
            return
        if refused:
            self.seen[name] = ObservedPhase("unstarted", None, seen.start_failures + 1)
            return
        self.disk[name] = "claimed"
        self.starts[name] = self.starts.get(name, 0) + 1
        if seen.phase == "starting":
            self.seen[name] = ObservedPhase("running", seen.stop_terms, seen.start_failures)

    @rule(name=st.sampled_from(NAMES))
    def job_ends(self, name: str) -> None:
        """By itself or on request."""
        if self.disk.get(name) == "claimed":
            self.disk[name] = "ended"
            if name in self.seen:
                self.seen[name] = ObservedPhase("ended", self.seen[name].stop_terms)

    @precondition(lambda self: self.seen)
    @rule()
    def worker_is_killed(self) -> None:
        """All that it knew is gone; the run directories stay."""
        self.seen.clear()

    @invariant()
    def nothing_starts_twice(self) -> None:
        """At most one start each, none after a refusal."""
        assert all(count == 1 for count in self.starts.values())
        assert not [n for n in self.starts if self.disk.get(n) == "refused"]

    def teardown(self) -> None:
        """Without disturbance, decisions converge to the desired state."""
        state = DesiredState(generation=1, attempts=tuple(self.desired.values()))
        for _ in range(4):
            self.worker_acts()
            for name in NAMES:
                self.start_comes_through(name, refused=False)
        assert not decide(state, self.seen)
        for name, wanted in self.desired.items():
            if wanted.action == "stop":
                seen = self.seen[name]
                assert seen.phase == "ended" or seen.stop_terms == StopTerms.of(wanted)


TestBox = Box.TestCase
TestBox.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def test_an_empty_world_needs_nothing():
    """Nothing desired, nothing seen, nothing to do."""
    assert decide(DesiredState(generation=1), {}) == []


def test_what_is_not_desired_is_forgotten():
    """Whatever its phase."""
    seen = {"1.1": ObservedPhase("running"), "2.1": ObservedPhase("ended")}
    assert decide(DesiredState(generation=1), seen) == [Forget("1.1"), Forget("2.1")]


def test_a_box_that_refuses_is_not_asked_for_ever():
    """After some start_failures the attempt is given up."""
    wanted = desired_attempt("1.1")
    state = DesiredState(generation=1, attempts=(wanted,))
    assert decide(state, {"1.1": ObservedPhase("unstarted", start_failures=1)}) == [Start(wanted)]
    refused = {"1.1": ObservedPhase("unstarted", start_failures=reconcile.MAX_START_FAILURES)}
    assert decide(state, refused) == [Fail(wanted)]
