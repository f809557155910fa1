"""Values and conditions of the resolved tree in DuckDB's SQL. What has no rule here is never sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from sqlglot import exp

from idac.core.errors import BadQuery
from idac.query.adql import geometry as g
from idac.query.engines.duckdb import functions, whole_numbers
from idac.query.engines.duckdb.shapes import ShapeWriter
from idac.query.engines.duckdb.text import literal, quoted, type_name
from idac.query.plan import predicates as p
from idac.query.plan.constants import constant_number
from idac.tables.model import DataType


class Queries(Protocol):
    """Writes sub-queries, and knows where a column of the query round it has gone."""

    def query(self, node: exp.Expr) -> str: ...
    def column(self, alias: str, name: str) -> str: ...


_OPERATORS: dict[type[exp.Expr], str] = {
    exp.EQ: "=",
    exp.NEQ: "<>",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.GT: ">",
    exp.GTE: ">=",
    exp.Add: "+",
    exp.Sub: "-",
    exp.Mul: "*",
    exp.Div: "/",
    exp.IntDiv: "//",
    exp.And: "AND",
    exp.Or: "OR",
    exp.DPipe: "||",
    exp.Like: "LIKE",
    exp.ILike: "ILIKE",
}
_CONSTRUCTORS = (g.Point, g.Circle, g.Box, g.PolygonNode, g.RegionText, g.Centroid)


class ExpressionWriter:
    """Writes one query's expressions."""

    def __init__(self, queries: Queries, longest: int) -> None:
        """*longest*: characters of SQL that one expression may take."""
        self._queries, self._longest = queries, longest
        self.shapes = ShapeWriter(self)

    def sql(self, node: exp.Expr) -> str:
        """*node* as a value or a condition. Raises BadQuery where nesting makes it too long to be planned."""
        text = self._sql(node)
        if len(text) > self._longest:
            # Where a part is named more than once, its length doubles with each level.
            raise BadQuery(
                "Geometries and functions are nested too deeply in one another.",
                next_step="Work inner values out in a sub-query of FROM, or in WITH.",
            )
        return text

    def _sql(self, node: exp.Expr) -> str:
        if isinstance(node, g.Geometry):
            return self._geometry(node)
        special = self._special(node)
        return self.plain(node) if special is None else special

    def plain(self, node: exp.Expr) -> str:
        if type(node) in _OPERATORS:
            return self._binary(node)
        return _RULES[type(node)](self, node)

    def _binary(self, node: exp.Expr) -> str:
        # A chain of ANDs or sums leans to the left: without recursion it may be as long as a query may be.
        parts: list[str] = []
        while type(node) in _OPERATORS and not (parts and self._special(node) is not None):
            parts.append(f"{_OPERATORS[type(node)]} {self.sql(node.expression)})")
            node = node.this
        return "(" * len(parts) + " ".join([self.sql(node), *reversed(parts)])

    def _special(self, node: exp.Expr) -> str | None:
        """A condition that is said in another way than operators are."""
        if not isinstance(node, exp.Predicate):
            return None
        text = self._geometric_condition(node)
        return self._exact_comparison(node) if text is None else text

    def _exact_comparison(self, node: exp.Expr) -> str | None:
        if isinstance(node, exp.Between):
            if not whole_numbers.needs_two(node):
                return None
            low = exp.GTE(this=node.this, expression=node.args["low"])
            high = exp.LTE(this=node.this, expression=node.args["high"])
            return f"({self.sql(low)} AND {self.sql(high)})"
        for comparison in p.comparisons(node):
            if whole_numbers.is_inexact(comparison):
                return whole_numbers.exact_comparison(comparison, self.sql(comparison.left))
        return None

    def _geometry(self, node: g.Geometry) -> str:
        if isinstance(node, g.Contains | g.Intersects):
            return f"CAST({self.shapes.relation(node)} AS INTEGER)"
        if isinstance(node, g.Distance):
            return self.shapes.distance(node)
        if isinstance(node, g.Area):
            return self.shapes.area(node)
        if isinstance(node, g.Coord1 | g.Coord2):
            return self.shapes.coordinate(node)
        if isinstance(node, g.CoordSys):
            return self.shapes.coordinate_system(node)
        return self.shapes.value(node)

    def _geometric_condition(self, node: exp.Expr) -> str | None:
        """``1 = CONTAINS(…)``, ``CONTAINS(…) = 0`` and ``DISTANCE(…) < 1``, said directly."""
        if isinstance(node, exp.Between):
            return None
        relation = p.demanded(node)
        if relation is not None:
            return self.shapes.relation(relation)
        if isinstance(node, exp.EQ):
            for comparison in p.comparisons(node):
                if isinstance(comparison.left, g.Contains | g.Intersects) and constant_number(comparison.right) == 0:
                    return f"(NOT {self.shapes.relation(comparison.left)})"
        text = self.shapes.compared_distance(node)
        return None if text is None else f"({text})"

    # -- rules -------------------------------------------------------------------------------------------------------

    def _literal(self, node: exp.Literal) -> str:
        return literal(node.name) if node.args.get("is_string") else str(node.name)

    def _column(self, node: exp.Column) -> str:
        return self._queries.column(node.table, node.name)

    def _paren(self, node: exp.Paren) -> str:
        return f"({self.sql(node.this)})"

    def _not(self, node: exp.Not) -> str:
        return f"(NOT {self.sql(node.this)})"

    def _neg(self, node: exp.Neg) -> str:
        return f"(- {self.sql(node.this)})"

    def _between(self, node: exp.Between) -> str:
        return f"({self.sql(node.this)} BETWEEN {self.sql(node.args['low'])} AND {self.sql(node.args['high'])})"

    def _in(self, node: exp.In) -> str:
        query = node.args.get("query")
        if query is not None:
            return f"({self.sql(node.this)} IN {self.sql(query)})"
        members = whole_numbers.exact_members(node)
        if members == []:
            return f"({self.sql(node.this)} <> {self.sql(node.this)})"
        listed = map(self.sql, node.expressions) if members is None else map(str, members)
        return f"({self.sql(node.this)} IN ({', '.join(listed)}))"

    def _is(self, node: exp.Is) -> str:
        return f"({self.sql(node.this)} IS NULL)"

    def _subquery(self, node: exp.Expr) -> str:
        return f"({self._queries.query(node.this)})"

    def _exists(self, node: exp.Exists) -> str:
        return f"EXISTS ({self._queries.query(node.this)})"

    def _case(self, node: exp.Case) -> str:
        parts = ["CASE"]
        if node.this is not None:
            parts.append(self.sql(node.this))
        parts += [f"WHEN {self.sql(b.this)} THEN {self.sql(b.args['true'])}" for b in node.args["ifs"]]
        default = node.args.get("default")
        if default is not None:
            parts.append(f"ELSE {self.sql(default)}")
        return " ".join([*parts, "END"])

    def _coalesce(self, node: exp.Coalesce) -> str:
        return f"coalesce({', '.join(map(self.sql, [node.this, *node.expressions]))})"

    def _cast(self, node: exp.Cast) -> str:
        kind: DataType = node.meta["type"]
        source: DataType | None = node.this.meta.get("type")
        value = self.sql(node.this)
        if not kind.is_string:
            return f"CAST({value} AS {type_name(kind)})"
        text = f"CAST({value} AS VARCHAR)"
        if source is not None and source.is_timestamp:
            text = f"replace({text}, ' ', 'T')"  # DALI 1.1 section 3.3.3
        return _to_length(text, node.meta.get("length"))

    def _call(self, node: exp.Anonymous) -> str:
        name = node.name
        function = node.meta["function"]
        if function.aggregate:
            arguments = [self._argument(a) for a in node.expressions]
            whole = node.meta["type"].is_integer
            return functions.write_aggregate(name, arguments, distinct=bool(node.meta.get("distinct")), whole=whole)
        if name == "IVO_HEALPIX_INDEX" and len(node.expressions) == 2:
            order, point = map(self.sql, node.expressions)
            return f"idac_healpix_point({order}, {point})"
        if name == "IVO_GEOM_TRANSFORM":
            source, target, point = node.expressions
            frames = f"{self.sql(source)}, {self.sql(target)}"
            if isinstance(p.bare(point), g.Point):
                return f"idac_transform({frames}, {', '.join(self.shapes.point(point))})"
            return f"idac_transform_point({frames}, {self.sql(point)})"
        return functions.write_function(name, [self.sql(a) for a in node.expressions])

    def _argument(self, node: exp.Expr) -> str:
        return "*" if isinstance(node, exp.Star) else self.sql(node)


