"""Arrays of any Arrow type made into the type that ``tables.arrow`` gives their column."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from idac.core.errors import BadData
from idac.tables.arrow import arrow_type
from idac.tables.model import Column
from idac.tables.readers.packed import without_nan

_LONG_MAX = 2**63 - 1


@contextmanager
def arrow_errors(kind: str, label: str) -> Iterator[None]:
    """Make Arrow's complaints about damaged input into BadData; a store that fails is another matter and passes."""
    try:
        yield
    except (pa.ArrowException, UnicodeDecodeError, EOFError) as error:
        raise damaged(kind, label, error) from error
    except OSError as error:
        # Arrow says OSError of damaged bytes too, but only the system sets errno.
        if error.errno is not None:
            raise
        raise damaged(kind, label, error) from error


def damaged(kind: str, label: str, error: Exception) -> BadData:
    """The error for a file that breaks off or holds nonsense; the library's own first line tells experts where."""
    detail = (str(error).splitlines() or [type(error).__name__])[0]
    return BadData(
        f"The {kind} file is damaged or cut short.",
        value=f"{label} ({detail[:120]})",
        allowed=f"a whole {kind} file",
        next_step="Write or send the file again.",
    )


def conform_batch(
    batch: pa.RecordBatch, columns: Sequence[Column], schema: pa.Schema, first_row: int
) -> pa.RecordBatch:
    """*batch*, whose columns are in the order of *columns*, with exactly *schema*; *first_row* counts from 1.

    NaN becomes null, as in every other format: formats and engines differ in what NaN is equal to or greater than.
    """
    arrays = [conform(batch.column(i), column, first_row) for i, column in enumerate(columns)]
    arrays = [without_nan(a) if pa.types.is_floating(a.type) else a for a in arrays]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def conform(array: pa.Array, column: Column, first_row: int) -> pa.Array:
    """*array* in its column's Arrow type; BadData with the row for a value that does not fit."""
    target = arrow_type(column.type)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if array.type == target:
        return array
    if pa.types.is_timestamp(target):
        return _to_timestamp(array, column, first_row)
    if pa.types.is_fixed_size_binary(array.type):
        return _bytes_to_list(array, target)
    if _is_list(array.type) and _is_list(array.type.value_type) and not _is_list(target.value_type):
        array = _flatten_inner(array)
    if array.type == target:
        return array
    try:
        return array.cast(target)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise _does_not_fit(array, column, target, first_row) from error


def _to_timestamp(array: pa.Array, column: Column, first_row: int) -> pa.Array:
    """UTC without a zone, to the microsecond: finer digits are dropped, as no astronomical format keeps them."""
    try:
        if pa.types.is_timestamp(array.type):
            return array.cast(pa.timestamp("us", array.type.tz), safe=False).cast(pa.timestamp("us"))
        return array.cast(pa.timestamp("us"))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise _does_not_fit(array, column, pa.timestamp("us"), first_row) from error


def _bytes_to_list(array: pa.Array, target: pa.DataType) -> pa.Array:
    width = array.type.byte_width
    data = np.frombuffer(array.buffers()[1], np.uint8)[array.offset * width : (array.offset + len(array)) * width]
    values = pa.array(data)
    mask = array.is_null() if array.null_count else None
    if not pa.types.is_fixed_size_list(target):
        return pc.if_else(array.is_null(), None, values) if mask is not None else values
    return pa.FixedSizeListArray.from_arrays(values, type=target, mask=mask)


def _flatten_inner(array: pa.Array) -> pa.Array:
    """A list of fixed-size lists as one list of the inner values, row-major, as VOTable arrays are written."""
    inner = array.type.value_type
    if not pa.types.is_fixed_size_list(inner) or pa.types.is_fixed_size_list(array.type):
        rows = [None if row is None else [v for part in row for v in (part or [])] for row in array.to_pylist()]
        element = inner.value_type
        while _is_list(element):
            element = element.value_type
            rows = [None if row is None else [v for part in row for v in (part or [])] for row in rows]
        return pa.array(rows, pa.list_(element))
    width = inner.list_size
    offsets = pc.multiply(array.offsets.cast(pa.int64()), width).cast(pa.int32())
    flat = array.values.flatten()
    if array.values.null_count:
        raise BadData(
            "A list holds a null where a list of numbers belongs.",
            allowed="lists of fixed-size lists without nulls inside",
            next_step="Fill the gaps with NaN before publishing the table.",
        )
    mask = array.is_null() if array.null_count else None
    return pa.ListArray.from_arrays(offsets, flat, mask=mask)


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _does_not_fit(array: pa.Array, column: Column, target: pa.DataType, first_row: int) -> BadData:
    """Find the row by halves: a cast says what is wrong but not where."""
    low, high = 0, len(array)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            array.slice(low, middle - low).cast(target)
            low = middle
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            high = middle
    value = array[low] if len(array) else None
    allowed = f"a value of type {column.type.datatype}"
    if target == pa.int64():
        allowed = f"integers up to {_LONG_MAX}"
    return BadData(
        f"Row {first_row + low}: the value of column {column.name} does not fit its type.",
        value=value,
        allowed=allowed,
        next_step="Convert the column, to text for instance, before publishing the table.",
    )
