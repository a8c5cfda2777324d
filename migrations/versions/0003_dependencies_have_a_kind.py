"""A dependency says how the other job has to end."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "dependencies_0003",
        sa.Column("job_id", sa.Integer(), nullable=False),
        sa.Column("depends_on", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.CheckConstraint("depends_on < job_id", name=op.f("ck_dependencies_older")),
        sa.CheckConstraint(
            "kind IN ('afterok', 'afterany', 'afternotok')", name=op.f("ck_dependencies_kind")
        ),
        sa.ForeignKeyConstraint(
            ["depends_on"], ["jobs.id"], name=op.f("fk_dependencies_depends_on")
        ),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_dependencies_job_id")),
        sa.PrimaryKeyConstraint("job_id", "depends_on", name=op.f("pk_dependencies")),
    )
    op.execute(
        "INSERT INTO dependencies_0003 (job_id, depends_on, kind) "
        "SELECT job_id, depends_on, 'afterok' FROM dependencies"
    )
    op.drop_table("dependencies")
    op.rename_table("dependencies_0003", "dependencies")
    op.create_index("ix_dependencies_depends_on", "dependencies", ["depends_on"])
