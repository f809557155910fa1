"""What people try who have no business here, each against a running centre."""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from idac.core.database import open_database
from idac.core.errors import StoreUnavailable
from idac.core.loading import load_settings
from idac.identity.credentials import new_secret
from idac.identity.routes_login import own_path
from idac.wiring.app import build_centre
from idac.wiring.settings import DacSettings
from identity_centre import PUBLIC, RESTRICTED, WORDS, IdentityCentre, form_token_of, identity_centre
from services import http
from services.http_server import serving

COOKIE = "idac-dac-session"


@pytest.fixture(scope="module")
def centre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IdentityCentre]:
    with identity_centre(tmp_path_factory.mktemp("centre")) as served:
        served.user("ada", right=True)
        served.user("eve")
        yield served


def with_cookie(centre: IdentityCentre, session: str) -> httpx.Response:
    return http.get(f"{centre.url}/auth/api/v1/user-info", headers={"cookie": f"{COOKIE}={session}"})


# -- guessing ----------------------------------------------------------------------------------------------------------


def test_guesses_at_tokens_are_stopped_for_their_address_and_not_for_tokens_in_use(tmp_path: Path) -> None:
    with identity_centre(tmp_path, identity="guess_window_s: 3600", guesses_per_address=5) as centre:
        centre.user("ada", right=True)
        old = new_secret()
        statuses = [centre.query(PUBLIC, old).status_code for _ in range(20)]
        assert set(statuses) == {401}  # one token, however often it is sent, is one guess
        statuses = [centre.query(PUBLIC, new_secret()).status_code for _ in range(8)]
        assert statuses == [401] * 4 + [429] * 4
        refused = centre.query(PUBLIC, new_secret())
        assert 0 < int(refused.headers["retry-after"]) <= 3600
        assert "There were too many wrong passwords, codes or tokens. Try again in " in refused.text
        assert centre.query(PUBLIC).status_code == 200
        # Whoever shares the address with who guesses is let in, seen here before or not.
        assert centre.query(PUBLIC, centre.token("ada")).status_code == 200
        assert centre.query(PUBLIC, new_secret()).status_code == 429


def test_guesses_at_a_password_are_stopped_even_for_the_right_one(tmp_path: Path) -> None:
    with identity_centre(tmp_path, identity="guesses_per_account: 3") as centre, centre.browser() as browser:
        centre.user("ada")
        form = form_token_of(browser.get("/auth/login"))
        wrong = {"username": "ada", "password": "wrong", "csrf": form}
        assert [browser.post("/auth/login", data=wrong).status_code for _ in range(4)] == [401, 401, 401, 429]
        right = browser.post("/auth/login", data={**wrong, "password": WORDS})
        assert right.status_code == 429
        assert "Try again in " in right.text
        assert "set-cookie" not in right.headers


@pytest.mark.parametrize("forged", ["X-Forwarded-For", "X-Real-IP", "Forwarded", "X-Client-IP"])
def test_no_header_makes_a_guesser_somebody_else(tmp_path: Path, forged: str) -> None:
    # The server believes only proxies that it was told of; this one was told of none.
    (tmp_path / "dac.yaml").write_text("identity: {enabled: true, guesses_per_address: 3}\nserver: {processes: 1}\n")
    app = build_centre(load_settings(DacSettings, tmp_path / "dac.yaml")).app
    with serving(app, proxies="192.0.2.1") as url:
        statuses = [
            http.get(
                f"{url}/auth/api/v1/user-info",
                headers={"authorization": f"Bearer {new_secret().text}", forged: f"198.51.100.{n}"},
            ).status_code
            for n in range(6)
        ]
    assert statuses == [401, 401, 401, 429, 429, 429]


