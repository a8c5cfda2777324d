"""Boxes, jobs and whole snapshots to try the scheduling core on, by hand and at random."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from berth.protocol.message import Message
from berth.protocol.states import JobState
from berth_server.core.model import (
    DependencyView,
    GpuView,
    JobView,
    LeaseView,
    RunningView,
    Snapshot,
    Unavailable,
)

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
GIB = 1 << 30


def gpu(index: int, **changes) -> GpuView:
    return GpuView(
        uuid=f"GPU-{index}",
        index=index,
        memory_total_bytes=80 * GIB,
        numa_node=index // 4,
        **changes,
    )


def job(job_id: int, gpus: int, **changes) -> JobView:
    fields = {
        "name": f"job-{job_id}",
        "user": "ada",
        "state": JobState.QUEUED,
        "queued_at": NOW - timedelta(minutes=60 - job_id),
        **changes,
    }
    return JobView(id=job_id, gpus=gpus, **fields)


def running(job_id: int, indices: range, hours: float | None) -> RunningView:
    return RunningView(
        job_id=job_id,
        attempt=f"{job_id}.1",
        user="bob",
        name="theirs",
        gpu_uuids=tuple(f"GPU-{i}" for i in indices),
        started_at=NOW,
        time_limit=None if hours is None else timedelta(hours=hours),
    )


def box(*busy: RunningView) -> tuple[GpuView, ...]:
    holders = {uuid: run for run in busy for uuid in run.gpu_uuids}
    return tuple(
        gpu(i, lease=_lease(holders[f"GPU-{i}"])) if f"GPU-{i}" in holders else gpu(i)
        for i in range(8)
    )


def _lease(run: RunningView) -> LeaseView:
    return LeaseView(job_id=run.job_id, attempt=run.attempt, user=run.user, job_name=run.name)


UNAVAILABLE = st.sampled_from(["outsider", "leftover", "unhealthy", "draining", "unknown"]).map(
    lambda kind: Unavailable(kind=kind, message=Message.of(kind))
)
LIMITS = st.none() | st.integers(1, 48).map(lambda hours: timedelta(hours=hours))


@st.composite
def snapshots(draw) -> Snapshot:
    runs: list[RunningView] = []
    views: list[GpuView] = []
    index = 0
    while index < 8:
        kind = draw(st.sampled_from(["free", "free", "held", "unavailable"]))
        width = min(draw(st.sampled_from([1, 2, 4])), 8 - index) if kind == "held" else 1
        if kind == "held":
            run = running(1000 + index, range(index, index + width), draw(st.integers(1, 48)))
            runs.append(replace(run, preemptible=draw(st.booleans()), priority=-1))
            views += [gpu(i, lease=_lease(run)) for i in range(index, index + width)]
        elif kind == "unavailable":
            views.append(gpu(index, unavailable=draw(UNAVAILABLE)))
        else:
            views.append(gpu(index))
        index += width
    queue = [
        job(
            number,
            draw(st.sampled_from([0, 1, 1, 1, 2, 4, 8])),
            user=draw(st.sampled_from(["ada", "bob", "eve"])),
            priority=draw(st.sampled_from([0, 0, 0, 5, -5])),
            state=draw(st.sampled_from([JobState.QUEUED, JobState.QUEUED, JobState.HELD])),
            time_limit=draw(LIMITS),
            queued_at=NOW - timedelta(hours=draw(st.integers(0, 3000))),
            not_before=draw(st.sampled_from([None, None, NOW + timedelta(hours=1)])),
            dependencies=draw(
                st.sampled_from(
                    [
                        (),
                        (),
                        (DependencyView(job_id=500, state=JobState.RUNNING),),
                        (DependencyView(job_id=501, state=JobState.SUCCEEDED),),
                    ]
                )
            ),
        )
        for number in range(1, draw(st.integers(0, 12)) + 1)
    ]
    return Snapshot(now=NOW, gpus=tuple(views), queue=tuple(queue), running=tuple(runs))
