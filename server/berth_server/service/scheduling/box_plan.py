"""Berth plan: past leases, running jobs and the forecast on one axis."""

from __future__ import annotations

from datetime import datetime, timedelta

from berth.protocol.dashboard import BoxPlan, PlanBar, PlanGpu
from berth.protocol.gpus import Gpu
from berth_server.core.model import ExpectedStart, JobView, Plan, RunningView, Snapshot, Start
from berth_server.core.remaining_time import remaining_s
from berth_server.service.gpus.gpu_map import show_box
from berth_server.service.gpus.reservations import show_reservations
from berth_server.service.gpus.telemetry import GpuTelemetry
from berth_server.service.scheduling.planning import latest_forecast
from berth_server.service.scheduling.views import moment
from berth_server.service.state import ServerState
from berth_server.store import gpus

# A past job must be this much of the span to be drawn.
_LEAST_PART = 300
_MOST_PAST = 2_000
_STEPS = 192
_ENDLESS_S = 3e8


def show_plan(
    server: ServerState,
    user: str,
    back: timedelta,
    ahead: timedelta,
    made: tuple[Snapshot, Plan] | None = None,
) -> BoxPlan:
    """
    The plan without the utilisation of the past, which `with_history` reads.

    `made`: another plan than the present one, of a trial.
    """
    seen, plan = made or latest_forecast(server)
    now = seen.now
    box = show_box(server, user)
    index = {gpu.uuid: gpu.index for gpu in box.gpus}
    begin, end = now - back, now + ahead
    least_s = back.total_seconds() / _LEAST_PART
    past, short = gpus.past_leases(
        server.db.read, begin.timestamp(), least_s=least_s, limit=_MOST_PAST
    )
    bars = [
        PlanBar(
            job_id=one.job_id,
            name=one.name,
            user=one.user,
            kind="past",
            gpu_indices=sorted(index[uuid] for uuid in one.gpu_uuids if uuid in index),
            starts_at=moment(one.begin),
            ends_at=moment(one.end),
            share=one.share,
        )
        for one in past
    ]
    bars += [_running(server, seen, run, index) for run in seen.running if run.gpu_uuids]
    waiting = [job_id for job_id in plan.order if job_id not in plan.started]
    planned = [
        _planned(seen.pending[job_id], plan.expected[job_id], now, index)
        for job_id in waiting
        if job_id in plan.expected
    ]
    if made is not None:
        # What a trial would start at once is planned for now.
        planned = [
            *(_started(seen.pending[one.job_id], one, now, index) for one in plan.starts),
            *planned,
        ]
    bars += [bar for bar in planned if bar.starts_at < end]
    return BoxPlan.model_construct(
        now=now,
        starts_at=begin,
        ends_at=end,
        gpus=[_gpu(gpu) for gpu in box.gpus],
        times=[],
        bars=bars,
        reservations=show_reservations(server).reservations,
        short=short,
        unplanned=sum(job_id not in plan.expected for job_id in waiting),
    )


def with_history(shown: BoxPlan, telemetry: GpuTelemetry) -> BoxPlan:
    """The plan with the utilisation of its past. Reads files; run it on a thread."""
    span = (shown.starts_at.timestamp(), shown.now.timestamp())
    uuids = [gpu.uuid for gpu in shown.gpus]
    history = telemetry.read(uuids, span, _STEPS, now=shown.now.timestamp())
    filled = [
        gpu.model_copy(update={"utilization_percent": history.gpus[gpu.uuid].utilization_percent})
        for gpu in shown.gpus
    ]
    return shown.model_copy(update={"gpus": filled, "times": history.times})


def _gpu(gpu: Gpu) -> PlanGpu:
    return PlanGpu.model_construct(
        uuid=gpu.uuid,
        index=gpu.index,
        utilization_percent=[],
        blocked=gpu.blocked,
        blocked_parts=gpu.blocked_parts,
        draining=gpu.draining,
        drain_until=gpu.drain_until,
    )


def _running(
    server: ServerState, seen: Snapshot, run: RunningView, index: dict[str, int]
) -> PlanBar:
    expected_s, latest_s = remaining_s(run, seen.now, server.options.policy)
    told = run.remaining is not None or run.estimate is not None or run.time_limit is not None
    return PlanBar(
        job_id=run.job_id,
        name=run.name,
        user=run.user,
        kind="running",
        gpu_indices=sorted(index[uuid] for uuid in run.gpu_uuids if uuid in index),
        starts_at=run.started_at or seen.now,
        ends_at=_later(seen.now, expected_s) if told else None,
        ends_by=_later(seen.now, latest_s) if run.time_limit is not None else None,
        share=run.memory_bytes is not None,
    )


def _started(job: JobView, start: Start, now: datetime, index: dict[str, int]) -> PlanBar:
    length_s = job.expected_s or job.limit_s
    return PlanBar(
        job_id=job.id,
        name=job.name,
        user=job.user,
        kind="planned",
        gpu_indices=sorted(index[uuid] for uuid in start.gpu_uuids if uuid in index),
        starts_at=now,
        ends_at=None if length_s is None else _later(now, length_s),
        ends_by=None if job.time_limit is None else now + job.time_limit,
        share=job.share,
    )


def _planned(
    job: JobView, expected: ExpectedStart, now: datetime, index: dict[str, int]
) -> PlanBar:
    start = max(expected.at, now)
    return PlanBar(
        job_id=job.id,
        name=job.name,
        user=job.user,
        kind="planned",
        gpu_indices=sorted(index[uuid] for uuid in expected.gpu_uuids if uuid in index),
        starts_at=start,
        starts_by=max(start, expected.late),
        ends_at=expected.ends_at,
        ends_by=None if job.time_limit is None else start + job.time_limit,
        share=job.share,
    )


def _later(now: datetime, seconds: float) -> datetime | None:
    return None if seconds > _ENDLESS_S else now + timedelta(seconds=seconds)
