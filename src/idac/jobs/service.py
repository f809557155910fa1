"""What may be done with jobs, and by whom; no HTTP here."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import datetime, timedelta

from idac.core.errors import Busy, Conflict, NotFound
from idac.core.principal import ANONYMOUS, Principal
from idac.core.quota import UNLIMITED, Quota
from idac.core.store import Store
from idac.jobs.model import ACTIVE, Job, JobLine, JobResult, NewJob, Phase, StoredFile
from idac.jobs.room import require_room
from idac.jobs.settings import JobsSettings
from idac.jobs.store import JobStore
from idac.jobs.sweeper import remove


def new_job_id() -> str:
    """160 random bits in hexadecimal: anonymous jobs have no other protection than that nobody can guess this."""
    return secrets.token_hex(20)


class JobService:
    """Jobs of every kind, for callers who may be anyone.

    A job belongs to its owner (and administrators). Anonymous jobs belong to whoever knows their id; lists never show
    them, so an anonymous caller's list is always empty. *wake* tells this process's workers that there is something
    to do. *quota_of* says how much a caller may have.
    """

    def __init__(
        self,
        jobs: JobStore,
        results: Store,
        settings: JobsSettings,
        wake: Callable[[], None] = lambda: None,
        quota_of: Callable[[Principal], Quota] = lambda _: UNLIMITED,
    ) -> None:
        self._jobs = jobs
        self.results = results
        self.settings = settings
        self._wake = wake
        self._quota_of = quota_of

    def create(self, new: NewJob, *, job_id: str, run: bool) -> Job:
        """Store a job under an id that the caller made (its files are already in that id's folder)."""
        with self._jobs.submitting():
            self._require_room(new)
            job = self._jobs.add(
                job_id,
                new,
                destruction=self._jobs.now() + timedelta(seconds=self.settings.first_retention_s),
                execution_duration_s=self.settings.first_execution_duration_s,
                phase=Phase.QUEUED if run else Phase.PENDING,
            )
        if run:
            self._wake()
        return job

    def _require_room(self, new: NewJob) -> None:
        limit = self.settings.max_queued_per_owner
        counted_for = new.counted_for or new.owner.name
        if self._jobs.count_unfinished(new.kind, counted_for) >= limit:
            raise Busy(
                "You have too many unfinished jobs.",
                value=str(limit),
                allowed=f"{limit} unfinished jobs (jobs.max_queued_per_owner)",
                next_step="Wait for some to end, or delete some.",
            )
        quota = self._quota_of(new.owner)
        if quota.queued is not None or quota.result_bytes is not None:
            require_room(quota, self._jobs.use(counted_for))

    def get(self, kind: str, job_id: str, principal: Principal) -> Job:
        """The job; NotFound where it is not there or not this caller's, which the caller can't tell apart."""
        job = self._jobs.get(job_id)
        if job is None or job.kind != kind or not _may_see(principal, job):
            raise NotFound(
                "There is no such job.",
                value=job_id,
                next_step="It may have been deleted or have reached its destruction time; log in if it is yours.",
            )
        return job

    def newest(
        self,
        kind: str,
        principal: Principal,
        *,
        phases: Collection[Phase] = (),
        after: datetime | None = None,
        last: int | None = None,
    ) -> list[JobLine]:
        """The caller's own jobs, newest first."""
        if principal.kind == "anonymous":
            return []
        limit = min(last or self.settings.list_limit, self.settings.list_limit)
        return self._jobs.newest(kind, principal.name, phases=phases, after=after, last=limit)

    def run(self, job: Job) -> None:
        """Queue a PENDING job; does nothing where it is queued or running already."""
        if not self._jobs.queue(job.id) and not self._is_active(job.id):
            raise Conflict(
                "The job has ended and can't be started again.",
                value=f"phase {job.phase}",
                allowed="PHASE=RUN on a PENDING job",
                next_step="Create a new job with the same parameters.",
            )
        self._wake()

    def _is_active(self, job_id: str) -> bool:
        return self._jobs.phases([job_id]).get(job_id) in ACTIVE

    def abort(self, job: Job) -> None:
        """End an active job; does nothing where it has ended."""
        self._jobs.abort(job.id)
        self._wake()

    def delete(self, job: Job) -> None:
        """Stop the job and take away all of it."""
        remove(self._jobs, self.results, job)
        self._wake()

    def edit(self, job: Job, parameters: tuple[tuple[str, str], ...], files: tuple[StoredFile, ...]) -> None:
        """Add or replace parameters of a PENDING job; a value given replaces all values of that name."""
        self.check_pending(job)
        names = {name for name, _ in parameters}
        file_names = {file.name for file in files}
        merged = (*(pair for pair in job.parameters if pair[0] not in names), *parameters)
        kept = (*(file for file in job.files if file.name not in file_names), *files)
        run_id = next((value for name, value in reversed(merged) if name == "RUNID"), None)
        if not self._jobs.edit(job.id, parameters=merged, files=kept, run_id=run_id):
            raise _too_late(self._jobs.get(job.id) or job)

    def check_pending(self, job: Job) -> None:
        """Raise Conflict where the parameters of *job* can't be changed, before the files of a change are taken in."""
        if job.phase is not Phase.PENDING:
            raise _too_late(job)

    def set_destruction(self, job: Job, when: datetime) -> Job:
        """Set the destruction time, moved to within what this centre allows; returns the job with what was set."""
        latest = self._jobs.now() + timedelta(seconds=self.settings.max_retention_s)
        allowed = min(when, latest)
        self._jobs.set_destruction(job.id, allowed)
        return replace(job, destruction=allowed)

    def set_execution_duration(self, job: Job, seconds: int) -> Job:
        """Set the time limit, moved to within what this centre allows; 0 means as long as allowed."""
        longest = self.settings.max_execution_duration_s
        allowed = min(seconds or longest, longest)
        if not self._jobs.set_execution_duration(job.id, allowed):
            raise Conflict(
                "The time limit can't be changed any more.",
                value=f"phase {job.phase}",
                allowed="changes until the job has ended",
            )
        return replace(job, execution_duration_s=allowed)

    def result(self, job: Job, result_id: str) -> JobResult:
        found = next((result for result in job.results if result.id == result_id), None)
        if found is None and job.error is not None:
            # Clients that look for a result before they look at the phase show their user this text and no other.
            raise NotFound(
                "The job failed and has no result.", value=f"phase {job.phase}", next_step=f"Why: {job.error.message}"
            )
        if found is None:
            raise NotFound(
                "The job has no such result.",
                value=result_id,
                allowed=", ".join(result.id for result in job.results) or f"none in phase {job.phase}",
                next_step="Wait for phase COMPLETED and look at the job's results.",
            )
        return found


def _too_late(job: Job) -> Conflict:
    return Conflict(
        "Parameters can't be changed any more.",
        value=f"phase {job.phase}",
        allowed="changes while the job is PENDING",
        next_step="Create a new job.",
    )


def _may_see(principal: Principal, job: Job) -> bool:
    return job.owner.name == ANONYMOUS.name or principal.owns(job.owner.name)
