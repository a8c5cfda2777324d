"""Two conversations with the server: what should be, and what is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import anyio
import anyio.to_thread
import structlog
from pydantic import ValidationError

from berth.protocol.internal import DesiredState
from berth_worker.server_link.unix_http import Channel, ServerAwayError, ServerRefusedError

_log = structlog.get_logger(__name__)
_WAIT_S = 30
_ANSWER_WITHIN_S = 15.0
_SOON_S = 0.005
_FIRST_PAUSE_S = 0.02
_LONGEST_PAUSE_S = 0.5


class Link:
    """Hears the desired state and sends reports, for ever, whatever becomes of the server."""

    def __init__(
        self, socket: Path, report: Callable[[bool], bytes], on_told: Callable[[], None]
    ) -> None:
        """
        `report` makes the next report; it is told whether the server may be another than
        before, which knows nothing yet. `on_told` is called after each that was taken.
        """
        # Not sent again as it was: a server that came anew, and has come to the same generation,
        # would let it wait.
        self._listening = Channel(socket, _WAIT_S + _ANSWER_WITHIN_S, again=False)
        self._reporting = Channel(socket, _ANSWER_WITHIN_S)
        self._report = report
        self._on_told = on_told
        self._heard = anyio.Event()
        self._news = anyio.Event()
        self._urgent = anyio.Event()
        self._threads = anyio.CapacityLimiter(2)

    def changed(self) -> None:
        """Something is to be reported at once: somebody waits for it."""
        self._urgent.set()
        self._news.set()

    def soon(self) -> None:
        """Something is to be reported within milliseconds, with what else comes until then."""
        self._news.set()

    def close(self) -> None:
        """End both conversations, also in the middle of an answer."""
        self._listening.interrupt()
        self._reporting.interrupt()

    async def listen(self, on_desired: Callable[[DesiredState], None]) -> None:
        """Hand over every desired state that the server tells."""
        generation: int | None = None
        connections = 0
        pause = _Pause("the server cannot be asked what should run")
        while True:
            after = "" if generation is None else f"&after={generation}"
            try:
                answer = await self._ask(
                    self._listening, "GET", f"/internal/v1/desired?wait_s={_WAIT_S}{after}"
                )
                desired = DesiredState.model_validate_json(answer)
            except (ServerAwayError, ServerRefusedError, ValidationError) as error:
                # Another server counts generations anew: ask without one.
                generation = None
                await pause.take(error)
                continue
            pause.over()
            if desired.generation != generation or connections != self._listening.connections:
                if connections != self._listening.connections:
                    self.changed()  # it may be another server, which waits for the first report
                generation, connections = desired.generation, self._listening.connections
                on_desired(desired)
                self._heard.set()

    async def tell(self) -> None:
        """Send a report whenever there is news; the first one after the first desired state."""
        connections = 0
        pause = _Pause("the server takes no report")
        await self._heard.wait()
        while True:
            await self._news.wait()
            with anyio.move_on_after(_SOON_S):
                await self._urgent.wait()
            self._news, self._urgent = anyio.Event(), anyio.Event()
            try:
                body = self._report(connections != self._reporting.connections)
                connections = self._reporting.connections
                await self._ask(self._reporting, "POST", "/internal/v1/report", body)
            except (ServerAwayError, ServerRefusedError) as error:
                self.changed()
                connections = -1
                await pause.take(error)
            else:
                pause.over()
                self._on_told()
                if connections != self._reporting.connections:
                    self.changed()  # it was another server: it needs the whole story

    async def _ask(
        self, channel: Channel, method: str, target: str, body: bytes | None = None
    ) -> bytes:
        return await anyio.to_thread.run_sync(
            channel.ask, method, target, body, limiter=self._threads, abandon_on_cancel=True
        )


class _Pause:
    """Growing pauses between attempts, told once per absence."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._failures = 0

    async def take(self, error: Exception) -> None:
        if self._failures == 0:
            _log.info(self._what, action="server.away", reason=str(error))
        await anyio.sleep(min(_FIRST_PAUSE_S * 2 ** min(self._failures, 10), _LONGEST_PAUSE_S))
        self._failures += 1

    def over(self) -> None:
        if self._failures:
            _log.info("the server is back", action="server.back", tries=self._failures)
        self._failures = 0
