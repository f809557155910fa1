"""Regions hold what astropy and closed forms say they hold, over the poles, RA 0 and the antipodes."""

from __future__ import annotations

import astropy.units as u
import cdshealpix.nested as nested
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mocpy import MOC

from idac.core.errors import BadParameter
from idac.sky.healpix import MAX_ORDER, cells_near, healpix29, healpix_center, healpix_index, order_for_radius
from idac.sky.regions import CellUnion, Circle, Polygon, Range, Region, Union, box_polygon
from idac.sky.relations import holds, intersects
from idac.sky.vectors import Floats, middle_of_cap, separation_deg, unit_vectors

SKY_DEG2 = 4 * np.pi * np.degrees(1) ** 2
ras = st.one_of(st.sampled_from([0.0, 45.0, 90.0, 180.0, 359.999999, 360.0]), st.floats(0, 360))
decs = st.one_of(st.sampled_from([-90.0, -89.9999, 0.0, 41.8103149, 89.9999, 90.0]), st.floats(-90, 90))
radii = st.one_of(st.sampled_from([0.0, 1e-8, 90.0, 147.4, 179.0, 180.0]), st.floats(-6, 2).map(lambda x: 10**x))
seeds = st.integers(0, 2**32 - 1)


def around(ra: float, dec: float, radius_deg: float, n: int, seed: int) -> tuple[Floats, Floats]:
    """Positions within and somewhat beyond a circle."""
    rng = np.random.default_rng(seed)
    reach = np.minimum(180.0, max(radius_deg, 1e-9) * np.sqrt(rng.uniform(0, 1.5, n)))
    found = SkyCoord(ra * u.deg, dec * u.deg).directional_offset_by(rng.uniform(0, 360, n) * u.deg, reach * u.deg)
    return found.ra.deg, found.dec.deg


def star_polygon(ra: float, dec: float, size_deg: float, corners: int, seed: int, *, concave: bool) -> Polygon:
    """Corners at growing position angles round a point, so that the line never crosses itself."""
    rng = np.random.default_rng(seed)
    angle = (np.arange(corners) + rng.uniform(0, 0.8, corners)) * 360 / corners
    reach = size_deg * (rng.uniform(0.3, 1, corners) if concave else np.ones(corners))
    found = SkyCoord(ra * u.deg, dec * u.deg).directional_offset_by(angle * u.deg, reach * u.deg)
    return Polygon(found.ra.deg, found.dec.deg)


def covered(ranges: np.ndarray, ra: Floats, dec: Floats) -> np.ndarray:
    cell = healpix29(ra, dec)
    place = np.searchsorted(ranges[:, 0], cell, side="right") - 1
    return (place >= 0) & (cell < ranges[np.maximum(place, 0), 1])


def assert_well_formed(ranges: np.ndarray, most: int) -> None:
    assert ranges.dtype == np.int64
    assert 1 <= len(ranges) <= most
    assert (ranges[:, 0] < ranges[:, 1]).all()
    assert (ranges[1:, 0] > ranges[:-1, 1]).all()
    assert ranges[0, 0] >= 0
    assert ranges[-1, 1] <= 12 << (2 * MAX_ORDER)


@given(ras, decs, radii, seeds)
@example(90.0, -4.461770197555927, 147.40195299601064, 1)
def test_circle_contains_what_is_nearer_than_its_radius(ra: float, dec: float, radius: float, seed: int) -> None:
    point_ra, point_dec = around(ra, dec, radius, 200, seed)
    distance = SkyCoord(ra * u.deg, dec * u.deg).separation(SkyCoord(point_ra * u.deg, point_dec * u.deg)).deg
    sharp = np.abs(distance - radius) > 1e-9 * max(1.0, 1 / max(np.cos(np.radians(radius / 2)), 1e-4))
    assert (Circle(ra, dec, radius).contains(point_ra, point_dec) == (distance <= radius))[sharp].all()


@given(ras, decs, radii, st.sampled_from([1, 4, 16, 100]), seeds)
def test_cover_of_a_circle_holds_all_of_it(ra: float, dec: float, radius: float, most: int, seed: int) -> None:
    circle = Circle(ra, dec, radius)
    ranges = circle.cover(most)
    assert_well_formed(ranges, most)
    point_ra, point_dec = around(ra, dec, radius, 200, seed)
    inside = circle.contains(point_ra, point_dec)
    assert covered(ranges, point_ra[inside], point_dec[inside]).all()


