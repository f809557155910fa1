"""Whole queries in DuckDB's SQL: SELECT, set operations, WITH, and the FROM clause with its matches as cell joins.

A match becomes an equality of cells beside the exact test: the rows of one side stand once for every cell near them,
those of the other have one cell each, so a pair meets in one cell at most and no pair is found twice. DuckDB joins such
a condition by hash only in an inner join; an outer one is made of an inner one and an equality of row numbers.
"""

# ruff: noqa: S608  Making SQL is what this module is for; names and texts go through ``text.quoted`` and ``literal``.

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from sqlglot import exp

from idac.catalogs.snapshot import HatsStorage
from idac.query.engines.duckdb.cells import cells_near_stored
from idac.query.engines.duckdb.expressions import ExpressionWriter
from idac.query.engines.duckdb.python_functions import REGION_ORDER, match_order
from idac.query.engines.duckdb.text import number, quoted, type_name
from idac.query.plan import predicates as p
from idac.query.plan.constants import constant_number
from idac.query.plan.matches import RegionMatch, SkyMatch, item_of
from idac.query.plan.model import MatchPlan, Plan, SelectPlan
from idac.query.plan.restrictions import is_sorted_position
from idac.query.plan.sources import FromTree, Item, Joined, aliases_of, iter_items, iter_joins, tables_of
from idac.sky.healpix import MAX_ORDER
from idac.sky.regions import Region
from idac.tables.model import INT, DataType

_SIDES = {"INNER": "JOIN", "LEFT": "LEFT JOIN", "RIGHT": "RIGHT JOIN", "FULL": "FULL JOIN"}
_SETS: dict[type[exp.Expr], str] = {exp.Union: "UNION", exp.Intersect: "INTERSECT", exp.Except: "EXCEPT"}
_ROW = "__row"
#: By how much a bound on declinations is wider than the radius, for what rounding may do: the part of it, and degrees.
_WIDER, _WIDER_DEG = 1 + 1e-7, 1e-9
_CONSTANT = re.compile(r"[(\s-]*+(?:[0-9.][0-9.e+-]*+|'(?:[^']|'')*+'|NULL|TRUE|FALSE)[)\s]*+")
#: Tables of a query, common ones written out, up to which that is left to DuckDB.
_MOST_TABLES = 128
#: Characters of SQL for one expression: so many, and so many for each character of the query and its sources.
_LONGEST, _LONGER = 200_000, 6


@dataclass(frozen=True)
class _SameCell:
    """That the column *name* of some sources, and *outside*, are equal: in the ON of *join*, or in WHERE (None)."""

    join: Joined | None
    aliases: tuple[str, ...]
    name: str
    #: The cell of a row of a query round this one.
    outside: tuple[str, ...] = ()
    #: What the cells are of, where a pair of rows is looked at more closely next.
    match: SkyMatch | None = None


@dataclass(frozen=True)
class _Order:
    """The order of the cells of a match as SQL; *largest* are the greatest values of the terms of its radius."""

    text: str
    largest: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Outside:
    """A match of a sub-query with rows outside: their column of cells, the order, and the table to look in, if any."""

    column: str
    order: _Order
    ready: str | None


@dataclass
class _From:
    """One FROM clause while it is written."""

    plan: SelectPlan
    #: Tables that stand before the query in WITH.
    common: list[str] = field(default_factory=list)
    #: Columns to add to a source, by alias: (SQL, name); cells of rows to repeat, and the one cell of a row.
    added: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    #: Conditions on those columns, by the join they belong to (None: WHERE).
    conditions: list[_SameCell] = field(default_factory=list)
    #: Sources that were given row numbers, by alias: the name to read instead.
    numbered: dict[str, str] = field(default_factory=dict)


