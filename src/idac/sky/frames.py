"""Positions from one celestial frame to another, as astropy has them."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from idac.core.errors import BadParameter
from idac.core.lazy import LazyModule
from idac.sky.vectors import Floats

if TYPE_CHECKING:
    from astropy import coordinates
    from astropy import units as u
else:
    coordinates, u = LazyModule("astropy.coordinates"), LazyModule("astropy.units")

#: Frames by the names that the IVOA's vocabulary of reference frames has for them.
FRAMES = ("ICRS", "FK5", "FK4", "GALACTIC", "ECLIPTIC")


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
        place = coordinates.UnitSphericalRepresentation(longitude[valid] * u.deg, latitude[valid] * u.deg)
        start = source.realize_frame(place)
        end = start.transform_to(target).spherical
        result[:, valid] = end.lon.wrap_at(360 * u.deg).deg, end.lat.deg
    return result[0], result[1]


def _frame(name: str) -> coordinates.BaseCoordinateFrame:
    known = name.strip().upper()
    if known not in FRAMES:
        raise BadParameter("There is no such frame.", value=name, allowed=", ".join(FRAMES))
    return _known_frame(known)


@cache
def _known_frame(name: str) -> coordinates.BaseCoordinateFrame:
    match name:
        case "FK5":
            return coordinates.FK5(equinox="J2000")
        case "FK4":
            return coordinates.FK4(equinox="B1950")
        case "GALACTIC":
            return coordinates.Galactic()
        case "ECLIPTIC":
            return coordinates.BarycentricTrueEcliptic(equinox="J2000")
    return coordinates.ICRS()
