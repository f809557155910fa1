"""An administrator sees what somebody else sees: for minutes, for a reason, written down, and with no way to more."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import httpx
import pytest
import sqlalchemy as sa

from command_fixture import command_runner
from idac.core.errors import AccessDenied, BadParameter, NotAuthenticated, UserError
from idac.identity.administration import Administration
from idac.identity.credentials import Secret, parse_token
from idac.identity.directory import Directory, Known
from idac.identity.impersonation import Impersonation
from idac.identity.schema import LENT_TOKENS, SESSIONS, TOKENS
from identity_centre import ME, PUBLIC, RESTRICTED, IdentityCentre, identity_centre
from identity_clock import Clock
from services import http

WHY = "she sees no rows"


@pytest.fixture
def lent(administration: Administration) -> Secret:
    administration.add_account("boss", actor=ME, is_admin=True)
    administration.add_account("ada", actor=ME)
    administration.add_members("team", ["ada"], actor=ME)
    administration.grant("team", "dp1", actor=ME)
    return Impersonation(administration).lend("ada", WHY, actor="boss", administrator="boss")[1]


def known(administration: Administration, secret: Secret) -> Known:
    presented = parse_token(secret.text)
    assert presented is not None
    return Directory(administration.store).by_token(presented)


def test_the_administrator_is_the_other_but_for_what_changes_anything(
    administration: Administration, lent: Secret
) -> None:
    found = known(administration, lent)
    assert found.acting == "boss"
    seen = found.principal
    assert (seen.name, seen.groups, seen.rights) == ("ada", frozenset({"team"}), frozenset({"dp1"}))
    assert (seen.is_admin, seen.scopes, seen.reads_only) == (False, frozenset({"read:tap"}), True)


def test_it_ends_after_some_minutes(administration: Administration, lent: Secret, clock: Clock) -> None:
    clock.advance(minutes=14, seconds=59)
    known(administration, lent)
    clock.advance(seconds=1)
    with pytest.raises(NotAuthenticated, match=r"This token has expired\."):
        known(administration, lent)


ENDS: dict[str, tuple[Callable[[Administration, Secret], object], str]] = {
    "administrator frozen": (
        lambda a, _: a.freeze("boss", "x", actor=ME),
        "This token was lent to somebody who is no administrator any more. Given: boss.",
    ),
    "administrator expired": (
        lambda a, _: a.expire("boss", a.store.now(), actor=ME),
        "This token was lent to somebody who is no administrator any more. Given: boss.",
    ),
    "administrator no longer": (lambda a, _: make_admin(a, "boss", now=False), "This token was lent to somebody"),
    "user made administrator": (
        lambda a, _: make_admin(a, "ada", now=True), "Nobody acts for an administrator. Given: ada.",
    ),
    "user frozen": (lambda a, _: a.freeze("ada", "x", actor=ME), "This account is frozen. Given: ada."),
    "revoked": (lambda a, secret: a.revoke(secret.key, actor="boss"), "This token was revoked."),
    "nobody knows whose": (lambda a, _: forget(a), "Nobody knows to whom this token was lent."),
}  # fmt: skip


def make_admin(administration: Administration, name: str, *, now: bool) -> None:
    with administration.store.write() as records:
        records.change_account(administration.account(name).id, is_admin=now)


def forget(administration: Administration) -> None:
    with administration.store.write() as records:
        records.connection.execute(LENT_TOKENS.delete())


@pytest.mark.parametrize("how", ENDS)
def test_it_ends_at_once_for_requests_and_for_running_work(
    administration: Administration, lent: Secret, how: str
) -> None:
    end, words = ENDS[how]
    directory = Directory(administration.store)
    principal = known(administration, lent).principal
    assert directory.current(principal).rights == {"dp1"}
    end(administration, lent)
    looks: tuple[Callable[[], object], ...] = (
        lambda: known(administration, lent),
        lambda: directory.current(principal),
    )
    for look in looks:
        with pytest.raises((NotAuthenticated, AccessDenied)) as ended:
            look()
        assert str(ended.value).startswith(words)
    with pytest.raises((NotAuthenticated, AccessDenied)) as refused:
        known(administration, lent)
    assert refused.value.holder == ("ada" if how == "nobody knows whose" else "boss")


def test_a_job_that_was_made_with_it_is_not_run(administration: Administration, lent: Secret) -> None:
    principal = known(administration, lent).principal
    with pytest.raises(AccessDenied) as refused:
        Directory(administration.store).owner_now(principal)
    assert str(refused.value) == "A token that is lent to look runs no jobs. Given: ada."


@pytest.mark.parametrize(
    ("name", "reason", "minutes", "by", "kind", "words"),
    [
        ("boss", WHY, 15, "boss", AccessDenied, "Nobody acts for an administrator. Given: boss."),
        ("chief", WHY, 15, "boss", AccessDenied, "Nobody acts for an administrator. Given: chief."),
        ("ada", WHY, 15, "ada", AccessDenied, "Only administrators may act for others. Given: ada."),
        ("ada", WHY, 15, "gone", AccessDenied, "This account is frozen. Given: gone."),
        ("cold", WHY, 15, "boss", AccessDenied, "This account is frozen. Given: cold."),
        (
            "ada", " ", 15, "boss", BadParameter,
            "This needs a reason, which the account's holder will read. Given:  . Allowed: 1 to 200 printable",
        ),
        ("ada", "x" * 201, 15, "boss", BadParameter, "This needs a reason, which the account's holder will read."),
        ("ada", "a\nb", 15, "boss", BadParameter, "This needs a reason, which the account's holder will read."),
        ("ada", WHY, 61, "boss", BadParameter, "The time is not one that is allowed. Given: 61. Allowed: 1 to 60 min"),
        ("ada", WHY, 0, "boss", BadParameter, "The time is not one that is allowed. Given: 0. Allowed: 1 to 60 min"),
    ],
)  # fmt: skip
def test_what_is_not_lent(
    administration: Administration,
    lent: Secret,
    name: str,
    reason: str,
    minutes: int,
    by: str,
    kind: type[UserError],
    words: str,
) -> None:
    administration.add_account("chief", actor=ME, is_admin=True)
    for shut in ("gone", "cold"):
        administration.add_account(shut, actor=ME, is_admin=shut == "gone")
        administration.freeze(shut, "x", actor=ME)
    with pytest.raises(kind) as refused:
        Impersonation(administration).lend(name, reason, actor=by, administrator=by, minutes=minutes)
    assert str(refused.value).startswith(words)
    assert [token.key for token in administration.tokens()] == [lent.key]


# -- a running centre --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def centre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IdentityCentre]:
    with identity_centre(tmp_path_factory.mktemp("centre")) as running:
        running.user("boss", admin=True)
        running.user("eve", right=True)
        yield running


def bearer(secret: Secret | str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret if isinstance(secret, str) else secret.text}"}


def borrow(centre: IdentityCentre, **asked: object) -> httpx.Response:
    by = bearer(centre.token("boss", "admin"))
    url = f"{centre.url}/auth/api/v1/users/eve/impersonations"
    return http.post(url, json={"why": WHY, **asked}, headers=by)


def test_each_use_is_the_administrators_in_the_audit_log(
    centre: IdentityCentre, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = borrow(centre, minutes=5)
    assert made.status_code == 201
    secret, info = made.json()["token"], made.json()["info"]
    assert (info["username"], info["token_type"], info["scopes"]) == ("eve", "lent", ["read:tap"])
    assert info["expires"] - info["created"] == 300
    assert centre.query(RESTRICTED, secret).status_code == 200
    assert centre.query("SELECT TOP 1 id FROM demo.nothing", secret).status_code == 400
    assert http.get(f"{centre.url}/auth/api/v1/users", headers=bearer(secret)).status_code == 403
    with centre.browser() as browser:
        centre.log_in("eve", browser)
        assert f">administrator boss: {WHY}</td>" in browser.get("/auth/tokens").text
    assert http.get(f"{centre.url}/auth/api/v1/user-info", headers=bearer(secret)).json()["username"] == "eve"
    monkeypatch.chdir(centre.folder)
    idac = command_runner(monkeypatch, capsys)

    def noted(*actions: str) -> list[dict[str, object]]:
        chosen = [word for action in actions for word in ("--action", action)]
        return [json.loads(line) for line in idac("audit", "export", "--of", "boss", *chosen).out.splitlines()]

    centre.ledger.flush()
    (lent,) = noted("user impersonate")
    assert (lent["actor"], lent["subject"]) == ("boss", "eve")
    assert (lent["detail"]["why"], lent["detail"]["token"]) == (WHY, secret[5:27])  # type: ignore[index]
    uses = [(use["actor"], use["subject"], use["detail"]["request"]) for use in noted("user impersonated")]  # type: ignore[index]
    assert ("boss", "eve", "POST /api/tap/sync") in uses
    assert ("boss", "eve", "GET /auth/api/v1/user-info") in uses
    assert [(entry["actor"], entry["subject"]) for entry in noted("refused")] == [("boss", "/auth/api/v1/users")]


DOORS = [
    ("POST", "/auth/api/v1/tokens", {"token_name": "more", "scopes": ["read:tap"]}),
    ("DELETE", f"/auth/api/v1/tokens/{'0' * 22}", None),
    ("POST", "/auth/tokens", None),
    ("POST", "/auth/tokens/revoke", None),
    ("POST", "/auth/api/v1/groups", {"name": "mine"}),
    ("POST", "/auth/identities/nobody", None),
    ("POST", "/auth/unlink", None),
    ("POST", "/auth/code", None),
    ("POST", "/auth/api/v1/users/eve/impersonations", {"why": "again"}),
    ("GET", "/auth/api/v1/users/eve/impersonations", None),
    ("POST", "/auth/api/v1/users/eve/freeze", {"why": "x"}),
    ("GET", "/auth/identities", None),
    ("HEAD", "/auth/identities", None),
    ("POST", "/api/tap/async", {"LANG": "ADQL", "QUERY": PUBLIC, "PHASE": "RUN"}),
    ("POST", f"/api/tap/async/{'0' * 40}/phase", {"PHASE": "RUN"}),
    ("DELETE", f"/api/tap/async/{'0' * 40}", None),
]


@pytest.mark.parametrize(("method", "path", "body"), DOORS)
def test_nothing_of_the_account_can_be_changed(
    centre: IdentityCentre, method: str, path: str, body: dict[str, object] | None
) -> None:
    secret = borrow(centre).json()["token"]
    with centre.browser() as client:
        client.headers.update(bearer(secret))
        refused = client.request(method, path, **({"json": body} if body else {}))  # type: ignore[arg-type]
    assert refused.status_code == 403, refused.text


CHANGES = [
    ("POST", "", {"ACTION": "DELETE"}),
    ("POST", "", {"QUERY": RESTRICTED}),
    ("POST", "/phase", {"PHASE": "RUN"}),
    ("POST", "/phase", {"PHASE": "ABORT"}),
    ("POST", "/executionduration", {"EXECUTIONDURATION": "1"}),
    ("POST", "/destruction", {"DESTRUCTION": "2030-01-01T00:00:00Z"}),
    ("POST", "/parameters", {"QUERY": RESTRICTED}),
    ("DELETE", "", None),
]


def test_jobs_of_the_account_can_be_looked_at_and_not_changed(centre: IdentityCentre) -> None:
    own = bearer(centre.token("eve"))
    made = http.post(f"{centre.tap}/async", data={"LANG": "ADQL", "QUERY": PUBLIC}, headers=own)
    job = made.headers["location"]
    before = http.get(job, headers=own).text
    secret = borrow(centre).json()["token"]
    for path in ("", "/phase", "/parameters", "/results", "/owner"):
        assert http.get(f"{job}{path}", headers=bearer(secret)).status_code == 200
    for method, path, data in CHANGES:
        refused = http.request(method, f"{job}{path}", data=data, headers=bearer(secret))  # type: ignore[arg-type]
        assert (refused.status_code, refused.text) == (
            403,
            "AuthorizationFault: This token is lent to look, and changes nothing. "
            f"Given: {method} {job.removeprefix(centre.url)}{path}. "
            "Allowed: GET, HEAD, and queries that are answered at once. The account's holder does this.\n",
        )
    assert http.get(job, headers=own).text == before
    assert centre.query(PUBLIC, secret).status_code == 200
    assert http.delete(job, headers=own).status_code == 303


def test_it_opens_no_session_and_no_token_of_a_program(centre: IdentityCentre) -> None:
    secret = borrow(centre).json()["token"]
    before = tokens_and_sessions(centre)
    for way in ("bearer", "cookie"):
        given = http.post(f"{centre.url}/auth/ivoa/{way}", data={"username": "eve", "password": secret})
        assert given.status_code == 200
        # The program gets what it has, and nothing that could outlive it.
        assert secret in (given.headers.get("x-vo-bearer"), *given.cookies.values())
    assert tokens_and_sessions(centre) == before


def tokens_and_sessions(centre: IdentityCentre) -> tuple[int, int]:
    with centre.administration.store.read() as records:
        counts = (sa.select(sa.func.count()).select_from(table) for table in (TOKENS, SESSIONS))
        tokens, sessions = (records.connection.execute(count).scalar_one() for count in counts)
    return tokens, sessions


def test_it_is_taken_back_by_either_of_the_two(centre: IdentityCentre) -> None:
    secret = borrow(centre).json()["token"]
    url, by = f"{centre.url}/auth/api/v1/users/eve/impersonations", bearer(centre.token("boss", "admin"))
    assert secret[5:27] in [token["token"] for token in http.get(url, headers=by).json()]
    assert http.delete(f"{url}/{secret[5:27]}", headers=by).status_code == 204
    assert centre.query(PUBLIC, secret).status_code == 401
    assert http.delete(f"{url}/{secret[5:27]}", headers=by).status_code == 404
    other = borrow(centre).json()["token"]
    own = bearer(centre.token("eve", "user:token"))
    assert http.delete(f"{centre.url}/auth/api/v1/tokens/{other[5:27]}", headers=own).status_code == 204
    assert centre.query(PUBLIC, other).status_code == 401


def test_a_browser_needs_the_text_of_its_form(centre: IdentityCentre) -> None:
    with centre.browser() as browser:
        centre.log_in("boss", browser)
        path = "/auth/api/v1/users/eve/impersonations"
        assert browser.post(path, json={"why": WHY}).status_code == 403
        form = browser.get("/auth/api/v1/login").json()["csrf"]
        assert browser.post(path, json={"why": WHY}, headers={"x-csrf-token": form}).status_code == 201
        assert browser.delete(f"{path}/{'0' * 22}").status_code == 403


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"why": ""}, "This needs a reason, which the account's holder will read."),
        ({"why": 7}, "why is no text."),
        ({"minutes": True}, "minutes is no whole number."),
        ({"minutes": 61}, "The time is not one that is allowed."),
    ],
)
def test_requests_that_are_refused(centre: IdentityCentre, asked: dict[str, object], words: str) -> None:
    refused = borrow(centre, **asked)
    assert (refused.status_code, words in refused.json()["error"]["message"]) == (400, True), refused.text


def test_the_command_prints_a_token(
    centre: IdentityCentre, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(centre.folder)
    idac = command_runner(monkeypatch, capsys)
    done = idac("user", "impersonate", "eve", "--reason", WHY, "--minutes", "5")
    assert (done.code, centre.query(RESTRICTED, done.out.strip()).status_code) == (0, 200)
    key = done.out.strip()[5:27]
    assert done.err == f"Good for 5 min; end it before with: idac token revoke {key}\n"
    assert idac("token", "revoke", key).code == 0
    assert centre.query(PUBLIC, done.out.strip()).status_code == 401
    assert idac("user", "impersonate", "eve").code == 2
    assert idac("user", "impersonate", "boss", "--reason", WHY, "--json").error["message"].startswith("Nobody acts")
    assert idac("user", "impersonate", "eve", "--reason", WHY, "--json").json["scopes"] == ["read:tap"]
