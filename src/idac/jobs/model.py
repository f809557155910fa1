"""What a job is, in UWS 1.1's terms: an immutable picture of it at one moment."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from idac.core.principal import Principal


class Phase(StrEnum):
    """UWS 1.1 section 2.1.3; filters understand all of it, and the last three are never given by us."""

    PENDING = "PENDING"
    QUEUED = "QUEUED"
    EXECUTING = "EXECUTING"
    COMPLETED = "COMPLETED"
    ERROR = "ERROR"
    ABORTED = "ABORTED"
    ARCHIVED = "ARCHIVED"
    HELD = "HELD"
    SUSPENDED = "SUSPENDED"
    UNKNOWN = "UNKNOWN"


#: Phases that may still change by themselves or by the owner's word; only these block a WAIT.
ACTIVE = frozenset({Phase.PENDING, Phase.QUEUED, Phase.EXECUTING})
#: Phases in which work is done or to be done.
UNFINISHED = frozenset({Phase.QUEUED, Phase.EXECUTING})


@dataclass(frozen=True, slots=True)
class JobError:
    """Why a job ended in ERROR or ABORTED. *transient*: the same job may succeed when it is tried again."""

    message: str
    transient: bool = False
    code: str = "fault"


@dataclass(frozen=True, slots=True)
class JobResult:
    """One published result; *key* names its bytes in the result store."""

    id: str
    key: str
    mime: str
    filename: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class StoredFile:
    """An input kept in the result store until the job is destroyed, so that any worker can run it."""

    name: str
    key: str
    description: str  # what the job's kind needs to read it back, its own to write and read


@dataclass(frozen=True, slots=True)
class JobProgress:
    """How far an executing job is; shown in UWS jobInfo."""

    fraction: float | None = None
    rows: int | None = None


@dataclass(frozen=True, slots=True)
class NewJob:
    """What a client asks for, before it has an id."""

    kind: str
    owner: Principal
    parameters: tuple[tuple[str, str], ...]
    run_id: str | None = None
    files: tuple[StoredFile, ...] = ()
    #: Whom the job is counted for where that is not the owner's name: anonymous callers differ by address.
    counted_for: str = ""


@dataclass(frozen=True, slots=True)
class Job:
    """A job as the state database has it. All times are UTC."""

    id: str
    kind: str
    owner: Principal
    phase: Phase
    run_id: str | None
    created: datetime
    started: datetime | None
    ended: datetime | None
    destruction: datetime
    execution_duration_s: int
    parameters: tuple[tuple[str, str], ...]
    files: tuple[StoredFile, ...]
    attempt: int
    progress: JobProgress = field(default_factory=JobProgress)
    error: JobError | None = None
    results: tuple[JobResult, ...] = ()
    counted_for: str = ""

    @property
    def folder(self) -> str:
        """Where in the result store all of this job lies."""
        return f"jobs/{self.id}"

    @property
    def quote(self) -> datetime | None:
        """When the job will have ended at the latest, once it runs; None while nobody can tell."""
        if self.phase != Phase.EXECUTING or self.started is None:
            return None
        return datetime.fromtimestamp(self.started.timestamp() + self.execution_duration_s, tz=self.started.tzinfo)


@dataclass(frozen=True, slots=True)
class JobLine:
    """A job as a list shows it."""

    id: str
    owner: str
    phase: Phase
    run_id: str | None
    created: datetime
