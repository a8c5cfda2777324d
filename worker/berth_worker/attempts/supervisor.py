"""Supervisor of all attempts: carries out what `reconcile` decides."""

from __future__ import annotations

import json
import signal
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import anyio
import anyio.abc
import anyio.to_thread
import structlog

from berth.protocol.internal import DesiredAttempt, DesiredState, Examination, ObservedAttempt
from berth.protocol.states import Outcome
from berth_worker.attempts.attempt import Attempt
from berth_worker.attempts.attempt_runner import AttemptRunner
from berth_worker.attempts.log_growth import LogGrowth
from berth_worker.attempts.reconcile import (
    Action,
    Adopt,
    Block,
    Fail,
    Forget,
    Start,
    Stop,
    StopTerms,
    decide,
)
from berth_worker.attempts.run_records import RunDirState
from berth_worker.attempts.rundir import RunDir
from berth_worker.attempts.unreported import Unreported
from berth_worker.devices import AttemptProcesses
from berth_worker.devices.sampling import Sampler
from berth_worker.diagnose import examine
from berth_worker.launch import HostContext, ShimLauncher

_log = structlog.get_logger(__name__)


class ReportTrigger(Protocol):
    """Trigger of the next report to the server."""

    def report_now(self) -> None:
        """Report at once."""
        ...

    def report_soon(self) -> None:
        """Report within milliseconds."""
        ...


