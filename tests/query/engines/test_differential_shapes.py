"""Columns of regions, relations of all pairs of shapes, and measures, against astropy, sphgeom and closed forms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import astropy.units as u
import numpy as np
import pyarrow as pa
import pytest
from astropy.coordinates import SkyCoord
from lsst.sphgeom import WITHIN, Angle, Circle, ConvexPolygon, UnitVector3d

from archive_fixture import TableData, build_archive
from engine_fixture import Asking, small_engine
from idac.catalogs.ingest import IngestChoices
from idac.core.errors import BadQuery
from idac.tables.model import CIRCLE, DOUBLE, LONG, POINT, POLYGON, REGION, STRING, Column
from sky_oracles import CENTRES, Corners, Oracle, Verdict, awkward_sky, offset, unit_vector, vectors

ROWS, FIELDS = 3_000, 90
NO_REGION = {7: None, 8: "rubbish", 9: "CIRCLE ICRS 10 95 1"}


@dataclass(frozen=True)
class Field:
    """A circle, and a convex polygon whose corners lie a little inside it."""

    ra: float
    dec: float
    size: float
    corners: Corners

    @property
    def numbers(self) -> list[float]:
        return [value for corner in self.corners for value in corner]


def make_fields() -> list[Field]:
    rng = np.random.default_rng(5)
    fields = []
    for number in range(FIELDS):
        ra, dec = CENTRES[number % len(CENTRES)]
        place = offset(ra, dec, rng.uniform(0, 360), rng.uniform(0, 1.5))
        size = 10 ** rng.uniform(-1, 1.3)
        angles = np.sort(rng.uniform(0, 360, rng.integers(3, 8)))[:: rng.choice([-1, 1])]
        x, y = offset(float(place[0]), float(place[1]), angles, np.full(len(angles), 0.9 * size))
        corners = list(zip(x.tolist(), y.tolist(), strict=True))
        fields.append(Field(float(place[0]), float(place[1]), size, corners))
    return fields


class World:
    def __init__(self, folder: Path) -> None:
        self.fields = make_fields()
        self.oracle = Oracle(*awkward_sky(ROWS, 4))
        stars = pa.table({"id": np.arange(ROWS), "ra": self.oracle.ra, "dec": self.oracle.dec})
        self.is_circle = [number % 3 == 0 for number in range(FIELDS)]
        self.texts = [NO_REGION.get(n, self.text(n, f)) for n, f in enumerate(self.fields)]
        shapes = pa.table(
            {
                "fid": np.arange(FIELDS),
                "s_region": self.texts,
                "words": self.texts,
                "shape": pa.array([None if n == 3 else f.numbers for n, f in enumerate(self.fields)]),
                "disc": pa.array(
                    [None if n == 4 else [f.ra, f.dec, f.size] for n, f in enumerate(self.fields)],
                    pa.list_(pa.float64(), 3),
                ),
                "spot": pa.array([[f.ra, f.dec] for f in self.fields], pa.list_(pa.float64(), 2)),
                "fra": [f.ra for f in self.fields],
                "fdec": [f.dec for f in self.fields],
                "wide": [f.size for f in self.fields],
            }
        )
        types = (LONG, REGION, STRING, POLYGON, CIRCLE, POINT, DOUBLE, DOUBLE, DOUBLE)
        columns = tuple(Column(name, kind) for name, kind in zip(shapes.column_names, types, strict=True))
        plain = IngestChoices(no_positions=True)
        self.archive = build_archive(
            folder, {"demo.stars": stars, "demo.fields": TableData(shapes, columns=columns, choices=plain)}
        )

    def text(self, number: int, field: Field) -> str:
        if self.is_circle[number]:
            return f"CIRCLE ICRS {field.ra!r} {field.dec!r} {field.size!r}"
        numbers = " ".join(map(repr, field.numbers))
        return f"POLYGON ICRS {numbers}" if number % 3 == 1 else f"polygon {numbers}"

    def verdict(self, column: str, number: int) -> Verdict | None:
        """Stars in a field's region, None for a field without one."""
        field = self.fields[number]
        round_ = column in ("disc", "round") or (column in ("s_region", "words") and self.is_circle[number])
        missing = {"s_region": set(NO_REGION), "words": set(NO_REGION), "shape": {3}, "disc": {4}}
        if number in missing.get(column, ()):
            return None
        return self.oracle.circle(field.ra, field.dec, field.size) if round_ else self.oracle.polygon(field.corners)

    def pairs(self, column: str) -> set[tuple[int, int]]:
        found = set()
        for number in range(FIELDS):
            verdict = self.verdict(column, number)
            if verdict is not None:
                assert verdict.sharp.mean() > 0.98
                found |= {(int(star), number) for star in np.flatnonzero(verdict.inside)}
        return found


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("shapes"))


