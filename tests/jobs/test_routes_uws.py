"""UWS 1.1 as a client sees it, over a real connection, with real workers behind it."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import httpx
import pytest
from defusedxml.ElementTree import fromstring
from starlette.applications import Starlette
from starlette.requests import Request

from idac.core.principal import ANONYMOUS, Principal
from idac.core.store import FolderStore
from idac.jobs.model import NewJob
from idac.jobs.routes_uws import UwsRoutes
from idac.jobs.service import JobService
from idac.jobs.settings import JobsSettings
from idac.jobs.store import JobStore
from idac.jobs.watch import PhaseWatch
from idac.jobs.workers import Workers
from idac.web.app import build_app
from idac.web.context import WebContext
from idac.web.settings import ServerSettings
from services import http
from services.counting_jobs import ANN, BEN, Counting
from services.http_server import serving
from state_fixture import state_in

UWS = "{http://www.ivoa.net/xml/UWS/v1.0}"
XLINK = "{http://www.w3.org/1999/xlink}"
SETTINGS = JobsSettings(workers=2, poll_s=0.02, max_queued_per_owner=30, max_execution_duration_s=1000)


@dataclass
class Served:
    url: str
    kind: Counting
    jobs: JobStore
    service: JobService


async def identify(request: Request) -> Principal:
    return {"ann": ANN, "ben": BEN}.get(request.headers.get("x-test-user", ""), ANONYMOUS)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    jobs = JobStore(state_in(tmp_path))
    results = FolderStore(tmp_path / "results")
    kind = Counting()
    workers = Workers(jobs, results, {"count": kind}, SETTINGS)
    service = JobService(jobs, results, SETTINGS, workers.wake)
    web = WebContext(ServerSettings(), tmp_path / "spool")

    async def read_phases(ids: object) -> object:
        return await web.in_thread(lambda: jobs.phases(list(ids)))  # type: ignore[call-overload]

    routes = UwsRoutes("/count", kind, service, PhaseWatch(read_phases, 0.02), web)  # type: ignore[arg-type]

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        workers.start()
        yield
        kind.go.set()
        workers.stop()

    with serving(build_app(routes.routes(), identify=identify, lifespan=lifespan)) as url:
        yield Served(f"{url}/count", kind, jobs, service)


def create(served: Served, user: str = "", **data: str) -> str:
    answer = http.post(served.url, data=data, headers={"x-test-user": user})
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


def finished(url: str, user: str = "") -> ET.Element:
    """The job, once it has ended."""
    headers = {"x-test-user": user}
    while True:
        root = fromstring(http.get(f"{url}?WAIT=60", headers=headers, timeout=90).content)
        if root.findtext(f"{UWS}phase") not in ("PENDING", "QUEUED", "EXECUTING"):
            return root


def test_a_job_is_made_started_waited_for_and_read(served: Served) -> None:
    url = create(served, N="3", RUNID="mine")
    assert http.get(f"{url}/phase").text == "PENDING"
    started = http.post(f"{url}/phase", data={"PHASE": "RUN"})
    assert (started.status_code, started.headers["location"]) == (303, url)
    job = finished(url)
    assert job.get("version") == "1.1"
    assert [child.tag.removeprefix(UWS) for child in job] == [
        *("jobId", "runId", "ownerId", "phase", "quote", "creationTime", "startTime", "endTime"),
        *("executionDuration", "destruction", "parameters", "results"),
    ]
    assert job.findtext(f"{UWS}phase") == "COMPLETED"
    result = job.find(f"{UWS}results/{UWS}result")
    assert result is not None
    assert (result.get("id"), result.get("size"), result.get("mime-type")) == ("result", "6", "text/plain")
    answer = http.get(result.get(f"{XLINK}href") or "")
    assert (answer.text, answer.headers["content-type"]) == ("0\n1\n2\n", "text/plain; charset=utf-8")


def test_a_job_may_start_with_its_creation(served: Served) -> None:
    url = create(served, PHASE="RUN", N="1")
    assert finished(url).findtext(f"{UWS}phase") == "COMPLETED"
    parameters = fromstring(http.get(f"{url}/parameters").content)
    assert [(p.get("id"), p.text) for p in parameters] == [("N", "1")]


def test_a_result_is_served_in_parts(served: Served) -> None:
    url = create(served, PHASE="RUN", N="5")
    finished(url)
    part = http.get(f"{url}/results/result", headers={"range": "bytes=2-5"})
    assert (part.status_code, part.text, part.headers["content-range"]) == (206, "1\n2\n", "bytes 2-5/10")
    head = http.head(f"{url}/results/result")
    assert (head.status_code, head.headers["content-length"], head.content) == (200, "10", b"")


def test_waiting_ends_when_the_phase_changes_and_not_before(served: Served) -> None:
    url = create(served, PHASE="RUN", HOLD="1")
    assert served.kind.running.wait(60)
    answers: list[httpx.Response] = []
    waiting = threading.Thread(target=lambda: answers.append(http.get(f"{url}?WAIT=100&PHASE=EXECUTING", timeout=120)))
    waiting.start()
    assert http.get(f"{url}/phase").text == "EXECUTING"
    assert answers == []
    served.kind.go.set()
    waiting.join(60)
    assert fromstring(answers[0].content).findtext(f"{UWS}phase") == "COMPLETED"


def test_waiting_for_a_phase_that_is_over_returns_at_once(served: Served) -> None:
    url = create(served)
    job = fromstring(http.get(f"{url}?WAIT=100&PHASE=QUEUED", timeout=30).content)
    assert job.findtext(f"{UWS}phase") == "PENDING"


def test_progress_is_in_the_jobs_info(served: Served) -> None:
    url = create(served, PHASE="RUN", HOLD="1")
    while (found := fromstring(http.get(url).content).find(f"{UWS}jobInfo/progress/rows")) is None:
        pass
    assert found.text == "7"
    served.kind.go.set()


def test_a_jobs_error_is_summed_up_and_told_as_a_votable(served: Served) -> None:
    url = create(served, PHASE="RUN", FAIL="1")
    job = finished(url)
    summary = job.find(f"{UWS}errorSummary")
    assert summary is not None
    assert (summary.get("type"), summary.get("hasDetail")) == ("fatal", "true")
    assert summary.findtext(f"{UWS}message") == "There is no column rra. Given: rra. Did you mean ra?"
    document = http.get(f"{url}/error")
    assert (document.status_code, document.headers["content-type"]) == (200, "application/x-votable+xml")
    assert "There is no column rra. Given: rra. Did you mean ra?</INFO>" in document.text
    result = http.get(f"{url}/results/result")
    assert (result.status_code, result.text) == (
        404,
        "NotFoundFault: The job failed and has no result. Given: phase ERROR. Why: There is no column rra. Given: rra. "
        "Did you mean ra?\n",
    )


def test_a_job_without_an_error_has_no_error_page(served: Served) -> None:
    url = create(served)
    assert http.get(f"{url}/error").status_code == 404
    assert http.get(f"{url}/results/result").status_code == 404


def test_limits_are_set_within_what_the_centre_allows(served: Served) -> None:
    url = create(served)
    assert http.post(f"{url}/executionduration", data={"EXECUTIONDURATION": "77"}).status_code == 303
    assert http.get(f"{url}/executionduration").text == "77"
    http.post(f"{url}/executionduration", data={"EXECUTIONDURATION": "0"})
    assert http.get(f"{url}/executionduration").text == "1000"
    http.post(f"{url}/destruction", data={"DESTRUCTION": "2026-01-01T00:00:00"})
    assert http.get(f"{url}/destruction").text == "2026-01-01T00:00:00.000Z"


def test_limits_may_come_with_the_job(served: Served) -> None:
    url = create(served, PHASE="RUN", N="1", ExecutionDuration="88", destruction="2100-01-01T00:00:00Z")
    job = finished(url)
    assert job.findtext(f"{UWS}executionDuration") == "88"
    destruction = job.findtext(f"{UWS}destruction") or ""
    assert destruction < "2100-01-01T00:00:00.000Z"  # brought forward to the latest that this centre allows
    assert [p.get("id") for p in job.iter(f"{UWS}parameter")] == ["N"]
    wrong = http.post(served.url, data={"DESTRUCTION": "soon"})
    assert (wrong.status_code, wrong.text) == (
        400,
        "UsageFault: DESTRUCTION is not a time. Given: soon. Allowed: ISO 8601 in UTC, such as 2026-11-23T20:00:00Z.\n",
    )


@pytest.mark.parametrize(
    ("part", "data", "words"),
    [
        ("phase", {"PHASE": "FLY"}, "PHASE has a value that is not allowed. Given: FLY. Allowed: RUN, ABORT."),
        (
            "executionduration",
            {"EXECUTIONDURATION": "-1"},
            "EXECUTIONDURATION has a value that is not allowed. Given: -1. Allowed: a whole number, 0 to 2147483647.",
        ),
        (
            "destruction",
            {"DESTRUCTION": "tomorrow"},
            "DESTRUCTION is not a time. Given: tomorrow. Allowed: ISO 8601 in UTC, such as 2026-11-23T20:00:00Z.",
        ),
        (
            "phase",
            {},
            "The request changes nothing. Allowed: PHASE=RUN|ABORT, ACTION=DELETE, DESTRUCTION, EXECUTIONDURATION, or "
            "parameters of the job.",
        ),
    ],
)
def test_wrong_changes_are_refused(served: Served, part: str, data: dict[str, str], words: str) -> None:
    answer = http.post(f"{create(served)}/{part}", data=data)
    assert (answer.status_code, answer.text) == (400, f"UsageFault: {words}\n")


def test_parameters_can_be_added_until_the_job_is_queued(served: Served) -> None:
    url = create(served, N="3")
    assert http.post(f"{url}/parameters", data={"n": "2", "hold": "1"}).status_code == 303
    http.post(f"{url}/phase", data={"PHASE": "RUN"})
    assert served.kind.running.wait(60)
    late = http.post(f"{url}/parameters", data={"N": "9"})
    assert late.status_code == 409
    assert late.text == (
        "UsageFault: Parameters can't be changed any more. Given: phase EXECUTING. Allowed: changes while the job is "
        "PENDING. Create a new job.\n"
    )
    served.kind.go.set()
    finished(url)
    assert http.get(f"{url}/results/result").text == "0\n1\n"


def test_a_default_above_the_longest_is_cut_to_it(jobs: JobStore, results: FolderStore) -> None:
    settings = JobsSettings(retention_s=7200, max_retention_s=3600, max_execution_duration_s=60)
    job = JobService(jobs, results, settings).create(NewJob("count", ANN, ()), job_id="a", run=False)
    assert job.execution_duration_s == 60
    assert (job.destruction - job.created).total_seconds() == pytest.approx(3600, abs=60)


def test_an_aborted_job_stays_and_a_deleted_one_goes(served: Served) -> None:
    url = create(served, PHASE="RUN", HOLD="1")
    assert served.kind.running.wait(60)
    assert http.post(f"{url}/phase", data={"PHASE": "ABORT"}).status_code == 303
    assert served.kind.stopped.wait(60)
    assert http.get(f"{url}/phase").text == "ABORTED"
    again = http.post(f"{url}/phase", data={"PHASE": "RUN"})
    assert again.text == (
        "UsageFault: The job has ended and can't be started again. Given: phase ABORTED. Allowed: PHASE=RUN on a "
        "PENDING job. Create a new job with the same parameters.\n"
    )
    deleted = http.delete(url)
    assert (deleted.status_code, deleted.headers["location"]) == (303, served.url)
    missing = http.get(url)
    assert missing.status_code == 404
    assert missing.text == (
        f"NotFoundFault: There is no such job. Given: {url.rpartition('/')[2]}. It may have been deleted or have "
        "reached its destruction time; log in if it is yours.\n"
    )


def test_a_form_can_delete_too(served: Served) -> None:
    url = create(served)
    assert http.post(url, data={"ACTION": "DELETE"}).headers["location"] == served.url
    assert http.get(url).status_code == 404


def test_a_users_job_is_nobody_elses(served: Served) -> None:
    url = create(served, "ann")
    assert http.get(url, headers={"x-test-user": "ann"}).status_code == 200
    assert http.get(f"{url}/owner", headers={"x-test-user": "ann"}).text == "ann"
    for other in ("ben", ""):
        assert http.get(url, headers={"x-test-user": other}).status_code == 404
        assert http.delete(url, headers={"x-test-user": other}).status_code == 404


def test_an_anonymous_job_is_found_by_its_id_and_in_no_list(served: Served) -> None:
    url = create(served)
    assert http.get(url).status_code == 200
    listed = fromstring(http.get(served.url).content)
    assert (listed.tag, listed.get("version"), list(listed)) == (f"{UWS}jobs", "1.1", [])


def test_a_list_is_filtered_by_phase_time_and_number(served: Served) -> None:
    urls = [create(served, "ann", N=str(number)) for number in range(4)]
    done = create(served, "ann", PHASE="RUN", N="1")
    finished(done, "ann")

    def listed(query: str) -> list[str]:
        answer = http.get(f"{served.url}?{query}", headers={"x-test-user": "ann"})
        return [ref.get(f"{XLINK}href") or "" for ref in fromstring(answer.content)]

    assert set(listed("")) == {*urls, done}
    assert listed("PHASE=COMPLETED") == [done]
    assert set(listed("PHASE=COMPLETED&PHASE=PENDING")) == {*urls, done}
    assert listed("LAST=1") == [done]
    assert listed("AFTER=2100-01-01T00:00:00Z") == []
    assert http.get(f"{served.url}?LAST=0").text == (
        "UsageFault: LAST has a value that is not allowed. Given: 0. "
        "Allowed: a whole number, 1 to 9223372036854775807.\n"
    )


def test_ten_thousand_jobs_are_listed_by_one_small_query(served: Served) -> None:
    from datetime import timedelta

    import sqlalchemy as sa

    from idac.jobs.model import Phase
    from idac.jobs.store import JOBS
    from services.counting_jobs import new

    job = served.jobs.add(
        "first", new(), destruction=served.jobs.now() + timedelta(1), execution_duration_s=1, phase=Phase.COMPLETED
    )
    with served.jobs._database.begin() as connection:
        row = dict(connection.execute(sa.select(JOBS)).mappings().one())
        connection.execute(
            JOBS.insert(), [{**row, "id": f"job{n}", "created": row["created"] + n} for n in range(9_999)]
        )
    answer = http.get(served.url, headers={"x-test-user": "ann"}, timeout=60)
    assert len(fromstring(answer.content)) == 10_000
    newest = fromstring(http.get(f"{served.url}?LAST=2", headers={"x-test-user": "ann"}).content)
    assert [ref.get("id") for ref in newest] == ["job9998", "job9997"]
    assert job.id == "first"


def test_too_many_unfinished_jobs_of_one_owner_are_refused(served: Served) -> None:
    for _ in range(30):
        create(served, "ben")
    answer = http.post(served.url, data={}, headers={"x-test-user": "ben"})
    assert answer.status_code == 503
    assert answer.text == (
        "TransientFault: You have too many unfinished jobs. Given: 30. Allowed: 30 unfinished jobs "
        "(jobs.max_queued_per_owner). Wait for some to end, or delete some.\n"
    )
    assert http.get(served.url, headers={"x-test-user": "ben"}).content.count(b"<uws:jobref") == 30
