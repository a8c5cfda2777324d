"""Application context: everything a route may need, and the parameters that hand it over."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request

from berth.units import parse_size
from berth_server.api.connections import Connections
from berth_server.api.growth import GrowthWatch
from berth_server.api.turns import Turns
from berth_server.service.auth.callers import Caller
from berth_server.service.auth.logins import Logins
from berth_server.service.gpus.telemetry import GpuTelemetry
from berth_server.service.jobs.memory_warnings import MemoryWarnings
from berth_server.service.jobs.permissions import Accesses
from berth_server.service.logs.pages import LineReader
from berth_server.service.logs.run_curves import CurveReader
from berth_server.service.logs.search import Markers
from berth_server.service.notifier import Notifier
from berth_server.service.state import ServerState
from berth_server.settings import Settings

CALLER = "berth.caller"
# All users together, so that a crowd is worked on in turn as well.
_AT_ONCE = 64
_READING_AT_ONCE = 4
_WRITING_AT_ONCE = 4


@dataclass
class Context:
    """The running server."""

    server: ServerState
    settings: Settings
    home: Path
    version: str
    accesses: Accesses = field(default_factory=Accesses)
    memory_warnings: MemoryWarnings = field(default_factory=MemoryWarnings)
    lines: LineReader = field(default_factory=LineReader)
    markers: Markers = field(default_factory=Markers)
    curves: CurveReader = field(default_factory=CurveReader)
    growth: GrowthWatch = field(default_factory=GrowthWatch)
    logins: Logins = field(default_factory=Logins)
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the server stops: every stream ends with `bye`."""
    on_closing: Notifier = field(default_factory=Notifier)
    """Sent at the same moment."""

    def __post_init__(self) -> None:
        """Open what lies under the home folder."""
        self.telemetry = GpuTelemetry(self.home / "history")
        chosen = self.settings
        self.job_bytes = parse_size(chosen.job_max)
        self.turns = Turns(chosen.requests_at_once, _AT_ONCE)
        # Whole files and searches: more at once would cost the jobs their processors.
        self.reading = Turns(chosen.searches_at_once, _READING_AT_ONCE)
        self.writing = Turns(1, _WRITING_AT_ONCE)
        self.maps: dict[str, tuple[tuple[object, ...], bytes]] = {}
        """The last frame of the map for each user, with what it was made of."""
        self.queue: tuple[tuple[object, ...], bytes] | None = None
        """The last answer that lists the queue, likewise."""
        self.connections = Connections(chosen.connections_per_user)
        self.streams: Counter[Hashable] = Counter()

    def close(self) -> None:
        """Tell every held request that the server stops."""
        self.closing.set()
        self.on_closing.send()


def context_of(request: Request) -> Context:
    """Return the context. The most frequent routes call this: a dependency costs them 40 µs each."""
    return request.app.state.context


def caller_of(request: Request) -> Caller:
    """Return who asks, as `auth` found, without which no request comes to a route."""
    return request.scope[CALLER]


# Coroutines, though they await nothing: FastAPI calls plain functions on a thread.
async def _context(request: Request) -> Context:
    return context_of(request)


async def _server(request: Request) -> ServerState:
    return context_of(request).server


async def _caller(request: Request) -> Caller:
    return caller_of(request)


App = Annotated[Context, Depends(_context)]
Server = Annotated[ServerState, Depends(_server)]
By = Annotated[Caller, Depends(_caller)]
