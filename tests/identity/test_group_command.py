"""``idac group owner`` and ``delete``: who looks after a group, by an administrator's word."""

from __future__ import annotations

from pathlib import Path

import pytest

from command_fixture import Run, command_runner


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
    refused = idac("group", "delete", "team", "--json")
    assert (refused.code, refused.error["code"]) == (5, "not-found")
    idac("group", "owner", "team", "ada")
    assert idac("group", "delete", "team").out == (
        "Deleted the group team. What its members read by it ends within 5 seconds.\n"
    )
    again = idac("group", "add", "team", "bob", "--json")
    assert (again.code, again.error["code"]) == (7, "conflict")


@pytest.mark.parametrize("arguments", [["team"], ["team", "ada", "--none"]])
def test_an_owner_is_named_or_none(idac: Run, arguments: list[str]) -> None:
    refused = idac("group", "owner", *arguments, "--json")
    assert (refused.code, refused.error["code"]) == (2, "bad-parameter")
    assert idac("group", "owner", "team", "ada", "--json").error["code"] == "not-found"
