"""Workers: jobs run, stop when they are told to anywhere, and nothing half-written is ever seen."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from idac.core.errors import Cancelled
from idac.core.store import FolderStore
from idac.jobs.model import Job, Phase
from idac.jobs.service import JobService
from idac.jobs.settings import JobsSettings
from idac.jobs.store import JobStore
from idac.jobs.sweeper import Sweeper
from idac.jobs.workers import Produced, RunContext, Workers
from services.counting_jobs import ANN, Counting, new
from services.waiting import until

SETTINGS = JobsSettings(workers=2, poll_s=0.02, lease_s=30)


@pytest.fixture
def kind() -> Iterator[Counting]:
    made = Counting()
    yield made
    made.go.set()


@pytest.fixture
def workers(jobs: JobStore, results: FolderStore, kind: Counting) -> Iterator[Workers]:
    made = Workers(jobs, results, {"count": kind}, SETTINGS)
    made.start()
    yield made
    kind.go.set()
    made.stop()


@pytest.fixture
def service(jobs: JobStore, results: FolderStore, workers: Workers) -> JobService:
    return JobService(jobs, results, SETTINGS, workers.wake)


def phase(jobs: JobStore, job_id: str) -> Phase | None:
    return jobs.phases([job_id]).get(job_id)


def test_a_job_runs_and_its_result_is_whole(
    service: JobService, jobs: JobStore, results: FolderStore, kind: Counting
) -> None:
    service.create(new(N="4"), job_id="a", run=True)
    until(lambda: phase(jobs, "a") == Phase.COMPLETED)
    job = jobs.get("a")
    assert job is not None
    (result,) = job.results
    assert (result.id, result.mime, result.size) == ("result", "text/plain", 8)
    assert results.get(result.key) == b"0\n1\n2\n3\n"
    assert result.sha256 == hashlib.sha256(b"0\n1\n2\n3\n").hexdigest()
    assert kind.closed.wait(60)


def test_nothing_of_a_result_is_seen_before_it_is_whole(
    service: JobService, jobs: JobStore, results: FolderStore, kind: Counting
) -> None:
    service.create(new(HOLD="1"), job_id="a", run=True)
    assert kind.running.wait(60)
    assert list(results.list("jobs")) == []
    kind.go.set()
    until(lambda: phase(jobs, "a") == Phase.COMPLETED)
    assert [Path(item.key).name for item in results.list("jobs")] == ["result.txt"]


def test_an_error_of_the_query_is_told_in_full(service: JobService, jobs: JobStore) -> None:
    service.create(new(FAIL="1"), job_id="a", run=True)
    until(lambda: phase(jobs, "a") == Phase.ERROR)
    job = jobs.get("a")
    assert job is not None
    assert job.error is not None
    assert (job.error.message, job.error.transient) == (
        "There is no column rra. Given: rra. Did you mean ra?",
        False,
    )


def test_a_fault_is_told_by_its_id_alone(service: JobService, jobs: JobStore) -> None:
    service.create(new(CRASH="1"), job_id="a", run=True)
    until(lambda: phase(jobs, "a") == Phase.ERROR)
    job = jobs.get("a")
    assert job is not None
    assert job.error is not None
    assert job.error.message.startswith("The service failed. Try again; if it happens again, send the operator the id ")
    assert job.error.transient


def test_progress_is_told_while_a_job_runs(service: JobService, jobs: JobStore, kind: Counting) -> None:
    service.create(new(HOLD="1"), job_id="a", run=True)

    def progressed() -> bool:
        job = jobs.get("a")
        return job is not None and (job.progress.fraction, job.progress.rows) == (0.5, 7)

    until(progressed)
    kind.go.set()


def test_aborting_through_another_process_stops_the_work(
    jobs: JobStore, service: JobService, results: FolderStore, kind: Counting
) -> None:
    elsewhere = JobService(jobs, results, SETTINGS)  # knows nothing of this process's workers
    service.create(new(HOLD="1"), job_id="a", run=True)
    assert kind.running.wait(60)
    elsewhere.abort(elsewhere.get("count", "a", ANN))
    assert kind.stopped.wait(60)
    until(kind.closed.is_set)
    assert phase(jobs, "a") == Phase.ABORTED
    assert list(results.list("jobs")) == []


def test_deleting_stops_the_work_and_leaves_nothing(
    jobs: JobStore, service: JobService, results: FolderStore, kind: Counting
) -> None:
    service.create(new(HOLD="1"), job_id="a", run=True)
    assert kind.running.wait(60)
    service.delete(service.get("count", "a", ANN))
    assert kind.stopped.wait(60)
    until(kind.closed.is_set)
    assert jobs.get("a") is None
    assert list(results.list("jobs")) == []


class Deaf(Counting):
    """Does not hear the first word to stop, as a query does that has only begun to be read."""

    def __init__(self) -> None:
        super().__init__()
        self.words = 0

    def _count(self, job_id: str, n: int, hold: bool, context: RunContext) -> Iterator[bytes]:
        def hear() -> None:
            self.words += 1
            if self.words > 1:
                self.go.set()

        context.on_cancel(hear)
        self.running.set()
        assert self.go.wait(60)
        raise Cancelled("The query was stopped.")
        yield b""


@pytest.mark.parametrize("end", [Phase.ABORTED, Phase.QUEUED])
def test_a_word_to_stop_that_goes_unheard_is_said_again(jobs: JobStore, results: FolderStore, end: Phase) -> None:
    kind = Deaf()
    workers = Workers(jobs, results, {"count": kind}, SETTINGS)
    workers.start()
    service = JobService(jobs, results, SETTINGS, workers.wake)
    service.create(new(), job_id="a", run=True)
    assert kind.running.wait(60)
    if end == Phase.ABORTED:
        service.abort(service.get("count", "a", ANN))
        assert kind.go.wait(60)
    workers.stop()
    assert kind.words > 1
    assert phase(jobs, "a") == end


def test_a_job_over_its_time_is_aborted_and_says_why(jobs: JobStore, service: JobService, kind: Counting) -> None:
    job = service.create(new(HOLD="1"), job_id="a", run=False)
    jobs.set_execution_duration("a", 0)  # over at the first look
    service.run(job)
    until(lambda: phase(jobs, "a") == Phase.ABORTED)
    ended = jobs.get("a")
    assert ended is not None
    assert ended.error is not None
    assert ended.error.message == (
        "The job ran longer than its execution duration. Given: 0 s. Ask for less, or set a longer executionduration "
        "before starting it again."
    )


def test_a_stopping_process_gives_its_jobs_back(
    jobs: JobStore, results: FolderStore, service: JobService, workers: Workers, kind: Counting
) -> None:
    service.create(new(HOLD="1"), job_id="a", run=True)
    assert kind.running.wait(60)
    workers.stop()
    job = jobs.get("a")
    assert job is not None
    assert (job.phase, job.attempt) == (Phase.QUEUED, 0)
    again = Counting()
    again.go.set()
    others = Workers(jobs, results, {"count": again}, SETTINGS)
    others.start()
    until(lambda: phase(jobs, "a") == Phase.COMPLETED)
    others.stop()


def test_no_more_jobs_run_at_once_than_there_are_workers(jobs: JobStore, service: JobService, kind: Counting) -> None:
    for name in "abc":
        service.create(new(HOLD="1"), job_id=name, run=True)
    until(lambda: len(kind.runs) == 2)
    assert sorted(p for p in jobs.phases(["a", "b", "c"]).values()) == [Phase.EXECUTING, Phase.EXECUTING, Phase.QUEUED]
    kind.go.set()
    until(lambda: set(jobs.phases(["a", "b", "c"]).values()) == {Phase.COMPLETED})


def test_a_full_disk_fails_the_job_and_loses_nothing_else(jobs: JobStore, results: FolderStore) -> None:
    class Full(Counting):
        def run(self, job: Job, context: object) -> object:  # type: ignore[override]
            raise OSError(28, "No space left on device", "/srv/secret")

    workers = Workers(jobs, results, {"count": Full()}, SETTINGS)
    JobService(jobs, results, SETTINGS).create(new(), job_id="a", run=True)
    workers.start()
    until(lambda: phase(jobs, "a") == Phase.ERROR)
    workers.stop()
    job = jobs.get("a")
    assert job is not None
    assert job.error is not None
    assert job.error.message == (
        "There is no room on disk for this result. Ask for fewer rows or columns, delete old jobs, or tell the "
        "operator."
    )


def test_the_sweeper_takes_results_and_job_away(jobs: JobStore, service: JobService, results: FolderStore) -> None:
    service.create(new(), job_id="a", run=True)
    until(lambda: phase(jobs, "a") == Phase.COMPLETED)
    jobs.set_destruction("a", jobs.now() - timedelta(seconds=1))
    assert Sweeper(jobs, results, SETTINGS).sweep() == 1
    assert jobs.get("a") is None
    assert list(results.list("jobs")) == []


def test_the_sweeper_keeps_descriptions_where_the_centre_wants_them(
    jobs: JobStore, service: JobService, results: FolderStore
) -> None:
    service.create(new(), job_id="a", run=True)
    until(lambda: phase(jobs, "a") == Phase.COMPLETED)
    jobs.set_destruction("a", jobs.now() - timedelta(seconds=1))
    keeping = SETTINGS.model_copy(update={"archive_s": 60})
    Sweeper(jobs, results, keeping).sweep()
    job = jobs.get("a")
    assert job is not None
    assert (job.phase, job.results) == (Phase.ARCHIVED, ())
    assert list(results.list("jobs")) == []


class Winding:
    """The first attempt goes on until the test lets it, whatever it is told; the second until it is stopped."""

    name = "count"

    def __init__(self) -> None:
        self.let_go, self.second_runs, self.second_stopped = threading.Event(), threading.Event(), threading.Event()
        self.threads: list[threading.Thread] = []

    def run(self, job: Job, context: RunContext) -> Produced:
        self.threads.append(threading.current_thread())
        if len(self.threads) == 1:
            assert self.let_go.wait(60)
        else:
            context.on_cancel(self.second_stopped.set)
            self.second_runs.set()
            assert self.second_stopped.wait(60)
        raise Cancelled("The query was stopped.")


def test_a_job_that_is_run_again_here_is_watched_after_the_first_attempt_has_ended(
    jobs: JobStore, results: FolderStore
) -> None:
    kind = Winding()
    workers = Workers(jobs, results, {"count": kind}, SETTINGS)
    workers.start()
    try:
        service = JobService(jobs, results, SETTINGS, workers.wake)
        service.create(new(), job_id="a", run=True)
        until(lambda: len(kind.threads) == 1)
        (held,) = workers._runs.values()
        # As where this process was asleep for longer than its lease.
        jobs.give_back(held.claim)
        workers.wake()
        assert kind.second_runs.wait(60)
        kind.let_go.set()
        kind.threads[0].join(60)
        service.abort(jobs.get("a"))  # type: ignore[arg-type]
        assert kind.second_stopped.wait(60)
    finally:
        kind.let_go.set()
        workers.stop()
