"""Geometry in DuckDB's SQL: the exact tests, inline where arithmetic does, and our own functions where it does not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from sqlglot import exp

from idac.query.adql import geometry as g
from idac.query.engines.duckdb.text import list_of, literal, number
from idac.query.plan import predicates as p
from idac.query.plan.constants import constant_number, constant_region
from idac.sky.regions import Circle, Polygon, Region
from idac.sky.vectors import Floats

if TYPE_CHECKING:
    from idac.query.engines.duckdb.expressions import ExpressionWriter

#: Longest text of a coordinate that a formula may repeat; longer ones go to a function, which names it once.
_REPEATABLE = 1_000
#: Corners of a convex polygon that are tested inline.
_MOST_EDGES = 16
#: Slack of an edge, as the sine of an angle: a point on the boundary is inside.
_EPSILON = 1e-15
_SIGNS: dict[type[exp.Expr], str] = {exp.LT: "<", exp.LTE: "<=", exp.GT: ">", exp.GTE: ">="}


@dataclass(frozen=True)
class Shape:
    """A geometry value: *kind* says what *parts* are (point: ra, dec; circle: ra, dec, radius; else one expression)."""

    kind: str  # "point", "circle", "polygon", "region"
    parts: tuple[str, ...]

    @property
    def text(self) -> str:
        """The shape as a text that ``sky.region_text`` reads, made by SQL."""
        if self.kind == "region":
            return self.parts[0]
        if self.kind == "polygon":
            # array_to_string is a macro that doubles its argument.
            return f"('POLYGON ICRS ' || list_aggregate(CAST({self.parts[0]} AS VARCHAR[]), 'string_agg', ' '))"
        word = {"point": "POSITION", "circle": "CIRCLE"}[self.kind]
        return f"('{word} ICRS ' || " + " || ' ' || ".join(f"CAST({v} AS DOUBLE)" for v in self.parts) + ")"

    @property
    def value(self) -> str:
        """The shape as the value of a column: NULL where there is none of these numbers, as a radius below 0."""
        if len(self.parts) == 1:
            return self.parts[0]
        ra, dec, *radius = self.parts
        exists = [f"{ra} IS NOT NULL", f"{dec} BETWEEN -90 AND 90", *(f"{r} BETWEEN 0 AND 180" for r in radius)]
        return f"CASE WHEN {' AND '.join(exists)} THEN {list_of(f'CAST({v} AS DOUBLE)' for v in self.parts)} END"


class ShapeWriter:
    """Writes geometry nodes; *regions* collects the constant ones that need a function of ours, by number."""

    def __init__(self, expressions: ExpressionWriter) -> None:
        self._expressions = expressions
        self.regions: list[Region] = []
        #: Their numbers by the node that they are written as: in GROUP BY, one region must have one number.
        self._numbers: dict[exp.Expr, int] = {}

    def sql(self, node: exp.Expr) -> str:
        return self._expressions.sql(node)

    # -- values ------------------------------------------------------------------------------------------------------

    def shape(self, node: exp.Expr) -> Shape:
        node = p.bare(node)
        if isinstance(node, g.Point):
            return Shape("point", (self.sql(node.this), self.sql(node.expression)))
        if isinstance(node, g.Circle):
            return Shape("circle", (*self.point(node.this), self.sql(node.expression)))
        if isinstance(node, g.Box):
            sizes = [self.sql(size) for size in node.expressions]
            return Shape("polygon", (f"idac_box({', '.join([*self.point(node.this), *sizes])})",))
        if isinstance(node, g.PolygonNode):
            corners = [f"CAST({v} AS DOUBLE)" for corner in node.expressions for v in self.point(corner)]
            return Shape("polygon", (list_of(corners),))
        if isinstance(node, g.RegionText):
            return Shape("region", (literal(node.this.name),))
        if isinstance(node, g.Centroid):
            return self.centroid(node)
        return self.stored(node)

    def stored(self, node: exp.Expr) -> Shape:
        """A geometry that is a column's value, or made of such by CASE, COALESCE or a function."""
        kind = node.meta.get("type")
        text = self._expressions.plain(node)
        xtype = kind.xtype if kind is not None else None
        if xtype in ("point", "circle"):
            return Shape(xtype, tuple(f"({text})[{i}]" for i in range(1, 3 if xtype == "point" else 4)))
        return Shape("polygon" if xtype == "polygon" else "region", (text,))

    def point(self, node: exp.Expr) -> tuple[str, str]:
        ra, dec = self.shape(node).parts
        return ra, dec

    def value(self, node: exp.Expr) -> str:
        return self.shape(node).value

    def centroid(self, node: g.Centroid) -> Shape:
        shape = self.shape(node.this)
        if shape.kind in ("point", "circle"):
            return Shape("point", shape.parts[:2])
        text = f"idac_centroid({shape.text})"
        return Shape("point", (f"{text}[1]", f"{text}[2]"))

    def area(self, node: g.Area) -> str:
        shape = self.shape(node.this)
        if shape.kind == "point":
            return "0e0"
        if shape.kind == "circle":
            square_degrees = number(4 * math.pi * math.degrees(1.0) ** 2)
            return f"({square_degrees} * pow(sin(radians({shape.parts[2]}) / 2), 2))"
        return f"idac_area({shape.text})"

    def coordinate(self, node: g.Coord1 | g.Coord2) -> str:
        ra, dec = self.point(node.this)
        return ra if isinstance(node, g.Coord1) else dec

    def coordinate_system(self, node: g.CoordSys) -> str:
        return f"CASE WHEN {self.value(node.this)} IS NULL THEN NULL ELSE 'ICRS' END"

    # -- distances ---------------------------------------------------------------------------------------------------

    def distance(self, node: g.Distance) -> str:
        return separation(*self.point(node.this), *self.point(node.expression))

    def compared_distance(self, node: exp.Expr) -> str | None:
        """A comparison of a distance with a constant, without an arc tangent; None for any other comparison."""
        for comparison in p.comparisons(node):
            if isinstance(node, exp.Between) or not isinstance(comparison.left, g.Distance):
                continue
            limit = constant_number(comparison.right)
            sign = _SIGNS.get(comparison.operator)
            if limit is not None and sign is not None and 0 <= limit <= 90:
                points = self.point(comparison.left.this), self.point(comparison.left.expression)
                if _short(*points[0], *points[1]):
                    return f"{half_sin2(*points[0], *points[1])} {sign} {_limit(limit)}"
        return None

    # -- predicates --------------------------------------------------------------------------------------------------

    def relation(self, node: g.Contains | g.Intersects) -> str:
        """The condition for CONTAINS or INTERSECTS to be 1; NULL where a geometry is."""
        inner, outer = p.bare(node.this), p.bare(node.expression)
        if isinstance(node, g.Intersects) and not p.is_point(inner) and p.is_point(outer):
            inner, outer = outer, inner
        if p.is_point(inner):
            return self.point_inside(self.point(inner), outer)
        first, second = self.shape(inner), self.shape(outer)
        if first.kind == second.kind == "circle":
            between = separation(*first.parts[:2], *second.parts[:2])
            if isinstance(node, g.Contains):
                return f"({between} + {first.parts[2]} <= {second.parts[2]})"
            return f"({between} <= {first.parts[2]} + {second.parts[2]})"
        word = "contains" if isinstance(node, g.Contains) else "intersects"
        return f"idac_{word}({first.text}, {second.text})"

    def point_inside(self, point: tuple[str, str], outer: exp.Expr) -> str:
        region = constant_region(outer)
        if region is not None:
            return self.inside_constant(point, region, outer)
        shape = self.shape(outer)
        if shape.kind == "point":
            return f"({separation(*point, *shape.parts)} = 0)"
        if shape.kind == "circle":
            radius = constant_number(outer.expression) if isinstance(outer, g.Circle) else None
            if radius is not None and 0 <= radius <= 90 and _short(*point, *shape.parts[:2]):
                return f"({half_sin2(*point, *shape.parts[:2])} <= {_limit(radius)})"
            return f"({separation(*point, *shape.parts[:2])} <= {shape.parts[2]})"
        if shape.kind == "polygon":
            return f"idac_in_polygon({point[0]}, {point[1]}, {shape.parts[0]})"
        return f"idac_in_text({point[0]}, {point[1]}, {shape.parts[0]})"

    def inside_constant(self, point: tuple[str, str], region: Region, written: exp.Expr) -> str:
        if _short(*point):
            if isinstance(region, Circle) and region.radius_deg <= 90:
                centre = number(region.ra_deg), number(region.dec_deg)
                return f"({half_sin2(*point, *centre)} <= {_limit(region.radius_deg)})"
            if isinstance(region, Polygon):
                edges = _convex_edges(region)
                if edges is not None:
                    return _inside_edges(point, edges)
        if written not in self._numbers:
            self._numbers[written] = len(self.regions)
            self.regions.append(region)
        return f"idac_in_region({self._numbers[written]}, {point[0]}, {point[1]})"


