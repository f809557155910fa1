"""Where the rows of each table come from: Parquet named in the SQL, or a table in memory under a name.

Few row groups are read here, exactly those that were selected, and handed over in memory: DuckDB 1.5 skips no row group
for an OR of ranges, and planning a Parquet scan costs it more than reading one. Larger parts are named in the SQL as a
union of scans, one for each run of neighbouring row groups.
"""

# ruff: noqa: S608  Making SQL is what this module is for; names and texts go through ``text.quoted`` and ``literal``.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from idac.catalogs.snapshot import HatsStorage, MemoryStorage, PlainStorage, RowGroupIndex
from idac.core.arrays import distinct
from idac.query.engines.duckdb.text import list_of, literal, quoted
from idac.query.engines.rowgroups import RowGroupReader, empty_rows
from idac.query.plan.model import Scan
from idac.tables.arrow import arrow_schema
from idac.tables.model import DataType

#: Scans in a union. Each costs DuckDB a millisecond to plan: so many always, and more where a cut saves many rows.
_FEW_RUNS, _MOST_RUNS = 8, 64
_ROWS_WORTH_A_RUN = 150_000


@dataclass
class Sources:
    """FROM items by alias, and the tables in memory that they name."""

    sql: dict[str, str] = field(default_factory=dict)
    tables: dict[str, pa.Table] = field(default_factory=dict)
    paths: set[str] = field(default_factory=set)
    #: Aliases of tables of which exactly the row groups that were selected are read, before the query runs.
    ahead: set[str] = field(default_factory=set)


def make_source(
    sources: Sources,
    scan: Scan,
    reader: RowGroupReader,
    *,
    with_index: bool,
    memory_bytes: int,
    reading: bool = True,
) -> int:
    """Add the source of *scan*'s rows; gives the bytes of memory that it is reckoned to take.

    *with_index*: the index column is asked for beside the table's own. Up to *memory_bytes*, as estimated, may be read
    ahead; unless *reading*, a table of no rows stands for those.
    """
    storage = scan.use.entry.storage
    columns = list(scan.columns)
    if isinstance(storage, MemoryStorage):
        return _in_memory(sources, scan, storage.data.select(columns) if columns else storage.data.select([0]))
    if isinstance(storage, PlainStorage):
        if not storage.files:
            return _nothing(sources, scan)
        sources.sql[scan.use.alias] = _whole(sources, storage.files, _listed(columns))
        return 0
    if with_index and storage.healpix_column not in columns:
        columns.append(storage.healpix_column)
    listed = _listed(columns, _with_nan(scan, storage))
    if scan.entries is None:
        sources.sql[scan.use.alias] = _whole(sources, storage.index.files, listed)
        return 0
    if len(scan.entries) == 0:
        return _in_memory(sources, scan, empty_rows(storage, scan, columns))
    if reader.can_read(storage.index.files) and _bytes(scan) <= memory_bytes:
        rows = reader.read(storage, scan, columns) if reading else empty_rows(storage, scan, columns)
        sources.ahead.add(scan.use.alias)
        _in_memory(sources, scan, rows)
        return _bytes(scan)
    sources.sql[scan.use.alias] = _runs(sources, storage, scan, listed)
    return 0


def estimated_row_bytes(scan: Scan) -> int:
    """Bytes of a row of the columns that are read, roughly."""
    kinds = {c.name: c.type for c in scan.use.entry.table.columns}
    return 8 + sum(_width(kinds[name]) for name in scan.columns)


def row_groups_scanned(scan: Scan) -> npt.NDArray[np.intp] | None:
    """Row groups that SQL reads for *scan*: those that were selected, and some between them. None: the whole table."""
    storage, entries = scan.use.entry.storage, scan.entries
    if not isinstance(storage, HatsStorage) or entries is None or scan.ranges is None or len(entries) == 0:
        return entries
    index, found = storage.index, []
    for low, high, files in _envelopes(index, entries):
        touched = index.select(np.array([[low, high + 1]], dtype=np.int64))
        numbers = [number for number, path in enumerate(index.files) if path in set(files)]
        found.append(touched[np.isin(index.file[touched], numbers)])
    return distinct(np.concatenate(found))


def _bytes(scan: Scan) -> int:
    return scan.rows * estimated_row_bytes(scan)