# -- headers and names that pretend ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Auth-Request-User": "ada", "X-Auth-Request-Email": "ada@example.org", "X-Auth-Request-Token": "x"},
        {"X-Forwarded-User": "ada", "Remote-User": "ada", "X-Remote-User": "ada"},
        {"X-VO-Authenticated": "ada"},
        {"Cookie": "user=ada; admin=1"},
    ],
)
def test_headers_of_other_gateways_mean_nothing(centre: IdentityCentre, headers: dict[str, str]) -> None:
    answer = http.get(f"{centre.tap}/sync", params={"LANG": "ADQL", "QUERY": RESTRICTED}, headers=headers)
    assert answer.status_code == 401
    assert "x-vo-authenticated" not in answer.headers


@pytest.mark.parametrize(
    "header",
    [
        "Bearer", "Bearer x", "Bearer idac_", "Bearer " + "idac_" + "0" * 65, "bearer null",
        "Basic", "Basic x", "Basic ====", "Basic YWRh", "Basic YWRhOg==", "Basic //79", "Digest username=ada",
        "Negotiate x", "", "Bearer " + "x" * 5000, "Bearer ida\xe9c_",
        "Bearer ' OR '1'='1", "Basic JyBPUiAnMSc9JzE6JyBPUiAnMSc9JzE=",
    ],
)  # fmt: skip
def test_a_credential_that_is_none_is_refused_and_never_taken_for_nobody(centre: IdentityCentre, header: str) -> None:
    answer = http.get(f"{centre.tap}/tables", headers={"authorization": header.encode("latin-1")})
    assert answer.status_code == 401
    assert answer.headers.get_list("www-authenticate")[0].startswith("Basic realm=")


def test_challenges_are_those_of_authvo_and_capabilities_stay_readable(centre: IdentityCentre) -> None:
    answer = http.get(f"{centre.tap}/capabilities")
    assert answer.status_code == 200
    expected = [
        'Basic realm="idac", charset="UTF-8"',
        f'ivoa_bearer standard_id="ivo://ivoa.net/sso#tls-with-password", access_url="{centre.url}/auth/ivoa/bearer"',
        f'ivoa_cookie standard_id="ivo://ivoa.net/sso#tls-with-password", access_url="{centre.url}/auth/ivoa/cookie"',
        'Bearer realm="idac"',
    ]
    assert answer.headers.get_list("www-authenticate") == expected
    assert centre.query().headers.get_list("www-authenticate") == expected
    in_browser = http.get(f"{centre.tap}/capabilities", headers={"sec-fetch-mode": "cors"})
    assert in_browser.headers.get_list("www-authenticate") == expected[1:]
    known = http.get(f"{centre.tap}/capabilities", headers={"authorization": f"Bearer {centre.token('ada').text}"})
    assert "www-authenticate" not in known.headers
    assert known.headers["x-vo-authenticated"] == "ada"


def test_authvos_clients_get_a_token_or_a_cookie_for_a_password(centre: IdentityCentre) -> None:
    sent = {"username": "ada", "password": WORDS}
    token = http.post(f"{centre.url}/auth/ivoa/bearer", data=sent).headers["x-vo-bearer"]
    assert centre.query(RESTRICTED, token).status_code == 200
    with centre.browser() as program:
        assert program.post("/auth/ivoa/cookie", data=sent).status_code == 200
        answer = program.post("/api/tap/sync", data={"LANG": "ADQL", "QUERY": RESTRICTED})
        assert (answer.status_code, answer.headers["x-vo-authenticated"]) == (200, "ada")
    wrong = http.post(f"{centre.url}/auth/ivoa/bearer", data={**sent, "password": "wrong"})
    assert (wrong.status_code, "x-vo-bearer" in wrong.headers) == (401, False)


@pytest.mark.parametrize("value", ["a\r\nSet-Cookie: x=1", "a\nb", "a\0b"])
def test_no_text_breaks_out_of_a_header(centre: IdentityCentre, value: str) -> None:
    with centre.browser() as browser:
        answer = browser.get("/auth/login", params={"next": value})
        assert "x=1" not in str(answer.headers)
        form = form_token_of(answer)
        answer = browser.post("/auth/login", data={"username": "ada", "password": WORDS, "csrf": form, "next": value})
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
    parts = urlsplit(centre.url)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=30) as raw:
        raw.sendall(b"GET /auth/api/v1/user-info HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a\r\n b\r\n\r\n")
        assert raw.recv(65536).startswith(b"HTTP/1.1 4")


