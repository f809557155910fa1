"""Parquet: one file or a folder of them, with or without VOParquet metadata."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from idac.core.errors import BadData
from idac.tables.arrow import arrow_type, column_from_arrow, row_width
from idac.tables.model import INT, STRING, Column
from idac.tables.readers.arrow_columns import arrow_errors, conform_batch
from idac.tables.readers.inputs import Input
from idac.tables.readers.ipc import refuse_table_choice
from idac.tables.readers.parquet_pages import PageSurvey, footer_size
from idac.tables.readers.source import BATCH_BYTES, TableInfo, TableSource
from idac.tables.readers.table_yaml import read_table_yaml
from idac.tables.readers.votable_header import read_votable_header

_KIND = "Parquet"
#: VOParquet 1.0 keeps a VOTable without rows under this key of the file's metadata.
_VOPARQUET_KEY = b"IVOA.VOTable-Parquet.content"
_ASTROPY_KEY = b"table_meta_yaml"
#: Folders of a HATS catalogue are named like Hive partitions, but their values are no columns.
_HATS_KEYS = frozenset(("Norder", "Dir", "Npix"))
_ENDINGS = (".parquet", ".pq", ".parq")


@dataclass(frozen=True, slots=True)
class _File:
    """One file of a table, and the values that its folders' names (``key=value``) add to each of its rows."""

    path: Path | None
    label: str
    parts: tuple[tuple[str, str], ...] = ()


def open_parquet(source: Input, table: str | int | None = None) -> TableSource:
    """The table of a Parquet file, or of all the Parquet files under a folder."""
    refuse_table_choice(table, _KIND)
    if source.path is not None and source.is_folder:
        return ParquetSource(source, _files_under(source.path))
    return ParquetSource(source, [_File(None if source.is_gzip else source.path, source.label)])


