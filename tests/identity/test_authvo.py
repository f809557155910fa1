"""Programs that log in as AuthVO has it, with a password or with a token in its place."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from identity_centre import ME, RESTRICTED, WORDS, IdentityCentre, identity_centre
from services import http
from services.authvo_client import AuthVoClient, authvo_client

SCHEMES = ["basic", "ivoa_bearer", "ivoa_cookie"]


@pytest.fixture(scope="module")
def centre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IdentityCentre]:
    with identity_centre(tmp_path_factory.mktemp("centre"), identity="basic_passwords: true") as served:
        served.user("ada", right=True, admin=True)
        yield served


@pytest.fixture
def program(centre: IdentityCentre) -> Iterator[AuthVoClient]:
    made = authvo_client(centre.url)
    with made.web:
        yield made


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_program_logs_in_by_whichever_way_it_knows(program: AuthVoClient, scheme: str) -> None:
    assert program.query(RESTRICTED).status_code == 401
    assert program.log_in(scheme, "ada", WORDS) == "ada"
    answer = program.query(RESTRICTED)
    assert (answer.status_code, answer.headers["x-vo-authenticated"]) == (200, "ada")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_token_stands_for_the_password_and_opens_no_more_than_it_does(
    centre: IdentityCentre, program: AuthVoClient, scheme: str
) -> None:
    token = centre.token("ada", "read:tap", "user:token")
    assert program.log_in(scheme, "anyone", token.text) == "ada"
    assert program.query(RESTRICTED).status_code == 200
    assert program.get("/auth/api/v1/token-info").json()["scopes"] == ["read:tap", "user:token"]
    assert program.get("/auth/api/v1/users").status_code == 403  # ada is an administrator, the token is not for that
    centre.administration.revoke(token.key, actor=ME)
    assert program.query(RESTRICTED).status_code == 401


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_wrong_password_or_token_logs_nobody_in(program: AuthVoClient, scheme: str) -> None:
    for wrong in ("wrong horse battery", "idac_" + "0" * 65, "idac_"):
        assert program.log_in(scheme, "ada", wrong) is None


@pytest.mark.parametrize("path", ["bearer", "cookie"])
def test_a_page_of_a_browser_can_log_nobody_in_where_programs_do(centre: IdentityCentre, path: str) -> None:
    sent = {"username": "ada", "password": centre.token("ada").text}
    for header in ({"origin": "https://evil.example.org"}, {"sec-fetch-site": "cross-site"}):
        answer = http.post(f"{centre.url}/auth/ivoa/{path}", data=sent, headers=header)
        assert answer.status_code == 401
        assert "set-cookie" not in answer.headers


def test_a_cookie_with_a_token_is_nothing_to_pages_of_other_sites(
    centre: IdentityCentre, program: AuthVoClient
) -> None:
    program.log_in("ivoa_cookie", "ada", centre.token("ada", "user:token").text)
    answer = program.web.post(
        "/auth/api/v1/tokens", json={"token_name": "theirs"}, headers={"origin": "https://evil.example.org"}
    )
    assert answer.status_code == 403
