"""The whole log-in at a real OpenID Connect provider, as a browser goes through it, and what people try on the way."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest

from idac.identity import oidc
from identity_centre import ME, RESTRICTED, IdentityCentre, form_token_of, identity_centre
from services import http
from services.oidc_provider import OidcProvider, log_in_there, running

#: CILogon's client identifiers look like this one; with the secret's letters it tells whether both are encoded.
CLIENT = {"client_id": "cilogon:/client_id/1", "client_secret": "a secret: 100 % & more"}
PEOPLE: dict[str, dict[str, Any]] = {
    "248289761001": {
        "preferred_username": "Grace.Hopper", "name": "Grace Hopper", "email": "grace@example.org",
        "email_verified": True, "groups": ["/lsst/dp1", "/staff", "Odd Name"], "data_rights": "dp0.2 dp1",
    },
    "1815": {"preferred_username": "ada", "name": "Ada L.", "email": "ada@example.org", "email_verified": False},
}  # fmt: skip


def provider_settings(provider: OidcProvider, **more: Any) -> dict[str, Any]:
    return {
        "issuer": provider.issuer,
        "client_id": CLIENT["client_id"],
        "client_secret": {"secret": "sso-client"},
        "scopes": ["openid", "profile", "email", "groups"],
        "claims": {"groups": ["groups", "data_rights"]},
        **more,
    }


def write_secret(folder: Path) -> None:
    (folder / "secrets").mkdir()
    (folder / "secrets" / "sso-client").write_text(CLIENT["client_secret"] + "\n")
    (folder / "secrets" / "sso-client").chmod(0o600)


@pytest.fixture(scope="module")
def sso() -> OidcProvider:
    return OidcProvider(PEOPLE, CLIENT)


@pytest.fixture(scope="module")
def other() -> OidcProvider:
    """Another institute's, which has all claims in its tokens, and signs them with Ed25519."""
    return OidcProvider(PEOPLE, CLIENT, claims_in_token=True, algorithm="EdDSA")


@pytest.fixture(scope="module", autouse=True)
def _new_keys_are_looked_for_at_once() -> Iterator[None]:
    """How seldom they are is in test_forged_log_ins.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(oidc, "LOOK_AGAIN_S", 0.0)
        yield


@contextmanager
def restarted(provider: OidcProvider, callback: str, people: dict[str, dict[str, Any]]) -> Iterator[None]:
    """The provider with other keys, and other claims about people, in the block."""
    before = provider.people
    _restart(provider, callback, people)
    try:
        yield
    finally:
        _restart(provider, callback, before)


def _restart(provider: OidcProvider, callback: str, people: Mapping[str, Mapping[str, Any]]) -> None:
    provider.stop()
    provider.people = people
    provider.start(callback)


@pytest.fixture(scope="module")
def centre(
    tmp_path_factory: pytest.TempPathFactory, sso: OidcProvider, other: OidcProvider
) -> Iterator[IdentityCentre]:
    folder = tmp_path_factory.mktemp("centre")
    write_secret(folder)
    mapped = {"/lsst/dp1": "dp1-team", "dp1": "dp1-rights"}
    providers = {
        "sso": provider_settings(sso, title="The <Institute>", groups=mapped, group_prefix="sso-"),
        "other": provider_settings(other, groups=mapped, admin_groups=["/staff"]),
        "invited": provider_settings(OidcProvider(PEOPLE, CLIENT), allow={"new_accounts": False}),
    }
    with (
        identity_centre(folder, identity=f"providers: {json.dumps(providers)}") as served,
        running(sso, f"{served.url}/auth/login/sso/callback"),
        running(other, f"{served.url}/auth/login/other/callback"),
    ):
        yield served


def begun(browser: httpx.Client, name: str = "sso", next_path: str = "/auth/tokens") -> str:
    """The provider's address that the button leads to."""
    answer = browser.get(f"/auth/login/{name}", params={"next": next_path})
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


def returned(browser: httpx.Client, who: str, name: str = "sso", next_path: str = "/auth/tokens") -> str:
    """The address that the provider sends the browser back to, not yet gone to."""
    return log_in_there(browser, begun(browser, name, next_path), who)


def changed(url: str, **parameters: str | None) -> str:
    """*url* with other parameters, or without those that are None."""
    query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()} | parameters
    kept = {name: value for name, value in query.items() if value is not None}
    return urlsplit(url)._replace(query=urlencode(kept)).geturl()


def user_info(browser: httpx.Client) -> dict[str, Any]:
    found: dict[str, Any] = browser.get("/auth/api/v1/user-info").json()
    return found


