"""The lines of a text table before its rows: remarks, names, and ECSV's YAML."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass, replace
from typing import Literal

from idac.core.errors import BadData
from idac.tables.readers.inputs import ByteStream
from idac.tables.readers.source import ReadLimits, TableInfo, refuse_names
from idac.tables.readers.table_yaml import delimiter_of, read_table_yaml

_READ_BYTES = 64 * 1024
_BOM = b"\xef\xbb\xbf"
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eEdD][+-]?\d+)?\s*", re.ASCII)
#: Separators looked for in a file that is called CSV, the usual one first.
_SEPARATORS = ",;|\t"


@dataclass(frozen=True, slots=True)
class CsvHeader:
    """Names, separator, and the byte at which the first row begins."""

    names: list[str]
    delimiter: str
    data_start: int
    newline: bytes
    #: What ECSV declares; None where types must be found from the rows.
    declared: TableInfo | None = None


def read_header(stream: ByteStream, kind: Literal["csv", "tsv", "ecsv"], limits: ReadLimits) -> CsvHeader:
    """The header of a text table; BadData where it has none, or names are missing or repeated."""
    lines = _Lines(stream, limits)
    remarks: list[bytes] = []
    line = lines.take()
    while line is not None and (not line.strip() or line.startswith(b"#")):
        remarks.append(line)
        line = lines.take()
    if kind == "ecsv":
        return _ecsv_header(remarks, line, lines)
    named = next((remark.lstrip(b"# ") for remark in reversed(remarks) if remark.strip(b"# \r\n")), b"")
    if line is None and not named:
        raise _no_header("the file has no lines")
    delimiter = "\t" if kind == "tsv" else _separator(line or named)
    names, start = _names(line or named, delimiter), lines.position
    if line is not None and names and all(_NUMBER.fullmatch(name) for name in names):
        # numpy.savetxt and its kin put the names in a remark above the rows.
        first, names = names, _names(named, delimiter)
        if len(names) != len(first) or all(_NUMBER.fullmatch(name) for name in names):
            raise _no_header(line.decode("utf-8", "replace").strip()[:100])
        start -= lines.last_size
    _check_names(names)
    return CsvHeader(names, delimiter, start, lines.newline)


def _ecsv_header(remarks: list[bytes], line: bytes | None, lines: _Lines) -> CsvHeader:
    text = b"".join(remark[1:].removeprefix(b" ") for remark in remarks if remark.startswith(b"#"))
    if not text.startswith(b"%ECSV"):
        raise BadData(
            "The file is no ECSV.",
            value=(remarks[0] if remarks else line or b"").decode("utf-8", "replace").strip()[:100],
            allowed="a first line `# %ECSV 1.0`",
            next_step="Name the format csv if the file is plain CSV.",
        )
    told = text.partition(b"\n")[2]
    info = read_table_yaml(told, lines.limits)
    if line is None:
        raise _no_header("the file ends after its ECSV header")
    delimiter = delimiter_of(told)
    names = _names(line, delimiter)
    _check_names(names)
    declared = [column.name for column in info.columns]
    if names != declared:
        raise BadData(
            "The ECSV header's columns are not those of the line of names.",
            value=", ".join(names),
            allowed=", ".join(declared),
            next_step="Write the file again, or correct one of the two.",
        )
    return CsvHeader(names, delimiter, lines.position, lines.newline, replace(info, rows=None))


def _separator(line: bytes) -> str:
    text = line.decode("utf-8", "replace")
    return max(_SEPARATORS, key=lambda s: (text.count(s) > 0, s == ",", text.count(s)))


def _names(line: bytes, delimiter: str) -> list[str]:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadData(
            "The header line is not UTF-8.",
            value=repr(line[:60]),
            allowed="UTF-8, with or without a byte order mark",
            next_step="Convert the file, with `iconv -t UTF-8` for instance.",
        ) from error
    try:
        rows = list(csv.reader([text.rstrip("\r\n")], delimiter=delimiter))
    except csv.Error as error:
        raise _no_header(str(error)) from error
    return [name.strip() for name in rows[0]] if rows else []


def _check_names(names: list[str]) -> None:
    empty = [str(number) for number, name in enumerate(names, 1) if not name]
    if empty or not names:
        raise BadData(
            "The header has columns without a name.",
            value=f"column {', '.join(empty[:20])}" if empty else "an empty line",
            allowed="a name for each column",
            next_step="Name the columns in the file's first line; a separator at its end makes a column too many.",
        )
    refuse_names(names)


def _no_header(value: str) -> BadData:
    return BadData(
        "The file has no line of column names.",
        value=value,
        allowed="a first line with the names of the columns",
        next_step="Put the names in a line above the rows.",
    )


class _Lines:
    """Lines of bytes with their place in the file; a quoted name may hold a line end."""

    def __init__(self, stream: ByteStream, limits: ReadLimits) -> None:
        self.limits = limits
        self.position = 0
        self.last_size = 0
        self._stream = stream
        self._buffer = stream.read(_READ_BYTES)
        self._refuse_wide_text()
        if self._buffer.startswith(_BOM):
            self._buffer = self._buffer[len(_BOM) :]
            self.position = len(_BOM)
        only_returns = b"\n" not in self._buffer and b"\r" in self._buffer
        self.newline = b"\r" if only_returns else b"\n"

    def _refuse_wide_text(self) -> None:
        if self._buffer.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\x00" in self._buffer[:1024]:
            raise BadData(
                "The file is not UTF-8 text.",
                value=repr(self._buffer[:20]),
                allowed="UTF-8, with or without a byte order mark",
                next_step="Convert the file, with `iconv -f UTF-16 -t UTF-8` for instance.",
            )

    def take(self) -> bytes | None:
        """The next line with its end; None behind the last."""
        end = self._end()
        while end < 0:
            more = self._stream.read(_READ_BYTES)
            if not more:
                end = len(self._buffer)
                break
            self._buffer += more
            if len(self._buffer) > self.limits.max_header_bytes:
                raise _no_header(f"a line of more than {self.limits.max_header_bytes} bytes (max_header_bytes)")
            end = self._end()
        line, self._buffer = self._buffer[:end], self._buffer[end:]
        self.position += len(line)
        self.last_size = len(line)
        return line or None

    def _end(self) -> int:
        start = 0
        while True:
            found = self._buffer.find(self.newline, start)
            if found < 0:
                return -1
            if self._buffer.startswith(b"#") or self._buffer.count(b'"', 0, found) % 2 == 0:
                return found + 1
            start = found + 1
