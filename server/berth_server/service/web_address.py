"""Web addresses that users give: they may be anything, and what splits them may refuse to."""

from __future__ import annotations

from urllib.parse import urlsplit


def host_of(address: str) -> str | None:
    """Return the host of an address; None where it names none."""
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError:
        return None
    return parts.hostname or None
