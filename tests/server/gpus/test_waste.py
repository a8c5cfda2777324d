"""Waste report: GPU-hours that did nothing, each with its fix."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime

import anyio
import pytest

from berth_server.background import waste_report as weekly
from berth_server.core.explain.waste import Hold, Loads, Wait, find
from berth_server.service.gpus.telemetry import GpuTelemetry
from berth_server.service.gpus.use import Rates
from berth_server.service.gpus.waste import Sources, as_csv, sources, waste_report

HOUR = 3600.0
STEP = 120
BEGIN = 1_800_000_000 // 3600 * HOUR
GIB = 1 << 30
GPUS = ["GPU-0", "GPU-1"]


def loads(**by_gpu: list[int | None]) -> Loads:
    """Utilisation by GPU, a value an hour from BEGIN on."""
    each = int(HOUR) // STEP
    return Loads(
        step_s=STEP,
        first=int(BEGIN) // STEP,
        by_gpu={
            name.replace("_", "-"): [value for value in hours for _ in range(each)]
            for name, hours in by_gpu.items()
        },
    )


def hold(job: int = 1, begin: float = 0, end: float = 4, **changes) -> Hold:
    """Job on both GPUs, in hours from BEGIN on."""
    fields = {
        "number": 1,
        "name": f"n{job}",
        "user": "ada",
        "gpu_uuids": tuple(GPUS),
        "counts": 2.0,
        "started_at": BEGIN + begin * HOUR,
        "ended_at": BEGIN + end * HOUR,
        "gpu_bytes": 80 * GIB,
        **changes,
    }
    return Hold(job_id=job, begin=BEGIN + begin * HOUR, end=BEGIN + end * HOUR, **fields)


def wait(job: int, begin: float, end: float, gpus: int = 2) -> Wait:
    return Wait(
        job_id=job,
        name=f"n{job}",
        user="bob",
        gpus=gpus,
        begin=BEGIN + begin * HOUR - 60,
        end=BEGIN + end * HOUR,
    )


def found(holds=(), waits=(), seen=None, gpus=GPUS) -> dict[tuple[str, int], float]:
    """GPU-hours by kind and job."""
    seen = loads(GPU_0=[90] * 4, GPU_1=[90] * 4) if seen is None else seen
    answer = find(holds, waits, seen, since=BEGIN, until=BEGIN + 4 * HOUR, gpus=gpus)
    return {(one.kind, one.job_id): round(one.gpu_h, 3) for one in answer.lines}


class TestKinds:
    """A GPU-hour is counted once."""

    def test_work_is_no_waste(self):
        """Busy GPUs, and idle ones that nobody waits for."""
        assert found([hold()]) == {}
        assert found() == {}

    def test_held_without_work(self):
        """All of its GPUs idle; the share of one counts as its part."""
        idle = loads(GPU_0=[90, 1, 1, 90], GPU_1=[90, 1, 1, 90])
        assert found([hold()], seen=idle) == {("idle", 1): 4.0}
        part = hold(gpu_uuids=("GPU-0",), counts=0.25, share=True)
        assert found([part], seen=idle) == {("idle", 1): 0.5}

    def test_one_idle_gpu_among_busy_ones(self):
        """It is named; a step that nobody saw counts as nothing."""
        seen = loads(GPU_0=[90] * 4, GPU_1=[0, 0, 0, None])
        answer = find([hold()], (), seen, since=BEGIN, until=BEGIN + 4 * HOUR, gpus=GPUS)
        (line,) = answer.lines
        assert (line.kind, line.gpu_h, line.idle_uuids) == ("gang_idle", 3.0, ("GPU-1",))

    def test_lost_since_the_last_checkpoint(self):
        """What ended well, or was cancelled, lost nothing; idle time is not counted again."""
        failed = hold(ended_badly="oom_gpu", saved_at=BEGIN + 3 * HOUR)
        assert found([failed]) == {("lost", 1): 2.0}
        assert found([hold(ended_badly="oom_gpu")]) == {("lost", 1): 8.0}
        idle = loads(GPU_0=[90, 90, 1, 1], GPU_1=[90, 90, 1, 1])
        assert found([hold(ended_badly="stalled")], seen=idle) == {
            ("idle", 1): 4.0,
            ("lost", 1): 4.0,
        }

    def test_little_of_the_memory(self):
        """Asked 80 GiB and used 11; a quarter or more is fair use."""
        assert found([hold(peak_memory_bytes=20 * GIB)]) == {("memory", 1): 6.0}
        assert found([hold(peak_memory_bytes=21 * GIB)]) == {}
        assert found([hold(peak_memory_bytes=GIB, share=True)]) == {}

    def test_free_while_a_job_waited(self):
        """One GPU free for three hours while a job waits for two; a drained GPU is not free."""
        one = hold(gpu_uuids=("GPU-0",), counts=1.0)
        assert found([one], [wait(2, 1, 4)]) == {("waiting", 2): 3.0}
        assert found([one], [wait(2, 1, 4)], gpus=["GPU-0"]) == {}
        assert found([hold()], [wait(2, 1, 4)]) == {}
        # Who waited longest has it, until it starts.
        assert found([one], [wait(2, 1, 2), wait(3, 1.5, 4)]) == {
            ("waiting", 2): 1.0,
            ("waiting", 3): 2.0,
        }


def test_the_report_names_each_fix(desk, tmp_path):
    """By user and job; as CSV a name is text and no formula."""
    of = Sources(
        since=BEGIN,
        until=BEGIN + 4 * HOUR,
        holds=[
            hold(name="=cmd()", ended_badly="time_limit"),
            hold(2, user="eve", peak_memory_bytes=GIB),
        ],
        waits=[],
        index={"GPU-0": 0, "GPU-1": 1},
        open_gpus=GPUS,
        rates=Rates(per_gpu_hour=2.0, currency="EUR"),
    )
    report = waste_report(of, GpuTelemetry(tmp_path / "history"))
    assert [(one.kind, one.gpu_hours, one.cost) for one in report.lines] == [
        ("lost", 8.0, 16.0),
        ("memory", 7.9, 15.8),
    ]
    assert "--time-limit" in report.lines[0].fix
    assert (report.wasted_gpu_hours, report.capacity_gpu_hours) == (8.0, 8.0)
    assert {one.user: one.gpu_hours for one in report.users} == {"ada": 8.0, "eve": 0.0}
    rows = list(csv.DictReader(io.StringIO(as_csv(report))))
    assert [row["name"] for row in rows] == ["'=cmd()", "n2"]
    assert rows[0]["fix"] == report.lines[0].fix
    mine = waste_report(of, GpuTelemetry(tmp_path / "history"), "eve")
    assert [one.user for one in mine.lines] == ["eve"]


def test_a_job_that_waits_while_gpus_are_free_is_reported(api, desk):
    """Over REST, from the database's own rows; `user` and CSV too."""
    spec = {"command": "true", "workdir": "/"}
    api.post("/api/v1/jobs", json=spec | {"gpus": 6})
    api.post("/api/v1/jobs", json=spec | {"gpus": 4, "name": "waits"})
    api.post("/api/v1/jobs", json=spec | {"gpus": 4, "name": "held", "hold": True})
    desk.clock.now += 2 * HOUR + 60
    report = api.get("/api/v1/waste").json()
    assert report["by_kind"]["waiting"] == pytest.approx(4.0, abs=0.1)
    (line,) = [one for one in report["lines"] if one["kind"] == "waiting"]
    assert (line["name"], line["fix"] != "") == ("waits", True)
    assert "Ask for fewer GPUs" in line["fix"]
    assert api.get("/api/v1/waste", params={"user": "nobody"}).json()["lines"] == []
    answer = api.get("/api/v1/waste/csv")
    assert answer.headers["content-type"].startswith("text/csv")
    assert "waits" in answer.text


