"""Jobs in the state database: every change is one conditional statement, so that no two processes can both win."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from idac.core.database import Database
from idac.core.principal import Principal
from idac.core.quota import JobUse, KeptResult
from idac.jobs.model import (
    ACTIVE,
    UNFINISHED,
    Job,
    JobError,
    JobLine,
    JobProgress,
    JobResult,
    NewJob,
    Phase,
    StoredFile,
)

metadata = sa.MetaData()

#: Times are milliseconds since 1970 in UTC: one form that sorts and compares alike in SQLite and PostgreSQL.
JOBS = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("kind", sa.String(40), nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("principal", sa.Text, nullable=False),
    sa.Column("phase", sa.String(10), nullable=False),
    sa.Column("run_id", sa.Text),
    sa.Column("created", sa.BigInteger, nullable=False),
    sa.Column("queued", sa.BigInteger),
    sa.Column("started", sa.BigInteger),
    sa.Column("ended", sa.BigInteger),
    sa.Column("destruction", sa.BigInteger, nullable=False),
    sa.Column("execution_duration_s", sa.Integer, nullable=False),
    sa.Column("parameters", sa.Text, nullable=False),
    sa.Column("files", sa.Text, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("worker", sa.String(80)),
    sa.Column("lease", sa.BigInteger),
    sa.Column("progress", sa.Text),
    sa.Column("error", sa.Text),
    sa.Column("results", sa.Text, nullable=False),
    # Bytes of the results together: a user's sum is asked for with each job, and must not need the jobs' rows.
    sa.Column("result_bytes", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.Index("jobs_of_owner", "kind", "owner", "created"),
    sa.Index("jobs_of_owner_by_phase", "owner", "phase", "kind", "created"),
    sa.Index("jobs_results_kept", "owner", "phase", "result_bytes"),
    sa.Index("jobs_waiting", "phase", "owner", "queued"),
    sa.Index("jobs_of_worker", "worker"),
    sa.Index("jobs_to_destroy", "destruction"),
)


@dataclass(frozen=True, slots=True)
class Claim:
    """A worker's hold on one attempt of a job; every write of that attempt proves it."""

    job_id: str
    worker: str
    attempt: int

    def holds(self) -> sa.ColumnElement[bool]:
        return sa.and_(
            JOBS.c.id == self.job_id,
            JOBS.c.worker == self.worker,
            JOBS.c.attempt == self.attempt,
            JOBS.c.phase == Phase.EXECUTING,
        )


