"""The benchmark's own arithmetic: medians, quantiles, ratios, bars, and what is written down."""

from __future__ import annotations

import json
import math
import statistics

import numpy as np
import pytest
from bench.peers.plot import svg
from bench.peers.results import Figure, ResultRow, Results, from_json, joined, shown, table, to_json
from defusedxml import ElementTree


def a_row(**changes: object) -> ResultRow:
    peers = {"idac": Figure((0.010, 0.012, 0.011)), "DaCHS": Figure((0.1, 0.13, 0.11))}
    return ResultRow(**{"key": "cone", "title": "cone 1′", "unit": "s", "peers": peers, "bar": 8.0} | changes)  # type: ignore[arg-type]


def some_results(*rows: ResultRow) -> Results:
    sizes = {"rows": 1000, "match_rows": 100}
    return Results(rows, sizes, {"cores": 2}, {"idac": "1"}, "2026-01-01T00:00:00+00:00", ("busy",))


def test_medians_and_quantiles_are_those_of_other_libraries() -> None:
    samples = tuple(np.random.default_rng(1).lognormal(size=37).tolist())
    figure = Figure(samples)
    assert figure.median == statistics.median(samples)
    for q in (0.0, 0.05, 0.25, 0.5, 0.95, 1.0):
        assert figure.quantile(q) == pytest.approx(np.quantile(samples, q))
    assert figure.p95 == pytest.approx(np.quantile(samples, 0.95))


def test_one_sample_is_every_quantile() -> None:
    assert {Figure((3.0,)).quantile(q) for q in (0.0, 0.5, 0.95, 1.0)} == {3.0}


def test_a_ratio_says_how_many_times_better_idac_is_for_times_and_for_rates() -> None:
    assert a_row().ratio == pytest.approx(10.0)
    rates = {"idac": Figure((300.0,)), "DaCHS": Figure((10.0,))}
    assert a_row(unit="req/s", peers=rates).ratio == pytest.approx(30.0)
    memory = {"idac": Figure((300.0,)), "DaCHS": Figure((150.0,))}
    assert a_row(unit="MB", peers=memory).ratio == pytest.approx(0.5)


def test_a_row_without_dachs_has_no_ratio_and_its_bar_is_neither_met_nor_missed() -> None:
    row = a_row(peers={"idac": Figure((1.0,))})
    assert row.ratio is None
    assert row.met is None


def test_bars_are_kept_from_the_bar_on() -> None:
    assert a_row(bar=9.99).met is True
    assert a_row(bar=10.01).met is False


def test_limits_are_the_most_for_times_and_memory_and_the_least_for_rates() -> None:
    ours = {"idac": Figure((200.0,))}
    assert a_row(unit="MB", peers=ours, bar=None, limit=300.0).met is True
    assert a_row(unit="MB", peers=ours, bar=None, limit=100.0).met is False
    assert a_row(unit="rows/s", peers=ours, bar=None, limit=300.0).met is False
    assert a_row(unit="rows/s", peers=ours, bar=None, limit=100.0).met is True


def test_results_come_back_from_json_as_they_were() -> None:
    results = some_results(
        a_row(answer=431, note="warm", processor_s={"idac": 0.5}),
        a_row(key="rate", unit="req/s", bar=None, kind="also"),
    )
    again = from_json(to_json(results))
    assert again == Results(
        list(results.rows), results.sizes, results.machine, results.versions, results.begun, list(results.notes)
    )


def test_json_tells_ratios_and_medians_to_those_who_read_nothing_else() -> None:
    (row,) = json.loads(to_json(some_results(a_row())))["rows"]
    assert row["ratio"] == pytest.approx(10.0)
    assert row["met"] is True
    assert row["peers"]["DaCHS"]["median"] == pytest.approx(0.11)
    assert row["peers"]["DaCHS"]["p95"] == pytest.approx(0.128)


@pytest.mark.parametrize("text", ["[]", "{}", '{"format": 0, "rows": []}'])
def test_another_json_file_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="this is not a result file of format 1"):
        from_json(text)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.00123, "s", "1.23 ms"),
        (0.25, "s", "250 ms"),
        (12.34, "s", "12.3 s"),
        (1234.0, "req/s", "1,234 /s"),
        (2_620_000.0, "rows/s", "2.62 M/s"),
        (411.0, "MB", "411 MB"),
    ],
)
def test_values_are_shown_in_units_that_suit_them(value: float, unit: str, text: str) -> None:
    assert shown(value, unit) == text  # type: ignore[arg-type]


def test_the_table_has_idac_and_dachs_first_and_says_what_was_missed() -> None:
    peers = {"LSDB": Figure((0.5,)), "DaCHS": Figure((0.1, 0.1, 0.2)), "idac": Figure((0.02, 0.03, 0.02))}
    start = a_row(key="b", title="start", bar=None, peers={"idac": peers["idac"]})
    used = {"idac": 0.01, "DaCHS": 0.3}
    assert (
        table(some_results(a_row(peers=peers, processor_s=used), start))
        == """\
|         | idac          | DaCHS           | LSDB   | DaCHS ÷ idac | bar |        | by processor time |
|---------|---------------|-----------------|--------|--------------|-----|--------|-------------------|
| cone 1′ | 20 ms (29 ms) | 100 ms (190 ms) | 500 ms | 5            | ≥ 8 | missed | 30                |
| start   | 20 ms (29 ms) | –               | –      | –            |     |        | –                 |
"""
    )


def test_the_picture_has_a_bar_on_a_logarithmic_axis_for_every_ratio() -> None:
    faster = {"idac": Figure((0.01,)), "DaCHS": Figure((1.0,))}
    root = ElementTree.fromstring(
        svg(
            some_results(
                a_row(title="ten <times>"), a_row(title="a hundred", peers=faster), a_row(title="also", kind="also")
            )
        )
    )
    ns = "{http://www.w3.org/2000/svg}"
    ten, hundred = (float(bar.attrib["width"]) for bar in root.iter(f"{ns}rect"))
    assert hundred == pytest.approx(2 * ten, abs=0.2)
    texts = [text.text for text in root.iter(f"{ns}text")]
    assert {"ten <times>", "a hundred", "10×", "100×"} <= set(texts)
    assert "also" not in texts
    # The bar to clear is 8, which lies log10(8) of the way to ten.
    (first, _) = (line for line in root.iter(f"{ns}line") if line.attrib["class"] == "bar")
    start = float(next(root.iter(f"{ns}rect")).attrib["x"])
    assert float(first.attrib["x1"]) - start == pytest.approx(ten * math.log10(8), abs=0.2)


def test_parts_of_one_benchmark_are_put_together_and_others_are_not() -> None:
    first, second = some_results(a_row()), some_results(a_row(bar=1.0), a_row(key="scan"))
    both = joined(first, second)
    assert [(row.key, row.bar) for row in both.rows] == [("cone", 8.0), ("scan", 8.0)]
    begun = "2026-01-01T00:00:00+00:00"
    assert both.notes == ("busy", "busy", f"Run in two parts, begun at {begun} and at {begun}.")
    elsewhere = Results((), first.sizes, {"cores": 64}, first.versions, first.begun)
    with pytest.raises(ValueError, match=r"^The two files differ in machine: they are no parts of one benchmark\.$"):
        joined(first, elsewhere)
