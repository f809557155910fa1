"""VOTable 1.5 in its three serialisations, streamed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from xml.sax.saxutils import escape, quoteattr

import pyarrow as pa
import pyarrow.compute as pc
import pybase64

from idac.core.errors import UserError
from idac.tables.model import Column
from idac.tables.writers.info import ResultInfo
from idac.tables.writers.packing import INTEGER_NULLS, pack
from idac.tables.writers.text import cells, rows

#: Rows packed at a time: some megabytes of the usual columns, so that a wide result needs little memory.
_ROWS = 16_384
#: Characters that XML 1.0 can't hold, not even as references (section 2.2).
_FORBIDDEN = "[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]"
_NO_XML = re.compile(_FORBIDDEN)
_DECLARATION = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3" '
    'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">\n'
)
_COOSYS = '<COOSYS ID="icrs" system="ICRS"/>\n'
#: UCDs of columns that are positions, whose frame a client wants to know.
_POSITION = re.compile(r"^pos\.eq\.(ra|dec)\b")


def _text(value: str) -> str:
    return escape(_NO_XML.sub("\ufffd", value))


def _attribute(name: str, value: str | None) -> str:
    return f" {name}={quoteattr(_NO_XML.sub(chr(0xFFFD), value))}" if value else ""


def info_element(name: str, value: str, text: str = "") -> str:
    """One INFO element."""
    inner = f">{_text(text)}</INFO>" if text else "/>"
    return f"<INFO name={quoteattr(name)} value={quoteattr(_NO_XML.sub(chr(0xFFFD), value))}{inner}\n"


def field_element(column: Column, *, nulls: bool) -> str:
    """One FIELD element; with *nulls*, integers declare the value that stands for NULL in BINARY."""
    kind = column.type
    attributes = "".join(
        (
            _attribute("name", column.name),
            _attribute("datatype", kind.datatype),
            _attribute("arraysize", kind.arraysize),
            _attribute("xtype", kind.xtype),
            _attribute("unit", column.unit),
            _attribute("ucd", column.ucd),
            _attribute("utype", column.utype),
            _attribute("ref", "icrs" if _is_position(column) else None),
        )
    )
    inner = f"<DESCRIPTION>{_text(column.description)}</DESCRIPTION>" if column.description else ""
    if nulls and kind.arraysize is None and kind.datatype in INTEGER_NULLS:
        inner += f'<VALUES null="{INTEGER_NULLS[kind.datatype]}"/>'
    return f"<FIELD{attributes}>{inner}</FIELD>\n" if inner else f"<FIELD{attributes}/>\n"


def _is_position(column: Column) -> bool:
    return bool(_POSITION.match(column.ucd or "")) or column.type.xtype in ("point", "circle", "polygon")


def document_head(columns: Sequence[Column], info: ResultInfo, *, nulls: bool = False) -> str:
    """Everything before DATA: one results resource with QUERY_STATUS OK, and the table's fields."""
    parts = [_DECLARATION, '<RESOURCE type="results">\n']
    if info.description:
        parts.append(f"<DESCRIPTION>{_text(info.description)}</DESCRIPTION>\n")
    parts.append(info_element("QUERY_STATUS", "OK"))
    parts += [info_element(*item) for item in info.infos]
    if any(map(_is_position, columns)):
        parts.append(_COOSYS)
    parts.append("<TABLE>\n")
    parts += [field_element(column, nulls=nulls) for column in columns]
    return "".join(parts)


def document_tail(status: tuple[str, str] | None) -> str:
    """The end of the document; *status* is a QUERY_STATUS that holds from here on, with its text."""
    trailing = info_element("QUERY_STATUS", *status) if status else ""
    return f"</TABLE>\n{trailing}</RESOURCE>\n</VOTABLE>\n"


