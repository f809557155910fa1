"""Simple Cone Search 1.03: the query that it becomes, the columns it promises, and errors where its clients look."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from defusedxml.ElementTree import fromstring

from archive_fixture import TableData, build_archive, star_table
from idac.catalogs.archive import Archive
from idac.catalogs.ingest import IngestChoices
from idac.query.routes_cone import cone_query
from idac.tables.model import DOUBLE, LONG, STRING, Column, Table
from services import http
from services.scripted_engine import ScriptedEngine
from services.tap_centre import Centre, serving_tap

VOTABLE = "{http://www.ivoa.net/xml/VOTable/v1.3}"
STARS = Table(
    "demo",
    "stars",
    (
        Column("ra", DOUBLE),
        Column("dec", DOUBLE),
        Column("id", LONG),
        Column("size", DOUBLE, principal=True),
        Column("name", STRING),
    ),
    ra_column="ra",
    dec_column="dec",
    id_column="id",
)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    stars = TableData(star_table(300), choices=IngestChoices(id="id"))
    visits = pa.table({"visit": pa.array([1, 2], pa.int64())})
    return build_archive(tmp_path_factory.mktemp("archive"), {"demo.stars": stars, "demo.visits": visits})


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
def centre(archive: Archive, engine: ScriptedEngine, tmp_path: Path) -> Iterator[Centre]:
    with serving_tap(tmp_path, archive, engine) as served:
        yield served


@pytest.mark.parametrize(
    ("verbosity", "columns"),
    [
        (1, "ra, dec, CAST(id AS VARCHAR) AS id"),
        (2, 'ra, dec, CAST(id AS VARCHAR) AS id, "size"'),
        (3, 'ra, dec, CAST(id AS VARCHAR) AS id, "size", name'),
    ],
)
def test_a_cone_is_a_query_like_any_other(verbosity: int, columns: str) -> None:
    assert cone_query(STARS, 10.5, -3.0, 0.1, verbosity) == (
        f"SELECT {columns} FROM demo.stars WHERE 1 = CONTAINS(POINT(ra, dec), CIRCLE(10.5, -3.0, 0.1))"
    )


def test_three_columns_have_the_ucds_that_clients_look_for(centre: Centre) -> None:
    answer = http.get(f"{centre.url}/api/scs/demo.stars?RA=10&DEC=-3&SR=1&VERB=3&RESPONSEFORMAT=votable/td")
    fields = {f.get("name"): f for f in fromstring(answer.content).iter(f"{VOTABLE}FIELD")}
    assert {name: f.get("ucd") for name, f in fields.items() if "MAIN" in (f.get("ucd") or "").upper()} == {
        "id": "ID_MAIN",
        "ra": "POS_EQ_RA_MAIN",
        "dec": "POS_EQ_DEC_MAIN",
    }
    assert (fields["id"].get("datatype"), fields["ra"].get("datatype")) == ("char", "double")


def test_the_default_answer_has_the_media_type_of_scs(centre: Centre) -> None:
    answer = http.get(f"{centre.url}/api/scs/demo.stars?RA=10&DEC=-3&SR=0&VERB=1")
    assert answer.headers["content-type"].startswith("text/xml;content=x-votable")


@pytest.mark.parametrize("query", ["RA=10&DEC=-3&SR=0", "RA=10&DEC=-3&SR=1&MAXREC=0"])
def test_a_radius_of_nothing_asks_for_the_columns(centre: Centre, engine: ScriptedEngine, query: str) -> None:
    answer = http.get(f"{centre.url}/api/scs/demo.stars?{query}&RESPONSEFORMAT=votable/td")
    assert answer.content.count(b"<FIELD") >= 3
    assert engine.seen.queries == []


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("DEC=1&SR=1", "RA is missing. Allowed: degrees, -360 to 360. Add RA=… to the request."),
        ("RA=x&DEC=1&SR=1", "RA has a value that is not allowed. Given: x. Allowed: degrees, -360 to 360."),
        ("RA=1&DEC=91&SR=1", "DEC has a value that is not allowed. Given: 91. Allowed: degrees, -90 to 90."),
        ("RA=1&DEC=1&SR=-1", "SR has a value that is not allowed. Given: -1. Allowed: degrees, 0 to 180."),
        ("RA=nan&DEC=1&SR=1", "RA has a value that is not allowed. Given: nan. Allowed: degrees, -360 to 360."),
        ("RA=1&DEC=1&SR=1&VERB=4", "VERB has a value that is not allowed. Given: 4. Allowed: a whole number, 1 to 3."),
    ],
)
def test_errors_stand_where_cone_search_clients_look(centre: Centre, query: str, words: str) -> None:
    answer = http.get(f"{centre.url}/api/scs/demo.stars?{query}")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/xml; charset=utf-8")
    root = fromstring(answer.content)
    (info,) = [child for child in root if child.get("name") == "Error"]
    assert (info.get("ID"), info.get("value")) == ("Error", words)


def test_a_table_without_positions_or_without_existence_is_not_found(centre: Centre) -> None:
    visits = http.get(f"{centre.url}/api/scs/demo.visits?RA=1&DEC=1&SR=1")
    assert visits.status_code == 404
    assert "This table has no positions to search around. Given: demo.visits. Query it by TAP." in visits.text
    assert http.get(f"{centre.url}/api/scs/demo.planets?RA=1&DEC=1&SR=1").status_code == 404


def test_its_capabilities_say_how_far_one_may_search(centre: Centre) -> None:
    root = fromstring(http.get(f"{centre.url}/api/scs/demo.stars/capabilities").content)
    scs = next(c for c in root.iter("capability") if c.get("standardID") == "ivo://ivoa.net/std/ConeSearch")
    assert (scs.findtext("maxSR"), scs.findtext("verbosity")) == ("180", "true")
    assert scs.findtext("interface/accessURL") == f"{centre.url}/api/scs/demo.stars"
    available = fromstring(http.get(f"{centre.url}/api/scs/demo.stars/availability").content)
    assert available.findtext("{http://www.ivoa.net/xml/VOSIAvailability/v1.0}available") == "true"
