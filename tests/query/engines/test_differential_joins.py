"""Random trees of joins by position give the rows that a plain evaluator finds with astropy's separations.

Up to eight tables (HATS, plain, uploaded, sub-queries; the same one several times), all kinds of joins nested either
way, radii as constants, columns and sums, further conditions, and WHERE on top.
"""

from __future__ import annotations

import itertools
import operator
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import astropy.units as u
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.coordinates import SkyCoord

from archive_fixture import TableData, build_archive
from engine_fixture import Asking, small_engine
from idac.catalogs.ingest import IngestChoices
from idac.query.uploads import upload_entry
from sky_oracles import offset

TREES_A_TEST = 14
MOST_ROWS = 4_000
PLACES = [(0, 0), (10, 89.999), (200, -89.99), (45, 41.8103149), (180, 1)]
NAMES = {"stars": "demo.stars", "sources": "demo.sources", "loose": "demo.loose", "up": "TAP_UPLOAD.up"}
type Row = dict[str, dict[str, object] | None]  # by alias; None where an outer join found no partner
type Test = Callable[[Row], bool | None]


def crowd(rows: int, seed: int, *, gaps: bool) -> pa.Table:
    rng = np.random.default_rng(seed)
    ra, dec = np.empty(rows), np.empty(rows)
    for row, place in enumerate(rng.integers(0, len(PLACES), rows)):
        ra[row], dec[row] = offset(*PLACES[place], rng.uniform(0, 360), 10 ** rng.uniform(-4, 0))
    gap = rng.uniform(size=rows) < (0.1 if gaps else 0)
    return pa.table(
        {
            "id": np.arange(rows),
            "ra": pa.array(ra, mask=gap),
            "dec": pa.array(dec, mask=gap & (rng.uniform(size=rows) < 0.5)),
            "k": rng.integers(0, 6, rows),
            "mag": pa.array(rng.normal(18, 2, rows), mask=rng.uniform(size=rows) < 0.1),
            "rad": pa.array(10 ** rng.uniform(-4, 0, rows), mask=rng.uniform(size=rows) < 0.1),
        }
    )


TABLES = {
    "stars": crowd(60, 1, gaps=False),
    "sources": crowd(50, 2, gaps=False),
    "loose": crowd(40, 3, gaps=True),
    "up": crowd(30, 4, gaps=True),
}
ROWS = {name: [{**row, "table": name} for row in table.to_pylist()] for name, table in TABLES.items()}


def _separations() -> dict[tuple[str, str], np.ndarray]:
    places = {}
    for name, table in TABLES.items():
        ra, dec = (table[c].to_numpy() for c in ("ra", "dec"))
        bad = np.isnan(ra) | np.isnan(dec)
        places[name] = SkyCoord(np.where(bad, 0, ra) * u.deg, np.where(bad, 0, dec) * u.deg), bad
    return {
        (a, b): np.where(bad[:, None] | other[None, :], np.nan, x[:, None].separation(y[None, :]).deg)
        for (a, (x, bad)), (b, (y, other)) in itertools.product(places.items(), repeat=2)
    }


SEPARATIONS = _separations()


def value(row: Row, alias: str, column: str) -> float | None:
    found = row[alias]
    return None if found is None else found[column]  # type: ignore[return-value]


def is_near(row: Row, first: str, second: str, radius: float | None) -> bool | None:
    a, b = row[first], row[second]
    if a is None or b is None or radius is None:
        return None
    distance = SEPARATIONS[a["table"], b["table"]][a["id"], b["id"]]  # type: ignore[index]
    return None if np.isnan(distance) else bool(distance < radius)


def compared(row: Row, first: float | None, second: float | None, test: Callable[[float, float], bool]) -> bool | None:
    return None if first is None or second is None else test(first, second)


def holds(tests: list[Test], row: Row) -> bool:
    return all(test(row) is True for test in tests)


