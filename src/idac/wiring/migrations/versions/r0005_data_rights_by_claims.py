"""Data rights by claims."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "identity_claimed_rights",
        sa.Column("account", sa.Integer, sa.ForeignKey("identity_accounts.id"), nullable=False),
        sa.Column("issuer", sa.Text, nullable=False),
        sa.Column("right", sa.String(60), nullable=False),
        sa.Column("expires", sa.BigInteger, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("account", "issuer", "right"),
    )
