"""CSV, TSV and ECSV: types found over the whole file first, then the rows.

Nulls are the empty field (not a quoted empty string, which is an empty string), ``NULL``, ``null`` and ``\\N`` in every
column; in columns of numbers also ``NaN``, ``NA``, ``N/A``, ``None``, ``--`` in the usual spellings. Blank lines are
passed over. ECSV has its types in its header and writes a null as an empty string, quoted or not.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from idac.core.errors import BadData
from idac.tables.arrow import arrow_type
from idac.tables.model import Column
from idac.tables.readers import packed
from idac.tables.readers.csv_header import read_header
from idac.tables.readers.csv_types import TypeFinder
from idac.tables.readers.inputs import Input
from idac.tables.readers.ipc import refuse_table_choice
from idac.tables.readers.source import TableInfo, TableSource
from idac.tables.readers.text_values import TextColumn, parse_texts

NULLS = ["", "NULL", "null", "\\N"]
NUMBER_NULLS = [
    *NULLS,
    *("NaN", "nan", "NAN", "-NaN", "-nan", "NA", "N/A", "n/a", "#N/A", "None", "none", "--", "-"),
]
_BLOCK_BYTES = 8 * 2**20


def open_csv(source: Input, table: str | int | None, kind: Literal["csv", "tsv", "ecsv"]) -> TableSource:
    """The one table of a text file."""
    refuse_table_choice(table, kind.upper())
    if not source.is_seekable:
        source.random()  # types need a reading of their own
    return CsvSource(source, kind)


class CsvSource(TableSource):
    """Rows of text. Blocks of whole records go to Arrow's parser one by one, so the row of any error is known."""

    def __init__(self, source: Input, kind: Literal["csv", "tsv", "ecsv"]) -> None:
        self._source = source
        self._kind = kind.upper()
        with source.stream() as stream:
            self._header = read_header(stream, kind, source.limits)
        source.limits.check_columns(len(self._header.names))
        info = self._header.declared
        if info is None:
            columns, rows = self._find_types()
            info = TableInfo(columns, rows=rows)
        super().__init__(info, source.limits)

    def _find_types(self) -> tuple[tuple[Column, ...], int]:
        finder = TypeFinder(self._header.names, NULLS, NUMBER_NULLS)
        rows = 0
        for block in self._blocks():
            rows += finder.look_at(partial(self._parse, rows_before=rows), block)
            self._source.limits.check_rows(rows)
        return finder.columns(), rows

    def _blocks(self) -> Iterator[bytes]:
        with self._source.stream() as stream:
            stream.skip(self._header.data_start)
            rest = b""
            while True:
                data = stream.read(_BLOCK_BYTES)
                rest += data
                if not data:
                    break
                cut = _record_end(rest, self._header.newline, self._source.limits.max_cell_bytes)
                if cut:
                    yield rest[:cut]
                    rest = rest[cut:]
                elif len(rest) > self._source.limits.max_cell_bytes + _BLOCK_BYTES:
                    raise BadData(
                        f"The {self._kind} file has a line that is too long.",
                        value=f"more than {len(rest)} bytes",
                        allowed=f"values of at most {self._source.limits.max_cell_bytes} bytes (max_cell_bytes)",
                        next_step="Check the quotes and line ends of the file.",
                    )
            if rest.strip(b"\r\n"):
                yield rest

    def _parse(self, data: bytes, *, rows_before: int, columns: list[str] | None = None, **options: object) -> pa.Table:
        """A block through Arrow's parser; BadData with the row for a wrong number of fields or text that is no UTF-8.

        Raises pa.ArrowInvalid where a value does not convert.
        """
        # Before the parser sees it, whose call for a wrong row fails where the row is in another encoding.
        self._refuse_other_encodings(data, rows_before)
        wrong: list[arrow_csv.InvalidRow] = []

        def note(row: arrow_csv.InvalidRow) -> str:
            wrong.append(row)
            return "error"

        convert = {"strings_can_be_null": True, "quoted_strings_can_be_null": False, "null_values": NULLS, **options}
        try:
            return arrow_csv.read_csv(
                pa.BufferReader(data),
                # Without threads the parser knows the number of a wrong row.
                arrow_csv.ReadOptions(use_threads=False, block_size=len(data) + 16, column_names=self._header.names),
                arrow_csv.ParseOptions(
                    delimiter=self._header.delimiter, newlines_in_values=True, invalid_row_handler=note
                ),
                arrow_csv.ConvertOptions(include_columns=columns, **convert),
            )
        except pa.ArrowInvalid as error:
            if wrong:
                raise self._wrong_count(wrong[0], rows_before) from error
            if "CSV conversion error" in str(error):
                raise
            raise BadData(
                f"The {self._kind} file can't be parsed, after row {rows_before}.",
                value=str(error).splitlines()[0][:120],
                allowed="lines of fields, quoted with double quotes where they hold the separator",
                next_step="Check the quotes of the file.",
            ) from error

    def _wrong_count(self, row: arrow_csv.InvalidRow, rows_before: int) -> BadData:
        number = rows_before + (row.number or 1)
        return BadData(
            f"Row {number}: the number of fields is not the number of columns.",
            value=f"{row.actual_columns} fields: {row.text}",
            allowed=f"{row.expected_columns}, one for each name in the header",
            next_step="Correct the row; a field that holds the separator must be quoted.",
        )

    def _refuse_other_encodings(self, data: bytes, rows_before: int) -> None:
        try:
            data.decode("utf-8")
        except UnicodeDecodeError as error:
            place = error.start
            row = rows_before + data.count(self._header.newline, 0, place) + 1
            raise BadData(
                f"Row {row}: the text is not UTF-8.",
                value=repr(data[max(0, place - 10) : place + 10]),
                allowed="UTF-8, with or without a byte order mark",
                next_step="Convert the file, with `iconv -t UTF-8` for instance.",
            ) from error

    def _iter_batches(self, chosen: list[int], schema: pa.Schema, batch_rows: int) -> Iterator[pa.RecordBatch]:
        row = 1
        for block in self._blocks():
            table = self._convert(block, chosen, schema, row)
            yield from table.to_batches(max_chunksize=batch_rows)
            row += table.num_rows

    def _convert(self, block: bytes, chosen: list[int], schema: pa.Schema, first_row: int) -> pa.Table:
        columns = [self.columns[index] for index in chosen]
        names = [column.name for column in columns]
        # A column must be parsed to count the rows, and one that is chosen by none is as good as any.
        wanted = names or [self.columns[0].name]
        is_ecsv = self._header.declared is not None
        options = {"quoted_strings_can_be_null": True, "null_values": [""]} if is_ecsv else {}
        direct = {c.name: _direct_type(c) for c in columns}
        try:
            table = self._parse(block, rows_before=first_row - 1, columns=wanted, column_types=direct, **options)
        except pa.ArrowInvalid:
            # Some value is written in a way that Arrow's parser does not take: read text, and convert it ourselves.
            texts = dict.fromkeys(wanted, pa.string())
            table = self._parse(block, rows_before=first_row - 1, columns=wanted, column_types=texts, **options)
        if not names:
            return pa.Table.from_batches([_rows_only(table.num_rows)])
        arrays = [
            _finish(table.column(i).combine_chunks(), column, first_row, is_ecsv=is_ecsv)
            for i, column in enumerate(columns)
        ]
        return pa.Table.from_arrays(arrays, schema=schema)

    def close(self) -> None:
        self._source.close()