@dataclass
class Tree:
    """A FROM clause, and its rows."""

    sql: str
    aliases: list[str]
    rows: list[Row]


class TooLarge(Exception):
    """A tree of more rows than the evaluator should look at."""


class Queries:
    """Random queries, each with its answer."""

    def __init__(self, seed: int) -> None:
        self.pick = random.Random(seed)
        self.numbers = itertools.count(1)

    def query(self) -> tuple[str, Counter[tuple[object, ...]]]:
        tree = self.tree(self.pick.choice([1, 1, 2, 2, 3]))
        where = [self.where(tree.aliases) for _ in range(self.pick.choice([0, 0, 1, 2]))]
        sql = f"SELECT {', '.join(f'{a}.id AS i{a}' for a in tree.aliases)} FROM {tree.sql}"
        if where:
            sql += " WHERE " + " AND ".join(text for text, _ in where)
        kept = (row for row in tree.rows if holds([test for _, test in where], row))
        return sql, Counter(tuple(value(row, a, "id") for a in tree.aliases) for row in kept)

    def tree(self, depth: int) -> Tree:
        if depth == 0 or self.pick.random() < 0.25:
            return self.leaf()
        left = self.tree(depth - 1)
        right = self.tree(depth - 1 if self.pick.random() < 0.3 else 0)
        side = self.pick.choice(["JOIN", "JOIN", "LEFT JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"])
        pair = [self.pick.choice(left.aliases), self.pick.choice(right.aliases)]
        self.pick.shuffle(pair)
        conditions = [self.match(*pair)]
        if self.pick.random() < 0.3:
            conditions.append(self.other(self.pick.choice(left.aliases), self.pick.choice(right.aliases)))
        if self.pick.random() < 0.15:
            conditions.append(self.match(self.pick.choice(left.aliases), self.pick.choice(right.aliases)))
        self.pick.shuffle(conditions)
        operand = f"({right.sql})" if len(right.aliases) > 1 else right.sql
        sql = f"{left.sql} {side} {operand} ON {' AND '.join(text for text, _ in conditions)}"
        rows = joined(left, right, side, [test for _, test in conditions])
        return Tree(sql, left.aliases + right.aliases, rows)

    def leaf(self) -> Tree:
        name = self.pick.choice(list(TABLES))
        alias = f"{name[0]}{next(self.numbers)}"
        if self.pick.random() < 0.2:
            rows: list[Row] = [{alias: row} for row in ROWS[name] if row["k"] < 5]
            return Tree(f"(SELECT * FROM {NAMES[name]} WHERE k < 5) AS {alias}", [alias], rows)
        return Tree(f"{NAMES[name]} AS {alias}", [alias], [{alias: row} for row in ROWS[name]])

    def match(self, x: str, y: str) -> tuple[str, Test]:
        r = 10 ** self.pick.uniform(-4, -0.3)
        forms = [
            f"DISTANCE(POINT({x}.ra, {x}.dec), POINT({y}.ra, {y}.dec)) < {r}",
            f"{r} > DISTANCE({y}.ra, {y}.dec, {x}.ra, {x}.dec)",
            f"DISTANCE({x}.ra, {x}.dec, {y}.ra, {y}.dec) BETWEEN 0 AND {r}",
            f"1 = CONTAINS(POINT({x}.ra, {x}.dec), CIRCLE({y}.ra, {y}.dec, {r}))",
            f"CONTAINS(POINT({y}.ra, {y}.dec), CIRCLE({x}.ra, {x}.dec, {r})) = 1",
            f"1 = INTERSECTS(CIRCLE({y}.ra, {y}.dec, {r}), POINT({x}.ra, {x}.dec))",
        ]
        kind = self.pick.randrange(9)
        if kind < 6:
            return forms[kind], lambda row: is_near(row, x, y, r)
        if kind == 6:
            text = f"1 = CONTAINS(POINT({x}.ra, {x}.dec), CIRCLE({y}.ra, {y}.dec, {y}.rad))"
            return text, lambda row: is_near(row, x, y, value(row, y, "rad"))
        if kind == 7:
            text = f"DISTANCE({x}.ra, {x}.dec, {y}.ra, {y}.dec) < {x}.rad / 2"
            return text, lambda row: is_near(row, x, y, None if (v := value(row, x, "rad")) is None else v / 2)

        def total(row: Row) -> float | None:
            first, second = value(row, x, "rad"), value(row, y, "rad")
            return None if first is None or second is None else first + second

        text = f"DISTANCE({x}.ra, {x}.dec, {y}.ra, {y}.dec) < {x}.rad + {y}.rad"
        return text, lambda row: is_near(row, x, y, total(row))

    def other(self, x: str, y: str) -> tuple[str, Test]:
        column, sign, test = self.pick.choice(
            [("k", "=", operator.eq), ("mag", "<", operator.lt), ("id", "<>", operator.ne)]
        )
        text = f"{x}.{column} {sign} {y}.{column}"
        return text, lambda row: compared(row, value(row, x, column), value(row, y, column), test)

    def where(self, aliases: list[str]) -> tuple[str, Test]:
        x, kind = self.pick.choice(aliases), self.pick.randrange(8)
        if kind < 3:
            return self.cone(x, self.pick.choice(aliases), kind)
        if kind == 3:
            return f"{x}.id IS NULL", lambda row: row[x] is None
        if kind in (4, 5) and len(aliases) > 1:
            y = self.pick.choice([a for a in aliases if a != x])
            return self.match(x, y) if kind == 4 else self.other(x, y)
        if kind == 6:
            return f"{x}.id = 7", lambda row: compared(row, value(row, x, "id"), 7, operator.eq)
        return f"{x}.dec > 0", lambda row: compared(row, value(row, x, "dec"), 0, operator.gt)

    def cone(self, x: str, y: str, kind: int) -> tuple[str, Test]:
        ra, dec, radius = self.pick.choice([(0, 0, 0.3), (10, 89.999, 0.2), (200, -89.99, 0.5), (45, 41.81, 0.4)])
        text = f"1 = CONTAINS(POINT({x}.ra, {x}.dec), CIRCLE({ra}, {dec}, {radius}))"
        centre = SkyCoord(ra * u.deg, dec * u.deg)
        known: dict[tuple[object, object], bool] = {}

        def inside(row: Row) -> bool | None:
            at = value(row, x, "ra"), value(row, x, "dec")
            if at[0] is None or at[1] is None:
                return None
            if at not in known:
                known[at] = bool(centre.separation(SkyCoord(at[0] * u.deg, at[1] * u.deg)).deg <= radius)
            return known[at]

        if kind == 0:
            return text, inside
        if kind == 1:
            return f"NOT ({text})", lambda row: None if (found := inside(row)) is None else not found
        return f"({text} OR {y}.id IS NULL)", lambda row: True if row[y] is None else inside(row)


