"""Batches as an engine gives them, made what the query's columns promise: names, types, metadata; nothing widened."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from idac.tables.arrow import arrow_schema
from idac.tables.model import Column


class Converter:
    """Turns batches of any types into batches of *columns*."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self.schema = arrow_schema(columns)

    def convert(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The same rows. Raises ArrowInvalid where a value does not fit its column."""
        pairs = zip(batch.columns, self.schema.types, strict=True)
        return pa.RecordBatch.from_arrays([_as_type(values, kind) for values, kind in pairs], schema=self.schema)


def _as_type(values: pa.Array, kind: pa.DataType) -> pa.Array:
    if values.type == kind:
        return values
    if values.null_count == len(values):
        # NULL alone has no type of its own, and engines give it any.
        return pa.nulls(len(values), kind)
    if pa.types.is_fixed_size_list(kind):
        return _fixed(values, kind)
    if pa.types.is_list(kind):
        return _list(values, kind)
    if pa.types.is_integer(kind) and pa.types.is_floating(values.type):
        # FLOOR of a double that is published as whole, and the like; a fraction is cut off by nobody's wish but ours.
        values = pc.round(values)
    if pa.types.is_timestamp(kind) and pa.types.is_string(values.type):
        return values.cast(kind)
    # Doubles beyond a float's range become infinite, as they do on every machine.
    narrowing = pa.types.is_floating(kind) and (pa.types.is_floating(values.type) or pa.types.is_integer(values.type))
    return values.cast(kind, safe=not narrowing)


def _list(values: pa.Array, kind: pa.DataType) -> pa.Array:
    if pa.types.is_fixed_size_list(values.type):
        values = values.cast(pa.list_(values.type.value_type))
    return values.cast(kind)


def _fixed(values: pa.Array, kind: pa.DataType) -> pa.Array:
    """Lists as lists of one length; a list of another length has no place in the column and becomes NULL."""
    if pa.types.is_fixed_size_list(values.type):
        return values.cast(kind)
    lengths = pc.fill_null(pc.list_value_length(values), -1).to_numpy(zero_copy_only=False)
    good = lengths == kind.list_size
    flat = values.filter(pa.array(good)).flatten().cast(kind.value_type)
    places = np.zeros((len(values), kind.list_size), dtype=np.int64)
    places[good] = np.arange(int(good.sum()) * kind.list_size).reshape(-1, kind.list_size)
    items = flat.take(pa.array(places.ravel())) if len(flat) else pa.nulls(places.size, kind.value_type)
    return pa.FixedSizeListArray.from_arrays(items, type=kind, mask=pa.array(~good))
