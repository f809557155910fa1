"""HEALPix covers of regions: few ranges of order-29 cells that hold everything inside, and little beside it."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from idac.sky import compiled
from idac.sky.healpix import MAX_ORDER, healpix_center, order_for_radius, radians
from idac.sky.vectors import separation_deg

type Ranges = npt.NDArray[np.int64]

#: The whole sky: twelve base cells.
WHOLE_SKY: Ranges = np.array([[0, 12 << (2 * MAX_ORDER)]], dtype=np.int64)
NOTHING: Ranges = np.empty((0, 2), dtype=np.int64)
#: Below this angle a cover is no better than that of a circle of this radius: cells are 0.4 mas wide at order 29.
_SMALLEST_DEG = 1e-6
#: Circles wider than this are covered cell by cell.
_WIDE_DEG = 25.0
#: Orders below the one whose cells hold the whole region; each halves the rim that is covered for nothing.
_FINER = 4
#: Orders by which a circle's cells are told more finely than they are given, as cdshealpix has it.
_DEEPER = 2


def ranges_of(cells: npt.NDArray[np.uint64], orders: npt.NDArray[np.uint8]) -> Ranges:
    """Sorted, disjoint, half-open ranges at order 29 of cells at mixed orders."""
    shift = (2 * (MAX_ORDER - orders.astype(np.int64))).astype(np.int64)
    low = cells.astype(np.int64) << shift
    return merged(np.stack([low, (cells.astype(np.int64) + 1) << shift], axis=1))


def merged(ranges: Ranges) -> Ranges:
    """The union of ranges, sorted and disjoint."""
    if len(ranges) < 2:
        return ranges
    ranges = ranges[np.argsort(ranges[:, 0], kind="stable")]
    reach = np.maximum.accumulate(ranges[:, 1])
    starts = np.concatenate([[True], ranges[1:, 0] > reach[:-1]])
    ends = np.concatenate([starts[1:], [True]])
    return np.stack([ranges[starts, 0], reach[ends]], axis=1)


def coarsened(ranges: Ranges, most: int) -> Ranges:
    """At most *most* ranges that hold all of *ranges*: the smallest gaps are closed first."""
    if len(ranges) <= most:
        return ranges
    gaps = ranges[1:, 0] - ranges[:-1, 1]
    # The most - 1 widest gaps stay open.
    kept = np.sort(np.argsort(gaps, kind="stable")[len(gaps) - (most - 1) :])
    first = np.concatenate([[0], kept + 1])
    last = np.concatenate([kept, [len(ranges) - 1]])
    return np.stack([ranges[first, 0], ranges[last, 1]], axis=1)


def circle_cover(ra_deg: float, dec_deg: float, radius_deg: float, most: int) -> Ranges:
    """At most *most* ranges that hold the circle."""
    if radius_deg > _WIDE_DEG:
        return coarsened(_wide_cover(ra_deg, dec_deg, radius_deg), most)
    radius = max(radius_deg, _SMALLEST_DEG) * (1 + 1e-9)
    order = min(MAX_ORDER, order_for_radius(radius) + _FINER)
    if not (math.isfinite(ra_deg) and abs(dec_deg) <= 90.0):
        raise ValueError(f"there is no position at {ra_deg}, {dec_deg} deg")
    lon, lat = math.radians(ra_deg % 360.0), math.radians(dec_deg)
    cells, orders, _ = compiled.cone_search(order, _DEEPER, lon, lat, math.radians(radius), False)
    return coarsened(ranges_of(cells, orders), most)


def _wide_cover(ra_deg: float, dec_deg: float, radius_deg: float) -> Ranges:
    """Cover of a circle so wide that the search for cells round a cone misses some beyond its horizon."""
    order, cell_radius_deg = 4, 4.0
    cells = np.arange(12 << (2 * order), dtype=np.uint64)
    near = separation_deg(*healpix_center(order, cells), ra_deg, dec_deg) <= radius_deg + cell_radius_deg
    return ranges_of(cells[near], np.full(int(near.sum()), order, dtype=np.uint8))


def polygon_cover(ra_deg: npt.ArrayLike, dec_deg: npt.ArrayLike, radius_deg: float, most: int) -> Ranges:
    """At most *most* ranges that hold the polygon, whose circumscribed circle has *radius_deg*."""
    order = min(MAX_ORDER, order_for_radius(min(radius_deg, _WIDE_DEG)) + _FINER + 1)
    cells, orders, _ = compiled.polygon_search(order, *radians(ra_deg, dec_deg), False)
    return coarsened(ranges_of(cells, orders), most)
