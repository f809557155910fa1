"""What is read follows from the question and not from the table, and ``explain`` says no less than what is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archive_fixture import TableData, build_archive, small_settings
from engine_fixture import Asking, small_engine
from idac.catalogs.archive import Archive
from idac.catalogs.ingest import IngestChoices
from idac.catalogs.snapshot import HatsStorage, RowGroupIndex, TableEntry
from idac.query.engines.base import Explanation, QueryLimits, ScanEstimate
from idac.query.engines.duckdb.place import Access, Place
from idac.query.engines.duckdb.scans import _envelopes, row_groups_scanned
from idac.query.plan.planning import plan_query
from idac.query.uploads import upload_entry
from idac.sky.healpix import healpix_index
from sky_oracles import Oracle

SMALL, LARGE, GROUP = 20_000, 500_000, 1_024
LIMITS = QueryLimits(10_000_000, 60)


def sky(rows: int, seed: int) -> pa.Table:
    rng = np.random.default_rng(seed)
    dec = np.degrees(np.arcsin(rng.uniform(-1, 1, rows)))
    ra = rng.uniform(0, 360, rows)
    ids = rng.permutation(rows)
    return pa.table(
        {
            "id": ids * 10,
            "ra": ra,
            "dec": dec,
            "mag": rng.normal(18, 2, rows).astype(np.float32),
            # As Gaia and Rubin number things: near ones have near numbers.
            "number": (healpix_index(12, ra, dec) << 35) + np.arange(rows),
            "scattered": pa.array(ids, pa.int32(), mask=ids % 7 == 0),
        }
    )


@dataclass
class World:
    archive: Archive
    asking: Asking
    tables: dict[str, pa.Table]

    def explain(self, adql: str) -> Explanation:
        return self.asking.engine.explain(self.asking.compile(adql), LIMITS)

    def scan(self, adql: str) -> ScanEstimate:
        """What is read of the only table."""
        explanation = self.explain(adql)
        (scan,) = explanation.scans
        assert explanation.rows_to_read == scan.rows
        return scan

    def storage(self, name: str) -> HatsStorage:
        entry = self.archive.snapshot().find(*name.split("."))
        assert isinstance(entry, TableEntry)
        assert isinstance(entry.storage, HatsStorage)
        return entry.storage


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder: Path = tmp_path_factory.mktemp("planning")
    tables = {"demo.small": sky(SMALL, 1), "demo.large": sky(LARGE, 2)}
    by_id = IngestChoices(id="id")
    settings = small_settings(ingest={"rows_per_file": 8_192, "row_group_rows": GROUP, "margin_arcsec": 0})
    archive = build_archive(folder, {n: TableData(t, choices=by_id) for n, t in tables.items()}, settings)
    near = sky(40, 5).append_column("wanted", pa.array(np.arange(40) * 4_000))
    pq.write_table(near, folder / "up.parquet")
    snapshot = archive.snapshot().with_uploads({"up": upload_entry("up", folder / "up.parquet")})
    with small_engine(folder) as engine:
        yield World(archive, Asking(engine, snapshot), tables)


@contextmanager
def only(paths: Sequence[str], kept: Sequence[str]) -> Iterator[None]:
    """All of *paths* but those *kept* are away: whoever opens another fails."""
    away = [Path(p) for p in paths if p not in kept]
    assert len(away) < len(paths)
    for path in away:
        path.rename(f"{path}.away")
    try:
        yield
    finally:
        for path in away:
            Path(f"{path}.away").rename(path)


# -- cones -----------------------------------------------------------------------------------------------------------

CONES = [
    (10.0, 20.0, 0.05),
    (0.0, 0.0, 0.1),
    (45.0, 41.8103149, 0.05),
    (0.0, 90.0, 0.1),
    (123.0, -89.95, 0.1),
    (359.99, -45.0, 1 / 3600),
]
QUESTIONS = {
    "rows": "SELECT id, mag FROM {0} WHERE 1 = CONTAINS(POINT(ra, dec), CIRCLE({1}, {2}, {3}))",
    "distance": "SELECT id FROM {0} WHERE DISTANCE(ra, dec, {1}, {2}) < {3} AND mag < 90",
    "aggregate": "SELECT COUNT(*) AS n, AVG(mag) AS m FROM {0} WHERE DISTANCE(ra, dec, {1}, {2}) < {3}",
    "sub-query": "SELECT q.id FROM (SELECT id, ra, dec FROM {0}) AS q WHERE DISTANCE(q.ra, q.dec, {1}, {2}) < {3}",
    "both ways": "SELECT id FROM {0} WHERE DISTANCE(ra, dec, {1}, {2}) < {3} OR DISTANCE(ra, dec, {1}, {2}) < {3} / 2",
    "box": "SELECT id FROM {0} WHERE 1 = CONTAINS(POINT(ra, dec), BOX({1}, {2}, {3}, {3}))",
}


@pytest.mark.parametrize("cone", CONES)
@pytest.mark.parametrize("question", QUESTIONS)
def test_what_a_cone_reads_does_not_grow_with_the_table(question: str, cone: tuple[float, ...], world: World) -> None:
    ra, dec, size = cone
    # A box has its corners on this side of the pole.
    most = 90 - size / 2 if question == "box" else 90
    place = (ra, max(-most, min(most, dec)), size)
    scans = [world.scan(QUESTIONS[question].format(table, *place)) for table in ("demo.small", "demo.large")]
    for scan in scans:
        # Round the corner of a base cell lie at most four row groups; at the poles four files meet.
        assert scan.row_groups <= 4
        assert scan.files <= scan.row_groups
        assert scan.rows <= scan.row_groups * GROUP
    assert scans[1].row_groups_total > 15 * scans[0].row_groups_total
    assert scans[1].files_total > 15 * scans[0].files_total


def test_the_rows_of_pruned_cones_are_all_there(world: World) -> None:
    table = world.tables["demo.large"]
    oracle = Oracle(table["ra"].to_numpy(), table["dec"].to_numpy())
    for ra, dec, radius in [*CONES[:5], (200.0, -10.0, 3.0)]:
        inside = oracle.circle(ra, dec, radius)
        sql = QUESTIONS["distance"].format("demo.large", ra, dec, radius)
        assert sorted(world.asking.column(sql)) == sorted(table["id"].to_numpy()[inside.inside].tolist())


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_cone_opens_the_files_it_reads_and_no_other(question: str, world: World, tmp_path: Path) -> None:
    sql = QUESTIONS[question].format("demo.large", 77.0, -33.0, 0.5)
    storage = world.storage("demo.large")
    table = world.tables["demo.large"]
    inside = Oracle(table["ra"].to_numpy(), table["dec"].to_numpy()).circle(77.0, -33.0, 0.5).inside
    holding = files_of(storage, table, np.flatnonzero(inside))
    (scan,) = plan_query(world.asking.compile(sql), world.asking.engine._reader).scans.values()
    assert scan.entries is not None
    files = [storage.index.files[n] for n in np.unique(storage.index.file[scan.entries])]
    assert inside.sum() > 2
    assert set(holding) <= set(files)
    assert len(files) == world.scan(sql).files <= 4
    with only(storage.index.files, files), small_engine(tmp_path, kept_gib=0) as engine:
        Asking(engine, world.asking.snapshot).ask(sql)


def files_of(storage: HatsStorage, table: pa.Table, rows: np.ndarray) -> list[str]:
    """The files that hold these rows, as found by reading all of them."""
    ids = table["id"].to_numpy()[rows]
    return [f for f in storage.index.files if np.isin(pq.read_table(f, columns=["id"])["id"].to_numpy(), ids).any()]


# -- conditions that must not prune ----------------------------------------------------------------------------------

CONE = "DISTANCE(ra, dec, 10, 20) < 0.05"


@pytest.mark.parametrize(
    "where",
    [
        f"NOT ({CONE})",
        f"{CONE} OR mag < 14",
        "DISTANCE(ra, dec, 10, 20) > 0.05",
        "0 = CONTAINS(POINT(ra, dec), CIRCLE(10, 20, 0.05))",
        "CONTAINS(POINT(ra, dec), CIRCLE(10, 20, 0.05)) <> 1",
        "CONTAINS(POINT(ra, dec), CIRCLE(10, 20, 0.05)) BETWEEN 0 AND 1",
        "CASE WHEN DISTANCE(ra, dec, 10, 20) < 0.05 THEN 0 ELSE 1 END = 1",
        "COALESCE(DISTANCE(ra, dec, 10, 20), 0) < 0.05",
        "DISTANCE(dec, ra / 4, 10, 20) < 0.05",
        "NOT (id = 70)",
        "id <> 70",
        "id = 70 OR mag < 14",
        "NOT (ra BETWEEN 10 AND 11 AND dec BETWEEN 0 AND 1)",
    ],
)
def test_conditions_that_say_nothing_of_where_rows_are_read_the_whole_table(where: str, world: World) -> None:
    scan = world.scan(f"SELECT COUNT(mag) AS n FROM demo.small WHERE {where}")
    assert (scan.rows, scan.files, scan.row_groups) == (SMALL, scan.files_total, scan.row_groups_total)
    assert scan.reason == "whole table"


@pytest.mark.parametrize(
    ("where", "most", "reason"),
    [
        (f"{CONE} OR DISTANCE(ra, dec, 200, -20) < 0.05", 4, "cone of 3 arcmin; "),
        ("ra BETWEEN 10 AND 10.5 AND dec > 20 AND dec < 20.5", 4, "box in RA and Dec; "),
        (f"{CONE} AND NOT (mag < 14)", 2, "cone of 3 arcmin; "),
        (f"{CONE} AND (mag < 14 OR DISTANCE(ra, dec, 200, -20) < 0.05)", 2, "cone of 3 arcmin; "),
        (f"{CONE} AND DISTANCE(ra, dec, 200, -20) < 0.05", 0, "cone of 3 arcmin; 0 HEALPix ranges"),
        ("ivo_healpix_index(7, ra, dec) = 1000", 2, "HEALPix index; "),
        ("1 = CONTAINS(POINT(ra, dec), POLYGON(10, 20, 10.1, 20, 10, 20.1))", 3, "polygon of 3 corners; "),
        ("id = 70", 1, "look-up of one id; "),
        ("id IN (70, 80, 90)", 3, "look-up of 3 ids; "),
        ("70 = id AND mag < 99", 1, "look-up of one id; "),
        ("id = 71", 0, "look-up of one id; 0 HEALPix ranges"),
        ("id = 70 AND id = 80", 0, "look-up of one id; 0 HEALPix ranges"),
        ("id = 70 OR id = 80", 2, "look-up of one id; "),
        ("dec > 95", 0, "nothing can match; 0 HEALPix ranges"),
    ],
)
def test_conditions_that_say_where_rows_are_read_few_row_groups(
    where: str, most: int, reason: str, world: World
) -> None:
    scan = world.scan(f"SELECT COUNT(mag) AS n FROM demo.large WHERE {where}")
    assert scan.row_groups <= most
    assert scan.rows <= most * GROUP
    assert (scan.row_groups == 0) == (most == 0)
    assert scan.reason.startswith(reason)


# -- ids -------------------------------------------------------------------------------------------------------------


def test_an_id_look_up_opens_one_file_of_the_table_and_one_of_the_index(world: World, tmp_path: Path) -> None:
    storage, table = world.storage("demo.large"), world.tables["demo.large"]
    sql = "SELECT id, ra FROM demo.large WHERE id = {}"
    with small_engine(tmp_path, kept_gib=0) as engine:
        asking = Asking(engine, world.asking.snapshot)
        asking.ask(sql.format(1_000_000))  # reads the index's footers
        for row in (5, 77_777, 499_999):
            wanted = int(table["id"][row].as_py())
            files = files_of(storage, table, np.array([row]))
            index = [
                f for f in storage.id_index_files if wanted in set(pq.read_table(f, columns=["id"])["id"].to_pylist())
            ]
            assert (len(files), len(index)) == (1, 1)
            with only([*storage.index.files, *storage.id_index_files], [*files, *index]):
                assert asking.rows(sql.format(wanted)) == [(wanted, table["ra"][row].as_py())]
            assert world.scan(sql.format(wanted)).row_groups == 1


def numbers_of(world: World, rows: Sequence[int]) -> list[int]:
    return world.tables["demo.large"]["number"].take(pa.array(rows)).to_pylist()


@pytest.mark.parametrize(
    ("where", "rows", "most", "reason"),
    [
        ("number = {0}", [5], 2, "one value of number"),
        ("{0} = number AND mag < 99", [5], 2, "one value of number"),
        ("number IN ({0}, {1}, {2})", [5, 77_777, 499_999], 6, "3 values of number"),
        ("number = {0} OR number = {1}", [5, 77_777], 4, "2 values of number"),
        ("number IN ({0}, {1}) AND number = {1}", [77_777], 2, "one value of number"),
        ("number = {0} AND number = {1}", [], 0, "0 values of number"),
        ("number = {0} AND scattered > -1", [5], 2, "one value of number"),
        ("number = -1", [], 0, "one value of number"),
        ("number = {0} AND id = {3}", [5], 1, "look-up of one id; 1 HEALPix range"),
        ("number = {0} OR mag > 99", [5], None, "whole table"),
        ("NOT number <> {0}", [5], None, "whole table"),
        ("scattered = 70000", None, None, "whole table"),
    ],
)
def test_numbers_that_follow_the_sky_are_looked_up_by_the_bounds_of_row_groups(
    where: str, rows: list[int] | None, most: int | None, reason: str, world: World
) -> None:
    table = world.tables["demo.large"]
    known = where.format(*numbers_of(world, [5, 77_777, 499_999]), table["id"][5].as_py())
    scan = world.scan(f"SELECT number, ra FROM demo.large WHERE {known}")
    assert scan.reason == reason
    assert scan.row_groups <= (most if most is not None else scan.row_groups_total)
    if rows is not None:
        expected = table.take(pa.array(rows, pa.int64()))
        found = world.asking.rows(f"SELECT number, ra FROM demo.large WHERE {known}")
        assert sorted(found) == sorted(zip(*(expected[c].to_pylist() for c in ("number", "ra")), strict=True))


def test_such_numbers_are_found_through_sub_queries_and_joins_and_not_where_rows_are_kept_without_them(
    world: World,
) -> None:
    (number,) = numbers_of(world, [5])
    inner = f"SELECT q.n FROM (SELECT number AS n FROM demo.large) AS q WHERE q.n = {number}"
    assert world.scan(inner).reason == "one value of number"
    assert world.asking.rows(inner) == [(number,)]
    counted = "SELECT COUNT(*) AS n FROM (SELECT TOP 400000 number FROM demo.large) AS q WHERE q.number = 1"
    assert world.scan(counted).reason == "whole table"
    outer = f"SELECT a.id FROM demo.small AS a LEFT JOIN demo.large AS b ON a.id = b.id AND {{}}.number = {number}"
    reasons = {
        alias: [scan.reason for scan in world.explain(outer.format(alias)).scans if scan.table == f"demo.{table}"]
        for alias, table in (("a", "small"), ("b", "large"))
    }
    assert reasons == {"a": ["whole table"], "b": ["one value of number"]}


def test_ids_of_an_upload_read_of_the_table_only_what_they_name(world: World) -> None:
    sql = "SELECT l.id FROM TAP_UPLOAD.up AS u JOIN demo.large AS l ON l.id = u.wanted"
    scans = {s.table: s for s in world.explain(sql).scans}
    assert scans["demo.large"].row_groups <= 40
    assert scans["demo.large"].reason.startswith("ids of TAP_UPLOAD.up; ")
    assert sorted(world.asking.column(sql)) == [n * 4_000 for n in range(40)]


def test_positions_of_an_upload_read_of_the_table_only_what_is_near(world: World) -> None:
    sql = "SELECT l.id FROM TAP_UPLOAD.up AS u JOIN demo.large AS l ON DISTANCE(l.ra, l.dec, u.ra, u.dec) < 0.05"
    for text in (
        sql,
        sql.replace(" JOIN", " LEFT JOIN"),
        sql.replace("demo.large AS l", "(SELECT * FROM demo.large) AS l"),
    ):
        scans = {s.table: s for s in world.explain(text).scans}
        assert 1 <= scans["demo.large"].row_groups <= 100
        assert scans["demo.large"].reason.startswith("within 3 arcmin of TAP_UPLOAD.up; ")
        assert scans["TAP_UPLOAD.up"].rows == 40
    outer = world.explain(sql.replace(" JOIN", " RIGHT JOIN"))
    assert {s.table: s.rows for s in outer.scans}["demo.large"] == LARGE, "a RIGHT JOIN keeps all of them"


def test_a_cone_on_one_side_of_a_match_reaches_the_other(world: World) -> None:
    sql = (
        "SELECT l.id, s.id AS j FROM demo.large AS l {} demo.small AS s ON DISTANCE(l.ra, l.dec, s.ra, s.dec) < 0.01 "
        "WHERE DISTANCE(l.ra, l.dec, 10, 20) < 0.05"
    )
    for join in ("JOIN", "LEFT JOIN"):
        scans = {s.table: s for s in world.explain(sql.format(join)).scans}
        assert scans["demo.small"].row_groups <= 4
        assert scans["demo.small"].reason.startswith("within 36 arcsec of cone of 3 arcmin; ")
    rows = world.explain(sql.format("RIGHT JOIN")).scans
    assert {s.table: s.rows for s in rows}["demo.small"] == SMALL


# -- explain ---------------------------------------------------------------------------------------------------------


def test_explain_of_a_count_and_of_first_rows(world: World) -> None:
    count = world.scan("SELECT COUNT(*) AS n FROM demo.large")
    assert (count.files, count.row_groups, count.rows, count.reason) == (0, 0, 0, "row count is known")
    assert world.asking.value("SELECT COUNT(*) AS n FROM demo.large") == LARGE
    top = world.scan("SELECT TOP 5 * FROM demo.large")
    assert (top.files, top.row_groups, top.reason) == (1, 1, "first 5 rows")
    for whole in (
        "SELECT TOP 5 * FROM demo.small ORDER BY mag",
        "SELECT TOP 5 mag, COUNT(*) AS n FROM demo.small GROUP BY mag",
    ):
        assert world.scan(whole).rows == SMALL


def test_explain_says_which_queries_need_no_sql(world: World) -> None:
    direct = world.explain("SELECT id FROM demo.large WHERE id = 70").sql
    assert direct.startswith(
        "-- Read from these row groups directly, without running SQL. In SQL it would be:\nSELECT "
    )
    assert world.explain("SELECT MAX(id) AS m FROM demo.large WHERE id = 70").sql.startswith("SELECT max(")


@pytest.mark.parametrize("radius", [0.01, 2, 8])
def test_a_scan_in_sql_reads_what_explain_says_it_takes_along(radius: float, world: World, tmp_path: Path) -> None:
    """Scattered row groups beyond what is read ahead are scanned by SQL, with what lies between close ones."""
    match = f"DISTANCE(l.ra, l.dec, u.ra, u.dec) < {radius}"
    query = world.asking.compile(f"SELECT l.id FROM demo.large AS l JOIN TAP_UPLOAD.up AS u ON {match}")
    with small_engine(tmp_path) as engine:
        plan = plan_query(query, engine._reader)
        (scan,) = (s for s in plan.scans.values() if s.use.entry.table.name == "large")
        storage, groups = world.storage("demo.large"), row_groups_scanned(scan)
        assert groups is not None
        assert scan.entries is not None
        assert set(scan.entries) <= set(groups)
        told = storage.index.rows[groups].sum()
        sources = engine._sources(plan, ahead=0)
        place = Place(engine._places["heavy"][0].share, Access((world.archive.store.location,)), tmp_path / "place")
        files = {storage.index.files[n] for n in np.unique(storage.index.file[groups])}
        with only(storage.index.files, sorted(files)):
            connection = place.prepare("", sources.tables, (), sources.paths)
            ((found,),) = connection.execute(f"SELECT COUNT(*) FROM {sources.sql[scan.use.alias]}").fetchall()
        place.close()
    # Rows of a row group that straddles the end of a range are read, and not counted by SQL.
    assert scan.rows - 2 * GROUP * 64 <= found <= told <= scan.rows * 1.5 + 64 * 150_000
    assert told < LARGE or radius == 8


#: Places where row groups, or ranges, begin and end.
_PLACES = st.integers(0, 40)


@given(
    groups=st.lists(st.tuples(_PLACES, st.integers(0, 9)), max_size=12),
    ends=st.sets(_PLACES, max_size=40).map(sorted),
)
def test_row_groups_that_touch_a_range_are_found_however_many_there_are_of_each(
    groups: list[tuple[int, int]], ends: list[int]
) -> None:
    """Row groups may overlap, as those of others do; cells are given with both ends, ranges are half-open."""
    groups = sorted(groups)
    low = np.array([first for first, _ in groups], dtype=np.int64)
    high = np.array([first + more for first, more in groups], dtype=np.int64)
    zeros = np.zeros(len(groups), dtype=np.int32)
    index = RowGroupIndex(("f",), zeros, zeros, low, high, zeros.astype(np.int64))
    ranges = np.array(ends[: len(ends) // 2 * 2], dtype=np.int64).reshape(-1, 2)
    touched = [
        number
        for number, (first, last) in enumerate(zip(low, high, strict=True))
        if any(first < end and last >= begin for begin, end in ranges)
    ]
    assert index.select(ranges).tolist() == touched


def test_runs_of_a_scan_are_disjoint_and_skip_what_is_worth_it() -> None:
    """A table of 50 million rows of which 300 row groups are wanted, 200 of them far from the others."""
    groups, size = 2_500, 20_000
    cells = np.arange(groups, dtype=np.int64) * 1_000
    index = RowGroupIndex(
        tuple(f"f{n}" for n in range(groups // 50)),
        (np.arange(groups) // 50).astype(np.int32),
        (np.arange(groups) % 50).astype(np.int32),
        cells,
        cells + 999,
        np.full(groups, size, dtype=np.int64),
    )
    rng = np.random.default_rng(4)
    for wanted in (np.sort(rng.choice(groups, 40, replace=False)), np.arange(100, 400), np.array([7])):
        runs = _envelopes(index, wanted)
        assert len(runs) <= 64
        assert all(low <= high for low, high, _ in runs)
        assert all(a[1] < b[0] for a, b in pairwise(runs))
        read = sum(int(((cells >= low) & (cells + 999 <= high)).sum()) for low, high, _ in runs)
        assert len(wanted) <= read <= len(wanted) + len(wanted) * 150_000 / size
