"""FITS binary tables (FITS 4.0 section 7.3). The header tells the number of rows and the width of texts, so rows wait
in a temporary file until the last one is known; memory stays flat."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from astropy.io import fits

from idac.tables.arrow import arrow_schema, fixed_length
from idac.tables.model import Column
from idac.tables.writers.info import ResultInfo
from idac.tables.writers.packing import INTEGER_NULLS, Fixed, Varying, encode, interleave, timestamp_text

_BLOCK = 2880
_ROWS = 16_384
#: Rows kept in memory before they go to disk: most results are small.
_SPOOL_BYTES = 16 * 1024 * 1024
_CODES = {
    "boolean": "L",
    "unsignedByte": "B",
    "short": "I",
    "int": "J",
    "long": "K",
    "float": "E",
    "double": "D",
    "floatComplex": "C",
    "doubleComplex": "M",
}
_ELEMENT_BYTES = {"L": 1, "B": 1, "I": 2, "J": 4, "K": 8, "E": 4, "D": 8, "C": 8, "M": 16, "A": 1}


@dataclass
class _Field:
    """A column in the table: its format, and for text its width, for arrays of varying length their largest count."""

    column: Column
    code: str
    largest: int = 0

    @property
    def is_heap(self) -> bool:
        kind = self.column.type
        return self.code != "A" and kind.arraysize is not None and "*" in kind.arraysize

    @property
    def tform(self) -> str:
        if self.is_heap:
            return f"1Q{self.code}({self.largest})"
        if self.code == "A":
            return f"{max(self.largest, 1)}A"
        return f"{fixed_length(self.column.type.arraysize) or 1}{self.code}"

    @property
    def width(self) -> int:
        """Bytes in a row."""
        if self.is_heap:
            return 16
        count = max(self.largest, 1) if self.code == "A" else fixed_length(self.column.type.arraysize) or 1
        return count * _ELEMENT_BYTES[self.code]


def write_fits(
    columns: tuple[Column, ...], batches: Iterable[pa.RecordBatch], info: ResultInfo, overflowed: Callable[[], bool]
) -> Iterator[bytes]:
    """One binary table extension; ``QSTATUS`` in its header is OK or OVERFLOW."""
    fields = [
        _Field(c, "A" if c.type.datatype in ("char", "unicodeChar") else _CODES[c.type.datatype]) for c in columns
    ]
    folder = str(info.spool_folder) if info.spool_folder else None
    with tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES, dir=folder) as spool:
        rows = _spool(fields, batches, spool)
        yield _headers(fields, rows, _heap_bytes(fields, spool), info, overflowed=overflowed())
        yield from _body(fields, spool)


def _spool(fields: Sequence[_Field], batches: Iterable[pa.RecordBatch], spool: IO[bytes]) -> int:
    """Keep the batches, note the widths that they need, and count the rows."""
    schema = arrow_schema([f.column for f in fields])
    rows = 0
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.ipc.new_stream(spool, schema, options=options) as writer:
        for batch in batches:
            writer.write_batch(batch.cast(schema))
            rows += batch.num_rows
            for place, field in enumerate(fields):
                field.largest = max(field.largest, _largest(field, batch.column(place)))
    return rows


def _largest(field: _Field, array: pa.Array) -> int:
    if field.code == "A":
        if field.column.type.is_timestamp:
            return 26
        lengths = pc.binary_length(_ascii(field.column, array))
    elif field.is_heap:
        lengths = pc.binary_length(array) if pa.types.is_binary(array.type) else pc.list_value_length(array)
    else:
        return 0
    return int(pc.max(lengths).as_py() or 0)


def _ascii(column: Column, array: pa.Array) -> pa.Array:
    """Text that FITS can hold: printable ASCII (FITS 4.0 section 7.3.3.1), with ? for every other character."""
    if column.type.is_timestamp:
        return timestamp_text(array)
    if pa.types.is_list(array.type):
        array = pc.binary_join(array, " ")
    return pc.replace_substring_regex(array, r"[^\x20-\x7e]", "?")


def _stored(spool: IO[bytes]) -> Iterator[pa.RecordBatch]:
    spool.seek(0)
    with pa.ipc.open_stream(spool) as reader:
        for batch in reader:
            for start in range(0, batch.num_rows, _ROWS):
                yield batch.slice(start, _ROWS)


def _heap_field(field: _Field, array: pa.Array) -> Varying:
    encoded = encode(field.column, array)
    assert isinstance(encoded, Varying)  # noqa: S101  a heap field is varying by its definition
    return encoded


def _heap_bytes(fields: Sequence[_Field], spool: IO[bytes]) -> int:
    heaped = [(place, f) for place, f in enumerate(fields) if f.is_heap]
    if not heaped:
        return 0
    return sum(len(_heap_field(f, b.column(place)).data) for b in _stored(spool) for place, f in heaped)


def _headers(fields: Sequence[_Field], rows: int, heap: int, info: ResultInfo, *, overflowed: bool) -> bytes:
    header = fits.Header()
    width = sum(f.width for f in fields)
    header["XTENSION"] = "BINTABLE"
    header["BITPIX"], header["NAXIS"], header["NAXIS1"], header["NAXIS2"] = 8, 2, width, rows
    header["PCOUNT"], header["GCOUNT"], header["TFIELDS"] = heap, 1, len(fields)
    header["EXTNAME"] = "RESULT"
    header["QSTATUS"] = ("OVERFLOW" if overflowed else "OK", "OVERFLOW: the row limit cut the result")
    for number, field in enumerate(fields, 1):
        _describe(header, number, field)
    for name, value, _ in info.infos:
        header.add_comment(f"{name}: {value}".encode("ascii", "replace").decode())
    primary = fits.Header([("SIMPLE", True), ("BITPIX", 8), ("NAXIS", 0), ("EXTEND", True)])
    text: str = primary.tostring() + header.tostring()
    return text.encode("ascii")


def _describe(header: fits.Header, number: int, field: _Field) -> None:
    column = field.column
    values = {
        "TTYPE": column.name,
        "TFORM": field.tform,
        "TUNIT": column.unit,
        "TNULL": INTEGER_NULLS.get(column.type.datatype) if column.type.arraysize is None else None,
        "TDIM": _tdim(column),
        "TUCD": column.ucd,
        "TUTYP": column.utype,
        "TXTYP": column.type.xtype,
        "TCOMM": column.description,
    }
    for key, value in values.items():
        if value is not None:
            header[f"{key}{number}"] = _card(value) if isinstance(value, str) else value


def _card(text: str) -> str:
    return " ".join(text.split()).encode("ascii", "replace").decode()


def _tdim(column: Column) -> str | None:
    size = column.type.arraysize
    if size is None or "x" not in size or "*" in size:
        return None
    return f"({size.replace('x', ',')})"


def _body(fields: Sequence[_Field], spool: IO[bytes]) -> Iterator[bytes]:
    size = heap_at = 0
    for batch in _stored(spool):
        encoded: list[Fixed | Varying] = []
        for place, field in enumerate(fields):
            if field.is_heap:
                data, heap_at = _descriptors(field, batch.column(place), heap_at)
                encoded.append(data)
            else:
                encoded.append(_in_row(field, batch.column(place)))
        chunk = interleave(encoded, batch.num_rows)
        size += len(chunk)
        yield chunk
    for batch in _stored(spool) if heap_at else ():
        for place, field in enumerate(fields):
            if field.is_heap:
                chunk = _heap_field(field, batch.column(place)).data.tobytes()
                size += len(chunk)
                yield chunk
    yield b"\0" * (-size % _BLOCK)


def _in_row(field: _Field, array: pa.Array) -> Fixed:
    if field.code == "A":
        array, width = _ascii(field.column, array), max(field.largest, 1)
        fixed = Column(field.column.name, type(field.column.type)("char", str(width)))
        encoded = encode(fixed, array)
    else:
        encoded = encode(field.column, array)
    assert isinstance(encoded, Fixed)  # noqa: S101  every field that is not in the heap has one width
    return encoded


def _descriptors(field: _Field, array: pa.Array, heap_at: int) -> tuple[Fixed, int]:
    """Counts and places in the heap of one column of one batch. The heap has batch after batch, column after column."""
    encoded = _heap_field(field, array)
    places = heap_at + np.cumsum(encoded.sizes) - encoded.sizes
    pairs = np.stack([encoded.counts, places], axis=1).astype(">i8")
    return Fixed(np.ascontiguousarray(pairs).view(np.uint8).reshape(-1, 16)), heap_at + int(encoded.sizes.sum())