# -- the browser of somebody who is logged in --------------------------------------------------------------------------


def test_a_session_prepared_by_another_is_never_taken_over(centre: IdentityCentre) -> None:
    with centre.browser() as browser:
        prepared = new_secret(prefix="").text
        browser.cookies.set(COOKIE, prepared, domain="127.0.0.1")
        assert browser.get("/auth/api/v1/user-info").status_code == 401
        centre.log_in("ada", browser)
        mine = [c.value for c in browser.cookies.jar if c.name == COOKIE]
        assert prepared not in mine[-1:]
    assert (
        http.get(f"{centre.url}/auth/api/v1/user-info", headers={"cookie": f"{COOKIE}={prepared}"}).status_code == 401
    )


def test_logging_in_again_ends_the_session_before(centre: IdentityCentre) -> None:
    with centre.browser() as browser:
        centre.log_in("ada", browser)
        first = browser.cookies[COOKIE]
        form = form_token_of(browser.get("/auth/logout"))
        browser.post("/auth/login", data={"username": "eve", "password": WORDS, "csrf": form})
        assert browser.get("/auth/api/v1/user-info").json()["username"] == "eve"
    assert with_cookie(centre, first).status_code == 401


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(tmp_path: Path) -> None:
    with identity_centre(tmp_path) as centre, centre.browser() as browser:
        centre.user("ada")
        set_cookie = centre.log_in("ada", browser).headers["set-cookie"]
        assert re.fullmatch(rf"{COOKIE}=[0-9A-Za-z]{{65}}; HttpOnly; Max-Age=43200; Path=/; SameSite=lax", set_cookie)


def test_over_https_the_cookie_is_secure_and_bound_to_the_host(tmp_path: Path) -> None:
    (tmp_path / "https").mkdir()
    with identity_centre(tmp_path / "https", server='public_url: "https://dac.example.org"') as centre:
        centre.user("ada")
        with centre.browser() as browser:
            page = browser.get("/auth/login")
            cookies = {"cookie": page.headers["set-cookie"].partition(";")[0]}
            data = {"username": "ada", "password": WORDS, "csrf": form_token_of(page)}
            answer = http.post(f"{centre.url}/auth/login", data=data, headers=cookies)
    assert answer.status_code == 303
    assert answer.headers["set-cookie"].startswith(f"__Host-{COOKIE}=")
    assert answer.headers["set-cookie"].endswith("; HttpOnly; Max-Age=43200; Path=/; SameSite=lax; Secure")


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_a_page_of_another_site_changes_nothing_in_somebodys_name(
    centre: IdentityCentre, headers: dict[str, str]
) -> None:
    with centre.browser() as browser:
        centre.log_in("ada", browser)
        job = browser.post("/api/tap/async", data={"QUERY": PUBLIC}).headers["location"]
        form = form_token_of(browser.get("/auth/tokens"))
        for method, path, data in [
            ("POST", "/api/tap/async", {"QUERY": PUBLIC}),
            ("POST", "/api/tap/sync", {"QUERY": PUBLIC, "LANG": "ADQL"}),
            ("POST", f"{urlsplit(job).path}/phase", {"PHASE": "RUN"}),
            ("DELETE", urlsplit(job).path, None),
            ("POST", "/auth/tokens", {"name": "x", "scope": "read:tap", "csrf": form}),
        ]:
            refused = browser.request(method, path, data=data, headers=headers)
            assert refused.status_code == 403, path
            assert "A page of another site may not do this in your name." in refused.text
        assert browser.get(job).status_code == 200
        own = {"origin": centre.url, "sec-fetch-site": "same-origin"}
        assert browser.post(f"{job}/phase", data={"PHASE": "ABORT"}, headers=own).status_code == 303