class TestWeekly:
    """Monday's notice."""

    @pytest.mark.parametrize(
        ("now", "due"),
        [
            ("2026-11-30 08:00", "2026-11-30"),
            ("2026-11-30 07:59", "2026-11-23"),
            ("2026-12-06 23:00", "2026-11-30"),
        ],
    )
    def test_it_is_due_on_monday_morning(self, now, due):
        """Eight o'clock of the given zone."""
        at = datetime.fromisoformat(now).replace(tzinfo=UTC)
        assert weekly.last_due(at).strftime("%Y-%m-%d %H") == f"{due} 08"

    def test_it_is_posted_once_for_each_week(self, desk, tmp_path, monkeypatch):
        """With the sentences as text and the report as REST shows it."""
        posted: list[tuple[str, bytes]] = []

        async def send(_, url: str, body: bytes, about: str) -> None:
            posted.append((url, body))

        monkeypatch.setattr(weekly.webhooks, "send", send)
        history = GpuTelemetry(tmp_path / "history")
        anyio.run(weekly.send, desk.server, history, ["https://x.example/hook"], "2026-W48")
        ((url, body),) = posted
        told = json.loads(body)
        assert url == "https://x.example/hook"
        assert told["text"].startswith("In the last week")
        assert told["report"]["by_kind"]["idle"] == 0
        assert weekly._sent(desk.server, "2026-W48")
        assert not weekly._sent(desk.server, "2026-W49")


def test_sources_are_those_of_the_span(desk):
    """Nothing on an empty box."""
    of = sources(desk.server, 7)
    assert (list(of.holds), list(of.waits)) == ([], [])
