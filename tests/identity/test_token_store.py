"""Tokens that end, and those that were made with them in the same moment."""

from __future__ import annotations

from datetime import timedelta

import pytest

from idac.core.errors import AccessDenied, Conflict, NotAuthenticated, NotFound
from idac.core.principal import Principal
from idac.identity.administration import Administration
from idac.identity.credentials import new_secret
from idac.identity.self_service import SelfService
from idac.identity.store import IdentityStore, Records
from idac.identity.token_store import add_token, lock_token, revoke_token
from identity_clock import Clock
from identity_moments import during

ME = "local:tester"


@pytest.fixture
def administration(administration: Administration) -> Administration:
    administration.add_account("ada", actor=ME)
    return administration


def caller(key: str) -> Principal:
    """Whoever sends the token, as a process believes for some seconds after it looked."""
    return Principal("ada", "user", scopes=frozenset({"user:token", "read:tap"}), credential=f"token:{key}")


def test_a_token_that_was_revoked_makes_no_other_while_it_is_still_believed(administration: Administration) -> None:
    stolen, _ = administration.add_token("ada", "laptop", actor=ME, scopes=["user:token", "read:tap"])
    service = SelfService(administration)
    service.make_token(caller(stolen.key), "first")
    administration.revoke(stolen.key, actor=ME)
    with pytest.raises(NotAuthenticated) as caught:
        service.make_token(caller(stolen.key), "second")
    assert caught.value.text == (f"This token was revoked. Given: {stolen.key}. Log in again, or use another token.")
    now = administration.store.now()
    assert {(token.name, token.state(now)) for token in administration.tokens("ada")} == {
        ("laptop", "revoked"),
        ("first", "revoked"),
    }


def test_a_log_in_that_has_ended_makes_no_token_while_it_is_still_believed(administration: Administration) -> None:
    service, store = SelfService(administration), administration.store
    with store.write() as records:
        account = records.account("ada")
        assert account is not None
        records.add_session("s-1", "digest", account.id, store.now() + timedelta(hours=1), None)
    believed = Principal("ada", "user", credential="session:s-1")
    service.make_token(believed, "first")
    with store.write() as records:
        records.end_session("s-1")
    with pytest.raises(NotAuthenticated) as caught:
        service.make_token(believed, "second")
    assert caught.value.text == "Your log-in has ended. Log in again."


def test_a_frozen_account_makes_no_token_while_it_is_still_believed(administration: Administration) -> None:
    laptop, _ = administration.add_token("ada", "laptop", actor=ME, scopes=["user:token", "read:tap"])
    administration.freeze("ada", "stolen laptop", actor=ME)
    with pytest.raises(AccessDenied) as caught:
        SelfService(administration).make_token(caller(laptop.key), "second")
    assert caught.value.text == "This account is frozen. Given: ada. Ask the operator of this centre."


def test_a_key_that_no_database_keeps_is_that_of_no_token(administration: Administration) -> None:
    with pytest.raises(NotFound) as caught:
        administration.revoke("a\0b", actor="ada", of="ada")
    assert caught.value.text == ("There is no such token. Given: a\0b. The list of tokens shows each with its key.")


def test_tokens_of_one_account_that_are_good_at_once_are_bounded(administration: Administration, clock: Clock) -> None:
    laptop, _ = administration.add_token("ada", "laptop", actor=ME, scopes=["user:token", "read:tap"])
    administration.settings = administration.settings.model_copy(update={"max_tokens": 3})
    service = SelfService(administration)
    second, _ = service.make_token(caller(laptop.key), "second")
    service.make_token(caller(laptop.key), "third", expires=clock.later(hours=1))
    with pytest.raises(Conflict) as caught:
        service.make_token(caller(laptop.key), "fourth")
    assert caught.value.text == (
        "The account has too many tokens. Given: ada has 3 that are good now. Allowed: 3 (identity.max_tokens). "
        "Revoke some at /auth/tokens, and use one for many log-ins."
    )
    administration.add_token("ada", "the operator's", actor=ME)
    administration.revoke(second.key, actor=ME)
    clock.advance(hours=1)
    service.make_token(caller(laptop.key), "fourth")


def test_a_token_that_is_made_while_its_maker_is_revoked_is_revoked_or_refused(
    administration: Administration, store: IdentityStore
) -> None:
    stolen, _ = administration.add_token("ada", "laptop", actor=ME, scopes=["user:token", "read:tap"])
    service = SelfService(administration)
    later = during(
        store,
        lambda records: revoke_token(records, stolen.key),
        lambda: service.make_token(caller(stolen.key), "child"),
    )
    assert isinstance(later.exception(), NotAuthenticated)
    other, _ = administration.add_token("ada", "desk", actor=ME, scopes=["user:token", "read:tap"])
    secret = new_secret()

    def make(records: Records) -> None:
        assert lock_token(records, other.key) is not None
        account = records.account("ada")
        assert account is not None
        add_token(records, secret, account.id, "user", "child", frozenset({"read:tap"}), parent=other.key)

    during(store, make, lambda: administration.revoke(other.key, actor=ME)).result()
    (child,) = (token for token in administration.tokens("ada") if token.key == secret.key)
    assert child.revoked is not None
