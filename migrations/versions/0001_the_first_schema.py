"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


_LEASE_TRIGGERS = (
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


def upgrade() -> None:
    op.create_table(
        "ablations",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("user", sa.String(), nullable=False),
        sa.Column("uid", sa.Integer(), nullable=False),
        sa.Column("max_running", sa.Integer(), nullable=True),
        sa.Column("max_gpu_hours", sa.Float(), nullable=True),
        sa.Column("early_stop", sa.String(), nullable=True),
        sa.Column("used_gpu_s", sa.Float(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.CheckConstraint("max_running >= 1", name=op.f("ck_ablations_max_running")),
        sa.CheckConstraint("max_gpu_hours > 0", name=op.f("ck_ablations_max_gpu_hours")),
        sa.CheckConstraint("used_gpu_s >= 0", name=op.f("ck_ablations_used")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ablations")),
    )
    op.create_table(
        "reservations",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("gpus", sa.String(), nullable=False),
        sa.Column("users", sa.String(), nullable=False),
        sa.Column("groups", sa.String(), nullable=False),
        sa.Column("starts_at", sa.Float(), nullable=False),
        sa.Column("ends_at", sa.Float(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.CheckConstraint("starts_at < ends_at", name=op.f("ck_reservations_times")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reservations")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "drains",
        sa.Column("gpu_uuid", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
        sa.Column("until", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("gpu_uuid", name=op.f("pk_drains")),
    )
    op.create_table(
        "gpus",
        sa.Column("uuid", sa.String(), nullable=False),
        sa.Column("index", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("memory_total_bytes", sa.Integer(), nullable=False),
        sa.Column("present", sa.Boolean(), nullable=False),
        sa.Column("last_seen_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_gpus")),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("uid", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("first_id", sa.Integer(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("uid", "key", name=op.f("pk_idempotency_keys")),
    )
    with op.batch_alter_table("idempotency_keys", schema=None) as batch_op:
        batch_op.create_index("ix_idempotency_keys_created_at", ["created_at"], unique=False)

    op.create_table(
        "jobs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("outcome", sa.String(), nullable=True),
        sa.Column("message", sa.String(), nullable=True),
        sa.Column("user", sa.String(), nullable=False),
        sa.Column("uid", sa.Integer(), nullable=False),
        sa.Column("command", sa.String(), nullable=True),
        sa.Column("script", sa.String(), nullable=True),
        sa.Column("gpus", sa.Integer(), nullable=False),
        sa.Column("gpu_memory_bytes", sa.Integer(), nullable=True),
        sa.Column("share", sa.Boolean(), nullable=False),
        sa.Column("workdir", sa.String(), nullable=False),
        sa.Column("env", sa.String(), nullable=False),
        sa.Column("python", sa.String(), nullable=True),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("time_limit_s", sa.Float(), nullable=True),
        sa.Column("grace_s", sa.Float(), nullable=False),
        sa.Column("warn_before_s", sa.Float(), nullable=False),
        sa.Column("retries", sa.Integer(), nullable=False),
        sa.Column("on_oom", sa.String(), nullable=True),
        sa.Column("not_before", sa.Float(), nullable=True),
        sa.Column("preemptible", sa.Boolean(), nullable=False),
        sa.Column("labels", sa.String(), nullable=False),
        sa.Column("notify", sa.String(), nullable=False),
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
        sa.CheckConstraint(
            "(state IN ('succeeded', 'failed', 'cancelled')) = (ended_at IS NOT NULL)",
            name=op.f("ck_jobs_ended"),
        ),
        sa.CheckConstraint(
            "outcome IS NULL OR outcome IN ('exit', 'oom_gpu', 'oom_host', 'time_limit', 'stalled', 'lost', 'escaped', 'launch_error', 'preempted', 'cancelled', 'dependency_failed', 'disk_full', 'early_stopped')",
            name=op.f("ck_jobs_outcome"),
        ),
        sa.CheckConstraint(
            "state IN ('held', 'waiting', 'queued', 'starting', 'running', 'stopping', 'succeeded', 'failed', 'cancelled')",
            name=op.f("ck_jobs_state"),
        ),
        sa.CheckConstraint(
            "(command IS NULL) <> (script IS NULL)", name=op.f("ck_jobs_command_or_script")
        ),
        sa.CheckConstraint("gpus >= 0", name=op.f("ck_jobs_gpus")),
        sa.CheckConstraint(
            "NOT share OR (gpus = 1 AND gpu_memory_bytes IS NOT NULL)", name=op.f("ck_jobs_share")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.create_index(
            "ix_jobs_ablation",
            ["ablation"],
            unique=False,
            sqlite_where=sa.text("ablation IS NOT NULL"),
        )
        batch_op.create_index("ix_jobs_state_id", ["state", "id"], unique=False)
        batch_op.create_index("ix_jobs_user_id", ["user", "id"], unique=False)

    op.create_table(
        "tokens",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("user", sa.String(), nullable=False),
        sa.Column("uid", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("last_used_at", sa.Float(), nullable=True),
        sa.Column("expires_at", sa.Float(), nullable=True),
        sa.CheckConstraint("kind IN ('token', 'session')", name=op.f("ck_tokens_kind")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tokens")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("tokens", schema=None) as batch_op:
        batch_op.create_index("uq_tokens_digest", ["digest"], unique=True)

    op.create_table(
        "attempts",
        sa.Column("job_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("outcome", sa.String(), nullable=True),
        sa.Column("message", sa.String(), nullable=True),
        sa.Column("token", sa.String(), nullable=False),
        sa.Column("stop_reason", sa.String(), nullable=True),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("started_at", sa.Float(), nullable=True),
        sa.Column("saved_at", sa.Float(), nullable=True),
        sa.Column("ended_at", sa.Float(), nullable=True),
        sa.Column("released_at", sa.Float(), nullable=True),
        sa.Column("exit_code", sa.Integer(), nullable=True),
        sa.Column("signal", sa.Integer(), nullable=True),
        sa.Column("max_rss_bytes", sa.Integer(), nullable=True),
        sa.Column("run_dir", sa.String(), nullable=False),
        sa.Column("master_port", sa.Integer(), nullable=True),
        sa.Column("gpus", sa.String(), nullable=False),
        sa.Column("launch", sa.String(), nullable=True),
        sa.Column("extra_env", sa.String(), nullable=False),
        sa.Column("placement", sa.String(), nullable=True),
        sa.CheckConstraint(
            "(state = 'ended') = (ended_at IS NOT NULL)", name=op.f("ck_attempts_ended")
        ),
        sa.CheckConstraint(
            "outcome IS NULL OR outcome IN ('exit', 'oom_gpu', 'oom_host', 'time_limit', 'stalled', 'lost', 'escaped', 'launch_error', 'preempted', 'cancelled', 'dependency_failed', 'disk_full', 'early_stopped')",
            name=op.f("ck_attempts_outcome"),
        ),
        sa.CheckConstraint(
            "released_at IS NULL OR state = 'ended'", name=op.f("ck_attempts_released")
        ),
        sa.CheckConstraint(
            "state IN ('starting', 'running', 'stopping', 'ended')", name=op.f("ck_attempts_state")
        ),
        sa.CheckConstraint(
            "stop_reason IS NULL OR stop_reason IN ('exit', 'oom_gpu', 'oom_host', 'time_limit', 'stalled', 'lost', 'escaped', 'launch_error', 'preempted', 'cancelled', 'dependency_failed', 'disk_full', 'early_stopped')",
            name=op.f("ck_attempts_stop_reason"),
        ),
        sa.CheckConstraint("number >= 1", name=op.f("ck_attempts_number")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_attempts_job_id")),
        sa.PrimaryKeyConstraint("job_id", "number", name=op.f("pk_attempts")),
    )
    with op.batch_alter_table("attempts", schema=None) as batch_op:
        batch_op.create_index(
            "ix_attempts_unreleased",
            ["job_id"],
            unique=False,
            sqlite_where=sa.text("released_at IS NULL"),
        )
        batch_op.create_index(
            "uq_attempts_one_alive",
            ["job_id"],
            unique=True,
            sqlite_where=sa.text("state <> 'ended'"),
        )

    op.create_table(
        "dependencies",
        sa.Column("job_id", sa.Integer(), nullable=False),
        sa.Column("depends_on", sa.Integer(), nullable=False),
        sa.CheckConstraint("depends_on < job_id", name=op.f("ck_dependencies_older")),
        sa.ForeignKeyConstraint(
            ["depends_on"], ["jobs.id"], name=op.f("fk_dependencies_depends_on")
        ),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_dependencies_job_id")),
        sa.PrimaryKeyConstraint("job_id", "depends_on", name=op.f("pk_dependencies")),
    )
    with op.batch_alter_table("dependencies", schema=None) as batch_op:
        batch_op.create_index("ix_dependencies_depends_on", ["depends_on"], unique=False)

    op.create_table(
        "events",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("time", sa.Float(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("job_id", sa.Integer(), nullable=True),
        sa.Column("number", sa.Integer(), nullable=True),
        sa.Column("gpu_uuid", sa.String(), nullable=True),
        sa.Column("message", sa.String(), nullable=False),
        sa.Column("data", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_events_job_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("events", schema=None) as batch_op:
        batch_op.create_index(
            "ix_events_job_id_id",
            ["job_id", "id"],
            unique=False,
            sqlite_where=sa.text("job_id IS NOT NULL"),
        )

    op.create_table(
        "labels",
        sa.Column("job_id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("value", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_labels_job_id")),
        sa.PrimaryKeyConstraint("job_id", "key", name=op.f("pk_labels")),
    )
    with op.batch_alter_table("labels", schema=None) as batch_op:
        batch_op.create_index(
            "ix_labels_key_value_job_id", ["key", "value", "job_id"], unique=False
        )

    op.create_table(
        "leases",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("gpu_uuid", sa.String(), nullable=False),
        sa.Column("job_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("memory_bytes", sa.Integer(), nullable=True),
        sa.Column("acquired_at", sa.Float(), nullable=False),
        sa.Column("released_at", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(
            ["job_id", "number"],
            ["attempts.job_id", "attempts.number"],
            name=op.f("fk_leases_job_id_number"),
        ),
        sa.CheckConstraint("memory_bytes > 0", name=op.f("ck_leases_memory_bytes")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_leases")),
    )
    with op.batch_alter_table("leases", schema=None) as batch_op:
        batch_op.create_index("ix_leases_attempt", ["job_id", "number"], unique=False)
        batch_op.create_index("ix_leases_released_at", ["released_at"], unique=False)
        batch_op.create_index(
            "uq_leases_one_holder",
            ["gpu_uuid"],
            unique=True,
            sqlite_where=sa.text("released_at IS NULL AND memory_bytes IS NULL"),
        )
        batch_op.create_index(
            "ix_leases_held",
            ["gpu_uuid"],
            unique=False,
            sqlite_where=sa.text("released_at IS NULL"),
        )
    for trigger in _LEASE_TRIGGERS:
        op.execute(trigger)

    op.create_table(
        "port_leases",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("acquired_at", sa.Float(), nullable=False),
        sa.Column("released_at", sa.Float(), nullable=True),
        sa.CheckConstraint("port BETWEEN 1 AND 65535", name=op.f("ck_port_leases_port")),
        sa.ForeignKeyConstraint(
            ["job_id", "number"],
            ["attempts.job_id", "attempts.number"],
            name=op.f("fk_port_leases_job_id_number"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_port_leases")),
    )
    with op.batch_alter_table("port_leases", schema=None) as batch_op:
        batch_op.create_index("ix_port_leases_attempt", ["job_id", "number"], unique=False)
        batch_op.create_index(
            "uq_port_leases_one_holder",
            ["port"],
            unique=True,
            sqlite_where=sa.text("released_at IS NULL"),
        )


def downgrade() -> None:
    with op.batch_alter_table("port_leases", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_port_leases_one_holder", sqlite_where=sa.text("released_at IS NULL")
        )
        batch_op.drop_index("ix_port_leases_attempt")

    op.drop_table("port_leases")
    with op.batch_alter_table("leases", schema=None) as batch_op:
        batch_op.drop_index("ix_leases_held", sqlite_where=sa.text("released_at IS NULL"))
        batch_op.drop_index(
            "uq_leases_one_holder",
            sqlite_where=sa.text("released_at IS NULL AND memory_bytes IS NULL"),
        )
        batch_op.drop_index("ix_leases_released_at")
        batch_op.drop_index("ix_leases_attempt")

    op.drop_table("leases")
    with op.batch_alter_table("labels", schema=None) as batch_op:
        batch_op.drop_index("ix_labels_key_value_job_id")

    op.drop_table("labels")
    with op.batch_alter_table("events", schema=None) as batch_op:
        batch_op.drop_index("ix_events_job_id_id", sqlite_where=sa.text("job_id IS NOT NULL"))

    op.drop_table("events")
    with op.batch_alter_table("dependencies", schema=None) as batch_op:
        batch_op.drop_index("ix_dependencies_depends_on")

    op.drop_table("dependencies")
    with op.batch_alter_table("attempts", schema=None) as batch_op:
        batch_op.drop_index("uq_attempts_one_alive", sqlite_where=sa.text("state <> 'ended'"))
        batch_op.drop_index("ix_attempts_unreleased", sqlite_where=sa.text("released_at IS NULL"))

    op.drop_table("attempts")
    with op.batch_alter_table("tokens", schema=None) as batch_op:
        batch_op.drop_index("uq_tokens_digest")

    op.drop_table("tokens")
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.drop_index("ix_jobs_user_id")
        batch_op.drop_index("ix_jobs_state_id")

    op.drop_table("jobs")
    with op.batch_alter_table("idempotency_keys", schema=None) as batch_op:
        batch_op.drop_index("ix_idempotency_keys_created_at")

    op.drop_table("idempotency_keys")
    op.drop_table("gpus")
    op.drop_table("drains")
    op.drop_table("reservations")
