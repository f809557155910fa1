"""Rows of an Arrow batch as VOTable's BINARY and BINARY2 bytes, and as FITS rows, without a loop over rows.

VOTable 1.4 sections 5.3 and 5.4: fields follow each other in big-endian order; a variable-length field begins with its
length in 4 bytes; in BINARY2 each row begins with a bit for each field, set where the field is NULL. Fields of fixed
width that stand beside each other are written into one numpy structured array; Arrow joins those with the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from idac.tables.model import Column

type Array = npt.NDArray[np.generic]

#: What an integer NULL is written as where a format has no mark for NULL, and declared as with VALUES null and TNULL.
INTEGER_NULLS = {"short": -(2**15), "int": -(2**31), "long": -(2**63)}
_DTYPES = {
    "boolean": "u1",
    "unsignedByte": "u1",
    "short": ">i2",
    "int": ">i4",
    "long": ">i8",
    "float": ">f4",
    "double": ">f8",
    "floatComplex": ">f4",
    "doubleComplex": ">f8",
}


@dataclass(frozen=True)
class Fixed:
    """A field of equal width in each row: *values* of shape (n,) or (n, k), and the type that its elements get."""

    values: Array
    dtype: str

    @property
    def spec(self) -> tuple[str, tuple[int, ...]]:
        return self.dtype, self.values.shape[1:]


@dataclass(frozen=True)
class Varying:
    """A field of varying width: a LargeBinaryArray without NULLs, and what the length in front of each says."""

    data: pa.Array
    counts: npt.NDArray[np.int64]  # (n,)


type Field = Fixed | Varying


def pack(columns: Sequence[Column], batch: pa.RecordBatch, *, binary2: bool) -> memoryview:
    """All rows of *batch*, one after the other."""
    fields: list[Field] = []
    for place, column in enumerate(columns):
        encoded = encode(column, batch.column(place))
        if isinstance(encoded, Varying):
            fields.append(Fixed(encoded.counts, ">i4"))
        fields.append(encoded)
    if binary2:
        fields.insert(0, _null_flags(batch))
    return interleave(fields, batch.num_rows)


def _null_flags(batch: pa.RecordBatch) -> Fixed:
    flags = np.zeros((batch.num_rows, (batch.num_columns + 7) // 8), dtype=np.uint8)
    for place, array in enumerate(batch.columns):
        if array.null_count:
            flags[:, place // 8] |= null_mask(array).astype(np.uint8) << (7 - place % 8)
    return Fixed(flags, "u1")


def null_mask(array: pa.Array) -> npt.NDArray[np.bool_]:
    """True where a value is NULL, shape (n,)."""
    return np.asarray(pc.is_null(array).to_numpy(zero_copy_only=False), dtype=bool)


def interleave(fields: Sequence[Field], rows: int) -> memoryview:
    """Fields column by column to bytes row by row."""
    blocks: list[Array | pa.Array] = []
    run: list[Fixed] = []
    for field in (*fields, None):
        if isinstance(field, Fixed):
            run.append(field)
            continue
        if run:
            blocks.append(_structured(run, rows))
            run = []
        if field is not None:
            blocks.append(field.data)
    if len(blocks) == 1 and isinstance(blocks[0], np.ndarray):
        return memoryview(blocks[0].view(np.uint8))
    arrays = [_binary(block) if isinstance(block, np.ndarray) else block for block in blocks]
    joined = pc.binary_join_element_wise(*arrays, pa.scalar(b"", pa.large_binary()))
    data, _ = text_bytes(joined)
    return memoryview(data)


def _structured(run: Sequence[Fixed], rows: int) -> Array:
    out = np.empty(rows, dtype=[(f"f{place}", *field.spec) for place, field in enumerate(run)])
    for place, field in enumerate(run):
        out[f"f{place}"] = field.values
    return out


def _binary(rows: Array) -> pa.Array:
    """Rows of equal width as a LargeBinaryArray over the same memory."""
    offsets = np.arange(len(rows) + 1, dtype=np.int64) * rows.dtype.itemsize
    return pa.Array.from_buffers(
        pa.large_binary(), len(rows), [None, pa.py_buffer(offsets), pa.py_buffer(rows.view(np.uint8))]
    )


def encode(column: Column, array: pa.Array, null: int | None = None) -> Field:
    """One column of a batch in bytes. *null* stands for an integer NULL where it is not INTEGER_NULLS' value."""
    kind = column.type
    if null is None:
        null = INTEGER_NULLS.get(kind.datatype, 0)
    if kind.datatype in ("char", "unicodeChar"):
        return _text(texts(column, array), wide=kind.datatype == "unicodeChar")
    if pa.types.is_binary(array.type):
        data = pc.fill_null(array.cast(pa.large_binary()), b"")
        return Varying(data, np.diff(text_bytes(data)[1]))
    if pa.types.is_list(array.type):
        return _varying_array(column, array, null)
    if pa.types.is_fixed_size_list(array.type):
        return Fixed(_fixed_array(array, null), _DTYPES[kind.datatype])
    return Fixed(_scalars(array, null), _DTYPES[kind.datatype])


