"""Queries and answers under way end when their caller may have them no longer, and jobs run with the rights of then."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from archive_fixture import build_archive, star_table
from idac.catalogs.archive import Archive
from idac.core.errors import AccessDenied, NotAuthenticated, StoreUnavailable, TooOften, UserError
from idac.core.principal import Principal
from idac.core.rights import ReadRule, RightsPolicy
from idac.identity.administration import Administration
from idac.identity.credentials import parse_token
from idac.identity.directory import Directory
from idac.identity.watch import CallerWatch
from idac.query.adql.compiler import QueryCompiler
from idac.query.service import QueryRequest, QueryService
from idac.query.settings import QuerySettings
from idac.tables.formats import FORMATS
from idac.web import routes
from idac.web.app import build_app
from idac.web.routes import Gate, Policy, PolicyRoute
from identity_centre import ME, RESTRICTED, IdentityCentre, ago, identity_centre
from services import http
from services.http_server import serving
from services.scripted_engine import Script, ScriptedEngine
from services.waiting import until

RULES = RightsPolicy({"dp1": ReadRule.of([], ["dp1"])}, ReadRule.of([]), has_log_in=True)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return build_archive(tmp_path_factory.mktemp("archive"), {"dp1.object": star_table(300)})


@pytest.fixture
def holder(administration: Administration) -> Principal:
    administration.add_account("ada", actor=ME)
    administration.add_members("team", ["ada"], actor=ME)
    administration.grant("team", "dp1", actor=ME)
    presented = parse_token(administration.add_token("ada", "x", actor=ME)[1].text)
    assert presented is not None
    return Directory(administration.store).by_token(presented).principal


def end_the_right(administration: Administration) -> None:
    administration.withdraw("team", "dp1", actor=ME)


def end_the_token(administration: Administration) -> None:
    administration.revoke(administration.tokens("ada")[0].key, actor=ME)


def end_the_account(administration: Administration) -> None:
    administration.freeze("ada", "x", actor=ME)


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (end_the_right, "You may not read dp1.object."),
        (end_the_token, "This token was revoked."),
        (end_the_account, "This account is frozen."),
    ],
)
@pytest.mark.parametrize("script", [Script(waits_at_start=True), Script(waits_at_end=True)])
def test_a_query_under_way_ends_with_the_reason(
    archive: Archive,
    administration: Administration,
    holder: Principal,
    end: Callable[[Administration], None],
    words: str,
    script: Script,
) -> None:
    engine = ScriptedEngine()
    engine.script = script
    watch = CallerWatch(Directory(administration.store), 5)
    service = QueryService(archive, engine, QueryCompiler(RULES), QuerySettings(), watch=watch)
    request = QueryRequest("SELECT id FROM dp1.object", FORMATS["csv"], 60.0)
    met: list[UserError] = []

    def run() -> None:
        try:
            running = service.run(request, holder, query_id="q")
            try:
                list(running.batches())
            finally:
                running.close()
        except UserError as error:
            met.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert engine.seen.started.wait(60)
    watch.look()
    assert not engine.seen.cancelled.is_set()
    end(administration)
    watch.look()
    thread.join(60)
    assert engine.seen.cancelled.is_set()
    assert [str(error).startswith(words) for error in met] == [True], met
    assert isinstance(met[0], AccessDenied | NotAuthenticated)


def test_an_answer_that_is_being_sent_breaks_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "RECHECK_S", 0.0)
    revoked = threading.Event()
    sent: list[int] = []

    async def identify(_request: Request) -> Principal:
        if revoked.is_set():
            raise NotAuthenticated("This token was revoked.")
        return Principal("ada", "user")

    async def pieces() -> AsyncIterator[bytes]:
        for number in range(1000):
            if number == 10:
                revoked.set()
            sent.append(number)
            yield b"x" * 1000

    async def rows(_request: Request) -> Response:
        return StreamingResponse(pieces())

    route = PolicyRoute("/rows", rows, methods=["GET"], policy=Policy("open", "text"))
    with (
        serving(build_app([route], gate=Gate(identify))) as url,
        pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"),
    ):
        http.get(f"{url}/rows")
    assert max(sent) == 10


@pytest.mark.parametrize(
    "met", [TooOften("There were too many wrong tokens.", retry_after_s=9), StoreUnavailable("It does not answer.")]
)
def test_an_answer_goes_on_where_nothing_is_said_of_its_caller(monkeypatch: pytest.MonkeyPatch, met: UserError) -> None:
    monkeypatch.setattr(routes, "RECHECK_S", 0.0)
    begun = threading.Event()

    async def identify(_request: Request) -> Principal:
        if begun.is_set():
            raise met
        return Principal("ada", "user")

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(100):
            begun.set()
            yield b"x" * 1000

    async def rows(_request: Request) -> Response:
        return StreamingResponse(pieces())

    route = PolicyRoute("/rows", rows, methods=["GET"], policy=Policy("open", "text"))
    with serving(build_app([route], gate=Gate(identify))) as url:
        assert len(http.get(f"{url}/rows").content) == 100_000


@pytest.fixture(scope="module")
def centre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IdentityCentre]:
    with identity_centre(tmp_path_factory.mktemp("centre")) as served:
        yield served


def as_holder(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


def test_jobs_run_with_the_rights_that_their_owner_has_then(centre: IdentityCentre) -> None:
    centre.user("ada", right=True)
    headers = as_holder(centre.token("ada").text)

    def made() -> str:
        data = {"QUERY": RESTRICTED, "FORMAT": "csv"}
        return http.post(f"{centre.tap}/async", data=data, headers=headers).headers["location"]

    def run(job: str) -> str:
        http.post(f"{job}/phase", data={"PHASE": "RUN"}, headers=headers)
        until(lambda: http.get(f"{job}/phase", headers=headers).text not in ("QUEUED", "EXECUTING", "PENDING"))
        return http.get(f"{job}/phase", headers=headers).text

    first, second, third = made(), made(), made()
    assert run(first) == "COMPLETED"
    assert http.get(f"{first}/results/result", headers=headers).text.startswith("id")
    centre.administration.grant("ada-team", "dp1", actor=ME, expires=ago(seconds=1))
    assert run(second) == "ERROR"
    why = http.get(f"{second}/error", headers=headers).text
    assert "You may not read dp1.object. Given: caller ada. Allowed: holders of the data right dp1." in why
    # What was made while she might is hers, and nobody's while her account is shut.
    assert http.get(f"{first}/results/result", headers=headers).status_code == 200
    centre.administration.freeze("ada", "a test", actor=ME)
    until(lambda: http.get(f"{first}/results/result", headers=headers).status_code == 403)
    centre.administration.unfreeze("ada", actor=ME)
    until(lambda: http.get(f"{first}/results/result", headers=headers).status_code == 200)
    centre.administration.grant("ada-team", "dp1", actor=ME)
    assert run(third) == "COMPLETED"


def test_a_job_made_with_a_token_that_was_revoked_does_not_run(centre: IdentityCentre) -> None:
    centre.user("bob", right=True)
    stolen, own = centre.token("bob"), as_holder(centre.token("bob").text)
    data = {"QUERY": RESTRICTED}
    job = http.post(f"{centre.tap}/async", data=data, headers=as_holder(stolen.text)).headers["location"]
    centre.administration.revoke(stolen.key, actor=ME)
    http.post(f"{job}/phase", data={"PHASE": "RUN"}, headers=own)
    until(lambda: http.get(f"{job}/phase", headers=own).text == "ERROR")
    assert "This token was revoked." in http.get(f"{job}/error", headers=own).text


@pytest.mark.parametrize(
    "adql",
    [
        "SELECT id FROM dp1.object",
        "SELECT s.id FROM demo.stars AS s JOIN dp1.object AS o ON s.id = o.id",
        "SELECT id FROM demo.stars WHERE id IN (SELECT id FROM dp1.object)",
        "SELECT id FROM (SELECT id FROM dp1.object) AS t",
        "WITH t AS (SELECT id FROM dp1.object) SELECT id FROM t",
        "SELECT id FROM demo.stars UNION SELECT id FROM dp1.object",
        "SELECT id FROM demo.stars WHERE EXISTS (SELECT 1 FROM dp1.object)",
        "SELECT o.id FROM TAP_UPLOAD.mine AS m JOIN dp1.object AS o ON m.x = o.id",
    ],
)
def test_a_restricted_table_is_refused_wherever_it_stands(centre: IdentityCentre, adql: str) -> None:
    if "cat" not in {account.name for account in centre.administration.accounts()}:
        centre.user("cat")
    data = {"LANG": "ADQL", "QUERY": adql, "UPLOAD": "mine,param:f"}
    for headers, status in (({}, 401), (as_holder(centre.token("cat").text), 403)):
        files = {"f": ("m.csv", b"x\n1\n")}
        answer = http.post(f"{centre.tap}/sync", data=data, files=files, headers=headers)
        assert answer.status_code == status
        assert "You may not read dp1.object." in answer.text
        assert "To ask for dp1: write to dp1@example.org." in answer.text


def test_everyone_may_know_that_a_restricted_table_is_there(centre: IdentityCentre) -> None:
    told = centre.query("SELECT table_name FROM tap_schema.tables WHERE schema_name = 'dp1'")
    assert told.text.split() == ["table_name", "dp1.object"]
    assert http.get(f"{centre.tap}/tables/dp1.object").status_code == 200


def test_refused_accesses_are_in_the_log(centre: IdentityCentre) -> None:
    centre.user("dan")
    centre.query(RESTRICTED, centre.token("dan"))
    until(lambda: any(centre.administration.store.iter_audit(actions=["refused"], subject="dan")))
    entry = next(centre.administration.store.iter_audit(actions=["refused"], subject="dan"))
    assert (entry.subject, entry.address) == ("/api/tap/sync", "127.0.0.1")
    assert entry.detail == {"why": "You may not read dp1.object.", "times": 1}
