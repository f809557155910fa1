"""Simple queries answered from row groups, without an SQL engine: plain columns of one table, near a place or by id.

Nine in ten queries that a catalogue service gets are cones and look-ups that read one row group or two. An SQL engine
spends more on planning such a query than this does on answering it. What is not understood here is left to the engine:
``direct_query`` gives None, and nothing is lost.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from sqlglot import exp

from idac.catalogs.snapshot import HatsStorage
from idac.core.errors import Cancelled
from idac.query.adql import geometry as g
from idac.query.engines.base import Progress
from idac.query.engines.conversion import Converter
from idac.query.engines.rowgroups import RowGroupReader
from idac.query.engines.spool import Budget
from idac.query.plan import predicates as p
from idac.query.plan.constants import constant_number, constant_point, constant_region
from idac.query.plan.model import Plan, Scan
from idac.sky.vectors import half_angle_sin2
from idac.tables.arrow import arrow_schema, row_width
from idac.tables.model import Column, DataType

type Mask = npt.NDArray[np.bool_]
#: From the rows to which of them a condition holds for; NULL is no.
type Test = Callable[[pa.Table], Mask]

BATCH_ROWS = 65_536
#: Row groups beyond which an engine, which reads them on many threads, is the faster.
_MOST_ROW_GROUPS = 32
#: Bytes of their columns in memory beyond which the engine answers, which is held to its share: row groups of a wide
#: table, or of one that others wrote, may be of any size.
_MOST_BYTES = 48 * 2**20
_COMPARE: dict[type[exp.Expr], Callable[[pa.ChunkedArray, pa.Scalar], pa.ChunkedArray]] = {
    exp.EQ: pc.equal,
    exp.NEQ: pc.not_equal,
    exp.LT: pc.less,
    exp.LTE: pc.less_equal,
    exp.GT: pc.greater,
    exp.GTE: pc.greater_equal,
}

#: Whole numbers from here on share doubles with others.
_EXACT = 2.0**53


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
            rows = rows.filter(pa.array(reduce(np.logical_and, (test(rows) for test in self.tests))))
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
    tests = [_test(condition) for condition in select.where]
    known = tuple(t for t in tests if t is not None)
    if len(known) < len(tests):
        return None
    limit = node.args.get("limit")
    return DirectQuery(
        scan, tuple(v.name for v in values), known, int(limit.expression.name) if limit is not None else None
    )


def _width(scan: Scan) -> int:
    """Bytes that a row of the scan takes in memory."""
    table = scan.use.entry.table
    wanted = set(scan.columns)
    return 8 + row_width(arrow_schema([c for c in table.columns if c.name in wanted]))


# -- conditions ------------------------------------------------------------------------------------------------------


def _test(node: exp.Expr) -> Test | None:
    return _near(node) or _inside(node) or _compared(node) or _between(node) or _listed(node) or _null(node)


def _inside(node: exp.Expr) -> Test | None:
    """``1 = CONTAINS(POINT(ra, dec), region)`` of a region that is written out."""
    relation = None if isinstance(node, exp.Between) else p.demanded(node)
    if relation is None:
        return None
    inner, outer = p.bare(relation.this), p.bare(relation.expression)
    if isinstance(relation, g.Intersects) and not p.is_point(inner):
        inner, outer = outer, inner
    position, region = p.plain_position(inner), constant_region(outer)
    if position is None or region is None:
        return None
    _, ra, dec = position
    return lambda rows: region.contains(_doubles(rows, ra), _doubles(rows, dec))


def _near(node: exp.Expr) -> Test | None:
    """``DISTANCE(POINT(ra, dec), POINT(10, -5)) < 1``."""
    if isinstance(node, exp.Between):
        return None
    for comparison in p.comparisons(node):
        radius = constant_number(comparison.right)
        if not isinstance(comparison.left, g.Distance) or radius is None or not 0 <= radius <= 90:
            continue
        if comparison.operator not in (exp.LT, exp.LTE):
            continue
        for point, other in (
            (comparison.left.this, comparison.left.expression),
            (comparison.left.expression, comparison.left.this),
        ):
            position, centre = p.plain_position(p.bare(point)), constant_point(p.bare(other))
            if position is not None and centre is not None:
                return _within(position[1:], centre, radius, strict=comparison.operator is exp.LT)
    return None


def _within(columns: tuple[str, str], centre: tuple[float, float], radius_deg: float, *, strict: bool) -> Test:
    limit = np.sin(np.radians(radius_deg) / 2) ** 2

    def test(rows: pa.Table) -> Mask:
        with np.errstate(invalid="ignore"):
            sin2 = half_angle_sin2(*centre, _doubles(rows, columns[0]), _doubles(rows, columns[1]))
            inside: Mask = sin2 < limit if strict else sin2 <= limit
        return inside

    return test


def _compared(node: exp.Expr) -> Test | None:
    """A number column compared with a number."""
    if isinstance(node, exp.Between):
        return None
    for comparison in p.comparisons(node):
        column, value = comparison.left, _constant(comparison.right)
        if _is_number_column(column) and value is not None:
            return _comparison(column, comparison.operator, value)
    return None


def _between(node: exp.Expr) -> Test | None:
    if not isinstance(node, exp.Between):
        return None
    column, low, high = p.bare(node.this), _constant(node.args["low"]), _constant(node.args["high"])
    if not _is_number_column(column) or low is None or high is None:
        return None
    above, below = _comparison(column, exp.GTE, low), _comparison(column, exp.LTE, high)
    return None if above is None or below is None else lambda rows: above(rows) & below(rows)


def _listed(node: exp.Expr) -> Test | None:
    """``id IN (1, 2, 3)``, of whole numbers alone: a double is equal to others than its text says."""
    if not isinstance(node, exp.In) or not node.expressions:
        return None
    column, values = p.bare(node.this), [_constant(value) for value in node.expressions]
    kind: DataType | None = column.meta.get("type")
    if not isinstance(column, exp.Column) or kind is None or not kind.is_integer:
        return None
    if not all(isinstance(value, int) and -(2**63) <= value < 2**63 for value in values):
        return None
    wanted = pa.array(values, pa.int64())
    name = column.name
    return lambda rows: _mask(pc.is_in(rows.column(name).cast(pa.int64()), value_set=wanted))


def _null(node: exp.Expr) -> Test | None:
    """``IS NULL`` and ``IS NOT NULL`` of any column."""
    inner = p.bare(node.this) if isinstance(node, exp.Not) else node
    if not isinstance(inner, exp.Is) or not isinstance(p.bare(inner.this), exp.Column):
        return None
    name = p.bare(inner.this).name
    check = pc.is_valid if isinstance(node, exp.Not) else pc.is_null
    return lambda rows: _mask(check(rows.column(name)))


def _is_number_column(node: exp.Expr) -> bool:
    kind: DataType | None = node.meta.get("type")
    return isinstance(node, exp.Column) and kind is not None and kind.is_numeric


def _constant(node: exp.Expr) -> int | float | None:
    """A number; whole ones stay whole, since a double can't tell large ids apart."""
    node = p.bare(node)
    negative = isinstance(node, exp.Neg)
    inner = p.bare(node.this) if negative else node
    if isinstance(inner, exp.Literal) and not inner.args.get("is_string") and inner.name.isdigit():
        return -int(inner.name) if negative else int(inner.name)
    return constant_number(node)


