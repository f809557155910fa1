"""Quotas of jobs: how many run and wait, and the room that their results take."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from idac.core.errors import TooLarge, TooOften
from idac.core.principal import ANONYMOUS
from idac.core.quota import Quota
from idac.core.store import FolderStore
from idac.jobs.model import JobResult, NewJob, Phase
from idac.jobs.service import JobService
from idac.jobs.settings import JobsSettings
from idac.jobs.store import JobStore
from idac.jobs.workers import Workers
from services.counting_jobs import ANN, BEN, Clock, Counting, new
from services.waiting import until

SETTINGS = JobsSettings(workers=2, poll_s=0.02)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def jobs(jobs: JobStore, clock: Clock) -> JobStore:
    jobs._now = clock
    return jobs


def service_with(jobs: JobStore, results: FolderStore, quota: Quota) -> JobService:
    return JobService(jobs, results, SETTINGS, quota_of=lambda _: quota)


def finish(jobs: JobStore, job_id: str, size: int) -> None:
    claimed = jobs.claim(["count"], "w", 30)
    assert claimed is not None
    assert claimed[0].id == job_id
    jobs.complete(claimed[1], [JobResult("result", "k", "text/plain", "r.txt", size, "0")])


def test_no_more_jobs_of_an_owner_run_than_the_quota_has(jobs: JobStore, results: FolderStore) -> None:
    service = service_with(jobs, results, Quota())
    for number in range(6):
        service.create(new(ANN), job_id=f"ann{number}", run=True)
    service.create(new(BEN), job_id="ben0", run=True)
    limits = {"ann": 2, "ben": None}

    def claim(_: int) -> str | None:
        claimed = jobs.claim(["count"], "w", 30, limits.__getitem__)
        return claimed[0].id if claimed is not None else None

    with ThreadPoolExecutor(4) as workers:
        taken = sorted(filter(None, workers.map(claim, range(8))))
    assert taken == ["ann0", "ann1", "ben0"]
    jobs.abort("ann0")
    assert [claim(0), claim(0)] == ["ann2", None]


def test_of_jobs_that_are_sent_at_once_no_more_are_taken_than_may_wait(jobs: JobStore, results: FolderStore) -> None:
    service = service_with(jobs, results, Quota(queued=3))

    def submit(number: int) -> bool:
        try:
            service.create(new(), job_id=f"job{number}", run=True)
        except TooOften:
            return False
        return True

    with ThreadPoolExecutor(8) as senders:
        taken = list(senders.map(submit, range(24)))
    assert sum(taken) == 3


def test_many_who_submit_at_once_leave_each_other_connections(jobs: JobStore, results: FolderStore) -> None:
    service = service_with(jobs, results, Quota())
    with ThreadPoolExecutor(40) as senders:
        made = list(senders.map(lambda n: service.create(new(), job_id=f"job{n}", run=False).id, range(40)))
    assert len(set(made)) == 40


def test_more_jobs_than_may_wait_are_refused_and_running_ones_do_not_count(
    jobs: JobStore, results: FolderStore
) -> None:
    service = service_with(jobs, results, Quota(queued=2))
    service.create(new(), job_id="a", run=True)
    assert jobs.claim(["count"], "w", 30) is not None
    service.create(new(), job_id="b", run=True)
    service.create(new(), job_id="c", run=False)
    with pytest.raises(TooOften) as refused:
        service.create(new(), job_id="d", run=True)
    assert refused.value.text == (
        "Too many of your jobs are waiting. Given: 2 waiting, 1 running. Allowed: 2 that wait, your quota. Wait until "
        "one of them runs, or delete one. /auth/quota shows your limits."
    )
    assert refused.value.retry_after_s == 30
    service.create(new(BEN), job_id="e", run=True)
    jobs.delete("c")
    service.create(new(), job_id="f", run=True)


def test_anonymous_callers_are_told_apart_by_address(jobs: JobStore, results: FolderStore) -> None:
    service = service_with(jobs, results, Quota(queued=1))

    def create(job_id: str, address: str) -> None:
        service.create(NewJob("count", ANONYMOUS, (), counted_for=f"anonymous@{address}"), job_id=job_id, run=False)

    create("a", "192.0.2.1")
    create("b", "192.0.2.2")
    with pytest.raises(TooOften):
        create("c", "192.0.2.1")
    assert service.get("count", "a", BEN).owner.name == "anonymous"


def test_results_that_take_all_the_room_keep_out_new_jobs_and_the_refusal_tells_what_to_delete(
    jobs: JobStore, results: FolderStore, clock: Clock
) -> None:
    service = service_with(jobs, results, Quota(result_bytes=10_000))
    for job_id, size in (("small", 500), ("large", 6000), ("medium", 3500)):
        service.create(new(run_id=f"run {job_id}"), job_id=job_id, run=True)
        finish(jobs, job_id, size)
        clock.turn(60)
    use = jobs.use("ann", largest=2)
    assert (use.result_bytes, use.waiting, use.running) == (10_000, 0, 0)
    assert [(kept.job_id, kept.size, kept.run_id) for kept in use.largest] == [
        ("large", 6000, "run large"),
        ("medium", 3500, "run medium"),
    ]
    with pytest.raises(TooLarge) as refused:
        service.create(new(), job_id="more", run=False)
    assert refused.value.text == (
        "Your results take all the room that you have. Given: 10 kB. Allowed: 10 kB of results, your quota. Delete "
        "jobs that you need no more; the largest are large (6 kB), medium (3.5 kB), small (500 bytes). The first of "
        "these is deleted by itself at 2026-11-30 20:00 UTC."
    )
    large = jobs.get("large")
    assert large is not None
    service.delete(large)
    service.create(new(), job_id="more", run=False)


@pytest.fixture
def kind() -> Iterator[Counting]:
    made = Counting()
    yield made
    made.go.set()


def test_of_jobs_that_write_at_once_those_that_find_the_room_taken_end_and_leave_nothing(
    jobs: JobStore, results: FolderStore, kind: Counting
) -> None:
    service = service_with(jobs, results, Quota(result_bytes=90))
    settings = SETTINGS.model_copy(update={"workers": 3})
    workers = Workers(jobs, results, {"count": kind}, settings, quota_of=lambda _: Quota(result_bytes=90))
    ids = ("a", "b", "c")
    for job_id in ids:
        service.create(new(N="20", HOLD="1"), job_id=job_id, run=True)
    workers.start()
    try:
        until(lambda: sorted(kind.holding) == list(ids))  # each has begun to write, with all the room before it
        kind.go.set()
        until(lambda: all(phase in (Phase.COMPLETED, Phase.ERROR) for phase in jobs.phases(ids).values()))
        ended = [job for job_id in ids if (job := jobs.get(job_id)) is not None]
        (kept,) = [job for job in ended if job.phase == Phase.COMPLETED]
        assert jobs.use("ann").result_bytes == kept.results[0].size == 50
        for job in ended:
            if job is not kept:
                assert job.error is not None
                assert job.error.message.startswith(
                    "The result is larger than the room that you have left. Given: more than 40 bytes. "
                    "Allowed: 90 bytes of results, your quota, of which 50 bytes are taken."
                )
                assert list(results.list(f"jobs/{job.id}")) == []
    finally:
        workers.stop()


def test_a_job_whose_result_is_more_than_the_room_left_ends_and_leaves_nothing(
    jobs: JobStore, results: FolderStore, kind: Counting
) -> None:
    service = service_with(jobs, results, Quota(result_bytes=100))
    service.create(new(), job_id="first", run=True)
    finish(jobs, "first", 40)
    workers = Workers(jobs, results, {"count": kind}, SETTINGS, quota_of={"ann": Quota(result_bytes=100)}.__getitem__)
    service.create(new(N="100"), job_id="large", run=True)
    workers.start()
    try:
        until(lambda: jobs.phases(["large"])["large"] == Phase.ERROR)
        large = jobs.get("large")
        assert large is not None
        assert large.error is not None
        assert large.error.code == "too-large"
        assert large.error.message == (
            "The result is larger than the room that you have left. Given: more than 60 bytes. Allowed: 100 bytes of "
            "results, your quota, of which 40 bytes are taken. Ask for fewer rows or columns, or make room. Delete "
            "jobs that you need no more; the largest are first (40 bytes). The first of these is deleted by itself at "
            "2026-11-30 20:00 UTC."
        )
        assert list(results.list("jobs/large")) == []
        service.create(new(N="20"), job_id="fits", run=True)
        until(lambda: jobs.phases(["fits"])["fits"] == Phase.COMPLETED)
        assert jobs.use("ann").result_bytes == 90
    finally:
        workers.stop()
