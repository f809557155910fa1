"""Passwords are hashed as RFC 9106 recommends, and compared with those of nobody in the same time."""

from __future__ import annotations

import pytest
from argon2 import PasswordHasher, extract_parameters
from argon2.low_level import Type
from argon2.profiles import RFC_9106_LOW_MEMORY

from idac.identity import passwords
from idac.identity.passwords import hash_password, is_outdated, is_password

WORDS = "correct horse battery"


def test_a_hash_has_the_cost_that_rfc_9106_recommends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "_hasher", PasswordHasher())
    kept = hash_password(WORDS)
    parameters = extract_parameters(kept)
    assert parameters == RFC_9106_LOW_MEMORY
    assert (parameters.type, parameters.memory_cost) == (Type.ID, 65536)
    assert is_password(kept, WORDS)


def test_only_the_password_itself_is_right() -> None:
    kept = hash_password(WORDS)
    assert kept != hash_password(WORDS)
    assert is_password(kept, WORDS)
    for wrong in (WORDS + " ", WORDS[:-1], WORDS.upper(), "", "\0", "x" * 5000):
        assert not is_password(kept, wrong)
    assert not is_password("damaged", WORDS)


def test_an_account_without_a_password_has_none_that_is_right() -> None:
    assert not is_password(None, WORDS)
    assert not is_password(None, "nobody")
    assert not is_password(None, "nobody has this password")


def test_hashes_of_yesterdays_cost_are_known_for_it() -> None:
    assert is_outdated(PasswordHasher(time_cost=1, memory_cost=32, parallelism=1).hash(WORDS))
    assert not is_outdated(hash_password(WORDS))
