"""The daemon as a process: streams, signals, kill -9, locks, wrong settings."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest

SPEC = {"command": "true", "workdir": "/"}


class Daemon:
    """A server process with a home of its own, and a worker that the test plays."""

    def __init__(self, home: Path, listen: str = "off") -> None:
        self.home = home
        self.listen = listen
        self.process: subprocess.Popen[bytes] | None = None
        transport = httpx2.HTTPTransport(uds=str(home / "run" / "berth.sock"))
        self.http = httpx2.Client(transport=transport, base_url="http://berth", timeout=20)

    def start(self) -> subprocess.Popen[bytes]:
        env = {k: v for k, v in os.environ.items() if not k.startswith("BERTH_")}
        env |= {"BERTH_HOME": str(self.home), "BERTH_LISTEN": self.listen}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "berth_server"], env=env, stderr=subprocess.PIPE
        )
        return self.process

    def ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.process.stderr
        try:
            return self.http.get("/healthz").status_code == 200
        except httpx2.TransportError:
            return False

    def report(self, *seen: dict[str, Any], gpus: int = 8) -> None:
        now = datetime.now(UTC).isoformat()
        cards = [
            {
                "uuid": f"GPU-{i}",
                "index": i,
                "minor": i,
                "name": "Simulated",
                "memory_total_bytes": 80 << 30,
                "memory_used_bytes": 0,
            }
            for i in range(gpus)
        ]
        body = {
            "worker_id": "w",
            "boot_id": "b",
            "fence": "advisory",
            "version": "0",
            "snapshot": {"taken_at": now, "source": "simulated", "gpus": cards},
            "attempts": list(seen),
        }
        answer = self.http.post("/internal/v1/report", json=body)
        assert answer.status_code == 204, answer.text

    def desired(self) -> list[dict[str, Any]]:
        return self.http.get("/internal/v1/desired").json()["attempts"]

    def seen(self, attempt: str, phase: str, **more: Any) -> dict[str, Any]:
        (token,) = (one["token"] for one in self.desired() if one["attempt"] == attempt)
        return {"attempt": attempt, "token": token, "phase": phase, **more}

    def end(self, attempt: str, code: int = 0) -> None:
        now = datetime.now(UTC).isoformat()
        left = {"attempt": attempt, "exit_code": code, "cause": "exit", "ended_at": now}
        self.report(self.seen(attempt, "ended", exit=left, gpus_clear=True))

    def stop(self) -> int:
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(timeout=10)

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.http.close()


@contextlib.contextmanager
def new_home() -> Iterator[Path]:
    """A home with a short path: a unix socket's may have 107 characters."""
    folder = Path(tempfile.mkdtemp(prefix="berth-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def home() -> Iterator[Path]:
    """A home of the test's own."""
    with new_home() as folder:
        yield folder


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    """A running server on its unix socket, shared by the tests that leave it running."""
    with new_home() as folder:
        daemon = Daemon(folder)
        daemon.start()
        try:
            deadline = time.monotonic() + 30
            while not daemon.ready():
                assert time.monotonic() < deadline
            yield daemon
        finally:
            daemon.close()


def submit(daemon: Daemon, **spec: Any) -> int:
    """Submit a job; its id."""
    answer = daemon.http.post("/api/v1/jobs", json=SPEC | spec)
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def started(daemon: Daemon) -> tuple[str, Path]:
    """Submit a job that starts; its attempt and its log's path, whose folder is made."""
    daemon.report()
    attempt = f"{submit(daemon, gpus=0)}.1"
    (wanted,) = (one for one in daemon.desired() if one["attempt"] == attempt)
    log = Path(wanted["run_dir"], "output.log")
    log.parent.mkdir(parents=True)
    return attempt, log


class Stream:
    """A stream of server-sent events, read on a thread of its own."""

    def __init__(self, daemon: Daemon, path: str, headers: dict[str, str] | None = None) -> None:
        self.messages: list[tuple[str, str, Any, float]] = []
        """Name, id, data and arrival of each."""
        self.closed = threading.Event()
        self.opened = threading.Event()
        self._args = (daemon, path, headers or {})
        threading.Thread(target=self._run, daemon=True).start()
        assert self.opened.wait(10)

    def _run(self) -> None:
        daemon, path, headers = self._args
        transport = httpx2.HTTPTransport(uds=str(daemon.home / "run" / "berth.sock"))
        with (
            httpx2.Client(transport=transport, base_url="http://berth", timeout=30) as http,
            contextlib.suppress(httpx2.TransportError),
            http.stream("GET", path, headers=headers) as answer,
        ):
            assert answer.headers["content-type"].startswith("text/event-stream")
            self.opened.set()
            for event in httpx2.EventSource(answer):
                data = json.loads(event.data) if event.data else None
                self.messages.append((event.event, event.id, data, time.monotonic()))
        self.closed.set()

    def named(self, name: str) -> list[Any]:
        return [data for kind, _, data, _ in self.messages if kind == name]


def test_events_stream_as_they_happen_and_resume_without_loss(daemon, until):
    """The second stream goes on after the last id of the first: none missed, none twice."""
    first = Stream(daemon, "/api/v1/events/stream")
    job_id = submit(daemon, hold=True)
    until(lambda: first.messages, "the event came")
    kind, last, data, _ = first.messages[-1]
    assert (kind, data["kind"], data["job_id"]) == ("message", "job.submitted", job_id)
    assert str(data["id"]) == last
    more = [
        job["id"]
        for job in daemon.http.post("/api/v1/jobs", json=[SPEC | {"hold": True}] * 30).json()
    ]
    again = Stream(daemon, "/api/v1/events/stream", {"Last-Event-ID": last})
    until(lambda: len(again.messages) == 30, "everything since came")
    assert [data["job_id"] for _, _, data, _ in again.messages] == more
    other = Stream(daemon, f"/api/v1/events/stream?after=0&job={more[6]}")
    until(lambda: other.messages, "one job's events came")
    assert {data["job_id"] for _, _, data, _ in other.messages} == {more[6]}


def test_an_event_id_of_another_database_begins_with_now(daemon, until):
    """A client that remembers more than there ever was is not left waiting for it."""
    stream = Stream(daemon, "/api/v1/events/stream", {"Last-Event-ID": "999999"})
    submit(daemon, hold=True)
    until(lambda: stream.messages, "the event came")


def test_a_log_is_followed_from_before_its_start_to_its_end(daemon, until):
    """Pieces join to the whole; each tells its offset; the end tells how it went."""
    job_id = submit(daemon, gpus=0, hold=True)
    attempt = f"{job_id}.1"
    stream = Stream(daemon, f"/api/v1/jobs/{job_id}/log/stream")
    daemon.report()
    daemon.http.post(f"/api/v1/jobs/{job_id}/release")
    (wanted,) = (one for one in daemon.desired() if one["attempt"] == attempt)
    log = Path(wanted["run_dir"], "output.log")
    log.parent.mkdir(parents=True)
    text = "größe 東京 🚢\n"
    with log.open("wb", buffering=0) as out:
        for byte in text.encode():
            out.write(bytes([byte]))
    until(lambda: "".join(d["text"] for d in stream.named("log")) == text, "the line came")
    daemon.report(daemon.seen(attempt, "running"))
    with log.open("ab", buffering=0) as out:
        out.write(b"last \xf0\x9f")  # a character that never becomes whole
    daemon.end(attempt, 3)
    until(stream.closed.is_set, "the stream ended")
    pieces = stream.named("log")
    assert "".join(d["text"] for d in pieces) == f"{text}last \ufffd"
    place = 0
    for piece in pieces[:-1]:
        assert piece["offset"] == place
        place += len(piece["text"].encode())
    (end,) = stream.named("end")
    assert (end["attempt"], end["exit_code"], end["job_state"]) == (attempt, 3, "failed")
    assert end["size_bytes"] == log.stat().st_size


def test_a_log_stream_resumes_where_it_was(daemon, until):
    """Last-Event-ID is the offset; a negative offset counts from the end."""
    attempt, log = started(daemon)
    log.write_bytes(b"0123456789")
    path = f"/api/v1/jobs/{attempt[:-2]}/log/stream"
    resumed = Stream(daemon, path, {"Last-Event-ID": "4"})
    tail = Stream(daemon, f"{path}?offset=-3")
    until(lambda: resumed.messages and tail.messages, "both came")
    assert resumed.named("log") == [{"attempt": attempt, "offset": 4, "text": "456789"}]
    assert tail.named("log") == [{"attempt": attempt, "offset": 7, "text": "789"}]
    assert resumed.messages[0][1] == "10"


def test_a_followed_line_comes_at_once(daemon, until):
    """Well under the 100 ms that are promised, for a line now and then."""
    attempt, log = started(daemon)
    log.touch()
    stream = Stream(daemon, f"/api/v1/jobs/{attempt[:-2]}/log/stream")
    delays = []
    for i in range(20):
        written = time.monotonic()
        with log.open("a") as out:
            out.write(f"line {i}\n")
        until(lambda i=i: len(stream.named("log")) > i, "the line came", 5)
        delays.append(stream.messages[i][3] - written)
    assert sorted(delays)[10] < 0.1


def test_a_job_that_ends_without_an_attempt_ends_its_stream(daemon, until):
    """A cancelled queued job has no log to wait for."""
    job_id = submit(daemon, hold=True)
    stream = Stream(daemon, f"/api/v1/jobs/{job_id}/log/stream")
    daemon.http.post(f"/api/v1/jobs/{job_id}/cancel")
    until(stream.closed.is_set, "the stream ended")
    assert stream.named("end")[0]["job_state"] == "cancelled"


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
    _, errors = second.start().communicate(timeout=20)
    assert second.process.returncode == 2
    text = errors.decode()
    assert f"pid {daemon.process.pid}" in text
    assert "berth down" in text
    assert text.count("\n") == 1
    second.close()
    assert daemon.ready()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
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
    until(daemon.ready, "the server answers", 20)
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
        until(daemon.ready, "the server answers", 20)
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
        until(daemon.ready, "the server answers", 20)
        facts = json.loads((home / "run" / "server.pid").read_text())
        assert facts["pid"] == daemon.process.pid
        daemon.process.send_signal(signal.SIGKILL)
        daemon.process.wait()
    daemon.close()


def test_a_wrong_setting_is_one_sentence(home):
    """On stderr, with exit code 2 and no traceback."""
    (home / "berth.toml").write_text("listen = ")
    daemon = Daemon(home)
    _, errors = daemon.start().communicate(timeout=20)
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
        _, errors = daemon.start().communicate(timeout=20)
    assert daemon.process.returncode == 2
    assert "BERTH_LISTEN" in errors.decode()
    assert "Traceback" not in errors.decode()
    daemon.close()


def test_tcp_has_no_identity_of_its_own(home, until):
    """Health is open; everything else needs a token."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{probe.getsockname()[1]}"
    daemon = Daemon(home, listen)
    daemon.start()
    until(daemon.ready, "the server answers", 20)
    assert httpx2.get(f"http://{listen}/healthz").status_code == 200
    assert httpx2.get(f"http://{listen}/api/v1/jobs").status_code == 401
    secret = daemon.http.post("/api/v1/tokens", json={"name": "t"}).json()["secret"]
    headers = {"Authorization": f"Bearer {secret}"}
    assert httpx2.get(f"http://{listen}/api/v1/me", headers=headers).json()["via"] == "token"
    assert daemon.stop() == 0
    log = daemon.process.stderr.read().decode()
    assert secret not in log
    daemon.close()
