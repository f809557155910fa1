"""Skies full of awkward places, and answers about them from astropy and lsst.sphgeom alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import astropy.units as u
import numpy as np
import numpy.typing as npt
from astropy.coordinates import SkyCoord, search_around_sky
from lsst.sphgeom import ConvexPolygon, UnitVector3d

type Floats = npt.NDArray[np.float64]
type Mask = npt.NDArray[np.bool_]
type Corners = Sequence[tuple[float, float]]

#: Where cells, coordinates and great circles meet: the poles, RA 0 and its antipode, corners of HEALPix base cells.
CENTRES: list[tuple[float, float]] = [
    *((0.0, 0.0), (180.0, 0.0), (45.0, 41.8103149), (10.0, 89.99), (200.0, -89.99), (90.0, -45.0), (270.0, 45.0)),
    *((0.0, 90.0), (0.0, -90.0), (45.0, 0.0)),
]
_MERIDIANS = (0, 45, 90, 135, 180, 225, 270, 315, 359.9999999999)
_PARALLELS = (-90, -60, -41.810314895778596, -30, 0, 30, 41.810314895778596, 60, 89.999999, 90)
EXACT_PLACES = [(float(ra), float(dec)) for ra in _MERIDIANS for dec in _PARALLELS]


def offset(ra: float, dec: float, angles_deg: npt.ArrayLike, distances_deg: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Positions at given position angles and distances from one."""
    centre = SkyCoord(ra * u.deg, dec * u.deg)
    found = centre.directional_offset_by(np.asarray(angles_deg) * u.deg, np.asarray(distances_deg) * u.deg)
    return found.ra.deg, found.dec.deg


