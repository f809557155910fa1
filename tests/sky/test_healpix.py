"""HEALPix by cdshealpix's compiled functions gives what its own Python gives, and loads before or after it."""

from __future__ import annotations

import subprocess
import sys

import astropy.units as u
import cdshealpix
import numpy as np
import pytest
from astropy.coordinates import Latitude, Longitude
from cdshealpix import nested
from hypothesis import example, given
from hypothesis import strategies as st

from idac.sky.cover import circle_cover, polygon_cover, ranges_of
from idac.sky.healpix import cells_around, healpix_center, healpix_index, neighbours, radians

orders = st.integers(0, 29)
places = st.lists(st.tuples(st.floats(-400, 800), st.floats(-90, 90)), min_size=1, max_size=40)


@given(orders, places)
@example(0, [(-0.0, 42.0), (0.0, -0.0), (-5e-324, 42.0), (360.0, 42.0)])
def test_indices_and_centres_are_those_of_cdshealpix(order: int, at: list[tuple[float, float]]) -> None:
    ra, dec = np.array(at).T
    cells = healpix_index(order, ra, dec)
    # Its own Python hands a longitude of minus zero on as it is, and that falls in the base cell west of the meridian.
    expected = nested.lonlat_to_healpix(Longitude(ra + 0.0, u.deg), Latitude(dec, u.deg), order)
    assert cells.dtype == np.int64
    assert cells.tolist() == expected.tolist()
    lon, lat = nested.healpix_to_lonlat(expected, order)
    found = healpix_center(order, cells)
    assert np.array_equal(found, [lon.deg, lat.deg])


@given(orders, st.data())
def test_neighbours_are_those_of_cdshealpix(order: int, data: st.DataObject) -> None:
    cells = np.array(data.draw(st.lists(st.integers(0, 12 * 4**order - 1), min_size=1, max_size=20)))
    assert neighbours(order, cells).tolist() == nested.neighbours(cells, order).tolist()
    finer = data.draw(st.integers(0, min(29 - order, 6)))
    if finer:
        edges, corners = cdshealpix.external_neighbours(cells[:1], order, finer)
        expected = {*edges[0].tolist(), *corners[0].tolist()} - {-1}
        assert cells_around(order, int(cells[0]), finer).tolist() == sorted(expected)


@pytest.mark.parametrize("dec", [90.000001, -91.0, np.nan, np.inf])
def test_a_latitude_beyond_a_pole_is_refused(dec: float) -> None:
    for refused in (radians, lambda ra, dec: healpix_index(3, ra, dec)):
        with pytest.raises(ValueError, match=r"^positions are pairs of a number and a declination from -90 to 90 deg$"):
            refused([1.0, 2.0], [3.0, dec])
    with pytest.raises(ValueError, match=rf"^there is no position at 1\.0, {dec} deg$"):
        circle_cover(1.0, dec, 1.0, 10)


def test_what_is_no_pair_of_numbers_is_refused() -> None:
    for ra, dec in (([1.0, np.nan], [3.0, 4.0]), ([np.inf], [3.0]), ([1.0, 2.0], [3.0])):
        with pytest.raises(ValueError, match=r"^positions are pairs"):
            healpix_index(29, ra, dec)
    with pytest.raises(ValueError, match=r"^there is no position at inf, 1\.0 deg$"):
        circle_cover(np.inf, 1.0, 1.0, 10)


@pytest.mark.parametrize("cell", [-1, 12 * 4**3])
def test_what_is_no_cell_is_refused(cell: int) -> None:
    for refused in (healpix_center, neighbours, lambda order, cell: cells_around(order, cell, 2)):
        with pytest.raises(ValueError, match=r"^cells of order 3 go from 0 to 767$"):
            refused(3, cell)


def test_a_polygon_is_covered_by_the_cells_that_cdshealpix_finds() -> None:
    ra, dec = [359.9, 0.3, 0.1], [-0.2, -0.1, 0.4]
    found = polygon_cover(ra, dec, 0.5, 10_000)
    for order in range(5, 15):
        cells, orders, _ = nested.polygon_search(Longitude(ra * u.deg), Latitude(dec * u.deg), order)
        if np.array_equal(ranges_of(cells, orders), found):
            return
    pytest.fail("at no order are they the same")


@pytest.mark.parametrize(
    "program",
    [
        "from idac.sky import compiled\nimport cdshealpix.nested.healpix as n",
        "import cdshealpix.nested.healpix as n\nfrom idac.sky import compiled",
    ],
)
def test_the_functions_are_loaded_once(program: str) -> None:
    told = subprocess.run(
        [sys.executable, "-c", program + "\nprint(n.cdshealpix.cone_search is compiled.cone_search)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert told.stdout == "True\n"