class QueryWriter:
    """Writes one planned query; *sources* are the FROM items of its published tables by alias."""

    def __init__(self, plan: Plan, sources: Mapping[str, str]) -> None:
        self._plan, self._sources = plan, sources
        # A sub-query among the expressions names files, thousands of them in a large archive.
        written = len(plan.query.adql) + sum(map(len, sources.values()))
        self._expressions = ExpressionWriter(self, _LONGEST + _LONGER * written)
        #: Columns of an alias that now stand in another source, under ``alias.column``.
        self._moved: dict[str, str] = {}
        #: Matches of sub-queries with this query's rows, by id() of the MatchPlan.
        self._outside: dict[int, _Outside] = {}
        self._sources_by_alias = _all_sources(plan)
        self._count = 0
        self._common: tuple[Mapping[str, int], bool] | None = None

    @property
    def regions(self) -> Sequence[Region]:
        """Constant regions that functions in the SQL name by number."""
        return self._expressions.shapes.regions

    def write(self, max_rows: int | None = None) -> str:
        """The SQL; of a result of more than *max_rows* rows, at least that many come."""
        tree = self._plan.query.tree
        if max_rows is None:
            return self.query(tree)
        limit = tree.args.get("limit")
        own = int(limit.expression.name) if limit is not None else None
        return self.query(tree, max_rows if own is None else min(own, max_rows))

    def new_name(self, kind: str) -> str:
        self._count += 1
        return f"__{kind}{self._count}"

    # -- queries -----------------------------------------------------------------------------------------------------

    def query(self, node: exp.Expr, limit: int | None = None) -> str:
        if isinstance(node, exp.Subquery):
            return f"({self.query(node.this)})"
        with_ = node.args.get("with_")
        common = [self._common_table(item) for item in with_.expressions] if with_ is not None else []
        if isinstance(node, exp.SetOperation):
            return _with(common) + self._set_operation(node) + self._tail(node, limit)
        if not isinstance(node, exp.Select):
            raise TypeError(f"not a query: {type(node).__name__}")
        return self._select(node, common, limit)

    def _common_table(self, item: exp.CTE) -> str:
        names = ", ".join(quoted(c.name) for c in item.args["alias"].columns)
        kept = " MATERIALIZED" if self._is_doubled(item) else ""
        return f"{quoted(item.alias)}({names}) AS{kept} ({self.query(item.this)})"

    def _is_doubled(self, item: exp.CTE) -> bool:
        """True for a common table to be worked out once.

        DuckDB writes common tables out wherever they are named. Of tables that name each other twice, fifteen would
        make a query of thousands, which it plans in all the memory that there is.
        """
        if self._common is None:
            self._common = _common_tables(self._plan.query.tree)
        uses, is_large = self._common
        return is_large and uses.get(item.alias, 0) > 1

    def _set_operation(self, node: exp.SetOperation) -> str:
        word = _SETS[type(node)] + ("" if node.args.get("distinct") else " ALL")
        return f"{self.query(node.this)} {word} {self.query(node.expression)}"

    def _tail(self, node: exp.Expr, limit: int | None) -> str:
        """ORDER BY, LIMIT and OFFSET of a set operation."""
        order = node.args.get("order")
        text = ""
        if order is not None:
            text += " ORDER BY " + ", ".join(f"{o.this.name}{_direction(o)}" for o in order.expressions)
        return text + _limits(node, limit)

    def _select(self, node: exp.Select, common: list[str], limit: int | None) -> str:
        plan = self._plan.selects.get(id(node)) if node.args.get("from_") is not None else None
        if plan is None:
            raise TypeError("a SELECT that was not planned")
        if plan.known_count is not None:
            return self._counted(node, plan.known_count, limit)
        moved = dict(self._moved)
        source = _From(plan)
        tables = self._from(source)
        where = [*self._same_cells(source, None), *map(self._expressions.sql, plan.where)]
        parts = [_with([*common, *source.common]) + "SELECT"]
        if node.args.get("distinct"):
            parts.append("DISTINCT")
        parts += [self._items(node), "FROM", tables]
        if where:
            parts += ["WHERE", " AND ".join(where)]
        group, having = node.args.get("group"), node.args.get("having")
        if group is not None:
            parts += ["GROUP BY", ", ".join(map(self._key, group.expressions))]
        if having is not None:
            parts += ["HAVING", self._expressions.sql(having.this)]
        parts.append(self._order(node) + _limits(node, limit))
        self._moved = moved
        return " ".join(parts)

    def _items(self, node: exp.Select) -> str:
        return ", ".join(self._item(e) for e in node.expressions)

    def _item(self, node: exp.Expr) -> str:
        if isinstance(node, exp.Star):
            return "*"
        return f"{self._expressions.sql(node.unalias())} AS {quoted(node.alias_or_name)}"

    def _key(self, node: exp.Expr) -> str:
        """A key of GROUP BY or ORDER BY; a bare number would mean a column's place, and DuckDB refuses a bare text."""
        text = self._expressions.sql(node)
        kind: DataType = node.meta.get("type") or INT
        return f"CAST({text} AS {type_name(kind)})" if _CONSTANT.fullmatch(text) else text

    def _order(self, node: exp.Select) -> str:
        order = node.args.get("order")
        if order is None:
            return ""
        values = [e.unalias() for e in node.expressions]
        keys = []
        for item in order.expressions:
            # By place where it is an output column: SELECT DISTINCT and DuckDB ask for that.
            key = str(values.index(item.this) + 1) if item.this in values else self._key(item.this)
            keys.append(f"{key}{_direction(item)}")
        return "ORDER BY " + ", ".join(keys)

    def _counted(self, node: exp.Select, count: int, limit: int | None) -> str:
        items = ", ".join(f"CAST({count} AS BIGINT) AS {quoted(e.alias_or_name)}" for e in node.expressions)
        return f"SELECT {items}{_limits(node, limit)}"

    def column(self, alias: str, name: str) -> str:
        moved = self._moved.get(alias)
        return f"{quoted(moved)}.{quoted(f'{alias}.{name}')}" if moved else f"{quoted(alias)}.{quoted(name)}"

    # -- FROM --------------------------------------------------------------------------------------------------------

    def _from(self, source: _From) -> str:
        if source.plan.node.args.get("group") is None:
            self._add_cells_for_sub_queries(source)
        outer = {id(j) for j in iter_joins(source.plan.tree) if j.side != "INNER"}
        for match in source.plan.matches:
            if match.join is None or id(match.join) not in outer:
                self._add_cells(source, match)
        return self._tree(source, source.plan.tree)

    def _tree(self, source: _From, tree: FromTree) -> str:
        if isinstance(tree, Item):
            return self._source(source, tree)
        match = self._outer_match(source, tree)
        if match is not None:
            return (
                self._matched_full(source, tree, match) if tree.side == "FULL" else self._matched(source, tree, match)
            )
        left, right = self._tree(source, tree.left), self._operand(source, tree.right)
        conditions = self._conditions(source, tree)
        if not conditions:
            return f"{left} CROSS JOIN {right}"
        return f"{left} {_SIDES[tree.side]} {right} ON {' AND '.join(conditions)}"

    def _operand(self, source: _From, tree: FromTree) -> str:
        text = self._tree(source, tree)
        return text if isinstance(tree, Item) else f"({text})"

    def _conditions(self, source: _From, join: Joined) -> list[str]:
        return [*self._same_cells(source, join), *map(self._expressions.sql, join.conditions)]

    def _same_cells(self, source: _From, join: Joined | None) -> list[str]:
        found = [c for c in source.conditions if c.join is join]
        cells = [" = ".join((*(self.column(alias, c.name) for alias in c.aliases), *c.outside)) for c in found]
        return [*cells, *(near for c in found if c.match is not None for near in self._near_in_declination(c.match))]

    def _near_in_declination(self, match: SkyMatch) -> list[str]:
        """What rules most pairs of a cell out before angles between them are worked out, which costs ten times that."""
        points = [p.bare(place.point) for place in (match.first, match.second)]
        if match.radius_deg is None or not all(p.plain_position(point) for point in points):
            return []
        first, second = (self._expressions.shapes.point(point)[1] for point in points)
        return [f"abs({first} - {second}) <= {number(match.radius_deg * _WIDER + _WIDER_DEG)}"]

    def _source(self, source: _From, item: Item) -> str:
        """A source under its alias, with the cells that matches need."""
        alias = quoted(item.alias)
        text = source.numbered.get(item.alias) or self._rows(item)
        for value, name in source.added.get(item.alias, ()):
            # One at a time: two UNNESTs in one SELECT would walk side by side.
            text = f"(SELECT {alias}.*, {value} AS {quoted(name)} FROM {text} AS {alias})"
        return f"{text} AS {alias}"

    def _rows(self, item: Item) -> str:
        if item.use is not None:
            return self._sources[item.alias]
        if isinstance(item.node, exp.Subquery):
            return f"({self.query(item.node.this)})"
        return quoted(item.node.name)

    # -- matches -----------------------------------------------------------------------------------------------------

    def _add_cells(self, source: _From, match: MatchPlan) -> None:
        """Note the cells of both sides, and that they must be equal."""
        if match.correlated:
            self._add_cells_near_outside(source, match)
            return
        name = self.new_name("c")
        many, one = self._cells(source, match)
        source.added.setdefault(match.exploded, []).append((f"UNNEST({many})", name))
        source.added.setdefault(match.keyed, []).append((one, name))
        near = match.match if isinstance(match.match, SkyMatch) else None
        source.conditions.append(_SameCell(match.join, (match.exploded, match.keyed), name, match=near))

    def _add_cells_for_sub_queries(self, source: _From) -> None:
        """Note the cell of each row that a sub-query looks near: DuckDB joins by a column, and not by a formula."""
        own = aliases_of(source.plan.tree)
        for select in self._plan.selects.values():
            for match in select.matches:
                if match.correlated and match.keyed in own:
                    order, name = self._cell_order(source, match), self.new_name("c")
                    cell = self._key_cell(match, order.text)
                    source.added.setdefault(match.keyed, []).append((cell, name))
                    ready = self._repeated(source, match, order) if order.largest else None
                    self._outside[id(match)] = _Outside(name, order, ready)

    def _repeated(self, source: _From, match: MatchPlan, order: _Order) -> str:
        """The name of a table of the rows near which rows outside are, once for each cell, in the column ``c``.

        Where the radius differs, the largest comes from a sub-query. DuckDB would work it out anew for each row outside
        if it stood in the query that looks near them.
        """
        name, alias = self.new_name("x"), quoted(match.exploded)
        rows = self._rows(self._sources_by_alias[match.exploded])
        near = self._near_cells(match, order)
        source.common.append(
            f"{quoted(name)} AS MATERIALIZED (SELECT {alias}.*, UNNEST({near}) AS c FROM {rows} AS {alias})"
        )
        return name

    def _add_cells_near_outside(self, source: _From, match: MatchPlan) -> None:
        known = self._outside.get(id(match))
        many_radii = isinstance(match.match, SkyMatch) and match.match.radius_deg is None
        if many_radii:
            # Such rows can stand for the only source alone, and for one match.
            free = isinstance(source.plan.tree, Item) and match.exploded not in source.numbered
            if known is not None and known.ready is not None and free:
                source.numbered[match.exploded] = quoted(known.ready)
                cell = self.column(match.keyed, known.column)
                source.conditions.append(_SameCell(None, (match.exploded,), "c", (cell,)))
            return
        order = known.order if known is not None else self._cell_order(source, match)
        # A row of groups has no columns but its keys, from which the cell can be worked out.
        cell = self.column(match.keyed, known.column) if known else self._worked_out_cell(match, order.text)
        name = self.new_name("c")
        source.added.setdefault(match.exploded, []).append((f"UNNEST({self._near_cells(match, order)})", name))
        source.conditions.append(_SameCell(None, (match.exploded,), name, (cell,)))

    def _cells(self, source: _From, match: MatchPlan) -> tuple[str, str]:
        """The cells near a row of the exploded side, and the cell of a row of the other."""
        order = self._cell_order(source, match)
        return self._near_cells(match, order), self._key_cell(match, order.text)

    def _cell_order(self, source: _From, match: MatchPlan) -> _Order:
        found = match.match
        if isinstance(found, RegionMatch):
            return _Order(str(REGION_ORDER))
        if found.radius_deg is not None:
            return _Order(str(match_order(found.radius_deg)))
        return self._row_order(source, found)

    def _near_cells(self, match: MatchPlan, order: _Order) -> str:
        found = match.match
        if isinstance(found, RegionMatch):
            return f"idac_region_cells({self._expressions.shapes.shape(found.outer.point).text})"
        ra, dec = self._expressions.shapes.point(found.place(match.exploded).point)
        if found.radius_deg is not None:
            cells = f"idac_cells({ra}, {dec}, {number(found.radius_deg)}, {order.text})"
            stored = exploded_cell(self._sources_by_alias, match)
            if stored is None:
                return cells
            return cells_near_stored(self.column(match.exploded, stored), match_order(found.radius_deg), cells)
        pairs = zip(found.terms, order.largest, strict=True)
        own = (self._expressions.sql(t) if tables_of(t) == {match.exploded} else most for t, most in pairs)
        return f"idac_cells({ra}, {dec}, ({' + '.join(own)}), {order.text})"

    def _key_cell(self, match: MatchPlan, order: str) -> str:
        cell = stored_cell(self._sources_by_alias, match)
        if cell is None:
            return self._worked_out_cell(match, order)
        shift = str(2 * (MAX_ORDER - int(order))) if order.isdigit() else f"(2 * ({MAX_ORDER} - {order}))"
        return f"({self.column(match.keyed, cell)} >> {shift})"

    def _worked_out_cell(self, match: MatchPlan, order: str) -> str:
        ra, dec = self._expressions.shapes.point(_key_point(match))
        return f"idac_healpix({order}, {ra}, {dec})"

    def _row_order(self, source: _From, found: SkyMatch) -> _Order:
        """The order where the radius differs from row to row: it suits the largest."""
        largest = []
        for term in found.terms:
            constant = constant_number(term)
            if constant is not None:
                largest.append(number(constant))
            else:
                (alias,) = tables_of(term)
                largest.append(f"({self._largest(self._sources_by_alias[alias], term)})")
        name = self.new_name("r")
        total = " + ".join(f"CAST({v} AS DOUBLE)" for v in largest)
        source.common.append(f"{quoted(name)} AS MATERIALIZED (SELECT idac_match_order({total}) AS o)")
        return _Order(f"(SELECT o FROM {quoted(name)})", tuple(largest))

    def _largest(self, item: Item, term: exp.Expr) -> str:
        """The largest value of *term* among all rows of a source, as it stands for itself."""
        moved = self._moved.pop(item.alias, None)
        value, rows = self._expressions.sql(term), self._rows(item)
        if moved is not None:
            self._moved[item.alias] = moved
        # NaN is larger than every number to DuckDB.
        largest = f"coalesce(max(nullif(CAST({value} AS DOUBLE), 'nan'::DOUBLE)), 0)"
        return f"SELECT {largest} FROM {rows} AS {quoted(item.alias)}"

    # -- matches in outer joins ----------------------------------------------------------------------------------------

    def _outer_match(self, source: _From, join: Joined) -> MatchPlan | None:
        if join.side == "INNER":
            return None
        left, right = aliases_of(join.left), aliases_of(join.right)
        for match in source.plan.matches:
            sides = {match.exploded, match.keyed}
            if match.join is join and sides & left and sides & right:
                return match
        return None

    def _numbered(self, source: _From, item: Item) -> None:
        """Give the rows of a source numbers, by which they are found again."""
        if item.alias in source.numbered:
            return
        name = self.new_name("n")
        rows = self._rows(item)
        source.common.append(
            f"{quoted(name)} AS MATERIALIZED (SELECT *, row_number() OVER () AS {quoted(_ROW)} FROM {rows} AS s)"
        )
        source.numbered[item.alias] = quoted(name)

    def _matched(self, source: _From, join: Joined, match: MatchPlan) -> str:
        """LEFT JOIN (and RIGHT, turned round): the pairs by an inner join, then to each row its pairs by number."""
        kept, other = (join.left, join.right) if join.side == "LEFT" else (join.right, join.left)
        anchor = match.exploded if match.exploded in aliases_of(kept) else match.keyed
        item = item_of(kept, anchor)
        self._numbered(source, item)
        reach = aliases_of(other) | {anchor}
        left = self._operand(source, kept)
        inner = [c for c in join.conditions if not (tables_of(c) & aliases_of(source.plan.tree)) - reach]
        outer = [c for c in join.conditions if not any(c is i for i in inner)]
        name = self.new_name("p")
        moved = self._moved.pop(anchor, None)
        tables = self._pairs(source, match, item, other, inner)
        columns = [f"{self.column(anchor, _ROW)} AS {quoted(_ROW)}", *self._moving(source, other)]
        pairs = f"SELECT {', '.join(columns)} FROM {tables}"
        if moved is not None:
            self._moved[anchor] = moved
        self._moved |= dict.fromkeys(aliases_of(other), name)
        tests = [f"{self.column(anchor, _ROW)} = {quoted(name)}.{quoted(_ROW)}", *map(self._expressions.sql, outer)]
        return f"{left} LEFT JOIN ({pairs}) AS {quoted(name)} ON {' AND '.join(tests)}"

    def _moving(self, source: _From, tree: FromTree) -> list[str]:
        """Every column of *tree* that the rest of the query uses, under a name that says whose it is."""
        own = aliases_of(tree)
        used = {(c.table, c.name) for c in source.plan.node.find_all(exp.Column) if c.table in own}
        added = {(alias, name) for alias in own for _, name in source.added.get(alias, ())}
        rows = {(alias, _ROW) for alias in own & source.numbered.keys()}
        cells = {
            (m.exploded, exploded_cell(self._sources_by_alias, m)) for m in source.plan.matches if m.exploded in own
        }
        moving = used | added | rows | {(alias, cell) for alias, cell in cells if cell is not None}
        return [f"{self.column(alias, name)} AS {quoted(f'{alias}.{name}')}" for alias, name in sorted(moving)]

    def _pairs(
        self,
        source: _From,
        match: MatchPlan,
        item: Item,
        other: FromTree,
        conditions: Sequence[exp.Expr],
    ) -> str:
        """An inner join of the numbered *item* with *other* by cells."""
        inner = _From(replace(source.plan, matches=[]), source.common, dict(source.added), [*source.conditions])
        inner.numbered = source.numbered
        # The anchor's own cells for other matches belong to the outer copy of it alone.
        inner.added = {a: list(v) for a, v in source.added.items() if a != item.alias}
        pair = Joined(item, other, "INNER", list(conditions))
        self._add_cells(inner, replace(match, join=pair))
        inner.plan.matches += [m for m in source.plan.matches if m is not match]
        return self._tree(inner, pair)

    def _matched_full(self, source: _From, join: Joined, match: MatchPlan) -> str:
        """FULL JOIN: both sides with their rows numbered, the pairs as two numbers, and each joined to them."""
        order, cell = self._cell_order(source, match), self.new_name("c")
        # The one cell of a row may be added before rows are numbered; many would make many rows of one.
        source.added.setdefault(match.keyed, []).append((self._key_cell(match, order.text), cell))
        left, right = self._numbered_side(source, join.left), self._numbered_side(source, join.right)
        first, second = self.new_name("l"), self.new_name("r")
        sides = dict.fromkeys(aliases_of(join.left), first) | dict.fromkeys(aliases_of(join.right), second)
        self._moved |= sides
        found = {
            sides[match.exploded]: f"UNNEST({self._near_cells(match, order)})",
            sides[match.keyed]: self.column(match.keyed, cell),
        }
        tables = " JOIN ".join(
            f"(SELECT *, {found[alias]} AS c FROM {quoted(rows)} AS {quoted(alias)}) AS {quoted(alias)}"
            for alias, rows in ((first, left), (second, right))
        )
        tests = [*map(self._expressions.sql, join.conditions), f"{quoted(first)}.c = {quoted(second)}.c"]
        pairs = (
            f"SELECT {quoted(first)}.{quoted(_ROW)} AS l, {quoted(second)}.{quoted(_ROW)} AS r "
            f"FROM {tables} ON {' AND '.join(tests)}"
        )
        self._moved |= dict.fromkeys(aliases_of(join.left), left) | dict.fromkeys(aliases_of(join.right), right)
        name = quoted(self.new_name("p"))
        return (
            f"({quoted(left)} LEFT JOIN ({pairs}) AS {name} ON {quoted(left)}.{quoted(_ROW)} = {name}.l) "
            f"FULL JOIN {quoted(right)} ON {name}.r = {quoted(right)}.{quoted(_ROW)}"
        )

    def _numbered_side(self, source: _From, tree: FromTree) -> str:
        """The name of a table made of all that *tree* yields and the query uses of it, with a number for each row."""
        text = self._tree(source, tree)
        columns = self._moving(source, tree)
        name = self.new_name("f")
        listed = ", ".join([*columns, f"row_number() OVER () AS {quoted(_ROW)}"])
        source.common.append(f"{quoted(name)} AS MATERIALIZED (SELECT {listed} FROM {text})")
        return name


