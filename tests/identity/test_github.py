"""The log-in by GitHub, at a server of its shape: organisations and teams are groups, and numbers are people."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from idac.core.errors import BadConfiguration
from idac.core.loading import load_settings
from idac.identity.github import GitHubProvider
from idac.identity.settings import GitHubSettings
from idac.wiring.settings import DacSettings
from identity_centre import IdentityCentre, identity_centre
from identity_clock import Clock
from services import http
from services.github_server import GitHubServer
from services.http_server import serving

OCTOCAT = {"login": "Octo-Cat", "id": 583231, "name": "The Octocat", "email": "octocat@example.org"}
SECRET = "a secret & more"  # noqa: S105


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[IdentityCentre, GitHubServer]]:
    folder = tmp_path_factory.mktemp("centre")
    (folder / "secrets").mkdir()
    (folder / "secrets" / "github").write_text(SECRET)
    (folder / "secrets" / "github").chmod(0o600)
    server = GitHubServer("Iv1.0123", SECRET)
    with serving(server.app()) as address:
        github = {
            "title": "GitHub", "address": f"{address}/", "client_id": "Iv1.0123", "client_secret": {"secret": "github"},
            "groups": {"My-Survey/dp1": "dp1-team"}, "group_prefix": "gh-", "admin_groups": ["My-Survey/operators"],
        }  # fmt: skip
        with identity_centre(folder, identity=f"github: {json.dumps({'gh': github})}") as centre:
            server.redirect_uri = f"{centre.url}/auth/login/gh/callback"
            yield centre, server


@pytest.fixture
def centre(running: tuple[IdentityCentre, GitHubServer]) -> IdentityCentre:
    return running[0]


@pytest.fixture
def server(running: tuple[IdentityCentre, GitHubServer]) -> GitHubServer:
    """As it is before a test wants something else of it."""
    server = running[1]
    server.person, server.organisations, server.teams, server.scope = OCTOCAT, (), (), "read:org"
    server.client_secret = SECRET
    return server


def returned(browser: httpx.Client) -> str:
    """The address that GitHub sends the browser back to."""
    begun = browser.get("/auth/login/gh", params={"next": "/auth/tokens"}).headers["location"]
    return http.get(begun).headers["location"]


def user_info(browser: httpx.Client) -> dict[str, Any]:
    found: dict[str, Any] = browser.get("/auth/api/v1/user-info").json()
    return found


def groups(browser: httpx.Client) -> set[str]:
    found = user_info(browser)
    return {group["name"] for group in found["groups"]} - {found["username"]}


def refused(answer: httpx.Response, words: str, status: int = 401) -> None:
    assert (answer.status_code, words in unescape(answer.text)) == (status, True), answer.text
    assert "session=" not in answer.headers.get("set-cookie", "")


def test_organisations_and_teams_are_groups(centre: IdentityCentre, server: GitHubServer) -> None:
    server.organisations = ("My-Survey", "other")
    server.teams = (("My-Survey", "dp1"), ("other", "dp1"), ("My-Survey", "operators"))
    with centre.browser() as browser:
        assert ">Log in with GitHub</a>" in browser.get("/auth/login").text
        answer = browser.get(returned(browser))
        assert (answer.status_code, answer.headers["location"]) == (303, "/auth/tokens")
        found = user_info(browser)
        assert (found["username"], found["name"], found["email"]) == ("octo-cat", "The Octocat", "octocat@example.org")
        assert groups(browser) == {"dp1-team", "gh-other"}
        assert browser.get("/auth/api/v1/users").status_code == 200
        server.organisations, server.teams = (), ()
        browser.cookies.clear()
        browser.get(returned(browser))
        assert groups(browser) == set()
        assert browser.get("/auth/api/v1/users").status_code == 403


def test_somebody_in_hundreds_of_teams_keeps_them_all(centre: IdentityCentre, server: GitHubServer) -> None:
    server.organisations = [f"o{number}" for number in range(100)]
    server.teams = [("x", str(number)) for number in range(230)] + [("My-Survey", "dp1")]
    with centre.browser() as browser:
        browser.get(returned(browser))
        assert groups(browser) == {"dp1-team", *(f"gh-o{number}" for number in range(100))}


def test_people_are_their_numbers_and_not_their_names(centre: IdentityCentre, server: GitHubServer) -> None:
    with centre.browser() as browser:
        browser.get(returned(browser))
        name = user_info(browser)["username"]
        server.person = {**OCTOCAT, "login": "renamed"}
        browser.get(returned(browser))
        assert user_info(browser)["username"] == name
        server.person = {**OCTOCAT, "id": 1}
        browser.get(returned(browser))
        assert user_info(browser)["username"] == f"{name}-2"
        for number in ("583231", None, True, 1.5):
            server.person = {**OCTOCAT, "id": number}
            refused(browser.get(returned(browser)), "The answer of GitHub can't be believed. Given: it names nobody.")


def test_a_code_is_good_once_and_for_the_browser_that_asked_for_it(
    centre: IdentityCentre, server: GitHubServer
) -> None:
    with centre.browser() as browser, centre.browser() as other:
        back = returned(browser)
        refused(other.get(back), "This log-in was not begun in this browser")
        assert browser.get(back).status_code == 303
        refused(browser.get(back), "This log-in was not begun in this browser")
        # Somebody else's code, in a log-in of one's own: PKCE tells.
        code = parse_qs(urlsplit(returned(other)).query)["code"][0]
        state = parse_qs(urlsplit(returned(browser)).query)["state"][0]
        mixed = browser.get("/auth/login/gh/callback", params={"code": code, "state": state})
        refused(mixed, "The answer of GitHub can't be believed. Given: it refused the code.")


def test_whoever_says_no_there_is_not_logged_in_here(centre: IdentityCentre, server: GitHubServer) -> None:
    with centre.browser() as browser:
        state = parse_qs(urlsplit(returned(browser)).query)["state"][0]
        answer = browser.get("/auth/login/gh/callback", params={"error": "access_denied", "state": state})
        refused(answer, "GitHub did not log you in. Given: access_denied. Try again, or log in another way.")


def test_teams_that_may_not_be_seen_are_not_taken_for_none(centre: IdentityCentre, server: GitHubServer) -> None:
    server.scope = ""
    with centre.browser() as browser:
        refused(
            browser.get(returned(browser)),
            "The identity provider does not answer as it should. Given: status 403.",
            503,
        )


def test_a_wrong_secret_is_told_to_nobody_but_the_log(
    centre: IdentityCentre, server: GitHubServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.client_secret = "another"  # noqa: S105
    with centre.browser() as browser:
        refused(browser.get(returned(browser)), "The answer of GitHub can't be believed. Given: it refused the code.")
    assert [record.error for record in caplog.records if hasattr(record, "error")] == ["incorrect_client_credentials"]
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    ("more", "api"),
    [
        ({}, "https://api.github.com"),
        ({"address": "https://git.example.org/"}, "https://git.example.org/api/v3"),
        ({"address": "https://git.example.org", "api": "https://api.example.org/"}, "https://api.example.org"),
    ],
)
def test_the_api_is_where_each_kind_of_server_has_it(more: dict[str, str], api: str) -> None:
    settings = GitHubSettings.model_validate({"client_id": "x", "client_secret": {"secret": "github"}, **more})
    assert GitHubProvider("gh", settings, SECRET, Clock())._api == api


def test_a_name_is_given_once(tmp_path: Path) -> None:
    github = {"client_id": "x", "client_secret": {"secret": "github"}}
    sso = {"client_id": "x", "issuer": "https://sso.example.org"}
    both = {"providers": {"sso": sso}, "github": {"sso": github}}
    (tmp_path / "dac.yaml").write_text(f"identity: {json.dumps(both)}\n")
    with pytest.raises(BadConfiguration, match="must have each provider's name once: sso"):
        load_settings(DacSettings, tmp_path / "dac.yaml")
    (tmp_path / "dac.yaml").write_text("identity: {github: {gh: {client_id: x}}}\n")
    with pytest.raises(BadConfiguration, match=r"identity.github.gh.client_secret is missing."):
        load_settings(DacSettings, tmp_path / "dac.yaml")
