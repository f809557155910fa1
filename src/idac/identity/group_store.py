"""Groups that people look after, in the state database: owners, managers, invitations, and names of deleted groups."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from idac.identity.credentials import Secret
from idac.identity.group_model import Invitation, Role, UserGroup
from idac.identity.model import Account, Member
from idac.identity.schema import (
    ACCOUNTS,
    AUDIT,
    GRANTS,
    GROUPS,
    INVITATIONS,
    MANAGERS,
    MEMBERS,
    QUOTAS,
    RETIRED_GROUPS,
    USER_GROUPS,
)
from idac.identity.store import Records, insert_into, is_storable, maybe_ms, maybe_time, ms, time

_OWNERS = ACCOUNTS.alias("owner_account")
_INVITERS = ACCOUNTS.alias("inviter_account")
#: Members of a deleted group whom the audit log names.
_TOLD = 1000


# -- groups ----------------------------------------------------------------------------------------------------------


def find_group(records: Records, name: str, *, lock: bool = False) -> UserGroup | None:
    """A group that somebody owns; with *lock*, nobody else changes it until this transaction ends."""
    # Locked first and read then: a statement that waited would still see the owner from before it.
    if not is_storable(name) or (lock and records.lock_group(name) is None):
        return None
    row = records.connection.execute(_groups().where(GROUPS.c.name == name)).first()
    return _group(row) if row is not None else None


def groups_of(records: Records, account_id: int) -> list[tuple[UserGroup, Role]]:
    """Groups that the account owns, or is a member of now, and what it is to each."""
    manages = sa.exists().where(MANAGERS.c.group == GROUPS.c.id, MANAGERS.c.account == account_id)
    member = sa.select(MEMBERS.c.group).where(MEMBERS.c.account == account_id, _lasts(MEMBERS.c.expires, records.ms))
    mine = sa.or_(USER_GROUPS.c.owner == account_id, GROUPS.c.id.in_(member))
    query = _groups().add_columns(USER_GROUPS.c.owner.label("owner_id"), manages.label("manages"))
    return [
        (_group(row), "owner" if row.owner_id == account_id else "manager" if row.manages else "member")
        for row in records.connection.execute(query.where(mine).order_by(GROUPS.c.name))
    ]


def owners(records: Records) -> dict[str, str]:
    """The owner of each group that has one, by its name."""
    return {row.name: row.owner for row in records.connection.execute(_groups())}


def room_taken(records: Records, account: Account) -> int:
    """How many groups the account owns, and names of deleted ones it made; neither grows until this transaction ends.

    Else one account could use up as many names as it liked, which nobody gets again.
    """
    records.lock_account(account.id)
    owned = sa.select(sa.func.count()).select_from(USER_GROUPS).where(USER_GROUPS.c.owner == account.id)
    made = sa.select(AUDIT.c.subject, sa.func.max(AUDIT.c.id).label("last")).group_by(AUDIT.c.subject)
    made = made.where(AUDIT.c.action.in_(("group add", "group make")))
    last = made.subquery()
    used_up = RETIRED_GROUPS.join(last, last.c.subject == RETIRED_GROUPS.c.name).join(AUDIT, AUDIT.c.id == last.c.last)
    gone = sa.select(sa.func.count()).select_from(used_up)
    gone = gone.where(AUDIT.c.action == "group make", AUDIT.c.actor == account.name)
    return sum(int(records.connection.execute(query).scalar_one()) for query in (owned, gone))


def put_owner(records: Records, group_id: int, account_id: int, *, given: bool | None = None) -> None:
    """Make the account the group's owner. *given* None: as it was, or not given where it had none."""
    insert = insert_into(records.connection, USER_GROUPS).values(group=group_id, owner=account_id, given=bool(given))
    changed = {"owner": account_id} | ({} if given is None else {"given": given})
    records.connection.execute(insert.on_conflict_do_update(index_elements=[USER_GROUPS.c.group], set_=changed))


def remove_owner(records: Records, group_id: int) -> None:
    """Leave the group to administrators alone, with its members."""
    for table in (INVITATIONS, MANAGERS, USER_GROUPS):
        records.connection.execute(sa.delete(table).where(table.c.group == group_id))


