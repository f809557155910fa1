"""What a publisher can get wrong: each is told in full, and the archive is as it was before."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.table import Table

from archive_fixture import star_table
from services.desk import Desk

ADD = ("catalog", "add")
KINDS = "a table in FITS, VOTable, CSV, TSV, ECSV, Parquet or Arrow"


def published(desk: Desk) -> Desk:
    """The desk with one table in its archive that must stay as it is."""
    pq.write_table(star_table(200), desk.folder / "stars.parquet")
    desk.idac(*ADD, "stars.parquet", "--name", "demo.stars", "--id", "id")
    return desk


def halved(path: Path, name: str) -> None:
    data = path.read_bytes()
    path.with_name(name).write_bytes(data[: len(data) // 2])


def sky(rows: int = 1000) -> Table:
    return Table({"id": np.arange(rows), "ra": np.linspace(0, 359, rows), "dec": np.linspace(-80, 80, rows)})


def test_a_truncated_file_of_each_format_is_refused_by_its_name(desk: Desk) -> None:
    published(desk)
    sky().write(desk.folder / "whole.fits")
    sky().write(desk.folder / "whole.vot", format="votable")
    halved(desk.folder / "whole.fits", "cut.fits")
    halved(desk.folder / "whole.vot", "cut.vot")
    halved(desk.folder / "stars.parquet", "cut.parquet")
    (desk.folder / "cut.csv.gz").write_bytes(gzip.compress(b"ra,dec\n" + b"1,2\n" * 999)[:-9])
    (desk.folder / "head.fits").write_bytes((desk.folder / "whole.fits").read_bytes()[:1000])
    # Of the half after two headers of 2880 bytes and 5760 of padding, 24 bytes are a row.
    rows = ((desk.folder / "cut.fits").stat().st_size - 5760) // 24
    assert desk.refused(4, *ADD, "cut.fits", "--name", "demo.x") == (
        f"cut.fits: The FITS file is cut short. Given: {rows} whole rows. Allowed: 1000 rows, as NAXIS2 says. "
        "Write or send the file again."
    )
    assert desk.refused(4, *ADD, "head.fits", "--name", "demo.x") == (
        "head.fits: The FITS file is cut short within a header. Given: HDU 0, after 1000 bytes of header. "
        "Allowed: a header with an END card, at most 67108864 bytes (max_header_bytes). Write or send the file again."
    )
    lines = (desk.folder / "cut.vot").read_text().count("\n")
    assert desk.refused(4, *ADD, "cut.vot", "--name", "demo.x").startswith(f"cut.vot, line {lines + 1}, column ")
    assert desk.refused(4, *ADD, "cut.csv.gz", "--name", "demo.x").startswith(
        "cut.csv.gz: The gzip file is damaged or cut short."
    )
    assert desk.refused(4, *ADD, "cut.parquet", "--name", "demo.x").startswith(
        "The Parquet file is damaged or cut short. Given: cut.parquet ("
    )


def test_the_bad_file_of_many_is_named_and_none_is_published(desk: Desk) -> None:
    for name in ("a.fits", "b.fits", "c.fits"):
        sky().write(desk.folder / name)
    halved(desk.folder / "b.fits", "bb.fits")
    assert desk.refused(4, *ADD, "*.fits", "--name", "demo.x").startswith("bb.fits: The FITS file is cut short. ")
    assert desk.idac("catalog", "list").startswith("No tables are published yet.")


def test_a_replacement_that_fails_leaves_the_table(desk: Desk) -> None:
    published(desk)
    sky().write(desk.folder / "whole.fits")
    halved(desk.folder / "whole.fits", "cut.fits")
    assert desk.refused(4, "catalog", "replace", "cut.fits", "--name", "demo.stars").startswith("cut.fits: ")
    assert desk.idac("query", "SELECT COUNT(*) AS n FROM demo.stars", "--format", "csv").split() == ["n", "200"]


def test_a_file_without_rows_or_without_anything_is_refused(desk: Desk) -> None:
    published(desk)
    (desk.folder / "empty.csv").touch()
    (desk.folder / "empty.fits").touch()
    (desk.folder / "head.csv").write_text("ra,dec\n")
    (desk.folder / "hollow").mkdir()
    for name in ("empty.csv", "empty.fits"):
        assert desk.refused(4, *ADD, name, "--name", "demo.x") == (
            f"The file is empty. Given: {name}. Allowed: {KINDS}. Check how the file was made or sent."
        )
    assert desk.refused(4, *ADD, "head.csv", "--name", "demo.x") == (
        "The source holds no rows that can be published. Given: head.csv. "
        "Allowed: at least one row with a valid position. Check that this is the right file, and whole."
    )
    assert desk.refused(4, *ADD, "hollow", "--name", "demo.x") == (
        "The folder holds no Parquet files. Given: hollow. Allowed: files that end in .parquet, .pq, .parq, "
        "also in folders below. Name the folder that holds the files, or name the files themselves."
    )


def test_bytes_of_no_kind_are_refused(desk: Desk) -> None:
    (desk.folder / "noise.bin").write_bytes(np.random.default_rng(1).bytes(3000))
    assert desk.refused(4, *ADD, "noise.bin", "--name", "demo.x") == (
        f"The file is binary and of no known kind. Given: noise.bin. Allowed: {KINDS}, also gzipped. "
        "Name the format if you know it."
    )


def test_bad_yaml_is_told_with_its_place(desk: Desk) -> None:
    published(desk)
    (desk.folder / "s.yaml").write_text("name: demo\ntables:\n- name: x\n  columns: [\n")
    assert desk.refused(4, *ADD, "stars.parquet", "--name", "demo.x", "--felis", "s.yaml") == (
        "s.yaml, line 5, column 1: This is not YAML: did not find expected node content. "
        "Allowed: a Felis schema in YAML. Correct the text at this place."
    )
    (desk.folder / "bad.yaml").write_text("catalogs:\n  ingest:\n    memory_gib: lots\n")
    assert desk.refused(3, "--config", "bad.yaml", "catalog", "list") == (
        "bad.yaml, line 3, column 5: catalogs.ingest.memory_gib can't be used. Given: lots. "
        "Allowed: a number from 0.5 to 4096. Correct it."
    )


COLUMN = "name: demo\ntables:\n- name: x\n  columns:\n  - {name: mag, datatype: float, "


@pytest.mark.parametrize(
    ("word", "text"),
    [
        (
            "ivoa:unit: parsecz",
            "The column mag of x has a unit that is not known. Given: parsecz. "
            "Allowed: a unit as FITS and VOUnits write it, such as deg, mas/yr, nJy, mag, or no unit at all. "
            "Did you mean Parcsec, parcsec or parsec?",
        ),
        (
            "fits:tunit: (mas/yr)^^2",
            "The column mag of x has a unit that is not known. Given: (mas/yr)^^2. "
            "Allowed: a unit as FITS and VOUnits write it, such as deg, mas/yr, nJy, mag, or no unit at all. "
            "Correct it, or leave the unit out.",
        ),
        (
            "ivoa:ucd: phot.magg",
            "The column mag of x has a UCD that is not in the IVOA's vocabulary: Unknown word 'phot.magg'. "
            "Given: phot.magg. Allowed: words of UCD1+, such as pos.eq.ra;meta.main or phot.mag;em.opt.V. "
            "Correct it, or leave the UCD out.",
        ),
    ],
)
def test_a_word_that_no_vocabulary_has_is_told_with_its_place(desk: Desk, word: str, text: str) -> None:
    pq.write_table(star_table(10), desk.folder / "stars.parquet")
    key, _, value = word.rpartition(": ")
    (desk.folder / "s.yaml").write_text(f'{COLUMN}"{key}": "{value}"}}\n')
    found = desk.refused(4, *ADD, "stars.parquet", "--name", "demo.x", "--felis", "s.yaml")
    assert found == f"s.yaml, line 5, column 34: {text}"


def test_a_column_that_the_data_lack_is_told_with_the_nearest(desk: Desk) -> None:
    published(desk)
    columns = "  - {name: id, datatype: long}\n  - {name: magg, datatype: float}\n"
    (desk.folder / "s.yaml").write_text(f"name: demo\ntables:\n- name: x\n  columns:\n{columns}")
    assert desk.refused(4, *ADD, "stars.parquet", "--name", "demo.x", "--felis", "s.yaml") == (
        "The Felis schema describes columns of x that its data lack. Given: magg. Allowed: columns of the data. "
        "Did you mean mag? Correct the schema, or the names in the source."
    )
    assert desk.refused(2, "query", "SELECT magg FROM demo.stars") == (
        "line 1, column 8: There is no column of this name in the tables of this query. Given: magg. Did you mean mag?"
    )


def test_positions_in_a_wrong_unit_or_off_the_sky_and_ids_that_repeat_are_refused(desk: Desk) -> None:
    published(desk)
    table = sky(5)
    table["dec"].unit = "mag"
    table.write(desk.folder / "unit.fits")
    assert desk.refused(4, *ADD, "unit.fits", "--name", "demo.x") == (
        "The position column dec is in a unit that is not an angle of the sky. Given: mag. Allowed: deg, rad, h. "
        "Name the right columns with --ra and --dec, or correct the unit in the source."
    )
    off = pa.table({"ra": [10.0, 400.0, float("nan")], "dec": [0.0, 1.0, 2.0]})
    pq.write_table(off, desk.folder / "off.parquet")
    assert desk.refused(4, *ADD, "off.parquet", "--name", "demo.x") == (
        "2 rows have no valid position, so demo.x was not published. "
        "Given: row 2: ra 400, dec 1; row 3: ra missing, dec 2. "
        "Allowed: right ascensions from 0 (with --wrap-ra, -360) to 360, declinations from -90 to 90 degrees. "
        "Correct them, name the right columns with --ra and --dec, "
        "or add --rejects FILE to publish the other rows and keep these in a file."
    )
    pq.write_table(pa.table({"id": [1, 2, 2], "ra": [1.0, 2, 3], "dec": [1.0, 2, 3]}), desk.folder / "ids.parquet")
    assert desk.refused(4, *ADD, "ids.parquet", "--name", "demo.x", "--id", "id") == (
        "1 row repeats an id, so demo.x was not published. Given: 2. Allowed: a different value of id in every row. "
        "Remove the repeated rows, name another column with --id, or leave the option out."
    )


@pytest.mark.parametrize(("path", "why"), [("none/bad.parquet", "No such file or directory"), (".", "Is a directory")])
def test_a_file_for_rejects_that_can_not_be_written_is_told_before_anything_is_read(
    desk: Desk, path: str, why: str
) -> None:
    (desk.folder / "s.csv").write_text("ra,dec\n1,2\n3,95\n")
    assert desk.refused(2, *ADD, "s.csv", "--name", "demo.s", "--rejects", path) == (
        f"The file for rejected rows can't be written. Given: {path}: {why}. "
        "Allowed: a file in a folder that is there and may be written to. Name another file with --rejects."
    )


def test_rejected_rows_are_not_kept_where_the_rest_is_not_published(desk: Desk) -> None:
    (desk.folder / "s.csv").write_text("id,ra,dec\n1,1,2\n2,3,95\n1,5,6\n")
    (desk.folder / "old.parquet").write_bytes(b"of another day")
    text = desk.refused(4, *ADD, "s.csv", "--name", "demo.s", "--id", "id", "--rejects", "old.parquet")
    assert text.startswith("1 row repeats an id, so demo.s was not published.")
