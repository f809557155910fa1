"""Values and conditions of a query, rebuilt with their names looked up and their types known.

A node of the parser's tree goes in; a new node comes out, with ``meta["type"]`` (a DataType, or None for a bare NULL)
and, where they are known, ``meta["unit"]`` and ``meta["column"]`` (the column it is a plain reference to). What has no
rule here can't reach an engine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any

from sqlglot import exp

from idac.core.errors import BadQuery
from idac.query.adql import literals, units
from idac.query.adql.calls import common, common_unit, resolve_call
from idac.query.adql.geometry_rules import resolve_geometry
from idac.query.adql.lexer import whole
from idac.query.adql.nodes import (
    CAST_TARGETS,
    bare,
    cast_output,
    implicitly,
    is_number,
    is_text,
    kind_of,
    place_of,
    typed,
    unit_of,
    widened,
)
from idac.query.adql.scope import Scope
from idac.query.adql.types import FAMILY_NAMES, NULL_TYPE, Family, belongs, can_cast, cast_hint, describe, widest
from idac.tables.model import BOOLEAN, DOUBLE, INT, LONG, SHORT, STRING, TIMESTAMP, UNICODE, DataType

if TYPE_CHECKING:
    from idac.query.adql.resolve import Resolver

_INT32, _INT64 = 2**31, 2**63
_SIGNS: dict[type[exp.Expr], str] = {exp.Add: "+", exp.Sub: "-", exp.Mul: "*", exp.Div: "/"}


class Expressions:
    """Resolves the values and conditions of one SELECT in its *scope*; *resolver* does sub-queries."""

    def __init__(self, resolver: Resolver, scope: Scope) -> None:
        self.resolver, self.scope = resolver, scope
        self.uses_aggregates = False
        self.inside_aggregate = False
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
        if kind is None or belongs(kind, "boolean"):
            return result
        hint = "Compare it with something."
        call = bare(node)
        if isinstance(call, exp.Anonymous) and call.name in ("CONTAINS", "INTERSECTS"):
            hint = f"Write 1 = {call.name}(…)."
        raise self.error("A condition is needed here.", node, value=describe(kind), allowed="a comparison", hint=hint)

    def operand(self, node: exp.Expr, family: Family, of: str) -> exp.Expr:
        """*node* as a value of one *family*, for the operator or function *of*."""
        result = self.value(node)
        kind = kind_of(result)
        if not belongs(kind, family):
            hint = "Write CASE WHEN condition THEN 1 ELSE 0 END." if belongs(kind, "boolean") else None
            raise self.error(
                f"{of} takes {FAMILY_NAMES[family]} here.",
                node,
                value=describe(kind),
                hint=hint or cast_hint(kind, family),
            )
        return result

    # -- leaves ----------------------------------------------------------------------------------------------------

    def literal(self, node: exp.Literal) -> exp.Expr:
        at = place_of(node)
        if is_text(node):
            kind = STRING if node.name.isascii() else UNICODE
            return typed(exp.Literal(this=node.name, is_string=True), kind, at)
        amount = whole(node.name) if node.name.isdecimal() else _INT64
        if amount >= _INT64:
            return typed(exp.Literal(this=literals.repr_double(node.name), is_string=False), DOUBLE, at)
        text = exp.Literal(this=str(amount), is_string=False)
        return typed(text, INT if amount < _INT32 else LONG, at)

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
        if level:
            for part in reference.find_all(exp.Column):
                part.meta["level"] = level
            reference.meta["level"] = level
        return reference

    def paren(self, node: exp.Paren) -> exp.Expr:
        inner = self.value(node.this)
        result = exp.Paren(this=inner)
        result.meta.update({k: inner.meta[k] for k in ("type", "unit", "column", "level") if k in inner.meta})
        result.meta["at"] = place_of(node)
        return result

    def subquery(self, node: exp.Subquery) -> exp.Expr:
        query, columns = self.resolver.query(node.this, self.scope)
        if len(columns) != 1:
            raise self.error(
                "A sub-query used as a value must have one column.", node, value=f"{len(columns)} columns", allowed="1"
            )
        kind = None if columns[0].type is NULL_TYPE else columns[0].type
        return typed(exp.Subquery(this=query), kind, place_of(node), columns[0].unit)

    def scalar_subquery(self, node: exp.Subquery) -> exp.Expr:
        result = self.subquery(node)
        # Of NULLs alone; an engine would have to be told of which type.
        return self.null(node) if kind_of(result) is None else result

    # -- conditions ------------------------------------------------------------------------------------------------

    def logical(self, node: exp.Connector) -> exp.Expr:
        both = type(node)(this=self.condition(node.this), expression=self.condition(node.expression))
        return typed(both, BOOLEAN, place_of(node))

    def negation(self, node: exp.Not) -> exp.Expr:
        inner = exp.Paren(this=self.condition(node.this))
        return typed(exp.Not(this=typed(inner, BOOLEAN, place_of(node))), BOOLEAN, place_of(node))

    def comparison(self, node: exp.Binary) -> exp.Expr:
        left, right = self.comparable([self.value(node.this), self.value(node.expression)], node)
        return typed(type(node)(this=left, expression=right), BOOLEAN, place_of(node))

    def comparable(self, values: Sequence[exp.Expr], node: exp.Expr) -> list[exp.Expr]:
        """Values that are compared with one another, made of one kind where one is written as text or as 0 and 1."""
        kinds = [k for v in values if (k := kind_of(v)) is not None]
        if any(k.is_timestamp for k in kinds):
            return [self.as_timestamp(v, node) for v in values]
        if any(belongs(k, "boolean") for k in kinds):
            return [self.as_boolean(v, node, kinds) for v in values]
        for kind in kinds:
            if not ((kind.is_numeric and kinds[0].is_numeric) or (kind.is_string and kinds[0].is_string)):
                raise self.incomparable(node, kinds[0], kind)
        return widened(values, reduce(widest, kinds, None))

    def incomparable(self, node: exp.Expr, left: DataType, right: DataType) -> BadQuery:
        hint = "Convert one side with CAST."
        if any(belongs(k, "region") and not k.is_string for k in (left, right)):
            hint = "Geometries are compared by CONTAINS, INTERSECTS and DISTANCE."
        elif any(k.arraysize is not None and not k.is_string for k in (left, right)):
            hint = "Arrays can be selected, and not compared."
        return self.error(
            "These can't be compared.",
            node,
            value=f"{describe(left)} and {describe(right)}",
            allowed="numbers with numbers, text with text, timestamps with timestamps or text",
            hint=hint,
        )

    def as_boolean(self, node: exp.Expr, whole_: exp.Expr, kinds: Sequence[DataType]) -> exp.Expr:
        kind = kind_of(node)
        if kind is None or belongs(kind, "boolean"):
            return node
        value = literals.boolean_value(node.name) if isinstance(node, exp.Literal) else None
        if value is None:
            raise self.incomparable(whole_, kinds[0], kinds[-1])
        return typed(exp.Boolean(this=value), BOOLEAN, place_of(node))

    def as_timestamp(self, node: exp.Expr, whole_: exp.Expr) -> exp.Expr:
        """*node*, text or a timestamp, as a timestamp."""
        kind = kind_of(node)
        if kind is None or kind.is_timestamp:
            return node
        if not kind.is_string:
            raise self.error(
                "A timestamp can be compared with a timestamp alone.",
                whole_,
                value=describe(kind),
                allowed="text such as '2026-01-31T12:00:00'",
                hint="For a Julian date, compare ivo_to_jd(column) or ivo_to_mjd(column).",
            )
        cast = exp.Cast(this=self.timestamp_literal(node), to=exp.DataType(this=exp.DType.TIMESTAMP))
        return typed(cast, TIMESTAMP, place_of(node))

    def timestamp_literal(self, node: exp.Expr) -> exp.Expr:
        """*node*; where it is literal text, in the one form that every engine reads."""
        if not is_text(node):
            return node
        text = literals.timestamp_text(node.name)
        if text is None:
            raise self.error("This is not a timestamp.", node, value=node.name, allowed=literals.TIMESTAMP_FORM)
        return typed(exp.Literal(this=text, is_string=True), STRING, place_of(node))

    def between(self, node: exp.Between) -> exp.Expr:
        values = [self.value(part) for part in (node.this, node.args["low"], node.args["high"])]
        value, low, high = self.comparable(values, node)
        return typed(exp.Between(this=value, low=low, high=high), BOOLEAN, place_of(node))

    def membership(self, node: exp.In) -> exp.Expr:
        value = self.value(node.this)
        query = node.args.get("query")
        if query is None:
            value, *items = self.comparable([value, *map(self.value, node.expressions)], node)
            return typed(exp.In(this=value, expressions=items), BOOLEAN, place_of(node))
        inner = self.subquery(query)
        if kind_of(inner) is None:
            kind = kind_of(value)
            kind = kind if kind is not None and (kind.arraysize is None or kind.is_timestamp) else STRING
            cast_output(inner.this, 0, kind)
            inner.meta["type"] = kind
        value, same = self.comparable([value, inner], node)
        if "implicit" in same.meta and kind_of(same) == DOUBLE:
            # A float in whole numbers: the one side becomes double as well as the other.
            value, same = implicitly(value, DOUBLE), inner
        if same is not inner:
            raise self.error(
                "These can't be compared.",
                node,
                value=f"{describe(kind_of(value))} and {describe(kind_of(inner))}",
                hint="Convert the column of the sub-query with CAST.",
            )
        return typed(exp.In(this=value, query=inner), BOOLEAN, place_of(node))

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
        """A chain of + - * /, which leans to the left, without a recursion for each of its terms."""
        spine: list[exp.Expr] = []
        inner: exp.Expr = node
        while type(inner) in _SIGNS:
            spine.append(inner)
            inner = inner.this
        result = self.operand(inner, "number", _SIGNS[type(spine[-1])])
        for step in reversed(spine):
            right = self.operand(step.expression, "number", _SIGNS[type(step)])
            result = self.computed(step, result, right)
        return result

    def computed(self, node: exp.Expr, left: exp.Expr, right: exp.Expr) -> exp.Expr:
        kind = widest(kind_of(left), kind_of(right)) or DOUBLE
        unit = _unit_of_result(node, left, right)
        operation = type(node)
        if kind.is_integer:
            # Sums and products of 32-bit columns overflow in real tables, and 64 bits cost nothing. SQL's quotient of
            # whole numbers is whole, cut towards zero.
            kind = LONG
            left = implicitly(left, LONG)
            operation = exp.IntDiv if operation is exp.Div else operation
        else:
            left, right = widened([left, right], kind)
        return typed(operation(this=left, expression=right), kind, place_of(node), unit)

    def sign(self, node: exp.Neg) -> exp.Expr:
        if isinstance(node.this, exp.Literal) and node.this.name.isdecimal() and whole(node.this.name) == _INT64:
            least = typed(exp.Literal(this=str(_INT64), is_string=False), LONG, place_of(node.this))
            return typed(exp.Neg(this=least), LONG, place_of(node))
        inner = self.operand(node.this, "number", "-")
        kind = kind_of(inner)
        if kind is not None and kind.datatype == "unsignedByte":
            inner, kind = implicitly(inner, SHORT), SHORT
        return typed(exp.Neg(this=inner), kind, place_of(node), unit_of(inner))

    def concatenation(self, node: exp.DPipe) -> exp.Expr:
        left, right = (self.operand(side, "text", "||") for side in (node.this, node.expression))
        kind = widest(kind_of(left), kind_of(right)) or STRING
        return typed(exp.DPipe(this=left, expression=right), DataType(kind.datatype, "*"), place_of(node))

    # -- CAST and CASE ---------------------------------------------------------------------------------------------

    def cast(self, node: exp.Cast) -> exp.Expr:
        kind: DataType = node.meta["to"]
        if kind.xtype in ("point", "circle", "polygon"):
            return self.cast_geometry(node, kind.xtype)
        value = self.value(node.this)
        source = kind_of(value)
        if not can_cast(source, kind):
            raise self.error(
                f"CAST can't make {describe(kind)} of this.",
                node,
                value=describe(source),
                hint="ivo_to_mjd(time) and ivo_to_jd(time) make numbers of timestamps."
                if source is not None and source.is_timestamp
                else None,
            )
        if kind.is_timestamp:
            value = self.timestamp_literal(value)
        result = exp.Cast(
            this=value, to=exp.DataType(this=CAST_TARGETS["time" if kind.is_timestamp else kind.datatype])
        )
        result.meta["length"] = kind.arraysize if kind.is_string else None
        if kind.is_string and source is not None and source.datatype == "unicodeChar":
            kind = DataType("unicodeChar", kind.arraysize)
        return typed(result, kind, place_of(node), unit_of(value) if kind.is_numeric else None)

    def cast_geometry(self, node: exp.Cast, xtype: str) -> exp.Expr:
        call = literals.geometry_call(xtype, node.this.name) if is_text(node.this) else None
        if call is None:
            raise self.error(
                f"CAST makes a {xtype} of text in quotes, with its numbers in degrees.",
                node.this,
                value=node.this.name if is_text(node.this) else None,
                allowed=_GEOMETRY_EXAMPLES[xtype],
                hint=f"Of columns and other values, make it with {xtype.upper()}(…).",
            )
        for part in call.walk():
            part.meta["at"] = place_of(node.this)
        return resolve_geometry(self, call)

    def case(self, node: exp.Case) -> exp.Expr:
        branches, default = node.args["ifs"], node.args.get("default")
        if node.this is None:
            subject, tests = None, [self.condition(b.this) for b in branches]
        else:
            subject, *tests = self.comparable([self.value(p) for p in (node.this, *(b.this for b in branches))], node)
        values = [self.value(b.args["true"]) for b in branches]
        values += [self.value(default)] if default is not None else []
        kind = common(self, values, node, "The values of CASE")
        values = widened(values, kind)
        ifs = [exp.If(this=test, true=value) for test, value in zip(tests, values, strict=False)]
        tail = values[-1] if default is not None else None
        return typed(exp.Case(this=subject, ifs=ifs, default=tail), kind, place_of(node), common_unit(values))


def _unit_of_result(node: exp.Expr, left: exp.Expr, right: exp.Expr) -> str | None:
    a, b = unit_of(left), unit_of(right)
    bare_left, bare_right = is_number(left), is_number(right)
    if isinstance(node, exp.Mul | exp.Div):
        if bare_left or bare_right:
            # DISTANCE(…) * 3600 is meant in arcseconds: after a bare factor the unit is what the author had in mind.
            return None
        return units.product(a, b) if isinstance(node, exp.Mul) else units.quotient(a, b)
    if bare_left or bare_right:
        return b if bare_left else a
    return a if a == b else None


_GEOMETRY_EXAMPLES = {
    "point": "'12.3 45.6'",
    "circle": "'12.3 45.6 1.0'",
    "polygon": "'1.0 0.1 2.0 0.2 3.0 0.3'",
}
_RULES: dict[type[exp.Expr], Callable[[Expressions, Any], exp.Expr]] = {
    exp.Literal: Expressions.literal,
    exp.Null: Expressions.null,
    exp.Boolean: Expressions.boolean,
    exp.Column: Expressions.column,
    exp.Paren: Expressions.paren,
    exp.Subquery: Expressions.scalar_subquery,
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
    **dict.fromkeys(_SIGNS, Expressions.arithmetic),
    exp.Neg: Expressions.sign,
    exp.DPipe: Expressions.concatenation,
    exp.Cast: Expressions.cast,
    exp.Case: Expressions.case,
    exp.Anonymous: resolve_call,
}
