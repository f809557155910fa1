"""Row groups and footers of Parquet files: on this machine by reading them, in a store by exactly their bytes.

Footers are kept, since opening a file costs more than reading a row group of it. A file of ours never changes in place;
one that others keep may, and is told by its stamp. Nothing is mapped: a mapped file that is cut would end the process.
"""

from __future__ import annotations

import errno
import io
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from idac.core.errors import NotFound, StoreUnavailable
from idac.core.store import S3BucketStore

#: Bytes; time of the last change in nanoseconds; and of the last of anything else, since a copy may bring the former
#: along. Some file systems give a file another inode each time.
type Stamp = tuple[int, int, int]

#: The least and the greatest of some numbers.
type Bounds = tuple[float, float]

#: What the system says where this process, or all of them together, can open no more files.
_TOO_MANY_OPEN = (errno.EMFILE, errno.ENFILE)
#: Bytes of footers kept, as the files state them; in memory they take several times that.
_FOOTER_BYTES = 64 * 1024 * 1024


class TooManyFilesOpen(StoreUnavailable):
    """Nothing is wrong with the file."""


@dataclass(frozen=True)
class Footer:
    """What a file says of itself, its size in bytes, and how it is told from another one in its place."""

    metadata: pq.FileMetaData
    size: int
    stamp: Stamp | None = None
    """None for a file in a store."""

    def require_same(self, there: os.stat_result) -> None:
        """Raise OSError where the file of this footer is not the one that is *there* now."""
        if self.stamp != stamp_of(there):
            raise OSError("another file than the footer is of")

    @cached_property
    def _leaves(self) -> dict[str, list[int]]:
        """The numbers of the leaves of each column: lists have theirs inside them."""
        found: dict[str, list[int]] = {}
        for number in range(self.metadata.num_columns):
            found.setdefault(self.metadata.schema.column(number).path.split(".")[0], []).append(number)
        return found

    def leaf(self, column: str) -> int | None:
        """The number of the leaf that a column is; None for one of lists, and for no column of the file."""
        leaves = self._leaves.get(column, [])
        return leaves[0] if len(leaves) == 1 and self.metadata.schema.column(leaves[0]).path == column else None

    @cached_property
    def types(self) -> dict[str, pa.DataType]:
        """The columns, and their types as Arrow has them."""
        schema = self.metadata.schema.to_arrow_schema()
        return dict(zip(schema.names, schema.types, strict=True))

    @cached_property
    def rows(self) -> npt.NDArray[np.int64]:
        """Rows of each row group."""
        groups = range(self.metadata.num_row_groups)
        return np.array([self.metadata.row_group(group).num_rows for group in groups], np.int64)

    @cached_property
    def _bounds(self) -> dict[str, list[Bounds | None]]:
        """Of columns that were asked for, by row groups: Arrow takes its time for each."""
        return {}

    def bounds(self, column: str, group: int) -> Bounds | None:
        """The least and greatest value of a column of numbers in a row group; None where they are not told."""
        known = self._bounds.get(column)
        if known is None:
            known = self._bounds[column] = list(self._iter_bounds(self.leaf(column)))
        return known[group]

    def _iter_bounds(self, leaf: int | None) -> Iterator[Bounds | None]:
        for group in range(self.metadata.num_row_groups):
            statistics = None if leaf is None else self.metadata.row_group(group).column(leaf).statistics
            yield None if statistics is None or not statistics.has_min_max else (statistics.min, statistics.max)

    def ranges(self, groups: Sequence[int], columns: Sequence[str]) -> list[tuple[int, int]]:
        """Where the chunks of *columns* (none: of all) begin, and how long they are."""
        leaves = [n for name in columns or self._leaves for n in self._leaves.get(name, ())]
        found = []
        for group in groups:
            described = self.metadata.row_group(group)
            for leaf in leaves:
                chunk = described.column(leaf)
                start = chunk.data_page_offset
                if chunk.has_dictionary_page and 0 < chunk.dictionary_page_offset < start:
                    start = chunk.dictionary_page_offset
                found.append((start, chunk.total_compressed_size))
        return found


def stamp_of(file: os.stat_result) -> Stamp:
    return file.st_size, file.st_mtime_ns, file.st_ctime_ns


