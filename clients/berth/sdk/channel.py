"""Channel to the server: requests with retries, streams, problems raised as errors."""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any

import httpx2

from berth.backoff import Backoff
from berth.daemons import identity
from berth.protocol.problems import Problem
from berth.sdk.address import Address
from berth.sdk.errors import BerthError, ServerTrouble, Silent, Unreachable, by_status

Params = Mapping[str, Any] | list[tuple[str, Any]]

# The request cannot have reached the server, so that sending it again is always safe.
_NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)


_ours: ContextVar[bool] = ContextVar("berth request", default=False)


def _of_others(record: logging.LogRecord) -> bool:  # noqa: ARG001 - the signature is logging's
    return not _ours.get()


# The library logs every request at INFO, to every program that shows that level. Only lines of
# Berth's own requests are left out: a program's own use of the library is logged as it wants.
logging.getLogger("httpx2").addFilter(_of_others)


@contextmanager
def _unlogged() -> Generator[None]:
    before = _ours.set(True)
    try:
        yield
    finally:
        _ours.reset(before)


class Channel:
    """HTTP to one server over its unix socket or TCP."""

    def __init__(
        self,
        address: Address,
        *,
        timeout_s: float = 30.0,
        patience_s: float = 20.0,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        """
        `timeout_s` bounds the wait for each piece of an answer. `patience_s` bounds how long a
        repeatable request is retried after its connection broke.
        """
        self.address = address
        self.patience_s = patience_s
        headers = {"User-Agent": "berth-client", "Accept": "application/json"}
        if address.token:
            headers["Authorization"] = f"Bearer {address.token}"
        if transport is None:
            uds = str(address.socket) if address.socket else None
            transport = httpx2.HTTPTransport(uds=uds)
        self._http = httpx2.Client(
            base_url=address.base_url,
            headers=headers,
            timeout=httpx2.Timeout(timeout_s, connect=min(timeout_s, 5.0)),
            transport=transport,
        )

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool = False,
    ) -> httpx2.Response:
        """
        Send one request and return its successful answer.

        With `repeatable` a broken connection is tried again until the patience is over; without
        it only where the request cannot have arrived. Raises a `BerthError`.
        """
        sent = dict(headers or {})
        if content is not None:
            sent["Content-Type"] = "application/json"
        started = time.monotonic()
        backoff = Backoff(0.05, 1.0)
        while True:
            try:
                with _unlogged():
                    response = self._http.request(
                        method, path, params=_listed(params), content=content, headers=sent
                    )
            except httpx2.TransportError as error:
                safe = repeatable or isinstance(error, _NOT_SENT)
                left = self.patience_s - (time.monotonic() - started)
                if not safe or left <= 0 or not self._may_come_back(error):
                    raise self._unreachable(error) from error
                time.sleep(min(backoff.next_s(), left))
                continue
            if response.is_success:
                return response
            raise problem_error(response)

    @contextmanager
    def stream(
        self,
        path: str,
        *,
        params: Params | None = None,
        headers: Mapping[str, str] | None = None,
        quiet_s: float | None = 60.0,
    ) -> Generator[httpx2.EventSource]:
        """
        Open a server-sent event stream. Raises `Unreachable` when it breaks or nothing, not even
        a keep-alive, came for `quiet_s` seconds.
        """
        opened = self._http.stream(
            "GET",
            path,
            params=_listed(params),
            headers={"Accept": "text/event-stream", **(headers or {})},
            timeout=httpx2.Timeout(quiet_s, connect=5.0),
        )
        try:
            with ExitStack() as stack:
                with _unlogged():
                    response = stack.enter_context(opened)
                if not response.is_success:
                    response.read()
                    raise problem_error(response)
                yield httpx2.EventSource(response, max_event_size=None)
        except httpx2.TransportError as error:
            raise self._unreachable(error) from error

    def _may_come_back(self, error: httpx2.TransportError) -> bool:
        # Refused at once: it comes back only if a supervisor restarts it. The supervisor's pid
        # file tells, so that a command without any server fails quickly.
        if not isinstance(error, httpx2.ConnectError):
            return True
        if any(isinstance(one, BlockingIOError) for one in _causes(error)):
            return True  # a server is there: its queue of new connections was full
        if self.address.socket is None:
            return False
        return identity.alive(self.address.socket.with_name("up.pid")) is not None

    def _unreachable(self, error: httpx2.TransportError) -> Unreachable:
        where = self.address.text
        if isinstance(error, httpx2.TimeoutException) and not isinstance(
            error, httpx2.ConnectTimeout
        ):
            return Silent(
                f"The server at {where} did not answer in time; check `berth status` and its log."
            )
        if self.address.socket is None:
            return Unreachable(
                f"No Berth server answers at {where}; check BERTH_URL, or start one there with `berth up`."
            )
        causes = _causes(error)
        if any(isinstance(one, PermissionError) for one in causes):
            return Unreachable(
                f"You may not open the socket {where}; ask its owner to make it and its folder accessible."
            )
        if any(isinstance(one, BlockingIOError) for one in causes):
            return Unreachable(
                f"The server at {where} has no room for another connection; try again in a minute."
            )
        return Unreachable(f"No Berth server answers at {where}; start it with `berth up`.")


def _causes(error: BaseException) -> list[BaseException]:
    """Return an error and what led to it."""
    found: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None:
        found.append(cause)
        cause = cause.__cause__ or cause.__context__
    return found


def problem_error(response: httpx2.Response) -> BerthError:
    """Return the error for an unsuccessful answer whose body has been read."""
    kind = by_status(response.status_code)
    try:
        problem = Problem.model_validate_json(response.content)
    except ValueError:
        return ServerTrouble(
            f"The server answered {response.status_code} to {response.request.method} "
            f"{response.request.url.path} without a reason; see its log."
        )
    return kind(problem.detail or problem.title, problem)


def _listed(params: Params | None) -> list[tuple[str, Any]] | None:
    if params is None:
        return None
    pairs = params if isinstance(params, list) else list(params.items())
    return [(key, value) for key, value in pairs if value is not None]
