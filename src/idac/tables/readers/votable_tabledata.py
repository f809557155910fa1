"""VOTable's TABLEDATA: chunks of rows cut by a column at a time, with the XML parser for whatever is unusual.

Three Python calls a cell (start, text, end) bound any event parser to some 10⁵ rows a second. Almost every TABLEDATA
has nothing but ``<TR>``, ``<TD>`` and text between them, though, and such a chunk falls into columns by one split at
``<`` and strided slices. Whatever breaks that pattern goes to the parser, which judges it by the book.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import pyarrow as pa

from idac.core.errors import BadData
from idac.tables.readers.source import ReadLimits
from idac.tables.readers.text_values import TextColumn, parse_texts

_ENTITY = re.compile(r"&(?:(lt|gt|amp|quot|apos)|#(\d{1,7})|#x([0-9a-fA-F]{1,6}));")
_NAMED = {"lt": "<", "gt": ">", "amp": "&", "quot": '"', "apos": "'"}
#: Bytes that XML 1.0 forbids; the parser says so where one is met.
_FORBIDDEN = bytes(set(range(32)) - {9, 10, 13})

type TextRows = list[list[str]]


class TableRows:
    """Cells of text by column, from the parser's events or from whole chunks."""

    def __init__(self, specs: list[TextColumn], limits: ReadLimits, prefix: str) -> None:
        self._specs = specs
        self._limits = limits
        self._columns: TextRows = [[] for _ in specs]
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
        return len(self._columns[-1]) if self._columns else 0

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
        cells = [pieces[2 + 2 * i :: stride] for i in range(len(self._specs))]
        prefix = len(self._open_td)
        taken = []
        for column in cells:
            if not all(cell.startswith(self._open_td) for cell in column):
                return False
            texts = [cell[prefix:] for cell in column]
            if "&" in "".join(texts) and not _resolve_entities(texts):
                return False
            if len(data) > self._limits.max_cell_bytes and max(map(len, texts)) > self._limits.max_cell_bytes:
                return False
            taken.append(texts)
        for waiting, texts in zip(self._columns, taken, strict=True):
            waiting.extend(texts)
        return True

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
        while self.waiting >= batch_rows or (flush and self.waiting):
            count = min(batch_rows, self.waiting)
            arrays = [
                parse_texts(pa.array(self._columns[i][:count], pa.string()), self._specs[i], self.done + 1)
                for i in chosen
            ]
            for column in self._columns:
                del column[:count]
            self.done += count
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)


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
