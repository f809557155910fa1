"""The rule of GROUP BY: outside aggregates, only what is grouped by may be used (SQL-92 section 7.9)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlglot import exp

from idac.query.adql.scope import Scope


def check_grouping(scope: Scope, values: Iterable[exp.Expr], group: Sequence[exp.Expr]) -> None:
    """Raise BadQuery for a column of this query that is neither grouped by nor inside an aggregate."""
    keys = set(group)
    for value in values:
        _check(scope, value, keys)


def has_aggregate(node: exp.Expr) -> bool:
    """True where an aggregate of this query stands in *node*."""
    if isinstance(node, exp.Query):
        return False
    function = node.meta.get("function")
    return (function is not None and function.aggregate) or any(map(has_aggregate, node.iter_expressions()))


def _check(scope: Scope, node: exp.Expr, keys: set[exp.Expr]) -> None:
    if node in keys or isinstance(node, exp.Query):
        return
    function = node.meta.get("function")
    if function is not None and function.aggregate:
        return
    if isinstance(node, exp.Column) and node.meta.get("level", 0) == 0:
        raise scope.error(
            "This column is neither in GROUP BY nor inside an aggregate.",
            node,
            node.name,
            next_step="Add it to GROUP BY, or use MIN, MAX, AVG or the like of it.",
        )
    for child in node.iter_expressions():
        _check(scope, child, keys)
