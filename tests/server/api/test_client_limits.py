"""Bounds of what one client may use: each is refused in a sentence, and others are served."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import stat
import threading
import time

import httpx2
import psutil
import pytest
from tests.ports import free_port
from tests.server.daemons import Daemon, Stream, new_home, started, submit

from berth_server.api.acceptor import network
from berth_server.api.pace import Pace

MIB = 1 << 20


@contextlib.contextmanager
def server(until, **settings):
    """A daemon with these settings."""
    with new_home() as folder:
        one = Daemon(folder, **settings)
        one.start()
        try:
            until(one.ready, "the server answers", 30)
            yield one
        finally:
            one.close()


def dial(daemon: Daemon) -> socket.socket:
    """A raw connection to the unix socket."""
    made = socket.socket(socket.AF_UNIX)
    made.settimeout(20)
    made.connect(str(daemon.home / "run" / "berth.sock"))
    return made


def said(connection: socket.socket) -> tuple[int, dict]:
    """The status and the problem that come on a raw connection, until it is closed."""
    raw = b""
    with contextlib.suppress(ConnectionError):
        while piece := connection.recv(65536):
            raw += piece
    head, _, body = raw.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def test_a_body_is_counted_as_it_arrives(daemon):
    """A chunked body has no length to look at: it is refused at 16 MiB, and memory stays."""
    memory = psutil.Process(daemon.process.pid)
    before = memory.memory_info().rss
    with dial(daemon) as connection:
        connection.sendall(
            b"POST /api/v1/jobs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        piece = b"100000\r\n" + b"a" * MIB + b"\r\n"
        sent = 0
        with contextlib.suppress(ConnectionError):
            for _ in range(80):
                connection.sendall(piece)
                sent += MIB
        answer = b""
        with contextlib.suppress(ConnectionError):
            answer = connection.recv(65536)
    assert sent < 80 * MIB or b" 413 " in answer
    assert memory.memory_info().rss - before < 100 * MIB
    answer = daemon.http.post("/api/v1/jobs", content=(b"a" * MIB for _ in range(17)))
    assert answer.status_code == 413
    assert "16 MiB" in answer.json()["detail"]
    assert daemon.ready()


def test_routes_without_identity_take_no_large_body(daemon):
    """Who is nobody has nothing to send."""
    answer = daemon.http.post("/logout", content=b"a" * 100_000)
    assert answer.status_code == 413


HEADS = {
    "one long header": b"GET /healthz HTTP/1.1\r\nHost: x\r\nx: " + b"a" * 6 * MIB,
    "many headers": b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"x-a: b\r\n" * 20_000,
    "a long address": b"GET /healthz?" + b"a" * MIB + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "a long first word": b"A" * MIB,
    "empty lines": b"\r\n" * MIB,
    "just too much": b"GET /healthz HTTP/1.1\r\nHost: x\r\nx: " + b"a" * 70_000 + b"\r\n\r\n",
}


@pytest.mark.parametrize("name", HEADS)
def test_headers_are_refused_at_once(daemon, name):
    """By their length and number, before anybody is known."""
    with dial(daemon) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(HEADS[name])
        try:
            status, problem = said(connection)
        except (IndexError, ValueError):
            status, problem = 431, {"status": 431, "detail": "."}  # cut off while it still sent
    assert status in {400, 431}
    assert problem["detail"].endswith(".")
    assert daemon.ready()


def test_usual_requests_stay_within_the_limits(daemon):
    """Headers of 60 KiB, a hundred of them, requests one after another in one read."""
    many = {f"x-{i}": "a" * 500 for i in range(100)}
    assert daemon.http.get("/healthz", headers=many).status_code == 200
    with dial(daemon) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 500)
        raw = b""
        while raw.count(b"HTTP/1.1 200") < 500:
            piece = connection.recv(MIB)
            assert piece
            raw += piece


@pytest.mark.parametrize(
    "half",
    [
        b"",
        b"GET /healthz HTT",
        b"POST /api/v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{",
    ],
)
def test_half_a_request_is_not_waited_for_for_ever(until, half):
    """Nothing, half a head or half a body: the connection ends with a sentence."""
    with server(until, request_timeout=0.3) as daemon, dial(daemon) as connection:
        connection.sendall(half)
        status, problem = said(connection)
        assert status == 408
        assert "did not arrive in time" in problem["detail"]


def test_slow_thinking_of_the_server_is_not_the_clients_fault(until):
    """A held request, a stream and a waiting connection outlast the timeout."""
    with server(until, request_timeout=0.2) as daemon:
        held = daemon.http.get(
            "/internal/v1/desired",
            params={
                "after": daemon.http.get("/internal/v1/desired").json()["generation"],
                "wait_s": 1,
            },
        )
        assert held.status_code == 200
        stream = Stream(daemon, "/api/v1/live/stream")
        until(lambda: len(stream.named("box")) >= 1, "the stream goes on", 10)
        assert daemon.http.get("/healthz").status_code == 200
        submit(daemon, hold=True)
        until(lambda: stream.named("event"), "the stream tells of it", 10)


@contextlib.contextmanager
def crowd_of_another_user(port: int, connections: int):
    """Connections of another user over TCP; what the last of them receives first."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            kept = [socket.socket() for _ in range(connections)]
            for one in kept:
                one.settimeout(20)
                one.connect(("127.0.0.1", port))
            with contextlib.suppress(ConnectionError):
                os.write(writer, kept[-1].recv(12))
            os.close(writer)
            signal.pause()
        finally:
            os._exit(1)
    os.close(writer)
    try:
        yield os.read(reader, 64)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reader)


