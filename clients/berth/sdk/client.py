"""Client of the server: every call, typed."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import httpx2

from berth.sdk.ablations import AblationCalls
from berth.sdk.access import AccessCalls
from berth.sdk.address import Address, resolve
from berth.sdk.channel import Channel
from berth.sdk.logs import LogCalls


class Client(LogCalls, AblationCalls, AccessCalls):
    """
    Client of one Berth server; safe to share between threads, closed by `close` or `with`.

    Without arguments it finds the server as the CLI does: `BERTH_URL` and `BERTH_TOKEN`, else
    the unix socket under `BERTH_HOME`, else the box's socket. Creating a client touches
    nothing; the first call connects. Every method raises `berth.BerthError`: `Unreachable` when
    no server answers, `Refused` (with `.problem`) when the server refuses.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        timeout: float = 30.0,
        patience: float = 20.0,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        """
        `url` is `http(s)://host:port` or `unix:///path/to/berth.sock`.

        `timeout` (seconds) bounds the wait for each piece of an answer. `patience` (seconds)
        bounds how long repeatable calls are retried while a server is being restarted. `transport` replaces the network, for tests.
        """
        self._channel = Channel(
            resolve(url, token), timeout_s=timeout, patience_s=patience, transport=transport
        )

    @property
    def address(self) -> Address:
        """The address of this client's server."""
        return self._channel.address

    def close(self) -> None:
        """Close the connection; the client cannot be used afterwards."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<berth.Client {self.address.text}>"
