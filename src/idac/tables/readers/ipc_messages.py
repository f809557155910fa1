"""An Arrow stream that others sent, passed on message by message once what each unpacks to is known.

A compressed buffer says before its first byte how long it is unpacked, and Arrow's reader makes room for that, whatever
it says. So those numbers are added up first. Where they are follows from the format's ``Message.fbs`` [1]_.

.. [1] Apache Arrow, "Columnar format", serialization and interprocess communication.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator

from flatbuffers import number_types
from flatbuffers.table import Table

from idac.core.errors import TooLarge
from idac.tables.readers.inputs import ByteStream

#: Bytes that a record batch, and all dictionaries together, may hold unpacked. Writers make batches of some MB.
MOST_BYTES = 2**30
#: Bytes that describe one message: 16 for each buffer, of which a column of text has three.
_MOST_METADATA = 16 * 2**20
_MAGIC = b"ARROW1\0\0"
_CONTINUES = 0xFFFFFFFF
_COPY_BYTES = 2**20
#: Kinds of message.
_DICTIONARY_BATCH, _RECORD_BATCH = 2, 3
#: Fields by their number, and bytes of the struct Buffer (offset, length).
_MESSAGE_KIND, _MESSAGE_HEADER, _MESSAGE_BODY = 1, 2, 3
_DICTIONARY_DATA = 1
_BATCH_BUFFERS, _BATCH_COMPRESSION = 2, 3
_BUFFER = struct.Struct("<qq")
#: A buffer that was not worth compressing says so in place of its length.
_AS_IT_IS = -1


class CheckedMessages(io.RawIOBase):
    """The bytes of the stream of *source*; TooLarge, before its message is passed on, for what unpacks to too much.

    An Arrow file is a stream between a magic word and a footer, and is passed on as that stream.

    Raises
    ------
    TooLarge
        A record batch, or all dictionaries together, would unpack to more than ``MOST_BYTES``.
    EOFError
        A message can't be read.
    """

    def __init__(self, source: ByteStream, label: str) -> None:
        super().__init__()
        self._source = source
        self._label = label
        self._dictionaries = 0
        self._pieces = self._read_pieces()
        self._left = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            return b"".join(iter(lambda: self.read(_COPY_BYTES), b""))
        parts: list[bytes] = []
        wanted = size
        while wanted and (self._left or self._fill()):
            parts.append(self._left[:wanted])
            self._left = self._left[wanted:]
            wanted -= len(parts[-1])
        return b"".join(parts)

    def _fill(self) -> bool:
        self._left = next((piece for piece in self._pieces if piece), b"")
        return bool(self._left)

    def _read_pieces(self) -> Iterator[bytes]:
        start = self._source.read(len(_MAGIC))
        is_file = start == _MAGIC
        while True:
            head = (b"" if is_file else start) + self._source.read(8 if is_file else 8 - len(start))
            is_file, start = False, b""
            if len(head) < 8:
                yield head
                return
            first, second = struct.unpack("<II", head)
            # Before Arrow 0.15 the length came first and at once.
            size, rest = (second, b"") if first == _CONTINUES else (first, head[4:])
            if size == 0:
                yield head
                return
            if size > _MOST_METADATA:
                raise EOFError(f"a message with {size} bytes of metadata")
            metadata = rest + self._source.read(size - len(rest))
            yield head[: 8 - len(rest)] + metadata
            yield from self._read_body(metadata)

    def _read_body(self, metadata: bytes) -> Iterator[bytes]:
        try:
            kind, length, buffers = _layout(metadata)
        except (struct.error, IndexError, OverflowError, TypeError, ValueError) as error:
            raise EOFError("a message can't be read") from error
        if not buffers:
            while length > 0 and (part := self._source.read(min(length, _COPY_BYTES))):
                length -= len(part)
                yield part
            return
        if length > MOST_BYTES:
            raise self._too_large(f"{length} bytes in a batch", f"{MOST_BYTES} bytes for a compressed batch")
        body = self._source.read(length)
        unpacked = sum(_unpacked(body, offset, size) for offset, size in buffers)
        if kind == _DICTIONARY_BATCH:
            self._dictionaries = unpacked = self._dictionaries + unpacked
        if unpacked > MOST_BYTES:
            raise self._too_large(
                f"{unpacked} bytes", f"{MOST_BYTES} bytes for a record batch, and for all dictionaries together"
            )
        yield body

    def _too_large(self, found: str, allowed: str) -> TooLarge:
        return TooLarge(
            "The Arrow file unpacks to too much at once.",
            value=f"{self._label}: {found}",
            allowed=allowed,
            next_step="Write the file again with smaller record batches.",
        )


def _layout(metadata: bytes) -> tuple[int, int, list[tuple[int, int]]]:
    """A message's kind, the bytes of its body, and where in it compressed buffers are, with their sizes."""
    message = _Fields(Table(metadata, int.from_bytes(metadata[:4], "little")))
    kind = message.number(_MESSAGE_KIND, number_types.Uint8Flags)
    length = message.number(_MESSAGE_BODY, number_types.Int64Flags)
    if length < 0:
        raise ValueError("a body of negative length")
    batch = message.table(_MESSAGE_HEADER)
    if kind == _DICTIONARY_BATCH and batch is not None:
        batch = batch.table(_DICTIONARY_DATA)
    if kind not in (_DICTIONARY_BATCH, _RECORD_BATCH) or batch is None or batch.table(_BATCH_COMPRESSION) is None:
        return kind, length, []
    return kind, length, list(_BUFFER.iter_unpack(batch.structs(_BATCH_BUFFERS, _BUFFER.size)))


class _Fields:
    """A table of FlatBuffers, whose fields are asked for by number."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def number(self, field: int, flags: type) -> int:
        at = self._at(field)
        return int(self._table.Get(flags, at)) if at else 0

    def table(self, field: int) -> _Fields | None:
        at = self._at(field)
        return _Fields(Table(self._table.Bytes, self._table.Indirect(at))) if at else None

    def structs(self, field: int, size: int) -> bytes:
        """The bytes of a vector of structs of *size* bytes."""
        at = self._at(field)
        if not at:
            return b""
        vector = at + self._table.Get(number_types.UOffsetTFlags, at)
        start, count = vector + 4, int(self._table.Get(number_types.UOffsetTFlags, vector))
        if start + count * size > len(self._table.Bytes):
            raise ValueError("a vector that is longer than its message")
        return bytes(self._table.Bytes[start : start + count * size])

    def _at(self, field: int) -> int:
        """Where in the message a field's value is; 0 where the table has no such field."""
        offset = self._table.Offset(4 + 2 * field)
        return int(self._table.Pos + offset) if offset else 0


def _unpacked(body: bytes, offset: int, size: int) -> int:
    """Bytes that a compressed buffer says it holds, or that it holds as it is."""
    if size < 8 or offset < 0 or offset + 8 > len(body):
        # An empty one; Arrow's reader refuses what lies outside the body.
        return 0
    told = int.from_bytes(body[offset : offset + 8], "little", signed=True)
    return size if told == _AS_IT_IS else max(0, told)
