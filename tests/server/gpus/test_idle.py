"""Utilisation of leased GPUs."""

from __future__ import annotations

from pathlib import Path

import pytest

from berth.protocol.base import utc_now
from berth.protocol.gpus import BoxSnapshot, GpuSnapshot
from berth_server.service.gpus.idle import work_by_user
from berth_server.service.gpus.telemetry import COARSE, FINE, GpuTelemetry
from berth_server.store.gpus import LeaseSpan

# A whole number of steps, so that hours come out even.
BEGIN = 1_800_000_000 // COARSE.step_s * COARSE.step_s
HOUR = 3600


@pytest.fixture
def history(tmp_path: Path) -> GpuTelemetry:
    """Two hours of one GPU: an hour at 80 %, an hour at 2 %."""
    written = GpuTelemetry(tmp_path / "history")
    for at in range(BEGIN, BEGIN + 2 * HOUR, FINE.step_s):
        load = 80 if at < BEGIN + HOUR else 2
        gpu = GpuSnapshot(
            uuid="GPU-0",
            index=0,
            name="x",
            memory_total_bytes=8,
            memory_used_bytes=1,
            utilization_percent=load,
        )
        written.take(BoxSnapshot(taken_at=utc_now(), source="simulated", gpus=(gpu,)), at)
    return written


def span(user: str, begin: float, end: float | None, **changes) -> LeaseSpan:
    fields = {"memory_bytes": None, "gpu_bytes": 8, "gpu_uuid": "GPU-0", **changes}
    return LeaseSpan(user=user, begin=begin, end=end, **fields)


def hours(history: GpuTelemetry, *spans: LeaseSpan, now: float = BEGIN + 2 * HOUR):
    work = work_by_user(history, spans, now - 7 * 86_400, now)
    return {
        user: tuple(round(s / HOUR, 6) for s in (one.seen_gpu_s, one.idle_gpu_s, one.busy_gpu_s))
        for user, one in work.items()
    }


def test_idle_hours_are_those_below_five_percent(history):
    """Each user has those of his own leases; one that still runs counts up to now."""
    shown = hours(
        history,
        span("ada", BEGIN, BEGIN + HOUR),
        span("bob", BEGIN + HOUR, None),
        span("eve", BEGIN + HOUR / 2, BEGIN + 3 * HOUR / 2),
    )
    assert shown == {"ada": (1, 0, 0.8), "bob": (1, 1, 0.02), "eve": (1, 0.5, 0.41)}


def test_a_share_counts_as_its_part_of_the_gpu(history):
    """A quarter of a GPU that idles for an hour is a quarter of an idle hour."""
    shown = hours(history, span("ada", BEGIN + HOUR, BEGIN + 2 * HOUR, memory_bytes=2))
    assert shown["ada"][:2] == (0.25, 0.25)


def test_what_was_not_sampled_is_not_shown_as_idle(history):
    """Neither another GPU, nor a time before, nor a lease shorter than a step."""
    assert hours(history, span("ada", BEGIN, BEGIN + HOUR, gpu_uuid="GPU-9"))["ada"] == (0, 0, 0)
    assert hours(history, span("bob", BEGIN - 2 * HOUR, BEGIN))["bob"] == (0, 0, 0)
    assert hours(history, span("eve", BEGIN + 30, BEGIN + 100)) == {}


def test_the_ring_is_read_across_its_end(tmp_path):
    """Whatever the place of a step in the file: every step of a whole turn reads back."""
    history = GpuTelemetry(tmp_path / "history")
    end = COARSE.slots * 3 + 7
    for slot in range(end - 20, end + 1):
        gpu = GpuSnapshot(
            uuid="GPU-0",
            index=0,
            name="x",
            memory_total_bytes=8,
            memory_used_bytes=1,
            utilization_percent=slot % 50,
        )
        box = BoxSnapshot(taken_at=utc_now(), source="simulated", gpus=(gpu,))
        history.take(box, slot * COARSE.step_s)
    loads = history.loads("GPU-0", end - 30, end)
    assert loads == [None] * 10 + [slot % 50 for slot in range(end - 20, end + 1)]