def _width(kind: DataType) -> int:
    if kind.is_string:
        return 32
    return 8 if kind.arraysize is None or kind.is_timestamp else 64


def _in_memory(sources: Sources, scan: Scan, data: pa.Table) -> int:
    name = f"m_{scan.use.alias}"
    sources.tables[name] = _with_lists(data)
    sources.sql[scan.use.alias] = quoted(name)
    return int(data.nbytes)


def _with_lists(data: pa.Table) -> pa.Table:
    """The same rows with lists for arrays of a fixed length, of which DuckDB 1.5 has no CASE and no COALESCE."""
    for place, (name, kind) in enumerate(zip(data.schema.names, data.schema.types, strict=True)):
        if pa.types.is_fixed_size_list(kind):
            data = data.set_column(place, name, data.column(place).cast(pa.list_(kind.value_type)))
    return data


def _nothing(sources: Sources, scan: Scan) -> int:
    return _in_memory(sources, scan, arrow_schema(scan.use.entry.table.columns).empty_table())


def _with_nan(scan: Scan, storage: HatsStorage) -> frozenset[str]:
    """Columns in which NaN must be read as NULL: DuckDB takes it for a number larger than all others."""
    if not storage.may_hold_nan:
        return frozenset()
    kinds = {c.name: c.type for c in scan.use.entry.table.columns}
    return frozenset(n for n in scan.columns if kinds[n].is_numeric and not kinds[n].is_integer)


def _listed(columns: Sequence[str], with_nan: frozenset[str] = frozenset()) -> str:
    named = (
        f"nullif({quoted(c)}, CAST('nan' AS FLOAT)) AS {quoted(c)}" if c in with_nan else quoted(c) for c in columns
    )
    return ", ".join(named) or "1 AS one"


def _select(listed: str, files: Sequence[str], where: str = "") -> str:
    # Folders named Norder=3 and the like are not columns.
    return f"SELECT {listed} FROM read_parquet({list_of(map(literal, files))}, hive_partitioning = false){where}"


def _whole(sources: Sources, files: Sequence[str], listed: str) -> str:
    sources.paths.update(files)
    return f"({_select(listed, files)})"


def _runs(sources: Sources, storage: HatsStorage, scan: Scan, listed: str) -> str:
    index, entries = storage.index, scan.entries
    assert entries is not None  # noqa: S101  the caller has looked
    if scan.ranges is None:
        # The first rows of a table: which ones does not matter.
        return _whole(sources, _files(index, entries), listed)
    name = quoted(storage.healpix_column)
    parts = []
    for low, high, files in _envelopes(index, entries):
        sources.paths.update(files)
        parts.append(_select(listed, files, f" WHERE {name} >= {low} AND {name} <= {high}"))
    return f"({' UNION ALL '.join(parts)})"


def _files(index: RowGroupIndex, entries: npt.NDArray[np.intp]) -> list[str]:
    return [index.files[i] for i in distinct(index.file[entries])]


def _envelopes(index: RowGroupIndex, entries: npt.NDArray[np.intp]) -> list[tuple[int, int, list[str]]]:
    """Disjoint ranges of cells (both ends included) that hold the selected row groups, with the files of each."""
    low, high = index.hpx_min[entries], index.hpx_max[entries]
    reach = np.maximum.accumulate(high)
    # Row groups left out between two that are selected are what a cut saves; ranges that overlap must stay together,
    # or their rows would be counted twice.
    before = np.cumsum(index.rows)
    skipped = before[entries[1:] - 1] - before[entries[:-1]]
    cuttable = np.flatnonzero((skipped > 0) & (low[1:] > reach[:-1]))
    widest = cuttable[np.argsort(-skipped[cuttable], kind="stable")]
    worthy = (np.arange(len(widest)) < _FEW_RUNS - 1) | (skipped[widest] >= _ROWS_WORTH_A_RUN)
    cuts = np.sort(widest[worthy][: _MOST_RUNS - 1])
    first = np.concatenate([[0], cuts + 1])
    last = np.concatenate([cuts, [len(entries) - 1]])
    return [(int(low[a]), int(reach[b]), _files(index, entries[a : b + 1])) for a, b in zip(first, last, strict=True)]
