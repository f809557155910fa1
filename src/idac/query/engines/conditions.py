"""Conditions of a resolved query as tests of rows in memory, for what is answered without an SQL engine.

Each is what the engine would find: NULL is no, and whole numbers stay whole, since a double can't tell large ids apart.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from sqlglot import exp

from idac.query.adql import geometry as g
from idac.query.plan import predicates as p
from idac.query.plan.constants import constant_number, constant_point, constant_region
from idac.sky.vectors import half_angle_sin2
from idac.tables.model import DataType

type Mask = npt.NDArray[np.bool_]
type Values = npt.NDArray[Any]


class Rows(Protocol):
    """Some rows of one table."""

    def __len__(self) -> int: ...

    def values(self, name: str) -> Values:
        """A column of numbers; any number where it is NULL."""
        ...

    def there(self, name: str) -> Mask | None:
        """Where a column of any type has a value; None: everywhere."""
        ...


#: From the rows to which of them a condition holds for; NULL is no.
type Test = Callable[[Rows], Mask]

_COMPARE: dict[type[exp.Expr], Callable[[Any, Any], Any]] = {
    exp.EQ: operator.eq,
    exp.NEQ: operator.ne,
    exp.LT: operator.lt,
    exp.LTE: operator.le,
    exp.GT: operator.gt,
    exp.GTE: operator.ge,
}

#: Whole numbers from here on share doubles with others.
_EXACT = 2.0**53


class TableRows:
    """Rows of an Arrow table."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def values(self, name: str) -> Values:
        column = self._table.column(name)
        if pa.types.is_decimal(column.type):
            column = _as_numbers(column)
        return np.asarray((column.fill_null(0) if column.null_count else column).to_numpy())

    def there(self, name: str) -> Mask | None:
        column = self._table.column(name)
        return np.asarray(column.is_valid().to_numpy(), dtype=np.bool_) if column.null_count else None


class SomeRows:
    """Those of *rows* with the numbers *chosen*."""

    def __init__(self, rows: Rows, chosen: npt.NDArray[np.intp]) -> None:
        self._rows, self._chosen = rows, chosen

    def __len__(self) -> int:
        return len(self._chosen)

    def values(self, name: str) -> Values:
        return self._rows.values(name).take(self._chosen)

    def there(self, name: str) -> Mask | None:
        there = self._rows.there(name)
        return None if there is None else there.take(self._chosen)


def _as_numbers(decimals: pa.ChunkedArray) -> pa.ChunkedArray:
    """Whole ones as such, since doubles can't tell large ids apart, unless one is beyond 64 bits."""
    if decimals.type.scale == 0:
        try:
            return decimals.cast(pa.int64())
        except pa.ArrowInvalid:
            pass
    return decimals.cast(pa.float64())


def tests_of(conditions: Sequence[exp.Expr]) -> tuple[Test, ...] | None:
    """A test for each of *conditions*; None where one is not understood here."""
    found = [_test(condition) for condition in conditions]
    known = tuple(test for test in found if test is not None)
    return known if len(known) == len(found) else None


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

    def test(rows: Rows) -> Mask:
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
    if not (isinstance(low, int) and isinstance(high, int)) and not column.meta["type"].is_integer:
        # Beside a fraction the engine takes all three for doubles.
        low, high = np.float64(low), np.float64(high)
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
    wanted = np.array(values, dtype=np.int64)
    name = column.name
    # Unsigned and signed ones would be compared as doubles.
    return lambda rows: _known(rows, name, np.isin(rows.values(name).astype(np.int64, copy=False), wanted))


def _null(node: exp.Expr) -> Test | None:
    """``IS NULL`` and ``IS NOT NULL`` of any column."""
    inner = p.bare(node.this) if isinstance(node, exp.Not) else node
    if not isinstance(inner, exp.Is) or not isinstance(p.bare(inner.this), exp.Column):
        return None
    name, wanted = p.bare(inner.this).name, isinstance(node, exp.Not)

    def test(rows: Rows) -> Mask:
        there = rows.there(name)
        if there is None:
            return np.full(len(rows), wanted)
        return there if wanted else ~there

    return test


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
    number: Any
    if not kind.is_integer:
        # A double of numpy's, beside which a column of floats is compared as doubles, unless a float is as exact. With
        # whole numbers the engine compares floats as such.
        with np.errstate(over="ignore"):
            single = np.float32(value)
        is_float = kind.datatype == "float" and isinstance(value, int)
        number = single if is_float or float(single) == value else np.float64(value)
    elif isinstance(value, float) and not value.is_integer():
        if operator in (exp.EQ, exp.NEQ):
            return None
        # No whole number lies between a fraction and the whole numbers beside it.
        up = operator in (exp.LT, exp.LTE)
        operator, number = (exp.LT, math.ceil(value)) if up else (exp.GT, math.floor(value))
    elif abs(value) < (_EXACT if isinstance(value, float) else 2**63):
        number = int(value)
    else:
        return None
    compare = _COMPARE[operator]
    return lambda rows: _known(rows, name, compare(rows.values(name), number))


def _known(rows: Rows, name: str, found: Mask) -> Mask:
    """*found* without the rows in which the column is NULL."""
    there = rows.there(name)
    return found if there is None else found & there


def _doubles(rows: Rows, name: str) -> npt.NDArray[np.float64]:
    """A column as doubles, NULL as NaN, which lies in no region."""
    values, there = np.asarray(rows.values(name), dtype=np.float64), rows.there(name)
    return values if there is None else np.where(there, values, np.nan)
