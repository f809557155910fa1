"""Identity's tables in the state database."""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()


def _time(name: str, *, optional: bool = True) -> sa.Column[int]:
    """Milliseconds since 1970 in UTC: one form that sorts and compares alike in SQLite and PostgreSQL."""
    return sa.Column(name, sa.BigInteger, nullable=optional)


ACCOUNTS = sa.Table(
    "identity_accounts",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(32), nullable=False, unique=True),
    sa.Column("kind", sa.String(10), nullable=False),
    sa.Column("full_name", sa.Text),
    sa.Column("email", sa.Text),
    sa.Column("uid", sa.BigInteger, nullable=False, unique=True),
    sa.Column("is_admin", sa.Boolean, nullable=False),
    sa.Column("password", sa.Text),
    _time("created", optional=False),
    _time("frozen"),
    sa.Column("frozen_why", sa.Text),
    _time("expires"),
    _time("last_login"),
)

#: Who an account is elsewhere; several identities may lead to one account.
IDENTITIES = sa.Table(
    "identity_external",
    metadata,
    sa.Column("issuer", sa.Text, primary_key=True),
    sa.Column("subject", sa.Text, primary_key=True),
    sa.Column("account", sa.ForeignKey(ACCOUNTS.c.id), nullable=False, index=True),
    _time("created", optional=False),
    _time("last_login"),
)

GROUPS = sa.Table(
    "identity_groups",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(64), nullable=False, unique=True),
    sa.Column("gid", sa.BigInteger, nullable=False, unique=True),
    sa.Column("description", sa.Text, nullable=False),
    _time("created", optional=False),
)

#: *source* is the issuer whose claims gave the place, and empty where people did.
MEMBERS = sa.Table(
    "identity_members",
    metadata,
    sa.Column("group", sa.ForeignKey(GROUPS.c.id), primary_key=True),
    sa.Column("account", sa.ForeignKey(ACCOUNTS.c.id), primary_key=True, index=True),
    sa.Column("source", sa.Text, primary_key=True),
    _time("expires"),
    _time("created", optional=False),
)

GRANTS = sa.Table(
    "identity_grants",
    metadata,
    sa.Column("group", sa.ForeignKey(GROUPS.c.id), primary_key=True),
    sa.Column("right", sa.String(60), primary_key=True),
    _time("expires"),
    _time("created", optional=False),
)

#: Groups that somebody owns and looks after. *given*: an administrator made them the owner's, and so means it where
#: dac.yaml names the group; else such a name counts for nobody.
USER_GROUPS = sa.Table(
    "identity_user_groups",
    metadata,
    sa.Column("group", sa.ForeignKey(GROUPS.c.id), primary_key=True),
    sa.Column("owner", sa.ForeignKey(ACCOUNTS.c.id), nullable=False, index=True),
    sa.Column("given", sa.Boolean, nullable=False),
)

#: Members who look after a group besides its owner.
MANAGERS = sa.Table(
    "identity_managers",
    metadata,
    sa.Column("group", sa.ForeignKey(GROUPS.c.id), primary_key=True),
    sa.Column("account", sa.ForeignKey(ACCOUNTS.c.id), primary_key=True, index=True),
)

#: Invitations to a group: to *account*, or to whoever has the link of which *digest* is the hash. Each is good *uses*
#: times; the places that it gives last until *member_expires*.
INVITATIONS = sa.Table(
    "identity_invitations",
    metadata,
    sa.Column("key", sa.String(22), primary_key=True),
    sa.Column("digest", sa.String(64)),
    sa.Column("group", sa.ForeignKey(GROUPS.c.id), nullable=False, index=True),
    sa.Column("account", sa.ForeignKey(ACCOUNTS.c.id), index=True),
    sa.Column("inviter", sa.ForeignKey(ACCOUNTS.c.id), nullable=False, index=True),
    sa.Column("uses", sa.Integer, nullable=False),
    _time("member_expires"),
    _time("created", optional=False),
    sa.Column("expires", sa.BigInteger, nullable=False, index=True),
)