def awkward_sky(rows: int, seed: int, *, exact: bool = True) -> tuple[Floats, Floats]:
    """Half the positions anywhere, half crowded round CENTRES at distances of all scales; EXACT_PLACES come first."""
    rng = np.random.default_rng(seed)
    ra, dec = rng.uniform(0, 360, rows), np.degrees(np.arcsin(rng.uniform(-1, 1, rows)))
    crowd = np.array(CENTRES)[rng.integers(0, len(CENTRES), rows // 2)]
    near = SkyCoord(crowd[:, 0] * u.deg, crowd[:, 1] * u.deg).directional_offset_by(
        rng.uniform(0, 360, len(crowd)) * u.deg, 10 ** rng.uniform(-3, 0.9, len(crowd)) * u.deg
    )
    ra[-len(crowd) :], dec[-len(crowd) :] = near.ra.deg, near.dec.deg
    if exact:
        ra[: len(EXACT_PLACES)], dec[: len(EXACT_PLACES)] = np.array(EXACT_PLACES).T
    return ra, dec


def near_partners(ra: Floats, dec: Floats, seed: int, widest_deg: float = 1.0) -> tuple[Floats, Floats]:
    """For each position another one, from microarcseconds to *widest_deg* away."""
    rng = np.random.default_rng(seed)
    shift = 10 ** rng.uniform(-6, np.log10(widest_deg), len(ra))
    found = SkyCoord(ra * u.deg, dec * u.deg).directional_offset_by(rng.uniform(0, 360, len(ra)) * u.deg, shift * u.deg)
    return found.ra.deg, found.dec.deg


def vectors(ra: npt.ArrayLike, dec: npt.ArrayLike) -> Floats:
    return np.asarray(SkyCoord(np.asarray(ra) * u.deg, np.asarray(dec) * u.deg).cartesian.xyz.T, dtype=np.float64)


def unit_vector(ra: float, dec: float) -> UnitVector3d:
    return UnitVector3d(*vectors(ra, dec))


@dataclass(frozen=True)
class Verdict:
    """Which positions lie inside, and which lie too near the edge for rounding to leave no doubt."""

    inside: Mask
    sharp: Mask

    def __and__(self, other: Verdict) -> Verdict:
        return Verdict(self.inside & other.inside, self.sharp & other.sharp)

    def __or__(self, other: Verdict) -> Verdict:
        return Verdict(self.inside | other.inside, self.sharp & other.sharp)

    def __invert__(self) -> Verdict:
        return Verdict(~self.inside, self.sharp)


class Oracle:
    """Answers about one set of positions."""

    def __init__(self, ra: Floats, dec: Floats) -> None:
        self.ra, self.dec = ra, dec
        self.places = SkyCoord(ra * u.deg, dec * u.deg)
        self.vectors = vectors(ra, dec)

    def circle(self, ra: float, dec: float, radius_deg: float) -> Verdict:
        distance = self.places.separation(SkyCoord(ra * u.deg, dec * u.deg)).deg
        # The distance of the point opposite is known to a microdegree only.
        slack = 1e-10 if radius_deg < 179.9 else 1e-6
        return Verdict(distance <= radius_deg, np.abs(distance - radius_deg) > slack)

    def polygon(self, corners: Corners) -> Verdict:
        """By the parity of a fan of triangles: true of concave polygons too, as long as they fit into a hemisphere."""
        points = vectors(*np.array(corners).T)
        inside, sharp = np.zeros(len(self.ra), dtype=int), np.ones(len(self.ra), dtype=bool)
        for second, third in pairwise(points[1:]):
            triangle = [points[0], second, third]
            for a, b in zip(triangle, [*triangle[1:], triangle[0]], strict=True):
                normal = np.cross(a, b)
                length = np.linalg.norm(normal)
                if length > 0:
                    sharp &= np.abs(self.vectors @ (normal / length)) > 2e-12 / min(1.0, length)
            try:
                part = ConvexPolygon([UnitVector3d(*v) for v in triangle])
            except ValueError:
                continue  # no area
            inside += part.contains(np.radians(self.ra), np.radians(self.dec))
        return Verdict(inside % 2 == 1, sharp)

    def box(self, ra: float, dec: float, width_deg: float, height_deg: float) -> Verdict:
        low, high = dec - height_deg / 2, dec + height_deg / 2
        west, east = (ra - width_deg / 2) % 360, (ra + width_deg / 2) % 360
        return self.polygon([(west, low), (west, high), (east, high), (east, low)])

    def coordinate_range(self, west: float, east: float, low: float, high: float) -> Verdict:
        """RANGE of STC-S: eastwards from *west* to *east*."""
        inside = ((self.ra - west) % 360 <= (east - west) % 360) & (self.dec >= low) & (self.dec <= high)
        edge = np.minimum(np.abs((self.ra - west + 180) % 360 - 180), np.abs((self.ra - east + 180) % 360 - 180))
        return Verdict(inside, edge > 1e-9)

    def certain(self, inside: Mask) -> Verdict:
        return Verdict(inside, np.ones(len(self.ra), dtype=bool))


def star_corners(
    ra: float, dec: float, size_deg: float, corners: int, rng: np.random.Generator, *, concave: bool
) -> Corners:
    """Corners at growing position angles round a place, in either winding."""
    angles = np.sort(rng.uniform(0, 360, corners))
    reach = size_deg * (rng.uniform(0.2, 1, corners) if concave else np.ones(corners))
    x, y = offset(ra, dec, angles, reach)
    found = list(zip(x.tolist(), y.tolist(), strict=True))
    return found[::-1] if rng.random() < 0.5 else found


@dataclass(frozen=True)
class Pairs:
    """Pairs of rows that are nearer than a radius, and those too near the radius to tell."""

    sure: frozenset[tuple[int, int]]
    open: frozenset[tuple[int, int]]

    def assert_equal(self, found: Sequence[tuple[int, int]], what: str) -> None:
        once = set(found)
        assert len(found) == len(once), f"{what}: a pair comes twice"
        missing, extra = self.sure - once, once - self.sure - self.open
        assert not missing, f"{what}: {len(missing)} missing, such as {sorted(missing)[:3]}"
        assert not extra, f"{what}: {len(extra)} extra, such as {sorted(extra)[:3]}"


def near_pairs(first: tuple[Floats, Floats], second: tuple[Floats, Floats], radius_deg: float) -> Pairs:
    """astropy's pairs of rows; a row with NaN has none."""
    kept = [np.flatnonzero(np.isfinite(ra) & np.isfinite(dec)) for ra, dec in (first, second)]
    places = [SkyCoord(p[0][k] * u.deg, p[1][k] * u.deg) for p, k in zip((first, second), kept, strict=True)]
    i, j, distance, _ = search_around_sky(*places, (radius_deg * 1.001 + 1e-9) * u.deg)
    rows = zip(kept[0][i].tolist(), kept[1][j].tolist(), distance.deg.tolist(), strict=True)
    sure, doubtful = set(), set()
    for a, b, d in rows:
        if abs(d - radius_deg) < 1e-10:
            doubtful.add((a, b))
        elif d < radius_deg:
            sure.add((a, b))
    return Pairs(frozenset(sure), frozenset(doubtful))
