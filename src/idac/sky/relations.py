"""How two regions lie to each other: whether they overlap, and whether one holds the other."""

from __future__ import annotations

import numpy as np

from idac.sky.regions import CellUnion, Circle, Polygon, Range, Region, Union
from idac.sky.vectors import Floats, positions, separation_deg, unit_vectors

#: Corners that stand for a side of constant declination, which is no great circle.
_SIDE_STEPS = 64


def intersects(a: Region, b: Region) -> bool:
    """True where the regions have a point in common; boundaries count."""
    if isinstance(a, Union):
        return any(intersects(part, b) for part in a.parts)
    if isinstance(b, Union):
        return any(intersects(a, part) for part in b.parts)
    if isinstance(a, CellUnion) or isinstance(b, CellUnion):
        return _covers_overlap(a, b)
    if isinstance(a, Circle) and isinstance(b, Circle):
        distance = separation_deg(a.ra_deg, a.dec_deg, b.ra_deg, b.dec_deg)
        return bool(distance <= a.radius_deg + b.radius_deg + 1e-12)
    if isinstance(a, Circle):
        return _circle_meets(a, b)
    if isinstance(b, Circle):
        return _circle_meets(b, a)
    line_a, line_b = outline(a), outline(b)
    return _any_inside(a, line_b) or _any_inside(b, line_a) or _lines_cross(line_a, line_b)


def holds(outer: Region, inner: Region) -> bool:
    """True where every point of *inner* lies in *outer*."""
    if isinstance(inner, Union):
        return all(holds(outer, part) for part in inner.parts)
    if isinstance(outer, Union):
        return any(holds(part, inner) for part in outer.parts)
    if isinstance(outer, CellUnion) or isinstance(inner, CellUnion):
        return _cover_holds(outer, inner)
    if isinstance(outer, Circle):
        return _circle_holds(outer, inner)
    if isinstance(inner, Circle):
        centre = outer.contains(inner.ra_deg, inner.dec_deg)[0]
        return bool(centre) and _distance_to_line(inner, outline(outer)) >= inner.radius_deg - 1e-12
    line_outer, line_inner = outline(outer), outline(inner)
    inside = outer.contains(*positions(line_inner)).all()
    return bool(inside) and not _lines_cross(line_outer, line_inner, touching=False)


def outline(region: Region) -> Floats:
    """Unit vectors of the corners of a region's boundary in order, shape (m, 3)."""
    if isinstance(region, Polygon):
        return region.corners
    if isinstance(region, Range):
        steps = np.linspace(0.0, region.width_deg, _SIDE_STEPS)
        ra = np.concatenate([region.ra_min_deg + steps, region.ra_min_deg + steps[::-1]])
        dec = np.repeat([region.dec_min_deg, region.dec_max_deg], _SIDE_STEPS)
        return unit_vectors(ra, dec)
    raise TypeError(f"no outline for {type(region).__name__}")


def _any_inside(region: Region, line: Floats) -> bool:
    return bool(region.contains(*positions(line)).any())


def _circle_meets(circle: Circle, other: Region) -> bool:
    if other.contains(circle.ra_deg, circle.dec_deg)[0]:
        return True
    return _distance_to_line(circle, outline(other)) <= circle.radius_deg + 1e-12


def _circle_holds(circle: Circle, inner: Region) -> bool:
    if isinstance(inner, Circle):
        distance = separation_deg(circle.ra_deg, circle.dec_deg, inner.ra_deg, inner.dec_deg)
        return bool(distance + inner.radius_deg <= circle.radius_deg + 1e-12)
    # What lies outside a circle is the circle about the point opposite.
    opposite = Circle((circle.ra_deg + 180) % 360, -circle.dec_deg, 180 - circle.radius_deg)
    touching = _distance_to_line(opposite, outline(inner)) >= opposite.radius_deg - 1e-12
    return touching and not inner.contains(opposite.ra_deg, opposite.dec_deg)[0]


def _distance_to_line(circle: Circle, line: Floats) -> float:
    """Degrees from the circle's centre to the nearest point of a closed line of great-circle arcs."""
    centre = unit_vectors(circle.ra_deg, circle.dec_deg)
    a, b = line, np.roll(line, -1, axis=0)
    normal = np.cross(a, b)
    length = np.linalg.norm(normal, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        unit = normal / length[:, None]
        foot = centre - (unit @ centre)[:, None] * unit
        # The foot of the perpendicular counts where it lies between the ends of its arc.
        between = (np.einsum("ij,ij->i", np.cross(a, foot), normal) >= 0) & (
            np.einsum("ij,ij->i", np.cross(foot, b), normal) >= 0
        )
        across = np.degrees(np.abs(np.arcsin(np.clip(unit @ centre, -1, 1))))
    ra, dec = positions(line)
    ends = separation_deg(circle.ra_deg, circle.dec_deg, ra, dec)
    arcs = across[between & (length > 1e-15)]
    return float(min(ends.min(), arcs.min() if len(arcs) else np.inf))


def _lines_cross(first: Floats, second: Floats, *, touching: bool = True) -> bool:
    """True where an arc of one closed line crosses an arc of the other."""
    a, b = first[:, None, :], np.roll(first, -1, axis=0)[:, None, :]
    c, d = second[None, :, :], np.roll(second, -1, axis=0)[None, :, :]
    ab, cd = np.cross(a, b), np.cross(c, d)
    slack = 1e-15 if touching else -1e-12
    # Each arc's ends lie on both sides of the other's great circle, in the same hemisphere (not at the antipode).
    s1, s2 = -(ab * c).sum(-1), (ab * d).sum(-1)
    s3, s4 = (cd * a).sum(-1), -(cd * b).sum(-1)
    all_positive = (s1 >= -slack) & (s2 >= -slack) & (s3 >= -slack) & (s4 >= -slack)
    all_negative = (s1 <= slack) & (s2 <= slack) & (s3 <= slack) & (s4 <= slack)
    near = (np.maximum((a * c).sum(-1), (b * d).sum(-1))) > 0
    return bool(((all_positive | all_negative) & near).any())


def _covers_overlap(a: Region, b: Region) -> bool:
    first, second = a.cover(100_000), b.cover(100_000)
    place = np.searchsorted(second[:, 1], first[:, 0], side="right")
    return bool(((place < len(second)) & (second[np.minimum(place, len(second) - 1), 0] < first[:, 1])).any())


def _cover_holds(outer: Region, inner: Region) -> bool:
    ranges, within = outer.cover(100_000), inner.cover(100_000)
    place = np.searchsorted(ranges[:, 0], within[:, 0], side="right") - 1
    return bool(((place >= 0) & (within[:, 1] <= ranges[np.maximum(place, 0), 1])).all())
