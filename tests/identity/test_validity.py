"""What was ended changes nothing any more, though a process may believe it for some seconds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import pytest

from idac.core.errors import AccessDenied, NotAuthenticated, UserError
from idac.core.principal import Principal
from idac.identity.administration import Administration
from idac.identity.credentials import parse_token, password_credential
from idac.identity.device import DeviceGrants
from idac.identity.directory import Directory, UnknownCredential
from idac.identity.external import ExternalAccounts
from idac.identity.groups import UserGroups
from idac.identity.impersonation import Impersonation
from idac.identity.invitations import Invitations
from idac.identity.model import ExternalIdentity
from idac.identity.self_service import SelfService
from idac.identity.store import IdentityStore, Records
from idac.identity.throttle import Throttle
from idac.identity.validity import require_good
from identity_clock import Clock
from identity_moments import during

ME, WORDS, HERE = "local:tester", "correct horse battery", "192.0.2.1"
THIEF = ExternalIdentity("https://github.com", "666", "mallory")
OWN = ExternalIdentity("https://github.com", "1815", "ada")
SESSION = "s-1"


@dataclass(frozen=True)
class Centre:
    administration: Administration
    accounts: ExternalAccounts
    devices: DeviceGrants
    groups: UserGroups
    invitations: Invitations
    code: str
    link: str

    @property
    def store(self) -> IdentityStore:
        return self.administration.store


@pytest.fixture
def centre(administration: Administration) -> Centre:
    """Ada, an administrator, with a password, a session, two identities, a group, and a link to bob's group."""
    store, throttle = administration.store, Throttle(administration.store, administration.settings)
    ada = administration.add_account("ada", actor=ME, password=WORDS, is_admin=True)
    administration.add_account("bob", actor=ME)
    accounts, groups = ExternalAccounts(store), UserGroups(administration)
    accounts.link("ada", OWN, actor=ME)
    invitations = Invitations(groups, throttle)
    groups.make(Principal("ada", "user"), "adas")
    groups.make(Principal("bob", "user"), "bobs")
    _, link = invitations.make_link(Principal("bob", "user"), "bobs")
    devices = DeviceGrants(store, administration.settings, throttle)
    code = devices.begin("idac", frozenset({"read:tap"}), device="mallory's", address="198.51.100.7").user_code
    with store.write() as records:
        records.add_session(SESSION, "digest", ada.id, store.now() + timedelta(hours=1), None)
    return Centre(administration, accounts, devices, groups, invitations, code, link.text)


type Act = Callable[[Centre, Principal], object]
ACTS: dict[str, Act] = {
    "make a token": lambda centre, who: SelfService(centre.administration).make_token(who, "for ever"),
    "let a program in": lambda centre, who: centre.devices.decide(centre.code, who, allow=True, address=HERE),
    "link an identity": lambda centre, who: centre.accounts.link("ada", THIEF, actor="ada", credential=who.credential),
    "make a group": lambda centre, who: centre.groups.make(who, "more"),
    "end a group": lambda centre, who: centre.groups.delete(who, "adas"),
    "invite": lambda centre, who: centre.invitations.invite(who, "adas", "bob"),
    "make a link": lambda centre, who: centre.invitations.make_link(who, "adas"),
    "join": lambda centre, who: centre.invitations.join(who, centre.link, address=HERE),
    "act for somebody": lambda centre, who: Impersonation(centre.administration).lend(
        "bob", "a look", actor="ada", administrator="ada", credential=who.credential
    ),
}


def credentials(centre: Centre) -> dict[str, str]:
    """By what ada is known: a browser, a token and a password that comes with each request."""
    token, _ = centre.administration.add_token("ada", "laptop", actor=ME, scopes=["user:token", "read:tap"])
    with centre.store.read() as records:
        account = records.account("ada")
        assert account is not None
        kept = records.password_hash(account.id)
    assert kept is not None
    return {"session": f"session:{SESSION}", "token": f"token:{token.key}", "password": password_credential(kept)}


def end(centre: Centre, kind: str, credential: str) -> None:
    if kind == "token":
        centre.administration.revoke(credential.removeprefix("token:"), actor=ME)
    else:
        centre.administration.set_password("ada", WORDS * 2, actor=ME)


WORDS_OF = {
    "session": "Your log-in has ended. Log in again.",
    "token": "This token was revoked. Given: {}. Log in again, or use another token.",
    "password": "This password is not the account's any more. Log in again.",
}


