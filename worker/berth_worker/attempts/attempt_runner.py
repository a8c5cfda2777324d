"""Runner of attempts, from start or adoption until their GPUs are released."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import partial
from typing import Protocol

import anyio
import anyio.to_thread
import structlog

from berth.backoff import Backoff
from berth.protocol.attempts import LaunchFacts
from berth.protocol.internal import ExitRecord
from berth_worker.attempts import finish
from berth_worker.attempts.attempt import Attempt
from berth_worker.attempts.run_records import RunDirState, ShimRecord
from berth_worker.devices.sampling import Sampler
from berth_worker.launch import HostContext, LaunchError, ShimLauncher, launch
from berth_worker.launch.hooks import PrologueError

_log = structlog.get_logger(__name__)
_RETRY_S = 0.2
_THREADS_A_USER = 8
_EPILOGUES = 64  # one for each attempt that has just ended
_MESSAGE_BYTES = 256 << 10  # more than a line takes


class AttemptListener(Protocol):
    """The owner of all attempts, which hears of each change."""

    def changed(self, attempt: Attempt, *, urgent: bool = True) -> None:
        """Report that an attempt has changed."""
        ...

    def adopt(self, attempt: Attempt, found: RunDirState) -> None:
        """Take up an attempt in the state of its run directory."""
        ...

    def reconcile(self) -> None:
        """Decide again what to do."""
        ...


class AttemptRunner:
    """Runs attempts, one task each."""

    def __init__(
        self,
        listener: AttemptListener,
        host: Callable[[], HostContext],
        sampler: Sampler,
        shim_launcher: ShimLauncher,
    ) -> None:
        self._listener = listener
        self._host = host
        self._sampler = sampler
        self._shim_launcher = shim_launcher
        self._hook_threads = anyio.CapacityLimiter(_EPILOGUES)
        self._threads: dict[int | None, anyio.CapacityLimiter] = {}

    # Starting

    async def start(self, attempt: Attempt) -> None:
        """Start an attempt and follow it to its end."""
        try:
            # In a thread: a folder on a network disk may take its time to answer. Each user has
            # threads of its own: one whose folders never answer holds up no other user.
            threads = self._threads.setdefault(
                attempt.desired.uid, anyio.CapacityLimiter(_THREADS_A_USER)
            )
            line, attempt.facts = await anyio.to_thread.run_sync(
                self._launch, attempt, limiter=threads
            )
        except LaunchError as error:
            await self._end_unstarted(attempt, str(error))
            return
        except PrologueError as error:
            await self._end_unstarted(attempt, str(error), prologue_failed=True)
            return
        except OSError as error:
            await self._retry_start(attempt, error.strerror or str(error))
            return
        refusal: str | None = None
        try:
            refusal = await self._read_notices(attempt, line)
        finally:
            if attempt.exit_record is None:
                os.close(line)
            else:
                self._shim_launcher.give_back(line)
        if attempt.exit_record is not None:
            await self.finish(attempt)
            return
        # The line closed without an exit record: the run directory shows why.
        found = attempt.folder.state()
        if found.kind == "unstarted":
            await self._retry_start(attempt, refusal or "no process could be started")
            return
        attempt.shim = attempt.shim or found.shim
        attempt.shim_record = attempt.shim_record or found.shim_record
        attempt.exit_record = found.exit_record
        await (self.follow(attempt) if found.kind == "alive" else self.finish(attempt))

    def _launch(self, attempt: Attempt) -> tuple[int, LaunchFacts]:
        return launch(
            attempt.desired,
            attempt.folder,
            self._host(),
            self._shim_launcher,
            directly=attempt.start_failures > 0,
        )

    async def _read_notices(self, attempt: Attempt, line: int) -> str | None:
        """Read the shim's messages until the end; return its reason if it refused to start."""
        while attempt.exit_record is None:
            await anyio.wait_readable(line)
            try:
                message = os.read(line, _MESSAGE_BYTES)
            except BlockingIOError:
                continue
            except OSError:  # the shim was killed with a message of ours unread
                return None
            word, _, text = message.partition(b" ")
            if word == b"began":
                self._set_running(attempt, ShimRecord.model_validate_json(text))
            elif word == b"ended":
                attempt.exit_record = ExitRecord.model_validate_json(text)
            else:
                return text.decode(errors="replace").strip() or None
        return None

    def _set_running(self, attempt: Attempt, record: ShimRecord) -> None:
        attempt.shim_record = record
        attempt.shim = record.shim.identity()
        if attempt.phase == "starting":
            attempt.phase = "running"
        elif attempt.stop_terms is not None:
            attempt.shim.send(signal.SIGTERM)  # the stop request came before the shim was there
        self._listener.changed(attempt, urgent=False)

    async def _retry_start(self, attempt: Attempt, why: str) -> None:
        """Let the start be tried again: the box had no process, disk space or memory to spare."""
        _log.warning(
            "attempt could not be started",
            action="attempt.start_failed",
            attempt=attempt.name,
            why=why,
        )
        attempt.start_failures += 1
        attempt.message = why
        await anyio.sleep(_RETRY_S * attempt.start_failures)
        attempt.phase = "unstarted"
        self._listener.reconcile()

    async def fail(self, attempt: Attempt) -> None:
        """End an attempt that the box could not start in several tries."""
        why = attempt.message or "no process could be started"
        await self._end_unstarted(
            attempt,
            f"The box could not start it ({why}); check its disk, memory and process limit.",
        )

    async def _end_unstarted(
        self, attempt: Attempt, sentence: str, *, prologue_failed: bool = False
    ) -> None:
        """End an attempt that cannot be started; the reason goes into its log."""
        try:
            attempt.exit_record = await anyio.to_thread.run_sync(
                partial(
                    finish.write_launch_error,
                    attempt.folder,
                    sentence,
                    prologue_failed=prologue_failed,
                )
            )
        except finish.StartedError:
            self._listener.adopt(attempt, attempt.folder.state())
            self._listener.reconcile()
            return
        await self.finish(attempt)

    # Following

    async def follow(self, attempt: Attempt) -> None:
        """Follow a shim that this worker did not start."""
        assert attempt.shim is not None
        try:
            handle = os.pidfd_open(attempt.shim.pid)
        except ProcessLookupError:
            handle = -1
        try:
            if handle >= 0 and attempt.shim.alive:
                while attempt.shim_record is None:
                    with anyio.move_on_after(0.05):
                        await anyio.wait_readable(handle)
                        break
                    record = attempt.folder.shim_record()
                    if record is not None:
                        self._set_running(attempt, record)
                await anyio.wait_readable(handle)
        finally:
            if handle >= 0:
                os.close(handle)
        found = attempt.folder.state()
        attempt.exit_record = found.exit_record
        attempt.shim_record = attempt.shim_record or found.shim_record
        await self.finish(attempt)

    async def finish(self, attempt: Attempt) -> None:
        """Determine why the attempt ended, and wait until its GPUs are released."""
        if attempt.exit_record is None:  # without its shim, its processes may still run
            await self._kill_orphans(attempt)
        try:
            if finish.is_plain(attempt.exit_record):
                verdict = finish.verdict(attempt)
            else:
                verdict = await anyio.to_thread.run_sync(finish.verdict, attempt)
        except Exception:  # noqa: BLE001 - its GPUs must not wait for an explanation
            _log.exception(
                "an end is not explained", action="verdict.trouble", attempt=attempt.name
            )
            verdict = finish.unexplained(attempt)
        attempt.outcome, attempt.message = verdict.outcome, verdict.message
        attempt.port_taken = verdict.port_taken
        attempt.saved_at = attempt.folder.saved_at() or attempt.saved_at
        clear = await self._is_clear(attempt)
        hooks = self._host().hooks
        is_followed = hooks.follows(attempt.desired) and not (
            attempt.exit_record is not None and attempt.exit_record.prologue_failed
        )
        attempt.gpus_clear = clear and not is_followed
        attempt.phase = "ended"
        self._listener.changed(attempt)
        backoff = Backoff(0.002, 1.0)
        while not clear:
            pause_s = backoff.next_s()
            await anyio.sleep(pause_s)
            if pause_s > 0.1:
                await self._kill_orphans(attempt)
            clear = await self._is_clear(attempt)
        if is_followed:
            attempt.epilogue_failed = await anyio.to_thread.run_sync(
                hooks.after, attempt.desired, verdict.outcome.value, limiter=self._hook_threads
            )
        if not attempt.gpus_clear:
            attempt.gpus_clear = True
            self._listener.changed(attempt)

    async def _kill_orphans(self, attempt: Attempt) -> None:
        await anyio.to_thread.run_sync(
            finish.kill_orphans,
            self._host().home,
            attempt,
            self._sampler.gpus,
            self._shim_launcher.fork_server_pid,
        )

    async def _is_clear(self, attempt: Attempt) -> bool:
        if attempt.orphans:
            return False
        if not attempt.desired.gpus:
            return True
        uuids = [gpu.uuid for gpu in attempt.desired.gpus]
        pids = set(attempt.seen_pids)
        if attempt.shim_record is not None:
            pids.add(attempt.shim_record.first.pid)
        return await self._sampler.clear(uuids, pids)