class ParquetSource(TableSource):
    """Row groups read a batch at a time, a file after another."""

    def __init__(self, source: Input, files: list[_File]) -> None:
        self._source = source
        self._files = files
        self._limits = source.limits
        with self._open(files[0]) as first:
            self._schema = first.schema_arrow
            rows, size = first.metadata.num_rows, _unpacked_size(first.metadata)
        for file in files[1:]:
            with self._open(file) as other:
                _require_same_schema(files[0], self._schema, file, other.schema_arrow)
                rows += other.metadata.num_rows
                size += _unpacked_size(other.metadata)
        # A column of one value unpacks from nothing, and takes as much memory as any other.
        self._row_bytes: int = max(row_width(self._schema), size // max(1, rows))
        self._hive = _hive_columns(files, self._schema.names)
        self._masks = _astropy_masks(self._schema)
        own = tuple(column_from_arrow(f) for f in self._schema if f.name not in self._masks.values())
        self._own = len(own)
        info = TableInfo((*own, *self._hive), rows=rows)
        super().__init__(_with_metadata(info, self._schema, source), source.limits)

    def _iter_batches(self, chosen: list[int], schema: pa.Schema, batch_rows: int) -> Iterator[pa.RecordBatch]:
        row = 1
        for file in self._files:
            with self._open(file) as opened, arrow_errors(_KIND, file.label):
                if not any(index < self._own for index in chosen):
                    sizes = _split(opened.metadata.num_rows, batch_rows)
                    batches: Iterator[pa.RecordBatch] = (_empty_batch(count) for count in sizes)
                else:
                    wanted = [self.columns[i].name for i in chosen if i < self._own]
                    wanted += [self._masks[name] for name in wanted if name in self._masks]
                    batches = self._batches(file, opened, wanted, batch_rows)
                for batch in batches:
                    batch.validate(full=True)
                    yield self._conformed(batch, chosen, schema, file, row)
                    row += batch.num_rows

    def _batches(
        self, file: _File, opened: pq.ParquetFile, wanted: list[str], batch_rows: int
    ) -> Iterator[pa.RecordBatch]:
        """Rows, as many at a time as take no more than a batch may, whatever they are packed in."""
        with self._bytes_of(file) as stream:
            survey = PageSurvey(stream, opened, self._limits, file.label)
            if self._limits.max_bytes is None:
                widest = max((group.row_bytes for group in survey.row_groups()), default=1)
                yield from opened.iter_batches(self._step(widest, batch_rows), columns=wanted)
                return
            for number, group in enumerate(survey.row_groups()):
                # One by one: what a row group holds is bounded, and the rows that its footer claims may be none.
                step = self._step(group.row_bytes, batch_rows)
                yield from opened.iter_batches(step, row_groups=[number], columns=wanted)

    def _step(self, row_bytes: int, batch_rows: int) -> int:
        return max(1, min(batch_rows, BATCH_BYTES // max(row_bytes, self._row_bytes, 1)))

    def _conformed(
        self, batch: pa.RecordBatch, chosen: list[int], schema: pa.Schema, file: _File, row: int
    ) -> pa.RecordBatch:
        values = dict(file.parts)
        places = {name: place for place, name in enumerate(batch.schema.names)}
        arrays = []
        for index in chosen:
            column = self.columns[index]
            if index < self._own:
                arrays.append(self._unmasked(batch, places, column.name))
            else:
                arrays.append(_constant(values.get(column.name), column, batch.num_rows))
        whole = pa.RecordBatch.from_arrays(arrays, names=schema.names)
        return conform_batch(whole, [self.columns[index] for index in chosen], schema, row)

    def _unmasked(self, batch: pa.RecordBatch, places: dict[str, int], name: str) -> pa.Array:
        array = batch.column(places[name])
        if name not in self._masks:
            return array
        mask = batch.column(places[self._masks[name]]).fill_null(False)
        # take() with a null index gives null, for nested types too, which if_else does not.
        rows = pc.if_else(mask, None, pa.array(np.arange(len(array))))
        return array.take(rows)

    def _open(self, file: _File) -> pq.ParquetFile:
        with arrow_errors(_KIND, file.label), self._bytes_of(file) as stream:
            footer_size(stream, self._limits, file.label)
            return pq.ParquetFile(
                stream if file.path is None else file.path,
                pre_buffer=False,
                thrift_string_size_limit=self._limits.max_header_bytes,
                # Elements of the schema, row groups: of others' files no more than there can be use for.
                thrift_container_size_limit=10_000_000 if self._limits.max_bytes is None else 1_000_000,
            )

    @contextmanager
    def _bytes_of(self, file: _File) -> Iterator[BinaryIO]:
        if file.path is not None:
            with file.path.open("rb") as stream:
                yield stream
            return
        self._source.size()
        yield self._source.random()

    def close(self) -> None:
        self._source.close()


def _astropy_masks(schema: pa.Schema) -> dict[str, str]:
    """Column → the column of booleans beside it that says which of its values are missing: astropy's way of nulls."""
    if _ASTROPY_KEY not in (schema.metadata or {}):
        return {}
    return {
        name: f"{name}.mask"
        for name in schema.names
        if f"{name}.mask" in schema.names and pa.types.is_boolean(schema.field(f"{name}.mask").type)
    }


def _files_under(folder: Path) -> list[_File]:
    root = folder / "dataset" if (folder / "dataset").is_dir() else folder
    found: list[_File] = []
    for place, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "_")))
        here = Path(place)
        parts = tuple(
            (key, unquote(value))
            for key, sign, value in (part.partition("=") for part in here.relative_to(root).parts)
            if sign and key not in _HATS_KEYS
        )
        found += [
            _File(here / name, str((here / name).relative_to(folder)), parts)
            for name in sorted(names)
            if name.endswith(_ENDINGS) and not name.startswith((".", "_"))
        ]
    if not found:
        raise BadData(
            "The folder holds no Parquet files.",
            value=folder.name,
            allowed=f"files that end in {', '.join(_ENDINGS)}, also in folders below",
            next_step="Name the folder that holds the files, or name the files themselves.",
        )
    return found