def test_a_page_of_another_site_changes_nothing_by_a_password_that_a_browser_keeps(tmp_path: Path) -> None:
    with identity_centre(tmp_path, identity="basic_passwords: true") as centre:
        centre.user("boss", admin=True)
        centre.user("eve")
        freeze, body = f"{centre.url}/auth/api/v1/users/eve/freeze", '{"why": "because"}'
        for held in (WORDS, centre.token("boss", "admin").text):
            foreign = {"origin": "https://evil.example", "content-type": "text/plain"}
            refused = http.post(freeze, content=body, headers=foreign, auth=("boss", held))
            assert refused.status_code == 403
            assert refused.json()["error"]["message"] == (
                "A page of another site may not do this in your name. Given: https://evil.example. "
                f"Allowed: {centre.url}. Programs send a token, in the header Authorization: Bearer."
            )
            assert centre.administration.account("eve").frozen is None
        for own in ({}, {"origin": centre.url, "sec-fetch-site": "same-origin"}):
            assert http.post(freeze, content=body, headers=own, auth=("boss", WORDS)).status_code == 200


def test_who_is_known_by_a_password_is_told_no_token(tmp_path: Path) -> None:
    with identity_centre(tmp_path, identity="basic_passwords: true") as centre:
        centre.user("ada")
        told = http.get(f"{centre.url}/auth/api/v1/token-info", auth=("ada", WORDS)).json()
        assert (told["username"], told["token_type"], "token" in told) == ("ada", "session", False)


def test_a_password_that_was_changed_makes_no_token_however_soon(tmp_path: Path) -> None:
    with identity_centre(tmp_path, identity="basic_passwords: true", check_s=5.0) as centre:
        centre.user("ada")
        make = f"{centre.url}/auth/api/v1/tokens"
        assert http.post(make, json={"token_name": "first"}, auth=("ada", WORDS)).status_code == 201
        centre.administration.set_password("ada", WORDS * 2, actor="me")
        refused = http.post(make, json={"token_name": "second"}, auth=("ada", WORDS))
        assert refused.status_code == 401
        assert [token.name for token in centre.administration.tokens("ada")] == ["first"]
        assert http.post(make, json={"token_name": "third"}, auth=("ada", WORDS * 2)).status_code == 201


def test_nobody_is_logged_in_by_another_site(centre: IdentityCentre) -> None:
    with centre.browser() as victim, centre.browser() as attacker:
        foreign = form_token_of(attacker.get("/auth/login"))
        victim.get("/auth/login")
        refused = victim.post("/auth/login", data={"username": "eve", "password": WORDS, "csrf": foreign})
        assert refused.status_code == 403
        assert victim.get("/auth/api/v1/user-info").status_code == 401


@pytest.mark.parametrize(
    "given",
    [
        "https://evil.example/", "//evil.example", "/\\evil.example", "\\\\evil.example", "javascript:alert(1)",
        "/%0d%0aSet-Cookie:x=1\r\n", "/\t/evil.example", " /x", "", None, "evil", "/" + "x" * 3000, "/\u2028x",
        "/a\u202eb",
    ],
)  # fmt: skip
def test_after_log_in_nobody_is_sent_elsewhere(given: str | None) -> None:
    assert own_path(given) == "/"


def test_after_log_in_one_goes_on_where_one_was(centre: IdentityCentre) -> None:
    page = {"accept": "text/html,application/xhtml+xml"}
    with centre.browser() as browser:
        sent = browser.get("/auth/tokens?x=1", headers=page)
        assert (sent.status_code, sent.headers["location"]) == (303, "/auth/login?next=%2Fauth%2Ftokens%3Fx%3D1")
        login = browser.get(sent.headers["location"])
        data = {"username": "ada", "password": WORDS, "csrf": form_token_of(login), "next": "/auth/tokens?x=1"}
        assert browser.post("/auth/login", data=data).headers["location"] == "/auth/tokens?x=1"