def remove_group(records: Records, group_id: int, name: str, *, actor: str) -> list[str]:
    """Remove the group and all that hangs on it; its name and number are kept from everybody.

    Returns the limits that were set for it, which are gone with it.
    """
    found, left = find_group(records, name), sorted({member.account for member in members(records, group_id)})
    gid = records.connection.execute(sa.select(GROUPS.c.gid).where(GROUPS.c.id == group_id)).scalar_one()
    remove_owner(records, group_id)
    for table in (MEMBERS, GRANTS):
        records.connection.execute(sa.delete(table).where(table.c.group == group_id))
    gone = sa.delete(QUOTAS).where(QUOTAS.c.subject == name).returning(QUOTAS.c.limit)
    quotas = sorted(records.connection.execute(gone).scalars())
    records.connection.execute(sa.delete(GROUPS).where(GROUPS.c.id == group_id))
    free_name(records, name)  # of an earlier group: before claims were kept from it, they made such groups again
    records.connection.execute(RETIRED_GROUPS.insert().values(name=name, gid=gid, retired=records.ms))
    records.note(
        actor,
        "group delete",
        name,
        owner=found.owner if found is not None else None,
        gid=gid,
        members=len(left),
        left=left[:_TOLD],
        quotas=quotas or None,
    )
    return quotas


def free_name(records: Records, name: str) -> int | None:
    """Let the name of a deleted group be given again, and not its number, which is returned; None where there was none.

    What hung on the group is gone since it was deleted.
    """
    # The row keeps the number under what is no name.
    number = sa.literal("#") + sa.cast(RETIRED_GROUPS.c.gid, sa.String)
    changed = sa.update(RETIRED_GROUPS).where(RETIRED_GROUPS.c.name == name).values(name=number)
    return records.connection.execute(changed.returning(RETIRED_GROUPS.c.gid)).scalar_one_or_none()


def is_free(records: Records, name: str) -> bool:
    """True for a name that no account and no group has, or had; nobody else gets one until this transaction ends."""
    records.lock_names()
    return records.account(name) is None and records.group_id(name) is None and not records.is_retired(name)


# -- members and managers --------------------------------------------------------------------------------------------


def members(records: Records, group_id: int) -> list[Member]:
    """Everyone who is in the group now."""
    query = sa.select(MEMBERS, ACCOUNTS.c.name).join(ACCOUNTS, MEMBERS.c.account == ACCOUNTS.c.id)
    query = query.where(MEMBERS.c.group == group_id, _lasts(MEMBERS.c.expires, records.ms))
    rows = records.connection.execute(query.order_by(ACCOUNTS.c.name, MEMBERS.c.source))
    return [Member(row.name, row.source or None, maybe_time(row.expires)) for row in rows]


def count_members(records: Records, group_id: int) -> int:
    """How many accounts are in the group now."""
    count = sa.select(sa.func.count(MEMBERS.c.account.distinct())).where(MEMBERS.c.group == group_id)
    return int(records.connection.execute(count.where(_lasts(MEMBERS.c.expires, records.ms))).scalar_one())


def is_member(records: Records, group_id: int, account_id: int) -> bool:
    query = sa.select(MEMBERS.c.group).where(MEMBERS.c.group == group_id, MEMBERS.c.account == account_id)
    return records.connection.execute(query.where(_lasts(MEMBERS.c.expires, records.ms))).first() is not None


def managers(records: Records, group_id: int) -> frozenset[str]:
    """Those members who look after the group besides its owner; whose place has ended is none of them."""
    mine = sa.and_(MEMBERS.c.group == MANAGERS.c.group, MEMBERS.c.account == MANAGERS.c.account)
    query = sa.select(ACCOUNTS.c.name).join(MANAGERS, MANAGERS.c.account == ACCOUNTS.c.id).join(MEMBERS, mine)
    query = query.where(MANAGERS.c.group == group_id, _lasts(MEMBERS.c.expires, records.ms))
    return frozenset(records.connection.execute(query).scalars())


def is_member_by_claim_alone(records: Records, group_id: int, account_id: int) -> bool:
    """Whether providers give the account all the places that it has in the group now."""
    query = sa.select(MEMBERS.c.source).where(MEMBERS.c.group == group_id, MEMBERS.c.account == account_id)
    sources = set(records.connection.execute(query.where(_lasts(MEMBERS.c.expires, records.ms))).scalars())
    return bool(sources) and "" not in sources


