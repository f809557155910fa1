"""Groups that people make: owners, managers, invitations, and the names of those that were deleted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "identity_user_groups",
        sa.Column("group", sa.Integer, sa.ForeignKey("identity_groups.id"), nullable=False),
        sa.Column("owner", sa.Integer, sa.ForeignKey("identity_accounts.id"), nullable=False),
        sa.Column("given", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("group"),
    )
    op.create_index("ix_identity_user_groups_owner", "identity_user_groups", ["owner"])
    op.create_table(
        "identity_managers",
        sa.Column("group", sa.Integer, sa.ForeignKey("identity_groups.id"), nullable=False),
        sa.Column("account", sa.Integer, sa.ForeignKey("identity_accounts.id"), nullable=False),
        sa.PrimaryKeyConstraint("group", "account"),
    )
    op.create_index("ix_identity_managers_account", "identity_managers", ["account"])
    op.create_table(
        "identity_invitations",
        sa.Column("key", sa.String(22), nullable=False),
        sa.Column("digest", sa.String(64)),
        sa.Column("group", sa.Integer, sa.ForeignKey("identity_groups.id"), nullable=False),
        sa.Column("account", sa.Integer, sa.ForeignKey("identity_accounts.id")),
        sa.Column("inviter", sa.Integer, sa.ForeignKey("identity_accounts.id"), nullable=False),
        sa.Column("uses", sa.Integer, nullable=False),
        sa.Column("member_expires", sa.BigInteger),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("expires", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    for name in ("account", "expires", "group", "inviter"):
        op.create_index(f"ix_identity_invitations_{name}", "identity_invitations", [name])
    op.create_table(
        "identity_retired_groups",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("gid", sa.BigInteger, nullable=False),
        sa.Column("retired", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name"),
        sa.UniqueConstraint("gid"),
    )
