"""Names of groups that are given once, and groups that nobody changes while somebody else does."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from idac.core.errors import AccessDenied, Conflict, NotFound
from idac.core.principal import Principal
from idac.identity import group_store
from idac.identity.administration import Administration
from idac.identity.external import ExternalAccounts
from idac.identity.group_names import names_in_use
from idac.identity.groups import UserGroups
from idac.identity.model import ExternalIdentity
from idac.identity.quota_settings import LimitSettings, QuotaSettings, RequestSettings
from idac.identity.quotas import Quotas
from idac.identity.settings import DataRight, IdentitySettings, UserGroupSettings
from idac.identity.store import IdentityStore, Records
from identity_moments import during

ME = "local:tester"
SETTINGS = IdentitySettings(
    enabled=True, rights={"dp1": DataRight(tables=["dp1"])}, user_groups=UserGroupSettings(per_account=3)
)
QUOTAS = QuotaSettings(default=LimitSettings(requests=RequestSettings(tap=10)))
ADA, BOB = Principal("ada", "user"), Principal("bob", "user")
NO_ROOM = (
    "There is no room for one more group. Given: ada has 3. "
    "Allowed: 3 groups, deleted ones that they made among them (identity.user_groups.per_account). "
    "Hand one over, or ask the operator of this centre."
)


@pytest.fixture
def administration(store: IdentityStore) -> Administration:
    made = Administration(store, SETTINGS)
    for name in ("ada", "bob", "cyd"):
        made.add_account(name, actor=ME)
    return made


def claim(store: IdentityStore, *names: str, subject: str = "1", username: str = "dan") -> str:
    """Log somebody in whose provider says that they are in groups; returns the account's name."""
    identity = ExternalIdentity("https://sso.example.org", subject, username, groups=frozenset(names))
    return ExternalAccounts(store).account_for(identity).name


# -- names of deleted groups -----------------------------------------------------------------------------------------


def test_names_that_an_account_made_and_gave_up_count_to_its_limit(groups: UserGroups) -> None:
    for name in ("one", "two", "three"):
        groups.make(ADA, name)
        groups.delete(ADA, name)
    with pytest.raises(Conflict) as caught:
        groups.make(ADA, "four")
    assert caught.value.text == NO_ROOM
    groups.make(BOB, "four")


def test_a_name_counts_to_whoever_made_it_and_not_to_whom_it_was_handed(
    administration: Administration, groups: UserGroups
) -> None:
    for name in ("one", "two", "three"):
        groups.make(ADA, name)
        administration.add_members(name, ["bob"], actor=ME)
        groups.hand_over(ADA, name, "bob")
        groups.delete(BOB, name)
    for name in ("four", "five", "six"):
        groups.make(BOB, name)
    with pytest.raises(Conflict, match="Given: ada has 3"):
        groups.make(ADA, "seven")


def test_who_has_no_room_does_not_learn_which_names_are_taken(groups: UserGroups) -> None:
    for name in ("one", "two", "three"):
        groups.make(ADA, name)
    for name in ("bob", "nobody-has-this"):
        with pytest.raises(Conflict) as caught:
            groups.make(ADA, name)
        assert caught.value.text == NO_ROOM


def test_a_claim_makes_no_group_of_a_deleted_ones_name(
    administration: Administration, groups: UserGroups, store: IdentityStore, caplog: pytest.LogCaptureFixture
) -> None:
    groups.make(ADA, "shear")
    groups.delete(ADA, "shear")
    assert claim(store, "shear", "lenses") == "dan"
    assert [group.name for group in administration.groups()] == ["lenses"]
    (told,) = caplog.records
    assert (told.levelname, vars(told)["group"]) == ("WARNING", "shear")


def test_a_group_that_a_claim_brought_back_is_deleted_once_more(
    administration: Administration, groups: UserGroups, store: IdentityStore
) -> None:
    """As state databases have them whose claims made such groups before they were kept from it."""
    first = groups.make(ADA, "shear").gid
    groups.delete(ADA, "shear")
    with store.write() as records:
        records.add_group("shear")
    (second,) = (group.gid for group in administration.groups())
    administration.delete_group("shear", actor=ME)
    for number in (first, second):
        with pytest.raises(Conflict, match=r"The number can't be used"):
            administration.add_group("other", actor=ME, gid=number)
    with pytest.raises(Conflict, match=r"names are given once"):
        administration.add_group("shear", actor=ME)


