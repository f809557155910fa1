"""The rows that come to a writer: checked, in the types it expects, in pieces of a size that is good to work on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa

from idac.core.errors import BadData, UserError
from idac.tables.arrow import arrow_schema
from idac.tables.model import Column

#: Arrow bytes in a piece: fits a core's cache, and makes chunks of about a mebibyte in most formats.
_PIECE_BYTES = 1024 * 1024
#: Batches below this are put together, because each call into numpy and Arrow costs as much as some hundred rows.
_SMALL_BYTES = 128 * 1024


class Rows:
    """Batches of a result, each in the schema of *columns*.

    Iteration ends where the source fails with a ``UserError``, which is kept in ``failure``, so that a writer sends
    whole the rows that came before it. ``check()`` raises it.
    """

    def __init__(self, columns: Sequence[Column], batches: Iterable[pa.RecordBatch]) -> None:
        self.schema = arrow_schema(columns)
        self.failure: UserError | None = None
        self._batches = batches

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        try:
            for batch in self._batches:
                if batch.num_rows:
                    yield conform(batch, self.schema)
        except UserError as error:
            self.failure = error

    def check(self) -> None:
        if self.failure is not None:
            raise self.failure


def conform(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """*batch* with the names and types of *schema*; BadData where a value does not fit its column."""
    arrays = [_cast(batch.column(i), field) for i, field in enumerate(schema)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _cast(array: pa.Array, field: pa.Field) -> pa.Array:
    if array.type == field.type:
        return array
    # Times may be finer than the microseconds that columns have; everything else must fit exactly.
    safe = not pa.types.is_timestamp(field.type)
    try:
        return array.cast(field.type, safe=safe)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise BadData(
            f"Column {field.name} holds a value that its type has no room for.",
            value=str(error).partition("\n")[0],
            allowed=f"values of the type {field.type}",
            next_step="Use CAST in the query, or ask for other columns.",
        ) from error


def iter_pieces(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows in pieces of about a mebibyte: large batches are cut, small ones put together.

    The first batch is not held back, so that a reader sees the first rows as soon as they are known.
    """
    held: list[pa.RecordBatch] = []
    size, enough = 0, 0
    for batch in batches:
        held.append(batch)
        size += batch.nbytes
        if size >= enough:
            yield from _cut(held, size)
            held, size, enough = [], 0, _SMALL_BYTES
    if held:
        yield from _cut(held, size)


def _cut(held: list[pa.RecordBatch], size: int) -> Iterator[pa.RecordBatch]:
    batch = held[0] if len(held) == 1 else pa.concat_batches(held)
    rows = max(16, _PIECE_BYTES * batch.num_rows // max(size, 1))
    for start in range(0, batch.num_rows, rows):
        yield batch.slice(start, rows)
