"""Setup of the shim's own process: session, signals, streams, subreaper."""

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
"""Signals that the shim blocks and collects with sigtimedwait."""
_PR_SET_CHILD_SUBREAPER = 36
_LIBC = ctypes.CDLL(None)


def ready() -> dict[str, Any]:
    """Prepare this process to be a shim, once; return its identity."""
    signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKED)
    with contextlib.suppress(PermissionError):  # the caller made the session
        os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):  # a reader of the worker's output must not wait for us
        os.dup2(nothing, fd)
    os.umask(0o022)
    adopt_orphans()
    return process_tree.identity(os.getpid())


def forget_signals() -> None:
    """Drop the signals that came so far: they were meant for an attempt that has ended."""
    while signal.sigtimedwait(BLOCKED, 0) is not None:
        pass


def adopt_orphans() -> None:
    """Become the parent of every process below this one whose own parent ends."""
    _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
