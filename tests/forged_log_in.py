"""A log-in at a provider whose answers a test makes, and how it ends."""

from __future__ import annotations

from collections.abc import Callable
from html import unescape
from urllib.parse import parse_qs, urlsplit

import httpx

from identity_centre import IdentityCentre
from services.oidc_forger import Forger

ALLOWED = "its ID token is signed in a way that is not allowed"
FORGED = "its ID token is signed by a key that is not its own"
BAD = "its ID token is not good: "


def begun(browser: httpx.Client, name: str = "sso") -> tuple[str, str]:
    """State and nonce of a log-in that was just begun."""
    answer = browser.get(f"/auth/login/{name}")
    assert answer.status_code == 303, answer.text
    sent = parse_qs(urlsplit(answer.headers["location"]).query)
    return sent["state"][0], sent["nonce"][0]


def finished(browser: httpx.Client, state: str, name: str = "sso", **more: str) -> httpx.Response:
    return browser.get(f"/auth/login/{name}/callback", params={"state": state, "code": "a code", **more})


def refused(answer: httpx.Response, words: str, status: int = 401) -> None:
    assert (answer.status_code, words in unescape(answer.text)) == (status, True), answer.text
    assert "session=" not in answer.headers.get("set-cookie", "")


def outcome(centre: IdentityCentre, forger: Forger, make: Callable[[str], str]) -> httpx.Response:
    """The answer to a log-in whose ID token is what *make* makes of the nonce."""
    with centre.browser() as browser:
        state, nonce = begun(browser)
        forger.id_token = make(nonce)
        return finished(browser, state)
