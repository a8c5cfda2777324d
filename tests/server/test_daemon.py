"""The daemon as a process: signals, kill -9, locks, wrong settings, who calls."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from typing import Any

import httpx2
import pytest
from tests.ports import free_port
from tests.server.daemons import SPEC, START_S, Daemon, Stream, submit


def test_the_held_request_is_answered_the_moment_something_is_wanted(daemon):
    """At once for a generation that is not known, and after its time when nothing is."""
    daemon.report()
    path = "/internal/v1/desired"
    now = daemon.http.get(path).json()["generation"]
    unknown = daemon.http.get(path, params={"after": now - 1, "wait_s": 20}).json()
    assert unknown["generation"] == now
    began = time.monotonic()
    same = daemon.http.get(path, params={"after": now, "wait_s": 0.2}).json()
    assert same["generation"] == now
    assert 0.15 < time.monotonic() - began < 10
    answers: list[dict[str, Any]] = []

    def ask() -> None:
        transport = httpx2.HTTPTransport(uds=str(daemon.home / "run" / "berth.sock"))
        with httpx2.Client(transport=transport, base_url="http://berth", timeout=30) as http:
            answers.append(http.get(path, params={"after": now, "wait_s": 20}).json())

    asking = threading.Thread(target=ask)
    asking.start()
    began = time.monotonic()
    job_id = submit(daemon, gpus=0)
    asking.join(15)
    assert time.monotonic() - began < 10
    assert answers[0]["generation"] > now
    assert f"{job_id}.1" in [one["attempt"] for one in answers[0]["attempts"]]


def test_two_servers_never_share_a_home(daemon):
    """The second one says who has it, and leaves."""
    second = Daemon(daemon.home)
    _, errors = second.start().communicate(timeout=START_S)
    assert second.process.returncode == 2
    text = errors.decode()
    assert f"pid {daemon.process.pid}" in text
    assert "berth down" in text
    assert text.count("\n") == 1
    second.close()
    assert daemon.ready()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_the_kernel_tells_who_calls(daemon):
    """A process of another user is that user, whatever it says of itself."""
    code = (
        "import os, socket; os.setgid(1); os.setuid(1); s = socket.socket(socket.AF_UNIX);"
        f"s.connect({str(daemon.home / 'run' / 'berth.sock')!r});"
        "s.sendall(b'GET /api/v1/me HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n');"
        "print(s.makefile().read())"
    )
    daemon.home.chmod(0o755)
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True)
    assert '"user":"daemon"' in done.stdout, done.stderr
    assert '"admin":false' in done.stdout


def test_sigterm_ends_streams_with_a_word_and_the_process_soon(home, until):
    """Open streams and held requests do not keep it; clients hear `bye`."""
    daemon = Daemon(home)
    daemon.start()
    until(daemon.ready, "the server answers", START_S)
    job_id = submit(daemon, hold=True)
    streams = [Stream(daemon, "/api/v1/events/stream") for _ in range(3)]
    streams.append(Stream(daemon, f"/api/v1/jobs/{job_id}/log/stream"))
    began = time.monotonic()
    assert daemon.stop() == 0
    assert time.monotonic() - began < 3
    for stream in streams:
        until(stream.closed.is_set, "the stream ended")
        assert stream.messages[-1][0] == "bye"
    assert not (daemon.home / "run" / "server.pid").exists()
    daemon.close()


def test_acknowledged_submits_survive_kill_nine(home, until):
    """
    The server is killed in the middle of a stream of submits, several times: every id that was
    answered is there afterwards, with its own name, and no id was given out twice.
    """
    daemon = Daemon(home)
    acknowledged: dict[int, str] = {}
    for round_ in range(3):
        daemon.start()
        until(daemon.ready, "the server answers", START_S)
        goal = len(acknowledged) + 25 + 13 * round_
        killed = threading.Event()

        def kill(goal: int = goal, killed: threading.Event = killed) -> None:
            until(lambda: len(acknowledged) >= goal, "enough submits", 30)
            daemon.process.kill()
            killed.set()

        killer = threading.Thread(target=kill)
        killer.start()
        for number in range(10_000):
            name = f"r{round_}-{number}"
            try:
                answer = daemon.http.post("/api/v1/jobs", json=SPEC | {"hold": True, "name": name})
            except httpx2.TransportError:
                break
            assert answer.status_code == 201
            assert answer.json()["id"] not in acknowledged
            acknowledged[answer.json()["id"]] = name
        killer.join(30)
        assert killed.is_set()
        daemon.process.wait()
    daemon.close()
    found = dict(sqlite3.connect(home / "berth.db").execute("SELECT id, name FROM jobs").fetchall())
    assert {job_id: found.get(job_id) for job_id in acknowledged} == acknowledged
    assert sqlite3.connect(home / "berth.db").execute("PRAGMA integrity_check").fetchone() == (
        "ok",
    )


def test_a_killed_server_leaves_nothing_that_hinders_the_next(home, until):
    """Neither socket nor lock nor pid file."""
    daemon = Daemon(home)
    for _ in range(2):
        daemon.start()
        until(daemon.ready, "the server answers", START_S)
        facts = json.loads((home / "run" / "server.pid").read_text())
        assert facts["pid"] == daemon.process.pid
        daemon.process.send_signal(signal.SIGKILL)
        daemon.process.wait()
    daemon.close()


def test_a_wrong_setting_is_one_sentence(home):
    """On stderr, with exit code 2 and no traceback."""
    (home / "berth.toml").write_text("listen = ")
    daemon = Daemon(home)
    _, errors = daemon.start().communicate(timeout=START_S)
    assert daemon.process.returncode == 2
    text = errors.decode()
    assert "Traceback" not in text
    assert text.count("\n") == 1, text
    assert "berth.toml is not valid TOML" in text
    daemon.close()


def test_a_port_in_use_is_one_sentence(home):
    """That names the setting."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        daemon = Daemon(home, f"127.0.0.1:{taken.getsockname()[1]}")
        _, errors = daemon.start().communicate(timeout=START_S)
    assert daemon.process.returncode == 2
    assert "BERTH_LISTEN" in errors.decode()
    assert "Traceback" not in errors.decode()
    daemon.close()


def test_tcp_has_no_identity_of_its_own(home, until):
    """Health is open; everything else needs a token."""
    listen = f"127.0.0.1:{free_port()}"
    daemon = Daemon(home, listen)
    daemon.start()
    until(daemon.ready, "the server answers", START_S)
    assert httpx2.get(f"http://{listen}/healthz").status_code == 200
    assert httpx2.get(f"http://{listen}/api/v1/jobs").status_code == 401
    secret = daemon.http.post("/api/v1/tokens", json={"name": "t"}).json()["secret"]
    headers = {"Authorization": f"Bearer {secret}"}
    assert httpx2.get(f"http://{listen}/api/v1/me", headers=headers).json()["via"] == "token"
    assert daemon.stop() == 0
    log = daemon.process.stderr.read().decode()
    assert secret not in log
    daemon.close()
