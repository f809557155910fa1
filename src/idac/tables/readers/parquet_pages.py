"""What the rows of a Parquet file take in memory, told by its pages: a footer may say anything of them.

A few bytes can stand for gigabytes: a page of zeros, a long text that a dictionary holds once and every row repeats, a
list that its levels repeat. So the headers of the pages are read before Arrow's reader unpacks any of them.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from idac.core.errors import BadData, TooLarge
from idac.tables.arrow import row_width
from idac.tables.readers.parquet_thrift import (
    DICTIONARY,
    Chunk,
    Page,
    RowGroup,
    read_page_header,
    read_row_groups,
)
from idac.tables.readers.source import ReadLimits

#: Bytes that one row group of a file that others sent may hold at once: of each column a page, the dictionary, and the
#: lists of all rows, for nobody knows before how long the longest is. Writers make pages of about 1 MB.
MOST_BYTES = 2**30
#: Pages of such a file. Writers make fewer than a thousand of a GB.
_MOST_PAGES = 1_000_000
#: Bytes of such a file's footer, which takes ten times as many in memory. Each chunk of a column takes about 100.
MOST_FOOTER = 16 * 2**20
_FIRST_READ = 512
#: Arrow's own limit for the header of a page.
_LONGEST_HEADER = 16 * 2**20
#: Some writers leave this much behind the end that the footer tells, and readers look there.
_BEHIND = 100
_DELTA_BYTE_ARRAY = 7
#: Codecs by their number in the format; the one that is none, and those that Arrow has a name for.
_UNPACKED = 0
_CODECS = {1: "snappy", 2: "gzip", 4: "brotli", 6: "zstd", 7: "lz4_raw"}
#: Bytes of offsets and levels that come with each text and with each element of a list.
_BESIDES = 8


@dataclass(slots=True)
class Reckoning:
    """What a row group takes in memory."""

    #: Bytes of a row, if its texts are the longest and its lists of usual length.
    row_bytes: int
    #: Bytes that are held together whatever the number of rows that are asked for.
    held: int


def footer_size(file: BinaryIO, limits: ReadLimits, label: str) -> int:
    """Bytes of a file's footer, by its last bytes; TooLarge where a file of others has more than is let in."""
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - 8))
    told = int.from_bytes(file.read(4), "little")
    most = min(limits.max_header_bytes, MOST_FOOTER)
    if limits.max_bytes is not None and most < told <= size:
        raise TooLarge(
            "The Parquet file has too long a footer.",
            value=f"{label}: {told} bytes",
            allowed=f"at most {most} bytes",
            next_step="Write the file again with larger row groups.",
        )
    return told


