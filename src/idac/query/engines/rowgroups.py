"""Reads chosen row groups straight into memory, and what planning asks of small tables."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from idac.catalogs.snapshot import HatsStorage, MemoryStorage, PlainStorage, RowGroupIndex
from idac.core.arrays import distinct
from idac.core.errors import StoreUnavailable
from idac.core.store import S3BucketStore
from idac.query.engines.kept import Kept
from idac.query.engines.parquet_files import ParquetFiles, TooManyFilesOpen
from idac.query.engines.plain_columns import PlainColumns, PlainFile
from idac.query.engines.registered import RegisteredFiles
from idac.query.engines.rowgroup_cache import RowGroup, RowGroupCache, rows_of, spans_of
from idac.query.plan.model import Scan
from idac.query.resolved import TableUse
from idac.sky.cover import Ranges
from idac.tables.arrow import arrow_schema

#: Row groups beyond which the columns of one are decoded on several threads.
_THREADED_FROM = 4
#: Columns from which those of one row group are: for fewer, handing them over costs what it saves.
_MANY_COLUMNS = 12
#: Row groups of one read up to which they are kept: a larger part of the sky would push out what is asked for often.
_KEPT_UP_TO = 32
#: Footers times columns of a table up to which the bounds of a column are read. It takes seconds for so many, once; an
#: engine that knows no bounds reads all those footers for each query.
_MOST_FOOTER_COLUMNS = 1_000_000
#: Files of a table up to which the footers read for that are kept: they are not all that are wanted later.
_FEW_FILES = 64
#: Columns whose bounds are kept.
_MOST_BOUNDS = 64

type Longs = npt.NDArray[np.int64]


@dataclass(frozen=True)
class _IdIndex:
    """Row groups of an id index: the file and number of each, and the least and greatest id in it."""

    files: tuple[str, ...]
    file: npt.NDArray[np.int32]
    row_group: npt.NDArray[np.int32]
    low: npt.NDArray[np.generic]
    high: npt.NDArray[np.generic]
    column: str
    cell: str


@dataclass(frozen=True)
class _Wanted:
    """What is read of each file of a table: *columns* of the rows whose *cell* lies in *ranges* (None: of all).

    *state* names the version of the table, and of one that others keep how its files were found.
    """

    state: str
    columns: list[str]
    cell: str
    ranges: Ranges | None
    #: Whether what is decoded is kept.
    keep: bool


class RowGroupReader:
    """Thread-safe; keeps the row groups that are asked for often."""

    def __init__(self, kept_bytes: int = 0, stores: Sequence[S3BucketStore] = ()) -> None:
        """*kept_bytes* of what is read often stay in memory: half of row groups, half of columns.

        Files may lie in *stores* as well as on this machine.
        """
        self._files = ParquetFiles(stores)
        self._kept = RowGroupCache(Kept(kept_bytes // 2))
        self._plain = PlainColumns(self._files, Kept(kept_bytes // 2))
        self._registered = RegisteredFiles(self._files)
        self._lock = threading.Lock()
        self._id_indexes: OrderedDict[str, _IdIndex | None] = OrderedDict()
        self._bounds: OrderedDict[tuple[str, str], tuple[Longs, Longs]] = OrderedDict()

    def can_read(self, files: Sequence[str]) -> bool:
        """True for files of which row groups are read here; others are left to the engine."""
        return self._files.are_known(files)

    @property
    def plain(self) -> PlainColumns:
        """The columns of files on this machine that need no decoding."""
        return self._plain

    # -- row groups ------------------------------------------------------------------------------------------------

    def read(self, storage: HatsStorage, scan: Scan, columns: Sequence[str]) -> pa.Table:
        """The rows of the scan's row groups that lie in its ranges."""
        index, entries = storage.index, scan.entries
        assert entries is not None  # noqa: S101  only selective scans are read here
        names = list(columns)
        # Where no column is asked for, the rows are counted by this one.
        if (scan.ranges is not None or not names) and storage.healpix_column not in names:
            names.append(storage.healpix_column)
        state, keep = self._registered.state(scan.use), len(entries) <= _KEPT_UP_TO
        wanted = _Wanted(state, names, storage.healpix_column, scan.ranges, keep)
        pieces = []
        numbers = distinct(index.file[entries]).tolist()
        for number in numbers:
            groups = index.row_group[entries[index.file[entries] == number]].tolist()
            pieces += self._read_file(index.files[number], groups, wanted)
        self._registered.require_still(scan.use, state, numbers)
        if not pieces:
            return empty_rows(storage, scan, columns)
        table = pieces[0] if len(pieces) == 1 else pa.concat_tables(pieces, promote_options="permissive")
        if storage.may_hold_nan:
            table = _without_nan(table)
        return table.select(columns) if columns else table.select([0])

    def _read_file(self, path: str, groups: list[int], wanted: _Wanted) -> list[pa.Table]:
        if not wanted.keep:
            pieces = self._read_once(path, groups, wanted)
            return self._read_anew(path, groups, wanted) if pieces is None else pieces
        # What is asked for often is worth keeping whole; of the rest, the rows that are wanted are less to read.
        narrow = len(wanted.columns) < _MANY_COLUMNS
        often = [group for group in groups if narrow and self._kept.is_asked_for_often((path, wanted.state, group))]
        rarely = [group for group in groups if group not in often]
        pieces = self._read_once(path, rarely, wanted) if rarely else []
        if pieces is None:
            return self._read_kept(path, groups, wanted)
        return pieces + (self._read_kept(path, often, wanted) if often else [])

    def _read_once(self, path: str, groups: list[int], wanted: _Wanted) -> list[pa.Table] | None:
        """The rows in the ranges, read from where they lie; None where that can't be done."""
        if wanted.ranges is None or not self._files.are_local([path]):
            return None
        return self._read_plain(path, groups, wanted, wanted.ranges)

    def _read_plain(self, path: str, groups: list[int], wanted: _Wanted, ranges: Ranges) -> list[pa.Table] | None:
        """The rows in *ranges*, and no more of the columns that lie plain; None where the index does not, in order."""
        columns, cell = wanted.columns, wanted.cell
        with self._plain.open(path, columns) as plain:
            if not all(plain.has(cell, group) for group in groups):
                return None
            others = [name for name in columns if not all(plain.has(name, group) for group in groups)]
            decoded = self._decoded(path, groups, others, wanted) if others else []
            pieces = []
            for place, group in enumerate(groups):
                cells = plain.values(cell, group, 0, plain.rows(group))
                if (cells[1:] < cells[:-1]).any():
                    return None
                spans = spans_of(cells, ranges)
                if not len(spans):
                    continue
                first, rows = int(spans[0, 0]), int(spans[-1, 1] - spans[0, 0])
                # From the first row that is wanted to the last; few lie between them.
                here = {name: decoded[place].column(name).slice(first, rows) for name in others}
                here[cell] = pa.array(cells[first : first + rows])
                table = pa.table(
                    [here[n] if n in here else plain.array(n, group, first, rows) for n in columns], names=columns
                )
                pieces.append(rows_of(table, spans - first))
        return pieces

    def _decoded(self, path: str, groups: list[int], columns: list[str], wanted: _Wanted) -> list[pa.Table]:
        """The row groups, each whole."""
        if wanted.keep:
            return [group.columns for group in self._row_groups(path, groups, replace(wanted, columns=columns))]
        return list(self._iter_decoded(path, [(group, columns) for group in groups]))

    def _read_anew(self, path: str, groups: list[int], wanted: _Wanted) -> list[pa.Table]:
        piece = self._files.read(path, groups, wanted.columns, threads=len(groups) >= _THREADED_FROM)
        return [piece if wanted.ranges is None else _within(piece, wanted.cell, wanted.ranges)]

    def _read_kept(self, path: str, groups: list[int], wanted: _Wanted) -> list[pa.Table]:
        ranges, pieces = wanted.ranges, []
        for group in self._row_groups(path, groups, wanted):
            piece = None if ranges is None else group.within(ranges)
            if piece is None:
                piece = group.columns if ranges is None else _within(group.columns, wanted.cell, ranges)
            pieces.append(piece.select(wanted.columns))
        return pieces

    def _row_groups(self, path: str, numbers: list[int], wanted: _Wanted) -> list[RowGroup]:
        """The row groups with at least the columns that are wanted; what is not kept of them is read."""
        columns = wanted.columns
        found = {number: self._kept.get((path, wanted.state, number)) for number in numbers}
        lacking = {
            number: [c for c in columns if group is None or not group.has([c])]
            for number, group in found.items()
            if group is None or not group.has(columns)
        }
        try:
            for number, table in zip(lacking, self._iter_whole(path, lacking), strict=True):
                group = found[number]
                group = (RowGroup(table) if group is None else group.with_columns(table)).with_cells(wanted.cell)
                self._kept.put((path, wanted.state, number), group)
                found[number] = group
        except TooManyFilesOpen:
            raise
        except StoreUnavailable:
            self._kept.forget(path)
            raise
        return [group for group in found.values() if group is not None]

    def _iter_whole(self, path: str, wanted: dict[int, list[str]]) -> Iterator[pa.Table]:
        """Row groups with the columns that are wanted of each, those that lie plain as they are."""
        if not wanted:
            return
        if not self._files.are_local([path]):
            yield from self._iter_decoded(path, list(wanted.items()))
            return
        with self._plain.open(path, list({name: None for names in wanted.values() for name in names})) as plain:
            coded = {group: [n for n in names if not plain.has(n, group)] for group, names in wanted.items()}
            decoded = self._iter_decoded(path, [(group, names) for group, names in coded.items() if names])
            for group, names in wanted.items():
                table, rows = next(decoded) if coded[group] else None, plain.rows(group)
                arrays = [
                    table.column(name)
                    if table is not None and name in coded[group]
                    else plain.array(name, group, 0, rows)
                    for name in names
                ]
                yield pa.table(arrays, names=names)

    def _iter_decoded(self, path: str, wanted: list[tuple[int, list[str]]]) -> Iterator[pa.Table]:
        threads = any(len(names) >= _MANY_COLUMNS for _, names in wanted)
        return self._files.iter_row_groups(
            path, [[g] for g, _ in wanted], [names for _, names in wanted], threads=threads
        )

    # -- files that others keep --------------------------------------------------------------------------------------

    def require_registered(self, uses: Sequence[TableUse]) -> None:
        """Raises StoreUnavailable where the files of a table that others keep are not those that were registered."""
        for use in uses:
            self._registered.state(use)

    def watch(self, uses: Sequence[TableUse]) -> Callable[[], None]:
        """What raises StoreUnavailable once a file that others keep of these tables is another one than now.

        It is raised at once where they are not those that were registered.
        """
        return self._registered.watch(uses)

    # -- what planning asks for --------------------------------------------------------------------------------------

    def cells_of_ids(self, use: TableUse, ids: frozenset[object]) -> npt.NDArray[np.int64] | None:
        """``_healpix_29`` of the rows with these ids; None where the index can't be read here or has other ids."""
        storage = use.entry.storage
        if not isinstance(storage, HatsStorage) or not self._files.are_known(storage.id_index_files):
            return None
        index = self._id_index(use.entry.version, storage)
        if index is None:
            return None
        values = _ids_like(ids, index.low.dtype)
        if values is None:
            return None
        return self._look_up(index, np.sort(values))

    def _look_up(self, index: _IdIndex, values: npt.NDArray[np.generic]) -> npt.NDArray[np.int64]:
        first = np.searchsorted(values, index.low, side="left")
        last = np.searchsorted(values, index.high, side="right")
        hits = np.flatnonzero(last > first)
        found = []
        for number in distinct(index.file[hits]):
            groups = index.row_group[hits[index.file[hits] == number]].tolist()
            found += self._cells_in(index, index.files[number], groups, values)
        return distinct(np.concatenate(found)) if found else np.empty(0, np.int64)

    def _cells_in(
        self, index: _IdIndex, path: str, groups: list[int], values: npt.NDArray[np.generic]
    ) -> list[npt.NDArray[np.int64]]:
        """Of one file of the index, the cells of those of *values* that stand in *groups*."""
        columns = [index.column, index.cell]
        if self._files.are_local([path]):
            with self._plain.open(path, columns) as plain:
                if all(plain.has(name, group) for name in columns for group in groups):
                    return [_cells_in_group(plain, index, group, values) for group in groups]
        table = self._files.read(path, groups, columns)
        return [_cells_of(table.column(index.column), table.column(index.cell), values)]

    def _id_index(self, version: str, storage: HatsStorage) -> _IdIndex | None:
        with self._lock:
            if version in self._id_indexes:
                self._id_indexes.move_to_end(version)
                return self._id_indexes[version]
        index = self._load_id_index(tuple(storage.id_index_files), storage.healpix_column)
        with self._lock:
            self._id_indexes[version] = index
            while len(self._id_indexes) > 64:
                self._id_indexes.popitem(last=False)
        return index

    def _load_id_index(self, files: tuple[str, ...], cell: str) -> _IdIndex | None:
        rows = [row for number, path in enumerate(files) for row in self._id_ranges(number, path)]
        if not rows or any(row[2] is None for row in rows):
            return None
        file, group, low, high = zip(*rows, strict=True)
        column = self._files.footer(files[0]).metadata.schema.to_arrow_schema().names[0]
        lows, highs = np.array(low), np.array(high)
        return _IdIndex(files, np.array(file, np.int32), np.array(group, np.int32), lows, highs, column, cell)

    def _id_ranges(self, number: int, path: str) -> Iterable[tuple[int, int, object, object]]:
        footer = self._files.footer(path).metadata
        for group in range(footer.num_row_groups):
            statistics = footer.row_group(group).column(0).statistics
            if statistics is None or not statistics.has_min_max:
                yield number, group, None, None
            else:
                yield number, group, statistics.min, statistics.max

    def bounds(self, use: TableUse, column: str) -> tuple[Longs, Longs] | None:
        """The least and the greatest value of a column in each row group of the table's index, from the footers.

        None for files in a store, and for so many that the first who asks would wait for seconds: all their footers are
        read.
        """
        storage = use.entry.storage
        if not isinstance(storage, HatsStorage) or not self._files.are_local(storage.index.files):
            return None
        if len(storage.index.files) * len(use.entry.table.columns) > _MOST_FOOTER_COLUMNS:
            return None
        key = (self._registered.state(use), column)
        with self._lock:
            known = self._bounds.get(key)
            if known is not None:
                self._bounds.move_to_end(key)
                return known
        found = self._load_bounds(storage.index, column)
        with self._lock:
            self._bounds[key] = found
            while len(self._bounds) > _MOST_BOUNDS:
                self._bounds.popitem(last=False)
        return found

    def _load_bounds(self, index: RowGroupIndex, column: str) -> tuple[Longs, Longs]:
        low = np.full(len(index.rows), np.iinfo(np.int64).min)
        high = np.full(len(index.rows), np.iinfo(np.int64).max)
        for number, path in enumerate(index.files):
            entries = np.flatnonzero(index.file == number)
            footer = self._files.footer(path, keep=len(index.files) <= _FEW_FILES).metadata
            place = _place_of(footer.schema, column)
            for entry, group in zip(entries, index.row_group[entries].tolist(), strict=True):
                statistics = None if place is None else footer.row_group(group).column(place).statistics
                # An unsigned number may be beyond what the arrays hold; such a row group may then hold anything.
                if statistics is not None and statistics.has_min_max and statistics.max <= high[entry]:
                    low[entry], high[entry] = statistics.min, statistics.max
        return low, high

    def can_look_at(self, use: TableUse) -> bool:
        storage = use.entry.storage
        return isinstance(storage, MemoryStorage) or (
            isinstance(storage, PlainStorage) and self._files.are_known(storage.files)
        )

    def numbers(self, use: TableUse, columns: tuple[str, ...]) -> tuple[npt.NDArray[np.float64], ...]:
        """Whole columns of a small table as doubles, NULL as NaN."""
        table = self._small(use, list(dict.fromkeys(columns)))
        return tuple(
            table.column(c).cast(pa.float64(), safe=False).fill_null(float("nan")).to_numpy().astype(np.float64)
            for c in columns
        )

    def values(self, use: TableUse, column: str) -> frozenset[object]:
        """Distinct values of a column of a small table."""
        return frozenset(pc.unique(self._small(use, [column]).column(column).drop_null()).to_pylist())

    def _small(self, use: TableUse, columns: list[str]) -> pa.Table:
        storage = use.entry.storage
        if isinstance(storage, MemoryStorage):
            return storage.data.select(columns)
        assert isinstance(storage, PlainStorage)  # noqa: S101  planning asks for no others
        return pa.concat_tables([self._files.read_whole(path, columns) for path in storage.files])


