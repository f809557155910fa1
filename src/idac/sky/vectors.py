"""Unit vectors and the great circles between them: degrees in, arrays of shape (…, 3) out."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import numpy.typing as npt

type Floats = npt.NDArray[np.float64]


def unit_vectors(ra_deg: npt.ArrayLike, dec_deg: npt.ArrayLike) -> Floats:
    """Cartesian unit vectors of ICRS positions, shape (…, 3)."""
    ra, dec = np.radians(np.asarray(ra_deg, dtype=np.float64)), np.radians(np.asarray(dec_deg, dtype=np.float64))
    cos_dec = np.cos(dec)
    return np.stack(np.broadcast_arrays(cos_dec * np.cos(ra), cos_dec * np.sin(ra), np.sin(dec)), axis=-1)


def positions(vectors: Floats) -> tuple[Floats, Floats]:
    """Right ascension in [0, 360) and declination, in degrees, of vectors of any length."""
    x, y, z = np.moveaxis(vectors, -1, 0)
    return np.degrees(np.arctan2(y, x)) % 360.0, np.degrees(np.arctan2(z, np.hypot(x, y)))


def half_angle_sin2(
    ra1_deg: npt.ArrayLike, dec1_deg: npt.ArrayLike, ra2_deg: npt.ArrayLike, dec2_deg: npt.ArrayLike
) -> Floats:
    """sin² of half the separation: exact for the smallest angles, and comparable without an arc sine."""
    ra1, dec1, ra2, dec2 = (np.radians(np.asarray(v, dtype=np.float64)) for v in (ra1_deg, dec1_deg, ra2_deg, dec2_deg))
    result = np.sin((dec2 - dec1) / 2) ** 2 + np.cos(dec1) * np.cos(dec2) * np.sin((ra2 - ra1) / 2) ** 2
    return np.asarray(result, dtype=np.float64)


def separation_deg(
    ra1_deg: npt.ArrayLike, dec1_deg: npt.ArrayLike, ra2_deg: npt.ArrayLike, dec2_deg: npt.ArrayLike
) -> Floats:
    """Angle between positions along the great circle, in degrees."""
    # Near the antipode the sine of the half angle is flat; its cosine, from the same terms, is not.
    s = np.clip(half_angle_sin2(ra1_deg, dec1_deg, ra2_deg, dec2_deg), 0.0, 1.0)
    opposite = np.asarray(ra2_deg, dtype=np.float64) + 180.0
    c = np.clip(half_angle_sin2(ra1_deg, dec1_deg, opposite, -np.asarray(dec2_deg, dtype=np.float64)), 0.0, 1.0)
    return np.asarray(np.degrees(2 * np.arctan2(np.sqrt(s), np.sqrt(c))), dtype=np.float64)


def middle_of_cap(vectors: Floats) -> Floats:
    """Middle of the smallest cap that holds all unit *vectors*, shape (m, 3), if one smaller than a hemisphere does."""
    basis = vectors[:1]
    middle = basis[0]
    deepest = np.inf
    for _ in range(10 * len(vectors)):
        depth = vectors @ middle
        if depth.min() >= deepest - 1e-15:
            break
        # At most three of them touch the smallest cap; each that is left out widens it, so this comes to an end.
        basis, middle = _touching(np.vstack([basis, vectors[depth.argmin()]]))
        deepest = (basis @ middle).min()
    return np.asarray(middle, dtype=np.float64)


def _touching(vectors: Floats) -> tuple[Floats, Floats]:
    """Those of up to four unit vectors that touch the smallest cap round all of them, and its middle."""
    found = [(vectors[[i, j]], vectors[i] + vectors[j]) for i, j in combinations(range(len(vectors)), 2)]
    for i, j, k in combinations(range(len(vectors)), 3):
        normal = np.cross(vectors[j] - vectors[i], vectors[k] - vectors[i])
        found += [(vectors[[i, j, k]], normal), (vectors[[i, j, k]], -normal)]
    best, middle, deepest = vectors[:1], vectors[0], -np.inf
    for touching, direction in found:
        length = np.linalg.norm(direction)
        depth = (vectors @ direction).min() / length if length > 1e-15 else -np.inf
        if depth > deepest:
            best, middle, deepest = touching, direction / length, depth
    return best, np.asarray(middle, dtype=np.float64)