def test_a_link_is_used_by_a_button_and_not_by_looking_at_it(centre: IdentityCentre) -> None:
    link = centre.administration.log_in_link("ada", actor="me")
    with centre.browser() as browser:
        for _ in range(3):
            page = browser.get("/auth/login", params={"link": link.text})
            assert page.status_code == 200
        data = {"link": link.text, "csrf": form_token_of(page)}
        assert browser.post("/auth/login", data=data).status_code == 303
        assert browser.get("/auth/api/v1/user-info").json()["username"] == "ada"
        again = {"link": link.text, "csrf": form_token_of(browser.get("/auth/logout"))}
        assert browser.post("/auth/login", data=again).status_code == 401


def test_pages_of_log_in_can_be_framed_and_kept_by_nobody(centre: IdentityCentre) -> None:
    headers = http.get(f"{centre.url}/auth/login").headers
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "default-src 'none'" in headers["content-security-policy"]
    assert (headers["cache-control"], headers["referrer-policy"]) == ("no-store", "same-origin")
    assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "'; DROP TABLE x; --"])
def test_names_of_tokens_are_text_in_pages_and_in_the_database(centre: IdentityCentre, name: str) -> None:
    with centre.browser() as browser:
        centre.log_in("eve", browser)
        form = form_token_of(browser.get("/auth/tokens"))
        page = browser.post("/auth/tokens", data={"name": name, "scope": "read:tap", "csrf": form})
        assert page.status_code == 200
        assert name not in page.text or "<" not in name
        api = browser.get("/auth/api/v1/tokens").json()
        assert name in {token["token_name"] for token in api}


# -- what nobody may learn, and what happens when nobody knows ---------------------------------------------------------


def test_no_secret_is_in_any_log(
    centre: IdentityCentre, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    token, unknown = centre.token("ada").text, new_secret().text
    link = centre.administration.log_in_link("ada", actor="me").text
    with centre.browser() as browser:
        centre.query(RESTRICTED, token)
        centre.query("SELECT nope FROM dp1.object", token)
        centre.query(RESTRICTED, unknown)
        browser.get("/auth/login", params={"link": link})
        browser.get(f"/api/tap/tables?token={token}")
        centre.log_in("ada", browser)
        session = browser.cookies[COOKIE]
    told = "\n".join(f"{r.getMessage()} {vars(r)}" for r in caplog.records if not r.name.startswith("http"))
    printed = capfd.readouterr()
    for secret in (token, unknown, link, session, WORDS):
        assert secret not in told + printed.out + printed.err
    assert WORDS not in str(list(centre.administration.store.iter_audit()))


@pytest.mark.parametrize("kind", ["bearer", "cookie"])
def test_while_the_state_database_is_away_nobody_is_taken_for_anybody(tmp_path: Path, kind: str) -> None:
    with identity_centre(tmp_path) as centre, centre.browser() as browser:
        centre.user("ada", right=True)
        token = centre.token("ada").text
        centre.log_in("ada", browser)
        headers = {"authorization": f"Bearer {token}"} if kind == "bearer" else {}
        cookie = {"cookie": f"{COOKIE}={browser.cookies[COOKIE]}"} if kind == "cookie" else {}
        database = centre.folder / "state.db"
        kept = database.rename(centre.folder / "elsewhere.db")
        for suffix in ("-wal", "-shm"):
            Path(f"{database}{suffix}").unlink(missing_ok=True)
        database.mkdir()
        for path in ("/api/tap/tables", "/auth/api/v1/user-info", "/"):
            answer = http.get(f"{centre.url}{path}", headers={**headers, **cookie})
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5"), path
            assert "The state database does not answer." in answer.text
            assert "x-vo-authenticated" not in answer.headers
        database.rmdir()
        kept.rename(database)


def test_the_state_database_says_that_it_is_away(tmp_path: Path) -> None:
    gone = open_database("postgresql://nobody@127.0.0.1:1/nothing")
    with pytest.raises(StoreUnavailable), gone.read():
        pass
    gone.close()
