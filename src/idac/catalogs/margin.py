"""Rows near the edges of pixels, picked out as the pixels' files are written, for the margin cache."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from idac.catalogs.partition import Int64s, Pixel, margin_order, margin_ranges
from idac.catalogs.runs import SortedRuns, ranges_between


class MarginRows:
    """For each of *pixels* the rows of other pixels within *margin_arcsec* of it, and few beyond.

    *runs* keeps them by the number of the pixel, out of core where they are many. Each row is looked at once, while it
    is at hand: to gather the rings from sorted rows on disk would read most of them again for every pixel.
    """

    def __init__(self, pixels: Sequence[Pixel], margin_arcsec: float, runs: SortedRuns) -> None:
        order = margin_order(margin_arcsec)
        rings = [margin_ranges(pixel, order) for pixel in pixels]
        lows, highs = (np.concatenate(part) for part in zip(*rings, strict=True))
        targets = np.repeat(np.arange(len(pixels)), [len(low) for low, _ in rings])
        by_low = np.argsort(lows, kind="stable")
        self._lows, self._highs, self._targets = lows[by_low], highs[by_low], targets[by_low]
        self._reach = np.maximum.accumulate(self._highs)
        self._runs = runs
        self._lock = threading.Lock()

    def look_at(self, keys: Int64s, rows: pa.Table) -> None:
        """Take from *rows*, whose order-29 pixels are *keys* in order, those that are in any ring."""
        if not len(keys):
            return
        first = int(np.searchsorted(self._reach, keys[0], side="right"))
        last = int(np.searchsorted(self._lows, keys[-1], side="right"))
        begins = np.searchsorted(keys, self._lows[first:last])
        ends = np.searchsorted(keys, self._highs[first:last])
        picked = ranges_between(begins, ends)
        if not len(picked):
            return
        targets = np.repeat(self._targets[first:last], np.maximum(ends - begins, 0))
        taken = rows.take(pa.array(picked)).combine_chunks()
        with self._lock:
            for batch in taken.to_batches():
                self._runs.add(targets[: batch.num_rows], batch)
                targets = targets[batch.num_rows :]

    def finish(self) -> None:
        """All rows were looked at; the rings may be read."""
        self._runs.finish()

    @property
    def rows(self) -> int:
        return self._runs.rows

    def ring(self, number: int, sorted_by: str) -> pa.Table | None:
        """The rows of the ring round the pixel of that number, in order of the column *sorted_by*; None for none."""
        parts = [rows for _, rows in self._runs.iter_sorted(number, number + 1, 1 << 20)]
        if not parts:
            return None
        table = pa.concat_tables(parts)
        order = np.argsort(table.column(sorted_by).to_numpy(), kind="stable")
        return table.take(pa.array(order))
