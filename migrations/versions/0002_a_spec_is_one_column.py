"""A job's specification is one JSON column; messages are lists of typed parts."""

import json
import shlex
from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_STATES = (
    "'held', 'waiting', 'queued', 'starting', 'running', 'stopping', "
    "'succeeded', 'failed', 'cancelled'"
)
_OUTCOMES = (
    "'exit', 'oom_gpu', 'oom_host', 'time_limit', 'stalled', 'lost', 'escaped', 'launch_error', "
    "'preempted', 'cancelled', 'dependency_failed', 'disk_full', 'early_stopped'"
)
_KEPT = (
    "id, name, state, outcome, user, uid, queued_at, started_at, ended_at, "
    "exit_code, attempts, failures, oom_steps, ready_at, ablation, snapshot"
)
_ROWS = 500


def upgrade() -> None:
    _create()
    connection = op.get_bind()
    for table in ("attempts", "events"):
        connection.execute(
            sa.text(
                f"UPDATE {table} SET message = json_array(json_object("  # noqa: S608 - fixed names
                "'kind', 'text', 'text', message)) WHERE message IS NOT NULL"
            )
        )
    depends_on: dict[int, list[int]] = {}
    pairs = "SELECT job_id, depends_on FROM dependencies ORDER BY job_id, depends_on"
    for job_id, other in connection.execute(sa.text(pairs)):
        depends_on.setdefault(job_id, []).append(other)
    insert = sa.text(
        f"INSERT INTO jobs_0002 ({_KEPT}, spec, command_text, notifies, message, warnings) SELECT {_KEPT}, "  # noqa: S608 - fixed names
        ":spec, :command_text, :notifies, :message, :warnings FROM jobs WHERE id = :id"
    )
    rows = connection.execute(sa.text("SELECT * FROM jobs ORDER BY id")).mappings()
    for part in rows.partitions(_ROWS):
        connection.execute(insert, [_columns(row, depends_on.get(row["id"], [])) for row in part])
    # The ids that were ever given out stay given out.
    sequence = "SELECT seq FROM sqlite_sequence WHERE name = 'jobs'"
    last = connection.execute(sa.text(sequence)).scalar()
    op.drop_table("jobs")
    op.rename_table("jobs_0002", "jobs")
    connection.execute(sa.text("DELETE FROM sqlite_sequence WHERE name = 'jobs'"))
    if last is not None:
        remember = sa.text("INSERT INTO sqlite_sequence (name, seq) VALUES ('jobs', :last)")
        connection.execute(remember, {"last": last})
    op.create_index(
        "ix_jobs_ablation", "jobs", ["ablation"], sqlite_where=sa.text("ablation IS NOT NULL")
    )
    op.create_index("ix_jobs_state_id", "jobs", ["state", "id"])
    op.create_index("ix_jobs_user_id", "jobs", ["user", "id"])


def _create() -> None:
    op.create_table(
        "jobs_0002",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("spec", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("command_text", sa.String(), nullable=False),
        sa.Column("notifies", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("outcome", sa.String(), nullable=True),
        sa.Column("message", sa.String(), nullable=True),
        sa.Column("user", sa.String(), nullable=False),
        sa.Column("uid", sa.Integer(), nullable=False),
        sa.Column("warnings", sa.String(), nullable=False),
        sa.Column("queued_at", sa.Float(), nullable=False),
        sa.Column("started_at", sa.Float(), nullable=True),
        sa.Column("ended_at", sa.Float(), nullable=True),
        sa.Column("exit_code", sa.Integer(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("oom_steps", sa.Integer(), nullable=False),
        sa.Column("ready_at", sa.Float(), nullable=True),
        sa.Column("ablation", sa.String(), nullable=True),
        sa.Column("snapshot", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["ablation"], ["ablations.id"], name=op.f("fk_jobs_ablation")),
        sa.CheckConstraint(f"state IN ({_STATES})", name=op.f("ck_jobs_state")),
        sa.CheckConstraint(
            f"outcome IS NULL OR outcome IN ({_OUTCOMES})", name=op.f("ck_jobs_outcome")
        ),
        sa.CheckConstraint(
            "NOT json_extract(spec, '$.share') OR (json_extract(spec, '$.gpus') = 1 "
            "AND json_extract(spec, '$.gpu_memory') IS NOT NULL)",
            name=op.f("ck_jobs_share"),
        ),
        sa.CheckConstraint(
            "(state IN ('succeeded', 'failed', 'cancelled')) = (ended_at IS NOT NULL)",
            name=op.f("ck_jobs_ended"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
        sqlite_autoincrement=True,
    )


def _columns(row: sa.RowMapping, depends_on: list[int]) -> dict[str, object]:
    command = None if row["command"] is None else json.loads(row["command"])
    notify = json.loads(row["notify"])
    ladder = None if row["on_oom"] is None else {"steps": json.loads(row["on_oom"])}
    start = row["not_before"]
    spec = {
        "name": row["name"],
        "command": command,
        "script": row["script"],
        "gpus": row["gpus"],
        "gpu_memory": row["gpu_memory_bytes"],
        "share": bool(row["share"]),
        "workdir": row["workdir"],
        "env": json.loads(row["env"]),
        "python": row["python"],
        "priority": row["priority"],
        "time_limit": row["time_limit_s"],
        "grace": row["grace_s"],
        "warn_before": row["warn_before_s"],
        "retries": row["retries"],
        "on_oom": ladder,
        "depends_on": depends_on,
        "not_before": None if start is None else datetime.fromtimestamp(start, UTC).isoformat(),
        "hold": False,
        "labels": json.loads(row["labels"]),
        "preemptible": bool(row["preemptible"]),
        "snapshot": row["snapshot"] is not None,
        "notify": notify,
    }
    given = {name: value for name, value in spec.items() if value is not None}
    text = shlex.join(command) if isinstance(command, list) else command or row["script"]
    return {
        "id": row["id"],
        "spec": _json(given),
        "command_text": text,
        "notifies": bool(notify),
        "message": None if row["message"] is None else _json(_words(row["message"])),
        "warnings": _json([_words(text) for text in json.loads(row["warnings"])]),
    }


def _words(text: str) -> list[dict[str, str]]:
    """A message of one part: which of its words are times or jobs was not stored."""
    return [{"kind": "text", "text": text}]


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
