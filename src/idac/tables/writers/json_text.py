"""JSON, streamed: one object with a description of each column and an array for each row."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from idac.tables.model import Column
from idac.tables.writers.batches import Rows, iter_pieces
from idac.tables.writers.info import ResultInfo
from idac.tables.writers.packing import json_arrays, json_strings, list_counts, texts
from idac.tables.writers.parallel import map_ordered
from idac.tables.writers.text import byte_lists, float_texts, rows, scalars


def write_json(
    columns: tuple[Column, ...], batches: Iterable[pa.RecordBatch], info: ResultInfo, overflowed: Callable[[], bool]
) -> Iterator[bytes]:
    """One object: ``info``; ``metadata``, a description of each column; ``data``, an array for each row; ``status``.

    No standard says what a table is in JSON; ``metadata`` and ``data`` are what other TAP services write. NaN and the
    infinities, which JSON has not, are null. An object that is not closed is a result that broke off.
    """
    source = Rows(columns, batches)
    head = {"info": [list(i) for i in info.infos], "metadata": [_described(c) for c in columns]}
    yield (json.dumps(head, ensure_ascii=False)[:-1] + ',"data":[').encode()
    between = "\n"
    for text in map_ordered(partial(_rows, columns), iter_pieces(source)):
        # Each row ends in a comma and a line; the last of the result must have none.
        yield between.encode() + text[:-2]
        between = ",\n"
    source.check()
    yield f'],"status":"{"OVERFLOW" if overflowed() else "OK"}"}}\n'.encode()


def _described(column: Column) -> dict[str, object]:
    kind = column.type
    values = {
        "name": column.name,
        "datatype": kind.datatype,
        "arraysize": kind.arraysize,
        "xtype": kind.xtype,
        "unit": column.unit,
        "ucd": column.ucd,
        "utype": column.utype,
        "description": column.description,
    }
    # Readers written for other services (astroquery's) look these up without asking whether they are there.
    always = ("unit", "description")
    return {key: value for key, value in values.items() if value is not None or key in always}


def _rows(columns: Sequence[Column], batch: pa.RecordBatch) -> bytes:
    parts = [_values(batch.column(i), c) for i, c in enumerate(columns)]
    return rows(parts, ",", "[", "],\n", "null")


def _values(array: pa.Array, column: Column) -> pa.Array:
    """Each value as JSON; NULL stays."""
    if column.type.datatype in ("char", "unicodeChar"):
        text = texts(column, array)
        return text if pa.types.is_list(array.type) else json_strings(text)
    if pa.types.is_binary(array.type):
        return _array(byte_lists(array))
    if pa.types.is_list(array.type) or pa.types.is_fixed_size_list(array.type):
        return _array(array)
    return _numbers(array)


def _array(array: pa.Array) -> pa.Array:
    """Lists as JSON arrays; a complex number is an array of two, and so an array of them is an array of arrays."""
    elements = array.flatten()
    inner = _array(elements) if pa.types.is_fixed_size_list(elements.type) else _numbers(elements)
    mask = pc.is_null(array) if array.null_count else None
    return json_arrays(pc.fill_null(inner, "null"), list_counts(array), mask)


def _numbers(array: pa.Array) -> pa.Array:
    if not pa.types.is_floating(array.type):
        return scalars(array)
    text = float_texts(array)
    finite = pc.is_finite(array)
    if pc.all(finite).as_py() is not False:
        return text
    return pc.if_else(finite, text, pa.scalar(None, text.type))
