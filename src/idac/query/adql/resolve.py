"""A parsed query made a checked one: tables found, rights held, names and types known, output columns described."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
from sqlglot import exp

from idac.catalogs.snapshot import CatalogSnapshot, MemoryStorage, TableEntry
from idac.core.errors import BadQuery
from idac.core.principal import Principal
from idac.core.rights import RightsPolicy
from idac.query.adql import geometry as g
from idac.query.adql.expressions import Expressions
from idac.query.adql.functions import Function
from idac.query.adql.grouping import check_grouping, has_aggregate
from idac.query.adql.hints import nearest
from idac.query.adql.nodes import cast_output, duplicate, is_text, kind_of, quoted, table_alias, unit_of
from idac.query.adql.parser import parse_adql
from idac.query.adql.scope import Columns, Scope, Source, Visible
from idac.query.adql.types import NULL_TYPE, alike, widest
from idac.query.resolved import ResolvedQuery, TableUse
from idac.tables.model import DOUBLE, STRING, Column, Table
from idac.tables.names import adql_table_name

#: Schemas that everyone may read whatever the rights say: descriptions of what there is, and the caller's own uploads.
_OPEN_SCHEMAS = ("tap_schema", "tap_upload")
#: Tables and sub-queries of one query. Each is planned on its own, so their number must be bounded.
MAX_TABLES = 64
#: Statistics whose word can only come first in a UCD.
_PRIMARY_STATISTICS = frozenset({"stat.variance"})
_GEOMETRY_NAMES: dict[type[exp.Expr], str] = {
    g.Point: "point",
    g.Circle: "circle",
    g.Box: "box",
    g.PolygonNode: "polygon",
    g.RegionText: "region",
    g.Contains: "contains",
    g.Intersects: "intersects",
    g.Distance: "distance",
    g.Area: "area",
    g.Centroid: "centroid",
    g.Coord1: "coord1",
    g.Coord2: "coord2",
    g.CoordSys: "coordsys",
}


def resolve_query(text: str, snapshot: CatalogSnapshot, principal: Principal, rights: RightsPolicy) -> ResolvedQuery:
    """The checked form of an ADQL text, over the tables of *snapshot* that *principal* may read.

    Raises BadQuery with line and column, or AccessDenied for a table that the caller may not read.
    """
    resolver = Resolver(text, snapshot, principal, rights)
    tree, columns = resolver.query(parse_adql(text), None)
    return ResolvedQuery(text, tree, tuple(columns), tuple(resolver.uses))


def check_tables(
    text: str, snapshot: CatalogSnapshot, principal: Principal, rights: RightsPolicy, uploads: Collection[str]
) -> None:
    """Refuse what is wrong with a query before its *uploads* are read; only their names are known then.

    Raises BadQuery for what is no ADQL or names a table that is not there, and AccessDenied as ``resolve_query`` does.
    A query that uses none of the uploads is checked whole.
    """
    tree = parse_adql(text)
    expected = {name: TableEntry(Table("TAP_UPLOAD", name, ()), MemoryStorage(pa.table({})), "") for name in uploads}
    resolver = Resolver(text, snapshot.with_uploads(expected), principal, rights)
    common = {item.args["alias"].this.name.lower() for item in tree.find_all(exp.CTE)}
    used = [
        resolver.entry(node, Scope(text))
        for node in tree.find_all(exp.Table)
        if node.args.get("db") is not None or node.this.name.lower() not in common
    ]
    if not any(entry.table.schema == "TAP_UPLOAD" for entry in used):
        resolve_query(text, snapshot, principal, rights)


@dataclass(frozen=True)
class _Common:
    """A table of WITH: its name in the resolved tree, and its columns."""

    name: str
    columns: tuple[Column, ...]


class Resolver:
    """One query's resolution: the tables it uses, and names for them that are unique in the whole tree."""

    def __init__(self, text: str, snapshot: CatalogSnapshot, principal: Principal, rights: RightsPolicy) -> None:
        self.text, self.snapshot, self.principal, self.rights = text, snapshot, principal, rights
        self.uses: list[TableUse] = []
        self.common: list[dict[str, _Common]] = []
        self._names = 0

    def new_name(self, kind: str, node: exp.Expr) -> str:
        self._names += 1
        if self._names > MAX_TABLES:
            raise Scope(self.text).error(
                "The query uses too many tables and sub-queries.",
                node,
                None,
                allowed=f"at most {MAX_TABLES}",
                next_step="Upload long lists as a table, or ask in several queries.",
            )
        return f"{kind}{self._names}"

    # -- queries ---------------------------------------------------------------------------------------------------

    def query(self, node: exp.Query, parent: Scope | None) -> tuple[exp.Query, list[Column]]:
        """The resolved form of any query, and its output columns; *parent* is the scope it is correlated with."""
        with_ = node.args.get("with_")
        if with_ is None:
            return self.body(node, parent)
        known: dict[str, _Common] = {}
        self.common.append(known)
        # In order: a common table may use those before it, and never itself.
        tables = [self.common_table(item, known) for item in with_.expressions]
        result, columns = self.body(node, parent)
        self.common.pop()
        if isinstance(result, exp.Subquery):
            result = exp.select("*").from_(exp.Subquery(this=result, alias=table_alias(self.new_name("s", node))))
        result.set("with_", exp.With(expressions=tables))
        return result, columns

    def table_query(self, node: exp.Query) -> tuple[exp.Query, list[Column]]:
        """A query that is a table to the one round it: a column of NULLs alone is a column of text there."""
        query, columns = self.query(node, None)
        for place, column in enumerate(columns):
            if column.type is NULL_TYPE:
                cast_output(query, place, STRING)
                columns[place] = replace(column, type=STRING)
        return query, columns

    def common_table(self, item: exp.CTE, known: dict[str, _Common]) -> exp.CTE:
        query, columns = self.table_query(item.this)
        alias = item.args["alias"]
        given = alias.args.get("columns") or []
        if given and len(given) != len(columns):
            raise Scope(self.text).error(
                "The column names of a common table must be as many as its columns.",
                item,
                f"{len(given)} names",
                allowed=f"{len(columns)}",
            )
        named = tuple(c.renamed(i.name) for c, i in zip(columns, given, strict=True)) if given else tuple(columns)
        key = alias.this.name.lower()
        if key in known:
            raise Scope(self.text).error("Two common tables have this name.", item, alias.this.name)
        name = self.new_name("w", item)
        known[key] = _Common(name, named)
        return exp.CTE(this=query, alias=exp.TableAlias(this=quoted(name), columns=[quoted(c.name) for c in named]))

    def body(self, node: exp.Query, parent: Scope | None) -> tuple[exp.Query, list[Column]]:
        if isinstance(node, exp.Select):
            return _Select(self, node, parent).resolve()
        if isinstance(node, exp.SetOperation):
            return self.set_operation(node, parent)
        if isinstance(node, exp.Subquery):
            inner, columns = self.query(node.this, parent)
            return exp.Subquery(this=inner), columns
        raise Scope(self.text, parent).error("This is not a query.", node, node.key, allowed="SELECT")

    def set_operation(self, node: exp.SetOperation, parent: Scope | None) -> tuple[exp.Query, list[Column]]:
        left, first = self.query(node.this, parent)
        right, second = self.query(node.expression, parent)
        scope = Scope(self.text, parent)
        word = node.key.upper()
        if len(first) != len(second):
            raise scope.error(
                f"Both sides of {word} must have the same number of columns.", node, f"{len(first)} and {len(second)}"
            )
        columns = [self.merged(a, b, node, scope) for a, b in zip(first, second, strict=True)]
        for place, kinds in enumerate(zip(first, second, columns, strict=True)):
            if kinds[2].type == DOUBLE and all(k.type.is_numeric and k.type != DOUBLE for k in kinds[:2]):
                cast_output(left, place, DOUBLE)
        # Parentheses say how operations nest, whatever an engine thinks of their precedence.
        result = type(node)(this=_operand(left), expression=_operand(right), distinct=bool(node.args.get("distinct")))
        result.set("order", _order_by_output(node, columns, scope))
        _copy_offset(node, result)
        return result, columns

    def merged(self, a: Column, b: Column, node: exp.Expr, scope: Scope) -> Column:
        if not alike(a.type, b.type):
            raise scope.error(
                "Columns of the two sides of a set operation can't be put together.",
                node,
                f"{a.name} and {b.name}",
                allowed="columns of the same kind",
                next_step="Convert one of them with CAST.",
            )
        unit = a.unit if a.unit == b.unit else None
        kind = widest(a.type, b.type) or a.type
        return Column(a.name, kind, unit, a.ucd if a.ucd == b.ucd else None, description=a.description)

    # -- tables ----------------------------------------------------------------------------------------------------

    def table(self, node: exp.Table, scope: Scope) -> tuple[exp.Expr, Source]:
        """A table or common table of a FROM clause."""
        alias = node.args.get("alias")
        shown: exp.Identifier | None = alias.this if alias else None
        common = self.find_common(node)
        if common is not None:
            name = self.new_name("t", node)
            source = _source((shown or node.this,), name, common.columns)
            return exp.Table(this=quoted(common.name), alias=table_alias(name)), source
        entry = self.entry(node, scope)
        name = self.new_name("t", node)
        use = TableUse(name, entry)
        self.uses.append(use)
        table = exp.Table(this=quoted(entry.table.name), db=quoted(entry.table.schema), alias=table_alias(name))
        table.meta["use"] = use
        if shown is not None:
            return table, _source((shown,), name, entry.table.columns, entry.table)
        names = (entry.table.schema, entry.table.name)
        identifiers = tuple(exp.Identifier(this=n, quoted=False) for n in names)
        return table, _source(identifiers, name, entry.table.columns, entry.table)

    def find_common(self, node: exp.Table) -> _Common | None:
        if node.args.get("db") is not None:
            return None
        key = node.this.name.lower()
        return next((known[key] for known in reversed(self.common) if key in known), None)

    def entry(self, node: exp.Table, scope: Scope) -> TableEntry:
        """The published table that is meant, if the caller may read it."""
        schema, name = node.args.get("db"), node.this.name
        if node.args.get("catalog") is not None:
            raise scope.error(
                "Tables have no catalogue name here.",
                node,
                ".".join(p.name for p in node.parts),
                allowed="schema.table",
            )
        if schema is not None:
            found = self.snapshot.find(schema.name, name)
            if found is not None:
                self.require(found)
                return found
        else:
            matches = [e for (_, t), e in self.snapshot.entries.items() if t == name.lower() and self.readable(e)]
            if len(matches) == 1:
                return matches[0]
            if matches:
                places = ", ".join(adql_table_name(e.table.schema, e.table.name) for e in matches)
                raise scope.error("More than one schema has a table of this name.", node, name, allowed=places)
        raise self.unknown_table(node, scope)

    def readable(self, entry: TableEntry) -> bool:
        schema = entry.table.schema
        return schema.lower() in _OPEN_SCHEMAS or self.rights.may_read(self.principal, schema, entry.table.name)

    def require(self, entry: TableEntry) -> None:
        if entry.table.schema.lower() not in _OPEN_SCHEMAS:
            self.rights.require_read(self.principal, entry.table.schema, entry.table.name)

    def unknown_table(self, node: exp.Table, scope: Scope) -> BadQuery:
        given = ".".join(p.name for p in node.parts)
        readable = [e.table for e in self.snapshot.entries.values() if self.readable(e)]
        hint = (
            nearest(given, [adql_table_name(t.schema, t.name) for t in readable], str)
            or "SELECT table_name FROM tap_schema.tables lists what there is."
        )
        if node.args.get("db") is not None and node.args["db"].name.lower() == "tap_upload":
            hint = "Send the table with the query: UPLOAD=name,param:… or UPLOAD=name,https://…"
        return scope.error("There is no table of this name.", node, given, next_step=hint)


