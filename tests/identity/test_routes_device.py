"""Device authorisation over HTTP: the words of the RFCs for programs, and a page that only its own form decides on."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import httpx
import pytest

from identity_centre import RESTRICTED, IdentityCentre, form_token_of, identity_centre
from services import http

GRANT = "urn:ietf:params:oauth:grant-type:device_code"
PERSON = {"accept": "text/html,application/xhtml+xml"}


@pytest.fixture(scope="module")
def centre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IdentityCentre]:
    with identity_centre(tmp_path_factory.mktemp("centre")) as served:
        served.user("ada", right=True)
        yield served


def begin(centre: IdentityCentre, **form: str) -> httpx.Response:
    return http.post(f"{centre.url}/auth/device", data={"client_id": "idac", **form})


def ask(centre: IdentityCentre, **form: str) -> httpx.Response:
    return http.post(f"{centre.url}/auth/token", data={"grant_type": GRANT, "client_id": "idac", **form})


def test_programs_find_all_addresses_and_follow_them_to_a_token(centre: IdentityCentre) -> None:
    known = http.get(f"{centre.url}/.well-known/oauth-authorization-server").json()
    assert known == {
        "issuer": centre.url,
        "device_authorization_endpoint": f"{centre.url}/auth/device",
        "token_endpoint": f"{centre.url}/auth/token",
        "token_endpoint_auth_methods_supported": ["none"],
        "revocation_endpoint": f"{centre.url}/auth/revoke",
        "revocation_endpoint_auth_methods_supported": ["none"],
        "grant_types_supported": [GRANT],
        "response_types_supported": [],
        "scopes_supported": ["read:tap", "user:token", "user:groups", "admin"],
    }
    answer = begin(centre, device_name="laptop")
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    told = answer.json()
    code = told["user_code"]
    assert {key: told[key] for key in told if key not in ("user_code", "device_code")} == {
        "verification_uri": f"{centre.url}/auth/code",
        "verification_uri_complete": f"{centre.url}/auth/code?user_code={code}",
        "expires_in": 900,
        "interval": 5,
    }
    with centre.browser() as browser:
        first = browser.get(f"/auth/code?user_code={code}", headers=PERSON)
        assert (first.status_code, first.headers["location"]) == (
            303,
            f"/auth/login?next={quote(f'/auth/code?user_code={code}', safe='')}",
        )
        centre.log_in("ada", browser)
        page = browser.get(f"/auth/code?user_code={code}")
        for words in (
            "in the name of <strong>ada</strong>, for 90 days:",
            "<li>Query tables</li></ul>",
            f"<code><strong>{code}</strong></code>",
            "<dd>laptop, as it says itself</dd>",
            "<dd>127.0.0.1, which is your own address too</dd>",
        ):
            assert words in page.text
        form = {"user_code": code, "decision": "allow", "csrf": form_token_of(page)}
        assert "can go back to your terminal" in browser.post("/auth/code", data=form).text
        again = browser.post("/auth/code", data=form)
        assert (again.status_code, "No program waits with this code." in again.text) == (404, True)
    got = ask(centre, device_code=told["device_code"])
    assert (got.status_code, got.headers["cache-control"]) == (200, "no-store")
    token = got.json()
    assert {key: token[key] for key in token if key != "access_token"} == {
        "token_type": "Bearer",
        "expires_in": 90 * 86400,
        "scope": "read:tap",
    }
    assert centre.query(RESTRICTED, token["access_token"]).status_code == 200
    revoked = http.post(f"{centre.url}/auth/revoke", data={"token": token["access_token"]})
    assert (revoked.status_code, revoked.content) == (200, b"")
    assert centre.query(RESTRICTED, token["access_token"]).status_code == 401


@pytest.mark.parametrize(
    ("path", "form", "word"),
    [
        ("device", {}, "invalid_request"),
        ("device", {"client_id": "phish"}, "invalid_client"),
        ("device", {"client_id": "idac", "scope": "read:all"}, "invalid_scope"),
        ("device", {"client_id": ["idac", "other"]}, "invalid_request"),
        ("token", {}, "invalid_request"),
        ("token", {"grant_type": "password", "username": "ada"}, "unsupported_grant_type"),
        ("token", {"grant_type": GRANT, "client_id": "idac"}, "invalid_request"),
        ("token", {"grant_type": GRANT, "device_code": "x"}, "invalid_request"),
        ("token", {"grant_type": GRANT, "client_id": "phish", "device_code": "x"}, "invalid_client"),
        ("token", {"grant_type": GRANT, "client_id": "idac", "device_code": "x"}, "invalid_grant"),
        ("token", {"grant_type": GRANT, "client_id": "idac", "device_code": "' OR 1=1 --"}, "invalid_grant"),
        ("revoke", {}, "invalid_request"),
    ],
)
def test_what_is_wrong_is_said_in_the_words_of_the_rfcs(
    centre: IdentityCentre, path: str, form: dict[str, str], word: str
) -> None:
    answer = http.post(f"{centre.url}/auth/{path}", data=form)
    assert (answer.status_code, answer.json()["error"], answer.headers["cache-control"]) == (400, word, "no-store")
    assert answer.json()["error_description"]


def test_secrets_are_not_taken_from_addresses_which_are_written_into_logs(centre: IdentityCentre) -> None:
    answer = http.post(f"{centre.url}/auth/token?device_code=x", data={"grant_type": GRANT, "client_id": "idac"})
    assert answer.json() == {
        "error": "invalid_request",
        "error_description": "Addresses are written into logs. Allowed: a form in the body.",
    }
    large = http.post(f"{centre.url}/auth/token", data={"grant_type": "x" * 20_000})
    assert large.status_code == 413


def test_a_program_that_hurries_is_slowed_and_an_unknown_one_stopped(centre: IdentityCentre) -> None:
    code = begin(centre).json()["device_code"]
    assert [ask(centre, device_code=code).json()["error"] for _ in range(3)] == [
        "authorization_pending",
        "slow_down",
        "slow_down",
    ]


def test_guessing_is_answered_with_how_long_to_wait(tmp_path_factory: pytest.TempPathFactory) -> None:
    with identity_centre(tmp_path_factory.mktemp("few"), identity="guess_window_s: 3600", guesses_per_address=3) as few:
        for _ in range(3):
            assert ask(few, device_code="x").json()["error"] == "invalid_grant"
        stopped = ask(few, device_code="x")
        assert (stopped.status_code, stopped.json()["error"]) == (429, "slow_down")
        assert 0 < int(stopped.headers["retry-after"]) <= 3600


def test_a_centre_lets_no_program_in_that_it_does_not_name(tmp_path_factory: pytest.TempPathFactory) -> None:
    with identity_centre(tmp_path_factory.mktemp("none"), identity="device_clients: {}") as closed:
        assert begin(closed).json()["error"] == "invalid_client"
        known = http.get(f"{closed.url}/.well-known/oauth-authorization-server").json()
        assert known["grant_types_supported"] == []


def test_no_token_and_no_other_site_decides_on_a_code(centre: IdentityCentre) -> None:
    code = begin(centre).json()["user_code"]
    bearer = {"authorization": f"Bearer {centre.token('ada', 'read:tap', 'user:token').text}"}
    assert http.get(f"{centre.url}/auth/code", params={"user_code": code}, headers=bearer).status_code == 403
    with centre.browser() as browser:
        centre.log_in("ada", browser)
        page = browser.get("/auth/code", params={"user_code": code})
        assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
        assert page.headers["cache-control"] == "no-store"
        form = {"user_code": code, "decision": "allow"}
        assert browser.post("/auth/code", data=form).status_code == 403
        right = {**form, "csrf": form_token_of(page)}
        for foreign in ({"origin": "https://evil.example.org"}, {"sec-fetch-site": "cross-site"}):
            assert browser.post("/auth/code", data=right, headers=foreign).status_code == 403
        assert "can go back" in browser.post("/auth/code", data=right).text


def test_what_a_program_calls_itself_is_text_and_no_markup(centre: IdentityCentre) -> None:
    code = begin(centre, device_name="<script>alert(1)</script>").json()["user_code"]
    with centre.browser() as browser:
        centre.log_in("ada", browser)
        page = browser.get("/auth/code", params={"user_code": code})
        assert "<script" not in page.text
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page.text
        wrong = browser.get("/auth/code", params={"user_code": "<b>"})
        assert (wrong.status_code, "<b>" in wrong.text) == (400, False)
