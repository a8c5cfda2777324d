"""
A small warm process that forks shims: a fork costs 1 ms, an interpreter's start 15 to 20.

It dies with the worker (its socket closes); the shims it forked do not notice.
"""

from __future__ import annotations

import gc
import os
import signal
import socket

from berth_worker.shim import become, files, supervise

_MESSAGE_BYTES = 8192


def serve(fd: int, fence_file: str) -> None:
    """
    Fork a shim for every message: the path of a launch.json, and with it the notice pipe.

    Returns when the worker has closed its end.
    """
    channel = socket.socket(fileno=fd)
    os.chdir("/")
    supervise.warm()
    enter = become.load_fence(fence_file)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # ended shims leave no zombies
    gc.disable()
    gc.freeze()
    while True:
        try:
            message, fds, _, _ = socket.recv_fds(channel, _MESSAGE_BYTES, 1)
        except ConnectionResetError:
            return
        if not message:
            return
        notice = fds[0] if fds else -1
        try:
            child = os.fork()
        except OSError:
            child = -1  # the worker sees the pipe close without a word and asks again
        if child == 0:
            try:
                channel.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                supervise.main(os.fsdecode(message), notice, enter)
            finally:
                os._exit(0)
        files.close(notice)
