"""The FROM clause as a tree of joins, and where the columns of sub-queries come from."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from sqlglot import exp

from idac.query.resolved import TableUse

type Side = Literal["INNER", "LEFT", "RIGHT", "FULL"]


@dataclass
class Item:
    """A table, common table or sub-query under its alias."""

    alias: str
    node: exp.Table | exp.Subquery

    @property
    def use(self) -> TableUse | None:
        return self.node.meta.get("use")


@dataclass
class Joined:
    """Two trees joined; *conditions* are the conjuncts of ON, none for a cross join."""

    left: FromTree
    right: FromTree
    side: Side
    conditions: list[exp.Expr] = field(default_factory=list)


type FromTree = Item | Joined


def from_tree(select: exp.Select) -> FromTree:
    """The FROM clause of *select*."""
    tree = _operand(select.args["from_"].this)
    return _with_joins(tree, select.args.get("joins"))


def _operand(node: exp.Expr) -> FromTree:
    if isinstance(node, exp.Paren):
        tree = _operand(node.this)
    elif isinstance(node, exp.Table | exp.Subquery):
        tree = Item(node.alias, node)
    else:
        raise TypeError(f"not a source of rows: {type(node).__name__}")
    return _with_joins(tree, node.args.get("joins"))


def _with_joins(tree: FromTree, joins: Sequence[exp.Join] | None) -> FromTree:
    for join in joins or ():
        side: Side = join.args.get("side") or "INNER"
        on = join.args.get("on")
        tree = Joined(tree, _operand(join.this), side, conjuncts(on) if on is not None else [])
    return tree


def conjuncts(node: exp.Expr) -> list[exp.Expr]:
    """The conditions that AND joins, outermost parentheses taken off."""
    found: list[exp.Expr] = []
    pending = [node]
    while pending:
        item = pending.pop()
        if isinstance(item, exp.Paren):
            pending.append(item.this)
        elif isinstance(item, exp.And):
            pending += [item.expression, item.this]
        else:
            found.append(item)
    return found


def iter_items(tree: FromTree) -> Iterator[Item]:
    if isinstance(tree, Item):
        yield tree
    else:
        yield from iter_items(tree.left)
        yield from iter_items(tree.right)


def iter_joins(tree: FromTree) -> Iterator[Joined]:
    """Every join, innermost first."""
    if isinstance(tree, Joined):
        yield from iter_joins(tree.left)
        yield from iter_joins(tree.right)
        yield tree


def aliases_of(tree: FromTree) -> frozenset[str]:
    return frozenset(item.alias for item in iter_items(tree))


def iter_nodes(tree: exp.Expr) -> Iterator[exp.Expr]:
    """*tree* and everything in it, outermost first, less what columns and literals are made of: half of a tree."""
    pending = deque([tree])
    while pending:
        node = pending.popleft()
        yield node
        if isinstance(node, exp.Column | exp.Literal | exp.Identifier):
            continue
        for value in node.args.values():
            if isinstance(value, exp.Expr):
                pending.append(value)
            elif isinstance(value, list):
                pending += [item for item in value if isinstance(item, exp.Expr)]


def columns_of(node: exp.Expr) -> list[exp.Column]:
    return [found for found in iter_nodes(node) if isinstance(found, exp.Column)]


def tables_of(node: exp.Expr) -> frozenset[str]:
    """Aliases that an expression uses, those of enclosing queries among them."""
    return frozenset(column.table for column in columns_of(node))


class Origins:
    """Follows a column through sub-queries to the published tables it comes from.

    Only through queries for which dropping rows of the table is the same as dropping the rows of the result that
    they make: no LIMIT, no grouping, and a common table that is used once.
    """

    def __init__(self, nodes: Iterable[exp.Expr]) -> None:
        """*nodes* are all of a query's."""
        self._items: dict[str, exp.Table | exp.Subquery] = {}
        self._common: dict[str, exp.CTE] = {}
        self._uses: dict[str, int] = {}
        for node in nodes:
            if isinstance(node, exp.CTE):
                self._common[node.alias] = node
            elif isinstance(node, exp.Table):
                self._items[node.alias] = node
                if "use" not in node.meta:
                    self._uses[node.name] = self._uses.get(node.name, 0) + 1
            elif isinstance(node, exp.Subquery) and node.alias:
                self._items[node.alias] = node

    def trace(self, alias: str, column: str) -> list[tuple[TableUse, str]]:
        """Tables and their columns that *column* of *alias* is a plain copy of, one for each branch of a union."""
        item = self._items.get(alias)
        if item is None:
            return []
        use: TableUse | None = item.meta.get("use")
        if use is not None:
            return [(use, column)]
        if isinstance(item, exp.Subquery):
            return self._from_query(item.this, _place(item.this, column))
        common = self._common.get(item.name)
        if common is None or self._uses[item.name] != 1:
            return []
        names = [c.name for c in common.args["alias"].columns]
        return self._from_query(common.this, names.index(column) if column in names else None)

    def _from_query(self, query: exp.Expr, place: int | None) -> list[tuple[TableUse, str]]:
        if place is None or query.args.get("limit") or query.args.get("offset"):
            return []
        if isinstance(query, exp.Subquery):
            return self._from_query(query.this, place)
        if isinstance(query, exp.SetOperation):
            return [*self._from_query(query.this, place), *self._from_query(query.expression, place)]
        if not isinstance(query, exp.Select) or query.args.get("group") or query.args.get("having"):
            return []
        if len(query.expressions) == 1 and isinstance(query.expressions[0], exp.Star):
            source = query.args["from_"].this
            return self._from_query(source.this, place) if isinstance(source, exp.Subquery) else []
        value = query.expressions[place].unalias()
        return self.trace(value.table, value.name) if isinstance(value, exp.Column) else []


def _place(query: exp.Expr, column: str) -> int | None:
    """Index of the output column of that name."""
    while isinstance(query, exp.Subquery | exp.SetOperation):
        query = query.this
    if not isinstance(query, exp.Select):
        return None
    if len(query.expressions) == 1 and isinstance(query.expressions[0], exp.Star):
        return _place(query.args["from_"].this, column)
    names = [e.alias_or_name for e in query.expressions]
    return names.index(column) if column in names else None
