"""Usage of GPUs by each attempt: load, idle time, energy, memory."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "gpu_use",
        sa.Column("job_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("gpus", sa.Float(), nullable=False),
        sa.Column("seen_gpu_s", sa.Float(), nullable=False),
        sa.Column("busy_gpu_s", sa.Float(), nullable=False),
        sa.Column("idle_gpu_s", sa.Float(), nullable=False),
        sa.Column("energy_j", sa.Float(), nullable=True),
        sa.Column("peak_memory_bytes", sa.Integer(), nullable=True),
        sa.CheckConstraint("gpus > 0", name=op.f("ck_gpu_use_gpus")),
        sa.CheckConstraint(
            "busy_gpu_s >= 0 AND idle_gpu_s >= 0 AND idle_gpu_s <= seen_gpu_s + 0.001",
            name=op.f("ck_gpu_use_seen"),
        ),
        sa.ForeignKeyConstraint(
            ["job_id", "number"],
            ["attempts.job_id", "attempts.number"],
            name=op.f("fk_gpu_use_job_id_number"),
        ),
        sa.PrimaryKeyConstraint("job_id", "number", name=op.f("pk_gpu_use")),
    )