def refused(answer: httpx.Response, words: str, status: int = 401) -> None:
    assert (answer.status_code, words in unescape(answer.text)) == (status, True), answer.text
    assert "session=" not in answer.headers.get("set-cookie", "")


# -- the way in --------------------------------------------------------------------------------------------------------


def test_a_log_in_at_a_provider_makes_an_account_with_name_and_groups(centre: IdentityCentre) -> None:
    centre.administration.add_group("dp1-team", actor=ME)
    centre.administration.grant("dp1-team", "dp1", actor=ME)
    with centre.browser() as browser:
        page = browser.get("/auth/login", params={"next": "/auth/tokens"}).text
        assert 'href="/auth/login/sso?next=%2Fauth%2Ftokens">Log in with The &lt;Institute&gt;</a>' in page
        assert 'href="/auth/login/other?next=%2Fauth%2Ftokens">Log in with other</a>' in page
        answer = browser.get(returned(browser, "248289761001"))
        assert (answer.status_code, answer.headers["location"]) == (303, "/auth/tokens")
        found = user_info(browser)
        assert (found["username"], found["name"], found["email"]) == (
            "grace-hopper", "Grace Hopper", "grace@example.org",
        )  # fmt: skip
        groups = {group["name"] for group in found["groups"]}
        assert groups == {"grace-hopper", "dp1-team", "dp1-rights", "sso-staff"}
        assert found["data_rights"] == ["dp1"]
        assert browser.get("/api/tap/sync", params={"LANG": "ADQL", "QUERY": RESTRICTED}).status_code == 200
        again = browser.get(returned(browser, "248289761001"))
        assert again.status_code == 303
        assert user_info(browser)["uid"] == found["uid"]


def test_claims_may_all_be_in_the_token_and_unverified_addresses_are_left_out(centre: IdentityCentre) -> None:
    with centre.browser() as browser:
        browser.get(returned(browser, "1815", "other"))
        found = user_info(browser)
        assert (found["username"], found["name"], found.get("email")) == ("ada", "Ada L.", None)


def test_the_request_to_the_provider_is_all_that_it_should_be(centre: IdentityCentre, sso: OidcProvider) -> None:
    with centre.browser() as browser:
        url = begun(browser)
        cookie = browser.get("/auth/login/sso").headers["set-cookie"]
    sent = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    assert url.startswith(f"{sso.issuer}/auth?")
    random = {name: len(sent.pop(name)) for name in ("state", "nonce", "code_challenge")}
    assert random == {"state": 22, "nonce": 43, "code_challenge": 43}
    assert sent == {
        "response_type": "code", "client_id": CLIENT["client_id"], "scope": "openid profile email groups",
        "redirect_uri": f"{centre.url}/auth/login/sso/callback", "code_challenge_method": "S256",
    }  # fmt: skip
    assert cookie.startswith("idac-dac-flow=")
    assert cookie.endswith("; HttpOnly; Max-Age=600; Path=/; SameSite=lax")


@pytest.mark.parametrize(
    "place", ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)", "/a\nb", "evil", ""]
)
def test_nobody_is_led_off_this_site_after_the_log_in(centre: IdentityCentre, place: str) -> None:
    with centre.browser() as browser:
        answer = browser.get(returned(browser, "1815", "other", place))
        assert (answer.status_code, answer.headers["location"]) == (303, "/")


def test_groups_from_claims_are_made_anew_at_each_log_in_and_keys_may_change(
    centre: IdentityCentre, sso: OidcProvider
) -> None:
    callback = f"{centre.url}/auth/login/sso/callback"
    with centre.browser() as browser:
        browser.get(returned(browser, "248289761001"))
        name = user_info(browser)["username"]
        centre.administration.add_group("by-hand", actor=ME)
        centre.administration.add_members("by-hand", [name], actor=ME)
    with restarted(sso, callback, {"248289761001": {"name": "Grace", "groups": ["/new"]}}), centre.browser() as browser:
        assert browser.get(returned(browser, "248289761001")).status_code == 303
        found = user_info(browser)
        assert {group["name"] for group in found["groups"]} == {name, "by-hand", "sso-new"}
        assert found["data_rights"] == []


def test_administrators_by_claim_are_that_until_the_claim_ends(centre: IdentityCentre, other: OidcProvider) -> None:
    with centre.browser() as browser:
        browser.get(returned(browser, "248289761001", "other"))
        name = user_info(browser)["username"]
        assert browser.get("/auth/api/v1/users").status_code == 200
        browser.cookies.clear()
        callback = f"{centre.url}/auth/login/other/callback"
        with restarted(other, callback, {"248289761001": {"groups": ["/users"]}}):
            browser.get(returned(browser, "248289761001", "other"))
        assert user_info(browser)["username"] == name
        assert browser.get("/auth/api/v1/users").status_code == 403


