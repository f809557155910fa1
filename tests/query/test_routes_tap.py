"""TAP 1.1 over a real connection: parameters, formats, errors, uploads, pages, and clients that go away."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import httpx
import pytest
from astropy.table import Table as AstropyTable
from defusedxml.ElementTree import fromstring

from archive_fixture import build_archive, star_table
from idac.catalogs.archive import Archive
from idac.catalogs.snapshot import CatalogSnapshot
from idac.core.errors import ResourceExhausted
from idac.core.rights import PUBLIC, ReadRule, RightsPolicy
from idac.query.examples import examples_of
from idac.tables.model import INT, Column, Schema, Table
from idac.web.settings import ServerSettings
from services import http
from services.scripted_engine import Script, ScriptedEngine
from services.tap_centre import Centre, serving_tap
from services.waiting import until

VOTABLE = "{http://www.ivoa.net/xml/VOTable/v1.3}"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return build_archive(tmp_path_factory.mktemp("archive"), {"demo.stars": star_table(500)})


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
def centre(archive: Archive, engine: ScriptedEngine, tmp_path: Path) -> Iterator[Centre]:
    server = ServerSettings(max_form_bytes=100_000, max_upload_bytes=1_000_000)
    with serving_tap(tmp_path, archive, engine, server=server) as served:
        yield served


def sync(centre: Centre, **parameters: str) -> httpx.Response:
    return http.post(f"{centre.tap}/sync", data={"LANG": "ADQL", "QUERY": "SELECT id FROM demo.stars", **parameters})


def error_of(answer: httpx.Response) -> str:
    """The text of a DALI error document."""
    assert answer.headers["content-type"] == "application/x-votable+xml"
    root = fromstring(answer.content)
    (info,) = root.findall(f"{VOTABLE}RESOURCE[@type='results']/{VOTABLE}INFO[@name='QUERY_STATUS']")
    assert info.get("value") == "ERROR"
    return info.text or ""


def test_get_and_post_give_the_same_answer(centre: Centre) -> None:
    query = urlencode({"lang": "adql", "query": "SELECT id FROM demo.stars", "responseformat": "csv"})
    got = http.get(f"{centre.tap}/sync?{query}")
    assert (got.status_code, got.headers["content-type"]) == (200, "text/csv;header=present; charset=utf-8")
    assert got.text.split() == ["id", "0", "1", "2"]
    assert sync(centre, RESPONSEFORMAT="csv").content == got.content
    assert got.headers["content-disposition"] == 'inline; filename="result.csv"'


def test_a_votable_is_what_one_gets_for_not_asking(centre: Centre) -> None:
    answer = sync(centre)
    assert answer.headers["content-type"].startswith("application/x-votable+xml")
    table = AstropyTable.read(BytesIO(answer.content), format="votable")
    assert list(table["id"]) == [0, 1, 2]


def test_responseformat_goes_before_format(centre: Centre) -> None:
    assert sync(centre, FORMAT="votable", RESPONSEFORMAT="tsv").text.split() == ["id", "0", "1", "2"]


def test_the_answer_tells_its_query_and_run(centre: Centre) -> None:
    root = fromstring(sync(centre, RESPONSEFORMAT="votable/td", RUNID="mine").content)
    infos = {info.get("name"): info.get("value") for info in root.iter(f"{VOTABLE}INFO")}
    assert infos == {"QUERY_STATUS": "OK", "QUERY": "SELECT id FROM demo.stars", "RUNID": "mine"}


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        (
            {"LANG": "SQL"},
            "LANG names a language that is not spoken here. Given: SQL. Allowed: ADQL, ADQL-2.0, ADQL-2.1.",
        ),
        ({"QUERY": " "}, "QUERY is missing. Allowed: an ADQL query. Add QUERY=SELECT … to the request."),
        (
            {"REQUEST": "getCapabilities"},
            "REQUEST has a value that is not allowed. Given: getCapabilities. Allowed: DOQUERY.",
        ),
        (
            {"MAXREC": "-1"},
            "MAXREC has a value that is not allowed. Given: -1. Allowed: a whole number, 0 to 9223372036854775807.",
        ),
        ({"RESPONSEFORMAT": "pdf"}, "There is no such format. Given: pdf."),
        ({"UPLOAD": "t,param:x"}, "UPLOAD names a file that the request does not carry. Given: param:x."),
        ({"UPLOAD": "t,file:///etc/passwd"}, "The upload's address is of a kind that is not fetched."),
        ({"UPLOAD": "t,http://169.254.169.254/latest"}, "The upload's address is not a public one."),
        ({"UPLOAD": "t,http://[::1/x"}, "The upload's address can't be read. Given: http://[::1/x."),
        ({"UPLOAD": "t,http://\x00/x"}, "The upload's address can't be read. Given: http://"),
        ({"QUERY": "SELECT nope FROM demo.stars"}, "line 1, column 8: "),
        ({"QUERY": "DROP TABLE demo.stars"}, "line 1, column 1: "),
    ],
)
def test_what_is_wrong_is_told_in_a_votable(centre: Centre, parameters: dict[str, str], words: str) -> None:
    answer = sync(centre, **parameters)
    assert answer.status_code == 400
    assert error_of(answer).startswith(words)


def test_a_parameter_with_two_values_is_refused(centre: Centre) -> None:
    answer = http.get(f"{centre.tap}/sync?LANG=ADQL&QUERY=SELECT+1&query=SELECT+2")
    assert error_of(answer) == (
        "QUERY is given 2 times with different values. Given: 'SELECT 1', 'SELECT 2'. Allowed: one QUERY. Send the "
        "parameter once."
    )


def test_a_query_text_over_the_limit_is_refused(centre: Centre) -> None:
    answer = sync(centre, QUERY="SELECT " + "x" * 200_000)
    assert answer.status_code == 413
    assert error_of(answer).startswith("The request's parameters are too large. Given: more than 100000 bytes.")


def test_a_body_over_the_limit_is_refused(centre: Centre) -> None:
    answer = http.post(f"{centre.tap}/sync", files={"t": ("t.csv", b"x" * 1_200_000)})
    assert answer.status_code == 413
    assert error_of(answer).startswith("The request is too large. Given: ")


def test_an_error_of_the_engine_has_its_own_status(centre: Centre, engine: ScriptedEngine) -> None:
    engine.script.start_error = ResourceExhausted("The query needs more memory than it may have.")
    answer = sync(centre)
    assert (answer.status_code, error_of(answer)) == (400, "The query needs more memory than it may have.")


def test_a_table_sent_along_is_queried_and_gone_afterwards(centre: Centre, engine: ScriptedEngine) -> None:
    data = {"LANG": "ADQL", "QUERY": "SELECT x FROM TAP_UPLOAD.mine", "UPLOAD": "mine,param:f", "FORMAT": "csv"}
    answer = http.post(f"{centre.tap}/sync", data=data, files={"f": ("mine.csv", b"x\n5\n6\n")})
    assert answer.text.split() == ["x", "0", "1", "2"]
    (use,) = engine.seen.queries[0].tables
    assert use.entry.storage.rows == 2
    assert [p for p in centre.spool.rglob("*") if p.is_file()] == []


def test_a_table_sent_with_a_job_stays_with_it(centre: Centre) -> None:
    data = {"LANG": "ADQL", "QUERY": "SELECT x FROM TAP_UPLOAD.mine", "UPLOAD": "mine,param:f", "FORMAT": "csv"}
    created = http.post(f"{centre.tap}/async", data=data, files={"f": ("mine.csv", b"x\n5\n6\n")})
    job = created.headers["location"]
    assert [p.name for p in centre.results.root.rglob("*.parquet")] == ["mine.parquet"]
    http.post(f"{job}/phase", data={"PHASE": "RUN"})
    until(lambda: http.get(f"{job}/phase").text not in ("QUEUED", "EXECUTING"))
    assert http.get(f"{job}/phase").text == "COMPLETED", http.get(f"{job}/error").text
    answer = http.get(f"{job}/results/result")
    assert answer.text.split() == ["x", "0", "1", "2"]
    assert answer.headers["content-type"].startswith("text/csv")
    http.delete(job)
    assert [p for p in centre.results.root.rglob("*") if p.is_file()] == []


def test_a_table_that_was_sent_gives_way_to_one_that_is_sent_later(centre: Centre, engine: ScriptedEngine) -> None:
    data = {"LANG": "ADQL", "QUERY": "SELECT x FROM TAP_UPLOAD.mine", "UPLOAD": "mine,param:f", "FORMAT": "csv"}
    job = http.post(f"{centre.tap}/async", data=data, files={"f": ("mine.csv", b"x\n5\n6\n")}).headers["location"]
    again = http.post(f"{job}/parameters", data={"UPLOAD": "mine,param:g"}, files={"g": ("mine.csv", b"x\n7\n")})
    assert again.status_code == 303
    http.post(f"{job}/phase", data={"PHASE": "RUN"})
    until(lambda: http.get(f"{job}/phase").text == "COMPLETED")
    assert [use.entry.storage.rows for use in engine.seen.queries[0].tables] == [1]
    kept = sorted(centre.results.root.rglob("*.parquet"))
    late = http.post(f"{job}/parameters", data={"UPLOAD": "mine,param:g"}, files={"g": ("mine.csv", b"x\n8\n")})
    assert late.status_code == 409
    assert sorted(centre.results.root.rglob("*.parquet")) == kept


def test_a_table_that_was_sent_gives_way_to_an_address(centre: Centre, engine: ScriptedEngine) -> None:
    data = {"LANG": "ADQL", "QUERY": "SELECT x FROM TAP_UPLOAD.mine", "UPLOAD": "mine,param:f"}
    job = http.post(f"{centre.tap}/async", data=data, files={"f": ("mine.csv", b"x\n5\n")}).headers["location"]
    http.post(f"{job}/parameters", data={"UPLOAD": "mine,http://127.0.0.1:9/t.csv"})
    http.post(f"{job}/phase", data={"PHASE": "RUN"})
    until(lambda: http.get(f"{job}/phase").text == "ERROR")
    assert error_of(http.get(f"{job}/error")).startswith("The upload could not be fetched. Given: http://127.0.0.1:9")
    assert engine.seen.queries == []


def test_a_bad_upload_makes_no_job_and_leaves_nothing(centre: Centre) -> None:
    data = {"LANG": "ADQL", "QUERY": "SELECT 1", "UPLOAD": "mine,param:f"}
    created = http.post(f"{centre.tap}/async", data=data, files={"f": ("mine.zip", b"PK\x03\x04")})
    assert created.status_code == 400
    assert created.text.startswith("UsageFault: The file is a zip archive.")
    assert not centre.results.root.exists() or [p for p in centre.results.root.rglob("*") if p.is_file()] == []


def test_a_job_with_a_wrong_query_ends_in_error(centre: Centre) -> None:
    job = http.post(f"{centre.tap}/async", data={"QUERY": "SELECT nope FROM demo.stars", "PHASE": "RUN"}).headers[
        "location"
    ]
    until(lambda: http.get(f"{job}/phase").text not in ("QUEUED", "EXECUTING"))
    assert http.get(f"{job}/phase").text == "ERROR"
    assert error_of(http.get(f"{job}/error")).startswith("line 1, column 8: ")


def test_aborting_a_job_stops_the_engine(centre: Centre, engine: ScriptedEngine) -> None:
    engine.script.waits_at_end = True
    job = http.post(f"{centre.tap}/async", data={"QUERY": "SELECT id FROM demo.stars", "PHASE": "RUN"}).headers[
        "location"
    ]
    assert engine.seen.started.wait(60)
    http.post(f"{job}/phase", data={"PHASE": "ABORT"})
    assert engine.seen.cancelled.wait(60)
    assert engine.seen.closed.wait(60)
    assert http.get(f"{job}/phase").text == "ABORTED"


@pytest.mark.parametrize("script", [Script(waits_at_start=True), Script(rows=2_000_000, batch_rows=50_000)])
def test_a_client_that_goes_away_stops_its_query(centre: Centre, engine: ScriptedEngine, script: Script) -> None:
    engine.script = script
    parts = urlsplit(centre.url)
    with socket.create_connection((parts.hostname or "", parts.port or 0)) as connection:
        connection.sendall(b"GET /api/tap/sync?LANG=ADQL&QUERY=SELECT+id+FROM+demo.stars HTTP/1.1\r\nHost: x\r\n\r\n")
        assert engine.seen.started.wait(60)
    assert engine.seen.cancelled.wait(60)


def test_an_answer_that_fails_on_the_way_ends_with_the_error(centre: Centre, engine: ScriptedEngine) -> None:
    engine.script = Script(rows=200_000, batch_rows=20_000, fails_with=ResourceExhausted("Out of memory."))
    answer = sync(centre, RESPONSEFORMAT="votable/td")
    assert answer.status_code == 200
    last = list(fromstring(answer.content).iter(f"{VOTABLE}INFO"))[-1]
    assert (last.get("name"), last.get("value"), last.text) == ("QUERY_STATUS", "ERROR", "Out of memory.")
    with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
        sync(centre, RESPONSEFORMAT="csv")


def test_head_of_a_query_sends_no_rows(centre: Centre) -> None:
    answer = http.head(f"{centre.tap}/sync?LANG=ADQL&QUERY=SELECT+id+FROM+demo.stars")
    assert (answer.status_code, answer.content) == (200, b"")


def test_tables_are_told_briefly_in_full_and_one_by_one(centre: Centre) -> None:
    brief = fromstring(http.get(f"{centre.tap}/tables?detail=min").content)
    assert next(t.findtext("name") for t in brief.iter("table")) == "demo.stars"
    assert list(brief.iter("column")) == []
    full = fromstring(http.get(f"{centre.tap}/tables", headers={"user-agent": "test"}).content)
    names = [c.findtext("name") for c in full.iter("column")]
    assert set(names[:6]) == {"ra", "dec", "id", "mag", "name", "flag"}
    assert '"size"' in names
    one = fromstring(http.get(f"{centre.tap}/tables/demo.stars").content)
    assert one.tag == "{http://www.ivoa.net/xml/VOSITables/v1.0}table"
    assert len(list(one.iter("column"))) == 6
    missing = http.get(f"{centre.tap}/tables/demo.planets")
    assert (missing.status_code, missing.text) == (
        404,
        "NotFoundFault: There is no such table. Given: demo.planets. See /api/tap/tables for the list.\n",
    )


def test_the_table_set_may_be_narrowed_to_some_tables(centre: Centre) -> None:
    root = fromstring(http.get(f"{centre.tap}/tables?tables=demo.stars,tap_schema.keys").content)
    assert [t.findtext("name") for t in root.iter("table")] == ["demo.stars", "TAP_SCHEMA.keys"]
    assert [s.findtext("name") for s in root.iter("schema")] == ["demo", "TAP_SCHEMA"]
    assert http.get(f"{centre.tap}/tables?tables=demo.planets").status_code == 404


def test_an_unchanged_table_set_is_not_sent_again(centre: Centre) -> None:
    first = http.get(f"{centre.tap}/tables")
    assert first.headers["content-encoding"] == "gzip"
    plain = http.get(f"{centre.tap}/tables", headers={"accept-encoding": "gzip;q=0, identity"})
    assert "content-encoding" not in plain.headers
    assert (plain.content, plain.headers["etag"] != first.headers["etag"]) == (first.content, True)
    again = http.get(f"{centre.tap}/tables", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_capabilities_name_every_format_and_limit(centre: Centre) -> None:
    root = fromstring(http.get(f"{centre.tap}/capabilities").content)
    tap = next(c for c in root.iter("capability") if c.get("standardID") == "ivo://ivoa.net/std/TAP")
    assert tap.findtext("interface/accessURL") == centre.tap
    aliases = {alias.text for alias in tap.iter("alias")}
    assert {"votable", "votable/td", "parquet", "fits", "csv", "tsv", "json"} <= aliases
    assert tap.findtext("outputLimit/default") == "5000000"
    assert tap.findtext("executionDuration/hard") == "21600"
    forms = [form.text or "" for form in tap.iter("form")]
    assert "ivo_healpix_index(hpxOrder BIGINT, long DOUBLE, lat DOUBLE) -> BIGINT" in forms
    assert {"POINT", "WITH", "INTERSECT", "CAST", "COALESCE", "IN_UNIT", "OFFSET", "ILIKE"} <= set(forms)


def test_availability_says_yes(centre: Centre) -> None:
    root = fromstring(http.get(f"{centre.tap}/availability").content)
    assert root.findtext("{http://www.ivoa.net/xml/VOSIAvailability/v1.0}available") == "true"


def test_every_example_is_a_query_that_may_run(centre: Centre) -> None:
    page = http.get(f"{centre.tap}/examples")
    root = fromstring(page.content)
    xhtml = "{http://www.w3.org/1999/xhtml}"
    queries = [q.text for q in root.iter(f"{xhtml}pre") if q.get("property") == "query"]
    assert len(queries) == 3
    for query in queries:
        assert sync(centre, QUERY=query or "", MAXREC="0", RESPONSEFORMAT="csv").status_code == 200, query


def test_each_example_has_a_link_that_runs_it(centre: Centre) -> None:
    root = fromstring(http.get(f"{centre.tap}/examples").content)
    links = [a.get("href") or "" for a in root.iter("{http://www.w3.org/1999/xhtml}a")]
    assert len(links) == 3
    for link in links:
        answer = http.get(f"{centre.url}{link}")
        assert (answer.status_code, answer.headers["content-type"].split(";")[0]) == (200, "text/csv")


def test_ids_of_examples_are_xml_names_and_no_two_alike() -> None:
    columns = (Column("x", INT),)
    tables = tuple(Table("2mass", name, columns) for name in ("a b", "a-b", "π", "Objects"))
    snapshot = CatalogSnapshot("1", (Schema("2mass", tables),), {})
    ids = [example.id for example in examples_of(snapshot)]
    assert ids == [
        *("table-2mass-a-b-first", "table-2mass-a-b-first-2", "table-2mass-first", "table-2mass-objects-first"),
        "columns-by-ucd",
    ]


def test_an_address_with_a_slash_at_its_end_is_the_same_address(centre: Centre) -> None:
    answer = http.post(f"{centre.tap}/sync/", data={"QUERY": "SELECT id FROM demo.stars", "FORMAT": "csv"})
    assert answer.text.split() == ["id", "0", "1", "2"]
    assert http.get(f"{centre.tap}/").status_code == 303
    assert http.get(f"{centre.url}//").status_code == 404


def test_the_base_address_leads_to_the_capabilities(centre: Centre) -> None:
    answer = http.get(centre.tap)
    assert (answer.status_code, answer.headers["location"]) == (303, f"{centre.tap}/capabilities")


def test_health_tells_of_each_part(centre: Centre) -> None:
    assert http.get(f"{centre.url}/api/health").json() == {"status": "ok", "checks": {"archive": "ok"}}
    assert http.get(f"{centre.url}/api/health/live").json() == {"status": "ok"}


CLOSED = RightsPolicy({"demo": ReadRule.of([PUBLIC])}, ReadRule.of(["staff"]))
#: Queries that no upload can put right, and what is told of them.
BAD_QUERIES = {
    "SELECT FROM TAP_UPLOAD.t": (400, "line 1, column 8: "),
    "SELECT * FROM TAP_UPLOAD.t JOIN demo.planets USING (id)": (
        400,
        "line 1, column 33: There is no table of this name. Given: demo.planets.",
    ),
    "SELECT * FROM TAP_UPLOAD.other": (
        400,
        "line 1, column 15: There is no table of this name. Given: TAP_UPLOAD.other.",
    ),
    "SELECT * FROM TAP_UPLOAD.t WHERE x IN (SELECT id FROM secret.stars)": (403, "You may not read secret.stars."),
    "WITH w AS (SELECT id FROM secret.stars) SELECT * FROM w, t": (403, "You may not read secret.stars."),
    "SELECT nope FROM demo.stars": (400, "line 1, column 8: There is no column of this name"),
}


@pytest.fixture
def closed(tmp_path: Path, engine: ScriptedEngine) -> Iterator[Centre]:
    tables = {"demo.stars": star_table(50), "secret.stars": star_table(50)}
    with serving_tap(tmp_path, build_archive(tmp_path / "closed", tables), engine, rights=CLOSED) as served:
        yield served


@pytest.mark.parametrize("query", BAD_QUERIES)
def test_a_query_that_is_wrong_whatever_is_uploaded_costs_no_upload(closed: Centre, query: str) -> None:
    status, words = BAD_QUERIES[query]
    with socket.create_server(("127.0.0.1", 0)) as door:
        door.setblocking(False)
        upload = f"t,http://127.0.0.1:{door.getsockname()[1]}/t.csv"
        answer = sync(closed, QUERY=query, UPLOAD=upload)
        job = http.post(
            f"{closed.tap}/async", data={"LANG": "ADQL", "QUERY": query, "UPLOAD": upload, "PHASE": "RUN"}
        ).headers["location"]
        until(lambda: http.get(f"{job}/phase").text == "ERROR")
        with pytest.raises(BlockingIOError):
            door.accept()
    assert answer.status_code == status
    assert error_of(answer).startswith(words)
    assert error_of(http.get(f"{job}/error")).startswith(words)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT x FROM TAP_UPLOAD.t",
        "SELECT x FROM t",
        "WITH w AS (SELECT x FROM tap_upload.T) SELECT x FROM w JOIN demo.stars ON x = id",
        "SELECT id FROM demo.stars",
    ],
)
def test_a_query_over_uploads_that_may_be_right_runs(closed: Centre, query: str) -> None:
    answer = http.post(
        f"{closed.tap}/sync",
        data={"LANG": "ADQL", "QUERY": query, "UPLOAD": "t,param:f", "RESPONSEFORMAT": "csv"},
        files={"f": ("t.csv", b"x\n1\n")},
    )
    assert answer.status_code == 200


def test_a_column_that_an_upload_has_not_is_told_once_it_is_read(closed: Centre) -> None:
    answer = http.post(
        f"{closed.tap}/sync",
        data={"LANG": "ADQL", "QUERY": "SELECT y FROM TAP_UPLOAD.t", "UPLOAD": "t,param:f"},
        files={"f": ("t.csv", b"x\n1\n")},
    )
    assert error_of(answer).startswith("line 1, column 8: There is no column of this name")
