"""The worker's two conversations with the server: desired state in, reports out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import anyio
import structlog
from pydantic import ValidationError

from berth.backoff import Backoff
from berth.protocol.internal import DesiredState
from berth_worker.server_link.unix_http import Channel, ServerAwayError, ServerRefusedError

_log = structlog.get_logger(__name__)
_REPORT = "/internal/v1/report"
_WAIT_S = 30
_ANSWER_WITHIN_S = 15.0
_SOON_S = 0.005
_FIRST_PAUSE_S = 0.02
_LONGEST_PAUSE_S = 0.5


class Link:
    """Receives the desired state and sends reports, for ever, through every outage of the server."""

    def __init__(
        self,
        socket: Path,
        report: Callable[[bool], bytes],
        on_reported: Callable[[], None],
        single_reports: Callable[[], list[bytes]] = list,
    ) -> None:
        """
        `report` builds the next report; its argument is True when the server may have been
        replaced and knows nothing yet. `on_reported` is called after each accepted report.
        `single_reports` builds one for each attempt, sent when the server refuses them together.
        """
        # Not resent unchanged: a restarted server that has reached the same generation would
        # hold the request.
        self._listening = Channel(socket, _WAIT_S + _ANSWER_WITHIN_S, again=False)
        self._reporting = Channel(socket, _ANSWER_WITHIN_S)
        self._report = report
        self._single_reports = single_reports
        self._on_reported = on_reported
        self._heard = anyio.Event()
        self._due = anyio.Event()
        self._urgent = anyio.Event()

    def report_now(self) -> None:
        """Report at once: something waits for it."""
        self._urgent.set()
        self._due.set()

    def report_soon(self) -> None:
        """Report within milliseconds, together with what else changes until then."""
        self._due.set()

    def close(self) -> None:
        """Close both connections."""
        self._listening.close()
        self._reporting.close()

    async def listen(self, on_desired: Callable[[DesiredState], None]) -> None:
        """Pass every desired state that the server sends to `on_desired`."""
        generation: int | None = None
        connections = 0
        retry = _Retry("the server does not answer with the desired state")
        while True:
            after = "" if generation is None else f"&after={generation}"
            try:
                target = f"/internal/v1/desired?wait_s={_WAIT_S}{after}"
                answer = await self._listening.ask("GET", target)
                desired = DesiredState.model_validate_json(answer)
            except (ServerAwayError, ServerRefusedError, ValidationError) as error:
                # A restarted server counts generations from the start: ask without one.
                generation = None
                await retry.pause(error)
                continue
            retry.succeeded()
            if desired.generation != generation or connections != self._listening.connections:
                if connections != self._listening.connections:
                    self.report_now()  # perhaps a restarted server, which waits for the first report
                generation, connections = desired.generation, self._listening.connections
                on_desired(desired)
                self._heard.set()

    async def send_reports(self) -> None:
        """Send a report whenever one is due; the first one follows the first desired state."""
        connections = 0
        retry = _Retry("the server does not take the report")
        await self._heard.wait()
        while True:
            await self._due.wait()
            with anyio.move_on_after(_SOON_S):
                await self._urgent.wait()
            self._due, self._urgent = anyio.Event(), anyio.Event()
            try:
                body = self._report(connections != self._reporting.connections)
                connections = self._reporting.connections
                await self._reporting.ask("POST", _REPORT, body)
            except ServerRefusedError as error:
                await self._report_singly()
                self.report_now()
                connections = -1
                await retry.pause(error)
            except ServerAwayError as error:
                self.report_now()
                connections = -1
                await retry.pause(error)
            except Exception:  # noqa: BLE001 - what one attempt does must not end the worker
                _log.exception("a report could not be built", action="report.trouble")
                self.report_now()
                connections = -1
                await anyio.sleep(1)
            else:
                retry.succeeded()
                self._on_reported()
                if connections != self._reporting.connections:
                    self.report_now()  # a restarted server needs the full report

    async def _report_singly(self) -> None:
        """Report each attempt by itself: one that the server refuses holds up no other."""
        for body in self._single_reports():
            try:
                await self._reporting.ask("POST", _REPORT, body)
            except ServerRefusedError as error:
                _log.error(
                    "an attempt's report is refused", action="report.refused", why=str(error)
                )
            except ServerAwayError:
                return


class _Retry:
    """Backoff between attempts; logs the start and the end of each outage."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._backoff = Backoff(_FIRST_PAUSE_S, _LONGEST_PAUSE_S)
        self._failures = 0

    async def pause(self, error: Exception) -> None:
        if self._failures == 0:
            _log.info(self._what, action="server.away", reason=str(error))
        await anyio.sleep(self._backoff.next_s())
        self._failures += 1

    def succeeded(self) -> None:
        if self._failures:
            _log.info("the server is back", action="server.back", tries=self._failures)
            self._backoff.reset()
        self._failures = 0