@pytest.mark.parametrize("kind", ["session", "token", "password"])
@pytest.mark.parametrize("act", ACTS)
def test_what_was_ended_does_nothing_more_for_whoever_has_it(centre: Centre, act: str, kind: str) -> None:
    credential = credentials(centre)[kind]
    believed = Principal("ada", "user", is_admin=True, credential=credential)
    end(centre, kind, credential)
    before = [(entry.action, entry.subject) for entry in centre.store.iter_audit()]
    with pytest.raises(NotAuthenticated) as caught:
        ACTS[act](centre, believed)
    assert caught.value.text == WORDS_OF[kind].format(credential.removeprefix("token:"))
    assert [(entry.action, entry.subject) for entry in centre.store.iter_audit()] == before


@pytest.mark.parametrize("act", ACTS)
def test_a_frozen_account_does_nothing_by_a_password_that_is_good(centre: Centre, act: str) -> None:
    believed = Principal("ada", "user", is_admin=True, credential=credentials(centre)["password"])
    centre.administration.freeze("ada", "stolen", actor=ME)
    with pytest.raises(AccessDenied) as caught:
        ACTS[act](centre, believed)
    assert caught.value.text == "This account is frozen. Given: ada. Ask the operator of this centre."


@pytest.mark.parametrize("kind", ["session", "token", "password"])
@pytest.mark.parametrize("act", ACTS)
def test_what_is_good_does_all_that_its_holder_may(centre: Centre, act: str, kind: str) -> None:
    ACTS[act](centre, Principal("ada", "user", is_admin=True, credential=credentials(centre)[kind]))


def test_an_ended_log_in_unlinks_nothing(centre: Centre) -> None:
    end(centre, "session", SESSION)
    with pytest.raises(NotAuthenticated, match=r"^Your log-in has ended\. Log in again\.$"):
        centre.accounts.unlink("ada", OWN.issuer, OWN.subject, passwords=True, actor="ada", session=SESSION)
    assert centre.accounts.account_for(OWN).name == "ada"


def test_a_log_in_of_another_account_or_one_whose_time_is_over_is_not_good(centre: Centre, clock: Clock) -> None:
    def refusal(name: str) -> UserError:
        account = centre.administration.account(name)
        with centre.store.write() as records, pytest.raises(NotAuthenticated) as caught:
            require_good(records, f"session:{SESSION}", account)
        return caught.value

    assert refusal("bob").text == WORDS_OF["session"]
    clock.advance(hours=1)
    assert refusal("ada").text == WORDS_OF["session"]


def test_a_credential_of_a_kind_that_is_not_known_changes_nothing(centre: Centre) -> None:
    for credential, words in (
        ("job:x", "Nothing is changed by this way to log in. Given: job. Log in again."),
        ("password", "This password is not the account's any more. Log in again."),
    ):
        with pytest.raises(NotAuthenticated) as caught:
            SelfService(centre.administration).make_token(Principal("ada", "user", credential=credential), "x")
        assert caught.value.text == words


@pytest.mark.parametrize("act", ["make a token", "let a program in", "link an identity", "make a group"])
def test_who_acts_while_the_password_is_set_is_refused(centre: Centre, act: str) -> None:
    believed = Principal("ada", "user", credential=f"session:{SESSION}")
    account = centre.administration.account("ada")

    def set_password(records: Records) -> None:
        records.lock_account(account.id)
        records.end_sessions(account.id)

    later = during(centre.store, set_password, lambda: ACTS[act](centre, believed))
    assert isinstance(later.exception(), NotAuthenticated)


def test_work_by_a_password_ends_when_that_is_changed(centre: Centre) -> None:
    directory, account = Directory(centre.store), centre.administration.account("ada")
    credential = credentials(centre)["password"]
    known = directory.by_account(account.id, credential).principal
    assert directory.current(known) == known
    assert (WORDS in credential, len(credential)) == (False, len("password:") + 32)
    centre.administration.set_password("ada", WORDS * 2, actor=ME)
    for look in (lambda: directory.current(known), lambda: directory.by_account(account.id, credential)):
        with pytest.raises(UnknownCredential) as caught:
            look()
        assert caught.value.text == WORDS_OF["password"]


def test_a_token_ends_with_the_one_that_made_it(centre: Centre) -> None:
    credential = credentials(centre)["token"]
    believed = Principal("ada", "user", scopes=frozenset({"read:tap"}), credential=credential)
    token, secret = SelfService(centre.administration).make_token(believed, "child")
    assert f"token:{token.parent}" == credential
    assert parse_token(secret.text) is not None