def texts(column: Column, array: pa.Array) -> pa.Array:
    """The column's values as a LargeStringArray; NULL stays."""
    if column.type.is_timestamp and pa.types.is_timestamp(array.type):
        array = timestamp_text(array)
    elif pa.types.is_list(array.type):
        array = json_texts(array)
    return array.cast(pa.large_string())


def _scalars(array: pa.Array, null: int) -> Array:
    """Numbers and booleans, shape (n,); booleans as ``T`` and ``F``, with NUL for NULL, as BINARY and FITS have it."""
    if pa.types.is_boolean(array.type):
        true = np.asarray(pc.fill_null(array, False).to_numpy(zero_copy_only=False))
        values = np.where(true, np.uint8(ord("T")), np.uint8(ord("F")))
        if array.null_count:
            values[null_mask(array)] = 0
        return values
    if array.null_count:
        fill = float("nan") if pa.types.is_floating(array.type) else null
        array = pc.fill_null(array, pa.scalar(fill, array.type))
    return np.asarray(array.to_numpy(zero_copy_only=False))


def leaves(array: pa.Array) -> pa.Array:
    """The scalars of a list's elements: a complex number is a list of two."""
    while pa.types.is_fixed_size_list(array.type):
        array = _all_elements(array)
    return array


def _all_elements(array: pa.Array) -> pa.Array:
    """Elements of fixed-size lists, those of NULL lists included, as NULLs."""
    size = array.type.list_size
    elements = array.values.slice(array.offset * size, len(array) * size)
    if array.null_count:
        hidden = pa.array(np.repeat(null_mask(array), size))
        elements = pc.if_else(hidden, pa.scalar(None, elements.type), elements)
    return elements


def _fixed_array(array: pa.Array, null: int) -> Array:
    return _scalars(leaves(array), null).reshape(len(array), -1)


def list_counts(array: pa.Array) -> npt.NDArray[np.int64]:
    """Elements of each list, 0 for NULL."""
    return np.asarray(pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False), dtype=np.int64)


def _varying_array(column: Column, array: pa.Array, null: int) -> Varying:
    counts = list_counts(array)
    elements = array.flatten()
    flat = _scalars(leaves(elements), null).astype(_DTYPES[column.type.datatype])
    element_bytes = flat.nbytes // len(elements) if len(elements) else 0
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts * element_bytes)])
    data = pa.Array.from_buffers(
        pa.large_binary(), len(array), [None, pa.py_buffer(offsets), pa.py_buffer(flat.view(np.uint8))]
    )
    return Varying(data, counts)


def _text(array: pa.Array, *, wide: bool) -> Varying:
    array = pc.fill_null(array, "")
    data, offsets = text_bytes(array)
    if wide:
        return _utf16(data, offsets)
    return Varying(array.cast(pa.large_binary()), np.diff(offsets))


def _utf16(data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> Varying:
    """UTF-8 as unicodeChar has it: UTF-16, where a character beyond the first plane is two units."""
    # Every character but those has one unit, and one byte that does not continue another.
    units = (data & 0xC0 != 0x80).astype(np.int64) + (data >= 0xF0)
    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(units)])[offsets]
    wide = data.tobytes().decode().encode("utf-16-be")
    array = pa.Array.from_buffers(
        pa.large_binary(), len(offsets) - 1, [None, pa.py_buffer(ends * 2), pa.py_buffer(wide)]
    )
    return Varying(array, np.diff(ends))


