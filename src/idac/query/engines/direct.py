"""Simple queries answered from row groups, without an SQL engine: plain columns of one table, near a place or by id.

Nine in ten queries that a catalogue service gets are cones and look-ups that read one row group or two. An SQL engine
spends more on planning such a query than this does on answering it. What is not understood here is left to the engine:
``direct_query`` gives None, and nothing is lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import pyarrow as pa
from sqlglot import exp

from idac.catalogs.snapshot import HatsStorage
from idac.core.errors import Cancelled
from idac.query.engines.base import Progress
from idac.query.engines.conditions import TableRows, Test, tests_of
from idac.query.engines.conversion import Converter
from idac.query.engines.rowgroups import RowGroupReader
from idac.query.engines.spool import Budget
from idac.query.plan.model import Plan, Scan
from idac.tables.arrow import arrow_schema, row_width
from idac.tables.model import Column

BATCH_ROWS = 65_536
#: Row groups beyond which an engine, which reads them on many threads, is the faster.
_MOST_ROW_GROUPS = 32
#: Bytes of their columns in memory beyond which the engine answers, which is held to its share: row groups of a wide
#: table, or of one that others wrote, may be of any size.
_MOST_BYTES = 48 * 2**20


@dataclass(frozen=True)
class DirectQuery:
    """A query of one table: rows of *scan* for which every test holds, *outputs* of them, at most *limit*."""

    scan: Scan
    outputs: tuple[str, ...]
    tests: tuple[Test, ...]
    limit: int | None

    def run(self, reader: RowGroupReader) -> pa.Table:
        """The rows of the answer, with the columns in their order."""
        storage = self.scan.use.entry.storage
        assert isinstance(storage, HatsStorage)  # noqa: S101  direct_query has looked
        rows = reader.read(storage, self.scan, self.scan.columns)
        if self.tests and rows.num_rows:
            seen = TableRows(rows)
            rows = rows.filter(pa.array(reduce(np.logical_and, (test(seen) for test in self.tests))))
        table = rows.slice(0, self.limit)
        return pa.table([table.column(name) for name in self.outputs], names=[str(i) for i in range(len(self.outputs))])


def direct_query(plan: Plan, reader: RowGroupReader) -> DirectQuery | None:
    """How to answer *plan* from row groups; None where an engine must."""
    if not plan.is_simple:
        return None
    (select,), (scan,) = plan.selects.values(), plan.scans.values()
    node, storage = plan.query.tree, scan.use.entry.storage
    if select.node is not node or select.matches or not isinstance(storage, HatsStorage):
        return None
    if any(node.args.get(key) for key in ("with_", "distinct", "group", "having", "order", "offset", "joins")):
        return None
    if scan.entries is None or len(scan.entries) > _MOST_ROW_GROUPS or not reader.can_read(storage.index.files):
        return None
    if scan.rows * _width(scan) > _MOST_BYTES:
        return None
    values = [e.unalias() for e in node.expressions]
    if not all(isinstance(v, exp.Column) for v in values):
        return None
    tests = tests_of(select.where)
    if tests is None:
        return None
    limit = node.args.get("limit")
    return DirectQuery(
        scan, tuple(v.name for v in values), tests, int(limit.expression.name) if limit is not None else None
    )


def _width(scan: Scan) -> int:
    """Bytes that a row of the scan takes in memory."""
    table = scan.use.entry.table
    wanted = set(scan.columns)
    return 8 + row_width(arrow_schema([c for c in table.columns if c.name in wanted]))


# -- the answer ------------------------------------------------------------------------------------------------------


class ReadyStream:
    """An answer that is here in full (see ``engines.base.QueryStream``)."""

    def __init__(self, columns: tuple[Column, ...], table: pa.Table, max_rows: int, budget: Budget) -> None:
        """*budget* is for the rows of all queries together that wait for their readers."""
        self.columns = columns
        self.overflowed = table.num_rows > max_rows
        self._batches = _batches(columns, table.slice(0, max_rows))
        self._rows = min(table.num_rows, max_rows)
        self._stopped = False
        self._budget, self._booked = budget, sum(b.nbytes for b in self._batches)
        budget.take_memory(self._booked, whatever_is_left=True)

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for batch in self._batches:
            if self._stopped:
                raise Cancelled("The query was stopped.")
            yield batch

    def progress(self) -> Progress:
        return Progress(1.0, self._rows)

    def cancel(self) -> None:
        self._stopped = True

    def close(self) -> None:
        self._batches = []
        booked, self._booked = self._booked, 0
        self._budget.give_memory(booked)


def _batches(columns: Sequence[Column], table: pa.Table) -> list[pa.RecordBatch]:
    converter = Converter(columns)
    whole = table.combine_chunks()
    return [converter.convert(batch) for batch in whole.to_batches(max_chunksize=BATCH_ROWS) if batch.num_rows]
