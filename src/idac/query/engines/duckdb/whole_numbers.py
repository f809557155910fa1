"""Large whole numbers compared with fractions: DuckDB would compare doubles, which can't tell ids of 60 bits apart.

A comparison with a fraction is one with a whole number beside it, and no whole number is equal to one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal

from sqlglot import exp

from idac.query.plan import predicates as p
from idac.tables.model import DataType

#: Whole numbers up to this are told apart as doubles; beyond the other, DuckDB has no whole numbers.
_EXACT, _LARGEST = Decimal(2**52), Decimal(10**37)
_SIGNS: dict[type[exp.Expr], str] = {exp.EQ: "=", exp.NEQ: "<>", exp.LT: "<", exp.LTE: "<=", exp.GT: ">", exp.GTE: ">="}


def is_inexact(comparison: p.Comparison) -> bool:
    """True for a number of 64 bits on the left, and a large constant with a point or an exponent on the right."""
    value = _fraction(comparison.right) if _is_long(comparison.left) else None
    return value is not None and _EXACT <= abs(value) <= _LARGEST


def exact_comparison(comparison: p.Comparison, left: str) -> str:
    """SQL for such a comparison; *left* is that of its left side."""
    value, operator = _fraction(comparison.right), comparison.operator
    assert value is not None  # noqa: S101  is_inexact has looked
    if value == value.to_integral_value():
        return f"({left} {_SIGNS[operator]} {int(value)})"
    if operator in (exp.EQ, exp.NEQ):
        # Never so, or always; NULL of NULL.
        return f"({left} {'<>' if operator is exp.EQ else '='} {left})"
    # No whole number lies between a fraction and the whole numbers beside it.
    return f"({left} {_SIGNS[operator]} {math.ceil(value) if operator in (exp.LT, exp.GTE) else math.floor(value)})"


def needs_two(node: exp.Between) -> bool:
    """True for a column BETWEEN a fraction and another number, of which one is large: all three would be doubles."""
    column = p.bare(node.this)
    bounds = [node.args["low"], node.args["high"]]
    return isinstance(column, exp.Column) and _is_long(column) and _would_be_doubles(bounds)


def exact_members(node: exp.In) -> list[int] | None:
    """The whole numbers of a list that holds fractions and large numbers; None for any other list."""
    if not _is_long(p.bare(node.this)) or not _would_be_doubles(node.expressions):
        return None
    values = [_number(value) for value in node.expressions]
    return [int(v) for v in values if v is not None and abs(v) <= _LARGEST and v == v.to_integral_value()]


def _would_be_doubles(nodes: Sequence[exp.Expr]) -> bool:
    values = [_number(node) for node in nodes]
    return (
        None not in values
        and any(_fraction(node) is not None for node in nodes)
        and any(value is not None and abs(value) >= _EXACT for value in values)
    )


def _is_long(node: exp.Expr) -> bool:
    kind: DataType | None = node.meta.get("type")
    return kind is not None and kind.datatype == "long" and kind.arraysize is None


def _fraction(node: exp.Expr) -> Decimal | None:
    """A literal that is written with a point or an exponent."""
    node = p.bare(node)
    inner = p.bare(node.this) if isinstance(node, exp.Neg) else node
    return None if isinstance(inner, exp.Literal) and inner.name.isdigit() else _number(node)


def _number(node: exp.Expr) -> Decimal | None:
    """The value of a literal."""
    node = p.bare(node)
    inner = p.bare(node.this) if isinstance(node, exp.Neg) else node
    if not isinstance(inner, exp.Literal) or inner.args.get("is_string"):
        return None
    # With a point or an exponent it is a double, of which the shortest text is not the value.
    value = Decimal(inner.name) if inner.name.isdigit() else Decimal(float(inner.name))
    return -value if isinstance(node, exp.Neg) else value
