"""Rows of an Arrow batch as VOTable's BINARY and BINARY2 bytes, a chunk of rows at a time, without a loop over rows.

VOTable 1.5 section 5.4 and 5.5: fields follow each other in big-endian order; a variable-length field begins with its
length in 4 bytes; in BINARY2 each row begins with a bit for each field, set where the field is NULL.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from idac.tables.arrow import fixed_length
from idac.tables.model import Column

type Bytes = npt.NDArray[np.uint8]

#: What an integer NULL is written as in BINARY and FITS, and declared as with VALUES null and TNULL.
INTEGER_NULLS = {"unsignedByte": 255, "short": -(2**15), "int": -(2**31), "long": -(2**63)}
_DTYPES = {
    "unsignedByte": ">u1",
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
    """A field of equal width in each row: shape (n, width)."""

    data: Bytes


@dataclass(frozen=True)
class Varying:
    """A field of varying width: bytes of all rows one after the other, and how many of them each row has."""

    data: Bytes
    sizes: npt.NDArray[np.int64]  # (n,) bytes
    counts: npt.NDArray[np.int64]  # (n,) elements, which the length in front tells


def null_mask(array: pa.Array) -> npt.NDArray[np.bool_]:
    """True where a value is NULL, shape (n,)."""
    if array.null_count == 0:
        return np.zeros(len(array), dtype=bool)
    return np.asarray(pc.is_null(array).to_numpy(zero_copy_only=False), dtype=bool)


def pack(columns: Sequence[Column], batch: pa.RecordBatch, *, binary2: bool) -> bytes:
    """All rows of *batch*, one after the other."""
    fields: list[Fixed | Varying] = [encode(c, batch.column(i)) for i, c in enumerate(columns)]
    if binary2:
        nulls = np.stack([null_mask(batch.column(i)) for i in range(len(columns))], axis=1)
        fields.insert(0, Fixed(np.packbits(nulls, axis=1)))
    return interleave(fields, batch.num_rows)


def interleave(fields: Sequence[Fixed | Varying], rows: int) -> bytes:
    """Fields column by column to bytes row by row."""
    blocks = _joined(fields)
    if len(blocks) == 1 and isinstance(blocks[0], Fixed):
        return blocks[0].data.tobytes()
    widths = np.zeros(rows, dtype=np.int64)
    for block in blocks:
        widths += block.data.shape[1] if isinstance(block, Fixed) else block.sizes
    ends = np.cumsum(widths)
    out = np.empty(int(ends[-1]) if rows else 0, dtype=np.uint8)
    at = ends - widths
    for block in blocks:
        if isinstance(block, Fixed):
            width = block.data.shape[1]
            out[at[:, None] + np.arange(width)] = block.data
            at = at + width
        else:
            _scatter(out, at, block)
            at = at + block.sizes
    return out.tobytes()


def _joined(fields: Sequence[Fixed | Varying]) -> list[Fixed | Varying]:
    """Neighbouring fields of fixed width as one, and the length of a varying field as a fixed field before it."""
    blocks: list[Fixed | Varying] = []
    run: list[Bytes] = []
    for field in fields:
        if isinstance(field, Fixed):
            run.append(field.data)
            continue
        run.append(field.counts.astype(">i4").view(np.uint8).reshape(-1, 4))
        blocks += [Fixed(np.concatenate(run, axis=1)), field]
        run = []
    if run:
        blocks.append(Fixed(run[0] if len(run) == 1 else np.concatenate(run, axis=1)))
    return blocks


def _scatter(out: Bytes, at: npt.NDArray[np.int64], block: Varying) -> None:
    """Copy each row's bytes to its place."""
    if len(block.data) == 0:
        return
    starts = np.cumsum(block.sizes) - block.sizes
    shift = np.repeat(at - starts, block.sizes)
    out[shift + np.arange(len(block.data))] = block.data


def encode(column: Column, array: pa.Array) -> Fixed | Varying:
    """One column of a batch as bytes."""
    kind = column.type
    if kind.is_timestamp:
        return _text(timestamp_text(array), None, wide=False)
    if kind.datatype in ("char", "unicodeChar"):
        wide = kind.datatype == "unicodeChar"
        if pa.types.is_list(array.type):
            return _text(pc.binary_join(array, " "), None, wide=wide)
        return _text(array, fixed_length(kind.arraysize), wide=wide)
    if kind.datatype == "boolean" and kind.arraysize is None:
        return Fixed(_booleans(array).reshape(-1, 1))
    if pa.types.is_binary(array.type):
        return _raw(array)
    if pa.types.is_fixed_size_list(array.type):
        return _fixed_array(column, array)
    if pa.types.is_list(array.type):
        return _array(column, array)
    return Fixed(_as_bytes(numbers(column.type.datatype, array)).reshape(len(array), -1))