def text_bytes(array: pa.Array) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Bytes of a LargeString or LargeBinary array, and its offsets into them, from 0. No copy of the bytes."""
    _, offset_buffer, data_buffer = array.buffers()
    if len(array) == 0 or offset_buffer is None:
        return np.empty(0, np.uint8), np.zeros(len(array) + 1, np.int64)
    offsets = np.frombuffer(offset_buffer, dtype=np.int64)[array.offset : array.offset + len(array) + 1]
    data = np.frombuffer(data_buffer, dtype=np.uint8) if data_buffer is not None else np.empty(0, np.uint8)
    return data[offsets[0] : offsets[-1]], offsets - offsets[0]


def is_ascii(array: pa.Array) -> bool:
    """Whether an array of texts, or of lists of them, has ASCII characters only."""
    if pa.types.is_list(array.type):
        array = array.flatten()
    data, _ = text_bytes(array.cast(pa.large_string()))
    return not len(data) or int(data.max()) < 0x80


def timestamp_text(array: pa.Array) -> pa.Array:
    """Timestamps as DALI writes them (DALI 1.1 section 3.3.3): ``2026-01-31T12:00:00``, decimals only where needed."""
    micros = array.cast(pa.int64())
    for unit, factor in (("s", 1_000_000), ("ms", 1_000)):
        whole = pc.multiply(pc.divide(micros, factor), factor)
        if pc.all(pc.equal(whole, micros)).as_py() is not False:
            array = array.cast(pa.timestamp(unit))
            break
    return pc.replace_substring(array.cast(pa.string()), " ", "T")


def json_texts(array: pa.Array) -> pa.Array:
    """Lists of texts as JSON arrays, one text for each list; NULL stays."""
    elements = pc.fill_null(json_strings(array.flatten()), "null")
    return json_arrays(elements, list_counts(array), pc.is_null(array) if array.null_count else None)


def json_arrays(elements: pa.Array, counts: npt.NDArray[np.int64], mask: pa.Array | None) -> pa.Array:
    """JSON arrays of elements that are JSON already, *counts* in each; NULL where *mask* is true."""
    offsets = pa.array(np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]))
    lists = pa.LargeListArray.from_arrays(offsets, elements.cast(pa.large_string()))
    empty = pa.scalar("", pa.large_string())
    opening, closing = pa.scalar("[", pa.large_string()), pa.scalar("]", pa.large_string())
    joined = pc.binary_join_element_wise(
        opening, pc.binary_join(lists, pa.scalar(",", pa.large_string())), closing, empty
    )
    return joined if mask is None else pc.if_else(mask, pa.scalar(None, joined.type), joined)


_JSON_SPECIAL = np.zeros(256, dtype=bool)
_JSON_SPECIAL[:0x20] = True
_JSON_SPECIAL[[ord('"'), ord("\\")]] = True
_JSON_SHORT = {"\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def json_strings(array: pa.Array) -> pa.Array:
    """Texts in quotes, escaped as RFC 8259 section 7 wants; NULL stays."""
    array = array.cast(pa.large_string())
    found = special_bytes(array, _JSON_SPECIAL)
    # The backslash first: the others bring backslashes of their own.
    for byte in sorted(found, key=lambda b: b != ord("\\")):
        character = chr(byte)
        escaped = f"\\{character}" if byte >= 0x20 else _JSON_SHORT.get(character, f"\\u{byte:04x}")
        array = pc.replace_substring(array, character, escaped)
    quote = pa.scalar('"', pa.large_string())
    return pc.binary_join_element_wise(quote, array, quote, pa.scalar("", pa.large_string()))


def special_bytes(array: pa.Array, special: npt.NDArray[np.bool_]) -> list[int]:
    """Which bytes of those marked in *special* (256 flags) occur in a LargeStringArray."""
    data, _ = text_bytes(array)
    marked = special[data]
    return [int(b) for b in np.unique(data[marked])] if marked.any() else []
