"""The ``jobs`` section of dac.yaml: how many run, how long they live, and when a dead worker's job is taken over."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from idac.core.settings import Section

DAY_S = 86400


class JobsSettings(Section):
    """Asynchronous jobs (UWS 1.1)."""

    workers: Annotated[int, Field(ge=0, le=256)] = 4
    """Jobs that one process runs at the same time; 0 makes a process that only answers requests. What a query may use
    of the machine is the engine's scheduler's to say, so a few more workers than processors do no harm."""

    poll_s: Annotated[float, Field(gt=0, le=0.5)] = 0.4
    """Seconds between a worker process's looks at the state database: one query for all its jobs. An abort given to
    another process is seen within this time, so it may not exceed half a second."""

    lease_s: Annotated[float, Field(ge=2)] = 30.0
    """Seconds after which a job whose worker has not been heard of is taken over. Longer than any pause of a healthy
    process, and the clocks of machines that share the state database must agree to a fraction of it."""

    max_attempts: Annotated[int, Field(ge=1, le=20)] = 3
    """Times a job is begun before it ends in ERROR: a job that kills its worker must not go round for ever."""

    retention_s: Annotated[int, Field(ge=60)] = 7 * DAY_S
    """Seconds from a job's creation to its destruction, results included, unless its owner sets another time."""

    max_retention_s: Annotated[int, Field(ge=60)] = 30 * DAY_S
    """The latest destruction that an owner may set, in seconds from now. Bounds the result store."""

    archive_s: Annotated[int, Field(ge=0)] = 0
    """Seconds for which a destroyed job's description stays as ARCHIVED, without results. 0 keeps nothing."""

    execution_duration_s: Annotated[int, Field(ge=1)] = 3600
    """Seconds a job may run unless its owner sets another limit."""

    max_execution_duration_s: Annotated[int, Field(ge=1)] = 6 * 3600
    """The longest time a job's owner may set; 0 (no limit) from a client becomes this."""

    max_wait_s: Annotated[int, Field(ge=1)] = 120
    """The longest a request with WAIT is held, seconds; WAIT=-1 means this. Below the idle time-out of usual
    proxies."""

    max_queued_per_owner: Annotated[int, Field(ge=1)] = 10_000
    """Unfinished jobs of one owner (anonymous callers are told apart by address), so that a runaway script can't fill
    the state database. identity.quotas has limits by group."""

    list_limit: Annotated[int, Field(ge=1)] = 10_000
    """Jobs shown in one list when the request does not say LAST; the newest are shown."""

    signed_links: bool = True
    """With results in S3: send clients to a signed link, so that bytes do not pass through this service. Turn off
    where clients can't reach the store."""

    signed_link_s: Annotated[int, Field(ge=30)] = 3600
    """Seconds for which such a link works."""

    @property
    def first_retention_s(self) -> int:
        """What a new job gets: the default, within the longest."""
        return min(self.retention_s, self.max_retention_s)

    @property
    def first_execution_duration_s(self) -> int:
        """What a new job gets: the default, within the longest."""
        return min(self.execution_duration_s, self.max_execution_duration_s)
