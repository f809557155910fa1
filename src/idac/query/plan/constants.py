"""Numbers and regions that a query states outright: known before a row is read, so they can choose what is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from sqlglot import exp

from idac.query.adql import geometry as g
from idac.sky.region_text import parse_region
from idac.sky.regions import Circle, Polygon, Region, box_polygon

_BINARY: dict[type[exp.Expr], Callable[[float, float], float]] = {
    exp.Add: lambda a, b: a + b,
    exp.Sub: lambda a, b: a - b,
    exp.Mul: lambda a, b: a * b,
    exp.Div: lambda a, b: a / b,
    exp.IntDiv: lambda a, b: float(math.trunc(a / b)),
}
_CALLS: dict[str, Callable[..., float]] = {
    "PI": lambda: math.pi,
    "RADIANS": math.radians,
    "DEGREES": math.degrees,
    "SQRT": math.sqrt,
    "POWER": math.pow,
    "SIN": math.sin,
    "COS": math.cos,
    "ABS": abs,
}


def constant_number(node: exp.Expr) -> float | None:
    """The value of an expression made of numbers alone; None for any other, and for one that has no finite value."""
    try:
        value = _number(node)
    except (ArithmeticError, ValueError):
        return None
    return value if value is not None and math.isfinite(value) else None


def _number(node: exp.Expr) -> float | None:
    if isinstance(node, exp.Literal):
        return None if node.args.get("is_string") else float(node.name)
    if isinstance(node, exp.Paren):
        return _number(node.this)
    if isinstance(node, exp.Neg):
        value = _number(node.this)
        return None if value is None else -value
    if isinstance(node, exp.Cast):
        return _cast(node)
    operation = _BINARY.get(type(node))
    if operation is not None:
        values = _numbers((node.this, node.expression))
        return operation(*values) if values is not None else None
    if isinstance(node, exp.Anonymous) and node.name in _CALLS:
        values = _numbers(node.expressions)
        return _CALLS[node.name](*values) if values is not None else None
    return None


def _cast(node: exp.Cast) -> float | None:
    kind = node.meta.get("type")
    if kind is None or kind.datatype not in ("long", "double"):
        return None
    value = _number(node.this)
    # How a fraction becomes a whole number is the engine's affair.
    return None if value is not None and kind.datatype == "long" and not value.is_integer() else value


def _numbers(nodes: Sequence[exp.Expr]) -> list[float] | None:
    values = [_number(n) for n in nodes]
    known = [v for v in values if v is not None]
    return known if len(known) == len(values) else None


def constant_point(node: exp.Expr) -> tuple[float, float] | None:
    """Right ascension and declination of a point written in numbers."""
    if not isinstance(node, g.Point):
        return None
    ra, dec = constant_number(node.this), constant_number(node.expression)
    return None if ra is None or dec is None else (ra, dec)


def constant_region(node: exp.Expr) -> Region | None:
    """The region that a geometry written in numbers is; a point is a circle of no radius.

    Raises BadParameter where the numbers make no region, such as a declination of 91.
    """
    known: Region | None = node.meta.get("region")
    if known is not None:
        return known
    region = _region(node)
    if region is not None:
        node.meta["region"] = region
    return region


def _region(node: exp.Expr) -> Region | None:
    if isinstance(node, g.RegionText):
        return parse_region(node.this.name)
    if isinstance(node, g.Point):
        point = constant_point(node)
        return None if point is None else Circle(*point, 0.0)
    if isinstance(node, g.PolygonNode):
        corners = [constant_point(c) for c in node.expressions]
        known = np.array([c for c in corners if c is not None])
        return Polygon(known[:, 0], known[:, 1]) if len(known) == len(corners) else None
    if isinstance(node, g.Circle | g.Box):
        centre = constant_point(node.this)
        sizes = _constants([node.expression] if isinstance(node, g.Circle) else node.expressions)
        if centre is None or sizes is None:
            return None
        return Circle(*centre, *sizes) if isinstance(node, g.Circle) else box_polygon(*centre, *sizes)
    return None


def _constants(nodes: Sequence[exp.Expr]) -> list[float] | None:
    values = [constant_number(n) for n in nodes]
    known = [v for v in values if v is not None]
    return known if len(known) == len(values) else None
