"""Carries out what was decided, and follows every attempt to its end."""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import anyio
import anyio.abc
import anyio.to_thread
import structlog

from berth.protocol.internal import DesiredAttempt, DesiredState, ExitRecord, ObservedAttempt
from berth.protocol.jobs import LaunchFacts
from berth.protocol.states import Outcome
from berth_worker import ending, reconcile
from berth_worker.attempt import Attempt
from berth_worker.devices import AttemptProcesses
from berth_worker.launch import LaunchError, Starter, Surroundings, launch
from berth_worker.rundir import Began, Found, RunDir
from berth_worker.sampling import Sampler
from berth_worker.shim import kin

_log = structlog.get_logger(__name__)
_RETRY_S = 0.2


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
        self._surroundings = surroundings
        self._sampler = sampler
        self._starter = starter
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
        self._reconcile()
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

    def lease(self, attempt: str) -> frozenset[str]:
        """UUIDs of the GPUs that an attempt holds."""
        known = self._attempts.get(attempt)
        return frozenset(gpu.uuid for gpu in known.desired.gpus) if known else frozenset()

    def _reconcile(self) -> None:
        while True:
            seen = {name: attempt.seen for name, attempt in self._attempts.items()}
            actions = reconcile.decide(self._desired, seen)
            if not actions:
                return
            for action in actions:
                self._do(action)

    def _do(self, action: reconcile.Action) -> None:
        match action:
            case reconcile.Look(wanted):
                self._look(wanted)
            case reconcile.Start(wanted):
                attempt = self._attempts[wanted.attempt]
                attempt.phase = "starting"
                self._follow(attempt, self._start)
            case reconcile.GiveUp(wanted):
                attempt = self._attempts[wanted.attempt]
                attempt.phase = "starting"
                self._follow(attempt, self._give_up)
            case reconcile.Refuse(wanted):
                self._refuse(self._attempts[wanted.attempt])
            case reconcile.Stop(wanted):
                self._stop(self._attempts[wanted.attempt])
            case reconcile.Forget(name):
                attempt = self._attempts.pop(name)
                if attempt.scope is not None:
                    attempt.scope.cancel()

    def _tell(self, attempt: Attempt, *, urgent: bool = True) -> None:
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
        self._adopt(attempt, found)

    def _adopt(self, attempt: Attempt, found: Found) -> None:
        """Take up an attempt as its run directory tells it."""
        if found.kind == "unstarted":
            return
        _log.info(
            "attempt taken up", action="attempt.adopted", attempt=attempt.name, as_=found.kind
        )
        attempt.shim = found.shim
        attempt.began = found.began
        attempt.memory_kills_before = found.began.oom_kills if found.began else None
        attempt.facts = found.facts
        attempt.record = found.record
        if found.kind == "refused":
            attempt.phase = "ended"
            attempt.outcome = attempt.desired.stop_reason or Outcome.CANCELLED
            attempt.gpus_clear = True
        elif found.kind == "alive":
            attempt.phase = "running" if found.began else "starting"
            self._follow(attempt, self._watch)
        else:
            attempt.phase = "stopping"
            attempt.asked_grace = attempt.desired.grace
            self._follow(attempt, self._conclude)
        self._tell(attempt)

    def _refuse(self, attempt: Attempt) -> None:
        try:
            attempt.folder.make()
            mine = attempt.folder.refuse()
        except OSError:
            mine = True  # where nothing can be written, nothing can be claimed nor started
        if not mine:
            # An earlier worker's nursery was quicker: it runs, and will be told to stop.
            self._adopt(attempt, attempt.folder.look())
            return
        attempt.phase = "ended"
        attempt.outcome = attempt.desired.stop_reason or Outcome.CANCELLED
        attempt.message = "It was stopped before it started."
        attempt.gpus_clear = True
        self._tell(attempt)

    # Starting

    async def _start(self, attempt: Attempt) -> None:
        try:
            # In a thread: a folder on a network disk may take its time to answer.
            pipe, attempt.facts = await anyio.to_thread.run_sync(self._launch, attempt)
        except LaunchError as error:
            await self._fail(attempt, str(error))
            return
        except OSError as error:
            await self._refused(attempt, error.strerror or str(error))
            return
        try:
            refusal = await self._listen(attempt, pipe)
        finally:
            os.close(pipe)
        if attempt.record is not None:
            await self._conclude(attempt)
            return
        # The pipe closed without an end: only the run directory can tell why.
        found = attempt.folder.look()
        if found.kind == "unstarted":
            await self._refused(attempt, refusal or "no process could be started")
            return
        attempt.shim = attempt.shim or found.shim
        attempt.began = attempt.began or found.began
        attempt.record = found.record
        await (self._watch(attempt) if found.kind == "alive" else self._conclude(attempt))

    def _launch(self, attempt: Attempt) -> tuple[int, LaunchFacts]:
        return launch(
            attempt.desired,
            attempt.folder,
            self._surroundings(),
            self._starter,
            directly=attempt.refusals > 0,
        )

    async def _listen(self, attempt: Attempt, pipe: int) -> str | None:
        """Hear the shim out; why it would not start, if it said so."""
        heard = b""
        while attempt.record is None:
            await anyio.wait_readable(pipe)
            try:
                chunk = os.read(pipe, 65536)
            except BlockingIOError:
                continue
            if not chunk:
                return None
            heard += chunk
            *lines, heard = heard.split(b"\n")
            for line in lines:
                word, _, text = line.partition(b" ")
                if word == b"began":
                    self._begin(attempt, Began.model_validate_json(text))
                elif word == b"ended":
                    attempt.record = ExitRecord.model_validate_json(text)
                else:
                    return text.decode(errors="replace")
        return None

    def _begin(self, attempt: Attempt, began: Began) -> None:
        attempt.began = began
        attempt.memory_kills_before = began.oom_kills or kin.oom_kills()
        attempt.shim = began.shim.identity()
        if attempt.phase == "starting":
            attempt.phase = "running"
        elif attempt.asked_grace is not None:
            attempt.shim.send(signal.SIGTERM)  # it was told to stop before it could hear
        self._tell(attempt, urgent=False)

    async def _refused(self, attempt: Attempt, why: str) -> None:
        """The box had no process, no disk or no memory to spare: try again, a few times."""
        _log.warning(
            "attempt could not be started", action="attempt.refused", attempt=attempt.name, why=why
        )
        attempt.refusals += 1
        attempt.message = why
        await anyio.sleep(_RETRY_S * attempt.refusals)
        attempt.phase = "unstarted"
        self._reconcile()

    async def _give_up(self, attempt: Attempt) -> None:
        why = attempt.message or "no process could be started"
        await self._fail(
            attempt, f"The box could not start it ({why}); see to its disk, memory and processes."
        )

    async def _fail(self, attempt: Attempt, sentence: str) -> None:
        """It cannot be started at all: told in its own log, where its user looks."""
        try:
            attempt.record = await anyio.to_thread.run_sync(
                ending.write_launch_error, attempt.folder, sentence
            )
        except ending.StartedError:
            self._adopt(attempt, attempt.folder.look())
            self._reconcile()
            return
        await self._conclude(attempt)

    # Stopping

    def _stop(self, attempt: Attempt) -> None:
        grace = attempt.desired.grace
        attempt.asked_grace = grace
        if attempt.phase in {"starting", "running"}:
            attempt.phase = "stopping"
        try:
            attempt.folder.write("stop.json", b'{"grace_s": %.3f}' % grace.total_seconds())
        except OSError as error:
            # The shim then takes the grace that the job was submitted with.
            _log.warning("stop.json: not written", attempt=attempt.name, reason=error.strerror)
        shim = attempt.shim or attempt.folder.look().shim
        if shim is not None:
            shim.send(signal.SIGTERM)
        self._tell(attempt)

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
                self._reconcile()

    async def _watch(self, attempt: Attempt) -> None:
        """Follow a shim that this worker did not start."""
        assert attempt.shim is not None
        try:
            handle = os.pidfd_open(attempt.shim.pid)
        except ProcessLookupError:
            handle = -1
        try:
            if handle >= 0 and attempt.shim.alive:
                while attempt.began is None:
                    with anyio.move_on_after(0.05):
                        await anyio.wait_readable(handle)
                        break
                    began = attempt.folder.began()
                    if began is not None:
                        self._begin(attempt, began)
                await anyio.wait_readable(handle)
        finally:
            if handle >= 0:
                os.close(handle)
        found = attempt.folder.look()
        attempt.record = found.record
        attempt.began = attempt.began or found.began
        await self._conclude(attempt)

    async def _conclude(self, attempt: Attempt) -> None:
        """It has ended: say why, and see to it that its GPUs are left."""
        home = self._surroundings().home
        if attempt.record is None:
            await anyio.to_thread.run_sync(ending.end_processes, home, attempt)
        if ending.is_plain(attempt.record):
            verdict = ending.verdict(attempt)
        else:
            verdict = await anyio.to_thread.run_sync(ending.verdict, attempt)
        attempt.outcome, attempt.message = verdict.outcome, verdict.message
        attempt.gpus_clear = await self._is_clear(attempt)
        attempt.phase = "ended"
        self._tell(attempt)
        pause_s = 0.002
        while not attempt.gpus_clear:
            await anyio.sleep(pause_s)
            pause_s = min(2 * pause_s, 1.0)
            if pause_s > 0.2:
                await anyio.to_thread.run_sync(ending.end_processes, home, attempt)
            attempt.gpus_clear = await self._is_clear(attempt)
            if attempt.gpus_clear:
                self._tell(attempt)

    async def _is_clear(self, attempt: Attempt) -> bool:
        if not attempt.desired.gpus:
            return True
        uuids = [gpu.uuid for gpu in attempt.desired.gpus]
        pids = set(attempt.seen_pids)
        if attempt.began is not None:
            pids.add(attempt.began.first.pid)
        return await self._sampler.clear(uuids, pids)
