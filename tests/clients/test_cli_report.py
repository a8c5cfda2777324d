"""Usage of jobs: `berth report`, and the line in `show` and `ls`."""

from __future__ import annotations

import csv
import io

import pytest

from berth import gpu_usage
from berth.protocol.progress import GpuUsage

USAGE = {
    "gpu_hours": 4.2,
    "seen_fraction": 1.0,
    "utilization_percent": 23.4,
    "idle_percent": 61.0,
    "peak_memory_bytes": 61 << 30,
    "energy_kwh": 2.3149,
    "cost": 1.417,
    "currency": "EUR",
    "co2_g": 880.0,
}


@pytest.fixture
def month(fake):
    """A report with one user whose GPUs told nothing."""
    ada = {"key": "ada", "jobs": 3, "gpu_hours": 12.5, "idle_gpu_hours": 2.0, "utilization_percent": 71.3, "energy_kwh": 3.25, "cost": 8.1}  # fmt: skip
    bob = {"key": "=cmd()", "jobs": 1, "gpu_hours": 1.0}
    facts = {
        "begins_at": "2026-11-01T00:00:00Z",
        "ends_at": "2026-12-01T00:00:00Z",
        "by": "user",
        "currency": "EUR",
        "rows": [ada, bob],
    }
    fake.answer("GET", "/api/v1/usage", facts)
    return facts


def test_a_table_of_the_month(fake, month, berth):
    """Columns that nobody has a value for are left out."""
    lines = berth("report", "--month", "2026-11", "--by", "user").output.splitlines()

    assert lines[1].split() == ["USER", "JOBS", "GPU-HOURS", "IDLE", "BUSY", "KWH", "COST", "EUR"]
    assert lines[2].split() == ["ada", "3", "12.50", "2.00", "71", "%", "3.25", "8.10"]
    assert lines[3].split() == ["=cmd()", "1", "1.00", "-", "-", "-", "-"]
    assert fake.sent("/api/v1/usage")[0].url.params["month"] == "2026-11"


def test_csv_that_a_spreadsheet_reads(month, berth):
    """With the month; no value is taken for a formula."""
    rows = list(csv.DictReader(io.StringIO(berth("report", "--csv").output)))

    assert rows[0]["month"] == "2026-11"
    assert (rows[0]["user"], rows[0]["gpu_hours"], rows[0]["currency"]) == ("ada", "12.5", "EUR")
    assert (rows[1]["user"], rows[1]["energy_kwh"]) == ("'=cmd()", "")


def test_an_empty_month_is_said(fake, month, berth):
    """In words."""
    fake.answer("GET", "/api/v1/usage", {**month, "rows": []})

    assert "No job has held a GPU." in berth("report").output


def test_a_job_says_what_it_used(fake, wire, berth):
    """In `show` in full, in `ls` how busy its GPUs were."""
    ended = {"started_at": wire.time(-3600), "ended_at": wire.time(0), "exit_code": 0}
    job = wire.job(state="succeeded", outcome="exit", usage=USAGE, **ended)
    fake.answer("GET", "/api/v1/jobs/42", job)
    fake.answer("GET", "/api/v1/jobs", {"jobs": [job]})

    words = "4.2 GPU-hours, 23 % busy, 61 % idle, at most 61.0 GiB of a GPU, 2.31 kWh, 0.88 kg CO2, 1.42 EUR"
    assert words in berth("show", "42").output
    assert "GPUs 23 % busy" in berth("ls", "--all").output


def test_what_is_not_known_is_left_out():
    """Never a made-up zero."""
    assert gpu_usage.words(GpuUsage(gpu_hours=0.004)) == "0.004 GPU-hours"
