"""Columns as text, whole columns at a time: the common half of TABLEDATA, CSV and TSV."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from idac.tables.model import Column
from idac.tables.writers.packing import INTEGER_NULLS, leaves, list_counts, null_mask, text_bytes, texts

_EMPTY = pa.scalar("", pa.large_string())
_SPACE = pa.scalar(" ", pa.large_string())
_COMMA, _POINT, _ZERO = b",.0"
_NUMPY = {pa.float32(): np.float32, pa.float64(): np.float64}


def cells(column: Column, array: pa.Array) -> pa.Array:
    """A LargeStringArray with each value as VOTable's TABLEDATA has it (VOTable 1.4 section 6), unescaped; NULL stays.

    Numbers are the shortest text that reads back as the same number; arrays have a space between their elements.
    """
    if column.type.datatype in ("char", "unicodeChar"):
        return texts(column, array)
    if pa.types.is_binary(array.type):
        return _joined(byte_lists(array), column)
    if pa.types.is_list(array.type) or pa.types.is_fixed_size_list(array.type):
        return _joined(array, column)
    return scalars(array)


def scalars(array: pa.Array) -> pa.Array:
    """Numbers and booleans as text."""
    if pa.types.is_boolean(array.type):
        return pc.if_else(array, pa.scalar("true", pa.large_string()), pa.scalar("false", pa.large_string()))
    return _named_infinities(array, float_texts(array)) if pa.types.is_floating(array.type) else _cast(array)


def _cast(array: pa.Array) -> pa.Array:
    return array.cast(pa.large_string())


def float_texts(array: pa.Array) -> pa.Array:
    """Floats and doubles as the shortest texts that read back as they are; NULL stays, and what is not finite is left
    to the caller.

    orjson writes a number in a third of the time that Arrow does, what is done to take its list apart included.
    """
    if len(array) == 0 or array.type not in _NUMPY:
        return _cast(array)
    values = np.frombuffer(array.buffers()[1], dtype=_NUMPY[array.type])[array.offset : array.offset + len(array)]
    listed = np.frombuffer(bytearray(orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY)), dtype=np.uint8)
    listed[-1] = _COMMA
    ends = np.flatnonzero(listed == _COMMA)
    lengths = np.diff(ends, prepend=0) - 1
    # The decimal of a whole number goes with the commas.
    with np.errstate(invalid="ignore"):  # what stands where there is a NULL may be anything
        whole = np.flatnonzero(np.rint(values) == values)
    whole = whole[(listed[ends[whole] - 1] == _ZERO) & (listed[ends[whole] - 2] == _POINT)]
    lengths[whole] -= 2
    listed[ends[whole] - 1] = listed[ends[whole] - 2] = _COMMA
    offsets = np.zeros(len(array) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    text = listed[1:].tobytes().replace(b",", b"")
    # Where the values have NULLs, the bits that say so are the text's too.
    valid = array.is_valid().buffers()[1] if array.null_count else None
    buffers = [valid, pa.py_buffer(offsets), pa.py_buffer(text)]
    return pa.Array.from_buffers(pa.large_string(), len(array), buffers)


def _named_infinities(array: pa.Array, text: pa.Array) -> pa.Array:
    """NaN and the infinities spelled as VOTable has them."""
    finite = pc.is_finite(array)
    if pc.all(finite).as_py() is not False:
        return text
    sign = pc.if_else(pc.greater(array, pa.scalar(0, array.type)), "+Inf", "-Inf")
    named = pc.if_else(pc.is_nan(array), "NaN", sign).cast(pa.large_string())
    return pc.if_else(finite, text, named)


def byte_lists(array: pa.Array) -> pa.Array:
    """Byte strings as lists of numbers."""
    data, offsets = text_bytes(pc.fill_null(array.cast(pa.large_binary()), b""))
    mask = pc.is_null(array) if array.null_count else None
    return pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(data), mask=mask)


def _joined(array: pa.Array, column: Column) -> pa.Array:
    """Lists as text. A complex number is a list of two, so an array of them is flattened twice."""
    elements = array.flatten()
    flat = leaves(elements)
    counts = list_counts(array) * (len(flat) // len(elements) if len(elements) else 1)
    strings = pc.fill_null(scalars(flat), _null_element(column))
    offsets = pa.array(np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]))
    joined = pc.binary_join(pa.LargeListArray.from_arrays(offsets, strings), _SPACE)
    if array.null_count == 0:
        return joined
    return pc.if_else(pa.array(null_mask(array)), pa.scalar(None, joined.type), joined)


def _null_element(column: Column) -> str:
    """What stands for a NULL inside an array; the FIELD declares it for integers, and bytes have nothing for it."""
    if column.type.datatype == "boolean":
        return "?"
    if column.type.datatype in INTEGER_NULLS:
        return str(INTEGER_NULLS[column.type.datatype])
    return "0" if column.type.datatype == "unsignedByte" else "NaN"


def rows(parts: Sequence[pa.Array], separator: str, before: str, after: str, null: str = "") -> bytes:
    """The values of *parts* row by row, *separator* between them, *before* and *after* round each row."""
    if not len(parts[0]):
        return b""
    # What stands between two rows is joined to the last cells, which is cheaper than to copy whole rows once more.
    end = pa.scalar(after + before, pa.large_string())
    options = {"null_handling": "replace", "null_replacement": null}
    closed = pc.binary_join_element_wise(parts[-1], end, _EMPTY, **options)
    joined = pc.binary_join_element_wise(*parts[:-1], closed, pa.scalar(separator, pa.large_string()), **options)
    # The text of all rows lies in one buffer, one row behind the other.
    text = memoryview(text_bytes(joined)[0])
    return b"".join((before.encode(), text[: len(text) - len(before)]))
