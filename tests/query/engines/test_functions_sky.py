"""Functions of positions over random skies, on the real engine, give what cdshealpix and astropy give."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from astropy import units as u
from astropy.coordinates import Latitude, Longitude, SkyCoord
from astropy.time import Time
from cdshealpix import nested

from engine_fixture import Asking, memory_entry, memory_snapshot, small_engine
from idac.core.errors import BadQuery

ROWS = 4_000
type Floats = npt.NDArray[np.float64]


def sky() -> dict[str, Floats]:
    """Stars on the whole sky, some at the poles and at RA 0, with Barnard's motion at most."""
    rng = np.random.default_rng(20)
    dec = np.degrees(np.arcsin(rng.uniform(-1, 1, ROWS)))
    dec[:4] = 90, -90, 89.999999, -89.999999
    ra = rng.uniform(0, 360, ROWS)
    ra[4:7] = 0, 359.999999999, 1e-12
    return {
        "ra": ra,
        "dec": dec,
        "parallax": rng.uniform(20, 500, ROWS),
        "pmra": rng.normal(0, 3000, ROWS),
        "pmdec": rng.normal(0, 3000, ROWS),
        "rv": rng.normal(0, 100, ROWS),
    }


@pytest.fixture(scope="module")
def stars() -> dict[str, Floats]:
    return sky()


@pytest.fixture(scope="module")
def asking(tmp_path_factory: pytest.TempPathFactory, stars: dict[str, Floats]) -> Iterator[Asking]:
    data = pa.table({"id": np.arange(ROWS), **stars})
    with small_engine(tmp_path_factory.mktemp("engine")) as engine:
        yield Asking(engine, memory_snapshot({"t.s": memory_entry("t.s", data)}))


def pairs(asking: Asking, call: str) -> tuple[Floats, Floats]:
    """Two columns of the points that *call* gives."""
    values = asking.ask(f"SELECT {call} AS p FROM t.s ORDER BY id").column(0).combine_chunks().flatten()
    both = values.to_numpy().reshape(-1, 2)
    return both[:, 0], both[:, 1]


@pytest.mark.parametrize("order", [0, 1, 5, 12, 29])
def test_healpix_indices_are_those_of_cdshealpix(asking: Asking, stars: dict[str, Floats], order: int) -> None:
    found = asking.column(f"SELECT ivo_healpix_index({order}, ra, dec) FROM t.s ORDER BY id")
    expected = nested.lonlat_to_healpix(Longitude(stars["ra"] * u.deg), Latitude(stars["dec"] * u.deg), order)
    assert np.array_equal(np.array(found, np.uint64), expected)
    by_point = asking.column(f"SELECT ivo_healpix_index({order}, POINT(ra, dec)) FROM t.s ORDER BY id")
    assert by_point == found


def test_healpix_orders_may_differ_from_row_to_row(asking: Asking, stars: dict[str, Floats]) -> None:
    found = asking.column("SELECT ivo_healpix_index(CAST(MOD(id, 30) AS INTEGER), ra, dec) FROM t.s ORDER BY id")
    for order in range(30):
        rows = np.arange(ROWS) % 30 == order
        lon, lat = Longitude(stars["ra"][rows] * u.deg), Latitude(stars["dec"][rows] * u.deg)
        expected = nested.lonlat_to_healpix(lon, lat, order)
        assert np.array_equal(np.array(found, np.uint64)[rows], expected)


@pytest.mark.parametrize("order", [0, 3, 29])
def test_healpix_centres_are_those_of_cdshealpix(asking: Asking, order: int) -> None:
    cells = np.minimum(np.arange(ROWS) * 977, 12 * 4**order - 1)
    call = (
        f"ivo_healpix_center({order}, CASE WHEN id * 977 < {12 * 4**order} THEN id * 977 ELSE {12 * 4**order - 1} END)"
    )
    ra, dec = pairs(asking, call)
    lon, lat = nested.healpix_to_lonlat(cells, order)
    np.testing.assert_allclose(ra, lon.deg, atol=1e-10)
    np.testing.assert_allclose(dec, lat.deg, atol=1e-10)


