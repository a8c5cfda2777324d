"""A job has its work: how many steps it is asked to do, as far as something says."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("work", sa.String(), nullable=True))
