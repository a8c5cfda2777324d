"""
The schema as SQLModel tables: what migrations are compared with.

Invariants stand here where SQL can express them. The data path does not go through these classes:
it reads and writes by the named queries beside this file, because a mapped session costs more
than the query itself, and because table models do not validate. Times are unix seconds; columns
of JSON hold what is only ever read whole.
"""
# SQLModel declares __tablename__ as a declared_attr, yet documents plain strings:
# pyright: reportAssignmentType=false

from __future__ import annotations

from enum import StrEnum
from typing import Any

from sqlalchemy import DDL, CheckConstraint, ForeignKeyConstraint, Index, MetaData, event, text
from sqlmodel import Field, SQLModel

from berth.protocol.dependencies import DependencyKind
from berth.protocol.states import AttemptState, JobState, Outcome

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class Table(SQLModel):
    """Base of every table of the server's database."""

    metadata = MetaData(naming_convention=NAMING)


def _one_of(column: str, values: type[StrEnum], name: str, *, nullable: bool = False) -> Any:
    listed = ", ".join(f"'{value}'" for value in values)
    condition = f"{column} IN ({listed})"
    return CheckConstraint(f"{column} IS NULL OR {condition}" if nullable else condition, name)


class AblationRow(Table, table=True):
    """A set of jobs made together, and how much they may have together."""

    __tablename__ = "ablations"
    __table_args__ = (
        CheckConstraint("max_running >= 1", "max_running"),
        CheckConstraint("max_gpu_hours > 0", "max_gpu_hours"),
        CheckConstraint("used_gpu_s >= 0", "used"),
    )
    id: str = Field(primary_key=True)  # its name, and the label `ablation` of its jobs
    user: str
    uid: int
    max_running: int | None = None
    max_gpu_hours: float | None = None
    early_stop: str | None = None  # JSON of the rule
    used_gpu_s: float = 0.0  # of released attempts
    created_at: float


class JobRow(Table, table=True):
    """
    A job: its specification, its state, and what became of it.

    `spec` holds everything that was asked for. Columns beside it that repeat a part of it exist
    because SQL filters by them; `jobs.spec_columns` writes them together.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        ForeignKeyConstraint(["ablation"], ["ablations.id"]),
        _one_of("state", JobState, "state"),
        _one_of("outcome", Outcome, "outcome", nullable=True),
        # A share is part of one GPU, and states how much of it.
        CheckConstraint(
            "NOT json_extract(spec, '$.share') OR (json_extract(spec, '$.gpus') = 1 "
            "AND json_extract(spec, '$.gpu_memory') IS NOT NULL)",
            "share",
        ),
        CheckConstraint(
            "(state IN ('succeeded', 'failed', 'cancelled')) = (ended_at IS NOT NULL)", "ended"
        ),
        Index("ix_jobs_ablation", "ablation", sqlite_where=text("ablation IS NOT NULL")),
        Index("ix_jobs_state_id", "state", "id"),
        Index("ix_jobs_user_id", "user", "id"),
        # Ids of deleted rows are never given out again.
        {"sqlite_autoincrement": True},
    )
    id: int | None = Field(default=None, primary_key=True)
    spec: str  # JSON of JobSpec with its name, GPUs and folder filled in; see store/specs.py
    name: str  # of the spec; searched
    command_text: str  # the spec's command as one line, or its script; searched
    notifies: bool  # whether the spec has webhooks
    state: str
    outcome: str | None = None
    message: str | None = None  # JSON of Message
    user: str
    uid: int
    warnings: str  # JSON list of Message
    queued_at: float
    started_at: float | None = None
    ended_at: float | None = None
    exit_code: int | None = None
    attempts: int = 0  # how many were made
    failures: int = 0  # how many of them count against `retries`
    oom_steps: int = 0  # how many steps of the ladder were taken
    ready_at: float | None = None  # since when only GPUs and limits block it
    ablation: str | None = None
    snapshot: str | None = None  # JSON of the code it runs, where that is frozen
    resumes_at: float | None = None  # until when it pauses before its next attempt
    work: str | None = None  # JSON of core Work: how much it is asked to do, where something says


class AttemptRow(Table, table=True):
    """One try at a job."""

    __tablename__ = "attempts"
    __table_args__ = (
        ForeignKeyConstraint(["job_id"], ["jobs.id"]),
        _one_of("state", AttemptState, "state"),
        _one_of("outcome", Outcome, "outcome", nullable=True),
        _one_of("stop_reason", Outcome, "stop_reason", nullable=True),
        CheckConstraint("number >= 1", "number"),
        CheckConstraint("(state = 'ended') = (ended_at IS NOT NULL)", "ended"),
        CheckConstraint("released_at IS NULL OR state = 'ended'", "released"),
        # A job is tried once at a time.
        Index(
            "uq_attempts_one_alive",
            "job_id",
            unique=True,
            sqlite_where=text("state <> 'ended'"),
        ),
        Index("ix_attempts_unreleased", "job_id", sqlite_where=text("released_at IS NULL")),
    )
    job_id: int = Field(primary_key=True)
    number: int = Field(primary_key=True)
    state: str
    outcome: str | None = None
    message: str | None = None  # JSON of Message
    token: str
    stop_reason: str | None = None
    created_at: float
    started_at: float | None = None
    saved_at: float | None = None  # when it last reported a whole checkpoint
    ended_at: float | None = None
    released_at: float | None = None
    exit_code: int | None = None
    signal: int | None = None
    max_rss_bytes: int | None = None
    run_dir: str
    master_port: int | None = None
    gpus: str  # JSON list of [uuid, index, minor]
    launch: str | None = None  # JSON of LaunchFacts
    extra_env: str  # JSON
    placement: str | None = None  # JSON of Placement; NULL without GPUs


class GpuUseRow(Table, table=True):
    """Use that an attempt made of its GPUs while it held them; GPU-seconds of a share are its part."""

    __tablename__ = "gpu_use"
    __table_args__ = (
        ForeignKeyConstraint(["job_id", "number"], ["attempts.job_id", "attempts.number"]),
        CheckConstraint("gpus > 0", "gpus"),
        CheckConstraint(
            "busy_gpu_s >= 0 AND idle_gpu_s >= 0 AND idle_gpu_s <= seen_gpu_s + 0.001", "seen"
        ),
    )
    job_id: int = Field(primary_key=True)
    number: int = Field(primary_key=True)
    gpus: float
    seen_gpu_s: float
    busy_gpu_s: float
    idle_gpu_s: float
    energy_j: float | None = None
    peak_memory_bytes: int | None = None


class LeaseRow(Table, table=True):
    """An attempt's hold on one GPU, or on a share of its memory; see `LEASE_TRIGGERS`."""

    __tablename__ = "leases"
    __table_args__ = (
        ForeignKeyConstraint(["job_id", "number"], ["attempts.job_id", "attempts.number"]),
        CheckConstraint("memory_bytes > 0", "memory_bytes"),
        # A GPU has one holder, unless it is held in shares.
        Index(
            "uq_leases_one_holder",
            "gpu_uuid",
            unique=True,
            sqlite_where=text("released_at IS NULL AND memory_bytes IS NULL"),
        ),
        Index("ix_leases_held", "gpu_uuid", sqlite_where=text("released_at IS NULL")),
        Index("ix_leases_attempt", "job_id", "number"),
        Index("ix_leases_released_at", "released_at"),
    )
    id: int | None = Field(default=None, primary_key=True)
    gpu_uuid: str
    job_id: int
    number: int
    memory_bytes: int | None = None  # the share of the GPU; NULL is the whole GPU
    acquired_at: float
    released_at: float | None = None


