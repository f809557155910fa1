"""Which format an input is in, and inputs that are no tables."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from idac.core.errors import BadData, BadParameter, TooLarge
from idac.tables.readers import ReadLimits, detect_format, open_table
from idac.tables.readers.inputs import Input


def parquet() -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"a": [1]}), out)
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"SIMPLE  =                    T", "fits"),
        (parquet(), "parquet"),
        (b"ARROW1\x00\x00", "arrow"),
        (b"\xff\xff\xff\xff\x10\x00", "arrow"),
        (b"<?xml version='1.0'?><VOTABLE/>", "votable"),
        (b"\xef\xbb\xbf\n <VOTABLE/>", "votable"),
        ("<?xml version='1.0' encoding='UTF-16'?><VOTABLE/>".encode("utf-16"), "votable"),
        (b"# %ECSV 1.0\n# ---\n", "ecsv"),
        (b"a,b\n1,2\n", "csv"),
        (b"a\tb\n1\t2\n", "tsv"),
        (gzip.compress(b"a\tb\n1\t2\n", mtime=0), "tsv"),
        (gzip.compress(b"SIMPLE  =                    T", mtime=0), "fits"),
    ],
)
def test_the_first_bytes_tell_the_format(data: bytes, expected: str) -> None:
    assert detect_format(io.BytesIO(data)) == expected


def test_the_ending_decides_where_the_bytes_are_text(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text("a\n1\n")
    assert detect_format(tmp_path / "t.tsv") == "tsv"
    assert detect_format(tmp_path) == "parquet"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"PK\x03\x04....", "The file is a zip archive."),
        (b"BZh91AY", "The file is compressed with bzip2."),
        (b"\xfd7zXZ\x00", "The file is compressed with xz."),
        (b"\x28\xb5\x2f\xfd", "The file is compressed with zstd."),
        (b"FEA1....", "The file is in version 1 of Feather."),
        (b"\x89HDF\r\n", "The file is an HDF5 file."),
        (b"<!DOCTYPE html><html>", "The file is a web page (HTML), often an error message."),
        (b"\x00\x01\x02\x03", "The file is binary and of no known kind."),
    ],
)
def test_what_is_no_table_is_named(data: bytes, said: str) -> None:
    with pytest.raises(BadData) as caught:
        open_table(io.BytesIO(data))
    assert caught.value.what == said
    assert caught.value.allowed == "a table in FITS, VOTable, CSV, TSV, ECSV, Parquet or Arrow, also gzipped"


def test_an_empty_file_and_a_missing_one_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.fits").touch()
    with pytest.raises(BadData) as caught:
        open_table(tmp_path / "empty.fits")
    assert caught.value.text == (
        "The file is empty. Given: empty.fits. Allowed: a table in FITS, VOTable, CSV, TSV, ECSV, Parquet or Arrow. "
        "Check how the file was made or sent."
    )
    with pytest.raises(BadData) as caught:
        open_table(tmp_path / "none.fits")
    assert caught.value.text == (
        "There is no such file or folder. Given: none.fits. Allowed: a file, or a folder of Parquet files. "
        "Check the name and the folder you are in."
    )


def test_a_format_can_be_named_in_several_ways() -> None:
    data = b"a,b\n1,2\n"
    for name in ("csv", "CSV", "text/csv", "text/csv; header=present"):
        with open_table(io.BytesIO(data), format=name) as table:
            assert [c.name for c in table.columns] == ["a", "b"]
    with pytest.raises(BadParameter) as caught:
        open_table(io.BytesIO(data), format="excel")
    assert caught.value.text == (
        "No table format has this name. Given: excel. Allowed: fits, votable, csv, tsv, ecsv, parquet, arrow. "
        "Leave the format out to have it found from the file itself."
    )


def test_a_damaged_gzip_says_so() -> None:
    data = gzip.compress(b"a,b\n" + b"1,2\n" * 100_000)
    with pytest.raises(BadData) as caught, open_table(io.BytesIO(data[:-20])) as table:
        list(table.iter_batches())
    assert caught.value.what == "The gzip file is damaged or cut short."
    assert caught.value.next_step == "Send the file again; `gzip -t` tests it."


def test_files_of_the_caller_stay_open_and_an_unknown_column_is_named() -> None:
    file = io.BytesIO(b"a,b\n1,2\n")
    with open_table(file) as table, pytest.raises(BadData) as caught:
        list(table.iter_batches(["c"]))
    assert caught.value.text == (
        "The table has no such column. Given: c. Allowed: a, b. Choose among the columns of the table."
    )
    assert not file.closed


# -- streams ---------------------------------------------------------------------------------------------------------


class Dribble:
    """A stream that gives a few bytes at a time and knows nothing but how to read."""

    def __init__(self, data: bytes, most: int) -> None:
        self._rest = io.BytesIO(data)
        self._most = most

    def read(self, size: int) -> bytes:
        return self._rest.read(min(size, self._most))


def sources(data: bytes, most: int) -> dict[str, Any]:
    return {
        "file object": io.BytesIO(data),
        "stream": Dribble(data, most),
        "gzip": io.BytesIO(gzip.compress(data, mtime=0)),
        "gzip stream": Dribble(gzip.compress(data, mtime=0), most),
    }


@given(data=st.binary(max_size=3_000), most=st.integers(1, 700), sizes=st.lists(st.integers(0, 900), min_size=1))
def test_a_buffer_is_filled_unless_the_input_ends(data: bytes, most: int, sizes: list[int]) -> None:
    assume(not data.startswith(b"\x1f\x8b"))
    for name, source in sources(data, most).items():
        stream, at = Input(source, ReadLimits()).stream(), 0
        for number, size in enumerate([*sizes, len(data) + 1]):
            # Either way of reading goes on where the other stopped.
            if number % 2:
                found = stream.read(size)
            else:
                buffer = bytearray(size)
                found = bytes(buffer[: stream.readinto(buffer)])
            assert found == data[at : at + size], name
            at += len(found)
            assert stream.position == at


def test_a_stream_that_is_cut_or_too_long_says_so_in_either_way_of_reading() -> None:
    data = bytes(range(256)) * 40
    cut = gzip.compress(data, mtime=0)[:-20]
    for source in (io.BytesIO(cut), Dribble(cut, 100)):
        with pytest.raises(BadData) as damaged:
            Input(source, ReadLimits()).stream().readinto(bytearray(len(data) + 1))  # type: ignore[arg-type]
        assert (damaged.value.what, damaged.value.next_step) == (
            "The gzip file is damaged or cut short.",
            "Send the file again; `gzip -t` tests it.",
        )
    for source in sources(data, 100).values():
        with pytest.raises(TooLarge) as large:
            Input(source, ReadLimits(max_bytes=5_000)).stream().readinto(bytearray(len(data)))
        assert large.value.value == "more than 5000 bytes, unpacked"
