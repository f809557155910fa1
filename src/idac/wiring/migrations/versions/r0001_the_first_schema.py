"""The first schema.

Databases that were made before there were revisions have some of it, or all: each thing is made where it is not there.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_SQLITE_TRIGGER = """
CREATE TRIGGER IF NOT EXISTS identity_audit_{what} BEFORE {what} ON identity_audit
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END
"""
_POSTGRESQL = (
    """
CREATE OR REPLACE FUNCTION identity_audit_kept() RETURNS trigger LANGUAGE plpgsql AS
'BEGIN RAISE EXCEPTION ''the audit log is append-only''; END'
""",
    "DROP TRIGGER IF EXISTS identity_audit_kept ON identity_audit",
    """
CREATE TRIGGER identity_audit_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON identity_audit
FOR EACH STATEMENT EXECUTE FUNCTION identity_audit_kept()
""",
)


def upgrade() -> None:
    op.create_table(
        "identity_accounts",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("name", sa.String(32), nullable=False),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("full_name", sa.Text),
        sa.Column("email", sa.Text),
        sa.Column("uid", sa.BigInteger, nullable=False),
        sa.Column("is_admin", sa.Boolean, nullable=False),
        sa.Column("password", sa.Text),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("frozen", sa.BigInteger),
        sa.Column("frozen_why", sa.Text),
        sa.Column("expires", sa.BigInteger),
        sa.Column("last_login", sa.BigInteger),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
        sa.UniqueConstraint("uid"),
        if_not_exists=True,
    )
    op.create_table(
        "identity_audit",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("action", sa.String(40), nullable=False),
        sa.Column("subject", sa.Text),
        sa.Column("address", sa.Text),
        sa.Column("detail", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
        if_not_exists=True,
    )
    op.create_index("ix_identity_audit_action", "identity_audit", ["action"], if_not_exists=True)
    op.create_index("ix_identity_audit_at", "identity_audit", ["at"], if_not_exists=True)
    op.create_table(
        "identity_flows",
        sa.Column("key", sa.String(22), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("provider", sa.String(40), nullable=False),
        sa.Column("nonce", sa.String(64), nullable=False),
        sa.Column("verifier", sa.String(128), nullable=False),
        sa.Column("redirect_uri", sa.Text, nullable=False),
        sa.Column("next_path", sa.Text, nullable=False),
        sa.Column("session", sa.String(22)),
        sa.Column("address", sa.String(64), nullable=False),
        sa.Column("expires", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("key"),
        if_not_exists=True,
    )
    op.create_index("ix_identity_flows_address", "identity_flows", ["address"], if_not_exists=True)
    op.create_index("ix_identity_flows_expires", "identity_flows", ["expires"], if_not_exists=True)
    op.create_table(
        "identity_groups",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("gid", sa.BigInteger, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("gid"),
        sa.UniqueConstraint("name"),
        if_not_exists=True,
    )
    op.create_table(
        "identity_guesses",
        sa.Column("subject", sa.String(80), nullable=False),
        sa.Column("window", sa.BigInteger, nullable=False),
        sa.Column("count", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("subject", "window"),
        if_not_exists=True,
    )
    op.create_table(
        "identity_numbers",
        sa.Column("name", sa.String(10), nullable=False),
        sa.Column("next", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name"),
        if_not_exists=True,
    )
    op.create_table(
        "identity_claimed_admins",
        sa.Column("account", sa.Integer, nullable=False),
        sa.Column("issuer", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(["account"], ["identity_accounts.id"]),
        sa.PrimaryKeyConstraint("account", "issuer"),
        if_not_exists=True,
    )
    op.create_table(
        "identity_devices",
        sa.Column("key", sa.String(22), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("user_digest", sa.String(64), nullable=False),
        sa.Column("client", sa.String(64), nullable=False),
        sa.Column("device", sa.String(40), nullable=False),
        sa.Column("scopes", sa.Text, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("network", sa.String(64), nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("account", sa.Integer),
        sa.Column("interval_s", sa.Integer, nullable=False),
        sa.Column("polled", sa.BigInteger),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("expires", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(["account"], ["identity_accounts.id"]),
        sa.PrimaryKeyConstraint("key"),
        sa.UniqueConstraint("user_digest"),
        if_not_exists=True,
    )
    op.create_index("ix_identity_devices_account", "identity_devices", ["account"], if_not_exists=True)
    op.create_index("ix_identity_devices_expires", "identity_devices", ["expires"], if_not_exists=True)
    op.create_index("ix_identity_devices_network", "identity_devices", ["network"], if_not_exists=True)
    op.create_table(
        "identity_external",
        sa.Column("issuer", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("account", sa.Integer, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("last_login", sa.BigInteger),
        sa.ForeignKeyConstraint(["account"], ["identity_accounts.id"]),
        sa.PrimaryKeyConstraint("issuer", "subject"),
        if_not_exists=True,
    )
    op.create_index("ix_identity_external_account", "identity_external", ["account"], if_not_exists=True)
    op.create_table(
        "identity_grants",
        sa.Column("group", sa.Integer, nullable=False),
        sa.Column("right", sa.String(60), nullable=False),
        sa.Column("expires", sa.BigInteger),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(["group"], ["identity_groups.id"]),
        sa.PrimaryKeyConstraint("group", "right"),
        if_not_exists=True,
    )
    op.create_table(
        "identity_links",
        sa.Column("key", sa.String(22), nullable=False),
        sa.Column("account", sa.Integer, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("expires", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(["account"], ["identity_accounts.id"]),
        sa.PrimaryKeyConstraint("key"),
        if_not_exists=True,
    )
    op.create_index("ix_identity_links_account", "identity_links", ["account"], if_not_exists=True)
    op.create_index("ix_identity_links_expires", "identity_links", ["expires"], if_not_exists=True)
    op.create_table(
        "identity_members",
        sa.Column("group", sa.Integer, nullable=False),
        sa.Column("account", sa.Integer, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("expires", sa.BigInteger),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(["account"], ["identity_accounts.id"]),
        sa.ForeignKeyConstraint(["group"], ["identity_groups.id"]),
        sa.PrimaryKeyConstraint("group", "account", "source"),
        if_not_exists=True,
    )
    op.create_index("ix_identity_members_account", "identity_members", ["account"], if_not_exists=True)
    op.create_table(
        "identity_sessions",
        sa.Column("key", sa.String(22), nullable=False),
        sa.Column("account", sa.Integer, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("address", sa.Text),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("expires", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(["account"], ["identity_accounts.id"]),
        sa.PrimaryKeyConstraint("key"),
        if_not_exists=True,
    )
    op.create_index("ix_identity_sessions_account", "identity_sessions", ["account"], if_not_exists=True)
    op.create_index("ix_identity_sessions_expires", "identity_sessions", ["expires"], if_not_exists=True)
    op.create_table(
        "identity_tokens",
        sa.Column("key", sa.String(22), nullable=False),
        sa.Column("account", sa.Integer, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("scopes", sa.Text, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("expires", sa.BigInteger),
        sa.Column("last_used", sa.BigInteger),
        sa.Column("revoked", sa.BigInteger),
        sa.Column("parent", sa.String(22)),
        sa.ForeignKeyConstraint(["account"], ["identity_accounts.id"]),
        sa.ForeignKeyConstraint(["parent"], ["identity_tokens.key"]),
        sa.PrimaryKeyConstraint("key"),
        if_not_exists=True,
    )
    op.create_index("ix_identity_tokens_account", "identity_tokens", ["account"], if_not_exists=True)
    op.create_index("ix_identity_tokens_parent", "identity_tokens", ["parent"], if_not_exists=True)
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("principal", sa.Text, nullable=False),
        sa.Column("phase", sa.String(10), nullable=False),
        sa.Column("run_id", sa.Text),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("queued", sa.BigInteger),
        sa.Column("started", sa.BigInteger),
        sa.Column("ended", sa.BigInteger),
        sa.Column("destruction", sa.BigInteger, nullable=False),
        sa.Column("execution_duration_s", sa.Integer, nullable=False),
        sa.Column("parameters", sa.Text, nullable=False),
        sa.Column("files", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("worker", sa.String(80)),
        sa.Column("lease", sa.BigInteger),
        sa.Column("progress", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("results", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        if_not_exists=True,
    )
    op.create_index("jobs_of_owner", "jobs", ["kind", "owner", "created"], if_not_exists=True)
    op.create_index("jobs_of_worker", "jobs", ["worker"], if_not_exists=True)
    op.create_index("jobs_to_destroy", "jobs", ["destruction"], if_not_exists=True)
    op.create_index("jobs_waiting", "jobs", ["phase", "owner", "queued"], if_not_exists=True)
    if op.get_bind().dialect.name == "sqlite":
        statements = tuple(_SQLITE_TRIGGER.format(what=what) for what in ("UPDATE", "DELETE"))
    else:
        statements = _POSTGRESQL
    for statement in statements:
        op.execute(statement)
