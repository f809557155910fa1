"""VOTables from 1.0 to 1.5 as a stream: TABLEDATA, BINARY and BINARY2, read once from front to back."""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
import pybase64

from idac.core.errors import BadData
from idac.tables.readers.inputs import ByteStream, Input
from idac.tables.readers.source import BATCH_BYTES, ReadLimits, TableInfo, TableSource
from idac.tables.readers.text_values import TextColumn
from idac.tables.readers.votable_binary import BinaryRows, binary_field
from idac.tables.readers.votable_header import Header, HeaderReader
from idac.tables.readers.votable_tabledata import TableRows
from idac.tables.readers.votable_xml import XmlReader

_BLOCK = 1 << 20
_TABLEDATA = re.compile(rb"<(?:([A-Za-z_][\w.-]*):)?TABLEDATA\s*>")
_ROW_END = re.compile(rb"</(?:[A-Za-z_][\w.-]*:)?TR\s*>")
_DATA_NAME = b"TABLEDATA"
_ASCII_LIKE = frozenset(("utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "latin-1", "latin1"))
_BASE64_SPACE = b" \t\r\n"


def open_votable(source: Input, table: str | int | None = None) -> TableSource:
    """The first table of a VOTable, or the one with the name, ID or number *table*."""
    return VOTableSource(source, table, _parser_at_rows(source, table))


def _parser_at_rows(source: Input, table: str | int | None) -> _Parser:
    """A parser that has read the header; the stream is closed where that fails."""
    parser = _Parser(source.stream(), source.limits, table)
    try:
        parser.read_header()
    except BaseException:
        parser.close()
        raise
    return parser


class VOTableSource(TableSource):
    """The rows of one TABLE; the first reading goes on where the header ended, each later one starts anew."""

    def __init__(self, source: Input, table: str | int | None, parser: _Parser) -> None:
        super().__init__(parser.info, source.limits)
        self._source = source
        self._table = table
        self._parser: _Parser | None = parser

    def _iter_batches(self, chosen: list[int], schema: pa.Schema, batch_rows: int) -> Iterator[pa.RecordBatch]:
        parser, self._parser = self._parser, None
        if parser is None:
            parser = _parser_at_rows(self._source, self._table)
        try:
            yield from parser.batches(chosen, schema, batch_rows)
        finally:
            parser.close()

    def close(self) -> None:
        if self._parser is not None:
            self._parser.close()
            self._parser = None
        self._source.close()


class _Parser:
    """One pass over a VOTable: header, then the chosen table's rows, then the rest for what it may still say."""

    def __init__(self, stream: ByteStream, limits: ReadLimits, choice: str | int | None) -> None:
        self._stream = stream
        self._limits = limits
        self._choice = choice
        self._header = HeaderReader(limits)
        self._xml = XmlReader(self._start, self._end, self._text, limits)
        self._buffer = b""
        self._at_end = False
        self._chosen: Header | None = None
        #: Elements open within DATA of the chosen table, or of another, which is passed over.
        self._in_data: str | None = None
        self._skipping = False
        self._rows_ended = False
        self._table_rows: TableRows | None = None
        self._binary: BinaryRows | None = None
        self._base64: list[str] = []
        self._in_stream = False
        self._prefix = ""
        self._fast = True
        self.info = TableInfo(())

    def close(self) -> None:
        self._stream.close()

    # -- the header

    def read_header(self) -> None:
        """Parse until the chosen table's rows begin or its element ends without any."""
        while (self._in_data is None or self._skipping) and not self._rows_ended:
            if self._at_end and not self._buffer:
                self._xml.finish()
                break
            self._advance()
        if self._chosen is None:
            raise self._no_table()
        if not self._chosen.fields:
            raise BadData(
                "The VOTable's table has no columns.",
                value=self._chosen.attributes.get("name") or f"table {self._chosen.number}",
                allowed="at least one FIELD",
                next_step="Choose another table of the file by name or number.",
            )
        self.info = self._header.table_info(self._chosen)

    def _no_table(self) -> BadData:
        header = self._header
        if header.error_text is not None:
            return BadData(
                "The VOTable is a service's error message, not a table.",
                value=header.error_text,
                allowed="a VOTable with a table",
                next_step="Mend the query that made it and send its result.",
            )
        names = ", ".join(t.attributes.get("name") or f"table {t.number}" for t in header.tables[:20])
        if self._choice is not None and names:
            return BadData(
                "The VOTable has no such table.",
                value=self._choice,
                allowed=names,
                next_step="Choose one of its tables by name or number, or leave the choice out.",
            )
        return BadData(
            "The VOTable holds no table.",
            allowed="a RESOURCE with a TABLE",
            next_step="Check how the file was made.",
        )

    # -- bytes to the parser

    def _advance(self) -> None:
        """Give the parser the next bytes, stopping right behind a TABLEDATA tag so that its rows can be cut here."""
        if not self._buffer:
            self._fill()
        if self._at_end and not self._buffer:
            self._xml.finish()
            return
        found = _TABLEDATA.search(self._buffer)
        if found:
            cut = found.end()
            self._prefix = f"{found.group(1).decode()}:" if found.group(1) else ""
        else:
            cut = self._whole_tags()
        data, self._buffer = self._buffer[:cut], self._buffer[cut:]
        self._xml.feed(data)

    def _whole_tags(self) -> int:
        """Where to cut so that a TABLEDATA tag is not split over two blocks."""
        last = self._buffer.rfind(b"<")
        if last < 0 or b">" in self._buffer[last:]:
            return len(self._buffer)
        if last == 0:
            if len(self._buffer) > _BLOCK or not self._fill():
                return len(self._buffer)
            return self._whole_tags()
        return last

    def _fill(self) -> bool:
        data = self._stream.read(_BLOCK)
        if not data:
            self._at_end = True
        self._buffer += data
        return bool(data)

    # -- the parser's events

    def _start(self, name: str, attributes: Mapping[str, str]) -> None:
        if self._in_data is not None:
            self._start_in_data(name, attributes)
            return
        if name in ("TABLEDATA", "BINARY", "BINARY2", "FITS") and self._header.table is not None:
            self._start_rows(name)
            return
        self._header.start(name, attributes)
        if name == "TABLE" and self._header.table is not None and self._chosen is None:
            table = self._header.table
            self._chosen = table if table.answers_to(self._choice) else None

    def _start_rows(self, name: str) -> None:
        self._in_data = name
        self._skipping = self._header.table is not self._chosen or self._rows_ended
        if self._skipping:
            return
        if name == "FITS":
            raise BadData(
                "The VOTable's rows are in a FITS stream.",
                allowed="TABLEDATA, BINARY or BINARY2",
                next_step="Send the FITS file itself.",
            )
        fields = self._header.table.fields if self._header.table else []
        columns = self._header.table_info(self._chosen).columns if self._chosen else ()
        if not fields:
            self._skipping = True
            return
        if name == "TABLEDATA":
            specs = [TextColumn(c, f.null, f.is_bits) for c, f in zip(columns, fields, strict=True)]
            self._table_rows = TableRows(specs, self._limits, self._prefix)
        else:
            packed = [binary_field(c, f.null, is_bits=f.is_bits) for c, f in zip(columns, fields, strict=True)]
            self._binary = BinaryRows(packed, self._limits, has_null_flags=name == "BINARY2")

    def _start_in_data(self, name: str, attributes: Mapping[str, str]) -> None:
        if self._skipping:
            return
        if self._table_rows is not None:
            self._table_rows.start(name, attributes)
        elif name == "STREAM":
            self._check_stream(attributes)
            self._in_stream = True

    @staticmethod
    def _check_stream(attributes: Mapping[str, str]) -> None:
        if attributes.get("href"):
            raise BadData(
                "The VOTable's rows are in another place.",
                value=attributes["href"],
                allowed="rows within the file; nothing is fetched from elsewhere",
                next_step="Write the table with its rows inline.",
            )
        if attributes.get("encoding", "base64") != "base64":
            raise BadData(
                "The VOTable's stream has an encoding that can't be read.",
                value=attributes["encoding"],
                allowed="base64",
                next_step="Write the stream in base64.",
            )

    def _end(self, name: str) -> None:
        if self._in_data is None:
            self._header.end(name)
            if name == "TABLE" and self._chosen is not None:
                self._rows_ended = True
        elif name == self._in_data:
            self._in_data = None
            if not self._skipping:
                self._rows_ended = True
            self._skipping = False
        elif self._table_rows is not None and not self._skipping:
            self._table_rows.end(name)
        elif name == "STREAM":
            self._in_stream = False

    def _text(self, data: str) -> None:
        if self._in_data is None:
            self._header.text(data)
        elif self._skipping:
            return
        elif self._table_rows is not None:
            self._table_rows.text(data)
        elif self._in_stream:
            self._base64.append(data)

    # -- the rows

    def batches(self, chosen: list[int], schema: pa.Schema, batch_rows: int) -> Iterator[pa.RecordBatch]:
        """The rows as batches, and then the rest of the document, which may still say that the rows are not all."""
        if self._table_rows is not None:
            yield from self._text_batches(self._table_rows, chosen, schema, batch_rows)
        elif self._binary is not None:
            yield from self._binary_batches(self._binary, chosen, schema, batch_rows)
        while not (self._at_end and not self._buffer):
            self._advance()
        if self._header.error_text is not None:
            raise BadData(
                "The service that wrote the VOTable stopped with an error before the last row.",
                value=self._header.error_text,
                allowed="a whole table",
                next_step="Run the query that made it again.",
            )

    def _text_batches(
        self, rows: TableRows, chosen: list[int], schema: pa.Schema, batch_rows: int
    ) -> Iterator[pa.RecordBatch]:
        self._fast = self._xml.encoding in _ASCII_LIKE
        step = min(batch_rows, max(1, BATCH_BYTES // (64 * len(self.info.columns))))
        while not self._rows_ended:
            if self._at_end and not self._buffer:
                self._xml.finish()
            if self._fast:
                self._take_rows(rows)
            else:
                self._advance()
            yield from rows.batches(chosen, schema, step, flush=False)
        yield from rows.batches(chosen, schema, step, flush=True)

    def _take_rows(self, rows: TableRows) -> None:
        """Take the whole rows in the buffer past the parser; hand over to it at the end or at anything unusual."""
        filled = self._fill()
        ending = self._buffer.find(_DATA_NAME)
        end = ending if ending >= 0 else len(self._buffer)
        if self._buffer.find(b"<!", 0, end) >= 0 or self._buffer.find(b"<?", 0, end) >= 0:
            # A comment or CDATA may hide a tag's look-alike from here on: the parser reads the rest of the table.
            self._fast = False
            return
        cut = _last_row_end(self._buffer, end)
        if cut:
            chunk, self._buffer = self._buffer[:cut], self._buffer[cut:]
            if rows.take_chunk(chunk, self._xml.encoding):
                self._xml.skip(chunk)
            else:
                self._xml.feed(chunk)
        elif len(self._buffer) > self._limits.max_cell_bytes * 2:
            self._fast = False
        if ending >= 0 or not filled:
            self._fast = False

    def _binary_batches(
        self, rows: BinaryRows, chosen: list[int], schema: pa.Schema, batch_rows: int
    ) -> Iterator[pa.RecordBatch]:
        data = np.empty(0, np.uint8)
        tail = b""
        first_row = 1
        want = max(1, min(BATCH_BYTES // 4, batch_rows * rows.least_row_bytes))
        while not self._rows_ended or self._base64:
            while not self._rows_ended and sum(map(len, self._base64)) < want:
                self._advance()
            text = tail + "".join(self._base64).encode("ascii", "replace").translate(None, _BASE64_SPACE)
            self._base64.clear()
            whole = len(text) if self._rows_ended else len(text) // 4 * 4
            tail = text[whole:]
            data = np.concatenate([data, np.frombuffer(_unpack(text[:whole], first_row), np.uint8)])
            while True:
                batch, used = rows.decode(data, chosen, schema, batch_rows, first_row)
                if not batch.num_rows:
                    break
                first_row += batch.num_rows
                data = data[used:]
                yield batch
        if len(data):
            raise BadData(
                f"Row {first_row}: the VOTable's binary stream breaks off within the row.",
                value=f"{len(data)} bytes left over",
                allowed="whole rows",
                next_step="Write or send the file again.",
            )


def _last_row_end(data: bytes, end: int) -> int:
    """The place behind the last ``</TR>`` before *end*; 0 where there is none."""
    start = end
    while (start := data.rfind(b"</", 0, start)) >= 0:
        found = _ROW_END.match(data, start, end)
        if found:
            return found.end()
    return 0


def _unpack(text: bytes, row: int) -> bytes:
    try:
        return bytes(pybase64.b64decode(text, validate=True))
    except (binascii.Error, ValueError) as error:
        raise BadData(
            f"The VOTable's binary stream is no base64, in row {row} or soon after.",
            value=str(error),
            allowed="base64 without gaps",
            next_step="Write or send the file again.",
        ) from error