def half_sin2(ra1: str, dec1: str, ra2: str, dec2: str) -> str:
    """sin² of half the separation: exact for small angles, and compared without an arc sine."""
    return (
        f"(pow(sin(radians({dec2} - {dec1}) / 2), 2) + "
        f"cos(radians({dec1})) * cos(radians({dec2})) * pow(sin(radians({ra2} - {ra1}) / 2), 2))"
    )


def separation(ra1: str, dec1: str, ra2: str, dec2: str) -> str:
    """Degrees along the great circle, exact at all angles: the antipode has a cosine where the sine is flat."""
    if not _short(ra1, dec1, ra2, dec2):
        return f"idac_separation({ra1}, {dec1}, {ra2}, {dec2})"
    opposite = (
        f"(pow(sin(radians({dec2} + {dec1}) / 2), 2) + "
        f"cos(radians({dec1})) * cos(radians({dec2})) * pow(cos(radians({ra2} - {ra1}) / 2), 2))"
    )
    near = half_sin2(ra1, dec1, ra2, dec2)
    # Rounding may leave -1e-33 under the root.
    return f"degrees(2 * atan2(pow(abs({near}), 0.5), pow(abs({opposite}), 0.5)))"


def _limit(radius_deg: float) -> str:
    return number(math.sin(math.radians(radius_deg) / 2) ** 2)


