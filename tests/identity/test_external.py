"""Identities from elsewhere become accounts here, by their issuer's word and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import sqlalchemy as sa

from idac.core.errors import AccessDenied, BadParameter, Conflict, NotFound
from idac.identity.administration import Administration
from idac.identity.external import ExternalAccounts
from idac.identity.ledger import Ledger
from idac.identity.model import ExternalIdentity, Member
from idac.identity.schema import SESSIONS
from idac.identity.settings import IdentitySettings
from idac.identity.sign_in import SignIn
from idac.identity.store import IdentityStore, Records
from idac.identity.throttle import Throttle
from identity_clock import Clock
from identity_moments import during

ADA = ExternalIdentity(
    "https://sso.example.org", "1815", "Ada@example.org", "Ada L.", "ada@example.org", frozenset({"dp1"})
)

ADMINS = frozenset({"dac-admins"})


@pytest.fixture
def external(store: IdentityStore) -> ExternalAccounts:
    return ExternalAccounts(store)


def test_the_first_log_in_makes_an_account_and_later_ones_find_it(external: ExternalAccounts) -> None:
    made = external.account_for(ADA)
    assert (made.name, made.full_name, made.email, made.kind) == ("ada", "Ada L.", "ada@example.org", "user")
    again = external.account_for(replace(ADA, username="renamed", full_name="Ada King"))
    assert (again.id, again.name, again.full_name) == (made.id, "ada", "Ada King")


def test_nobody_gets_an_account_by_its_name_or_address(
    external: ExternalAccounts, administration: Administration
) -> None:
    local = administration.add_account("ada", actor="me", email="a@example.org")
    other = external.account_for(ADA)
    third = external.account_for(replace(ADA, issuer="https://other.example.org"))
    assert len({local.id, other.id, third.id}) == 3
    assert (other.name, third.name) == ("ada-2", "ada-3")


@pytest.mark.parametrize(
    ("username", "name"),
    [("Jürgen Müller", "jurgen-muller"), ("42", "user-42"), ("", "user"), ("anonymous", "anonymous-2"), ("星", "user"),
     ("x" * 99, "x" * 26), ("a'; DROP TABLE x; --", "a-drop-table-x")],
)  # fmt: skip
def test_names_are_written_in_the_letters_of_names_here(external: ExternalAccounts, username: str, name: str) -> None:
    assert external.account_for(replace(ADA, username=username)).name == name


def test_groups_follow_the_claims_and_leave_the_operators_alone(
    external: ExternalAccounts, administration: Administration, clock: Clock
) -> None:
    external.account_for(replace(ADA, groups_until=clock.later(days=1)))
    administration.add_members("staff", ["ada"], actor="me")
    administration.add_members("dp1", ["ada"], actor="me")
    groups = {group.name: group.members for group in administration.groups()}
    assert groups == {
        "dp1": (Member("ada", None, None), Member("ada", ADA.issuer, clock.later(days=1))),
        "staff": (Member("ada", None, None),),
    }
    external.account_for(replace(ADA, groups=frozenset({"dp2"})))
    groups = {group.name: group.members for group in administration.groups()}
    assert groups == {
        "dp1": (Member("ada", None, None),),
        "dp2": (Member("ada", ADA.issuer, None),),
        "staff": (Member("ada", None, None),),
    }


def test_a_claim_names_no_user_as_a_group(external: ExternalAccounts, administration: Administration) -> None:
    administration.add_account("bob", actor="me")
    external.account_for(replace(ADA, groups=frozenset({"bob"})))
    assert administration.groups() == []
    with pytest.raises(BadParameter, match=r"The group can't have this name. Given: /vo/dp1."):
        external.account_for(replace(ADA, groups=frozenset({"/vo/dp1"})))


def test_several_identities_lead_to_one_account_and_one_to_one(
    external: ExternalAccounts, administration: Administration
) -> None:
    administration.add_account("lovelace", actor="me")
    github = ExternalIdentity("https://github.com", "99", "ada-l")
    external.link("lovelace", ADA, actor="lovelace")
    external.link("lovelace", ADA, actor="lovelace")
    external.link("lovelace", github, actor="lovelace")
    assert external.account_for(ADA).name == external.account_for(github).name == "lovelace"
    administration.add_account("bob", actor="me")
    with pytest.raises(Conflict) as caught:
        external.link("bob", github, actor="bob")
    assert str(caught.value) == (
        "This identity belongs to another account. Given: ada-l of https://github.com. "
        "Log in with it and use that account, or ask the operator."
    )
    with administration.store.read() as records:
        account = administration.account("lovelace")
        assert set(records.identities(account.id)) == {(ADA.issuer, "1815"), ("https://github.com", "99")}


def test_administrators_by_claim_are_so_until_every_issuer_says_otherwise(
    external: ExternalAccounts, administration: Administration
) -> None:
    boss = replace(ADA, admin_groups=ADMINS)
    github = ExternalIdentity("https://github.com", "99", "ada-l", admin_groups=ADMINS)
    assert external.account_for(boss).is_admin
    external.link("ada", github, actor="ada")
    assert external.account_for(ADA).is_admin
    assert not external.account_for(replace(github, admin_groups=frozenset())).is_admin
    entries = [entry.detail for entry in administration.store.iter_audit(actions=["user admin"])]
    assert entries == [
        {"admin": True, "issuer": ADA.issuer},
        {"admin": False, "issuer": github.issuer},
    ]


@pytest.mark.parametrize("way", ["log in", "link"])
def test_of_two_log_ins_in_one_moment_the_later_says_who_is_an_administrator(
    external: ExternalAccounts, administration: Administration, store: IdentityStore, way: str
) -> None:
    ada = external.account_for(ADA)

    def claim(records: Records) -> None:
        records.put_claimed_administrator(ada.id, ADA.issuer, ADMINS, None)
        records.change_account(ada.id, is_admin=True)

    acts: dict[str, Callable[[], object]] = {
        "log in": lambda: external.account_for(ADA),
        "link": lambda: external.link("ada", ADA, actor="ada"),
    }
    during(store, lambda records: records.lock_account(ada.id), acts[way], claim).result()
    assert not administration.account("ada").is_admin
    with store.read() as records:
        assert records.claimed_administrator(ada.id) == set()


def test_whom_an_operator_makes_an_administrator_during_a_log_in_stays_one(
    external: ExternalAccounts, administration: Administration, store: IdentityStore
) -> None:
    ada = external.account_for(ADA)

    def claim(records: Records) -> None:
        records.lock_account(ada.id)
        records.put_claimed_administrator(ada.id, ADA.issuer, ADMINS, None)

    during(store, claim, lambda: administration.appoint("ada", actor="me")).result()
    assert external.account_for(ADA).is_admin
    administration.appoint("ada", actor="me", dismiss=True)
    during(
        store,
        lambda records: records.lock_account(ada.id),
        lambda: external.account_for(replace(ADA, admin_groups=ADMINS)),
        lambda records: records.change_account(ada.id, is_admin=True),
    ).result()
    assert external.account_for(ADA).is_admin


def test_whom_an_operator_made_an_administrator_no_claim_unmakes(
    external: ExternalAccounts, administration: Administration
) -> None:
    administration.add_account("boss", actor="me", is_admin=True)
    external.link("boss", replace(ADA, admin_groups=ADMINS), actor="boss")
    assert external.account_for(ADA).is_admin


def test_where_no_accounts_are_made_only_linked_identities_come_in(
    external: ExternalAccounts, administration: Administration
) -> None:
    with pytest.raises(AccessDenied) as caught:
        external.account_for(ADA, may_create=False)
    assert str(caught.value) == (
        "Nobody here has this identity. Given: Ada@example.org of https://sso.example.org. "
        "Log in another way and link it to your account, or ask the operator for one."
    )
    assert administration.accounts() == []
    administration.add_account("ada", actor="me")
    external.link("ada", ADA, actor="ada")
    assert external.account_for(ADA, may_create=False).name == "ada"


def test_an_identity_is_unlinked_with_all_that_it_gave(
    external: ExternalAccounts, administration: Administration
) -> None:
    github = ExternalIdentity("https://github.com", "99", "ada-l", groups=frozenset({"gh"}))
    external.account_for(replace(ADA, admin_groups=ADMINS))
    external.link("ada", github, actor="ada")
    external.unlink("ada", ADA.issuer, ADA.subject, passwords=True, actor="ada")
    account = administration.account("ada")
    assert not account.is_admin
    assert {group.name for group in administration.groups() if group.members} == {"gh"}
    assert external.account_for(ADA).name == "ada-2"
    (entry,) = administration.store.iter_audit(actions=["user unlink"])
    assert (entry.actor, entry.subject, entry.detail) == ("ada", "ada", {"issuer": ADA.issuer, "known_as": "1815"})


def test_who_was_logged_in_by_an_unlinked_identity_is_logged_out(
    external: ExternalAccounts, store: IdentityStore
) -> None:
    account = external.account_for(ADA)
    external.link("ada", replace(ADA, issuer="https://github.com"), actor="ada")
    settings = IdentitySettings()
    sign_in = SignIn(store, settings, Throttle(store, settings), Ledger(store))
    here, _elsewhere = (sign_in.open_session(account, address="::1", how="test") for _ in range(2))
    external.unlink("ada", ADA.issuer, ADA.subject, passwords=True, actor="ada", session=here.key)
    with store.read() as records:
        left = set(records.connection.execute(sa.select(SESSIONS.c.key)).scalars())
    assert left == {here.key}


def test_the_last_way_in_stays(external: ExternalAccounts, administration: Administration) -> None:
    external.account_for(ADA)
    for subject, words in (
        ("1815", "This is the only way to log in to your account. Given: 1815 of https://sso.example.org. "
                       "Link another identity first, or ask the operator."),
        ("1816", "This identity does not lead to your account. Given: 1816 of https://sso.example.org."),
    ):  # fmt: skip
        with pytest.raises((Conflict, NotFound)) as caught:
            external.unlink("ada", ADA.issuer, subject, passwords=True, actor="ada")
        assert str(caught.value) == words
    administration.set_password("ada", "correct horse battery", actor="me")
    with pytest.raises(Conflict):
        external.unlink("ada", ADA.issuer, ADA.subject, passwords=False, actor="ada")
    external.unlink("ada", ADA.issuer, ADA.subject, passwords=True, actor="ada")
    external.account_for(ADA)


def test_two_identities_of_one_issuer_keep_its_groups_until_both_are_gone(
    external: ExternalAccounts, administration: Administration
) -> None:
    second = replace(ADA, subject="1816")
    external.account_for(ADA)
    external.link("ada", second, actor="ada")
    external.unlink("ada", ADA.issuer, "1815", passwords=False, actor="ada")
    assert [group.name for group in administration.groups() if group.members] == ["dp1"]
