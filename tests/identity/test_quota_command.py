"""``idac quota``: what it prints, as text and as JSON, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from command_fixture import Run, command_runner

CONFIG = """\
identity:
  enabled: true
  quotas:
    default: { requests: { tap: 600 }, result_bytes: 10000000000 }
    groups: { survey: { requests: { tap: 1400 } } }
    anonymous: { requests: { tap: 60, scs: 60 } }
    bypass: [staff]
"""


@pytest.fixture
def idac(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    (tmp_path / "dac.yaml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    run = command_runner(monkeypatch, capsys)
    run("user", "add", "ada")
    run("group", "add", "survey", "ada")
    return run


def cells(text: str) -> list[list[str]]:
    """A table's rows without its header and rule."""
    lines = [line.split() for line in text.splitlines() if line.strip()]
    return lines[2:]


def test_quotas_of_dac_yaml_and_of_an_account_are_shown(idac: Run) -> None:
    assert cells(idac("quota", "show").out) == [
        ["default", "600", "10", "GB"],
        ["survey", "1,400"],
        ["anonymous", "60", "60"],
        ["staff:", "no", "quotas"],
    ]
    assert idac("quota", "show", "--json").json["groups"]["survey"]["requests"] == {"tap": 1400, "scs": None}
    shown = cells(idac("quota", "show", "ada").out)
    assert shown[0] == ["tap", "Queries", "by", "TAP", "0", "of", "2,000", "default", "600", "+", "survey", "1,400"]
    assert shown[1] == ["scs", "Cone", "searches", "0,", "not", "limited"]
    limits = idac("quota", "show", "ada", "--json").json["limits"]
    assert (limits["tap"]["limit"], limits["result_bytes"]["remaining"]) == (2000, 10**10)


def test_limits_are_set_listed_and_taken_back(idac: Run) -> None:
    assert idac("quota", "list").out == (
        "No limits were set. Set one with: idac quota set NAME LIMIT=AMOUNT --until WHEN\n"
    )
    done = idac("quota", "set", "ada", "tap=5000", "result_bytes=1.5TB", "--until", "2040-01-31")
    assert (done.code, done.out) == (
        0,
        "ada: tap 5,000, result_bytes 1.5 TB until 2040-01-31 23:59 UTC. It holds everywhere within 5 seconds.\n",
    )
    assert idac("quota", "set", "survey", "tap=unlimited").out == (
        "survey: tap unlimited. It holds everywhere within 5 seconds.\n"
    )
    rows = cells(idac("quota", "list").out)
    assert [row[:4] for row in rows] == [
        ["ada", "result_bytes", "1.5", "TB"],
        ["ada", "tap", "5,000", "2040-01-31"],
        ["survey", "tap", "unlimited", "for"],
    ]
    first, *_ = idac("quota", "list", "--json").json
    assert (first["amount"], first["until"], first["holds"]) == (1_500_000_000_000, "2040-01-31T23:59:59+00:00", True)
    assert "ada 5,000 (set by the operator until 2040-01-31 23:59 UTC)" in idac("quota", "show", "ada").out
    assert idac("quota", "remove", "ada").out == "ada: 2 limits taken back. dac.yaml holds within 5 seconds.\n"
    assert idac("quota", "show", "ada", "--json").json["limits"]["tap"]["limit"] is None
    assert idac("quota", "remove", "survey", "tap", "--json").json == {"name": "survey", "removed": 1}
    entries = [json.loads(line)["action"] for line in idac("audit", "export").out.splitlines()]
    assert [action for action in entries if action.startswith("quota")] == [*["quota set"] * 2, *["quota remove"] * 2]


def test_limits_of_those_who_have_no_quotas_are_told_as_such(idac: Run) -> None:
    idac("user", "add", "boss", "--admin")
    idac("user", "add", "bob")
    idac("group", "add", "staff", "bob")
    ends = ": what was set counts only once that is no longer so.\n"
    for name, why in (
        ("boss", "boss is an administrator, and those have no quotas"),
        ("bob", "bob is in staff, whose members have no quotas (identity.quotas.bypass)"),
        ("staff", "Members of staff have no quotas (identity.quotas.bypass)"),
    ):
        done = idac("quota", "set", name, "tap=1")
        assert (done.code, done.err) == (0, f"{why}{ends}")
        assert done.out == f"{name}: tap 1. It holds everywhere within 5 seconds.\n"
    for name in ("ada", "survey"):
        assert idac("quota", "set", name, "tap=1").err == ""


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (
            ["set", "ada", "tap"],
            2,
            "This is no limit that can be set. Given: tap. Allowed: LIMIT=AMOUNT with tap, scs,",
        ),
        (["set", "ada", "tap=-1"], 2, "This is no limit that can be set. Given: tap=-1."),
        (["set", "ada", "tap=1GB"], 2, "This is no limit that can be set. Given: tap=1GB."),
        (["set", "ada", "storage=1GB"], 2, "This is no limit that can be set. Given: storage=1GB."),
        (
            ["set", "ada", "tap=1", "--until", "2001-01-01"],
            2,
            "--until is over already. Given: 2001-01-01, which is 2001-01-01 23:59 UTC.",
        ),
        (["set", "ada", "tap=1.5"], 2, "A limit is a whole number. Given: tap=1.5."),
        (["set", "ada", "result_bytes=1.5"], 2, "A limit is a whole number. Given: result_bytes=1.5."),
        (["set", "ada", "result_bytes=999999999P"], 2, "The limit is too large. Given: result_bytes=999999999P."),
        (["set", "ada", "tap=٣"], 2, "This is no limit that can be set. Given: tap=٣."),
        (
            ["set", "ada", "tap=1", "tap=2"],
            2,
            "The limit is given twice. Given: tap=2. Allowed: each limit once. Leave one tap= out.",
        ),
        (
            ["set", "anonymous", "tap=1"],
            5,
            "There is no account or group of this name. Given: anonymous. What everyone or every address has is in "
            "dac.yaml: identity.quotas.anonymous.",
        ),
        (
            ["set", "default", "tap=1"],
            5,
            "There is no account or group of this name. Given: default. What everyone or every address has is in "
            "dac.yaml: identity.quotas.default.",
        ),
        (["set", "survey", "concurrent=1"], 2, "A group only adds to what everyone's quota limits."),
        (["set", "bob", "tap=1"], 5, "There is no account or group of this name. Given: bob."),
        (["remove", "ada"], 5, "No limit was set for this account or group. Given: ada."),
        (["show", "adda"], 5, "There is no account of this name. Given: adda. Did you mean ada?"),
    ],
)
def test_what_is_refused_is_told(idac: Run, arguments: list[str], code: int, error: str) -> None:
    refused = idac("quota", *arguments)
    assert (refused.code, refused.out) == (code, "")
    assert refused.err.startswith(f"Error: {error}")
