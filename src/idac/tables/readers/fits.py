"""FITS tables: BINTABLE and TABLE extensions, plain or gzipped, in chunks of rows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from idac.core.errors import BadData
from idac.tables.arrow import arrow_type
from idac.tables.model import Column, DataType
from idac.tables.readers import packed
from idac.tables.readers.fits_columns import FitsColumn, FitsDecoder, column_details, described, read_columns
from idac.tables.readers.fits_header import FitsHeader, Hdu, iter_hdus
from idac.tables.readers.inputs import ByteStream, Input
from idac.tables.readers.source import BATCH_BYTES, TableInfo, TableSource
from idac.tables.readers.text_values import TextColumn, parse_texts

_ASCII_FORM = re.compile(r"([AIFED])(\d{1,6})(?:\.(\d+))?", re.ASCII)
#: How much of the heap is read at a time for one column; cells that lie far apart are read in several goes.
_HEAP_BYTES = 32 * 2**20


def open_fits(source: Input, table: str | int | None = None) -> TableSource:
    """The first table of a FITS file, or the extension with the number or EXTNAME *table*."""
    hdu = _find_table(source, table)
    if hdu.header.values.get("ZTABLE") is True:
        raise BadData(
            "The FITS table is tile-compressed.",
            value=f"extension {hdu.label}",
            allowed="binary tables that are not compressed, or gzip around the whole file",
            next_step="Unpack it with funpack first.",
        )
    return AsciiTableSource(source, hdu) if hdu.header.kind == "TABLE" else BinaryTableSource(source, hdu)


def _find_table(source: Input, choice: str | int | None) -> Hdu:
    seen: list[Hdu] = []
    with _forward(source) as stream:
        for hdu in iter_hdus(stream.read, stream.skip, source.limits):
            seen.append(hdu)
            if _is_choice(hdu, choice):
                if hdu.header.is_table:
                    return hdu
                break
    raise _no_table(seen, choice)


def _forward(source: Input) -> ByteStream:
    """The file from its first byte; what can't be wound back is copied to disk, for the rows are read after this."""
    if not source.is_seekable:
        source.random()
    return source.stream()


def _is_choice(hdu: Hdu, choice: str | int | None) -> bool:
    if choice is None:
        return hdu.header.is_table and hdu.header.whole("TFIELDS") > 0
    if isinstance(choice, int):
        return hdu.number == choice
    return (hdu.header.name or "").upper() == choice.strip().upper()


def _no_table(seen: list[Hdu], choice: str | int | None) -> BadData:
    there = ", ".join(hdu.label for hdu in seen[:20])
    if choice is None:
        return BadData(
            "The FITS file holds no table.",
            value=f"its HDUs are {there}",
            allowed="a BINTABLE or TABLE extension with columns",
            next_step="Images are taken in another way than tables; send a file with a table.",
        )
    return BadData(
        "The FITS file has no such table.",
        value=choice,
        allowed=f"the tables among its HDUs: {there}",
        next_step="Choose an extension by its number or EXTNAME.",
    )


