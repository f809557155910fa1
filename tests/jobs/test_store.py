"""Jobs in the state database: what may follow what, and who wins."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

from idac.core.database import Database
from idac.core.principal import Principal
from idac.jobs.model import Job, JobError, JobProgress, JobResult, Phase
from idac.jobs.store import Claim, JobStore
from services.counting_jobs import ANN, BEN, Clock, new

KINDS = ("count",)
RESULT = JobResult("result", "jobs/a/1/result.txt", "text/plain", "result.txt", 6, "ab")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def jobs(database: Database, clock: Clock) -> JobStore:
    return JobStore(database, clock)


def add(jobs: JobStore, job_id: str, owner: Principal = ANN, *, queued: bool = True, **parameters: str) -> Job:
    return jobs.add(
        job_id,
        new(owner, **parameters),
        destruction=jobs.now() + timedelta(days=7),
        execution_duration_s=60,
        phase=Phase.QUEUED if queued else Phase.PENDING,
    )


def claim(jobs: JobStore, worker: str = "w1") -> tuple[Job, Claim]:
    claimed = jobs.claim(KINDS, worker, 30)
    assert claimed is not None
    return claimed


def test_a_job_comes_back_as_it_was_stored(jobs: JobStore, clock: Clock) -> None:
    job = add(jobs, "a", queued=False, N="3", QUERY="SELECT 'é' FROM t")
    assert jobs.get("a") == job
    assert (job.owner, job.phase, job.created) == (ANN, Phase.PENDING, clock.time)
    assert job.parameters == (("N", "3"), ("QUERY", "SELECT 'é' FROM t"))
    assert jobs.get("b") is None


def test_only_a_pending_job_is_queued(jobs: JobStore) -> None:
    add(jobs, "a", queued=False)
    assert jobs.queue("a")
    assert not jobs.queue("a")
    assert not jobs.queue("missing")


def test_a_claimed_job_is_nobody_elses(jobs: JobStore) -> None:
    add(jobs, "a")
    job, _ = claim(jobs)
    assert (job.phase, job.attempt) == (Phase.EXECUTING, 1)
    assert jobs.claim(KINDS, "w2", 30) is None


def test_many_workers_at_once_take_each_job_once(jobs: JobStore) -> None:
    for number in range(20):
        add(jobs, f"job{number}")
    taken: list[str] = []

    def work(worker: str) -> None:
        while (claimed := jobs.claim(KINDS, worker, 30)) is not None:
            taken.append(claimed[0].id)

    threads = [threading.Thread(target=work, args=(f"w{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    work("last")  # a worker that lost a race may have left one behind
    assert sorted(taken) == sorted(f"job{number}" for number in range(20))


def test_other_kinds_are_left_alone(jobs: JobStore) -> None:
    add(jobs, "a")
    assert jobs.claim(("cutout",), "w1", 30) is None


def test_an_owner_with_much_queued_does_not_keep_others_waiting(jobs: JobStore, clock: Clock) -> None:
    for number in range(3):
        add(jobs, f"ann{number}", ANN)
        clock.turn(1)
    add(jobs, "ben0", BEN)
    assert [claim(jobs)[0].id for _ in range(4)] == ["ann0", "ben0", "ann1", "ann2"]


def test_results_are_published_with_the_phase(jobs: JobStore, clock: Clock) -> None:
    add(jobs, "a")
    _, held = claim(jobs)
    clock.turn(5)
    assert jobs.complete(held, [RESULT])
    job = jobs.get("a")
    assert job is not None
    assert (job.phase, job.results, job.ended) == (Phase.COMPLETED, (RESULT,), clock.time)


def test_a_silent_workers_job_is_begun_again_by_another(jobs: JobStore, clock: Clock) -> None:
    add(jobs, "a")
    _, first = claim(jobs, "w1")
    clock.turn(29)
    assert jobs.reclaim(3) == (0, 0)
    clock.turn(2)
    assert jobs.reclaim(3) == (1, 0)
    job, second = claim(jobs, "w2")
    assert job.attempt == 2
    # The first worker was only slow: nothing it writes counts any more.
    assert not jobs.complete(first, [RESULT])
    assert not jobs.fail(first, JobError("late"))
    assert not jobs.report(first, JobProgress(1.0, 1))
    assert jobs.complete(second, [RESULT])


def test_a_worker_that_is_heard_of_keeps_its_job(jobs: JobStore, clock: Clock) -> None:
    add(jobs, "a")
    claim(jobs, "w1")
    for _ in range(5):
        clock.turn(20)
        jobs.renew("w1", 30)
        assert jobs.reclaim(3) == (0, 0)


def test_a_job_that_kills_its_workers_ends_with_a_clear_error(jobs: JobStore, clock: Clock) -> None:
    add(jobs, "a")
    for _ in range(2):
        claim(jobs)
        clock.turn(31)
        assert jobs.reclaim(3) == (1, 0)
    claim(jobs)
    clock.turn(31)
    assert jobs.reclaim(3) == (0, 1)
    job = jobs.get("a")
    assert job is not None
    assert job.error is not None
    assert (job.phase, job.error.message) == (
        Phase.ERROR,
        "The job was begun 3 times and its worker process died each time. Try a smaller query (fewer rows, a smaller "
        "region); if it happens again, tell the operator.",
    )


def test_a_worker_that_stops_in_order_costs_no_attempt(jobs: JobStore) -> None:
    add(jobs, "a")
    _, held = claim(jobs, "w1")
    assert jobs.give_back(held)
    job, _ = claim(jobs, "w2")
    assert job.attempt == 1


def test_an_abort_wins_against_the_worker(jobs: JobStore) -> None:
    add(jobs, "a")
    _, held = claim(jobs, "w1")
    assert jobs.held("w1") == {"a": (1, 60)}
    assert jobs.abort("a")
    assert jobs.held("w1") == {}
    assert not jobs.complete(held, [RESULT])
    assert not jobs.abort("a")


def test_parameters_change_while_pending_alone(jobs: JobStore) -> None:
    add(jobs, "a", queued=False, N="3")
    assert jobs.edit("a", parameters=[("N", "4")], files=(), run_id="mine")
    job = jobs.get("a")
    assert job is not None
    assert (job.parameters, job.run_id) == ((("N", "4"),), "mine")
    jobs.queue("a")
    assert not jobs.edit("a", parameters=[("N", "5")], files=(), run_id=None)


def test_a_list_shows_the_owners_newest_first(jobs: JobStore, clock: Clock) -> None:
    for number in range(5):
        add(jobs, f"job{number}", queued=number % 2 == 0)
        clock.turn(10)
    add(jobs, "ben0", BEN)
    assert [line.id for line in jobs.newest("count", "ann", last=3)] == ["job4", "job3", "job2"]
    assert [line.id for line in jobs.newest("count", "ann", phases=[Phase.PENDING], last=9)] == ["job3", "job1"]
    after = clock.time - timedelta(seconds=30)
    assert [line.id for line in jobs.newest("count", "ann", after=after, last=9)] == ["job4", "job3"]


def test_archived_jobs_are_listed_when_asked_for(jobs: JobStore, clock: Clock) -> None:
    add(jobs, "a")
    assert jobs.archive("a", clock.time + timedelta(days=1))
    assert jobs.newest("count", "ann", last=9) == []
    assert [line.id for line in jobs.newest("count", "ann", phases=[Phase.ARCHIVED], last=9)] == ["a"]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)  # PostgreSQL tells its plans in other words
def test_listing_does_not_read_jobs_it_does_not_show(jobs: JobStore, database: Database) -> None:
    import sqlalchemy as sa

    with database.read() as connection:
        plan = connection.execute(
            sa.text(
                "EXPLAIN QUERY PLAN SELECT id FROM jobs WHERE kind='count' AND owner='ann' AND phase != 'ARCHIVED' "
                "ORDER BY created DESC, id LIMIT 10"
            )
        ).all()
    assert any("USING INDEX jobs_of_owner (kind=? AND owner=?)" in str(row) for row in plan)


def test_jobs_past_their_destruction_are_due(jobs: JobStore, clock: Clock) -> None:
    add(jobs, "a")
    assert jobs.due(10) == []
    clock.turn(7 * 86400)
    assert [job.id for job in jobs.due(10)] == ["a"]
