"""CSV (RFC 4180) and TSV, streamed."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from idac.tables.model import Column
from idac.tables.writers.batches import Rows, iter_pieces
from idac.tables.writers.info import ResultInfo
from idac.tables.writers.packing import special_bytes, text_bytes
from idac.tables.writers.parallel import map_ordered
from idac.tables.writers.text import cells, rows


def write_csv(
    columns: tuple[Column, ...], batches: Iterable[pa.RecordBatch], info: ResultInfo, overflowed: Callable[[], bool]
) -> Iterator[bytes]:
    """Comma-separated values with a header line; NULL is an empty field, an empty text a quoted one."""
    return _write(columns, batches, ",")


def write_tsv(
    columns: tuple[Column, ...], batches: Iterable[pa.RecordBatch], info: ResultInfo, overflowed: Callable[[], bool]
) -> Iterator[bytes]:
    """Tab-separated values with a header line; quoted as in CSV."""
    return _write(columns, batches, "\t")


def _write(columns: Sequence[Column], batches: Iterable[pa.RecordBatch], delimiter: str) -> Iterator[bytes]:
    source = Rows(columns, batches)
    head = io.StringIO()
    csv.writer(head, delimiter=delimiter, lineterminator="\r\n").writerow([c.name for c in columns])
    yield head.getvalue().encode()
    yield from map_ordered(partial(_lines, columns, delimiter), iter_pieces(source))
    source.check()


def _lines(columns: Sequence[Column], delimiter: str, batch: pa.RecordBatch) -> bytes:
    parts = [_field(cells(c, batch.column(i)), c, delimiter) for i, c in enumerate(columns)]
    if len(parts) == 1:
        # A line of one empty field, NULL or an empty array, would be an empty line, which readers skip.
        parts = [pc.if_else(pc.equal(parts[0], ""), pa.scalar(None, parts[0].type), parts[0])]
        return rows(parts, delimiter, "", "\r\n", '""')
    return rows(parts, delimiter, "", "\r\n")


def _field(text: pa.Array, column: Column, delimiter: str) -> pa.Array:
    """Text in quotes where it must be: an empty one too, which tells it from NULL (RFC 4180 section 2)."""
    if not column.type.is_string:
        return text
    special = np.zeros(256, dtype=bool)
    special[list(b'"\r\n' + delimiter.encode())] = True
    _, offsets = text_bytes(text)
    if not special_bytes(text, special) and np.diff(offsets).all():
        return text
    needs = pc.match_substring_regex(text, f'^$|["\r\n{delimiter}]')
    quote = pa.scalar('"', text.type)
    quoted = pc.binary_join_element_wise(quote, pc.replace_substring(text, '"', '""'), quote, pa.scalar("", text.type))
    return pc.if_else(needs, quoted, text)
