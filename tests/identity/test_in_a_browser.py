"""The log-in as a person goes through it, in a real browser, with its rules on cookies, forms and origins."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from identity_centre import WORDS, IdentityCentre, identity_centre
from services import http
from services.oidc_provider import OidcProvider, running
from services.web_browser import WebBrowser, web_browser

INVITE = "form:has(button[value=invite])"
PEOPLE = {"1815": {"preferred_username": "ada", "name": "Ada L."}, "1816": {"preferred_username": "eve"}}


@pytest.fixture(scope="module")
def centre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IdentityCentre]:
    provider = OidcProvider(PEOPLE, {"client_id": "idac", "token_endpoint_auth_method": "none"})
    providers = {"sso": {"title": "Institute", "issuer": provider.issuer, "client_id": "idac"}}
    folder = tmp_path_factory.mktemp("centre")
    with (
        identity_centre(folder, identity=f"providers: {json.dumps(providers)}") as served,
        running(provider, f"{served.url}/auth/login/sso/callback"),
    ):
        yield served


@pytest.fixture(scope="module")
def shared() -> Iterator[WebBrowser]:
    with web_browser() as opened:
        yield opened


@pytest.fixture
def browser(shared: WebBrowser) -> WebBrowser:
    shared.anew()
    return shared


def log_in_there(browser: WebBrowser, who: str) -> None:
    """Fill in the provider's pages."""
    browser.reach("/interaction/")
    browser.fill("input[name=login]", who)
    browser.fill("input[name=password]", "any")
    browser.press("button[type=submit]")
    browser.press("text=Continue")


def log_in_here(browser: WebBrowser, centre: IdentityCentre, name: str) -> None:
    browser.open(f"{centre.url}/auth/login?next=/auth/tokens")
    browser.fill("input[name=username]", name)
    browser.fill("input[name=password]", WORDS)
    browser.press("button")
    browser.reach("/auth/tokens$")


def test_a_person_logs_in_at_the_institute_makes_a_token_revokes_it_and_logs_out(
    centre: IdentityCentre, browser: WebBrowser
) -> None:
    browser.open(f"{centre.url}/auth/tokens")
    browser.press("text=Log in with Institute")
    log_in_there(browser, "1815")
    browser.reach("/auth/tokens$")
    assert browser.read().startswith("Tokens\n\nYou are ada.")
    browser.fill("input[name=name]", "laptop")
    browser.press("text=Make it")
    browser.reach("/auth/tokens$")
    token = browser.read("pre")
    assert centre.query("SELECT TOP 1 id FROM demo.stars", token).status_code == 200
    browser.open(f"{centre.url}/auth/tokens")
    browser.press("text=Revoke")
    browser.reach("/auth/tokens$")
    assert "revoked" in browser.read("tbody")
    assert centre.query("SELECT TOP 1 id FROM demo.stars", token).status_code == 401
    browser.open(f"{centre.url}/auth/logout")
    browser.press("button")
    browser.reach("/auth/login$")
    browser.open(f"{centre.url}/auth/logout")
    assert "You are not logged in." in browser.read()


def test_a_person_links_the_institute_to_an_account_and_unlinks_it(centre: IdentityCentre, browser: WebBrowser) -> None:
    centre.user("bob")
    log_in_here(browser, centre, "bob")
    browser.open(f"{centre.url}/auth/identities")
    browser.press("text=Link Institute")
    log_in_there(browser, "1816")
    browser.reach("/auth/identities$")
    assert "Institute\t1816" in browser.read("tbody")
    browser.anew()
    browser.open(f"{centre.url}/auth/login?next=/auth/identities")
    browser.press("text=Log in with Institute")
    log_in_there(browser, "1816")
    browser.reach("/auth/identities$")
    browser.press("text=Unlink")
    browser.reach("/auth/identities$")
    assert "No identity of a provider leads to your account yet." in browser.read()


