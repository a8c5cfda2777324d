"""
Authentication of every request, and protection against requests forged by other sites.

The caller is, in this order, the unix socket's peer, the owner of a bearer token, or the owner
of the dashboard's cookie. Only `/api` and `/internal` need one.
"""

from __future__ import annotations

import os
import secrets
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from berth.protocol.message import Message
from berth_server.api.context import CALLER, Context
from berth_server.api.identity import PEER
from berth_server.api.problems import REQUEST_ID, ApiError, problem
from berth_server.core.explain.phrases import code
from berth_server.service.auth.callers import Caller, user_name
from berth_server.service.auth.tokens import who

COOKIE = "berth_session"
_BODY_LIMIT = 64 << 20
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_OPEN = frozenset({"/api/v1/openapi.json"})
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="berth"'}


class Authentication:
    """ASGI middleware in front of all routes."""

    def __init__(self, app: ASGIApp, context: Context) -> None:
        self.app = app
        self.context = context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its caller in the scope, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = scope[REQUEST_ID] = secrets.token_hex(6)
        try:
            self._admit(scope)
        except ApiError as error:
            answer = problem(
                error.status, error.message, request_id=request_id, headers=error.headers
            )
            await answer(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _admit(self, scope: Scope) -> None:
        """Put the caller into the scope. Raises ApiError."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > _BODY_LIMIT:
            raise ApiError(413, "The body is larger than 64 MiB; split it into several requests.")
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
        found = who(server, secret, "session") if secret else None
        if found is None:
            message = Message.of(
                *("You are not signed in; open the link that ", code("berth web")),
                *(" prints on the box, or send a token from ", code("berth token create")),
                " (BERTH_TOKEN).",
            )
            raise ApiError(401, message, headers=_CHALLENGE)
        if scope["method"] not in _SAFE and not _same_origin(headers):
            sentence = (
                "Only the dashboard's own pages may make changes with its cookie; use a token in "
                "scripts."
            )
            raise ApiError(403, sentence)
        return found


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
    return urlsplit(origin.decode("latin-1")).netloc.encode("latin-1") in hosts
