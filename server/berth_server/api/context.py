"""What every route works with."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from fastapi import Request

from berth_server.api.file_watch import FileWatch
from berth_server.service.auth.callers import Caller
from berth_server.service.auth.logins import Logins
from berth_server.service.gpus.telemetry import History
from berth_server.service.jobs.memory_warnings import Foresight
from berth_server.service.jobs.permissions import Accesses
from berth_server.service.logs.pages import LineReader
from berth_server.service.logs.search import Markers
from berth_server.service.notifier import Signal
from berth_server.service.state import ServerState
from berth_server.settings import Settings

CALLER = "berth.caller"


@dataclass
class Context:
    """The running server."""

    server: ServerState
    settings: Settings
    home: Path
    version: str
    accesses: Accesses = field(default_factory=Accesses)
    foresight: Foresight = field(default_factory=Foresight)
    watch: FileWatch = field(default_factory=FileWatch)
    lines: LineReader = field(default_factory=LineReader)
    markers: Markers = field(default_factory=Markers)
    logins: Logins = field(default_factory=Logins)
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the server leaves: every stream says goodbye."""
    on_closing: Signal = field(default_factory=Signal)
    """Sent at the same moment."""

    def __post_init__(self) -> None:
        """What lies under the home folder."""
        self.history = History(self.home / "history")

    def close(self) -> None:
        """Tell every held request that the server leaves."""
        self.closing.set()
        self.on_closing.send()


def context(request: Request) -> Context:
    """The running server, from a request."""
    return request.app.state.context


def caller(request: Request) -> Caller:
    """Who is calling; the gate has made sure that there is somebody."""
    return request.scope[CALLER]
