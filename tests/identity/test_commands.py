"""``idac user``, ``group``, ``token`` and ``audit``: what they print, as text and as JSON, and how they end."""

from __future__ import annotations

import csv
import io
import json
import os
import pwd
import re
from datetime import timedelta
from pathlib import Path

import pytest

from archive_fixture import build_archive, star_table
from command_fixture import Run, command_runner
from idac.cli.admin import parse_moment
from idac.client.kept import LogIn, LogIns
from idac.core.database import open_database
from idac.core.errors import BadParameter
from idac.identity.credentials import parse_token
from idac.identity.model import ACTIONS
from idac.identity.store import IdentityStore

CONFIG = "identity:\n  enabled: true\n  rights:\n    dp1: {tables: [dp1]}\n"
WORDS = "correct horse battery"


@pytest.fixture
def idac(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    (tmp_path / "dac.yaml").write_text(CONFIG)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    return command_runner(monkeypatch, capsys)


def typed(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))


def test_an_account_from_its_beginning_to_its_end(idac: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert idac("user", "list").out == "There are no accounts yet. Make one with: idac user add NAME\n"
    typed(monkeypatch, f"{WORDS}\n")
    done = idac("user", "add", "ada", "--full-name", "Ada L.", "--admin", "--expires", "2040-01-31", "--password-stdin")
    assert (done.code, done.out) == (0, "Made the account ada, number 100000.\n")
    (ada,) = idac("user", "list", "--json").json
    assert (ada["username"], ada["name"], ada["admin"], ada["state"]) == ("ada", "Ada L.", True, "active")
    assert (ada["password"], ada["expires"], ada["uid"]) == (True, "2040-01-31T23:59:59+00:00", 100_000)
    assert idac("user", "admin", "ada", "--dismiss").out == "ada is no administrator any more.\n"
    assert idac("user", "admin", "ada").out == "ada is an administrator.\n"
    assert idac("user", "admin", "ada", "--json").json["admin"] is True
    assert idac("user", "freeze", "ada", "--why", "lost laptop").out == "Froze the account ada.\n"
    assert idac("user", "list", "--json").json[0]["frozen_why"] == "lost laptop"
    assert idac("user", "unfreeze", "ada").out == "The account ada may log in again.\n"
    assert idac("user", "expire", "ada", "--json").json["state"] == "expired"
    assert idac("user", "expire", "ada", "--never").out == "The account ada goes on without an end.\n"
    typed(monkeypatch, f"{WORDS}!\n")
    assert idac("user", "password", "ada", "--password-stdin").out == "The account ada has a new password.\n"
    assert re.fullmatch(
        r"http://localhost:8080/auth/login\?link=[0-9A-Za-z]{65}", idac("user", "link", "ada", "--json").json["url"]
    )
    assert re.search(r"^ *ada +100000 +user +yes +active", idac("user", "list").out, re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "code", "error", "text"),
    [
        (["user", "freeze", "nobody"], 5, "not-found", "There is no account of this name. Given: nobody."),
        (["user", "unfreeze", "ada"], 7, "conflict", "The account is not frozen. Given: ada."),
        (["user", "add", "ada"], 7, "conflict", "There is an account or a group of this name already. Given: ada."),
        (["user", "add", "A"], 2, "bad-parameter", "The account can't have this name. Given: A."),
        (["user", "add", "x", "--expires", "99999y"], 2, "bad-parameter", "--expires is no date. Given: 99999y."),
        (["user", "add", "x", "--expires", "soon"], 2, "bad-parameter", "--expires is no date. Given: soon."),
        (["user", "add", "x", "--expires", "20990131"], 2, "bad-parameter", "--expires is no date. Given: 20990131."),
        (["user", "expire", "ada", "--on", "2099-W05-1"], 2, "bad-parameter", "--on is no date. Given: 2099-W05-1."),
        (["audit", "export", "--since", "20200131"], 2, "bad-parameter", "--since is no date. Given: 20200131."),
        (["user", "add", "x", "--expires", "٩d"], 2, "bad-parameter", "--expires is no date. Given: ٩d."),
        (["user", "add", "x", "--expires", "2099-02-30"], 2, "bad-parameter", "--expires is no date."),
        (["user", "add", "x", "--service", "--admin"], 2, "bad-parameter", "A service is no administrator"),
        (["group", "grant", "team", "dp1"], 5, "not-found", "There is no group of this name. Given: team."),
        (["group", "add", "team", "bob"], 5, "not-found", "There is no account of this name. Given: bob."),
        (["group", "remove", "team", "ada"], 5, "not-found", "There is no group of this name."),
        (["token", "create", "bob", "--name", "x"], 5, "not-found", "There is no account of this name."),
        (
            ["token", "create", "ada", "--name", "x", "--expires", "2001-01-01"],
            2,
            "bad-parameter",
            "--expires is over already. Given: 2001-01-01, which is 2001-01-01 23:59 UTC.",
        ),
        (["token", "revoke", "0" * 22], 5, "not-found", "There is no such token. Given: 0000000000000000000000."),
        (["audit", "export", "-o", "/nowhere/x"], 2, "bad-parameter", "The file can't be written. Given: /nowhere/x:"),
    ],
)
def test_what_is_refused_is_told_with_a_code(idac: Run, arguments: list[str], code: int, error: str, text: str) -> None:
    idac("user", "add", "ada")
    refused = idac(*arguments, "--json")
    assert (refused.code, refused.error["code"]) == (code, error)
    assert refused.error["message"].startswith(text)
    plain = idac(*arguments)
    assert (plain.code, plain.out) == (code, "")
    assert plain.err.startswith(f"Error: {text}")


