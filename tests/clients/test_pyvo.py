"""pyvo against a running centre: all that its TAP and cone search classes do."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import pyvo
import requests
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import Table
from pyvo.dal import DALOverflowWarning, DALQueryError, SCSService, TAPService

from clients.survey import DEFAULT_MAX_ROWS, OBJECTS, VISITS, WIDE_COLUMNS, object_rows
from services.idac_process import IdacProcess
from services.small_files import serving_files
from services.waiting import until

#: Long enough to be looked at while it runs: nothing narrows this join of every detection with every other.
LONG = (
    "SELECT COUNT(*) AS n FROM survey.detections AS a, survey.detections AS b, survey.detections AS c "
    "WHERE a.flux < b.flux * c.flux"
)


@pytest.fixture
def service(survey: IdacProcess) -> Iterator[TAPService]:
    with requests.Session() as session:
        yield TAPService(survey.tap, session=session)


def test_rows_come_with_their_metadata(service: TAPService) -> None:
    result = service.run_sync("SELECT object_id, ra, dec, mag, name FROM survey.objects ORDER BY object_id")
    assert result.query_status == "OK"
    table = result.to_table()
    expected = object_rows()
    assert table["object_id"].tolist() == expected["object_id"].to_pylist()  # beyond what a double can hold
    assert np.array_equal(table["ra"], expected["ra"].to_numpy())
    assert [str(name) if name else None for name in table["name"]] == expected["name"].to_pylist()
    assert table["mag"].mask.tolist() == expected["mag"].is_null().to_pylist()
    assert (table["ra"].unit, table["mag"].unit) == (u.deg, u.mag)
    assert (result.fielddescs[1].ucd, result.fielddescs[0].description) == ("pos.eq.ra;meta.main", "Identifier")


def test_a_cut_result_says_so_and_warns_who_did_not_ask_for_it(service: TAPService) -> None:
    asked = service.run_sync("SELECT visit FROM survey.visits", maxrec=7)
    assert (len(asked), asked.query_status) == (7, "OVERFLOW")
    whole = service.run_sync("SELECT visit FROM survey.visits", maxrec=VISITS)
    assert (len(whole), whole.query_status) == (VISITS, "OK")
    with pytest.warns(DALOverflowWarning, match="Results truncated due to server limits"):
        assert len(service.run_sync("SELECT visit FROM survey.detections")) == DEFAULT_MAX_ROWS


def test_errors_say_what_is_wrong_and_where(service: TAPService) -> None:
    with pytest.raises(DALQueryError) as refused:
        service.run_sync("SELECT mags\nFROM survey.objects")
    assert str(refused.value) == (
        "line 1, column 8: There is no column of this name in the tables of this query. Given: mags. Did you mean mag?"
    )
    with pytest.raises(
        DALQueryError, match=r"line 1, column 15: There is no table of this name. Given: survey.object. "
    ):
        service.run_sync("SELECT * FROM survey.object")


def test_several_tables_are_uploaded_and_joined(service: TAPService) -> None:
    ids = object_rows()["object_id"].to_pylist()
    wanted = Table({"object_id": ids[:50], "label": [f"n{i}" for i in range(50)]})
    more = Table({"label": ["n3", "n7"], "weight": [0.5, np.nan]})
    query = (
        "SELECT o.object_id, u.label, w.weight FROM survey.objects AS o JOIN TAP_UPLOAD.mine AS u "
        "ON o.object_id = u.object_id JOIN TAP_UPLOAD.weights AS w ON u.label = w.label ORDER BY u.label"
    )
    for run in (service.run_sync, service.run_async):
        table = run(query, uploads={"mine": wanted, "weights": more}).to_table()
        assert table["object_id"].tolist() == [ids[3], ids[7]]
        assert table["label"].tolist() == ["n3", "n7"]
        assert table["weight"][0] == 0.5


def test_a_table_is_uploaded_by_its_address(service: TAPService, tmp_path: Path) -> None:
    Table({"n": [3, 4]}).write(tmp_path / "mine.vot", format="votable")
    with serving_files(tmp_path) as url:
        for run in (service.run_sync, service.run_async):
            result = run("SELECT SUM(n) AS total FROM TAP_UPLOAD.mine", uploads={"mine": f"{url}/mine.vot"})
            assert result["total"].tolist() == [7]
        with pytest.raises(DALQueryError, match="HTTP status 404"):
            service.run_sync("SELECT * FROM TAP_UPLOAD.mine", uploads={"mine": f"{url}/other.vot"})


def test_the_table_set_is_read_brief_and_table_by_table(service: TAPService) -> None:
    tables = service.tables
    assert set(tables.keys()) >= {"survey.objects", "survey.visits", 'wide."2mass-like objects"', "TAP_SCHEMA.columns"}
    objects = tables["survey.objects"]
    assert objects.description == "Things on the sky"
    columns = {column.name: column for column in objects.columns}
    assert list(columns)[:3] == ["object_id", "ra", "dec"]
    assert columns['"size"'].datatype.content == "short"
    assert columns["place"].datatype.arraysize == "2"
    assert len(tables['wide."2mass-like objects"'].columns) == WIDE_COLUMNS
    keys = {key.targettable for key in tables["survey.detections"].foreignkeys}
    assert keys == {"survey.objects", "survey.visits"}


def test_names_as_tables_show_them_can_be_put_into_a_query(service: TAPService) -> None:
    for name in ("survey.objects", 'wide."2mass-like objects"', "TAP_SCHEMA.columns"):
        columns = ", ".join(column.name for column in service.tables[name].columns)
        result = service.run_sync(f"SELECT TOP 1 {columns} FROM {name}")
        assert len(result) == 1


def test_limits_and_capabilities_are_known(service: TAPService) -> None:
    assert (service.maxrec, service.hardlimit) == (DEFAULT_MAX_ROWS, 500_000_000)
    assert len(service.upload_methods) == 3
    ids = [capability.standardid for capability in service.capabilities]
    assert ids == [
        "ivo://ivoa.net/std/TAP",
        "ivo://ivoa.net/std/VOSI#capabilities",
        "ivo://ivoa.net/std/VOSI#availability",
        "ivo://ivoa.net/std/VOSI#tables-1.1",
        "ivo://ivoa.net/std/DALI#examples",
    ]
    language = service.get_tap_capability().get_adql()
    assert language.get_feature("ivo://ivoa.net/std/TAPRegExt#features-adqlgeo", "POLYGON") is not None
    assert language.get_udf("ivo_healpix_index") is not None


def test_every_example_runs(service: TAPService) -> None:
    examples = service.examples
    assert len(examples) == 9
    for example in examples:
        assert example.execute() is not None


def test_a_job_goes_through_its_life(service: TAPService) -> None:
    job = service.submit_job("SELECT TOP 5 visit FROM survey.visits", runid="mine", maxrec=3)
    assert (job.phase, job.query, job.owner, job.quote) == (
        "PENDING",
        "SELECT TOP 5 visit FROM survey.visits",
        None,
        None,
    )
    url = job.url
    assert job.execution_duration.sec == 600
    job.execution_duration = 77
    assert job.execution_duration.sec == 77
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).replace(microsecond=0, tzinfo=None)
    job.destruction = tomorrow
    assert job.destruction == tomorrow
    job.query = "SELECT visit FROM survey.visits"
    job.run().wait(timeout=60)
    assert job.phase == "COMPLETED"
    assert job.result_uri == f"{job.url}/results/result"
    assert (len(job.fetch_result()), job.fetch_result().query_status) == (3, "OVERFLOW")
    job.delete()
    assert requests.get(url, timeout=60).status_code == 404


def test_a_job_is_found_again_by_its_address(service: TAPService) -> None:
    job = service.submit_job("SELECT COUNT(*) AS n FROM survey.objects")
    job.run().wait(timeout=60)
    again = pyvo.dal.AsyncTAPJob(job.url)
    assert again.fetch_result()["n"].tolist() == [OBJECTS]
    again.delete()


def test_a_failed_job_tells_its_error(service: TAPService) -> None:
    job = service.submit_job("SELECT mags FROM survey.objects").run()
    job.wait(timeout=60)
    assert job.phase == "ERROR"
    text = (
        "line 1, column 8: There is no column of this name in the tables of this query. Given: mags. Did you mean mag?"
    )
    assert job.job.errorsummary.message.content == text
    with pytest.raises(DALQueryError, match="There is no column of this name"):
        job.fetch_result()
    job.delete()


@pytest.mark.parametrize("end", ["abort", "delete"])
def test_a_long_job_is_stopped(service: TAPService, survey: IdacProcess, end: str) -> None:
    job = service.submit_job(LONG).run()
    until(lambda: job.phase == "EXECUTING")
    assert job.quote is not None
    if end == "abort":
        job.abort()
        assert job.phase == "ABORTED"
    job.delete()
    # Jobs have four workers and the engine two heavy places: two more can only be at work when the first has left.
    others = [service.submit_job(LONG).run() for _ in range(2)]
    until(lambda: all(other.phase == "EXECUTING" and other.job.jobinfo is not None for other in others))
    for other in others:
        other.delete()


def test_an_anonymous_callers_list_of_jobs_is_empty(service: TAPService) -> None:
    job = service.submit_job("SELECT TOP 1 visit FROM survey.visits")
    assert service.get_job_list() == []
    job.delete()


def test_a_cone_search_finds_what_astropy_finds(survey: IdacProcess) -> None:
    center = SkyCoord(10, -5, unit="deg")
    result = SCSService(f"{survey.url}/api/scs/survey.objects").search(center, radius=0.3 * u.deg, verbosity=3)
    rows = object_rows()
    places = SkyCoord(rows["ra"].to_numpy(), rows["dec"].to_numpy(), unit="deg")
    inside = places.separation(center).deg <= 0.3
    assert sorted(result["object_id"]) == sorted(str(i) for i in rows["object_id"].to_numpy()[inside])
    assert inside.sum() > 20
    assert all(record.pos.separation(center).deg <= 0.3 for record in result)
    assert {record.id for record in result} == set(result["object_id"])
    assert len(result.fieldnames) == 18
