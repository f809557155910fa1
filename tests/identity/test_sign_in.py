"""Log-ins under way while the account changes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa
from argon2 import PasswordHasher

from idac.core.errors import AccessDenied, NotAuthenticated
from idac.identity import passwords, sign_in
from idac.identity.administration import Administration
from idac.identity.credentials import identity_credential, new_secret, parse_plain
from idac.identity.directory import Directory
from idac.identity.external import ExternalAccounts
from idac.identity.ledger import Ledger
from idac.identity.model import Account, ExternalIdentity
from idac.identity.schema import SESSIONS
from idac.identity.settings import IdentitySettings
from idac.identity.sign_in import Proven, SignIn
from idac.identity.store import IdentityStore, Records
from idac.identity.throttle import Throttle
from identity_moments import during

ME, WORDS, OTHER, HERE = "local:tester", "correct horse battery", "staple that was new", "192.0.2.1"
CHANGED = "This password is not the account's any more. Log in again."


@pytest.fixture
def ways(store: IdentityStore) -> SignIn:
    return SignIn(store, IdentitySettings(), Throttle(store, IdentitySettings()), Ledger(store))


@pytest.fixture
def ada(administration: Administration) -> Account:
    return administration.add_account("ada", actor=ME, password=WORDS)


def open_session(ways: SignIn, proven: Proven) -> object:
    return ways.open_session(proven.account, address=HERE, how="password", credential=proven.credential)


def sessions(store: IdentityStore) -> int:
    with store.read() as records:
        return int(records.connection.execute(sa.select(sa.func.count()).select_from(SESSIONS)).scalar_one())


def test_a_log_in_by_the_old_password_opens_nothing_after_it_was_changed(
    ways: SignIn, administration: Administration, ada: Account
) -> None:
    proven = ways.by_password("ada", WORDS, HERE)
    administration.set_password("ada", OTHER, actor=ME)
    with pytest.raises(NotAuthenticated) as caught:
        open_session(ways, proven)
    assert caught.value.text == CHANGED
    with pytest.raises(NotAuthenticated) as caught:
        administration.add_token("ada", "log-in of a program", actor="ada", maker=proven.credential)
    assert caught.value.text == CHANGED
    assert (sessions(administration.store), administration.tokens("ada")) == (0, [])
    open_session(ways, ways.by_password("ada", OTHER, HERE))


def test_a_log_in_that_waits_for_the_new_password_opens_nothing(
    ways: SignIn, administration: Administration, ada: Account, store: IdentityStore
) -> None:
    proven = ways.by_password("ada", WORDS, HERE)

    def set_password(records: Records) -> None:
        records.lock_account(ada.id)
        records.end_sessions(ada.id)

    later = during(
        store,
        set_password,
        lambda: open_session(ways, proven),
        lambda records: records.change_account(ada.id, password=passwords.hash_password(OTHER)),
    )
    assert isinstance(later.exception(), NotAuthenticated)
    assert sessions(store) == 0


def test_a_new_password_that_waits_for_a_log_in_ends_it(
    ways: SignIn, administration: Administration, ada: Account, store: IdentityStore
) -> None:
    secret = new_secret(prefix="")

    def log_in(records: Records) -> None:
        records.lock_account(ada.id)
        records.add_session(secret.key, secret.digest, ada.id, records.now.replace(year=2100), HERE)

    during(store, log_in, lambda: administration.set_password("ada", OTHER, actor=ME)).result()
    presented = parse_plain(secret.text)
    assert presented is not None
    with pytest.raises(NotAuthenticated):
        Directory(store).by_session(presented)


def test_a_log_in_by_an_identity_that_is_being_unlinked_opens_nothing(
    ways: SignIn, ada: Account, store: IdentityStore
) -> None:
    accounts, github = ExternalAccounts(store), ExternalIdentity("https://github.com", "1815", "ada")
    accounts.link("ada", github, actor="ada")
    proven = Proven(ada, identity_credential(github.issuer, github.subject))
    open_session(ways, proven)

    def unlink(records: Records) -> None:
        records.lock_account(ada.id)
        records.unlink_identity(ada.id, github.issuer, github.subject)
        records.end_sessions(ada.id)

    later = during(store, unlink, lambda: open_session(ways, proven))
    with pytest.raises(NotAuthenticated) as caught:
        later.result()
    assert caught.value.text == (
        "This identity does not lead to the account any more. Given: 1815 of https://github.com. Log in by another."
    )
    assert sessions(store) == 0


def test_an_old_hash_is_made_anew_and_never_written_over_a_new_password(
    ways: SignIn, administration: Administration, ada: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwords, "_hasher", PasswordHasher(time_cost=2, memory_cost=64, parallelism=1))
    real: Callable[[str], str] = sign_in.hash_password

    def meanwhile(password: str) -> str:
        administration.set_password("ada", OTHER, actor=ME)
        return real(password)

    with monkeypatch.context() as patch:
        patch.setattr(sign_in, "hash_password", meanwhile)
        proven = ways.by_password("ada", WORDS, HERE)
    with pytest.raises(NotAuthenticated) as caught:
        open_session(ways, proven)
    assert caught.value.text == CHANGED
    with pytest.raises(NotAuthenticated, match=r"^The name or the password is not right\."):
        ways.by_password("ada", WORDS, HERE)
    open_session(ways, ways.by_password("ada", OTHER, HERE))


def test_of_two_log_ins_that_hash_a_password_anew_both_are_good(
    ways: SignIn, ada: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwords, "_hasher", PasswordHasher(time_cost=2, memory_cost=64, parallelism=1))
    real: Callable[[str], str] = sign_in.hash_password
    first: list[Proven] = []

    def meanwhile(password: str) -> str:
        if not first:
            monkeypatch.setattr(sign_in, "hash_password", real)
            first.append(ways.by_password("ada", WORDS, HERE))
        return real(password)

    monkeypatch.setattr(sign_in, "hash_password", meanwhile)
    for proven in (ways.by_password("ada", WORDS, HERE), *first):
        open_session(ways, proven)


def test_a_log_in_and_a_freeze_in_one_moment_wait_for_each_other_once(
    ways: SignIn, administration: Administration, ada: Account, store: IdentityStore
) -> None:
    with store.write() as records:
        values = {"account": ada.id, "digest": "d", "created": 1, "expires": 2}
        for number in range(3):
            records.connection.execute(SESSIONS.insert().values(key=f"over-{number}", **values))

    def freeze(records: Records) -> None:
        records.lock_account(ada.id)
        records.end_sessions(ada.id)

    later = during(
        store,
        freeze,
        lambda: open_session(ways, Proven(ada)),
        lambda records: records.change_account(ada.id, frozen=records.ms, frozen_why="x"),
    )
    assert isinstance(later.exception(), AccessDenied)
    administration.unfreeze("ada", actor=ME)
    bob = administration.add_account("bob", actor=ME)

    with store.write() as records:
        for number in range(3):
            records.connection.execute(SESSIONS.insert().values(key=f"more-{number}", **values))
    # Old sessions that somebody else is removing are left to them: nobody's log-in waits for that.
    if not store.database.is_sqlite:
        with store.write() as records:
            records.end_sessions(ada.id)
            ways.open_session(bob, address=HERE, how="password")
    else:
        ways.open_session(bob, address=HERE, how="password")
    assert sessions(store) == 1
