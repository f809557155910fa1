"""How a caller stands: each limit, what is used of it, where it comes from and when it frees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from idac.core.principal import Principal
from idac.core.quota import LIMITS, SERVICES, JobUse, KeptResult, Limit, Service, shown_bytes
from idac.identity.quotas import Quotas, Share
from idac.identity.rates import RateCounter
from idac.identity.store import time

TITLES: dict[Limit, str] = {
    "tap": "Queries by TAP",
    "scs": "Cone searches",
    "concurrent": "Queries at once",
    "queued": "Waiting jobs",
    "result_bytes": "Results of jobs",
}
UNITS: dict[Limit, str] = {
    "tap": "requests a minute",
    "scs": "requests a minute",
    "concurrent": "jobs",
    "queued": "jobs",
    "result_bytes": "bytes",
}


@dataclass(frozen=True, slots=True)
class Standing:
    """One limit of a caller; *amount* None: not limited. *resets*: when what is *used* of a rate is forgotten."""

    limit: Limit
    amount: int | None
    used: int
    shares: tuple[Share, ...]
    resets: datetime | None = None

    @property
    def words(self) -> str:
        """``12 of 600``, ``1.2 GB of 10 GB``, ``3, not limited``."""
        used = shown_amount(self.limit, self.used)
        return f"{used}, not limited" if self.amount is None else f"{used} of {shown_amount(self.limit, self.amount)}"

    @property
    def origin(self) -> str:
        """``default 300 + dp1-team 300``."""
        return " + ".join(_share(self.limit, share) for share in self.shares)


@dataclass(frozen=True, slots=True)
class Report:
    """All limits of a caller, with the largest results that take room."""

    name: str
    standings: tuple[Standing, ...]
    results: tuple[KeptResult, ...]


class Reports:
    """Thread-safe. *use_of* tells what the jobs take that are counted for somebody."""

    def __init__(self, quotas: Quotas, counter: RateCounter, use_of: Callable[[str], JobUse]) -> None:
        self._quotas, self._counter, self._use_of = quotas, counter, use_of

    def of(self, principal: Principal, owner: str) -> Report:
        """The standing of a caller whose work is counted for *owner*. Reads the state database."""
        quota, use = self._quotas.of(principal), self._use_of(owner)
        taken = {"concurrent": use.running, "queued": use.waiting, "result_bytes": use.result_bytes}
        standings = []
        for limit in LIMITS:
            resets = None
            if limit in SERVICES:
                used, resets = self._rate(owner, limit)
            else:
                used = taken[limit]
            shares = tuple(self._quotas.shares(principal, limit))
            standings.append(Standing(limit, quota.of(limit), used, shares, resets))
        return Report(principal.name, tuple(standings), use.largest)

    def _rate(self, owner: str, service: Service) -> tuple[int, datetime]:
        used, ends = self._counter.used(owner, service)
        return used, time(ends)


def report_json(report: Report) -> dict[str, object]:
    """The report for programs. Times are seconds since 1970, as in the headers of answers."""
    limits: dict[str, object] = {}
    for each in report.standings:
        remaining = None if each.amount is None else max(0, each.amount - each.used)
        found: dict[str, object] = {
            "limit": each.amount,
            "used": each.used,
            "remaining": remaining,
            "unit": UNITS[each.limit],
            "from": [_share_json(share) for share in each.shares],
        }
        if each.resets is not None:
            found["resets"] = int(each.resets.timestamp())
        limits[each.limit] = found
    results = [
        {"job": kept.job_id, "bytes": kept.size, "run_id": kept.run_id, "until": int(kept.until.timestamp())}
        for kept in report.results
    ]
    return {"username": report.name, "limits": limits, "largest_results": results}


def shown_amount(limit: Limit, amount: int | None) -> str:
    if amount is None:
        return "unlimited"
    return shown_bytes(amount) if limit == "result_bytes" else f"{amount:,}"


def _share(limit: Limit, share: Share) -> str:
    amount = shown_amount(limit, share.amount)
    if not share.is_override:
        return f"{share.source} {amount}"
    ends = f" until {share.until:%Y-%m-%d %H:%M} UTC" if share.until is not None else ""
    return f"{share.source} {amount} (set by the operator{ends})"


def _share_json(share: Share) -> dict[str, object]:
    until = int(share.until.timestamp()) if share.until is not None else None
    return {"source": share.source, "amount": share.amount, "override": share.is_override, "until": until}