class PageSurvey:
    """Reads page headers of one file. With *limits* of an input that others sent, all of them, and refuses what is too
    much; else only the dictionaries of texts."""

    def __init__(self, file: BinaryIO, opened: pq.ParquetFile, limits: ReadLimits, label: str) -> None:
        self._file = file
        self._schema = opened.metadata.schema
        self._fixed = row_width(opened.schema_arrow)
        self._label = label
        self._is_foreign = limits.max_bytes is not None
        self._pages = 0
        self._footer = footer_size(file, limits, label)
        self._size = file.seek(0, io.SEEK_END)

    def row_groups(self) -> Iterator[Reckoning]:
        """What each row group takes; TooLarge where that is more than is let in."""
        groups = read_row_groups(self._read(self._size - 8 - self._footer, self._footer))
        try:
            # A footer is believed once all of it is read.
            for number, group in enumerate(list(groups) if self._is_foreign else groups):
                yield self._reckon(number, group)
        except (ValueError, IndexError) as error:
            if self._is_foreign:
                raise self._damaged(f"its footer: {error}") from error

    def _reckon(self, number: int, group: RowGroup) -> Reckoning:
        found = Reckoning(self._fixed, self._fixed)
        if len(group.chunks) != len(self._schema):
            raise ValueError("a column is missing, or one too many")
        for index, chunk in enumerate(group.chunks):
            self._add(found, group, chunk, self._schema.column(index))
            if self._is_foreign and found.held > MOST_BYTES:
                raise TooLarge(
                    "The Parquet file unpacks to too much at once.",
                    value=f"{self._label}: more than {MOST_BYTES} bytes in row group {number + 1}",
                    allowed=f"{MOST_BYTES} bytes for a page and a dictionary of each column, and for lists",
                    next_step="Write the file again with smaller pages and row groups.",
                )
        return found

    def _add(self, found: Reckoning, group: RowGroup, chunk: Chunk, leaf: pq.ColumnSchema) -> None:
        is_text = leaf.physical_type == "BYTE_ARRAY"
        is_list = leaf.max_repetition_level > 0
        if not (self._is_foreign or is_text or is_list):
            return
        page_bytes = dictionary_bytes = values = 0
        text = chunk.unpacked // max(1, chunk.values) if is_text else 0
        for page in self._pages_of(chunk) if self._is_foreign or is_text else ():
            if page.kind == DICTIONARY:
                dictionary_bytes = max(dictionary_bytes, page.unpacked)
                if is_text:
                    text = max(text, self._longest(page, chunk.codec))
                continue
            values += page.values
            page_bytes = max(page_bytes, page.unpacked)
            # Where a value repeats the beginning of the one before, each may be as long as the whole page.
            repeats = self._is_foreign and page.encoding == _DELTA_BYTE_ARRAY
            text = max(text, page.unpacked if repeats else page.unpacked // max(1, page.values)) if is_text else 0
        width = (text if is_text else _fixed_width(leaf)) + _BESIDES
        found.held += page_bytes + dictionary_bytes
        if is_list:
            lists = width * (values if self._is_foreign else chunk.values)
            found.held += lists
            found.row_bytes += lists // max(1, group.rows)
        elif is_text:
            found.row_bytes += width

    def _pages_of(self, chunk: Chunk) -> Iterator[Page]:
        """Pages in the order and to the end that Arrow reads them; only the first of a file of one's own."""
        place = chunk.start
        end = place + chunk.packed
        seen = 0
        while seen < chunk.values and place < end + _BEHIND:
            page = self._page(place)
            if page is None:
                if self._is_foreign and place < end:
                    raise self._damaged(f"no page at byte {place}")
                return
            yield page
            if not self._is_foreign:
                return
            self._pages += 1
            if self._pages > _MOST_PAGES:
                raise TooLarge(
                    "The Parquet file has too many pages.",
                    value=self._label,
                    allowed=f"at most {_MOST_PAGES} pages",
                    next_step="Write the file again with larger pages.",
                )
            seen += page.values if page.kind != DICTIONARY else 0
            place = page.start + page.packed

    def _page(self, place: int) -> Page | None:
        """The page whose header begins there; None where none does."""
        size = _FIRST_READ
        while place < self._size and size <= _LONGEST_HEADER:
            data = self._read(place, size)
            try:
                return read_page_header(data, place)
            except IndexError:
                if len(data) < size:
                    return None
                size *= 8
            except ValueError:
                return None
        return None

    def _longest(self, page: Page, codec: int) -> int:
        """Bytes of the longest text in a dictionary, or of all of it where its codec is not known."""
        most = page.unpacked - 4 * page.values
        if most <= 4 * _BESIDES or page.unpacked > MOST_BYTES:
            return max(0, most)
        data = self._read(page.start, page.packed)
        try:
            if codec != _UNPACKED:
                data = pa.decompress(data, decompressed_size=page.unpacked, codec=_CODECS[codec], asbytes=True)
            place = longest = 0
            while place < len(data):
                (length,) = _LENGTH.unpack_from(data, place)
                longest = max(longest, length)
                place += 4 + length
        except (pa.ArrowException, OSError, ValueError, KeyError, struct.error):
            return page.unpacked
        return min(longest, page.unpacked)

    def _read(self, place: int, size: int) -> bytes:
        self._file.seek(place)
        return self._file.read(size)

    def _damaged(self, detail: str) -> BadData:
        return BadData(
            "The Parquet file is damaged or cut short.",
            value=f"{self._label} ({detail})",
            allowed="a whole Parquet file",
            next_step="Write or send the file again.",
        )


_LENGTH = struct.Struct("<I")
_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4, "INT64": 8, "DOUBLE": 8, "INT96": 12}


def _fixed_width(leaf: pq.ColumnSchema) -> int:
    return int(leaf.length) if leaf.physical_type == "FIXED_LEN_BYTE_ARRAY" else _WIDTHS[leaf.physical_type]