def _comparison(column: exp.Expr, operator: type[exp.Expr], value: float) -> Test | None:
    """The test as the engine makes it; None where it would compare doubles that can't tell whole numbers apart."""
    name, kind = column.name, column.meta["type"]
    if not kind.is_integer:
        scalar = pa.scalar(float(value))
    elif isinstance(value, float) and not value.is_integer():
        if operator in (exp.EQ, exp.NEQ):
            return None
        # No whole number lies between a fraction and the whole numbers beside it.
        up = operator in (exp.LT, exp.LTE)
        operator, scalar = (exp.LT, pa.scalar(math.ceil(value))) if up else (exp.GT, pa.scalar(math.floor(value)))
    elif abs(value) < (_EXACT if isinstance(value, float) else 2**63):
        scalar = pa.scalar(int(value))
    else:
        return None
    compare = _COMPARE[operator]

    def test(rows: pa.Table) -> Mask:
        return _mask(pc.fill_null(compare(rows.column(name), scalar), False))

    return test


def _mask(found: pa.ChunkedArray) -> Mask:
    return np.asarray(found.to_numpy(), dtype=np.bool_)


def _doubles(rows: pa.Table, name: str) -> npt.NDArray[np.float64]:
    """A column as doubles, NULL as NaN, which lies in no region."""
    return np.asarray(rows.column(name).to_numpy(), dtype=np.float64)


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