@pytest.mark.parametrize("radius_deg", [1 / 3600, 1 / 60, 0.1, 1.0, 10.0])
def test_cover_of_a_circle_is_tight(radius_deg: float) -> None:
    rng = np.random.default_rng(4)
    areas = []
    for _ in range(50):
        circle = Circle(rng.uniform(0, 360), np.degrees(np.arcsin(rng.uniform(-1, 1))), radius_deg)
        areas.append(CellUnion(circle.cover(16)).area_deg2() / circle.area_deg2())
    assert np.median(areas) < 3.0


@given(ras, decs, st.floats(-4, 1.6).map(lambda x: 10**x), st.integers(3, 9), st.booleans(), st.integers(1, 16), seeds)
@settings(deadline=None)
def test_cover_of_a_polygon_holds_all_of_it(
    ra: float, dec: float, size: float, corners: int, concave: bool, most: int, seed: int
) -> None:
    polygon = star_polygon(ra, dec, size, corners, seed, concave=concave)
    ranges = polygon.cover(most)
    assert_well_formed(ranges, most)
    point_ra, point_dec = around(ra, dec, size, 200, seed)
    inside = polygon.contains(point_ra, point_dec)
    assert covered(ranges, point_ra[inside], point_dec[inside]).all()


@given(ras, decs, st.floats(-3, 1.5).map(lambda x: 10**x), st.integers(3, 8), seeds)
@settings(deadline=None)
def test_polygon_contains_by_winding_of_its_corners_seen_from_the_point(
    ra: float, dec: float, size: float, corners: int, seed: int
) -> None:
    """From inside, the corners go once round (position angles sum to 360 degrees); from outside, not at all."""
    polygon = star_polygon(ra, dec, size, corners, seed, concave=True)
    point_ra, point_dec = around(ra, dec, size, 60, seed + 1)
    points = SkyCoord(point_ra * u.deg, point_dec * u.deg)
    angles = np.array(
        [
            points.position_angle(SkyCoord(a * u.deg, d * u.deg)).rad
            for a, d in zip(polygon.ra_deg, polygon.dec_deg, strict=True)
        ]
    )
    turns = np.angle(np.exp(1j * (np.roll(angles, -1, axis=0) - angles))).sum(axis=0) / (2 * np.pi)
    assert (polygon.contains(point_ra, point_dec) == (np.abs(turns) > 0.5)).all()


@pytest.mark.parametrize(
    ("region", "area"),
    [
        (Circle(0, 0, 180), SKY_DEG2),
        (Circle(10, 80, 90), SKY_DEG2 / 2),
        (Circle(1, 2, 1 / 3600), np.pi / 3600**2),
        (Polygon(np.array([0, 90, 0.0]), np.array([0, 0, 90.0])), SKY_DEG2 / 8),
        (Polygon(np.array([0, 0, 90.0]), np.array([0, 90, 0.0])), SKY_DEG2 / 8),
        (Range(350, 10, -30, 30), SKY_DEG2 * 20 / 360 / 2),
        (Range(0, 360, -90, 90), SKY_DEG2),
        (box_polygon(0, 0, 1e-3, 1e-3), 1e-6),
        (CellUnion(np.array([[0, 1 << (2 * MAX_ORDER)]])), SKY_DEG2 / 12),
        (Polygon(np.array([1, 2, 3.0]), np.array([0, 0, 0.0])), 0.0),
    ],
)
def test_areas_are_those_of_closed_forms(region: Region, area: float) -> None:
    assert region.area_deg2() == pytest.approx(area, rel=1e-6, abs=1e-12)


# With four corners or more, no two neighbours are half a turn apart, so the centre lies inside.
@given(ras, decs, st.floats(-2, 1).map(lambda x: 10**x), st.integers(4, 8), seeds)
@settings(deadline=None, max_examples=30)
def test_area_of_a_polygon_is_the_sum_of_its_triangles(
    ra: float, dec: float, size: float, corners: int, seed: int
) -> None:
    polygon = star_polygon(ra, dec, size, corners, seed, concave=True)
    total = 0.0
    for i in range(corners):
        j = (i + 1) % corners
        triangle = Polygon(np.array([ra, polygon.ra_deg[i], polygon.ra_deg[j]]),
                           np.array([dec, polygon.dec_deg[i], polygon.dec_deg[j]]))  # fmt: skip
        total += triangle.area_deg2()
    assert polygon.area_deg2() == pytest.approx(total, rel=1e-6, abs=1e-10)


