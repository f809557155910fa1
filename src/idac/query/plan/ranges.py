"""Sets of HEALPix cells as half-open, sorted, disjoint ranges at order 29: what two share, what lies round one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from idac.core.arrays import distinct
from idac.sky.cover import NOTHING, WHOLE_SKY, Ranges, merged
from idac.sky.healpix import MAX_ORDER, cells_near, neighbours, order_for_radius

#: Cells in which a grown cover is worked out; more would cost more than they save.
_MOST_CELLS = 8_192
#: Above this angle cells are no help (see ``sky.healpix``), and whatever is grown by it counts as the whole sky.
WIDEST_MATCH_DEG = 29.0


def unite(left: Ranges, right: Ranges) -> Ranges:
    return merged(np.concatenate([left, right]))


def intersect(left: Ranges, right: Ranges) -> Ranges:
    """The cells in both."""
    if len(left) == 0 or len(right) == 0:
        return NOTHING
    first = np.searchsorted(right[:, 1], left[:, 0], side="right")
    last = np.searchsorted(right[:, 0], left[:, 1], side="left")
    counts = np.maximum(last - first, 0)
    row = np.repeat(np.arange(len(left)), counts)
    place = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(first, counts)
    low = np.maximum(left[row, 0], right[place, 0])
    high = np.minimum(left[row, 1], right[place, 1])
    both: Ranges = np.stack([low, high], axis=1)
    return np.compress(high > low, both, axis=0)


def ranges_of_cells(cells: npt.NDArray[np.int64], order: int) -> Ranges:
    """The ranges of cells at one order, in any order and repeated or not."""
    different = distinct(cells)
    shift = 2 * (MAX_ORDER - order)
    return merged_neighbours(np.stack([different << shift, (different + 1) << shift], axis=1))


def merged_neighbours(ranges: Ranges) -> Ranges:
    """Ranges that touch, joined; *ranges* are sorted and disjoint."""
    if len(ranges) < 2:
        return ranges
    starts = np.concatenate([[True], ranges[1:, 0] > ranges[:-1, 1]])
    ends = np.concatenate([starts[1:], [True]])
    return np.stack([ranges[starts, 0], ranges[ends, 1]], axis=1)


def ranges_near(ra_deg: npt.NDArray[np.float64], dec_deg: npt.NDArray[np.float64], radius_deg: float) -> Ranges:
    """Ranges that hold everything within *radius_deg* of any of the positions; NaN positions have nothing near."""
    if radius_deg > WIDEST_MATCH_DEG:
        return WHOLE_SKY
    valid = np.isfinite(ra_deg) & np.isfinite(dec_deg) & (np.abs(dec_deg) <= 90)
    order = min(order_for_radius(radius_deg), 12)
    _, cells = cells_near(ra_deg[valid], dec_deg[valid], radius_deg, order)
    return ranges_of_cells(cells, order)


def grown(ranges: Ranges, radius_deg: float) -> Ranges:
    """Ranges that hold everything within *radius_deg* of any cell of *ranges*."""
    if radius_deg > WIDEST_MATCH_DEG or len(ranges) == 0:
        return WHOLE_SKY if len(ranges) else ranges
    order = order_for_radius(radius_deg)
    while order > 0 and _cell_count(ranges, order) > _MOST_CELLS:
        order -= 1
    cells = _cells(ranges, order)
    # A cell is wider than the radius, so whatever is near it lies in the cells that touch it.
    block = neighbours(order, cells)
    return ranges_of_cells(block[block >= 0], order)


def _cell_count(ranges: Ranges, order: int) -> int:
    shift = 2 * (MAX_ORDER - order)
    return int((((ranges[:, 1] - 1) >> shift) - (ranges[:, 0] >> shift) + 1).sum())


def _cells(ranges: Ranges, order: int) -> npt.NDArray[np.int64]:
    shift = 2 * (MAX_ORDER - order)
    low, high = ranges[:, 0] >> shift, (ranges[:, 1] - 1) >> shift
    return distinct(np.concatenate([np.arange(a, b + 1) for a, b in zip(low, high, strict=True)]))
