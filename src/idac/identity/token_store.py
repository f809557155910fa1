"""Tokens in the state database, apart from all else since they are looked at with every request."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from idac.core.errors import Conflict
from idac.identity.credentials import Secret
from idac.identity.model import Account, Token, TokenKind
from idac.identity.schema import ACCOUNTS, TOKENS
from idac.identity.store import Records, is_storable, maybe_ms, maybe_time, time


def add_token(
    records: Records,
    secret: Secret,
    account_id: int,
    kind: TokenKind,
    name: str,
    scopes: frozenset[str],
    *,
    expires: datetime | None = None,
    parent: str | None = None,
) -> Token:
    """Keep all of a new token but its secret."""
    values = {
        "key": secret.key,
        "account": account_id,
        "digest": secret.digest,
        "kind": kind,
        "name": name,
        "scopes": " ".join(sorted(scopes)),
        "created": records.ms,
        "expires": maybe_ms(expires),
        "parent": parent,
    }
    records.connection.execute(TOKENS.insert().values(values))
    found = find_token(records, secret.key)
    assert found is not None  # noqa: S101  inserted in the line above
    return found


def find_token(records: Records, key: str) -> Token | None:
    if not is_storable(key):
        return None
    row = records.connection.execute(_tokens().where(TOKENS.c.key == key)).first()
    return _token(row) if row is not None else None


def lock_token(records: Records, key: str) -> Token | None:
    """The token, which nobody revokes until this transaction ends."""
    held = sa.select(TOKENS.c.key).where(TOKENS.c.key == key).with_for_update(read=True)
    records.connection.execute(held)  # read after that: a statement that waited would still see it as it was before
    return find_token(records, key)


def token_digest(records: Records, key: str) -> str | None:
    """The hash that a token with this key must have."""
    return records.connection.execute(sa.select(TOKENS.c.digest).where(TOKENS.c.key == key)).scalar_one_or_none()


def list_tokens(records: Records, account: str | None = None) -> list[Token]:
    """Tokens of one account or of all, newest first."""
    query = _tokens().order_by(TOKENS.c.created.desc(), TOKENS.c.key)
    if account is not None:
        query = query.where(ACCOUNTS.c.name == account)
    return [_token(row) for row in records.connection.execute(query)]


def require_room(records: Records, account: Account, most: int) -> None:
    """Raise Conflict where the account has as many tokens that are good now as it may have."""
    good = sa.select(sa.func.count()).where(TOKENS.c.account == account.id, TOKENS.c.revoked.is_(None))
    good = good.where(sa.or_(TOKENS.c.expires.is_(None), TOKENS.c.expires > records.ms))
    held = records.connection.execute(good).scalar_one()
    if held >= most:
        raise Conflict(
            "The account has too many tokens.",
            value=f"{account.name} has {held} that are good now",
            allowed=f"{most} (identity.max_tokens)",
            next_step="Revoke some at /auth/tokens, and use one for many log-ins.",
        )


def revoke_token(records: Records, key: str) -> int:
    """Revoke a token and all that were made with it; returns how many were good until now."""
    revoked, keys = 0, [key]
    while keys:
        change = sa.update(TOKENS).where(TOKENS.c.key.in_(keys), TOKENS.c.revoked.is_(None))
        revoked += records.connection.execute(change.values(revoked=records.ms)).rowcount
        children = sa.select(TOKENS.c.key).where(TOKENS.c.parent.in_(keys))
        keys = list(records.connection.execute(children).scalars())
    return revoked


def revoke_kind(records: Records, account_id: int, kind: TokenKind) -> int:
    """Revoke every token of one kind that an account has."""
    change = sa.update(TOKENS).where(TOKENS.c.account == account_id, TOKENS.c.kind == kind, TOKENS.c.revoked.is_(None))
    return records.connection.execute(change.values(revoked=records.ms)).rowcount


def note_use(records: Records, key: str) -> None:
    """Write down that a token is in use now."""
    records.connection.execute(sa.update(TOKENS).where(TOKENS.c.key == key).values(last_used=records.ms))


def _tokens() -> sa.Select[Any]:
    columns = [column for column in TOKENS.c if column.name != "account"]
    return sa.select(*columns, ACCOUNTS.c.name.label("account")).join(ACCOUNTS, TOKENS.c.account == ACCOUNTS.c.id)


def _token(row: sa.Row[Any]) -> Token:
    return Token(
        key=row.key,
        account=row.account,
        kind=row.kind,
        name=row.name,
        scopes=frozenset(row.scopes.split()),
        created=time(row.created),
        expires=maybe_time(row.expires),
        last_used=maybe_time(row.last_used),
        revoked=maybe_time(row.revoked),
        parent=row.parent,
    )