def test_an_administrator_takes_a_name_back_and_nothing_else_of_the_group(
    administration: Administration, groups: UserGroups, store: IdentityStore
) -> None:
    before = groups.make(ADA, "shear").gid
    administration.grant("shear", "dp1", actor=ME)
    administration.add_members("shear", ["bob"], actor=ME)
    Quotas(store, QUOTAS, 0).set("shear", {"tap": 90}, actor=ME)
    groups.delete(ADA, "shear")
    administration.add_members("shear", ["cyd"], actor=ME, again=True)
    (group,) = administration.groups()
    assert ([member.account for member in group.members], group.grants) == (["cyd"], ())
    assert group.gid > before
    assert (groups.owners(), Quotas(store, QUOTAS, 0).overrides()) == ({}, [])
    noted = [entry for entry in store.iter_audit(actions=["group add"]) if entry.subject == "shear"]
    assert [(entry.actor, entry.detail) for entry in noted] == [(ME, {"in_place_of": before})]
    with pytest.raises(Conflict, match=r"The number can't be used"):
        administration.add_group("other", actor=ME, gid=before)
    # It counts no more to whoever made the first, and ends as often as it is made.
    for name in ("one", "two", "three"):
        groups.make(ADA, name)
    administration.delete_group("shear", actor=ME)
    administration.add_members("shear", [], actor=ME, again=True)


def test_a_name_is_taken_back_only_where_a_deleted_group_had_it(
    administration: Administration, groups: UserGroups
) -> None:
    groups.make(ADA, "shear")
    for name, text in (
        ("shear", "There is a group of this name. Given: shear. Leave out --again to add members to it."),
        ("arcs", "No group of this name was deleted. Given: arcs. Leave out --again to make it."),
    ):
        with pytest.raises((Conflict, NotFound)) as caught:
            administration.add_members(name, ["bob"], actor=ME, again=True)
        assert caught.value.text == text
    groups.delete(ADA, "shear")
    administration.names = names_in_use(SETTINGS, published=lambda: {"shear"})
    with pytest.raises(Conflict) as caught:
        administration.add_members("shear", ["bob"], actor=ME, again=True)
    assert caught.value.text == (
        "The group that was deleted may still read what publishers opened to it. Given: shear. "
        "Take it out there first: idac catalog rights shows where."
    )
    assert administration.groups() == []


def test_what_names_nothing_is_not_there(groups: UserGroups, administration: Administration) -> None:
    for name in ("a\0b", "\ud800"):
        with pytest.raises(NotFound):
            groups.view(ADA, name)
        with pytest.raises(NotFound):
            administration.account(name)


# -- who comes at the same moment ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "give",
    [
        lambda given: given.add_account("shear", actor=ME),
        lambda given: given.add_group("shear", actor=ME),
        lambda given: given.add_members("shear", ["bob"], actor=ME),
        lambda given: UserGroups(given).make(ADA, "shear"),
    ],
)
@pytest.mark.parametrize(
    "first", [lambda records: records.add_account("shear", "user"), lambda records: records.add_group("shear")]
)
def test_a_name_that_is_given_in_this_moment_is_nobody_elses(
    administration: Administration,
    store: IdentityStore,
    first: Callable[[Records], object],
    give: Callable[[Administration], object],
) -> None:
    later = during(store, first, lambda: give(administration))
    with store.read() as records:
        both = records.account("shear") is not None and records.group_id("shear") is not None
    assert not both
    if later.exception() is not None:
        with pytest.raises(Conflict):
            later.result()


def test_a_claims_group_and_a_new_account_never_share_a_name(
    administration: Administration, store: IdentityStore
) -> None:
    during(store, lambda records: records.add_account("shear", "user"), lambda: claim(store, "shear")).result()
    assert administration.groups() == []
    later = during(store, lambda records: records.add_group("eve"), lambda: claim(store, subject="2", username="eve"))
    assert later.result() == "eve-2"