@pytest.fixture(scope="module")
def asking(world: World) -> Iterator[Asking]:
    with small_engine(Path(world.archive.store.location).parent) as engine:
        yield Asking(engine, world.archive.snapshot())


REGIONS = {
    "s_region": "f.s_region",
    "words": "f.words",
    "shape": "f.shape",
    "disc": "f.disc",
    "round": "CIRCLE(f.fra, f.fdec, f.wide)",
}


@pytest.mark.parametrize("column", REGIONS)
def test_stars_in_regions_that_are_columns_are_the_oracles(column: str, world: World, asking: Asking) -> None:
    expected, region = world.pairs(column), REGIONS[column]
    inside = Counter(expected)
    for tables in (
        f"demo.stars AS s JOIN demo.fields AS f ON 1 = CONTAINS(POINT(s.ra, s.dec), {region})",
        f"demo.fields AS f, demo.stars AS s WHERE INTERSECTS({region}, POINT(s.ra, s.dec)) > 0",
        f"demo.stars AS s, demo.fields AS f WHERE CONTAINS(POINT(s.ra, s.dec), {region}) + 0 = 1",
    ):
        assert Counter(asking.rows(f"SELECT s.id, f.fid FROM {tables}")) == inside, tables
    lonely = {(None, n) for n in range(FIELDS)} - {(None, n) for _, n in expected}
    left = f"demo.fields AS f LEFT JOIN demo.stars AS s ON 1 = CONTAINS(POINT(s.ra, s.dec), {region})"
    assert Counter(asking.rows(f"SELECT s.id, f.fid FROM {left}")) == inside + Counter(lonely)
    outside = {(star, None) for star in range(ROWS)} - {(star, None) for star, _ in expected}
    left = f"demo.stars AS s LEFT JOIN demo.fields AS f ON 1 = CONTAINS(POINT(s.ra, s.dec), {region})"
    assert Counter(asking.rows(f"SELECT s.id, f.fid FROM {left}")) == inside + Counter(outside)
    by_star = asking.column(
        f"SELECT f.fid FROM demo.fields AS f WHERE EXISTS (SELECT s.id FROM demo.stars AS s "
        f"WHERE 1 = CONTAINS(POINT(s.ra, s.dec), {region}))"
    )
    assert sorted(by_star) == sorted({n for _, n in expected})  # type: ignore[type-var]


@pytest.mark.parametrize("column", REGIONS)
def test_fields_that_hold_a_place_are_found(column: str, world: World, asking: Asking) -> None:
    expected = world.pairs(column)
    for star in (0, 45, 1600, 2000, 2500, 2999):
        place = f"POINT({float(world.oracle.ra[star])!r}, {float(world.oracle.dec[star])!r})"
        found = asking.column(f"SELECT f.fid FROM demo.fields AS f WHERE 1 = CONTAINS({place}, {REGIONS[column]})")
        assert set(found) == {n for s, n in expected if s == star}, place


def solid(world: World, kind: str, number: int) -> Circle | ConvexPolygon:
    field = world.fields[number]
    if kind == "disc":
        return Circle(unit_vector(field.ra, field.dec), Angle.fromDegrees(field.size))
    return ConvexPolygon([UnitVector3d(*v) for v in vectors(*np.array(field.corners).T)])


