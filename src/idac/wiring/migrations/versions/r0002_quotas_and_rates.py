"""Limits of accounts and groups that administrators set, and what was taken of rates."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "identity_quotas",
        sa.Column("subject", sa.String(64), nullable=False),
        sa.Column("limit", sa.String(20), nullable=False),
        sa.Column("amount", sa.BigInteger),
        sa.Column("expires", sa.BigInteger),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("subject", "limit"),
    )
    op.create_table(
        "identity_rates",
        sa.Column("subject", sa.String(80), nullable=False),
        sa.Column("service", sa.String(20), nullable=False),
        sa.Column("ends", sa.BigInteger, nullable=False),
        sa.Column("taken", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("subject", "service"),
    )
    op.create_index("ix_identity_rates_ends", "identity_rates", ["ends"])
