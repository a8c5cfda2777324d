"""Views of rows: jobs and attempts as the scheduling core and the worker see them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

from berth.protocol.internal import DesiredAttempt, FrozenCode, LeasedGpu
from berth.protocol.states import JobState, Outcome
from berth_server.core.estimate import Estimate
from berth_server.core.model import DependencyView, JobView, RunningView
from berth_server.store.jobs import DependencyRecord
from berth_server.store.records import AttemptRecord, JobRecord


def moment(value: float) -> datetime:
    """Unix seconds as an aware time."""
    return datetime.fromtimestamp(value, UTC)


def leased_gpus(record: AttemptRecord) -> tuple[LeasedGpu, ...]:
    """The GPUs of an attempt, in index order."""
    return tuple(
        LeasedGpu(uuid=uuid, index=index, minor=minor)
        for uuid, index, minor in json.loads(record.gpus)
    )


def gpu_uuids_of(record: AttemptRecord) -> tuple[str, ...]:
    """Return the UUIDs of an attempt's GPUs, in index order."""
    return tuple(gpu[0] for gpu in json.loads(record.gpus))


def job_view(
    record: JobRecord,
    dependencies: Iterable[DependencyRecord],
    estimate: Estimate | None,
    group: str | None,
) -> JobView:
    """Return a pending job as the scheduler sees it, with what it depends on."""
    spec = record.spec
    return JobView(
        id=record.id,
        name=record.name,
        user=record.user,
        state=JobState(record.state),
        gpus=record.gpus,
        nodes=spec.nodes or 1,
        queued_at=moment(record.queued_at),
        gpu_memory_bytes=spec.gpu_memory,
        priority=spec.priority,
        time_limit=spec.time_limit,
        preemptible=spec.preemptible,
        dependencies=tuple(
            DependencyView(
                job_id=other.id, state=JobState(other.state), name=other.name, kind=other.kind
            )
            for other in dependencies
        ),
        not_before=None if record.not_before is None else moment(record.not_before),
        is_paused=record.resumes_at is not None,
        estimate=estimate,
        group=group,
        eligible_at=None if record.ready_at is None else moment(record.ready_at),
        share=spec.share,
        ablation=record.ablation,
    )


def running_view(
    record: AttemptRecord,
    job: JobRecord,
    estimate: Estimate | None,
    group: str | None,
    fraction: float,
) -> RunningView:
    """Return an attempt as the scheduler sees it; `fraction` is its share of a GPU."""
    return RunningView(
        job_id=job.id,
        attempt=record.id,
        user=job.user,
        name=job.name,
        gpu_uuids=gpu_uuids_of(record),
        started_at=None if record.started_at is None else moment(record.started_at),
        time_limit=job.spec.time_limit,
        stopping=record.stop_reason is not None or record.state == "ended",
        priority=job.spec.priority,
        preemptible=job.spec.preemptible,
        saved_at=None if record.saved_at is None else moment(record.saved_at),
        estimate=estimate,
        group=group,
        memory_bytes=job.share_bytes,
        part=fraction,
        eligible_at=moment(job.queued_at if job.ready_at is None else job.ready_at),
        ablation=job.ablation,
    )


def desired_attempt(
    record: AttemptRecord, job: JobRecord, archive: Callable[[str, int], Path]
) -> DesiredAttempt:
    """Return what the worker is to do with an attempt; `archive` tells where frozen code lies."""
    reason = record.stop_reason or record.outcome
    stopping = record.stop_reason is not None or record.state == "ended"
    spec = job.spec
    return DesiredAttempt(
        attempt=record.id,
        token=record.token,
        action="stop" if stopping else "run",
        stop_reason=Outcome(reason) if stopping and reason else None,
        run_dir=record.run_dir,
        job_id=job.id,
        number=record.number,
        user=job.user,
        uid=job.uid,
        command=spec.command,
        script=spec.script,
        script_file=spec.script_file,
        workdir=job.workdir,
        env=spec.env | json.loads(record.extra_env),
        snapshot=_frozen(job, archive),
        python=spec.python,
        gpus=leased_gpus(record),
        nodes=spec.nodes or 1,
        master_port=record.master_port,
        time_limit=spec.time_limit,
        grace=spec.grace,
        warn_before=spec.warn_before,
        gpu_memory=spec.gpu_memory,
        share=spec.share,
    )


def _frozen(job: JobRecord, archive: Callable[[str, int], Path]) -> FrozenCode | None:
    if job.snapshot is None:
        return None
    facts = json.loads(job.snapshot)
    return FrozenCode(
        archive=str(archive(facts["digest"], job.uid)),
        digest=facts["digest"],
        subdir=facts["subdir"],
        commit=facts["commit"],
    )
