"""Parquet files of a few bytes that stand for gigabytes: what is read of them at once has a bound."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from idac.core.errors import BadData, TooLarge
from idac.tables.readers import ReadLimits, open_table, parquet_pages
from idac.tables.readers.parquet_thrift import DATA, DICTIONARY, Page, read_page_header, read_row_groups
from idac.tables.readers.source import BATCH_BYTES

OWN, FOREIGN = ReadLimits(), ReadLimits(max_bytes=2**33)
WHOSE = pytest.mark.parametrize("limits", [OWN, FOREIGN], ids=["own", "foreign"])
TEXT = "x" * 2_000_000
ROWS = 100


def file(table: pa.Table, **options: Any) -> io.BytesIO:
    sink = io.BytesIO()
    pq.write_table(table, sink, **{"compression": "zstd", "store_schema": False, **options})
    return io.BytesIO(sink.getvalue())


def batches(source: io.BytesIO, limits: ReadLimits) -> list[pa.RecordBatch]:
    with open_table(source, limits=limits) as table:
        return list(table.iter_batches())


def repeated(text: str, count: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array([text]))


@pytest.fixture
def small_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_pages, "MOST_BYTES", 2**20)


@WHOSE
@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "brotli", "zstd", "lz4"])
def test_a_long_text_of_a_dictionary_comes_a_few_rows_at_a_time(limits: ReadLimits, compression: str) -> None:
    source = file(pa.table({"s": repeated(TEXT, ROWS)}), compression=compression, write_statistics=False)
    found = batches(source, limits)
    assert max(batch.nbytes for batch in found) < BATCH_BYTES + len(TEXT)
    assert [text for batch in found for text in batch.column(0).to_pylist()] == [TEXT] * ROWS


@WHOSE
def test_a_long_text_of_a_dictionary_in_lists_comes_a_few_rows_at_a_time(limits: ReadLimits) -> None:
    lists = pa.ListArray.from_arrays(pa.array(np.arange(ROWS + 1, dtype=np.int32)), repeated(TEXT, ROWS))
    found = batches(file(pa.table({"s": lists})), limits)
    assert max(batch.nbytes for batch in found) < BATCH_BYTES + len(TEXT)
    assert sum(batch.num_rows for batch in found) == ROWS


def test_texts_that_repeat_the_one_before_come_a_few_rows_at_a_time() -> None:
    texts = pa.table({"s": [TEXT] * (ROWS // 2)})
    source = file(texts, use_dictionary=False, column_encoding={"s": "DELTA_BYTE_ARRAY"}, write_statistics=False)
    found = batches(source, FOREIGN)
    assert max(batch.nbytes for batch in found) < BATCH_BYTES + len(TEXT)
    assert sum(batch.num_rows for batch in found) == ROWS // 2


@WHOSE
def test_rows_are_as_wide_as_the_widest_of_any_row_group(limits: ReadLimits) -> None:
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, pa.schema([("s", pa.string())]), compression="zstd") as writer:
        writer.write_table(pa.table({"s": ["a"] * 50_000}))
        writer.write_table(pa.table({"s": repeated(TEXT, ROWS).dictionary_decode()}))
    found = batches(sink, limits)
    assert max(batch.nbytes for batch in found) < BATCH_BYTES + len(TEXT)
    assert sum(batch.num_rows for batch in found) == 50_000 + ROWS


ONE_PAGE = {"use_dictionary": False, "data_page_size": 2**30, "max_rows_per_page": 2**30}
BOMBS = {
    "a page of zeros": (pa.table({"x": np.zeros(200_000)}), ONE_PAGE),
    "a dictionary": (pa.table({"s": ["x" * 1_100_000]}), {"dictionary_pagesize_limit": 2**30}),
    "a text": (pa.table({"s": ["x" * 1_100_000]}), {"use_dictionary": False}),
    "one long list": (pa.table({"l": pa.array([[0] * 100_000, []])}), {}),
    "lists of one text": (
        pa.table({"l": pa.ListArray.from_arrays([0, 11, 11], repeated("y" * 100_000, 11))}),
        {},
    ),
    "pages of many columns": (
        pa.table({f"c{i}": np.zeros(1000) for i in range(150)}),
        {"use_dictionary": False},
    ),
    "an array of fixed length": (pa.table({"l": pa.array([[0.0] * 140_000], pa.list_(pa.float64(), 140_000))}), {}),
}


@pytest.mark.usefixtures("small_bound")
@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("name", BOMBS)
def test_what_a_row_group_holds_at_once_has_a_bound(name: str, version: str) -> None:
    table, options = BOMBS[name]
    small = pa.table({column: table.column(column).slice(0, 0) for column in table.column_names})
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, table.schema, compression="zstd", data_page_version=version, **options) as writer:
        writer.write_table(small)
        writer.write_table(table)
    # A row alone is too much before there is one.
    number = 1 if name == "an array of fixed length" else 2
    assert len(sink.getvalue()) < 100_000
    with pytest.raises(TooLarge) as caught:
        batches(sink, FOREIGN)
    assert caught.value.text == (
        f"The Parquet file unpacks to too much at once. Given: input: more than 1048576 bytes in row group {number}. "
        "Allowed: 1048576 bytes for a page and a dictionary of each column, and for lists. "
        "Write the file again with smaller pages and row groups."
    )
    assert sum(batch.num_rows for batch in batches(sink, OWN)) == table.num_rows


@pytest.mark.usefixtures("small_bound")
def test_a_footer_that_claims_less_than_its_pages_hold_is_not_believed() -> None:
    """The sizes in a footer are told by whoever wrote it; here they are made 0 where they stand."""
    source = file(pa.table({"x": np.zeros(200_000)}), **ONE_PAGE).getvalue()
    chunk = pq.ParquetFile(io.BytesIO(source)).metadata.row_group(0).column(0)
    told = varint(chunk.total_uncompressed_size)
    footer = source.index(told, chunk.data_page_offset + chunk.total_compressed_size)
    lying = source[:footer] + b"\x80" * (len(told) - 1) + b"\x00" + source[footer + len(told) :]
    assert pq.ParquetFile(io.BytesIO(lying)).metadata.row_group(0).column(0).total_uncompressed_size == 0
    with pytest.raises(TooLarge, match="unpacks to too much at once"):
        batches(io.BytesIO(lying), FOREIGN)


def varint(value: int) -> bytes:
    """Thrift's compact form of a positive number."""
    value, out = value << 1, bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


