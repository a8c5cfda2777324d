"""
A small warm process that keeps shims ready: starting one then costs a message, not two forks
and an interpreter.

A shim whose job was over at once comes back and is given another: a fork of an interpreter is
cheap, but touching its pages for the first time is not (half of the cost of a short job). None
serves two attempts at a time.

It leaves with the worker (its socket closes); the shims at work do not notice.
"""

from __future__ import annotations

import array  # noqa: F401 # pyright: ignore[reportUnusedImport] - shims would, each anew
import gc
import os
import resource  # noqa: F401 # pyright: ignore[reportUnusedImport] - as above
import select
import signal
import socket
import time

from berth_worker.shim import exec_job, files, self_setup, supervise

_MESSAGE_BYTES = 8192
_RETRY_S = 0.1
_IDLE_S = 1.0  # after a pause of this length one shim is enough
_MOST_TURNS = 500  # what its interpreter has collected by then is not worth keeping
_FREE = b"."


def serve(fd: int, fence_file: str) -> None:
    """
    Keep a shim waiting for a message: the path of a launch.json, and with it the notice pipe.

    Returns when the worker has closed its end.
    """
    files.keep_from_jobs(fd)
    channel = socket.socket(fileno=fd)
    os.chdir("/")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # ended shims leave no zombies
    enter = exec_job.load_fence(fence_file)
    gc.disable()
    gc.freeze()
    _Nursery(channel, enter).serve()


class _Nursery:
    """The shims that were forked here, each known by our end of its line."""

    def __init__(self, channel: socket.socket, enter: exec_job.Enter) -> None:
        self._channel = channel
        self._enter = enter
        self._lines: dict[int, socket.socket] = {}
        self._waiting: list[int] = []  # the one that waits least stands last: its pages are warm
        self._in_hand: list[int] = []  # the notice pipe of the message that is being passed on
        self._poll = select.poll()
        self._poll.register(channel, select.POLLIN)

    def serve(self) -> None:
        """Give every message to a shim that waits, until there are no more."""
        while True:
            if not self._waiting:
                self._fork()
            found = self._poll.poll(_IDLE_S * 1000 if len(self._waiting) > 1 else None)
            if not found:
                for fd in self._waiting[:-1]:
                    self._drop(fd)
            for fd, _ in found:
                if fd != self._channel.fileno():
                    self._hear(fd)
                elif not self._pass_on():
                    return

    def _pass_on(self) -> bool:
        """One message from the worker to a shim; False when there will be no more."""
        message, self._in_hand, _, _ = socket.recv_fds(self._channel, _MESSAGE_BYTES, 1)
        if not message:
            return False
        while not self._give(message):
            pass
        for fd in self._in_hand:
            os.close(fd)
        self._in_hand = []
        return True

    def _give(self, message: bytes) -> bool:
        if not self._waiting:
            self._fork()
        fd = self._waiting.pop()
        try:
            socket.send_fds(self._lines[fd], [message], self._in_hand)
        except OSError:  # somebody has killed it
            self._drop(fd)
            return False
        return True

    def _hear(self, fd: int) -> None:
        """A shim has come back, or left; or, told of too late, neither."""
        line = self._lines.get(fd)
        if line is None:
            return
        try:
            word = line.recv(1, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            word = b""
        if word and not self._is_left():
            self._waiting.append(fd)
        else:
            self._drop(fd)

    def _is_left(self) -> bool:
        """
        Whether the worker has gone; messages of its may still lie here.

        A later worker may take a shim of before for that of the attempt whose end its
        predecessor did not tell, and signal it: such a shim serves nobody else.
        """
        poll = select.poll()
        poll.register(self._channel, 0)
        return bool(poll.poll(0))

    def _drop(self, fd: int) -> None:
        """Let a shim go: one that waits leaves, one at work goes on."""
        self._poll.unregister(fd)
        self._lines.pop(fd).close()
        if fd in self._waiting:
            self._waiting.remove(fd)

    def _fork(self) -> None:
        """Have one more shim wait; goes on until the box has a process to spare."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        while True:
            try:
                child = os.fork()
            except OSError:
                time.sleep(_RETRY_S)
            else:
                break
        if child == 0:
            for line in (self._channel, ours, *self._lines.values()):
                line.close()
            for fd in self._in_hand:  # the job would inherit it, and could speak for its shim
                os.close(fd)
            _be_shim(theirs, self._enter)
        theirs.close()
        self._lines[ours.fileno()] = ours
        self._waiting.append(ours.fileno())
        self._poll.register(ours, select.POLLIN)


def _be_shim(line: socket.socket, enter: exec_job.Enter) -> None:
    """Be a shim, of one attempt after the other, until nobody sends any."""
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        me = self_setup.ready()
        for turn in range(_MOST_TURNS):
            if turn:
                line.send(_FREE)
            message, fds, _, _ = socket.recv_fds(line, _MESSAGE_BYTES, 1)
            notice = fds[0] if fds else -1
            files.keep_from_jobs(notice)
            if not (message and supervise.Shim(me, enter).run(os.fsdecode(message), notice)):
                break
    finally:
        os._exit(0)
