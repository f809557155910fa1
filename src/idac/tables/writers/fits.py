"""FITS binary tables (FITS 4.0 section 7.3). The header tells the number of rows and the width of texts, so rows wait
in a temporary file until the last one is known; memory stays flat."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import IO, TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from idac.core.errors import BadParameter
from idac.core.lazy import LazyModule
from idac.tables.arrow import fixed_length
from idac.tables.model import Column
from idac.tables.writers.batches import Rows, iter_pieces
from idac.tables.writers.info import ResultInfo
from idac.tables.writers.packing import Field, Fixed, Varying, encode, interleave, text_bytes, texts
from idac.tables.writers.parallel import map_ordered

if TYPE_CHECKING:
    from astropy.io import fits
else:
    fits = LazyModule("astropy.io.fits")

_BLOCK = 2880
#: Rows kept in memory before they go to disk: most results are small.
_SPOOL_BYTES = 16 * 1024 * 1024
#: FITS 4.0 section 7.3.1: TFIELDS is at most this.
_MOST_FIELDS = 999
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
    "char": "A",
    "unicodeChar": "A",
}
_ELEMENT_BYTES = {"L": 1, "B": 1, "I": 2, "J": 4, "K": 8, "E": 4, "D": 8, "C": 8, "M": 16, "A": 1}
_RANGES = {"B": (0, 255), "I": (-(2**15), 2**15 - 1), "J": (-(2**31), 2**31 - 1), "K": (-(2**63), 2**63 - 1)}


@dataclass
class _Field:
    """One column of the table, and what its values have shown so far."""

    column: Column
    code: str = field(init=False)
    #: Bytes of the longest text, elements of the longest array.
    largest: int = 0
    #: Bytes in the heap.
    heap: int = 0
    has_nulls: bool = False
    low: int = 2**63
    high: int = -(2**63)
    not_ascii: bool = False

    def __post_init__(self) -> None:
        self.code = _CODES[self.column.type.datatype]

    @property
    def is_heap(self) -> bool:
        size = self.column.type.arraysize
        return self.code != "A" and size is not None and "*" in size

    @property
    def count(self) -> int:
        """Elements in a row."""
        return max(self.largest, 1) if self.code == "A" else fixed_length(self.column.type.arraysize) or 1

    @property
    def tform(self) -> str:
        return f"1Q{self.code}({self.largest})" if self.is_heap else f"{self.count}{self.code}"

    @property
    def width(self) -> int:
        """Bytes in a row."""
        return 16 if self.is_heap else self.count * _ELEMENT_BYTES[self.code]

    def note(self, array: pa.Array) -> None:
        """Take into account a batch's values."""
        if self.code == "A":
            self._note_text(array)
        elif self.is_heap:
            lengths = pc.binary_length(array) if pa.types.is_binary(array.type) else pc.list_value_length(array)
            self.largest = max(self.largest, pc.max(lengths).as_py() or 0)
            self.heap += (pc.sum(lengths).as_py() or 0) * _ELEMENT_BYTES[self.code]
        if self.code in _RANGES and not pa.types.is_binary(array.type):
            self._note_integers(array)

    def _note_text(self, array: pa.Array) -> None:
        text = texts(self.column, array)
        data, offsets = text_bytes(pc.fill_null(text, ""))
        if (len(data) and (data >= 0x7F).any()) or (data < 0x20).any():
            self.not_ascii = True
            data, offsets = text_bytes(pc.fill_null(_printable(text), ""))
        self.largest = max(self.largest, int(np.diff(offsets).max(initial=0)))

    def _note_integers(self, array: pa.Array) -> None:
        whole_nulls = array.null_count > 0
        if pa.types.is_list(array.type) or pa.types.is_fixed_size_list(array.type):
            # A NULL array of fixed length is written as NULL elements.
            self.has_nulls |= whole_nulls and not self.is_heap
            array = array.flatten()
        self.has_nulls |= array.null_count > 0
        limits = pc.min_max(array).as_py()
        if limits["min"] is not None:
            self.low, self.high = min(self.low, limits["min"]), max(self.high, limits["max"])

    @property
    def null(self) -> int | None:
        """TNULL: a number that no row has; None where there is no NULL."""
        if self.code not in _RANGES or not self.has_nulls:
            return None
        lowest, highest = _RANGES[self.code]
        return highest if self.low == lowest and self.high < highest else lowest

    def settle(self) -> None:
        """Choose a wider integer where every number of this one may be taken and one is needed for NULL."""
        wider = {"B": "I", "I": "J", "J": "K"}
        if self.null is not None and (self.low, self.high) == _RANGES[self.code] and not self.is_heap:
            self.code = wider.get(self.code, self.code)


def write_fits(
    columns: tuple[Column, ...], batches: Iterable[pa.RecordBatch], info: ResultInfo, overflowed: Callable[[], bool]
) -> Iterator[bytes]:
    """One binary table extension; ``QSTATUS`` in its header is OK or OVERFLOW."""
    if len(columns) > _MOST_FIELDS:
        raise BadParameter(
            "The result has more columns than a FITS table can have.",
            value=len(columns),
            allowed=f"at most {_MOST_FIELDS}",
            next_step="Select fewer columns, or ask for Parquet or VOTable.",
        )
    fields = [_Field(column) for column in columns]
    folder = str(info.spool_folder) if info.spool_folder else None
    with tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES, dir=folder) as spool:
        rows = _spool(fields, Rows(columns, batches), spool)
        for entry in fields:
            entry.settle()
        yield _headers(fields, rows, info, overflowed=overflowed())
        size = 0
        for chunk in _body(fields, spool):
            size += len(chunk)
            yield bytes(chunk)
        yield b"\0" * (-size % _BLOCK)


