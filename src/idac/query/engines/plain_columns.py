"""Columns as they lie in their files: numbers that Parquet neither packs nor codes are read, and never decoded.

idac writes a column of measurements as one page of plain values in each row group: a header, levels which say that none
is NULL, and the numbers. Where they begin follows from the sizes alone, and is kept. Anything else is decoded: columns
with NULLs, with repeated values, compressed ones, pages in parts.

Files are read and not mapped: a page of memory costs more to map than its numbers to copy, and those of a mapped file
count as memory of the process. What is scanned again and again is kept, since copying takes a third of the time of an
aggregate.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from idac.core.errors import StoreUnavailable
from idac.query.engines.conditions import Mask, TableRows, Values
from idac.query.engines.kept import Asked, Kept, Key
from idac.query.engines.parquet_files import Bounds, Footer, ParquetFiles, TooManyFilesOpen

#: Types whose values stand in a page as numpy has them. Short whole numbers stand as long ones.
_LAYOUTS: dict[pa.DataType, np.dtype[np.generic]] = {
    pa.int8(): np.dtype("<i4"),
    pa.int16(): np.dtype("<i4"),
    pa.int32(): np.dtype("<i4"),
    pa.int64(): np.dtype("<i8"),
    pa.float32(): np.dtype("<f4"),
    pa.float64(): np.dtype("<f8"),
}
#: Places that are kept, 8 bytes each: one for each row group of a column, and those that a column takes besides.
_MOST_PLACES, _COLUMN_PLACES = 4_000_000, 64
#: Columns of some row groups of a file that are remembered to have been asked for.
_MOST_ASKED = 50_000
#: Columns, and row groups of a file, up to which all starts are found at once.
_FEW_COLUMNS, _FEW_ROW_GROUPS = 16, 256
#: Rows of neighbouring row groups that are given as one: so many that arithmetic takes longer than to ask for it, and
#: so few that they stay within the processor's cache.
_ROWS_AT_ONCE = 65_536
#: Bytes that a page's header may take: some 20, four values of its statistics, and the size of its levels.
_HEAD_BYTES = 256
_LEVELS_BYTES = 4
# Types of a field in Thrift's compact protocol.
_THRIFT_I32, _THRIFT_STRUCT = 5, 12
#: In the place of a start: not looked for yet, and that there is none.
_UNKNOWN, _NONE = 0, -1


#: Which columns of some rows shall be read, given what tells the bounds of a column there.
type Needed = Callable[[Callable[[str], Bounds | None]], Sequence[str]]


@dataclass(frozen=True)
class _Column:
    """A column of one file whose type may lie plain, and where it does, by row groups that were asked for."""

    kind: pa.DataType
    #: The same as its values lie.
    layout: np.dtype[np.generic]
    leaf: int
    has_levels: bool
    starts: npt.NDArray[np.int64]


@dataclass(frozen=True)
class PlainFile:
    """A file while it is open. Values are read anew each time."""

    file: int
    footer: Footer
    columns: dict[str, _Column]

    def rows(self, group: int) -> int:
        """Rows of a row group. Raises OSError where there is none of that number, as in a file in another's place."""
        if group >= len(self.footer.rows):
            raise OSError("the file has fewer row groups than its table")
        return int(self.footer.rows[group])

    def has(self, name: str, group: int) -> bool:
        """True for a column that lies plain in a row group."""
        column = self.columns.get(name)
        return column is not None and self._start(column, group) != _NONE

    def _start(self, column: _Column, group: int) -> int:
        self.rows(group)
        start = int(column.starts[group])
        if start != _UNKNOWN:
            return start
        # Whoever looks in one row group will look in its neighbours; of a wide table that would be much to find out.
        few = len(self.columns) <= _FEW_COLUMNS and len(column.starts) <= _FEW_ROW_GROUPS
        for number in range(len(column.starts)) if few else (group,):
            found = _find_start(self.file, self.footer, column, number)
            column.starts[number] = _NONE if found is None else found
        return int(column.starts[group])

    def values(self, name: str, group: int, first: int, rows: int) -> Values:
        """*rows* values of a row group, from the one of number *first*; short whole numbers as longer ones."""
        column = self.columns[name]
        found: Values = np.empty(rows, column.layout)
        at = self._start(column, group) + first * column.layout.itemsize
        _read_into(memoryview(found.view(np.uint8)), self.file, at)
        return found

    def starts(self, name: str, groups: Sequence[int]) -> list[int]:
        """Where the column begins in each row group, ``_NONE`` where it does not lie plain."""
        column = self.columns.get(name)
        if column is None:
            return [_NONE] * len(groups)
        known = column.starts[np.asarray(groups, np.intp)].tolist()
        return [self._start(column, group) if at == _UNKNOWN else at for group, at in zip(groups, known, strict=True)]

    def joined(self, name: str, starts: Sequence[int], rows: Sequence[int]) -> Values:
        """Values of several row groups, one behind the other: so many *rows* from each of *starts*."""
        layout = self.columns[name].layout
        found: Values = np.empty(sum(rows), layout)
        view, done = memoryview(found.view(np.uint8)), 0
        for start, count in zip(starts, rows, strict=True):
            end = done + count * layout.itemsize
            _read_into(view[done:end], self.file, start)
            done = end
        return found

    def array(self, name: str, group: int, first: int, rows: int) -> pa.Array:
        """The same as Arrow has the column."""
        kind = self.columns[name].kind
        found = pa.array(self.values(name, group, first, rows))
        return found if found.type == kind else found.cast(kind)


