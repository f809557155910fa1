"""When administration by claims ends, and by which groups.

Nobody knows either of those who are administrators by a claim already: they are so again with their next log-in.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    with op.batch_alter_table("identity_claimed_admins", schema=None) as batch_op:
        batch_op.add_column(sa.Column("groups", sa.Text()))
        batch_op.add_column(sa.Column("expires", sa.BigInteger()))
