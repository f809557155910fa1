"""Who a credential belongs to, and that what ends it ends it: revocation, freezing and every date."""

from __future__ import annotations

from typing import Any

import pytest

from idac.core.errors import AccessDenied, Conflict, NotAuthenticated, TooOften
from idac.core.principal import ANONYMOUS, Principal
from idac.identity.administration import Administration
from idac.identity.credentials import Presented, Secret, new_secret, parse_plain, parse_token
from idac.identity.directory import Directory, UnknownCredential
from idac.identity.ledger import Ledger
from idac.identity.settings import IdentitySettings
from idac.identity.sign_in import SignIn
from idac.identity.store import IdentityStore, Records
from idac.identity.throttle import Throttle
from idac.identity.watch import CallerWatch
from idac.web.callers import network_of
from identity_clock import Clock

ME = "local:tester"
WORDS = "correct horse battery"
SETTINGS = IdentitySettings(guesses_per_address=5, guesses_per_account=3, guess_window_s=60, session_s=3600)


@pytest.fixture
def directory(store: IdentityStore) -> Directory:
    return Directory(store)


@pytest.fixture
def ledger(store: IdentityStore) -> Ledger:
    return Ledger(store)


@pytest.fixture
def sign_in(store: IdentityStore, ledger: Ledger) -> SignIn:
    return SignIn(store, SETTINGS, Throttle(store, SETTINGS), ledger)


@pytest.fixture
def ada(administration: Administration, clock: Clock) -> Secret:
    """A token of ada, who is an administrator and holds dp1 by her group for nine days."""
    administration.add_account("ada", actor=ME, is_admin=True, password=WORDS)
    administration.add_members("team", ["ada"], actor=ME, expires=clock.later(days=20))
    administration.grant("team", "dp1", actor=ME, expires=clock.later(days=9))
    return administration.add_token("ada", "laptop", actor=ME, expires=clock.later(days=30))[1]


def presented(secret: Secret) -> Presented:
    found = parse_token(secret.text) or parse_plain(secret.text)
    assert found is not None
    return found


def test_a_token_brings_groups_rights_and_its_scopes(directory: Directory, ada: Secret, clock: Clock) -> None:
    known = directory.by_token(presented(ada))
    assert known.principal == Principal(
        "ada", "user", frozenset({"team"}), False, frozenset({"dp1"}), frozenset({"read:tap"}), f"token:{ada.key}"
    )
    assert known.until_ms == clock.later(days=9).timestamp() * 1000
    assert known.token == ada.key


def test_an_administrator_is_one_only_with_a_token_for_that(
    directory: Directory, administration: Administration, ada: Secret
) -> None:
    wide = administration.add_token("ada", "wide", actor=ME, scopes=["read:tap", "admin"])[1]
    assert not directory.by_token(presented(ada)).principal.is_admin
    assert directory.by_token(presented(wide)).principal.is_admin
    administration.add_account("bob", actor=ME)
    bobs = administration.add_token("bob", "wide", actor=ME, scopes=["admin"])[1]
    assert not directory.by_token(presented(bobs)).principal.is_admin


def test_rights_and_groups_end_at_their_dates(directory: Directory, ada: Secret, clock: Clock) -> None:
    clock.advance(days=9)
    now = directory.by_token(presented(ada)).principal
    assert (now.groups, now.rights) == (frozenset({"team"}), frozenset())
    clock.advance(days=11)
    assert directory.by_token(presented(ada)).principal.groups == frozenset()


def test_a_token_of_right_key_and_wrong_secret_is_unknown(directory: Directory, ada: Secret) -> None:
    forged = ada.text[:-1] + ("a" if ada.text[-1] != "a" else "b")
    other = parse_token(forged)
    assert other is not None
    assert other.key == ada.key
    with pytest.raises(UnknownCredential) as caught:
        directory.by_token(other)
    assert str(caught.value) == "This token is not known here. Log in again, or make a new token at /auth/tokens."