def _unpacked_size(metadata: pq.FileMetaData) -> int:
    return sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))


def _require_same_schema(first: _File, schema: pa.Schema, other: _File, found: pa.Schema) -> None:
    for name in schema.names:
        if name not in found.names:
            raise _differs(first, other, f"column {name} is missing")
        ours, theirs = schema.field(name).type, found.field(name).type
        if ours != theirs:
            raise _differs(first, other, f"column {name} is {theirs}, not {ours}")
    extra = [name for name in found.names if name not in schema.names]
    if extra:
        raise _differs(first, other, f"column {extra[0]} is not in the first file")


def _differs(first: _File, other: _File, difference: str) -> BadData:
    return BadData(
        "The Parquet files of the folder do not have the same columns.",
        value=f"{other.label}: {difference}",
        allowed=f"the columns and types of {first.label}",
        next_step="Write the files again with one schema, or add them as separate tables.",
    )


def _hive_columns(files: list[_File], taken: list[str]) -> tuple[Column, ...]:
    values: dict[str, list[str]] = {}
    for file in files:
        for key, value in file.parts:
            if key not in taken:
                values.setdefault(key, []).append(value)
    return tuple(Column(key, INT if all(map(_is_small_int, found)) else STRING) for key, found in values.items())


def _is_small_int(text: str) -> bool:
    return text.removeprefix("-").isdecimal() and text.isascii() and abs(int(text)) < 2**31 if len(text) < 12 else False


def _constant(value: str | None, column: Column, count: int) -> pa.Array:
    target = arrow_type(column.type)
    if value is None:
        return pa.nulls(count, target)
    return pa.array(np.full(count, int(value), np.int32)) if column.type == INT else pa.repeat(value, count)


def _empty_batch(count: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.nulls(count)], names=[""])


def _split(count: int, step: int) -> Iterator[int]:
    for start in range(0, count, step):
        yield min(step, count - start)


def _with_metadata(info: TableInfo, schema: pa.Schema, source: Input) -> TableInfo:
    """Units, UCDs and descriptions from the VOTable or YAML that the file, or its catalogue, carries."""
    metadata = schema.metadata or {}
    common = _common_metadata(source)
    votable = metadata.get(_VOPARQUET_KEY) or common.get(_VOPARQUET_KEY)
    if votable is not None:
        return _merge(info, read_votable_header(votable, source.limits))
    table_yaml = metadata.get(_ASTROPY_KEY) or common.get(_ASTROPY_KEY)
    if table_yaml is not None:
        return _merge(info, read_table_yaml(table_yaml, source.limits))
    return info


def _common_metadata(source: Input) -> dict[bytes, bytes]:
    if source.path is None:
        return {}
    folder = source.path if source.is_folder else source.path.parent
    for place in (folder / "_common_metadata", folder / "dataset" / "_common_metadata"):
        if source.is_folder and place.is_file():
            with arrow_errors(_KIND, place.name):
                return dict(pq.read_schema(place).metadata or {})
    return {}


def _merge(info: TableInfo, told: TableInfo) -> TableInfo:
    by_name = {column.name: column for column in told.columns}
    columns = tuple(_merge_column(column, by_name.get(column.name)) for column in info.columns)
    return replace(told, columns=columns, rows=info.rows)


def _merge_column(column: Column, told: Column | None) -> Column:
    """The data's own type wins unless the metadata's is the same with more said (arraysize, xtype)."""
    if told is None:
        return column
    kind = told.type if _same_arrow_type(told, column) else column.type
    return Column(
        column.name,
        kind,
        unit=told.unit or column.unit,
        ucd=told.ucd or column.ucd,
        utype=told.utype or column.utype,
        description=told.description or column.description,
    )


def _same_arrow_type(one: Column, other: Column) -> bool:
    return bool(arrow_type(one.type) == arrow_type(other.type))
