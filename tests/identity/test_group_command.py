"""``idac group owner`` and ``delete``: who looks after a group, by an administrator's word."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest

from command_fixture import Run, command_runner
from idac.core.loading import load_settings
from idac.core.principal import Principal
from idac.identity.groups import UserGroups
from idac.wiring.build import open_state
from idac.wiring.identity import open_administration
from idac.wiring.settings import DacSettings


@pytest.fixture
def idac(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    (tmp_path / "dac.yaml").write_text("identity:\n  enabled: true\n  rights:\n    dp1: {tables: [dp1]}\n")
    monkeypatch.chdir(tmp_path)
    run = command_runner(monkeypatch, capsys)
    for name in ("ada", "bob"):
        assert run("user", "add", name).code == 0
    return run


def test_a_group_is_put_into_somebodys_hands_and_taken_back(idac: Run) -> None:
    idac("group", "add", "dp1-team", "bob")
    assert idac("group", "owner", "dp1-team", "ada").out == "dp1-team is in the hands of ada. It has 2 members.\n"
    assert idac("group", "grant", "dp1-team", "dp1").out == (
        "dp1-team holds dp1. ada owns it and says who is in it. It has 2 members.\n"
    )
    shown = idac("group", "list").out.splitlines()
    assert [line.split() for line in shown if "dp1-team" in line] == [
        ["dp1-team", "100002", "ada", "dp1", "ada,", "bob"]
    ]
    assert idac("group", "list", "--json").json[0]["owner"] == "ada"
    assert idac("group", "owner", "dp1-team", "--none").out == (
        "dp1-team is administrators' alone. It has 2 members.\n"
    )
    assert idac("group", "list", "--json").json[0]["owner"] is None
    lines = idac("audit", "export", "--action", "group owner").out.splitlines()
    assert len(lines) == 2


def test_a_group_that_somebody_owns_is_deleted_for_good(idac: Run) -> None:
    idac("group", "add", "team", "bob")
    idac("group", "owner", "team", "ada")
    assert idac("group", "delete", "team").out == (
        "Deleted the group team. What its members read by it ends within 5 seconds.\n"
    )
    again = idac("group", "add", "team", "bob", "--json")
    assert (again.code, again.error["code"]) == (7, "conflict")


def test_a_group_that_nobody_owns_is_deleted_with_its_places_and_rights(idac: Run) -> None:
    idac("group", "add", "team", "bob")
    idac("group", "grant", "team", "dp1")
    idac("group", "owner", "team", "ada")
    idac("group", "owner", "team", "--none")
    assert idac("group", "delete", "team", "--json").json == {"group": "team", "deleted": True, "limits": []}
    assert idac("group", "list", "--json").json == []
    refused = idac("group", "delete", "team")
    assert (refused.code, refused.err) == (
        5,
        "Error: There is no group of this name. Given: team. idac group list shows those there are.\n",
    )
    (line,) = idac("audit", "export", "--action", "group delete").out.splitlines()
    assert json.loads(line)["detail"] == {"gid": 100_002, "members": 2, "left": ["ada", "bob"]}


def test_who_adds_to_somebodys_group_is_told_whose_it_is(idac: Run) -> None:
    idac("group", "add", "team")
    idac("group", "owner", "team", "ada")
    assert idac("group", "add", "team", "bob").out == (
        "team: bob. ada owns it and says who is in it. It has 2 members.\n"
    )


def test_a_group_whose_name_dac_yaml_has_come_to_use_is_told_of(idac: Run, tmp_path: Path) -> None:
    made_by_ada(tmp_path, "dp2-team")
    assert idac("group", "list").err == ""
    with (tmp_path / "dac.yaml").open("a") as file:
        file.write("catalogs: {read: {dp2: [dp2-team]}}\n")
    words = (
        "The group dp2-team, which ada owns, counts for nobody: its name has come to mean something here. If it is "
        "meant: idac group owner dp2-team ada. To have it yourself, with its members: idac group owner dp2-team "
        "--none. If neither, use another name in dac.yaml, or end it: idac group delete dp2-team."
    )
    shown = idac("group", "list")
    assert (shown.err, "dp2-team" in shown.out) == (f"{words}\n", True)
    assert idac("group", "list", "--json").json[0]["counts"] is False
    added = idac("group", "add", "dp2-team", "bob")
    assert (added.out, added.err) == (
        "dp2-team: bob. ada owns it and says who is in it. It has 2 members.\n",
        f"{words}\n",
    )
    assert idac("group", "owner", "dp2-team", "ada", "--json").json["counts"] is True
    assert idac("group", "list").err == ""
    idac("user", "freeze", "ada")
    assert idac("group", "list", "--json").json[0]["counts"] is False


def made_by_ada(folder: Path, name: str) -> None:
    loaded = load_settings(DacSettings, folder / "dac.yaml")
    with closing(open_state(loaded)) as database:
        UserGroups(open_administration(loaded, database)).make(Principal("ada", "user"), name)


def test_a_deleted_groups_name_is_taken_back_by_a_word_of_its_own(idac: Run) -> None:
    idac("group", "add", "team", "bob")
    idac("group", "delete", "team")
    assert idac("group", "add", "team", "ada", "--json").error["code"] == "conflict"
    assert idac("group", "add", "team", "ada", "--again").out == "team: ada. It has 1 member.\n"
    assert idac("group", "add", "team", "ada", "--again", "--json").error["code"] == "conflict"
    (_, again) = idac("audit", "export", "--action", "group add").out.splitlines()
    assert "in_place_of" in again


@pytest.mark.parametrize("arguments", [["team"], ["team", "ada", "--none"]])
def test_an_owner_is_named_or_none(idac: Run, arguments: list[str]) -> None:
    refused = idac("group", "owner", *arguments, "--json")
    assert (refused.code, refused.error["code"]) == (2, "bad-parameter")
    assert idac("group", "owner", "team", "ada", "--json").error["code"] == "not-found"
