"""Small makers of tree nodes, and what is noted on them: type, unit, place and the column they come from."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

from sqlglot import exp

from idac.tables.model import DOUBLE, DataType

#: What CAST to each VOTable type is in the tree.
CAST_TARGETS = {
    "boolean": exp.DType.BOOLEAN,
    "unsignedByte": exp.DType.UTINYINT,
    "short": exp.DType.SMALLINT,
    "int": exp.DType.INT,
    "long": exp.DType.BIGINT,
    "float": exp.DType.FLOAT,
    "double": exp.DType.DOUBLE,
    "char": exp.DType.VARCHAR,
    "unicodeChar": exp.DType.VARCHAR,
    "time": exp.DType.TIMESTAMP,
}


def typed[E: exp.Expr](node: E, kind: DataType | None, at: int, unit: str | None = None) -> E:
    """The node itself, with its type, place and unit noted."""
    meta = node.meta
    meta["type"], meta["at"] = kind, at
    if unit:
        meta["unit"] = unit
    return node


def kind_of(node: exp.Expr) -> DataType | None:
    """The type noted on a resolved node; None for a bare NULL."""
    return node.meta.get("type")


def unit_of(node: exp.Expr) -> str | None:
    return node.meta.get("unit")


def implicitly(node: exp.Expr, kind: DataType) -> exp.Expr:
    """*node* as a value of *kind*, by a CAST that nobody has written."""
    if kind_of(node) == kind:
        return node
    cast = exp.Cast(this=node, to=exp.DataType(this=CAST_TARGETS[kind.datatype]))
    cast.meta["implicit"] = True
    return typed(cast, kind, place_of(node), unit_of(node))


def place_of(node: exp.Expr) -> int:
    """Offset of a node in the query's text."""
    return int(node.meta.get("at", 0))


def quoted(name: str) -> exp.Identifier:
    """A delimited identifier: published names reach an engine in no other form."""
    return exp.Identifier(this=name, quoted=True)


def table_alias(name: str) -> exp.TableAlias:
    return exp.TableAlias(this=quoted(name))


def bare(node: exp.Expr) -> exp.Expr:
    """*node* without the parentheses round it."""
    while isinstance(node, exp.Paren):
        node = node.this
    return node


def is_text(node: exp.Expr) -> bool:
    """True for a string literal."""
    return isinstance(node, exp.Literal) and bool(node.args.get("is_string"))


def is_number(node: exp.Expr) -> bool:
    """True for a literal number and for sums, products and the like of literals alone."""
    stack = [node]
    while stack:
        node = stack.pop()
        if isinstance(node, exp.Paren | exp.Neg) or (isinstance(node, exp.Cast) and "implicit" in node.meta):
            stack.append(node.this)
        elif isinstance(node, exp.Add | exp.Sub | exp.Mul | exp.Div | exp.IntDiv):
            stack += [node.this, node.expression]
        elif not isinstance(node, exp.Literal) or node.args.get("is_string"):
            return False
    return True


def constant(node: exp.Expr) -> float | None:
    """The number that a literal is, with a sign before it or not; None for anything else."""
    sign = 1.0
    while isinstance(node, exp.Neg | exp.Paren):
        sign = -sign if isinstance(node, exp.Neg) else sign
        node = node.this
    return sign * float(node.name) if isinstance(node, exp.Literal) and not is_text(node) else None


def widened(values: Sequence[exp.Expr], kind: DataType | None) -> list[exp.Expr]:
    """*values*, which have *kind* in common, so that every engine agrees.

    The common type of a float and an int is double, since a float has 24 bits of mantissa; engines would take float.
    Numbers that are written out stay as they are.
    """
    result = list(values)
    if kind == DOUBLE and all(kind_of(v) != DOUBLE for v in result):
        place = next((i for i, v in enumerate(result) if (k := kind_of(v)) and k.is_integer and not is_number(v)), None)
        if place is not None:
            result[place] = implicitly(result[place], DOUBLE)
    return result


def duplicate[E: exp.Expr](node: E) -> E:
    """A copy of a resolved node that shares what is noted on it.

    sqlglot's own ``copy`` copies the notes in depth: with a sub-query, whole tables of metadata.
    """
    result = type(node)(**{key: _duplicate_part(value) for key, value in node.args.items()})
    result.meta.update(copy(node.meta))
    return result


def _duplicate_part(value: object) -> object:
    if isinstance(value, list):
        return [_duplicate_part(v) for v in value]
    return duplicate(value) if isinstance(value, exp.Expr) else value


def cast_output(query: exp.Expr, place: int, kind: DataType) -> None:
    """Give one output column of a resolved query another type.

    In a set operation the first SELECT says what the others become, save where all are NULL.
    """
    while not isinstance(query, exp.Select) or isinstance(query.expressions[0], exp.Star):
        query = query.args["from_"].this if isinstance(query, exp.Select) else query.this
    item = query.expressions[place]
    value, cast = item.this, implicitly(item.this, kind)
    item.set("this", cast)
    order = query.args.get("order")
    for key in order.expressions if order is not None else []:
        if key.this == value:
            key.set("this", duplicate(cast))