HONEST = pa.table(
    {
        "s": [None if i % 7 == 0 else f"name {i % 1000}" * (i % 5) for i in range(9000)],
        "l": [[float(x) for x in range(i % 4)] if i % 5 else None for i in range(9000)],
        "t": [["a" * (i % 9)] * (i % 3) for i in range(9000)],
        "b": [i % 3 == 0 for i in range(9000)],
        "raw": pa.array([bytes([i % 256]) * 3 for i in range(9000)]),
        "when": pa.array(np.arange(9000), pa.timestamp("us")),
    }
)


@WHOSE
@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "brotli", "zstd", "lz4"])
@pytest.mark.parametrize("encoding", [None, "DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY", "RLE_DICTIONARY"])
def test_any_honest_file_is_read(limits: ReadLimits, version: str, compression: str, encoding: str | None) -> None:
    options: dict[str, Any] = {"use_dictionary": encoding == "RLE_DICTIONARY"}
    if encoding and encoding != "RLE_DICTIONARY":
        options["column_encoding"] = {"s": encoding}
    source = file(
        HONEST, compression=compression, data_page_version=version, row_group_size=4000, data_page_size=5000, **options
    )
    found = pa.Table.from_batches(batches(source, limits))
    for name in HONEST.column_names:
        assert found.column(name).to_pylist() == HONEST.column(name).to_pylist()


