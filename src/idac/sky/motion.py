"""Where a star is at another epoch, moving uniformly in space (Hipparcos Catalogue, ESA SP-1200, section 1.5.5)."""

from __future__ import annotations

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
    ra, dec = np.asarray(ra_deg, dtype=np.float64), np.asarray(dec_deg, dtype=np.float64)
    pm_ra, pm_dec, parallax, velocity = (
        np.nan_to_num(np.asarray(v, dtype=np.float64))
        for v in (pm_ra_mas_yr, pm_dec_mas_yr, parallax_mas, radial_velocity_km_s)
    )
    years = np.asarray(to_epoch_yr, dtype=np.float64) - np.asarray(from_epoch_yr, dtype=np.float64)
    direction = unit_vectors(ra, dec)
    # Unit vectors towards east and north at the position.
    a, d = np.radians(ra), np.radians(dec)
    east = np.stack(np.broadcast_arrays(-np.sin(a), np.cos(a), np.zeros_like(a)), axis=-1)
    north = np.stack([-np.sin(d) * np.cos(a), -np.sin(d) * np.sin(a), np.cos(d)], axis=-1)
    along = velocity * np.maximum(parallax, 0.0) * _MAS / _AU_KM_YR_PER_S
    motion = (pm_ra * _MAS)[..., None] * east + (pm_dec * _MAS)[..., None] * north + along[..., None] * direction
    return positions(direction + motion * years[..., None])