@pytest.mark.parametrize("first", ["disc", "shape"])
@pytest.mark.parametrize("second", ["disc", "shape"])
def test_relations_of_all_pairs_of_shapes_are_sphgeoms(first: str, second: str, world: World, asking: Asking) -> None:
    """CONTAINS(a, b) is 1 where a lies inside b."""
    size = 45
    missing = {"disc": 4, "shape": 3}
    solids = {kind: [solid(world, kind, n) for n in range(size)] for kind in {first, second}}
    numbers = [(a, b) for a in range(size) for b in range(size) if a != missing[first] and b != missing[second]]
    overlap = {(a, b) for a, b in numbers if solids[first][a].overlaps(solids[second][b]) is True}
    unknown = {(a, b) for a, b in numbers if solids[first][a].overlaps(solids[second][b]) is None}
    # A shape lies in itself, but corners on a circle's rim may round to either side.
    within = {(a, b) for a, b in numbers if solids[first][a].relate(solids[second][b]) & WITHIN}
    assert len(unknown) <= 5
    tables = f"demo.fields AS a, demo.fields AS b WHERE a.fid < {size} AND b.fid < {size}"
    found = set(asking.rows(f"SELECT a.fid, b.fid AS g FROM {tables} AND 1 = INTERSECTS(a.{first}, b.{second})"))
    assert found - unknown == overlap - unknown
    found = set(asking.rows(f"SELECT a.fid, b.fid AS g FROM {tables} AND 1 = CONTAINS(a.{first}, b.{second})"))
    assert found == within
    none = asking.rows(f"SELECT a.fid FROM {tables} AND CONTAINS(a.{first}, b.{second}) IS NULL")
    assert len(none) == size * size - len(numbers)


@pytest.mark.parametrize(
    ("first", "second", "overlap", "inside"),
    [
        ("CIRCLE(0, 90, 1)", "CIRCLE(180, 88, 1.5)", 1, 0),
        ("CIRCLE(359.5, 0, 1)", "BOX(0.2, 0, 4, 4)", 1, 1),
        ("CIRCLE(0, 0, 1)", "CIRCLE(180, 0, 178)", 0, 0),
        ("CIRCLE(0, 0, 2.1)", "CIRCLE(180, 0, 178)", 1, 0),
        ("CIRCLE(0, 0, 80)", "CIRCLE(10, 0, 91)", 1, 1),
        # A cross: no corner of either lies in the other.
        ("BOX(10, 0, 4, 1)", "BOX(10, 0, 1, 4)", 1, 0),
        ("BOX(10, 0, 4, 1)", "BOX(190, 0, 1, 4)", 0, 0),
        # A notch of the second holds the first, whose corners it has round it on three sides.
        ("BOX(5, 3, 1, 1)", "POLYGON(0, 0, 10, 0, 10, 5, 6, 5, 6, 1, 4, 1, 4, 5, 0, 5)", 0, 0),
        ("BOX(5, 0.5, 1, 0.5)", "POLYGON(0, 0, 10, 0, 10, 5, 6, 5, 6, 1, 4, 1, 4, 5, 0, 5)", 1, 1),
        # All corners of the first lie in the second, and the notch between them does not.
        ("POLYGON(1, 1, 9, 1, 9, 4, 1, 4)", "POLYGON(0, 0, 10, 0, 10, 5, 6, 5, 6, 2, 4, 2, 4, 5, 0, 5)", 1, 0),
        ("POLYGON(0, 85, 120, 85, 240, 85)", "CIRCLE(0, 90, 6)", 1, 1),
        ("REGION('RANGE ICRS 350 10 -5 5')", "CIRCLE(0, 0, 15)", 1, 1),
        ("CIRCLE(355, 0, 1)", "REGION('RANGE ICRS 350 10 -5 5')", 1, 1),
        ("REGION('UNION ICRS ( CIRCLE 0 0 1 CIRCLE 20 0 1 )')", "CIRCLE(10, 0, 12)", 1, 1),
        ("REGION('UNION ICRS ( CIRCLE 0 0 1 CIRCLE 20 0 1 )')", "CIRCLE(10, 0, 5)", 0, 0),
    ],
)
def test_relations_of_shapes_that_are_written_out(
    first: str, second: str, overlap: int, inside: int, asking: Asking
) -> None:
    query = (
        "SELECT TOP 1 INTERSECTS({0}, {1}) AS a, INTERSECTS({1}, {0}) AS b, CONTAINS({0}, {1}) AS c FROM demo.fields"
    )
    assert asking.rows(query.format(first, second)) == [(overlap, overlap, inside)]


def test_a_box_over_a_pole_is_refused(asking: Asking) -> None:
    with pytest.raises(BadQuery) as refused:
        asking.compile("SELECT BOX(180, -89.5, 20, 2) AS b FROM demo.fields")
    assert str(refused.value) == (
        "line 1, column 28: A box can't reach over a pole. Given: declinations -90.5 to -88.5. "
        "Allowed: -90 to 90 degrees. Use CIRCLE there, or a condition on the declination, such as dec > 89."
    )


