"""FITS tables as astropy and STILTS read them: every kind of value, the null of each column, and the header."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from astropy.io import fits
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st

from idac.core.errors import BadParameter, ResourceExhausted
from idac.tables.arrow import arrow_schema
from idac.tables.model import DOUBLE, INT, Column, DataType
from idac.tables.writers.info import ResultInfo
from result_oracles import assert_alike, expected, fits_rows, stilts_rows
from result_samples import (
    EVERY_KIND,
    batch_of,
    columns_of,
    cut,
    failing,
    only,
    sample_written,
    samples,
    timestamp_text,
    without,
    written,
)

NAN = float("nan")


def printable(text: str) -> str:
    # FITS readers take trailing blanks for padding (FITS 4.0 section 7.3.3.1).
    return "".join(c if " " <= c <= "~" else "?" for c in text).rstrip(" ")


def wanted(sample: Any) -> dict[str, list[Any]]:
    """The sample as astropy should find it: NULL is a NaN, an empty text, an empty array, or TNULL."""
    found = expected(sample)
    for column, _ in sample:
        kind, values = column.type, found[column.name]
        if kind.is_timestamp:
            values = ["" if v is None else timestamp_text(v) for v in values]
        elif kind.datatype in ("char", "unicodeChar"):
            values = ["" if v is None else printable(v) for v in values]
        elif kind.arraysize is not None and "*" in kind.arraysize:
            values = [[] if v is None else v for v in values]
        elif kind.datatype in ("float", "double"):
            null = NAN if kind.arraysize is None else [NAN] * int(kind.arraysize)
            values = [null if v is None else v for v in values]
        found[column.name] = values
    return found


def complex_nulls(sample: Any, found: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """NaN + NaN j is equal to nothing, so it becomes None."""
    names = [c.name for c, _ in sample if c.type.datatype == "doubleComplex"]
    return found | {n: [None if v is not None and np.isnan(v) else v for v in found[n]] for n in names}


def test_astropy_finds_every_kind_of_value() -> None:
    found = complex_nulls(EVERY_KIND, fits_rows(sample_written("fits", EVERY_KIND)))
    assert_alike(found, wanted(EVERY_KIND))


def test_stilts_finds_every_kind_of_value(tmp_path: Path) -> None:
    # STILTS 3.4 takes the count of a varying array of complex numbers for one of real numbers.
    sample = without("zs", "z")
    found = stilts_rows(sample_written("fits", sample), tmp_path, "fits")
    nothing = expected(sample, nan_is_null=True, empty_is_null=True)
    for name in ("name", "uni", "names"):
        nothing[name] = [v and printable(v) for v in nothing[name]]
    nothing["seen"] = [v and timestamp_text(v) for v in nothing["seen"]]
    # Nor does it look for TNULL inside arrays.
    nothing["grid"][3], nothing["rgb"][3] = [-32768] * 6, [-32768] * 3
    assert_alike({key: [None if v in ("", []) else v for v in values] for key, values in found.items()}, nothing)


def test_the_header_says_what_columns_are() -> None:
    with fits.open(io.BytesIO(sample_written("fits", EVERY_KIND))) as hdus:
        header = hdus[1].header
    cards = {header[f"TTYPE{i}"]: i for i in range(1, header["TFIELDS"] + 1)}
    ra, spot, grid = cards["ra"], cards["spot"], cards["grid"]
    assert (header[f"TUNIT{ra}"], header[f"TUCD{ra}"]) == ("deg", "pos.eq.ra;meta.main")
    assert header[f"TUTYP{ra}"] == "stc:AstroCoords.Position2D.Value2.C1"
    assert header[f"TCOMM{ra}"] == "Right ascension <?> & more"
    assert (header[f"TFORM{spot}"], header[f"TXTYP{spot}"]) == ("2D", "point")
    assert (header[f"TFORM{grid}"], header[f"TDIM{grid}"]) == ("6I", "(2,3)")
    assert (header["EXTNAME"], header["QSTATUS"]) == ("RESULT", "OK")


def test_units_and_names_reach_an_astropy_table() -> None:
    sample = [(Column("pm", DOUBLE, unit="mas/yr"), [1.0, None]), (Column("n", INT), [1, None])]
    table = Table.read(io.BytesIO(sample_written("fits", sample)), format="fits")
    assert str(table["pm"].unit) == "mas / yr"
    assert table["pm"].mask.tolist() == [False, True]
    assert table["n"].mask.tolist() == [False, True]


@pytest.mark.parametrize(
    ("datatype", "values", "code", "null"),
    [
        ("unsignedByte", [1, 255, None], "B", 0),
        ("unsignedByte", [0, 254, None], "B", 255),
        ("unsignedByte", [0, 255, None], "I", -32768),
        ("short", [-32768, 0, None], "I", 32767),
        ("short", [-32768, 32767, None], "J", -(2**31)),
        ("int", [-(2**31), 2**31 - 1, None], "K", -(2**63)),
        ("long", [-(2**63), 0, None], "K", 2**63 - 1),
        ("int", [-(2**31), 2**31 - 1, 0], "J", None),
    ],
)
def test_null_is_a_number_that_no_row_has(datatype: Any, values: list[Any], code: str, null: int | None) -> None:
    data = sample_written("fits", [(Column("n", DataType(datatype)), values)])
    with fits.open(io.BytesIO(data)) as hdus:
        assert hdus[1].header["TFORM1"] == f"1{code}"
        assert hdus[1].header.get("TNULL1") == null
    assert fits_rows(data)["n"] == values


def test_nulls_inside_arrays_are_tnull_too() -> None:
    sample = [
        (Column("a", DataType("short", "2")), [[None, 5], [-32768, 7]]),
        (Column("v", DataType("int", "*")), [[None, 1], []]),
    ]
    assert fits_rows(sample_written("fits", sample)) == {"a": [[None, 5], [-32768, 7]], "v": [[None, 1], []]}


def test_characters_that_fits_cannot_hold_are_named() -> None:
    data = sample_written("fits", [*only("uni"), *only("one")])
    with fits.open(io.BytesIO(data)) as hdus:
        assert list(hdus[1].header["COMMENT"]) == ["Characters that FITS can't hold were replaced by ? in uni"]


def test_infos_are_comments_and_a_cut_result_says_so() -> None:
    infos = (("QUERY", "SELECT *\nFROM t", ""), ("CITATION", "doi:10/x " * 20, ""))
    data = sample_written("fits", only("id"), info=ResultInfo(infos=infos), overflowed=True)
    with fits.open(io.BytesIO(data)) as hdus:
        hdus.verify("exception")
        assert hdus[1].header["QSTATUS"] == "OVERFLOW"
        comments = "".join(hdus[1].header["COMMENT"])
    assert comments.startswith("QUERY: SELECT * FROM t")
    assert "doi:10/x doi:10/x" in comments


def test_long_descriptions_and_many_columns_make_a_valid_header() -> None:
    columns = tuple(Column(f"a_rather_long_name_{i:03}", DOUBLE, description="word δ " * 40) for i in range(999))
    batch = pa.RecordBatch.from_arrays([pa.array([float(i)]) for i in range(999)], schema=arrow_schema(columns))
    with fits.open(io.BytesIO(written("fits", columns, [batch]))) as hdus:
        hdus.verify("exception")
        assert hdus[1].header["TCOMM999"] == " ".join(["word ?"] * 40)
        assert hdus[1].data["a_rather_long_name_998"].tolist() == [998.0]


def test_a_thousand_columns_are_refused() -> None:
    columns = tuple(Column(f"c{i}", DOUBLE) for i in range(1000))
    with pytest.raises(BadParameter) as caught:
        written("fits", columns, [])
    assert caught.value.text == (
        "The result has more columns than a FITS table can have. Given: 1000. Allowed: at most 999. "
        "Select fewer columns, or ask for Parquet or VOTable."
    )


def test_an_error_leaves_no_file_and_no_half_table(tmp_path: Path) -> None:
    error = ResourceExhausted("The query ran too long.", value="60 s", allowed="60 s", next_step="Ask for less.")
    sample = only("id")
    chunks = []
    with pytest.raises(ResourceExhausted) as caught:
        chunks.append(
            written("fits", columns_of(sample), failing([batch_of(sample)], error), ResultInfo(spool_folder=tmp_path))
        )
    assert caught.value is error
    assert chunks == []
    assert list(tmp_path.iterdir()) == []


def test_rows_wait_in_the_folder_that_is_given(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    columns = (Column("x", DOUBLE),)
    batch = pa.RecordBatch.from_arrays([pa.array(np.zeros(2**20))], schema=arrow_schema(columns))
    assert len(written("fits", columns, [batch] * 3, ResultInfo(spool_folder=tmp_path))) % 2880 == 0
    with pytest.raises(FileNotFoundError):
        written("fits", columns, [batch] * 3, ResultInfo(spool_folder=missing))


def test_zero_rows_are_a_table_with_all_columns() -> None:
    data = written("fits", columns_of(EVERY_KIND), [])
    with fits.open(io.BytesIO(data)) as hdus:
        hdus.verify("exception")
        assert hdus[1].columns.names == [c.name for c, _ in EVERY_KIND]
        assert len(hdus[1].data) == 0


@settings(max_examples=60, deadline=None)
@given(samples(), st.integers(1, 5))
def test_any_rows_come_back(sample: Any, step: int) -> None:
    data = written("fits", columns_of(sample), cut(batch_of(sample), step))
    assert len(data) % 2880 == 0
    assert_alike(complex_nulls(sample, fits_rows(data)), wanted(sample))