class _Select:
    """One SELECT."""

    def __init__(self, resolver: Resolver, node: exp.Select, parent: Scope | None) -> None:
        self.resolver, self.node = resolver, node
        self.scope = Scope(resolver.text, parent)
        self.expressions = Expressions(resolver, self.scope)

    def resolve(self) -> tuple[exp.Query, list[Column]]:
        node, result = self.node, exp.Select()
        self.from_clause(result)
        self.scope.aliases = frozenset(e.alias.lower() for e in node.expressions if isinstance(e, exp.Alias))
        where = node.args.get("where")
        if where is not None:
            result.set("where", exp.Where(this=self.without_aggregates("WHERE", where.this)))
        items, columns = self.select_list()
        group = self.group_by(items, columns)
        having = node.args.get("having")
        tested = self.expressions.condition(having.this) if having is not None else None
        ordered = self.order_by(columns, items)
        grouped = bool(group) or self.expressions.uses_aggregates or having is not None
        if grouped:
            extra = [tested] if tested is not None else []
            check_grouping(self.scope, [*items, *extra, *[o.this for o in ordered]], group)
        result.set("expressions", [_output(i, c) for i, c in zip(items, columns, strict=True)])
        result.set("distinct", exp.Distinct() if node.args.get("distinct") else None)
        result.set("group", exp.Group(expressions=group) if group else None)
        result.set("having", exp.Having(this=tested) if tested is not None else None)
        result.set("order", exp.Order(expressions=ordered) if ordered else None)
        limit = node.args.get("limit")
        if limit is not None:
            result.set("limit", exp.Limit(expression=_number(limit.expression)))
        _copy_offset(node, result)
        return result, columns

    def without_aggregates(self, place: str, node: exp.Expr, *, condition: bool = True) -> exp.Expr:
        self.expressions.aggregates_refused = place
        try:
            return self.expressions.condition(node) if condition else self.expressions.value(node)
        finally:
            self.expressions.aggregates_refused = None

    # -- FROM ------------------------------------------------------------------------------------------------------

    def from_clause(self, result: exp.Select) -> None:
        first = self.operand(self.node.args["from_"].this)
        result.set("from_", exp.From(this=first))
        joins = [self.join(j) for j in self.node.args.get("joins") or []]
        result.set("joins", joins or None)

    def operand(self, node: exp.Expr) -> exp.Expr:
        """A table, sub-query or parenthesised join of FROM; what it offers is added to the scope."""
        if isinstance(node, exp.Paren):
            return self.parenthesised(node.this)
        if isinstance(node, exp.Subquery):
            table, source = self.derived(node)
        else:
            table, source = self.resolver.table(node, self.scope)  # type: ignore[arg-type]  # the parser makes no other
        self.add(source, node)
        return table

    def parenthesised(self, first: exp.Expr) -> exp.Expr:
        joins = first.args.get("joins") or []
        table = self.operand(first)
        resolved = [self.join(j) for j in joins]
        if isinstance(table, exp.Table | exp.Subquery):
            table.set("joins", resolved)
            return exp.Paren(this=table)
        return exp.Paren(this=exp.Paren(this=table)) if not resolved else _joined(table, resolved)

    def derived(self, node: exp.Subquery) -> tuple[exp.Expr, Source]:
        query, columns = self.resolver.table_query(node.this)
        name = self.resolver.new_name("s", node)
        return exp.Subquery(this=query, alias=table_alias(name)), _source((node.args["alias"].this,), name, columns)

    def add(self, source: Source, node: exp.Expr) -> None:
        same = [s for s in self.scope.sources if [n.lower() for n in s.names] == [n.lower() for n in source.names]]
        if same:
            raise self.scope.error(
                "Two tables in FROM have this name.",
                node,
                ".".join(source.names),
                next_step="Give one of them an alias with AS.",
            )
        self.scope.sources.append(source)

    def join(self, node: exp.Join) -> exp.Join:
        before = len(self.scope.sources)
        table = self.operand(node.this)
        side = node.args.get("side") or None
        if node.args.get("kind") == "CROSS":
            return exp.Join(this=table, kind="CROSS")
        result = exp.Join(this=table, side=side)
        on = node.args.get("on")
        if on is not None:
            result.set("on", self.without_aggregates("ON", on))
            return result
        names = node.args.get("using") or self.shared_names(before)
        if not names:
            raise self.scope.error("NATURAL JOIN needs columns that both tables have.", node, "none in common")
        conditions = [self.merge(name, before, side) for name in names]
        result.set("on", exp.and_(*conditions, copy=False))
        return result

    def shared_names(self, before: int) -> list[exp.Identifier]:
        left = {v.column.name.lower() for s in self.scope.sources[:before] for v in s.everything()}
        right = [v.column.name for s in self.scope.sources[before:] for v in s.everything()]
        return [exp.Identifier(this=name, quoted=False) for name in right if name.lower() in left]

    def merge(self, name: exp.Identifier, before: int, side: str | None) -> exp.Expr:
        """The condition that USING stands for, and the one column that both become (SQL-92 section 7.5)."""
        left_scope = Scope(self.scope.text, None, self.scope.sources[:before], dict(self.scope.merged))
        right_scope = Scope(self.scope.text, None, self.scope.sources[before:])
        left, right = left_scope.resolve(name, ())[0], right_scope.resolve(name, ())[0]
        self.scope.merged[name.name.lower()] = _merged(left, right, side)
        sides = self.expressions.comparable([left.reference(), right.reference()], name)
        return exp.EQ(this=sides[0], expression=sides[1])

    # -- the select list -------------------------------------------------------------------------------------------

    def select_list(self) -> tuple[list[exp.Expr], list[Column]]:
        items: list[exp.Expr] = []
        columns: list[Column] = []
        for item in self.node.expressions:
            for value, column in self.select_item(item):
                items.append(value)
                columns.append(column)
        return items, _unique(columns)

    def select_item(self, item: exp.Expr) -> list[tuple[exp.Expr, Column]]:
        if isinstance(item, exp.Star):
            return [_plain(v) for v in self.scope.everything()]
        if isinstance(item, exp.Column) and isinstance(item.this, exp.Star):
            qualifiers = [item.args[k] for k in ("catalog", "db", "table") if item.args.get(k) is not None]
            source = self.scope.find_source(qualifiers)
            if source is None:
                raise self.scope.unknown(exp.Identifier(this="*"), qualifiers)
            return [_plain(v) for v in source.everything()]
        alias = item.args.get("alias") if isinstance(item, exp.Alias) else None
        value = self.expressions.value(item.this if alias is not None else item)
        return [(value, _described(value, alias.name if alias is not None else None))]

    # -- GROUP BY and ORDER BY -------------------------------------------------------------------------------------

    def group_by(self, items: Sequence[exp.Expr], columns: Sequence[Column]) -> list[exp.Expr]:
        group = self.node.args.get("group")
        return [self.grouped(e, items, columns) for e in group.expressions] if group is not None else []

    def grouped(self, node: exp.Expr, items: Sequence[exp.Expr], columns: Sequence[Column]) -> exp.Expr:
        place = _ordinal(node, len(items), self.scope, "GROUP BY")
        if place is not None:
            return self.grouped_output(node, items[place])
        if isinstance(node, exp.Column) and not node.args.get("table"):
            try:
                return self.without_aggregates("GROUP BY", node, condition=False)
            except BadQuery:
                place = _place_by_name(node.this, columns)
                if place is None:
                    raise
                return self.grouped_output(node, items[place])
        return self.without_aggregates("GROUP BY", node, condition=False)

    def grouped_output(self, node: exp.Expr, item: exp.Expr) -> exp.Expr:
        """An output column that GROUP BY names by its place or its name."""
        if has_aggregate(item):
            raise self.scope.error(
                "GROUP BY can't name a column that is an aggregate itself.",
                node,
                node.name,
                next_step="Name the columns that the aggregates are to be of.",
            )
        return duplicate(item)

    def order_by(self, columns: Sequence[Column], items: Sequence[exp.Expr]) -> list[exp.Ordered]:
        order = self.node.args.get("order")
        result = []
        for item in order.expressions if order is not None else []:
            place = _ordinal(item.this, len(columns), self.scope, "ORDER BY")
            if place is None and isinstance(item.this, exp.Column) and not item.this.args.get("table"):
                place = _place_by_name(item.this.this, columns)
            value = duplicate(items[place]) if place is not None else self.expressions.value(item.this)
            if place is None and self.node.args.get("distinct") and value not in items:
                raise self.scope.error(
                    "SELECT DISTINCT can be ordered by its own columns alone.",
                    item,
                    None,
                    next_step="Add the expression to the select list.",
                )
            result.append(exp.Ordered(this=value, desc=bool(item.args.get("desc")), nulls_first=False))
        return result


