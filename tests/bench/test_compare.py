"""What counts as a regression between two runs, and what is noise."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from bench.__main__ import main
from bench.peers.compare import compare, report
from bench.peers.results import Figure, ResultRow, Results, to_json

HERE = {"cores": 2, "processor": "A"}
ELSEWHERE = {"cores": 8, "processor": "B"}


def a_run(
    ours: Sequence[float],
    theirs: Sequence[float] = (1.0, 1.1, 0.9),
    machine: dict[str, object] = HERE,
    unit: str = "s",
    rows: int = 1000,
) -> Results:
    peers = {"idac": Figure(tuple(ours)), "DaCHS": Figure(tuple(theirs))}
    row = ResultRow("cone", "cone 1′, deep", unit, peers)  # type: ignore[arg-type]
    return Results([row], {"rows": rows}, machine, {}, "2026-01-01", [])


STEADY = (0.100, 0.101, 0.099, 0.102, 0.098)


def test_a_slower_median_is_a_regression_on_the_same_machine() -> None:
    (change,) = compare(a_run(STEADY), a_run([s * 1.5 for s in STEADY]), 0.2)
    assert change.regressed
    assert change.factor == pytest.approx(1.5)
    assert (change.before, change.after) == ("100 ms", "150 ms")


def test_a_little_slower_is_none() -> None:
    (change,) = compare(a_run(STEADY), a_run([s * 1.15 for s in STEADY]), 0.2)
    assert not change.regressed
    assert compare(a_run(STEADY), a_run([s * 1.15 for s in STEADY]), 0.1)[0].regressed


def test_samples_that_overlap_are_noise_however_far_the_medians_are() -> None:
    before, after = (0.05, 0.10, 0.30, 0.40), (0.06, 0.25, 0.30, 0.50)
    (change,) = compare(a_run(before), a_run(after), 0.2)
    assert change.factor > 1.2
    assert not change.regressed


def test_faster_is_no_regression_and_a_lower_rate_is_one() -> None:
    assert not compare(a_run(STEADY), a_run([s / 3 for s in STEADY]), 0.2)[0].regressed
    rates = [1 / s for s in STEADY]
    (change,) = compare(a_run(rates, unit="req/s"), a_run([r / 2 for r in rates], unit="req/s"), 0.2)
    assert change.regressed
    assert change.factor == pytest.approx(2.0)


def test_between_two_machines_the_ratios_to_dachs_count() -> None:
    twice_as_fast = [s / 2 for s in STEADY]
    same_ratio = a_run(twice_as_fast, theirs=(0.5, 0.55, 0.45), machine=ELSEWHERE)
    (change,) = compare(a_run(STEADY), same_ratio, 0.2)
    assert change.factor == pytest.approx(1.0)
    worse_ratio = a_run(twice_as_fast, theirs=(0.25, 0.26, 0.24), machine=ELSEWHERE)
    (change,) = compare(a_run(STEADY), worse_ratio, 0.2)
    assert change.regressed
    assert (change.before, change.after) == ("10×", "5×")


def test_tables_of_two_sizes_are_not_compared() -> None:
    with pytest.raises(ValueError, match=r"^The tables have 1,000 and 2,000 rows; such runs can't be compared\.$"):
        compare(a_run(STEADY), a_run(STEADY, rows=2000), 0.2)


def test_the_report_names_what_became_worse() -> None:
    changes = compare(a_run(STEADY), a_run([s * 1.5 for s in STEADY]), 0.2)
    assert report(changes, everything=False) == "worse    1.50×  cone 1′, deep: 100 ms → 150 ms\n"
    assert report(compare(a_run(STEADY), a_run(STEADY), 0.2), everything=False) == "No regression in 1 row.\n"


def test_the_command_ends_with_1_where_something_regressed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, after = tmp_path / "a.json", tmp_path / "b.json"
    before.write_text(to_json(a_run(STEADY)))
    after.write_text(to_json(a_run([s * 2 for s in STEADY])))
    assert main(["compare", str(before), str(after)]) == 1
    assert capsys.readouterr().out == "worse    2.00×  cone 1′, deep: 100 ms → 200 ms\n"
    assert main(["compare", str(before), str(before)]) == 0
    assert main(["compare", str(after), str(before), "--all"]) == 0
    assert "better   0.50×" in capsys.readouterr().out


def test_the_command_ends_with_2_where_a_file_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.json").write_text("{}")
    assert main(["compare", str(tmp_path / "a.json"), str(tmp_path / "a.json")]) == 2
    assert capsys.readouterr().err == "this is not a result file of format 1\n"
