"""Pixels cover every row once, files stay within their size, and margins hold all that is near."""

from __future__ import annotations

import itertools

import cdshealpix
import numpy as np
import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from hypothesis import given, settings
from hypothesis import strategies as st

from idac.catalogs.partition import Pixel, margin_order, margin_ranges, plan_partitions
from idac.sky.healpix import healpix29


def counter(keys: np.ndarray):
    ordered = np.sort(keys)
    return lambda lows, highs: np.searchsorted(ordered, highs) - np.searchsorted(ordered, lows)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 12 * 4**29 - 1), min_size=1, max_size=400), st.integers(1, 60))
def test_partitions_are_disjoint_hold_every_row_and_none_is_too_large(keys: list[int], most: int) -> None:
    values = np.array(keys, dtype=np.int64)
    pixels, rows = plan_partitions(counter(values), rows_per_file=most, max_order=29)
    assert sum(rows) == len(keys)
    for before, after in itertools.pairwise(pixels):
        assert before.high <= after.low
    for pixel, number in zip(pixels, rows, strict=True):
        assert number == ((values >= pixel.low) & (values < pixel.high)).sum()
        same = len(set(values[(values >= pixel.low) & (values < pixel.high)].tolist()))
        assert number <= most or (pixel.order == 29 and same == 1)


def test_a_pixel_of_the_deepest_order_allowed_takes_all_its_rows() -> None:
    keys = np.full(5_000, 123_456_789_012_345)
    pixels, rows = plan_partitions(counter(keys), rows_per_file=1_000, max_order=6)
    assert rows == [5_000]
    assert pixels == [Pixel(6, 123_456_789_012_345 >> 46)]


def test_paths_follow_the_hats_note() -> None:
    assert Pixel(6, 23_456).path == "dataset/Norder=6/Dir=20000/Npix=23456.parquet"


@pytest.mark.parametrize("pixel", [Pixel(0, 0), Pixel(0, 4), Pixel(3, 0), Pixel(3, 63), Pixel(3, 767), Pixel(5, 6_000)])
@pytest.mark.parametrize("margin_arcsec", [1.0, 10.0, 600.0])
def test_the_margin_ranges_hold_every_point_that_is_near_and_outside(pixel: Pixel, margin_arcsec: float) -> None:
    rng = np.random.default_rng(pixel.index)
    # Points on the pixel's own border, and from them a step of almost the margin in any direction.
    lon, lat = cdshealpix.vertices(np.array([pixel.index]), pixel.order, step=500)
    border = SkyCoord(lon.ravel(), lat.ravel())
    border = border[np.tile(np.arange(len(border)), 20)]
    turn = rng.uniform(0, 360, len(border)) * units.deg
    near = border.directional_offset_by(turn, margin_arcsec * 0.999 * units.arcsec)
    keys = healpix29(near.ra.deg, near.dec.deg)
    keys = keys[(keys < pixel.low) | (keys >= pixel.high)]
    assert len(keys) > 10_000
    lows, highs = margin_ranges(pixel, margin_order(margin_arcsec))
    at = np.searchsorted(lows, keys, side="right") - 1
    assert np.all(at >= 0)
    assert np.all(keys < highs[at])
    assert np.all((highs <= pixel.low) | (lows >= pixel.high))
