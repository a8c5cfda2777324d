"""Near side of a session: the terminal that is attached."""

from __future__ import annotations

import os
import pty
import select
import socket

import pytest
from tests.server.daemons import new_home

from berth.sessions import SOCKET, attached, frames


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


@pytest.mark.skipif(os.geteuid() != 0, reason="takes a second user")
def test_what_is_typed_goes_to_the_jobs_user_alone():
    """A link in the socket's place leads to a socket of somebody else: nothing is sent there."""
    with new_home() as home, socket.socket(socket.AF_UNIX) as listener:
        folder = home / "files"
        folder.mkdir()
        listener.bind(str(home / "of-root"))
        listener.listen()
        (folder / SOCKET).symlink_to(home / "of-root")
        attached.connect(folder).close()
        os.chown(folder, 65534, 65534)
        with pytest.raises(ConnectionRefusedError):
            attached.connect(folder)
