"""Regions as text, frames, proper motion and sexagesimal angles, against astropy and published values."""

from __future__ import annotations

import warnings

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import Angle, Distance, SkyCoord
from astropy.time import Time
from hypothesis import given
from hypothesis import strategies as st

from idac.core.errors import BadParameter
from idac.sky.frames import transform
from idac.sky.motion import propagate
from idac.sky.pairs import points_in_polygons, points_in_region_texts, polygon_or_none
from idac.sky.region_text import format_region, parse_region
from idac.sky.regions import Circle, Polygon, Union
from idac.sky.sexagesimal import dms_to_degrees, hms_to_degrees


@pytest.mark.parametrize(
    "text",
    [
        "CIRCLE ICRS 12.5 -3.0 0.1",
        "POLYGON ICRS 1.0 1.0 2.0 1.0 2.0 2.0",
        "RANGE ICRS 350.0 10.0 -5.0 5.0",
        "UNION ICRS ( CIRCLE 1.0 2.0 3.0 POLYGON 1.0 1.0 2.0 1.0 2.0 2.0 )",
    ],
)
def test_regions_survive_a_round_trip_as_text(text: str) -> None:
    assert format_region(parse_region(text)) == text


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("circle 1 2 3", Circle),
        ("Circle ICRS GEOCENTER 1 2 3", Circle),
        ("POSITION ICRS 1 2", Circle),
        ("POLYGON 1 1 2 1 2 2e0", Polygon),
        ("Box ICRS 1 2 3 4", Polygon),
        ("UNION ( CIRCLE 1 2 3 )", Union),
    ],
)
def test_the_ways_that_s_region_is_written_are_understood(text: str, kind: type) -> None:
    assert isinstance(parse_region(text), kind)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "ELLIPSE ICRS 1 2 3 4 5",
            "line 1, column 1: This is not a region. Given: ELLIPSE. Allowed: CIRCLE, POLYGON, BOX, POSITION, RANGE, "
            "UNION; for example 'CIRCLE ICRS 12.5 -3 0.1', or 'POLYGON ICRS 1 1 2 1 2 2'.",
        ),
        (
            "CIRCLE GALACTIC 1 2 3",
            "line 1, column 8: Regions are ICRS here. Given: GALACTIC. Allowed: ICRS, in degrees.",
        ),
        (
            "CIRCLE 1 2",
            "line 1, column 1: A region has another number of values. Given: CIRCLE. "
            "Allowed: 'CIRCLE ICRS 12.5 -3 0.1', or 'POLYGON ICRS 1 1 2 1 2 2'.",
        ),
        ("POLYGON 1 1 2 2", "A polygon needs corners. Given: 2. Allowed: three or more."),
    ],
)
def test_errors_of_region_texts_are_whole(text: str, message: str) -> None:
    with pytest.raises(BadParameter) as refused:
        parse_region(text)
    assert str(refused.value) == message


@given(st.text(alphabet="CIRLEPOYGNUBXS()0123456789.-+ eE\n", max_size=40))
def test_any_text_is_a_region_or_is_refused(text: str) -> None:
    try:
        region = parse_region(text)
    except BadParameter:
        return
    assert region.area_deg2() >= 0


@pytest.mark.parametrize(
    ("frame", "name"), [("galactic", "GALACTIC"), ("fk5", "FK5"), ("barycentrictrueecliptic", "ecliptic")]
)
def test_frames_are_astropys(frame: str, name: str) -> None:
    rng = np.random.default_rng(1)
    ra, dec = rng.uniform(0, 360, 100), np.degrees(np.arcsin(rng.uniform(-1, 1, 100)))
    expected = SkyCoord(ra * u.deg, dec * u.deg).transform_to(frame).spherical
    longitude, latitude = transform("ICRS", name, ra, dec)
    assert longitude == pytest.approx(expected.lon.deg, abs=1e-9)
    assert latitude == pytest.approx(expected.lat.deg, abs=1e-9)


def test_the_galactic_centre_and_an_impossible_position() -> None:
    ra, dec = transform("GALACTIC", "ICRS", [0.0, 0.0], [0.0, 95.0])
    # Reid & Brunthaler 2004 place the origin of galactic coordinates at 17 45 37.20, -28 56 10.2 (J2000).
    assert ra[0] == pytest.approx(266.405, abs=1e-3)
    assert dec[0] == pytest.approx(-28.936, abs=1e-3)
    assert np.isnan(ra[1])
    with pytest.raises(BadParameter, match=r"There is no such frame\. Given: MARS\. Allowed: ICRS"):
        transform("MARS", "ICRS", [0.0], [0.0])