def _number(node: exp.Expr) -> exp.Literal:
    return exp.Literal(this=str(min(int(node.name), 2**62)), is_string=False)


def _copy_offset(node: exp.Expr, result: exp.Query) -> None:
    offset = node.args.get("offset")
    if offset is not None:
        result.set("offset", exp.Offset(expression=_number(offset.expression)))


def _operand(query: exp.Query) -> exp.Query:
    return query if isinstance(query, exp.Subquery) else exp.Subquery(this=query)


def _joined(table: exp.Expr, joins: list[exp.Join]) -> exp.Expr:
    table.set("joins", joins)
    return exp.Paren(this=table)


def _source(
    names: Sequence[exp.Identifier], alias: str, columns: Sequence[Column], table: Table | None = None
) -> Source:
    delimited = bool(names[-1].args.get("quoted"))
    return Source(tuple(n.name for n in names), delimited, alias, Columns(columns, table))


def _merged(left: Visible, right: Visible, side: str | None) -> Visible:
    if side == "RIGHT":
        return right
    return left if side != "FULL" else Visible(left.column, left.alias, right)


def _plain(visible: Visible) -> tuple[exp.Expr, Column]:
    return visible.reference(), visible.column


def _described(value: exp.Expr, alias: str | None) -> Column:
    """Metadata of an output column: the source's where it is one, else what is known of the expression."""
    source: Column | None = value.meta.get("column")
    function: Function | None = value.meta.get("function")
    if function is not None:
        name = alias or (f"{function.name.lower()}_{source.name}" if source is not None else function.name.lower())
        return Column(name, kind_of(value) or NULL_TYPE, unit_of(value), _ucd_of_call(function, source))
    if source is not None:
        # Flags of TAP_SCHEMA are about the published table, not about a result.
        return Column(alias or source.name, source.type, source.unit, source.ucd, source.utype, source.description)
    return Column(alias or _name_of(value), kind_of(value) or NULL_TYPE, unit_of(value))