class Supervisor:
    """All attempts that the server wants. Belongs to the event loop's thread."""

    def __init__(
        self,
        tasks: anyio.abc.TaskGroup,
        host: Callable[[], HostContext],
        sampler: Sampler,
        shim_launcher: ShimLauncher,
        trigger: ReportTrigger,
        *,
        rebooted: bool,
    ) -> None:
        """`rebooted`: the last worker of this home ran before the box was restarted."""
        self._tasks = tasks
        self._growth = LogGrowth()
        self._shim_launcher = shim_launcher
        self._runner = AttemptRunner(self, host, sampler, shim_launcher)
        self._sampler = sampler
        self._trigger = trigger
        self._rebooted = rebooted
        self._desired = DesiredState(generation=0)
        self._attempts: dict[str, Attempt] = {}
        self._unreported = Unreported()
        self._retrying = False

    def apply(self, desired: DesiredState) -> None:
        """Take in a new desired state and act on it."""
        self._desired = desired
        for wanted in desired.attempts:
            known = self._attempts.get(wanted.attempt)
            if known is not None:
                before, known.desired = known.desired, wanted
                if wanted.time_limit != before.time_limit:
                    self._grant_limit(known)
                if wanted.examine not in {0, known.examining} and known.phase == "running":
                    known.examining = wanted.examine
                    self._tasks.start_soon(self._examine, known)
                self._start_beside(known)
        self.reconcile()
        self._rebooted = False

    def observed(self, *, everything: bool) -> tuple[ObservedAttempt, ...]:
        """Return the attempts to report: `everything`, or those changed since the last call."""
        return self._unreported.taken_from(self._attempts, everything=everything)

    @property
    def has_attempts(self) -> bool:
        """True when the server wants any."""
        return bool(self._attempts)

    def processes(self) -> Mapping[str, AttemptProcesses]:
        """Return the processes of each attempt that may be on GPUs."""
        return {
            name: attempt.processes
            for name, attempt in self._attempts.items()
            if attempt.phase != "unstarted" and not attempt.gpus_clear
        }

    def add_seen_pid(self, attempt: str, pid: int) -> None:
        """Note that a process of an attempt was seen on a GPU."""
        known = self._attempts.get(attempt)
        if known is not None:
            known.seen_pids.add(pid)

    def look(self) -> None:
        """Note which running attempts have reported a checkpoint since the last call, and their logs."""
        self._shim_launcher.trim()
        self._growth.forget({str(one.folder.path) for one in self._attempts.values()})
        for attempt in self._attempts.values():
            if attempt.phase != "unstarted":
                self._growth.look(attempt.folder.path)
            if attempt.phase in {"running", "stopping"}:
                saved_at = attempt.folder.saved_at()
                if saved_at is not None and saved_at != attempt.saved_at:
                    attempt.saved_at = saved_at
                    self._unreported.add(attempt.name)

    def lease(self, attempt: str) -> frozenset[str]:
        """Return the UUIDs of the GPUs that an attempt holds."""
        known = self._attempts.get(attempt)
        return frozenset(gpu.uuid for gpu in known.desired.gpus) if known else frozenset()

    def reconcile(self) -> None:
        """Act until the observed state agrees with the desired state."""
        failed: set[str] = set()
        while True:
            observed = {name: attempt.observed_phase for name, attempt in self._attempts.items()}
            actions = decide(self._desired, observed)
            actions = [action for action in actions if action.name not in failed]
            if not actions:
                break
            for action in actions:
                try:
                    self._do(action)
                except Exception:  # noqa: BLE001 - logged and tried again; others must not wait
                    _log.exception(
                        "an action failed unexpectedly and is tried again",
                        action="attempt.trouble",
                        attempt=action.name,
                    )
                    failed.add(action.name)
        if failed and not self._retrying:
            self._retrying = True
            self._tasks.start_soon(self._reconcile_later)

    async def _reconcile_later(self) -> None:
        await anyio.sleep(1)
        self._retrying = False
        self.reconcile()

    def _do(self, action: Action) -> None:
        match action:
            case Adopt(wanted):
                self._adopt(wanted)
            case Start(wanted):
                attempt = self._attempts[wanted.attempt]
                attempt.phase = "starting"
                self._run(attempt, self._runner.start)
            case Fail(wanted):
                attempt = self._attempts[wanted.attempt]
                attempt.phase = "starting"
                self._run(attempt, self._runner.fail)
            case Block(wanted):
                self._block(self._attempts[wanted.attempt])
            case Stop(wanted):
                self._stop(self._attempts[wanted.attempt])
            case Forget(name):
                attempt = self._attempts.pop(name)
                if attempt.scope is not None:
                    attempt.scope.cancel()

    def changed(self, attempt: Attempt, *, urgent: bool = True) -> None:
        """Report an attempt with the next report: at once if `urgent`, else within milliseconds."""
        self._unreported.add(attempt.name)
        (self._trigger.report_now if urgent else self._trigger.report_soon)()

    # Adoption

    def _adopt(self, wanted: DesiredAttempt) -> None:
        folder = RunDir(wanted.run_dir, wanted.attempt, wanted.token, wanted.uid)
        attempt = Attempt(wanted, folder)
        self._attempts[wanted.attempt] = attempt
        found = attempt.folder.state()
        if self._rebooted and found.kind == "unstarted" and wanted.action == "run":
            # An attempt that is desired before the server knows of this boot belongs to an
            # earlier boot. It may have run: a power cut can lose the claims of the last seconds.
            attempt.folder.abandon()
            found = attempt.folder.state()
        self.adopt(attempt, found)

    def adopt(self, attempt: Attempt, found: RunDirState) -> None:
        """Take up an attempt in the state of its run directory."""
        if found.kind == "unstarted":
            return
        _log.info("attempt adopted", action="attempt.adopted", attempt=attempt.name, as_=found.kind)
        attempt.shim = found.shim
        attempt.shim_record = found.shim_record
        attempt.facts = found.facts
        attempt.exit_record = found.exit_record
        if found.kind == "blocked":
            attempt.phase = "ended"
            attempt.outcome = attempt.desired.stop_reason or Outcome.CANCELLED
            attempt.gpus_clear = True
        elif found.kind == "foreign":
            attempt.phase = "ended"
            attempt.outcome = Outcome.LAUNCH_ERROR
            attempt.message = (
                f"Its run directory {attempt.folder.path} holds the record of another attempt, as "
                "after a restore of an older database; submit the job again."
            )
            attempt.gpus_clear = True
        elif found.kind == "alive":
            attempt.phase = "running" if found.shim_record else "starting"
            self._grant_limit(attempt)
            self._run(attempt, self._runner.follow)
        else:
            attempt.phase = "stopping"
            attempt.stop_terms = StopTerms.of(attempt.desired)
            self._run(attempt, self._runner.finish)
        self.changed(attempt)

    def _grant_limit(self, attempt: Attempt) -> None:
        """Tell the shim the limit in force, which it reads when its own is reached."""
        limit = attempt.desired.time_limit
        seconds = "null" if limit is None else f"{limit.total_seconds():.3f}"
        try:
            attempt.folder.write(
                "limit.json", b'{"time_limit_s": %s}' % seconds.encode(), mode=0o644
            )
        except OSError as error:
            _log.warning("limit.json: not written", attempt=attempt.name, reason=error.strerror)

    def _start_beside(self, attempt: Attempt) -> None:
        """Have the shim start the commands that are new; one that it knows it starts no second time."""
        orders = attempt.desired.beside
        if not orders or orders[-1].number <= attempt.besides or attempt.phase != "running":
            return
        content = json.dumps([order.model_dump() for order in orders]).encode()
        try:
            attempt.folder.write("beside.json", content)
        except OSError as error:
            _log.warning("beside.json: not written", attempt=attempt.name, reason=error.strerror)
            return
        attempt.besides = orders[-1].number
        shim = attempt.shim or attempt.folder.state().shim
        if shim is not None:
            shim.send(signal.SIGUSR2)

    async def _examine(self, attempt: Attempt) -> None:
        """Look at an attempt's processes for some seconds, and report what they do."""
        number = attempt.examining
        gpu_of = {
            process.pid: gpu.index
            for gpu in self._sampler.gpus
            for process in gpu.processes
            if process.attempt == attempt.name
        }
        roots = {*attempt.processes.pids, *gpu_of}
        try:
            found = await anyio.to_thread.run_sync(examine.examine, roots, gpu_of)
            written = await anyio.to_thread.run_sync(examine.stacks, found)
            path = None
            if written is not None:
                attempt.folder.write(examine.STACKS_NAME, written, 0o600, attempt.desired.uid)
                path = str(attempt.folder.path / examine.STACKS_NAME)
        except Exception:  # noqa: BLE001 - a look that fails must not affect the attempt
            _log.exception("an attempt was not examined", attempt=attempt.name)
            return
        attempt.examination = Examination(number=number, processes=found, stacks=path)
        self.changed(attempt)

    def _block(self, attempt: Attempt) -> None:
        try:
            attempt.folder.make()
            claimed = attempt.folder.block()
        except OSError:
            claimed = True  # where nothing can be written, no shim can claim it either
        if not claimed:
            # An earlier worker's fork server was quicker: it runs, and will be asked to stop.
            self.adopt(attempt, attempt.folder.state())
            return
        attempt.phase = "ended"
        attempt.outcome = attempt.desired.stop_reason or Outcome.CANCELLED
        attempt.message = "It was stopped before it started."
        attempt.gpus_clear = True
        self.changed(attempt)

    # Stopping

    def _stop(self, attempt: Attempt) -> None:
        terms = attempt.stop_terms = StopTerms.of(attempt.desired)
        if attempt.phase in {"starting", "running"}:
            attempt.phase = "stopping"
        try:
            attempt.folder.write("stop.json", terms.as_json(), mode=0o644)
        except OSError as error:
            # The shim then uses the grace that the job was submitted with.
            _log.warning("stop.json: not written", attempt=attempt.name, reason=error.strerror)
        if attempt.exit_record is None:
            shim = attempt.shim or attempt.folder.state().shim
            if shim is not None:
                shim.send(signal.SIGTERM)
        self.changed(attempt)

    # Tasks

    def _run(self, attempt: Attempt, step: Callable[[Attempt], Awaitable[None]]) -> None:
        self._tasks.start_soon(self._guard, attempt, step, name=f"attempt {attempt.name}")

    async def _guard(self, attempt: Attempt, step: Callable[[Attempt], Awaitable[None]]) -> None:
        """Run one step; an error in it must not affect other attempts."""
        with anyio.CancelScope() as attempt.scope:
            try:
                await step(attempt)
            except Exception:  # noqa: BLE001 - logged and tried again
                _log.exception(
                    "an attempt failed unexpectedly and is adopted again",
                    action="attempt.trouble",
                    attempt=attempt.name,
                )
                await anyio.sleep(1)
                if self._attempts.get(attempt.name) is attempt:
                    del self._attempts[attempt.name]
                self.reconcile()
