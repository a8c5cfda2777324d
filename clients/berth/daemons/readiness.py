"""Readiness of a daemon, as systemd is told it (`Type=notify`): one datagram, no library."""

from __future__ import annotations

import contextlib
import os
import socket

_VARIABLE = "NOTIFY_SOCKET"


def take() -> str | None:
    """Return where to tell, and take it out of the environment: jobs inherit that."""
    return os.environ.pop(_VARIABLE, None)


def tell(address: str | None, state: str = "READY=1") -> None:
    """Tell the state to systemd; does nothing where it did not ask, and never fails."""
    if not address:
        return
    # An abstract address begins with @ in the variable, with a zero byte on the wire.
    target = f"\0{address[1:]}" if address.startswith("@") else address
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(state.encode(), target)
