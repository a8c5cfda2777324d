"""A service with a clock and a worker of the tests' own, and the REST interface over it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.server.daemons import Daemon, new_home

from berth.protocol.gpus import BoxSnapshot, GpuHealth, GpuProcess, GpuSnapshot
from berth.protocol.internal import ExitRecord, ObservedAttempt, WorkerReport
from berth.protocol.specs import JobSpec
from berth.protocol.states import FenceKind, Outcome
from berth_server.api.app import create_app
from berth_server.api.context import Context
from berth_server.api.identity import PEER
from berth_server.core.settings import PolicySettings
from berth_server.service.attempts.report import on_report
from berth_server.service.auth.callers import Caller, user_name
from berth_server.service.jobs import check, submit
from berth_server.service.scheduling.explain import explain_job
from berth_server.service.state import Options, ServerState
from berth_server.settings import Settings
from berth_server.store import attempts, jobs
from berth_server.store.database import Database
from berth_server.store.records import JobRecord

ME = Caller(os.getuid(), user_name(os.getuid()))
GIB = 1 << 30


@dataclass
class Clock:
    """A clock that stands still until it is moved."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now

    def time(self) -> datetime:
        return datetime.fromtimestamp(self.now, UTC)


@dataclass
class FakeWorker:
    """A worker that does and sees what the test says."""

    server: ServerState
    clock: Callable[[], float]
    gpus: int = 8
    memory_bytes: int = 80 * GIB
    processes: dict[int, list[GpuProcess]] = field(default_factory=dict)
    unhealthy: dict[int, str] = field(default_factory=dict)
    used_bytes: dict[int, int] = field(default_factory=dict)
    loads: dict[int, int] = field(default_factory=dict)
    """Utilisation by GPU; each of them draws 300 W."""

    def snapshot(self) -> BoxSnapshot:
        return BoxSnapshot(
            taken_at=datetime.fromtimestamp(self.clock(), UTC),
            source="simulated",
            gpus=tuple(
                GpuSnapshot(
                    uuid=f"GPU-{i}",
                    index=i,
                    minor=i,
                    name="Simulated",
                    memory_total_bytes=self.memory_bytes,
                    memory_used_bytes=self.used_bytes.get(i, 0),
                    utilization_percent=self.loads.get(i),
                    power_w=300.0 if i in self.loads else None,
                    health=GpuHealth(
                        ok=i not in self.unhealthy,
                        problems=(self.unhealthy[i],) if i in self.unhealthy else (),
                    ),
                    processes=tuple(self.processes.get(i, ())),
                )
                for i in range(self.gpus)
            ),
        )

    def report(self, *seen: ObservedAttempt, snapshot: bool = True) -> WorkerReport:
        return WorkerReport(
            worker_id="w",
            boot_id="b",
            fence=FenceKind.ADVISORY,
            version="0",
            snapshot=self.snapshot() if snapshot else None,
            attempts=seen,
        )

    def tell(self, *seen: ObservedAttempt, snapshot: bool = True) -> None:
        on_report(self.server, self.report(*seen, snapshot=snapshot))

    def token(self, attempt: str) -> str:
        job_id, _, number = attempt.partition(".")
        record = attempts.get(self.server.db.read, int(job_id), int(number))
        assert record is not None
        return record.token

    def running(self, attempt: str, token: str | None = None) -> None:
        self.tell(
            ObservedAttempt(
                attempt=attempt,
                token=token or self.token(attempt),
                phase="running",
                started_at=datetime.fromtimestamp(self.clock(), UTC),
            )
        )

    def ended(
        self,
        attempt: str,
        code: int | None = 0,
        *,
        signal: int | None = None,
        cause: Any = "exit",
        outcome: Outcome | None = None,
        message: str | None = None,
        clear: bool = True,
        record: bool = True,
        token: str | None = None,
        port_taken: bool = False,
        heard_after_s: float = 0,
    ) -> None:
        now = datetime.fromtimestamp(self.clock() - heard_after_s, UTC)
        left = ExitRecord(
            attempt=attempt,
            exit_code=code,
            signal=signal,
            cause=cause,
            started_at=now,
            ended_at=now,
        )
        self.tell(
            ObservedAttempt(
                attempt=attempt,
                token=token or self.token(attempt),
                phase="ended",
                exit=left if record else None,
                outcome=outcome,
                message=message,
                port_taken=port_taken,
                gpus_clear=clear,
            )
        )


