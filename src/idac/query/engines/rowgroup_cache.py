"""Decoded row groups kept in memory: those of a field that is asked for again and again cost nothing to read."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

#: A state of a table (see ``RegisteredFiles``), a file of it, and a row group of that.
type Key = tuple[str, str, int]

#: Row groups that are remembered to have been asked for, kept or not.
_REMEMBERED = 10_000
#: Times from which on a row group is worth keeping.
_OFTEN = 3


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
        ends = np.searchsorted(self.sorted_cells, ranges)
        slices = [self.columns.slice(a, b - a) for a, b in ends.tolist() if b > a]
        return pa.concat_tables(slices) if slices else self.columns.slice(0, 0)


class RowGroupCache:
    """The row groups used last, up to *limit_bytes*. Thread-safe; a version never changes."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[Key, RowGroup] = OrderedDict()
        self._bytes = 0
        self._asked: OrderedDict[Key, int] = OrderedDict()

    def is_asked_for_often(self, key: Key) -> bool:
        """True from the third time that this is asked, unless that is long ago."""
        with self._lock:
            self._asked[key] = times = self._asked.pop(key, 0) + 1
            if len(self._asked) > _REMEMBERED:
                self._asked.popitem(last=False)
            return self._limit > 0 and times >= _OFTEN

    @property
    def bytes(self) -> int:
        return self._bytes

    def get(self, key: Key) -> RowGroup | None:
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
            return found

    def put(self, key: Key, group: RowGroup) -> None:
        """Keep *group*; one that would fill more than a sixteenth of the room is not worth it."""
        size = int(group.columns.nbytes)
        with self._lock:
            self._drop(key)
            if size * 16 > self._limit:
                return
            self._kept[key] = group
            self._bytes += size
            while self._bytes > self._limit:
                self._drop(next(iter(self._kept)))

    def forget(self, path: str) -> None:
        """Drop what came from a file that can't be read any more."""
        with self._lock:
            for key in [k for k in self._kept if k[1] == path]:
                self._drop(key)

    def _drop(self, key: Key) -> None:
        old = self._kept.pop(key, None)
        if old is not None:
            self._bytes -= int(old.columns.nbytes)
