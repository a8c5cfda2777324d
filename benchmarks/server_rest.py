"""
Speed of the server alone: submits, lists, scheduling, pages. Prints a table.

    .venv/bin/python benchmarks/server_rest.py [--jobs 100000]

A real `python -m berth_server` on a fresh home; the client speaks HTTP over the unix socket with
a kept connection and nothing but the standard library, so that the client's own cost is small.
"Floor" lines show what the machine gives at best: run on a quiet one.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from box import UnixConnection

SPEC = {"command": "true", "workdir": "/"}


class Server:
    """A server on a home of its own."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="berth-bench-"))
        env = {k: v for k, v in os.environ.items() if not k.startswith("BERTH_")}
        env |= {"BERTH_HOME": str(self.home), "BERTH_LISTEN": "off", "BERTH_LOG_LEVEL": "warning"}
        env["BERTH_JOBS_PER_SUBMIT"] = "10000"
        self.process = subprocess.Popen([sys.executable, "-m", "berth_server"], env=env)
        self.http = UnixConnection(self.home / "run" / "berth.sock")
        deadline = time.monotonic() + 30
        while True:
            try:
                self.ask("GET", "/healthz")
                break
            except OSError:
                self.http.close()
                assert time.monotonic() < deadline
                assert self.process.poll() is None
                time.sleep(0.02)

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> bytes:
        self.http.request(method, path, body, headers or {})
        answer = self.http.getresponse()
        data = answer.read()
        assert answer.status < 300, data[:500]
        return data

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mib(self) -> float:
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(text.split("VmRSS:")[1].split()[0]) / 1024

    def report(self, attempts: list[dict[str, Any]], gpus: int = 8) -> None:
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
            "attempts": attempts,
        }
        self.ask("POST", "/internal/v1/report", json.dumps(body).encode())

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.home)


def timed(action: Callable[[], Any], count: int) -> list[float]:
    """Seconds of each of `count` calls."""
    spans = []
    for _ in range(count):
        began = time.perf_counter()
        action()
        spans.append(time.perf_counter() - began)
    return spans


def row(what: str, figure: str, note: str = "") -> None:
    print(f"{what:<58} {figure:>22}  {note}", flush=True)


def spread(spans: list[float]) -> str:
    ordered = sorted(spans)
    p50, p99 = statistics.median(ordered), ordered[int(len(ordered) * 0.99)]
    return f"p50 {p50 * 1000:.2f} p99 {p99 * 1000:.2f} ms"


def floor() -> None:
    """Cost of one durable commit here."""
    folder = Path(tempfile.mkdtemp(prefix="berth-bench-"))
    db = sqlite3.connect(folder / "floor.db", isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT)")

    def commit() -> None:
        db.execute("BEGIN IMMEDIATE")
        db.execute("INSERT INTO t (x) VALUES ('x')")
        db.execute("COMMIT")

    spans = timed(commit, 500)
    row("floor: one durable commit of one row", spread(spans), f"{len(spans) / sum(spans):.0f}/s")
    db.close()
    shutil.rmtree(folder)


def submits(server: Server, count: int) -> None:
    body = json.dumps(SPEC | {"hold": True}).encode()
    timed(lambda: server.ask("POST", "/api/v1/jobs", body), 50)
    cpu = server.cpu_s()
    spans = timed(lambda: server.ask("POST", "/api/v1/jobs", body), count)
    cpu = (server.cpu_s() - cpu) / count
    note = f"{len(spans) / sum(spans):.0f}/s, server CPU {cpu * 1000:.2f} ms each"
    row("submit one job, durable, one client", spread(spans), note)
    spans = timed(lambda: server.ask("GET", "/healthz"), count)
    row("for comparison: GET /healthz", spread(spans), f"{len(spans) / sum(spans):.0f}/s")


def lists(server: Server, size: int) -> None:
    body = json.dumps([SPEC | {"hold": True}] * size).encode()
    minimal = {"Prefer": "return=minimal"}
    spans = timed(lambda: server.ask("POST", "/api/v1/jobs", body, minimal), 5)
    best = min(spans)
    row(f"submit a list of {size}, ids back", f"{best * 1000:.0f} ms", f"{size / best:.0f} jobs/s")
    began = time.perf_counter()
    server.ask("POST", "/api/v1/jobs", body)
    span = time.perf_counter() - began
    row(f"submit a list of {size}, jobs back", f"{span * 1000:.0f} ms", f"{size / span:.0f} jobs/s")


def throughput(server: Server, count: int) -> None:
    """No-op jobs through eight GPUs with a worker that needs no time."""
    body = json.dumps([SPEC | {"gpus": 1}] * count).encode()
    server.ask("POST", "/api/v1/jobs", body, {"Prefer": "return=minimal"})
    cpu = server.cpu_s()
    began = time.perf_counter()
    server.report([])
    done = 0
    while done < count:
        wanted = json.loads(server.ask("GET", "/internal/v1/desired"))["attempts"]
        now = datetime.now(UTC).isoformat()
        for one in wanted:
            seen = {"attempt": one["attempt"], "token": one["token"]}
            server.report([seen | {"phase": "running", "started_at": now}])
            left = {"attempt": one["attempt"], "exit_code": 0, "cause": "exit", "ended_at": now}
            server.report([seen | {"phase": "ended", "exit": left, "gpus_clear": True}])
            done += 1
    span = time.perf_counter() - began
    cpu = (server.cpu_s() - cpu) / count
    row(
        f"{count} no-op jobs through 8 GPUs, worker costs nothing",
        f"{count / span:.0f} jobs/s",
        f"server CPU {cpu * 1000:.2f} ms per job (two reports each)",
    )


def pages(server: Server, total: int) -> None:
    known = json.loads(server.ask("GET", "/api/v1/jobs?limit=1"))["jobs"][0]["id"]
    minimal = {"Prefer": "return=minimal"}
    body = json.dumps([SPEC | {"hold": True, "labels": {"k": "v"}}] * 10_000).encode()
    while known < total:
        server.ask("POST", "/api/v1/jobs", body, minimal)
        known += 10_000
    for query in ("limit=50", "limit=50&state=held", "limit=50&label=k=v", "limit=50&user=nobody"):
        spans = timed(lambda query=query: server.ask("GET", f"/api/v1/jobs?{query}"), 30)
        row(f"page of {known} jobs: {query}", spread(spans))
    spans = timed(lambda: server.ask("GET", "/api/v1/jobs/counts"), 10)
    row(f"counts of {known} jobs", spread(spans))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[1])
    parser.add_argument("--jobs", type=int, default=100_000, help="size of the large queue")
    parser.add_argument("--submits", type=int, default=1000)
    options = parser.parse_args()
    floor()
    server = Server()
    try:
        row("memory after start", f"{server.memory_mib():.0f} MiB")
        submits(server, options.submits)
        throughput(server, 500)
        lists(server, 10_000)
        pages(server, options.jobs)
        row("memory with the large queue", f"{server.memory_mib():.0f} MiB")
        floor()
    finally:
        server.close()


if __name__ == "__main__":
    main()
