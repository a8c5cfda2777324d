"""
Read-only rows, their columns in the order of the queries.

Messages are JSON here as in the tables; `store/messages.py` decodes them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from berth.protocol.specs import JobSpec


@dataclass(slots=True, frozen=True)
class JobRecord:
    """One row of `jobs` with its spec decoded. Times are unix seconds; see `tables.JobRow`."""

    id: int
    spec: JobSpec = field(repr=False)
    """The job's specification with name, GPUs and folder filled in. Shared: never changed."""
    state: str
    user: str
    uid: int
    queued_at: float
    warnings: str = "[]"
    ready_at: float | None = None
    ablation: str | None = None
    snapshot: str | None = None
    outcome: str | None = None
    message: str | None = None
    started_at: float | None = None
    ended_at: float | None = None
    exit_code: int | None = None
    attempts: int = 0
    failures: int = 0
    oom_steps: int = 0
    resumes_at: float | None = None
    work: str | None = None

    @property
    def name(self) -> str:
        """The name that the user gave, or that was made from the command."""
        return self.spec.name or ""

    @property
    def gpus(self) -> int:
        """Number of GPUs that it gets."""
        return self.spec.gpus or 0

    @property
    def workdir(self) -> str:
        """Absolute folder it runs in."""
        return self.spec.workdir or "/"

    @property
    def not_before(self) -> float | None:
        """Earliest start: what was asked for, or the end of a pause."""
        asked = self.spec.not_before
        times = [self.resumes_at, None if asked is None else asked.timestamp()]
        return max((at for at in times if at is not None), default=None)

    @property
    def share_bytes(self) -> int | None:
        """The part of a GPU's memory that it leases; None for whole GPUs."""
        return self.spec.gpu_memory if self.spec.share else None


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
