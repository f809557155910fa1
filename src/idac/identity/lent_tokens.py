"""Tokens of others' accounts that administrators have, in the state database: who has them, and until when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from idac.core.errors import AccessDenied, NotAuthenticated
from idac.identity.issuers import Issuers, is_administrator
from idac.identity.model import Account, Token
from idac.identity.schema import LENT_TOKENS
from idac.identity.store import Records

#: The kind of such a token; nobody makes one in another way.
LENT = "lent"
_ANOTHER = "An administrator gets another one with idac user impersonate."


@dataclass(frozen=True, slots=True)
class Lent:
    """Who acts with a lent token, and until when that may be so."""

    actor: str
    reason: str
    until: datetime | None


def is_lent(token: Token) -> bool:
    kind: str = token.kind
    return kind == LENT


def lender(records: Records, token: Token) -> str | None:
    """Who has the token, where it was lent to somebody."""
    if not is_lent(token):
        return None
    query = sa.select(LENT_TOKENS.c.actor).where(LENT_TOKENS.c.key == token.key)
    return records.connection.execute(query).scalar_one_or_none()


def require_lender(records: Records, token: Token, account: Account, issuers: Issuers) -> Lent:
    """Who acts with the token of *account*. Raises where that person is no administrator any more, or the holder is."""
    row = records.connection.execute(sa.select(LENT_TOKENS).where(LENT_TOKENS.c.key == token.key)).first()
    if row is None:
        raise NotAuthenticated("Nobody knows to whom this token was lent.", next_step=_ANOTHER)
    if account.is_admin:
        raise AccessDenied(
            "Nobody acts for an administrator.", value=account.name, allowed="accounts that are no administrator's"
        )
    if row.administrator is None:
        return Lent(row.actor, row.reason, None)
    administrator = records.account_by_id(row.administrator)
    active = administrator is not None and administrator.state(records.now) == "active"
    if administrator is None or not active or not is_administrator(records, administrator, issuers):
        raise NotAuthenticated(
            "This token was lent to somebody who is no administrator any more.", value=row.actor, next_step=_ANOTHER
        )
    return Lent(row.actor, row.reason, administrator.expires)
