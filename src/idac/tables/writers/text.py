"""Columns as text, whole columns at a time: the common half of TABLEDATA, CSV, TSV and JSON."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from idac.tables.arrow import fixed_length
from idac.tables.model import Column
from idac.tables.writers.packing import timestamp_text


def cells(column: Column, array: pa.Array) -> pa.Array:
    """A string array with each value as VOTable's TABLEDATA has it (VOTable 1.5 section 5.1), unescaped; NULL stays.

    Numbers are the shortest text that reads back as the same number; arrays have a space between their elements.
    """
    kind = column.type
    if kind.is_timestamp:
        return timestamp_text(array)
    if pa.types.is_string(array.type):
        return array
    if pa.types.is_binary(array.type):
        return _joined(_byte_lists(array), Column(column.name, kind))
    if pa.types.is_list(array.type) or pa.types.is_fixed_size_list(array.type):
        return _joined(array, column)
    return scalars(array)


def scalars(array: pa.Array) -> pa.Array:
    """Numbers and booleans as text."""
    if pa.types.is_boolean(array.type):
        return pc.if_else(array, "true", "false")
    text = array.cast(pa.string())
    if pa.types.is_floating(array.type):
        return _named_infinities(array, text)
    return text


def _named_infinities(array: pa.Array, text: pa.Array) -> pa.Array:
    """NaN and the infinities spelled as VOTable has them."""
    finite = pc.fill_null(pc.is_finite(array), True)
    if pc.all(finite).as_py() is not False:
        return text
    sign = pc.if_else(pc.greater(array, 0.0), "+Inf", "-Inf")
    return pc.if_else(finite, text, pc.if_else(pc.is_nan(array), "NaN", sign))


def _byte_lists(array: pa.Array) -> pa.Array:
    """Byte strings as lists of numbers, over the same memory."""
    large = array.cast(pa.large_binary())
    _, offsets, data = large.buffers()
    place = np.frombuffer(offsets, np.int64)[large.offset : large.offset + len(large) + 1]
    values = np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)
    mask = pc.is_null(array) if array.null_count else None
    return pa.LargeListArray.from_arrays(pa.array(place), pa.array(values), mask=mask)


def _joined(array: pa.Array, column: Column) -> pa.Array:
    values = array.values
    if pa.types.is_fixed_size_list(array.type):
        size = array.type.list_size
        offsets = pa.array(np.arange(len(array) + 1, dtype=np.int64) * size)
        values = values.slice(array.offset * size, len(array) * size)
    else:
        offsets = array.offsets.cast(pa.int64())
    strings = values if pa.types.is_string(values.type) else scalars(values)
    # A NULL inside an array has no text of its own: NaN for floats, nothing for the rest.
    strings = pc.fill_null(strings, "NaN" if pa.types.is_floating(values.type) else "")
    lists = pa.LargeListArray.from_arrays(offsets, strings.cast(pa.string()))
    joined = pc.binary_join(lists, " ")
    if array.null_count == 0:
        return joined
    return pc.if_else(pc.is_null(array), pa.scalar(_null_array(column), joined.type), joined)


def _null_array(column: Column) -> str | None:
    """What stands for a NULL array: nothing, or where its length is fixed, so many NULL elements."""
    size = fixed_length(column.type.arraysize)
    if size is None or not column.type.datatype.startswith(("float", "double")):
        return None
    return " ".join(["NaN"] * size)


def rows(parts: list[pa.Array], separator: str, before: str, after: str) -> bytes:
    """The values of *parts* row by row, with text between them and round each row."""
    joined = pc.binary_join_element_wise(
        *(p.cast(pa.large_string()) for p in parts),
        pa.scalar(separator, pa.large_string()),
        null_handling="replace",
        null_replacement="",
    )
    end = pa.scalar("", pa.large_string())
    whole = pc.binary_join_element_wise(
        pa.scalar(before, pa.large_string()), joined, pa.scalar(after, pa.large_string()), end
    )
    # The text of all rows lies in one buffer, one row behind the other.
    _, offsets, data = whole.buffers()
    if data is None or len(whole) == 0:
        return b""
    place = np.frombuffer(offsets, np.int64)[whole.offset : whole.offset + len(whole) + 1]
    return bytes(memoryview(data)[place[0] : place[-1]])
