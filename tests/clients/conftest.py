"""A server made of a dictionary, answering the client's own transport; and the CLI on top of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from typer.testing import CliRunner, Result

NOW = datetime.now(UTC)


def job_facts(job_id: int = 42, **changes: Any) -> dict[str, Any]:
    """A job as the wire shows it."""
    return {
        "id": job_id,
        "name": "persona-history",
        "state": "queued",
        "user": "ada",
        "command": "deepspeed --num_gpus=4 train.py",
        "gpus": 4,
        "workdir": "/home/ada/twin",
        "priority": 0,
        "grace": "1m",
        "warn_before": "1m",
        "retries": 0,
        "queued_at": wire_time(-180),
        "reason": "All 8 GPUs are held.",
        **changes,
    }


def attempt_facts(job_id: int = 42, number: int = 1, **changes: Any) -> dict[str, Any]:
    """An attempt as the wire shows it."""
    return {
        "id": f"{job_id}.{number}",
        "number": number,
        "state": "running",
        "gpu_indices": [0, 1, 2, 3],
        "gpu_uuids": [f"GPU-{i}" for i in range(4)],
        "master_port": 29600,
        "started_at": wire_time(-120),
        "run_dir": f"/var/lib/berth/runs/{job_id}/{number}",
        **changes,
    }


def gpu_facts(index: int, **changes: Any) -> dict[str, Any]:
    """A GPU as the wire shows it."""
    return {
        "uuid": f"GPU-{index}",
        "index": index,
        "name": "NVIDIA H100 80GB HBM3",
        "memory_total_bytes": 80 << 30,
        "memory_used_bytes": 0,
        "utilization_percent": 0,
        "temperature_c": 31,
        "power_w": 70.5,
        "power_limit_w": 700.0,
        "holder": {"kind": "free", "sentence": "free"},
        **changes,
    }


def wire_time(seconds_from_now: float) -> str:
    """A moment relative to now, as the wire writes it."""
    return (NOW + timedelta(seconds=seconds_from_now)).isoformat()


class FakeServer:
    """
    Routes by method and path to canned answers, and remembers the requests.

    An answer is a body (status 200), a `(status, body)`, a ready response, an exception to
    raise, or a function of the request that gives one of those. A list is used up one by one,
    its last entry again and again.
    """

    def __init__(self) -> None:
        self.routes: dict[tuple[str, str], list[Any]] = {}
        self.requests: list[httpx2.Request] = []
        self.answer("GET", "/api/v1/events", {"events": [], "last_id": 7})

    def answer(self, method: str, path: str, *answers: Any) -> None:
        """Set what a route answers."""
        self.routes[method, path] = list(answers)

    def handle(self, request: httpx2.Request) -> httpx2.Response:
        """Answer one request."""
        self.requests.append(request)
        answers = self.routes.get((request.method, request.url.path))
        if answers is None:
            return problem(404, f"There is no {request.url.path} here.")
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if callable(answer):
            answer = answer(request)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, httpx2.Response):
            return answer
        if isinstance(answer, tuple):
            return httpx2.Response(answer[0], json=answer[1])
        return httpx2.Response(200, json=answer)

    def bodies(self, path: str) -> list[Any]:
        """The JSON bodies sent to a path."""
        return [json.loads(r.content) for r in self.requests if r.url.path == path and r.content]

    def sent(self, path: str) -> list[httpx2.Request]:
        """The requests sent to a path."""
        return [r for r in self.requests if r.url.path == path]


def problem(status: int, detail: str, **more: Any) -> httpx2.Response:
    """An error answer as the server gives it."""
    body = {"type": "berth:test", "title": "No", "status": status, "detail": detail, **more}
    return httpx2.Response(
        status, content=json.dumps(body), headers={"content-type": "application/problem+json"}
    )


def sse(*messages: tuple[str, str, Any], broken: bool = False) -> httpx2.Response:
    """An event stream of `(event, id, data)`; a broken one ends with a lost connection."""

    def chunks() -> Iterator[bytes]:
        yield b"retry: 100\n\n: hello\n\n"
        for event, number, data in messages:
            lines = [f"event: {event}"] if event else []
            lines += [f"id: {number}"] if number else []
            lines.append(f"data: {json.dumps(data)}")
            yield ("\n".join(lines) + "\n\n").encode()
        if broken:
            raise httpx2.ReadError("the connection broke")

    return httpx2.Response(
        200, content=chunks(), headers={"content-type": "text/event-stream; charset=utf-8"}
    )


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> FakeServer:
    """A fake server that every client made in the test speaks to."""
    server = FakeServer()
    monkeypatch.setattr(
        "berth.sdk.channel.httpx2.HTTPTransport", lambda **_: httpx2.MockTransport(server.handle)
    )
    for name in ("BERTH_URL", "BERTH_TOKEN", "VIRTUAL_ENV", "CONDA_PREFIX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BERTH_HOME", str(tmp_path / "home"))
    return server


@pytest.fixture
def berth(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run the command line in this process: `berth("ls", "--json")`."""
    from berth.cli.main import app

    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.delenv("BERTH_DEBUG", raising=False)
    runner = CliRunner()

    def run(*words: str, stdin: str | None = None) -> Result:
        return runner.invoke(app, list(words), input=stdin)

    return run


@pytest.fixture
def wire() -> Any:
    """Makers of what the wire shows: job, attempt, gpu, time, problem, sse."""

    class Wire:
        job = staticmethod(job_facts)
        attempt = staticmethod(attempt_facts)
        gpu = staticmethod(gpu_facts)
        time = staticmethod(wire_time)
        problem = staticmethod(problem)
        sse = staticmethod(sse)

    return Wire


@pytest.fixture
def a_socket() -> Iterator[Callable[[Any], Any]]:
    """Make a listening unix socket at a path."""
    import contextlib
    import socket

    with contextlib.ExitStack() as stack:

        def make(path: Any) -> Any:
            path.parent.mkdir(parents=True)
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(str(path))
            return path

        yield make
