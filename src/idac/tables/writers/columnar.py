"""Parquet with VOTable metadata (VOParquet 1.0) and Arrow IPC streams."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from idac.tables.arrow import arrow_schema
from idac.tables.model import Column
from idac.tables.writers.batches import Rows
from idac.tables.writers.fields import fields_document
from idac.tables.writers.info import ResultInfo

#: Bytes collected before a row group is written: small enough for flat memory, large enough for readers to be fast.
_GROUP_BYTES = 32 * 1024 * 1024
_GROUP_ROWS = 500_000


#: Bytes in a piece of the answer: writers of Parquet and Arrow write headers of some bytes by themselves.
_CHUNK_BYTES = 1024 * 1024


class _Sink(io.RawIOBase):
    """A file that keeps what is written until it is taken, and knows how much there was."""

    def __init__(self) -> None:
        super().__init__()
        self._chunks: list[bytes] = []
        self._size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        chunk = bytes(data)
        self._chunks.append(chunk)
        self._size += len(chunk)
        return len(chunk)

    def tell(self) -> int:
        return self._size

    def take(self) -> Iterator[bytes]:
        """What was written since the last time, in pieces, each of which is forgotten once it is taken."""
        chunks, self._chunks = deque(self._chunks), []
        while chunks:
            piece, size = [], 0
            while chunks and size < _CHUNK_BYTES:
                size += len(chunks[0])
                piece.append(chunks.popleft())
            yield piece[0] if len(piece) == 1 else b"".join(piece)


def write_parquet(
    columns: tuple[Column, ...], batches: Iterable[pa.RecordBatch], info: ResultInfo, overflowed: Callable[[], bool]
) -> Iterator[bytes]:
    """Parquet whose footer carries the fields as a VOTable, with the QUERY_STATUS that the last row has shown."""
    source = Rows(columns, batches)
    # Dictionaries pay for texts, of which many are alike, and cost time for measurements, which are not.
    texts = [f.name for f in source.schema if pa.types.is_string(f.type)]
    sink = _Sink()
    writer = pq.ParquetWriter(
        sink, source.schema, compression="zstd", compression_level=1, use_dictionary=texts or False
    )
    for group in _groups(source):
        writer.write_table(group, row_group_size=_GROUP_ROWS)
        # Not to be kept while the next one is gathered.
        del group
        yield from sink.take()
    # A file without its footer can't be read, which is what an answer that failed should be.
    source.check()
    status = "OVERFLOW" if overflowed() else "OK"
    writer.add_key_value_metadata(
        {
            "IVOA.VOTable-Parquet.version": "1.0",
            "IVOA.VOTable-Parquet.content": fields_document(columns, info, status=status),
        }
    )
    writer.close()
    yield from sink.take()


def _groups(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    held: list[pa.RecordBatch] = []
    size = rows = 0
    for batch in batches:
        step = max(1, batch.num_rows * _GROUP_BYTES // max(batch.nbytes, _GROUP_BYTES))
        for start in range(0, batch.num_rows, step):
            piece = batch.slice(start, step)
            held.append(piece)
            size, rows = size + piece.nbytes, rows + piece.num_rows
            if size >= _GROUP_BYTES or rows >= _GROUP_ROWS:
                size = rows = 0
                yield _gathered(held)
    if held:
        yield _gathered(held)


def _gathered(held: list[pa.RecordBatch]) -> pa.Table:
    """The batches as one table; they are not held any more, since the rows of a group are most of what memory holds."""
    table = pa.Table.from_batches(held)
    held.clear()
    return table


def write_arrow(
    columns: tuple[Column, ...], batches: Iterable[pa.RecordBatch], info: ResultInfo, overflowed: Callable[[], bool]
) -> Iterator[bytes]:
    """An Arrow IPC stream; each field carries its column's metadata, and the schema the INFOs.

    A last batch without rows has ``QUERY_STATUS`` in its own metadata, as the schema is sent before it is known.
    """
    source = Rows(columns, batches)
    schema = arrow_schema(columns).with_metadata({name: value for name, value, _ in info.infos})
    sink = _Sink()
    writer = pa.ipc.new_stream(sink, schema)
    yield from sink.take()
    for batch in source:
        writer.write_batch(batch)
        yield from sink.take()
    source.check()
    empty = pa.RecordBatch.from_arrays([pa.array([], f.type) for f in schema], schema=schema)
    writer.write_batch(empty, custom_metadata={"QUERY_STATUS": "OVERFLOW" if overflowed() else "OK"})
    writer.close()
    yield from sink.take()
