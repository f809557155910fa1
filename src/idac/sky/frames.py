"""Positions from one celestial frame to another, as astropy has them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from astropy import units as u
from astropy.coordinates import (
    FK4,
    FK5,
    ICRS,
    BarycentricTrueEcliptic,
    BaseCoordinateFrame,
    Galactic,
    UnitSphericalRepresentation,
)

from idac.core.errors import BadParameter
from idac.sky.vectors import Floats

#: Frames by the names that the IVOA's vocabulary of reference frames has for them.
FRAMES: dict[str, BaseCoordinateFrame] = {
    "ICRS": ICRS(),
    "FK5": FK5(equinox="J2000"),
    "FK4": FK4(equinox="B1950"),
    "GALACTIC": Galactic(),
    "ECLIPTIC": BarycentricTrueEcliptic(equinox="J2000"),
}


def transform(
    from_frame: str, to_frame: str, longitude_deg: npt.ArrayLike, latitude_deg: npt.ArrayLike
) -> tuple[Floats, Floats]:
    """Longitudes in [0, 360) and latitudes in *to_frame*, degrees. Raises BadParameter for an unknown frame."""
    source, target = _frame(from_frame), _frame(to_frame)
    longitude = np.atleast_1d(np.asarray(longitude_deg, dtype=np.float64))
    latitude = np.atleast_1d(np.asarray(latitude_deg, dtype=np.float64))
    # Latitudes beyond a pole, and NULLs, come out as NaN instead of failing the rows beside them.
    valid = np.isfinite(longitude) & (np.abs(latitude) <= 90)
    result = np.full((2, len(longitude)), np.nan)
    if valid.any():
        start = source.realize_frame(UnitSphericalRepresentation(longitude[valid] * u.deg, latitude[valid] * u.deg))
        end = start.transform_to(target).spherical
        result[:, valid] = end.lon.wrap_at(360 * u.deg).deg, end.lat.deg
    return result[0], result[1]


def _frame(name: str) -> BaseCoordinateFrame:
    frame = FRAMES.get(name.strip().upper())
    if frame is None:
        raise BadParameter("There is no such frame.", value=name, allowed=", ".join(FRAMES))
    return frame
