"""Who somebody is, and how they prove it from afar."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from berth.protocol.base import Duration, UtcTime, Wire


class Me(Wire):
    """Who the server takes the caller for."""

    user: str
    """Name of the user."""
    uid: int
    """Uid on the box."""
    admin: bool
    """Whether every job may be changed, not only the own ones."""
    via: Literal["socket", "token", "cookie"]
    """How it was proved: the unix socket's peer, a bearer token, a browser's login."""


class TokenRequest(Wire):
    """A new token for the caller's own use over TCP."""

    name: str = Field(min_length=1, max_length=100, examples=["laptop"])
    """What it is for, shown in lists."""
    expires_in: Duration | None = Field(default=None, examples=["90d"])
    """How long it works; default: until it is revoked."""


class Token(Wire):
    """A token, without its secret."""

    id: int
    """To revoke it by."""
    name: str
    """What its maker called it."""
    user: str
    """Whose identity it carries."""
    created_at: UtcTime
    """When it was made."""
    last_used_at: UtcTime | None = None
    """To the minute."""
    expires_at: UtcTime | None = None
    """When it stops working; absent: never by itself."""


class NewToken(Wire):
    """A token with its secret, told this once: only a digest of it is kept."""

    token: Token
    """What lists show of it."""
    secret: str = Field(repr=False, examples=["berth_…"])
    """Put it into BERTH_TOKEN, or into the header `Authorization: Bearer …`."""


class TokenList(Wire):
    """The caller's tokens; an admin sees everybody's."""

    tokens: list[Token]
    """Newest first."""


class LoginLink(Wire):
    """A link that logs one browser in, once."""

    url: str = Field(repr=False, examples=["http://127.0.0.1:8787/login?code=…"])
    """Open it in a browser; it works once."""
    expires_at: UtcTime
    """A few minutes from now."""