def test_what_ends_a_token(directory: Directory, administration: Administration, ada: Secret, clock: Clock) -> None:
    principal = directory.by_token(presented(ada)).principal

    def refusal() -> str:
        with pytest.raises((AccessDenied, NotAuthenticated)) as caught:
            directory.by_token(presented(ada))
        with pytest.raises(type(caught.value)) as running:
            directory.current(principal)
        assert str(running.value) == str(caught.value)
        return str(caught.value)

    administration.freeze("ada", "x", actor=ME)
    assert refusal() == "This account is frozen. Given: ada. Ask the operator of this centre."
    administration.unfreeze("ada", actor=ME)
    assert directory.current(principal) == principal
    administration.expire("ada", clock.later(days=1), actor=ME)
    clock.advance(days=1)
    assert refusal() == "This account has expired. Given: ada. Ask the operator of this centre."
    administration.expire("ada", None, actor=ME)
    clock.advance(days=29)
    assert refusal() == (
        "This token has expired. Given: 2026-12-24 12:00 UTC. Log in again, or make a new token at /auth/tokens."
    )
    administration.revoke(ada.key, actor=ME)
    assert refusal() == (
        "This token was revoked. Given: 2026-12-24 12:00 UTC. Log in again, or make a new token at /auth/tokens."
    )


def test_a_session_is_new_each_time_and_ends(directory: Directory, sign_in: SignIn, ada: Secret, clock: Clock) -> None:
    account = sign_in.by_password("ada", WORDS, "192.0.2.1").account
    first = sign_in.open_session(account, address="192.0.2.1", how="password")
    second = sign_in.open_session(account, address="192.0.2.1", how="password")
    assert first.text != second.text
    principal = directory.by_session(presented(first)).principal
    assert (principal.name, principal.is_admin, principal.scopes) == ("ada", True, None)
    sign_in.close_session(presented(first), name="ada", address="192.0.2.1")
    with pytest.raises(UnknownCredential, match=r"Your log-in has ended\. Log in again\."):
        directory.by_session(presented(first))
    with pytest.raises(NotAuthenticated):
        directory.current(principal)
    clock.advance(hours=1)
    with pytest.raises(NotAuthenticated, match=r"Your log-in has ended\. Log in again\."):
        directory.by_session(presented(second))


def test_log_out_everywhere_ends_browsers_and_notebooks(
    directory: Directory, administration: Administration, sign_in: SignIn, ada: Secret
) -> None:
    account = administration.account("ada")
    sessions = [sign_in.open_session(account, address="a", how="password") for _ in range(3)]
    notebook = administration.add_token("ada", "nb", actor=ME, kind="notebook")[1]
    sign_in.close_all("ada", address="a")
    for session in sessions:
        with pytest.raises(NotAuthenticated):
            directory.by_session(presented(session))
    with pytest.raises(NotAuthenticated):
        directory.by_token(presented(notebook))
    assert directory.by_token(presented(ada)).principal.name == "ada"


def test_a_new_password_ends_sessions_and_the_old_password(
    directory: Directory, administration: Administration, sign_in: SignIn, ada: Secret
) -> None:
    session = sign_in.open_session(administration.account("ada"), address="a", how="password")
    administration.set_password("ada", WORDS * 2, actor=ME)
    with pytest.raises(NotAuthenticated):
        directory.by_session(presented(session))
    with pytest.raises(UnknownCredential):
        sign_in.by_password("ada", WORDS, "a")
    assert sign_in.by_password("ada", WORDS * 2, "a").account.name == "ada"


