"""The ``identity.quotas`` section of dac.yaml: how much callers may ask for, by group."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from idac.core.quota import LIMITS, SERVICES, Limit
from idac.core.settings import Section

#: The largest limit, which databases keep as a whole number.
MOST = 2**62

type Amount = Annotated[int, Field(ge=0, le=MOST)]


class RequestSettings(Section):
    """Requests in a minute that begin work: a synchronous query, a new job, a cone search. Looking at jobs, fetching
    and deleting results, and the descriptions of services are not counted."""

    tap: Amount | None = None
    """Queries by TAP."""

    scs: Amount | None = None
    """Cone searches."""


class LimitSettings(Section):
    """Limits; what is left out is not limited, or, in a group, adds nothing."""

    requests: RequestSettings = RequestSettings()

    concurrent: Amount | None = None
    """Queries of a caller that run at once: so many synchronous ones, and as many jobs. Further ones wait; where
    server.processes is more than 1 each process has its share of the synchronous ones, rounded up."""

    queued: Amount | None = None
    """Queries of a caller that wait: so many synchronous ones in a process, and as many jobs. Further ones are
    refused."""

    result_bytes: Amount | None = None
    """Bytes of results of jobs that are kept for a caller. What would be more is refused, or ends the job that writes
    it."""

    def of(self, limit: Limit) -> int | None:
        value: int | None = getattr(self.requests if limit in SERVICES else self, limit)
        return value


class QuotaSettings(Section):
    """Quotas. Everyone has ``default``, and what each of their groups adds to it."""

    default: LimitSettings = LimitSettings()
    """What every account has."""

    groups: dict[str, LimitSettings] = Field(default_factory=dict)
    """What a group adds for its members, by its name. It can only add to what ``default`` limits: a limit for members
    alone would be a penalty."""

    anonymous: LimitSettings = LimitSettings()
    """What callers without a log-in have, each address for itself (IPv6: each /64 network). A whole institute may
    stand behind one."""

    bypass: list[str] = Field(default_factory=list)
    """Groups whose members have no quotas. Administrators have none either."""

    @model_validator(mode="after")
    def _groups_add(self) -> QuotaSettings:
        for name, added in self.groups.items():
            alone = [limit for limit in LIMITS if added.of(limit) is not None and self.default.of(limit) is None]
            if alone:
                raise ValueError(f"must limit {', '.join(alone)} in default too, where {name} adds to it")
        return self
