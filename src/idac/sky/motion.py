"""Where a star is at another epoch, moving uniformly in space (Hipparcos Catalogue, ESA SP-1200, section 1.5.5)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from idac.sky.vectors import Floats, positions, unit_vectors

#: Astronomical unit in km x yr / s: makes a radial velocity and a parallax a proper motion along the line of sight.
_AU_KM_YR_PER_S = 4.740470446
_MAS = np.radians(1 / 3.6e6)


def propagate(
    ra_deg: npt.ArrayLike,
    dec_deg: npt.ArrayLike,
    parallax_mas: npt.ArrayLike,
    pm_ra_mas_yr: npt.ArrayLike,
    pm_dec_mas_yr: npt.ArrayLike,
    radial_velocity_km_s: npt.ArrayLike,
    from_epoch_yr: npt.ArrayLike,
    to_epoch_yr: npt.ArrayLike,
) -> tuple[Floats, Floats]:
    """Right ascension and declination, degrees, at *to_epoch_yr* (Julian years).

    *pm_ra_mas_yr* includes the factor cos(dec). Where parallax or radial velocity is NaN, the star is taken to move at
    right angles to the line of sight; a missing proper motion counts as none.
    """
    motion = _motion(ra_deg, dec_deg, parallax_mas, pm_ra_mas_yr, pm_dec_mas_yr, radial_velocity_km_s)
    years = np.asarray(to_epoch_yr, dtype=np.float64) - np.asarray(from_epoch_yr, dtype=np.float64)
    return positions(motion.at(years))


def propagate_star(
    ra_deg: npt.ArrayLike,
    dec_deg: npt.ArrayLike,
    parallax_mas: npt.ArrayLike,
    pm_ra_mas_yr: npt.ArrayLike,
    pm_dec_mas_yr: npt.ArrayLike,
    radial_velocity_km_s: npt.ArrayLike,
    from_epoch_yr: npt.ArrayLike,
    to_epoch_yr: npt.ArrayLike,
) -> tuple[Floats, Floats, Floats, Floats, Floats, Floats]:
    """All six at *to_epoch_yr*: position in degrees, parallax in mas, proper motion in mas/yr, velocity in km/s.

    What is NaN stays NaN: both parts of a proper motion where one is, and everything with the position. Without a
    parallax the radial velocity is that given.
    """
    motion = _motion(ra_deg, dec_deg, parallax_mas, pm_ra_mas_yr, pm_dec_mas_yr, radial_velocity_km_s)
    years = np.asarray(to_epoch_yr, dtype=np.float64) - np.asarray(from_epoch_yr, dtype=np.float64)
    parallax, velocity, pm_ra, pm_dec = (
        np.asarray(v, dtype=np.float64) for v in (parallax_mas, radial_velocity_km_s, pm_ra_mas_yr, pm_dec_mas_yr)
    )
    across2 = (motion.across**2).sum(axis=-1)
    # The factor by which the distance has shrunk.
    nearer = 1 / np.sqrt(1 + 2 * motion.along * years + (across2 + motion.along**2) * years**2)
    ra, dec = positions(motion.at(years))
    east, north = _tangents(ra, dec)
    shift = motion.across * (1 + motion.along * years)[..., None] - motion.direction * (across2 * years)[..., None]
    shift = shift * (nearer**3)[..., None] / _MAS
    along = (motion.along + (across2 + motion.along**2) * years) * nearer**2
    missing = np.isnan(ra) | np.isnan(dec)
    unmoved = np.where(np.isnan(pm_ra) | np.isnan(pm_dec) | missing, np.nan, 0.0)
    new_parallax = np.where(missing, np.nan, parallax * nearer)
    with np.errstate(divide="ignore", invalid="ignore"):
        new_velocity = np.where(parallax > 0, along / _MAS * _AU_KM_YR_PER_S / new_parallax, velocity)
    new_velocity = np.where(np.isnan(velocity) | missing, np.nan, new_velocity)
    return (
        ra,
        dec,
        new_parallax,
        (shift * east).sum(axis=-1) + unmoved,
        (shift * north).sum(axis=-1) + unmoved,
        new_velocity,
    )


@dataclass(frozen=True)
class _Motion:
    """Where a star is seen, and how it moves, in units of its distance: rad/yr across the line of sight, and along."""

    direction: Floats  # (…, 3)
    across: Floats  # (…, 3)
    along: Floats

    def at(self, years: Floats) -> Floats:
        """The direction after *years*, of any length."""
        velocity = self.across + self.along[..., None] * self.direction
        return self.direction + velocity * years[..., None]


def _motion(
    ra_deg: npt.ArrayLike,
    dec_deg: npt.ArrayLike,
    parallax_mas: npt.ArrayLike,
    pm_ra_mas_yr: npt.ArrayLike,
    pm_dec_mas_yr: npt.ArrayLike,
    radial_velocity_km_s: npt.ArrayLike,
) -> _Motion:
    pm_ra, pm_dec, parallax, velocity = (
        np.nan_to_num(np.asarray(v, dtype=np.float64))
        for v in (pm_ra_mas_yr, pm_dec_mas_yr, parallax_mas, radial_velocity_km_s)
    )
    direction = unit_vectors(ra_deg, dec_deg)
    east, north = _tangents(ra_deg, dec_deg)
    along = velocity * np.maximum(parallax, 0.0) * _MAS / _AU_KM_YR_PER_S
    return _Motion(direction, (pm_ra * _MAS)[..., None] * east + (pm_dec * _MAS)[..., None] * north, along)


def _tangents(ra_deg: npt.ArrayLike, dec_deg: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Unit vectors towards east and north at a position."""
    a, d = (np.radians(np.asarray(v, dtype=np.float64)) for v in (ra_deg, dec_deg))
    east = np.stack(np.broadcast_arrays(-np.sin(a), np.cos(a), np.zeros_like(a)), axis=-1)
    north = np.stack([-np.sin(d) * np.cos(a), -np.sin(d) * np.sin(a), np.cos(d)], axis=-1)
    return east, north
