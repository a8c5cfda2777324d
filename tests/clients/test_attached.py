"""Near side of a session: the terminal that is attached."""

from __future__ import annotations

import os
import pty
import select
import socket

from berth.sessions import attached, frames


def test_keys_typed_before_the_session_is_there_reach_it(monkeypatch) -> None:
    """People type ahead: what waits in the terminal when it becomes raw is sent, not dropped."""
    master, terminal = pty.openpty()
    session, connection = socket.socketpair()
    keyboard = os.fdopen(terminal, "r+b", buffering=0)
    with session, keyboard:
        monkeypatch.setattr("sys.stdin", keyboard)
        monkeypatch.setattr("sys.stdout", keyboard)
        os.write(master, b"stty size\n" + attached.DETACH)
        select.select([keyboard], [], [])  # the kernel has the line
        assert attached.attach(connection) is None
        sent = frames.Frames().feed(session.recv(4096))
        assert (frames.INPUT, b"stty size\n") in list(sent)
    os.close(master)
