"""
Whole screens of the command line, held against stored text in `screens/`.

A change of wording shows up as a change of those files, to be read in review. After a wanted
change, BERTH_WRITE_SCREENS=1 writes them again.
"""

from __future__ import annotations

import os
import re
import sys
from datetime import datetime
from pathlib import Path

import pytest
from typer.main import get_command

from berth import home as homes
from berth.cli.checks import daemons, devices, disk, software
from berth.cli.checks.finding import fail, ok, warn
from berth.cli.main import app

SCREENS = Path(__file__).with_name("screens")
WRITE = bool(os.environ.get("BERTH_WRITE_SCREENS"))


def words_of_verbs():
    """Every command line that has a help page."""
    yield ""
    for name, command in get_command(app).commands.items():
        if name == "plan":
            continue  # its help is the trainer's, in whose process it ends
        yield name
        for inner in getattr(command, "commands", {}):
            yield f"{name} {inner}"


def held(name: str, shown: str) -> None:
    """Compare a screen with the stored one."""
    # What differs from run to run: the clock, and moments seen from now.
    shown = re.sub(r"\b\d\d:\d\d:\d\d\b|\b\d{4}-\d\d-\d\d \d\d:\d\d\b", "<time>", shown)
    stored = SCREENS / f"{name}.txt"
    if WRITE:
        stored.parent.mkdir(exist_ok=True)
        stored.write_text(shown, encoding="utf-8")
    assert shown == stored.read_text(encoding="utf-8")


def test_help(berth, monkeypatch):
    """The help of the command and of every verb."""
    monkeypatch.setenv("COLUMNS", "100")
    pages = []
    for words in words_of_verbs():
        result = berth(*words.split(), "--help")
        assert result.exit_code == 0
        pages.append(f"$ berth {words} --help".replace("  ", " ") + f"\n{result.stdout.rstrip()}\n")

    held("help", "\n\n".join(pages))


@pytest.fixture(autouse=True)
def stopped_clock(wire, monkeypatch):
    """Spans seen from now do not depend on how long a test takes."""
    now = datetime.fromisoformat(wire.time(0))

    class Stopped(datetime):
        @classmethod
        def now(cls, tz=None):
            return now.astimezone(tz)

    for name, module in list(sys.modules.items()):
        if name.startswith("berth.cli.") and hasattr(module, "datetime"):
            monkeypatch.setattr(module, "datetime", Stopped)


@pytest.fixture
def box(fake, wire):
    """Four GPUs with a job, an outsider, a free and a drained one; jobs in every state."""
    running = wire.job(
        3, state="running", name="persona", started_at=wire.time(-3601), time_limit="12h",
        gpu_indices=[0], gpu_uuids=["GPU-0"], gpus=1, reason=None, attempts=[wire.attempt(3, gpu_indices=[0])],
    )  # fmt: skip
    jobs = [
        wire.job(5, position=2, name="later", expected_start=wire.time(7201)),
        wire.job(4, position=1, name="next"),
        running,
        wire.job(2, state="failed", outcome="oom_gpu", message="Out of GPU memory.", ended_at=wire.time(-91), reason=None),
        wire.job(1, state="succeeded", outcome="exit", exit_code=0, started_at=wire.time(-500), ended_at=wire.time(-301), reason=None),
    ]  # fmt: skip

    def listed(request):
        states = request.url.params.get_list("state")
        return {
            "jobs": [job for job in jobs if not states or job["state"] in states],
            "next_cursor": None,
        }

    holder = {
        "kind": "job", "job_id": 3, "job_name": "persona", "user": "ada", "attempt": "3.1",
        "until": wire.time(39601), "sentence": "job 3 of ada (persona)",
    }  # fmt: skip
    outsider = {"kind": "outsider", "sentence": "external process: pid 77 of bob (python)"}
    gpus = [
        wire.gpu(0, holder=holder, memory_used_bytes=61 << 30, utilization_percent=98),
        wire.gpu(1, holder=outsider, memory_used_bytes=5 << 30),
        wire.gpu(2),
        wire.gpu(3, draining=True, drain_reason="fan"),
    ]
    fake.answer("GET", "/api/v1/jobs", listed)
    fake.answer("GET", "/api/v1/jobs/3", running)
    fake.answer("GET", "/api/v1/jobs/counts", {"counts": {"running": 1, "queued": 2, "failed": 1}})
    fake.answer(
        "GET",
        "/api/v1/gpus",
        {
            "hostname": "lab",
            "sentence": "1 of 4 GPUs free.",
            "taken_at": wire.time(0),
            "source": "nvml",
            "fence": "namespace",
            "driver_version": "575.57",
            "gpus": gpus,
        },
    )
    return fake


@pytest.mark.parametrize("words", ["ls", "show 3", "gpus", "status"])
def test_box(box, berth, monkeypatch, words):
    """Jobs, one job, GPUs, and all on one screen."""
    monkeypatch.setenv("BERTH_URL", "http://lab:8787")
    result = berth(*words.split())

    assert result.exit_code == 0, result.stderr
    held(words.split(maxsplit=1)[0], result.stdout)


def test_why(fake, wire, berth):
    """Explanation of a job's wait."""
    reasons = [
        {"kind": "gpus_held", "blocking": True, "sentence": "GPUs 0-3: held by job 3 of ada (persona)."},
        {"kind": "dependency", "blocking": False, "sentence": "Job 3, which it depends on, has succeeded."},
    ]  # fmt: skip
    fake.answer(
        "GET",
        "/api/v1/jobs/42/explain",
        {
            "job_id": 42,
            "state": "queued",
            "summary": "It waits for 4 GPUs; 1 of 8 is free.",
            "position": 2,
            "expected_start": wire.time(7201),
            "confidence": "likely",
            "reasons": reasons,
            "would_help": ["With at most 1 GPU it would start now."],
        },
    )

    result = berth("why", "42")

    assert result.exit_code == 0, result.stderr
    held("why", result.stdout)


def test_doctor(fake, berth, monkeypatch, tmp_path):
    """One finding of each level."""
    monkeypatch.setattr(homes, "resolve", lambda: homes.Home(tmp_path))
    monkeypatch.setattr(software, "findings", lambda: [ok("python", "Python 3.11.9 at /env/bin.")])
    monkeypatch.setattr(disk, "findings", lambda *_, **__: [warn("disk", "12.0 GiB free for /data/berth.", "free some space for logs in time")])  # fmt: skip
    monkeypatch.setattr(devices, "findings", lambda: [fail("gpu 3", "Fell off the bus (Xid 79).", "berth gpus drain 3, then reset it")])  # fmt: skip
    monkeypatch.setattr(daemons, "findings", lambda _: [])

    held("doctor", berth("doctor").stdout)
