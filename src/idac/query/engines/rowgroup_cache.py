"""Row groups in memory, and their rows within ranges: those of a field that is asked for again and again are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from idac.query.engines.kept import Asked, Kept

#: A file of a table, a state of that (see ``RegisteredFiles``), and a row group of the file.
type RowGroupKey = tuple[str, str, int]

#: Pieces of a table up to which they are not copied into one.
_MOST_SLICES = 8
#: Row groups that are remembered to have been asked for, kept or not.
_REMEMBERED = 10_000


@dataclass(frozen=True)
class RowGroup:
    """Columns of one row group that were wanted so far."""

    columns: pa.Table
    #: The index of each row, where it is known and in order: rows of a range are then found by bisection.
    sorted_cells: npt.NDArray[np.int64] | None = None

    def has(self, names: Sequence[str]) -> bool:
        return set(names) <= set(self.columns.column_names)

    def with_columns(self, added: pa.Table) -> RowGroup:
        """This row group with the columns of *added* that it lacks."""
        table = self.columns
        for name in added.column_names:
            if name not in table.column_names:
                table = table.append_column(added.schema.field(name), added.column(name))
        return RowGroup(table, self.sorted_cells)

    def with_cells(self, name: str) -> RowGroup:
        """This row group with its index looked at, which the column *name* holds."""
        if self.sorted_cells is not None or name not in self.columns.column_names:
            return self
        column = self.columns.column(name)
        cells = column.to_numpy() if column.null_count == 0 else None
        known = cells is not None and bool((cells[1:] >= cells[:-1]).all())
        return RowGroup(self.columns, cells if known else None)

    def within(self, ranges: npt.NDArray[np.int64]) -> pa.Table | None:
        """The rows whose cell lies in one of *ranges* (half-open, sorted, disjoint); None where cells have no order."""
        if self.sorted_cells is None:
            return None
        return rows_of(self.columns, spans_of(self.sorted_cells, ranges))


def spans_of(cells: npt.NDArray[np.int64], ranges: npt.NDArray[np.int64]) -> npt.NDArray[np.intp]:
    """First row and the one behind the last, of the rows of each of *ranges* that has any; *cells* are in order."""
    if not len(cells):
        return np.empty((0, 2), np.intp)
    # Of the many ranges of an uploaded table, few lie in one row group.
    low, high = np.searchsorted(ranges[:, 1], cells[0], side="right"), np.searchsorted(ranges[:, 0], cells[-1], "right")
    ends = np.searchsorted(cells, ranges[low:high])
    return np.asarray(ends[ends[:, 1] > ends[:, 0]])


def rows_of(table: pa.Table, spans: npt.NDArray[np.intp]) -> pa.Table:
    """The rows of *spans*, which are in order."""
    if len(spans) > _MOST_SLICES:
        # An engine takes each piece of a table for a batch of its own.
        lengths = spans[:, 1] - spans[:, 0]
        before = np.cumsum(lengths) - lengths
        return table.take(pa.array(np.repeat(spans[:, 0] - before, lengths) + np.arange(lengths.sum())))
    slices = [table.slice(a, b - a) for a, b in spans.tolist()]
    return pa.concat_tables(slices) if slices else table.slice(0, 0)


class RowGroupCache:
    """The row groups that were used last, as far as *kept* has room. Thread-safe."""

    def __init__(self, kept: Kept) -> None:
        self._kept = kept
        self._asked = Asked(_REMEMBERED)

    def is_asked_for_often(self, key: RowGroupKey) -> bool:
        """True from the third time that this is asked, unless that is long ago or nothing is kept."""
        return self._asked.often_before(key) is not None and self._kept.has_room

    def get(self, key: RowGroupKey) -> RowGroup | None:
        found: RowGroup | None = self._kept.get(key)
        return found

    def put(self, key: RowGroupKey, group: RowGroup) -> None:
        self._kept.put(key, group, int(group.columns.nbytes))

    def forget(self, path: str) -> None:
        """Drop what came from a file that can't be read any more."""
        self._kept.forget(path)