@pytest.mark.parametrize(
    "arguments",
    [
        ("user", "add", "bob", "--expires"),
        ("user", "expire", "ada", "--on"),
        ("group", "add", "team", "ada", "--expires"),
        ("group", "grant", "team", "dp1", "--expires"),
        ("token", "create", "ada", "--name", "x", "--expires"),
        ("quota", "set", "ada", "tap=5", "--until"),
        ("group", "invite", "team", "ada", "--service", "https://dac.example.org", "--place-expires"),
    ],
    ids=" ".join,
)
def test_what_would_have_ended_already_is_not_given(idac: Run, arguments: tuple[str, ...]) -> None:
    idac("user", "add", "ada")
    idac("group", "add", "team")
    LogIns().keep(LogIn("https://dac.example.org", "idac_x", "ada", ("user:groups",)))
    before = [idac(kind, "list", "--json").json for kind in ("user", "group", "token", "quota")]
    past = idac(*arguments, "2020-01-31T12:00Z")
    assert (past.code, past.out, past.err) == (
        2,
        "",
        f"Error: {arguments[-1]} is over already. Given: 2020-01-31T12:00Z, which is 2020-01-31 12:00 UTC. Allowed: a "
        "time to come, such as 2027-03-31, 2027-03-31T12:00Z, or 12h, 90d, 8w, 1y from now. Nothing was changed. Give "
        "a later one.\n",
    )
    assert idac(*arguments, "0d").code == 2
    assert [idac(kind, "list", "--json").json for kind in ("user", "group", "token", "quota")] == before


def test_days_times_and_stretches_mean_what_is_documented() -> None:
    for text, meant in (
        ("2099-01-31", "2099-01-31T23:59:59+00:00"),
        ("2099-01-31T12:00Z", "2099-01-31T12:00:00+00:00"),
        ("2099-01-31 12:00:30", "2099-01-31T12:00:30+00:00"),
        ("2099-01-31T12:00+02:00", "2099-01-31T10:00:00+00:00"),
    ):
        found = parse_moment(text, "--on")
        assert found is not None
        assert found.isoformat() == meant
    year, days = parse_moment("1y", "--on"), parse_moment("365d", "--on")
    assert year is not None
    assert days is not None
    assert abs(days - year) < timedelta(minutes=5)


def test_a_link_that_leads_nowhere_yet_is_told_so(idac: Run, tmp_path: Path) -> None:
    idac("user", "add", "ada")
    assert idac("user", "link", "ada").err == ""
    (tmp_path / "dac.yaml").write_text(CONFIG.replace("true", "false"))
    told = idac("user", "link", "ada")
    assert (told.code, told.err) == (
        0,
        "Nobody is asked to log in yet: set identity.enabled to true in dac.yaml.\n",
    )


