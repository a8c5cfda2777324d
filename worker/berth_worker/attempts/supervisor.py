"""Keeps every attempt the server is interested in, and carries out what was decided."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import anyio
import anyio.abc
import structlog

from berth.protocol.internal import DesiredAttempt, DesiredState, ObservedAttempt
from berth.protocol.states import Outcome
from berth_worker.attempts.attempt import Attempt
from berth_worker.attempts.attempt_runner import Follower
from berth_worker.attempts.reconcile import (
    Action,
    Forget,
    GiveUp,
    Look,
    Refuse,
    Start,
    Stop,
    StopTerms,
    decide,
)
from berth_worker.attempts.rundir import Found, RunDir
from berth_worker.devices import AttemptProcesses
from berth_worker.devices.sampling import Sampler
from berth_worker.launch import Starter, Surroundings

_log = structlog.get_logger(__name__)


class News(Protocol):
    """Who is told that there is something to report."""

    def changed(self) -> None:
        """At once."""
        ...

    def soon(self) -> None:
        """Within milliseconds."""
        ...


class Supervisor:
    """Every attempt that the server is interested in. Lives on the loop's thread."""

    def __init__(
        self,
        tasks: anyio.abc.TaskGroup,
        surroundings: Callable[[], Surroundings],
        sampler: Sampler,
        starter: Starter,
        news: News,
        *,
        rebooted: bool,
    ) -> None:
        """`rebooted`: the last worker of this home ran before the box was restarted."""
        self._tasks = tasks
        self._follower = Follower(self, surroundings, sampler, starter)
        self._news = news
        self._rebooted = rebooted
        self._desired = DesiredState(generation=0)
        self._attempts: dict[str, Attempt] = {}
        self._with_news: set[str] = set()

    def want(self, desired: DesiredState) -> None:
        """Take in what the server wants, and set about it."""
        self._desired = desired
        for wanted in desired.attempts:
            known = self._attempts.get(wanted.attempt)
            if known is not None:
                known.desired = wanted
        self.reconcile()
        self._rebooted = False

    def observed(self, *, everything: bool) -> tuple[ObservedAttempt, ...]:
        """What there is to tell: of all attempts, or of those with news since the last time."""
        news, self._with_news = self._with_news, set()
        told = (
            attempt.observed()
            for name, attempt in self._attempts.items()
            if everything or name in news
        )
        return tuple(one for one in told if one is not None)

    @property
    def has_attempts(self) -> bool:
        """Whether the server is interested in any."""
        return bool(self._attempts)

    def processes(self) -> Mapping[str, AttemptProcesses]:
        """Who may be on the GPUs."""
        return {
            name: attempt.processes
            for name, attempt in self._attempts.items()
            if attempt.phase != "unstarted" and not attempt.gpus_clear
        }

    def noticed(self, attempt: str, pid: int) -> None:
        """A process of an attempt was seen on a GPU."""
        known = self._attempts.get(attempt)
        if known is not None:
            known.seen_pids.add(pid)

    def look_for_checkpoints(self) -> None:
        """See which of the running attempts have told of a checkpoint since the last look."""
        for attempt in self._attempts.values():
            if attempt.phase in {"running", "stopping"}:
                saved_at = attempt.folder.saved_at()
                if saved_at is not None and saved_at != attempt.saved_at:
                    attempt.saved_at = saved_at
                    self._with_news.add(attempt.name)

    def lease(self, attempt: str) -> frozenset[str]:
        """UUIDs of the GPUs that an attempt holds."""
        known = self._attempts.get(attempt)
        return frozenset(gpu.uuid for gpu in known.desired.gpus) if known else frozenset()

    def reconcile(self) -> None:
        """Do whatever leads from what is there to what is desired."""
        while True:
            seen = {name: attempt.seen for name, attempt in self._attempts.items()}
            actions = decide(self._desired, seen)
            if not actions:
                return
            for action in actions:
                self._do(action)

    def _do(self, action: Action) -> None:
        match action:
            case Look(wanted):
                self._look(wanted)
            case Start(wanted):
                attempt = self._attempts[wanted.attempt]
                attempt.phase = "starting"
                self._follow(attempt, self._follower.start)
            case GiveUp(wanted):
                attempt = self._attempts[wanted.attempt]
                attempt.phase = "starting"
                self._follow(attempt, self._follower.give_up)
            case Refuse(wanted):
                self._refuse(self._attempts[wanted.attempt])
            case Stop(wanted):
                self._stop(self._attempts[wanted.attempt])
            case Forget(name):
                attempt = self._attempts.pop(name)
                if attempt.scope is not None:
                    attempt.scope.cancel()

    def tell(self, attempt: Attempt, *, urgent: bool = True) -> None:
        """There is news of an attempt."""
        self._with_news.add(attempt.name)
        (self._news.changed if urgent else self._news.soon)()

    # What is there already

    def _look(self, wanted: DesiredAttempt) -> None:
        attempt = Attempt(wanted, RunDir(wanted.run_dir, wanted.attempt))
        self._attempts[wanted.attempt] = attempt
        found = attempt.folder.look()
        if self._rebooted and found.kind == "unstarted" and wanted.action == "run":
            # What is desired before the server has heard of this boot was begun in an earlier
            # one. It may have run: a power cut takes the claims of the last seconds with it.
            attempt.folder.abandon()
            found = attempt.folder.look()
        self.adopt(attempt, found)

    def adopt(self, attempt: Attempt, found: Found) -> None:
        """Take up an attempt as its run directory tells it."""
        if found.kind == "unstarted":
            return
        _log.info(
            "attempt taken up", action="attempt.adopted", attempt=attempt.name, as_=found.kind
        )
        attempt.shim = found.shim
        attempt.began = found.began
        attempt.facts = found.facts
        attempt.record = found.record
        if found.kind == "refused":
            attempt.phase = "ended"
            attempt.outcome = attempt.desired.stop_reason or Outcome.CANCELLED
            attempt.gpus_clear = True
        elif found.kind == "alive":
            attempt.phase = "running" if found.began else "starting"
            self._follow(attempt, self._follower.watch)
        else:
            attempt.phase = "stopping"
            attempt.asked = StopTerms.of(attempt.desired)
            self._follow(attempt, self._follower.conclude)
        self.tell(attempt)

    def _refuse(self, attempt: Attempt) -> None:
        try:
            attempt.folder.make()
            mine = attempt.folder.refuse()
        except OSError:
            mine = True  # where nothing can be written, nothing can be claimed nor started
        if not mine:
            # An earlier worker's fork server was quicker: it runs, and will be asked to stop.
            self.adopt(attempt, attempt.folder.look())
            return
        attempt.phase = "ended"
        attempt.outcome = attempt.desired.stop_reason or Outcome.CANCELLED
        attempt.message = "It was stopped before it started."
        attempt.gpus_clear = True
        self.tell(attempt)

    # Stopping

    def _stop(self, attempt: Attempt) -> None:
        terms = attempt.asked = StopTerms.of(attempt.desired)
        if attempt.phase in {"starting", "running"}:
            attempt.phase = "stopping"
        try:
            wish = b'{"grace_s": %.3f, "warn_s": %.3f}' % (
                terms.grace.total_seconds(),
                terms.warning.total_seconds(),
            )
            attempt.folder.write("stop.json", wish)
        except OSError as error:
            # The shim then takes the grace that the job was submitted with.
            _log.warning("stop.json: not written", attempt=attempt.name, reason=error.strerror)
        shim = attempt.shim or attempt.folder.look().shim
        if shim is not None:
            shim.send(signal.SIGTERM)
        self.tell(attempt)

    # Following

    def _follow(self, attempt: Attempt, step: Callable[[Attempt], Awaitable[None]]) -> None:
        self._tasks.start_soon(self._guard, attempt, step, name=f"attempt {attempt.name}")

    async def _guard(self, attempt: Attempt, step: Callable[[Attempt], Awaitable[None]]) -> None:
        """One attempt that cannot be followed must not take the others with it."""
        with anyio.CancelScope() as attempt.scope:
            try:
                await step(attempt)
            except Exception:  # noqa: BLE001 - whatever it was, it is logged and tried anew
                _log.exception(
                    "attempt is looked at anew", action="attempt.trouble", attempt=attempt.name
                )
                await anyio.sleep(1)
                if self._attempts.get(attempt.name) is attempt:
                    del self._attempts[attempt.name]
                self.reconcile()
