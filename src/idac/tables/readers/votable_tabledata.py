"""VOTable's TABLEDATA: chunks of rows cut by a column at a time, with the XML parser for whatever is unusual.

Three Python calls a cell (start, text, end) bound any event parser to some 10⁵ rows a second. Almost every TABLEDATA
has nothing but ``<TR>``, ``<TD>`` and text between them, though, and such a chunk falls into columns by one split at
``<`` and strided slices. Whatever breaks that pattern goes to the parser, which judges it by the book.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from idac.core.errors import BadData
from idac.tables.readers.source import ReadLimits
from idac.tables.readers.text_values import TextColumn, parse_texts

_ENTITY = re.compile(r"&(?:(lt|gt|amp|quot|apos)|#(\d{1,7})|#x([0-9a-fA-F]{1,6}));")
_NAMED = {"lt": "<", "gt": ">", "amp": "&", "quot": '"', "apos": "'"}
#: Bytes that XML 1.0 forbids; the parser says so where one is met.
_FORBIDDEN = bytes(set(range(32)) - {9, 10, 13})


class TableRows:
    """Cells of text by column, from the parser's events or from whole chunks."""

    def __init__(self, specs: list[TextColumn], limits: ReadLimits, prefix: str) -> None:
        self._specs = specs
        self._limits = limits
        #: Rows from the parser; whole chunks wait as arrays in front of them.
        self._columns: list[list[str]] = [[] for _ in specs]
        self._chunks: list[list[pa.Array]] = []
        self._chunk_rows = 0
        self._row: list[str] | None = None
        self._cell: list[str] | None = None
        self._cell_size = 0
        #: Rows handed out so far.
        self.done = 0
        self._open_td = f"{prefix}TD>"
        self._close_td = f"/{prefix}TD>"
        self._open_tr = f"{prefix}TR>"
        self._close_tr = f"/{prefix}TR>"
        self._empty = (f"<{prefix}TD/>".encode(), f"<{prefix}TD />".encode())
        self._full = f"<{prefix}TD></{prefix}TD>".encode()

    @property
    def waiting(self) -> int:
        """Whole rows that wait to be handed out."""
        return self._chunk_rows + len(self._columns[0])

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        if name == "TR":
            self._row = []
        elif name == "TD" and self._row is not None:
            self._cell, self._cell_size = [], 0
            if attributes.get("encoding"):
                raise BadData(
                    f"Row {self._number}: a cell of the VOTable is encoded.",
                    value=attributes["encoding"],
                    allowed="plain text in TD elements",
                    next_step="Write the table again without the encoding, or as BINARY2.",
                )
        else:
            raise BadData(
                f"Row {self._number}: an element stands where the VOTable's rows are.",
                value=name,
                allowed="TR, and TD within it",
                next_step="Correct the file; `stilts votlint` shows the place.",
            )

    def text(self, data: str) -> None:
        if self._cell is not None and self._row is not None:
            self._cell_size += len(data)
            if self._cell_size > self._limits.max_cell_bytes:
                column = self._specs[min(len(self._row), len(self._specs) - 1)].column.name
                self._limits.check_cell(self._cell_size, column, self._number)
            self._cell.append(data)

    def end(self, name: str) -> None:
        if name == "TD" and self._row is not None:
            self._row.append("".join(self._cell or ()))
            self._cell = None
            if len(self._row) > len(self._specs):
                raise self._wrong_count(f"more than {len(self._specs)} TD elements")
        elif name == "TR" and self._row is not None:
            if len(self._row) != len(self._specs):
                raise self._wrong_count(f"{len(self._row)} TD elements")
            for column, cell in zip(self._columns, self._row, strict=True):
                column.append(cell)
            self._row = None

    @property
    def _number(self) -> int:
        return self.done + self.waiting + 1

    def _wrong_count(self, found: str) -> BadData:
        return BadData(
            f"Row {self._number}: the number of cells is not the number of FIELDs.",
            value=found,
            allowed=f"{len(self._specs)}, one for each FIELD",
            next_step="Correct the row, or the FIELDs.",
        )

    def take_chunk(self, data: bytes, encoding: str) -> bool:
        """Take whole rows as bytes; False, with nothing taken, where the parser must judge them."""
        if len(data.translate(None, _FORBIDDEN)) != len(data):
            return False
        for empty in self._empty:
            data = data.replace(empty, self._full)
        try:
            pieces = data.decode(encoding).split("<")
        except (UnicodeDecodeError, LookupError):
            return False
        stride = 2 * len(self._specs) + 2
        if pieces[0].strip() or (len(pieces) - 1) % stride:
            return False
        if not self._has_pattern(pieces, stride):
            return False
        taken = []
        for i in range(len(self._specs)):
            texts = self._cells(pa.array(pieces[2 + 2 * i :: stride], pa.string()))
            if texts is None:
                return False
            taken.append(texts)
        self._settle()
        self._add_chunk(taken)
        return True

    def _cells(self, tagged: pa.Array) -> pa.Array | None:
        """A column's text without the tag before it; None where that is another tag, or the text is out of bounds."""
        if not pc.all(pc.starts_with(tagged, self._open_td)).as_py():
            return None
        texts = pc.utf8_slice_codeunits(tagged, len(self._open_td))
        if pc.max(pc.binary_length(texts)).as_py() > self._limits.max_cell_bytes:
            return None
        if not pc.any(pc.match_substring(texts, "&")).as_py():
            return texts
        resolved = texts.to_pylist()
        return pa.array(resolved, pa.string()) if _resolve_entities(resolved) else None

    def _settle(self) -> None:
        """Make a chunk of the rows that came from the parser, so that all rows stay in order."""
        if self._columns[0]:
            chunk = [pa.array(column, pa.string()) for column in self._columns]
            for column in self._columns:
                column.clear()
            self._add_chunk(chunk)

    def _add_chunk(self, chunk: list[pa.Array]) -> None:
        self._chunks.append(chunk)
        self._chunk_rows += len(chunk[0])

    def _has_pattern(self, pieces: list[str], stride: int) -> bool:
        """Whether every row is ``TR`` (``TD`` text ``/TD``)… ``/TR`` with only blanks between the tags."""
        ends = {self._open_tr: pieces[1::stride], self._close_tr: pieces[stride::stride]}
        for tag, found in ends.items():
            if any(piece.rstrip() != tag for piece in set(found)):
                return False
        return all(
            piece.rstrip() == self._close_td
            for i in range(len(self._specs))
            for piece in set(pieces[3 + 2 * i :: stride])
        )

    def batches(
        self, chosen: list[int], schema: pa.Schema, batch_rows: int, *, flush: bool
    ) -> Iterator[pa.RecordBatch]:
        """Batches of the rows that wait: full ones, and the rest too where *flush* says that no more come."""
        if self.waiting < batch_rows and not (flush and self.waiting):
            return
        self._settle()
        waiting = [pa.concat_arrays([chunk[i] for chunk in self._chunks]) for i in range(len(self._specs))]
        self._chunks.clear()
        rows, self._chunk_rows = self._chunk_rows, 0
        start = 0
        while rows - start >= batch_rows or (flush and start < rows):
            count = min(batch_rows, rows - start)
            arrays = [parse_texts(waiting[i].slice(start, count), self._specs[i], self.done + 1) for i in chosen]
            self.done += count
            start += count
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)
        if start < rows:
            self._add_chunk([array.slice(start) for array in waiting])


def _resolve_entities(texts: list[str]) -> bool:
    """Put the characters in place that ``&lt;`` and ``&#65;`` mean; False where one is not XML's own."""
    for index, text in enumerate(texts):
        if "&" in text:
            if len(_ENTITY.findall(text)) != text.count("&"):
                return False
            try:
                texts[index] = _ENTITY.sub(_character, text)
            except ValueError:
                return False
    return True


def _character(found: re.Match[str]) -> str:
    name, decimal, hexadecimal = found.groups()
    if name:
        return _NAMED[name]
    number = int(decimal) if decimal else int(hexadecimal, 16)
    if number > 0x10FFFF or 0xD800 <= number < 0xE000 or (number < 32 and number not in (9, 10, 13)):
        raise ValueError(number)
    return chr(number)