@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_footers_and_pages_are_read_as_arrow_reads_them(version: str) -> None:
    source = file(HONEST, data_page_version=version, row_group_size=4000, data_page_size=5000, store_schema=True)
    data, told = source.getvalue(), pq.ParquetFile(source).metadata
    footer = data[-8 - told.serialized_size : -8]
    groups = list(read_row_groups(footer))
    assert len(groups) == told.num_row_groups == 3
    for number, group in enumerate(groups):
        assert group.rows == told.row_group(number).num_rows
        for index, chunk in enumerate(group.chunks):
            column = told.row_group(number).column(index)
            start = column.dictionary_page_offset or column.data_page_offset
            assert (chunk.values, chunk.packed, chunk.start) == (
                column.num_values,
                column.total_compressed_size,
                start,
            )
            assert chunk.unpacked == column.total_uncompressed_size
            place, pages = start, []
            while place < start + chunk.packed:
                pages.append(read_page_header(data[place:], place))
                place = pages[-1].start + pages[-1].packed
            assert place == start + chunk.packed
            assert sum(page.values for page in pages if page.kind != DICTIONARY) == column.num_values
            assert [page.kind for page in pages].count(DICTIONARY) == column.has_dictionary_page


#: What readers may take in different ways, as the struct of a page's header: its sizes, then what is odd.
ODD = {
    "a field that is there twice": b"\x15\x00\x15\x02\x15\x02\x05\x04\x08\x00",
    "a number of more than 32 bits": b"\x15\x80\x80\x80\x80\x80\x01\x15\x02\x15\x02\x00",
    "a number of 64 bits for one of 32": b"\x16\x00\x15\x02\x15\x02\x00",
    "a size below nothing": b"\x15\x00\x15\x01\x15\x02\x00",
    "no size": b"\x15\x00\x15\x02\x00",
    "a map": b"\x15\x00\x15\x02\x15\x02\x1b\x00\x00",
    "a list of texts where there is none": b"\x15\x00\x15\x02\x15\x02\x19\x18\x00\x00",
    "structs in structs": b"\x15\x00\x15\x02\x15\x02" + b"\x1c" * 50 + b"\x00" * 51,
    "a number without end": b"\x15" + b"\x80" * 20,
    "less than no values": b"\x15\x00\x15\x02\x15\x02\x2c\x15\x01\x00\x00",
}


@pytest.mark.parametrize("name", ODD)
def test_what_readers_may_take_in_different_ways_is_refused(name: str) -> None:
    assert read_page_header(b"\x15\x00\x15\x02\x15\x02\x00", 10) == Page(DATA, 17, 1, 1, 0, 0)
    with pytest.raises(ValueError, match=r"number|there|kind|negative|struct|values"):
        read_page_header(ODD[name] + bytes(20), 10)


def test_a_place_without_a_page_is_told() -> None:
    data = bytearray(file(HONEST, use_dictionary=False).getvalue())
    chunk = pq.ParquetFile(io.BytesIO(bytes(data))).metadata.row_group(0).column(0)
    data[chunk.data_page_offset : chunk.data_page_offset + 20] = b"\xff" * 20
    with pytest.raises(BadData) as caught:
        batches(io.BytesIO(bytes(data)), FOREIGN)
    assert caught.value.text == (
        f"The Parquet file is damaged or cut short. Given: input (no page at byte {chunk.data_page_offset}). "
        "Allowed: a whole Parquet file. Write or send the file again."
    )


def test_pages_without_end_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_pages, "_MOST_PAGES", 10)
    with pytest.raises(TooLarge) as caught:
        batches(file(HONEST, data_page_size=1000), FOREIGN)
    assert caught.value.text == (
        "The Parquet file has too many pages. Given: input. Allowed: at most 10 pages. "
        "Write the file again with larger pages."
    )


def test_a_footer_has_a_size() -> None:
    limits = ReadLimits(max_bytes=2**20, max_header_bytes=600)
    source = file(HONEST)
    told = int.from_bytes(source.getvalue()[-8:-4], "little")
    with pytest.raises(TooLarge) as caught:
        open_table(source, limits=limits)
    assert caught.value.text == (
        f"The Parquet file has too long a footer. Given: input: {told} bytes. "
        "Allowed: at most 600 bytes. Write the file again with larger row groups."
    )
