"""Tokens and browser sessions: random secrets of which only a digest is kept."""

from __future__ import annotations

import hashlib
import secrets
from typing import Literal

from berth.protocol.access import NewToken, Token
from berth.protocol.message import Message, UserRef
from berth_server.core.explain.phrases import code
from berth_server.service.auth.callers import Caller
from berth_server.service.errors import Forbidden, NotFound
from berth_server.service.scheduling.views import moment
from berth_server.service.state import ServerState
from berth_server.service.transaction import change
from berth_server.store import events, tokens
from berth_server.store.tokens import TokenRecord

Kind = Literal["token", "session"]
_PREFIX = "berth_"
# Writing at every use would cost a disk write per request.
_USED_EVERY_S = 60.0


def who(server: ServerState, secret: str, kind: Kind) -> Caller | None:
    """Return the owner of a secret; None for one that is unknown or has expired."""
    record = tokens.by_digest(server.db.read, digest(secret), kind)
    now = server.clock()
    if record is None or (record.expires_at is not None and record.expires_at <= now):
        return None
    if record.last_used_at is None or now - record.last_used_at >= _USED_EVERY_S:
        with change(server, record.user, durable=False) as tx:
            tokens.used(tx, record.id)
    return Caller(record.uid, record.user, "token" if kind == "token" else "cookie")


def on_create(
    server: ServerState, caller: Caller, name: str, expires_in_s: float | None, kind: Kind = "token"
) -> NewToken:
    """Make a secret for the caller. A token cannot make another that outlives it."""
    if kind == "token" and caller.via == "token":
        raise Forbidden(
            Message.of(
                *("A token cannot make tokens; run ", code("berth token create")),
                " on the box, or use the dashboard.",
            )
        )
    secret = _PREFIX + secrets.token_urlsafe(32)
    with change(server, caller.user) as tx:
        expires = None if expires_in_s is None else tx.now + expires_in_s
        record = TokenRecord(0, kind, name, caller.user, caller.uid, tx.now, None, expires)
        token_id = tokens.insert(tx, record, digest(secret))
        did = f" made the token {name}." if kind == "token" else " signed in from a browser."
        events.write(tx, f"{kind}.created", Message.of(UserRef(name=caller.user), did))
    made = tokens.get(server.db.read, token_id)
    assert made is not None
    return NewToken(token=show(made), secret=secret)


def on_revoke(server: ServerState, caller: Caller, token_id: int) -> None:
    """Make a secret useless. Raises NotFound, also for other people's."""
    record = tokens.get(server.db.read, token_id)
    if record is None or (record.uid != caller.uid and not caller.admin):
        yours = (code("berth token ls"), " shows yours.")
        raise NotFound(Message.of(f"You have no token {token_id}; ", *yours))
    with change(server, caller.user) as tx:
        tokens.delete(tx, token_id)
        events.write(
            tx,
            f"{record.kind}.revoked",
            Message.of(UserRef(name=caller.user), f" revoked {record.name}."),
        )


def on_logout(server: ServerState, secret: str) -> None:
    """Forget a browser's session; an unknown one is forgotten already."""
    record = tokens.by_digest(server.db.read, digest(secret), "session")
    if record is not None:
        on_revoke(server, Caller(record.uid, record.user, "cookie"), record.id)


def listed(server: ServerState, caller: Caller) -> list[Token]:
    """Return the caller's tokens, newest first; every user's for an admin."""
    records = tokens.of(server.db.read, None if caller.admin else caller.uid)
    return [show(record) for record in records]


def show(record: TokenRecord) -> Token:
    """A token without its secret."""
    used, expires = record.last_used_at, record.expires_at
    return Token(
        id=record.id,
        name=record.name,
        user=record.user,
        created_at=moment(record.created_at),
        last_used_at=None if used is None else moment(used),
        expires_at=None if expires is None else moment(expires),
    )


def digest(secret: str) -> str:
    """Return the digest that is stored of a secret. It is random and long: a slow hash would add nothing."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