def test_a_group_gets_members_and_a_right(idac: Run) -> None:
    for name in ("ada", "bob"):
        idac("user", "add", name)
    assert idac("group", "add", "team", "ada", "bob", "--expires", "2040-01-31").out == (
        "team: ada, bob until 2040-01-31 23:59 UTC. It has 2 members.\n"
    )
    assert idac("group", "grant", "team", "dp1", "--expires", "2039-12-31").out == (
        "team holds dp1 until 2039-12-31 23:59 UTC. It has 2 members.\n"
    )
    shown = idac("group", "list").out
    assert "dp1 (until 2039-12-31)" in shown
    assert "ada (until 2040-01-31), bob (until 2040-01-31)" in shown
    assert idac("group", "remove", "team", "bob").out == "bob left team. It has 1 member.\n"
    (group,) = idac("group", "list", "--json").json
    assert group["rights"] == [{"right": "dp1", "expires": "2039-12-31T23:59:59+00:00"}]
    assert [member["username"] for member in group["members"]] == ["ada"]
    assert idac("group", "grant", "team", "dp1", "--withdraw").out == "team no longer holds dp1. It has 1 member.\n"


def test_a_deleted_group_is_told_with_the_limits_that_went_with_it(idac: Run, tmp_path: Path) -> None:
    (tmp_path / "dac.yaml").write_text(CONFIG + "  quotas: {default: {requests: {tap: 10, scs: 10}}}\n")
    for group in ("team", "other"):
        idac("group", "add", group)
    idac("quota", "set", "team", "tap=20", "scs=5")
    told = "Deleted the group {}. What its members read by it ends within 5 seconds.{}\n"
    gone = " Limits that were set for it are gone: scs, tap."
    assert idac("group", "delete", "team").out == told.format("team", gone)
    assert idac("group", "delete", "other").out == told.format("other", "")


def test_a_right_is_not_withdrawn_until_a_date(idac: Run) -> None:
    idac("group", "add", "team")
    idac("group", "grant", "team", "dp1")
    refused = idac("group", "grant", "team", "dp1", "--withdraw", "--expires", "90d")
    assert (refused.code, refused.out, refused.err) == (
        2,
        "",
        "Error: A right that is withdrawn has no end. Given: --withdraw --expires 90d. Allowed: one of them. Leave out "
        "--expires to take the right at once, or --withdraw to let it end then.\n",
    )
    assert [right["right"] for right in idac("group", "list", "--json").json[0]["rights"]] == ["dp1"]


def test_the_secret_of_a_token_is_printed_once(idac: Run) -> None:
    idac("user", "add", "ada")
    done = idac("token", "create", "ada", "--name", "laptop", "--scope", "read:tap", "--expires", "90d")
    secret = done.out.strip()
    presented = parse_token(secret)
    assert presented is not None
    assert done.err == "Copy it now: it can't be shown again. It works as a bearer token and as a password.\n"
    listed = idac("token", "list", "--json")
    assert [(t["token"], t["username"], t["state"]) for t in listed.json] == [(presented.key, "ada", "active")]
    assert secret not in listed.out + idac("token", "list", "ada").out + idac("audit", "export").out
    assert idac("token", "revoke", secret).out == "Revoked laptop of ada. It holds nowhere within 5 seconds.\n"
    assert idac("token", "list", "--json").json[0]["state"] == "revoked"
    idac("user", "add", "robot", "--service")
    assert idac("token", "create", "robot", "--name", "harvest", "--json").json["token_type"] == "service"  # noqa: S105


def test_an_account_that_is_shut_gets_no_token_and_its_own_are_told_so(idac: Run) -> None:
    idac("user", "add", "ada")
    idac("token", "create", "ada", "--name", "laptop")
    idac("token", "create", "ada", "--name", "old")
    idac("token", "revoke", idac("token", "list", "--json").json[0]["token"])
    shut = "Error: Nobody can use a token of this account. Given: ada is {}. First: idac user {}.\n"
    for act, state, opened in (
        (("freeze", "ada"), "frozen", "unfreeze ada"),
        (("expire", "ada"), "expired", "expire ada --never"),
    ):
        idac("user", *act)
        refused = idac("token", "create", "ada", "--name", "x")
        assert (refused.code, refused.out, refused.err) == (7, "", shut.format(state, opened))
        states = sorted(token["state"] for token in idac("token", "list", "--json").json)
        assert states == [f"account {state}", "revoked"]
        assert f"account {state}" in idac("token", "list").out
        idac("user", *opened.split())
    assert sorted(token["state"] for token in idac("token", "list", "--json").json) == ["active", "revoked"]


