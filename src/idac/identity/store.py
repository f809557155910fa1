"""Identity in the state database: what is there, read and written inside the caller's transaction."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from idac.core.database import Database
from idac.identity.model import Account, AccountKind, Action, AuditEntry, Grant, Group, Member
from idac.identity.schema import (
    ACCOUNTS,
    AUDIT,
    CLAIMED_ADMINS,
    GRANTS,
    GROUPS,
    GUESSES,
    IDENTITIES,
    LINKS,
    MEMBERS,
    NUMBERS,
    RETIRED_GROUPS,
    SESSIONS,
)

#: Rows read at once where there may be millions.
_BATCH = 1000


class IdentityStore:
    """Opens transactions on identity's tables. Thread-safe. *now* is the clock, for tests to turn."""

    def __init__(
        self, database: Database, *, first_id: int = 100_000, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._database = database
        self.now = now
        with database.begin() as connection:
            first = insert_into(connection, NUMBERS).values(name="id", next=first_id)
            connection.execute(first.on_conflict_do_nothing())

    @property
    def database(self) -> Database:
        """Where it is kept, with what other parts keep."""
        return self._database

    @contextmanager
    def read(self) -> Iterator[Records]:
        with self._database.read() as connection:
            yield Records(connection, self.now())

    @contextmanager
    def write(self) -> Iterator[Records]:
        """A transaction that others see all of or nothing."""
        with self._database.begin() as connection:
            yield Records(connection, self.now())

    def iter_audit(
        self, *, since: datetime | None = None, actions: Collection[str] = (), subject: str | None = None
    ) -> Iterator[AuditEntry]:
        """The audit log from its beginning, or from *since*, some entries at a time.

        *subject*: what this account did, what was done to it, and what was done to a group with a word of it.
        """
        query = sa.select(AUDIT).order_by(AUDIT.c.id).limit(_BATCH)
        if since is not None:
            query = query.where(AUDIT.c.at >= ms(since))
        if actions:
            query = query.where(AUDIT.c.action.in_(actions))
        if subject is not None:
            quoted = AUDIT.c.detail.contains(json.dumps(subject, ensure_ascii=False), autoescape=True)
            query = query.where(sa.or_(AUDIT.c.subject == subject, AUDIT.c.actor == subject, quoted))
        last = 0
        while True:
            with self._database.read() as connection:
                rows = connection.execute(query.where(AUDIT.c.id > last)).all()
            entries = map(_entry, rows)
            yield from entries if subject is None else (entry for entry in entries if entry.is_of(subject))
            if len(rows) < _BATCH:
                return
            last = rows[-1].id


class Records:
    """Accounts, groups, log-ins and the audit log, in one transaction at the moment *now*."""

    def __init__(self, connection: sa.Connection, now: datetime) -> None:
        self.connection = connection
        self.now = now
        self.ms = ms(now)

    # -- locks: what is looked at after one is so until the transaction ends; SQLite has one writer anyway ------------

    def lock_names(self) -> None:
        """Let nobody else give a name, a number or an identity to an account or a group until this transaction ends.

        It comes before every other lock, so that no two transactions wait for each other.
        """
        self.connection.execute(sa.select(NUMBERS.c.next).where(NUMBERS.c.name == "id").with_for_update())

    def lock_account(self, account_id: int) -> Account:
        """Let nobody else give the account more of anything, or change it, until this transaction ends.

        Returns it as it is now: what was read before may be so no longer. It comes after the locks of groups. Places in
        groups can still be given to it.
        """
        query = sa.select(ACCOUNTS.c.id).where(ACCOUNTS.c.id == account_id)
        self.connection.execute(query.with_for_update(key_share=True))
        found = self.account_by_id(account_id)
        assert found is not None  # noqa: S101  accounts are never removed
        return found

    def lock_group(self, name: str, *, shared: bool = False) -> int | None:
        """Let nobody else change the group until this transaction ends; returns its id, None where it is not there.

        *shared*: it stays, and others may come into it meanwhile.
        """
        if not is_storable(name):
            return None
        query = sa.select(GROUPS.c.id).where(GROUPS.c.name == name)
        return self.connection.execute(query.with_for_update(read=shared, key_share=shared)).scalar_one_or_none()

    # -- accounts ----------------------------------------------------------------------------------------------------

    def add_account(
        self,
        name: str,
        kind: AccountKind,
        *,
        uid: int | None = None,
        full_name: str | None = None,
        email: str | None = None,
        is_admin: bool = False,
        password: str | None = None,
        expires: datetime | None = None,
    ) -> Account:
        """A new account; *uid* only where it must be a number that it has elsewhere."""
        values = {
            "name": name,
            "kind": kind,
            "full_name": full_name,
            "email": email,
            "uid": self.number(uid),
            "is_admin": is_admin,
            "password": password,
            "created": self.ms,
            "expires": maybe_ms(expires),
        }
        self.connection.execute(ACCOUNTS.insert().values(values))
        found = self.account(name)
        assert found is not None  # noqa: S101  inserted in the line above
        return found

    def number(self, wanted: int | None = None) -> int:
        """A number for a user or group that none ever had; *wanted* itself where it is given."""
        if wanted is not None:
            above = sa.update(NUMBERS).where(NUMBERS.c.name == "id", NUMBERS.c.next <= wanted)
            self.connection.execute(above.values(next=wanted + 1))
            return wanted
        taken = sa.update(NUMBERS).where(NUMBERS.c.name == "id").values(next=NUMBERS.c.next + 1)
        return int(self.connection.execute(taken.returning(NUMBERS.c.next)).scalar_one()) - 1

    def has_number(self, number: int) -> bool:
        """Whether a user or group has it, or had."""
        users = sa.select(ACCOUNTS.c.uid).where(ACCOUNTS.c.uid == number)
        groups = sa.select(GROUPS.c.gid).where(GROUPS.c.gid == number)
        gone = sa.select(RETIRED_GROUPS.c.gid).where(RETIRED_GROUPS.c.gid == number)
        return self.connection.execute(users.union(groups, gone)).first() is not None

    def account(self, name: str) -> Account | None:
        if not is_storable(name):
            return None
        row = self.connection.execute(sa.select(ACCOUNTS).where(ACCOUNTS.c.name == name)).first()
        return account_of(row) if row is not None else None

    def account_by_id(self, account_id: int) -> Account | None:
        row = self.connection.execute(sa.select(ACCOUNTS).where(ACCOUNTS.c.id == account_id)).first()
        return account_of(row) if row is not None else None

    def accounts(self) -> list[Account]:
        return [account_of(row) for row in self.connection.execute(sa.select(ACCOUNTS).order_by(ACCOUNTS.c.name))]

    def change_account(self, account_id: int, **values: Any) -> None:
        self.connection.execute(sa.update(ACCOUNTS).where(ACCOUNTS.c.id == account_id).values(values))

    def password_hash(self, account_id: int) -> str | None:
        query = sa.select(ACCOUNTS.c.password).where(ACCOUNTS.c.id == account_id)
        return self.connection.execute(query).scalar_one_or_none()

    def replace_password(self, account_id: int, before: str, hashed: str) -> bool:
        """Keep another hash of the same password; False where the password is another by now."""
        change = sa.update(ACCOUNTS).where(ACCOUNTS.c.id == account_id, ACCOUNTS.c.password == before)
        return self.connection.execute(change.values(password=hashed)).rowcount > 0

    def account_of_identity(self, issuer: str, subject: str) -> Account | None:
        query = sa.select(ACCOUNTS).join(IDENTITIES, IDENTITIES.c.account == ACCOUNTS.c.id)
        row = self.connection.execute(
            query.where(IDENTITIES.c.issuer == issuer, IDENTITIES.c.subject == subject)
        ).first()
        return account_of(row) if row is not None else None

    def link_identity(self, account_id: int, issuer: str, subject: str) -> None:
        values = {"issuer": issuer, "subject": subject, "account": account_id, "created": self.ms}
        self.connection.execute(IDENTITIES.insert().values(values))

    def unlink_identity(self, account_id: int, issuer: str, subject: str) -> None:
        gone = sa.delete(IDENTITIES).where(IDENTITIES.c.account == account_id, IDENTITIES.c.issuer == issuer)
        self.connection.execute(gone.where(IDENTITIES.c.subject == subject))

    def identities(self, account_id: int) -> list[tuple[str, str]]:
        """Issuer and subject of each identity that leads to the account."""
        query = sa.select(IDENTITIES.c.issuer, IDENTITIES.c.subject).where(IDENTITIES.c.account == account_id)
        return [(row.issuer, row.subject) for row in self.connection.execute(query.order_by(IDENTITIES.c.created))]

    def claimed_administrator(self, account_id: int) -> set[str]:
        """The issuers by whose word the account is an administrator's."""
        query = sa.select(CLAIMED_ADMINS.c.issuer).where(CLAIMED_ADMINS.c.account == account_id)
        return set(self.connection.execute(query).scalars())

    def put_claimed_administrator(
        self, account_id: int, issuer: str, groups: Collection[str], expires: datetime | None
    ) -> None:
        """Let the account be an administrator's by the issuer's word, as it is in these groups of that, until then."""
        said = {"groups": json.dumps(sorted(groups)), "expires": maybe_ms(expires)}
        insert = insert_into(self.connection, CLAIMED_ADMINS).values(account=account_id, issuer=issuer, **said)
        keys = [CLAIMED_ADMINS.c.account, CLAIMED_ADMINS.c.issuer]
        self.connection.execute(insert.on_conflict_do_update(index_elements=keys, set_=said))

    def remove_claimed_administrator(self, account_id: int, issuer: str) -> None:
        gone = sa.delete(CLAIMED_ADMINS).where(CLAIMED_ADMINS.c.account == account_id)
        self.connection.execute(gone.where(CLAIMED_ADMINS.c.issuer == issuer))

    # -- groups ------------------------------------------------------------------------------------------------------

    def add_group(self, name: str, description: str = "", *, gid: int | None = None) -> int:
        values = {"name": name, "gid": self.number(gid), "description": description, "created": self.ms}
        made = self.connection.execute(GROUPS.insert().values(values).returning(GROUPS.c.id))
        return int(made.scalar_one())

    def group_id(self, name: str) -> int | None:
        if not is_storable(name):
            return None
        return self.connection.execute(sa.select(GROUPS.c.id).where(GROUPS.c.name == name)).scalar_one_or_none()

    def is_retired(self, name: str) -> bool:
        """True for the name of a group that was deleted, which nobody gets again."""
        query = sa.select(RETIRED_GROUPS.c.name).where(RETIRED_GROUPS.c.name == name)
        return self.connection.execute(query).first() is not None

    def groups(self) -> list[Group]:
        """Every group with its members and rights."""
        members: dict[int, list[Member]] = {}
        query = sa.select(MEMBERS, ACCOUNTS.c.name).join(ACCOUNTS, MEMBERS.c.account == ACCOUNTS.c.id)
        for row in self.connection.execute(query.order_by(ACCOUNTS.c.name, MEMBERS.c.source)):
            members.setdefault(row.group, []).append(Member(row.name, row.source or None, maybe_time(row.expires)))
        grants: dict[int, list[Grant]] = {}
        for row in self.connection.execute(sa.select(GRANTS).order_by(GRANTS.c.right)):
            grants.setdefault(row.group, []).append(Grant(row.right, maybe_time(row.expires)))
        return [
            Group(
                row.name,
                row.gid,
                row.description,
                time(row.created),
                tuple(members.get(row.id, ())),
                tuple(grants.get(row.id, ())),
            )
            for row in self.connection.execute(sa.select(GROUPS).order_by(GROUPS.c.name))
        ]

    def put_member(self, group_id: int, account_id: int, *, source: str = "", expires: datetime | None = None) -> None:
        """Make the account a member, or set a new date where it is one."""
        insert = insert_into(self.connection, MEMBERS).values(
            group=group_id, account=account_id, source=source, expires=maybe_ms(expires), created=self.ms
        )
        keys = [MEMBERS.c.group, MEMBERS.c.account, MEMBERS.c.source]
        changed = insert.on_conflict_do_update(index_elements=keys, set_={"expires": insert.excluded.expires})
        self.connection.execute(changed)

    def remove_member(self, group_id: int, account_id: int) -> bool:
        """End membership, from whatever source; False where there was none."""
        gone = sa.delete(MEMBERS).where(MEMBERS.c.group == group_id, MEMBERS.c.account == account_id)
        return self.connection.execute(gone).rowcount > 0

    def put_grant(self, group_id: int, right: str, expires: datetime | None) -> None:
        insert = insert_into(self.connection, GRANTS).values(
            group=group_id, right=right, expires=maybe_ms(expires), created=self.ms
        )
        keys = [GRANTS.c.group, GRANTS.c.right]
        changed = insert.on_conflict_do_update(index_elements=keys, set_={"expires": insert.excluded.expires})
        self.connection.execute(changed)

    def remove_grant(self, group_id: int, right: str) -> bool:
        gone = sa.delete(GRANTS).where(GRANTS.c.group == group_id, GRANTS.c.right == right)
        return self.connection.execute(gone).rowcount > 0

    # -- sessions, links and guesses -----------------------------------------------------------------------------------

    def add_session(self, key: str, digest: str, account_id: int, expires: datetime, address: str | None) -> None:
        values = {"key": key, "account": account_id, "digest": digest, "address": address}
        self.connection.execute(SESSIONS.insert().values(**values, created=self.ms, expires=ms(expires)))
        # Those that somebody else is about to remove are left to them: they may wait for what this transaction holds.
        gone = sa.select(SESSIONS.c.key).where(SESSIONS.c.expires <= self.ms).with_for_update(skip_locked=True)
        self.connection.execute(sa.delete(SESSIONS).where(SESSIONS.c.key.in_(gone)))

    def lock_session(self, key: str, account_id: int) -> bool:
        """Whether the session is one of the account and has not ended; nobody ends it before this transaction does.

        It comes after the locks of accounts.
        """
        query = sa.select(SESSIONS.c.key).where(SESSIONS.c.key == key, SESSIONS.c.account == account_id)
        query = query.where(SESSIONS.c.expires > self.ms).with_for_update(read=True)
        return self.connection.execute(query).first() is not None

    def end_session(self, key: str) -> None:
        self.connection.execute(sa.delete(SESSIONS).where(SESSIONS.c.key == key))

    def end_session_of(self, key: str, digest: str) -> None:
        """End a session for whoever holds its secret."""
        gone = sa.delete(SESSIONS).where(SESSIONS.c.key == key, SESSIONS.c.digest == digest)
        self.connection.execute(gone)

    def end_sessions(self, account_id: int, *, but: str | None = None) -> int:
        """Log the account out of every browser but the one whose session's key is *but*; returns of how many."""
        gone = sa.delete(SESSIONS).where(SESSIONS.c.account == account_id)
        return self.connection.execute(gone if but is None else gone.where(SESSIONS.c.key != but)).rowcount

    def add_link(self, key: str, digest: str, account_id: int, expires: datetime) -> None:
        self.connection.execute(LINKS.insert().values(key=key, account=account_id, digest=digest, expires=ms(expires)))

    def take_link(self, key: str) -> tuple[str, int] | None:
        """Hash and account of a link that is still good, which it is no longer: only one caller ever gets them."""
        self.connection.execute(sa.delete(LINKS).where(LINKS.c.expires <= self.ms))
        taken = sa.delete(LINKS).where(LINKS.c.key == key).returning(LINKS.c.digest, LINKS.c.account)
        row = self.connection.execute(taken).first()
        return (row.digest, row.account) if row is not None else None

    def remove_links(self, account_id: int) -> None:
        self.connection.execute(sa.delete(LINKS).where(LINKS.c.account == account_id))

    def guesses(self, subject: str, window: int) -> int:
        query = sa.select(GUESSES.c.count).where(GUESSES.c.subject == subject, GUESSES.c.window == window)
        return int(self.connection.execute(query).scalar_one_or_none() or 0)

    def count_guess(self, subject: str, window: int) -> int:
        """One more wrong guess in this stretch of time; returns how many there were."""
        self.connection.execute(sa.delete(GUESSES).where(GUESSES.c.window < window))
        insert = insert_into(self.connection, GUESSES).values(subject=subject, window=window, count=1)
        more = insert.on_conflict_do_update(
            index_elements=[GUESSES.c.subject, GUESSES.c.window], set_={"count": GUESSES.c.count + 1}
        )
        return int(self.connection.execute(more.returning(GUESSES.c.count)).scalar_one())

    # -- the audit log -----------------------------------------------------------------------------------------------

    def note(
        self, actor: str, action: Action, subject: str | None = None, *, address: str | None = None, **detail: object
    ) -> None:
        """Write down that *actor* did *action*; in the same transaction as the act itself."""
        shown = {name: value for name, value in detail.items() if value is not None}
        # Callers' words may have halves of characters in them, which no database takes.
        text = json.dumps(shown, default=_plain, ensure_ascii=False).encode("utf-8", "replace").decode()
        # A path may have a NUL in it, which PostgreSQL has no place for.
        subject = subject.replace("\0", "\\0") if subject is not None else None
        values = {"at": self.ms, "actor": actor, "action": action, "subject": subject, "address": address}
        self.connection.execute(AUDIT.insert().values(**values, detail=text))


def insert_into(connection: sa.Connection, table: sa.Table) -> Any:
    """INSERT with ON CONFLICT, which both databases have and SQLAlchemy's common form has not."""
    return (sqlite if connection.dialect.name == "sqlite" else postgresql).insert(table)


def is_storable(text: str) -> bool:
    """False for what names nothing, as no database keeps it: NUL in PostgreSQL, and half a character in both."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def account_of(row: sa.Row[Any]) -> Account:
    return Account(
        id=row.id,
        name=row.name,
        kind=row.kind,
        full_name=row.full_name,
        email=row.email,
        uid=row.uid,
        is_admin=row.is_admin,
        has_password=row.password is not None,
        created=time(row.created),
        frozen=maybe_time(row.frozen),
        frozen_why=row.frozen_why,
        expires=maybe_time(row.expires),
        last_login=maybe_time(row.last_login),
    )


def _entry(row: sa.Row[Any]) -> AuditEntry:
    return AuditEntry(time(row.at), row.actor, row.action, row.subject, row.address, json.loads(row.detail))


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    return sorted(value) if isinstance(value, set | frozenset) else str(value)


def ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def maybe_ms(moment: datetime | None) -> int | None:
    return ms(moment) if moment is not None else None


def time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, tz=UTC)


def maybe_time(milliseconds: int | None) -> datetime | None:
    return time(milliseconds) if milliseconds is not None else None
