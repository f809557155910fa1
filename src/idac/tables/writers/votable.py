"""VOTable in its three serialisations, streamed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pybase64

from idac.tables.model import Column
from idac.tables.writers.batches import Rows, iter_pieces
from idac.tables.writers.fields import (
    FORBIDDEN,
    as_text,
    document_head,
    document_tail,
    error_document,
    fields_document,
    widened,
    without_bytes,
)
from idac.tables.writers.info import ResultInfo
from idac.tables.writers.packing import is_ascii, pack, special_bytes
from idac.tables.writers.parallel import map_ordered
from idac.tables.writers.text import cells, rows

__all__ = ["error_document", "fields_document", "write_binary", "write_binary2", "write_tabledata"]

_MARKUP = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"}
#: Bytes of a text that may need something done before it stands in XML: markup, control characters, and the first
#: byte of U+FFFE and U+FFFF.
_XML_SPECIAL = np.zeros(256, dtype=bool)
_XML_SPECIAL[:0x20] = True
_XML_SPECIAL[[0x09, 0x0A]] = False
_XML_SPECIAL[[*map(ord, _MARKUP), 0xEF]] = True


def write_binary2(
    columns: tuple[Column, ...], batches: Iterable[pa.RecordBatch], info: ResultInfo, overflowed: Callable[[], bool]
) -> Iterator[bytes]:
    """BINARY2: NULLs of every type survive."""
    return _write_packed(columns, batches, info, overflowed, binary2=True)


def write_binary(
    columns: tuple[Column, ...], batches: Iterable[pa.RecordBatch], info: ResultInfo, overflowed: Callable[[], bool]
) -> Iterator[bytes]:
    """BINARY: an integer NULL is a value of its own, and a NULL text the empty one."""
    return _write_packed(tuple(map(without_bytes, columns)), batches, info, overflowed, binary2=False)


def _write_packed(
    columns: tuple[Column, ...],
    batches: Iterable[pa.RecordBatch],
    info: ResultInfo,
    overflowed: Callable[[], bool],
    *,
    binary2: bool,
) -> Iterator[bytes]:
    source = Rows(columns, batches)
    first, pieces = _peeked(source)
    written = widened(columns, first)
    name = "BINARY2" if binary2 else "BINARY"
    head = document_head(written, info, nulls=not binary2)
    yield f'{head}<DATA><{name}><STREAM encoding="base64">\n'.encode()
    narrow = _NarrowText(written)
    packed = map_ordered(partial(pack, written, binary2=binary2), map(narrow.replaced, pieces))
    yield from _base64(packed)
    yield f"</STREAM></{name}></DATA>\n{_tail(source, info, overflowed, narrow.warnings())}".encode()


def write_tabledata(
    columns: tuple[Column, ...], batches: Iterable[pa.RecordBatch], info: ResultInfo, overflowed: Callable[[], bool]
) -> Iterator[bytes]:
    """TABLEDATA: text in XML, for people and for clients that read nothing else."""
    source = Rows(columns, batches)
    first, pieces = _peeked(source)
    written = widened(columns, first)
    yield f"{document_head(written, info)}<DATA><TABLEDATA>\n".encode()
    yield from map_ordered(partial(_tabledata, written), pieces)
    yield f"</TABLEDATA></DATA>\n{_tail(source, info, overflowed)}".encode()


def _peeked(source: Rows) -> tuple[pa.RecordBatch | None, Iterator[pa.RecordBatch]]:
    """The first piece, or None, and all of them. Raises what comes before the first row: the answer has not begun."""
    pieces = iter_pieces(source)
    first = next(pieces, None)
    if first is None:
        source.check()
        return None, iter(())
    return first, chain([first], pieces)


def _tail(
    source: Rows, info: ResultInfo, overflowed: Callable[[], bool], warnings: Iterable[tuple[str, str, str]] = ()
) -> str:
    """The end of a document whose rows are over, be it because they failed."""
    if source.failure is None:
        status = [("QUERY_STATUS", "OVERFLOW", "")] if overflowed() else []
    elif info.mark_errors:
        status = [("QUERY_STATUS", "ERROR", source.failure.text)]
    else:
        raise source.failure
    return document_tail([*status, *warnings])


class _NarrowText:
    """Keeps ``char`` to ASCII in the binary serialisations, and remembers where that cost a character.

    The first rows decide whether a column is ``unicodeChar``; only a later row can bring a character into ``char``.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        kinds = [(i, c) for i, c in enumerate(columns) if c.type.datatype == "char" and not c.type.is_timestamp]
        self._narrow = dict(kinds)
        self._touched: set[int] = set()

    def replaced(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        for place in self._narrow:
            array = batch.column(place)
            if not is_ascii(array):
                self._touched.add(place)
                batch = batch.set_column(place, batch.schema.field(place), _only_ascii(array))
        return batch

    def warnings(self) -> Iterator[tuple[str, str, str]]:
        if self._touched:
            names = ", ".join(self._narrow[place].name for place in sorted(self._touched))
            text = (
                f"Characters outside ASCII were replaced by ? in {names}. TABLEDATA, Parquet, CSV and JSON keep them."
            )
            yield "warning", text, ""


def _only_ascii(array: pa.Array) -> pa.Array:
    if pa.types.is_list(array.type):
        counts = pc.fill_null(pc.list_value_length(array), 0)
        offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int32())
        mask = pc.is_null(array) if array.null_count else None
        return pa.ListArray.from_arrays(offsets, _only_ascii(array.flatten()), mask=mask)
    return pc.replace_substring_regex(array, r"[^\x00-\x7f]", "?")


def _base64(chunks: Iterable[memoryview]) -> Iterator[bytes]:
    """Bytes as base64, cut where three bytes make four characters, so that the pieces join to one encoding."""
    rest = b""
    for chunk in chunks:
        needed = (-len(rest)) % 3
        begin, chunk = rest + chunk[:needed].tobytes(), chunk[needed:]
        if len(begin) % 3:
            rest = begin
            continue
        whole = len(chunk) - len(chunk) % 3
        rest = chunk[whole:].tobytes()
        yield pybase64.b64encode(begin) + pybase64.b64encode(chunk[:whole]) + b"\n"
    if rest:
        yield pybase64.b64encode(rest) + b"\n"


def _tabledata(columns: Sequence[Column], batch: pa.RecordBatch) -> bytes:
    parts = []
    for place, column in enumerate(columns):
        array = cells(column, batch.column(place))
        parts.append(_escaped(array) if as_text(column).type.is_string else array)
    return rows(parts, "</TD><TD>", "<TR><TD>", "</TD></TR>\n")


def _escaped(array: pa.Array) -> pa.Array:
    """Texts as they stand in XML; characters that XML can't hold become U+FFFD."""
    found = {chr(byte) for byte in special_bytes(array, _XML_SPECIAL)}
    for character, entity in _MARKUP.items():
        if character in found:
            array = pc.replace_substring(array, character, entity)
    if found - _MARKUP.keys():
        array = pc.replace_substring_regex(array, FORBIDDEN, "\ufffd")
    return array
