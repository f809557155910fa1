"""Groups that people make: who may do what with them, what they never give, and how invitations end."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import pytest

from idac.core.errors import AccessDenied, BadParameter, Conflict, NotFound, TooOften, UserError
from idac.core.principal import Principal
from idac.identity.administration import Administration
from idac.identity.credentials import parse_token
from idac.identity.directory import Directory
from idac.identity.external import ExternalAccounts
from idac.identity.group_names import names_in_use
from idac.identity.groups import UserGroups
from idac.identity.invitations import Invitations
from idac.identity.issuers import Issuers
from idac.identity.model import ExternalIdentity
from idac.identity.quota_settings import LimitSettings, QuotaSettings, RequestSettings
from idac.identity.quotas import Quotas
from idac.identity.settings import (
    AllowSettings,
    DataRight,
    IdentitySettings,
    ProviderSettings,
    UserGroupSettings,
)
from idac.identity.store import IdentityStore
from idac.identity.throttle import Throttle
from identity_clock import Clock

ME, HOME = "local:tester", "192.0.2.7"
SETTINGS = IdentitySettings(
    enabled=True,
    rights={"dp1": DataRight(tables=["dp1"])},
    providers={
        "sso": ProviderSettings(
            issuer="https://sso.example.org",
            client_id="idac",
            groups={"data-access": "dp1-team"},
            group_prefix="sso-",
            admin_groups=["dac-admins"],
            allow=AllowSettings(groups=["astronomers"]),
        )
    },
    quotas=QuotaSettings(
        default=LimitSettings(requests=RequestSettings(tap=10)),
        groups={"power-users": LimitSettings(requests=RequestSettings(tap=90))},
        bypass=["pipelines"],
    ),
    user_groups=UserGroupSettings(per_account=2, max_members=3, max_invitations=2, invitation_s=10 * 86400),
    guesses_per_address=3,
)
PEOPLE = ("ada", "bob", "cyd", "dan")


@pytest.fixture
def administration(store: IdentityStore) -> Administration:
    made = Administration(store, SETTINGS, names_in_use(SETTINGS, ["readers"]))
    for name in PEOPLE:
        made.add_account(name, actor=ME)
    return made


def who(name: str, *, admin: bool = False) -> Principal:
    return Principal(name, "user", is_admin=admin)


def join(invitations: Invitations, name: str, *, by: str = "ada", group: str = "shear", **more: datetime) -> None:
    made = invitations.invite(who(by), group, name, **more)
    invitations.answer(who(name), made.key, accept=True)


def now_of(administration: Administration, name: str) -> Principal:
    """The account as every request sees it."""
    secret = administration.add_token(name, "test", actor=ME)[1]
    presented = parse_token(secret.text)
    assert presented is not None
    return Directory(administration.store, administration.names, administration.issuers).by_token(presented).principal


def acts(administration: Administration) -> list[tuple[str, str, str | None]]:
    return [
        (entry.actor, entry.action, entry.subject)
        for entry in administration.store.iter_audit()
        if entry.action.startswith("group")
    ]


def refused(kind: type[UserError], work: Callable[[], object]) -> str:
    with pytest.raises(kind) as caught:
        work()
    return caught.value.text


def test_a_group_from_its_beginning_to_its_end(
    administration: Administration, groups: UserGroups, invitations: Invitations
) -> None:
    made = groups.make(who("ada"), "shear", "Weak lensing")
    assert (made.owner, made.given, made.description) == ("ada", False, "Weak lensing")
    assert now_of(administration, "ada").groups == {"shear"}
    asked = invitations.invite(who("ada"), "shear", "bob")
    assert [(each.group, each.inviter, each.description) for each in invitations.mine(who("bob"))] == [
        ("shear", "ada", "Weak lensing")
    ]
    assert now_of(administration, "bob").groups == frozenset()
    invitations.answer(who("bob"), asked.key, accept=True)
    assert (now_of(administration, "bob").groups, invitations.mine(who("bob"))) == ({"shear"}, [])
    groups.set_manager(who("ada"), "shear", "bob", manages=True)
    join(invitations, "cyd", by="bob")
    assert [(group.name, role) for group, role in groups.mine(who("bob"))] == [("shear", "manager")]
    seen = groups.view(who("cyd"), "shear")
    assert (seen.role, [member.account for member in seen.members], seen.managers) == (
        "member",
        ["ada", "bob", "cyd"],
        {"bob"},
    )
    groups.remove(who("bob"), "shear", "cyd")
    assert now_of(administration, "cyd").groups == frozenset()
    assert groups.hand_over(who("ada"), "shear", "bob").owner == "bob"
    assert groups.view(who("ada"), "shear").role == "manager"
    groups.remove(who("ada"), "shear", "ada")
    groups.delete(who("bob"), "shear")
    assert (groups.mine(who("bob")), now_of(administration, "bob").groups) == ([], frozenset())
    assert acts(administration) == [
        ("ada", "group make", "shear"),
        ("ada", "group invite", "shear"),
        ("bob", "group join", "shear"),
        ("ada", "group manager", "shear"),
        ("bob", "group invite", "shear"),
        ("cyd", "group join", "shear"),
        ("bob", "group remove", "shear"),
        ("ada", "group owner", "shear"),
        ("ada", "group leave", "shear"),
        ("bob", "group delete", "shear"),
    ]


def test_nobody_takes_a_name_that_means_something(administration: Administration, groups: UserGroups) -> None:
    administration.add_group("team", actor=ME)
    groups.make(who("bob"), "gone")
    groups.delete(who("bob"), "gone")
    taken = {
        "dp1": "a data right",
        "dp1-team": "where claims lead",
        "data-access": "a group of the provider",
        "sso-anything": "what claims could make",
        "dac-admins": "administrators by claim",
        "astronomers": "who may log in",
        "power-users": "a quota",
        "pipelines": "without quotas",
        "readers": "who may read a table",
        "bob": "an account",
        "team": "an operator's group",
        "admin": "those who run the centre",
        "operators": "those who run the centre",
        "gone": "a group that was deleted",
    }
    for name, why in taken.items():
        text = refused(Conflict, lambda name=name: groups.make(who("ada"), name))  # type: ignore[misc]
        assert text == f"This name is taken. Given: {name}. Choose another.", why
    for name in ("Shear", "public", "anonymous", "root", "a" * 65, "x y", "-x", ""):
        text = refused(BadParameter, lambda name=name: groups.make(who("ada"), name))  # type: ignore[misc]
        assert text.startswith("The group can't have this name.")
    published = UserGroups(administration, lambda: {"hubble"})  # a publisher let a group read that is not there yet
    assert refused(Conflict, lambda: published.make(who("ada"), "hubble")).startswith("This name is taken.")


def test_a_group_whose_name_dac_yaml_comes_to_use_counts_only_once_an_administrator_says_so(
    administration: Administration, store: IdentityStore, groups: UserGroups, invitations: Invitations
) -> None:
    groups.make(who("ada"), "dp2-team")
    join(invitations, "bob", group="dp2-team")
    assert (administration.unmeant_groups(), groups.view(who("ada"), "dp2-team").unmeant) == ({}, False)
    leading = SETTINGS.providers["sso"].model_copy(update={"groups": {"dp2": "dp2-team"}})
    changed = SETTINGS.model_copy(update={"providers": {"sso": leading}})
    administration.names, administration.issuers = names_in_use(changed), Issuers(changed)
    assert administration.unmeant_groups() == {"dp2-team": "ada"}
    assert UserGroups(administration).view(who("ada"), "dp2-team").unmeant
    assert now_of(administration, "ada").groups == now_of(administration, "bob").groups == frozenset()
    quotas = Quotas(store, SETTINGS.quotas, 0, administration.names)
    assert quotas.account("bob").groups == frozenset()
    # Those whom a claim puts there are in it.
    dan = ExternalIdentity("https://sso.example.org", "1", "dan", groups=frozenset({"dp2-team"}))
    ExternalAccounts(store).link("dan", dan, actor="dan")
    assert now_of(administration, "dan").groups == {"dp2-team"}
    groups.give("dp2-team", "ada", actor=ME)
    assert administration.unmeant_groups() == {}
    assert now_of(administration, "bob").groups == quotas.account("bob").groups == {"dp2-team"}
    groups.give("dp2-team", None, actor=ME)
    assert now_of(administration, "bob").groups == {"dp2-team"}
    assert "no group of this name" in refused(NotFound, lambda: groups.view(who("ada"), "dp2-team"))


def test_a_group_gives_no_right_and_no_quota_but_those_that_an_administrator_gives_it(
    administration: Administration, store: IdentityStore, groups: UserGroups
) -> None:
    groups.make(who("ada"), "shear")
    quotas = Quotas(store, SETTINGS.quotas, 0, administration.names)
    plain = now_of(administration, "ada")
    assert (plain.rights, plain.is_admin, quotas.of(plain).tap) == (frozenset(), False, 10)
    administration.grant("shear", "dp1", actor=ME)
    assert now_of(administration, "ada").rights == {"dp1"}
    groups.delete(who("ada"), "shear")
    assert now_of(administration, "ada").rights == frozenset()


def test_a_frozen_owner_has_a_group_of_nobody_and_invitations_to_nowhere(
    administration: Administration, groups: UserGroups, invitations: Invitations
) -> None:
    groups.make(who("ada"), "shear")
    administration.grant("shear", "dp1", actor=ME)
    join(invitations, "bob")
    groups.set_manager(who("ada"), "shear", "bob", manages=True)
    named = invitations.invite(who("bob"), "shear", "cyd")
    _, link = invitations.make_link(who("ada"), "shear")
    administration.freeze("ada", "a test", actor=ME)
    bob = now_of(administration, "bob")
    assert (bob.groups, bob.rights) == (frozenset(), frozenset())
    assert invitations.mine(who("cyd")) == []
    gone = "This invitation is not good, or not any more. Ask whoever invited you for a new one."
    assert refused(NotFound, lambda: invitations.answer(who("cyd"), named.key, accept=True)) == gone
    assert refused(NotFound, lambda: invitations.join(who("cyd"), link.text, address=HOME)) == gone
    assert refused(AccessDenied, lambda: invitations.invite(who("ada"), "shear", "dan")).startswith(
        "This account is frozen."
    )
    groups.give("shear", "bob", actor=ME)
    assert now_of(administration, "bob").rights == {"dp1"}
    administration.unfreeze("ada", actor=ME)
    assert refused(NotFound, lambda: invitations.join(who("cyd"), link.text, address=HOME)) == gone


def test_invitations_of_who_looks_after_the_group_no_longer_are_void(
    administration: Administration, groups: UserGroups, invitations: Invitations
) -> None:
    groups.make(who("ada"), "shear")
    join(invitations, "bob")
    groups.set_manager(who("ada"), "shear", "bob", manages=True)
    _, link = invitations.make_link(who("bob"), "shear")
    groups.set_manager(who("ada"), "shear", "bob", manages=False)
    groups.set_manager(who("ada"), "shear", "bob", manages=True)
    refused(NotFound, lambda: invitations.join(who("cyd"), link.text, address=HOME))
    _, link = invitations.make_link(who("bob"), "shear")
    administration.freeze("bob", "a test", actor=ME)
    refused(NotFound, lambda: invitations.join(who("cyd"), link.text, address=HOME))
    administration.unfreeze("bob", actor=ME)
    administration.remove_members("shear", ["bob"], actor=ME)  # past this service, by the command line
    refused(NotFound, lambda: invitations.join(who("cyd"), link.text, address=HOME))
    refused(NotFound, lambda: groups.view(who("bob"), "shear"))


def test_who_looks_at_a_group_sees_that_it_counts_for_nobody_while_its_owner_is_frozen(
    administration: Administration, groups: UserGroups
) -> None:
    groups.make(who("ada"), "shear")
    administration.add_members("shear", ["bob"], actor=ME)
    assert groups.view(who("bob"), "shear").counts
    administration.freeze("ada", "a test", actor=ME)
    seen = groups.view(who("bob"), "shear")
    assert (seen.counts, seen.owner_frozen, now_of(administration, "bob").groups) == (False, True, frozenset())
    groups.give("shear", "bob", actor=ME)
    assert groups.view(who("bob"), "shear").counts


def test_an_owner_is_not_taken_out_past_the_group_as_they_would_invite_themselves(
    administration: Administration, groups: UserGroups
) -> None:
    groups.make(who("ada"), "shear")
    administration.add_members("shear", ["bob"], actor=ME)
    assert refused(Conflict, lambda: administration.remove_members("shear", ["bob", "ada"], actor=ME)) == (
        "The owner can't leave the group. Given: ada in shear. Allowed: members who do not own it. "
        "Give it to somebody else first: idac group owner shear ACCOUNT, or to administrators alone: "
        "idac group owner shear --none."
    )
    assert [member.account for member in groups.view(who("ada"), "shear").members] == ["ada", "bob"]
    groups.give("shear", "bob", actor=ME)
    administration.remove_members("shear", ["ada"], actor=ME)
    refused(NotFound, lambda: groups.view(who("ada"), "shear"))


def test_members_may_look_managers_may_invite_and_only_the_owner_may_do_the_rest(
    groups: UserGroups, invitations: Invitations
) -> None:
    groups.make(who("ada"), "shear")
    join(invitations, "bob")
    join(invitations, "cyd")
    groups.set_manager(who("ada"), "shear", "bob", manages=True)
    asked = invitations.make_link(who("ada"), "shear")[0]
    owners_alone: list[Callable[[Principal], object]] = [
        lambda me: groups.delete(me, "shear"),
        lambda me: groups.hand_over(me, "shear", me.name),
        lambda me: groups.set_manager(me, "shear", me.name, manages=True),
    ]
    managers_too: list[Callable[[Principal], object]] = [
        lambda me: invitations.invite(me, "shear", "dan"),
        lambda me: invitations.make_link(me, "shear"),
        lambda me: invitations.withdraw(me, "shear", asked.key),
        lambda me: groups.set_end(me, "shear", "cyd", None),
        lambda me: groups.remove(me, "shear", "ada"),
    ]
    for act in (*owners_alone, *managers_too):
        refused(AccessDenied, lambda act=act: act(who("cyd")))  # type: ignore[misc]
        text = refused(NotFound, lambda act=act: act(who("dan")))  # type: ignore[misc]
        assert text == (
            "You are in no group of this name that people look after. Given: shear. /auth/groups shows yours."
        )
    for act in owners_alone:
        refused(AccessDenied, lambda act=act: act(who("bob")))  # type: ignore[misc]
    assert groups.view(who("cyd"), "shear").invitations == ()
    assert [each.key for each in groups.view(who("bob"), "shear").invitations] == [asked.key]
    assert refused(Conflict, lambda: groups.remove(who("bob"), "shear", "ada")) == (
        "The owner can't leave the group. Given: ada. Hand it over first, or delete it."
    )
    groups.set_manager(who("ada"), "shear", "cyd", manages=True)
    assert refused(AccessDenied, lambda: groups.remove(who("bob"), "shear", "cyd")) == (
        "Managers are taken out by the owner. Given: cyd. Ask ada."
    )
    # A member's word that they are an administrator is not enough: the account says so.
    refused(AccessDenied, lambda: groups.delete(who("bob", admin=True), "shear"))


def test_administrators_may_all_that_and_it_is_written_down(
    administration: Administration, groups: UserGroups, invitations: Invitations
) -> None:
    administration.add_account("boss", actor=ME, is_admin=True)
    groups.make(who("ada"), "shear")
    boss = who("boss", admin=True)
    refused(NotFound, lambda: groups.view(who("boss"), "shear"))  # with a token that is not for this
    assert groups.view(boss, "shear").role == "administrator"
    made = invitations.invite(boss, "shear", "bob")
    invitations.answer(who("bob"), made.key, accept=True)
    assert groups.hand_over(boss, "shear", "bob").owner == "bob"
    groups.delete(boss, "shear")
    assert [each for each in acts(administration) if each[0] == "boss"] == [
        ("boss", "group invite", "shear"),
        ("boss", "group owner", "shear"),
        ("boss", "group delete", "shear"),
    ]


def test_a_link_is_good_so_often_and_so_long_and_kept_as_a_hash(
    administration: Administration, groups: UserGroups, invitations: Invitations, clock: Clock
) -> None:
    groups.make(who("ada"), "shear")
    made, link = invitations.make_link(who("ada"), "shear", uses=2, member_expires=clock.later(days=90))
    assert (made.expires, made.account) == (clock.later(days=7), None)
    assert link.text not in repr((made, link))
    with administration.store.read() as records:
        for table in ("identity_invitations", "identity_audit"):
            for row in records.connection.exec_driver_sql(f"SELECT * FROM {table}"):
                assert link.text[22:] not in str(row)
    assert invitations.look(who("bob"), link.text, address=HOME).group == "shear"
    invitations.join(who("bob"), link.text, address=HOME)
    assert refused(Conflict, lambda: invitations.join(who("bob"), link.text, address=HOME)) == (
        "You are a member of the group already. Given: shear. /auth/groups shows it."
    )
    invitations.join(who("cyd"), link.text, address=HOME)
    refused(NotFound, lambda: invitations.join(who("dan"), link.text, address=HOME))
    clock.advance(days=90)
    assert now_of(administration, "bob").groups == frozenset()
    assert [member.account for member in groups.view(who("ada"), "shear").members] == ["ada"]
    _, link = invitations.make_link(who("ada"), "shear", expires=clock.later(days=10))
    clock.advance(days=10)
    refused(NotFound, lambda: invitations.join(who("dan"), link.text, address=HOME))


def test_a_link_for_one_lets_in_one_of_many_who_come_together(groups: UserGroups, invitations: Invitations) -> None:
    groups.make(who("ada"), "shear")
    _, link = invitations.make_link(who("ada"), "shear")

    def come(name: str) -> bool:
        try:
            invitations.join(who(name), link.text, address=HOME)
        except NotFound:
            return False
        return True

    with ThreadPoolExecutor(3) as pool:
        assert sorted(pool.map(come, ("bob", "cyd", "dan"))) == [False, False, True]
    assert len(groups.view(who("ada"), "shear").members) == 2


def test_one_name_goes_to_one_of_many_who_ask_together(groups: UserGroups) -> None:
    def ask(name: str) -> bool:
        try:
            groups.make(who(name), "shear")
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(ask, PEOPLE)) == [False, False, False, True]


def test_guessing_at_links_is_slowed(invitations: Invitations) -> None:
    for text in ("0" * 65, "' OR 1=1 --", ""):
        refused(NotFound, lambda text=text: invitations.look(who("ada"), text, address=HOME))  # type: ignore[misc]
    refused(TooOften, lambda: invitations.look(who("ada"), "0" * 65, address=HOME))


def test_an_invitation_is_for_whom_it_names(groups: UserGroups, invitations: Invitations) -> None:
    groups.make(who("ada"), "shear")
    made = invitations.invite(who("ada"), "shear", "bob")
    refused(NotFound, lambda: invitations.answer(who("cyd"), made.key, accept=True))
    refused(NotFound, lambda: invitations.answer(who("cyd"), made.key, accept=False))
    again = invitations.invite(who("ada"), "shear", "bob")
    refused(NotFound, lambda: invitations.answer(who("bob"), made.key, accept=True))
    invitations.answer(who("bob"), again.key, accept=False)
    refused(NotFound, lambda: invitations.answer(who("bob"), again.key, accept=True))
    taken_back = invitations.invite(who("ada"), "shear", "bob")
    invitations.withdraw(who("ada"), "shear", taken_back.key)
    refused(NotFound, lambda: invitations.answer(who("bob"), taken_back.key, accept=True))
    # The key of a link is no way in without its secret.
    link = invitations.make_link(who("ada"), "shear")[0]
    refused(NotFound, lambda: invitations.answer(who("bob"), link.key, accept=True))
    text = refused(NotFound, lambda: invitations.invite(who("ada"), "shear", "nobody"))
    assert text == (
        "There is no account of this name that can be invited. Given: nobody. "
        "Ask them for their name here, or send them a link."
    )


def test_places_end_and_managers_with_them(
    administration: Administration, groups: UserGroups, invitations: Invitations, clock: Clock
) -> None:
    groups.make(who("ada"), "shear")
    join(invitations, "bob", member_expires=clock.later(days=30))
    groups.set_manager(who("ada"), "shear", "bob", manages=True)
    refused(AccessDenied, lambda: groups.set_end(who("bob"), "shear", "bob", None))
    groups.set_end(who("ada"), "shear", "bob", clock.later(days=2))
    clock.advance(days=2)
    assert now_of(administration, "bob").groups == frozenset()
    refused(NotFound, lambda: invitations.invite(who("bob"), "shear", "cyd"))
    refused(NotFound, lambda: groups.set_end(who("ada"), "shear", "bob", None))
    assert refused(Conflict, lambda: groups.set_end(who("ada"), "shear", "ada", clock.later(days=1))) == (
        "The owner's place has no end. Given: ada. Hand the group over first."
    )


def test_there_are_bounds_to_all_of_it(groups: UserGroups, invitations: Invitations, clock: Clock) -> None:
    groups.make(who("ada"), "one")
    groups.make(who("ada"), "two")
    text = refused(Conflict, lambda: groups.make(who("ada"), "three"))
    assert text == (
        "There is no room for one more group. Given: ada has 2. "
        "Allowed: 2 groups, deleted ones that they made among them (identity.user_groups.per_account). "
        "Hand one over, or ask the operator of this centre."
    )
    groups.make(who("bob"), "shear")
    _, link = invitations.make_link(who("bob"), "shear", uses=3)
    for name in ("ada", "cyd"):
        invitations.join(who(name), link.text, address=HOME)
    assert refused(Conflict, lambda: invitations.join(who("dan"), link.text, address=HOME)) == (
        "The group is full. Given: shear. Allowed: 3 members (identity.user_groups.max_members). Ask bob."
    )
    refused(Conflict, lambda: groups.hand_over(who("bob"), "shear", "ada"))
    invitations.invite(who("bob"), "shear", "dan")
    again = invitations.invite(who("bob"), "shear", "dan")  # in place of the one before it
    assert again.key in {each.key for each in groups.view(who("bob"), "shear").invitations}
    assert refused(Conflict, lambda: invitations.make_link(who("bob"), "shear")) == (
        "The group has too many open invitations. Given: shear. "
        "Allowed: 2 (identity.user_groups.max_invitations). Take some back."
    )
    too_late = clock.later(days=10, seconds=1)
    assert refused(BadParameter, lambda: invitations.invite(who("ada"), "one", "bob", expires=too_late)) == (
        "The end is not in the time that is allowed. Given: 2026-12-04 12:00 UTC. "
        "Allowed: a time to come, 2026-12-04 12:00 UTC at the latest."
    )
    refused(BadParameter, lambda: invitations.invite(who("ada"), "one", "bob", expires=clock()))
    refused(BadParameter, lambda: groups.make(who("cyd"), "long", "x" * 201))
    refused(BadParameter, lambda: groups.make(who("cyd"), "bell", "\a"))
    for uses in (0, 4):
        refused(BadParameter, lambda uses=uses: invitations.make_link(who("ada"), "one", uses=uses))  # type: ignore[misc]


def test_an_operator_can_turn_it_off_and_people_can_still_leave(
    administration: Administration, store: IdentityStore, groups: UserGroups, invitations: Invitations
) -> None:
    groups.make(who("ada"), "shear")
    join(invitations, "bob")
    made, link = invitations.invite(who("ada"), "shear", "cyd"), invitations.make_link(who("ada"), "shear")[1]
    off = SETTINGS.model_copy(update={"user_groups": UserGroupSettings(enabled=False)})
    closed = UserGroups(Administration(store, off, administration.names))
    letters = Invitations(closed, Throttle(store, off))
    for act in (
        lambda: closed.make(who("ada"), "other"),
        lambda: letters.invite(who("ada"), "shear", "dan"),
        lambda: letters.make_link(who("ada"), "shear"),
        lambda: letters.answer(who("cyd"), made.key, accept=True),
        lambda: letters.join(who("dan"), link.text, address=HOME),
    ):
        assert refused(AccessDenied, act) == (
            "Nobody makes groups of their own at this centre. Allowed: groups of administrators "
            "(identity.user_groups.enabled is off). Ask the operator of this centre."
        )
    letters.answer(who("cyd"), made.key, accept=False)
    closed.remove(who("bob"), "shear", "bob")
    closed.delete(who("ada"), "shear")


def test_a_group_that_an_administrator_gave_is_not_its_owners_to_delete(
    administration: Administration, groups: UserGroups
) -> None:
    administration.add_members("dp2-team", ["ada"], actor=ME)
    groups.give("dp2-team", "ada", actor=ME)
    assert refused(AccessDenied, lambda: groups.delete(who("ada"), "dp2-team")) == (
        "Only an administrator deletes a group that an administrator gave you. Given: dp2-team. "
        "Hand it over to another member, or ask the operator."
    )
    administration.add_account("boss", actor=ME, is_admin=True)
    groups.delete(who("boss", admin=True), "dp2-team")


def test_numbers_and_names_of_deleted_groups_are_never_given_again(
    administration: Administration, groups: UserGroups
) -> None:
    gid = groups.make(who("ada"), "shear").gid
    groups.delete(who("ada"), "shear")
    text = refused(Conflict, lambda: administration.add_group("shear", actor=ME))
    assert text == (
        "A group of this name was deleted, and names are given once. Given: shear. "
        "Where it is meant for a group again: idac group add shear --again"
    )
    refused(Conflict, lambda: administration.add_account("shear", actor=ME))
    refused(Conflict, lambda: administration.add_group("other", actor=ME, gid=gid))
    # Somebody who comes by a provider under that name has another.
    eve = ExternalIdentity("https://sso.example.org", "2", "shear")
    assert ExternalAccounts(administration.store).account_for(eve).name == "shear-2"