def test_a_link_works_once_and_for_a_day(
    administration: Administration, sign_in: SignIn, ada: Secret, clock: Clock
) -> None:
    link = administration.log_in_link("ada", actor=ME)
    assert sign_in.by_link(link.text, "a").account.name == "ada"
    words = "This link is not good any more: it works once, and for a day."
    with pytest.raises(UnknownCredential, match=words):
        sign_in.by_link(link.text, "a")
    late = administration.log_in_link("ada", actor=ME)
    clock.advance(days=1)
    with pytest.raises(UnknownCredential, match=words):
        sign_in.by_link(late.text, "a")
    guessed = administration.log_in_link("ada", actor=ME)
    with pytest.raises(UnknownCredential, match=words):
        sign_in.by_link(guessed.text[:-1] + ("a" if guessed.text[-1] != "a" else "b"), "a")


def test_a_frozen_account_gets_no_link(administration: Administration, ada: Secret) -> None:
    administration.freeze("ada", why="left", actor=ME)
    with pytest.raises(Conflict) as refused:
        administration.log_in_link("ada", actor=ME)
    assert str(refused.value) == (
        "Nobody can log in to this account. Given: ada is frozen. First: idac user unfreeze ada."
    )


def test_wrong_names_and_wrong_passwords_are_told_alike(sign_in: SignIn, ada: Secret) -> None:
    told = []
    for name in ("ada", "nobody"):
        with pytest.raises(UnknownCredential) as caught:
            sign_in.by_password(name, "wrong horse battery", "a")
        told.append(str(caught.value))
    assert set(told) == {
        "The name or the password is not right. Try again, or ask the operator for a new one.",
    }


def test_guesses_at_an_account_make_everyone_wait_and_its_tokens_go_on(
    directory: Directory, store: IdentityStore, sign_in: SignIn, ada: Secret, clock: Clock
) -> None:
    for number in range(3):
        with pytest.raises(UnknownCredential):
            sign_in.by_password("ada", "wrong horse battery", f"192.0.2.{number}")
    elsewhere = SignIn(store, SETTINGS, Throttle(store, SETTINGS), Ledger(store))  # another process
    clock.advance(seconds=20)
    for process in (sign_in, elsewhere):
        with pytest.raises(TooOften) as caught:
            process.by_password("ada", WORDS, "192.0.2.99")
        assert str(caught.value) == (
            "There were too many wrong passwords, codes or tokens. "
            "Try again in 40 s. Programs that send an old token may be the cause."
        )
        assert caught.value.retry_after_s == 40
    assert directory.by_token(presented(ada)).principal.name == "ada"
    clock.advance(seconds=40)
    assert sign_in.by_password("ada", WORDS, "192.0.2.99").account.name == "ada"


def test_guesses_from_an_address_make_it_wait_whatever_it_guesses_at(sign_in: SignIn, ada: Secret) -> None:
    for number in range(5):
        with pytest.raises(UnknownCredential):
            sign_in.by_password(f"user{number}", "wrong horse battery", "2001:db8::1")
    with pytest.raises(TooOften):
        sign_in.by_password("ada", WORDS, "2001:db8::ffff:2")
    assert sign_in.by_password("ada", WORDS, "2001:db8:0:1::1").account.name == "ada"


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("::ffff:c000:208", "192.0.2.8"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unknown", "unknown"),
    ],
)
def test_what_is_counted_as_one_address(address: str, network: str) -> None:
    assert network_of(address) == network


def test_log_ins_and_their_refusals_are_in_the_log(
    store: IdentityStore, administration: Administration, sign_in: SignIn, ledger: Ledger, ada: Secret
) -> None:
    sign_in.open_session(administration.account("ada"), address="192.0.2.1", how="password")
    with pytest.raises(UnknownCredential):
        sign_in.by_password("ada", "wrong horse battery", "192.0.2.2")
    ledger.flush()
    history = list(store.iter_audit(actions=["login", "login refused"]))
    why = "The name or the password is not right."
    assert [(e.action, e.actor, e.subject, e.address, e.detail) for e in history] == [
        ("login", "ada", "ada", "192.0.2.1", {"how": "password"}),
        ("login refused", "anonymous", "ada", "192.0.2.2", {"why": why, "how": "password", "times": 1}),
    ]
    assert "wrong horse" not in str(history)
    last = administration.account("ada").last_login
    assert last == store.now()


