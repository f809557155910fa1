"""Parquet with VOTable metadata (VOParquet 1.0) and Arrow IPC streams."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from idac.tables.arrow import arrow_schema
from idac.tables.model import Column
from idac.tables.writers.info import ResultInfo
from idac.tables.writers.votable import fields_document

#: Bytes collected before a row group is written: small enough for flat memory, large enough for readers to be fast.
_GROUP_BYTES = 32 * 1024 * 1024
_GROUP_ROWS = 500_000


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

    def take(self) -> bytes:
        chunks, self._chunks = self._chunks, []
        return b"".join(chunks)


def write_parquet(
    columns: tuple[Column, ...], batches: Iterable[pa.RecordBatch], info: ResultInfo, overflowed: Callable[[], bool]
) -> Iterator[bytes]:
    """Parquet whose footer carries the fields as a VOTable, and ``QUERY_STATUS`` once the last row is known."""
    document = fields_document(columns, info)
    metadata = {"IVOA.VOTable-Parquet.version": "1.0", "IVOA.VOTable-Parquet.content": document}
    schema = arrow_schema(columns).with_metadata(metadata)
    sink = _Sink()
    with pq.ParquetWriter(sink, schema, compression="zstd", compression_level=1, write_statistics=True) as writer:
        for group in _groups(batches, schema):
            writer.write_table(group, row_group_size=_GROUP_ROWS)
            if chunk := sink.take():
                yield chunk
        writer.add_key_value_metadata({"QUERY_STATUS": "OVERFLOW" if overflowed() else "OK"})
    yield sink.take()


def _groups(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    held: list[pa.RecordBatch] = []
    size = rows = 0
    for batch in batches:
        held.append(batch)
        size, rows = size + batch.nbytes, rows + batch.num_rows
        if size >= _GROUP_BYTES or rows >= _GROUP_ROWS:
            yield pa.Table.from_batches([b.cast(schema) for b in held])
            held, size, rows = [], 0, 0
    if held:
        yield pa.Table.from_batches([b.cast(schema) for b in held])


def write_arrow(
    columns: tuple[Column, ...],
    batches: Iterable[pa.RecordBatch],
    info: ResultInfo,
    overflowed: Callable[[], bool],
) -> Iterator[bytes]:
    """An Arrow IPC stream; each field carries its column's metadata, and the schema the INFOs."""
    schema = arrow_schema(columns).with_metadata({name: value for name, value, _ in info.infos})
    sink = _Sink()
    with pa.ipc.new_stream(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch.cast(schema))
            if chunk := sink.take():
                yield chunk
    yield sink.take()
