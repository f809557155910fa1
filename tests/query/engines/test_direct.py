"""What is answered straight from row groups is what the SQL engine answers, and what is not understood goes to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archive_fixture import TableData, build_archive, star_table
from asked_archive import AskedArchive
from idac.catalogs.ingest import IngestChoices
from idac.query.engines.base import QueryLimits
from idac.query.engines.direct import direct_query
from idac.query.engines.kept import ENTRY_BYTES, Kept
from idac.query.engines.rowgroup_cache import RowGroup, RowGroupCache
from services.tap_centre import duckdb_engine


class Both(AskedArchive):
    """One archive, and the two ways of answering from it."""

    def is_direct(self, adql: str) -> bool:
        return direct_query(self.plan(adql), self.reader) is not None

    def rows(self, adql: str) -> list[str]:
        """Rows as texts, in one order."""
        return sorted(map(repr, self.answer(adql)[0]))

    def rows_by_sql(self, adql: str) -> list[str]:
        """The same query as a sub-query, which is nothing for the direct way."""
        wrapped = f"SELECT * FROM ({adql}) AS q"
        assert not self.is_direct(wrapped)
        return self.rows(wrapped)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    folder = tmp_path_factory.mktemp("direct")
    stars = star_table(20_000)
    # Numbers as large as survey ids are, which doubles can't tell apart.
    stars = stars.append_column("big", pc.multiply(stars.column("id"), 100_000_001))
    # Ids as programs write whole numbers with a NULL among them.
    wanted = pa.table({"id": pa.array([1000003.0, None, 2000006.0, 3.5, float("nan"), float("inf"), 3e6])})
    archive = build_archive(
        folder, {"demo.stars": TableData(stars, choices=IngestChoices(id="id")), "demo.wanted": wanted}
    )
    with duckdb_engine(folder) as engine:
        yield Both(archive, engine)


CONE = "1 = CONTAINS(POINT(ra, dec), CIRCLE(0.1, 0.2, 0.5))"
REGIONS = [
    CONE,
    "CONTAINS(POINT('ICRS', ra, dec), CIRCLE('ICRS', 120.0, 89.9, 0.7)) = 1",
    "1 = CONTAINS(POINT(ra, dec), CIRCLE(0, 0, 0))",
    "DISTANCE(POINT(ra, dec), POINT(359.9, -0.1)) < 0.3",
    "DISTANCE(359.9, -0.1, ra, dec) <= 0.3",
    "0.3 > DISTANCE(ra, dec, 359.9, -0.1)",
    "1 = CONTAINS(POINT(ra, dec), BOX(0, 0, 0.8, 0.6))",
    "1 = CONTAINS(POINT(ra, dec), POLYGON(359.5, -0.5, 0.5, -0.5, 0.1, 0.0, 0.4, 0.5, 359.5, 0.5))",
    "1 = INTERSECTS(CIRCLE(0, 90, 0.4), POINT(ra, dec))",
    "1 = CONTAINS(POINT(ra, dec), REGION('CIRCLE ICRS 0 0 0.4'))",
    "ra BETWEEN 0 AND 0.4 AND dec BETWEEN -0.2 AND 0.2",
    "id = 1000003",
    "id = 1000004",
    "id IN (1000003, 2000006, -7, 0)",
    f"{CONE} AND big IN (100000400000003, 200000800000006, 9007199254740993)",
    "id BETWEEN 1000003 AND 9000000 AND ra < 0.5 AND ra > 0 AND dec > -1 AND dec < 1",
]
FURTHER = [
    "mag < 18",
    "mag >= 18.5",
    "mag <> 18",
    "NOT (mag IS NULL)",
    "mag IS NULL",
    "name IS NOT NULL",
    "id > 1000003000",
    "id > 1000003000.5",
    "id <= 1000003000.5",
    "id BETWEEN 0.5 AND 1e10",
    "mag < CAST(17.6 AS BIGINT)",
    "big > 1.5",
    "big < 1e3",
    "big BETWEEN 1e6 AND 900000000000000000",
    "mag < 9007199254740993",
    "mag > -9223372036854775809",
    "18 > mag",
    "-1 < mag",
]


@pytest.mark.parametrize("condition", REGIONS)
def test_regions_and_ids_have_the_same_rows_either_way(both: Both, condition: str) -> None:
    adql = f"SELECT id, mag, name, ra FROM demo.stars WHERE {condition}"
    assert both.is_direct(adql)
    assert both.rows(adql) == both.rows_by_sql(adql)


@pytest.mark.parametrize("condition", FURTHER)
def test_further_conditions_treat_null_as_the_engine_does(both: Both, condition: str) -> None:
    adql = f"SELECT * FROM demo.stars WHERE {CONE} AND {condition}"
    assert both.is_direct(adql) == ("CAST" not in condition)
    found = both.rows(adql)
    assert found == both.rows_by_sql(adql)
    assert len(found) < len(both.rows(f"SELECT * FROM demo.stars WHERE {CONE}")) or condition in (
        "-1 < mag",
        "big > 1.5",
    )


def test_random_cones_have_the_same_rows_either_way(both: Both) -> None:
    rng = np.random.default_rng(7)
    sizes = []
    for ra, dec, radius in zip(
        rng.uniform(-1, 1, 60) % 360, rng.uniform(-1, 1, 60), rng.uniform(0, 0.5, 60), strict=True
    ):
        where = f"1 = CONTAINS(POINT(ra, dec), CIRCLE({ra:.6f}, {dec:.6f}, {radius:.6f}))"
        adql = f"SELECT id, ra, dec FROM demo.stars WHERE {where}"
        found = both.rows(adql)
        assert found == both.rows_by_sql(adql), adql
        sizes.append(len(found))
    assert max(sizes) > 500


@pytest.mark.parametrize(
    "adql",
    [
        f"SELECT id + 1 FROM demo.stars WHERE {CONE}",
        f"SELECT DISTINCT name FROM demo.stars WHERE {CONE}",
        f"SELECT COUNT(*) FROM demo.stars WHERE {CONE}",
        f"SELECT id FROM demo.stars WHERE {CONE} ORDER BY mag",
        f"SELECT id FROM demo.stars WHERE {CONE} OFFSET 3",
        f"SELECT id FROM demo.stars WHERE {CONE} AND name LIKE 'star 1%'",
        f"SELECT id FROM demo.stars WHERE {CONE} AND (mag < 3 OR mag > 4)",
        f"SELECT id FROM demo.stars WHERE {CONE} AND mag < ra",
        f"SELECT id FROM demo.stars WHERE {CONE} AND id IN (SELECT id FROM demo.stars)",
        f"SELECT id FROM demo.stars WHERE {CONE} AND big > 1e18",
        f"SELECT id FROM demo.stars WHERE {CONE} AND big = 1.15e18",
        f"SELECT id FROM demo.stars WHERE {CONE} AND big BETWEEN 1 AND 1e19",
        f"SELECT id FROM demo.stars WHERE {CONE} AND big > 1.5 AND big <> 2.5",
        "SELECT id FROM demo.stars WHERE 1 = CONTAINS(POINT(ra, dec), CIRCLE(CAST(0.7 AS BIGINT), 0, 0.2))",
        "SELECT id FROM demo.stars WHERE mag < 12",
        "SELECT table_name FROM tap_schema.tables",
    ],
)
def test_what_is_not_understood_goes_to_the_engine(both: Both, adql: str) -> None:
    assert not both.is_direct(adql)
    both.answer(adql)


def test_ids_that_are_doubles_find_their_rows(both: Both) -> None:
    joined = "SELECT s.id FROM demo.stars AS s JOIN demo.wanted AS w ON s.id {} = w.id"
    assert both.rows(joined.format("")) == both.rows(joined.format("+ 0")) == ["(1000003,)", "(2000006,)"]
    assert both.rows("SELECT id FROM demo.stars WHERE id = 1000003.0") == ["(1000003,)"]
    assert both.rows("SELECT id FROM demo.stars WHERE id IN (1000003.5, 2000006e0)") == ["(2000006,)"]


def test_a_constant_is_rounded_as_the_engine_does(both: Both) -> None:
    cone = "SELECT id FROM demo.stars WHERE 1 = CONTAINS(POINT(ra, dec), CIRCLE({}, 0, 0.2))"
    assert both.rows(cone.format("CAST(0.7 AS BIGINT)")) == both.rows(cone.format("CAST(0.7 AS INTEGER)"))
    assert both.rows(cone.format("CAST(0.7 AS BIGINT)")) == both.rows(cone.format("1"))


def test_the_row_cap_and_top_cut_as_the_engine_does(both: Both) -> None:
    adql = f"SELECT id FROM demo.stars WHERE {CONE}"
    everything = both.rows(adql)
    assert both.answer(adql, len(everything))[1] is False
    cut, overflowed = both.answer(adql, 7)
    assert (len(cut), overflowed) == (7, True)
    top, overflowed = both.answer(f"SELECT TOP 7 id FROM demo.stars WHERE {CONE}", 100)
    assert (len(top), overflowed) == (7, False)
    assert {*map(repr, cut), *map(repr, top)} <= set(everything)


def test_columns_keep_their_published_types_and_names(both: Both) -> None:
    resolved = both.resolve(f"SELECT mag AS m, flag, name, mag FROM demo.stars WHERE {CONE}")
    stream = both.engine.run(resolved, QueryLimits(10, 60), owner="a", query_id="types")
    (batch,) = list(stream)
    assert batch.schema.names == ["m", "flag", "name", "mag"]
    assert batch.schema.types == [pa.float32(), pa.bool_(), pa.string(), pa.float32()]


def test_a_cone_asked_for_again_decodes_nothing(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    adql = f"SELECT id, name FROM demo.stars WHERE {CONE}"
    first = both.rows(adql)

    def refuse(*_args: object, **_options: object) -> None:
        raise AssertionError("a row group was decoded")

    monkeypatch.setattr(pq.ParquetFile, "read_row_groups", refuse)
    assert both.rows(adql) == first


# -- the cache -------------------------------------------------------------------------------------------------------


def group(rows: int, start: int = 0) -> RowGroup:
    return RowGroup(pa.table({"cell": np.arange(start, start + rows, dtype=np.int64)})).with_cells("cell")


def test_row_groups_are_kept_by_what_they_hold() -> None:
    one = group(100)
    kept = Kept(16 * (one.columns.nbytes + ENTRY_BYTES))
    cache = RowGroupCache(kept)
    cache.put(("f", "v", 1), one)
    assert (cache.get(("f", "v", 1)), cache.get(("f", "v", 2)), cache.get(("f", "w", 1))) == (one, None, None)
    assert kept.bytes == one.columns.nbytes + ENTRY_BYTES
    assert [cache.is_asked_for_often(("f", "v", 1)) for _ in range(4)] == [False, False, True, True]
    cache.forget("f")
    assert (cache.get(("f", "v", 1)), kept.bytes) == (None, 0)
    # Where nothing is kept, it is never worth reading more than the rows that are wanted.
    nowhere = RowGroupCache(Kept(0))
    assert not any(nowhere.is_asked_for_often(("f", "v", 1)) for _ in range(5))


def test_rows_of_a_range_are_found_by_bisection_where_cells_are_in_order() -> None:
    found = group(100, start=50).within(np.array([[0, 52], [60, 61], [149, 400]]))
    assert found is not None
    assert found.column("cell").to_pylist() == [50, 51, 60, 149]
    unordered = RowGroup(pa.table({"cell": [3, 1, 2]})).with_cells("cell")
    assert unordered.within(np.array([[0, 2]])) is None


@given(
    cells=st.lists(st.integers(0, 200), max_size=80).map(sorted),
    ends=st.sets(st.integers(0, 200), max_size=80).map(sorted),
)
def test_rows_of_many_ranges_come_in_few_pieces(cells: list[int], ends: list[int]) -> None:
    ranges = np.array(ends[: len(ends) // 2 * 2], dtype=np.int64).reshape(-1, 2)
    rows = pa.table({"cell": pa.array(cells, pa.int64()), "place": pa.array([f"row {n}" for n in range(len(cells))])})
    found = RowGroup(rows).with_cells("cell").within(ranges)
    assert found is not None
    inside = [any(begin <= cell < end for begin, end in ranges) for cell in cells]
    assert found.to_pydict() == rows.filter(pa.array(inside, pa.bool_())).to_pydict()
    assert found.schema == rows.schema
    assert found.column("cell").num_chunks <= 8


def test_rows_that_fill_the_memory_are_left_to_the_engine_which_is_held_to_its_share(tmp_path: Path) -> None:
    stars = star_table(2_000)
    spectra = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(2_000 * 4_096)), 4_096)
    archive = build_archive(tmp_path, {"demo.wide": stars.append_column("spectrum", spectra)})
    with duckdb_engine(tmp_path) as engine:
        both = Both(archive, engine)
        whole_sky = "FROM demo.wide WHERE 1 = CONTAINS(POINT(ra, dec), CIRCLE(0, 0, 180))"
        assert both.is_direct(f"SELECT id {whole_sky}")
        assert not both.is_direct(f"SELECT id, spectrum {whole_sky}")


def test_a_version_that_lies_in_the_files_of_the_one_before_has_its_own_rows(tmp_path: Path) -> None:
    archive = build_archive(tmp_path, {"demo.stars": TableData(star_table(5_000), choices=IngestChoices(id="id"))})
    with duckdb_engine(tmp_path) as engine:
        resolved = Both(archive, engine).resolve(f"SELECT id, mag, name FROM demo.stars WHERE {CONE}")
        (use,) = resolved.tables

        def magnitudes(version: str) -> dict[object, object]:
            table = replace(use, entry=replace(use.entry, version=version))
            asked = replace(resolved, tables=(table,))
            stream = engine.run(asked, QueryLimits(1_000_000, 60), owner="a", query_id=version)
            return {row["id"]: row["mag"] for batch in stream for row in batch.to_pylist()}

        before = [magnitudes(use.entry.version) for _ in range(4)][-1]  # by now its row groups are kept
        for path in use.entry.storage.index.files:
            rows = pq.read_table(path)
            changed = pc.add(rows.column("mag"), pa.scalar(100, pa.float32()))
            rows = rows.set_column(rows.column_names.index("mag"), "mag", changed)
            group_rows = pq.read_metadata(path).row_group(0).num_rows
            pq.write_table(rows, path, row_group_size=group_rows, compression="none")
        known = {number: mag for number, mag in before.items() if mag is not None}
        assert known
        fainter = {number: float(np.float32(mag) + np.float32(100)) for number, mag in known.items()}
        assert {n: m for n, m in magnitudes("later").items() if m is not None} == fainter
