"""Footers and page headers of Parquet files, read as far as sizes go (``parquet.thrift``, Thrift's compact protocol).

Arrow tells of columns' chunks too, but ends the process over some that are damaged, and tells of no pages. What is read
here must be what Arrow reads: whatever two readers could take in different ways is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _STRUCT = 4, 5, 6, 7, 8, 9, 12
#: Kinds that are numbers of any number of bytes; those of a list take the same bytes whichever it is called.
_NUMBERS = (_I16, _I32, _I64)
#: Structs and lists within each other; the format has eight.
_DEPTH = 12
DATA, DICTIONARY, DATA_V2 = 0, 2, 3
#: Field of a page's header that tells of a page of each kind; pages of other kinds are passed by.
_BODIES = {DATA: 5, DICTIONARY: 7, DATA_V2: 8}

type Struct = dict[tuple[int, int], object]


@dataclass(frozen=True, slots=True)
class Chunk:
    """One column of a row group."""

    codec: int
    values: int
    unpacked: int
    packed: int
    start: int


@dataclass(frozen=True, slots=True)
class RowGroup:
    rows: int
    chunks: tuple[Chunk, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """A page by its header; *start* is where its content begins."""

    kind: int
    start: int
    packed: int
    unpacked: int
    values: int
    encoding: int


def read_row_groups(footer: bytes) -> Iterator[RowGroup]:
    """The row groups of a footer (``FileMetaData``). ValueError or IndexError where it is not as it should be."""
    thrift = _Compact(footer)
    for field, kind in thrift.fields():
        if (field, kind) != (4, _LIST):
            thrift.take(field, kind, 0)
            continue
        for _ in range(thrift.list_of(_STRUCT)):
            group = thrift.struct(1)
            yield RowGroup(_number(group, 3, _I64), tuple(_chunk(chunk) for chunk in _structs(group, 1)))


def read_page_header(data: bytes, place: int) -> Page:
    """The page whose header *data* begin with, which stands at *place*. IndexError where they end before it does."""
    thrift = _Compact(data)
    header = thrift.struct()
    kind, unpacked, packed = (_number(header, field, _I32) for field in (1, 2, 3))
    body = header.get((_BODIES[kind], _STRUCT), {}) if kind in _BODIES else {}
    assert isinstance(body, dict)  # noqa: S101 - what the kind says
    values = body.get((1, _I32), 0)
    encoding = body.get((4 if kind == DATA_V2 else 2, _I32), 0)
    if values < 0:
        raise ValueError("a page of less than no values")
    return Page(kind, place + thrift.place, packed, unpacked, values, encoding)


def _chunk(chunk: Struct) -> Chunk:
    told = chunk.get((3, _STRUCT))
    if not isinstance(told, dict) or any(field in (8, 9) for field, _ in chunk):
        raise ValueError("a chunk without metadata, or an encrypted one")
    values, unpacked, packed, place = (_number(told, field, _I64) for field in (5, 6, 7, 9))
    dictionary = told.get((11, _I64), 0)
    start = dictionary if 0 < dictionary < place else place
    return Chunk(_number(told, 4, _I32), values, unpacked, packed, start)


def _number(struct: Struct, field: int, kind: int) -> int:
    value = struct.get((field, kind))
    if not isinstance(value, int) or value < 0:
        raise ValueError("a number is missing or negative")
    return value


def _structs(struct: Struct, field: int) -> list[Struct]:
    value = struct.get((field, _LIST))
    if not isinstance(value, list):
        raise ValueError("a list is missing")
    return value


class _Compact:
    """Numbers, structs, and lists of structs; the rest is passed by."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.place = 0

    def fields(self) -> Iterator[tuple[int, int]]:
        """Number and kind of each field of a struct; the caller takes the value of each before it asks for the next."""
        seen: set[int] = set()
        field = 0
        while head := self._byte():
            field = field + (head >> 4) if head >> 4 else self._signed(16)
            if field in seen or not 0 <= field < 2**15:
                raise ValueError("a field that is there twice, or has no number")
            seen.add(field)
            yield field, head & 15

    def struct(self, depth: int = 0) -> Struct:
        """Values by number and kind of their field, without those that are passed by."""
        if depth > _DEPTH:
            raise ValueError("structs within structs")
        found: Struct = {}
        for field, kind in self.fields():
            value = self.take(field, kind, depth)
            if value is not None:
                found[field, kind] = value
        return found

    def list_of(self, kind: int) -> int:
        """Length of the list that begins here, if it is one of that kind."""
        count, found = self._list_head()
        if found != kind:
            raise ValueError("a list of another kind")
        return count

    def take(self, field: int, kind: int, depth: int) -> object:
        """The value that begins here, of a struct at that depth; None for one that is passed by."""
        if kind in (1, 2):
            return None  # true and false, which are told by their kind
        if kind in _NUMBERS:
            return self._signed({_I16: 16, _I32: 32, _I64: 64}[kind])
        if kind == _STRUCT:
            return self.struct(depth + 1)
        if kind == _LIST:
            return self._list(field, depth)
        if kind == _BINARY:
            length = self._varint()
            self.place += length
        elif kind in (3, _DOUBLE):
            self.place += 1 if kind == 3 else 8
        else:
            raise ValueError("no kind that Parquet has")
        if self.place > len(self._data):
            raise IndexError
        return None

    def _list(self, field: int, depth: int) -> object:
        """Readers take the elements for what the format says, whatever the list says: so it must say the same."""
        count, kind = self._list_head()
        expected = {(3, 2): _NUMBERS, (3, 3): (_BINARY,)}.get((depth, field), _NUMBERS if depth > 3 else (_STRUCT,))
        if kind not in expected:
            raise ValueError("a list of a kind that Parquet does not have there")
        if kind == _STRUCT:
            return [self.struct(depth + 1) for _ in range(count)]
        for _ in range(count):
            self.take(0, kind, depth)
        return None

    def _list_head(self) -> tuple[int, int]:
        head = self._byte()
        return (head >> 4 if head >> 4 < 15 else self._varint()), head & 15

    def _byte(self) -> int:
        value = self._data[self.place]
        self.place += 1
        return value

    def _varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise ValueError("a number of more than 64 bits")

    def _signed(self, bits: int) -> int:
        value = self._varint()
        if value >> bits:
            raise ValueError(f"a number of more than {bits} bits")
        return (value >> 1) ^ -(value & 1)
