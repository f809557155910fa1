"""Bytes to read, from a path, a seekable file object or a stream: gunzipped, counted, and with errors of our own."""

from __future__ import annotations

import gzip
import io
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from idac.core.errors import BadData, TooLarge
from idac.tables.readers.source import ReadLimits

_GZIP_MAGIC = b"\x1f\x8b"
_HEAD_BYTES = 64 * 1024
_COPY_BYTES = 1 << 20
#: Below this an unpacked or spooled input stays in memory.
_SPOOL_IN_MEMORY = 8 * 2**20


class ByteStream(io.RawIOBase):
    """A forward stream of an input's bytes, unpacked; ``read(n)`` gives n bytes unless the input ends."""

    def __init__(
        self,
        raw: BinaryIO,
        limits: ReadLimits,
        *,
        owned: bool,
        can_seek: bool = False,
        under: BinaryIO | None = None,
    ) -> None:
        super().__init__()
        self._raw = raw
        self._under = under
        self._limits = limits
        self._owned = owned
        self._can_seek = can_seek
        #: Not everything that can be read reads into what it is given.
        self._readinto = getattr(raw, "readinto", None)
        self.position = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            return b"".join(iter(lambda: self.read(_COPY_BYTES), b""))
        parts = []
        wanted = size
        while wanted > 0:
            part = self._read_some(wanted)
            if not part:
                break
            parts.append(part)
            wanted -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def readinto(self, buffer: object, /) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]  # typeshed's Buffer is not importable before 3.12 stubs
        done = 0
        while done < len(view) and (read := self._read_some_into(view[done:])):
            done += read
        return done

    def skip(self, count: int) -> int:
        """Go past *count* bytes; the number that were there."""
        if self._can_seek:
            there = self._raw.seek(0, io.SEEK_END) - self.position
            passed = min(max(0, there), count)
            self.position = self._raw.seek(self.position + passed)
            return passed
        start = self.position
        while self.position - start < count and self.read(min(_COPY_BYTES, count - (self.position - start))):
            pass
        return self.position - start

    def _read_some(self, size: int) -> bytes:
        with self._telling_damage():
            data = self._raw.read(size)
        self._count(len(data))
        return bytes(data)

    def _read_some_into(self, view: memoryview) -> int:
        if self._readinto is None:
            data = self._read_some(len(view))
            view[: len(data)] = data
            return len(data)
        with self._telling_damage():
            read: int = self._readinto(view) or 0
        self._count(read)
        return read

    @contextmanager
    def _telling_damage(self) -> Iterator[None]:
        try:
            yield
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise BadData(
                "The gzip file is damaged or cut short.",
                value=f"{self.position} bytes could be unpacked",
                allowed="a whole gzip file",
                next_step="Send the file again; `gzip -t` tests it.",
            ) from error

    def _count(self, read: int) -> None:
        self.position += read
        most = self._limits.max_bytes
        if most is not None and self.position > most:
            raise TooLarge(
                "The input is too big.",
                value=f"more than {most} bytes, unpacked",
                allowed=f"at most {most} bytes (max_bytes)",
                next_step="Send the table in parts, or as Parquet, which is smaller.",
            )

    def close(self) -> None:
        if self._owned and not self.closed:
            self._raw.close()
            if self._under is not None:
                self._under.close()
        super().close()


