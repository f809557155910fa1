"""The account of a service has tokens that the operator gave it, and no way to log in, whatever is kept of one."""

from __future__ import annotations

from datetime import timedelta

import pytest

from idac.core.errors import AccessDenied
from idac.core.principal import Principal
from idac.identity.administration import Administration
from idac.identity.credentials import Secret, new_secret, parse_plain
from idac.identity.device import DeviceGrants, OAuthRefusal
from idac.identity.directory import Directory
from idac.identity.external import ExternalAccounts
from idac.identity.ledger import Ledger
from idac.identity.model import Account, ExternalIdentity
from idac.identity.passwords import hash_password
from idac.identity.settings import IdentitySettings
from idac.identity.sign_in import SignIn
from idac.identity.store import IdentityStore
from idac.identity.throttle import Throttle

HERE, WORDS = "192.0.2.1", "correct horse battery"
SETTINGS = IdentitySettings(device_clients={"idac": "idac login"})
TOLD = (
    "A service has no log-in. Given: robot. Allowed: accounts of people. "
    "The operator gives it a token: idac token create."
)


@pytest.fixture
def robot(administration: Administration) -> Account:
    return administration.add_account("robot", actor="t", kind="service")


def session_of(store: IdentityStore, account: Account) -> Secret:
    """A browser session as an earlier version would have opened it."""
    secret = new_secret(prefix="")
    with store.write() as records:
        records.add_session(secret.key, secret.digest, account.id, records.now + timedelta(hours=1), HERE)
    return secret


def test_a_link_that_was_kept_opens_no_session(store: IdentityStore, robot: Account) -> None:
    ways = SignIn(store, SETTINGS, Throttle(store, SETTINGS), Ledger(store))
    secret = new_secret(prefix="")
    with store.write() as records:
        records.add_link(secret.key, secret.digest, robot.id, records.now + timedelta(hours=1))
    proven = ways.by_link(secret.text, HERE)
    with pytest.raises(AccessDenied) as refused:
        ways.open_session(proven.account, address=HERE, how="link")
    assert str(refused.value) == TOLD


def test_a_password_that_was_kept_is_good_for_nothing(store: IdentityStore, robot: Account) -> None:
    with store.write() as records:
        records.change_account(robot.id, password=hash_password(WORDS))
    ways = SignIn(store, SETTINGS, Throttle(store, SETTINGS), Ledger(store))
    proven = ways.by_password("robot", WORDS, HERE)
    with pytest.raises(AccessDenied) as refused:
        Directory(store).by_account(proven.account.id, proven.credential)
    assert str(refused.value) == TOLD
    with pytest.raises(AccessDenied, match=r"^A service has no log-in\."):
        Directory(store).current(Principal("robot", "service", credential=proven.credential))


def test_a_session_that_was_kept_is_good_for_nothing(store: IdentityStore, robot: Account) -> None:
    presented = parse_plain(session_of(store, robot).text)
    assert presented is not None
    with pytest.raises(AccessDenied) as refused:
        Directory(store).by_session(presented)
    assert (str(refused.value), refused.value.holder) == (TOLD, "robot")
    with pytest.raises(AccessDenied, match=r"^A service has no log-in\."):
        Directory(store).current(Principal("robot", "service", credential=f"session:{presented.key}"))


def test_an_identity_that_was_linked_leads_to_nothing(store: IdentityStore, robot: Account) -> None:
    with store.write() as records:
        records.link_identity(robot.id, "https://sso.example.org", "1815")
    with pytest.raises(AccessDenied) as refused:
        ExternalAccounts(store).account_for(ExternalIdentity("https://sso.example.org", "1815", "ada"))
    assert str(refused.value) == TOLD


def test_no_program_is_let_in_by_a_code(store: IdentityStore, administration: Administration, robot: Account) -> None:
    grants = DeviceGrants(store, SETTINGS, Throttle(store, SETTINGS))
    begun = grants.begin("idac", frozenset(), device="laptop", address=HERE)
    session = Principal("robot", "service", credential=f"session:{session_of(store, robot).key}")
    token, _ = administration.add_token("robot", "harvest", actor="t", kind="service")
    for who in (session, Principal("robot", "service", credential=f"token:{token.key}")):
        with pytest.raises(AccessDenied) as refused:
            grants.decide(begun.user_code, who, allow=True, address=HERE)
        assert str(refused.value) == TOLD


def test_a_code_that_was_allowed_gives_no_token(
    store: IdentityStore, administration: Administration, robot: Account
) -> None:
    grants = DeviceGrants(store, SETTINGS, Throttle(store, SETTINGS))
    ada = administration.add_account("ada", actor="t")
    begun = grants.begin("idac", frozenset(), device="laptop", address=HERE)
    by = Principal("ada", "user", credential=f"session:{session_of(store, ada).key}")
    grants.decide(begun.user_code, by, allow=True, address=HERE)
    with store.write() as records:
        records.change_account(ada.id, kind=robot.kind)
    with pytest.raises(OAuthRefusal) as refused:
        grants.redeem(begun.secret.text, "idac", address=HERE)
    assert (refused.value.oauth, str(refused.value)) == (
        "access_denied",
        "The account can't be used. Given: ada is a service.",
    )
    assert administration.tokens() == []
