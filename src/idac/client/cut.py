"""Whether a result was cut at a row limit: by the mark of its format, or, in text, by its number of rows."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator

#: Bytes at either end of a result in which its mark is looked for: headers of FITS and footers of Parquet are long.
_END_BYTES = 2**20
_INFO = re.compile(rb"<INFO\b[^>]*>")
_OF_ARROW = re.compile(rb"OVERFLOW.{0,64}QUERY_STATUS|QUERY_STATUS.{0,64}OVERFLOW", re.DOTALL)
_OF_FITS = re.compile(rb"QSTATUS = 'OVERFLOW'")
_OF_JSON = re.compile(rb'"status":\s*"OVERFLOW"\s*\}\s*$')


class CutWatch:
    """Sees the bytes of one result, in the format of that name."""

    def __init__(self, format_name: str) -> None:
        self._kind = format_name.partition("/")[0]
        self._head = bytearray()
        self._ends: deque[bytes] = deque()
        self._ends_size = 0
        self._lines, self._quoted, self._last = 0, False, b"\n"

    @property
    def is_text(self) -> bool:
        """True for the formats that have no place for a mark."""
        return self._kind in ("csv", "tsv")

    @property
    def rows(self) -> int:
        """Rows below the header line, of text."""
        return max(0, self._lines + (self._last != b"\n") - 1)

    def pass_on(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """The same bytes."""
        see = self._count if self.is_text else self._keep
        for chunk in chunks:
            see(chunk)
            yield chunk

    @property
    def is_marked(self) -> bool:
        """True where the result itself says that it was cut; to be asked at its end."""
        tail = b"".join(self._ends)
        match self._kind:
            case "fits":
                return _OF_FITS.search(bytes(self._head)) is not None
            case "json":
                return _OF_JSON.search(tail) is not None
            case "arrow":
                return _OF_ARROW.search(tail) is not None
            case "votable" | "parquet":
                infos = _INFO.findall(tail)
                return any(b'"QUERY_STATUS"' in info and b'"OVERFLOW"' in info for info in infos)
        return False

    def _keep(self, chunk: bytes) -> None:
        if len(self._head) < _END_BYTES:
            self._head += chunk[: _END_BYTES - len(self._head)]
        self._ends.append(chunk)
        self._ends_size += len(chunk)
        while self._ends_size - len(self._ends[0]) >= _END_BYTES:
            self._ends_size -= len(self._ends.popleft())

    def _count(self, chunk: bytes) -> None:
        """Ends of lines that are not inside of quotes."""
        parts = chunk.split(b'"')
        self._lines += sum(part.count(b"\n") for part in parts[int(self._quoted) :: 2])
        self._quoted ^= len(parts) % 2 == 0
        self._last = chunk[-1:] or self._last