@pytest.mark.parametrize("frame", ["GALACTIC", "FK5", "FK4", "ECLIPTIC"])
def test_frames_are_those_of_astropy(asking: Asking, stars: dict[str, Floats], frame: str) -> None:
    lon, lat = pairs(asking, f"ivo_geom_transform('ICRS', '{frame}', POINT(ra, dec))")
    names = {"GALACTIC": "galactic", "FK5": "fk5", "FK4": "fk4", "ECLIPTIC": "barycentrictrueecliptic"}
    expected = SkyCoord(stars["ra"], stars["dec"], unit="deg").transform_to(names[frame]).spherical
    found = SkyCoord(lon, lat, unit="deg")
    assert found.separation(SkyCoord(expected.lon, expected.lat)).max() < 1e-6 * u.arcsec
    back = f"ivo_geom_transform('{frame}', 'ICRS', ivo_geom_transform('ICRS', '{frame}', POINT(ra, dec)))"
    ra, dec = pairs(asking, back)
    there = SkyCoord(stars["ra"], stars["dec"], unit="deg")
    assert SkyCoord(ra, dec, unit="deg").separation(there).max() < 1e-4 * u.arcsec


@pytest.mark.parametrize("epoch", [1875.0, 2015.5, 2100.0])
def test_stars_move_as_in_astropy(asking: Asking, stars: dict[str, Floats], epoch: float) -> None:
    # astropy corrects for the time that light takes to come from a nearer place, which the catalogue forbids; for
    # these stars that is some milliarcseconds.
    columns = "ra, dec, parallax, pmra, pmdec, rv"
    ra, dec = pairs(asking, f"ivo_epoch_prop_pos({columns}, 2016, {epoch})")
    start = SkyCoord(
        stars["ra"] * u.deg,
        np.clip(stars["dec"], -89.99999, 89.99999) * u.deg,
        distance=(stars["parallax"] * u.mas).to(u.pc, u.parallax()),
        pm_ra_cosdec=stars["pmra"] * u.mas / u.yr,
        pm_dec=stars["pmdec"] * u.mas / u.yr,
        radial_velocity=stars["rv"] * u.km / u.s,
        obstime=Time(2016.0, format="jyear", scale="tdb"),
    )
    end = start.apply_space_motion(Time(epoch, format="jyear", scale="tdb"))
    apart = SkyCoord(ra, dec, unit="deg").separation(SkyCoord(end.ra, end.dec))
    # The four at the poles were moved off them for astropy.
    moved = np.hypot(stars["pmra"], stars["pmdec"]) * abs(epoch - 2016) * u.mas
    assert (apart[4:] < 1e-3 * moved[4:] + 1e-6 * u.arcsec).all()
    rows = asking.ask(f"SELECT ivo_epoch_prop({columns}, 2016, {epoch}) AS s FROM t.s ORDER BY id").column(0)
    six = rows.combine_chunks().flatten().to_numpy().reshape(-1, 6)[4:]
    np.testing.assert_allclose(six[:, 0], ra[4:], atol=1e-9)
    np.testing.assert_allclose(six[:, 1], dec[4:], atol=1e-9)
    np.testing.assert_allclose(six[:, 2], end.distance.to(u.mas, u.parallax()).value[4:], rtol=2e-3)
    np.testing.assert_allclose(six[:, 5], end.radial_velocity.to_value(u.km / u.s)[4:], atol=2.0)


def test_a_star_moved_there_and_back_is_itself(asking: Asking) -> None:
    row = "7.6, 11.8, 125, 300, -428.8, 52.51"
    there = asking.value(f"SELECT TOP 1 ivo_epoch_prop({row}, 2016, 2116) FROM t.s")
    assert isinstance(there, list)
    back = asking.value(f"SELECT TOP 1 ivo_epoch_prop({', '.join(map(repr, there))}, 2116, 2016) FROM t.s")
    np.testing.assert_allclose(back, [7.6, 11.8, 125, 300, -428.8, 52.51], rtol=1e-12)


def test_an_infinite_coordinate_is_refused_as_one(tmp_path: Path) -> None:
    rows = pa.table({"x": [10.0, float("inf")], "y": [0.0, 0.0]})
    with small_engine(tmp_path) as engine:
        asking = Asking(engine, memory_snapshot({"t.s": memory_entry("t.s", rows)}))
        near = "SELECT x FROM t.s WHERE 1 = CONTAINS(POINT(x, y), CIRCLE(10, 0, 3))"
        with pytest.raises(BadQuery) as refused:
            asking.column(near)
        assert str(refused.value) == (
            "An angle that the query uses, of a position perhaps, is infinite. Allowed: finite numbers. "
            "Leave out the rows that have it with WHERE, as in: ra BETWEEN 0 AND 360."
        )
        assert asking.column(f"{near} AND x BETWEEN 0 AND 360") == [10.0]
