"""Arithmetic of cells as ranges, against sets of single cells and astropy's distances."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from hypothesis import given
from hypothesis import strategies as st

from idac.query.plan.ranges import grown, intersect, ranges_near, ranges_of_cells, unite
from idac.sky.cover import NOTHING, WHOLE_SKY, Ranges, circle_cover
from idac.sky.healpix import MAX_ORDER, healpix29
from sky_oracles import CENTRES, offset

starts = st.lists(st.integers(0, 60), max_size=8)


def ranges_from(numbers: list[int]) -> Ranges:
    """Sorted, disjoint ranges of up to three cells each."""
    cells = sorted({n + k for n in numbers for k in range(n % 3 + 1)})
    return ranges_of_cells(np.array(cells, dtype=np.int64), MAX_ORDER) if cells else NOTHING


def cells_of(ranges: Ranges) -> set[int]:
    return {cell for low, high in ranges.tolist() for cell in range(low, high)}


@given(starts, starts)
def test_union_and_intersection_are_those_of_sets(first: list[int], second: list[int]) -> None:
    a, b = ranges_from(first), ranges_from(second)
    for result, expected in ((unite(a, b), cells_of(a) | cells_of(b)), (intersect(a, b), cells_of(a) & cells_of(b))):
        assert cells_of(result) == expected
        assert (result[:, 0] < result[:, 1]).all()
        assert (result[1:, 0] >= result[:-1, 1]).all()


def test_the_whole_sky_and_nothing_are_neutral() -> None:
    cover = circle_cover(10, 20, 3, 16)
    assert np.array_equal(intersect(cover, WHOLE_SKY), cover)
    assert len(intersect(cover, NOTHING)) == 0
    assert np.array_equal(unite(cover, NOTHING), cover)


def covered(ranges: Ranges, ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    cell = healpix29(ra, dec)
    place = np.searchsorted(ranges[:, 0], cell, side="right") - 1
    return (place >= 0) & (cell < ranges[np.maximum(place, 0), 1])


@pytest.mark.parametrize("radius", [1e-5, 0.01, 1, 14, 28.9, 30])
@pytest.mark.parametrize("reach", [0.001, 2.0, 40.0])
def test_a_grown_cover_holds_all_that_is_near_it(radius: float, reach: float) -> None:
    rng = np.random.default_rng(int(radius * 100 + reach))
    for ra, dec in CENTRES:
        cover = grown(circle_cover(ra, dec, reach, 32), radius)
        x, y = offset(ra, dec, rng.uniform(0, 360, 300), reach * np.sqrt(rng.uniform(0, 1, 300)))
        near = SkyCoord(x * u.deg, y * u.deg).directional_offset_by(
            rng.uniform(0, 360, 300) * u.deg, radius * rng.uniform(0, 1, 300) ** 0.2 * u.deg
        )
        assert covered(cover, near.ra.deg, near.dec.deg).all(), (ra, dec)


@pytest.mark.parametrize("radius", [0, 1e-7, 1e-4, 0.3, 20, 28.9, 60])
def test_ranges_near_positions_hold_all_that_is_near_them(radius: float) -> None:
    rng = np.random.default_rng(3)
    ra = np.array([c[0] for c in CENTRES] + [np.nan, 5.0, 7.0])
    dec = np.array([c[1] for c in CENTRES] + [1.0, np.nan, 95.0])
    cover = ranges_near(ra, dec, radius)
    for x, y in CENTRES:
        near = offset(x, y, rng.uniform(0, 360, 200), radius * rng.uniform(0, 1, 200) ** 0.2)
        assert covered(cover, *near).all(), (x, y)
    if radius < 1:
        assert not covered(cover, np.array([100.0, 7.0]), np.array([50.0, 5.0])).any()


def test_nothing_grows_into_nothing() -> None:
    assert len(grown(NOTHING, 5)) == 0
    assert np.array_equal(grown(circle_cover(0, 0, 1, 4), 100), WHOLE_SKY)
