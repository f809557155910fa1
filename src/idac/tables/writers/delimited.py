"""CSV (RFC 4180), TSV and JSON, streamed."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from idac.tables.model import Column
from idac.tables.writers.info import ResultInfo
from idac.tables.writers.text import cells, rows

_ROWS = 65_536


def _write_delimited(columns: Sequence[Column], batches: Iterable[pa.RecordBatch], delimiter: str) -> Iterator[bytes]:
    head = io.StringIO()
    csv.writer(head, delimiter=delimiter, lineterminator="\r\n").writerow([c.name for c in columns])
    yield head.getvalue().encode()
    for batch in batches:
        for start in range(0, batch.num_rows, _ROWS):
            piece = batch.slice(start, _ROWS)
            parts = [_field(cells(c, piece.column(i)), c, delimiter) for i, c in enumerate(columns)]
            yield rows(parts, delimiter, "", "\r\n")


def _field(text: pa.Array, column: Column, delimiter: str) -> pa.Array:
    """Text in quotes where it must be: an empty one too, which tells it from NULL (RFC 4180 section 2)."""
    if column.type.is_numeric or column.type.is_timestamp:
        return text
    needs = pc.match_substring_regex(text, f'^$|["\r\n{delimiter}]')
    if not pc.any(needs).as_py():
        return text
    quoted = pc.binary_join_element_wise('"', pc.replace_substring(text, '"', '""'), '"', "")
    return pc.if_else(needs, quoted, text)


def write_csv(
    columns: tuple[Column, ...],
    batches: Iterable[pa.RecordBatch],
    info: ResultInfo,
    overflowed: Callable[[], bool],
) -> Iterator[bytes]:
    """Comma-separated values with a header line; NULL is an empty field, an empty text a quoted one."""
    return _write_delimited(columns, batches, ",")


def write_tsv(
    columns: tuple[Column, ...],
    batches: Iterable[pa.RecordBatch],
    info: ResultInfo,
    overflowed: Callable[[], bool],
) -> Iterator[bytes]:
    """Tab-separated values with a header line; quoted as in CSV."""
    return _write_delimited(columns, batches, "\t")


def write_json(
    columns: tuple[Column, ...], batches: Iterable[pa.RecordBatch], info: ResultInfo, overflowed: Callable[[], bool]
) -> Iterator[bytes]:
    """One object: ``metadata``, a description of each column; ``data``, an array for each row; ``status``.

    NaN and the infinities, which JSON has not, are null.
    """
    head = {"info": [list(i) for i in info.infos], "metadata": [_described(c) for c in columns]}
    yield (json.dumps(head, ensure_ascii=False)[:-1] + ',"data":[').encode()
    first = True
    for batch in batches:
        for start in range(0, batch.num_rows, _ROWS):
            piece = batch.slice(start, _ROWS)
            text = rows([_json(piece.column(i), c) for i, c in enumerate(columns)], ",", "[", "],\n")
            yield (b"\n" if first else b",\n") + text[:-2]
            first = False
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
    return {key: value for key, value in values.items() if value is not None}


def _json(array: pa.Array, column: Column) -> pa.Array:
    """Each value as JSON text; ``null`` where there is none."""
    if pa.types.is_string(array.type):
        text = _quoted(array)
    elif column.type.is_timestamp:
        text = pc.binary_join_element_wise('"', cells(column, array), '"', "")
    elif pa.types.is_list(array.type) or pa.types.is_fixed_size_list(array.type) or pa.types.is_binary(array.type):
        text = pa.array([None if v is None else _json_list(v) for v in array.to_pylist()], pa.string())
    elif pa.types.is_floating(array.type):
        text = pc.if_else(pc.is_finite(array), array.cast(pa.string()), pa.scalar(None, pa.string()))
    else:
        text = cells(column, array)
    return pc.fill_null(text, "null")


def _json_list(value: object) -> str:
    items = list(value)  # type: ignore[call-overload]  # bytes or a list: both are sequences of numbers here
    clean = [None if isinstance(v, float) and (v != v or abs(v) == float("inf")) else v for v in items]
    return json.dumps(clean, ensure_ascii=False, separators=(",", ":"))


def _quoted(array: pa.Array) -> pa.Array:
    """Text in quotes, escaped as RFC 8259 section 7 wants."""
    array = pc.replace_substring(pc.replace_substring(array, "\\", "\\\\"), '"', '\\"')
    if pc.any(pc.match_substring_regex(array, r"[\x00-\x1f]")).as_py():
        escaped = [None if v is None else json.dumps(v, ensure_ascii=False)[1:-1] for v in array.to_pylist()]
        # Quotes and backslashes were escaped above already, and dumps has escaped them once more.
        array = pa.array(
            [None if v is None else v.replace('\\\\\\"', '\\"').replace("\\\\\\\\", "\\\\") for v in escaped]
        )
    return pc.binary_join_element_wise('"', array, '"', "")