@dataclass
class Desk:
    """A service and what a test does with it."""

    server: ServerState
    clock: Clock
    worker: FakeWorker

    def submit(self, caller: Caller = ME, **spec: Any) -> int:
        """Submit one job as REST would; its id."""
        spec.setdefault("workdir", "/")
        if "script" not in spec:
            spec.setdefault("command", ["true"])
        prepared = check.check_spec(JobSpec(**spec), caller)
        return submit.on_submit(self.server, caller, [prepared]).first_id

    def job(self, job_id: int) -> JobRecord:
        found = jobs.get(self.server.db.read, job_id)
        assert found is not None
        return found

    def state(self, job_id: int) -> str:
        return self.job(job_id).state

    def explain(self, job_id: int) -> str:
        """All reasons of a job, in sentences."""
        return " ".join(r.sentence for r in explain_job(self.server, job_id).reasons)

    def held(self) -> dict[str, str]:
        """Attempt by GPU, as the database has it."""
        rows = self.server.db.read.all(
            "SELECT gpu_uuid, job_id, number FROM leases WHERE released_at IS NULL"
        )
        return {uuid: f"{job_id}.{number}" for uuid, job_id, number in rows}

    def kinds(self, job_id: int | None = None) -> list[str]:
        """The kinds of all events, or of one job's, in order."""
        where = "" if job_id is None else f"WHERE job_id = {job_id}"
        return [
            r[0] for r in self.server.db.read.all(f"SELECT kind FROM events {where} ORDER BY id")
        ]


_migrated: list[bytes] = []


def _fresh_database(path: Path) -> Database:
    """A new database; migrated once per session, copied afterwards."""
    if _migrated:
        path.write_bytes(_migrated[0])
        return Database(path)
    Database(path).close()
    _migrated.append(path.read_bytes())
    return Database(path)


@contextmanager
def open_desk(
    home: Path, clock: Clock | None = None, policy: PolicySettings | None = None
) -> Iterator[Desk]:
    clock = clock or Clock()
    path = home / "berth.db"
    db = Database(path) if path.exists() else _fresh_database(path)
    try:
        # So that the tests of several users work under any user.
        options = Options(home=home, allow_other_users=True, policy=policy or PolicySettings())
        server = ServerState(db, options, clock)
        yield Desk(server, clock, FakeWorker(server, clock))
    finally:
        db.close()


@pytest.fixture(name="open_desk")
def open_desk_fixture() -> Callable[..., Any]:
    """Open a service on a folder: `with open_desk(home, clock) as desk`."""
    return open_desk


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A service whose worker has reported eight free GPUs."""
    with open_desk(tmp_path) as desk:
        desk.worker.tell()
        yield desk


@pytest.fixture
def empty_desk(tmp_path: Path) -> Iterator[Desk]:
    """A service that has not heard of any worker."""
    with open_desk(tmp_path) as desk:
        yield desk


class Rest:
    """The REST interface in this process; callers come over a make-believe unix socket."""

    def __init__(self, desk: Desk, home: Path, settings: Settings | None = None) -> None:
        self.desk = desk
        self.context = Context(
            server=desk.server, settings=settings or Settings(), home=home, version="0"
        )
        self.app = create_app(self.context)

    def client(self, uid: int | None = os.getuid(), **options: Any) -> TestClient:
        """A client of a user of the box; of TCP with `uid=None`."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            if uid is not None and scope["type"] == "http":
                scope[PEER] = uid
            await self.app(scope, receive, send)

        options.setdefault("base_url", "http://berth")
        return TestClient(app, raise_server_exceptions=False, **options)


@pytest.fixture
def rest(desk: Desk, tmp_path: Path) -> Rest:
    """The REST interface over `desk`."""
    return Rest(desk, tmp_path)


@pytest.fixture
def api(rest: Rest) -> Iterator[TestClient]:
    """A client over the unix socket, as the server's own user."""
    with rest.client() as client:
        yield client


@pytest.fixture
def run_dir(desk: Desk) -> Path:
    """The run directory of a running job's attempt 1.1."""
    desk.submit(gpus=1)
    desk.worker.running("1.1")
    folder = Path(desk.server.cache.desired_state().attempts[0].run_dir)
    folder.mkdir(parents=True)
    return folder


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