def test_a_person_makes_a_group_invites_another_who_joins_and_leaves(
    centre: IdentityCentre, browser: WebBrowser
) -> None:
    for name in ("dee", "fay"):
        centre.user(name)
    log_in_here(browser, centre, "dee")
    browser.open(f"{centre.url}/auth/groups")
    browser.fill("input[name=name]", "shear")
    browser.fill("input[name=description]", "Weak lensing")
    browser.press("text=Make it")
    browser.reach("/auth/groups/shear$")
    assert browser.read("tbody") == "dee\towner\tnever\t"
    browser.fill(f"{INVITE} input[name=who]", "nobody")
    browser.press("text=Invite this account")
    assert browser.read("[role=alert]") == (
        "There is no account of this name that can be invited. Given: nobody. "
        "Ask them for their name here, or send them a link."
    )
    browser.fill(f"{INVITE} input[name=who]", "fay")
    browser.press("text=Invite this account")
    assert browser.read("tbody >> nth=1").startswith("fay\tdee\t1\t")
    browser.press("button[value=link]")
    link = browser.read("code")

    browser.anew()
    log_in_here(browser, centre, "fay")
    browser.open(f"{centre.url}/auth/groups")
    assert browser.read("tbody").startswith("shear\tWeak lensing\tdee\tnever\t")
    browser.press("button[value=accept]")
    browser.press("text=shear")
    browser.reach("/auth/groups/shear$")
    assert browser.read("tbody").startswith("dee\towner\tnever\t\nfay\tmember\tnever\tLeave")
    browser.open(link)
    assert "You are in it already." in browser.read()
    browser.open(f"{centre.url}/auth/groups/shear")
    browser.press("text=Leave")
    browser.reach("/auth/groups$")
    assert "You are in none." in browser.read()
    browser.open(link)
    assert "dee invites you to the group shear (Weak lensing). Its members will see your name." in browser.read()
    browser.press("form button")
    browser.reach("/auth/groups/shear$")
    browser.open(f"{centre.url}/auth/join?invitation=gone")
    told = "This invitation is not good, or not any more. Ask whoever invited you for a new one."
    assert browser.read("[role=alert]") == told


def test_pages_of_groups_can_be_read_in_a_narrow_window(centre: IdentityCentre, browser: WebBrowser) -> None:
    owner, other = "g" * 32, "h" * 32
    for name in (owner, other):
        centre.user(name)
    log_in_here(browser, centre, owner)
    browser.open(f"{centre.url}/auth/groups")
    browser.fill("input[name=name]", "n" * 64)
    browser.fill("input[name=description]", "w" * 200)
    browser.press("text=Make it")
    browser.reach("/nnn+$")
    browser.fill(f"{INVITE} input[name=who]", other)
    browser.press("text=Invite this account")
    browser.press("button[value=link]")
    fits = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    whole = "[...document.querySelectorAll('button')].every(each => each.offsetWidth > each.offsetHeight)"
    centre.token(owner, "read:tap", "user:token", "user:groups")
    for address in (None, f"{centre.url}/auth/groups", f"{centre.url}/auth/tokens"):
        if address is not None:
            browser.open(address)
        for pixels in (360, 700, 1100):
            browser.width(pixels)
            assert browser.tell(f"{fits} && {whole}") == "true", (address, pixels)


def test_a_form_that_is_filled_in_wrongly_says_so_to_people_and_keeps_what_was_typed(
    centre: IdentityCentre, browser: WebBrowser
) -> None:
    centre.user("ida")
    log_in_here(browser, centre, "ida")
    browser.open(f"{centre.url}/auth/groups")
    browser.fill("input[name=name]", "admins")
    browser.fill("input[name=description]", "Those & others")
    browser.press("text=Make it")
    assert browser.read("[role=alert]") == "This name is taken. Given: admins. Choose another."
    assert browser.tell("document.querySelector('input[name=description]').value") == "Those & others"
    browser.fill("input[name=name]", "arcs")
    browser.press("text=Make it")
    browser.reach("/auth/groups/arcs$")
    for text in ("501", "0", "99999999999999999999"):
        browser.tell("document.querySelector('input[name=uses]').form.noValidate = true")
        browser.fill("input[name=uses]", text)
        browser.press("button[value=link]")
        assert browser.read("[role=alert]") == (
            f"A link can't be for so many people. Given: {text}. Allowed: 1 to 500, as many as a group may have. No "
            "link was made. Say for how many people it is."
        )
    browser.fill("input[name=who] >> nth=2", "arc")
    browser.press("text=Delete >> nth=-1")
    assert browser.read("[role=alert]") == (
        "This is not the name of the group. Given: arc. Allowed: arcs. Nothing was deleted."
    )


def test_a_person_lets_a_program_in_by_the_code_that_it_shows(centre: IdentityCentre, browser: WebBrowser) -> None:
    centre.user("cyd", right=True)
    sent = {"client_id": "idac", "device_name": "laptop"}
    told = http.post(f"{centre.url}/auth/device", data=sent).json()
    browser.open(told["verification_uri"])
    browser.fill("input[name=username]", "cyd")
    browser.fill("input[name=password]", WORDS)
    browser.press("form button")
    browser.reach("/auth/code$")
    browser.fill("input[name=user_code]", told["user_code"].lower().replace("-", " "))
    browser.press("text=Go on")
    browser.reach("user_code=")
    assert told["user_code"] in browser.read()
    browser.press("button[value=allow]")
    browser.reach("/auth/code$")
    assert browser.read().startswith("Allowed\n\nidac login on laptop is logged in within seconds")
    grant = "urn:ietf:params:oauth:grant-type:device_code"
    form = {"grant_type": grant, "client_id": "idac", "device_code": told["device_code"]}
    token = http.post(f"{centre.url}/auth/token", data=form).json()["access_token"]
    assert centre.query(secret=token).status_code == 200
    browser.open(f"{centre.url}/auth/tokens")
    assert "idac login on laptop" in browser.read("tbody")
