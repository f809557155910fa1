"""Cross-matches: all pairs that astropy finds, in every form, and by a hash of cells instead of all pairs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from archive_fixture import TableData, build_archive, small_settings
from engine_fixture import Asking, small_engine
from idac.catalogs.ingest import IngestChoices
from idac.query.engines.duckdb.python_functions import match_order
from idac.query.engines.duckdb.queries import QueryWriter
from idac.query.plan.planning import plan_query
from idac.query.plan.work import pairs_to_test
from idac.query.uploads import upload_entry
from idac.sky.healpix import cells_near, healpix_index
from sky_oracles import Pairs, awkward_sky, near_pairs, near_partners

type Floats = npt.NDArray[np.float64]

STARS, SOURCES, LOOSE = 9_000, 6_000, 500
ARCSEC = 1 / 3600


@dataclass
class World:
    """Two HATS tables of many files, a plain one and an uploaded one with NULLs and NaN, and their positions."""

    asking: Asking
    places: dict[str, tuple[Floats, Floats]]

    def pairs(self, first: str, second: str, radius_deg: float) -> Pairs:
        return near_pairs(self.places[first], self.places[second], radius_deg)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder: Path = tmp_path_factory.mktemp("matches")
    stars = awkward_sky(STARS, 1)
    sources = awkward_sky(SOURCES, 2)
    near = near_partners(stars[0][:3000], stars[1][:3000], 3)
    sources = np.concatenate([near[0], sources[0][3000:]]), np.concatenate([near[1], sources[1][3000:]])
    loose = near_partners(stars[0][100 : 100 + LOOSE], stars[1][100 : 100 + LOOSE], 4)
    loose[0][::17], loose[1][::19] = np.nan, np.nan

    def table(places: tuple[Floats, Floats]) -> pa.Table:
        size, rng = len(places[0]), np.random.default_rng(len(places[0]))
        ra, dec = (pa.array(v, from_pandas=True) for v in places)
        return pa.table({"id": np.arange(size), "ra": ra, "dec": dec, "mag": rng.normal(18, 2, size)})

    archive = build_archive(
        folder,
        {
            "demo.stars": TableData(table(stars), choices=IngestChoices(id="id")),
            "demo.sources": TableData(table(sources), choices=IngestChoices(id="id")),
            "demo.loose": TableData(table(loose), choices=IngestChoices(no_positions=True)),
        },
    )
    pq.write_table(table(loose), folder / "up.parquet")
    snapshot = archive.snapshot().with_uploads({"up": upload_entry("up", folder / "up.parquet")})
    with small_engine(folder) as engine:
        places = {"demo.stars": stars, "demo.sources": sources, "demo.loose": loose, "TAP_UPLOAD.up": loose}
        yield World(Asking(engine, snapshot), places)


ON = [
    "a JOIN {second} AS b ON DISTANCE(POINT(a.ra, a.dec), POINT(b.ra, b.dec)) < {r}",
    "a JOIN {second} AS b ON DISTANCE(b.ra, b.dec, a.ra, a.dec) <= {r}",
    "a JOIN {second} AS b ON {r} > DISTANCE(a.ra, a.dec, b.ra, b.dec)",
    "a JOIN {second} AS b ON CONTAINS(POINT('ICRS', a.ra, a.dec), CIRCLE('ICRS', b.ra, b.dec, {r})) = 1",
    "a JOIN {second} AS b ON 1 = CONTAINS(POINT(b.ra, b.dec), CIRCLE(POINT(a.ra, a.dec), {r}))",
    "a, {second} AS b WHERE 1 = INTERSECTS(CIRCLE(b.ra, b.dec, {r}), POINT(a.ra, a.dec))",
    "a JOIN {second} AS b ON a.id >= 0 AND (b.mag < 0 OR b.mag >= 0) AND (DISTANCE(a.ra, a.dec, b.ra, b.dec) < {r})",
    "a JOIN (SELECT id, ra, dec FROM {second}) AS b ON DISTANCE(a.ra, a.dec, b.ra, b.dec) < {r}",
]


@pytest.mark.parametrize("radius", [0.1 * ARCSEC, 1 * ARCSEC, 30 * ARCSEC, 0.05])
@pytest.mark.parametrize(
    ("first", "second"),
    [("demo.stars", "demo.sources"), ("demo.stars", "demo.stars"), ("demo.loose", "demo.stars"),
     ("demo.sources", "TAP_UPLOAD.up"), ("TAP_UPLOAD.up", "demo.loose")],
)  # fmt: skip
def test_every_form_of_a_match_finds_astropys_pairs(world: World, first: str, second: str, radius: float) -> None:
    expected = world.pairs(first, second, radius)
    assert len(expected.sure) > 10
    # All forms where pairs are few; where they are many, each form once over the tables.
    forms = ON if radius < 0.01 else ON[len(first + second) % 2 :: 4]
    for form in forms:
        sql = f"SELECT a.id, b.id AS j FROM {first} AS {form.format(second=second, r=radius)}"
        found = [(int(i), int(j)) for i, j in world.asking.ask(sql, max_rows=2_000_000).to_pandas().itertuples(False)]
        expected.assert_equal(found, sql)


@pytest.mark.parametrize("radius", [0.5, 3, 28.9, 29.5, 100, 179])
def test_wide_matches_find_all_pairs(world: World, radius: float) -> None:
    expected = near_pairs(*([v[:80] for v in world.places[t]] for t in ("demo.stars", "demo.loose")), radius)
    sql = (
        "SELECT a.id, b.id AS j FROM demo.stars AS a JOIN demo.loose AS b "
        f"ON DISTANCE(a.ra, a.dec, b.ra, b.dec) < {radius} WHERE a.id < 80 AND b.id < 80"
    )
    expected.assert_equal([(int(i), int(j)) for i, j in world.asking.rows(sql)], sql)


def test_a_left_join_keeps_rows_without_a_partner(world: World) -> None:
    pairs = world.pairs("demo.loose", "demo.stars", 10 * ARCSEC).sure
    sql = (
        "SELECT a.id, b.id AS j FROM demo.loose AS a LEFT JOIN demo.stars AS b "
        f"ON DISTANCE(a.ra, a.dec, b.ra, b.dec) < {10 * ARCSEC}"
    )
    lonely = {(row, None) for row in range(LOOSE)} - {(row, None) for row, _ in pairs}
    assert Counter(world.asking.rows(sql)) == Counter([*pairs, *lonely])


def test_three_tables_meet_where_each_pair_is_near(world: World) -> None:
    radius = 2 * ARCSEC
    first, second = world.pairs("demo.loose", "demo.stars", radius), world.pairs("demo.stars", "demo.sources", radius)
    partners: dict[int, list[int]] = {}
    for star, source in second.sure:
        partners.setdefault(star, []).append(source)
    expected = Counter((row, star, source) for row, star in first.sure for source in partners.get(star, ()))
    assert len(expected) > 20
    for tables in (
        "demo.loose AS l JOIN demo.stars AS s ON DISTANCE(l.ra, l.dec, s.ra, s.dec) < {r} "
        "JOIN demo.sources AS o ON 1 = CONTAINS(POINT(o.ra, o.dec), CIRCLE(s.ra, s.dec, {r}))",
        "demo.sources AS o, demo.stars AS s, demo.loose AS l "
        "WHERE DISTANCE(o.ra, o.dec, s.ra, s.dec) < {r} AND {r} > DISTANCE(l.ra, l.dec, s.ra, s.dec)",
    ):
        sql = f"SELECT l.id, s.id AS s, o.id AS o FROM {tables.format(r=radius)}"
        assert Counter(world.asking.rows(sql)) == expected, sql


def test_rows_near_the_row_outside_are_found_counted_and_missed(world: World) -> None:
    radius = 5 * ARCSEC
    pairs = {(a, b) for a, b in world.pairs("demo.stars", "demo.sources", radius).sure if a != b}
    near = f"DISTANCE(s.ra, s.dec, o.ra, o.dec) < {radius} AND s.id <> o.id"
    inner = f"FROM demo.sources AS o WHERE {near}"
    counts = Counter(a for a, _ in pairs)
    rows = world.asking.column
    assert sorted(rows(f"SELECT s.id FROM demo.stars AS s WHERE EXISTS (SELECT o.id {inner})")) == sorted(counts)
    assert sorted(rows(f"SELECT s.id FROM demo.stars AS s WHERE NOT EXISTS (SELECT o.id {inner})")) == sorted(
        set(range(STARS)) - set(counts)
    )
    found = world.asking.rows(f"SELECT s.id, (SELECT COUNT(*) {inner}) AS n FROM demo.stars AS s")
    assert dict(found) == {star: counts[star] for star in range(STARS)}  # type: ignore[arg-type]
    wide = rows(
        "SELECT s.id "
        "FROM (SELECT id, ra, dec, CASE WHEN id < 4000 THEN 0.001 ELSE 0.00001 END AS r FROM demo.stars) AS s "
        "WHERE EXISTS (SELECT o.id FROM demo.sources AS o WHERE DISTANCE(s.ra, s.dec, o.ra, o.dec) < s.r)"
    )
    expected = {a for a, _ in world.pairs("demo.stars", "demo.sources", 0.001).sure if a < 4000}
    expected |= {a for a, _ in world.pairs("demo.stars", "demo.sources", 0.00001).sure if a >= 4000}
    assert sorted(wide) == sorted(expected)


# -- how the engine goes about it --------------------------------------------------------------------------------------

STARS_NEAR_SOURCES = [
    f"SELECT a.id, b.id AS j FROM demo.stars AS {form.format(second='demo.sources', r=ARCSEC)}" for form in ON
]
BY_CELLS = [
    *STARS_NEAR_SOURCES,
    "SELECT a.id FROM demo.stars AS a LEFT JOIN demo.sources AS b ON DISTANCE(a.ra, a.dec, b.ra, b.dec) < 0.01",
    "SELECT a.id FROM demo.stars AS a RIGHT JOIN demo.sources AS b ON DISTANCE(a.ra, a.dec, b.ra, b.dec) < 0.01",
    "SELECT a.id FROM demo.stars AS a FULL JOIN demo.sources AS b ON DISTANCE(a.ra, a.dec, b.ra, b.dec) < 0.01",
    "SELECT a.id FROM demo.stars AS a JOIN demo.loose AS b ON DISTANCE(a.ra, a.dec, b.ra, b.dec) < b.mag / 3600",
    "SELECT a.id FROM demo.stars AS a JOIN TAP_UPLOAD.up AS b ON DISTANCE(a.ra, a.dec, b.ra, b.dec) < 5 "
    "JOIN demo.sources AS c ON DISTANCE(b.ra, b.dec, c.ra, c.dec) < 0.1 AND c.mag < a.mag",
    "SELECT a.id FROM demo.stars AS a WHERE EXISTS (SELECT 1 FROM demo.sources AS b "
    "WHERE DISTANCE(a.ra, a.dec, b.ra, b.dec) < 0.01)",
    "SELECT a.id FROM demo.stars AS a WHERE NOT EXISTS (SELECT 1 FROM demo.sources AS b "
    "WHERE 1 = CONTAINS(POINT(b.ra, b.dec), CIRCLE(a.ra, a.dec, 0.01)))",
    "SELECT a.id FROM demo.stars AS a WHERE EXISTS (SELECT 1 FROM demo.sources AS b "
    "WHERE DISTANCE(a.ra, a.dec, b.ra, b.dec) < a.mag / 3600 AND DISTANCE(a.ra, a.dec, b.ra, b.dec) < b.mag / 3600)",
    "SELECT a.mag, (SELECT COUNT(*) FROM demo.sources AS b WHERE DISTANCE(a.ra, a.dec, b.ra, b.dec) < 1) AS n "
    "FROM demo.stars AS a GROUP BY a.ra, a.dec, a.mag",
    "SELECT a.id, (SELECT COUNT(*) FROM demo.sources AS b WHERE DISTANCE(a.ra, a.dec, b.ra, b.dec) < 1) AS n "
    "FROM demo.stars AS a",
    "SELECT a.id FROM demo.stars AS a JOIN (SELECT BOX(ra, dec, 1, 1) AS shape FROM demo.loose) AS f "
    "ON 1 = CONTAINS(POINT(a.ra, a.dec), f.shape)",
    "SELECT a.id FROM demo.stars AS a JOIN demo.loose AS b ON 1 = CONTAINS(POINT(a.ra, a.dec), "
    "POLYGON(b.ra, b.dec - 1, b.ra + 1, b.dec, b.ra, b.dec + 1))",
]
_PAIR_BY_PAIR = re.compile(r"NESTED_LOOP|BLOCKWISE_NL|CROSS_PRODUCT|PIECEWISE_MERGE|IE_JOIN")


def operators(asking: Asking, adql: str) -> list[str]:
    """The joins of DuckDB's own plan of the query, over the files themselves."""
    engine = asking.engine
    plan = plan_query(asking.compile(adql), engine._reader)
    sources = engine._sources(plan, ahead=0)
    writer = QueryWriter(plan, sources.sql)
    sql = writer.write()
    place = engine._places["heavy"][0]
    try:
        connection = place.prepare(sql, sources.tables, writer.regions, sources.paths)
        ((_, text),) = connection.execute(f"EXPLAIN {sql}").fetchall()
    finally:
        place.clear()
    return [line.strip("│ ") for line in re.findall(r"│ +\w*(?:JOIN|PRODUCT)\w* +│", text)]