def empty_rows(storage: HatsStorage, scan: Scan, columns: Sequence[str]) -> pa.Table:
    """What ``RowGroupReader.read`` gives where there are no rows; of no columns, the first."""
    schema = arrow_schema(scan.use.entry.table.columns)
    if storage.healpix_column not in schema.names:
        schema = schema.append(pa.field(storage.healpix_column, pa.int64()))
    return pa.schema([schema.field(name) for name in columns] or [schema.field(0)]).empty_table()


def _cells_in_group(
    plain: PlainFile, index: _IdIndex, group: int, values: npt.NDArray[np.generic]
) -> npt.NDArray[np.int64]:
    ids = plain.values(index.column, group, 0, plain.rows(group))
    ends = np.stack([np.searchsorted(ids, values, side=side) for side in ("left", "right")], axis=1)
    spans = ends[ends[:, 1] > ends[:, 0]]
    if not len(spans):
        return np.empty(0, np.int64)
    first = int(spans[0, 0])
    cells = plain.values(index.cell, group, first, int(spans[-1, 1]) - first)
    return np.concatenate([cells[a - first : b - first] for a, b in spans.tolist()])


def _cells_of(ids: pa.ChunkedArray, cells: pa.ChunkedArray, values: npt.NDArray[np.generic]) -> npt.NDArray[np.int64]:
    """Those of *cells* whose id is among *values*."""
    if pa.types.is_integer(ids.type) and not ids.null_count:
        return np.asarray(cells.to_numpy(), dtype=np.int64)[np.isin(ids.to_numpy(), values)]
    found: npt.NDArray[np.int64] = cells.filter(pc.is_in(ids, value_set=pa.array(values).cast(ids.type))).to_numpy()
    return found


