"""Who a credential belongs to now, with groups and rights: the side of identity that every request asks."""

from __future__ import annotations

import hmac
import math
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from idac.core.errors import AccessDenied, NotAuthenticated
from idac.core.principal import Principal
from idac.identity.claimed_rights import held_by_claim
from idac.identity.credentials import Presented, matches, password_credential
from idac.identity.group_names import NO_NAMES, GroupNames
from idac.identity.issuers import NO_ISSUERS, Issuers, administrator_until
from idac.identity.lent_tokens import is_lent, lender, require_lender
from idac.identity.memberships import counts, places
from idac.identity.model import Account, Token
from idac.identity.schema import GRANTS, GROUPS, SESSIONS
from idac.identity.store import IdentityStore, Records, ms
from idac.identity.token_store import find_token, token_digest

_AGAIN = "Log in again, or make a new token at /auth/tokens."


class UnknownCredential(NotAuthenticated):
    """What was sent is no credential of this centre: a typing error, or a guess."""


@dataclass(frozen=True, slots=True)
class Known:
    """A caller, and the moment from which this may no longer be so even if nobody changes anything."""

    principal: Principal
    until_ms: int | None = None
    #: The token to note the use of.
    token: str | None = None
    #: The administrator who acts in this name, where it is not the account's holder.
    acting: str | None = None


class Directory:
    """Thread-safe; keeps nothing, so that what it says is true when it says it.

    All methods raise NotAuthenticated for a credential that is not good, and AccessDenied for an account that is shut.
    *names*: groups of people that took one of these give nothing. *issuers*: nobody else's claims give anything.
    """

    def __init__(self, store: IdentityStore, names: GroupNames = NO_NAMES, issuers: Issuers = NO_ISSUERS) -> None:
        self._store, self._names, self._issuers = store, names, issuers

    def by_token(self, presented: Presented) -> Known:
        with self._store.read() as records:
            kept = token_digest(records, presented.key)
            if kept is None or not matches(presented, kept):
                raise UnknownCredential("This token is not known here.", next_step=_AGAIN)
            token = find_token(records, presented.key)
            assert token is not None  # noqa: S101  its hash was there in this transaction
            return self._with_token(records, token)

    def by_session(self, presented: Presented) -> Known:
        with self._store.read() as records:
            row = records.connection.execute(sa.select(SESSIONS).where(SESSIONS.c.key == presented.key)).first()
            if row is None or not matches(presented, row.digest):
                raise UnknownCredential("Your log-in has ended.", next_step="Log in again.")
            return self._with_session(records, row)

    def by_account(self, account_id: int, credential: str | None = None) -> Known:
        """Somebody who proved to be the account's holder, by the password that *credential* tells."""
        with self._store.read() as records:
            account = records.account_by_id(account_id)
            assert account is not None  # noqa: S101  accounts are never removed
            if credential is not None:
                require_password(records, account, credential)
            return self._known(records, account, credential, None)

    def current(self, principal: Principal) -> Principal:
        """The caller as of now; raises where the credential, or the account, is not good any more."""
        if principal.kind == "anonymous":
            return principal
        kind, _, key = (principal.credential or "").partition(":")
        with self._store.read() as records:
            if kind == "token":
                token = find_token(records, key)
                if token is None:
                    raise UnknownCredential("This token is not known here.", next_step=_AGAIN)
                return self._with_token(records, token).principal
            if kind == "session":
                row = records.connection.execute(sa.select(SESSIONS).where(SESSIONS.c.key == key)).first()
                if row is None:
                    raise UnknownCredential("Your log-in has ended.", next_step="Log in again.")
                return self._with_session(records, row).principal
            if kind == "password":
                account = records.account(principal.name)
                assert account is not None  # noqa: S101  accounts are never removed
                require_password(records, account, f"{kind}:{key}")
                return self._known(records, account, principal.credential, None).principal
            return self._owner(records, principal, kind, key)

    def owner_now(self, owner: Principal) -> Principal:
        """The owner of a job as of now.

        A job outlives the browser session or token in which it was made, when these end by themselves; it ends with a
        token that was revoked, as whoever stole that must not go on. An administrator's job has administrators' rights
        only where its credential had.
        """
        if owner.kind == "anonymous":
            return owner
        kind, _, key = (owner.credential or "").partition(":")
        with self._store.read() as records:
            return self._owner(records, owner, "job" if kind == "token" else kind, key)

    def _owner(self, records: Records, owner: Principal, kind: str, key: str) -> Principal:
        account = records.account(owner.name)
        if account is None:
            raise AccessDenied("There is no account of this name any more.", value=owner.name)
        token = find_token(records, key) if kind == "job" else None
        if token is not None:
            _require_not_revoked(token)
            if is_lent(token):
                raise AccessDenied("A token that is lent to look runs no jobs.", value=owner.name)
        credential = f"job:{key}" if token is not None else None
        now = self._known(records, account, credential, token.scopes if token is not None else None).principal
        return now if owner.is_admin else _without_administration(now)

    def _with_token(self, records: Records, token: Token) -> Known:
        try:
            return self._with_good_token(records, token)
        except (AccessDenied, NotAuthenticated) as error:
            error.holder = lender(records, token) or token.account
            raise

    def _with_good_token(self, records: Records, token: Token) -> Known:
        _require_not_revoked(token)
        if token.state(records.now) == "expired":
            raise NotAuthenticated("This token has expired.", value=_when(token.expires), next_step=_AGAIN)
        account = records.account(token.account)
        assert account is not None  # noqa: S101  accounts are never removed
        lent = require_lender(records, token, account, self._issuers) if is_lent(token) else None
        ends = [moment for moment in (token.expires, lent.until if lent else None) if moment is not None]
        until = min(ends, default=None)
        known = self._known(
            records, account, f"token:{token.key}", token.scopes, until=until, token=_to_note(records, token)
        )
        if lent is None:
            return known
        return replace(known, principal=replace(known.principal, reads_only=True), acting=lent.actor)

    def _with_session(self, records: Records, row: sa.Row[Any]) -> Known:
        if row.expires <= records.ms:
            raise NotAuthenticated("Your log-in has ended.", next_step="Log in again.")
        account = records.account_by_id(row.account)
        assert account is not None  # noqa: S101  accounts are never removed
        require_person(account)
        known = self._known(records, account, f"session:{row.key}", None)
        return Known(known.principal, _first(known.until_ms, row.expires))

    def _known(
        self,
        records: Records,
        account: Account,
        credential: str | None,
        scopes: frozenset[str] | None,
        *,
        until: datetime | None = None,
        token: str | None = None,
    ) -> Known:
        require_active(account, records.now)
        groups, rights, first = _held(records, account.id, self._names, self._issuers)
        may_administer = scopes is None or "admin" in scopes
        admin_until = administrator_until(records, account, self._issuers) if may_administer else None
        principal = Principal(account.name, account.kind, groups, admin_until is not None, rights, scopes, credential)
        ends = [ms(moment) for moment in (until, account.expires) if moment is not None]
        if admin_until is not None and math.isfinite(admin_until):
            ends.append(int(admin_until))
        return Known(principal, _first(first, *ends), token)


