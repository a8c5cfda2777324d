"""The life of one attempt, from its start or its adoption until its GPUs are left."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Protocol

import anyio
import anyio.to_thread
import structlog

from berth.protocol.internal import ExitRecord
from berth.protocol.jobs import LaunchFacts
from berth_worker.attempts import finish
from berth_worker.attempts.attempt import Attempt
from berth_worker.attempts.rundir import Began, Found
from berth_worker.devices.sampling import Sampler
from berth_worker.launch import LaunchError, Starter, Surroundings, launch

_log = structlog.get_logger(__name__)
_RETRY_S = 0.2


class Keeper(Protocol):
    """Who keeps all attempts."""

    def tell(self, attempt: Attempt, *, urgent: bool = True) -> None:
        """There is news of an attempt."""
        ...

    def adopt(self, attempt: Attempt, found: Found) -> None:
        """Take up an attempt as its run directory tells it."""
        ...

    def reconcile(self) -> None:
        """Decide anew."""
        ...


class Follower:
    """Follows attempts, one task each."""

    def __init__(
        self,
        keeper: Keeper,
        surroundings: Callable[[], Surroundings],
        sampler: Sampler,
        starter: Starter,
    ) -> None:
        self._keeper = keeper
        self._surroundings = surroundings
        self._sampler = sampler
        self._starter = starter

    # Starting

    async def start(self, attempt: Attempt) -> None:
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
            await self.conclude(attempt)
            return
        # The pipe closed without an end: only the run directory can tell why.
        found = attempt.folder.look()
        if found.kind == "unstarted":
            await self._refused(attempt, refusal or "no process could be started")
            return
        attempt.shim = attempt.shim or found.shim
        attempt.began = attempt.began or found.began
        attempt.record = found.record
        await (self.watch(attempt) if found.kind == "alive" else self.conclude(attempt))

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
        attempt.shim = began.shim.identity()
        if attempt.phase == "starting":
            attempt.phase = "running"
        elif attempt.asked is not None:
            attempt.shim.send(signal.SIGTERM)  # it was told to stop before it could hear
        self._keeper.tell(attempt, urgent=False)

    async def _refused(self, attempt: Attempt, why: str) -> None:
        """The box had no process, no disk or no memory to spare: try again, a few times."""
        _log.warning(
            "attempt could not be started", action="attempt.refused", attempt=attempt.name, why=why
        )
        attempt.refusals += 1
        attempt.message = why
        await anyio.sleep(_RETRY_S * attempt.refusals)
        attempt.phase = "unstarted"
        self._keeper.reconcile()

    async def give_up(self, attempt: Attempt) -> None:
        why = attempt.message or "no process could be started"
        await self._fail(
            attempt, f"The box could not start it ({why}); see to its disk, memory and processes."
        )

    async def _fail(self, attempt: Attempt, sentence: str) -> None:
        """It cannot be started at all: told in its own log, where its user looks."""
        try:
            attempt.record = await anyio.to_thread.run_sync(
                finish.write_launch_error, attempt.folder, sentence
            )
        except finish.StartedError:
            self._keeper.adopt(attempt, attempt.folder.look())
            self._keeper.reconcile()
            return
        await self.conclude(attempt)

    # Following

    async def watch(self, attempt: Attempt) -> None:
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
        await self.conclude(attempt)

    async def conclude(self, attempt: Attempt) -> None:
        """It has ended: say why, and see to it that its GPUs are left."""
        home = self._surroundings().home
        if attempt.record is None:  # nobody has reaped what was below the shim
            await anyio.to_thread.run_sync(finish.end_processes, home, attempt)
        if finish.is_plain(attempt.record):
            verdict = finish.verdict(attempt)
        else:
            verdict = await anyio.to_thread.run_sync(finish.verdict, attempt)
        attempt.outcome, attempt.message = verdict.outcome, verdict.message
        attempt.saved_at = attempt.folder.saved_at() or attempt.saved_at
        attempt.gpus_clear = await self._is_clear(attempt)
        attempt.phase = "ended"
        self._keeper.tell(attempt)
        pause_s = 0.002
        while not attempt.gpus_clear:
            await anyio.sleep(pause_s)
            pause_s = min(2 * pause_s, 1.0)
            if pause_s > 0.2:
                await anyio.to_thread.run_sync(finish.end_processes, home, attempt)
            attempt.gpus_clear = await self._is_clear(attempt)
            if attempt.gpus_clear:
                self._keeper.tell(attempt)

    async def _is_clear(self, attempt: Attempt) -> bool:
        if attempt.left:
            return False
        if not attempt.desired.gpus:
            return True
        uuids = [gpu.uuid for gpu in attempt.desired.gpus]
        pids = set(attempt.seen_pids)
        if attempt.began is not None:
            pids.add(attempt.began.first.pid)
        return await self._sampler.clear(uuids, pids)
