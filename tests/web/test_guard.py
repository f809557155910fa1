"""What every route does because of its policy, seen over a real connection."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from idac.core.errors import BadParameter, BadQuery, Busy, Position
from idac.core.principal import ANONYMOUS, Principal
from idac.web.app import build_app
from idac.web.bodies import BodyLimits, read_parameters
from idac.web.routes import Policy, PolicyRoute, principal_of
from services import http
from services.http_server import serving

OPEN = Policy("open", "votable", max_body_bytes=1000)
JSON = replace(OPEN, face="json")
LIMITS = BodyLimits(max_form_bytes=500, max_files=2)
TOKENS = {
    "ann": Principal("ann", "user"),
    "root": Principal("root", "user", is_admin=True),
    "narrow": Principal("root", "user", scopes=frozenset({"read:tap", "user:token"})),
    "looker": Principal("ann", "user", scopes=frozenset({"read:tap"}), reads_only=True),
}


async def identify(request: Request) -> Principal:
    return TOKENS.get(request.headers.get("x-test-user", ""), ANONYMOUS)


async def hello(request: Request) -> Response:
    return PlainTextResponse(f"hello {principal_of(request).name}")


async def refuse(_request: Request) -> Response:
    raise BadQuery(
        "There is no column rra.",
        value="rra",
        allowed="ra, dec",
        next_step="Did you mean ra?",
        position=Position(2, 8),
    )


async def crash(_request: Request) -> Response:
    raise RuntimeError("secret /srv/path")


async def busy(_request: Request) -> Response:
    raise Busy("Too many queries.", next_step="Try again.")


async def echo(request: Request) -> Response:
    spool = Path(request.app.state.spool)
    async with read_parameters(request, LIMITS, spool) as parameters:
        files = {name: f"{f.filename}:{f.path.read_bytes().decode()}" for name, f in parameters.files.items()}
        return PlainTextResponse(repr([*parameters, files]))


@pytest.fixture(scope="module")
def spool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("spool")


@pytest.fixture(scope="module")
def base(spool: Path) -> Iterator[str]:
    app = build_app(
        [
            PolicyRoute("/hello", hello, methods=["GET"], policy=OPEN),
            PolicyRoute("/user", hello, methods=["GET"], policy=Policy("user", "json")),
            PolicyRoute("/admin", hello, methods=["GET"], policy=Policy("admin", "json", cross_origin=False)),
            PolicyRoute("/split", hello, methods=["GET"], policy=OPEN),
            PolicyRoute("/split", hello, methods=["DELETE"], policy=OPEN),
            PolicyRoute("/refuse", refuse, methods=["GET"], policy=OPEN),
            PolicyRoute("/cone", refuse, methods=["GET"], policy=Policy("open", "cone")),
            PolicyRoute("/crash", crash, methods=["GET"], policy=Policy("open", "text")),
            PolicyRoute("/busy", busy, methods=["GET"], policy=Policy("open", "text")),
            PolicyRoute("/echo", echo, methods=["GET", "POST"], policy=OPEN),
            PolicyRoute("/sync", hello, methods=["POST"], policy=replace(JSON, scope="read:tap", reads=True)),
            PolicyRoute("/login", hello, methods=["POST"], policy=replace(JSON, lenient=True)),
        ],
        identify=identify,
    )
    app.state.spool = spool
    with serving(app) as url:
        yield url


def test_a_route_without_a_policy_cannot_be_made() -> None:
    with pytest.raises(TypeError, match="missing 1 required keyword-only argument: 'policy'"):
        PolicyRoute("/x", hello, methods=["GET"])  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="route /x needs a Policy, not None"):
        PolicyRoute("/x", hello, methods=["GET"], policy=None)  # type: ignore[arg-type]


def test_an_application_takes_no_route_without_a_policy() -> None:
    with pytest.raises(TypeError, match="route /x has no policy"):
        build_app([Route("/x", hello)])  # type: ignore[list-item]


def test_an_application_takes_no_two_routes_for_one_address() -> None:
    twice = [PolicyRoute("/x", hello, methods=["GET"], policy=OPEN) for _ in range(2)]
    with pytest.raises(TypeError, match="two routes answer GET /x"):
        build_app(twice)


def test_anonymous_callers_reach_open_routes_alone(base: str) -> None:
    assert http.get(f"{base}/hello").text == "hello anonymous"
    refused = http.get(f"{base}/user")
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == 'Bearer realm="idac"'
    assert refused.json()["error"]["message"] == ("This address needs a log-in. Given: /user. Log in, or send a token.")


def test_a_user_is_no_administrator(base: str) -> None:
    headers = {"x-test-user": "ann"}
    assert http.get(f"{base}/user", headers=headers).text == "hello ann"
    refused = http.get(f"{base}/admin", headers=headers)
    assert refused.status_code == 403
    assert refused.json()["error"]["message"] == (
        "This address is for administrators. Given: caller ann. Allowed: administrators of this centre. "
        "Ask the operator."
    )
    assert http.get(f"{base}/admin", headers={"x-test-user": "root"}).text == "hello root"


def test_an_administrators_token_without_the_scope_is_told_so(base: str) -> None:
    refused = http.get(f"{base}/admin", headers={"x-test-user": "narrow"})
    assert refused.status_code == 403
    assert refused.json()["error"]["message"] == (
        "This address is for administrators. Given: caller root, by a token with the scopes read:tap, user:token. "
        "Allowed: administrators of this centre, by a token with the scope admin. Administrators make one at "
        "/auth/tokens in a browser, or with idac token create --scope admin."
    )


def test_who_may_only_look_changes_nothing_but_where_a_door_is_said_to_be_for_looking(base: str) -> None:
    headers = {"x-test-user": "looker"}
    for method, path in (("GET", "/hello"), ("HEAD", "/hello"), ("POST", "/sync"), ("POST", "/login")):
        assert http.request(method, f"{base}{path}", headers=headers).status_code == 200
    for method, path in (("DELETE", "/split"), ("POST", "/echo")):
        refused = http.request(method, f"{base}{path}", headers=headers)
        assert refused.status_code == 403
        assert (
            f"This token is lent to look, and changes nothing. Given: {method} {path}. "
            "Allowed: GET, HEAD, and queries that are answered at once. The account's holder does this."
        ) in refused.text


def test_browsers_of_other_origins_may_read_open_answers(base: str) -> None:
    headers = {"origin": "https://elsewhere.org"}
    assert http.get(f"{base}/hello", headers=headers).headers["access-control-allow-origin"] == "*"
    assert http.get(f"{base}/refuse", headers=headers).headers["access-control-allow-origin"] == "*"
    private = http.get(f"{base}/admin", headers={**headers, "x-test-user": "root"})
    assert "access-control-allow-origin" not in private.headers


def test_options_tells_what_is_allowed_and_runs_nothing(base: str) -> None:
    answer = http.options(f"{base}/crash", headers={"origin": "https://elsewhere.org"})
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS"
    assert answer.headers["access-control-allow-methods"] == "GET, HEAD, OPTIONS"


def test_routes_of_one_path_answer_options_together(base: str) -> None:
    assert http.options(f"{base}/split").headers["allow"] == "DELETE, GET, HEAD, OPTIONS"
    assert http.put(f"{base}/split").headers["allow"] == "DELETE, GET, HEAD, OPTIONS"


def test_head_has_the_headers_of_get_and_no_body(base: str) -> None:
    answer = http.head(f"{base}/hello")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == str(len("hello anonymous"))


def test_an_error_is_a_votable_to_a_client_that_asks_for_nothing(base: str) -> None:
    answer = http.get(f"{base}/refuse")
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/x-votable+xml")
    assert (
        '<INFO name="QUERY_STATUS" value="ERROR">line 2, column 8: There is no column rra. Given: rra. '
        "Allowed: ra, dec. Did you mean ra?</INFO>" in answer.text
    )


def test_javas_default_accept_header_is_no_browser(base: str) -> None:
    java = {"accept": "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2"}
    assert http.get(f"{base}/refuse", headers=java).headers["content-type"] == "application/x-votable+xml"


def test_a_person_sees_a_page(base: str) -> None:
    browser = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
    answer = http.get(f"{base}/refuse", headers=browser)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "<h1>There is no column rra.</h1>" in answer.text
    assert "<dt>Where</dt><dd>line 2, column 8</dd>" in answer.text


def test_a_program_gets_json_with_the_parts_apart(base: str) -> None:
    answer = http.get(f"{base}/refuse", headers={"accept": "application/json"})
    assert answer.json() == {
        "error": {
            "code": "bad-query",
            "message": "line 2, column 8: There is no column rra. Given: rra. Allowed: ra, dec. Did you mean ra?",
            "what": "There is no column rra.",
            "value": "rra",
            "allowed": "ra, dec",
            "next_step": "Did you mean ra?",
            "line": 2,
            "column": 8,
        }
    }


def test_a_cone_search_error_stands_in_an_ordinary_answer(base: str) -> None:
    answer = http.get(f"{base}/cone")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/xml; charset=utf-8")
    assert '<INFO ID="Error" name="Error" value="line 2, column 8: There is no column rra.' in answer.text


def test_a_fault_shows_an_id_and_nothing_of_the_inside(base: str, caplog: pytest.LogCaptureFixture) -> None:
    answer = http.get(f"{base}/crash")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    fault_id = answer.text.rstrip(".\n").rpartition(" ")[2]
    assert answer.text == (
        "Fault: The service failed. Try again; if it happens again, send the operator the id " + fault_id + ".\n"
    )
    logged = [record for record in caplog.records if fault_id in record.getMessage()]
    assert len(logged) == 1
    assert "secret /srv/path" in str(logged[0].exc_info)


def test_a_busy_service_says_when_to_come_back(base: str) -> None:
    answer = http.get(f"{base}/busy")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


def test_an_unknown_address_and_a_wrong_method_are_named(base: str) -> None:
    missing = http.get(f"{base}/nowhere")
    assert (missing.status_code, missing.text) == (
        404,
        "NotFoundFault: There is nothing at this address. Given: /nowhere. See / for what this centre offers.\n",
    )
    wrong = http.delete(f"{base}/hello")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
    assert wrong.text == (
        "UsageFault: This address does not take this method. Given: DELETE. Allowed: GET, HEAD, OPTIONS.\n"
    )


def test_parameters_of_url_and_form_come_together(base: str) -> None:
    answer = http.post(f"{base}/echo?a=1", data={"b": "é+ü", "a": "2"})
    assert answer.text == "[('A', '1'), ('B', 'é+ü'), ('A', '2'), {}]"


def test_files_of_a_multipart_form_lie_on_disk_until_the_answer(base: str, spool: Path) -> None:
    answer = http.post(f"{base}/echo", data={"q": "1"}, files={"t": ("stars.csv", b"ra,dec\n1,2\n", "text/csv")})
    assert answer.text == "[('Q', '1'), {'t': 'stars.csv:ra,dec\\n1,2\\n'}]"
    assert list(spool.iterdir()) == []


def test_a_broken_multipart_form_is_refused(base: str, spool: Path) -> None:
    headers = {"content-type": "multipart/form-data; boundary=x"}
    cut = b'--x\r\nContent-Disposition: form-data; name="t"; filename="a.csv"\r\n\r\nra,d'
    answer = http.post(f"{base}/echo", content=cut, headers=headers)
    assert answer.status_code == 400
    assert "The multipart form can't be read. Given: it ends in the middle of a part." in answer.text
    assert list(spool.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "content_type", "words"),
    [
        (b"q=%ff", "application/x-www-form-urlencoded", "A parameter is not UTF-8 text."),
        (b"q=1", "application/pdf", "The request body has a type that is not read here. Given: application/pdf."),
        (b"--\r\n", "multipart/form-data", "The multipart form can't be read. Given: it names no boundary."),
    ],
)
def test_bodies_that_cannot_be_read_are_refused(base: str, content: bytes, content_type: str, words: str) -> None:
    answer = http.post(f"{base}/echo", content=content, headers={"content-type": content_type})
    assert answer.status_code == 400
    assert words in answer.text


def test_a_declared_body_over_the_limit_is_refused_unread(base: str) -> None:
    parts = urlsplit(base)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=30) as connection:
        head = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 50000000\r\nExpect: 100-continue\r\n\r\n"
        connection.sendall(head)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"The request is too large. Given: 50000000 bytes. Allowed: 1000 bytes for this address." in answer


@pytest.mark.parametrize(
    ("path", "next_step"), [("/sync", "Send less, or upload a table and join it."), ("/login", "Send less.")]
)
def test_uploads_are_advised_only_where_they_are_taken(base: str, path: str, next_step: str) -> None:
    refused = http.post(f"{base}{path}", content=b"x" * 1001)
    assert (refused.status_code, refused.json()["error"]["message"]) == (
        413,
        f"The request is too large. Given: 1001 bytes. Allowed: 1000 bytes for this address. {next_step}",
    )


def test_fields_over_the_limit_are_refused(base: str) -> None:
    answer = http.post(f"{base}/echo", data={"q": "x" * 600})
    assert answer.status_code == 413
    assert (
        "The request's parameters are too large. Given: more than 500 bytes. Allowed: 500 bytes of parameters "
        "(server.max_form_bytes). Upload long lists as a table (UPLOAD) and join it in the query." in answer.text
    )


def test_a_fifty_megabyte_query_is_refused_without_being_held(base: str) -> None:
    sent = 0

    def body() -> Iterator[bytes]:
        nonlocal sent
        yield b"QUERY="
        for _ in range(50):
            sent += 1
            yield b"x" * 1_000_000

    answer = http.post(
        f"{base}/echo", content=body(), headers={"content-type": "application/x-www-form-urlencoded"}, timeout=60
    )
    assert answer.status_code == 413
    assert sent == 50  # the client could finish its sentence, and read the answer
    assert "413" not in answer.text
    assert "server.max_form_bytes" in answer.text or "1000 bytes for this address" in answer.text


def test_a_get_takes_no_body_where_the_policy_has_none(base: str) -> None:
    answer = http.request("GET", f"{base}/crash", content=b"x")
    assert answer.status_code == 413
    assert answer.text == ("UsageFault: This address takes no request body. Send parameters in the URL.\n")


def test_a_value_given_twice_is_refused_unless_it_is_the_same() -> None:
    from idac.web.parameters import Parameters

    assert Parameters.of([("Lang", "ADQL"), ("LANG", "ADQL")]).one("LANG") == "ADQL"
    with pytest.raises(BadParameter) as caught:
        Parameters.of([("maxrec", "1"), ("MAXREC", "2")]).one("MAXREC")
    assert str(caught.value) == (
        "MAXREC is given 2 times with different values. Given: '1', '2'. Allowed: one MAXREC. Send the parameter once."
    )


@pytest.mark.parametrize("value", ["-1", "1.5", "ten", "1e3", "٣", "9" * 30, "9" * 19, "--1"])
def test_what_is_no_whole_number_is_refused(value: str) -> None:
    from idac.web.parameters import Parameters

    with pytest.raises(BadParameter) as caught:
        Parameters.of([("MAXREC", value)]).integer("MAXREC")
    assert str(caught.value) == (
        f"MAXREC has a value that is not allowed. Given: {value}. Allowed: a whole number, 0 to 9223372036854775807."
    )
