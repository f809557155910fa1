"""Log-ins under way: bound to a browser and a provider, good once and for ten minutes."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from idac.core.errors import NotAuthenticated, TooOften
from idac.identity import flows
from idac.identity.credentials import Secret, new_secret
from idac.identity.flows import Flow, Flows
from idac.identity.store import IdentityStore
from identity_clock import Clock

NOT_BEGUN = (
    "This log-in was not begun in this browser, or is over already. "
    "Allowed: one return from the provider, within 10 minutes. Begin again."
)


@pytest.fixture
def begun(store: IdentityStore) -> Flows:
    return Flows(store)


def begin(begun: Flows, address: str = "192.0.2.1", session: str | None = None) -> tuple[Flow, Secret]:
    return begun.begin("sso", redirect_uri="https://x/cb", next_path="/a", address=address, session=session)


def test_a_flow_comes_back_as_it_went_and_once(begun: Flows) -> None:
    flow, secret = begin(begun, session="s" * 22)
    assert re.fullmatch("[0-9A-Za-z]{43}", flow.nonce)
    assert re.fullmatch("[0-9A-Za-z]{64}", flow.verifier)
    assert begun.take("sso", secret.key, secret.text) == flow
    with pytest.raises(NotAuthenticated, match=f"^{re.escape(NOT_BEGUN)}$"):
        begun.take("sso", secret.key, secret.text)


def test_of_many_at_once_one_gets_it(begun: Flows) -> None:
    flow, secret = begin(begun)

    def take(_: int) -> Flow | None:
        try:
            return begun.take("sso", secret.key, secret.text)
        except NotAuthenticated:
            return None

    with ThreadPoolExecutor(4) as threads:
        assert [found for found in threads.map(take, range(8)) if found] == [flow]


def test_neither_state_nor_cookie_is_enough(begun: Flows) -> None:
    _, secret = begin(begun)
    _, second = begin(begun)
    forged = secret.key + new_secret(prefix="").text[22:]
    for state, cookie in (
        (secret.key, ""), (secret.key, secret.key), ("", secret.text), (secret.key, second.text),
        (second.key, secret.text), (secret.key, forged), (secret.text, secret.text),
    ):  # fmt: skip
        with pytest.raises(NotAuthenticated):
            begun.take("sso", state, cookie)
    # None of these used it up.
    assert begun.take("sso", secret.key, secret.text).next_path == "/a"


def test_another_providers_return_ends_it(begun: Flows) -> None:
    _, secret = begin(begun)
    for provider in ("other", "sso"):
        with pytest.raises(NotAuthenticated):
            begun.take(provider, secret.key, secret.text)


def test_it_is_over_after_ten_minutes(begun: Flows, clock: Clock) -> None:
    _, secret = begin(begun)
    clock.advance(seconds=600)
    with pytest.raises(NotAuthenticated):
        begun.take("sso", secret.key, secret.text)


def test_one_address_has_so_many_under_way_and_no_more(
    begun: Flows, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flows, "MOST_PER_ADDRESS", 2)
    _, secret = begin(begun)
    begin(begun)
    with pytest.raises(TooOften) as caught:
        begin(begun)
    assert str(caught.value) == (
        "Too many log-ins were begun from this address and not finished. Try again in ten minutes."
    )
    begin(begun, "192.0.2.2")
    begun.take("sso", secret.key, secret.text)
    begin(begun)
    clock.advance(seconds=600)
    begin(begun)
