"""``idac group make``, ``invite``, ``join``, ``mine`` and ``leave`` of a running centre, by those logged in there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from command_fixture import Run, command_runner
from idac.client.kept import LogIn, LogIns
from identity_centre import IdentityCentre, identity_centre


@pytest.fixture(scope="module")
def centre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IdentityCentre]:
    with identity_centre(tmp_path_factory.mktemp("centre")) as served:
        for name in ("ada", "bob"):
            served.user(name)
        yield served


@pytest.fixture
def idac(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return command_runner(monkeypatch, capsys)


def be(centre: IdentityCentre, name: str, *scopes: str) -> None:
    """Have the log-in that ``idac login --scope`` leaves."""
    chosen = scopes or ("read:tap", "user:groups")
    LogIns().keep(LogIn(centre.url, centre.token(name, *chosen).text, name, chosen, None))


def test_a_group_is_made_joined_and_left_from_terminals(centre: IdentityCentre, idac: Run) -> None:
    be(centre, "ada")
    assert idac("group", "mine").out == "You are in no group. Make one with: idac group make NAME\n"
    assert idac("group", "make", "shear", "--description", "Weak lensing").out == (
        "You own the group shear. Invite to it with: idac group invite shear USER\n"
    )
    assert re.fullmatch(
        r"bob is invited to shear until \d{4}-\d\d-\d\d\.\n", idac("group", "invite", "shear", "bob").out
    )
    link = idac("group", "invite", "shear", "--uses", "2", "--place-expires", "90d", "--json").json["url"]
    be(centre, "bob")
    said = idac("group", "mine").out
    key = said.rpartition(" ")[2].strip()
    assert said == f"ada invites you to shear: idac group join {key}\n"
    assert idac("group", "join", key, "--decline").out == "You declined.\n"
    assert idac("group", "join", link).out == "You are in the group now. idac group mine shows it.\n"
    assert [each["role"] for each in idac("group", "mine", "--json").json["groups"]] == ["member"]
    again = idac("group", "join", link, "--json")
    assert (again.code, again.error["code"]) == (7, "conflict")
    assert idac("group", "leave", "shear").out == "You left the group shear.\n"
    refused = idac("group", "invite", "shear", "ada", "--json")
    assert (refused.code, refused.error["message"]) == (
        5,
        "You are in no group of this name that people look after. Given: shear. /auth/groups shows yours.",
    )


def test_a_log_in_for_queries_alone_is_told_how_to_get_one_for_groups(centre: IdentityCentre, idac: Run) -> None:
    be(centre, "ada", "read:tap")
    refused = idac("group", "mine")
    assert refused.code == 6
    assert f"idac login {centre.url} --scope read:tap --scope user:groups" in refused.err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["make", "shear"], "not-authenticated"),
        (["join", "https://dac.example.org/auth/join?x=1"], "bad-parameter"),
        (["join", "https://dac.example.org/auth/join?invitation=1", "--decline"], "bad-parameter"),
    ],
)
def test_what_can_not_be_asked_is_refused_here(idac: Run, arguments: list[str], code: str) -> None:
    assert idac("group", *arguments, "--json").error["code"] == code


def test_whoever_has_to_log_in_is_told_to_do_it_for_groups(idac: Run) -> None:
    refused = idac("group", "join", "https://dac.example.org/auth/join?invitation=1")
    assert (refused.code, refused.err) == (
        6,
        "Error: You are not logged in there. Given: https://dac.example.org. Log in with: idac login "
        "https://dac.example.org --scope read:tap --scope user:groups\n",
    )
    assert idac("group", "mine").err == (
        "Error: You are not logged in anywhere. Log in with: idac login https://dac.example.org --scope read:tap "
        "--scope user:groups\n"
    )


def test_an_account_is_not_invited_several_times(idac: Run) -> None:
    refused = idac("group", "invite", "shear", "bob", "--uses", "3")
    assert (refused.code, refused.err) == (
        2,
        "Error: An account is invited once. Given: --uses 3. Allowed: --uses for a link. Leave out --uses, or bob.\n",
    )