@pytest.mark.parametrize("adql", BY_CELLS)
def test_a_match_is_a_hash_join_and_never_a_loop_over_pairs(world: World, adql: str) -> None:
    joins = operators(world.asking, adql)
    assert any("HASH_JOIN" in j for j in joins), joins
    pairwise = {j for j in joins if _PAIR_BY_PAIR.search(j)}
    # The one row that holds the order of a radius that differs is joined by a product.
    assert pairwise <= ({"CROSS_PRODUCT"} if "/ 3600" in adql else set()), joins
    plan = plan_query(world.asking.compile(adql), world.asking.engine._reader)
    assert pairs_to_test(plan) == 0


@pytest.mark.parametrize(
    ("adql", "pairs"),
    [
        ("SELECT a.id FROM demo.stars AS a JOIN demo.sources AS b ON a.mag < b.mag", STARS * SOURCES),
        ("SELECT a.id FROM demo.stars AS a WHERE EXISTS (SELECT 1 FROM demo.sources AS b WHERE b.ra < a.ra)",
         STARS * SOURCES),
        ("SELECT a.id FROM demo.stars AS a WHERE EXISTS (SELECT 1 FROM demo.sources AS b WHERE b.id = a.id)", 0),
        ("SELECT a.id FROM demo.stars AS a WHERE a.id IN (SELECT b.id FROM demo.sources AS b)", 0),
        ("SELECT a.id FROM demo.stars AS a JOIN demo.sources AS b "
         "ON DISTANCE(a.ra, a.dec, b.ra, b.dec) < 1 OR a.id = b.id", STARS * SOURCES),
    ],
)  # fmt: skip
def test_what_must_compare_all_pairs_is_known_to(world: World, adql: str, pairs: int) -> None:
    """Those queries are heavy: they wait in a lane of their own."""
    assert pairs_to_test(plan_query(world.asking.compile(adql), world.asking.engine._reader)) == pairs
    assert world.asking.engine.lane(plan_query(world.asking.compile(adql), world.asking.engine._reader)) == (
        "heavy" if pairs else "interactive"
    )