# What an index cannot say: a lease of a whole GPU is its only one, shares never exceed the GPU,
# and a job on several GPUs has no share. A lease once given is only ever released.
LEASE_TRIGGERS = (
    """CREATE TRIGGER tr_leases_whole BEFORE INSERT ON leases
WHEN NEW.released_at IS NULL AND NEW.memory_bytes IS NULL BEGIN
SELECT RAISE(ABORT, 'a GPU that is held in shares cannot be leased whole')
WHERE EXISTS (SELECT 1 FROM leases WHERE gpu_uuid = NEW.gpu_uuid AND released_at IS NULL
AND memory_bytes IS NOT NULL);
SELECT RAISE(ABORT, 'an attempt with a share holds nothing else')
WHERE EXISTS (SELECT 1 FROM leases WHERE job_id = NEW.job_id AND number = NEW.number
AND memory_bytes IS NOT NULL);
END""",
    """CREATE TRIGGER tr_leases_share BEFORE INSERT ON leases
WHEN NEW.released_at IS NULL AND NEW.memory_bytes IS NOT NULL BEGIN
SELECT RAISE(ABORT, 'a GPU that is leased whole cannot be shared')
WHERE EXISTS (SELECT 1 FROM leases WHERE gpu_uuid = NEW.gpu_uuid AND released_at IS NULL
AND memory_bytes IS NULL);
SELECT RAISE(ABORT, 'an attempt with a share holds nothing else')
WHERE EXISTS (SELECT 1 FROM leases WHERE job_id = NEW.job_id AND number = NEW.number);
SELECT RAISE(ABORT, 'the shares exceed the memory of the GPU')
WHERE NEW.memory_bytes + (SELECT coalesce(sum(memory_bytes), 0) FROM leases
WHERE gpu_uuid = NEW.gpu_uuid AND released_at IS NULL)
> coalesce((SELECT memory_total_bytes FROM gpus WHERE uuid = NEW.gpu_uuid), 0);
END""",
    """CREATE TRIGGER tr_leases_kept BEFORE UPDATE ON leases
WHEN NEW.released_at IS NULL OR NEW.gpu_uuid <> OLD.gpu_uuid
OR NEW.memory_bytes IS NOT OLD.memory_bytes BEGIN
SELECT RAISE(ABORT, 'a lease is released, never changed');
END""",
)
for _trigger in LEASE_TRIGGERS:
    event.listen(LeaseRow.__table__, "after_create", DDL(_trigger))  # pyright: ignore[reportAttributeAccessIssue, reportUnknownArgumentType] - SQLModel does not declare it


