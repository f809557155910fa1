"""Every way of writing ADQL's geometry, brought to the one form of ``geometry.py`` and checked.

ADQL 2.1 section 4.2 allows an optional coordinate system first (deprecated), positions as two numbers or as one point,
and polygons as numbers or as points.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlglot import exp

from idac.core.errors import UserError
from idac.query.adql import geometry as g
from idac.sky.region_text import parse_region
from idac.tables.model import CIRCLE, DOUBLE, INT, POINT, POLYGON, REGION, STRING, DataType

if TYPE_CHECKING:
    from idac.query.adql.expressions import Expressions

#: Names and forms, for errors and for the reference page.
GEOMETRY: dict[str, str] = {
    "POINT": "POINT(ra, dec)",
    "CIRCLE": "CIRCLE(ra, dec, radius) or CIRCLE(point, radius)",
    "BOX": "BOX(ra, dec, width, height) or BOX(point, width, height)",
    "POLYGON": "POLYGON(ra1, dec1, ra2, dec2, ra3, dec3, …) or POLYGON(point1, point2, point3, …)",
    "REGION": "REGION('CIRCLE ICRS ra dec radius') and the like",
    "CONTAINS": "CONTAINS(inner, outer)",
    "INTERSECTS": "INTERSECTS(geometry1, geometry2)",
    "DISTANCE": "DISTANCE(ra1, dec1, ra2, dec2) or DISTANCE(point1, point2)",
    "AREA": "AREA(geometry)",
    "CENTROID": "CENTROID(geometry)",
    "COORD1": "COORD1(point)",
    "COORD2": "COORD2(point)",
    "COORDSYS": "COORDSYS(geometry)",
}
#: First words of coordinate systems that are ICRS for every purpose of a query in degrees.
_ICRS = ("", "ICRS", "J2000", "UNKNOWN", "UNKNOWNFRAME")
_WITH_SYSTEM = ("POINT", "CIRCLE", "BOX", "POLYGON")


def resolve_geometry(expressions: Expressions, node: exp.Anonymous) -> exp.Expr:
    """The geometry node for a call of one of GEOMETRY's names."""
    return _Call(expressions, node).resolve()


