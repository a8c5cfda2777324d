"""
A small warm process that keeps a shim ready: starting one then costs a message, not two forks
and an interpreter.

It leaves with the worker (its socket closes); the shims at work do not notice.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import time

from berth_worker.shim import become, files, supervise

_MESSAGE_BYTES = 8192
_RETRY_S = 0.1


def serve(fd: int, fence_file: str) -> None:
    """
    Keep one shim waiting for a message: the path of a launch.json, and with it the notice pipe.

    Returns when the worker has closed its end.
    """
    files.keep_from_jobs(fd)
    channel = socket.socket(fileno=fd)
    os.chdir("/")
    enter = become.load_fence(fence_file)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # ended shims leave no zombies
    gc.disable()
    gc.freeze()
    while True:
        waiting, busy = os.pipe()
        try:
            child = os.fork()
        except OSError:
            child = -1
        if child == 0:
            os.close(waiting)
            _spare(channel, busy, enter)
        os.close(busy)
        if child < 0:
            time.sleep(_RETRY_S)
        poll = select.poll()
        poll.register(channel, 0)  # only its end is of interest
        poll.register(waiting, select.POLLIN)
        ended = any(found == fd for found, _ in poll.poll())
        os.close(waiting)
        if ended:
            return


def _spare(channel: socket.socket, busy: int, enter: become.Enter) -> None:
    """Be the next shim. `busy` tells, by a word or by closing, that another one is needed."""
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        shim = supervise.Shim(enter)
        message, fds, _, _ = socket.recv_fds(channel, _MESSAGE_BYTES, 1)
        os.close(busy)
        channel.close()
        notice = fds[0] if fds else -1
        files.keep_from_jobs(notice)
        if message:
            shim.run(os.fsdecode(message), notice)
    finally:
        os._exit(0)