class PortLeaseRow(Table, table=True):
    """An attempt's hold on one rendezvous port."""

    __tablename__ = "port_leases"
    __table_args__ = (
        ForeignKeyConstraint(["job_id", "number"], ["attempts.job_id", "attempts.number"]),
        CheckConstraint("port BETWEEN 1 AND 65535", "port"),
        Index(
            "uq_port_leases_one_holder",
            "port",
            unique=True,
            sqlite_where=text("released_at IS NULL"),
        ),
        Index("ix_port_leases_attempt", "job_id", "number"),
    )
    id: int | None = Field(default=None, primary_key=True)
    port: int
    job_id: int
    number: int
    acquired_at: float
    released_at: float | None = None


class EventRow(Table, table=True):
    """The audit log."""

    __tablename__ = "events"
    __table_args__ = (
        ForeignKeyConstraint(["job_id"], ["jobs.id"]),
        Index("ix_events_job_id_id", "job_id", "id", sqlite_where=text("job_id IS NOT NULL")),
        {"sqlite_autoincrement": True},
    )
    id: int | None = Field(default=None, primary_key=True)
    time: float
    kind: str
    actor: str
    job_id: int | None = None
    number: int | None = None
    gpu_uuid: str | None = None
    message: str  # JSON of Message
    data: str | None = None  # JSON


class DependencyRow(Table, table=True):
    """A job that waits for another's end."""

    __tablename__ = "dependencies"
    __table_args__ = (
        ForeignKeyConstraint(["job_id"], ["jobs.id"]),
        ForeignKeyConstraint(["depends_on"], ["jobs.id"]),
        # Only older jobs can be named, so that a circle cannot be made.
        CheckConstraint("depends_on < job_id", "older"),
        _one_of("kind", DependencyKind, "kind"),
        Index("ix_dependencies_depends_on", "depends_on"),
    )
    job_id: int = Field(primary_key=True)
    depends_on: int = Field(primary_key=True)
    kind: str  # how the other job has to end


class LabelRow(Table, table=True):
    """A label of a job, to filter by."""

    __tablename__ = "labels"
    __table_args__ = (
        ForeignKeyConstraint(["job_id"], ["jobs.id"]),
        Index("ix_labels_key_value_job_id", "key", "value", "job_id"),
    )
    job_id: int = Field(primary_key=True)
    key: str = Field(primary_key=True)
    value: str


class GpuRow(Table, table=True):
    """A GPU of the box, remembered so that the box is known before the worker speaks."""

    __tablename__ = "gpus"
    uuid: str = Field(primary_key=True)
    index: int
    name: str
    memory_total_bytes: int
    present: bool  # seen in the last snapshot
    last_seen_at: float


class DrainRow(Table, table=True):
    """A GPU onto which no new job goes."""

    __tablename__ = "drains"
    gpu_uuid: str = Field(primary_key=True)
    reason: str | None = None
    actor: str
    since: float
    until: float | None = None  # when it ends by itself


class ReservationRow(Table, table=True):
    """GPUs set aside from a time to a time for some users or groups."""

    __tablename__ = "reservations"
    __table_args__ = (
        CheckConstraint("starts_at < ends_at", "times"),
        {"sqlite_autoincrement": True},
    )
    id: int | None = Field(default=None, primary_key=True)
    gpus: str  # JSON list of UUIDs, in index order
    users: str  # JSON list of names
    groups: str  # JSON list of names
    starts_at: float
    ends_at: float
    reason: str
    actor: str
    created_at: float


class IdempotencyRow(Table, table=True):
    """A submit that may come again."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (Index("ix_idempotency_keys_created_at", "created_at"),)
    uid: int = Field(primary_key=True)
    key: str = Field(primary_key=True)
    digest: str  # of the body
    first_id: int
    count: int
    created_at: float


class TokenRow(Table, table=True):
    """A bearer token or a browser's session; only a digest of the secret is kept."""

    __tablename__ = "tokens"
    __table_args__ = (
        CheckConstraint("kind IN ('token', 'session')", "kind"),
        Index("uq_tokens_digest", "digest", unique=True),
        {"sqlite_autoincrement": True},
    )
    id: int | None = Field(default=None, primary_key=True)
    kind: str
    name: str
    user: str
    uid: int
    digest: str
    created_at: float
    last_used_at: float | None = None
    expires_at: float | None = None