def _key_point(match: MatchPlan) -> exp.Expr:
    """The position by whose cell the rows of the keyed source are looked up."""
    found = match.match
    return found.inner.point if isinstance(found, RegionMatch) else found.place(match.keyed).point


def stored_cell(sources: Mapping[str, Item], match: MatchPlan) -> str | None:
    """The column of the keyed table's files that holds the cell of its position; None where none does."""
    return _stored(sources[match.keyed], _key_point(match))


def exploded_cell(sources: Mapping[str, Item], match: MatchPlan) -> str | None:
    """The same of the exploded table, for a radius that is one number and cells that are smaller than base cells."""
    found = match.match
    if isinstance(found, RegionMatch) or found.radius_deg is None or match_order(found.radius_deg) == 0:
        return None
    return _stored(sources[match.exploded], found.place(match.exploded).point)


def _stored(item: Item, point: exp.Expr) -> str | None:
    use, position = item.use, p.plain_position(p.bare(point))
    if use is None or position is None or not is_sorted_position(use, *position[1:]):
        return None
    storage = use.entry.storage
    return storage.healpix_column if isinstance(storage, HatsStorage) else None


def uses_stored_cells(plan: Plan) -> frozenset[str]:
    """Aliases of tables whose stored index the query's matches read."""
    sources = _all_sources(plan)
    matches = [match for select in plan.selects.values() for match in select.matches]
    keyed = {match.keyed for match in matches if stored_cell(sources, match) is not None}
    return frozenset(keyed | {match.exploded for match in matches if exploded_cell(sources, match) is not None})


