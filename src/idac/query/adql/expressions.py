"""Values and conditions of a query, rebuilt with their names looked up and their types known.

A node of the parser's tree goes in; a new node comes out, with ``meta["type"]`` (a DataType, or None for a bare NULL)
and, where they are known, ``meta["unit"]`` and ``meta["column"]`` (the column it is a plain reference to). What has no
rule here can't reach an engine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from sqlglot import exp

from idac.core.errors import BadQuery
from idac.query.adql import units
from idac.query.adql.functions import FUNCTIONS, SPECIAL, Family, Function
from idac.query.adql.geometry_rules import GEOMETRY, resolve_geometry
from idac.query.adql.scope import Scope, nearest
from idac.tables.model import BOOLEAN, DOUBLE, INT, LONG, STRING, TIMESTAMP, UNICODE, DataType

if TYPE_CHECKING:
    from idac.query.adql.resolve import Resolver

_INT32, _INT64 = 2**31, 2**63
_RANK = {"unsignedByte": 0, "short": 1, "int": 2, "long": 3, "float": 4, "double": 5}


def typed[E: exp.Expr](node: E, kind: DataType | None, at: int, unit: str | None = None) -> E:
    """The node itself, with its type, place and unit noted."""
    node.meta["type"], node.meta["at"] = kind, at
    if unit:
        node.meta["unit"] = unit
    return node


def kind_of(node: exp.Expr) -> DataType | None:
    """The type noted on a resolved node; None for a bare NULL."""
    return node.meta.get("type")


def unit_of(node: exp.Expr) -> str | None:
    return node.meta.get("unit")


def place_of(node: exp.Expr) -> int:
    """Offset of a node in the query's text."""
    return int(node.meta.get("at", 0))


def describe(kind: DataType | None) -> str:
    """A type as an astronomer would call it, for errors."""
    if kind is None:
        return "NULL"
    if kind.is_timestamp:
        return "a timestamp"
    if kind.xtype in ("point", "circle", "polygon"):
        return f"a {kind.xtype}"
    if kind.xtype == "adql:REGION":
        return "a region"
    if kind.is_string:
        return "text"
    if kind.datatype == "boolean":
        return "a boolean"
    return "a number" if kind.is_numeric else "an array"


def belongs(kind: DataType | None, family: Family) -> bool:
    """True where a value of *kind* may be given for a parameter of *family*."""
    if kind is None or family == "any":
        return True
    tests: dict[Family, Callable[[DataType], bool]] = {
        "number": lambda k: k.is_numeric,
        "integer": lambda k: k.is_integer,
        "text": lambda k: k.is_string,
        "time": lambda k: k.is_timestamp or k.is_string,
        "boolean": lambda k: k.datatype == "boolean",
        "point": lambda k: k.xtype == "point",
        "region": lambda k: k.xtype in ("point", "circle", "polygon", "adql:REGION"),
        "interval": lambda k: k.datatype == "double" and k.arraysize == "2",
    }
    return tests[family](kind)


def widest(left: DataType | None, right: DataType | None) -> DataType | None:
    """The type that holds values of both; the left one where they have none in common (the caller has checked)."""
    if left is None or right is None:
        return left or right
    if left.is_numeric and right.is_numeric:
        low, high = sorted((left, right), key=lambda k: _RANK[k.datatype])
        # A float has 24 bits of mantissa: an int or long beside it needs a double.
        return DOUBLE if high.datatype == "float" and low.datatype in ("int", "long") else high
    if left.is_string and right.is_string:
        return UNICODE if "unicodeChar" in (left.datatype, right.datatype) else STRING
    return left


