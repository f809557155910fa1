"""What the audit log tells of one account: what it did, what was done to it, and that by way of groups too."""

from __future__ import annotations

import pytest

from idac.core.principal import Principal
from idac.identity import group_store
from idac.identity.administration import Administration
from idac.identity.groups import UserGroups
from idac.identity.invitations import Invitations
from idac.identity.settings import IdentitySettings
from idac.identity.store import IdentityStore
from idac.identity.throttle import Throttle

ADA, ME = Principal("ada", "user"), "local:tester"


def actions_of(store: IdentityStore, name: str) -> list[str]:
    return [entry.action for entry in store.iter_audit(subject=name)]


def test_acts_on_groups_are_found_of_those_whom_they_concern(
    administration: Administration, store: IdentityStore
) -> None:
    groups = UserGroups(administration)
    invitations = Invitations(groups, Throttle(store, IdentitySettings()))
    for name in ("ada", "bob", "cyd"):
        administration.add_account(name, actor=ME)
    groups.make(ADA, "shear")
    made = invitations.invite(ADA, "shear", "bob")
    invitations.withdraw(ADA, "shear", made.key)
    administration.add_members("shear", ["bob"], actor=ME)
    groups.set_manager(ADA, "shear", "bob", manages=True)
    groups.hand_over(ADA, "shear", "bob")
    groups.give("shear", None, actor=ME)
    administration.remove_members("shear", ["ada"], actor=ME)
    assert actions_of(store, "bob") == [
        "user add",
        "group invite",
        "group uninvite",
        "group member",
        "group manager",
        "group owner",
        "group owner",
    ]
    assert actions_of(store, "ada")[-2:] == ["group owner", "group remove"]
    assert actions_of(store, "cyd") == ["user add"]


def test_a_deleted_group_is_told_with_those_who_lost_a_place(
    administration: Administration, store: IdentityStore
) -> None:
    for name in ("ada", "bob"):
        administration.add_account(name, actor=ME)
    administration.add_members("team", ["bob", "ada"], actor=ME)
    assert administration.delete_group("team", actor=ME) == []
    (entry,) = store.iter_audit(actions=["group delete"])
    assert (entry.actor, entry.subject) == (ME, "team")
    assert entry.detail == {"gid": 100_002, "members": 2, "left": ["ada", "bob"]}
    assert actions_of(store, "bob") == ["user add", "group member", "group delete"]


def test_so_many_members_of_a_deleted_group_are_named_at_most(
    administration: Administration, store: IdentityStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ada", "bob", "cyd"):
        administration.add_account(name, actor=ME)
    administration.add_members("team", ["ada", "bob", "cyd"], actor=ME)
    monkeypatch.setattr(group_store, "_TOLD", 2)
    administration.delete_group("team", actor=ME)
    (entry,) = store.iter_audit(actions=["group delete"])
    assert (entry.detail["members"], entry.detail["left"]) == (3, ["ada", "bob"])


def test_a_word_that_is_no_name_of_an_account_is_not_taken_for_one(store: IdentityStore) -> None:
    with store.write() as records:
        records.note("ada", "login", "ada", how="password")
        records.note(ME, "group invite refused", "team", account="p%ssword")
        records.note(ME, "group owner", "team", owner="ada", before="bob")
    assert actions_of(store, "password") == []
    assert actions_of(store, "p%ssword") == ["group invite refused"]
    assert actions_of(store, "bob") == ["group owner"]
