"""Commands of Slurm's that attempts wait for: one at a time for each, a few at once in all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio
import anyio.abc
import anyio.to_thread
import structlog

from berth_worker.slurm.client import UnansweredError
from berth_worker.slurm.cluster_attempt import ClusterAttempt

_log = structlog.get_logger(__name__)
_AT_ONCE = 4
Result = TypeVar("Result")


class Calls:
    """Runs commands in threads. Belongs to the event loop's thread."""

    def __init__(
        self, tasks: anyio.abc.TaskGroup, look_again: Callable[[ClusterAttempt], None]
    ) -> None:
        """`look_again` is called with an attempt when its command has ended."""
        self._tasks = tasks
        self._look_again = look_again
        self._limiter = anyio.CapacityLimiter(_AT_ONCE)

    def run(
        self, attempt: ClusterAttempt, step: Callable[[ClusterAttempt], Awaitable[None]]
    ) -> None:
        """Begin a step of an attempt, unless one is under way."""
        if not attempt.busy:
            attempt.busy = True
            self._tasks.start_soon(self._guard, attempt, step)

    def ask(self, attempt: ClusterAttempt, command: Callable[[], object]) -> None:
        """Begin a command for an attempt; without an answer the next look repeats it."""

        async def call(_: ClusterAttempt) -> None:
            await self.answered(command)

        self.run(attempt, call)

    def ask_alone(self, command: Callable[[], object]) -> None:
        """Begin a command that belongs to no attempt."""
        self._tasks.start_soon(self.answered, command)

    async def answered(self, command: Callable[[], object]) -> bool:
        """Run a command; return whether Slurm answered."""
        try:
            await self.in_thread(command)
        except UnansweredError as error:
            _log.warning("Slurm gave no answer", action="slurm.unanswered", reason=str(error))
            return False
        return True

    async def in_thread(self, command: Callable[[], Result]) -> Result:
        """Run a command that blocks. Raises what it raises."""
        return await anyio.to_thread.run_sync(command, limiter=self._limiter)

    async def _guard(
        self, attempt: ClusterAttempt, step: Callable[[ClusterAttempt], Awaitable[None]]
    ) -> None:
        try:
            await step(attempt)
        except Exception:  # noqa: BLE001 - logged and tried again; others must not wait
            _log.exception(
                "an attempt failed unexpectedly and is looked at again",
                action="attempt.trouble",
                attempt=attempt.desired.attempt,
            )
            await anyio.sleep(1)
        finally:
            attempt.busy = False
        self._look_again(attempt)
