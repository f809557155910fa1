"""Requests counted in each minute, for all processes together, without asking the state database for each.

A process takes requests from the state database in shares: one at first, then twice as many each time a share is
used up, and never more than an eighth of what is left. So a quota is never exceeded, a caller who asks much costs a few
small writes a minute, and one who asks little leaves nothing unused in a process that others would need.
"""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections import OrderedDict
from dataclasses import dataclass, field

import anyio
import anyio.to_thread
import sqlalchemy as sa
from starlette.requests import Request

from idac.core.errors import AccessDenied, StoreUnavailable, TooOften
from idac.core.principal import Principal
from idac.core.quota import Service
from idac.identity.identify import address_of
from idac.identity.quotas import Quotas
from idac.identity.schema import RATES
from idac.identity.store import IdentityStore, Records, insert_into, ms
from idac.identity.store import time as time_of
from idac.web.callers import fair_owner
from idac.web.routes import Metered

log = logging.getLogger(__name__)

WINDOW_MS = 60_000
#: Of what is left of a quota, a process takes at most one part in so many for itself.
_PART = 8
#: Callers remembered at once; the one seen longest ago is forgotten first, with what is left of its share.
_KEPT = 20_000
#: Seconds that a request waits for the state database's word, and for which a process then counts by itself.
_WAIT_S, _ALONE_S = 1.0, 5.0


@dataclass
class _Share:
    """What this process has of one caller's requests to a service in the stretch of time that *ends* then."""

    ends: int
    taken: int = 0  # by all processes, as far as is known here
    held: int = 0  # of these, not yet used here
    step: int = 1
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def used(self) -> int:
        return self.taken - self.held

    def use(self) -> None:
        self.held -= 1


@dataclass(frozen=True, slots=True)
class Count:
    """How often a caller has asked in a stretch of time that ends, in milliseconds since 1970; *used* has this request
    where it is *allowed*."""

    allowed: bool
    limit: int
    used: int
    ends: int