class ParquetFiles:
    """Thread-safe. *stores* are those in which files may lie that are no paths of this machine."""

    def __init__(self, stores: Sequence[S3BucketStore] = ()) -> None:
        self._stores = {f"{store.location}/": store for store in stores}
        self._lock = threading.Lock()
        self._footers: OrderedDict[str, Footer] = OrderedDict()
        self._footer_bytes = 0

    def are_local(self, paths: Sequence[str]) -> bool:
        """True for files on this machine."""
        return bool(paths) and "://" not in paths[0]

    def are_known(self, paths: Sequence[str]) -> bool:
        """True for files that can be read here: on this machine, or in one of the stores."""
        return self.are_local(paths) or (bool(paths) and self._store_of(paths[0]) is not None)

    def _store_of(self, path: str) -> tuple[S3BucketStore, str] | None:
        """The store that a file lies in, and its key there."""
        place = next((place for place in self._stores if path.startswith(place)), None)
        return None if place is None else (self._stores[place], path.removeprefix(place))

    def read(self, path: str, groups: Sequence[int], columns: Sequence[str], *, threads: bool = False) -> pa.Table:
        """Rows of the row groups, with *columns* or all. StoreUnavailable where the file is gone, cut or damaged."""
        (table,) = self.iter_row_groups(path, [groups], [columns], threads=threads)
        return table

    def iter_row_groups(
        self,
        path: str,
        groups: Sequence[Sequence[int]],
        columns: Sequence[Sequence[str]],
        *,
        threads: bool = False,
    ) -> Iterator[pa.Table]:
        """A table for each of *groups*, with the columns in its place in *columns*; a store is asked once for all.

        For none of them nothing is opened.
        """
        if not groups:
            return
        with self.errors(path):
            footer = self.footer(path)
            with self._opened(path, footer, groups, columns) as source:
                # A file, and not its path: for Arrow to find out what kind of place a path names costs more than to
                # open it.
                file = pq.ParquetFile(source, metadata=footer.metadata, pre_buffer=False)
                for some, wanted in zip(groups, columns, strict=True):
                    yield file.read_row_groups(list(some), columns=list(wanted) or None, use_threads=threads)

    def read_whole(self, path: str, columns: Sequence[str]) -> pa.Table:
        """All rows of a small file."""
        with self.errors(path), self._open(path) as source:
            return pq.ParquetFile(source).read(columns=list(columns))

    def footer(self, path: str, *, keep: bool = True) -> Footer:
        """The footer, read once unless it is not to be kept, or another file has come into the place of this one."""
        with self.errors(path):
            stamp = self._stamp(path)
        with self._lock:
            found = self._footers.get(path)
            if found is not None and found.stamp == stamp:
                self._footers.move_to_end(path)
                return found
        with self.errors(path), self._open(path) as source:
            footer = Footer(pq.read_metadata(source), source.seek(0, io.SEEK_END), stamp)
        if not keep:
            return footer
        self.forget(path)
        with self._lock:
            if path not in self._footers:
                self._footers[path] = footer
                self._footer_bytes += footer.metadata.serialized_size
            while self._footer_bytes > _FOOTER_BYTES and len(self._footers) > 1:
                _, old = self._footers.popitem(last=False)
                self._footer_bytes -= old.metadata.serialized_size
        return footer

    def _stamp(self, path: str) -> Stamp | None:
        # A Path would cost as much again.
        return stamp_of(os.stat(path)) if self.are_local([path]) else None  # noqa: PTH116

    def forget(self, path: str) -> None:
        """Read the file's footer anew the next time."""
        with self._lock:
            old = self._footers.pop(path, None)
            if old is not None:
                self._footer_bytes -= old.metadata.serialized_size

    def _open(self, path: str) -> BinaryIO | pa.OSFile:
        found = self._store_of(path)
        return pa.OSFile(path) if found is None else found[0].open_input(found[1])

    def _opened(
        self, path: str, footer: Footer, groups: Sequence[Sequence[int]], columns: Sequence[Sequence[str]]
    ) -> io.RawIOBase | pa.OSFile:
        found = self._store_of(path)
        if found is None:
            footer.require_same(os.stat(path))  # noqa: PTH116
            return pa.OSFile(path)
        store, key = found
        pairs = zip(groups, columns, strict=True)
        ranges = sorted({each for some, wanted in pairs for each in footer.ranges(some, wanted)})
        return store.open_ranges(key, footer.size, ranges)

    @contextmanager
    def errors(self, path: str) -> Iterator[None]:
        """Raise StoreUnavailable for what goes wrong with the file, whose footer is then read anew."""
        try:
            yield
        except (OSError, pa.ArrowException, NotFound) as error:
            if isinstance(error, OSError) and error.errno in _TOO_MANY_OPEN:
                raise TooManyFilesOpen(
                    "The service has as many files open as it may.",
                    next_step="Run the query again in a moment; if it fails again, tell the operator.",
                ) from error
            self.forget(path)
            raise unreadable() from error


def unreadable() -> StoreUnavailable:
    """For files that are gone, cut short or damaged: the caller can do nothing but ask again, or tell us."""
    return StoreUnavailable(
        "Data of a table that the query uses can't be read at the moment.",
        next_step="Run the query again; if it fails again, tell the operator.",
    )