def error_document(text: str, infos: Sequence[tuple[str, str, str]] = ()) -> bytes:
    """A VOTable that says that a query failed, and why (DALI 1.1 section 4.4)."""
    status = info_element("QUERY_STATUS", "ERROR", text)
    others = "".join(info_element(*item) for item in infos)
    return f'{_DECLARATION}<RESOURCE type="results">\n{status}{others}</RESOURCE>\n</VOTABLE>\n'.encode()


def fields_document(columns: Sequence[Column], info: ResultInfo) -> str:
    """A VOTable without data, as VOParquet keeps it beside the rows."""
    return document_head(columns, info) + document_tail(None)


def _document(
    columns: Sequence[Column],
    info: ResultInfo,
    overflowed: Callable[[], bool],
    body: Iterator[bytes],
    *,
    opening: str,
    closing: str,
    nulls: bool,
) -> Iterator[bytes]:
    yield (document_head(columns, info, nulls=nulls) + opening).encode()
    status = None
    try:
        yield from body
        status = ("OVERFLOW", "") if overflowed() else None
    except UserError as error:
        if not info.mark_errors:
            raise
        status = ("ERROR", error.text)
    yield (closing + document_tail(status)).encode()


def _pieces(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for start in range(0, batch.num_rows, _ROWS):
            yield batch.slice(start, _ROWS)


def _base64(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Bytes as base64, cut where three bytes make four characters, so that the pieces join to one encoding."""
    rest = b""
    for chunk in chunks:
        data = rest + chunk if rest else chunk
        whole = len(data) - len(data) % 3
        rest = data[whole:]
        if whole:
            yield pybase64.b64encode(memoryview(data)[:whole]) + b"\n"
    if rest:
        yield pybase64.b64encode(rest) + b"\n"


def write_binary2(
    columns: tuple[Column, ...], batches: Iterable[pa.RecordBatch], info: ResultInfo, overflowed: Callable[[], bool]
) -> Iterator[bytes]:
    """BINARY2: NULLs of every type survive."""
    body = _base64(pack(columns, piece, binary2=True) for piece in _pieces(batches))
    opening = '<DATA><BINARY2><STREAM encoding="base64">\n'
    return _document(
        columns, info, overflowed, body, opening=opening, closing="</STREAM></BINARY2></DATA>\n", nulls=False
    )


def write_binary(
    columns: tuple[Column, ...], batches: Iterable[pa.RecordBatch], info: ResultInfo, overflowed: Callable[[], bool]
) -> Iterator[bytes]:
    """BINARY: an integer NULL is a value of its own, and a NULL text the empty one."""
    body = _base64(pack(columns, piece, binary2=False) for piece in _pieces(batches))
    opening = '<DATA><BINARY><STREAM encoding="base64">\n'
    return _document(
        columns, info, overflowed, body, opening=opening, closing="</STREAM></BINARY></DATA>\n", nulls=True
    )


def write_tabledata(
    columns: tuple[Column, ...], batches: Iterable[pa.RecordBatch], info: ResultInfo, overflowed: Callable[[], bool]
) -> Iterator[bytes]:
    """TABLEDATA: text in XML, for people and for clients that read nothing else."""
    body = (_tabledata(columns, piece) for piece in _pieces(batches))
    return _document(
        columns, info, overflowed, body, opening="<DATA><TABLEDATA>\n", closing="</TABLEDATA></DATA>\n", nulls=False
    )


def _tabledata(columns: Sequence[Column], batch: pa.RecordBatch) -> bytes:
    parts = []
    for i, column in enumerate(columns):
        array = cells(column, batch.column(i))
        parts.append(_escaped(array) if pa.types.is_string(batch.column(i).type) else array)
    return rows(parts, "</TD><TD>", "<TR><TD>", "</TD></TR>\n")


def _escaped(array: pa.Array) -> pa.Array:
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        array = pc.replace_substring(array, character, entity)
    return pc.replace_substring_regex(array, r"[\x00-\x08\x0b\x0c\x0e-\x1f]", "\ufffd")