def internal(daemon: Daemon) -> bytes:
    """The answer to the worker's first question on its own socket."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(str(daemon.home / "run" / "worker.sock"))
        connection.sendall(b"GET /internal/v1/desired HTTP/1.1\r\nHost: x\r\n\r\n")
        return connection.recv(4096)


def test_connections_of_one_user_do_not_lock_others_out(until):
    """The user is refused in a sentence; others, and Berth's own worker, get in."""
    port = free_port()
    with server(until, listen=f"127.0.0.1:{port}", connections_per_user=8) as daemon:
        own = [dial(daemon) for _ in range(12)]
        status, problem = said(own[-1])
        assert (status, problem["type"]) == (429, "berth:too-many")
        assert internal(daemon).startswith(b"HTTP/1.1 200")
        for one in own:
            one.close()
        until(daemon.ready, "the server takes connections again", 10)


@pytest.mark.skipif(os.geteuid() != 0, reason="takes a second user")
def test_users_of_the_box_are_told_apart_over_tcp(until):
    """They share an address, and none can use up the others' connections or pace."""
    port = free_port()
    settings = {"connections_per_user": 8, "connections_per_second": 1}
    with (
        server(until, listen=f"127.0.0.1:{port}", **settings),
        crowd_of_another_user(port, 12) as last,
    ):
        assert last == b"HTTP/1.1 429"
        with socket.create_connection(("127.0.0.1", port), timeout=20) as mine:
            mine.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert mine.recv(64).startswith(b"HTTP/1.1 200")


def test_new_connections_of_one_user_are_taken_at_their_pace(until):
    """A first burst, then so many a second; more wait, and the worker's own are never held up."""
    with server(until, connections_per_user=8, connections_per_second=1) as daemon:
        daemon.http.close()
        for _ in range(7):
            dial(daemon).close()
        waiting = [dial(daemon) for _ in range(4)]
        asked = time.monotonic()
        assert internal(daemon).startswith(b"HTTP/1.1 200")
        for one in waiting:
            one.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        for one in waiting:
            assert one.recv(64).startswith(b"HTTP/1.1 200")
            one.close()
        assert time.monotonic() - asked > 1


def test_the_workers_socket_is_the_daemons_own(daemon):
    """Others may not even connect, so none of them can fill its queue."""
    assert stat.S_IMODE((daemon.home / "run" / "worker.sock").stat().st_mode) == 0o600
    assert stat.S_IMODE((daemon.home / "run" / "berth.sock").stat().st_mode) == 0o666


def test_a_peer_is_known_by_its_network():
    """Addresses that one user has by the million count as one."""
    assert network("127.1.2.3") == network("::1") == network("::ffff:127.0.0.1") == "loopback"
    assert network("2001:db8::1") == network("2001:db8::ffff:2") != network("2001:db8:0:1::1")
    assert network("fe80::1%eth0") == network("fe80::2%eth0")
    assert network("192.0.2.7") == network("::ffff:192.0.2.7") == "192.0.2.7"


