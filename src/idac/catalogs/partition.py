"""Which HEALPix pixels become files: small ones where the sky is crowded, large ones where it is empty."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from idac.sky.healpix import cells_around, neighbours

type Int64s = npt.NDArray[np.int64]

#: The order of ``_healpix_29``.
FINE_ORDER = 29
#: Smallest distance across a HEALPix cell over the root of its area, nowhere below this (measured at orders 3 to 10).
NARROWEST = 0.62


@dataclass(frozen=True, slots=True, order=True)
class Pixel:
    """A HEALPix pixel in nested numbering, with the range of order-29 pixels that it spans."""

    order: int
    index: int

    @property
    def low(self) -> int:
        return self.index << 2 * (FINE_ORDER - self.order)

    @property
    def high(self) -> int:
        return (self.index + 1) << 2 * (FINE_ORDER - self.order)

    @property
    def path(self) -> str:
        """Where HATS keeps this pixel's file, under the catalogue's folder."""
        folder = self.index // 10_000 * 10_000
        return f"dataset/Norder={self.order}/Dir={folder}/Npix={self.index}.parquet"


def plan_partitions(
    count: Callable[[Int64s, Int64s], Int64s], *, rows_per_file: int, max_order: int
) -> tuple[list[Pixel], list[int]]:
    """Pixels of at most *rows_per_file* rows each, in sky order, with their numbers of rows; empty ones left out.

    A pixel of *max_order* is not divided further, whatever it holds. *count* tells the rows in half-open ranges of
    order-29 pixels; one call a level, so the work grows with the number of files and not with the rows.
    """
    found: list[tuple[int, Pixel, int]] = []
    order, candidates = 0, np.arange(12, dtype=np.int64)
    while len(candidates):
        shift = 2 * (FINE_ORDER - order)
        rows = count(candidates << shift, (candidates + 1) << shift)
        settled = (rows <= rows_per_file) | (order >= max_order)
        for index, number in zip(candidates[settled].tolist(), rows[settled].tolist(), strict=True):
            if number:
                pixel = Pixel(order, index)
                found.append((pixel.low, pixel, number))
        candidates = (candidates[~settled][:, None] * 4 + np.arange(4)).ravel()
        order += 1
    found.sort()
    return [pixel for _, pixel, _ in found], [number for _, _, number in found]


def margin_order(margin_arcsec: float) -> int:
    """The finest order whose cells are nowhere narrower than *margin_arcsec*: a ring of them holds the whole margin."""
    cell_arcsec = 3600 * np.degrees(np.sqrt(4 * np.pi / 12)) * NARROWEST
    return int(max(0, min(FINE_ORDER, np.floor(np.log2(cell_arcsec / margin_arcsec)))))


def margin_ranges(pixel: Pixel, order: int) -> tuple[Int64s, Int64s]:
    """Half-open order-29 ranges of the ring of cells of *order* around *pixel*, merged and sorted.

    Holds every position outside the pixel and within the margin that ``margin_order`` gave *order* for.
    """
    if order == pixel.order:
        cells = np.setdiff1d(neighbours(order, pixel.index).ravel(), [-1, pixel.index])
    else:
        cells = cells_around(pixel.order, pixel.index, order - pixel.order)
    return merge_ranges(cells, cells + 1, 2 * (FINE_ORDER - order))


def merge_ranges(lows: Int64s, highs: Int64s, shift: int) -> tuple[Int64s, Int64s]:
    """Sorted half-open ranges joined where they touch, then shifted left by *shift* bits."""
    if not len(lows):
        return lows, highs
    starts = np.concatenate([[True], lows[1:] > highs[:-1]])
    ends = np.concatenate([starts[1:], [True]])
    return lows[starts] << shift, highs[ends] << shift
