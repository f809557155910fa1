"""CSV, TSV and ECSV: types found first, over the whole file or its head, then the rows.

Nulls are the empty field (not a quoted empty string, which is an empty string), ``NULL``, ``null`` and ``\\N`` in every
column; in columns of numbers also ``NaN``, ``NA``, ``N/A``, ``None``, ``--`` in the usual spellings. Blank lines are
passed over. ECSV has its types in its header and writes a null as an empty string, quoted or not.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from idac.core.errors import BadData
from idac.tables.arrow import arrow_type
from idac.tables.model import Column
from idac.tables.readers import packed
from idac.tables.readers.csv_header import read_header
from idac.tables.readers.csv_types import Block, Parse, TypeFinder
from idac.tables.readers.inputs import Input
from idac.tables.readers.ipc import refuse_table_choice
from idac.tables.readers.source import TableInfo, TableSource
from idac.tables.readers.text_values import TextColumn, parse_texts

NULLS = ["", "NULL", "null", "\\N"]
NUMBER_NULLS = [
    *NULLS,
    *("NaN", "nan", "NAN", "-NaN", "-nan", "NA", "N/A", "n/a", "#N/A", "None", "none", "--", "-"),
]
#: A block is as small as its columns allow, so that parsing stays within the processor's cache: blocks of 8 MiB take
#: half as long again.
_COLUMN_BYTES = 32 << 10
_LEAST_BLOCK_BYTES, _MOST_BLOCK_BYTES = 512 << 10, 8 << 20
#: A thread takes as many blocks at once, and joins their rows, which is cheaper for everyone who gets them.
_PIECE_BYTES = 4 << 20
#: Bytes that wait for each thread: its rows are larger still.
_AHEAD_BYTES = 8 << 20
#: Bytes that tell the types where the head is to tell them.
_HEAD_BYTES = 16 << 20
#: Spellings of truth that are no numbers: what Arrow takes for booleans once a column is known to hold them is more.
_TRUTHS = {"true_values": ["true", "True", "TRUE"], "false_values": ["false", "False", "FALSE"]}


def open_csv(
    source: Input,
    table: str | int | None,
    kind: Literal["csv", "tsv", "ecsv"],
    *,
    threads: int = 1,
    types_from_head: bool = False,
) -> TableSource:
    """The one table of a text file."""
    refuse_table_choice(table, kind.upper())
    if not source.is_seekable:
        source.random()  # types need a reading of their own
    return CsvSource(source, kind, threads=threads, types_from_head=types_from_head)


def _block_bytes(columns: int) -> int:
    return min(max(columns * _COLUMN_BYTES, _LEAST_BLOCK_BYTES), _MOST_BLOCK_BYTES)


class CsvSource(TableSource):
    """Rows of text. Blocks of whole records go to Arrow's parser one by one, so the row of any error is known.

    With *types_from_head* the first blocks tell the types, and each block is held to them as it is read.
    """

    def __init__(
        self,
        source: Input,
        kind: Literal["csv", "tsv", "ecsv"],
        *,
        threads: int = 1,
        types_from_head: bool = False,
    ) -> None:
        self._source = source
        self._kind = kind.upper()
        self._threads = threads
        #: What the head told, where rows may still ask for other types.
        self._guess: TypeFinder | None = None
        with source.stream() as stream:
            self._header = read_header(stream, kind, source.limits)
        width = len(self._header.names)
        source.limits.check_columns(width)
        self._block_bytes = _block_bytes(width)
        info = self._header.declared
        if info is None:
            columns, rows = self._find_types(_HEAD_BYTES if types_from_head else None)
            info = TableInfo(columns, rows=rows)
        super().__init__(info, source.limits)

    @property
    def has_guessed_types(self) -> bool:
        return self._guess is not None

    def _find_types(self, enough: int | None) -> tuple[tuple[Column, ...], int | None]:
        """The columns, and the rows where all were seen. *enough* bytes do once each column has shown a value."""
        finder = TypeFinder(self._header.names, NULLS, NUMBER_NULLS)
        rows = seen = 0
        for block in self._blocks():
            if enough is not None and seen >= enough and finder.has_seen_all:
                self._guess = finder
                return finder.columns(), None
            rows += finder.look_at(partial(self._parse, rows_before=rows), block)
            seen += len(block)
            self._source.limits.check_rows(rows)
        return finder.columns(), rows

    def _blocks(self) -> Iterator[Block]:
        """Whole records, each block one that nobody changes any more."""
        with self._source.stream() as stream:
            stream.skip(self._header.data_start)
            rest = b""
            while True:
                # What is left of the block before, and the next bytes behind it: they stay where they are read to.
                block = bytearray(len(rest) + self._block_bytes)
                block[: len(rest)] = rest
                with memoryview(block) as room:
                    read = stream.readinto(room[len(rest) :])
                if not read:
                    break
                del block[len(rest) + read :]
                if b'"' in block:
                    cut = _record_end(block, self._header.newline, self._source.limits.max_cell_bytes)
                else:
                    cut = block.rfind(self._header.newline) + 1
                rest = bytes(block[cut:])
                del block[cut:]
                if block:
                    yield block
                elif len(rest) > self._source.limits.max_cell_bytes + self._block_bytes:
                    raise BadData(
                        f"The {self._kind} file has a line that is too long.",
                        value=f"more than {len(rest)} bytes",
                        allowed=f"values of at most {self._source.limits.max_cell_bytes} bytes (max_cell_bytes)",
                        next_step="Check the quotes and line ends of the file.",
                    )
            if rest.strip(b"\r\n"):
                yield rest

    def _parse(self, data: Block, *, rows_before: int, columns: list[str] | None = None, **options: object) -> pa.Table:
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
                    delimiter=self._header.delimiter, newlines_in_values=b'"' in data, invalid_row_handler=note
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

    def _refuse_other_encodings(self, data: Block, rows_before: int) -> None:
        if data.isascii():
            return
        try:
            data.decode("utf-8")
        except UnicodeDecodeError as error:
            place = error.start
            row = rows_before + data.count(self._header.newline, 0, place) + 1
            raise BadData(
                f"Row {row}: the text is not UTF-8.",
                value=repr(bytes(data[max(0, place - 10) : place + 10])),
                allowed="UTF-8, with or without a byte order mark",
                next_step="Convert the file, with `iconv -t UTF-8` for instance.",
            ) from error

    def _iter_batches(self, chosen: list[int], schema: pa.Schema, batch_rows: int) -> Iterator[pa.RecordBatch]:
        for table in self._tables(chosen, schema) if self._threads > 1 else self._tables_singly(chosen, schema):
            # A table of rows without columns would lose their number.
            yield from (table.combine_chunks() if table.num_columns else table).to_batches(max_chunksize=batch_rows)

    def _pieces(self) -> Iterator[list[Block]]:
        piece: list[Block] = []
        size = 0
        for block in self._blocks():
            piece.append(block)
            size += len(block)
            if size >= _PIECE_BYTES:
                yield piece
                piece, size = [], 0
        if piece:
            yield piece

    def _tables_singly(self, chosen: list[int], schema: pa.Schema) -> Iterator[pa.Table]:
        row = 1
        for piece in self._pieces():
            table = self._convert(piece, chosen, schema, row)
            yield table
            row += table.num_rows

    def _tables(self, chosen: list[int], schema: pa.Schema) -> Iterator[pa.Table]:
        """The pieces in their order, converted by several threads; some wait, so that none of these has to."""
        ahead = self._threads * max(1, _AHEAD_BYTES // max(_PIECE_BYTES, self._block_bytes))
        waiting: deque[tuple[list[Block], Future[pa.Table]]] = deque()
        row = 1
        with ThreadPoolExecutor(self._threads) as pool:
            for piece in itertools.chain(self._pieces(), [None]):
                if piece is not None:
                    waiting.append((piece, pool.submit(self._convert, piece, chosen, schema, 1)))
                while waiting and (piece is None or len(waiting) > ahead):
                    data, future = waiting.popleft()
                    try:
                        table = future.result()
                    except BadData:
                        # Once more, now that its first row is known, for an error that tells the place.
                        table = self._convert(data, chosen, schema, row)
                    yield table
                    row += table.num_rows

    def _convert(self, piece: list[Block], chosen: list[int], schema: pa.Schema, first_row: int) -> pa.Table:
        """The rows of blocks that follow each other, of which the first is *first_row*."""
        columns = [self.columns[index] for index in chosen]
        # A column must be parsed to count the rows, and one that is chosen by none is as good as any.
        direct = {c.name: _direct_type(c) for c in columns or self.columns[:1]}
        tables: list[pa.Table] = []
        row = first_row
        for block in piece:
            try:
                tables.append(self._parse_block(block, direct, row))
            except BadData:
                # Of two errors the one in the earlier row is told.
                self._finished(tables, columns, schema, first_row)
                raise
            row += tables[-1].num_rows
        if not columns:
            return pa.Table.from_batches([_rows_only(row - first_row)])
        return self._finished(tables, columns, schema, first_row)

    def _finished(self, tables: list[pa.Table], columns: list[Column], schema: pa.Schema, first_row: int) -> pa.Table:
        """The rows of parsed blocks in the types of *schema*. Raises BadData for values that are not of them."""
        parts = []
        row = first_row
        # A block with a value that Arrow's parser does not take has text where others have numbers.
        for _, alike in itertools.groupby(tables, key=lambda table: table.schema):
            same = pa.concat_tables(alike)
            arrays = [
                _finish(same.column(i), column, row, is_ecsv=self._header.declared is not None)
                for i, column in enumerate(columns)
            ]
            parts.append(pa.Table.from_arrays(arrays, schema=schema))
            row += same.num_rows
        return pa.concat_tables(parts) if parts else schema.empty_table()

    def _parse_block(self, block: Block, direct: dict[str, pa.DataType], first_row: int) -> pa.Table:
        """A block's columns in the types of *direct*, or as text."""
        parse, wanted = partial(self._parse, rows_before=first_row - 1), list(direct)
        is_ecsv = self._header.declared is not None
        options: dict[str, Any] = {"quoted_strings_can_be_null": True, "null_values": [""]} if is_ecsv else {}
        table = self._parse_as_guessed(parse, block, direct, wanted)
        if table is not None:
            return table
        try:
            return parse(block, columns=wanted, column_types=direct, **options)
        except pa.ArrowInvalid:
            # Some value is written in a way that Arrow's parser does not take: read text, and convert it ourselves.
            return parse(block, columns=wanted, column_types=dict.fromkeys(wanted, pa.string()), **options)

    def _parse_as_guessed(
        self, parse: Parse, block: Block, direct: dict[str, pa.DataType], wanted: list[str]
    ) -> pa.Table | None:
        """The block, where the types that were guessed hold it plainly; None where it must be parsed as any other.

        Raises TypesOutgrown where they do not hold it.
        """
        if self._guess is None:
            return None
        try:
            table = parse(block, columns=wanted, column_types=direct, **_TRUTHS)
        except pa.ArrowInvalid:
            table = None
        if table is None or any(self._guess.needs_look(name, table.column(name)) for name in wanted):
            self._guess.require_held(parse, block)
        return table

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


def _record_end(data: Block, newline: bytes, max_cell_bytes: int) -> int:
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
