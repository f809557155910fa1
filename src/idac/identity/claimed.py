"""What an account has by the word of identity providers, taken back."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from idac.identity.administration import require_account
from idac.identity.group_store import remove_claimed_places
from idac.identity.model import Account
from idac.identity.schema import CLAIMED_ADMINS, CLAIMED_RIGHTS, GROUPS, MEMBERS
from idac.identity.store import IdentityStore, Records


@dataclass(frozen=True, slots=True)
class TakenBack:
    """What an account had by claims and has no more."""

    groups: tuple[str, ...]
    rights: tuple[str, ...]
    was_admin: bool


def forget_claims(store: IdentityStore, name: str, *, actor: str) -> TakenBack:
    """Take back all that identity providers gave the account, and log it out, so that its next log-in asks them anew.

    What they say then counts again: somebody who must not have it is frozen, or taken out of the team there.
    """
    with store.write() as records:
        account = records.lock_account(require_account(records, name).id)
        found = TakenBack(*_groups_and_rights(records, account), bool(records.claimed_administrator(account.id)))
        for table in (CLAIMED_RIGHTS, CLAIMED_ADMINS):
            records.connection.execute(sa.delete(table).where(table.c.account == account.id))
        remove_claimed_places(records, account.id)
        if found.was_admin:
            records.change_account(account.id, is_admin=False)
        sessions = records.end_sessions(account.id)
        records.note(
            actor,
            "user forget-claims",
            name,
            groups=found.groups,
            rights=found.rights,
            admin=found.was_admin,
            sessions=sessions,
        )
    return found


def _groups_and_rights(records: Records, account: Account) -> tuple[tuple[str, ...], tuple[str, ...]]:
    places = sa.select(GROUPS.c.name).distinct().join(MEMBERS, MEMBERS.c.group == GROUPS.c.id)
    places = places.where(MEMBERS.c.account == account.id, MEMBERS.c.source != "").order_by(GROUPS.c.name)
    rights = sa.select(CLAIMED_RIGHTS.c.right).distinct().where(CLAIMED_RIGHTS.c.account == account.id)
    rights = rights.order_by(CLAIMED_RIGHTS.c.right)
    return tuple(records.connection.execute(places).scalars()), tuple(records.connection.execute(rights).scalars())
