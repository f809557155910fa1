"""Accounts, groups, rights and tokens as they are kept, and the log of who changed them."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from idac.core.database import Database
from idac.core.errors import BadParameter, Conflict, NotFound, UserError
from idac.identity.administration import Administration
from idac.identity.credentials import matches, parse_token
from idac.identity.model import Grant, Member
from idac.identity.store import IdentityStore
from idac.identity.token_store import token_digest
from identity_clock import Clock

ME = "local:tester"
WORDS = "correct horse battery"


def actions(administration: Administration) -> list[tuple[str, str | None]]:
    return [(entry.action, entry.subject) for entry in administration.store.iter_audit()]


def test_an_account_has_what_was_said_of_it(administration: Administration, clock: Clock) -> None:
    made = administration.add_account(
        "ada", actor=ME, full_name="Ada L.", email="ada@example.org", password=WORDS, is_admin=True
    )
    assert administration.account("ada") == made
    assert (made.name, made.kind, made.full_name, made.email) == ("ada", "user", "Ada L.", "ada@example.org")
    assert (made.is_admin, made.has_password, made.created, made.state(clock())) == (True, True, clock(), "active")


@pytest.mark.parametrize(
    "name",
    ["", "Ada", "4da", "a" * 33, "a--", "ada lovelace", "anonymous", "public", "local-admin", "ädä", "a'; --", "a\n"],
)
def test_names_that_mean_or_look_like_something_else_are_refused(administration: Administration, name: str) -> None:
    with pytest.raises(BadParameter, match=r"^The account can't have this name\."):
        administration.add_account(name, actor=ME)


def test_users_and_groups_share_names_and_numbers(administration: Administration) -> None:
    ada = administration.add_account("ada", actor=ME)
    administration.add_group("dp1-users", actor=ME)
    bob = administration.add_account("bob", actor=ME)
    (group,) = administration.groups()
    assert (ada.uid, group.gid, bob.uid) == (100_000, 100_001, 100_002)
    with pytest.raises(Conflict, match=r"There is an account or a group of this name already. Given: dp1-users."):
        administration.add_account("dp1-users", actor=ME)
    with pytest.raises(Conflict, match=r"There is an account or a group of this name already. Given: ada."):
        administration.add_group("ada", actor=ME)


def test_numbers_from_elsewhere_are_kept_and_never_given_twice(administration: Administration) -> None:
    assert administration.add_account("ada", actor=ME, uid=100_003).uid == 100_003
    assert administration.add_account("bob", actor=ME).uid == 100_004
    assert administration.add_account("eve", actor=ME, uid=5000).uid == 5000
    assert administration.add_account("joe", actor=ME).uid == 100_005
    with pytest.raises(Conflict, match=r"The number can't be used for a user or group. Given: 5000."):
        administration.add_group("more", actor=ME, gid=5000)


def test_many_at_once_get_different_numbers(administration: Administration) -> None:
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda n: administration.add_account(f"user{n}", actor=ME), range(16)))
    assert sorted(account.uid for account in made) == list(range(100_000, 100_016))


def test_an_account_is_frozen_let_in_again_and_ended(administration: Administration, clock: Clock) -> None:
    administration.add_account("ada", actor=ME)
    frozen = administration.freeze("ada", "lost laptop", actor=ME)
    assert (frozen.state(clock()), frozen.frozen, frozen.frozen_why) == ("frozen", clock(), "lost laptop")
    assert administration.unfreeze("ada", actor=ME).state(clock()) == "active"
    with pytest.raises(Conflict, match=r"The account is not frozen."):
        administration.unfreeze("ada", actor=ME)
    administration.expire("ada", clock.later(days=1), actor=ME)
    assert administration.account("ada").state(clock()) == "active"
    clock.advance(days=1)
    assert administration.account("ada").state(clock()) == "expired"
    assert administration.expire("ada", None, actor=ME).state(clock()) == "active"


def test_a_name_that_is_not_there_is_told_with_the_nearest(administration: Administration) -> None:
    administration.add_account("ada-lovelace", actor=ME)
    with pytest.raises(NotFound) as caught:
        administration.freeze("ada-lovelase", "x", actor=ME)
    assert str(caught.value) == "There is no account of this name. Given: ada-lovelase. Did you mean ada-lovelace?"
    administration.add_account("bob", actor=ME)
    with pytest.raises(NotFound) as far:
        administration.freeze("bobolink-observers", "x", actor=ME)
    assert str(far.value).endswith("Given: bobolink-observers. idac user list shows those there are.")


def test_short_passwords_are_refused_before_anything_is_kept(administration: Administration) -> None:
    with pytest.raises(BadParameter) as caught:
        administration.add_account("ada", actor=ME, password=WORDS[:11])
    assert str(caught.value) == (
        "The password can't be used. Given: 11 characters. Allowed: 12 to 1024 characters, of any kind. "
        "Choose a longer one: some words that only you would put together."
    )
    assert administration.accounts() == []


def test_a_group_has_members_and_rights_until_their_dates(administration: Administration, clock: Clock) -> None:
    for name in ("ada", "bob"):
        administration.add_account(name, actor=ME)
    administration.add_members("team", ["ada"], actor=ME)
    administration.add_members("team", ["bob"], actor=ME, expires=clock.later(days=3))
    administration.grant("team", "dp1", actor=ME, expires=clock.later(days=9))
    (group,) = administration.groups()
    assert group.members == (Member("ada", None, None), Member("bob", None, clock.later(days=3)))
    assert group.grants == (Grant("dp1", clock.later(days=9)),)
    administration.add_members("team", ["bob"], actor=ME)
    administration.remove_members("team", ["ada"], actor=ME)
    administration.withdraw("team", "dp1", actor=ME)
    (group,) = administration.groups()
    assert (group.members, group.grants) == ((Member("bob", None, None),), ())


def test_rights_and_members_that_there_are_not(administration: Administration) -> None:
    administration.add_account("ada", actor=ME)
    administration.add_members("team", [], actor=ME)
    with pytest.raises(NotFound) as caught:
        administration.grant("team", "dp9", actor=ME)
    assert str(caught.value) == (
        "dac.yaml has no data right of this name. Given: dp9. Allowed: dp1. Add it under identity.rights."
    )
    with pytest.raises(NotFound, match=r"^The group does not hold this right. Given: dp1 by team."):
        administration.withdraw("team", "dp1", actor=ME)
    with pytest.raises(NotFound, match=r"^The account is no member of the group. Given: ada in team."):
        administration.remove_members("team", ["ada"], actor=ME)
    with pytest.raises(NotFound, match=r"^There is no group of this name. Given: taem. Did you mean team\?"):
        administration.grant("taem", "dp1", actor=ME)


def test_a_failed_act_leaves_no_trace(administration: Administration) -> None:
    administration.add_account("ada", actor=ME)
    before = actions(administration)
    with pytest.raises(NotFound):
        administration.add_members("team", ["ada", "nobody"], actor=ME)
    assert (administration.groups(), actions(administration)) == ([], before)


def test_nothing_of_a_token_is_kept_but_its_hash(
    administration: Administration, database: Database, clock: Clock
) -> None:
    administration.add_account("ada", actor=ME)
    token, secret = administration.add_token("ada", "laptop", actor=ME, expires=clock.later(days=30))
    assert re.fullmatch(r"idac_[0-9A-Za-z]{65}", secret.text)
    presented = parse_token(secret.text)
    assert presented is not None
    assert presented.key == token.key
    with administration.store.read() as records:
        assert matches(presented, token_digest(records, token.key) or "")
    with database.read() as connection:
        tables = sa.inspect(connection).get_table_names()
        kept = "\n".join(str(connection.execute(sa.text(f"SELECT * FROM {table}")).all()) for table in tables)
    assert token.key in kept
    assert secret.text[-43:] not in kept
    assert secret.text not in repr(secret)


def test_a_token_that_is_revoked_takes_those_made_with_it(administration: Administration) -> None:
    administration.add_account("ada", actor=ME)
    first, _ = administration.add_token("ada", "first", actor=ME, scopes=["user:token", "read:tap"])
    second, _ = administration.add_token("ada", "second", actor=ME, maker=f"token:{first.key}")
    third, _ = administration.add_token("ada", "third", actor=ME, maker=f"token:{second.key}")
    other, _ = administration.add_token("ada", "other", actor=ME)
    administration.revoke(first.key, actor=ME)
    alive = {t.key for t in administration.tokens("ada") if t.revoked is None}
    assert alive == {other.key}
    assert {t.key: t.parent for t in administration.tokens()}[third.key] == second.key
    with pytest.raises(NotFound, match=r"There is no such token."):
        administration.revoke(other.key, actor="eve", of="eve")


def test_a_notebook_token_is_narrow_and_short(administration: Administration, clock: Clock) -> None:
    administration.add_account("ada", actor=ME)
    token, _ = administration.add_token("ada", "nb", actor=ME, kind="notebook", expires=clock.later(days=300))
    assert token.expires == clock.later(days=1)
    with pytest.raises(BadParameter, match=r"A notebook's token may not do this. Given: admin. Allowed: read:tap."):
        administration.add_token("ada", "nb", actor=ME, kind="notebook", scopes=["admin", "read:tap"])


def test_services_have_service_tokens_and_no_password(administration: Administration) -> None:
    administration.add_account("harvester", actor=ME, kind="service")
    administration.add_account("ada", actor=ME)
    assert administration.add_token("harvester", "h", actor=ME, kind="service")[0].kind == "service"
    for account, kind in (("ada", "service"), ("harvester", "user"), ("harvester", "notebook")):
        with pytest.raises(BadParameter, match=r"A service token belongs to a service account"):
            administration.add_token(account, "x", actor=ME, kind=kind)  # type: ignore[arg-type]
    with pytest.raises(BadParameter, match=r"A service has no password."):
        administration.set_password("harvester", WORDS, actor=ME)


@pytest.mark.parametrize(
    ("scopes", "words"),
    [
        (
            ["read:tap", "root"],
            "The token's scopes can't be used. Given: root. Allowed: read:tap, user:token, user:groups, admin.",
        ),
        ([], "The token needs a scope. Allowed: read:tap, user:token, user:groups, admin."),
    ],
)
def test_scopes_that_there_are_not(administration: Administration, scopes: list[str], words: str) -> None:
    administration.add_account("ada", actor=ME)
    with pytest.raises(BadParameter) as caught:
        administration.add_token("ada", "x", actor=ME, scopes=scopes)
    assert str(caught.value) == words


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "The token needs a name. Allowed: 1 to 64 printable characters."),
        ("x" * 300, "The token's name is too long. Given: 300 characters. Allowed: 1 to 64 printable characters."),
        ("a\nb", "The token's name can't be printed. Given: 'a\\nb'. Allowed: 1 to 64 printable characters."),
    ],
)
def test_names_that_a_token_can_not_have(administration: Administration, name: str, words: str) -> None:
    administration.add_account("ada", actor=ME)
    with pytest.raises(BadParameter) as refused:
        administration.add_token("ada", name, actor=ME)
    assert str(refused.value) == words


def test_nobody_is_let_in_to_the_account_of_a_service(administration: Administration) -> None:
    administration.add_account("robot", actor=ME, kind="service")
    with pytest.raises(BadParameter) as refused:
        administration.log_in_link("robot", actor=ME)
    assert str(refused.value) == (
        "A service has no log-in. Given: robot. Give it a token: idac token create robot --name NAME."
    )
    with pytest.raises(BadParameter) as told:
        administration.set_password("robot", WORDS, actor=ME)
    assert str(told.value) == (
        "A service has no password. Given: robot. Give it a token: idac token create robot --name NAME."
    )


def test_an_operator_makes_administrators_and_dismisses_those_of_claims_too(administration: Administration) -> None:
    ada = administration.add_account("ada", actor=ME)
    administration.add_account("robot", actor=ME, kind="service")
    assert administration.appoint("ada", actor=ME).is_admin
    assert administration.accounts()[0].is_admin
    assert not administration.appoint("ada", actor=ME, dismiss=True).is_admin
    with administration.store.write() as records:
        records.put_claimed_administrator(ada.id, "https://login.example.org", {"admins"}, records.now)
        records.change_account(ada.id, is_admin=True)
    administration.appoint("ada", actor=ME, dismiss=True)
    with administration.store.read() as records:
        assert records.claimed_administrator(ada.id) == set()
    assert not administration.account("ada").is_admin
    with pytest.raises(BadParameter) as caught:
        administration.appoint("robot", actor=ME)
    assert caught.value.text == "A service is no administrator. Given: robot. Name a person's account."
    noted = [(e.subject, e.detail["admin"]) for e in administration.store.iter_audit(actions=["user admin"])]
    assert noted == [("ada", True), ("ada", False), ("ada", False)]


def test_the_first_administrator_has_another_name_where_that_is_taken(administration: Administration) -> None:
    administration.add_account("admin", actor=ME)
    administration.add_group("admin-2", actor=ME)
    first = administration.first_administrator(actor=ME)
    assert first is not None
    assert (first[0].name, first[0].is_admin) == ("admin-3", True)
    assert not administration.account("admin").is_admin


def test_a_start_goes_on_where_administrators_are_shut_out(administration: Administration, clock: Clock) -> None:
    administration.add_account("ada", actor=ME, is_admin=True, expires=clock.later(days=1))
    administration.add_account("bob", actor=ME, is_admin=True)
    administration.freeze("bob", "left", actor=ME)
    first = administration.first_administrator(actor=ME)
    assert first is not None
    assert first[0].name == "ada"
    clock.advance(days=2)
    assert administration.first_administrator(actor=ME) is None
    assert [account.name for account in administration.accounts()] == ["ada", "bob"]


def test_a_new_password_ends_the_one_time_link(administration: Administration) -> None:
    administration.add_account("ada", actor=ME)
    link = administration.log_in_link("ada", actor=ME)
    administration.set_password("ada", "correct horse battery", actor=ME)
    with administration.store.write() as records:
        assert records.take_link(link.key) is None


def test_the_first_administrator_gets_links_until_one_was_used(administration: Administration) -> None:
    first = administration.first_administrator(actor=ME)
    again = administration.first_administrator(actor=ME)
    assert first is not None
    assert again is not None
    assert (first[0].name, first[0].is_admin, again[0].id) == ("admin", True, first[0].id)
    with administration.store.write() as records:
        assert records.take_link(first[1].key) is None
        assert records.take_link(again[1].key) == (again[1].digest, again[0].id)
        assert records.take_link(again[1].key) is None
    administration.set_password("admin", WORDS, actor=ME)
    assert administration.first_administrator(actor=ME) is None


def test_every_act_is_in_the_log_with_who_did_it(administration: Administration, clock: Clock) -> None:
    administration.add_account("ada", actor="local:root", email="ada@example.org", password=WORDS)
    clock.advance(minutes=1)
    administration.add_members("team", ["ada"], actor="admin")
    administration.grant("team", "dp1", actor="admin", expires=clock.later(days=9))
    token, secret = administration.add_token("ada", "laptop", actor="ada")
    administration.revoke(token.key, actor="ada")
    administration.freeze("ada", "because", actor="admin")
    entries = list(administration.store.iter_audit())
    assert [(e.actor, e.action, e.subject) for e in entries] == [
        ("local:root", "user add", "ada"),
        ("admin", "group add", "team"),
        ("admin", "group member", "team"),
        ("admin", "group grant", "team"),
        ("ada", "token create", "ada"),
        ("ada", "token revoke", "ada"),
        ("admin", "user freeze", "ada"),
    ]
    assert entries[3].detail == {"right": "dp1", "expires": "2026-12-03T12:01:00+00:00"}
    assert [e.action for e in administration.store.iter_audit(since=clock(), actions=["user freeze"])] == [
        "user freeze"
    ]
    assert len(list(administration.store.iter_audit(subject="team"))) == 3
    assert WORDS not in str(entries)
    assert secret.text not in str(entries)


def test_the_log_is_read_whole_however_long_it_is(store: IdentityStore) -> None:
    with store.write() as records:
        for number in range(2500):
            records.note("me", "count", str(number))
    assert [entry.subject for entry in store.iter_audit()] == [str(n) for n in range(2500)]


@pytest.mark.parametrize("statement", ["UPDATE identity_audit SET actor = 'eve'", "DELETE FROM identity_audit"])
def test_the_database_refuses_to_change_the_log(store: IdentityStore, database: Database, statement: str) -> None:
    with store.write() as records:
        records.note("eve", "crime")
    with pytest.raises(DBAPIError, match=r"the audit log is append-only"), database.begin() as connection:
        connection.exec_driver_sql(statement)
    assert [entry.actor for entry in store.iter_audit()] == ["eve"]


def test_what_is_stored_is_in_no_error_of_the_database(store: IdentityStore) -> None:
    with pytest.raises(DBAPIError) as caught, store.write() as records:
        records.link_identity(12345, "https://issuer", "secret-subject")
    assert "secret-subject" not in str(caught.value).partition("DETAIL")[0]
    assert not isinstance(caught.value, UserError)


@pytest.mark.parametrize("text", ["'; DROP TABLE identity_accounts; --", 'a"b', "a%s", "\\", "é\x00"[:1]])
def test_texts_are_only_texts_to_the_database(administration: Administration, text: str) -> None:
    administration.add_account("ada", actor=text, full_name=text, email=text)
    assert administration.account("ada").full_name == text
    assert [entry.actor for entry in administration.store.iter_audit(subject=text)] == [text]


def test_what_databases_have_no_place_for_is_written_down_all_the_same(administration: Administration) -> None:
    with administration.store.write() as records:
        records.note("anonymous", "refused", "/a\0b")
    assert [entry.subject for entry in administration.store.iter_audit(actions=["refused"])] == ["/a\\0b"]
