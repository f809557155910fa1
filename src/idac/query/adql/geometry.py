"""ADQL's geometry as nodes of the query tree (ADQL 2.1 section 4.2); every way of writing one ends as one node.

Angles are degrees, ICRS. A geometry-valued column stays a column, with its type beside it.
"""

from __future__ import annotations

from sqlglot import exp


class Geometry(exp.Expression, exp.Func):
    """Any of ADQL's geometry functions."""

    arg_types = {"this": False, "expression": False, "expressions": False}  # noqa: RUF012  sqlglot's own form
    is_var_len_args = True


class Point(Geometry):
    """A position: ``this`` is right ascension, ``expression`` declination."""


class Circle(Geometry):
    """``this`` is the centre, a point-valued node; ``expression`` the radius."""


class Box(Geometry):
    """``this`` is the centre, a point-valued node; ``expressions`` are width and height."""


class PolygonNode(Geometry):
    """``expressions`` are the vertices, each a point-valued node."""


class RegionText(Geometry):
    """REGION('…'): ``this`` is the text, a string literal."""


class Contains(Geometry):
    """1 where ``this`` lies inside ``expression``, else 0."""


class Intersects(Geometry):
    """1 where ``this`` and ``expression`` overlap, else 0."""


class Distance(Geometry):
    """Degrees between the points ``this`` and ``expression`` along the great circle."""


class Area(Geometry):
    """Area of ``this`` in square degrees."""


class Centroid(Geometry):
    """The point in the middle of ``this``."""


class Coord1(Geometry):
    """Right ascension of the point ``this``."""


class Coord2(Geometry):
    """Declination of the point ``this``."""


class CoordSys(Geometry):
    """Name of the coordinate system of ``this``: always ICRS here."""