class JobStore:
    """The ``jobs`` table. Thread-safe, and safe between processes. *now* is the clock, for tests to turn."""

    def __init__(self, database: Database, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._database = database
        self._now = now

    def now(self) -> datetime:
        return self._now()

    def add(self, job_id: str, new: NewJob, *, destruction: datetime, execution_duration_s: int, phase: Phase) -> Job:
        """Store a new job, PENDING or QUEUED."""
        now = self._ms()
        values = {
            "id": job_id,
            "kind": new.kind,
            "owner": new.counted_for or new.owner.name,
            "principal": _principal_text(new.owner),
            "phase": phase,
            "run_id": new.run_id,
            "created": now,
            "queued": now if phase == Phase.QUEUED else None,
            "destruction": _ms(destruction),
            "execution_duration_s": execution_duration_s,
            "parameters": json.dumps(new.parameters),
            "files": json.dumps([asdict(file) for file in new.files]),
            "attempt": 0,
            "results": "[]",
        }
        with self._database.begin() as connection:
            connection.execute(JOBS.insert().values(values))
        job = self.get(job_id)
        assert job is not None  # noqa: S101  inserted in the line above
        return job

    def submitting(self) -> AbstractContextManager[None]:
        """Keep others from adding jobs in the block: two who count at once would both find room for one more."""
        return self._database.exclusive("submissions")

    def completing(self) -> AbstractContextManager[None]:
        """Keep others from completing jobs in the block: two who look at once would both find the last room."""
        return self._database.exclusive("completions")

    def get(self, job_id: str) -> Job | None:
        with self._database.read() as connection:
            row = connection.execute(sa.select(JOBS).where(JOBS.c.id == job_id)).mappings().first()
        return _job(row) if row is not None else None

    def phases(self, job_ids: Collection[str]) -> dict[str, Phase]:
        """Phases of many jobs in one query; jobs that are gone are left out."""
        query = sa.select(JOBS.c.id, JOBS.c.phase).where(JOBS.c.id.in_(job_ids))
        with self._database.read() as connection:
            return {row.id: Phase(row.phase) for row in connection.execute(query)}

    def newest(
        self, kind: str, owner: str, *, phases: Collection[Phase] = (), after: datetime | None = None, last: int
    ) -> list[JobLine]:
        """The owner's newest *last* jobs, newest first; ARCHIVED ones only where *phases* names that phase."""
        columns = (JOBS.c.id, JOBS.c.owner, JOBS.c.phase, JOBS.c.run_id, JOBS.c.created)
        query = sa.select(*columns).where(JOBS.c.kind == kind, JOBS.c.owner == owner)
        query = query.where(JOBS.c.phase.in_(phases) if phases else JOBS.c.phase != Phase.ARCHIVED)
        if after is not None:
            query = query.where(JOBS.c.created > _ms(after))
        query = query.order_by(JOBS.c.created.desc(), JOBS.c.id).limit(last)
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        return [JobLine(r.id, r.owner, Phase(r.phase), r.run_id, _time(r.created)) for r in rows]

    def count_unfinished(self, kind: str, owner: str) -> int:
        query = sa.select(sa.func.count()).where(
            JOBS.c.kind == kind, JOBS.c.owner == owner, JOBS.c.phase.in_((*UNFINISHED, Phase.PENDING))
        )
        with self._database.read() as connection:
            return int(connection.execute(query).scalar_one())

    def use(self, owner: str, largest: int = 10) -> JobUse:
        """What all jobs that are counted for *owner* take now, with the *largest* results."""
        mine = JOBS.c.owner == owner
        with self._database.read() as connection:
            active = sa.select(JOBS.c.phase, sa.func.count().label("n")).where(mine, JOBS.c.phase.in_(ACTIVE))
            counts = {row.phase: row.n for row in connection.execute(active.group_by(JOBS.c.phase))}
            kept = mine & (JOBS.c.phase == Phase.COMPLETED)
            total = connection.execute(sa.select(sa.func.sum(JOBS.c.result_bytes)).where(kept)).scalar()
            lines = sa.select(JOBS.c.id, JOBS.c.run_id, JOBS.c.destruction, JOBS.c.result_bytes)
            lines = lines.where(kept, JOBS.c.result_bytes > 0).order_by(JOBS.c.result_bytes.desc()).limit(largest)
            rows = connection.execute(lines).all()
        return JobUse(
            counts.get(Phase.PENDING, 0) + counts.get(Phase.QUEUED, 0),
            counts.get(Phase.EXECUTING, 0),
            int(total or 0),
            tuple(KeptResult(r.id, r.result_bytes, _time(r.destruction), r.run_id) for r in rows),
        )

    def queue(self, job_id: str) -> bool:
        """PENDING → QUEUED; False if it was not PENDING."""
        return self._change(
            (JOBS.c.id == job_id) & (JOBS.c.phase == Phase.PENDING), phase=Phase.QUEUED, queued=self._ms()
        )

    def edit(
        self,
        job_id: str,
        *,
        parameters: Sequence[tuple[str, str]],
        files: Sequence[StoredFile],
        run_id: str | None,
    ) -> bool:
        """Replace the parameters of a PENDING job; False if it was not PENDING."""
        return self._change(
            (JOBS.c.id == job_id) & (JOBS.c.phase == Phase.PENDING),
            parameters=json.dumps(list(parameters)),
            files=json.dumps([asdict(file) for file in files]),
            run_id=run_id,
        )

    def set_destruction(self, job_id: str, when: datetime) -> bool:
        return self._change(JOBS.c.id == job_id, destruction=_ms(when))

    def set_execution_duration(self, job_id: str, seconds: int) -> bool:
        """False once the job has ended: the limit of a running job may still be changed."""
        active = JOBS.c.phase.in_((Phase.PENDING, *UNFINISHED))
        return self._change((JOBS.c.id == job_id) & active, execution_duration_s=seconds)

    def abort(self, job_id: str, error: JobError | None = None) -> bool:
        """Any active phase → ABORTED; False if the job had ended already."""
        return self._change(
            (JOBS.c.id == job_id) & JOBS.c.phase.in_((Phase.PENDING, *UNFINISHED)),
            phase=Phase.ABORTED,
            ended=self._ms(),
            error=_json(error),
        )

    def delete(self, job_id: str) -> bool:
        with self._database.begin() as connection:
            return connection.execute(JOBS.delete().where(JOBS.c.id == job_id)).rowcount == 1

    def claim(
        self, kinds: Collection[str], worker: str, lease_s: float, most: Callable[[str], int | None] | None = None
    ) -> tuple[Job, Claim] | None:
        """Take the next QUEUED job: of the owner with the fewest running, the one that has waited longest.

        *most* says how many jobs an owner may have running; None is any number.
        """
        waiting = sa.select(JOBS.c.id).where(JOBS.c.phase == Phase.QUEUED, JOBS.c.kind.in_(kinds)).limit(1)
        with self._database.read() as connection:  # an idle worker's look must not take SQLite's one write lock
            if connection.execute(waiting).first() is None:
                return None
        if most is None:
            return self._claim(kinds, worker, lease_s, ())
        with self._database.exclusive("claims"):  # two who count at once would both find room for one more
            return self._claim(kinds, worker, lease_s, self._full_owners(kinds, most))

    def _full_owners(self, kinds: Collection[str], most: Callable[[str], int | None]) -> list[str]:
        """Owners with jobs waiting who may have no more running."""
        waiting = sa.func.sum(sa.case((JOBS.c.phase == Phase.QUEUED, 1), else_=0))
        running = sa.func.sum(sa.case((JOBS.c.phase == Phase.EXECUTING, 1), else_=0))
        query = sa.select(JOBS.c.owner, running.label("running")).where(JOBS.c.phase.in_(UNFINISHED))
        query = query.where(JOBS.c.kind.in_(kinds)).group_by(JOBS.c.owner).having(waiting > 0)
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        limits = {row.owner: most(row.owner) for row in rows}
        return [row.owner for row in rows if (limit := limits[row.owner]) is not None and row.running >= limit]

    def _claim(
        self, kinds: Collection[str], worker: str, lease_s: float, full: Collection[str]
    ) -> tuple[Job, Claim] | None:
        with self._database.begin() as connection:
            job_id = connection.execute(_next_job(kinds, full)).scalar()
            if job_id is None:
                return None
            now = self._ms()
            taken = connection.execute(
                JOBS.update()
                .where(JOBS.c.id == job_id, JOBS.c.phase == Phase.QUEUED)
                .values(
                    phase=Phase.EXECUTING,
                    worker=worker,
                    lease=now + int(lease_s * 1000),
                    attempt=JOBS.c.attempt + 1,
                    started=now,
                    progress=None,
                )
                .returning(JOBS)
            )
            row = taken.mappings().first()
        if row is None:  # another worker was quicker; the next look finds the next job
            return None
        job = _job(row)
        return job, Claim(job.id, worker, job.attempt)

    def held(self, worker: str) -> dict[str, tuple[int, int]]:
        """Attempt and time limit of every job this worker holds: what is missing was aborted, deleted or taken."""
        query = sa.select(JOBS.c.id, JOBS.c.attempt, JOBS.c.execution_duration_s).where(
            JOBS.c.worker == worker, JOBS.c.phase == Phase.EXECUTING
        )
        with self._database.read() as connection:
            return {row.id: (row.attempt, row.execution_duration_s) for row in connection.execute(query)}

    def renew(self, worker: str, lease_s: float) -> None:
        """Push the end of the lease of every job this worker holds.

        A lease that ends later than any given now can was given before the clock was set back: its worker gets one of
        the present time, to renew or to lose.
        """
        now, length = self._ms(), int(lease_s * 1000)
        self._change((JOBS.c.worker == worker) & (JOBS.c.phase == Phase.EXECUTING), lease=now + length)
        self._change((JOBS.c.phase == Phase.EXECUTING) & (JOBS.c.lease > now + 2 * length), lease=now + length)

    def report(self, claim: Claim, progress: JobProgress) -> bool:
        return self._change(claim.holds(), progress=_json(progress))

    def complete(self, claim: Claim, results: Iterable[JobResult]) -> bool:
        """Publish the results; False if the claim was lost, and then nothing has changed."""
        published = list(results)
        return self._change(
            claim.holds(),
            phase=Phase.COMPLETED,
            ended=self._ms(),
            results=json.dumps([asdict(result) for result in published]),
            result_bytes=sum(result.size for result in published),
            progress=None,
            lease=None,
        )

    def fail(self, claim: Claim, error: JobError, phase: Phase = Phase.ERROR) -> bool:
        return self._change(claim.holds(), phase=phase, ended=self._ms(), error=_json(error), lease=None)

    def give_back(self, claim: Claim) -> bool:
        """A worker that stops in order returns its job to the queue, and the attempt does not count."""
        return self._change(
            claim.holds(), phase=Phase.QUEUED, worker=None, lease=None, attempt=claim.attempt - 1, started=None
        )

    def reclaim(self, max_attempts: int) -> tuple[int, int]:
        """Jobs whose worker is silent: back to the queue, or to ERROR after the last attempt. Returns both counts."""
        lost = (JOBS.c.phase == Phase.EXECUTING) & (JOBS.c.lease < self._ms())
        message = JobError(
            f"The job was begun {max_attempts} times and its worker process died each time. "
            "Try a smaller query (fewer rows, a smaller region); if it happens again, tell the operator.",
            code="worker-died",
        )
        with self._database.begin() as connection:
            failed = connection.execute(
                JOBS.update()
                .where(lost, JOBS.c.attempt >= max_attempts)
                .values(phase=Phase.ERROR, ended=self._ms(), error=_json(message), lease=None)
            ).rowcount
            again = connection.execute(
                JOBS.update().where(lost).values(phase=Phase.QUEUED, worker=None, lease=None, started=None)
            ).rowcount
        return again, failed

    def due(self, limit: int) -> list[Job]:
        """Jobs past their destruction."""
        query = sa.select(JOBS).where(JOBS.c.destruction <= self._ms()).order_by(JOBS.c.destruction).limit(limit)
        with self._database.read() as connection:
            return [_job(row) for row in connection.execute(query).mappings()]

    def archive(self, job_id: str, until: datetime) -> bool:
        """Keep the description alone, as ARCHIVED, until another destruction time."""
        return self._change(
            JOBS.c.id == job_id,
            phase=Phase.ARCHIVED,
            destruction=_ms(until),
            results="[]",
            result_bytes=0,
            files="[]",
            worker=None,
            lease=None,
        )

    def _change(self, where: sa.ColumnElement[bool], **values: object) -> bool:
        with self._database.begin() as connection:
            return connection.execute(JOBS.update().where(where).values(values)).rowcount > 0

    def _ms(self) -> int:
        return _ms(self._now())


def _next_job(kinds: Collection[str], full: Collection[str]) -> sa.Select[tuple[str]]:
    running = (
        sa.select(JOBS.c.owner, sa.func.count().label("n"))
        .where(JOBS.c.phase == Phase.EXECUTING)
        .group_by(JOBS.c.owner)
        .subquery()
    )
    first = (
        sa.select(JOBS.c.owner, sa.func.min(JOBS.c.queued).label("queued"))
        .where(JOBS.c.phase == Phase.QUEUED, JOBS.c.kind.in_(kinds), JOBS.c.owner.not_in(full))
        .group_by(JOBS.c.owner)
        .subquery()
    )
    owner = (
        sa.select(first.c.owner)
        .join(running, running.c.owner == first.c.owner, isouter=True)
        .order_by(sa.func.coalesce(running.c.n, 0), first.c.queued)
        .limit(1)
        .scalar_subquery()
    )
    return (
        sa.select(JOBS.c.id)
        .where(JOBS.c.phase == Phase.QUEUED, JOBS.c.kind.in_(kinds), JOBS.c.owner == owner)
        .order_by(JOBS.c.queued, JOBS.c.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )


def _job(row: Mapping[str, Any] | sa.RowMapping) -> Job:
    progress = json.loads(row["progress"]) if row["progress"] else {}
    return Job(
        id=row["id"],
        kind=row["kind"],
        owner=_principal(row["principal"]),
        phase=Phase(row["phase"]),
        run_id=row["run_id"],
        created=_time(row["created"]),
        started=_time(row["started"]) if row["started"] is not None else None,
        ended=_time(row["ended"]) if row["ended"] is not None else None,
        destruction=_time(row["destruction"]),
        execution_duration_s=row["execution_duration_s"],
        parameters=tuple((name, value) for name, value in json.loads(row["parameters"])),
        files=tuple(StoredFile(**file) for file in json.loads(row["files"])),
        attempt=row["attempt"],
        progress=JobProgress(**progress),
        error=JobError(**json.loads(row["error"])) if row["error"] else None,
        results=tuple(JobResult(**result) for result in json.loads(row["results"])),
        counted_for=row["owner"],
    )


def _principal_text(principal: Principal) -> str:
    # The groups that hold when the job was made: a job runs with the rights its owner had, and no more.
    return json.dumps(
        {
            "name": principal.name,
            "kind": principal.kind,
            "groups": sorted(principal.groups),
            "is_admin": principal.is_admin,
            "credential": principal.credential,
        }
    )


def _principal(text: str) -> Principal:
    parts = json.loads(text)
    return Principal(
        parts["name"],
        parts["kind"],
        frozenset(parts["groups"]),
        parts["is_admin"],
        credential=parts.get("credential"),
    )


def _json(part: JobError | JobProgress | None) -> str | None:
    return json.dumps(asdict(part)) if part is not None else None


def _ms(time: datetime) -> int:
    return round(time.timestamp() * 1000)


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, tz=UTC)