@dataclass(frozen=True)
class RowGroupRows:
    """The rows of some row groups (see ``conditions.Rows``): columns that lie plain, and the others decoded."""

    plain: dict[str, Values]
    decoded: TableRows | None
    rows: int

    def __len__(self) -> int:
        return self.rows

    def values(self, name: str) -> Values:
        found = self.plain.get(name)
        return self._decoded.values(name) if found is None else found

    def there(self, name: str) -> Mask | None:
        return None if name in self.plain else self._decoded.there(name)

    @property
    def _decoded(self) -> TableRows:
        assert self.decoded is not None  # noqa: S101  a column is in one of both
        return self.decoded


class PlainColumns:
    """Thread-safe."""

    def __init__(self, files: ParquetFiles, kept: Kept | None = None) -> None:
        """Columns whose rows are iterated over again and again are *kept*; without that, none."""
        self._files = files
        self._kept = Kept(0) if kept is None else kept
        self._asked = Asked(_MOST_ASKED)
        self._lock = threading.Lock()
        self._columns: OrderedDict[tuple[str, str], tuple[Footer, _Column | None]] = OrderedDict()
        self._count = 0

    def can_read(self, files: Sequence[str]) -> bool:
        """True for files on this machine."""
        return self._files.are_local(files)

    @contextmanager
    def open(self, path: str, columns: Sequence[str]) -> Iterator[PlainFile]:
        """A local file, to read those of *columns* that lie plain in it.

        Raises StoreUnavailable for one that is gone, cut or damaged, and for an OSError inside.
        """
        try:
            with self._files.errors(path), _opened(path) as file:
                footer = self._files.footer(path)
                footer.require_same(os.fstat(file))
                found = {name: self._column(path, footer, name) for name in columns}
                known = {name: column for name, column in found.items() if column is not None}
                yield PlainFile(file, footer, known)
        except TooManyFilesOpen:
            raise
        except StoreUnavailable:
            self._forget(path)
            raise

    def iter_rows(
        self, path: str, groups: Sequence[int], columns: Sequence[str], needed: Needed | None = None
    ) -> Iterator[RowGroupRows]:
        """The row groups whole, a few at a time, with *columns*, or those of them that are *needed*.

        Raises as ``open`` does.
        """
        with self.open(path, columns) as plain:
            rows = [plain.rows(group) for group in groups]
            starts = {name: plain.starts(name, groups) for name in columns}
            coded = [[name for name in columns if starts[name][at] == _NONE] for at in range(len(groups))]
            asked = (path, min(groups), max(groups), len(groups)) if groups else (path,)
            before = {name: self._asked.often_before((*asked, name)) for name in columns}
            parts = list(_alike(rows, coded))
            packed = [part for part in parts if coded[part.start]]
            decoded = self._files.iter_row_groups(
                path, [groups[part] for part in packed], [coded[part.start] for part in packed]
            )
            for part in parts:
                others = coded[part.start]
                wanted = columns if needed is None else needed(partial(_bounds, plain.footer, groups[part]))
                there = (name for name in wanted if name not in others)
                found = {
                    name: self._joined(path, plain, name, starts[name][part], rows[part], before[name])
                    for name in there
                }
                yield RowGroupRows(found, TableRows(next(decoded)) if others else None, sum(rows[part]))

    def _joined(
        self, path: str, plain: PlainFile, name: str, starts: list[int], rows: list[int], before: float | None
    ) -> Values:
        """See ``PlainFile.joined``. They are kept where they were asked for *before*."""
        key: Key = (path, plain.footer.stamp, name, tuple(starts), sum(rows))
        known: Values | None = self._kept.get(key)
        if known is not None:
            return known
        found = plain.joined(name, starts, rows)
        if before is not None:
            found.setflags(write=False)
            self._kept.put(key, found, found.nbytes, before)
        return found

    def _column(self, path: str, footer: Footer, name: str) -> _Column | None:
        key = (path, name)
        with self._lock:
            known = self._columns.get(key)
            # What was found in a file that stood there before is of no use in this one.
            if known is not None and known[0] is footer:
                self._columns.move_to_end(key)
                return known[1]
        found = _find_column(footer, name)
        with self._lock:
            self._drop(key)
            self._columns[key] = footer, found
            self._count += _size(found)
            while self._count > _MOST_PLACES:
                self._drop(next(iter(self._columns)))
        return found

    def _forget(self, path: str) -> None:
        self._kept.forget(path)
        with self._lock:
            for key in [k for k in self._columns if k[0] == path]:
                self._drop(key)

    def _drop(self, key: tuple[str, str]) -> None:
        old = self._columns.pop(key, None)
        if old is not None:
            self._count -= _size(old[1])