class _Rows:
    """The main data of a table, read forward in chunks of whole rows."""

    def __init__(self, source: Input, hdu: Hdu, *, random: bool) -> None:
        self.row_bytes = hdu.header.whole("NAXIS1")
        self.count = hdu.header.whole("NAXIS2")
        self._start = hdu.data_start
        self._source = source
        self._random = random or (source.is_seekable and not source.is_gzip) or not source.is_seekable

    def check_size(self) -> None:
        """Refuse a file that ends before its last row, where that can be seen without reading it."""
        if self.row_bytes == 0 and self.count:
            raise BadData(
                "The FITS table has rows of no bytes.",
                value=f"{self.count} rows",
                allowed="rows of at least 1 byte (NAXIS1)",
                next_step="The header is damaged; write or send the file again.",
            )
        if self._random:
            whole = max(0, self._source.size() - self._start) // max(1, self.row_bytes)
            if whole < self.count:
                raise self._cut_short(whole)

    def chunks(self, most_rows: int) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """The number of rows before, and a matrix with a row of the table in each of its own.

        Plain reads, not a memory map: they are as fast here, and a file that is cut while it is read gives an error
        where a map would kill the process (SIGBUS).
        """
        step = max(1, min(most_rows, BATCH_BYTES // max(1, self.row_bytes)))
        stream = None if self._random else self._source.stream()
        try:
            if stream is not None:
                stream.skip(self._start)
            for done in range(0, self.count, step):
                rows = min(step, self.count - done)
                size = rows * self.row_bytes
                if stream is not None:
                    data = stream.read(size)
                else:
                    data = read_at(self._source.random(), self._start + done * self.row_bytes, size)
                if len(data) < size:
                    raise self._cut_short(done + len(data) // self.row_bytes)
                yield done, np.frombuffer(data, np.uint8).reshape(rows, self.row_bytes)
        finally:
            if stream is not None:
                stream.close()

    def _cut_short(self, whole: int) -> BadData:
        return BadData(
            "The FITS file is cut short.",
            value=f"{whole} whole rows",
            allowed=f"{self.count} rows, as NAXIS2 says",
            next_step="Write or send the file again.",
        )


def read_at(file: BinaryIO, start: int, size: int) -> bytes:
    """*size* bytes from *start* on, or as many as there are."""
    file.seek(start)
    data = bytes(file.read(size))
    if len(data) == size or not data:
        return data
    parts = [data]
    got = len(data)
    while got < size and (part := bytes(file.read(size - got))):
        parts.append(part)
        got += len(part)
    return b"".join(parts)


def _table_info(header: FitsHeader, columns: list[Column]) -> TableInfo:
    details = {c.name: found for i, c in enumerate(columns, 1) if (found := column_details(header, i))}
    return TableInfo(
        tuple(columns),
        rows=header.whole("NAXIS2"),
        name=header.name,
        comments=tuple(header.comments),
        details=details,
    )


class BinaryTableSource(TableSource):
    """A BINTABLE."""

    def __init__(self, source: Input, hdu: Hdu) -> None:
        header = hdu.header
        self._source = source
        self._columns = read_columns(header, source.limits)
        super().__init__(_table_info(header, [each.column for each in self._columns]), source.limits)
        has_heap = any(each.descriptor for each in self._columns)
        self._rows = _Rows(source, hdu, random=has_heap)
        self._rows.check_size()
        table_bytes = self._rows.row_bytes * self._rows.count
        heap_gap = header.whole("THEAP", table_bytes)
        self._heap_start = hdu.data_start + heap_gap
        self._heap_bytes = max(0, table_bytes + header.whole("PCOUNT") - heap_gap)
        self._decoder = FitsDecoder(self._rows.row_bytes, source.limits)

    def _iter_batches(self, chosen: list[int], schema: pa.Schema, batch_rows: int) -> Iterator[pa.RecordBatch]:
        columns = [self._columns[index] for index in chosen]
        heaps = [each for each in columns if each.descriptor]
        for done, rows in self._rows.chunks(batch_rows):
            start = 0
            for end in self._heap_cuts(rows, heaps, done):
                part = rows[start:end]
                arrays = [self._array(part, each, done + start + 1) for each in columns]
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)
                start = end

    def _heap_cuts(self, rows: NDArray[np.uint8], heaps: list[FitsColumn], done: int) -> list[int]:
        """Where to cut a chunk so that no part of it takes more than a batch's bytes from the heap."""
        if not heaps:
            return [len(rows)]
        total = np.zeros(len(rows), np.int64)
        for each in heaps:
            lengths, _ = self._descriptors(rows, each, done + 1)
            total += (lengths + 7) // 8 if each.code == "X" else lengths * each.bytes_of(1)
        parts = np.cumsum(total) // BATCH_BYTES
        cuts = (np.flatnonzero(np.diff(parts)) + 1).tolist()
        return [*cuts, len(rows)]

    def _array(self, rows: NDArray[np.uint8], each: FitsColumn, first_row: int) -> pa.Array:
        if each.descriptor is None:
            return self._decoder.fixed(rows, each, first_row)
        if each.repeat == 0:
            return pa.nulls(len(rows), arrow_type(each.column.type))
        lengths, places = self._descriptors(rows, each, first_row)
        sizes = (lengths + 7) // 8 if each.code == "X" else lengths * each.bytes_of(1)
        heap, starts = self._read_heap(places, sizes)
        return self._decoder.varying(heap, starts, lengths, each, first_row)

    def _descriptors(
        self, rows: NDArray[np.uint8], each: FitsColumn, first_row: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Number of elements and place in the heap of each cell, checked against the heap's size."""
        if each.repeat == 0:
            return np.zeros(len(rows), np.int64), np.zeros(len(rows), np.int64)
        dtype = ">i4" if each.descriptor == "P" else ">i8"
        pairs = np.ascontiguousarray(rows[:, each.offset : each.offset + each.width]).view(dtype).astype(np.int64)
        lengths, places = pairs[:, 0], pairs[:, 1]
        most = self._heap_bytes
        # Compared by division: a length of 2**62 must not wrap round when it is multiplied.
        unit = each.bytes_of(8) / 8
        wrong = (lengths < 0) | (places < 0) | (places > most) | (lengths > (most - places) / unit)
        wrong &= lengths != 0
        if wrong.any():
            row = int(wrong.argmax())
            raise BadData(
                f"Row {first_row + row}: the array in column {each.column.name} points out of the heap.",
                value=f"{int(lengths[row])} elements at byte {int(places[row])}",
                allowed=f"a place within the {most} bytes of the heap",
                next_step="The file is damaged or cut short; write or send it again.",
            )
        biggest = int(lengths.argmax()) if len(lengths) else 0
        if len(lengths):
            self.limits.check_cell(each.bytes_of(int(lengths[biggest])), each.column.name, first_row + biggest)
        return np.where(lengths == 0, 0, lengths), np.where(lengths == 0, 0, places)

    def _read_heap(
        self, places: NDArray[np.int64], sizes: NDArray[np.int64]
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """The heap's bytes that the cells need, and where each cell begins in them."""
        used = sizes > 0
        if not used.any():
            return np.empty(0, np.uint8), places
        low, high = int(places[used].min()), int((places + sizes)[used].max())
        file = self._source.random()
        if high - low <= max(_HEAP_BYTES, 2 * int(sizes.sum())):
            data = self._read_exactly(file, low, high - low)
            return np.frombuffer(data, np.uint8), np.where(used, places - low, 0)
        cells = [self._read_exactly(file, int(p), int(s)) for p, s in zip(places, sizes, strict=True)]
        return np.frombuffer(b"".join(cells), np.uint8), np.cumsum(sizes) - sizes

    def _read_exactly(self, file: BinaryIO, place: int, size: int) -> bytes:
        data = read_at(file, self._heap_start + place, size)
        if len(data) < size:
            raise BadData(
                "The FITS file is cut short within its variable-length arrays.",
                value=f"byte {place + len(data)} of the heap",
                allowed=f"a heap of {self._heap_bytes} bytes, as PCOUNT says",
                next_step="Write or send the file again.",
            )
        return data

    def close(self) -> None:
        self._source.close()


class AsciiTableSource(TableSource):
    """A TABLE extension: numbers and text in fields of characters (FITS 4.0 section 7.2)."""

    def __init__(self, source: Input, hdu: Hdu) -> None:
        header = hdu.header
        self._source = source
        count = header.whole("TFIELDS")
        source.limits.check_columns(count)
        self._fields = [_ascii_field(header, number) for number in range(1, count + 1)]
        super().__init__(_table_info(header, [spec.column for spec, _, _ in self._fields]), source.limits)
        self._scales = [
            (header.number(f"TSCAL{number}", 1), header.number(f"TZERO{number}", 0)) for number in range(1, count + 1)
        ]
        self._rows = _Rows(source, hdu, random=False)
        self._rows.check_size()

    def _iter_batches(self, chosen: list[int], schema: pa.Schema, batch_rows: int) -> Iterator[pa.RecordBatch]:
        for done, rows in self._rows.chunks(batch_rows):
            arrays = [self._array(rows, index, done + 1) for index in chosen]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _array(self, rows: NDArray[np.uint8], index: int, first_row: int) -> pa.Array:
        spec, start, width = self._fields[index]
        texts = packed.fixed_texts(np.ascontiguousarray(rows[:, start : start + width]), empty_is_null=True)
        values = parse_texts(texts, spec, first_row)
        scale, zero = self._scales[index]
        if (scale, zero) == (1, 0) or not pa.types.is_floating(values.type):
            return values
        numbers = np.asarray(values.to_numpy(zero_copy_only=False)) * scale + zero
        return packed.scalar_array(numbers, values.type)

    def close(self) -> None:
        self._source.close()


def _ascii_field(header: FitsHeader, number: int) -> tuple[TextColumn, int, int]:
    """How a field is read, the byte of the row where it starts, and its width."""
    form = (header.text(f"TFORM{number}") or "").upper()
    found = _ASCII_FORM.fullmatch(form)
    start = header.whole(f"TBCOL{number}") - 1
    width = int(found.group(2)) if found else 0
    if not found or start < 0 or width < 1 or start + width > header.whole("NAXIS1"):
        raise BadData(
            f"The FITS header's TFORM{number} or TBCOL{number} can't be used.",
            value=f"{form or '(missing)'} at {start + 1}",
            allowed="Aw, Iw, Fw.d, Ew.d or Dw.d, within the row",
            next_step="The header is damaged; write or send the file again.",
        )
    code = found.group(1)
    is_scaled = (header.number(f"TSCAL{number}", 1), header.number(f"TZERO{number}", 0)) != (1, 0)
    kind = DataType("double")
    if code == "A":
        kind = DataType("char", f"{width}*")
    elif code == "I" and not is_scaled:
        kind = DataType("int" if width <= 9 else "long")
    return TextColumn(described(header, number, kind), header.text(f"TNULL{number}")), start, width
