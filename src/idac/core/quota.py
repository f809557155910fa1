"""How much a caller may ask for: the numbers that services compare with, wherever they come from."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

#: Services whose requests are counted, by the names that dac.yaml and X-RateLimit-Resource have.
type Service = Literal["tap", "scs"]
#: Everything that a quota limits: requests a minute by service, and what a caller may have at once.
type Limit = Literal["tap", "scs", "concurrent", "queued", "result_bytes"]

SERVICES: tuple[Service, ...] = ("tap", "scs")
LIMITS: tuple[Limit, ...] = ("tap", "scs", "concurrent", "queued", "result_bytes")


@dataclass(frozen=True, slots=True)
class Quota:
    """The limits of one caller; None where there is none.

    *tap* and *scs* are requests in a minute. *concurrent* queries run at once, *queued* ones wait, and *result_bytes*
    are kept as results of jobs.
    """

    tap: int | None = None
    scs: int | None = None
    concurrent: int | None = None
    queued: int | None = None
    result_bytes: int | None = None

    def of(self, limit: Limit) -> int | None:
        value: int | None = getattr(self, limit)
        return value


#: Whoever is not limited, such as everyone in a centre without quotas.
UNLIMITED = Quota()


@dataclass(frozen=True, slots=True)
class KeptResult:
    """A job's result that takes room until *until*, or until its owner deletes the job."""

    job_id: str
    size: int
    until: datetime
    run_id: str | None = None


@dataclass(frozen=True, slots=True)
class JobUse:
    """What a caller's jobs take: how many wait and run, and the largest of the results that are kept."""

    waiting: int = 0
    running: int = 0
    result_bytes: int = 0
    largest: tuple[KeptResult, ...] = field(default_factory=tuple)


def shown_bytes(size: int) -> str:
    """``1.5 GB``, as people write it."""
    amount, unit = float(size), "bytes"
    for larger in ("kB", "MB", "GB", "TB", "PB"):
        if amount < 1000:
            break
        amount, unit = amount / 1000, larger
    return f"{amount:.3g} {unit}" if unit != "bytes" else f"{size} bytes"
