"""
Authentication of every request, and protection against requests forged by other sites.

The caller is, in this order, the unix socket's peer, the owner of a bearer token, the user that a
trusted proxy names, or the owner of the dashboard's cookie. Only `/api` and `/internal` need one.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import MutableMapping
from typing import Any
from urllib.parse import urlsplit

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from berth.protocol.message import Message
from berth.units import parse_size
from berth_server.api.context import CALLER, Context
from berth_server.api.identity import PEER, WHO
from berth_server.api.problems import REQUEST_ID, ApiError, problem
from berth_server.api.requests import Turn, read_body, replayed, too_large
from berth_server.core.explain.phrases import code
from berth_server.service.auth import proxies
from berth_server.service.auth.callers import Caller, user_name
from berth_server.service.auth.tokens import who
from berth_server.service.errors import Forbidden
from berth_server.store import events

COOKIE = "berth_session"
# Of those who need no identity, who send nothing but an empty form.
_STRANGERS_BODY = 64 << 10
_UNREAD = 64 << 20
_READ_FIRST = "Your earlier answers wait to be read; read or close those connections first."
_DIGITS = 18
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_OPEN = frozenset({"/api/v1/openapi.json"})
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="berth"'}


class Authentication:
    """ASGI middleware in front of all routes."""

    def __init__(self, app: ASGIApp, context: Context) -> None:
        self.app = app
        self.context = context
        self._most_bytes = parse_size(context.settings.body_max)
        chosen = context.settings
        self._proxies = proxies.parse(chosen.trusted_header, chosen.trusted_proxies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its caller in the scope, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = scope[REQUEST_ID] = secrets.token_hex(6)
        try:
            self._admit(scope)
            await self._bounded(scope, receive, send)
        except ApiError as error:
            answer = problem(
                error.status, error.message, request_id=request_id, headers=error.headers
            )
            await answer(scope, receive, send)
        except ClientDisconnect:
            return  # half a request came, and its sender is gone

    async def _bounded(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body, wait for the user's turn, and pass the request on."""
        app = self.context
        caller: Caller | None = scope.get(CALLER)
        if scope["path"].startswith("/internal"):
            # The worker's: everything else waits for it.
            await self.app(scope, receive, send)
            return
        most = self._most_bytes if caller is not None else _STRANGERS_BODY
        connection = scope.get(WHO)
        if app.connections.unsent(connection) > _UNREAD:
            raise ApiError(429, _READ_FIRST)
        turn = Turn(app.turns, connection if caller is None else caller.uid)
        await turn.take()
        try:
            body = await read_body(receive, most)
            answer = turn.until_streaming(send)
            if caller is not None and caller.via in {"cookie", "proxy"}:
                answer = _with_event(answer, events.last_id(app.server.db.read))
            await self.app(scope, replayed(body, receive), answer)
        finally:
            turn.give()

    def _admit(self, scope: Scope) -> None:
        """Put the caller into the scope. Raises ApiError."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or len(length) > _DIGITS or int(length) > self._most_bytes:
            raise too_large(self._most_bytes)
        path: str = scope["path"]
        internal = path.startswith("/internal")
        if not (internal or path.startswith("/api")) or path in _OPEN:
            return
        peer: int | None = scope.get(PEER)
        if internal:
            if peer is None:
                raise ApiError(403, "/internal is served on the unix socket only; use /api/v1.")
            if peer not in {0, os.geteuid()}:
                raise ApiError(403, "/internal is for Berth's own worker only; use /api/v1.")
        if peer is not None:
            scope[CALLER] = Caller(peer, user_name(peer), "socket")
        else:
            scope[CALLER] = self._by_secret(scope, headers)

    def _by_proxy(self, scope: Scope) -> Caller | None:
        if self._proxies is None:
            return None
        try:
            return self._proxies.caller(scope["headers"], scope["client"], scope["server"])
        except Forbidden as refusal:
            raise ApiError(403, refusal.message) from None

    def _by_secret(self, scope: Scope, headers: dict[bytes, bytes]) -> Caller:
        server = self.context.server
        authorization = headers.get(b"authorization")
        if authorization is not None:
            scheme, _, secret = authorization.decode("latin-1").partition(" ")
            found = who(server, secret.strip(), "token")
            if scheme.lower() == "bearer" and found is not None:
                return found
            message = Message.of(
                "This token does not work (revoked, expired or mistyped); create a new one with ",
                code("berth token create"),
                " on the box.",
            )
            raise ApiError(401, message, headers=_CHALLENGE)
        secret = cookie(headers.get(b"cookie", b"").decode("latin-1"))
        found = self._by_proxy(scope) or (who(server, secret, "session") if secret else None)
        if found is None:
            message = Message.of(
                *("You are not signed in; open the link that ", code("berth web")),
                *(" prints on the box, or send a token from ", code("berth token create")),
                " (BERTH_TOKEN).",
            )
            raise ApiError(401, message, headers=_CHALLENGE)
        if scope["method"] not in _SAFE and not _same_origin(headers):
            sentence = (
                "Only the dashboard's own pages may make changes with its cookie or a proxy's "
                "sign-in; use a token in scripts."
            )
            raise ApiError(403, sentence)
        return found


def _with_event(send: Send, last_id: int) -> Send:
    """
    Say with an answer to the dashboard which event was the newest before it was made.

    What it shows may miss later ones: the page compares this with where its stream began.
    """

    async def sends(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            mark = (b"berth-event-id", b"%d" % last_id)
            message = {**message, "headers": [*message.get("headers", ()), mark]}
        await send(message)

    return sends


def cookie(header: str) -> str | None:
    """Return the session secret in a Cookie header, if there is one."""
    for part in header.split(";"):
        name, _, value = part.strip().partition("=")
        if name == COOKIE:
            return value
    return None


def _same_origin(headers: dict[bytes, bytes]) -> bool:
    """Return whether our own page sent it; behind a proxy the forwarded host counts too."""
    site = headers.get(b"sec-fetch-site")
    if site is not None:
        return site == b"same-origin"
    origin = headers.get(b"origin")
    if origin is None:
        return False
    hosts = {headers.get(b"host"), headers.get(b"x-forwarded-host")}
    try:
        return urlsplit(origin.decode("latin-1")).netloc.encode("latin-1") in hosts
    except ValueError:  # no address
        return False
