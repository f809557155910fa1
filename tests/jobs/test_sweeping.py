"""What dies on its way leaves nothing for ever: the sweeper, the next attempt and the database's return clear it up."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

import pytest

from idac.core.database import Database
from idac.core.errors import StoreUnavailable
from idac.core.store import FolderStore
from idac.jobs.model import JobResult, Phase
from idac.jobs.service import JobService
from idac.jobs.settings import JobsSettings
from idac.jobs.store import Claim, JobStore
from idac.jobs.sweeper import Sweeper, remove
from idac.jobs.workers import Workers
from services.counting_jobs import Clock, Counting, new
from services.waiting import until

SETTINGS = JobsSettings(workers=2, poll_s=0.02, lease_s=30)


@pytest.fixture
def service(jobs: JobStore, results: FolderStore) -> JobService:
    return JobService(jobs, results, SETTINGS)


def old(folder: Path) -> None:
    """Let everything in *folder* be two days old."""
    then = time.time() - 2 * 86400
    for path in (folder, *folder.rglob("*")):
        os.utime(path, (then, then))


def test_a_deletion_cut_short_is_finished_by_the_sweeper(
    jobs: JobStore, service: JobService, results: FolderStore
) -> None:
    job = service.create(new(), job_id="a", run=False)
    results.put_atomic("jobs/a/uploads/t.parquet", b"rows")

    class Dying(FolderStore):
        def delete_prefix(self, prefix: str) -> int:
            super().delete_prefix(prefix)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        remove(jobs, Dying(results.root), job)
    assert jobs.get("a") is not None
    assert Sweeper(jobs, results, SETTINGS).sweep() == 1
    assert jobs.get("a") is None


def test_the_sweeper_takes_away_files_of_jobs_that_never_were(
    jobs: JobStore, service: JobService, results: FolderStore
) -> None:
    service.create(new(), job_id="a", run=False)
    for key in ("jobs/a/uploads/t.parquet", "jobs/b/uploads/t.parquet"):
        results.put_atomic(key, b"rows")
    (results.root / "jobs/c/1").mkdir(parents=True)
    (results.root / "jobs/c/1/.new-0123456789abcdef").write_bytes(b"half a res")
    sweeper = Sweeper(jobs, results, SETTINGS)
    assert sweeper.sweep_strays() == 0
    assert (results.root / "jobs/c/1/.new-0123456789abcdef").exists()

    old(results.root)
    assert sweeper.sweep_strays() == 1
    assert sorted(p.relative_to(results.root).as_posix() for p in results.root.rglob("*")) == [
        *("jobs", "jobs/a", "jobs/a/uploads", "jobs/a/uploads/t.parquet")
    ]


def test_a_job_that_can_not_be_destroyed_keeps_no_other(
    jobs: JobStore, service: JobService, results: FolderStore
) -> None:
    class Refusing(FolderStore):
        def delete_prefix(self, prefix: str) -> int:
            if prefix == "jobs/a/":
                raise StoreUnavailable("The store of this centre does not answer.")
            return super().delete_prefix(prefix)

    for job_id in "ab":
        service.set_destruction(service.create(new(), job_id=job_id, run=False), jobs.now() - timedelta(seconds=1))
    assert Sweeper(jobs, Refusing(results.root), SETTINGS).sweep() == 1
    assert (jobs.get("a") is None, jobs.get("b") is None) == (False, True)


def test_what_a_dead_worker_left_goes_with_the_attempt_that_succeeds(
    jobs: JobStore, service: JobService, results: FolderStore
) -> None:
    service.create(new(N="1"), job_id="a", run=True)
    assert jobs.claim(["count"], "dead", -1) is not None
    results.put_atomic("jobs/a/1/result.txt", b"0\n")
    assert jobs.reclaim(3) == (1, 0)
    workers = Workers(jobs, results, {"count": Counting()}, SETTINGS)
    workers.start()
    until(lambda: jobs.phases(["a"])["a"] == Phase.COMPLETED)
    workers.stop()
    assert [item.key for item in results.list("jobs/a")] == ["jobs/a/2/result.txt"]


def test_a_finished_job_waits_for_a_state_database_that_is_away(
    jobs: JobStore, service: JobService, results: FolderStore
) -> None:
    class Away(JobStore):
        asked = 0

        def complete(self, claim: Claim, results: Iterable[JobResult]) -> bool:
            self.asked += 1
            if self.asked == 1:
                raise StoreUnavailable("The state database does not answer.")
            return super().complete(claim, results)

    away = Away(jobs._database)
    service.create(new(N="1"), job_id="a", run=True)
    workers = Workers(away, results, {"count": Counting()}, SETTINGS)
    workers.start()
    until(lambda: jobs.phases(["a"])["a"] == Phase.COMPLETED)
    workers.stop()
    job = jobs.get("a")
    assert job is not None
    assert (away.asked, job.attempt) == (2, 1)


def test_a_lease_given_before_the_clock_was_set_back_ends_like_any_other(database: Database) -> None:
    clock = Clock()
    jobs = JobStore(database, clock)
    jobs.add("a", new(), destruction=clock() + timedelta(days=1), execution_duration_s=60, phase=Phase.QUEUED)
    assert jobs.claim(["count"], "dead", 30) is not None
    clock.turn(-3600)
    jobs.renew("alive", 30)
    assert jobs.reclaim(3) == (0, 0)
    clock.turn(31)
    assert jobs.reclaim(3) == (1, 0)
