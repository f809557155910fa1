"""The one way of every query: checked, bounded, run, written, and always closed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pytest
from astropy.io.votable import parse

from archive_fixture import build_archive
from idac import __version__
from idac.core.errors import AccessDenied, BadQuery, ResourceExhausted
from idac.core.principal import ANONYMOUS, Principal
from idac.core.rights import PUBLIC, ReadRule, RightsPolicy
from idac.query.adql.compiler import QueryCompiler
from idac.query.service import QueryRequest, QueryService, RunningQuery
from idac.query.settings import QuerySettings
from idac.tables.formats import find_format
from idac.tables.model import Column
from idac.wiring.settings import CentreSettings
from services.scripted_engine import Script, ScriptedEngine

RIGHTS = RightsPolicy({"demo.secret": ReadRule.of(["survey"])}, ReadRule.of([PUBLIC]))
SETTINGS = QuerySettings(default_max_rows=100, max_rows=1000)
type Run = Callable[..., RunningQuery]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> object:
    table = pa.table({"n": pa.array([1, 2, 3], pa.int64())})
    return build_archive(tmp_path_factory.mktemp("archive"), {"demo.t": table, "demo.secret": table})


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
def service(archive: object, engine: ScriptedEngine, tmp_path: Path) -> QueryService:
    return QueryService(archive, engine, QueryCompiler(RIGHTS), SETTINGS, tmp_path)  # type: ignore[arg-type]


def request(adql: str = "SELECT n FROM demo.t", form: str = "csv", max_rows: int | None = None) -> QueryRequest:
    return QueryRequest(adql, find_format(form), timeout_s=10, max_rows=max_rows)


def run(service: QueryService, asked: QueryRequest, principal: Principal = ANONYMOUS) -> bytes:
    running = service.run(asked, principal, query_id="q")
    try:
        return b"".join(running.chunks())
    finally:
        running.close()


def test_a_query_becomes_bytes_in_the_format_asked_for(service: QueryService, engine: ScriptedEngine) -> None:
    assert run(service, request()).split() == [b"n", b"0", b"1", b"2"]
    assert engine.seen.closed.is_set()


@pytest.mark.parametrize(("asked", "granted"), [(None, 100), (7, 7), (5000, 1000)])
def test_rows_are_bounded_by_the_centre(
    service: QueryService, engine: ScriptedEngine, asked: int | None, granted: int
) -> None:
    run(service, request(max_rows=asked))
    assert engine.seen.limits[0].max_rows == granted


def test_no_rows_asked_for_runs_nothing_and_counts_as_cut(service: QueryService, engine: ScriptedEngine) -> None:
    answer = run(service, request(form="votable/td", max_rows=0))
    assert b'<FIELD name="n" datatype="long"' in answer
    assert b'<INFO name="QUERY_STATUS" value="OVERFLOW"/>' in answer
    assert engine.seen.queries == []


def test_a_cut_result_says_so(service: QueryService, engine: ScriptedEngine) -> None:
    answer = run(service, request(form="votable/td", max_rows=2))
    assert answer.count(b"<TR>") == 2
    assert answer.index(b'value="OVERFLOW"') > answer.index(b"</TABLE>")


def test_a_wrong_query_never_reaches_the_engine(service: QueryService, engine: ScriptedEngine) -> None:
    with pytest.raises(BadQuery) as caught:
        service.run(request("SELECT m FROM demo.t"), ANONYMOUS, query_id="q")
    assert (caught.value.position.line, caught.value.position.column) == (1, 8)  # type: ignore[union-attr]
    assert engine.seen.queries == []


def test_a_table_of_others_needs_their_group(service: QueryService) -> None:
    asked = request("SELECT n FROM demo.secret")
    with pytest.raises(AccessDenied, match="survey"):
        service.run(asked, ANONYMOUS, query_id="q")
    assert run(service, asked, Principal("ann", "user", frozenset({"survey"}))).split()[0] == b"n"


def test_what_a_request_holds_is_freed_once_however_it_ends(service: QueryService, engine: ScriptedEngine) -> None:
    freed: list[str] = []
    running = service.run(request(), ANONYMOUS, query_id="q", on_close=lambda: freed.append("ran"))
    running.close()
    running.close()
    with pytest.raises(BadQuery):
        service.run(request("SELECT"), ANONYMOUS, query_id="q", on_close=lambda: freed.append("wrong"))
    engine.script.start_error = ResourceExhausted("The query needs more memory.")
    with pytest.raises(ResourceExhausted):
        service.run(request(), ANONYMOUS, query_id="q", on_close=lambda: freed.append("failed"))
    assert freed == ["ran", "wrong", "failed"]


def test_an_error_after_the_first_rows_is_marked_in_an_answer_and_raised_in_a_job(archive: object) -> None:
    engine = ScriptedEngine(Script(fails_with=ResourceExhausted("The query needs more memory.")))
    service = QueryService(archive, engine, QueryCompiler(RIGHTS), SETTINGS)  # type: ignore[arg-type]
    marked = run(service, replace(request(form="votable/td"), mark_errors=True))
    assert marked.endswith(
        b'</TABLE>\n<INFO name="QUERY_STATUS" value="ERROR">The query needs more memory.</INFO>\n</RESOURCE>\n'
        b"</VOTABLE>\n"
    )
    with pytest.raises(ResourceExhausted):
        run(service, request(form="votable/td"))


def test_every_result_tells_whose_data_it_is(archive: object) -> None:
    centre = CentreSettings(publisher="Institute of Stars", contact_email="dac@example.org")
    compiler = QueryCompiler(RIGHTS)
    service = QueryService(archive, ScriptedEngine(), compiler, SETTINGS, origin=centre.origin())  # type: ignore[arg-type]
    infos = {info.name: info.value for info in parse(BytesIO(run(service, request(form="votable")))).resources[0].infos}
    assert infos["publisher"] == "Institute of Stars"
    assert infos["contact"] == "dac@example.org"
    assert infos["server_software"] == f"idac {__version__}"


def test_the_fair_queue_counts_the_owner_it_is_told(service: QueryService, engine: ScriptedEngine) -> None:
    service.run(request(), ANONYMOUS, query_id="q", owner="anonymous@192.0.2.1").close()
    service.run(request(), Principal("ann", "user"), query_id="q").close()
    assert engine.seen.owners == ["anonymous@192.0.2.1", "ann"]


def test_columns_can_be_relabelled(service: QueryService) -> None:
    def relabel(column: Column) -> Column:
        return replace(column, ucd="meta.id;meta.main")

    answer = run(service, replace(request(form="votable/td"), relabel=relabel))
    assert b'ucd="meta.id;meta.main"' in answer
