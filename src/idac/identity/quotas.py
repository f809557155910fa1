"""Whose quota is how much: dac.yaml's sums over groups, and in their place what an administrator set until a date."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from idac.core.errors import BadParameter, NotFound, StoreUnavailable
from idac.core.principal import ANONYMOUS, Principal
from idac.core.quota import LIMITS, UNLIMITED, Limit, Quota
from idac.identity.administration import require_account
from idac.identity.group_names import NO_NAMES, GroupNames
from idac.identity.issuers import NO_ISSUERS, Issuers, is_administrator
from idac.identity.memberships import groups_now
from idac.identity.quota_settings import QuotaSettings
from idac.identity.schema import ACCOUNTS, QUOTAS
from idac.identity.store import IdentityStore, Records, insert_into, maybe_ms, maybe_time
from idac.identity.store import time as time_of

log = logging.getLogger(__name__)

#: Owners of jobs whose quota is remembered; all are forgotten together, as none is worth more than a small query.
_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class Override:
    """A limit that an administrator set for *subject*, an account or a group, until *expires*."""

    subject: str
    limit: Limit
    amount: int | None
    expires: datetime | None
    created: datetime
    actor: str

    def holds(self, now: datetime) -> bool:
        return self.expires is None or self.expires > now


@dataclass(frozen=True, slots=True)
class Share:
    """What one source adds to a limit; *amount* None: no limit at all. *until*: when an override of it ends."""

    source: str
    amount: int | None
    is_override: bool = False
    until: datetime | None = None


type _Key = tuple[str, frozenset[str], bool]


@dataclass(frozen=True, slots=True)
class _Known:
    """Quotas worked out since the last look at what was set, of which the first ends *until* then."""

    quotas: dict[_Key, Quota]
    until: datetime | None

    def holds(self, now: datetime) -> bool:
        return self.until is None or now < self.until

    def keep(self, key: _Key, quota: Quota) -> None:
        if len(self.quotas) < _KEPT:
            self.quotas[key] = quota


class Quotas:
    """Thread-safe. Believes for *check_s* seconds what it has read of the state database."""

    def __init__(
        self,
        store: IdentityStore,
        settings: QuotaSettings,
        check_s: float,
        names: GroupNames = NO_NAMES,
        issuers: Issuers = NO_ISSUERS,
    ) -> None:
        """Groups of people that took one of *names* add nothing, nor do claims but those of *issuers*."""
        self._store, self._names, self._issuers = store, names, issuers
        self.settings = settings
        self._check_s = check_s
        self._lock, self._looking = threading.Lock(), threading.Lock()
        self._overrides: tuple[Override, ...] = ()
        self._known = _Known({}, None)
        self._read_at = -1e9
        self._owners: dict[str, tuple[float, Principal]] = {}

    # -- asking ------------------------------------------------------------------------------------------------------

    @property
    def is_fresh(self) -> bool:
        """False where the next question reads the state database, which belongs in a thread."""
        return time.monotonic() - self._read_at < self._check_s

    def of(self, principal: Principal) -> Quota:
        """The caller's limits now."""
        self._refresh()
        key = (principal.name, principal.groups, principal.is_admin)
        known = self._known  # kept here, so that what another look has just made void is not put into its place
        found = known.quotas.get(key) if known.holds(self._store.now()) else None
        if found is None:
            found = self._of(principal)
            known.keep(key, found)
        return found

    def _of(self, principal: Principal) -> Quota:
        if self._bypasses(principal.groups, is_admin=principal.is_admin):
            return UNLIMITED
        name = None if principal.kind == "anonymous" else principal.name
        return self._quota(name, principal.groups)

    def of_owner(self, owner: str, *, anonymous: bool) -> Quota:
        """The limits of whoever has a job, by name: the groups and the account are looked up."""
        if anonymous:
            return self.of(ANONYMOUS)
        begun, account = self._owners.get(owner, (-1e9, ANONYMOUS))
        if time.monotonic() - begun >= self._check_s:
            begun, account = time.monotonic(), self.account(owner)
            with self._lock:
                if len(self._owners) >= _KEPT:
                    self._owners.clear()
                self._owners[owner] = (begun, account)
        return self.of(account)

    def shares(self, principal: Principal, limit: Limit) -> list[Share]:
        """Where a limit comes from: an account's override alone, or the default and each group that adds to it.

        Empty where the caller is not limited.
        """
        self._refresh()
        if self._bypasses(principal.groups, is_admin=principal.is_admin):
            return []
        name = None if principal.kind == "anonymous" else principal.name
        return self._shares(name, principal.groups, limit, self._held())

    def account(self, name: str) -> Principal:
        """The holder of an account, as far as quotas ask; NotFound where there is none."""
        with self._store.read() as records:
            account = require_account(records, name)
            groups = frozenset(groups_now(records, account.id, self._names, self._issuers))
            is_admin = is_administrator(records, account, self._issuers)
        return Principal(account.name, account.kind, groups, is_admin)

    def _bypasses(self, groups: Collection[str], *, is_admin: bool) -> bool:
        return is_admin or not set(groups).isdisjoint(self.settings.bypass)

    def _quota(self, name: str | None, groups: Collection[str]) -> Quota:
        held = self._held()
        found: dict[str, int | None] = {}
        for limit in LIMITS:
            shares = self._shares(name, groups, limit, held)
            amounts = [share.amount for share in shares if share.amount is not None]
            found[limit] = sum(amounts) if shares and len(amounts) == len(shares) else None
        return Quota(**found)

    def _shares(
        self, name: str | None, groups: Collection[str], limit: Limit, held: Mapping[tuple[str, Limit], Override]
    ) -> list[Share]:
        if name is None:
            amount = self.settings.anonymous.of(limit)
            return [Share(ANONYMOUS.name, amount)] if amount is not None else []
        own = held.get((name, limit))
        if own is not None:
            return [Share(name, own.amount, is_override=True, until=own.expires)]
        default = self.settings.default.of(limit)
        if default is None:
            return []
        shares = [Share("default", default)]
        for group in sorted(groups):
            override = held.get((group, limit))
            added = self.settings.groups.get(group)
            amount = added.of(limit) if added is not None else None
            if override is not None:
                shares.append(Share(group, override.amount, is_override=True, until=override.expires))
            elif amount is not None:
                shares.append(Share(group, amount))
        return shares

    def _held(self) -> dict[tuple[str, Limit], Override]:
        now = self._store.now()
        return {(each.subject, each.limit): each for each in self._overrides if each.holds(now)}

    def _refresh(self) -> None:
        # One thread looks at a time; the others go by what was there before.
        if not self.is_fresh and self._looking.acquire(blocking=False):
            try:
                self._look()
            finally:
                self._looking.release()

    def _look(self) -> None:
        begun = time.monotonic()
        try:
            with self._store.read() as records:
                self._overrides = tuple(_overrides(records))
        except StoreUnavailable:
            # Nobody can set a limit in a database that does not answer, and callers without a log-in go on.
            log.warning("quotas are as they were: the state database does not answer")
        ends = [each.expires for each in self._overrides if each.expires is not None and each.holds(self._store.now())]
        self._known = _Known({}, min(ends, default=None))
        self._read_at = begun

    # -- administration ----------------------------------------------------------------------------------------------

    def overrides(self) -> list[Override]:
        """All that were set, those that have ended too."""
        with self._store.read() as records:
            return list(_overrides(records))

    def set(
        self, subject: str, amounts: Mapping[Limit, int | None], *, actor: str, expires: datetime | None = None
    ) -> None:
        """Put *amounts*, where None is no limit, in place of what an account has in all, or of what a group adds."""
        with self._store.write() as records:
            is_group = _require_subject(records, subject)
            if expires is not None and expires <= records.now:
                raise BadParameter(
                    "The limit would have ended already.",
                    value=f"{expires:%Y-%m-%d %H:%M} UTC",
                    allowed="a time to come, or no end",
                )
            for limit, amount in amounts.items():
                if is_group and self.settings.default.of(limit) is None:
                    raise BadParameter(
                        "A group only adds to what everyone's quota limits.",
                        value=f"{limit} of {subject}",
                        next_step="Set it for an account, or set identity.quotas.default first.",
                    )
                _put(records, Override(subject, limit, amount, expires, records.now, actor))
            shown = {limit: "unlimited" if amount is None else amount for limit, amount in amounts.items()}
            records.note(actor, "quota set", subject, limits=shown, expires=expires)

    def remove(self, subject: str, limits: Collection[Limit] = (), *, actor: str) -> int:
        """Take back what was set for *subject*, all or *limits* alone; returns how many."""
        with self._store.write() as records:
            _require_subject(records, subject)
            gone = sa.delete(QUOTAS).where(QUOTAS.c.subject == subject)
            if limits:
                gone = gone.where(QUOTAS.c.limit.in_(limits))
            removed = records.connection.execute(gone).rowcount
            if not removed:
                raise NotFound(
                    "No limit was set for this account or group.",
                    value=" ".join((subject, *limits)),
                    next_step="idac quota list shows those there are.",
                )
            records.note(actor, "quota remove", subject, limits=sorted(limits) or "all")
        return removed


