"""astroquery's TapPlus against a running centre."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests
from astropy import units as u
from astropy.table import Table
from astroquery.utils.tap import TapPlus

from clients.survey import VISITS, WIDE_COLUMNS, object_rows
from services.idac_process import IdacProcess
from services.waiting import until

QUERY = "SELECT object_id, ra, mag, name FROM survey.objects WHERE object_id < 9007199254741003 ORDER BY object_id"


@pytest.fixture
def tap(survey: IdacProcess) -> TapPlus:
    return TapPlus(url=survey.tap)


def check(table: Table) -> None:
    """The answer to QUERY is the first ten objects."""
    expected = object_rows().slice(0, 10)
    assert [int(i) for i in table["object_id"]] == expected["object_id"].to_pylist()
    assert [float(ra) for ra in table["ra"]] == expected["ra"].to_pylist()
    assert [n or None for n in table["name"].tolist()] == expected["name"].to_pylist()


def test_the_whole_table_set_is_loaded(tap: TapPlus) -> None:
    tables = {table.get_qualified_name(): table for table in tap.load_tables()}
    assert set(tables) >= {"survey.objects", "survey.visits", 'wide."2mass-like objects"', "TAP_SCHEMA.tables"}
    objects = tables["survey.objects"]
    assert objects.description == "Things on the sky"
    mag = next(column for column in objects.columns if column.name == "mag")
    assert (mag.unit, mag.ucd, mag.description) == ("mag", "phot.mag;em.opt.R", "Magnitude in r")
    assert len(tables['wide."2mass-like objects"'].columns) == WIDE_COLUMNS
    assert len(tap.load_table("survey.visits").columns) == 4


@pytest.mark.parametrize("kind", ["votable", "csv", "json"])
def test_a_query_is_answered_at_once(tap: TapPlus, kind: str) -> None:
    table = tap.launch_job(QUERY, output_format=kind).get_results()
    check(table)
    if kind != "csv":
        assert (table["ra"].unit, table["mag"].unit) == (u.deg, u.mag)


@pytest.mark.parametrize("kind", ["votable", "csv"])
def test_a_job_is_waited_for(tap: TapPlus, kind: str) -> None:
    job = tap.launch_job_async(QUERY, output_format=kind)
    check(job.get_results())
    assert job.get_phase() == "COMPLETED"


def test_a_job_in_the_background_is_found_by_its_id(tap: TapPlus) -> None:
    job = tap.launch_job_async(QUERY, background=True)
    check(job.get_results())
    again = tap.load_async_job(jobid=job.jobid)
    assert again.get_phase() == "COMPLETED"
    check(again.get_results())
    assert tap.list_async_jobs() == []


def test_a_job_may_be_started_later(tap: TapPlus) -> None:
    job = tap.launch_job_async(QUERY, autorun=False)
    assert job.get_phase() == "PENDING"
    job.start()
    check(job.get_results())


def test_a_job_may_be_given_up(tap: TapPlus) -> None:
    job = tap.launch_job_async(QUERY, autorun=False)
    # UWS answers an abort with 303, as it must, which this client takes for a failure; the job is aborted all the same.
    with pytest.raises(requests.exceptions.HTTPError, match="303"):
        job.abort()
    assert job.get_phase(update=True) == "ABORTED"


@pytest.mark.parametrize("launch", ["launch_job", "launch_job_async"])
def test_a_table_is_uploaded_from_memory_and_from_a_file(tap: TapPlus, launch: str, tmp_path: Path) -> None:
    mine = Table({"visit": [3, 5, 99], "note": ["a", "b", "c"]})
    mine.write(tmp_path / "mine.vot", format="votable")
    query = "SELECT v.visit, m.note FROM survey.visits AS v JOIN TAP_UPLOAD.mine AS m ON v.visit = m.visit ORDER BY 1"
    for resource in (mine, str(tmp_path / "mine.vot")):
        job = getattr(tap, launch)(query, upload_resource=resource, upload_table_name="mine")
        table = job.get_results()
        assert (table["visit"].tolist(), table["note"].tolist()) == ([3, 5], ["a", "b"])


def test_errors_reach_the_caller_in_words(tap: TapPlus) -> None:
    words = "There is no column of this name in the tables of this query. Given: mags. Did you mean mag?"
    with pytest.raises(requests.exceptions.HTTPError, match="Error 400") as refused:
        tap.launch_job("SELECT mags FROM survey.objects")
    assert words in str(refused.value)
    job = tap.launch_job_async("SELECT mags FROM survey.objects", background=True)
    until(lambda: job.get_phase(update=True) == "ERROR")
    with pytest.raises(requests.exceptions.HTTPError) as failed:
        job.get_results()
    assert "The job failed and has no result. Given: phase ERROR. Why: line 1, column 8: " in str(failed.value)
    assert words in job.get_error()


def test_rows_are_cut_where_the_caller_says(tap: TapPlus) -> None:
    assert len(tap.launch_job("SELECT visit FROM survey.visits", maxrec=3).get_results()) == 3
    assert len(tap.launch_job_async("SELECT visit FROM survey.visits", maxrec=3).get_results()) == 3
    assert len(tap.launch_job("SELECT visit FROM survey.visits").get_results()) == VISITS