class Expressions:
    """Resolves the values and conditions of one SELECT in its *scope*; *resolver* does sub-queries."""

    def __init__(self, resolver: Resolver, scope: Scope) -> None:
        self.resolver, self.scope = resolver, scope
        self.uses_aggregates = False
        self._inside_aggregate = False
        #: Set while WHERE, ON and GROUP BY are resolved, to say in an error where aggregates are not allowed.
        self.aggregates_refused: str | None = None

    def error(
        self,
        what: str,
        node: exp.Expr,
        *,
        value: str | None = None,
        allowed: str | None = None,
        hint: str | None = None,
    ) -> BadQuery:
        return self.scope.error(what, node, value, allowed=allowed, next_step=hint)

    # -- entry points ----------------------------------------------------------------------------------------------

    def value(self, node: exp.Expr) -> exp.Expr:
        """*node* as a value of any type."""
        rule = _RULES.get(type(node))
        if rule is None:
            raise self.error("This can't stand here.", node, value=node.key)
        return rule(self, node)

    def condition(self, node: exp.Expr) -> exp.Expr:
        """*node* as something that is true or false."""
        result = self.value(node)
        kind = kind_of(result)
        if kind is None or kind.datatype == "boolean":
            return result
        hint = "Compare it with something."
        if isinstance(node, exp.Anonymous) and node.name in ("CONTAINS", "INTERSECTS"):
            hint = f"Write 1 = {node.name}(…)."
        raise self.error("A condition is needed here.", node, value=describe(kind), allowed="a comparison", hint=hint)

    def operand(self, node: exp.Expr, family: Family, of: str) -> exp.Expr:
        """*node* as a value of one *family*, for the operator or function *of*."""
        result = self.value(node)
        if not belongs(kind_of(result), family):
            raise self.error(
                f"{of} takes {_FAMILY_NAMES[family]} here.",
                node,
                value=describe(kind_of(result)),
                hint=_cast_hint(family),
            )
        return result

    # -- leaves ----------------------------------------------------------------------------------------------------

    def literal(self, node: exp.Literal) -> exp.Expr:
        at = place_of(node)
        if node.args.get("is_string"):
            kind = STRING if node.name.isascii() else UNICODE
            return typed(exp.Literal(this=node.name, is_string=True), kind, at)
        if not node.name.isdigit():
            return typed(exp.Literal(this=repr_double(node.name), is_string=False), DOUBLE, at)
        number = int(node.name)
        if number >= _INT64:
            return typed(exp.Literal(this=repr_double(node.name), is_string=False), DOUBLE, at)
        text = exp.Literal(this=str(number), is_string=False)
        return typed(text, INT if number < _INT32 else LONG, at)

    def null(self, node: exp.Expr) -> exp.Expr:
        return typed(exp.Null(), None, place_of(node))

    def boolean(self, node: exp.Boolean) -> exp.Expr:
        return typed(exp.Boolean(this=bool(node.this)), BOOLEAN, place_of(node))

    def column(self, node: exp.Column) -> exp.Expr:
        if isinstance(node.this, exp.Star):
            raise self.error("* stands alone in a select list.", node, value="*", hint="Name the columns instead.")
        qualifiers = [node.args[k] for k in ("catalog", "db", "table") if node.args.get(k) is not None]
        visible, level = self.scope.resolve(node.this, qualifiers)
        reference = typed(visible.reference(), visible.column.type, place_of(node), visible.column.unit)
        reference.meta["column"] = visible.column
        reference.meta["level"] = level
        return reference

    def paren(self, node: exp.Paren) -> exp.Expr:
        inner = self.value(node.this)
        return _like(exp.Paren(this=inner), inner, place_of(node))

    def subquery(self, node: exp.Subquery) -> exp.Expr:
        query, columns = self.resolver.query(node.this, self.scope)
        if len(columns) != 1:
            raise self.error(
                "A sub-query used as a value must have one column.", node, value=f"{len(columns)} columns", allowed="1"
            )
        return typed(exp.Subquery(this=query), columns[0].type, place_of(node), columns[0].unit)

    # -- conditions ------------------------------------------------------------------------------------------------

    def logical(self, node: exp.Connector) -> exp.Expr:
        both = type(node)(this=self.condition(node.this), expression=self.condition(node.expression))
        return typed(both, BOOLEAN, place_of(node))

    def negation(self, node: exp.Not) -> exp.Expr:
        return typed(exp.Not(this=exp.Paren(this=self.condition(node.this))), BOOLEAN, place_of(node))

    def comparison(self, node: exp.Binary) -> exp.Expr:
        left, right = self.comparable(self.value(node.this), self.value(node.expression), node)
        return typed(type(node)(this=left, expression=right), BOOLEAN, place_of(node))

    def comparable(self, left: exp.Expr, right: exp.Expr, node: exp.Expr) -> tuple[exp.Expr, exp.Expr]:
        """Both sides of a comparison, made of one kind where one is written as text or as 0 and 1."""
        a, b = kind_of(left), kind_of(right)
        if a is None or b is None or (a.is_numeric and b.is_numeric) or (a.is_string and b.is_string):
            return left, right
        if a.is_timestamp or b.is_timestamp:
            return self.as_timestamp(left, node), self.as_timestamp(right, node)
        if a.datatype == b.datatype == "boolean":
            return left, right
        for one, other in ((a, right), (b, left)):
            if one.datatype == "boolean" and isinstance(other, exp.Literal) and other.name in ("0", "1"):
                switch = typed(exp.Boolean(this=other.name == "1"), BOOLEAN, place_of(other))
                return (left, switch) if other is right else (switch, right)
        raise self.error(
            "These two can't be compared.",
            node,
            value=f"{describe(a)} and {describe(b)}",
            allowed="numbers with numbers, text with text, timestamps with timestamps or text",
            hint="Convert one side with CAST.",
        )

    def as_timestamp(self, node: exp.Expr, whole: exp.Expr) -> exp.Expr:
        kind = kind_of(node)
        if kind is None or kind.is_timestamp:
            return node
        if not kind.is_string:
            raise self.error(
                "A timestamp can be compared with a timestamp alone.",
                whole,
                value=describe(kind),
                allowed="text such as '2026-01-31T12:00:00'",
                hint="For a Julian date, compare ivo_to_jd(column) or ivo_to_mjd(column).",
            )
        cast = exp.Cast(this=node, to=exp.DataType(this=exp.DType.TIMESTAMP))
        return typed(cast, TIMESTAMP, place_of(node))

    def between(self, node: exp.Between) -> exp.Expr:
        value = self.value(node.this)
        low_left, low = self.comparable(value, self.value(node.args["low"]), node)
        high_left, high = self.comparable(value.copy(), self.value(node.args["high"]), node)
        if low_left is value:
            return typed(exp.Between(this=value, low=low, high=high), BOOLEAN, place_of(node))
        return typed(
            exp.And(this=exp.GTE(this=low_left, expression=low), expression=exp.LTE(this=high_left, expression=high)),
            BOOLEAN,
            place_of(node),
        )

    def membership(self, node: exp.In) -> exp.Expr:
        value = self.value(node.this)
        query = node.args.get("query")
        if query is not None:
            inner = self.subquery(query)
            left, _ = self.comparable(value, inner, node)
            return typed(exp.In(this=left, query=inner), BOOLEAN, place_of(node))
        pairs = [self.comparable(value, self.value(item), node) for item in node.expressions]
        return typed(exp.In(this=pairs[0][0], expressions=[right for _, right in pairs]), BOOLEAN, place_of(node))

    def like(self, node: exp.Binary) -> exp.Expr:
        name = "LIKE" if isinstance(node, exp.Like) else "ILIKE"
        left, right = (self.operand(side, "text", name) for side in (node.this, node.expression))
        return typed(type(node)(this=left, expression=right), BOOLEAN, place_of(node))

    def is_null(self, node: exp.Is) -> exp.Expr:
        return typed(exp.Is(this=self.value(node.this), expression=exp.Null()), BOOLEAN, place_of(node))

    def exists(self, node: exp.Exists) -> exp.Expr:
        query, _ = self.resolver.query(node.this, self.scope)
        return typed(exp.Exists(this=query), BOOLEAN, place_of(node))

    # -- arithmetic ------------------------------------------------------------------------------------------------

    def arithmetic(self, node: exp.Binary) -> exp.Expr:
        sign = {exp.Add: "+", exp.Sub: "-", exp.Mul: "*", exp.Div: "/"}[type(node)]
        left, right = (self.operand(side, "number", sign) for side in (node.this, node.expression))
        kind = widest(kind_of(left), kind_of(right)) or DOUBLE
        if kind.is_integer:
            # Sums and products of 32-bit columns overflow in real tables, and 64 bits cost nothing.
            kind = LONG
            left = typed(
                exp.Cast(this=left, to=exp.DataType(this=exp.DType.BIGINT)), LONG, place_of(left), unit_of(left)
            )
        if isinstance(node, exp.Div) and kind.is_integer:
            # SQL's quotient of whole numbers is whole, cut towards zero.
            result: exp.Expr = exp.IntDiv(this=left, expression=right)
        else:
            result = type(node)(this=left, expression=right)
        return typed(result, kind, place_of(node), self.unit(node, left, right))

    def unit(self, node: exp.Expr, left: exp.Expr, right: exp.Expr) -> str | None:
        a, b = unit_of(left), unit_of(right)
        if isinstance(node, exp.Mul | exp.Div) and _is_number(node.this) | _is_number(node.expression):
            # DISTANCE(…) * 3600 is meant in arcseconds: after a bare factor the unit is what the author had in mind.
            return None
        if isinstance(node, exp.Mul):
            return units.product(a, b)
        if isinstance(node, exp.Div):
            return units.quotient(a, b)
        return a if a == b or _is_number(node.expression) else None

    def sign(self, node: exp.Neg) -> exp.Expr:
        inner = self.operand(node.this, "number", "-")
        return typed(exp.Neg(this=inner), kind_of(inner), place_of(node), unit_of(inner))

    def concatenation(self, node: exp.DPipe) -> exp.Expr:
        left, right = (self.operand(side, "text", "||") for side in (node.this, node.expression))
        return typed(exp.DPipe(this=left, expression=right), widest(kind_of(left), kind_of(right)), place_of(node))

    def cast(self, node: exp.Cast) -> exp.Expr:
        kind: DataType = node.meta["to"]
        value = self.value(node.this)
        source = kind_of(value)
        if source is not None and source.arraysize is not None and not (source.is_string or source.is_timestamp):
            raise self.error("CAST takes numbers, text, booleans and timestamps.", node, value=describe(source))
        result = exp.Cast(this=value, to=exp.DataType(this=_CAST[kind.datatype if not kind.is_timestamp else "time"]))
        result.meta["length"] = kind.arraysize if kind.is_string else None
        unit = unit_of(value) if kind.is_numeric else None
        return typed(result, kind, place_of(node), unit)

    def case(self, node: exp.Case) -> exp.Expr:
        subject = node.this and self.value(node.this)
        branches: list[exp.If] = []
        values: list[exp.Expr] = []
        for branch in node.args["ifs"]:
            test = self.condition(branch.this) if subject is None else self.value(branch.this)
            if subject is not None:
                _, test = self.comparable(subject, test, branch)
            values.append(self.value(branch.args["true"]))
            branches.append(exp.If(this=test, true=values[-1]))
        default = node.args.get("default")
        if default is not None:
            values.append(self.value(default))
        kind = self.common(values, node, "The values of CASE")
        tail = values[-1] if default is not None else None
        return typed(exp.Case(this=subject, ifs=branches, default=tail), kind, place_of(node), _common_unit(values))

    def common(self, values: Sequence[exp.Expr], node: exp.Expr, of: str) -> DataType | None:
        """The one type that all *values* have in common."""
        kind: DataType | None = None
        for value in values:
            other = kind_of(value)
            if kind is not None and other is not None and describe(kind) != describe(other):
                raise self.error(f"{of} must be of one kind.", node, value=f"{describe(kind)} and {describe(other)}")
            kind = widest(kind, other)
        return kind

    # -- calls -----------------------------------------------------------------------------------------------------

    def call(self, node: exp.Anonymous) -> exp.Expr:
        name = node.name
        if name in GEOMETRY:
            return resolve_geometry(self, node)
        if name == "COALESCE":
            values = [self.value(a) for a in node.expressions]
            if not values:
                raise self.error("COALESCE needs at least one value.", node, value="none")
            kind = self.common(values, node, "The values of COALESCE")
            return typed(
                exp.Coalesce(this=values[0], expressions=values[1:]), kind, place_of(node), _common_unit(values)
            )
        if name == "IN_UNIT":
            return self.in_unit(node)
        function = FUNCTIONS.get(name)
        if function is None:
            raise self.error(
                "There is no function of this name.",
                node,
                value=name,
                hint=nearest(name, [*FUNCTIONS, *SPECIAL, *GEOMETRY], str),
            )
        if node.meta.get("distinct") and not function.aggregate:
            raise self.error("DISTINCT belongs into an aggregate.", node, value=name, allowed="COUNT, SUM, AVG, …")
        return self.aggregate(node, function) if function.aggregate else self.function(node, function)

    def in_unit(self, node: exp.Anonymous) -> exp.Expr:
        if len(node.expressions) != 2 or not _is_text(node.expressions[1]):
            raise self.error(
                "IN_UNIT takes a number and the name of a unit.",
                node,
                allowed="IN_UNIT(value, 'unit')",
                value=node.sql(),
            )
        value = self.operand(node.expressions[0], "number", "IN_UNIT")
        wanted, unit = node.expressions[1].name, unit_of(value)
        if unit is None:
            raise self.error("The unit of this value is not known.", node, hint="Use it on a column that has a unit.")
        factor = units.conversion_factor(unit, wanted)
        if factor is None:
            raise self.error(
                f"A value in {unit} can't be given in this unit.",
                node.expressions[1],
                value=wanted,
                allowed="units of the same kind, written as VOUnits has them",
            )
        product = exp.Mul(
            this=exp.Paren(this=value), expression=exp.Literal(this=repr_double(str(factor)), is_string=False)
        )
        return typed(exp.Paren(this=product), DOUBLE, place_of(node), wanted)

    def function(self, node: exp.Anonymous, function: Function) -> exp.Expr:
        arguments = self.arguments(node, function)
        kinds = [kind_of(a) or DOUBLE for a in arguments]
        result = exp.Anonymous(this=function.name, expressions=arguments)
        result.meta["function"] = function
        return typed(result, function.result(kinds), place_of(node), self.call_unit(function, arguments))

    def call_unit(self, function: Function, arguments: Sequence[exp.Expr]) -> str | None:
        if function.unit == "same":
            return unit_of(arguments[0])
        if function.name == "SQRT":
            return units.root(unit_of(arguments[0]))
        return function.unit

    def arguments(self, node: exp.Anonymous, function: Function) -> list[exp.Expr]:
        given = list(node.expressions)
        parameters = list(function.parameters)
        if function.name == "IVO_HEALPIX_INDEX" and len(given) == 2:
            point = self.operand(given[1], "point", function.name)
            return [self.operand(given[0], "integer", function.name), point]
        if len(given) < function.fewest or (function.most is not None and len(given) > function.most):
            raise self.error(
                "This function takes another number of arguments.",
                node,
                value=f"{len(given)}",
                allowed=function.signature,
            )
        return [
            self.operand(argument, family, function.name)
            for argument, (_, family) in zip(given, parameters, strict=False)
        ]

    def aggregate(self, node: exp.Anonymous, function: Function) -> exp.Expr:
        if self.aggregates_refused or self._inside_aggregate:
            place = self.aggregates_refused or "another aggregate"
            raise self.error(
                f"An aggregate can't stand in {place}.", node, value=node.name, hint="Use HAVING, or a sub-query."
            )
        self.uses_aggregates = True
        if len(node.expressions) == 1 and isinstance(node.expressions[0], exp.Star):
            if function.name != "COUNT":
                raise self.error("* can be counted alone.", node, value=f"{node.name}(*)", allowed="COUNT(*)")
            arguments: list[exp.Expr] = [exp.Star()]
        else:
            self._inside_aggregate = True
            try:
                arguments = self.arguments(node, function)
            finally:
                self._inside_aggregate = False
        kinds = [kind_of(a) or DOUBLE for a in arguments]
        result = exp.Anonymous(this=function.name, expressions=arguments)
        result.meta["function"], result.meta["distinct"] = function, node.meta.get("distinct", False)
        if function.name in ("MIN", "MAX"):
            result.meta["column"] = arguments[0].meta.get("column")
        return typed(result, function.result(kinds), place_of(node), self.call_unit(function, arguments))