def add_member(
    records: Records, group_id: int, account_id: int, *, source: str = "", expires: datetime | None = None
) -> None:
    """Make the account a member by the word of *source*, or set a new date where it is one.

    Whoever managed the group until an earlier place of theirs ended is no manager again by this.
    """
    if not is_member(records, group_id, account_id):
        lapsed = sa.delete(MANAGERS).where(MANAGERS.c.group == group_id, MANAGERS.c.account == account_id)
        if records.connection.execute(lapsed).rowcount:
            remove_manager(records, group_id, account_id)
    records.put_member(group_id, account_id, source=source, expires=expires)


def remove_claimed_places(
    records: Records, account_id: int, issuer: str | None = None, *, but: Collection[int] = ()
) -> None:
    """End the places that claims of *issuer*, or with None of any, gave the account, but those in the groups *but*.

    Where it has no other place it looks after the group no more, and the invitations that it gave as a manager end. The
    account is locked before.
    """
    by_claim = MEMBERS.c.source != "" if issuer is None else MEMBERS.c.source == issuer
    gone = sa.delete(MEMBERS).where(MEMBERS.c.account == account_id, by_claim, MEMBERS.c.group.not_in(but))
    records.connection.execute(gone)
    place = sa.exists().where(
        MEMBERS.c.group == MANAGERS.c.group,
        MEMBERS.c.account == account_id,
        _lasts(MEMBERS.c.expires, records.ms),
    )
    left = sa.select(MANAGERS.c.group).where(MANAGERS.c.account == account_id, sa.not_(place))
    for group_id in records.connection.execute(left.order_by(MANAGERS.c.group)).scalars().all():
        remove_manager(records, group_id, account_id)


def add_manager(records: Records, group_id: int, account_id: int) -> None:
    insert = insert_into(records.connection, MANAGERS).values(group=group_id, account=account_id)
    records.connection.execute(insert.on_conflict_do_nothing())


def remove_manager(records: Records, group_id: int, account_id: int) -> bool:
    """End somebody's looking after the group, with the invitations that they gave; False where they did not."""
    gone = sa.delete(MANAGERS).where(MANAGERS.c.group == group_id, MANAGERS.c.account == account_id)
    given = sa.delete(INVITATIONS).where(INVITATIONS.c.group == group_id, INVITATIONS.c.inviter == account_id)
    records.connection.execute(given)
    return records.connection.execute(gone).rowcount > 0


# -- invitations -----------------------------------------------------------------------------------------------------


def add_invitation(
    records: Records,
    secret: Secret,
    group_id: int,
    inviter_id: int,
    *,
    account_id: int | None,
    uses: int,
    expires: datetime,
    member_expires: datetime | None,
) -> None:
    """Keep an invitation to an account, in place of an earlier one, or with None one to whoever has its secret."""
    # Those that somebody else is about to remove are left to them: they may wait for what this transaction holds.
    over = sa.select(INVITATIONS.c.key).where(INVITATIONS.c.expires <= records.ms).with_for_update(skip_locked=True)
    records.connection.execute(sa.delete(INVITATIONS).where(INVITATIONS.c.key.in_(over)))
    if account_id is not None:
        earlier = sa.delete(INVITATIONS).where(INVITATIONS.c.group == group_id, INVITATIONS.c.account == account_id)
        records.connection.execute(earlier)
    records.connection.execute(
        INVITATIONS.insert().values(
            key=secret.key,
            digest=secret.digest if account_id is None else None,
            group=group_id,
            account=account_id,
            inviter=inviter_id,
            uses=uses,
            member_expires=maybe_ms(member_expires),
            created=records.ms,
            expires=ms(expires),
        )
    )


def invitations_to_group(records: Records, group_id: int) -> list[Invitation]:
    """Those that are open, oldest first."""
    query = _invitations(records).where(INVITATIONS.c.group == group_id)
    rows = records.connection.execute(query.order_by(INVITATIONS.c.created, INVITATIONS.c.key))
    return [_invitation(row) for row in rows]


def invitations_to_account(records: Records, account_id: int) -> list[Invitation]:
    """Those that hold now, oldest first."""
    query = _invitations(records).where(INVITATIONS.c.account == account_id, _holds(records.ms))
    rows = records.connection.execute(query.order_by(INVITATIONS.c.created, INVITATIONS.c.key))
    return [_invitation(row) for row in rows]


def count_other_invitations(records: Records, account_id: int, group_id: int) -> int:
    """How many invitations to other groups the account has that hold; it gets no further one until this ends."""
    records.lock_account(account_id)
    others = _invitations(records).where(INVITATIONS.c.account == account_id, INVITATIONS.c.group != group_id)
    holding = others.where(_holds(records.ms)).subquery()
    return int(records.connection.execute(sa.select(sa.func.count()).select_from(holding)).scalar_one())


