"""Calls of functions: arguments checked against the declaration, special forms brought to the one that engines know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlglot import exp

from idac.query.adql import geometry as g
from idac.query.adql import units
from idac.query.adql.functions import FUNCTIONS, SPECIAL, Function
from idac.query.adql.geometry_rules import GEOMETRY, resolve_geometry
from idac.query.adql.hints import FUNCTIONS_ELSEWHERE, nearest
from idac.query.adql.literals import repr_double
from idac.query.adql.nodes import bare, constant, is_text, kind_of, place_of, typed, unit_of, widened
from idac.query.adql.types import alike, belongs, describe, widest
from idac.sky.frames import FRAMES
from idac.sky.healpix import MAX_ORDER
from idac.tables.model import DOUBLE, POINT, DataType

if TYPE_CHECKING:
    from idac.query.adql.expressions import Expressions


def resolve_call(expressions: Expressions, node: exp.Anonymous) -> exp.Expr:
    """The resolved form of a call of any function, aggregate or geometry."""
    return _Call(expressions, node).resolve()


def common(expressions: Expressions, values: Sequence[exp.Expr], node: exp.Expr, of: str) -> DataType | None:
    """The one type that all *values* have in common."""
    kind: DataType | None = None
    for value in values:
        other = kind_of(value)
        if kind is not None and other is not None and not alike(kind, other):
            raise expressions.error(
                f"{of} must be of one kind.",
                node,
                value=f"{describe(kind)} and {describe(other)}",
                hint="Convert them with CAST.",
            )
        kind = widest(kind, other)
    return kind


def common_unit(values: Sequence[exp.Expr]) -> str | None:
    """The unit of all *values* that are not written as numbers; None where they differ."""
    found = {unit_of(v) for v in values if constant(v) is None and not isinstance(v, exp.Null)}
    return found.pop() if len(found) == 1 else None


class _Call:
    """One call, while it is resolved."""

    def __init__(self, expressions: Expressions, node: exp.Anonymous) -> None:
        self.expressions, self.node = expressions, node
        self.name: str = node.name
        self.at = place_of(node)

    def resolve(self) -> exp.Expr:
        function = FUNCTIONS.get(self.name)
        if self.node.meta.get("distinct") and (function is None or not function.aggregate):
            self.known()
            raise self.expressions.error(
                "DISTINCT belongs into an aggregate.", self.node, value=self.name, allowed="COUNT, SUM, AVG, …"
            )
        if function is not None:
            return self.aggregate(function) if function.aggregate else self.function(function)
        self.known()
        if self.name == "COALESCE":
            return self.coalesce()
        return self.in_unit() if self.name == "IN_UNIT" else resolve_geometry(self.expressions, self.node)

    def known(self) -> None:
        """Raise BadQuery where nothing has this name."""
        if self.name in GEOMETRY or self.name in SPECIAL or self.name in FUNCTIONS:
            return
        names = [*FUNCTIONS, *SPECIAL, *GEOMETRY]
        hint = FUNCTIONS_ELSEWHERE.get(self.name) or nearest(self.name, names, str) or _LISTED
        raise self.expressions.error("There is no function of this name.", self.node, value=self.name, hint=hint)

    # -- forms with rules of their own -----------------------------------------------------------------------------

    def coalesce(self) -> exp.Expr:
        values = [self.expressions.value(a) for a in self.node.expressions]
        if not values:
            raise self.expressions.error("COALESCE needs at least one value.", self.node, value="none")
        kind = common(self.expressions, values, self.node, "The values of COALESCE")
        values = widened(values, kind)
        return typed(exp.Coalesce(this=values[0], expressions=values[1:]), kind, self.at, common_unit(values))

    def in_unit(self) -> exp.Expr:
        given = self.node.expressions
        if len(given) != 2 or not is_text(given[1]):
            raise self.expressions.error(
                "IN_UNIT takes a number, and the name of a unit in single quotes.",
                self.node,
                allowed="IN_UNIT(value, 'unit')",
            )
        value = self.expressions.operand(given[0], "number", "IN_UNIT")
        wanted, unit = given[1].name, unit_of(value)
        if not units.is_unit(wanted):
            raise self.expressions.error(
                "This is not a unit.", given[1], value=wanted, allowed="VOUnits, such as 'deg', 'mas/yr' or 'erg.s**-1'"
            )
        if unit is None:
            raise self.expressions.error(
                "The unit of this value is not known.",
                given[0],
                hint="Use IN_UNIT on a column that has a unit, or on a sum, product or quotient of such columns.",
            )
        factor = units.conversion_factor(unit, wanted)
        if factor is None:
            raise self.expressions.error(
                f"A value in {unit} can't be given in this unit.",
                given[1],
                value=wanted,
                allowed="units of the same kind",
            )
        number = typed(exp.Literal(this=repr_double(repr(factor)), is_string=False), DOUBLE, self.at)
        product = typed(exp.Mul(this=exp.Paren(this=value), expression=number), DOUBLE, self.at)
        return typed(exp.Paren(this=product), DOUBLE, self.at, wanted)

    # -- functions -------------------------------------------------------------------------------------------------

    def function(self, function: Function) -> exp.Expr:
        if function.engine_name == "IVO_GEOM_TRANSFORM":
            return self.transform(function)
        arguments = self.healpix_arguments() if function.name == "IVO_HEALPIX_INDEX" else None
        arguments = arguments or self.arguments(function)
        if function.name in _BY_ORDER:
            self.healpix_order(self.node.expressions[0])
        return self.made(function, arguments)

    def made(self, function: Function, arguments: list[exp.Expr]) -> exp.Expr:
        kinds = [kind_of(a) or DOUBLE for a in arguments]
        if function.name == "MOD":
            arguments = widened(arguments, function.result(kinds))
        result = exp.Anonymous(this=function.engine_name, expressions=arguments)
        result.meta["function"] = function
        return typed(result, function.result(kinds), self.at, _unit(function, arguments))

    def arguments(self, function: Function) -> list[exp.Expr]:
        given = self.node.expressions
        if not function.fewest <= len(given) <= len(function.parameters):
            raise self.expressions.error(
                "This function takes another number of arguments.",
                self.node,
                value=f"{len(given)}",
                allowed="; ".join(function.signatures),
            )
        pairs = zip(given, function.parameters, strict=False)
        return [self.argument(node, family, function.name) for node, (_, family) in pairs]

    def argument(self, node: exp.Expr, family: str, of: str) -> exp.Expr:
        value = self.expressions.operand(node, family, of)  # type: ignore[arg-type]  # families of the registry
        return self.expressions.as_timestamp(value, node) if family == "time" else value

    def healpix_arguments(self) -> list[exp.Expr] | None:
        """Order and two angles, or order and a point that is not written out; None for the form with two angles."""
        given = self.node.expressions
        if len(given) != 2:
            return None
        order = self.argument(given[0], "integer", self.name)
        point = bare(self.argument(given[1], "point", self.name))
        return [order, point.this, point.expression] if isinstance(point, g.Point) else [order, point]

    def healpix_order(self, given: exp.Expr) -> None:
        order = constant(given)
        if order is not None and not 0 <= order <= MAX_ORDER:
            raise self.expressions.error(
                "There is no HEALPix order of this number.", given, value=f"{order:g}", allowed=f"0 to {MAX_ORDER}"
            )

    def transform(self, function: Function) -> exp.Expr:
        """A point in another frame; of a circle its centre, of a polygon its corners, since a change of frame turns."""
        given = self.node.expressions
        if len(given) != 3:
            return self.made(function, self.arguments(function))  # raises, and says what it takes
        for node in given[:2]:
            if not is_text(node) or node.name not in FRAMES:
                raise self.expressions.error(
                    "A frame is named by literal text, in upper case.",
                    node,
                    value=node.name if is_text(node) else None,
                    allowed=", ".join(f"'{f}'" for f in FRAMES),
                )
        shape = bare(self.argument(given[2], "region", self.name))
        if kind_of(shape) is None:
            return typed(exp.Null(), POINT, self.at)
        if isinstance(shape, g.Circle):
            shape.set("this", self.transformed(function, shape.this))
            return shape
        if isinstance(shape, g.PolygonNode):
            shape.set("expressions", [self.transformed(function, p) for p in shape.expressions])
            return shape
        if not belongs(kind_of(shape), "point"):
            raise self.expressions.error(
                f"{self.name} can't transform this.",
                given[2],
                value=describe(kind_of(shape)),
                allowed="points of every kind, CIRCLE(…) and POLYGON(…)",
            )
        return self.transformed(function, shape)

    def transformed(self, function: Function, point: exp.Expr) -> exp.Expr:
        frames = [self.expressions.value(f) for f in self.node.expressions[:2]]
        result = exp.Anonymous(this=function.engine_name, expressions=[*frames, point])
        result.meta["function"] = function
        return typed(result, POINT, self.at, "deg")

    # -- aggregates ------------------------------------------------------------------------------------------------

    def aggregate(self, function: Function) -> exp.Expr:
        expressions, node = self.expressions, self.node
        if expressions.aggregates_refused or expressions.inside_aggregate:
            place = "another aggregate" if expressions.inside_aggregate else expressions.aggregates_refused
            raise expressions.error(
                f"An aggregate can't stand in {place}.", node, value=node.name, hint="Use HAVING, or a sub-query."
            )
        expressions.uses_aggregates = True
        if any(isinstance(a, exp.Star) for a in node.expressions):
            if function.name != "COUNT":
                raise expressions.error("* can be counted alone.", node, value=f"{node.name}(*)", allowed="COUNT(*)")
            arguments: list[exp.Expr] = [exp.Star()]
        else:
            arguments = self.aggregated(function)
        result = self.made(function, arguments)
        result.meta["distinct"] = bool(node.meta.get("distinct"))
        # Nodes are compared by their arguments: COUNT(DISTINCT x) is not COUNT(x).
        result.set("distinct", result.meta["distinct"])
        source = bare(arguments[0])
        if function.stat and isinstance(source, exp.Column):
            result.meta["column"] = source.meta.get("column")
        return result

    def aggregated(self, function: Function) -> list[exp.Expr]:
        self.expressions.inside_aggregate = True
        try:
            arguments = self.arguments(function)
        finally:
            self.expressions.inside_aggregate = False
        check = _WRITTEN_OUT.get(function.engine_name)
        if check is not None:
            check(self, self.node.expressions)
        return arguments

    def quantile(self, given: Sequence[exp.Expr]) -> None:
        fraction = constant(given[1])
        if fraction is None or not 0 <= fraction <= 1:
            raise self.expressions.error(
                "The fraction of a quantile is a number that is written out.",
                given[1],
                value=None if fraction is None else f"{fraction:g}",
                allowed="0 to 1",
            )

    def string_agg(self, given: Sequence[exp.Expr]) -> None:
        if not is_text(given[1]):
            raise self.expressions.error(
                "The delimiter is a text that is written out.", given[1], allowed="text in single quotes, such as ', '"
            )

    def histogram(self, given: Sequence[exp.Expr]) -> None:
        lower, upper, bins = map(constant, given[1:])
        if self.node.meta.get("distinct"):
            raise self.expressions.error(
                "A histogram counts every value; DISTINCT does not go with it.",
                self.node,
                hint="Select the distinct values in a sub-query first.",
            )
        if lower is None or upper is None or bins is None:
            raise self.expressions.error(
                "The bins of a histogram are numbers that are written out.",
                given[1 + (lower, upper, bins).index(None)],
                allowed="lower bound, upper bound, number of bins",
            )
        if not lower < upper:
            raise self.expressions.error(
                "A histogram goes from a smaller number to a larger one.", given[1], value=f"{lower:g} and {upper:g}"
            )
        if not 1 <= bins <= _MOST_BINS:
            raise self.expressions.error(
                "A histogram can't have so many bins.", given[3], value=f"{bins:g}", allowed=f"1 to {_MOST_BINS:,}"
            )


_MOST_BINS = 10_000
_BY_ORDER = ("IVO_HEALPIX_INDEX", "IVO_HEALPIX_CENTER")
_LISTED = "The service's capabilities list every function (see also the reference of ADQL in the documentation)."
#: Aggregates of which an argument is the same for all rows.
_WRITTEN_OUT = {
    "QUANTILE": _Call.quantile,
    "IVO_STRING_AGG": _Call.string_agg,
    "IVO_HISTOGRAM": _Call.histogram,
}


def _unit(function: Function, arguments: Sequence[exp.Expr]) -> str | None:
    own = unit_of(arguments[0]) if arguments else None
    if function.unit == "same":
        return own
    if function.unit == "root":
        return units.power(own, 0.5)
    if function.unit == "square":
        return units.power(own, 2)
    if function.unit == "power":
        exponent = constant(arguments[1])
        return units.power(own, exponent) if exponent is not None else None
    return function.unit
