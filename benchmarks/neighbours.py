"""
One user's worst against another user's submit and list: `python benchmarks/neighbours.py`.

While one user does the worst that a scene allows, another submits held jobs and lists jobs, a
connection each as the CLI does, and the time of every answer counts. As root both are users of
their own (uids 65534 and 65533), else the same. The daemons start with 1,024 descriptors, as
under systemd. Whatever refuses an attack answers it too: counts and status are printed.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import http.client
import json
import os
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from box import MeasuredBox, UnixConnection, percentile

ATTACKER, VICTIM = 65534, 65533
LONG_SUM = "printf \"{'loss': 1\"; yes '+1' | tr -d '\\n' | head -c 15000000; echo '}'"
LONG_LINE = "yes 'step 1/100 loss 2.31 ' | tr -d '\\n' | head -c 100000000; echo"
LINES = "yes aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa | head -n 200000"


class Attacker:
    """Context of a scene: the box, its jobs' ids, and a count of answers by status."""

    def __init__(self, box: MeasuredBox, jobs: dict[str, int]) -> None:
        self.socket = box.home / "run" / "berth.sock"
        self.port = box.port
        self.jobs = jobs
        self.answers: collections.Counter[int | str] = collections.Counter()

    def ask(self, method: str, path: str, body: bytes | None = None) -> int:
        """One request on a connection of its own; its status."""
        connection = UnixConnection(self.socket)
        try:
            connection.request(method, f"/api/v1{path}", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            status: int | str = answer.status
        except (OSError, http.client.HTTPException) as error:
            status = type(error).__name__
        finally:
            connection.close()
        self.answers[status] += 1
        return status if isinstance(status, int) else 0

    def repeat(self, many: int, what: Callable[[], object]) -> None:
        """Do something for ever, on so many threads at once."""

        def loop() -> None:
            while True:
                what()

        threads = [threading.Thread(target=loop, daemon=True) for _ in range(many)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def dial(self, *, tcp: bool = False) -> socket.socket:
        """An open connection."""
        if tcp:
            # Not create_connection: looking names up needs files that this user may not read.
            made = socket.socket(socket.AF_INET)
            made.settimeout(60)
            made.connect(("127.0.0.1", self.port))
        else:
            made = socket.socket(socket.AF_UNIX)
            made.settimeout(60)
            made.connect(str(self.socket))
        return made


def quiet(attacker: Attacker) -> None:
    """Nothing."""
    attacker.repeat(1, lambda: time.sleep(60))


def metrics(attacker: Attacker) -> None:
    """F9: metrics of a log whose one line looks like a printed dictionary with a long sum."""
    attacker.repeat(4, lambda: attacker.ask("GET", f"/jobs/{attacker.jobs['sum']}/metrics"))


def bodies(attacker: Attacker) -> None:
    """F10: eight chunked bodies without end."""
    piece = b"10000\r\n" + b"a" * 65536 + b"\r\n"

    def send() -> None:
        with contextlib.suppress(OSError), attacker.dial() as made:
            made.sendall(
                b"POST /api/v1/jobs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            )
            for _ in range(2000):
                made.sendall(piece)
        attacker.answers["sent"] += 1

    attacker.repeat(8, send)


def headers(attacker: Attacker) -> None:
    """F11: headers without end over TCP, from nobody that is known; long ones and many."""

    def send(start: bytes, piece: bytes) -> None:
        with contextlib.suppress(OSError), attacker.dial(tcp=True) as made:
            made.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n" + start)
            for _ in range(1600):
                made.sendall(piece)
        attacker.answers["sent"] += 1

    threading.Thread(
        target=attacker.repeat, args=(6, lambda: send(b"x: ", b"a" * 65536)), daemon=True
    ).start()
    attacker.repeat(6, lambda: send(b"", b"x-a: b\r\n" * 8192))


def connections(attacker: Attacker) -> None:
    """F14: 1,500 idle connections, 500 of them with half a request."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 8192)), hard))
    kept: list[socket.socket] = []
    while True:
        while len(kept) < 1500:
            with contextlib.suppress(OSError):
                made = attacker.dial()
                if len(kept) % 3 == 0:
                    made.sendall(b"POST /api/v1/jobs HTTP/1.1\r\nContent-Le")
                kept.append(made)
                continue
            time.sleep(0.05)
        attacker.answers["connected"] += len(kept)
        time.sleep(1)


def lists(attacker: Attacker) -> None:
    """F15: lists of 20,000 held jobs, of fewer where that is refused."""
    size = 20_000

    def submit() -> None:
        nonlocal size
        job = {"command": ["true"], "workdir": "/", "hold": True, "labels": {"a": "b"}}
        status = attacker.ask("POST", "/jobs", json.dumps([job] * size).encode())
        if status == 413 and size > 1000:
            size = max(1000, size // 4)

    attacker.repeat(2, submit)


def searches(attacker: Attacker) -> None:
    """F16: sixty searches at once for an expression that takes for ever."""
    path = f"/jobs/{attacker.jobs['lines']}/log/search?regex=true&q=(a%2B)%2B%24b"
    attacker.repeat(60, lambda: attacker.ask("GET", path))


def values(attacker: Attacker) -> None:
    """F17: jobs with the longest label and variable that are taken, listed again and again."""
    for size in (50_000_000, 10_000_000, 900_000, 100_000, 1000):
        spec = {"command": ["true"], "workdir": "/", "hold": True}
        for more in ({"labels": {"a": "x" * size}}, {"env": {"A": "x" * size}}):
            attacker.ask("POST", "/jobs", json.dumps(spec | more).encode())
    for _ in range(60):
        body = spec | {"env": {f"A{i}": "x" * 100_000 for i in range(9)}}
        attacker.ask("POST", "/jobs", json.dumps(body).encode())
    attacker.repeat(4, lambda: attacker.ask("GET", "/jobs?limit=1000"))


def long_line(attacker: Attacker) -> None:
    """F18: a log of one line of 100 MB, opened again and again."""
    attacker.repeat(4, lambda: attacker.ask("GET", f"/jobs/{attacker.jobs['line']}/log/lines"))


def _flood(attacker: Attacker, request: bytes) -> None:
    """Four processes that open and close connections as fast as they can, one of them over TCP."""
    parent = os.getpid()
    for tcp in (False, False, False, True):
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            while os.getppid() == parent:
                with contextlib.suppress(OSError), attacker.dial(tcp=tcp) as made:
                    made.sendall(request)
            os._exit(0)
    threading.Event().wait()


def flood(attacker: Attacker) -> None:
    """Connections opened and closed in a loop, which fills the kernel's queue of new ones."""
    _flood(attacker, b"")


def unread_flood(attacker: Attacker) -> None:
    """The same with a request each whose answer is not waited for."""
    _flood(attacker, b"GET /api/v1/jobs HTTP/1.1\r\nHost: x\r\n\r\n")


def asking_flood(attacker: Attacker) -> None:
    """Two hundred threads that ask on a new connection each time."""
    attacker.repeat(200, lambda: attacker.ask("GET", "/jobs"))


SCENES: dict[str, Callable[[Attacker], None]] = {
    "nothing": quiet,
    "F9 metrics of a long sum": metrics,
    "F10 chunked bodies without end": bodies,
    "F11 headers without end": headers,
    "F14 1,500 connections": connections,
    "F15 lists of held jobs": lists,
    "F16 60 regex searches": searches,
    "F17 labels and variables of 50 MB": values,
    "F18 one line of 100 MB": long_line,
    "connections opened and closed in loops": flood,
    "the same with a request each, not waited for": unread_flood,
    "200 threads that ask on new connections": asking_flood,
}


def main() -> None:
    """Run the scenes; print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--only", default="", help="scenes whose name contains this")
    options = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.0f} on {os.cpu_count()} cores at the start")
    print("| one user does | submit p50, p99, most | ls p50, p99, most | n | answers to it |")
    print("|---|---|---|---|---|", flush=True)
    for name, scene in SCENES.items():
        if options.only in name:
            with _box() as box:
                print(_row(box, name, scene, options.seconds), flush=True)


@contextlib.contextmanager
def _box() -> Iterator[MeasuredBox]:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    box = MeasuredBox()
    box.home.chmod(0o711)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
    try:
        box.start()
        yield box
    finally:
        box.close()


def _row(box: MeasuredBox, name: str, scene: Callable[[Attacker], None], seconds: float) -> str:
    jobs: dict[str, int] = {}
    scripts = {"F9": ("sum", LONG_SUM), "F16": ("lines", LINES), "F18": ("line", LONG_LINE)}
    wanted = scripts.get(name.split(maxsplit=1)[0])
    if wanted is not None:
        jobs[wanted[0]] = box.submit(script=wanted[1], gpus=0, workdir="/tmp")
        box.ended(list(jobs.values()))
    attacker = Attacker(box, jobs)
    reader, writer = os.pipe()

    def attack() -> None:
        def report(*_: object) -> None:
            os.write(writer, json.dumps(dict(attacker.answers)).encode())
            os._exit(0)

        signal.signal(signal.SIGTERM, report)
        threading.Thread(target=scene, args=(attacker,), daemon=True).start()
        threading.Event().wait()

    attacking = _fork(ATTACKER, attack)
    time.sleep(1.0)
    submits, lists_ = _as_victim(box, seconds)
    os.kill(attacking, signal.SIGTERM)
    os.waitpid(attacking, 0)
    answers = os.read(reader, 65536).decode() or "{}"
    os.close(reader)
    os.close(writer)
    told = ", ".join(f"{status}: {count}" for status, count in json.loads(answers).items())
    return f"| {name} | {_times(submits)} | {_times(lists_)} | {len(submits)} | {told} |"


def _times(values: list[float]) -> str:
    three = (percentile(values, 0.5), percentile(values, 0.99), max(values))
    return ", ".join(f"{value * 1000:,.0f}" for value in three) + " ms"


def _as_victim(box: MeasuredBox, seconds: float) -> tuple[list[float], list[float]]:
    reader, writer = os.pipe()

    def work() -> None:
        path = box.home / "run" / "berth.sock"
        job = json.dumps({"command": ["true"], "workdir": "/", "hold": True})
        submits: list[float] = []
        listed: list[float] = []
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            submits.append(_timed(path, "POST", "/api/v1/jobs", job))
            listed.append(_timed(path, "GET", "/api/v1/jobs?limit=50", None))
            time.sleep(0.005)
        with os.fdopen(writer, "w") as out:
            json.dump([submits, listed], out)

    child = _fork(VICTIM, work)
    os.close(writer)
    with os.fdopen(reader) as source:
        submits, listed = json.loads(source.read())
    os.waitpid(child, 0)
    return submits, listed


def _timed(path: Path, method: str, url: str, body: str | None) -> float:
    """Seconds until the answer; those that got none count with the whole time they tried."""
    began = time.monotonic()
    while time.monotonic() - began < 60:
        connection = UnixConnection(path)
        try:
            connection.request(method, url, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            if answer.status < 300:
                break
        except (OSError, http.client.HTTPException):
            time.sleep(0.01)
        finally:
            connection.close()
    return time.monotonic() - began


def _fork(uid: int, work: Callable[[], None]) -> int:
    """Start `work` in a process of its own, as that user where root may say so; its pid."""
    pid = os.fork()
    if pid:
        return pid
    try:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
        work()
    except BaseException as error:  # noqa: BLE001 - the child's only way to say so
        print(repr(error), file=sys.stderr, flush=True)
    finally:
        os._exit(0)


if __name__ == "__main__":
    main()
