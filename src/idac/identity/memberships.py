"""Which places in groups count for an account: the one rule for rights, quotas and all else."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from idac.identity.group_names import GroupNames
from idac.identity.issuers import Issuers
from idac.identity.schema import ACCOUNTS, GROUPS, MEMBERS, USER_GROUPS
from idac.identity.store import Records

_OWNERS = ACCOUNTS.alias("group_owner")


def places(account_id: int, now_ms: int, *more: Any) -> sa.Select[Any]:
    """Places of the account that have not ended, with what ``counts`` asks for, and *more* columns."""
    return (
        sa.select(
            GROUPS.c.name,
            MEMBERS.c.source,
            MEMBERS.c.expires,
            USER_GROUPS.c.given,
            _OWNERS.c.frozen.label("owner_frozen"),
            *more,
        )
        .join(GROUPS, MEMBERS.c.group == GROUPS.c.id)
        .join(USER_GROUPS, USER_GROUPS.c.group == GROUPS.c.id, isouter=True)
        .join(_OWNERS, USER_GROUPS.c.owner == _OWNERS.c.id, isouter=True)
        .where(MEMBERS.c.account == account_id, sa.or_(MEMBERS.c.expires.is_(None), MEMBERS.c.expires > now_ms))
    )


def unmeant(connection: sa.Connection, names: GroupNames) -> dict[str, str]:
    """Owners of the groups that count for nobody since their names are in use, by the group's name."""
    query = sa.select(GROUPS.c.name, _OWNERS.c.name.label("owner")).join(
        USER_GROUPS, USER_GROUPS.c.group == GROUPS.c.id
    )
    query = query.join(_OWNERS, USER_GROUPS.c.owner == _OWNERS.c.id).where(sa.not_(USER_GROUPS.c.given))
    rows = connection.execute(query.order_by(GROUPS.c.name))
    return {row.name: row.owner for row in rows if names.means_something(row.name)}


def counts(place: sa.Row[Any], names: GroupNames, issuers: Issuers) -> bool:
    """Whether a place is one: claims and administrators give those that are; people only in groups of their own.

    A claim gives one only as long as dac.yaml lets its issuer.

    A group of people counts for nobody while its owner's account is frozen, who may have been somebody else; nor where
    dac.yaml or a publisher has come to use its name since, as whoever made it may have waited for that, until an
    administrator says that this very group is meant.
    """
    if place.source:
        return issuers.may_give_group(place.source, place.name)
    if place.given is None:
        return True
    return place.owner_frozen is None and (place.given or not names.means_something(place.name))


def groups_now(records: Records, account_id: int, names: GroupNames, issuers: Issuers) -> dict[str, int]:
    """Numbers of the groups in which the account is now, by name, in the order of names."""
    found = records.connection.execute(places(account_id, records.ms, GROUPS.c.gid))
    return dict(sorted((place.name, place.gid) for place in found if counts(place, names, issuers)))
