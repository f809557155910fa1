"""HEALPix indices of positions and the cells near them: nested scheme, ICRS degrees in, int64 out.

The archive sorts by the order-29 index, whose parent at order k is ``index >> 2 * (29 - k)`` (Górski et al. 2005,
ApJ 622, 759).
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from idac.core.arrays import distinct
from idac.sky import compiled

type Floats = npt.NDArray[np.float64]
type Cells = npt.NDArray[np.int64]

#: The deepest order of the nested scheme in 64 bits; a cell is 0.4 milliarcseconds wide.
MAX_ORDER = 29
#: How much narrower the narrowest cell (in the polar caps) is than the side of a square of the same area.
_NARROWEST = 0.5
#: Order of cells used for matching is never deeper than this: smaller cells than 13 mas only cost rows.
_MAX_MATCH_ORDER = 24
#: As many threads as there are processors, for the compiled functions that take a number of them.
_ALL_THREADS = np.uint16(0)


def radians(ra_deg: npt.ArrayLike, dec_deg: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Longitudes from 0 to 2 pi and latitudes, both of shape (n,).

    Raises ValueError for what is no position: a latitude beyond a pole, infinity, NaN.
    """
    ra = np.atleast_1d(np.asarray(ra_deg, dtype=np.float64))
    dec = np.atleast_1d(np.asarray(dec_deg, dtype=np.float64))
    if ra.shape != dec.shape or not (np.isfinite(ra) & (np.abs(dec) <= 90.0)).all():
        raise ValueError("positions are pairs of a number and a declination from -90 to 90 deg")
    if len(ra) and not (ra.min() >= 0.0 and ra.max() < 360.0):
        ra = ra % 360.0
    # The compiled functions take minus zero for a longitude west of the meridian.
    return np.radians(ra) + 0.0, np.radians(dec)


def healpix_index(order: int, ra_deg: npt.ArrayLike, dec_deg: npt.ArrayLike) -> Cells:
    """Nested index at *order* of each position, shape (n,); raises ValueError as ``radians`` does."""
    lon, lat = radians(ra_deg, dec_deg)
    cells = np.empty(len(lon), np.uint64)
    offsets = np.empty((2, len(lon)))
    compiled.lonlat_to_healpix(np.full(len(lon), order, np.uint8), lon, lat, cells, *offsets, _ALL_THREADS)
    return cells.view(np.int64)


def healpix29(ra_deg: npt.ArrayLike, dec_deg: npt.ArrayLike) -> Cells:
    """Nested index at order 29 of each position, shape (n,): HATS' ``_healpix_29``."""
    return healpix_index(MAX_ORDER, ra_deg, dec_deg)


def healpix_center(order: int, index: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Right ascension and declination (degrees) of each cell's centre, two arrays of shape (n,)."""
    cells = _cells(order, index)
    lon, lat = np.empty((2, len(cells)))
    compiled.healpix_to_lonlat(np.full(len(cells), order, np.uint8), cells, 0.5, 0.5, lon, lat, _ALL_THREADS)
    return np.degrees(lon), np.degrees(lat)


def neighbours(order: int, index: npt.ArrayLike) -> Cells:
    """Each cell in the block of those round it, shape (n, 9), from the southern to the northern corner.

    Where base cells meet, a cell has fewer than eight neighbours; those places are -1.
    """
    cells = _cells(order, index)
    found = np.zeros((len(cells), 9), np.int64)
    compiled.neighbours(order, cells, found, _ALL_THREADS)
    return found


def cells_around(order: int, index: int, finer: int) -> Cells:
    """The cells *finer* orders down that touch a cell of *order* from outside, sorted, shape (m,)."""
    edges = np.zeros((1, 4 << finer), np.uint64)
    corners = np.zeros((1, 4), np.int64)
    compiled.external_neighbours(order, finer, _cells(order, index), corners, edges, _ALL_THREADS)
    cells = distinct(np.concatenate([edges[0].view(np.int64), corners[0]]))
    return cells[cells >= 0]


def _cells(order: int, index: npt.ArrayLike) -> npt.NDArray[np.uint64]:
    """*index* as the compiled functions take it, shape (n,). Raises ValueError for what is no cell of *order*."""
    cells = np.atleast_1d(np.asarray(index))
    if not ((cells >= 0) & (cells < 12 << (2 * order))).all():
        raise ValueError(f"cells of order {order} go from 0 to {(12 << (2 * order)) - 1}")
    return cells.astype(np.uint64)


def order_for_radius(radius_deg: float) -> int:
    """An order whose cells are several times wider than the circle: few cells a position, few positions a cell."""
    return max(0, min(_MAX_MATCH_ORDER, _deepest_block_order(radius_deg) - 2))


def cells_near(ra_deg: npt.ArrayLike, dec_deg: npt.ArrayLike, radius_deg: float, order: int) -> tuple[Cells, Cells]:
    """Every cell at *order* that may hold a point within *radius_deg* of each position, as (row, cell) pairs.

    A superset, without repeats. Positions are looked up in cells no narrower than the radius, at *order* or two orders
    deeper; the 3 x 3 block of those round a position holds its whole circle, and the block's distinct parents number
    2.25 on average where the radius is small.

    Raises ValueError where *order* is too deep for the radius: one block of nine would not hold the circle.
    """
    deepest = _deepest_block_order(radius_deg)
    if order > deepest:
        raise ValueError(f"order {order} is too deep for a radius of {radius_deg} deg; at most {deepest}")
    levels = min(deepest - order, 2)
    own = healpix_index(order + levels, ra_deg, dec_deg)
    if len(own) == 0:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    block = neighbours(order + levels, own)
    wanted = np.flatnonzero(_of_other_parents(levels)[own & (4**levels - 1)])
    row, parents = wanted // 9, block.ravel()[wanted] >> (2 * levels)
    known = parents >= 0
    return (row, parents) if known.all() else (row[known], parents[known])


@cache
def _of_other_parents(levels: int) -> npt.NDArray[np.bool_]:
    """Cells of a block that stand for one parent each, by the place of its middle cell in its parent *levels* up.

    Shape (4^levels, 9), blocks from the southern to the northern corner. Beyond each edge of a parent lies one other,
    and one beyond each corner: a step across an edge finds it, whatever the step along the edge.
    """
    place = np.arange(4**levels)
    last = 2**levels - 1
    inside = np.ones(len(place), dtype=bool)
    across = []
    for bits in (place, place >> 1):
        along = bits & 1 | bits >> 1 & 2
        across.append(np.stack([along == 0, inside, along == last], axis=1))
    x, y = across
    standing: npt.NDArray[np.bool_] = y[:, :, np.newaxis] & x[:, np.newaxis, :]
    return standing.reshape(len(place), 9)


def _deepest_block_order(radius_deg: float) -> int:
    """The deepest order whose narrowest cell is still no narrower than the radius."""
    if radius_deg <= 0:
        return MAX_ORDER
    order = int(np.floor(np.log2(58.6 * _NARROWEST / radius_deg)))
    if order < 0:
        raise ValueError(f"a radius of {radius_deg} deg is too wide to match by cells; at most {58.6 * _NARROWEST:.1f}")
    return min(MAX_ORDER, order)