def _ucd_of_call(function: Function, source: Column | None) -> str | None:
    """The UCD of a statistic: the column's, with the word for the statistic (UCD1+ 1.5 section 4)."""
    if function.name == "COUNT":
        return "meta.number"
    if source is None or not source.ucd or function.stat is None:
        return None
    # A mean position is no longer the main one of its table.
    words = [w for w in source.ucd.split(";") if w != "meta.main"]
    return ";".join([function.stat, *words] if function.stat in _PRIMARY_STATISTICS else [*words, function.stat])


def _name_of(value: exp.Expr) -> str:
    """A name for a computed column: of its geometry function where it is one, else ``expr``."""
    return _GEOMETRY_NAMES.get(type(value), "expr")


def _unique(columns: Sequence[Column]) -> list[Column]:
    """Columns with names that no two share regardless of case, since FITS and DuckDB take them for the same."""
    taken: set[str] = set()
    result = []
    for column in columns:
        name, number = column.name, 2
        while name.lower() in taken:
            name, number = f"{column.name}_{number}", number + 1
        taken.add(name.lower())
        result.append(column.renamed(name) if name != column.name else column)
    return result


def _output(value: exp.Expr, column: Column) -> exp.Expr:
    return exp.Alias(this=value, alias=quoted(column.name))


