"""Arrow arrays out of packed bytes, a column at a time: what FITS tables and VOTable's binary streams share.

A ``mask`` is True where a value is null, or None where none is.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

type Values = NDArray[Any]
type Mask = NDArray[np.bool_] | None

_BLANK = 32


def either(one: Mask, other: Mask) -> Mask:
    """Null where one of the two masks says so."""
    if one is None or other is None:
        return one if other is None else other
    return one | other


def scalar_array(values: Values, target: pa.DataType, mask: Mask = None) -> pa.Array:
    """One number or boolean a row. NaN is null: FITS 4.0 (section 5.3) and VOTable (section 6) both mean that by it."""
    native = np.ascontiguousarray(values, values.dtype.newbyteorder("="))
    if native.dtype.kind == "f":
        nan = np.isnan(native)
        mask = either(mask, nan if nan.any() else None)
    return pa.array(native, type=target, mask=mask)


def fixed_lists(flat: Values, rows: int, target: pa.DataType, mask: Mask = None) -> pa.Array:
    """Arrays of one length: *flat* holds them one after another."""
    values = _elements(flat, target.value_type)
    return pa.FixedSizeListArray.from_arrays(
        values, type=target, mask=None if mask is None or not rows else pa.array(mask)
    )


def varying_lists(flat: Values, lengths: Values, target: pa.DataType, mask: Mask = None) -> pa.Array:
    """Arrays of *lengths* elements; *flat* holds them one after another. Binary columns take bytes."""
    if pa.types.is_binary(target):
        return _from_spans(np.ascontiguousarray(flat, np.uint8), lengths, target, mask)
    offsets = pa.array(_offsets(lengths))
    return pa.ListArray.from_arrays(
        offsets, _elements(flat, target.value_type), type=target, mask=None if mask is None else pa.array(mask)
    )


def _elements(flat: Values, target: pa.DataType) -> pa.Array:
    native = np.ascontiguousarray(flat, flat.dtype.newbyteorder("="))
    if pa.types.is_fixed_size_list(target):
        return pa.FixedSizeListArray.from_arrays(pa.array(native, target.value_type), type=target)
    return pa.array(native, target)


def fixed_texts(matrix: NDArray[np.uint8], mask: Mask = None, *, empty_is_null: bool = True) -> pa.Array:
    """Strings in fields of fixed width: each ends at its first NUL, and blanks at its end are padding."""
    rows, width = matrix.shape
    if width == 0 or rows == 0:
        return pa.nulls(rows, pa.string())
    matrix = _blank_behind_nul(np.ascontiguousarray(matrix))
    filled = matrix != _BLANK
    lengths = np.where(filled.any(axis=1), width - filled[:, ::-1].argmax(axis=1), 0)
    data = matrix.reshape(-1) if lengths.min() == width else matrix[np.arange(width) < lengths[:, None]]
    if empty_is_null:
        mask = either(mask, lengths == 0)
    return _texts(data, lengths, mask)


def _blank_behind_nul(matrix: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """*matrix* with blanks from each row's first NUL on. Hardly ever does anything but NULs follow a NUL."""
    ends = matrix == 0
    if not ends.any():
        return matrix
    if (ends[:, :-1] & (matrix[:, 1:] > _BLANK)).any():
        ends = np.logical_or.accumulate(ends, axis=1)
    return np.where(ends, np.uint8(_BLANK), matrix)


def varying_texts(
    data: NDArray[np.uint8], lengths: Values, mask: Mask = None, *, empty_is_null: bool = True
) -> pa.Array:
    """Strings of *lengths* bytes that stand one after another; each ends at its first NUL, if it has one."""
    if (data == 0).any():
        offsets = _offsets(lengths)
        whole = data.tobytes()
        cut = [whole[a:b].partition(b"\0")[0] for a, b in pairwise(offsets)]
        data = np.frombuffer(b"".join(cut), np.uint8)
        lengths = np.array([len(part) for part in cut], np.int64)
    if empty_is_null:
        mask = either(mask, lengths == 0)
    return _texts(data, lengths, mask)


def wide_texts(data: NDArray[np.uint8], lengths: Values, mask: Mask = None, *, empty_is_null: bool = True) -> pa.Array:
    """Strings of *lengths* two-byte characters (VOTable's unicodeChar: UCS-2, big end first; UTF-16 is let pass)."""
    if not data[0::2].any():
        return varying_texts(np.ascontiguousarray(data[1::2]), lengths, mask, empty_is_null=empty_is_null)
    offsets = _offsets(lengths) * 2
    whole = data.tobytes()
    encoded = [whole[a:b].decode("utf-16-be", errors="replace").encode() for a, b in pairwise(offsets)]
    flat = np.frombuffer(b"".join(encoded), np.uint8)
    return varying_texts(flat, np.array([len(part) for part in encoded], np.int64), mask, empty_is_null=empty_is_null)


def gather(data: NDArray[np.uint8], starts: Values, lengths: Values) -> NDArray[np.uint8]:
    """The spans of *data*, one after another, without a loop over rows."""
    total = int(lengths.sum())
    if total == 0:
        return np.empty(0, np.uint8)
    before = np.cumsum(lengths) - lengths
    if np.array_equal(starts - starts[0], before):
        return data[starts[0] : starts[0] + total]
    return data[np.repeat(starts - before, lengths) + np.arange(total)]


def string_lists(texts: pa.Array, width: int) -> pa.Array:
    """Strings cut into pieces of *width* characters, blanks at the end of each dropped: an array of strings a row."""
    rows = [
        None if text is None else [text[i : i + width].rstrip(" \0") for i in range(0, len(text), width)]
        for text in texts.to_pylist()
    ]
    return pa.array(rows, pa.list_(pa.string()))


def _texts(data: NDArray[np.uint8], lengths: Values, mask: Mask) -> pa.Array:
    array = _from_spans(np.ascontiguousarray(data), lengths, pa.string(), mask)
    if data.size and data.max() > 127:
        try:
            array.validate(full=True)
        except pa.ArrowInvalid:
            # Neither standard allows bytes above 127 here; what is not UTF-8 was written as Latin-1 by older tools.
            raw = array.cast(pa.binary()).to_pylist()
            return pa.array([None if v is None else v.decode("latin-1") for v in raw], pa.string())
    return array


def _from_spans(data: NDArray[np.uint8], lengths: Values, target: pa.DataType, mask: Mask) -> pa.Array:
    count = len(lengths)
    validity = None
    if mask is not None:
        validity = pa.py_buffer(np.packbits(~mask, bitorder="little").tobytes())
    return pa.Array.from_buffers(target, count, [validity, pa.py_buffer(_offsets(lengths)), pa.py_buffer(data)])


def _offsets(lengths: Values) -> NDArray[np.int32]:
    offsets = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def without_nan(array: pa.Array) -> pa.Array:
    """*array* of floats with null where it has NaN."""
    if not len(array) or not np.isnan(float_values(array).min()):
        # The least of numbers with a NaN among them is NaN, and found several times as fast as where it is.
        return array
    return pc.if_else(pc.is_nan(array), None, array)


def float_values(array: pa.Array) -> Values:
    """What stands in the memory of *array*, a number or NaN in the places of nulls as well."""
    start, end = array.offset, array.offset + len(array)
    found: Values = np.frombuffer(array.buffers()[1], array.type.to_pandas_dtype())[start:end]
    return found