def _all_sources(plan: Plan) -> dict[str, Item]:
    """Sources of every FROM clause by alias."""
    return {item.alias: item for select in plan.selects.values() for item in iter_items(select.tree)}


def _common_tables(tree: exp.Expr) -> tuple[Mapping[str, int], bool]:
    """How often each common table is named, and whether writing all of them out makes a query of too many tables."""
    uses = Counter(t.name for t in tree.find_all(exp.Table) if t.args.get("db") is None)
    sizes: dict[str, int] = {}
    # In the order of the text a common table comes after those that it names.
    for item in sorted(tree.find_all(exp.CTE), key=lambda c: int(c.alias[1:])):
        sizes[item.alias] = _tables_in(item.this, sizes)
    return uses, _tables_in(tree, sizes) > _MOST_TABLES


def _tables_in(node: exp.Expr, sizes: Mapping[str, int]) -> int:
    """Tables of a query once the common ones that it names are written out."""
    return sum(sizes.get(t.name, 1) if t.args.get("db") is None else 1 for t in node.find_all(exp.Table))


def _with(common: Sequence[str]) -> str:
    return f"WITH {', '.join(common)} " if common else ""


def _direction(item: exp.Expr) -> str:
    return (" DESC" if item.args.get("desc") else " ASC") + " NULLS LAST"


def _limits(node: exp.Expr, limit: int | None) -> str:
    own = node.args.get("limit")
    wanted = limit if limit is not None else (int(own.expression.name) if own is not None else None)
    text = f" LIMIT {wanted}" if wanted is not None else ""
    offset = node.args.get("offset")
    return f"{text} OFFSET {offset.expression.name}" if offset is not None else text
