"""Verb `berth mcp`: the queue for coding agents."""

from __future__ import annotations

import importlib.util

from berth import installing
from berth.cli.failure import Failure


def mcp() -> None:
    """
    Serve coding agents over standard input and output (Model Context Protocol).

    The agent's program starts it: `claude mcp add berth -- berth mcp`, or a command `berth` with
    the argument `mcp` in its settings. It submits as you.
    """
    if importlib.util.find_spec("mcp") is None:
        raise Failure(
            f"The package mcp is not installed here; `{installing.command('mcp')}` adds it."
        )
    from berth.integrations.mcp_server import server
    from berth.sdk.client import Client

    with Client() as client:
        server.make(client).run("stdio")