def _to_length(text: str, length: str | None) -> str:
    """CHAR(n) is padded and cut to n characters, VARCHAR(n) is cut."""
    if length is None or length == "*":
        return text
    if length.endswith("*"):
        return f"left({text}, {int(length[:-1])})"
    return f"rpad({text}, {int(length)}, ' ')"


_RULES: dict[type[exp.Expr], Callable[[ExpressionWriter, Any], str]] = {
    exp.Literal: ExpressionWriter._literal,
    exp.Null: lambda _writer, _node: "NULL",
    exp.Boolean: lambda _writer, node: "TRUE" if node.this else "FALSE",
    exp.Column: ExpressionWriter._column,
    exp.Paren: ExpressionWriter._paren,
    exp.Not: ExpressionWriter._not,
    exp.Neg: ExpressionWriter._neg,
    exp.Between: ExpressionWriter._between,
    exp.In: ExpressionWriter._in,
    exp.Is: ExpressionWriter._is,
    exp.Subquery: ExpressionWriter._subquery,
    exp.Exists: ExpressionWriter._exists,
    exp.Case: ExpressionWriter._case,
    exp.Coalesce: ExpressionWriter._coalesce,
    exp.Cast: ExpressionWriter._cast,
    exp.Anonymous: ExpressionWriter._call,
}


def column_reference(alias: str, name: str) -> str:
    return f"{quoted(alias)}.{quoted(name)}"