def _overrides(records: Records) -> list[Override]:
    rows = records.connection.execute(sa.select(QUOTAS).order_by(QUOTAS.c.subject, QUOTAS.c.limit))
    return [
        Override(row.subject, row.limit, row.amount, maybe_time(row.expires), time_of(row.created), row.actor)
        for row in rows
        if row.limit in LIMITS
    ]


def _put(records: Records, override: Override) -> None:
    values = {
        "amount": override.amount,
        "expires": maybe_ms(override.expires),
        "created": records.ms,
        "actor": override.actor,
    }
    insert = insert_into(records.connection, QUOTAS).values(subject=override.subject, limit=override.limit, **values)
    keys = [QUOTAS.c.subject, QUOTAS.c.limit]
    records.connection.execute(insert.on_conflict_do_update(index_elements=keys, set_=values))


def _require_subject(records: Records, name: str) -> bool:
    """True for a group, False for an account; users and groups share their names, so it is one of both."""
    # A group that is deleted in this moment would leave what is set for the next one of its name.
    if records.lock_group(name, shared=True) is not None:
        return True
    if records.connection.execute(sa.select(ACCOUNTS.c.id).where(ACCOUNTS.c.name == name)).first() is not None:
        return False
    of_all = name in ("default", ANONYMOUS.name)
    raise NotFound(
        "There is no account or group of this name.",
        value=name,
        next_step=f"What everyone or every address has is in dac.yaml: identity.quotas.{name}."
        if of_all
        else "idac user list and idac group list show those there are.",
    )