def test_a_pace_lets_a_burst_through_and_then_a_stream():
    """Waits add up until they are too long; another peer has a pace of its own."""
    pace = Pace(each_second=10, burst=3, longest_wait_s=0.25)
    waits = [pace.wait("mallory", 100.0) for _ in range(7)]
    assert waits[:3] == [0, 0, 0]
    assert waits[3:5] == pytest.approx([0.1, 0.2])
    assert waits[5:] == [None, None]
    assert pace.wait("victim", 100.0) == 0
    # Refused ones cost nothing: what waits is served, and then the next.
    assert pace.wait("mallory", 100.2) == pytest.approx(0.1)
    assert pace.wait("mallory", 110.0) == 0


def test_a_pace_forgets_who_is_gone():
    """A million addresses leave nothing behind."""
    pace = Pace(each_second=10, burst=3, longest_wait_s=0.25)
    for number in range(5000):
        pace.wait(number, float(number))
    assert len(pace._used_up_to) <= 1025


def test_descriptors_are_raised_to_what_may_be_had():
    """A usual soft limit of 1,024 would be full of one lab's dashboards; doctor says what it is."""
    from berth.cli.checks import daemons  # late: it is the CLI's

    with new_home() as folder:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        try:
            daemon = Daemon(folder)
            daemon.start()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        try:
            while not daemon.ready():
                pass
            now, _ = psutil.Process(daemon.process.pid).rlimit(psutil.RLIMIT_NOFILE)
            assert now == min(hard, 65_536)
            finding = daemons._descriptors(daemon.process.pid)
            assert f"{now} files" in finding.sentence
            assert finding.level == ("ok" if now >= 4096 else "warn")
        finally:
            daemon.close()


def test_streams_of_one_user_are_counted(until):
    """Beyond the limit a sentence; a stream that ends makes room."""
    with server(until, streams_per_user=2) as daemon:
        streams = [Stream(daemon, "/api/v1/live/stream") for _ in range(2)]
        until(lambda: all(one.named("hello") for one in streams), "both follow", 10)
        answer = daemon.http.get("/api/v1/events/stream")
        assert answer.status_code == 429
        assert "2 streams" in answer.json()["detail"]


def test_a_crowd_of_requests_is_worked_on_in_turn(until):
    """Two hundred at once of one user: each is answered, none refused."""
    with server(until, requests_at_once=2) as daemon:
        submit(daemon, hold=True)
        statuses: list[int] = []

        def ask() -> None:
            transport = httpx2.HTTPTransport(uds=str(daemon.home / "run" / "berth.sock"))
            with httpx2.Client(transport=transport, base_url="http://berth", timeout=60) as http:
                statuses.append(http.get("/api/v1/jobs").status_code)

        threads = [threading.Thread(target=ask) for _ in range(100)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        assert statuses == [200] * 100


def test_searches_queue(daemon, until):
    """Sixty at once are not refused, and run few at a time."""
    attempt, log = started(daemon)
    log.write_text("a line\n" * 1000)
    job_id = attempt.partition(".")[0]
    statuses: list[int] = []
    most = 0

    def ask() -> None:
        transport = httpx2.HTTPTransport(uds=str(daemon.home / "run" / "berth.sock"))
        with httpx2.Client(transport=transport, base_url="http://berth", timeout=60) as http:
            path = f"/api/v1/jobs/{job_id}/log/search"
            statuses.append(http.get(path, params={"q": "l.ne", "regex": "true"}).status_code)

    threads = [threading.Thread(target=ask) for _ in range(30)]
    for one in threads:
        one.start()
    own = psutil.Process(daemon.process.pid)
    while any(one.is_alive() for one in threads):
        most = max(most, len(own.children()))
    assert statuses == [200] * 30
    assert most <= 2


def test_few_descriptors_are_divided():
    """With few descriptors everybody still has some, and one user not all."""
    from berth_server.api.connections import Connections

    few = Connections(1000, 200)
    assert 8 <= few.each <= few.total // 2