def _place_of(schema: pq.ParquetSchema, column: str) -> int | None:
    """The number of a column among the leaves of a file's schema, which lists have inside them."""
    named = (place for place, name in enumerate(schema.names) if name == column)
    return next((place for place in named if schema.column(place).path == column), None)


def _without_nan(table: pa.Table) -> pa.Table:
    """*table* with NULL where it has NaN, which engines and formats take for different things."""
    for place, field in enumerate(table.schema):
        if pa.types.is_floating(field.type):
            column = table.column(place)
            table = table.set_column(place, field, pc.if_else(pc.is_nan(column), None, column))
    return table


def _within(table: pa.Table, column: str, ranges: Ranges) -> pa.Table:
    cells = table.column(column).to_numpy()
    place = np.searchsorted(ranges[:, 0], cells, side="right") - 1
    inside = (place >= 0) & (cells < ranges[np.maximum(place, 0), 1])
    return table if inside.all() else table.filter(pa.array(inside))


def _ids_like(ids: frozenset[object], kind: np.dtype[np.generic]) -> npt.NDArray[np.generic] | None:
    """The ids as an array of the index's type; those that can't be in it are left out. None where that can't be said.

    A DOUBLE column of ids is what programs make of whole numbers with a NULL among them.
    """
    if kind.kind == "U":
        return np.array(list(ids), dtype=np.str_) if all(isinstance(i, str) for i in ids) else None
    if kind.kind not in "iu":
        return None
    info = np.iinfo(kind.type)  # type: ignore[type-var]  # an integer type, as its kind says
    whole = []
    for value in ids:
        if isinstance(value, int):
            whole.append(value)
        elif isinstance(value, float) and not abs(value) >= 2.0**53:
            whole += [int(value)] if value.is_integer() else []
        elif value is not None and value not in (math.inf, -math.inf):
            return None
    return np.array([i for i in whole if info.min <= i <= info.max], dtype=kind)
