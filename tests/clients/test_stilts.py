"""STILTS against a running centre: TAP queries at once and as jobs, uploads, cone searches, and its own matching."""

from __future__ import annotations

import csv
import io
from datetime import datetime
from pathlib import Path

import pytest
from astropy.table import Table

from clients.survey import OBJECTS, object_rows
from services.idac_process import IdacProcess
from services.stilts import run_stilts, stilts

QUERY = 'SELECT TOP 20 object_id, ra, mag, name, "date", flag FROM survey.objects ORDER BY object_id'


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def _dali(time: datetime | None) -> str:
    return "" if time is None else time.isoformat(timespec="milliseconds")


@pytest.mark.parametrize("sync", ["true", "false"])
def test_rows_come_whole(survey: IdacProcess, sync: str) -> None:
    query = [f"tapurl={survey.tap}", f"adql={QUERY}", f"sync={sync}"]
    found = rows(stilts("tapquery", *query, "omode=out", "ofmt=csv"))
    expected = object_rows().slice(0, 20).to_pylist()
    assert [int(row["object_id"]) for row in found] == [row["object_id"] for row in expected]
    assert [float(row["ra"]) for row in found] == [row["ra"] for row in expected]
    assert [row["name"] or None for row in found] == [row["name"] for row in expected]
    assert [row["mag"] == "" for row in found] == [row["mag"] is None for row in expected]
    assert [row["date"] for row in found] == [_dali(row["date"]) for row in expected]
    assert [int(row["flag"]) for row in found] == [row["flag"] for row in expected]


# STILTS' own FITS files have NULL for a boolean that is not known, of which astropy warns.
@pytest.mark.filterwarnings("ignore:Column 'is_star' contains NULL")
@pytest.mark.parametrize("kind", ["fits", "votable-binary2-inline", "votable-tabledata", "ascii"])
def test_an_answer_is_saved_in_any_of_stilts_formats(survey: IdacProcess, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "out"
    adql = f"SELECT {'object_id, ra, flag' if kind == 'ascii' else '*'} FROM survey.objects"
    stilts("tapquery", f"tapurl={survey.tap}", f"adql={adql}", "sync=true", f"out={path}", f"ofmt={kind}")
    table = Table.read(path, format={"fits": "fits", "ascii": "ascii"}.get(kind, "votable"))
    assert len(table) == OBJECTS
    assert set(table["object_id"]) == set(object_rows()["object_id"].to_pylist())


def test_several_tables_are_uploaded(survey: IdacProcess, tmp_path: Path) -> None:
    ids = object_rows()["object_id"].to_pylist()
    Table({"object_id": ids[:30], "a": range(30)}).write(tmp_path / "one.fits")
    Table({"a": [4, 9, 99]}).write(tmp_path / "two.csv")
    query = (
        "SELECT o.object_id, two.a FROM survey.objects AS o JOIN TAP_UPLOAD.up1 AS one ON o.object_id = one.object_id "
        "JOIN TAP_UPLOAD.up2 AS two ON one.a = two.a ORDER BY two.a"
    )
    uploads = ["nupload=2", f"upload1={tmp_path}/one.fits", f"upload2={tmp_path}/two.csv", "ufmt2=csv"]
    for sync in ("true", "false"):
        found = stilts("tapquery", f"tapurl={survey.tap}", f"adql={query}", *uploads, f"sync={sync}", "ofmt=csv")
        assert found.split() == ["object_id,a", f"{ids[4]},4", f"{ids[9]},9"]


@pytest.mark.parametrize("sync", ["true", "false"])
def test_a_wrong_query_is_told_in_words(survey: IdacProcess, sync: str) -> None:
    done = run_stilts("tapquery", f"tapurl={survey.tap}", "adql=SELECT mags FROM survey.objects", f"sync={sync}")
    assert done.returncode != 0
    assert "line 1, column 8: There is no column of this name in the tables of this query. Given: mags. " in done.stderr


def test_a_cone_search_needs_no_guesses(survey: IdacProcess) -> None:
    cone = [f"serviceurl={survey.url}/api/scs/survey.objects", "lon=10", "lat=-5", "radius=0.3", "verb=3"]
    done = run_stilts("cone", *cone, "omode=out", "ofmt=csv")
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr  # of columns without the UCDs of the standard, for one
    assert len(rows(done.stdout)) > 20


def test_matching_by_cone_searches_and_by_tap_agree(survey: IdacProcess, tmp_path: Path) -> None:
    path = tmp_path / "positions.csv"
    path.write_text("ra,dec\n10,-5\n10.1,-5.1\n200,40\n")
    positions = [f"in={path}", "ifmt=csv", "sr=0.1", "omode=out", "ofmt=csv"]
    service = ["servicetype=cone", f"serviceurl={survey.url}/api/scs/survey.objects", "ra=ra", "dec=dec", "verb=3"]
    cones = rows(stilts("coneskymatch", *positions, *service, "usefoot=false"))
    tap = [f"tapurl={survey.tap}", "taptable=survey.objects", "taplon=ra", "taplat=dec", "inlon=ra", "inlat=dec"]
    matched = rows(stilts("tapskymatch", *positions, *tap, "find=all"))
    assert len(cones) > 5
    assert sorted(row["object_id"] for row in cones) == sorted(row["object_id"] for row in matched)


def test_an_answer_and_an_error_pass_votlint(survey: IdacProcess, tmp_path: Path) -> None:
    # Left out are NULL arrays, whose empty cells votlint refuses although VOTable 1.3 made them legal, and arrays of
    # varying length in binary, over which votlint runs out of memory, over STILTS' own files as well.
    columns = '"size", "date", is_star, name, kind, flag, place, beam, s_region, "flux/err", mag, object_id'
    for number, (kind, query) in enumerate(
        [
            ("votable", f"SELECT {columns} FROM survey.objects"),
            ("votable/b2", f"SELECT {columns} FROM survey.objects"),
            ("votable/td", f"SELECT {columns} FROM survey.objects"),
            ("votable", "SELECT mags FROM survey.objects"),
        ]
    ):
        path = tmp_path / f"{number}.vot"
        path.write_bytes(survey.sync(query, RESPONSEFORMAT=kind).content)
        done = run_stilts("votlint", "validate=true", str(path))
        assert (done.returncode, done.stdout + done.stderr) == (0, "")
