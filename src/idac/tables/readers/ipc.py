"""Arrow IPC: files (Feather version 2) and streams, with metadata in the fields."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc

from idac.core.errors import BadData
from idac.tables.arrow import column_from_arrow
from idac.tables.readers.arrow_columns import arrow_errors, conform_batch
from idac.tables.readers.inputs import Input
from idac.tables.readers.ipc_messages import CheckedMessages
from idac.tables.readers.source import BATCH_BYTES, TableInfo, TableSource

_FILE_MAGIC = b"ARROW1"
_KIND = "Arrow"


def open_ipc(source: Input, table: str | int | None = None) -> TableSource:
    """The one table of an Arrow file or stream."""
    refuse_table_choice(table, _KIND)
    return IpcSource(source)


class IpcSource(TableSource):
    """Record batches as they were written, cut to the size asked for and checked, for offsets may point anywhere."""

    def __init__(self, source: Input) -> None:
        self._source = source
        self._is_foreign = source.limits.max_bytes is not None
        # What others sent is read from end to end, for a footer may lead to anything.
        self._is_file = source.head.startswith(_FILE_MAGIC) and not self._is_foreign
        self._first: pa.RecordBatchReader | None = None
        with arrow_errors(_KIND, source.label):
            if self._is_file:
                source.size()
                reader = pa.ipc.open_file(source.random())
                schema = reader.schema
            else:
                self._first = self._open_stream()
                schema = self._first.schema
            columns = tuple(column_from_arrow(field) for field in schema)
        super().__init__(TableInfo(columns), source.limits)

    def _iter_batches(self, chosen: list[int], schema: pa.Schema, batch_rows: int) -> Iterator[pa.RecordBatch]:
        columns = [self.columns[index] for index in chosen]
        row = 1
        with arrow_errors(_KIND, self._source.label):
            for whole in self._read():
                checked = whole.select(chosen)
                checked.validate(full=True)
                step = min(batch_rows, _rows_of(checked, BATCH_BYTES))
                for start in range(0, checked.num_rows, step):
                    part = checked.slice(start, step)
                    yield conform_batch(part, columns, schema, row)
                    row += part.num_rows

    def _read(self) -> Iterator[pa.RecordBatch]:
        if self._is_file:
            reader = pa.ipc.open_file(self._source.random())
            for index in range(reader.num_record_batches):
                yield reader.get_batch(index)
            return
        stream = self._first or self._open_stream()
        self._first = None
        yield from stream

    def _open_stream(self) -> pa.RecordBatchReader:
        stream = self._source.stream()
        return pa.ipc.open_stream(CheckedMessages(stream, self._source.label) if self._is_foreign else stream)

    def close(self) -> None:
        self._first = None
        self._source.close()


def _rows_of(batch: pa.RecordBatch, size: int) -> int:
    """How many rows of *batch* take about *size* bytes, once each has its own copy of what it shares with others."""
    own = batch.nbytes // max(1, batch.num_rows)
    return int(max(1, size // max(1, own + sum(map(_most_shared, batch.columns)))))


def _most_shared(array: pa.Array) -> int:
    """Bytes of the longest value that rows may share: by a dictionary, or by views of one text."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        return _longest(array.dictionary)
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        return _longest(array)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return int(pc.max(pc.list_value_length(array)).as_py() or 0) * _most_shared(array.values)
    return int(kind.list_size) * _most_shared(array.values) if pa.types.is_fixed_size_list(kind) else 0


def _longest(values: pa.Array) -> int:
    kind = values.type
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        # Arrow columnar format, variable-size binary view: 16 bytes a value, of which the first four are its length.
        views = np.frombuffer(values.buffers()[1] or b"", np.int32)[::4][values.offset : values.offset + len(values)]
        return int(np.max(views, where=values.is_valid().to_numpy(zero_copy_only=False), initial=0))
    if _is_text(kind):
        return int(pc.max(pc.binary_length(values)).as_py() or 0)
    return int(values.nbytes)


def _is_text(kind: pa.DataType) -> bool:
    """Whether values are text or bytes of any length."""
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
    )


def refuse_table_choice(table: str | int | None, kind: str) -> None:
    """Raise BadData where a table is chosen in a format that holds only one."""
    if table is not None:
        raise BadData(
            f"A {kind} file holds one table, so none can be chosen.",
            value=table,
            allowed="a choice of table in FITS and VOTable files",
            next_step="Leave the choice out.",
        )