#: Groups that were deleted: nobody gets their names or numbers again, which others may still trust. Where an
#: administrator took the name back, the number stays, under ``#`` and itself, which is no name.
RETIRED_GROUPS = sa.Table(
    "identity_retired_groups",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("gid", sa.BigInteger, nullable=False, unique=True),
    _time("retired", optional=False),
)

TOKENS = sa.Table(
    "identity_tokens",
    metadata,
    sa.Column("key", sa.String(22), primary_key=True),
    sa.Column("account", sa.ForeignKey(ACCOUNTS.c.id), nullable=False, index=True),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("kind", sa.String(10), nullable=False),
    sa.Column("name", sa.String(64), nullable=False),
    sa.Column("scopes", sa.Text, nullable=False),
    _time("created", optional=False),
    _time("expires"),
    _time("last_used"),
    _time("revoked"),
    sa.Column("parent", sa.ForeignKey("identity_tokens.key"), index=True),
)

#: Tokens of one account that an administrator asked for, to see what its holder sees; *administrator* null: somebody at
#: the machine itself.
LENT_TOKENS = sa.Table(
    "identity_lent_tokens",
    metadata,
    sa.Column("key", sa.ForeignKey(TOKENS.c.key), primary_key=True),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("administrator", sa.ForeignKey(ACCOUNTS.c.id), index=True),
    sa.Column("reason", sa.Text, nullable=False),
)

SESSIONS = sa.Table(
    "identity_sessions",
    metadata,
    sa.Column("key", sa.String(22), primary_key=True),
    sa.Column("account", sa.ForeignKey(ACCOUNTS.c.id), nullable=False, index=True),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("address", sa.Text),
    _time("created", optional=False),
    sa.Column("expires", sa.BigInteger, nullable=False, index=True),
)

#: One-time log-in links.
LINKS = sa.Table(
    "identity_links",
    metadata,
    sa.Column("key", sa.String(22), primary_key=True),
    sa.Column("account", sa.ForeignKey(ACCOUNTS.c.id), nullable=False, index=True),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("expires", sa.BigInteger, nullable=False, index=True),
)

#: Log-ins under way at an identity provider. *session* is that of somebody who links a further identity.
FLOWS = sa.Table(
    "identity_flows",
    metadata,
    sa.Column("key", sa.String(22), primary_key=True),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("provider", sa.String(40), nullable=False),
    sa.Column("nonce", sa.String(64), nullable=False),
    sa.Column("verifier", sa.String(128), nullable=False),
    sa.Column("redirect_uri", sa.Text, nullable=False),
    sa.Column("next_path", sa.Text, nullable=False),
    sa.Column("session", sa.String(22)),
    sa.Column("address", sa.String(64), nullable=False, index=True),
    sa.Column("expires", sa.BigInteger, nullable=False, index=True),
)

#: Log-ins of programs that have no browser (RFC 8628), from the code that they show until they fetch their token.
DEVICES = sa.Table(
    "identity_devices",
    metadata,
    sa.Column("key", sa.String(22), primary_key=True),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("user_digest", sa.String(64), nullable=False, unique=True),
    sa.Column("client", sa.String(64), nullable=False),
    sa.Column("device", sa.String(40), nullable=False),
    sa.Column("scopes", sa.Text, nullable=False),
    sa.Column("address", sa.Text, nullable=False),
    sa.Column("network", sa.String(64), nullable=False, index=True),
    sa.Column("state", sa.String(10), nullable=False),
    sa.Column("account", sa.ForeignKey(ACCOUNTS.c.id), index=True),
    sa.Column("interval_s", sa.Integer, nullable=False),
    _time("polled"),
    _time("created", optional=False),
    sa.Column("expires", sa.BigInteger, nullable=False, index=True),
)

