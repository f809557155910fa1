"""Quotas joined to what they limit: requests by identity's gate, queries by their service, jobs by their store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from idac.core.quota import JobUse, Quota
from idac.identity.administration import Administration
from idac.identity.quota_report import Report, Reports
from idac.identity.quotas import Quotas
from idac.identity.rates import Meter, RateCounter
from idac.jobs.store import JobStore
from idac.web.callers import is_anonymous_owner


@dataclass(frozen=True)
class QuotaDesk:
    """Quotas as one process has them."""

    quotas: Quotas
    meter: Meter
    reports: Reports

    def report(self, name: str) -> Report:
        """How the account of this name stands."""
        return self.reports.of(self.quotas.account(name), name)

    def of_owner(self, owner: str) -> Quota:
        """What whoever a job is counted for may have."""
        return self.quotas.of_owner(owner, anonymous=is_anonymous_owner(owner))


def make_quota_desk(administration: Administration, check_s: float, use_of: Callable[[str], JobUse]) -> QuotaDesk:
    store = administration.store
    limits, names, issuers = administration.settings.quotas, administration.names, administration.issuers
    quotas = Quotas(store, limits, check_s, names, issuers)
    counter = RateCounter(store)
    return QuotaDesk(quotas, Meter(quotas, counter), Reports(quotas, counter, use_of))


def open_quota_desk(administration: Administration) -> QuotaDesk:
    """Quotas for the command line, whether or not identity is turned on yet."""
    return make_quota_desk(administration, 0, JobStore(administration.store.database).use)