def test_who_is_refused_by_a_link_or_by_a_frozen_account_is_written_down_as_nobody(
    store: IdentityStore, administration: Administration, sign_in: SignIn, ledger: Ledger, ada: Secret
) -> None:
    for text in ("no link", new_secret(prefix="").text):
        with pytest.raises(UnknownCredential):
            sign_in.by_link(text, "192.0.2.1")
    with pytest.raises(UnknownCredential):
        sign_in.by_password("local:root", WORDS, "192.0.2.2")  # as the command line calls who uses it
    administration.freeze("ada", "x", actor=ME)
    with pytest.raises(AccessDenied, match=r"This account is frozen\."):
        sign_in.by_password("ada", WORDS, "192.0.2.3")
    ledger.flush()
    found = [(e.actor, e.subject, e.address, e.detail) for e in store.iter_audit(actions=["login refused"])]
    void = "This link is not good any more: it works once, and for a day."
    wrong = "The name or the password is not right."
    assert found == [
        ("anonymous", None, "192.0.2.1", {"why": void, "how": "link", "times": 2}),
        ("anonymous", "local:root", "192.0.2.2", {"why": wrong, "how": "password", "times": 1}),
        ("anonymous", "ada", "192.0.2.3", {"why": "This account is frozen.", "how": "password", "times": 1}),
    ]


def test_the_owner_of_a_job_keeps_it_until_the_token_is_revoked(
    directory: Directory, administration: Administration, sign_in: SignIn, ada: Secret, clock: Clock
) -> None:
    by_token = directory.by_token(presented(ada)).principal
    session = sign_in.open_session(administration.account("ada"), address="a", how="password")
    by_session = directory.by_session(presented(session)).principal
    clock.advance(days=40)
    for owner in (by_token, by_session):
        now = directory.owner_now(owner)
        assert (now.name, now.is_admin, now.rights) == ("ada", owner.is_admin, frozenset())
        assert directory.current(now) == now
    administration.revoke(ada.key, actor=ME)
    with pytest.raises(NotAuthenticated, match=r"This token was revoked\."):
        directory.owner_now(by_token)
    assert directory.owner_now(by_session).name == "ada"
    administration.freeze("ada", "x", actor=ME)
    with pytest.raises(AccessDenied, match=r"This account is frozen\."):
        directory.owner_now(by_session)
    assert directory.owner_now(ANONYMOUS) == ANONYMOUS


def test_work_is_stopped_when_its_caller_may_have_it_no_longer(
    directory: Directory, administration: Administration, ada: Secret, clock: Clock
) -> None:
    watch = CallerWatch(directory, 5)
    principal = directory.by_token(presented(ada)).principal
    stopped: list[str] = []

    def needs_dp1(now: Principal) -> None:
        if "dp1" not in now.rights:
            raise AccessDenied("dp1 has ended")

    watch.add(principal, needs_dp1, lambda error: stopped.append(f"restricted: {error}"))
    watch.add(principal, lambda _: None, lambda error: stopped.append(f"public: {error}"))
    done = watch.add(principal, lambda _: None, lambda error: stopped.append(f"done: {error}"))
    done()
    watch.look()
    assert stopped == []
    clock.advance(days=9)
    watch.look()
    assert stopped == ["restricted: dp1 has ended"]
    administration.revoke(ada.key, actor=ME)
    watch.look()
    watch.look()
    assert len(stopped) == 2
    assert stopped[1].startswith("public: This token was revoked.")


@pytest.mark.parametrize(("name", "written"), [("a\0da", "a\\0da"), ("ad\u00e4", "ad\\xe4"), ("\ud83d", "\\ud83d")])
def test_a_name_that_no_account_can_have_is_a_wrong_guess_like_any_other(
    store: IdentityStore, sign_in: SignIn, ledger: Ledger, name: str, written: str
) -> None:
    with pytest.raises(UnknownCredential, match=r"The name or the password is not right\."):
        sign_in.by_password(name, WORDS, "192.0.2.1")
    ledger.flush()
    (entry,) = store.iter_audit(actions=["login refused"])
    assert (entry.subject, entry.actor) == (written, "anonymous")