class Input:
    """Where a table's bytes come from. Opens as often as the source allows; closes only what it opened."""

    def __init__(self, source: str | Path | BinaryIO, limits: ReadLimits) -> None:
        self.limits = limits
        self.path: Path | None = None
        self._file: BinaryIO | None = None
        self._spooled: BinaryIO | None = None
        self._pending: bytes | None = None
        self._streamed = False
        if isinstance(source, str | Path):
            self.path = Path(source)
            self.label = self.path.name
            self._refuse_missing()
            self.is_seekable = True
        else:
            self._file = source
            name = getattr(source, "name", None)
            self.label = Path(name).name if isinstance(name, str) else "input"
            self.is_seekable = _is_seekable(source)
        self.is_folder = self.path is not None and self.path.is_dir()
        raw_head = b"" if self.is_folder else self._raw_head()
        self.is_gzip = raw_head.startswith(_GZIP_MAGIC)
        self.head = self._unpacked_head(raw_head) if self.is_gzip else raw_head

    def stream(self) -> ByteStream:
        """The unpacked bytes from the first on."""
        if self._spooled is not None:
            self._spooled.seek(0)
            return ByteStream(self._spooled, self.limits, owned=False, can_seek=True)
        raw, owned = self._open_raw()
        if self.is_gzip:
            unpacked = cast("BinaryIO", gzip.GzipFile(fileobj=raw, mode="rb"))
            # GzipFile leaves open what it was given.
            return ByteStream(unpacked, self.limits, owned=owned, under=raw)
        return ByteStream(raw, self.limits, owned=owned, can_seek=self.is_seekable)

    def random(self) -> BinaryIO:
        """The unpacked bytes as a seekable file: the input itself where it is one, else a temporary copy on disk."""
        if self._spooled is None and (self.is_gzip or not self.is_seekable):
            self._spooled = self._copy()
        if self._spooled is not None:
            return self._spooled
        if self._file is None:
            assert self.path is not None  # noqa: S101 - one of the two is set at birth
            self._file = self._open_path(self.path)
        return self._file

    def _copy(self) -> BinaryIO:
        """The unpacked bytes in a temporary file, in memory where they are few."""
        spooled = tempfile.SpooledTemporaryFile(max_size=_SPOOL_IN_MEMORY)  # noqa: SIM115 - closed by close()
        try:
            with self.stream() as stream:
                for part in iter(lambda: stream.read(_COPY_BYTES), b""):
                    spooled.write(part)
        except BaseException:
            spooled.close()
            raise
        return cast("BinaryIO", spooled)

    def size(self) -> int:
        """Number of unpacked bytes; spools an input that does not know it."""
        file = self.random()
        count = file.seek(0, io.SEEK_END)
        most = self.limits.max_bytes
        if most is not None and count > most:
            raise TooLarge(
                "The input is too big.",
                value=f"{count} bytes",
                allowed=f"at most {most} bytes (max_bytes)",
                next_step="Send the table in parts.",
            )
        return count

    def close(self) -> None:
        if self._spooled is not None:
            self._spooled.close()
            self._spooled = None
        if self.path is not None and self._file is not None:
            self._file.close()
            self._file = None

    def _refuse_missing(self) -> None:
        assert self.path is not None  # noqa: S101 - set by the only caller
        if not self.path.exists():
            raise BadData(
                "There is no such file or folder.",
                value=self.label,
                allowed="a file, or a folder of Parquet files",
                next_step="Check the name and the folder you are in.",
            )

    def _open_path(self, path: Path) -> BinaryIO:
        try:
            return path.open("rb")
        except OSError as error:
            raise BadData(
                "The file can't be opened.",
                value=f"{self.label}: {error.strerror}",
                allowed="a file that this process may read",
                next_step="Check the file's rights.",
            ) from error

    def _open_raw(self) -> tuple[BinaryIO, bool]:
        if self.path is not None:
            return self._open_path(self.path), True
        assert self._file is not None  # noqa: S101 - one of the two is set at birth
        if self.is_seekable:
            self._file.seek(0)
            return self._file, False
        if self._streamed:
            raise RuntimeError("a stream that can't be wound back was read twice")
        self._streamed = True
        return cast("BinaryIO", _Rejoined(self._pending or b"", self._file)), False

    def _raw_head(self) -> bytes:
        if self.path is not None:
            with self._open_path(self.path) as file:
                return file.read(_HEAD_BYTES)
        assert self._file is not None  # noqa: S101 - one of the two is set at birth
        if self.is_seekable:
            self._file.seek(0)
            return bytes(self._file.read(_HEAD_BYTES))
        parts: list[bytes] = []
        while sum(map(len, parts)) < _HEAD_BYTES and (part := bytes(self._file.read(_HEAD_BYTES))):
            parts.append(part)
        self._pending = b"".join(parts)
        return self._pending

    @staticmethod
    def _unpacked_head(raw_head: bytes) -> bytes:
        """As much of the head as unpacks; damage shows when the stream is read."""
        try:
            return zlib.decompressobj(wbits=31).decompress(raw_head, _HEAD_BYTES)
        except zlib.error:
            return b""


class _Rejoined(io.RawIOBase):
    """A stream with the bytes that were looked at put back in front."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        super().__init__()
        self._head = head
        self._rest = rest

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        if self._head and size is not None and size >= 0:
            part, self._head = self._head[:size], self._head[size:]
            return part
        if self._head:
            part, self._head = self._head, b""
            return part + self._rest.read()
        return bytes(self._rest.read(-1 if size is None else size) or b"")

    def readinto(self, buffer: object, /) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]  # typeshed's Buffer is not importable before 3.12 stubs
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)


def _is_seekable(file: BinaryIO) -> bool:
    seekable = getattr(file, "seekable", None)
    return bool(seekable()) if callable(seekable) else hasattr(file, "seek")
