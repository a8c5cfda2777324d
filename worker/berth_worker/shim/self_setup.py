"""The shim's own process: made ready before it knows its attempt, named after the one it has."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal

from berth_worker.shim import process_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

BLOCKED = (
    signal.SIGCHLD,
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
"""Signals that a shim takes in when it has time for them."""
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36
_LIBC = ctypes.CDLL(None)


def ready() -> dict[str, Any]:
    """Make this process ready to be a shim, once; who it is."""
    signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKED)
    with contextlib.suppress(PermissionError):  # the caller made the session
        os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):  # whoever reads what the worker says must not wait for us
        os.dup2(nothing, fd)
    os.umask(0o022)
    _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    return process_tree.identity(os.getpid())


def be_named(whose: str) -> None:
    """
    Say in this process's name whose shim it is (`shim 42.1`), for `ps` and `RunDir.look`.

    `started` of an attempt that is over still names this process, and the attempt's user can
    take `exit.json` away: without the name a worker that starts anew would take the shim of
    somebody else's attempt for his, and signal it.
    """
    _LIBC.prctl(_PR_SET_NAME, f"shim {whose}".encode(), 0, 0, 0)
