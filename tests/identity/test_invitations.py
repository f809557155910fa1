"""Invitations that tell nobody who has an account, that fill nobody's list, and that are read in few queries."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa

from idac.core.database import Database
from idac.core.errors import Conflict, NotFound, TooOften
from idac.core.principal import Principal
from idac.identity.administration import Administration
from idac.identity.external import ExternalAccounts
from idac.identity.groups import UserGroups
from idac.identity.invitations import Invitations
from idac.identity.ledger import Ledger
from idac.identity.model import ExternalIdentity
from idac.identity.settings import IdentitySettings, ProviderSettings, UserGroupSettings
from idac.identity.sign_in import SignIn
from idac.identity.store import IdentityStore
from idac.identity.throttle import Throttle
from identity_clock import Clock

ME, HOME, WORDS = "local:tester", "192.0.2.7", "correct horse battery"
SETTINGS = IdentitySettings(
    enabled=True,
    user_groups=UserGroupSettings(invitations_per_account=2),
    guesses_per_account=3,
    guess_window_s=300,
)
ADA, BOB, CYD, DAN = (Principal(name, "user") for name in ("ada", "bob", "cyd", "dan"))
NOBODY = (
    "There is no account of this name that can be invited. Given: {}. "
    "Ask them for their name here, or send them a link."
)


@pytest.fixture
def administration(store: IdentityStore) -> Administration:
    made = Administration(store, SETTINGS)
    for name in ("ada", "bob", "cyd", "dan"):
        made.add_account(name, actor=ME, password=WORDS)
    return made


def join(invitations: Invitations, principal: Principal, group: str, *, by: Principal = ADA) -> None:
    made = invitations.invite(by, group, principal.name)
    invitations.answer(principal, made.key, accept=True)


def queries(database: Database, work: Callable[[], object]) -> int:
    """How often *work* asks the state database."""
    asked: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
        asked.append(statement)

    sa.event.listen(database.engine, "before_cursor_execute", note)
    try:
        work()
    finally:
        sa.event.remove(database.engine, "before_cursor_execute", note)
    return len(asked)


def test_who_names_many_accounts_that_are_not_there_must_wait(
    administration: Administration, groups: UserGroups, invitations: Invitations, store: IdentityStore, clock: Clock
) -> None:
    groups.make(ADA, "shear")
    groups.make(BOB, "lenses")
    for name in ("eve", "finn", "gus"):
        with pytest.raises(NotFound) as missed:
            invitations.invite(ADA, "shear", name)
        assert missed.value.text == NOBODY.format(name)
    elsewhere = Invitations(groups, Throttle(store, SETTINGS))  # as another process has it
    for each in (invitations, elsewhere):
        for name in ("hal", "bob"):
            with pytest.raises(TooOften) as caught:
                each.invite(ADA, "shear", name)
            assert caught.value.text == (
                "You named too many accounts that are not there. Given: ada. "
                "Allowed: 3 in 300 s (identity.guesses_per_account). "
                "Try again in 300 s, or invite by a link whom you know by no account."
            )
            assert caught.value.retry_after_s == 300
    noted = [(entry.actor, entry.subject, entry.detail) for entry in store.iter_audit(actions=["group invite refused"])]
    assert noted == [("ada", "shear", {"account": name}) for name in ("eve", "finn", "gus")]
    # Nobody else waits, and neither do ada's password and links.
    assert invitations.invite(BOB, "lenses", "cyd").account == "cyd"
    assert SignIn(store, SETTINGS, Throttle(store, SETTINGS), Ledger(store)).by_password("ada", WORDS, HOME)
    assert invitations.make_link(ADA, "shear")[0].account is None
    clock.advance(seconds=300)
    assert invitations.invite(ADA, "shear", "bob").account == "bob"


def test_an_account_has_so_many_open_invitations_and_no_more(
    administration: Administration, groups: UserGroups, invitations: Invitations
) -> None:
    for owner, name in ((ADA, "one"), (ADA, "two"), (BOB, "three")):
        groups.make(owner, name)
    invitations.invite(ADA, "one", "cyd")
    invitations.invite(ADA, "two", "cyd")
    invitations.invite(ADA, "two", "cyd")  # in place of the one before it
    with pytest.raises(Conflict) as caught:
        invitations.invite(BOB, "three", "cyd")
    assert caught.value.text == (
        "The account has too many open invitations. Given: cyd. "
        "Allowed: 2 (identity.user_groups.invitations_per_account). "
        "Ask its holder to answer some, or send them a link."
    )
    _, link = invitations.make_link(BOB, "three")
    assert invitations.join(CYD, link.text, address=HOME).group == "three"
    invitations.answer(CYD, invitations.mine(CYD)[0].key, accept=False)
    groups.make(BOB, "four")
    invitations.invite(BOB, "four", "cyd")
    # Those that nobody can see or answer take up no room.
    administration.freeze("ada", "a test", actor=ME)
    groups.make(DAN, "five")
    assert invitations.invite(DAN, "five", "cyd").group == "five"


def test_lists_of_many_are_read_in_as_few_queries_as_those_of_one(
    database: Database, groups: UserGroups, invitations: Invitations, clock: Clock
) -> None:
    lists = (lambda: groups.mine(BOB), lambda: invitations.mine(BOB), lambda: groups.view(ADA, "one"))
    groups.make(ADA, "one")
    groups.make(ADA, "asked-1")
    join(invitations, BOB, "one")
    invitations.invite(ADA, "asked-1", "bob")
    invitations.make_link(ADA, "one")
    before = [queries(database, each) for each in lists]
    clock.advance(seconds=1)
    groups.make(BOB, "mine")
    for name in ("two", "three"):
        groups.make(ADA, name)
        join(invitations, BOB, name)
    groups.make(CYD, "asked-2")
    invitations.invite(CYD, "asked-2", "bob")
    join(invitations, CYD, "one")
    invitations.make_link(ADA, "one")
    groups.set_manager(ADA, "two", "bob", manages=True)
    assert [queries(database, each) for each in lists] == before
    assert [(group.name, role) for group, role in groups.mine(BOB)] == [
        ("mine", "owner"),
        ("one", "member"),
        ("three", "member"),
        ("two", "manager"),
    ]
    assert [(each.group, each.inviter, each.holds) for each in invitations.mine(BOB)] == [
        ("asked-1", "ada", True),
        ("asked-2", "cyd", True),
    ]


def test_who_managed_a_group_until_their_place_ended_comes_back_as_a_member(
    administration: Administration, groups: UserGroups, invitations: Invitations, clock: Clock
) -> None:
    groups.make(ADA, "shear")
    for ends in (
        lambda: groups.set_end(ADA, "shear", "bob", clock.later(days=1)),
        lambda: administration.remove_members("shear", ["bob"], actor=ME),
    ):
        for comes in (
            lambda: join(invitations, BOB, "shear"),
            lambda: administration.add_members("shear", ["bob"], actor=ME),
        ):
            join(invitations, BOB, "shear")
            groups.set_manager(ADA, "shear", "bob", manages=True)
            _, link = invitations.make_link(BOB, "shear")
            ends()
            clock.advance(days=1)
            comes()
            assert groups.view(BOB, "shear").role == "member"
            groups.set_manager(ADA, "shear", "bob", manages=True)
            with pytest.raises(NotFound):
                invitations.look(CYD, link.text, address=HOME)
            groups.remove(BOB, "shear", "bob")


def test_invitations_of_who_owned_a_group_end_when_it_is_given_to_somebody_else(
    groups: UserGroups, invitations: Invitations
) -> None:
    groups.make(ADA, "shear")
    _, link = invitations.make_link(ADA, "shear")
    groups.give("shear", "bob", actor=ME)
    groups.set_manager(BOB, "shear", "ada", manages=True)
    with pytest.raises(NotFound, match=r"This invitation is not good, or not any more."):
        invitations.join(CYD, link.text, address=HOME)


def test_invitations_of_an_administrator_by_claim_end_when_dac_yaml_lets_its_issuer_make_none(
    groups: UserGroups, store: IdentityStore
) -> None:
    sso = ProviderSettings(issuer="https://sso.example.org", client_id="idac", admin_groups=["dac-admins"])
    trusting = SETTINGS.model_copy(update={"providers": {"sso": sso}})
    until, by = store.now().replace(year=2100), frozenset({"dac-admins"})
    boss = ExternalIdentity(sso.issuer, "1", "boss", groups_until=until, admin_groups=by)
    assert ExternalAccounts(store).account_for(boss).is_admin
    groups.make(ADA, "shear")
    before, after = (
        Invitations(UserGroups(Administration(store, settings)), Throttle(store, settings))
        for settings in (trusting, SETTINGS)
    )
    _, link = before.make_link(Principal("boss", "user", is_admin=True), "shear")
    before.invite(Principal("boss", "user", is_admin=True), "shear", "bob")
    assert before.look(CYD, link.text, address=HOME).inviter == "boss"
    assert [each.group for each in before.mine(BOB)] == ["shear"]
    with pytest.raises(NotFound, match=r"This invitation is not good, or not any more."):
        after.join(CYD, link.text, address=HOME)
    assert after.mine(BOB) == []
    before.join(CYD, link.text, address=HOME)


def test_an_invitation_that_is_taken_back_between_a_look_and_a_join_lets_nobody_in(
    groups: UserGroups, invitations: Invitations, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups.make(ADA, "shear")
    made, link = invitations.make_link(ADA, "shear", uses=2)
    look = invitations.look

    def look_and_lose(*arguments: object, **more: object) -> object:
        found = look(*arguments, **more)  # type: ignore[arg-type]
        invitations.withdraw(ADA, "shear", made.key)
        return found

    monkeypatch.setattr(invitations, "look", look_and_lose)
    with pytest.raises(NotFound, match=r"This invitation is not good, or not any more."):
        invitations.join(BOB, link.text, address=HOME)


def test_what_names_nobody_invites_nobody(groups: UserGroups, invitations: Invitations) -> None:
    groups.make(ADA, "shear")
    for name in ("bo\0b", "\ud800"):
        with pytest.raises(NotFound):
            invitations.invite(ADA, "shear", name)
    with pytest.raises(NotFound):
        invitations.answer(BOB, "a\0b", accept=True)
