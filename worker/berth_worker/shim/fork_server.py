"""
Fork server: a small warm process that forks one shim per attempt.

Starting a shim then costs a message, not an interpreter. One shim always waits, already forked,
for the next attempt. The server exits with the worker (its socket closes); running shims do not
depend on it.
"""

from __future__ import annotations

import array  # noqa: F401 # pyright: ignore[reportUnusedImport] - else every shim would load it
import gc
import os
import resource  # noqa: F401 # pyright: ignore[reportUnusedImport] - as above
import signal
import socket
import time

from berth_worker.shim import exec_job, files, self_setup, supervise

_MESSAGE_BYTES = 8192
_RETRY_S = 0.1


def serve(fd: int, fence_file: str) -> None:
    """
    Give each message from the worker to a shim of its own; returns once the worker has closed
    its end of the socket `fd`.

    A message is the path of a launch.json, together with the shim's end of a line to the worker.
    """
    files.keep_from_jobs(fd)
    channel = socket.socket(fileno=fd)
    os.chdir("/")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # ended shims leave no zombies
    # What a killed shim leaves comes here, where the worker finds it without any mark.
    self_setup.adopt_orphans()
    enter = exec_job.load_fence(fence_file)
    gc.disable()
    gc.freeze()
    waiting = _fork_shim(enter, channel)
    while True:
        message, lines, _, _ = socket.recv_fds(channel, _MESSAGE_BYTES, 1)
        if not message:
            return
        while not _hand_over(waiting, message, lines):
            # Something killed the shim that waited.
            waiting = _fork_shim(enter, channel, lines)
        for one in lines:
            os.close(one)
        waiting = _fork_shim(enter, channel)


def _hand_over(waiting: socket.socket, message: bytes, lines: list[int]) -> bool:
    """Send the message to the waiting shim; False when that shim is dead."""
    with waiting:
        try:
            socket.send_fds(waiting, [message], lines)
        except OSError:
            return False
    return True


def _fork_shim(
    enter: exec_job.Enter, channel: socket.socket, lines: list[int] | None = None
) -> socket.socket:
    """
    Fork a shim that waits for a message on the returned socket.

    Retries until the box has a process to spare. The shim closes `channel` and `lines`: its job
    must not inherit them.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    while True:
        try:
            child = os.fork()
        except OSError:
            time.sleep(_RETRY_S)
        else:
            break
    if child == 0:
        channel.close()
        ours.close()
        for one in lines or ():
            os.close(one)
        _be_shim(theirs, enter)
    theirs.close()
    return ours


def _be_shim(line: socket.socket, enter: exec_job.Enter) -> None:
    """
    Supervise the attempt that arrives on `line`, and those that the worker sends afterwards.

    Exits when none arrives, and after an attempt that may have left something in this process.
    """
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        me = self_setup.ready()
        message, ends, _, _ = socket.recv_fds(line, _MESSAGE_BYTES, 1)
        line.close()
        if not message:
            return
        notice = ends[0] if ends else -1
        files.keep_from_jobs(notice)
        while message and supervise.Shim(me, enter).run(os.fsdecode(message), notice):
            files.tell(notice, "free", "")
            message = os.read(notice, _MESSAGE_BYTES)  # nothing once the worker is gone
            self_setup.forget_signals()
    finally:
        os._exit(0)
