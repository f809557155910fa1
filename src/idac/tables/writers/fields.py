"""A result's metadata as VOTable elements, and the columns as the VOTable serialisations write them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from xml.sax.saxutils import escape, quoteattr

import pyarrow as pa

from idac.tables.arrow import fixed_length
from idac.tables.model import STRING, Column, DataType
from idac.tables.writers.info import ResultInfo
from idac.tables.writers.packing import INTEGER_NULLS, Varying, encode, is_ascii

#: Characters that XML 1.0 can't hold, not even as references (section 2.2).
FORBIDDEN = "[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]"
_NO_XML = re.compile(FORBIDDEN)
#: 1.4 is the latest version that STILTS 3.4's votlint knows; 1.5 adds nothing that stands here. The namespace of all
#: versions since 1.3 is the same (VOTable 1.4 section 3.1).
_DECLARATION = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3" '
    'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">\n'
)
_COOSYS = '<COOSYS ID="icrs" system="ICRS"/>\n'
#: The main position of a table, which the archive holds in ICRS. Others (a plate's, an older catalogue's) may not be.
_POSITION = re.compile(r"^pos\.eq\.(ra|dec);(.*;)?meta\.main\b", re.IGNORECASE)
_GEOMETRY = frozenset({"point", "circle", "polygon"})


def as_text(column: Column) -> Column:
    """The column as VOTable's text serialisations have it.

    Text of a fixed length may be shorter here, so that no reader shows what would fill it; timestamps have no one
    length. Lists of texts become JSON (DALI 1.2's xtype ``json``): VOTable's own two-dimensional ``char`` needs one
    width for all of them, and astropy 8 refuses it.
    """
    kind = column.type
    size = kind.arraysize
    if kind.datatype not in ("char", "unicodeChar"):
        return replace(column, type=replace(kind, arraysize=None)) if size == "1" else column
    if size is not None and "x" in size:
        return replace(column, type=DataType(kind.datatype, "*", kind.xtype or "json"))
    if kind.is_timestamp:
        return replace(column, type=replace(kind, arraysize="*"))
    if size is None or not size.endswith("*"):
        return replace(column, type=replace(kind, arraysize=f"{size or 1}*"))
    return column


def widened(columns: Iterable[Column], first: pa.RecordBatch | None) -> tuple[Column, ...]:
    """The columns as text serialisations have them, wider where the first rows need it.

    ``char`` becomes ``unicodeChar`` where it must: it is ASCII up to VOTable 1.5, and astropy 8 rejects a whole
    document for one other byte. A length that a text exceeds, a promise that the publisher broke, is given up.
    """
    plain = map(as_text, columns)
    return tuple(plain) if first is None else tuple(_widened(c, first.column(i)) for i, c in enumerate(plain))


def _widened(column: Column, array: pa.Array) -> Column:
    kind = column.type
    if not kind.is_string:
        return column
    if kind.datatype == "char" and not is_ascii(array):
        kind = replace(kind, datatype="unicodeChar")
    if kind.arraysize != "*":
        encoded = encode(replace(column, type=kind), array)
        most = int((kind.arraysize or "1").rstrip("*"))
        if isinstance(encoded, Varying) and encoded.counts.max(initial=0) > most:
            kind = replace(kind, arraysize="*")
    return replace(column, type=kind)


def without_bytes(column: Column) -> Column:
    """The column as BINARY has it: bytes become shorts, so that NULL has a number that no byte has.

    Arrays of varying length stay: a NULL one is empty.
    """
    kind = column.type
    if kind.datatype == "unsignedByte" and (kind.arraysize is None or fixed_length(kind.arraysize) is not None):
        return replace(column, type=replace(column.type, datatype="short"))
    return column


def xml_text(value: str) -> str:
    return escape(_NO_XML.sub("\ufffd", value), {"\r": "&#13;"})


def _attribute(name: str, value: str | None) -> str:
    return f" {name}={quoteattr(_NO_XML.sub(chr(0xFFFD), value))}" if value else ""


def info_element(name: str, value: str, text: str = "") -> str:
    """One INFO element."""
    inner = f">{xml_text(text)}</INFO>" if text else "/>"
    return f"<INFO name={quoteattr(name)} value={quoteattr(_NO_XML.sub(chr(0xFFFD), value))}{inner}\n"


@lru_cache(maxsize=16_384)
def field_element(column: Column, *, nulls: bool) -> str:
    """One FIELD element; with *nulls*, integers declare the value that stands for NULL.

    Elements of integer arrays have no other way to be NULL (VOTable 1.4 section 6.2), so arrays always declare it.
    """
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
    inner = f"<DESCRIPTION>{xml_text(column.description)}</DESCRIPTION>" if column.description else ""
    if kind.datatype in INTEGER_NULLS and (nulls or kind.arraysize is not None):
        inner += f'<VALUES null="{INTEGER_NULLS[kind.datatype]}"/>'
    return f"<FIELD{attributes}>{inner}</FIELD>\n" if inner else f"<FIELD{attributes}/>\n"


def _is_position(column: Column) -> bool:
    return bool(_POSITION.match(column.ucd or "")) or column.type.xtype in _GEOMETRY


def document_head(columns: Sequence[Column], info: ResultInfo, *, nulls: bool = False, status: str = "OK") -> str:
    """Everything before DATA: one results resource with its QUERY_STATUS, and the table's fields."""
    parts = [_DECLARATION, '<RESOURCE type="results">\n']
    if info.description:
        parts.append(f"<DESCRIPTION>{xml_text(info.description)}</DESCRIPTION>\n")
    parts.append(info_element("QUERY_STATUS", status))
    parts += [info_element(*item) for item in info.infos]
    if any(map(_is_position, columns)):
        parts.append(_COOSYS)
    parts.append("<TABLE>\n")
    parts += [field_element(column, nulls=nulls) for column in columns]
    return "".join(parts)


def document_tail(infos: Iterable[tuple[str, str, str]] = ()) -> str:
    """The end of the document; *infos* were not known at its beginning."""
    trailing = "".join(info_element(*item) for item in infos)
    return f"</TABLE>\n{trailing}</RESOURCE>\n</VOTABLE>\n"


def error_document(text: str, infos: Sequence[tuple[str, str, str]] = ()) -> bytes:
    """A VOTable that says that a query failed, and why (DALI 1.1 section 4.4)."""
    status = info_element("QUERY_STATUS", "ERROR", text)
    others = "".join(info_element(*item) for item in infos)
    return f'{_DECLARATION}<RESOURCE type="results">\n{status}{others}</RESOURCE>\n</VOTABLE>\n'.encode()


def fields_document(columns: Sequence[Column], info: ResultInfo, *, status: str = "OK") -> str:
    """A VOTable without data, as VOParquet keeps it beside the rows."""
    described = tuple(_in_parquet(column) for column in columns)
    return document_head(described, info, status=status) + document_tail()


def _in_parquet(column: Column) -> Column:
    """The field that describes a Parquet column best: lists of texts have no VOTable type (VOParquet 1.0 section 2)."""
    size = column.type.arraysize
    if column.type.datatype in ("char", "unicodeChar") and size is not None and "x" in size:
        return replace(column, type=STRING)
    return column