class RateCounter:
    """One a process, in one event loop."""

    def __init__(self, store: IdentityStore) -> None:
        self._store = store
        self._shares: OrderedDict[tuple[str, Service], _Share] = OrderedDict()
        self._threads = anyio.CapacityLimiter(8)
        self._alone_until = 0
        self._cleared = 0

    def now_ms(self) -> int:
        return ms(self._store.now())

    async def count(self, subject: str, service: Service, limit: int) -> Count:
        """Count a request of *subject*, where the quota allows it."""
        share = self._share(subject, service)
        if share.held == 0 and share.taken < limit:
            async with share.lock:  # whoever comes meanwhile has a part in what is taken now
                if share.held == 0 and share.taken < limit:
                    await self._take(subject, service, share, limit)
                return _counted(share, limit)
        return _counted(share, limit)

    def used(self, subject: str, service: Service) -> tuple[int, int]:
        """Requests so far, as the state database knows them and this process corrects it, and when they are forgotten.

        For pages: reads the state database.
        """
        ends = window_end(subject, self.now_ms())
        with self._store.read() as records:
            query = sa.select(RATES.c.taken).where(
                RATES.c.subject == subject, RATES.c.service == service, RATES.c.ends == ends
            )
            taken = int(records.connection.execute(query).scalar_one_or_none() or 0)
        share = self._shares.get((subject, service))
        held = share.held if share is not None and share.ends == ends else 0
        return max(0, taken - held), ends

    def _share(self, subject: str, service: Service) -> _Share:
        ends = window_end(subject, self.now_ms())
        key = (subject, service)
        share = self._shares.get(key)
        if share is None or share.ends != ends:
            share = self._shares[key] = _Share(ends)
            while len(self._shares) > _KEPT:
                self._shares.popitem(last=False)
        self._shares.move_to_end(key)
        return share

    async def _take(self, subject: str, service: Service, share: _Share, limit: int) -> None:
        wanted = max(1, min(share.step, (limit - share.taken) // _PART))
        found = await self._ask(subject, service, share.ends, wanted, limit)
        if found is None:
            # No request waits for a database that does not answer, and each process counts by itself.
            found = (1, share.taken + 1)
        got, share.taken = found
        share.held += got
        share.step *= 2

    async def _ask(self, subject: str, service: Service, ends: int, wanted: int, limit: int) -> tuple[int, int] | None:
        now = self.now_ms()
        if now < self._alone_until:
            return None
        clear = now - self._cleared >= WINDOW_MS
        try:
            with anyio.fail_after(_WAIT_S):
                found = await anyio.to_thread.run_sync(
                    lambda: self._write(subject, service, ends, wanted, limit, clear),
                    limiter=self._threads,
                    abandon_on_cancel=True,
                )
        except (StoreUnavailable, TimeoutError):
            log.warning("requests are counted in this process alone: the state database does not answer")
            self._alone_until = now + int(_ALONE_S * 1000)
            return None
        if clear:
            self._cleared = now
        return found

    def _write(
        self, subject: str, service: Service, ends: int, wanted: int, limit: int, clear: bool
    ) -> tuple[int, int]:
        with self._store.write() as records:
            if clear:
                records.connection.execute(sa.delete(RATES).where(RATES.c.ends < records.ms - WINDOW_MS))
            return take(records, subject, service, ends, wanted, limit)


class Meter:
    """Counts the requests of everyone who has a quota for what they ask, and says how they stand with it."""

    def __init__(self, quotas: Quotas, counter: RateCounter) -> None:
        self._quotas, self._counter = quotas, counter
        self._threads = anyio.CapacityLimiter(2)

    async def __call__(self, request: Request, principal: Principal, service: Service) -> Metered:
        if self._quotas.is_fresh:
            quota = self._quotas.of(principal)
        else:
            quota = await anyio.to_thread.run_sync(self._quotas.of, principal, limiter=self._threads)
        limit = quota.of(service)
        if limit is None:
            return Metered({})
        if limit == 0:
            return Metered({}, _shut(service, principal))
        count = await self._counter.count(fair_owner(request, principal), service, limit)
        headers = _headers(count, service)
        return Metered(headers, None if count.allowed else self._refusal(count, service, request, principal))

    def _refusal(self, count: Count, service: Service, request: Request, principal: Principal) -> TooOften:
        wait_s = max(1, -((self._counter.now_ms() - count.ends) // 1000))
        who = (
            "your quota" if principal.kind != "anonymous" else f"all callers without a log-in at {address_of(request)}"
        )
        return TooOften(
            f"You have asked {service} too often.",
            value=f"{count.used} requests in this minute",
            allowed=f"{count.limit} a minute, {who}",
            next_step=f"Try again in {wait_s} s, at {time_of(count.ends):%H:%M:%S} UTC. "
            + (
                "/auth/quota shows your limits."
                if principal.kind != "anonymous"
                else "Accounts have quotas of their own."
            ),
            retry_after_s=wait_s,
        )


def _shut(service: Service, principal: Principal) -> AccessDenied:
    """No waiting helps: the next minute has no more than this one."""
    named = principal.kind != "anonymous"
    way = "Ask the operator of this centre. /auth/quota shows your limits." if named else "Log in, or send a token."
    return AccessDenied(
        f"{'Your quota lets you' if named else 'Callers without a log-in may'} ask {service} nothing.",
        value="0 requests a minute",
        next_step=way,
    )


def window_end(subject: str, now: int) -> int:
    """When the present minute of *subject* ends: at another moment for each, or all would come back at once."""
    offset = zlib.crc32(subject.encode()) % (WINDOW_MS // 1000) * 1000  # whole seconds, as headers have them
    return (now - offset) // WINDOW_MS * WINDOW_MS + WINDOW_MS + offset


def take(records: Records, subject: str, service: Service, ends: int, wanted: int, limit: int) -> tuple[int, int]:
    """Take up to *wanted* requests; returns how many there were to take, and how many all processes have taken."""
    insert = insert_into(records.connection, RATES).values(subject=subject, service=service, ends=ends, taken=wanted)
    # Whose clock is behind, or whose write was late, takes of the minute that the others have come to.
    before = sa.case((RATES.c.ends >= ends, RATES.c.taken), else_=0)
    newest = sa.case((RATES.c.ends >= ends, RATES.c.ends), else_=ends)
    upsert = insert.on_conflict_do_update(
        index_elements=[RATES.c.subject, RATES.c.service], set_={"ends": newest, "taken": before + wanted}
    )
    taken = int(records.connection.execute(upsert.returning(RATES.c.taken)).scalar_one())
    over = min(wanted, max(0, taken - limit))
    if over:
        here = sa.and_(RATES.c.subject == subject, RATES.c.service == service)
        records.connection.execute(sa.update(RATES).where(here).values(taken=taken - over))
    return wanted - over, taken - over


def _counted(share: _Share, limit: int) -> Count:
    allowed = share.held > 0 and share.used < limit
    if allowed:
        share.use()
    return Count(allowed, limit, share.used, share.ends)


def _headers(count: Count, service: Service) -> dict[str, str]:
    # As GitHub and Rubin's Gafaelfawr have them.
    return {
        "x-ratelimit-limit": str(count.limit),
        "x-ratelimit-remaining": str(max(0, count.limit - count.used)),
        "x-ratelimit-used": str(count.used),
        "x-ratelimit-reset": str(count.ends // 1000),
        "x-ratelimit-resource": service,
    }