def _short(*texts: str) -> bool:
    return sum(map(len, texts)) <= _REPEATABLE


def _convex_edges(region: Polygon) -> Sequence[Sequence[float]] | None:
    """Inward normals of the edges of a convex polygon; None for a concave or a large one."""
    corners = region.corners
    if not 3 <= len(corners) <= _MOST_EDGES:
        return None
    normals = np.cross(corners, np.roll(corners, -1, axis=0))
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    if (lengths < 1e-12).any():
        return None
    normals = normals / lengths
    if (normals @ region.middle).sum() < 0:
        normals = -normals
    # Convex: every corner lies on the inner side of every edge. A self-crossing outline fails this too.
    if (normals @ corners.T < -1e-12).any() or _turns(corners) != 1:
        return None
    return [[float(v) for v in normal] for normal in normals]


def _turns(corners: Floats) -> int:
    """How often the outline goes round its middle: a star with all corners on one side of each edge goes twice."""
    middle = corners.sum(axis=0)
    middle = middle / np.linalg.norm(middle)
    helper = np.eye(3)[np.argmin(np.abs(middle))]
    first = np.cross(middle, helper)
    first /= np.linalg.norm(first)
    angles = np.arctan2(corners @ np.cross(middle, first), corners @ first)
    steps = (np.diff(np.append(angles, angles[0])) + np.pi) % (2 * np.pi) - np.pi
    return abs(round(float(steps.sum()) / (2 * np.pi)))


def _inside_edges(point: tuple[str, str], edges: Sequence[Sequence[float]]) -> str:
    ra, dec = (f"radians({v})" for v in point)
    x, y, z = f"cos({dec}) * cos({ra})", f"cos({dec}) * sin({ra})", f"sin({dec})"
    tests = []
    for normal in edges:
        total = " + ".join(f"{number(n)} * {axis}" for n, axis in zip(normal, (x, y, z), strict=True))
        # The upper bound refuses NaN, which DuckDB takes for larger than every number.
        tests.append(f"{total} BETWEEN {number(-_EPSILON)} AND 2e0")
    return f"({' AND '.join(tests)})"
