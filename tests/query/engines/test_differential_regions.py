"""Random conditions on positions over awkward skies give astropy's and sphgeom's rows, on every way of answering."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from archive_fixture import TableData, build_archive
from engine_fixture import Asking, small_engine
from idac.catalogs.ingest import IngestChoices
from sky_oracles import CENTRES, Oracle, Verdict, awkward_sky, star_corners

ROWS = 7_000
QUERIES_A_TEST = 12
RADII = (0, 1e-7, 0.01, 0.1, 1, 5, 24.9, 25.1, 60, 89.9, 90, 91, 120, 179, 180)
#: Ways through the engine: straight from row groups, SQL over rows read ahead, over a table without positions that has
#: NULLs, through a sub-query, and SQL over files (the table is so wide that nothing is read ahead).
WAYS = {
    "direct": "SELECT x.id FROM demo.stars AS x WHERE ",
    "read ahead": "SELECT x.id FROM demo.stars AS x WHERE x.id + 0 >= 0 AND ",
    "plain": "SELECT x.id FROM demo.loose AS x WHERE ",
    "sub-query": "SELECT y.id FROM (SELECT id, ra, dec FROM demo.stars) AS x "
    "JOIN demo.stars AS y ON x.id = y.id WHERE ",
    "files": "SELECT x.* FROM demo.wide AS x WHERE ",
}


class Sky:
    """One sky as three tables, and its oracle."""

    def __init__(self, folder: Path) -> None:
        ra, dec = awkward_sky(ROWS, 1)
        self.oracle = Oracle(ra, dec)
        self.ids = np.arange(ROWS)
        stars = pa.table({"id": self.ids, "ra": ra, "dec": dec})
        wide = stars
        for number in range(45):
            wide = wide.append_column(f"t{number}", pa.nulls(ROWS, pa.string()))
        self.missing = np.random.default_rng(2).uniform(size=ROWS) < 0.03
        loose = pa.table({"id": self.ids, "ra": pa.array(ra, mask=self.missing), "dec": pa.array(dec)})
        by_id = IngestChoices(id="id")
        self.archive = build_archive(
            folder,
            {
                "demo.stars": TableData(stars, choices=by_id),
                "demo.wide": TableData(wide, choices=by_id),
                "demo.loose": TableData(loose, choices=IngestChoices(no_positions=True)),
            },
        )


@pytest.fixture(scope="module")
def sky(tmp_path_factory: pytest.TempPathFactory) -> Sky:
    return Sky(tmp_path_factory.mktemp("regions"))


@pytest.fixture(scope="module")
def asking(sky: Sky, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asking]:
    folder = Path(sky.archive.store.location).parent
    with small_engine(folder, memory_gib=0.5, interactive_places=8) as engine:
        yield Asking(engine, sky.archive.snapshot())


class Conditions:
    """Random conditions as ADQL, with the rows for which they hold."""

    def __init__(self, sky: Sky, seed: int) -> None:
        self.oracle, self.ids = sky.oracle, sky.ids
        self.pick, self.rng = random.Random(seed), np.random.default_rng(seed)

    def condition(self, depth: int) -> tuple[str, Verdict]:
        kind = self.pick.random()
        if depth and kind < 0.45:
            (left, a), (right, b) = self.condition(depth - 1), self.condition(depth - 1)
            return self.pick.choice([(f"({left} AND {right})", a & b), (f"({left} OR {right})", a | b)])
        if depth and kind < 0.6:
            text, verdict = self.condition(depth - 1)
            return f"NOT ({text})", ~verdict
        simple = [self.contained] * 5 + [self.near, self.ra_range, self.dec_bound, self.one_of_ids]
        return self.pick.choice(simple)()

    def contained(self) -> tuple[str, Verdict]:
        region, verdict = self.pick.choice(
            [self.circle, self.circle, self.polygon, self.polygon, self.box, self.span]
        )()
        text = self.pick.choice(
            [
                "1 = CONTAINS(POINT(x.ra, x.dec), {})",
                "CONTAINS(POINT('ICRS', x.ra, x.dec), {}) = 1",
                "1 = INTERSECTS({}, POINT(x.ra, x.dec))",
                "INTERSECTS(POINT(x.ra, x.dec), {}) > 0",
                "0 <> CONTAINS(POINT(x.ra, x.dec), {})",
                "CONTAINS(POINT(x.ra, x.dec), {}) BETWEEN 1 AND 2",
                "0 = CONTAINS(POINT(x.ra, x.dec), {})",
                "CONTAINS(POINT(x.ra, x.dec), {}) BETWEEN 0.5 AND 0.7",
            ]
        )
        if text.startswith("0 ="):
            verdict = ~verdict
        if text.endswith("0.7"):
            verdict = self.oracle.certain(np.zeros(ROWS, dtype=bool))
        return text.format(region), verdict

    def centre(self) -> tuple[float, float]:
        if self.pick.random() < 0.7:
            return self.pick.choice(CENTRES)
        return self.pick.uniform(0, 360), float(np.degrees(np.arcsin(self.pick.uniform(-1, 1))))

    def circle(self) -> tuple[str, Verdict]:
        (ra, dec), radius = self.centre(), self.pick.choice(RADII)
        forms = ["CIRCLE({0}, {1}, {2})", "CIRCLE(POINT({0}, {1}), {2})", "REGION('CIRCLE ICRS {0} {1} {2}')"]
        return self.pick.choice(forms).format(ra, dec, radius), self.oracle.circle(ra, dec, radius)

    def polygon(self) -> tuple[str, Verdict]:
        size = 10 ** self.pick.uniform(-3, 1.94)
        corners = star_corners(
            *self.centre(), size, self.pick.randint(3, 9), self.rng, concave=self.pick.random() < 0.5
        )
        numbers = ", ".join(f"{ra!r}, {dec!r}" for ra, dec in corners)
        points = ", ".join(f"POINT({ra!r}, {dec!r})" for ra, dec in corners)
        words = " ".join(f"{ra!r} {dec!r}" for ra, dec in corners)
        forms = [f"POLYGON({numbers})", f"POLYGON({points})", f"REGION('POLYGON ICRS {words}')"]
        return self.pick.choice(forms), self.oracle.polygon(corners)

    def box(self) -> tuple[str, Verdict]:
        ra, dec = self.centre()
        width, height = self.pick.choice([0.01, 0.5, 3, 20, 100, 179]), self.pick.choice([0.01, 0.5, 3, 20, 89])
        dec = max(-90 + height / 2, min(90 - height / 2, dec))
        return f"BOX({ra}, {dec}, {width}, {height})", self.oracle.box(ra, dec, width, height)

    def span(self) -> tuple[str, Verdict]:
        west, east = self.pick.uniform(0, 360), self.pick.uniform(0, 360)
        low, high = sorted([self.pick.uniform(-90, 90), self.pick.uniform(-90, 90)])
        text = f"REGION('RANGE ICRS {west} {east} {low} {high}')"
        return text, self.oracle.coordinate_range(west, east, low, high)

    def near(self) -> tuple[str, Verdict]:
        (ra, dec), radius = self.centre(), self.pick.choice([0.01, 0.3, 5, 40, 95, 179.5])
        forms = [
            f"DISTANCE(POINT(x.ra, x.dec), POINT({ra}, {dec})) < {radius}",
            f"{radius} >= DISTANCE({ra}, {dec}, x.ra, x.dec)",
            f"DISTANCE(x.ra, x.dec, {ra}, {dec}) BETWEEN 0 AND {radius}",
        ]
        return self.pick.choice(forms), self.oracle.circle(ra, dec, radius)

    def ra_range(self) -> tuple[str, Verdict]:
        low, high = sorted([self.pick.uniform(-10, 370), self.pick.uniform(-10, 370)])
        ra = self.oracle.ra
        return f"x.ra BETWEEN {low} AND {high}", self.oracle.certain((ra >= low) & (ra <= high))

    def dec_bound(self) -> tuple[str, Verdict]:
        value = self.pick.choice([-95, -90, -30, 0, 41.810314895778596, 89.5, 90, self.pick.uniform(-90, 90)])
        dec, sign = self.oracle.dec, self.pick.choice(["<", "<=", ">", ">="])
        inside = {"<": dec < value, "<=": dec <= value, ">": dec > value, ">=": dec >= value}[sign]
        return f"x.dec {sign} {value!r}", self.oracle.certain(inside)

    def one_of_ids(self) -> tuple[str, Verdict]:
        chosen = self.pick.sample(range(ROWS), self.pick.randint(1, 5))
        return f"x.id IN ({', '.join(map(str, chosen))})", self.oracle.certain(np.isin(self.ids, chosen))


@pytest.mark.parametrize("seed", range(10))
def test_random_conditions_hold_for_the_oracles_rows_on_every_way(seed: int, sky: Sky, asking: Asking) -> None:
    conditions = Conditions(sky, seed)
    for number in range(QUERIES_A_TEST):
        text, verdict = conditions.condition(conditions.pick.choice([0, 0, 1, 2, 3]))
        for way, select in WAYS.items():
            if way == "files" and number % 4:
                continue
            found = asking.ask(select + text)["id"].to_numpy()
            told = np.zeros(ROWS, dtype=bool)
            told[found] = True
            # A row without a position is in no region, nor outside of one; what its id or declination says still holds.
            look = verdict.sharp & ~sky.missing if way == "plain" else verdict.sharp
            wrong = np.flatnonzero((told != verdict.inside) & look)
            case = f"{way}: {text}"
            assert len(found) == told.sum(), f"{case}: a row comes twice"
            places = list(zip(sky.oracle.ra[wrong[:3]], sky.oracle.dec[wrong[:3]], told[wrong[:3]], strict=True))
            assert not len(wrong), f"{case}: {len(wrong)} rows are wrong, such as (ra, dec, told) {places}"


@pytest.mark.parametrize(
    "condition",
    [
        "1 = CONTAINS(POINT(ra, dec), CIRCLE(0, 0, 90))",
        "0 = CONTAINS(POINT(ra, dec), CIRCLE(0, 0, 90))",
        "0 = CONTAINS(POINT(ra, dec), CIRCLE(0, 0, 95))",
        "0 = CONTAINS(POINT(ra, dec), POLYGON(0, 0, 10, 0, 5, 8))",
        "0 = CONTAINS(POINT(ra, dec), POLYGON(0, 0, 10, 0, 5, 2, 5, 8))",
        "NOT (1 = CONTAINS(POINT(ra, dec), REGION('RANGE ICRS 0 10 0 10')))",
        "DISTANCE(ra, dec, 0, 0) > 1",
        "DISTANCE(ra, dec, 0, 0) < 170",
        "NOT (DISTANCE(ra, dec, 0, 0) < 1)",
        "NOT (ra BETWEEN 10 AND 20)",
    ],
)
def test_a_row_without_a_position_is_neither_inside_nor_outside(condition: str, sky: Sky, asking: Asking) -> None:
    found = asking.ask(f"SELECT id FROM demo.loose WHERE {condition}")["id"].to_numpy()
    assert len(found) > 0
    assert not sky.missing[found].any()


def test_positions_exactly_on_the_edge_belong_to_the_region(asking: Asking, sky: Sky) -> None:
    """An octant whose sides are meridians and the equator, on which stars lie to the bit, and cells end."""
    ra, dec = sky.oracle.ra, sky.oracle.dec
    found = asking.ask("SELECT id FROM demo.stars WHERE 1 = CONTAINS(POINT(ra, dec), POLYGON(0, 0, 90, 0, 0, 90))")
    told = np.isin(sky.ids, found["id"].to_numpy())
    on_side = ((ra == 0) & (dec >= 0)) | ((dec == 0) & (ra <= 90))
    assert on_side.sum() > 6
    assert told[on_side].all()
    found = asking.ask("SELECT id FROM demo.stars WHERE ra BETWEEN 45 AND 90 AND dec BETWEEN 0 AND 30")
    assert set(found["id"].to_pylist()) == set(sky.ids[(ra >= 45) & (ra <= 90) & (dec >= 0) & (dec <= 30)].tolist())


@pytest.mark.parametrize(
    ("corners", "inside", "outside"),
    [
        # Many corners at one end: their mean is more than 90 degrees from the far ones, yet all fit in a hemisphere.
        (", ".join(["0, 0", *(f"{i / 10}, -1" for i in range(60)), "100, -2, 100, 2, 6, 1"]), "(60, 0)", "(355, 0)"),
        # Three degenerate ones: a corner named twice, a line, and one that comes back the way it went.
        ("0, -1, 0, -1, 1, 0, 1, 0, 0, 1, 359, 0", "(0.2, 0.1)", "(2, 0)"),
        ("10, 0, 11, 0, 12, 0", "(11, 0)", "(11, 0.001)"),
        ("0, 89, 90, 89, 180, 89, 270, 89", "(45, 89.9)", "(45, 88.9)"),
        ("0, 0, 0, 89.99, 179, 0", "(89, 30)", "(89, -1)"),
    ],
)
def test_polygons_of_awkward_shapes_hold_their_inside(corners: str, inside: str, outside: str, asking: Asking) -> None:
    for place, expected in ((inside, 1), (outside, 0)):
        text = f"CONTAINS(POINT{place}, POLYGON({corners}))"
        assert asking.value(f"SELECT TOP 1 {text} AS c FROM demo.stars") == expected, text