def require_active(account: Account, now: datetime) -> None:
    """Raise AccessDenied for an account that is frozen or has expired."""
    state = account.state(now)
    if state != "active":
        refused = AccessDenied(
            "This account is frozen." if state == "frozen" else "This account has expired.",
            value=account.name,
            next_step="Ask the operator of this centre.",
        )
        refused.holder = account.name
        raise refused


def require_person(account: Account) -> None:
    """Raise AccessDenied for a service's account: nobody is it in a browser, or gets a token by one."""
    if account.kind != "user":
        refused = AccessDenied(
            "A service has no log-in.",
            value=account.name,
            allowed="accounts of people",
            next_step="The operator gives it a token: idac token create.",
        )
        refused.holder = account.name
        raise refused


def require_password(records: Records, account: Account, credential: str) -> None:
    """Raise UnknownCredential where the account's password is not the one that *credential* tells, or a service's."""
    require_person(account)
    kept = records.password_hash(account.id)
    if kept is None or not hmac.compare_digest(password_credential(kept), credential):
        raise UnknownCredential("This password is not the account's any more.", next_step="Log in again.")


def _require_not_revoked(token: Token) -> None:
    if token.revoked is not None:
        raise NotAuthenticated("This token was revoked.", value=_when(token.revoked), next_step=_AGAIN)


def _held(
    records: Records, account_id: int, names: GroupNames, issuers: Issuers
) -> tuple[frozenset[str], frozenset[str], int | None]:
    """Groups and rights of an account, and when the first of them ends."""
    now = records.ms
    query = places(account_id, now, GRANTS.c.right, GRANTS.c.expires.label("right_expires")).join(
        GRANTS, GRANTS.c.group == GROUPS.c.id, isouter=True
    )
    groups, rights, ends = set(), set(), []
    for row in records.connection.execute(query):
        if not counts(row, names, issuers):
            continue
        groups.add(row.name)
        ends.append(row.expires)
        if row.right is not None and (row.right_expires is None or row.right_expires > now):
            rights.add(row.right)
            ends.append(row.right_expires)
    for right, expires in held_by_claim(records, account_id, issuers):
        rights.add(right)
        ends.append(expires)
    return frozenset(groups), frozenset(rights), _first(*ends)


def _first(*moments: int | None) -> int | None:
    return min((moment for moment in moments if moment is not None), default=None)


def _to_note(records: Records, token: Token) -> str | None:
    """The token's key where its last use was not noted lately: a minute is close enough for people."""
    return token.key if token.last_used is None or (records.now - token.last_used).total_seconds() >= 60 else None


def _when(moment: datetime | None) -> str | None:
    return f"{moment:%Y-%m-%d %H:%M} UTC" if moment is not None else None


def _without_administration(principal: Principal) -> Principal:
    return Principal(
        principal.name,
        principal.kind,
        principal.groups,
        False,
        principal.rights,
        principal.scopes,
        principal.credential,
    )