def find_invitation(records: Records, key: str) -> tuple[Invitation, str | None] | None:
    """An invitation that has not expired, and the hash of its secret, where it has one."""
    if not is_storable(key):
        return None
    row = records.connection.execute(_invitations(records).where(INVITATIONS.c.key == key)).first()
    return (_invitation(row), row.digest) if row is not None else None


def take_invitation(records: Records, key: str) -> bool:
    """Use an invitation once; False where others used it up first."""
    used = sa.update(INVITATIONS).where(INVITATIONS.c.key == key, INVITATIONS.c.uses > 0)
    if records.connection.execute(used.values(uses=INVITATIONS.c.uses - 1)).rowcount == 0:
        return False
    records.connection.execute(sa.delete(INVITATIONS).where(INVITATIONS.c.key == key, INVITATIONS.c.uses <= 0))
    return True


def remove_invitation(records: Records, key: str) -> None:
    records.connection.execute(sa.delete(INVITATIONS).where(INVITATIONS.c.key == key))


# -- rows ------------------------------------------------------------------------------------------------------------


def _groups() -> sa.Select[Any]:
    return (
        sa.select(GROUPS, _OWNERS.c.name.label("owner"), USER_GROUPS.c.given)
        .join(USER_GROUPS, USER_GROUPS.c.group == GROUPS.c.id)
        .join(_OWNERS, USER_GROUPS.c.owner == _OWNERS.c.id)
    )


def _group(row: sa.Row[Any]) -> UserGroup:
    return UserGroup(row.id, row.name, row.gid, row.description, row.owner, row.given, time(row.created))


def _invitations(records: Records) -> sa.Select[Any]:
    """Invitations that have not expired."""
    return (
        sa.select(
            INVITATIONS,
            GROUPS.c.name.label("group_name"),
            GROUPS.c.description,
            ACCOUNTS.c.name.label("account_name"),
            _INVITERS.c.name.label("inviter_name"),
            _holds(records.ms).label("holds"),
            _looks_after(records.ms).label("looks_after"),
        )
        .join(GROUPS, INVITATIONS.c.group == GROUPS.c.id)
        .join(USER_GROUPS, USER_GROUPS.c.group == GROUPS.c.id)
        .join(_OWNERS, USER_GROUPS.c.owner == _OWNERS.c.id)
        .join(_INVITERS, INVITATIONS.c.inviter == _INVITERS.c.id)
        .join(ACCOUNTS, INVITATIONS.c.account == ACCOUNTS.c.id, isouter=True)
        .where(INVITATIONS.c.expires > records.ms)
    )


def _holds(now: int) -> sa.ColumnElement[bool]:
    """Whether its giver may still give it, and neither they nor the group's owner are shut out."""
    active = [
        condition
        for account in (_OWNERS, _INVITERS)
        for condition in (account.c.frozen.is_(None), _lasts(account.c.expires, now))
    ]
    return sa.and_(*active, sa.or_(_INVITERS.c.is_admin, _looks_after(now)))


def _looks_after(now: int) -> sa.ColumnElement[bool]:
    """Whether an invitation's giver owns or manages the group."""
    place = sa.and_(MEMBERS.c.group == MANAGERS.c.group, MEMBERS.c.account == MANAGERS.c.account)
    manages = (
        sa.select(MANAGERS.c.group)
        .join(MEMBERS, place)
        .where(
            MANAGERS.c.group == INVITATIONS.c.group,
            MANAGERS.c.account == INVITATIONS.c.inviter,
            _lasts(MEMBERS.c.expires, now),
        )
    )
    return sa.or_(_INVITERS.c.id == _OWNERS.c.id, manages.exists())


def _invitation(row: sa.Row[Any]) -> Invitation:
    return Invitation(
        key=row.key,
        group=row.group_name,
        description=row.description,
        inviter=row.inviter_name,
        account=row.account_name,
        uses=row.uses,
        created=time(row.created),
        expires=time(row.expires),
        member_expires=maybe_time(row.member_expires),
        holds=row.holds,
        by_administrator=not row.looks_after,
    )


def _lasts(expires: sa.Column[int], now: int) -> sa.ColumnElement[bool]:
    return sa.or_(expires.is_(None), expires > now)
