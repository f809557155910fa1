"""Values of a resolved query worked out over arrays, for what is summed up without an SQL engine.

Types are the engine's, so that a sum of floats is a float here as well. What could differ from it (whole numbers beyond
32 bits, numbers that no double holds) is not understood, or is told by ``LeftToEngine`` once it is met.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from sqlglot import exp

from idac.query.engines.conditions import Mask, Rows, SomeRows, Values
from idac.query.plan.constants import constant_number
from idac.query.plan.predicates import bare

#: A whole number of at most 32 bits, one of 64, a float, a double, or a literal that is a float beside a float.
type Kind = Literal["whole", "long", "float", "double", "number"]
#: Columns of a sub-query in FROM, by its alias and their names: what stands for them there.
type Inner = Mapping[tuple[str, str], exp.Expr]

_KINDS: dict[str, Kind] = {
    "unsignedByte": "whole",
    "short": "whole",
    "int": "whole",
    "long": "long",
    "float": "float",
    "double": "double",
}
_ARITHMETIC: dict[type[exp.Expr], Callable[[Any, Any], Any]] = {
    exp.Add: operator.add,
    exp.Sub: operator.sub,
    exp.Mul: operator.mul,
    exp.Div: operator.truediv,
}
#: Relative error of a number rounded to single precision, and of numpy's logarithm in it: three times what it says.
_ROUNDED, _LOG_IS_OFF = 2.0**-24, 2.0**-20
#: Natural logarithms of single precision lie within this of zero.
_MOST_LOG = 104.0
#: Numbers of which single precision can say something; and a bound beyond which too many values are near a whole one.
_FAR, _VAGUE = 1e30, 0.05


class LeftToEngine(Exception):
    """Values were met of which an SQL engine may make something else."""


@dataclass(frozen=True)
class Vector:
    """A value for each row, and where there is one (None: everywhere)."""

    values: Values
    there: Mask | None = None


@dataclass(frozen=True)
class Near:
    """An expression in single precision, which most processors work out several times as fast as in double.

    Values that are finite are at most *bound* away from the expression's, and these at most *most* from zero. What is
    made whole of them stays in single precision.
    """

    of: Callable[[Rows], Vector]
    bound: float
    most: float


@dataclass(frozen=True)
class Value:
    """An expression; *is_whole*: its values have no fractions, whatever their type."""

    kind: Kind
    of: Callable[[Rows], Vector]
    columns: frozenset[str]
    is_whole: bool = False
    near: Near | None = None
    #: The column that it is, as it stands.
    column: str | None = None


def value_of(node: exp.Expr, inner: Inner) -> Value | None:
    """How to work *node* out; None where it is not understood here."""
    node = bare(node)
    if isinstance(node, exp.Column):
        within = inner.get((node.table, node.name))
        return _column(node) if within is None else value_of(within, {})
    if isinstance(node, exp.Anonymous) and node.name in _FUNCTIONS and len(node.expressions) == 1:
        argument = value_of(node.expressions[0], inner)
        return None if argument is None else _FUNCTIONS[node.name](argument)
    if type(node) in _ARITHMETIC:
        return _binary(node, inner)
    number, kind = constant_number(node), _kind_of_number(node)
    if number is None or kind is None:
        return None
    return Value(kind, lambda _: Vector(np.asarray(number)), frozenset())


def _kind_of_number(node: exp.Expr) -> Kind | None:
    """A whole literal suits its neighbour; fractions are doubles. None for whole numbers that are worked out."""
    inner = bare(node.this) if isinstance(node, exp.Neg) else node
    if isinstance(inner, exp.Literal):
        return "double" if "e" in inner.name.lower() else "number"
    declared = node.meta.get("type")
    return "double" if declared is not None and declared.datatype == "double" else None


def _column(node: exp.Column) -> Value | None:
    declared = node.meta.get("type")
    kind = _KINDS.get(declared.datatype) if declared is not None and declared.arraysize is None else None
    if kind is None:
        return None
    name = node.name
    return Value(
        kind,
        lambda rows: Vector(rows.values(name), rows.there(name)),
        frozenset({name}),
        kind in ("whole", "long"),
        column=name,
    )


def _binary(node: exp.Expr, inner: Inner) -> Value | None:
    """A sum, difference, product or quotient that is a double, or of floats, which is a float."""
    kind: Kind
    form: np.dtype[Any]
    left, right = value_of(node.this, inner), value_of(node.expression, inner)
    if left is None or right is None:
        return None
    kinds = {left.kind, right.kind}
    if "double" in kinds:
        kind, form = "double", np.dtype(np.float64)
    elif "float" in kinds and kinds <= {"float", "number"}:
        kind, form = "float", np.dtype(np.float32)
    else:
        return None
    operate = _ARITHMETIC[type(node)]

    def of(rows: Rows) -> Vector:
        first, second = left.of(rows), right.of(rows)
        one, two = first.values.astype(form, copy=False), second.values.astype(form, copy=False)
        there = _both(first.there, second.there)
        if operate is operator.truediv and not two.all():
            # Nothing is NULL divided by zero, to the engine as well.
            defined = two != 0
            there = _both(there, np.broadcast_to(defined, np.broadcast_shapes(one.shape, two.shape)))
            two = np.where(defined, two, 1)
        with np.errstate(all="ignore"):
            values = operate(one, two)
            if not np.isfinite(values.sum()):
                # The engine has an error or a number of its own for it.
                raise LeftToEngine
        # Of constants alone it is of no shape yet.
        return Vector(values, None if there is None else np.broadcast_to(there, values.shape))

    return Value(kind, of, left.columns | right.columns, near=_near_binary(node, left.near, right.near))


def _near_binary(node: exp.Expr, left: Near | None, right: Near | None) -> Near | None:
    """A value near at hand, and a number; None for other expressions, and where too little is known of the result."""
    near, number = left or right, constant_number(node.this if left is None else node.expression)
    if near is None or number is None or not (number == 0 or 1 / _FAR < abs(number) < _FAR):
        return None
    operate, constant, of = _ARITHMETIC[type(node)], np.float32(number), near.of
    if isinstance(node, exp.Add | exp.Sub):
        most, bound = near.most + abs(number), near.bound
    elif isinstance(node, exp.Mul):
        most, bound = near.most * abs(number), near.bound * abs(number)
    elif left is not None and number != 0:
        most, bound = near.most / abs(number), near.bound / abs(number)
    else:
        return None
    # The number and the result are rounded, and so is what is said to be most.
    most, bound = most * (1 + 2 * _ROUNDED), bound + 2 * most * _ROUNDED
    if bound > _VAGUE:
        return None

    def nearly(rows: Rows) -> Vector:
        vector = of(rows)
        with np.errstate(all="ignore"):
            values = operate(vector.values, constant) if left is not None else operate(constant, vector.values)
        return Vector(values, vector.there)

    return Near(nearly, bound, most)


def _both(first: Mask | None, second: Mask | None) -> Mask | None:
    if first is None or second is None:
        return second if first is None else first
    return first & second


# -- functions -------------------------------------------------------------------------------------------------------


def _where(
    holds: Callable[[Values], Mask],
    function: Callable[[Values], Values],
    nearly: tuple[Callable[[Values], Values], float, float] | None = None,
) -> Callable[[Value], Value | None]:
    """A function of a double that is NULL where its domain ends.

    *nearly* is the same of floats in single precision, with how far off it may be and its greatest absolute value.
    """

    def applied(argument: Value, function: Callable[[Values], Values], kind: Any) -> Callable[[Rows], Vector]:
        def of(rows: Rows) -> Vector:
            vector = argument.of(rows)
            values = np.asarray(vector.values, dtype=kind)
            within = holds(values)
            if within.all():
                return Vector(function(values), vector.there)
            return Vector(function(np.where(within, values, kind(1))), _both(within, vector.there))

        return of

    def apply(argument: Value) -> Value | None:
        if not argument.columns:
            return None
        near = None
        if nearly is not None and argument.kind == "float":
            near = Near(applied(argument, nearly[0], np.float32), *nearly[1:])
        return Value("double", applied(argument, function, np.float64), argument.columns, near=near)

    return apply


def _same_kind(function: Callable[[Values], Values]) -> Callable[[Value], Value | None]:
    """A function of a float or double that gives one."""

    def apply(argument: Value) -> Value | None:
        def of(rows: Rows) -> Vector:
            vector = argument.of(rows)
            return Vector(function(vector.values), vector.there)

        if argument.kind not in ("float", "double"):
            return None
        return Value(argument.kind, of, argument.columns, argument.is_whole)

    return apply


def _made_whole(function: Callable[[Values], Values]) -> Callable[[Value], Value | None]:
    """A float or double made whole."""

    def apply(argument: Value) -> Value | None:
        near = argument.near

        def of(rows: Rows) -> Vector:
            vector = argument.of(rows)
            return Vector(function(vector.values), vector.there)

        def mostly_near(near: Near, rows: Rows) -> Vector:
            vector = near.of(rows)
            whole = function(vector.values)
            with np.errstate(invalid="ignore"):
                rest = vector.values - whole
                # From here on the distance to the middle between two whole numbers. In place, for the caches' sake.
                np.abs(rest, out=rest)
                np.subtract(rest, np.float32(0.5), out=rest)
                np.abs(rest, out=rest)
                # Next to a whole number it may be on either side; infinity has no rest, and is looked at again as well.
                is_unsure = ~(rest < np.float32(0.5 - near.bound))
            unsure = np.flatnonzero(is_unsure if vector.there is None else is_unsure & vector.there)
            if len(unsure):
                whole[unsure] = of(SomeRows(rows, unsure)).values
            return Vector(whole, vector.there)

        if argument.kind not in ("float", "double"):
            return None
        return Value(argument.kind, of if near is None else partial(mostly_near, near), argument.columns, is_whole=True)

    return apply


def _nearly_log10(values: Values) -> Values:
    return np.log(values) * np.float32(1 / math.log(10))


_FUNCTIONS: dict[str, Callable[[Value], Value | None]] = {
    "LOG": _where(lambda x: x > 0, np.log, (np.log, _MOST_LOG * _LOG_IS_OFF, _MOST_LOG)),
    "LOG10": _where(lambda x: x > 0, np.log10, (_nearly_log10, _MOST_LOG * _LOG_IS_OFF, _MOST_LOG)),
    "SQRT": _where(lambda x: x >= 0, np.sqrt),
    "ABS": _same_kind(np.abs),
    "FLOOR": _made_whole(np.floor),
    "CEILING": _made_whole(np.ceil),
}
