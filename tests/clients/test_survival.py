"""The whole service is killed and started again: no job is lost, and what was answered stays answered."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from defusedxml.ElementTree import fromstring

from clients.survey import VISITS
from services import http
from services.idac_process import IdacProcess
from services.waiting import until

UWS = "{http://www.ivoa.net/xml/UWS/v1.0}"
LONG = (
    "SELECT COUNT(*) AS n FROM survey.detections AS a, survey.detections AS b, survey.detections AS c "
    "WHERE a.flux < b.flux * c.flux"
)


@pytest.fixture
def centre(survey_folder: Path, tmp_path: Path) -> Iterator[IdacProcess]:
    shutil.copytree(survey_folder, tmp_path / "survey")
    process = IdacProcess(tmp_path / "survey")
    process.start()
    yield process
    process.kill()


def create(centre: IdacProcess, query: str, **parameters: str) -> str:
    answer = http.post(f"{centre.tap}/async", data={"QUERY": query, "FORMAT": "csv", **parameters})
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


def document(url: str) -> ET.Element:
    return fromstring(http.get(url).content)


def attempt(url: str) -> str | None:
    """How often the job was begun, as its jobInfo says while it is to run or runs."""
    progress = document(url).find(f"{UWS}jobInfo/progress")
    return None if progress is None else progress.get("attempt")


def phase(url: str) -> str:
    return http.get(f"{url}/phase").text


def test_jobs_and_results_outlive_a_kill(centre: IdacProcess) -> None:
    done = create(centre, "SELECT visit FROM survey.visits", PHASE="RUN")
    until(lambda: phase(done) == "COMPLETED")
    result = http.get(f"{done}/results/result").content
    pending = create(centre, "SELECT visit FROM survey.visits")
    upload = {"mine": ("mine.csv", b"n\n3\n4\n")}
    parts = {"QUERY": "SELECT SUM(n) AS s FROM TAP_UPLOAD.mine", "FORMAT": "csv", "UPLOAD": "mine,param:mine"}
    uploaded = http.post(f"{centre.tap}/async", data=parts, files=upload).headers["location"]
    # Four run, the others wait in the queue.
    running = [create(centre, LONG, PHASE="RUN") for _ in range(4)]
    until(lambda: [phase(url) for url in running] == ["EXECUTING"] * 4)
    queued = create(centre, "SELECT visit FROM survey.visits", PHASE="RUN")
    assert phase(queued) == "QUEUED"

    centre.kill()
    centre.start()

    assert http.get(f"{done}/results/result").content == result
    assert phase(pending) == "PENDING"
    # All run again once the dead process's lease has ended.
    until(lambda: [attempt(url) for url in running] == ["2"] * 4)
    for url in running:
        http.delete(url)
    for url in (pending, uploaded):
        http.post(f"{url}/phase", data={"PHASE": "RUN"})
    until(lambda: [phase(url) for url in (queued, pending, uploaded)] == ["COMPLETED"] * 3)
    assert http.get(f"{queued}/results/result").content == result
    assert http.get(f"{pending}/results/result").content == result
    assert http.get(f"{uploaded}/results/result").text == "s\r\n7\r\n"
    assert len(result.splitlines()) == VISITS + 1


def test_a_stop_gives_running_jobs_back_to_the_queue(centre: IdacProcess) -> None:
    url = create(centre, LONG, PHASE="RUN")
    until(lambda: phase(url) == "EXECUTING")
    centre.stop()
    centre.start()
    until(lambda: phase(url) == "EXECUTING")
    http.post(f"{url}/phase", data={"PHASE": "ABORT"})
    assert phase(url) == "ABORTED"
    assert centre.faults() == ""


def test_a_job_that_is_over_its_time_ends_with_that_error(centre: IdacProcess) -> None:
    url = create(centre, LONG, PHASE="RUN", EXECUTIONDURATION="1")
    until(lambda: phase(url) == "ABORTED")
    assert document(url).findtext(f"{UWS}errorSummary/{UWS}message") == (
        "The job ran longer than its execution duration. Given: 1 s. Ask for less, or set a longer executionduration "
        "before starting it again."
    )


def test_a_killed_service_leaves_no_half_of_a_result(centre: IdacProcess) -> None:
    wide = "SELECT a.*, b.flux AS other FROM survey.detections AS a, survey.detections AS b"
    url = create(centre, wide, PHASE="RUN", MAXREC="30000000")
    until(lambda: int(document(url).findtext(f"{UWS}jobInfo/progress/rows") or 0) > 100_000)
    centre.kill()
    centre.start()
    assert http.get(f"{url}/results/result").status_code == 404
    http.delete(url)
    assert http.get(url).status_code == 404