def test_whoever_runs_the_centre_is_told_how_to_see_as_an_account_that_is_shut(idac: Run) -> None:
    idac("user", "add", "bob")
    idac("user", "freeze", "bob")
    refused = idac("user", "impersonate", "bob", "--reason", "sees no rows")
    assert (refused.code, refused.out, refused.err) == (
        7,
        "",
        "Error: Nobody sees anything as this account. Given: bob is frozen. First: idac user unfreeze bob.\n",
    )


def test_a_token_for_administration_is_made_for_administrators_alone(idac: Run) -> None:
    idac("user", "add", "ada")
    idac("user", "add", "robot", "--service")
    others = "Allowed: read:tap, user:token, user:groups."
    refused = idac("token", "create", "ada", "--name", "x", "--scope", "admin")
    assert (refused.code, refused.out, refused.err) == (
        7,
        "",
        f"Error: Only an administrator's token can have the scope admin. Given: ada. {others} "
        "Leave it out, or first: idac user admin ada.\n",
    )
    assert idac("token", "create", "robot", "--name", "x", "--scope", "admin").err == (
        f"Error: Only an administrator's token can have the scope admin. Given: robot, a service. {others} "
        "Leave it out.\n"
    )
    idac("user", "admin", "ada")
    assert idac("token", "create", "ada", "--name", "x", "--scope", "admin").code == 0


def test_an_account_that_was_unfrozen_after_its_end_is_told_as_ended(idac: Run) -> None:
    idac("user", "add", "ada")
    idac("user", "freeze", "ada")
    ended = idac("user", "expire", "ada", "--json").json["expires"]
    assert idac("user", "unfreeze", "ada").out == (
        f"The account ada is frozen no more, but it ended on {ended[:10]} {ended[11:16]} UTC. Let it go on: "
        "idac user expire ada --never, or --on DATE.\n"
    )


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("user", "add", "bob", "--full-name"), "The full name"),
        (("user", "add", "bob", "--email"), "The e-mail address"),
        (("user", "freeze", "ada", "--why"), "The reason"),
    ],
)
def test_what_people_write_of_an_account_is_one_line(idac: Run, arguments: tuple[str, ...], what: str) -> None:
    idac("user", "add", "ada")
    allowed = "Allowed: 1 to 200 printable characters.\n"
    for line, told in (
        ("", f"{what} is empty. {allowed}"),
        ("x" * 5000, f"{what} is too long. Given: 5000 characters. {allowed}"),
        ("Ada\nroot", f"{what} can't be printed. Given: 'Ada\\nroot'. {allowed}"),
        ("Ada\x1b[2J", f"{what} can't be printed. Given: 'Ada\\x1b[2J'. {allowed}"),
    ):
        refused = idac(*arguments, line)
        assert (refused.code, refused.out, refused.err) == (2, "", f"Error: {told}")
    (ada,) = idac("user", "list", "--json").json
    assert ada["state"] == "active"


def test_the_log_is_exported_as_lines_array_and_csv(idac: Run, tmp_path: Path) -> None:
    idac("user", "add", "ada")
    idac("group", "add", "team", "ada")
    idac("user", "freeze", "ada")
    lines = [json.loads(line) for line in idac("audit", "export").out.splitlines()]
    assert [line["action"] for line in lines] == ["user add", "group add", "group member", "user freeze"]
    assert all(re.fullmatch(r"local:\w+", line["actor"]) for line in lines)
    assert idac("audit", "export", "--json").json == lines
    rows = list(csv.DictReader(io.StringIO(idac("audit", "export", "--format", "csv").out)))
    assert [row["action"] for row in rows] == [line["action"] for line in lines]
    assert json.loads(rows[-1]["detail"]) == lines[-1]["detail"]
    assert [json.loads(x)["action"] for x in idac("audit", "export", "--of", "ada").out.splitlines()] == [
        "user add", "group member", "user freeze",
    ]  # fmt: skip
    assert idac("audit", "export", "--since", "1h").out == idac("audit", "export").out
    assert idac("audit", "export", "--since", "2999-01-01").out == ""
    written = idac("audit", "export", "--action", "user freeze", "-o", "log.jsonl")
    assert written.out == "Wrote 1 line to log.jsonl.\n"
    assert (tmp_path / "log.jsonl").stat().st_mode & 0o777 == 0o600


