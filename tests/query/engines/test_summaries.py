"""What is summed up over plain columns is what the SQL engine makes of them, and the rest goes to it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from archive_fixture import TableData, build_archive
from asked_archive import AskedArchive
from idac.catalogs.ingest import IngestChoices
from idac.core.errors import Cancelled, ResourceExhausted
from idac.query.engines.base import QueryLimits
from idac.query.engines.duckdb import engine as engine_module
from idac.query.engines.plain_columns import RowGroupRows
from idac.query.engines.summaries import SummaryQuery, summary_query
from idac.query.engines.values import LeftToEngine
from idac.query.plan.planning import plan_query
from services.tap_centre import duckdb_engine

ROWS = 30_000


def measurements() -> pa.Table:
    """Columns of every kind that lies plain, and some that do not: with a NULL, of few values, text."""
    rng = np.random.default_rng(5)
    flux = rng.lognormal(6, 1.5, ROWS).astype(np.float32)
    flux[3] = 2**24  # the first whole number whose neighbour a float does not hold
    return pa.table(
        {
            "id": np.arange(ROWS, dtype=np.int64) * 300_000_000_000_001,
            "ra": rng.uniform(0, 360, ROWS),
            "dec": np.degrees(np.arcsin(rng.uniform(-1, 1, ROWS))),
            "flux": flux,
            "err": (flux * 0.05 + rng.random(ROWS)).astype(np.float32),
            "shift": rng.normal(0, 3, ROWS),
            "visits": rng.integers(-20_000, 20_000, ROWS).astype(np.int16),
            "night": rng.permutation(ROWS).astype(np.int32) + 60_000,
            "zeros": rng.integers(-2, 3, ROWS) * 0.3,
            "gap": pa.array(rng.normal(0, 3, ROWS), mask=np.arange(ROWS) == 7),
            "band": pa.array(np.array(list("ugrizy"))[rng.integers(0, 6, ROWS)]),
        }
    )


class Both(AskedArchive):
    """One archive, and the two ways of summing it up."""

    def is_understood(self, adql: str) -> bool:
        return summary_query(self.plan(adql), self.reader.plain) is not None

    def summed(self, adql: str) -> list[tuple[object, ...]] | None:
        """The answer without an engine; None where it is left to one."""
        query = summary_query(self.plan(adql), self.reader.plain)
        assert query is not None, adql
        try:
            return [tuple(row.values()) for row in query.run(self.reader.plain, lambda: None).to_pylist()]
        except LeftToEngine:
            return None

    def run(self, adql: str) -> list[tuple[object, ...]]:
        return self.answer(adql)[0]

    def run_by_sql(self, adql: str) -> list[tuple[object, ...]]:
        """The same query as a sub-query, of which no sum is made here."""
        wrapped = f"SELECT * FROM ({adql}) AS q"
        assert not self.is_understood(wrapped)
        return self.run(wrapped)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    folder = tmp_path_factory.mktemp("summaries")
    data = TableData(measurements(), choices=IngestChoices(id="id"))
    archive = build_archive(folder, {"demo.sources": data})
    with duckdb_engine(folder) as engine:
        yield Both(archive, engine)


def alike(one: list[tuple[object, ...]], two: list[tuple[object, ...]]) -> bool:
    """The same rows in the same order; sums may differ by the order in which they were made."""
    return len(one) == len(two) and all(
        len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True)) for a, b in zip(one, two, strict=True)
    )


def _same(one: object, two: object) -> bool:
    if isinstance(one, float) and isinstance(two, float):
        return math.isclose(one, two, rel_tol=1e-11, abs_tol=1e-9)
    return one == two


def in_order(rows: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
    return sorted(rows, key=lambda row: tuple((v is None, v if v is not None else 0) for v in row))


TOTALS = [
    "COUNT(*), COUNT(flux)",
    "SUM(flux)",
    "AVG(flux), AVG(flux), MIN(flux), MAX(flux)",
    "MIN(shift), MAX(shift), SUM(shift), AVG(shift)",
    "SUM(visits), AVG(visits), MIN(visits), MAX(visits)",
    "SUM(night), AVG(night)",
    "MIN(id), MAX(id), COUNT(id)",
    "AVG(LOG(flux)), AVG(LOG10(flux)), SUM(SQRT(flux))",
    "COUNT(LOG(shift)), AVG(LOG(shift)), MIN(SQRT(shift)), MAX(SQRT(shift - 100))",
    "SUM(flux * 2.5), SUM(flux * 2.5e0), SUM(flux + 1), SUM(1 - flux), SUM(flux / 3)",
    "SUM(flux - err), MAX(flux / err), MIN(flux * shift), AVG(shift / 7 + night)",
    "MAX(ABS(shift)), MIN(FLOOR(shift)), MAX(CEILING(shift)), SUM(ABS(flux - err)), MAX(FLOOR(flux))",
    "AVG(-2.5 * LOG10(flux) + 31.4)",
    "MIN(dec), MAX(dec), AVG(flux)",
    "MIN(id), MAX(night), MIN(visits), MIN(shift), MAX(ra), MIN(gap), MAX(gap)",
    "MIN(dec), MIN((dec)), MAX(err), SUM(ra)",
    "MAX(FLOOR(LOG(flux) * 10)), MIN(CEILING(LOG10(flux))), AVG(FLOOR(LOG(flux) * 10) / 10), SUM(FLOOR(LOG(flux)))",
    "MAX((shift))",
    "COUNT(shift / zeros), AVG(shift / zeros), COUNT(LOG(shift / zeros)), SUM(1e0 / (shift / zeros))",
    "AVG(1 / (1 + 1 / zeros)), COUNT(flux / 0e0), MAX(flux / (3 * 0.5)), MAX(flux / zeros)",
    "COUNT(gap), AVG(gap), MIN(gap), SUM(LOG(gap)), MAX(gap - shift)",
    "SUM(flux + 1e0 / 0), COUNT(shift * (1e0 / 0e0)), COUNT(*), AVG(gap - 1e0 / 0)",
]
CONDITIONS = [
    "",
    "WHERE flux > 400",
    "WHERE flux > 1e20",
    "WHERE flux BETWEEN 0.1 AND 350.5 AND shift <= 0",
    "WHERE visits IN (1, 2, 3, -4000) AND 5 > visits",
    "WHERE visits <> 7 AND night >= 61000.5 AND shift IS NOT NULL",
    "WHERE id > 4500000000000000015",
    "WHERE flux IS NULL",
    "WHERE gap > 0 AND band IS NOT NULL",
    "WHERE flux < 16777217",
    "WHERE flux = 16777217",
    "WHERE flux BETWEEN 16777217 AND 4294967297",
    "WHERE flux BETWEEN 16777217 AND 2e7",
    "WHERE flux BETWEEN 0.5 AND 16777217",
]


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("totals", TOTALS)
def test_totals_are_those_of_the_engine(both: Both, totals: str, condition: str) -> None:
    names = ", ".join(f"{total} AS t{i}" for i, total in enumerate(_split(totals)))
    adql = f"SELECT {names} FROM demo.sources {condition}"
    summed = both.summed(adql)
    assert summed is not None
    assert alike(both.run(adql), both.run_by_sql(adql))


def _split(totals: str) -> list[str]:
    """At the commas that are not within parentheses."""
    parts, depth = [""], 0
    for letter in totals:
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


GROUPED = [
    "SELECT FLOOR(shift) AS bin, COUNT(*) AS n FROM demo.sources GROUP BY FLOOR(shift)",
    "SELECT bin, COUNT(*) AS n FROM (SELECT FLOOR(LOG(flux) * 10) AS bin FROM demo.sources) AS t GROUP BY bin",
    "SELECT COUNT(*) AS n, bin, SUM(flux) AS s FROM (SELECT CEILING(LOG(shift) * 4) AS bin, flux FROM demo.sources "
    "WHERE night > 70000) AS t GROUP BY bin",
    "SELECT FLOOR(visits / 100e0) AS v, AVG(flux) AS a, MIN(flux) AS l, MAX(shift) AS h, SUM(visits) AS s, "
    "MIN(night) AS f FROM demo.sources WHERE flux > 100 GROUP BY FLOOR(visits / 100e0)",
    "SELECT FLOOR(shift / 0e0) AS bin, COUNT(*) AS n FROM demo.sources GROUP BY FLOOR(shift / 0e0)",
    "SELECT visits, COUNT(LOG(shift)) AS n, MAX(LOG(shift)) AS h FROM demo.sources WHERE visits < -19900 "
    "GROUP BY visits",
    "SELECT FLOOR(shift) AS bin FROM demo.sources WHERE flux > 1e9 GROUP BY FLOOR(shift)",
    "SELECT COUNT(*) AS n FROM demo.sources GROUP BY FLOOR(LOG(shift))",
    "SELECT FLOOR(1 / (0.1 + 1 / zeros)) AS bin, COUNT(*) AS n FROM demo.sources GROUP BY FLOOR(1 / (0.1 + 1 / zeros))",
    "SELECT FLOOR(shift / gap / zeros) AS bin, COUNT(*) AS n FROM demo.sources WHERE gap > 1 "
    "GROUP BY FLOOR(shift / gap / zeros)",
    "SELECT COUNT(flux) AS n, AVG(q.flux) AS a FROM (SELECT * FROM demo.sources) AS q",
    "SELECT AVG(q.err) AS a FROM (SELECT flux AS err, err AS flux FROM demo.sources) AS q",
    "SELECT FLOOR(shift + 1e0 / 0) AS bin, COUNT(*) AS n FROM demo.sources GROUP BY FLOOR(shift + 1e0 / 0)",
    "SELECT FLOOR(gap) AS bin, MAX(gap) AS m, COUNT(LOG(gap)) AS n FROM demo.sources GROUP BY FLOOR(gap)",
]


@pytest.mark.parametrize("adql", GROUPED)
def test_groups_are_those_of_the_engine(both: Both, adql: str) -> None:
    assert both.summed(adql) is not None
    assert alike(in_order(both.run(adql)), in_order(both.run_by_sql(adql)))


@pytest.mark.parametrize("tail", ["ORDER BY bin", "ORDER BY bin DESC", "ORDER BY n DESC, bin", "ORDER BY m, bin DESC"])
def test_groups_come_in_the_order_that_is_asked_for(both: Both, tail: str) -> None:
    query = (
        "SELECT {} CEILING(LOG(shift)) AS bin, COUNT(*) AS n, MIN(LOG(shift)) AS m FROM demo.sources "
        "GROUP BY CEILING(LOG(shift)) {}"
    )
    for top in ("", "TOP 3"):
        adql = query.format(top, tail)
        assert both.summed(adql) is not None
        assert alike(both.run(adql), both.run_by_sql(adql))


LEFT = [
    "SELECT COUNT(DISTINCT visits) AS n FROM demo.sources",
    "SELECT SUM(id) AS n FROM demo.sources WHERE id < 30",
    "SELECT MIN(band) AS b FROM demo.sources",
    "SELECT COUNT(*) AS n FROM demo.sources WHERE band = 'g'",
    "SELECT COUNT(*) AS n FROM demo.sources",
    "SELECT COUNT(*) AS n FROM demo.sources WHERE 1 = CONTAINS(POINT(ra, dec), CIRCLE(10, 10, 5))",
    "SELECT COUNT(*) AS n FROM demo.sources WHERE flux > err",
    "SELECT SUM(visits) + 1 AS n FROM demo.sources",
    "SELECT SUM(visits + 1) AS n FROM demo.sources",
    "SELECT SUM(flux + visits) AS n FROM demo.sources",
    "SELECT SUM(1) AS n FROM demo.sources WHERE flux > 3",
    "SELECT FLOOR(2.5) AS b, COUNT(flux) AS n FROM demo.sources GROUP BY FLOOR(2.5)",
    "SELECT b, COUNT(*) AS n FROM (SELECT FLOOR(2.5) AS b FROM demo.sources WHERE flux > 3) AS t GROUP BY b",
    "SELECT COUNT(*) AS n FROM (SELECT * FROM demo.sources) AS t",
    "SELECT MAX(flux / (60 * 60)) AS m FROM demo.sources",
    "SELECT visits, COUNT(visits) AS n FROM demo.sources GROUP BY visits ORDER BY COUNT(DISTINCT visits)",
    "SELECT STDDEV(flux) AS s FROM demo.sources",
    "SELECT visits, COUNT(*) AS n FROM demo.sources GROUP BY visits HAVING COUNT(*) > 3",
    "SELECT visits, night, COUNT(*) AS n FROM demo.sources GROUP BY visits, night",
    "SELECT shift, COUNT(*) AS n FROM demo.sources GROUP BY shift",
    "SELECT FLOOR(shift) AS bin, COUNT(*) AS n FROM demo.sources GROUP BY FLOOR(shift) ORDER BY COUNT(flux)",
    "SELECT DISTINCT visits FROM demo.sources",
    "SELECT COUNT(*) AS n FROM (SELECT TOP 10 flux FROM demo.sources) AS t WHERE flux > 0",
    "SELECT COUNT(flux) AS n FROM (SELECT TOP 10 flux FROM demo.sources) AS t",
    "SELECT COUNT(flux) AS n FROM (SELECT DISTINCT flux FROM demo.sources) AS t",
    "SELECT MAX(s) AS n FROM (SELECT SUM(flux) AS s FROM demo.sources) AS t",
    "SELECT COUNT(a.flux) AS n FROM demo.sources AS a JOIN demo.sources AS b ON a.id = b.id",
]


@pytest.mark.parametrize("adql", LEFT)
def test_what_is_not_understood_is_left_to_the_engine(both: Both, adql: str) -> None:
    assert not both.is_understood(adql)
    assert both.run(adql)


@pytest.mark.parametrize(
    "adql",
    [
        "SELECT id, COUNT(*) AS n FROM demo.sources GROUP BY id",
        "SELECT FLOOR(shift * 1e18) AS bin, COUNT(*) AS n FROM demo.sources GROUP BY FLOOR(shift * 1e18)",
        "SELECT visits, COUNT(*) AS n FROM demo.sources GROUP BY visits",
    ],
)
def test_numbers_that_no_sum_is_made_of_are_left_to_the_engine(both: Both, adql: str) -> None:
    assert both.is_understood(adql)
    assert both.summed(adql) is None
    assert in_order(both.run(adql)) == in_order(both.run_by_sql(adql))


def test_a_sum_that_was_stopped_ends(both: Both) -> None:
    reader = both.engine._reader
    adql = "SELECT AVG(flux) AS a FROM demo.sources"
    query = summary_query(plan_query(both.resolve(adql), reader), reader.plain)
    assert query is not None

    def stop() -> None:
        raise Cancelled("The query was stopped.")

    with pytest.raises(Cancelled):
        query.run(reader.plain, stop)
    assert len(both.run(adql)) == 1


def test_many_means_of_many_groups_are_left_to_the_engine(both: Both) -> None:
    means = ", ".join(f"AVG(shift + {number}) AS m{number}" for number in range(40))
    adql = f"SELECT FLOOR(visits / 2e0) AS v, {means} FROM demo.sources GROUP BY FLOOR(visits / 2e0)"
    assert both.is_understood(adql)
    assert both.summed(adql) is None


def test_a_number_that_no_double_holds_is_the_engines_to_refuse(both: Both) -> None:
    adql = "SELECT AVG(1 / (shift * 1e300 * 1e300)) AS f FROM demo.sources"
    assert both.summed(adql) is None


def test_a_query_that_is_cancelled_while_it_is_summed_up_stops_and_owes_nothing(
    both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, plain = both.engine, both.engine._reader.plain
    before, read = engine._budget.memory_left, plain.iter_rows

    def iter_rows(*arguments: Any) -> Iterator[RowGroupRows]:
        for rows in read(*arguments):
            assert engine.cancel("mine")
            yield rows

    adql = "SELECT AVG(flux) AS a FROM demo.sources"
    monkeypatch.setattr(plain, "iter_rows", iter_rows)
    with pytest.raises(Cancelled, match=r"^The query was stopped\.$"):
        engine.run(both.resolve(adql), QueryLimits(10, 60), owner="a", query_id="mine")
    assert not engine.cancel("mine")
    monkeypatch.setattr(plain, "iter_rows", read)
    for _ in range(2 * (engine.settings.heavy_places + engine.settings.interactive_places)):
        assert len(both.run(adql)) == 1
    assert engine._budget.memory_left == before


def test_beside_other_queries_the_engine_is_the_faster(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def run(query: SummaryQuery, *_: object) -> None:
        asked.append(query.scan.use.entry.table.name)
        raise LeftToEngine

    monkeypatch.setattr(SummaryQuery, "run", run)
    adql = "SELECT AVG(flux) AS a FROM demo.sources"
    monkeypatch.setitem(both.engine._here, "another", engine_module._Here())
    assert len(both.run(adql)) == 1
    assert not asked
    monkeypatch.delitem(both.engine._here, "another")
    assert len(both.run(adql)) == 1
    assert asked == ["sources"]


def test_where_a_query_has_many_threads_the_engine_is_the_faster(both: Both) -> None:
    place = both.engine._places["interactive"][0]
    query = both.resolve("SELECT AVG(flux) AS a FROM demo.sources")
    for threads, says in ((4, True), (5, False)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(place, "share", replace(place.share, threads=threads))
            assert both.engine.explain(query, QueryLimits(10, 60)).sql.startswith("-- Summed up") is says


def test_a_sum_that_takes_too_long_is_ended(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    hours = itertools.count()
    monkeypatch.setattr(engine_module.time, "monotonic", lambda: 3600.0 * next(hours))
    adql = "SELECT AVG(flux) AS a FROM demo.sources"
    with pytest.raises(ResourceExhausted) as caught:
        both.engine.run(both.resolve(adql), QueryLimits(10, 60), owner="a", query_id="late")
    monkeypatch.undo()
    assert caught.value.text == (
        "The query took longer than it may. Given: 60 s. "
        "Make it smaller, or submit it as an asynchronous job with a longer execution duration."
    )
    assert len(both.run(adql)) == 1


def test_explain_says_that_no_sql_is_run(both: Both) -> None:
    query = both.resolve("SELECT AVG(flux) AS a FROM demo.sources WHERE shift > 0")
    explained = both.engine.explain(query, QueryLimits(10, 60))
    assert explained.sql.startswith("-- Summed up directly while no other query runs, else by this SQL:\nSELECT ")
    assert explained.rows_to_read == ROWS


@pytest.mark.parametrize(
    ("column", "asked", "condition", "is_spared"),
    [
        ("dec", "MIN(dec), MAX(dec), AVG(flux)", "flux > 400", True),
        ("dec", "MAX(dec), COUNT(*)", "flux > 400", True),
        ("dec", "MIN(dec), COUNT(dec)", "flux > 400", False),
        ("dec", "MIN(dec), AVG(ABS(dec))", "flux > 400", False),
        ("dec", "MIN(dec), MAX(dec)", "flux > 1e20", False),
        ("err", "MAX(err)", "flux > 400 AND err > 5", False),
    ],
)
def test_columns_are_not_read_where_a_file_tells_that_they_change_nothing(
    both: Both, monkeypatch: pytest.MonkeyPatch, column: str, asked: str, condition: str, is_spared: bool
) -> None:
    plain, read = both.reader.plain, both.reader.plain.iter_rows
    parts: list[bool] = []

    def iter_rows(*arguments: Any) -> Iterator[RowGroupRows]:
        for rows in read(*arguments):
            parts.append(column in rows.plain)
            yield rows

    monkeypatch.setattr(plain, "iter_rows", iter_rows)
    assert both.summed(f"SELECT {asked} FROM demo.sources WHERE {condition}") is not None
    assert parts[0]
    assert len(parts) >= ROWS // 1_024
    # In the order of the sky, most row groups hold neither end of the declinations.
    assert parts.count(False) > len(parts) / 2 if is_spared else all(parts)


def test_a_file_that_is_gone_is_told_as_one(both: Both, tmp_path: Path) -> None:
    archive = build_archive(tmp_path, {"demo.sources": TableData(measurements(), choices=IngestChoices(id="id"))})
    with duckdb_engine(tmp_path) as engine:
        lost = Both(archive, engine)
        adql = "SELECT AVG(flux) AS a, MIN(shift) AS m FROM demo.sources"
        assert lost.run(adql)
        for path in tmp_path.rglob("Npix=*.parquet"):
            path.unlink()
        with pytest.raises(Exception, match=r"^Data of a table that the query uses can't be read at the moment\."):
            lost.run(adql)
