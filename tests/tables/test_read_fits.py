"""FITS tables as they are read, against astropy and files made by hand."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from astropy.io import fits
from astropy.table import Table

from idac.core.errors import BadData, TooLarge
from idac.tables.arrow import arrow_schema
from idac.tables.readers import ReadLimits, open_table

ROWS = 5


def columns_of(source: Any, **options: Any) -> dict[str, list[Any]]:
    with open_table(source, **options) as table:
        batches = list(table.iter_batches())
        whole = pa.Table.from_batches(batches, schema=arrow_schema(table.columns))
        whole.validate(full=True)
        return {name: whole.column(name).to_pylist() for name in whole.column_names}


@pytest.fixture
def rich(tmp_path: Path) -> Path:
    varying = np.empty(ROWS, object)
    for i in range(ROWS):
        varying[i] = np.arange(i, dtype="f8") / 4
    table = fits.BinTableHDU.from_columns(
        [
            fits.Column("id", "K", array=np.arange(ROWS) + 2**62, null=2**62 + 1),
            fits.Column("ra", "D", array=[0.5, np.nan, 2, 3, -0.0], unit="deg", disp="F10.5"),
            fits.Column("u2", "I", array=np.array([0, 1, 40000, 65535, 2], "u2"), bzero=2**15),
            fits.Column("u4", "J", array=np.array([0, 1, 2**31, 2**32 - 1, 2], "u4"), bzero=2**31),
            fits.Column("u8", "K", array=np.array([0, 1, 2**62, 2**63 - 1, 2], "u8"), bzero=2**63),
            fits.Column("i1", "B", array=np.array([-128, 0, 1, 127, 2], "i1"), bzero=-128),
            fits.Column("scaled", "I", array=np.array([0, 1, 2, -3, 4], "i2")),
            fits.Column("flag", "L", array=[True, False, True, False, True]),
            fits.Column("bits", "11X", array=np.arange(ROWS * 11).reshape(ROWS, 11) % 3 == 0),
            fits.Column("text", "8A", array=["a", "bb", "", " c ", "full8chr"]),
            fits.Column("words", "6A", dim="(3,2)", array=[["abc", "d"], ["e", "f"], ["g", ""], ["", ""], ["", "z"]]),
            fits.Column("grid", "6E", dim="(3,2)", array=np.arange(ROWS * 6.0).reshape(ROWS, 2, 3)),
            fits.Column("z", "M", array=np.arange(ROWS) * (1 + 2j)),
            fits.Column("varying", "PD()", array=varying),
            fits.Column("varying8", "QJ()", array=varying),
        ],
        name="STARS",
    )
    table.header["TSCAL7"], table.header["TZERO7"] = 0.5, 10.0
    table.header["TUCD2"], table.header["TCOMM2"] = "pos.eq.ra;meta.main", "Right ascension"
    table.header["COMMENT"] = "made for a test"
    path = tmp_path / "rich.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.zeros((3, 4))), table]).writeto(path)
    return path


EXPECTED = {
    "id": [2**62, None, 2**62 + 2, 2**62 + 3, 2**62 + 4],
    "ra": [0.5, None, 2.0, 3.0, 0.0],
    "u2": [0, 1, 40000, 65535, 2],
    "u4": [0, 1, 2**31, 2**32 - 1, 2],
    "u8": [0, 1, 2**62, 2**63 - 1, 2],
    "i1": [-128, 0, 1, 127, 2],
    "scaled": [10.0, 10.5, 11.0, 8.5, 12.0],
    "flag": [True, False, True, False, True],
    "text": ["a", "bb", None, " c", "full8chr"],
    "words": [["abc", "d"], ["e", "f"], ["g", ""], ["", ""], ["", "z"]],
    "grid": [[float(v) for v in range(i * 6, i * 6 + 6)] for i in range(ROWS)],
    "z": [[float(i), 2.0 * i] for i in range(ROWS)],
    "varying": [None, [0.0], [0.0, 0.25], [0.0, 0.25, 0.5], [0.0, 0.25, 0.5, 0.75]],
    "varying8": [None, [0], [0, 0], [0, 0, 0], [0, 0, 0, 0]],
    "bits": (np.arange(ROWS * 11).reshape(ROWS, 11) % 3 == 0).tolist(),
}


@pytest.mark.parametrize("how", ["path", "gzip", "object", "gzip object"])
def test_every_kind_of_column_reads_the_same_from_path_gzip_and_object(rich: Path, how: str) -> None:
    if "gzip" in how:
        packed = rich.with_suffix(".fits.gz")
        packed.write_bytes(gzip.compress(rich.read_bytes()))
        rich = packed
    assert columns_of(io.BytesIO(rich.read_bytes()) if "object" in how else rich) == EXPECTED


def test_metadata_come_whole(rich: Path) -> None:
    with open_table(rich) as table:
        ra = table.columns[1]
        assert (ra.name, ra.unit, ra.ucd, ra.description) == ("ra", "deg", "pos.eq.ra;meta.main", "Right ascension")
        assert (table.name, table.rows) == ("STARS", ROWS)
        assert table.info.comments == ("COMMENT: made for a test",)
        assert table.info.details["ra"] == {"TFORM": "D", "TDISP": "F10.5"}
        assert table.info.details["id"]["TNULL"] == str(2**62 + 1)
        kinds = {c.name: (c.type.datatype, c.type.arraysize) for c in table.columns}
    assert kinds["grid"] == ("float", "3x2")
    assert kinds["words"] == ("char", "3x2")
    assert kinds["bits"] == ("boolean", "11")
    assert kinds["u2"] == ("int", None)
    assert kinds["varying"] == ("double", "*")


def test_small_batches_and_chosen_columns_join_to_the_whole(rich: Path) -> None:
    with open_table(rich) as table:
        batches = list(table.iter_batches(["varying", "id"], batch_rows=2))
        assert [batch.num_rows for batch in batches] == [2, 2, 1]
        assert batches[0].schema == arrow_schema([table.columns[13], table.columns[0]])
        joined = pa.Table.from_batches(batches).to_pydict()
    assert joined == {name: EXPECTED[name] for name in ("varying", "id")}


def test_random_numeric_tables_equal_astropys(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    whole = Table(
        {f"c{i}": rng.normal(size=1000).astype(kind) for i, kind in enumerate(["f4", "f8", "i2", "i4", "i8"])}
    )
    whole.write(tmp_path / "random.fits")
    found = columns_of(tmp_path / "random.fits")
    for name in whole.colnames:
        np.testing.assert_array_equal(np.array(found[name], whole[name].dtype), whole[name])


def test_an_ascii_table_is_read_with_its_nulls(tmp_path: Path) -> None:
    hdu = fits.TableHDU.from_columns(
        [
            fits.Column("n", "I6", array=[1, 999, -3], ascii=True, null="999"),
            fits.Column("x", "F10.4", array=[1.5, 2, -3.25], ascii=True, unit="mag"),
            fits.Column("t", "A5", array=["x", "", "zzzzz"], ascii=True),
        ]
    )
    hdu.writeto(tmp_path / "ascii.fits")
    assert columns_of(tmp_path / "ascii.fits") == {
        "n": [1, None, -3],
        "x": [1.5, 2.0, -3.25],
        "t": ["x", None, "zzzzz"],
    }


def test_a_table_is_chosen_by_name_or_number(tmp_path: Path) -> None:
    one = fits.BinTableHDU.from_columns([fits.Column("a", "J", array=[1])], name="ONE")
    two = fits.BinTableHDU.from_columns([fits.Column("b", "J", array=[2])], name="TWO")
    path = tmp_path / "two.fits"
    fits.HDUList([fits.PrimaryHDU(), one, two]).writeto(path)
    assert columns_of(path) == {"a": [1]}
    assert columns_of(path, table="two") == {"b": [2]}
    assert columns_of(path, table=2) == {"b": [2]}
    with pytest.raises(BadData) as caught:
        open_table(path, table="three")
    assert caught.value.text == (
        "The FITS file has no such table. Given: three. "
        "Allowed: the tables among its HDUs: 0 (IMAGE), 1 ONE (BINTABLE), 2 TWO (BINTABLE). "
        "Choose an extension by its number or EXTNAME."
    )


def test_an_image_is_refused_with_what_it_holds(tmp_path: Path) -> None:
    fits.PrimaryHDU(np.zeros((2, 2))).writeto(tmp_path / "image.fits")
    with pytest.raises(BadData) as caught:
        open_table(tmp_path / "image.fits")
    assert caught.value.text == (
        "The FITS file holds no table. Given: its HDUs are 0 (IMAGE). "
        "Allowed: a BINTABLE or TABLE extension with columns. "
        "Images are taken in another way than tables; send a file with a table."
    )


def test_a_tile_compressed_table_is_refused(tmp_path: Path) -> None:
    hdu = fits.BinTableHDU.from_columns([fits.Column("a", "J", array=[1])], name="PACKED")
    hdu.header["ZTABLE"] = True
    hdu.writeto(tmp_path / "packed.fits")
    with pytest.raises(BadData) as caught:
        open_table(tmp_path / "packed.fits")
    assert caught.value.text == (
        "The FITS table is tile-compressed. Given: extension 1 PACKED (BINTABLE). "
        "Allowed: binary tables that are not compressed, or gzip around the whole file. Unpack it with funpack first."
    )


def test_a_file_cut_short_says_how_many_rows_are_whole(tmp_path: Path) -> None:
    Table({"a": np.arange(1000, dtype="i4")}).write(tmp_path / "whole.fits")
    data = (tmp_path / "whole.fits").read_bytes()
    start = 2 * 2880
    cut = data[: start + 4 * 321 + 2]
    expected = (
        "The FITS file is cut short. Given: 321 whole rows. Allowed: 1000 rows, as NAXIS2 says. "
        "Write or send the file again."
    )
    with pytest.raises(BadData) as caught:
        open_table(io.BytesIO(cut))
    assert caught.value.text == expected
    with pytest.raises(BadData) as caught, open_table(io.BytesIO(gzip.compress(cut))) as table:
        list(table.iter_batches())
    assert caught.value.text == expected


def test_an_unsigned_id_above_63_bits_is_refused_with_its_row(tmp_path: Path) -> None:
    column = fits.Column("id", "K", array=np.array([1, 2**63 + 5], "u8"), bzero=2**63)
    fits.BinTableHDU.from_columns([column]).writeto(tmp_path / "big.fits")
    with pytest.raises(BadData) as caught:
        columns_of(tmp_path / "big.fits")
    assert caught.value.text == (
        "Row 2: the value of column id is an unsigned 64-bit integer that is too big. "
        "Given: 9223372036854775813. Allowed: integers up to 9223372036854775807. "
        "Write the column as text, or as signed integers."
    )


def test_an_array_that_points_out_of_the_heap_is_refused(rich: Path) -> None:
    data = bytearray(rich.read_bytes())
    with fits.open(rich) as opened:
        start = opened[2]._data_offset
        width = opened[2].header["NAXIS1"]
    # The last column's descriptor of row 3: 16 bytes at the row's end, length first.
    place = start + 3 * width - 16
    data[place : place + 8] = (2**61).to_bytes(8, "big")
    with pytest.raises(BadData) as caught:
        columns_of(io.BytesIO(bytes(data)))
    assert caught.value.what == "Row 3: the array in column varying8 points out of the heap."
    assert caught.value.next_step == "The file is damaged or cut short; write or send it again."


def test_too_many_rows_and_bytes_name_the_limit(rich: Path) -> None:
    with pytest.raises(TooLarge) as caught:
        open_table(rich, limits=ReadLimits(max_rows=4))
    assert caught.value.text == (
        "The table has too many rows. Given: 5 rows or more. Allowed: at most 4 rows (max_rows). "
        "Send the table in parts."
    )
    with pytest.raises(TooLarge) as caught:
        open_table(io.BytesIO(gzip.compress(rich.read_bytes())), limits=ReadLimits(max_bytes=6000))
    assert caught.value.text == (
        "The input is too big. Given: more than 6000 bytes, unpacked. Allowed: at most 6000 bytes (max_bytes). "
        "Send the table in parts, or as Parquet, which is smaller."
    )


def test_repeated_column_names_are_listed(tmp_path: Path) -> None:
    hdu = fits.BinTableHDU.from_columns([fits.Column("a", "J", array=[1]), fits.Column("b", "J", array=[1])])
    hdu.writeto(tmp_path / "twice.fits")
    data = (tmp_path / "twice.fits").read_bytes().replace(b"TTYPE2  = 'b", b"TTYPE2  = 'a")
    with pytest.raises(BadData) as caught:
        open_table(io.BytesIO(data))
    assert caught.value.text == (
        "Several columns have the same name. Given: a. Allowed: a name for each column that no other has. "
        "Rename the columns in the file."
    )
