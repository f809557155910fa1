"""Regions of the sky: what is inside them, how large they are, and which HEALPix cells hold them.

Angles are degrees, ICRS. A region is closed: its boundary belongs to it, within rounding (about 1e-13 deg). A polygon
has great-circle edges and its inside is the side of smaller area; it must fit into a hemisphere.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from idac.core.errors import BadParameter
from idac.core.lazy import LazyModule
from idac.sky import cover as covers
from idac.sky.cover import Ranges
from idac.sky.healpix import MAX_ORDER, healpix29, healpix_center
from idac.sky.vectors import Floats, half_angle_sin2, middle_of_cap, positions, separation_deg, unit_vectors

if TYPE_CHECKING:
    import mocpy
else:
    mocpy = LazyModule("mocpy")

type Mask = npt.NDArray[np.bool_]

_SQUARE_DEGREES = np.degrees(1.0) ** 2
#: Slack of closed boundaries, in the sine of an angle.
_EPSILON = 1e-15
#: Least cosine of the angle from the middle of a polygon to its corners for which no better middle is looked for.
_DEEP = 0.05


class Region(Protocol):
    """What every kind of region can tell."""

    def contains(self, ra_deg: npt.ArrayLike, dec_deg: npt.ArrayLike) -> Mask:
        """Which positions lie inside, shape (n,); NaN is outside."""
        ...

    def cover(self, max_ranges: int = 16) -> Ranges:
        """At most *max_ranges* half-open ranges of order-29 cells that hold the region, sorted and disjoint, (m, 2)."""
        ...

    def area_deg2(self) -> float: ...
    def centroid(self) -> tuple[float, float]:
        """Right ascension and declination of the middle."""
        ...


@dataclass(frozen=True, slots=True)
class Circle:
    """Every position within *radius_deg* of the centre."""

    ra_deg: float
    dec_deg: float
    radius_deg: float

    def __post_init__(self) -> None:
        _check_position(self.ra_deg, self.dec_deg)
        if not 0 <= self.radius_deg <= 180:
            raise BadParameter("A radius is out of range.", value=f"{self.radius_deg:.15g}", allowed="0 to 180 degrees")

    def contains(self, ra_deg: npt.ArrayLike, dec_deg: npt.ArrayLike) -> Mask:
        sin2 = half_angle_sin2(self.ra_deg, self.dec_deg, ra_deg, dec_deg)
        return np.atleast_1d(sin2 <= np.sin(np.radians(self.radius_deg) / 2) ** 2)

    def cover(self, max_ranges: int = 16) -> Ranges:
        return covers.circle_cover(self.ra_deg, self.dec_deg, self.radius_deg, max_ranges)

    def area_deg2(self) -> float:
        return float(4 * np.pi * np.sin(np.radians(self.radius_deg) / 2) ** 2 * _SQUARE_DEGREES)

    def centroid(self) -> tuple[float, float]:
        return self.ra_deg, self.dec_deg


@dataclass(frozen=True, eq=False)
class Polygon:
    """The smaller side of a closed line of great-circle arcs through the corners, in either winding; may be concave."""

    ra_deg: Floats
    dec_deg: Floats

    def __post_init__(self) -> None:
        object.__setattr__(self, "ra_deg", np.atleast_1d(np.asarray(self.ra_deg, dtype=np.float64)))
        object.__setattr__(self, "dec_deg", np.atleast_1d(np.asarray(self.dec_deg, dtype=np.float64)))
        for ra, dec in zip(self.ra_deg, self.dec_deg, strict=True):
            _check_position(ra, dec)
        if len(self.ra_deg) < 3:
            raise BadParameter("A polygon needs corners.", value=f"{len(self.ra_deg)}", allowed="three or more")
        if self._cos_radius <= 1e-6:
            raise BadParameter(
                "A polygon must fit into a hemisphere.",
                value=", ".join(
                    f"({a:.15g}, {d:.15g})" for a, d in zip(self.ra_deg[:6], self.dec_deg[:6], strict=True)
                ),
                next_step="Split it into smaller polygons.",
            )

    @cached_property
    def corners(self) -> Floats:
        """Unit vectors of the corners, shape (m, 3); a corner that repeats the one before it is left out."""
        vectors = unit_vectors(self.ra_deg, self.dec_deg)
        fresh = np.linalg.norm(vectors - np.roll(vectors, 1, axis=0), axis=1) > 1e-15
        return vectors[fresh] if fresh.any() else vectors[:1]

    @cached_property
    def middle(self) -> Floats:
        """Direction that all corners are on one side of, where there is one."""
        corners = unit_vectors(self.ra_deg, self.dec_deg)
        total = corners.sum(axis=0)
        length = np.linalg.norm(total)
        if length > 1e-12 and (corners @ total).min() > _DEEP * length:
            return np.asarray(total / length, dtype=np.float64)
        # Many corners on one side pull their sum away from a far one.
        return middle_of_cap(corners)

    @cached_property
    def _cos_radius(self) -> float:
        return float((unit_vectors(self.ra_deg, self.dec_deg) @ self.middle).min())

    @cached_property
    def _axes(self) -> tuple[Floats, Floats]:
        """Two directions that span the plane tangent at the middle."""
        helper = np.eye(3)[np.argmin(np.abs(self.middle))]
        first = np.cross(self.middle, helper)
        first /= np.linalg.norm(first)
        return first, np.cross(self.middle, first)

    def _projected(self, vectors: Floats) -> tuple[Floats, Floats, Floats]:
        """Gnomonic projection about the middle, in which great circles are straight; and the cosine to the middle."""
        depth = vectors @ self.middle
        first, second = self._axes
        with np.errstate(divide="ignore", invalid="ignore"):
            return vectors @ first / depth, vectors @ second / depth, depth

    def contains(self, ra_deg: npt.ArrayLike, dec_deg: npt.ArrayLike) -> Mask:
        x, y, depth = self._projected(np.atleast_2d(unit_vectors(ra_deg, dec_deg)))
        px, py, _ = self._projected(self.corners)
        inside = np.zeros(x.shape, dtype=bool)
        on_edge = np.zeros(x.shape, dtype=bool)
        with np.errstate(invalid="ignore"):
            for ax, ay, bx, by in zip(px, py, np.roll(px, -1), np.roll(py, -1), strict=True):
                side = (bx - ax) * (y - ay) - (by - ay) * (x - ax)
                crosses = (ay > y) != (by > y)
                inside ^= crosses & ((side > 0) == (by > ay))
                scale = np.hypot(bx - ax, by - ay) * (1 + np.hypot(x, y))
                along = (x - ax) * (x - bx) + (y - ay) * (y - by)
                on_edge |= (np.abs(side) <= _EPSILON * scale) & (along <= _EPSILON)
            return (inside | on_edge) & (depth > 0)

    def cover(self, max_ranges: int = 16) -> Ranges:
        ra, dec = positions(self.middle)
        radius = float(np.degrees(np.arccos(np.clip(self._cos_radius, -1, 1)))) + 1e-9
        circle = covers.circle_cover(float(ra), float(dec), radius, max_ranges)
        if len(self.corners) < 3 or self.area_deg2() < 1e-9 * radius**2:
            # A polygon without an area to speak of is a line, which a search by cells might slip between.
            return circle
        own_ra, own_dec = positions(self.corners)
        return covers.polygon_cover(own_ra, own_dec, radius, max_ranges)

    def area_deg2(self) -> float:
        a, b = self.corners, np.roll(self.corners, -1, axis=0)
        # Signed spherical triangles from the middle to each edge (Eriksson 1990, Math. Mag. 63, 184).
        triple = np.cross(a, b) @ self.middle
        dots = 1 + np.einsum("ij,ij->i", a, b) + a @ self.middle + b @ self.middle
        return float(abs(2 * np.arctan2(triple, dots).sum()) * _SQUARE_DEGREES)

    def centroid(self) -> tuple[float, float]:
        a, b = self.corners, np.roll(self.corners, -1, axis=0)
        # The integral of position over a spherical polygon is half the sum of its edges' angles times normals.
        cross = np.cross(a, b)
        length = np.linalg.norm(cross, axis=1)
        angle = np.arctan2(length, np.einsum("ij,ij->i", a, b))
        with np.errstate(invalid="ignore", divide="ignore"):
            total = np.nansum(cross / length[:, None] * angle[:, None], axis=0)
        if np.linalg.norm(total) < 1e-14:
            total = self.middle
        ra, dec = positions(total if total @ self.middle > 0 else -total)
        return float(ra), float(dec)


@dataclass(frozen=True, slots=True)
class Range:
    """Right ascension from *ra_min_deg* eastwards to *ra_max_deg*, and declination between two limits (DALI RANGE)."""

    ra_min_deg: float
    ra_max_deg: float
    dec_min_deg: float
    dec_max_deg: float

    def __post_init__(self) -> None:
        if not -90 <= self.dec_min_deg <= self.dec_max_deg <= 90:
            raise BadParameter(
                "The declinations of a range are out of order or out of range.",
                value=f"{self.dec_min_deg:.15g} to {self.dec_max_deg:.15g}",
                allowed="-90 to 90 degrees, the smaller one first",
            )
        if not (np.isfinite(self.ra_min_deg) and np.isfinite(self.ra_max_deg)):
            raise BadParameter("The right ascensions of a range must be finite.", allowed="0 to 360 degrees")

    @property
    def width_deg(self) -> float:
        """Extent in right ascension, in (0, 360]."""
        width = self.ra_max_deg - self.ra_min_deg
        return 360.0 if width >= 360 else width % 360.0

    def contains(self, ra_deg: npt.ArrayLike, dec_deg: npt.ArrayLike) -> Mask:
        ra, dec = np.atleast_1d(np.asarray(ra_deg, np.float64)), np.atleast_1d(np.asarray(dec_deg, np.float64))
        east = (ra - self.ra_min_deg) % 360.0
        return (
            ((east <= self.width_deg) | (self.width_deg >= 360)) & (dec >= self.dec_min_deg) & (dec <= self.dec_max_deg)
        )

    def cover(self, max_ranges: int = 16) -> Ranges:
        # Lines of constant declination bulge from great circles, so the range is covered by circles about its pieces.
        pieces = [p.cover(max_ranges) for p in self._circles()]
        return covers.coarsened(covers.merged(np.concatenate(pieces)), max_ranges)

    def _circles(self) -> list[Circle]:
        """Circles that hold the range together, about the middles of pieces of at most 15 degrees."""
        height = self.dec_max_deg - self.dec_min_deg
        rows = max(1, int(np.ceil(height / 15.0)))
        columns = max(1, int(np.ceil(self.width_deg / 15.0)))
        result = []
        for i in range(rows):
            low, high = (self.dec_min_deg + height * k / rows for k in (i, i + 1))
            for j in range(columns):
                west, east = (self.ra_min_deg + self.width_deg * k / columns for k in (j, j + 1))
                ra, dec = (west + east) / 2 % 360.0, (low + high) / 2
                corners = separation_deg(ra, dec, [west, east, west, east], [low, low, high, high])
                sides = separation_deg(ra, dec, [ra, ra], [low, high])
                result.append(Circle(ra, dec, min(180.0, float(max(corners.max(), sides.max())) + 1e-9)))
        return result

    def area_deg2(self) -> float:
        low, high = np.sin(np.radians([self.dec_min_deg, self.dec_max_deg]))
        return float(np.radians(self.width_deg) * (high - low) * _SQUARE_DEGREES)

    def centroid(self) -> tuple[float, float]:
        low, high = np.sin(np.radians([self.dec_min_deg, self.dec_max_deg]))
        return (self.ra_min_deg + self.width_deg / 2) % 360.0, float(np.degrees(np.arcsin((low + high) / 2)))


@dataclass(frozen=True, eq=False)
class CellUnion:
    """A set of HEALPix cells (a MOC): order-29 ranges, half-open, sorted, disjoint, shape (m, 2)."""

    ranges: Ranges

    def contains(self, ra_deg: npt.ArrayLike, dec_deg: npt.ArrayLike) -> Mask:
        ra, dec = np.atleast_1d(np.asarray(ra_deg, np.float64)), np.atleast_1d(np.asarray(dec_deg, np.float64))
        valid = np.isfinite(ra) & np.isfinite(dec)
        cell = healpix29(np.where(valid, ra, 0.0), np.where(valid, dec, 0.0))
        place = np.searchsorted(self.ranges[:, 0], cell, side="right") - 1
        found = place >= 0
        return valid & found & (cell < self.ranges[np.maximum(place, 0), 1]) if len(self.ranges) else found & False

    def cover(self, max_ranges: int = 16) -> Ranges:
        return covers.coarsened(self.ranges, max_ranges)

    def area_deg2(self) -> float:
        cells = float((self.ranges[:, 1] - self.ranges[:, 0]).sum())
        return float(cells / (12 * 4.0**MAX_ORDER) * 4 * np.pi * _SQUARE_DEGREES)

    def centroid(self) -> tuple[float, float]:
        moc = self.moc()
        order = min(moc.max_order, 8)
        ra, dec = healpix_center(order, moc.degrade_to_order(order).flatten())
        mean_ra, mean_dec = positions(unit_vectors(ra, dec).sum(axis=0))
        return float(mean_ra), float(mean_dec)

    def moc(self) -> mocpy.MOC:
        return mocpy.MOC.from_depth29_ranges(MAX_ORDER, self.ranges.astype(np.uint64))


@dataclass(frozen=True, slots=True)
class Union:
    """Everything inside any of the parts."""

    parts: tuple[Region, ...]

    def contains(self, ra_deg: npt.ArrayLike, dec_deg: npt.ArrayLike) -> Mask:
        return np.asarray(np.logical_or.reduce([p.contains(ra_deg, dec_deg) for p in self.parts]), dtype=bool)

    def cover(self, max_ranges: int = 16) -> Ranges:
        together = covers.merged(np.concatenate([p.cover(max_ranges) for p in self.parts]))
        return covers.coarsened(together, max_ranges)

    def area_deg2(self) -> float:
        """Area of the union from its cells at a fine order: overlaps count once, to about a percent."""
        return CellUnion(self.cover(100_000)).area_deg2() if len(self.parts) > 1 else self.parts[0].area_deg2()

    def centroid(self) -> tuple[float, float]:
        centres = np.array([p.centroid() for p in self.parts])
        weights = np.array([max(p.area_deg2(), 1e-30) for p in self.parts])
        ra, dec = positions((unit_vectors(centres[:, 0], centres[:, 1]) * weights[:, None]).sum(axis=0))
        return float(ra), float(dec)


def box_polygon(ra_deg: float, dec_deg: float, width_deg: float, height_deg: float) -> Polygon:
    """ADQL's BOX: the polygon whose corners lie half the width and height from the centre (ADQL 2.1 section 4.2.9)."""
    if not width_deg < 180:
        # Its sides would go round the other way, and hold the other part of the sky.
        raise BadParameter(
            "A box is too wide.",
            value=f"{width_deg:.15g}",
            allowed="less than 180 degrees, since its sides are great circles",
            next_step="Write a condition on each coordinate instead, such as ra BETWEEN 10 AND 300.",
        )
    low, high = dec_deg - height_deg / 2, dec_deg + height_deg / 2
    if not -90.0 <= low <= high <= 90.0:
        # The corners are the box's definition, and there are none beyond a pole.
        raise BadParameter(
            "A box can't reach over a pole.",
            value=f"declinations {low:.15g} to {high:.15g}",
            allowed="-90 to 90 degrees",
            next_step="Use CIRCLE there, or a condition on the declination, such as dec > 89.",
        )
    west, east = ra_deg - width_deg / 2, ra_deg + width_deg / 2
    return Polygon(np.array([west, west, east, east]) % 360.0, np.array([low, high, high, low]))


def _check_position(ra_deg: float, dec_deg: float) -> None:
    if not (np.isfinite(ra_deg) and -90 <= dec_deg <= 90):
        raise BadParameter(
            "A position is out of range.",
            value=f"({ra_deg:.15g}, {dec_deg:.15g})",
            allowed="right ascension 0 to 360 degrees, declination -90 to 90 degrees",
        )
