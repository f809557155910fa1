"""What a condition says about positions and ids, read from the resolved tree; the condition itself stays as it is."""

from __future__ import annotations

from dataclasses import dataclass

from sqlglot import exp

from idac.query.adql import geometry as g
from idac.query.plan.constants import constant_number
from idac.query.plan.sources import tables_of

_FLIPPED: dict[type[exp.Expr], type[exp.Expr]] = {
    exp.EQ: exp.EQ,
    exp.NEQ: exp.NEQ,
    exp.LT: exp.GT,
    exp.LTE: exp.GTE,
    exp.GT: exp.LT,
    exp.GTE: exp.LTE,
}


@dataclass(frozen=True)
class Comparison:
    """``left`` compared with ``right``; *operator* is the node's class."""

    left: exp.Expr
    operator: type[exp.Expr]
    right: exp.Expr


def comparisons(node: exp.Expr) -> list[Comparison]:
    """A comparison read both ways, so that a rule need know one order alone; BETWEEN is two of them."""
    if isinstance(node, exp.Between):
        return [
            Comparison(bare(node.this), exp.GTE, bare(node.args["low"])),
            Comparison(bare(node.this), exp.LTE, bare(node.args["high"])),
        ]
    operator = type(node)
    if operator not in _FLIPPED:
        return []
    left, right = bare(node.this), bare(node.expression)
    return [Comparison(left, operator, right), Comparison(right, _FLIPPED[operator], left)]


def bare(node: exp.Expr) -> exp.Expr:
    """*node* without the parentheses round it."""
    while isinstance(node, exp.Paren):
        node = node.this
    return node


def demanded(node: exp.Expr) -> g.Contains | g.Intersects | None:
    """The CONTAINS or INTERSECTS that must be 1 for *node* to be true: ``1 = CONTAINS(…)`` and its other spellings."""
    for comparison in comparisons(node):
        if not isinstance(comparison.left, g.Contains | g.Intersects):
            continue
        value = constant_number(comparison.right)
        wants_one: dict[type[exp.Expr], bool] = {
            exp.EQ: value == 1,
            exp.NEQ: value == 0,
            exp.GT: value is not None and 0 <= value < 1,
            exp.GTE: value is not None and 0 < value <= 1,
        }
        if wants_one.get(comparison.operator, False):
            return comparison.left
    return None


@dataclass(frozen=True)
class Near:
    """Two points, at most *radius* apart; a superset of what the condition demands."""

    first: exp.Expr
    second: exp.Expr
    radius: tuple[exp.Expr, ...]  # terms of a sum


def nearness(node: exp.Expr) -> Near | None:
    """The upper bound on the distance of two points that *node* demands."""
    for comparison in comparisons(node):
        if isinstance(comparison.left, g.Distance) and comparison.operator in (exp.LT, exp.LTE, exp.EQ):
            return Near(bare(comparison.left.this), bare(comparison.left.expression), (comparison.right,))
    relation = demanded(node)
    if relation is None:
        return None
    inner, outer = bare(relation.this), bare(relation.expression)
    if isinstance(inner, g.Circle) and isinstance(outer, g.Circle):
        # Whether it must lie inside or overlap: centres are no further apart than both radii together.
        return Near(bare(inner.this), bare(outer.this), (inner.expression, outer.expression))
    if isinstance(relation, g.Intersects) and isinstance(inner, g.Circle):
        inner, outer = outer, inner
    if isinstance(outer, g.Circle) and is_point(inner):
        return Near(inner, bare(outer.this), (outer.expression,))
    return None


def is_point(node: exp.Expr) -> bool:
    kind = node.meta.get("type")
    return isinstance(node, g.Point) or (kind is not None and kind.xtype == "point")


def plain_position(node: exp.Expr) -> tuple[str, str, str] | None:
    """(alias, right ascension column, declination column) of a point made of two plain columns of one table."""
    if not isinstance(node, g.Point):
        return None
    ra, dec = bare(node.this), bare(node.expression)
    if isinstance(ra, exp.Column) and isinstance(dec, exp.Column) and ra.table == dec.table:
        return ra.table, ra.name, dec.name
    return None


def only_table(node: exp.Expr) -> str | None:
    """The one alias that *node* uses; None where it uses none, several, or a sub-query."""
    tables = tables_of(node)
    return next(iter(tables)) if len(tables) == 1 and node.find(exp.Query) is None else None