@pytest.mark.parametrize(
    ("region", "centre"),
    [
        (Circle(12, -3, 5), (12, -3)),
        (Polygon(np.array([0, 10, 10, 0.0]), np.array([-5, -5, 5, 5.0])), (5, 0)),
        (Polygon(np.array([0, 90, 180, 270.0]), np.array([80, 80, 80, 80.0])), (None, 90)),
        (box_polygon(359, 10, 4, 4), (359, 10.002)),
        (Range(350, 10, -10, 10), (0, 0)),
        (Union((Circle(10, 0, 1), Circle(20, 0, 1))), (15, 0)),
    ],
)
def test_centroids_are_in_the_middle(region: Region, centre: tuple[float | None, float]) -> None:
    ra, dec = region.centroid()
    assert dec == pytest.approx(centre[1], abs=1e-2)
    if centre[0] is not None:
        assert (ra - centre[0] + 180) % 360 - 180 == pytest.approx(0, abs=1e-6)


def test_a_box_has_its_corners_half_its_size_from_the_centre() -> None:
    box = box_polygon(25.4, -20.0, 10, 10)
    corners = sorted(zip(box.ra_deg.round(12).tolist(), box.dec_deg.round(12).tolist(), strict=True))
    assert corners == [(20.4, -25), (20.4, -15), (30.4, -25), (30.4, -15)]


@pytest.mark.parametrize("width", [180, 200, 360, np.nan])
def test_boxes_whose_sides_would_go_round_the_other_way_are_refused(width: float) -> None:
    with pytest.raises(BadParameter) as refused:
        box_polygon(180, 0, width, 20)
    assert str(refused.value) == (
        f"A box is too wide. Given: {width:g}. Allowed: less than 180 degrees, since its sides are great circles. "
        "Write a condition on each coordinate instead, such as ra BETWEEN 10 AND 300."
    )


@pytest.mark.parametrize(("dec", "low", "high"), [(90, "89", "91"), (-89.5, "-90.5", "-88.5")])
def test_a_box_over_a_pole_is_refused(dec: float, low: str, high: str) -> None:
    with pytest.raises(BadParameter) as refused:
        box_polygon(0, dec, 2, 2)
    assert str(refused.value) == (
        f"A box can't reach over a pole. Given: declinations {low} to {high}. Allowed: -90 to 90 degrees. "
        "Use CIRCLE there, or a condition on the declination, such as dec > 89."
    )


