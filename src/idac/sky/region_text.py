"""Regions as text: the part of STC-S that ``s_region`` and ADQL's REGION use (STC-S 1.33, ADQL 2.1 section 4.2.17)."""

from __future__ import annotations

import re
from functools import lru_cache

import numpy as np

from idac.core.errors import BadParameter, Position
from idac.sky.regions import Circle, Polygon, Range, Region, Union, box_polygon

#: Words that may follow a shape's name and change nothing in degrees of ICRS (STC-S 1.33 section 2).
_FRAMES = {"ICRS", "FK5", "J2000", "UNKNOWNFRAME"}
_NOISE = {"GEOCENTER", "BARYCENTER", "TOPOCENTER", "UNKNOWNREFPOS", "SPHERICAL2", "CARTESIAN2"}
_OTHER_FRAMES = {"FK4", "GALACTIC", "GALACTIC_II", "ECLIPTIC", "B1950", "SUPER_GALACTIC"}
_SHAPES = ("CIRCLE", "POLYGON", "BOX", "POSITION", "RANGE", "UNION")
_TOKEN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|[()]|\S")
_EXAMPLE = "'CIRCLE ICRS 12.5 -3 0.1', or 'POLYGON ICRS 1 1 2 1 2 2'"


@lru_cache(maxsize=4096)
def parse_region(text: str) -> Region:
    """The region that *text* describes. Raises BadParameter with the column of what is not understood."""
    return _Parser(text).parse()


def format_region(region: Region) -> str:
    """STC-S text that ``parse_region`` reads back."""
    if isinstance(region, Circle):
        return f"CIRCLE ICRS {region.ra_deg!r} {region.dec_deg!r} {region.radius_deg!r}".replace("np.float64", "")
    if isinstance(region, Polygon):
        pairs = zip(region.ra_deg.tolist(), region.dec_deg.tolist(), strict=True)
        return "POLYGON ICRS " + " ".join(f"{ra!r} {dec!r}" for ra, dec in pairs)
    if isinstance(region, Range):
        limits = (region.ra_min_deg, region.ra_max_deg, region.dec_min_deg, region.dec_max_deg)
        return "RANGE ICRS " + " ".join(repr(float(v)) for v in limits)
    if isinstance(region, Union):
        return f"UNION ICRS ( {' '.join(format_region(p).replace(' ICRS', '') for p in region.parts)} )"
    raise TypeError(f"no text for {type(region).__name__}")


class _Parser:
    """One text, token by token."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = [(m.group(), m.start()) for m in _TOKEN.finditer(text)]
        self.index = 0

    def parse(self) -> Region:
        region = self.region()
        if self.index < len(self.tokens):
            raise self.error("Something follows the region.")
        return region

    def error(self, what: str, allowed: str = _EXAMPLE) -> BadParameter:
        token, at = self.tokens[self.index] if self.index < len(self.tokens) else ("its end", len(self.text))
        return BadParameter(what, value=token, allowed=allowed, position=Position(1, at + 1))

    def word(self) -> str:
        return self.tokens[self.index][0].upper() if self.index < len(self.tokens) else ""

    def region(self) -> Region:
        shape = self.word()
        if shape not in _SHAPES:
            raise self.error("This is not a region.", f"{', '.join(_SHAPES)}; for example {_EXAMPLE}")
        start = self.index
        self.index += 1
        self.frame()
        if shape == "UNION":
            return self.union()
        values = self.numbers()
        try:
            return self.build(shape, values)
        except BadParameter:
            raise
        except (ValueError, IndexError):
            self.index = start
            raise self.error("A region has another number of values.") from None

    def frame(self) -> None:
        while self.word() in _FRAMES | _NOISE | _OTHER_FRAMES:
            if self.word() in _OTHER_FRAMES:
                raise self.error("Regions are ICRS here.", "ICRS, in degrees")
            self.index += 1

    def numbers(self) -> list[float]:
        values = []
        while self.index < len(self.tokens) and re.match(r"[-+.\d]", self.tokens[self.index][0]):
            try:
                values.append(float(self.tokens[self.index][0]))
            except ValueError:
                raise self.error("This is not a number.") from None
            self.index += 1
        return values

    def build(self, shape: str, values: list[float]) -> Region:
        if shape == "CIRCLE":
            ra, dec, radius = values
            return Circle(ra, dec, radius)
        if shape == "POSITION":
            ra, dec = values
            return Circle(ra, dec, 0.0)
        if shape == "BOX":
            ra, dec, width, height = values
            return box_polygon(ra, dec, width, height)
        if shape == "RANGE":
            ra_min, ra_max, dec_min, dec_max = values
            return Range(ra_min, ra_max, dec_min, dec_max)
        if len(values) % 2:
            raise ValueError("an odd number of coordinates")
        return Polygon(np.array(values[::2]), np.array(values[1::2]))

    def union(self) -> Region:
        if self.word() != "(":
            raise self.error("UNION takes regions in parentheses.", "UNION ICRS ( CIRCLE … POLYGON … )")
        self.index += 1
        parts = []
        while self.word() != ")":
            parts.append(self.region())
        self.index += 1
        if not parts:
            raise self.error("UNION needs at least one region.")
        return Union(tuple(parts))