def test_barnards_star_moves_as_astropy_says() -> None:
    star = SkyCoord(
        ra=269.45207 * u.deg, dec=4.69339 * u.deg, distance=Distance(parallax=547.45 * u.mas),
        pm_ra_cosdec=-798.58 * u.mas / u.yr, pm_dec=10328.12 * u.mas / u.yr, radial_velocity=-110.51 * u.km / u.s,
        obstime=Time(2000, format="jyear"),
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # erfa warns of years that it has no leap seconds for
        expected = star.apply_space_motion(Time(2100, format="jyear"))
    ra, dec = propagate(269.45207, 4.69339, 547.45, -798.58, 10328.12, -110.51, 2000, 2100)
    # Astropy adds the change of light time, some milliarcseconds in a century for the fastest star there is.
    assert float(ra) == pytest.approx(expected.ra.deg, abs=5e-3 / 3600)
    assert float(dec) == pytest.approx(expected.dec.deg, abs=5e-3 / 3600)


def test_a_star_without_motion_stays_and_one_over_the_pole_comes_down_on_the_other_side() -> None:
    ra, dec = propagate([10, 10], [20, 89.999], np.nan, [0, np.nan], [np.nan, 3.6e6 * 0.002], np.nan, 2000, 2001)
    assert (ra[0], dec[0]) == (pytest.approx(10), pytest.approx(20))
    assert (ra[1], dec[1]) == (pytest.approx(190), pytest.approx(89.999))


@given(st.integers(0, 23), st.integers(0, 59), st.floats(0, 59.99))
def test_hours_minutes_seconds_are_astropys(hours: int, minutes: int, seconds: float) -> None:
    text = f"{hours}:{minutes}:{seconds:.6f}"
    assert hms_to_degrees([text])[0] == pytest.approx(Angle(text, u.hourangle).deg)


def test_angles_keep_their_sign_and_nonsense_is_nan() -> None:
    assert dms_to_degrees(["-0:30:0", "+12d34m56.7s", "7"]) == pytest.approx([-0.5, 12.58241667, 7])
    assert np.isnan(dms_to_degrees([None, "", "x", "1:60:0", "1:2:61"])).all()
    assert np.isnan(hms_to_degrees(["24:00:01"])).all()


def test_rows_are_tested_against_the_region_of_their_own_row() -> None:
    texts = ["CIRCLE ICRS 10 0 1", None, "nonsense", "CIRCLE ICRS 20 0 1", "POLYGON ICRS 9 -1 11 -1 11 1 9 1"]
    assert points_in_region_texts(10.0, 0.0, texts).tolist() == [True, False, False, False, True]
    values = np.array([9, -1, 11, -1, 11, 1, 0, 0, 1, 1], dtype=float)
    assert points_in_polygons(10.0, 0.0, values, np.array([0, 6, 10, 10])).tolist() == [True, False, False]


def test_many_polygons_answer_as_each_does_alone() -> None:
    random = np.random.default_rng(7)
    polygons, ra, dec = [], [], []
    for size in np.repeat([1e-7, 1e-4, 0.1, 10.0, 40.0], 60):
        corners = int(random.integers(3, 8))
        at_ra, at_dec = random.uniform(0, 360), random.choice([-90.0, 90.0, 0.0, random.uniform(-90, 90)])
        angle = np.sort(random.uniform(0, 2 * np.pi, corners))
        around = SkyCoord(at_ra, at_dec, unit="deg").directional_offset_by(angle * u.rad, size * u.deg)
        polygons.append(np.column_stack([around.ra.deg, around.dec.deg]).ravel())
        # A corner itself, and places out to twice the size.
        near = SkyCoord(at_ra, at_dec, unit="deg").directional_offset_by(
            random.uniform(0, 360) * u.deg, random.uniform(0, 2) * size * u.deg
        )
        ra += [around.ra.deg[0], float(near.ra.deg)]
        dec += [around.dec.deg[0], float(near.dec.deg)]
    rows = [corners for corners in polygons for _ in range(2)]
    rows += [np.array([1.0, 2.0, 3.0, 4.0]), np.array([]), np.full(6, np.nan), np.tile([1.0, 2.0, 181.0, -2.0], 2)]
    ra += [1.0] * 4
    dec += [2.0] * 4
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    found = points_in_polygons(ra, dec, np.concatenate(rows), offsets)
    alone = [polygon_or_none(row) for row in rows]
    expected = [p is not None and bool(p.contains(x, y)[0]) for p, x, y in zip(alone, ra, dec, strict=True)]
    assert found.tolist() == expected
    assert 100 < sum(expected) < 500