def _spool(fields: Sequence[_Field], source: Rows, spool: IO[bytes]) -> int:
    """Keep the rows, note what they need, and count them."""
    rows = 0
    with pa.ipc.new_stream(spool, source.schema) as writer:
        for batch in iter_pieces(source):
            writer.write_batch(batch)
            rows += batch.num_rows
            for place, entry in enumerate(fields):
                entry.note(batch.column(place))
    source.check()
    return rows


def _printable(text: pa.Array) -> pa.Array:
    """Text that FITS can hold: printable ASCII (FITS 4.0 section 7.3.3.1), with ? for every other character."""
    return pc.replace_substring_regex(text, r"[^\x20-\x7e]", "?")


def _stored(spool: IO[bytes]) -> Iterator[pa.RecordBatch]:
    spool.seek(0)
    with pa.ipc.open_stream(spool) as reader:
        yield from reader


def _headers(fields: Sequence[_Field], rows: int, info: ResultInfo, *, overflowed: bool) -> bytes:
    header = fits.Header()
    header["XTENSION"] = "BINTABLE"
    header["BITPIX"], header["NAXIS"] = 8, 2
    header["NAXIS1"], header["NAXIS2"] = sum(f.width for f in fields), rows
    header["PCOUNT"], header["GCOUNT"], header["TFIELDS"] = sum(f.heap for f in fields), 1, len(fields)
    header["EXTNAME"] = "RESULT"
    header["QSTATUS"] = ("OVERFLOW" if overflowed else "OK", "OVERFLOW: the row limit cut the result")
    for number, entry in enumerate(fields, 1):
        _describe(header, number, entry)
    for name, value, _ in info.infos:
        header.add_comment(_card(f"{name}: {value}"))
    lossy = [entry.column.name for entry in fields if entry.not_ascii]
    if lossy:
        header.add_comment(_card(f"Characters that FITS can't hold were replaced by ? in {', '.join(lossy)}"))
    primary = fits.Header([("SIMPLE", True), ("BITPIX", 8), ("NAXIS", 0), ("EXTEND", True)])
    text: str = primary.tostring() + header.tostring()
    return text.encode("ascii")


def _describe(header: fits.Header, number: int, entry: _Field) -> None:
    column = entry.column
    values = {
        "TTYPE": column.name,
        "TFORM": entry.tform,
        "TUNIT": column.unit,
        "TNULL": entry.null,
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
    if column.type.datatype in ("char", "unicodeChar") or size is None or "x" not in size or "*" in size:
        return None
    return f"({size.replace('x', ',')})"


def _body(fields: Sequence[_Field], spool: IO[bytes]) -> Iterator[memoryview]:
    """The rows, and after them the heap, which has batch after batch, column after column."""
    heaped = [(place, entry) for place, entry in enumerate(fields) if entry.is_heap]
    if not heaped:
        yield from map_ordered(partial(_packed, fields), _stored(spool))
        return
    heap_at = 0
    for batch in _stored(spool):
        encoded = [_encoded(entry, batch.column(place)) for place, entry in enumerate(fields)]
        for place, _ in heaped:
            encoded[place], heap_at = _descriptors(encoded[place], heap_at)
        yield interleave(encoded, batch.num_rows)
    for batch in _stored(spool):
        for place, entry in heaped:
            heap = _encoded(entry, batch.column(place))
            assert isinstance(heap, Varying)  # noqa: S101  a heap field is varying by its definition
            yield memoryview(text_bytes(heap.data)[0])


def _packed(fields: Sequence[_Field], batch: pa.RecordBatch) -> memoryview:
    return interleave([_encoded(entry, batch.column(place)) for place, entry in enumerate(fields)], batch.num_rows)


def _encoded(entry: _Field, array: pa.Array) -> Field:
    if entry.code == "A":
        text = texts(entry.column, array)
        return Fixed(_padded(_printable(text) if entry.not_ascii else text, entry.count), "u1")
    if entry.code != _CODES[entry.column.type.datatype]:
        array = _wider(array)
    encoded = encode(entry.column, array, entry.null)
    if isinstance(encoded, Fixed) and entry.code in _RANGES:
        return Fixed(encoded.values, f">i{_ELEMENT_BYTES[entry.code]}" if entry.code != "B" else "u1")
    return encoded


_WIDER = {pa.uint8(): pa.int16(), pa.int16(): pa.int32(), pa.int32(): pa.int64()}


def _wider(array: pa.Array) -> pa.Array:
    if pa.types.is_fixed_size_list(array.type):
        return array.cast(pa.list_(_WIDER[array.type.value_type], array.type.list_size))
    return array.cast(_WIDER[array.type])


def _padded(array: pa.Array, width: int) -> npt.NDArray[np.uint8]:
    """Texts in a field of fixed width, filled with NULs, shape (n, width)."""
    padded = pc.ascii_rpad(pc.fill_null(array, ""), width, "\0")
    data, _ = text_bytes(padded)
    return data.reshape(len(array), width)


def _descriptors(encoded: Field, heap_at: int) -> tuple[Fixed, int]:
    """Counts and places in the heap of one column of one batch, and where the heap goes on."""
    assert isinstance(encoded, Varying)  # noqa: S101  a heap field is varying by its definition
    _, offsets = text_bytes(encoded.data)
    pairs = np.stack([encoded.counts, heap_at + offsets[:-1]], axis=1)
    return Fixed(pairs, ">i8"), heap_at + int(offsets[-1])