# -- what people try ---------------------------------------------------------------------------------------------------


def test_a_return_is_good_once(centre: IdentityCentre) -> None:
    with centre.browser() as browser:
        back = returned(browser, "1815")
        assert browser.get(back).status_code == 303
        refused(browser.get(back), "This log-in was not begun in this browser, or is over already.")


def test_a_code_is_good_once_even_in_a_log_in_of_its_own(centre: IdentityCentre) -> None:
    with centre.browser() as browser:
        used = returned(browser, "1815")
        browser.get(used)
        browser.cookies.clear()
        state = parse_qs(urlsplit(begun(browser)).query)["state"][0]
        refused(browser.get(changed(used, state=state)), "it refused the code")


@pytest.mark.parametrize("state", ["0" * 22, "", None, "x' OR 1=1 --"])
def test_a_state_that_is_not_the_browsers_own_is_refused(centre: IdentityCentre, state: str | None) -> None:
    with centre.browser() as browser:
        refused(browser.get(changed(returned(browser, "1815"), state=state)), "was not begun in this browser")


def test_another_browser_can_not_finish_a_log_in(centre: IdentityCentre) -> None:
    with centre.browser() as victim, centre.browser() as attacker:
        back = returned(attacker, "1815")
        refused(victim.get(back), "was not begun in this browser")
        begun(victim)
        refused(victim.get(back), "was not begun in this browser")
        assert attacker.get(back).status_code == 303


def test_one_providers_answer_is_not_taken_for_anothers(centre: IdentityCentre, other: OidcProvider) -> None:
    with centre.browser() as browser:
        back = returned(browser, "1815")
        refused(browser.get(back.replace("/login/sso/", "/login/other/")), "was not begun in this browser")
    for issuer in (other.issuer, None, "", "x"):
        with centre.browser() as browser:
            back = changed(returned(browser, "1815"), iss=issuer)
            refused(browser.get(back), "The answer of The <Institute> can't be believed. "
                                       "Given: the answer comes from another provider.")  # fmt: skip


def test_parameters_that_come_twice_are_refused(centre: IdentityCentre) -> None:
    with centre.browser() as browser:
        refused(browser.get(returned(browser, "1815") + "&code=other"), "The answer of the provider can't be read.")


def test_a_provider_that_refuses_is_told_in_its_word_alone(centre: IdentityCentre) -> None:
    for said, shown in (("access_denied", "access_denied"), ("<b>", "error"), ("x" * 50, "error")):
        with centre.browser() as browser:
            back = changed(returned(browser, "1815"), code=None, error=said, error_description="Call 0900 123")
            answer = browser.get(back)
            refused(answer, f"The <Institute> did not log you in. Given: {shown}. Try again, or log in another way.")
            assert "0900" not in answer.text


def test_a_provider_that_is_away_is_told_and_the_other_ways_stay(centre: IdentityCentre) -> None:
    with centre.browser() as browser:
        answer = browser.get("/auth/login/invited")
        refused(answer, "The identity provider does not answer as it should. Given: no connection.", 503)
        assert 'name="password"' in answer.text
        missing = browser.get("/auth/login/nobody")
        assert missing.status_code == 404
        assert (
            "There is no identity provider of this name. Given: nobody. Allowed: invited, other, sso." in missing.text
        )


def test_a_frozen_account_does_not_come_in_by_its_provider(centre: IdentityCentre) -> None:
    with centre.browser() as browser:
        browser.get(returned(browser, "1815"))
        name = user_info(browser)["username"]
        centre.administration.freeze(name, "a test", actor=ME)
        browser.cookies.clear()
        refused(browser.get(returned(browser, "1815")), "This account is frozen.", 403)
    centre.administration.unfreeze(name, actor=ME)


def test_refused_log_ins_are_written_down_in_passing(centre: IdentityCentre) -> None:
    centre.ledger.flush()
    with centre.browser() as browser:
        for _ in range(3):
            browser.get("/auth/login/sso/callback")
    centre.ledger.flush()
    entries = list(centre.administration.store.iter_audit(actions=["login refused"]))
    why = "This log-in was not begun in this browser, or is over already."
    found = [entry for entry in entries if entry.detail["why"] == why]
    # As many requests in a second are one entry, so that nobody fills the log by them.
    assert sum(int(str(entry.detail["times"])) for entry in found) >= 3
    assert (found[-1].actor, found[-1].subject, found[-1].address) == ("anonymous", None, "127.0.0.1")
    assert found[-1].detail["how"] == "sso"
    frozen = [entry for entry in entries if entry.detail["why"] == "This account is frozen."]
    assert {entry.actor for entry in frozen} == {"anonymous"}  # whoever has the account's identity was not let in
    assert None not in {entry.subject for entry in frozen}