@pytest.mark.parametrize(
    "shape", ["CIRCLE({ra}, {dec}, -1 - fid)", "CIRCLE({ra}, {dec}, 181 + fid)", "POINT({ra}, 91 + fid)"]
)
def test_a_shape_that_its_numbers_do_not_make_is_null(shape: str, asking: Asking) -> None:
    query = f"SELECT TOP 1 {shape.format(ra='10', dec='5')} AS s FROM demo.fields WHERE fid >= 0"
    assert asking.rows(query) == [(None,)]


@pytest.mark.parametrize(
    ("box", "at", "text"),
    [
        (
            "BOX(180, 0, 200, 20)",
            20,
            "The width of a box is out of range. Given: 200. Allowed: 0 to less than 180 degrees",
        ),
        ("BOX(180, 0, 20, 181)", 24, "The height of a box is out of range. Given: 181. Allowed: 0 to 180 degrees"),
    ],
)
def test_a_box_that_its_sides_do_not_enclose_is_refused(box: str, at: int, text: str, asking: Asking) -> None:
    with pytest.raises(BadQuery) as refused:
        asking.compile(f"SELECT {box} AS b FROM demo.fields")
    assert str(refused.value) == (
        f"line 1, column {at}: {text}. "
        "The sides of a box are great circles. Write a condition on each coordinate instead."
    )


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("AREA(CIRCLE(10, 20, 90))", 2 * np.pi * np.degrees(1) ** 2),
        ("AREA(CIRCLE(10, 20, 0.001))", np.pi * 1e-6),
        ("AREA(POLYGON(0, 0, 90, 0, 0, 90))", np.pi / 2 * np.degrees(1) ** 2),
        ("AREA(POLYGON(0, 90, 90, 0, 0, 0))", np.pi / 2 * np.degrees(1) ** 2),
        ("AREA(POLYGON(10, 0, 11, 0, 12, 0))", 0),
        ("AREA(REGION('RANGE ICRS 0 90 0 30'))", np.pi / 2 * 0.5 * np.degrees(1) ** 2),
        ("AREA(POINT(1, 2))", 0),
        ("COORD1(CENTROID(CIRCLE(123.5, -45, 3)))", 123.5),
        ("COORD2(CENTROID(POLYGON(0, 80, 90, 80, 180, 80, 270, 80)))", 90),
        ("COORD1(CENTROID(BOX(359.5, 0, 2, 2)))", 359.5),
        ("COORD1(POINT(12.5, -3))", 12.5),
        ("COORD2(POINT('ICRS', 12.5, -3))", -3),
        ("DISTANCE(POINT(0, 90), POINT(123, -90))", 180),
        ("DISTANCE(10, 0, 190, 1e-7)", 180 - 1e-7),
        ("DISTANCE(359.9999999, 0, 0.0000001, 0)", 2e-7),
    ],
)
def test_measures_are_those_of_closed_forms(expression: str, expected: float, asking: Asking) -> None:
    assert asking.value(f"SELECT TOP 1 {expression} AS v FROM demo.fields") == pytest.approx(
        expected, rel=1e-6, abs=1e-9
    )


def test_measures_of_columns_row_by_row(world: World, asking: Asking) -> None:
    rows = asking.rows(
        "SELECT fid, AREA(disc) AS a, COORD1(spot) AS x, COORD2(CENTROID(disc)) AS y, AREA(s_region) AS r, "
        "DISTANCE(spot, POINT(20, 30)) AS d, COORD1(CENTROID(shape)) AS m, COORD2(CENTROID(shape)) AS n "
        "FROM demo.fields"
    )
    assert len(rows) == FIELDS
    for number, area, x, y, own, distance, m, n in rows:
        field = world.fields[number]  # type: ignore[index]
        cap = 2 * np.pi * (1 - np.cos(np.radians(field.size))) * np.degrees(1) ** 2
        assert (area, y) == ((None, None) if number == 4 else (pytest.approx(cap, rel=1e-6), field.dec))
        assert x == field.ra
        centre = SkyCoord(field.ra * u.deg, field.dec * u.deg)
        assert distance == pytest.approx(centre.separation(SkyCoord(20 * u.deg, 30 * u.deg)).deg, abs=1e-10)
        if number in NO_REGION:
            assert own is None
        elif world.is_circle[number]:  # type: ignore[index]
            assert own == pytest.approx(cap, rel=1e-6)
        else:
            assert 0 < own < cap  # type: ignore[operator]
        # The middle of a convex polygon lies in it.
        inside = number == 3 or solid(world, "shape", number).contains(unit_vector(m, n))  # type: ignore[arg-type]
        assert inside
