"""Arrow IPC: files (Feather version 2) and streams, with metadata in the fields."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.ipc

from idac.core.errors import BadData
from idac.tables.arrow import column_from_arrow
from idac.tables.readers.arrow_columns import arrow_errors, conform_batch
from idac.tables.readers.inputs import Input
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
        self._is_file = source.head.startswith(_FILE_MAGIC)
        self._first: pa.RecordBatchReader | None = None
        with arrow_errors(_KIND, source.label):
            if self._is_file:
                source.size()
                reader = pa.ipc.open_file(source.random())
                schema = reader.schema
            else:
                self._first = pa.ipc.open_stream(source.stream())
                schema = self._first.schema
        super().__init__(TableInfo(tuple(column_from_arrow(field) for field in schema)), source.limits)

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
        stream = self._first or pa.ipc.open_stream(self._source.stream())
        self._first = None
        yield from stream

    def close(self) -> None:
        self._first = None
        self._source.close()


def _rows_of(batch: pa.RecordBatch, size: int) -> int:
    """How many rows of *batch* take about *size* bytes."""
    return int(max(1, size * batch.num_rows // max(1, batch.nbytes)))


def refuse_table_choice(table: str | int | None, kind: str) -> None:
    """Raise BadData where a table is chosen in a format that holds only one."""
    if table is not None:
        raise BadData(
            f"A {kind} file holds one table, so none can be chosen.",
            value=table,
            allowed="a choice of table in FITS and VOTable files",
            next_step="Leave the choice out.",
        )