# -- further identities ------------------------------------------------------------------------------------------------


def linked(browser: httpx.Client, who: str, name: str = "sso") -> httpx.Response:
    """The answer to the return of somebody who links a further identity."""
    form = form_token_of(browser.get("/auth/identities"))
    page = browser.post(f"/auth/identities/{name}", data={"csrf": form})
    assert page.status_code == 200, page.text
    pause, _, url = page.headers["refresh"].partition("; url=")
    assert pause == "0"
    return browser.get(log_in_there(browser, url, who))


def test_somebody_who_is_logged_in_links_a_further_identity(tmp_path: Path) -> None:
    people = {"alan": {"preferred_username": "turing", "groups": ["/lsst/dp1"]}}
    with identity_with(tmp_path, people, allow={"new_accounts": False}) as (own, provider), own.browser() as browser:
        refused(browser.get(returned(browser, "alan")),
                f"Nobody here has this identity. Given: turing of {provider.issuer}.", 403)  # fmt: skip
        own.user("alan")
        own.user("eve")
        own.log_in("alan", browser)
        assert "No identity of a provider leads to your account yet." in browser.get("/auth/identities").text
        answer = linked(browser, "alan")
        assert (answer.status_code, answer.headers["location"]) == (303, "/auth/identities")
        assert '>sso</td><td data-title="Known there as">alan</td>' in browser.get("/auth/identities").text
        form = form_token_of(browser.get("/auth/identities"))
        away = {"csrf": form, "issuer": provider.issuer, "subject": "alan"}
        assert browser.post("/auth/unlink", data=away).headers["location"] == "/auth/identities"
        assert "No identity of a provider leads to your account yet." in browser.get("/auth/identities").text
        assert browser.post("/auth/unlink", data=away).status_code == 404
        assert linked(browser, "alan").status_code == 303
        browser.cookies.clear()
        assert browser.get(returned(browser, "alan")).status_code == 303
        assert user_info(browser)["username"] == "alan"
        (member,) = own.administration.groups()[0].members
        assert (member.account, member.source) == ("alan", provider.issuer)
        browser.cookies.clear()
        own.log_in("eve", browser)
        refused(linked(browser, "alan"), "This identity belongs to another account.", 409)


def test_an_identity_is_linked_by_its_holder_alone(centre: IdentityCentre) -> None:
    centre.user("mallory")
    centre.user("victim")
    token = centre.token("victim", "read:tap", "user:token").text
    by_token = http.post(f"{centre.url}/auth/identities/sso", headers={"authorization": f"Bearer {token}"})
    assert by_token.status_code == 403
    assert by_token.text.startswith("AuthorizationFault: Identities are linked in a browser, not by a token.")
    with centre.browser() as browser:
        centre.log_in("victim", browser)
        assert browser.post("/auth/identities/sso", data={"csrf": "0" * 64}).status_code == 403
        form = form_token_of(browser.get("/auth/identities"))
        url = browser.post("/auth/identities/sso", data={"csrf": form}).headers["refresh"].partition("; url=")[2]
        back = log_in_there(browser, url, "1815")
        flow = {cookie.name: cookie.value for cookie in browser.cookies.jar}["idac-dac-flow"]
        browser.cookies.clear()
        centre.log_in("mallory", browser)
        browser.cookies.set("idac-dac-flow", flow or "", domain="127.0.0.1")
        refused(browser.get(back), "You are no longer logged in as whoever began this.")
    with centre.administration.store.read() as records:
        account = records.account("mallory")
        assert account is not None
        assert records.identities(account.id) == []


@contextmanager
def identity_with(
    folder: Path, people: dict[str, dict[str, Any]], **more: Any
) -> Iterator[tuple[IdentityCentre, OidcProvider]]:
    """A centre with a provider of its own."""
    provider = OidcProvider(people, CLIENT)
    write_secret(folder)
    providers = {"sso": provider_settings(provider, groups={"/lsst/dp1": "dp1-team"}, **more)}
    with (
        identity_centre(folder, identity=f"providers: {json.dumps(providers)}") as own,
        running(provider, f"{own.url}/auth/login/sso/callback"),
    ):
        yield own, provider