def numbers(datatype: str, array: pa.Array) -> npt.NDArray[np.generic]:
    """Numbers in big-endian order; NULL is NaN, or for integers the value that INTEGER_NULLS gives."""
    if array.null_count:
        fill = INTEGER_NULLS.get(datatype)
        array = array.fill_null(pa.scalar(fill if fill is not None else float("nan"), array.type))
    return np.ascontiguousarray(array.to_numpy(zero_copy_only=False)).astype(_DTYPES[datatype])


def _as_bytes(values: npt.NDArray[np.generic]) -> Bytes:
    return np.ascontiguousarray(values).view(np.uint8)


def _booleans(array: pa.Array) -> Bytes:
    """``T`` and ``F``; a NUL for NULL, which is what BINARY has for it."""
    values = np.where(pc.fill_null(array, False).to_numpy(zero_copy_only=False), ord("T"), ord("F")).astype(np.uint8)
    values[null_mask(array)] = 0
    return values


def _text(array: pa.Array, width: int | None, *, wide: bool) -> Fixed | Varying:
    """Text, as UTF-8 for char (ASCII in nearly all tables) and as UTF-16 for unicodeChar."""
    array = pc.fill_null(array.cast(pa.large_string()), "")
    if wide:
        units = [value.encode("utf-16-be") for value in array.to_pylist()]
        sizes = np.array([len(u) for u in units], dtype=np.int64)
        data = np.frombuffer(b"".join(units), dtype=np.uint8)
        field = Varying(data, sizes, sizes // 2)
        return field if width is None else _padded(field, width * 2)
    data, offsets = _values(array)
    sizes = np.diff(offsets)
    field = Varying(data, sizes, sizes)
    return field if width is None else _padded(field, width)


def _padded(field: Varying, width: int) -> Fixed:
    """Varying text in a field of fixed width, filled with NULs; longer text is cut."""
    out = np.zeros((len(field.sizes), width), dtype=np.uint8)
    starts = np.cumsum(field.sizes) - field.sizes
    kept = np.minimum(field.sizes, width)
    rows = np.repeat(np.arange(len(kept)), kept)
    within = np.arange(int(kept.sum())) - np.repeat(np.cumsum(kept) - kept, kept)
    out[rows, within] = field.data[np.repeat(starts, kept) + within]
    return Fixed(out)


def _values(array: pa.Array) -> tuple[Bytes, npt.NDArray[np.int64]]:
    """Bytes of a string or binary array, and its offsets into them from 0."""
    large = pa.types.is_large_string(array.type) or pa.types.is_large_binary(array.type)
    _, offset_buffer, data_buffer = array.buffers()
    dtype = np.int64 if large else np.int32
    offsets = np.frombuffer(offset_buffer, dtype=dtype)[array.offset : array.offset + len(array) + 1].astype(np.int64)
    data = np.frombuffer(data_buffer, dtype=np.uint8) if data_buffer is not None else np.empty(0, np.uint8)
    return data[offsets[0] : offsets[-1]], offsets - offsets[0]


def _raw(array: pa.Array) -> Varying:
    data, offsets = _values(pc.fill_null(array.cast(pa.large_binary()), b""))
    sizes = np.diff(offsets)
    return Varying(data, sizes, sizes)


def _fixed_array(column: Column, array: pa.Array) -> Fixed:
    size = array.type.list_size
    # flatten() leaves the elements of NULL rows out, so those rows are given elements first.
    elements = array.values.slice(array.offset * size, len(array) * size)
    data = _elements(column, elements).reshape(len(array), -1).copy()
    nulls = null_mask(array)
    if nulls.any():
        data[nulls] = _elements(column, pa.nulls(size, array.type.value_type)).reshape(-1)
    return Fixed(data)


def _array(column: Column, array: pa.Array) -> Varying:
    counts = np.asarray(pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False), dtype=np.int64)
    data = _elements(column, array.flatten())
    width = len(data) // max(int(counts.sum()), 1)
    per_element = 2 if column.type.datatype in ("floatComplex", "doubleComplex") else 1
    return Varying(data, counts * width, counts // per_element)


def _elements(column: Column, values: pa.Array) -> Bytes:
    if column.type.datatype == "boolean":
        return _booleans(values)
    return _as_bytes(numbers(column.type.datatype, values))


def timestamp_text(array: pa.Array) -> pa.Array:
    """Timestamps as DALI writes them (DALI 1.1 section 3.3.3): ``2026-01-31T12:00:00``, decimals only where needed."""
    micros = array.cast(pa.int64())
    for unit, factor in (("s", 1_000_000), ("ms", 1_000)):
        whole = pc.multiply(pc.divide(micros, factor), factor)
        if pc.all(pc.equal(whole, micros)).as_py() is not False:
            array = array.cast(pa.timestamp(unit))
            break
    return pc.replace_substring(array.cast(pa.string()), " ", "T")