def _rows_only(count: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_struct_array(pa.array([{}] * count, pa.struct([])))


def _direct_type(column: Column) -> pa.DataType:
    """What Arrow's parser can make of a column by itself; the rest is text until ``_finish``."""
    target = arrow_type(column.type)
    if column.type.is_timestamp or not (pa.types.is_primitive(target) or pa.types.is_string(target)):
        return pa.string()
    return target


def _finish(array: pa.Array | pa.ChunkedArray, column: Column, first_row: int, *, is_ecsv: bool) -> pa.Array:
    """The column as its type says, from Arrow's own conversion or from text."""
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    target = arrow_type(column.type)
    if array.type == target:
        return packed.without_nan(array) if pa.types.is_floating(target) else array
    if is_ecsv and column.type.datatype.endswith("Complex"):
        return _complexes(array, column, target, first_row)
    if not is_ecsv:
        array = pc.if_else(pc.is_in(array, pa.array(NUMBER_NULLS)), None, array)
    elif column.type.arraysize:
        array = _json_as_words(array, target)
    return parse_texts(array, TextColumn(column), first_row)


def _json_as_words(texts: pa.Array, target: pa.DataType) -> pa.Array:
    """ECSV writes arrays as JSON; brackets say no more than the shape already does."""
    flat = pc.utf8_trim_whitespace(pc.replace_substring_regex(texts, r"[\[\]\s]+", " "))
    flat = pc.replace_substring_regex(flat, r"\s*,\s*", " ")
    is_float = not pa.types.is_binary(target) and pa.types.is_floating(target.value_type)
    return pc.replace_substring(flat, "null", "nan") if is_float else flat


def _complexes(texts: pa.Array, column: Column, target: pa.DataType, first_row: int) -> pa.Array:
    values: list[list[float] | None] = []
    for row, text in enumerate(texts.to_pylist(), first_row):
        try:
            number = complex(text) if text else None
        except ValueError as error:
            raise BadData(
                f"Row {row}: the value of column {column.name} is no complex number.",
                value=repr(text),
                allowed="a number such as 1.5+2j",
                next_step="Correct the value.",
            ) from error
        values.append(None if number is None else [number.real, number.imag])
    return pa.array(values, target)


def _record_end(data: bytes, newline: bytes, max_cell_bytes: int) -> int:
    """The place behind the last line end that is not within quotes; 0 where there is none.

    *data* begins outside quotes, so a line end is outside them where the quotes before it are even in number. Where
    no line end is so for longer than a value may be, a stray quote in a field that is not quoted is the likelier
    reason: then the last line end is taken.
    """
    last = data.rfind(newline)
    if last < 0:
        return 0
    if b'"' not in data:
        return last + 1
    codes = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(codes == newline[0])
    quotes = np.flatnonzero(codes == ord('"'))
    even = np.searchsorted(quotes, ends) % 2 == 0
    good = ends[even]
    if len(good):
        return int(good[-1]) + 1
    return last + 1 if len(data) > max_cell_bytes else 0