class _Call:
    """One call, while its arguments are sorted out."""

    def __init__(self, expressions: Expressions, node: exp.Anonymous) -> None:
        self.expressions, self.node = expressions, node
        self.name: str = node.name
        self.at: int = node.meta.get("at", 0)

    def resolve(self) -> exp.Expr:
        given = list(self.node.expressions)
        if self.name in _WITH_SYSTEM:
            given = self.without_system(given)
        if self.name == "REGION":
            return self.region(given)
        arguments = [self.expressions.value(a) for a in given]
        build = {
            "POINT": self.point,
            "CIRCLE": self.circle,
            "BOX": self.box,
            "POLYGON": self.polygon,
            "CONTAINS": self.relation,
            "INTERSECTS": self.relation,
            "DISTANCE": self.distance,
            "AREA": self.measure,
            "CENTROID": self.measure,
            "COORDSYS": self.measure,
            "COORD1": self.coordinate,
            "COORD2": self.coordinate,
        }[self.name]
        return build(arguments)

    def wrong(self, what: str, node: exp.Expr | None = None, value: str | None = None) -> UserError:
        return self.expressions.error(what, node or self.node, value=value, allowed=GEOMETRY[self.name])

    def typed[E: exp.Expr](self, node: E, kind: DataType, unit: str | None = None) -> E:
        node.meta["type"], node.meta["at"] = kind, self.at
        if unit:
            node.meta["unit"] = unit
        return node

    def without_system(self, given: list[exp.Expr]) -> list[exp.Expr]:
        if not given or not (isinstance(given[0], exp.Literal) and given[0].args.get("is_string")):
            return given
        system = given[0].name.strip().upper()
        if (system.split() or [""])[0] not in _ICRS:
            raise self.expressions.error(
                "Positions are ICRS here.",
                given[0],
                value=given[0].name,
                allowed="'ICRS', or no coordinate system at all",
                hint="Transform the position: ivo_geom_transform('GALACTIC', 'ICRS', POINT(l, b)).",
            )
        return given[1:]

    # -- constructors ----------------------------------------------------------------------------------------------

    def numbers(self, arguments: Sequence[exp.Expr]) -> None:
        for argument in arguments:
            kind = argument.meta.get("type")
            if kind is not None and not kind.is_numeric:
                raise self.wrong(f"{self.name} takes numbers, in degrees, here.", argument)

    def position(self, ra: exp.Expr, dec: exp.Expr) -> exp.Expr:
        self.numbers((ra, dec))
        value = _constant(dec)
        if value is not None and not -90 <= value <= 90:
            raise self.expressions.error(
                "A declination is out of range.", dec, value=f"{value:.15g}", allowed="-90 to 90 degrees"
            )
        return self.typed(g.Point(this=ra, expression=dec), POINT, "deg")

    def is_point(self, node: exp.Expr) -> bool:
        kind = node.meta.get("type")
        return kind is not None and kind.xtype == "point"

    def point(self, arguments: list[exp.Expr]) -> exp.Expr:
        if len(arguments) != 2:
            raise self.wrong("POINT takes two angles.", value=f"{len(arguments)} arguments")
        return self.position(*arguments)

    def centred(self, arguments: list[exp.Expr], sizes: int) -> tuple[exp.Expr, list[exp.Expr]]:
        """Centre and the *sizes* numbers after it."""
        if len(arguments) == sizes + 1 and self.is_point(arguments[0]):
            centre, rest = arguments[0], arguments[1:]
        elif len(arguments) == sizes + 2:
            centre, rest = self.position(arguments[0], arguments[1]), arguments[2:]
        else:
            raise self.wrong(f"{self.name} takes other arguments.", value=f"{len(arguments)} arguments")
        self.numbers(rest)
        return centre, rest

    def circle(self, arguments: list[exp.Expr]) -> exp.Expr:
        centre, (radius,) = self.centred(arguments, 1)
        value = _constant(radius)
        if value is not None and not 0 <= value <= 180:
            raise self.expressions.error(
                "A radius is out of range.", radius, value=f"{value:.15g}", allowed="0 to 180 degrees"
            )
        return self.typed(g.Circle(this=centre, expression=radius), CIRCLE, "deg")

    def box(self, arguments: list[exp.Expr]) -> exp.Expr:
        centre, sizes = self.centred(arguments, 2)
        for size, name in zip(sizes, ("width", "height"), strict=True):
            value = _constant(size)
            if value is not None and (not 0 <= value <= 180 or (name, value) == ("width", 180)):
                raise self.expressions.error(
                    f"The {name} of a box is out of range.",
                    size,
                    value=f"{value:.15g}",
                    allowed="0 to 180 degrees" if name == "height" else "0 to less than 180 degrees",
                    hint="The sides of a box are great circles. Write a condition on each coordinate instead.",
                )
        dec, height = _constant(centre.expression) if isinstance(centre, g.Point) else None, _constant(sizes[1])
        if dec is not None and height is not None and abs(dec) + height / 2 > 90:
            raise self.expressions.error(
                "A box can't reach over a pole.",
                sizes[1],
                value=f"declinations {dec - height / 2:.15g} to {dec + height / 2:.15g}",
                allowed="-90 to 90 degrees",
                hint="Use CIRCLE there, or a condition on the declination, such as dec > 89.",
            )
        return self.typed(g.Box(this=centre, expressions=sizes), POLYGON, "deg")

    def polygon(self, arguments: list[exp.Expr]) -> exp.Expr:
        if arguments and self.is_point(arguments[0]):
            if not all(map(self.is_point, arguments)):
                raise self.wrong("The corners of POLYGON are all points, or all pairs of numbers.")
            corners = arguments
        elif len(arguments) % 2 == 0:
            pairs = zip(arguments[::2], arguments[1::2], strict=True)
            corners = [self.position(ra, dec) for ra, dec in pairs]
        else:
            raise self.wrong("POLYGON takes pairs of angles.", value=f"{len(arguments)} numbers")
        if len(corners) < 3:
            raise self.wrong("POLYGON needs three corners or more.", value=f"{len(corners)} corners")
        return self.typed(g.PolygonNode(expressions=corners), POLYGON, "deg")

    def region(self, given: list[exp.Expr]) -> exp.Expr:
        if len(given) != 1 or not (isinstance(given[0], exp.Literal) and given[0].args.get("is_string")):
            raise self.wrong("REGION takes one text in quotes.")
        try:
            parse_region(given[0].name)
        except UserError as error:
            raise self.expressions.error(
                error.what, given[0], value=error.value, allowed=error.allowed, hint=error.next_step
            ) from None
        return self.typed(g.RegionText(this=exp.Literal(this=given[0].name, is_string=True)), REGION, "deg")

    # -- predicates and measures -----------------------------------------------------------------------------------

    def shape(self, node: exp.Expr) -> exp.Expr:
        kind = node.meta.get("type")
        if kind is None or kind.xtype in ("point", "circle", "polygon", "adql:REGION", "adql:POINT"):
            return node
        # s_region and its like are often published as plain text; STC-S in a text column is a region all the same.
        if kind.is_string and isinstance(node, exp.Column):
            return node
        raise self.wrong(f"{self.name} takes geometries.", node)

    def relation(self, arguments: list[exp.Expr]) -> exp.Expr:
        if len(arguments) != 2:
            raise self.wrong(f"{self.name} takes two geometries.", value=f"{len(arguments)} arguments")
        first, second = map(self.shape, arguments)
        kind = g.Contains if self.name == "CONTAINS" else g.Intersects
        if kind is g.Contains and self.is_point(second) and not self.is_point(first):
            raise self.wrong("A point can't contain anything but a point; the container comes second.", arguments[1])
        return self.typed(kind(this=first, expression=second), INT)

    def distance(self, arguments: list[exp.Expr]) -> exp.Expr:
        if len(arguments) == 4:
            arguments = [self.position(*arguments[:2]), self.position(*arguments[2:])]
        if len(arguments) != 2 or not all(map(self.is_point, arguments)):
            raise self.wrong("DISTANCE takes two points.", value=f"{len(arguments)} arguments")
        return self.typed(g.Distance(this=arguments[0], expression=arguments[1]), DOUBLE, "deg")

    def measure(self, arguments: list[exp.Expr]) -> exp.Expr:
        if len(arguments) != 1:
            raise self.wrong(f"{self.name} takes one geometry.", value=f"{len(arguments)} arguments")
        shape = self.shape(arguments[0])
        if self.name == "AREA":
            return self.typed(g.Area(this=shape), DOUBLE, "deg**2")
        if self.name == "CENTROID":
            return self.typed(g.Centroid(this=shape), POINT, "deg")
        return self.typed(g.CoordSys(this=shape), STRING)

    def coordinate(self, arguments: list[exp.Expr]) -> exp.Expr:
        if len(arguments) != 1 or not self.is_point(arguments[0]):
            raise self.wrong(f"{self.name} takes one point.")
        kind = g.Coord1 if self.name == "COORD1" else g.Coord2
        return self.typed(kind(this=arguments[0]), DOUBLE, "deg")


def _constant(node: exp.Expr) -> float | None:
    """The number that a literal is, with a sign before it or not; None for anything else."""
    if isinstance(node, exp.Neg):
        inner = _constant(node.this)
        return None if inner is None else -inner
    if isinstance(node, exp.Paren):
        return _constant(node.this)
    if isinstance(node, exp.Literal) and not node.args.get("is_string"):
        return float(node.name)
    return None
