"""Tokens that were lent to administrators."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "identity_lent_tokens",
        sa.Column("key", sa.String(22), sa.ForeignKey("identity_tokens.key"), nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("administrator", sa.Integer, sa.ForeignKey("identity_accounts.id")),
        sa.Column("reason", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_index("ix_identity_lent_tokens_administrator", "identity_lent_tokens", ["administrator"])