#: Data rights by the word of an issuer, with no group between.
CLAIMED_RIGHTS = sa.Table(
    "identity_claimed_rights",
    metadata,
    sa.Column("account", sa.ForeignKey(ACCOUNTS.c.id), primary_key=True),
    sa.Column("issuer", sa.Text, primary_key=True),
    sa.Column("right", sa.String(60), primary_key=True),
    sa.Column("expires", sa.BigInteger, nullable=False),
    _time("created", optional=False),
)

#: Administrators by the word of an issuer, who are so until it says otherwise or a time has passed. *groups*: those of
#: the issuer that made them so, as a JSON list. Rows without these two are older than they are: they count no more, and
#: stay so that nobody takes such an administrator for an operator's.
CLAIMED_ADMINS = sa.Table(
    "identity_claimed_admins",
    metadata,
    sa.Column("account", sa.ForeignKey(ACCOUNTS.c.id), primary_key=True),
    sa.Column("issuer", sa.Text, primary_key=True),
    sa.Column("groups", sa.Text),
    _time("expires"),
)

#: Wrong guesses in one stretch of time, by what was guessed at or who guessed.
GUESSES = sa.Table(
    "identity_guesses",
    metadata,
    sa.Column("subject", sa.String(80), primary_key=True),
    sa.Column("window", sa.BigInteger, primary_key=True),
    sa.Column("count", sa.Integer, nullable=False),
)

#: Requests that processes have taken for a caller and service in the stretch of time that *ends* then.
RATES = sa.Table(
    "identity_rates",
    metadata,
    sa.Column("subject", sa.String(80), primary_key=True),
    sa.Column("service", sa.String(20), primary_key=True),
    sa.Column("ends", sa.BigInteger, nullable=False, index=True),
    sa.Column("taken", sa.BigInteger, nullable=False),
)

#: Limits that an administrator set for an account or a group, in place of those of dac.yaml; *amount* null: no limit.
QUOTAS = sa.Table(
    "identity_quotas",
    metadata,
    sa.Column("subject", sa.String(64), primary_key=True),
    sa.Column("limit", sa.String(20), primary_key=True),
    sa.Column("amount", sa.BigInteger),
    _time("expires"),
    _time("created", optional=False),
    sa.Column("actor", sa.Text, nullable=False),
)

#: The next number for a user or group. It only grows.
NUMBERS = sa.Table(
    "identity_numbers",
    metadata,
    sa.Column("name", sa.String(10), primary_key=True),
    sa.Column("next", sa.BigInteger, nullable=False),
)

AUDIT = sa.Table(
    "identity_audit",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at", sa.BigInteger, nullable=False, index=True),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("action", sa.String(40), nullable=False, index=True),
    sa.Column("subject", sa.Text),
    sa.Column("address", sa.Text),
    sa.Column("detail", sa.Text, nullable=False),
    sqlite_autoincrement=True,  # a number that was used is never used again
)

# The database itself refuses to change what was written down, whoever asks through this program.
_SQLITE_TRIGGER = """
CREATE TRIGGER identity_audit_{what} BEFORE {what} ON identity_audit
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END
"""
_POSTGRESQL = """
CREATE FUNCTION identity_audit_kept() RETURNS trigger LANGUAGE plpgsql AS
'BEGIN RAISE EXCEPTION ''the audit log is append-only''; END'
"""
_POSTGRESQL_TRIGGER = """
CREATE TRIGGER identity_audit_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON identity_audit
FOR EACH STATEMENT EXECUTE FUNCTION identity_audit_kept()
"""


def _listen(statement: str, dialect: str) -> None:
    # SQLAlchemy has no types for it.
    ddl = sa.DDL(statement).execute_if(dialect=dialect)  # type: ignore[no-untyped-call]
    sa.event.listen(AUDIT, "after_create", ddl)


for _what in ("UPDATE", "DELETE"):
    _listen(_SQLITE_TRIGGER.format(what=_what), "sqlite")
for _statement in (_POSTGRESQL, _POSTGRESQL_TRIGGER):
    _listen(_statement, "postgresql")
