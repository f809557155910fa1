"""Values of a resolved query worked out over arrays, for what is summed up without an SQL engine.

Types are the engine's, so that a sum of floats is a float here as well. What could differ from it (whole numbers beyond
32 bits, numbers that no double holds) is not understood, or is told by ``LeftToEngine`` once it is met.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from sqlglot import exp

from idac.query.engines.conditions import Mask, Rows, Values
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


class LeftToEngine(Exception):
    """Values were met of which an SQL engine may make something else."""


@dataclass(frozen=True)
class Vector:
    """A value for each row, and where there is one (None: everywhere)."""

    values: Values
    there: Mask | None = None


@dataclass(frozen=True)
class Value:
    """An expression; *is_whole*: its values have no fractions, whatever their type."""

    kind: Kind
    of: Callable[[Rows], Vector]
    columns: frozenset[str]
    is_whole: bool = False


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
        kind, lambda rows: Vector(rows.values(name), rows.there(name)), frozenset({name}), kind in ("whole", "long")
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

    return Value(kind, of, left.columns | right.columns)


def _as_double(values: Values) -> Values:
    return np.asarray(values, dtype=np.float64)


def _both(first: Mask | None, second: Mask | None) -> Mask | None:
    if first is None or second is None:
        return second if first is None else first
    return first & second


# -- functions -------------------------------------------------------------------------------------------------------


def _where(holds: Callable[[Values], Mask], function: Callable[[Values], Values]) -> Callable[[Value], Value | None]:
    """A function of a double that is NULL where its domain ends."""

    def apply(argument: Value) -> Value | None:
        def of(rows: Rows) -> Vector:
            vector = argument.of(rows)
            values = _as_double(vector.values)
            within = holds(values)
            if within.all():
                return Vector(function(values), vector.there)
            return Vector(function(np.where(within, values, 1.0)), _both(within, vector.there))

        return Value("double", of, argument.columns) if argument.columns else None

    return apply


def _same_kind(function: Callable[[Values], Values], *, makes_whole: bool) -> Callable[[Value], Value | None]:
    """A function of a float or double that gives one."""

    def apply(argument: Value) -> Value | None:
        def of(rows: Rows) -> Vector:
            vector = argument.of(rows)
            return Vector(function(vector.values), vector.there)

        if argument.kind not in ("float", "double"):
            return None
        return Value(argument.kind, of, argument.columns, makes_whole or argument.is_whole)

    return apply


_FUNCTIONS: dict[str, Callable[[Value], Value | None]] = {
    "LOG": _where(lambda x: x > 0, np.log),
    "LOG10": _where(lambda x: x > 0, np.log10),
    "SQRT": _where(lambda x: x >= 0, np.sqrt),
    "ABS": _same_kind(np.abs, makes_whole=False),
    "FLOOR": _same_kind(np.floor, makes_whole=True),
    "CEILING": _same_kind(np.ceil, makes_whole=True),
}