def joined(left: Tree, right: Tree, side: str, tests: list[Test]) -> list[Row]:
    rows: list[Row] = []
    met: set[int] = set()
    for a in left.rows:
        partners = [(number, {**a, **b}) for number, b in enumerate(right.rows)]
        found = [(number, row) for number, row in partners if holds(tests, row)]
        met.update(number for number, _ in found)
        rows += [row for _, row in found]
        if not found and side in ("LEFT JOIN", "FULL JOIN"):
            rows.append({**a, **dict.fromkeys(right.aliases)})
        if len(rows) > MOST_ROWS:
            raise TooLarge
    if side in ("RIGHT JOIN", "FULL JOIN"):
        nobody = dict.fromkeys(left.aliases)
        rows += [{**nobody, **b} for number, b in enumerate(right.rows) if number not in met]
    return rows


@pytest.fixture(scope="module")
def asking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asking]:
    folder: Path = tmp_path_factory.mktemp("joins")
    archive = build_archive(
        folder,
        {
            "demo.stars": TableData(TABLES["stars"], choices=IngestChoices(id="id")),
            "demo.sources": TABLES["sources"],
            "demo.loose": TableData(TABLES["loose"], choices=IngestChoices(no_positions=True)),
        },
    )
    pq.write_table(TABLES["up"], folder / "up.parquet")
    snapshot = archive.snapshot().with_uploads({"up": upload_entry("up", folder / "up.parquet")})
    with small_engine(folder) as engine:
        yield Asking(engine, snapshot)