def _bounds(footer: Footer, groups: Sequence[int], name: str) -> Bounds | None:
    """The least and greatest value of a column in some row groups; None where that is not told of each."""
    found = [footer.bounds(name, group) for group in groups]
    known = [bounds for bounds in found if bounds is not None]
    if len(known) < len(found):
        return None
    return min(low for low, _ in known), max(high for _, high in known)


@contextmanager
def _opened(path: str) -> Iterator[int]:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield file
    finally:
        os.close(file)


def _read_into(view: memoryview, file: int, at: int) -> None:
    """Fill *view* from place *at* of the file."""
    done = 0
    while done < len(view):
        count = os.preadv(file, [view[done:]], at + done)
        if not count:
            raise OSError("the file ends before a page does")
        done += count


def _alike(rows: Sequence[int], coded: Sequence[list[str]]) -> Iterator[slice]:
    """Neighbours among row groups with so many *rows* of which the same columns are *coded*, a few at a time."""
    first = together = 0
    for at, count in enumerate(rows):
        if at > first and (coded[at] != coded[first] or together + count > _ROWS_AT_ONCE):
            yield slice(first, at)
            first, together = at, 0
        together += count
    if rows:
        yield slice(first, len(rows))


def _size(column: _Column | None) -> int:
    return _COLUMN_PLACES + (0 if column is None else len(column.starts))


def _find_column(footer: Footer, name: str) -> _Column | None:
    """None for a column of a type that never lies plain."""
    kind, leaf = footer.types.get(name), footer.leaf(name)
    if kind not in _LAYOUTS or leaf is None:
        return None
    has_levels = footer.metadata.schema.column(leaf).max_definition_level > 0
    return _Column(kind, _LAYOUTS[kind], leaf, has_levels, np.full(footer.metadata.num_row_groups, _UNKNOWN, np.int64))


def _find_start(file: int, footer: Footer, column: _Column, group: int) -> int | None:
    """Where the values of a row group begin; None where it has the column in another way."""
    chunk = footer.metadata.row_group(group).column(column.leaf)
    if chunk.compression != "UNCOMPRESSED" or chunk.has_dictionary_page:
        return None
    rows = chunk.num_values
    value_bytes = rows * column.layout.itemsize
    at, size = chunk.data_page_offset, chunk.total_compressed_size
    return _start_of_values(file, at, size, value_bytes, rows, column.has_levels)


def _start_of_values(file: int, at: int, size: int, value_bytes: int, rows: int, has_levels: bool) -> int | None:
    """Where *value_bytes* of plain values begin in the *size* bytes of a column chunk; None where it is not made so."""
    head = os.pread(file, min(size, _HEAD_BYTES), at)
    header = _page_header(head)
    if header is None or header.values != rows:
        return None
    content = size - header.bytes
    if not 0 < content <= len(head) - _LEVELS_BYTES:
        # More follows than the one page.
        return None
    levels = int.from_bytes(head[content : content + _LEVELS_BYTES], "little") + _LEVELS_BYTES if has_levels else 0
    # With a NULL among them there would be fewer values.
    return at + size - value_bytes if levels + value_bytes == header.bytes else None


@dataclass(frozen=True)
class _PageHeader:
    bytes: int
    values: int


def _page_header(data: bytes) -> _PageHeader | None:
    """The beginning of Parquet's ``PageHeader`` (parquet.thrift); None for all but a data page of plain values."""
    try:
        fields, at = _integers(data, 0)
        if fields.get(1) != 0 or fields.get(2) != fields.get(3) or 5 not in fields:
            return None
        page, _ = _integers(data, at)
    except IndexError:
        return None
    if page.get(2) != 0 or 1 not in page or fields[2] is None or page[1] is None:
        return None
    return _PageHeader(fields[2], page[1])


def _integers(data: bytes, at: int) -> tuple[dict[int, int | None], int]:
    """The fields of a struct as far as they are integers; where the first other begins, whose value is then None."""
    found: dict[int, int | None] = {}
    number = 0
    while True:
        head = data[at]
        at += 1
        step, kind = head >> 4, head & 15
        if not step:
            return found, at
        number += step
        if kind != _THRIFT_I32:
            if kind == _THRIFT_STRUCT:
                found[number] = None
            return found, at
        shift = value = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        found[number] = (value >> 1) ^ -(value & 1)