_FAMILY_NAMES: dict[Family, str] = {
    "number": "a number",
    "integer": "a whole number",
    "text": "text",
    "time": "a timestamp",
    "boolean": "a boolean",
    "point": "a point",
    "region": "a geometry",
    "interval": "an interval",
    "any": "a value",
}
_CAST = {
    "boolean": exp.DType.BOOLEAN,
    "short": exp.DType.SMALLINT,
    "int": exp.DType.INT,
    "long": exp.DType.BIGINT,
    "float": exp.DType.FLOAT,
    "double": exp.DType.DOUBLE,
    "char": exp.DType.VARCHAR,
    "unicodeChar": exp.DType.VARCHAR,
    "time": exp.DType.TIMESTAMP,
}
_RULES: dict[type[exp.Expr], Callable[[Expressions, Any], exp.Expr]] = {
    exp.Literal: Expressions.literal,
    exp.Null: Expressions.null,
    exp.Boolean: Expressions.boolean,
    exp.Column: Expressions.column,
    exp.Paren: Expressions.paren,
    exp.Subquery: Expressions.subquery,
    exp.And: Expressions.logical,
    exp.Or: Expressions.logical,
    exp.Not: Expressions.negation,
    **dict.fromkeys((exp.EQ, exp.NEQ, exp.LT, exp.GT, exp.LTE, exp.GTE), Expressions.comparison),
    exp.Between: Expressions.between,
    exp.In: Expressions.membership,
    exp.Like: Expressions.like,
    exp.ILike: Expressions.like,
    exp.Is: Expressions.is_null,
    exp.Exists: Expressions.exists,
    **dict.fromkeys((exp.Add, exp.Sub, exp.Mul, exp.Div), Expressions.arithmetic),
    exp.Neg: Expressions.sign,
    exp.DPipe: Expressions.concatenation,
    exp.Cast: Expressions.cast,
    exp.Case: Expressions.case,
    exp.Anonymous: Expressions.call,
}


