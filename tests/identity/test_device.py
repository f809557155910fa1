"""Programs without a browser: what RFC 8628 has them told, and codes that are good once and for a while."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from idac.core.errors import AccessDenied, BadParameter, Conflict, NotFound, TooOften
from idac.core.principal import Principal
from idac.identity import device
from idac.identity.administration import Administration
from idac.identity.credentials import Secret, new_secret, parse_token
from idac.identity.device import Begun, DeviceGrants, OAuthRefusal, show_code
from idac.identity.directory import Directory
from idac.identity.model import Token
from idac.identity.schema import DEVICES
from idac.identity.settings import IdentitySettings
from idac.identity.store import IdentityStore
from idac.identity.throttle import Throttle
from identity_clock import Clock

ADA = Principal("ada", "user", credential="session:x")
HERE, THERE = "192.0.2.1", "198.51.100.7"
TAP = frozenset({"read:tap"})
SETTINGS = IdentitySettings(device_clients={"idac": "idac login", "other": ""}, guesses_per_account=3)


@pytest.fixture
def grants(store: IdentityStore, administration: Administration) -> DeviceGrants:
    ada = administration.add_account("ada", actor="t")
    administration.add_account("eve", actor="t")
    with store.write() as records:
        records.add_session("x", "d", ada.id, records.now.replace(year=2100), None)
    return DeviceGrants(store, SETTINGS, Throttle(store, SETTINGS))


def begin(grants: DeviceGrants, *scopes: str, name: str = "laptop") -> Begun:
    return grants.begin("idac", frozenset(scopes), device=name, address=THERE)


def allow(grants: DeviceGrants, begun: Begun, who: Principal = ADA) -> None:
    grants.decide(begun.user_code, who, allow=True, address=HERE)


def redeem(grants: DeviceGrants, code: str | Begun, client: str = "idac") -> tuple[Token, Secret]:
    return grants.redeem(code.secret.text if isinstance(code, Begun) else code, client, address=THERE)


def refusal(grants: DeviceGrants, code: str | Begun, client: str = "idac") -> tuple[str, str]:
    with pytest.raises(OAuthRefusal) as caught:
        redeem(grants, code, client)
    return caught.value.oauth, str(caught.value)


def test_a_program_gets_one_token_of_whoever_let_it_in(grants: DeviceGrants, store: IdentityStore) -> None:
    begun = begin(grants, "read:tap", "user:token")
    assert refusal(grants, begun) == ("authorization_pending", "Nobody has confirmed the code yet.")
    asked = grants.look(show_code(begun.user_code).lower(), ADA, address=HERE)
    assert (asked.title, asked.device, asked.address) == ("idac login", "laptop", THERE)
    assert asked.scopes == {"read:tap", "user:token"}
    allow(grants, begun)
    token, secret = redeem(grants, begun)
    assert (token.account, token.kind, token.name) == ("ada", "user", "idac login on laptop")
    assert token.expires is not None
    assert (token.expires - token.created).days == 90
    presented = parse_token(secret.text)
    assert presented is not None
    assert Directory(store).by_token(presented).principal.scopes == {"read:tap", "user:token"}
    assert refusal(grants, begun)[0] == "invalid_grant"
    assert [(e.action, e.actor, e.address, e.detail.get("at"), e.detail.get("how")) for e in store.iter_audit()][
        2:
    ] == [
        ("device allow", "ada", HERE, THERE, None),
        ("token create", "ada", THERE, None, "device"),
    ]


def test_codes_are_easy_to_type_and_kept_as_hashes(grants: DeviceGrants, store: IdentityStore) -> None:
    begun = begin(grants)
    assert re.fullmatch("[BCDFGHJKLMNPQRSTVWXZ]{8}", begun.user_code)
    with store.read() as records:
        (row,) = records.connection.execute(sa.select(DEVICES)).all()
    assert begun.user_code not in str(row)
    assert begun.secret.text not in str(row)
    assert begun.secret.text[22:] not in str(row)


@pytest.mark.parametrize(
    "typed", ["", "WDJB", "WDJB-MJH", "WDJB-MJHTT", "WDJB-MJHA", "WDJB-MJH1", "WDJB-MJHY", "x" * 99]
)
def test_what_cant_be_a_code_is_told_apart_from_a_wrong_one(grants: DeviceGrants, typed: str) -> None:
    for _ in range(5):  # and is no guess
        with pytest.raises(BadParameter) as caught:
            grants.look(typed, ADA, address=HERE)
    assert str(caught.value) == (
        f"This can't be a code. Given: {typed[:40]}. Allowed: 8 letters, none of them a vowel or Y, such as WDJB-MJHT."
    )


def test_guessing_codes_is_stopped_for_who_guesses_and_no_one_else(grants: DeviceGrants, clock: Clock) -> None:
    begun = begin(grants)
    for _ in range(3):
        with pytest.raises(NotFound) as caught:
            grants.look("WDJB-MJHT", ADA, address=HERE)
    assert str(caught.value) == (
        "No program waits with this code. Given: WDJB-MJHT. Allowed: a code that is shown now: it works once, for "
        "15 minutes. Look again at what your terminal shows, or begin again there."
    )
    for attempt in (grants.look, lambda text, who, address: grants.decide(text, who, allow=True, address=address)):
        with pytest.raises(TooOften):
            attempt(begun.user_code, ADA, address=HERE)
    grants.look(begun.user_code, Principal("eve", "user", credential="session:y"), address=HERE)
    clock.advance(seconds=300)
    grants.look(begun.user_code, ADA, address=HERE)


def test_guessing_device_codes_is_stopped(store: IdentityStore, grants: DeviceGrants) -> None:
    few = SETTINGS.model_copy(update={"guesses_per_address": 2})
    throttled = DeviceGrants(store, few, Throttle(store, few))
    begun = begin(grants)
    forged = begun.secret.key + new_secret(prefix="").text[22:]
    assert refusal(throttled, forged) == (
        "invalid_grant",
        "This device code is not known here, or was used already. Begin again.",
    )
    assert refusal(throttled, "x")[0] == "invalid_grant"
    with pytest.raises(TooOften):
        redeem(throttled, begun)


def test_a_program_that_asks_too_soon_must_ask_less_often(grants: DeviceGrants, clock: Clock) -> None:
    begun = begin(grants)
    assert refusal(grants, begun)[0] == "authorization_pending"
    clock.advance(seconds=5)
    assert refusal(grants, begun)[0] == "authorization_pending"
    clock.advance(seconds=4)
    assert refusal(grants, begun) == ("slow_down", "The program asks too often. Allowed: once in 10 s.")
    clock.advance(seconds=5)
    assert refusal(grants, begun) == ("slow_down", "The program asks too often. Allowed: once in 15 s.")
    clock.advance(seconds=15)
    assert refusal(grants, begun)[0] == "authorization_pending"
    for _ in range(20):
        assert refusal(grants, begun)[0] == "slow_down"
    clock.advance(seconds=60)
    assert refusal(grants, begun)[0] == "authorization_pending"
    # What waits for its token gets it at once, however often it asked.
    allow(grants, begun)
    redeem(grants, begun)


def test_a_code_is_over_after_fifteen_minutes(grants: DeviceGrants, store: IdentityStore, clock: Clock) -> None:
    pending, allowed = begin(grants), begin(grants)
    allow(grants, allowed)
    clock.advance(seconds=900)
    for begun in (pending, allowed):
        assert refusal(grants, begun) == ("expired_token", "The code was not confirmed in time. Begin again.")
        with pytest.raises(NotFound):
            grants.look(begun.user_code, ADA, address=HERE)
    clock.advance(seconds=3600)
    begin(grants)
    with store.read() as records:
        assert len(records.connection.execute(sa.select(DEVICES)).all()) == 1
    assert refusal(grants, pending)[0] == "invalid_grant"


def test_whoever_refuses_a_program_refuses_it_for_good(grants: DeviceGrants, store: IdentityStore) -> None:
    begun = begin(grants)
    grants.decide(begun.user_code, ADA, allow=False, address=HERE)
    for _ in range(2):
        assert refusal(grants, begun) == ("access_denied", "The log-in was refused.")
    with pytest.raises(NotFound):
        allow(grants, begun)
    assert [entry.action for entry in store.iter_audit()][-1] == "device refuse"


def test_of_two_who_decide_at_once_one_does(grants: DeviceGrants, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = begin(grants)
    seen = grants.look(begun.user_code, ADA, address=HERE)
    allow(grants, begun)
    monkeypatch.setattr(grants, "look", lambda *_args, **_kw: seen)  # both had the page open
    with pytest.raises(Conflict) as caught:
        grants.decide(begun.user_code, ADA, allow=False, address=HERE)
    assert str(caught.value) == f"This code was decided on already. Given: {show_code(begun.user_code)}."


def test_of_many_questions_at_once_one_gets_the_token(grants: DeviceGrants) -> None:
    begun = begin(grants)
    allow(grants, begun)

    def ask(_: int) -> str:
        try:
            return redeem(grants, begun)[0].key
        except OAuthRefusal as error:
            return error.oauth

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(ask, range(8)))
    assert answers.count("invalid_grant") == 7


def test_nobody_gives_a_program_more_than_they_have(grants: DeviceGrants) -> None:
    begun = begin(grants, "read:tap", "admin")
    allow(grants, begun)
    assert redeem(grants, begun)[0].scopes == TAP
    only = begin(grants, "admin")
    with pytest.raises(AccessDenied) as caught:
        allow(grants, only)
    assert str(caught.value) == (
        "You may not give the program anything that it asks for. Given: admin. "
        "Allowed: read:tap, user:groups, user:token."
    )


def test_an_account_with_too_many_tokens_lets_no_program_in(
    grants: DeviceGrants, administration: Administration, store: IdentityStore
) -> None:
    few = DeviceGrants(store, SETTINGS.model_copy(update={"max_tokens": 1}), Throttle(store, SETTINGS))
    administration.add_token("ada", "laptop", actor="t")
    begun = begin(few)
    allow(few, begun)
    assert refusal(few, begun) == (
        "access_denied",
        "The account has too many tokens. Given: ada has 1 that are good now. Allowed: 1 (identity.max_tokens). "
        "Revoke some at /auth/tokens, and use one for many log-ins.",
    )


def test_a_frozen_account_lets_no_program_in(grants: DeviceGrants, administration: Administration) -> None:
    begun = begin(grants)
    allow(grants, begun)
    administration.freeze("ada", "a test", actor="t")
    assert refusal(grants, begun) == ("access_denied", "The account can't be used. Given: ada is frozen.")
    assert administration.tokens("ada") == []


def test_programs_are_known_by_name_and_keep_to_their_own_codes(grants: DeviceGrants) -> None:
    begun = begin(grants)
    allow(grants, begun)
    assert refusal(grants, begun, "other")[0] == "invalid_grant"
    unknown = (
        "invalid_client",
        "This centre lets no program of this name log people in. Given: phish. Allowed: idac, other. "
        "Ask the operator, who names them in identity.device_clients.",
    )
    assert refusal(grants, begun, "phish") == unknown
    with pytest.raises(OAuthRefusal) as caught:
        grants.begin("phish", TAP, device="", address=HERE)
    assert (caught.value.oauth, str(caught.value)) == unknown
    with pytest.raises(OAuthRefusal) as caught:
        grants.begin("idac", frozenset({"read:all"}), device="", address=HERE)
    assert (caught.value.oauth, str(caught.value)) == (
        "invalid_scope",
        "There are no such scopes. Given: read:all. Allowed: read:tap user:token user:groups admin.",
    )


@pytest.mark.parametrize(
    ("said", "shown"),
    [("", "an unnamed machine"), ("a\r\nb\x1b[31m\u202e", "ab[31m"), ("x" * 300, "x" * 40), (" node 7 ", "node 7")],
)
def test_what_a_program_says_of_itself_is_one_short_line(grants: DeviceGrants, said: str, shown: str) -> None:
    assert grants.look(begin(grants, name=said).user_code, ADA, address=HERE).device == shown


def test_one_address_has_so_many_codes_and_no_more(
    grants: DeviceGrants, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "MOST_PER_ADDRESS", 2)
    begin(grants)
    begin(grants)
    with pytest.raises(TooOften) as caught:
        begin(grants)
    assert str(caught.value) == (
        "Too many log-ins were begun from this address and not finished. Try again in 15 minutes."
    )
    grants.begin("idac", TAP, device="", address=HERE)
    clock.advance(seconds=900)
    begin(grants)


def test_a_token_lives_no_longer_than_any_may(store: IdentityStore, grants: DeviceGrants) -> None:
    short = SETTINGS.model_copy(update={"max_token_s": 3600})
    begun = begin(grants)
    allow(grants, begun)
    token, _ = DeviceGrants(store, short, Throttle(store, short)).redeem(begun.secret.text, "idac", address=THERE)
    assert token.expires is not None
    assert (token.expires - token.created).total_seconds() == 3600


def test_whoever_holds_a_token_may_end_it_and_no_other(grants: DeviceGrants, administration: Administration) -> None:
    token, secret = administration.add_token("ada", "mine", actor="t")
    grants.revoke(secret.key, address=THERE)
    grants.revoke("idac_" + secret.key + "0" * 43, address=THERE)
    assert administration.tokens("ada") == [token]
    for _ in range(2):
        grants.revoke(secret.text, address=THERE)
    assert administration.tokens("ada")[0].revoked is not None
    told = [entry for entry in administration.store.iter_audit() if entry.action == "token revoke"]
    assert [(e.actor, e.address, e.detail["how"]) for e in told] == [("ada", THERE, "its holder")]
