"""What goes in comes out, and what can't go in is refused with its place and number."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.coordinates import SkyCoord

from archive_fixture import TableData, build_archive, open_archive, publish, small_settings, star_table
from idac.catalogs.archive import Archive
from idac.catalogs.ingest import IngestChoices
from idac.catalogs.publishing import Publisher, Rows
from idac.catalogs.snapshot import HatsStorage
from idac.core.errors import BadData, ResourceExhausted
from idac.sky.healpix import healpix29
from idac.tables.arrow import column_from_arrow
from idac.tables.model import DOUBLE, Column, Schema, Table

SKY = (Column("ra", DOUBLE, "deg"), Column("dec", DOUBLE, "deg"))


def sky(ra: list[float | None], dec: list[float | None]) -> pa.Table:
    return pa.table({"ra": pa.array(ra, pa.float64()), "dec": pa.array(dec, pa.float64())})


def storage_of(archive: Archive, name: str = "demo.stars") -> HatsStorage:
    storage = archive.snapshot(fresh=True).entries[tuple(name.split("."))].storage  # type: ignore[index]
    assert isinstance(storage, HatsStorage)
    return storage


def rows_of(archive: Archive, name: str = "demo.stars") -> pa.Table:
    return pa.concat_tables(pq.read_table(f, partitioning=None) for f in storage_of(archive, name).index.files)


def refused(folder: Path, table: pa.Table | TableData) -> str:
    archive = open_archive(folder)
    with pytest.raises(BadData) as caught:
        publish(archive, "demo.stars", table)
    assert archive.snapshot(fresh=True).find("demo", "stars") is None
    assert [p.name for p in Path(archive.store.url("catalogs/staging")).iterdir()] == []
    assert not Path(archive.store.url("catalogs/tables")).exists()
    return caught.value.text


@pytest.mark.parametrize("memory_gib", [0.5, 4.0])
def test_every_row_and_value_survives_whether_it_was_sorted_on_disk_or_not(tmp_path: Path, memory_gib: float) -> None:
    stars = star_table(30_000)
    settings = small_settings(ingest={"memory_gib": memory_gib, "rows_per_file": 4_000})
    archive = build_archive(tmp_path, {"demo.stars": TableData(stars, choices=IngestChoices(id="id"))}, settings)
    found = rows_of(archive)
    assert np.all(np.diff(found["_healpix_29"].to_numpy()) >= 0)
    assert np.array_equal(found["_healpix_29"].to_numpy(), healpix29(found["ra"].to_numpy(), found["dec"].to_numpy()))
    assert found.select(stars.column_names).sort_by("id").cast(stars.schema).equals(stars.sort_by("id"))


def test_files_have_small_row_groups_statistics_a_bloom_filter_and_compress_only_what_shrinks(tmp_path: Path) -> None:
    settings = small_settings(ingest={"rows_per_file": 50_000})
    choices = IngestChoices(id="id")
    archive = build_archive(tmp_path, {"demo.stars": TableData(star_table(20_000), choices=choices)}, settings)
    for path in storage_of(archive).index.files:
        footer = pq.read_metadata(path)
        names = footer.schema.names
        for number in range(footer.num_row_groups):
            group = footer.row_group(number)
            assert group.num_rows <= 1_024
            columns = [group.column(i) for i in range(footer.num_columns)]
            codecs = {c.path_in_schema: c.compression for c in columns}
            assert codecs == {n: "ZSTD" if n in ("id", "name") else "UNCOMPRESSED" for n in names}
            assert columns[names.index("_healpix_29")].statistics.has_min_max
            assert columns[names.index("id")].bloom_filter_offset is not None


def test_a_crowded_field_is_divided_further_than_the_empty_sky(tmp_path: Path) -> None:
    archive = build_archive(tmp_path, {"demo.stars": star_table(20_000, crowded_deg=0.2)})
    names = {Path(f).parts[-3] for f in storage_of(archive).index.files}
    orders = sorted(int(n.removeprefix("Norder=")) for n in names)
    assert orders[0] <= 1
    assert orders[-1] >= 7


def test_the_margin_holds_every_row_within_ten_arcseconds_of_another_pixel(tmp_path: Path) -> None:
    archive = build_archive(tmp_path, {"demo.stars": star_table(6_000, crowded_deg=0.05)})
    storage = storage_of(archive)
    by_pixel = {Path(f).parts[-3:]: f for f in storage.margin_files}
    whole = rows_of(archive)
    ids, places = whole["id"].to_numpy(), SkyCoord(whole["ra"], whole["dec"], unit="deg")
    near = 0
    for path in storage.index.files:
        inside = np.isin(ids, pq.read_table(path, partitioning=None)["id"].to_numpy())
        _, apart, _ = places[~inside].match_to_catalog_sky(places[inside])
        needed = set(ids[~inside][apart.arcsec < 10].tolist())
        near += len(needed)
        margin = by_pixel.get(Path(path).parts[-3:])
        held = set(pq.read_table(margin, partitioning=None)["id"].to_pylist()) if margin else set()
        assert needed <= held
        assert not held & set(ids[inside].tolist())
    assert near > 20


def test_many_rows_at_one_place_make_one_large_file(tmp_path: Path) -> None:
    rows = 5_000
    table = pa.table({"ra": np.full(rows, 10.0), "dec": np.full(rows, -5.0), "n": np.arange(rows)})
    archive = build_archive(tmp_path, {"demo.stars": table})
    assert len(storage_of(archive).index.files) == 1
    assert sorted(rows_of(archive)["n"].to_pylist()) == list(range(rows))


def test_a_table_of_two_thousand_columns_keeps_its_row_groups_small_in_bytes(tmp_path: Path) -> None:
    rows = 9_000
    rng = np.random.default_rng(4)
    wide = {f"c{i}": rng.normal(size=rows).astype(np.float32) for i in range(2_000)}
    table = pa.table({"ra": rng.uniform(44, 46, rows), "dec": rng.uniform(29, 31, rows), **wide})
    settings = small_settings(ingest={"rows_per_file": 1_000_000, "row_group_rows": 20_480})
    archive = build_archive(tmp_path, {"demo.stars": table}, settings)
    index = storage_of(archive).index
    assert len(index.files) == 1
    assert len(index.rows) == 3
    assert index.rows.max() * 2_000 * 4 <= 32 << 20
    entry = archive.snapshot().entries["demo", "stars"]
    assert len(entry.table.columns) == 2_002
    columns = archive.snapshot().entries["tap_schema", "columns"].storage.data  # type: ignore[union-attr]
    assert columns.num_rows == 2_002 + 32


def test_rows_without_a_valid_position_are_counted_and_shown(tmp_path: Path) -> None:
    ra = [10.0, None, 30.0, float("nan"), 400.0, -361.0, 20.0, 5.0]
    dec = [0.0, 1.0, 91.0, 2.0, 3.0, 4.0, None, -90.5]
    assert refused(tmp_path, TableData(sky(ra, dec), SKY)) == (
        "7 rows have no valid position, so demo.stars was not published. Given: row 2: ra missing, dec 1; "
        "row 3: ra 30, dec 91; row 4: ra missing, dec 2; row 5: ra 400, dec 3; row 6: ra -361, dec 4. "
        "Allowed: right ascensions from 0 (with --wrap-ra, -360) to 360, declinations from -90 to 90 degrees. "
        "Correct them, name the right columns with --ra and --dec, or add --rejects FILE to publish the other rows "
        "and keep these in a file."
    )


def test_rejected_rows_are_kept_in_a_file_where_one_is_named(tmp_path: Path) -> None:
    rejects = tmp_path / "rejects.parquet"
    table = sky([10.0, None, 30.0], [0.0, 1.0, 95.0])
    choices = IngestChoices(rejects=rejects)
    archive = build_archive(tmp_path, {"demo.stars": TableData(table, SKY, choices=choices)})
    assert rows_of(archive)["ra"].to_pylist() == [10.0]
    assert pq.read_table(rejects).to_pylist() == [{"ra": None, "dec": 1.0}, {"ra": 30.0, "dec": 95.0}]


def test_right_ascensions_below_zero_are_refused_and_wrapped_on_request(tmp_path: Path) -> None:
    table = sky([-10.0, 360.0, -1e-300, 350.0], [0.0, 1.0, 2.0, 3.0])
    assert refused(tmp_path, TableData(table, SKY)).startswith(
        "2 rows have no valid position, so demo.stars was not published. Given: row 1: ra -10, dec 0; row 3: ra -1e-300"
    )
    archive = build_archive(tmp_path, {"demo.stars": TableData(table, SKY, choices=IngestChoices(wrap_ra=True))})
    assert sorted(rows_of(archive)["ra"].to_pylist()) == [0.0, 0.0, 350.0, 350.0]


def test_positions_in_radians_or_hours_are_refused_and_converted_on_request(tmp_path: Path) -> None:
    table = sky([np.pi, 1.0], [0.5, -0.5])
    columns = (Column("ra", DOUBLE, "rad"), Column("dec", DOUBLE, "rad"))
    assert refused(tmp_path, TableData(table, columns)) == (
        "The position column ra is not in degrees. Given: rad. Allowed: deg. "
        "Add --convert-positions to convert it while the table is read."
    )
    hours = (Column("ra", DOUBLE, "h"), Column("dec", DOUBLE, "deg"))
    choices = IngestChoices(convert_positions=True)
    archive = open_archive(tmp_path)
    publish(archive, "demo.radians", TableData(table, columns, choices=choices))
    publish(archive, "demo.hours", TableData(table, hours, choices=choices))
    assert sorted(rows_of(archive, "demo.radians")["dec"].to_pylist()) == pytest.approx([-28.647889757, 28.647889757])
    assert sorted(rows_of(archive, "demo.hours")["ra"].to_pylist()) == pytest.approx([15.0, 47.1238898])
    assert archive.snapshot().entries["demo", "radians"].table.columns[0].unit == "deg"


def test_a_position_in_another_unit_is_refused(tmp_path: Path) -> None:
    columns = (Column("ra", DOUBLE, "mas"), Column("dec", DOUBLE, "deg"))
    assert refused(tmp_path, TableData(sky([1.0], [2.0]), columns)) == (
        "The position column ra is in a unit that is not an angle of the sky. Given: mas. Allowed: deg, rad, h. "
        "Name the right columns with --ra and --dec, or correct the unit in the source."
    )


def test_sexagesimal_text_is_refused_as_a_position(tmp_path: Path) -> None:
    table = pa.table({"RAJ2000": ["10 20 30"], "dec": [1.0]})
    text = refused(tmp_path, TableData(table, choices=IngestChoices(ra="RAJ2000", dec="dec")))
    assert text == (
        "The position column RAJ2000 does not hold numbers in degrees. Given: char, unit none. "
        "Allowed: numbers in degrees. Convert the sexagesimal text to degrees before publishing the table."
    )


def test_a_wrong_column_name_is_answered_with_the_nearest(tmp_path: Path) -> None:
    table = TableData(sky([1.0], [2.0]), SKY, choices=IngestChoices(ra="raa", dec="dec"))
    assert refused(tmp_path, table) == (
        "The table has no column for the right ascension of this name. Given: raa. Allowed: ra, dec. Did you mean ra?"
    )


def test_one_column_is_not_both_coordinates(tmp_path: Path) -> None:
    table = TableData(sky([1.0], [2.0]), SKY, choices=IngestChoices(ra="ra", dec="RA"))
    assert refused(tmp_path, table) == (
        "The right ascension and the declination can't be one column. Given: ra. "
        "Name one column with --ra and another with --dec."
    )


def test_one_position_column_alone_is_refused(tmp_path: Path) -> None:
    table = TableData(sky([1.0], [2.0]), SKY, choices=IngestChoices(ra="ra"))
    assert refused(tmp_path, table) == (
        "Only one of the two position columns is named. Given: --ra ra. Name both, --ra and --dec."
    )


@pytest.mark.parametrize("kind", ["integers", "text"])
def test_duplicate_ids_are_counted_and_shown(tmp_path: Path, kind: str) -> None:
    numbers = np.arange(9_000)
    numbers[[100, 8_000]] = 7
    numbers[4_000] = 11
    ids = pa.array(numbers) if kind == "integers" else pa.array([f"star-{n:05d}" for n in numbers])
    table = star_table(9_000).set_column(0, "id", ids)
    shown = "7, 11" if kind == "integers" else "star-00007, star-00011"
    assert refused(tmp_path, TableData(table, choices=IngestChoices(id="id"))) == (
        f"3 rows repeat an id, so demo.stars was not published. Given: {shown}. "
        "Allowed: a different value of id in every row. "
        "Remove the repeated rows, name another column with --id, or leave the option out."
    )


def test_duplicate_ids_of_a_plain_table_are_refused_too(tmp_path: Path) -> None:
    table = pa.table({"visit": [3, 1, 3], "band": ["u", "g", "r"]})
    assert "1 row repeats an id, so demo.stars was not published. Given: 3." in refused(
        tmp_path, TableData(table, choices=IngestChoices(id="visit"))
    )


def test_a_missing_id_is_refused_with_its_row(tmp_path: Path) -> None:
    table = star_table(3).set_column(0, "id", pa.array([1, None, 3]))
    assert refused(tmp_path, TableData(table, choices=IngestChoices(id="id"))) == (
        "Rows without an id were found; nothing was published. Given: row 2 is the first. "
        "Allowed: a value in every row of the id column. "
        "Fill them, name another column with --id, or leave the option out."
    )


def test_a_column_of_floats_can_not_be_the_id(tmp_path: Path) -> None:
    assert refused(tmp_path, TableData(star_table(3), choices=IngestChoices(id="mag"))) == (
        "The column mag can't be the id. Given: float. Allowed: a column of integers or text. "
        "Name another column with --id, or leave the option out."
    )


def test_a_source_without_rows_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path, TableData(sky([], []), SKY)) == (
        "The source holds no rows that can be published. Given: stars.parquet. "
        "Allowed: at least one row with a valid position. Check that this is the right file, and whole."
    )


def test_a_source_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    archive = open_archive(tmp_path)
    stars = star_table(2_000)

    def broken(size: int) -> Iterator[pa.RecordBatch]:
        yield from stars.slice(0, 1_000).to_batches(max_chunksize=size)
        raise BadData("The file ends in the middle of a row.", value="row 1001")

    rows = Rows(Table("demo", "stars", tuple(column_from_arrow(f) for f in stars.schema)), broken, None, "stars.fits")
    with pytest.raises(BadData, match="The file ends in the middle of a row"):
        Publisher(archive).publish(Schema("demo", ()), [rows])
    assert archive.snapshot(fresh=True).find("demo", "stars") is None
    assert list(Path(archive.store.url("catalogs/staging")).iterdir()) == []


def test_a_full_disk_is_said_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = build_archive(tmp_path, {"demo.other": star_table(100)})

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("idac.catalogs.hats.os.fsync", full)
    with pytest.raises(ResourceExhausted) as caught:
        publish(archive, "demo.stars", star_table(3_000))
    assert caught.value.text == (
        "The disk is full, so the table was not published; the unfinished files were removed. "
        "Allowed: about three times the table's size in free space. "
        "Free some space, or set catalogs.ingest.spill to a folder on a larger disk."
    )
    assert archive.snapshot(fresh=True).find("demo", "stars") is None
    assert archive.snapshot().find("demo", "other") is not None
    assert list(Path(archive.store.url("catalogs/staging")).iterdir()) == []


def test_a_writer_that_loses_rows_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows in equal rows out is proved by reading back, so a writer that drops rows must be caught."""
    write = pq.ParquetWriter.write_table

    def lossy(self: pq.ParquetWriter, table: pa.Table, **options: object) -> None:
        write(self, table.slice(0, table.num_rows - 1), **options)

    monkeypatch.setattr(pq.ParquetWriter, "write_table", lossy)
    text = refused(tmp_path, star_table(500))
    assert text.startswith("A file of the new version does not hold what was written to it; nothing was published.")


def test_an_index_column_in_the_source_is_made_anew(tmp_path: Path) -> None:
    table = star_table(500).append_column("_healpix_29", pa.array(np.zeros(500, np.int64)))
    archive = build_archive(tmp_path, {"demo.stars": table})
    assert archive.snapshot().entries["demo", "stars"].table.find("_healpix_29") is None
    assert rows_of(archive)["_healpix_29"].to_numpy().min() > 0


def test_texts_beyond_ascii_are_told_by_their_type_wherever_in_the_table_they_stand(tmp_path: Path) -> None:
    rows = 5_000
    table = star_table(rows)
    names = ["plain"] * (rows - 1) + ["Ζῆτα"]
    table = table.append_column("greek", pa.array(names)).append_column("latin", pa.array(["plain"] * rows))
    archive = build_archive(tmp_path, {"demo.stars": table})
    published = archive.snapshot().entries["demo", "stars"].table
    kinds = {c.name: (c.type.datatype, c.type.arraysize) for c in published.columns}
    assert kinds["greek"] == ("unicodeChar", "*")
    assert kinds["latin"] == ("char", "*")