def repr_double(text: str) -> str:
    """A number as a double literal: with an exponent, which no engine reads as a decimal of limited digits."""
    value = float(text)
    shown = repr(value)
    return shown if "e" in shown or "inf" in shown else f"{shown}e0"


def _like(node: exp.Expr, inner: exp.Expr, at: int) -> exp.Expr:
    """*node* with everything that is known of *inner*."""
    node.meta.update({k: inner.meta[k] for k in ("type", "unit", "column", "level") if k in inner.meta})
    node.meta["at"] = at
    return node


def _common_unit(values: Sequence[exp.Expr]) -> str | None:
    found = {unit_of(v) for v in values if not isinstance(v, exp.Literal | exp.Null)}
    return found.pop() if len(found) == 1 else None


def _is_number(node: exp.Expr) -> bool:
    """True for a literal number and for sums, products and the like of literals alone."""
    if isinstance(node, exp.Paren | exp.Neg):
        return _is_number(node.this)
    if isinstance(node, exp.Add | exp.Sub | exp.Mul | exp.Div):
        return _is_number(node.this) and _is_number(node.expression)
    return isinstance(node, exp.Literal) and not node.args.get("is_string")


def _is_text(node: exp.Expr) -> bool:
    return isinstance(node, exp.Literal) and bool(node.args.get("is_string"))


def _cast_hint(family: Family) -> str | None:
    target = {"number": "DOUBLE PRECISION", "integer": "INTEGER", "text": "VARCHAR(20)"}.get(family)
    return f"Convert it with CAST(… AS {target})." if target else None
