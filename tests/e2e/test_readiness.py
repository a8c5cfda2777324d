"""The daemons under systemd's protocol: each says when it is ready, and jobs never hear of it."""

from __future__ import annotations

import socket
import tempfile
from pathlib import Path

import pytest

from berth.daemons import readiness


@pytest.fixture
def systemd(monkeypatch):
    """The socket on which systemd waits for READY=1."""
    with tempfile.TemporaryDirectory(prefix="berth-") as folder:
        path = str(Path(folder) / "notify")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
            listener.bind(path)
            listener.settimeout(60)
            monkeypatch.setenv("NOTIFY_SOCKET", path)
            yield listener


def test_server_and_worker_say_when_they_are_ready(systemd, open_box, tmp_path):
    """Once each, and not before the server answers; the socket is in no job's environment."""
    with open_box(tmp_path, gpus="sim:1") as box:
        assert [systemd.recv(100) for _ in range(2)] == [b"READY=1", b"READY=1"]
        assert box.http.get("/healthz").status_code == 200
        job = box.submit(script="env; echo end")
        box.wait(job)
        assert "end" in box.log(job)
        assert "NOTIFY_SOCKET" not in box.log(job)
        systemd.settimeout(0.1)
        with pytest.raises(TimeoutError):
            systemd.recv(100)


def test_an_abstract_address_is_one_too():
    """Systemd writes it with an @."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0berth-test-readiness")
        listener.settimeout(10)
        readiness.tell("@berth-test-readiness")
        assert listener.recv(100) == b"READY=1"


def test_without_systemd_nothing_happens(monkeypatch):
    """And a socket that is gone ends no daemon."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    readiness.tell(readiness.take())
    readiness.tell("/nowhere/notify")
