"""Data rights that accounts have by the word of an issuer, until it says otherwise or a time has passed."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from idac.identity.issuers import Issuers
from idac.identity.model import Account, ExternalIdentity
from idac.identity.schema import ACCOUNTS, CLAIMED_RIGHTS
from idac.identity.store import Records, maybe_ms, time


@dataclass(frozen=True, slots=True)
class ClaimedRight:
    """A right of one account, and whose word it is."""

    right: str
    issuer: str
    expires: datetime


def set_claimed_rights(records: Records, account: Account, identity: ExternalIdentity) -> None:
    """Let the account have by this issuer what it says now, and nothing else."""
    before = _of_issuer(records, account, identity.issuer)
    _remove(records, account, identity.issuer)
    for right in sorted(identity.rights):
        values = {"account": account.id, "issuer": identity.issuer, "right": right, "created": records.ms}
        records.connection.execute(CLAIMED_RIGHTS.insert().values(**values, expires=maybe_ms(identity.groups_until)))
    _note(records, account, identity.issuer, before, identity.rights, identity.groups_until)


def remove_claimed_rights(records: Records, account: Account, issuer: str) -> None:
    before = _of_issuer(records, account, issuer)
    _remove(records, account, issuer)
    _note(records, account, issuer, before, frozenset(), None)


def held_by_claim(records: Records, account_id: int, issuers: Issuers) -> list[tuple[str, int]]:
    """Rights of the account that have not ended, each with its end, by the word of those who may give them now."""
    held = sa.select(CLAIMED_RIGHTS).where(
        CLAIMED_RIGHTS.c.account == account_id, CLAIMED_RIGHTS.c.expires > records.ms
    )
    found = records.connection.execute(held)
    return [(row.right, row.expires) for row in found if issuers.may_give_right(row.issuer, row.right)]


def claimed_rights(records: Records, issuers: Issuers) -> dict[str, list[ClaimedRight]]:
    """What accounts have now by claims, by the account's name."""
    query = sa.select(ACCOUNTS.c.name, *CLAIMED_RIGHTS.c).join(ACCOUNTS, CLAIMED_RIGHTS.c.account == ACCOUNTS.c.id)
    query = query.where(CLAIMED_RIGHTS.c.expires > records.ms).order_by(CLAIMED_RIGHTS.c.right, CLAIMED_RIGHTS.c.issuer)
    found: defaultdict[str, list[ClaimedRight]] = defaultdict(list)
    for row in records.connection.execute(query):
        if issuers.may_give_right(row.issuer, row.right):
            found[row.name].append(ClaimedRight(row.right, row.issuer, time(row.expires)))
    return dict(found)


def rights_json(rights: list[ClaimedRight]) -> list[dict[str, object]]:
    return [
        {"right": each.right, "issuer": each.issuer, "expires": each.expires.isoformat(timespec="seconds")}
        for each in rights
    ]


def _of_issuer(records: Records, account: Account, issuer: str) -> frozenset[str]:
    """What the account has by this issuer now; what has ended is not among it."""
    query = sa.select(CLAIMED_RIGHTS.c.right).where(
        CLAIMED_RIGHTS.c.account == account.id,
        CLAIMED_RIGHTS.c.issuer == issuer,
        CLAIMED_RIGHTS.c.expires > records.ms,
    )
    return frozenset(records.connection.execute(query).scalars())


def _remove(records: Records, account: Account, issuer: str) -> None:
    gone = sa.delete(CLAIMED_RIGHTS)
    records.connection.execute(gone.where(CLAIMED_RIGHTS.c.account == account.id, CLAIMED_RIGHTS.c.issuer == issuer))


def _note(
    records: Records,
    account: Account,
    issuer: str,
    before: frozenset[str],
    now: frozenset[str],
    expires: datetime | None,
) -> None:
    if before != now:
        records.note(
            account.name, "user rights", account.name, before=before, rights=now, issuer=issuer, expires=expires
        )
