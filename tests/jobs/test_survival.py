"""A worker process is killed in the middle of a job: the job is not lost, and no half of its result is seen."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from idac.core.database import Database
from idac.core.store import FolderStore
from idac.jobs.model import Phase
from idac.jobs.service import JobService
from idac.jobs.settings import JobsSettings
from idac.jobs.store import JobStore
from idac.jobs.workers import Workers
from services.counting_jobs import Counting, new
from services.waiting import until

SETTINGS = JobsSettings(workers=1, poll_s=0.02, lease_s=30, max_attempts=2)
ROOT = Path(__file__).parents[2]


def an_hour_later() -> datetime:
    return datetime.now(UTC) + timedelta(hours=1)


def run_and_kill(database: Database, results: FolderStore) -> None:
    url = database.engine.url.render_as_string(hide_password=False)
    command = [sys.executable, str(Path(__file__).with_name("dying_worker.py")), url, str(results.root)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "running\n"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()


@pytest.fixture
def service(jobs: JobStore, results: FolderStore) -> JobService:
    return JobService(jobs, results, SETTINGS)


def test_a_killed_workers_job_is_finished_by_another(
    database: Database, jobs: JobStore, results: FolderStore, service: JobService
) -> None:
    service.create(new(N="2"), job_id="a", run=True)
    run_and_kill(database, results)
    job = jobs.get("a")
    assert job is not None
    assert (job.phase, job.attempt, job.results) == (Phase.EXECUTING, 1, ())
    assert [item.key for item in results.list("jobs")] == []

    later = JobStore(database, an_hour_later)  # the lease has run out by then
    workers = Workers(later, results, {"count": Counting()}, SETTINGS)
    workers.start()
    until(lambda: later.phases(["a"])["a"] == Phase.COMPLETED)
    workers.stop()
    job = jobs.get("a")
    assert job is not None
    assert (job.attempt, results.get(job.results[0].key)) == (2, b"0\n1\n")


def test_a_job_that_kills_its_workers_is_given_up(
    database: Database, jobs: JobStore, results: FolderStore, service: JobService
) -> None:
    service.create(new(), job_id="a", run=True)
    run_and_kill(database, results)
    later = JobStore(database, an_hour_later)
    assert later.reclaim(max_attempts=1) == (0, 1)
    job = jobs.get("a")
    assert job is not None
    assert job.error is not None
    assert (job.phase, job.error.code) == (Phase.ERROR, "worker-died")
