"""Tests of one region against one position a row: columns of circles, of polygons, and of regions as text."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from idac.core.errors import BadParameter
from idac.sky.region_text import parse_region
from idac.sky.regions import Mask, Polygon, Region
from idac.sky.vectors import Floats, unit_vectors

#: Cosine to the middle from which a cap of corners is safely less than a hemisphere, and what rounding may take away.
_DEEP, _SPARE = 1e-3, 1e-12


def points_in_polygons(
    ra_deg: npt.ArrayLike, dec_deg: npt.ArrayLike, values: Floats, offsets: npt.NDArray[np.int64]
) -> Mask:
    """Whether each position lies in the polygon of its row.

    *values* are the corners of all rows, ra and dec in turn; row i has ``values[offsets[i]:offsets[i + 1]]``, as
    Arrow's lists do. A row whose corners make no polygon has nothing inside.
    """
    rows = len(offsets) - 1
    ra, dec = (np.broadcast_to(np.asarray(v, dtype=np.float64), (rows,)) for v in (ra_deg, dec_deg))
    # In a join the same polygon comes with many positions.
    rows_of: dict[bytes, list[int]] = {}
    for i in np.flatnonzero(_near_corners(ra, dec, values, offsets)).tolist():
        rows_of.setdefault(values[offsets[i] : offsets[i + 1]].tobytes(), []).append(i)
    result = np.zeros(rows, dtype=bool)
    for corners, own in rows_of.items():
        polygon = polygon_or_none(np.frombuffer(corners, dtype=np.float64))
        if polygon is not None:
            result[own] = polygon.contains(ra[own], dec[own])
    return result


def _near_corners(ra_deg: Floats, dec_deg: Floats, values: Floats, offsets: npt.NDArray[np.int64]) -> Mask:
    """Whether each position may lie in the polygon of its row: one pass over all corners, without making polygons.

    A cap of less than a hemisphere that holds all corners holds the arcs between them too, and so the polygon.
    """
    lengths = np.diff(offsets)
    near: Mask = np.asarray((lengths >= 6) & (lengths % 2 == 0), dtype=bool)
    if not near.any():
        return near
    used = np.repeat(near, lengths)
    flat = values[offsets[0] : offsets[-1]][used]
    corners = unit_vectors(flat[::2], flat[1::2])
    counts = lengths[near] // 2
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    total = np.add.reduceat(corners, starts, axis=0)
    # Without a length there is no middle: the cosines are 0 then, and the polygon itself decides.
    middle = total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)
    radius = np.minimum.reduceat((corners * np.repeat(middle, counts, axis=0)).sum(axis=1), starts)
    depth = (unit_vectors(ra_deg[near], dec_deg[near]) * middle).sum(axis=1)
    # Not "greater or equal", so that NaN stays with the exact test.
    near[near] = ~((radius > _DEEP) & (depth < radius - _SPARE))
    return near


def polygon_or_none(corners: Floats) -> Polygon | None:
    """The polygon with these corners, ra and dec in turn; None where they make none."""
    if len(corners) < 6 or len(corners) % 2:
        return None
    try:
        return Polygon(corners[::2], corners[1::2])
    except BadParameter:
        return None


def region_or_none(text: str | None) -> Region | None:
    """The region that a text describes; None for NULL and for what is no region: one bad row must not fail a query."""
    if text is None:
        return None
    try:
        return parse_region(text)
    except BadParameter:
        return None


def by_region(
    texts: Sequence[str | None], test: Callable[[Region, npt.NDArray[np.intp]], npt.NDArray[np.generic]], empty: object
) -> npt.NDArray[np.generic]:
    """*test* of each distinct region with the rows that have it, put together by row; *empty* where there is none."""
    rows_of: dict[str | None, list[int]] = {}
    for row, text in enumerate(texts):
        rows_of.setdefault(text, []).append(row)
    result: npt.NDArray[np.generic] | None = None
    for text, rows in rows_of.items():
        region = region_or_none(text)
        if region is None:
            continue
        index = np.asarray(rows, dtype=np.intp)
        values = np.asarray(test(region, index))
        if result is None:
            result = np.full(len(texts), empty, dtype=values.dtype)
        result[index] = values
    return result if result is not None else np.full(len(texts), empty)


def points_in_region_texts(ra_deg: npt.ArrayLike, dec_deg: npt.ArrayLike, texts: Sequence[str | None]) -> Mask:
    """Whether each position lies in the region that the text of its row describes."""
    ra, dec = (np.broadcast_to(np.asarray(v, dtype=np.float64), (len(texts),)) for v in (ra_deg, dec_deg))
    found = by_region(texts, lambda region, rows: region.contains(ra[rows], dec[rows]), False)
    return np.asarray(found, dtype=bool)