def test_who_comes_for_the_first_time_in_two_windows_has_one_account(
    administration: Administration, store: IdentityStore
) -> None:
    def come(records: Records) -> None:
        made = records.add_account("dan", "user")
        records.link_identity(made.id, "https://sso.example.org", "1")

    assert during(store, come, lambda: claim(store)).result() == "dan"
    assert [account.name for account in administration.accounts()] == ["ada", "bob", "cyd", "dan"]


def test_log_ins_of_one_account_at_once_wait_for_each_other_in_one_order(
    administration: Administration, store: IdentityStore
) -> None:
    claim(store, "arcs", "lenses")
    claim(store)
    dan = administration.account("dan")

    def log_in(records: Records) -> None:
        records.lock_account(dan.id)
        put(records, "lenses")

    def put(records: Records, name: str) -> None:
        group_id = records.group_id(name)
        assert group_id is not None
        records.put_member(group_id, dan.id, source="https://sso.example.org")

    later = during(store, log_in, lambda: claim(store, "arcs"), lambda records: put(records, "arcs"))
    assert later.result() == "dan"
    assert [group.name for group in administration.groups() if group.members] == ["arcs"]


def test_who_makes_a_group_waits_for_names_before_their_account(
    administration: Administration, groups: UserGroups, store: IdentityStore
) -> None:
    """Else whoever has the names and then asks for the account would wait for one who waits for the names."""
    ada = administration.account("ada")
    later = during(
        store, lambda records: records.lock_names(), lambda: groups.make(ADA, "shear"), lambda r: r.lock_account(ada.id)
    )
    later.result()
    assert groups.owners() == {"shear": "ada"}


def test_of_two_ways_in_that_are_ended_at_once_one_stays(store: IdentityStore) -> None:
    claim(store)
    external = ExternalAccounts(store)
    external.link("dan", ExternalIdentity("https://github.com", "7", "dan"), actor="dan")

    def unlink(records: Records) -> None:
        account = records.account("dan")
        assert account is not None
        records.lock_account(account.id)
        records.unlink_identity(account.id, "https://sso.example.org", "1")

    later = during(
        store, unlink, lambda: external.unlink("dan", "https://github.com", "7", passwords=False, actor="dan")
    )
    with pytest.raises(Conflict, match="This is the only way to log in to your account"):
        later.result()


def test_who_was_the_owner_a_moment_ago_deletes_nothing(
    administration: Administration, groups: UserGroups, store: IdentityStore
) -> None:
    group = groups.make(ADA, "shear")
    bob = administration.account("bob")

    def hand_over(records: Records) -> None:
        records.lock_group("shear")
        group_store.put_owner(records, group.id, bob.id)

    later = during(store, hand_over, lambda: groups.delete(ADA, "shear"))
    with pytest.raises(AccessDenied) as caught:
        later.result()
    assert caught.value.text == "Only the owner of the group may do this. Given: shear. Allowed: bob."


@pytest.mark.parametrize(
    "act",
    [
        lambda given: UserGroups(given).give("shear", "bob", actor=ME),
        lambda given: given.remove_members("shear", ["ada"], actor=ME),
        lambda given: given.grant("shear", "dp1", actor=ME),
        lambda given: Quotas(given.store, QUOTAS, 0).set("shear", {"tap": 90}, actor=ME),
    ],
)
def test_a_group_that_is_deleted_in_this_moment_is_not_there(
    administration: Administration, groups: UserGroups, store: IdentityStore, act: Callable[[Administration], object]
) -> None:
    group = groups.make(ADA, "shear")

    def delete(records: Records) -> None:
        records.lock_group("shear")
        group_store.remove_group(records, group.id, "shear", actor=ME)

    later = during(store, delete, lambda: act(administration))
    with pytest.raises(NotFound, match=r"There is no (account or )?group of this name. Given: shear."):
        later.result()
    assert Quotas(store, QUOTAS, 0).overrides() == []


def test_whom_a_claim_puts_into_a_group_that_is_deleted_is_logged_in_without_it(
    groups: UserGroups, store: IdentityStore
) -> None:
    group = groups.make(ADA, "shear")

    def delete(records: Records) -> None:
        records.lock_group("shear")
        group_store.remove_group(records, group.id, "shear", actor=ME)

    assert during(store, delete, lambda: claim(store, "shear")).result() == "dan"
    with store.read() as records:
        assert records.groups() == []