def test_who_ran_a_command_is_whom_the_system_knows(idac: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "ada")
    idac("user", "add", "bob")
    (entry,) = map(json.loads, idac("audit", "export").out.splitlines())
    assert entry["actor"] == f"local:{pwd.getpwuid(os.getuid()).pw_name}" != "local:ada"
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)  # which no system has a name for
    idac("user", "add", "cyd")
    assert json.loads(idac("audit", "export").out.splitlines()[1])["actor"] == "local:2147483641"


@pytest.mark.parametrize("before", ["", "\t", "\r", " \n"])
def test_a_spreadsheet_computes_nothing_that_somebody_tried_as_a_name(idac: Run, tmp_path: Path, before: str) -> None:
    idac("user", "list")
    database = open_database(f"sqlite:///{tmp_path / 'state.db'}")
    tried = f'{before}=HYPERLINK("http://x")'
    with IdentityStore(database).write() as records:
        records.note(tried, "login refused", tried, how="password")
    database.close()
    (row,) = csv.DictReader(io.StringIO(idac("audit", "export", "--format", "csv").out, newline=""))
    assert (row["actor"], row["subject"], row["action"]) == (f"'{tried}", f"'{tried}", "login refused")
    assert json.loads(idac("audit", "export").out)["actor"] == tried


def test_an_action_that_the_log_does_not_tell_of_is_refused_with_the_nearest(idac: Run) -> None:
    for given, near in (("login-refused", "Did you mean login refused?"), ("x", "Leave --action out to see all.")):
        refused = idac("audit", "export", "--action", "login", "--action", given)
        assert (refused.code, refused.out) == (2, "")
        assert refused.err == (
            f"Error: The audit log tells of no such action. Given: {given}. Allowed: {', '.join(ACTIONS)}. {near}\n"
        )


def test_a_name_of_which_nothing_is_written_is_told(idac: Run, tmp_path: Path) -> None:
    idac("user", "add", "ada")
    assert idac("audit", "export", "--of", "ada").err == ""
    nothing = "The audit log has nothing of adda: idac user list shows accounts.\n"
    for more in ([], ["--json"], ["--format", "csv"], ["-o", "log.jsonl"]):
        done = idac("audit", "export", "--of", "adda", *more)
        assert (done.code, done.err) == (0, nothing)
    assert (tmp_path / "log.jsonl").read_text() == ""
    assert idac("audit", "export", "--of", "ada", "--action", "login").err == (
        "The audit log has nothing that was asked for of ada: idac user list shows accounts.\n"
    )


def test_accounts_can_be_made_before_identity_is_on(idac: Run, tmp_path: Path) -> None:
    (tmp_path / "dac.yaml").write_text("identity: {}\n")
    assert idac("user", "add", "ada").out == (
        "Made the account ada, number 100000.\n"
        "Nobody is asked to log in yet: set identity.enabled to true in dac.yaml.\n"
    )


@pytest.mark.parametrize("written", ["dp1", "DP1"])
def test_a_table_that_needs_a_right_is_not_opened_to_the_public(idac: Run, tmp_path: Path, written: str) -> None:
    (tmp_path / "dac.yaml").write_text(CONFIG + f"catalogs:\n  read: {{{written}: [public]}}\n")
    refused = idac("config", "check")
    assert refused.code == 3
    assert "not open dp1 to the public, which needs the data right dp1" in refused.err
    assert BadParameter.exit_code == 2


def test_a_table_is_described_with_the_right_that_it_needs(idac: Run, tmp_path: Path) -> None:
    build_archive(tmp_path, {"dp1.object": star_table(100)})
    described = idac("catalog", "describe", "dp1.object", "--json").json
    assert (described["readable_by"], described["needs_right"]) == ([], ["dp1"])