@given(ras, decs, st.floats(1, 89), st.integers(3, 40), seeds)
@settings(deadline=None)
def test_the_smallest_cap_is_no_larger_than_any_other(ra: float, dec: float, size: float, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    point_ra, point_dec = around(ra, dec, size / 1.25, n, seed)
    points = unit_vectors(point_ra, point_dec)
    middle = middle_of_cap(points)
    depth = (points @ middle).min()
    assert depth >= (points @ unit_vectors(ra, dec)).min() - 1e-12
    others = middle + rng.normal(size=(100, 3)) * 10 ** rng.uniform(-5, 0, (100, 1))
    others /= np.linalg.norm(others, axis=1, keepdims=True)
    assert (points @ others.T).min(axis=0).max() <= depth + 1e-12


def test_a_polygon_with_most_corners_at_one_end_fits_into_its_hemisphere() -> None:
    ra = np.concatenate([[0], np.arange(60) / 10, [100, 100, 6]])
    dec = np.concatenate([[0], np.full(60, -1.0), [-2, 2, 1]])
    assert (unit_vectors(ra, dec) @ unit_vectors(ra, dec).sum(axis=0)).min() < 0, "the mean is no middle of it"
    polygon = Polygon(ra, dec)
    assert polygon.contains([60, 355, 240], [0, 0, 0]).tolist() == [True, False, False]
    assert Polygon(ra[::-1], dec[::-1]).area_deg2() == pytest.approx(polygon.area_deg2())


def test_ranges_wrap_at_zero_and_cover_themselves() -> None:
    region = Range(350, 10, 60, 89)
    assert region.contains([355, 5, 0, 11, 349], [70, 70, 60, 70, 70]).tolist() == [True, True, True, False, False]
    rng = np.random.default_rng(2)
    ra, dec = (350 + rng.uniform(0, 20, 2000)) % 360, rng.uniform(60, 89, 2000)
    assert covered(region.cover(16), ra, dec).all()


def test_cells_of_a_moc_agree_with_mocpy() -> None:
    moc = MOC.from_string("3/1 4 4/12 100-110 5/")
    cells = CellUnion(moc.to_depth29_ranges.astype(np.int64))
    rng = np.random.default_rng(5)
    ra, dec = rng.uniform(0, 360, 5000), np.degrees(np.arcsin(rng.uniform(-1, 1, 5000)))
    assert (cells.contains(ra, dec) == moc.contains_lonlat(ra * u.deg, dec * u.deg)).all()
    assert cells.area_deg2() == pytest.approx(moc.sky_fraction * SKY_DEG2)
    assert not cells.contains(np.nan, 0.0)[0]


@pytest.mark.parametrize("values", [(np.nan, 0, 1), (0, 91, 1), (0, -90.1, 1), (0, 0, -1), (0, 0, 181), (0, 0, np.nan)])
def test_impossible_circles_are_refused(values: tuple[float, float, float]) -> None:
    with pytest.raises(BadParameter):
        Circle(*values)


def test_a_polygon_wider_than_a_hemisphere_is_refused_with_advice() -> None:
    with pytest.raises(BadParameter) as refused:
        Polygon(np.array([0, 120, 240.0]), np.array([0, 0, 0.0]))
    assert str(refused.value) == (
        "A polygon must fit into a hemisphere. Given: (0, 0), (120, 0), (240, 0). Split it into smaller polygons."
    )


@given(ras, decs, st.floats(-6, 1.2).map(lambda x: 10**x), st.integers(0, 3), seeds)
@settings(deadline=None)
def test_cells_near_a_position_hold_all_its_neighbours(
    ra: float, dec: float, radius: float, coarser: int, seed: int
) -> None:
    order = max(0, order_for_radius(radius) - coarser)
    row, cell = cells_near([ra], [dec], radius, order)
    assert set(row.tolist()) == {0}
    assert len(set(cell.tolist())) == len(cell)
    point_ra, point_dec = around(ra, dec, radius, 200, seed)
    near = separation_deg(ra, dec, point_ra, point_dec) <= radius
    assert set(healpix_index(order, point_ra[near], point_dec[near]).tolist()) <= set(cell.tolist())


@pytest.mark.parametrize(("order", "levels"), [(order, levels) for order in range(5) for levels in range(3)])
def test_cells_near_are_the_parents_of_a_block_of_nine_each_once_in_rows_order(order: int, levels: int) -> None:
    fine = np.arange(12 * 4 ** (order + levels), dtype=np.uint64)
    row, cell = cells_near(*healpix_center(order + levels, fine), 29 / 2 ** (order + levels), order)
    block = nested.neighbours(fine, order + levels)
    expected = [{int(c) >> (2 * levels) for c in nine if c >= 0} for nine in block]
    assert (np.diff(row) >= 0).all()
    assert sorted(zip(row.tolist(), cell.tolist(), strict=True)) == [
        (place, c) for place, cells in enumerate(expected) for c in sorted(cells)
    ]


def test_cells_too_small_for_a_radius_are_refused() -> None:
    with pytest.raises(ValueError, match="too deep"):
        cells_near([0.0], [0.0], 1.0, 20)


@given(ras, decs, ras, decs)
def test_separations_are_astropys(ra1: float, dec1: float, ra2: float, dec2: float) -> None:
    expected = SkyCoord(ra1 * u.deg, dec1 * u.deg).separation(SkyCoord(ra2 * u.deg, dec2 * u.deg)).deg
    assert separation_deg(ra1, dec1, ra2, dec2) == pytest.approx(expected, abs=1e-12, rel=1e-12)


@given(ras, decs, st.floats(0.1, 20), st.floats(0.1, 20), st.integers(3, 7), seeds)
@settings(deadline=None)
def test_relations_agree_with_points_drawn_from_both(
    ra: float, dec: float, size_a: float, size_b: float, corners: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    a = star_polygon(ra, dec, size_a, corners, seed, concave=True) if seed % 2 else Circle(ra, dec, size_a)
    near_ra, near_dec = around(ra, dec, size_a + size_b, 1, seed)
    other = star_polygon(float(near_ra[0]), float(near_dec[0]), size_b, corners, seed + 1, concave=True)
    b: Region = other if rng.random() < 0.5 else Circle(float(near_ra[0]), float(near_dec[0]), size_b)
    point_ra, point_dec = around(ra, dec, size_a, 3000, seed)
    in_a, in_b = a.contains(point_ra, point_dec), b.contains(point_ra, point_dec)
    if (in_a & in_b).any():
        assert intersects(a, b)
    if holds(b, a):
        assert in_b[in_a].all()
        assert intersects(a, b)
    assert intersects(a, b) == intersects(b, a)


def test_touching_and_nested_circles() -> None:
    assert intersects(Circle(0, 0, 1), Circle(2, 0, 1))
    assert not intersects(Circle(0, 0, 1), Circle(2.001, 0, 1))
    assert holds(Circle(0, 0, 2), Circle(1, 0, 1))
    assert not holds(Circle(0, 0, 2), Circle(1.001, 0, 1))
    assert holds(Circle(0, 90, 120), Circle(0, 90, 100))