def _ordinal(node: exp.Expr, count: int, scope: Scope, clause: str) -> int | None:
    """Index of the output column that a bare whole number stands for; None for any other expression."""
    if not isinstance(node, exp.Literal) or is_text(node):
        return None
    if not node.name.isdigit() or not 1 <= int(node.name) <= count:
        raise scope.error(f"A number in {clause} is the place of a column.", node, node.name, allowed=f"1 to {count}")
    return int(node.name) - 1


def _place_by_name(name: exp.Identifier, columns: Sequence[Column]) -> int | None:
    for place, column in enumerate(columns):
        if column.name == name.name or (not name.args.get("quoted") and column.name.lower() == name.name.lower()):
            return place
    return None


def _order_by_output(node: exp.Expr, columns: Sequence[Column], scope: Scope) -> exp.Order | None:
    """ORDER BY of a set operation: by the names or places of its columns alone."""
    order = node.args.get("order")
    if order is None:
        return None
    result = []
    for item in order.expressions:
        place = _ordinal(item.this, len(columns), scope, "ORDER BY")
        if place is None and isinstance(item.this, exp.Column) and not item.this.args.get("table"):
            place = _place_by_name(item.this.this, columns)
        if place is None:
            raise scope.error(
                "A set operation is ordered by the names or places of its columns.",
                item,
                None,
                allowed=", ".join(c.name for c in columns[:20]),
            )
        number = exp.Literal(this=str(place + 1), is_string=False)
        result.append(exp.Ordered(this=number, desc=bool(item.args.get("desc")), nulls_first=False))
    return exp.Order(expressions=result)
