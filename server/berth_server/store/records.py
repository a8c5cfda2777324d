"""Rows as the rest of the server sees them: read-only, columns in the order of the queries."""

from __future__ import annotations

from dataclasses import dataclass, field, fields


@dataclass(slots=True, frozen=True)
class JobRecord:
    """One row of `jobs`. Times are unix seconds; see `tables.JobRow`."""

    id: int
    name: str
    state: str
    outcome: str | None
    message: str | None
    user: str
    uid: int
    command: str | None
    script: str | None
    gpus: int
    gpu_memory_bytes: int | None
    share: int
    workdir: str
    env: str = field(repr=False)
    python: str | None
    priority: int
    time_limit_s: float | None
    grace_s: float
    warn_before_s: float
    retries: int
    on_oom: str | None
    not_before: float | None
    preemptible: int
    labels: str
    notify: str = field(repr=False)
    warnings: str
    queued_at: float
    started_at: float | None
    ended_at: float | None
    exit_code: int | None
    attempts: int
    failures: int
    oom_steps: int
    ready_at: float | None
    ablation: str | None = None
    snapshot: str | None = None


@dataclass(slots=True, frozen=True)
class AblationRecord:
    """One row of `ablations`."""

    id: str
    user: str
    uid: int
    max_running: int | None
    max_gpu_hours: float | None
    early_stop: str | None
    used_gpu_s: float
    created_at: float


@dataclass(slots=True, frozen=True)
class AttemptRecord:
    """One row of `attempts`."""

    job_id: int
    number: int
    state: str
    outcome: str | None
    message: str | None
    token: str = field(repr=False)
    stop_reason: str | None
    created_at: float
    started_at: float | None
    saved_at: float | None
    ended_at: float | None
    released_at: float | None
    exit_code: int | None
    signal: int | None
    max_rss_bytes: int | None
    run_dir: str
    master_port: int | None
    gpus: str
    launch: str | None
    extra_env: str
    placement: str | None

    @property
    def id(self) -> str:
        """`42.1`."""
        return f"{self.job_id}.{self.number}"


@dataclass(slots=True, frozen=True)
class EventRecord:
    """One row of `events`."""

    id: int
    time: float
    kind: str
    actor: str
    job_id: int | None
    number: int | None
    gpu_uuid: str | None
    message: str
    data: str | None


def columns(record: type) -> str:
    """The column list of a record's table."""
    return ", ".join(f'"{f.name}"' for f in fields(record))


JOB_COLUMNS = columns(JobRecord)
ABLATION_COLUMNS = columns(AblationRecord)
ATTEMPT_COLUMNS = columns(AttemptRecord)
EVENT_COLUMNS = columns(EventRecord)