def test_refusals_and_uses_are_written_down_in_passing(
    store: IdentityStore, administration: Administration, ada: Secret, clock: Clock
) -> None:
    ledger = Ledger(store)
    for _ in range(7):
        ledger.note_refusal("bob", "/api/tap/sync", "192.0.2.1", "You may not read dp1.object.")
    ledger.note_use(ada.key)
    clock.advance(minutes=3)
    ledger.flush()
    ledger.flush()
    (entry,) = store.iter_audit(actions=["refused"])
    assert (entry.actor, entry.subject, entry.address) == ("bob", "/api/tap/sync", "192.0.2.1")
    assert entry.detail == {"why": "You may not read dp1.object.", "times": 7}
    (token,) = administration.tokens("ada")
    assert token.last_used == clock()


def test_nobody_fills_the_log_by_being_refused(store: IdentityStore) -> None:
    seconds = [0.0]
    ledger = Ledger(store, now=lambda: seconds[0])

    def flood(first: int, last: int, address: str) -> None:
        for number in range(first, last):
            ledger.note_refusal("anonymous", f"/auth/{number}", address, "This address needs a log-in.")
        ledger.flush()

    def written() -> tuple[int, list[tuple[str | None, object]]]:
        entries = list(store.iter_audit(actions=["refused"]))
        untold = [(each.address, each.detail["times"]) for each in entries if each.subject == "many addresses"]
        return len(entries) - len(untold), untold

    flood(0, 600, "2001:db8::1")
    flood(600, 1200, "2001:db8::2")  # of the same network
    assert written() == (1000, [("2001:db8::/64", 200)])
    flood(1200, 1500, "2001:db8::1")
    assert written() == (1000, [("2001:db8::/64", 200)])
    flood(0, 1, "192.0.2.1")
    assert written()[0] == 1001
    seconds[0] = 600.0
    flood(1500, 1600, "2001:db8::1")
    assert written() == (1021, [("2001:db8::/64", 200), ("2001:db8::/64", 380)])
    flood(1600, 1605, "2001:db8::1")
    ledger.stop()
    assert written() == (1021, [("2001:db8::/64", 200), ("2001:db8::/64", 380), ("2001:db8::/64", 5)])


def test_an_entry_that_cannot_be_written_hides_no_other(
    store: IdentityStore,
    administration: Administration,
    ada: Secret,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken = Records.note

    def note(records: Records, actor: str, *rest: Any, **detail: Any) -> None:
        if actor == "mallory":
            raise ValueError("what mallory said can't be kept")
        taken(records, actor, *rest, **detail)

    monkeypatch.setattr(Records, "note", note)
    ledger = Ledger(store)
    ledger.note_refusal("bob", "/first", "192.0.2.1", "You may not.")
    ledger.note_refusal("mallory", "/x", "192.0.2.2", "You may not.")
    ledger.note_refusal("bob", "/last", "192.0.2.1", "You may not.")
    ledger.note_acting("boss", "ada", "192.0.2.3", "GET /x")
    ledger.note_use(ada.key)
    ledger.flush()
    assert [entry.subject for entry in store.iter_audit(actions=["refused"])] == ["/first", "/last"]
    assert len(list(store.iter_audit(actions=["user impersonated"]))) == 1
    assert administration.tokens("ada")[0].last_used is not None
    (told,) = caplog.records
    assert (told.message, vars(told)["entry"]) == ("an entry could not be written into the audit log", "refused")
    assert told.exc_info is None
    assert "mallory" not in repr(vars(told))
    ledger.flush()
    assert len(caplog.records) == 1