@pytest.mark.parametrize("seed", range(10))
def test_random_trees_of_joins_give_the_evaluators_rows(seed: int, asking: Asking) -> None:
    queries, told = Queries(seed), 0
    while told < TREES_A_TEST:
        try:
            sql, expected = queries.query()
        except TooLarge:
            continue
        told += 1
        found = Counter(asking.rows(sql))
        extra, missing = found - expected, expected - found
        assert not extra, f"{sql}\n{extra.total()} rows too many, such as {list(extra.items())[:3]}"
        assert not missing, f"{sql}\n{missing.total()} rows missing, such as {list(missing.items())[:3]}"


@pytest.mark.parametrize(
    "sql",
    [
        # A partner of a1 that the right side has lost: a1 comes once without it, not once for each.
        "SELECT a1.id AS i, l4.id AS j FROM demo.stars AS a1 FULL JOIN (demo.loose AS l3 RIGHT JOIN demo.loose AS l4 "
        "ON DISTANCE(l3.ra, l3.dec, l4.ra, l4.dec) < 0.0001) ON DISTANCE(l3.ra, l3.dec, a1.ra, a1.dec) < 0.5",
        # Rows that a match in WHERE repeats before a FULL JOIN numbers them.
        "SELECT l1.id AS i, b3.id AS j FROM demo.loose AS l1 FULL JOIN demo.sources AS b2 "
        "ON DISTANCE(l1.ra, l1.dec, b2.ra, b2.dec) < 0.001 RIGHT JOIN demo.sources AS b3 "
        "ON DISTANCE(b2.ra, b2.dec, b3.ra, b3.dec) < 0.1 WHERE DISTANCE(b2.ra, b2.dec, b3.ra, b3.dec) < 0.01",
        # A third table in the condition of a FULL JOIN.
        "SELECT a1.id AS i, l3.id AS j FROM demo.stars AS a1 JOIN demo.sources AS b2 ON a1.k = b2.k "
        "FULL JOIN demo.loose AS l3 ON DISTANCE(a1.ra, a1.dec, l3.ra, l3.dec) < 0.5 AND b2.mag < l3.mag",
    ],
)
def test_full_joins_by_position_have_the_rows_of_the_same_join_without_cells(sql: str, asking: Asking) -> None:
    """Added to zero, a distance is no match that the planner knows, and all pairs are tried."""
    slow = sql.replace("DISTANCE(", "0 + DISTANCE(")
    assert Counter(asking.rows(sql)) == Counter(asking.rows(slow))


def test_a_radius_that_is_not_a_number_matches_nothing_and_hides_no_other_row(asking: Asking) -> None:
    """In one row the radius is NaN, as the power of a negative number is; NaN is larger than all to DuckDB."""
    radius = "POWER(CASE WHEN b.id = 3 THEN -1.0 ELSE 0.01 END, 0.5)"
    source = f"(SELECT b.id, b.ra, b.dec, {radius} AS r FROM demo.sources AS b) AS s"
    sql = f"SELECT a.id, s.id AS j FROM demo.stars AS a JOIN {source} ON DISTANCE(a.ra, a.dec, s.ra, s.dec) < s.r"
    near = {(a["id"], b["id"]) for a in ROWS["stars"] for b in ROWS["sources"]
            if b["id"] != 3 and SEPARATIONS["stars", "sources"][a["id"], b["id"]] < 0.1}  # fmt: skip
    assert near
    assert set(asking.rows(sql)) == near
