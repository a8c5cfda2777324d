"""Address of the server: a unix socket of this box, or a URL with a token."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import NamedTuple

from berth import home as homes


class Address(NamedTuple):
    """Address of a server. The token never appears in a repr."""

    base_url: str
    """Scheme and host; a placeholder host with a unix socket."""
    socket: Path | None = None
    token: str | None = None

    def __repr__(self) -> str:
        return f"Address(base_url={self.base_url!r}, socket={self.socket!r})"

    @property
    def text(self) -> str:
        """For people: the socket's path or the URL."""
        return str(self.socket) if self.socket else self.base_url


def resolve(url: str | None = None, token: str | None = None) -> Address:
    """
    Choose the server, without touching the network.

    In order: `url`, `BERTH_URL`, the unix socket under this user's Berth home, and, when
    neither that nor `BERTH_HOME` exists, the box's socket under /var/lib/berth. A url may be
    `http(s)://host:port` or `unix:///path/to/berth.sock`.
    """
    url = url or os.environ.get("BERTH_URL") or None
    token = token or os.environ.get("BERTH_TOKEN") or None
    if url:
        if url.startswith("unix:"):
            return _socket(Path(url.removeprefix("unix:").replace("//", "", 1)), token)
        if "://" not in url:
            url = f"http://{url}"
        return Address(url.rstrip("/"), token=token)
    own, shared = homes.resolve().socket, homes.BOX_HOME.socket
    if not os.environ.get("BERTH_HOME") and not _is_socket(own) and _is_socket(shared):
        return _socket(shared, token)
    return _socket(own, token)


def _socket(path: Path, token: str | None) -> Address:
    return Address("http://berth", socket=path, token=token)


def _is_socket(path: Path) -> bool:
    try:
        return stat.S_ISSOCK(path.stat().st_mode)
    except OSError:
        return False
