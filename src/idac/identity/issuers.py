"""What identity providers may give here, as dac.yaml has it now and whatever it had when somebody logged in."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable

import sqlalchemy as sa

from idac.identity.model import Account
from idac.identity.schema import CLAIMED_ADMINS
from idac.identity.settings import AnyProviderSettings, IdentitySettings
from idac.identity.store import Records


class Issuers:
    """Providers by what they call themselves. Nothing counts that one gave which is not among them any more."""

    def __init__(self, settings: IdentitySettings) -> None:
        self._providers: dict[str, AnyProviderSettings] = {each.issuer: each for each in settings.providers.values()}
        self._providers |= {each.address: each for each in settings.github.values()}

    def may_give_right(self, issuer: str, right: str) -> bool:
        """Whether some claim of the issuer leads to the data right."""
        provider = self._providers.get(issuer)
        return provider is not None and right in provider.rights.values()

    def may_give_group(self, issuer: str, group: str) -> bool:
        """Whether some claim of the issuer leads to the group, or may, by the beginning of its name."""
        provider = self._providers.get(issuer)
        if provider is None:
            return False
        prefix = provider.group_prefix
        return group in provider.groups.values() or (prefix is not None and group.startswith(prefix))

    def may_make_administrators(self, issuer: str, groups: Iterable[str]) -> bool:
        """Whether one of these groups of the issuer makes administrators."""
        provider = self._providers.get(issuer)
        return provider is not None and not set(groups).isdisjoint(provider.admin_groups)


NO_ISSUERS = Issuers(IdentitySettings())


def is_administrator(records: Records, account: Account, issuers: Issuers) -> bool:
    """Whether the account is an administrator's: by an operator's word, or by that of an issuer who may say so now."""
    return administrator_until(records, account, issuers) is not None


def administrator_until(records: Records, account: Account, issuers: Issuers) -> float | None:
    """When the account is an administrator's no longer even if nobody says so, in milliseconds since 1970.

    Infinity by an operator's word; None where it is not one now. What an issuer said ends, and counts only while
    dac.yaml has one of the groups that it said it by.
    """
    if not account.is_admin:
        return None
    query = sa.select(CLAIMED_ADMINS).where(CLAIMED_ADMINS.c.account == account.id)
    rows = records.connection.execute(query).all()
    if not rows:
        return math.inf
    held = (row for row in rows if row.expires is not None and row.expires > records.ms)
    ends = [row.expires for row in held if issuers.may_make_administrators(row.issuer, json.loads(row.groups or "[]"))]
    return max(ends, default=None)
