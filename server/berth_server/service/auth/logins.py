"""One-time login links: minted over the unix socket, spent by one browser."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from berth_server.service.auth.callers import Caller
from berth_server.service.auth.tokens import digest

LASTS_S = 300.0


@dataclass
class Logins:
    """Codes that wait for their browser; they need not outlive the server."""

    _waiting: dict[str, tuple[Caller, float]] = field(default_factory=dict, repr=False)

    def mint(self, caller: Caller, now: float) -> str:
        """A code that logs in as the caller, once, within five minutes."""
        self._waiting = {k: v for k, v in self._waiting.items() if v[1] > now}
        code = secrets.token_urlsafe(24)
        self._waiting[digest(code)] = (caller, now + LASTS_S)
        return code

    def spend(self, code: str, now: float) -> Caller | None:
        """Return whom a code logs in; None for one that is spent, expired or unknown."""
        found = self._waiting.pop(digest(code), None)
        if found is None or found[1] <= now:
            return None
        return found[0]
