"""Identity of callers, tokens and sign-in links."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from berth.protocol.base import Duration, UtcTime, Wire


class Me(Wire):
    """The caller as the server identifies them."""

    user: str
    """Name of the user."""
    uid: int
    """Uid on the box."""
    admin: bool
    """True if the caller may change every job, not only their own."""
    via: Literal["socket", "token", "cookie", "proxy"]
    """The proof: the unix socket's peer, a bearer token, a browser's login."""


class TokenRequest(Wire):
    """A new token for the caller's own use over TCP."""

    name: str = Field(min_length=1, max_length=100, examples=["laptop"])
    """Its purpose, shown in lists."""
    expires_in: Duration | None = Field(default=None, examples=["90d"])
    """Lifetime; default: until it is revoked."""


class Token(Wire):
    """A token, without its secret."""

    id: int
    """To revoke it by."""
    name: str
    """Its name."""
    user: str
    """The user it acts as."""
    created_at: UtcTime
    """Time of creation."""
    last_used_at: UtcTime | None = None
    """Time of last use, to the minute."""
    expires_at: UtcTime | None = None
    """Expiry; absent: never."""


class NewToken(Wire):
    """A token with its secret, shown only once: only a digest of it is kept."""

    token: Token
    """The token as lists show it."""
    secret: str = Field(repr=False, examples=["berth_…"])
    """Put it into BERTH_TOKEN, or into the header `Authorization: Bearer …`."""


class TokenList(Wire):
    """The caller's tokens; an admin sees all users'."""

    tokens: list[Token]
    """Newest first."""


class LoginLink(Wire):
    """A link that logs one browser in, once."""

    url: str = Field(repr=False, examples=["http://127.0.0.1:8787/login?code=…"])
    """Open it in a browser; it works once."""
    expires_at: UtcTime
    """A few minutes from now."""