def test_200_000_stars_by_200_000_compare_few_pairs_and_find_astropys(tmp_path: Path) -> None:
    size, radius = 200_000, 1 * ARCSEC
    rng = np.random.default_rng(6)
    ra, dec = rng.uniform(0, 360, size), np.degrees(np.arcsin(rng.uniform(-1, 1, size)))
    # A tenth in one crowded degree at the pole, where cells are narrow.
    dec[: size // 10] = 90 - np.sqrt(rng.uniform(0, 1, size // 10))
    other = near_partners(ra, dec, 7, widest_deg=0.1)
    order = match_order(radius)
    row, cells = cells_near(ra, dec, radius, order)
    keys, counts = np.unique(healpix_index(order, *other), return_counts=True)
    place = np.minimum(np.searchsorted(keys, cells), len(keys) - 1)
    candidates = int(counts[place][keys[place] == cells].sum())
    assert len(row) < 3.5 * size, "a position has few cells near it"
    assert candidates < 3 * size, "and few positions are in one of them"
    settings = small_settings(ingest={"rows_per_file": 50_000, "row_group_rows": 8_192})
    tables = {
        f"demo.{name}": pa.table({"id": np.arange(size), "ra": x, "dec": y})
        for name, (x, y) in {"a": (ra, dec), "b": other}.items()
    }
    archive = build_archive(tmp_path, tables, settings)
    with small_engine(tmp_path) as engine:
        asking = Asking(engine, archive.snapshot())
        sql = (
            f"SELECT a.id, b.id AS j FROM demo.a AS a JOIN demo.b AS b ON DISTANCE(a.ra, a.dec, b.ra, b.dec) < {radius}"
        )
        found = asking.ask(sql, max_rows=10 * size)
    pairs = list(zip(found["id"].to_pylist(), found["j"].to_pylist(), strict=True))
    near_pairs((ra, dec), other, radius).assert_equal(pairs, sql)
