"""VOSI 1.1 documents: availability, capabilities and tables, from plain metadata to XML bytes."""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from xml.etree import ElementTree as ET

from starlette.requests import Request
from starlette.responses import Response

from idac.tables.model import Column, DataType, ForeignKey, Schema, Table
from idac.tables.names import adql_name, adql_table_name

XSI = "http://www.w3.org/2001/XMLSchema-instance"
NAMESPACES = {
    "vosi": "http://www.ivoa.net/xml/VOSICapabilities/v1.0",
    "avail": "http://www.ivoa.net/xml/VOSIAvailability/v1.0",
    "vtm": "http://www.ivoa.net/xml/VOSITables/v1.0",
    "vr": "http://www.ivoa.net/xml/VOResource/v1.0",
    "vs": "http://www.ivoa.net/xml/VODataService/v1.1",
    "tr": "http://www.ivoa.net/xml/TAPRegExt/v1.0",
    "cs": "http://www.ivoa.net/xml/ConeSearch/v1.0",
}
#: Below this many bytes gzip costs more than it saves.
_COMPRESS_FROM = 1024


@dataclass(frozen=True)
class Document:
    """An XML document ready to send: its bytes, their gzip form and an entity tag, each made once."""

    body: bytes
    media_type: str = "text/xml"

    @cached_property
    def gzipped(self) -> bytes:
        return gzip.compress(self.body, compresslevel=6, mtime=0)

    @cached_property
    def etag(self) -> str:
        return f'"{hashlib.sha256(self.body).hexdigest()[:32]}"'

    def response(self, request: Request) -> Response:
        """The answer, compressed where the client takes it; 304 where it has this very document."""
        packed = len(self.body) >= _COMPRESS_FROM and _takes_gzip(request.headers.get("accept-encoding", ""))
        # Other bytes are another entity: a strong tag may not be shared.
        etag = f'{self.etag[:-1]}-gzip"' if packed else self.etag
        headers = {"etag": etag, "vary": "Accept-Encoding", "cache-control": "no-cache"}
        if etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        if packed:
            headers["content-encoding"] = "gzip"
        body = self.gzipped if packed else self.body
        return Response(body, headers=headers, media_type=self.media_type)


def _takes_gzip(accepted: str) -> bool:
    """Whether an Accept-Encoding names gzip without refusing it by ``q=0``."""
    for part in accepted.lower().split(","):
        coding, _, weight = part.partition(";")
        if coding.strip() == "gzip":
            return not re.fullmatch(r"\s*q\s*=\s*0(\.0*)?\s*", weight)
    return False


@dataclass(frozen=True, slots=True)
class Capability:
    """One capability: its standard, the address of its interface, and more elements where a standard has them."""

    standard_id: str
    access_url: str
    use: str = "full"  # "full": the address as it stands; "base": parameters or path follow
    version: str | None = None
    xsi_type: str | None = None
    details: tuple[ET.Element, ...] = ()
    #: Ways to log in at the interface, as IVOA SSO names them; none: whoever needs one is told by a challenge.
    security: tuple[str, ...] = ()


def element(tag: str, text: str | None = None, **attributes: str) -> ET.Element:
    """An element with text; ``ivo_id`` and the like are spelled ``ivo-id``."""
    made = ET.Element(tag, {name.replace("_", "-"): value for name, value in attributes.items()})
    made.text = text
    return made


def availability_xml(*, available: bool, notes: Iterable[str] = (), up_since: datetime | None = None) -> Document:
    """VOSI availability: whether queries are answered now, and what an operator has to say."""
    root = _root("avail:availability", "avail")
    ET.SubElement(root, "avail:available").text = "true" if available else "false"
    if up_since is not None:
        ET.SubElement(root, "avail:upSince").text = up_since.strftime("%Y-%m-%dT%H:%M:%SZ")
    for note in notes:
        ET.SubElement(root, "avail:note").text = note
    return _document(root)


def capabilities_xml(capabilities: Sequence[Capability]) -> Document:
    """VOSI capabilities; every interface is a ParamHTTP one, as TAPRegExt and DALI ask."""
    root = _root("vosi:capabilities", "vosi", "vr", "vs", "tr", "cs")
    for capability in capabilities:
        attributes = {"standardID": capability.standard_id}
        if capability.xsi_type:
            attributes["xsi:type"] = capability.xsi_type
        node = ET.SubElement(root, "capability", attributes)
        interface = {"xsi:type": "vs:ParamHTTP", "role": "std"}
        if capability.version:
            interface["version"] = capability.version
        access = ET.SubElement(ET.SubElement(node, "interface", interface), "accessURL", {"use": capability.use})
        access.text = capability.access_url
        for method in capability.security:
            ET.SubElement(node[0], "securityMethod", {"standardID": method})
        node.extend(capability.details)
    return _document(root)


def tableset_xml(schemas: Iterable[Schema], *, columns: bool, esa_flags: bool = False) -> Document:
    """The whole table set; without *columns* it is VOSI's ``detail=min``.

    With *esa_flags* each column has the attribute of ESA's archives without which astroquery's TapPlus reads no table
    set at all. It is in no published schema, so others must not get it.
    """
    root = _root("vtm:tableset", "vtm", "vs")
    if esa_flags:
        root.set("xmlns:esatapplus", "http://esa.int/xml/EsaTapPlus")
    for schema in schemas:
        node = ET.SubElement(root, "schema")
        _texts(node, name=adql_name(schema.name), description=schema.description, utype=schema.utype)
        for table in schema:
            node.append(_table(table, "table", columns=columns))
    for column in root.iter("column") if esa_flags else ():
        column.set("esatapplus:flags", "")
    return _document(root)


def table_xml(table: Table) -> Document:
    """One table with its columns and keys."""
    node = _table(table, "vtm:table", columns=True)
    for name, value in _root("", "vtm", "vs").attrib.items():
        node.set(name, value)
    return _document(node)


def _table(table: Table, tag: str, *, columns: bool) -> ET.Element:
    node = ET.Element(tag, {"type": "table"})
    _texts(node, name=adql_table_name(table.schema, table.name), description=table.description, utype=table.utype)
    if columns:
        node.extend(_column(column) for column in table.columns)
        node.extend(_foreign_key(key) for key in table.foreign_keys)
    return node


def _column(column: Column) -> ET.Element:
    node = ET.Element("column", {"std": "true" if column.std else "false"})
    _texts(
        node,
        name=adql_name(column.name),
        description=column.description,
        unit=column.unit,
        ucd=column.ucd,
        utype=column.utype,
    )
    node.append(_data_type(column.type))
    for flag, value in (("indexed", column.indexed), ("primary", column.principal)):
        if value:
            ET.SubElement(node, "flag").text = flag
    return node


def _data_type(kind: DataType) -> ET.Element:
    attributes = {"xsi:type": "vs:VOTableType"}
    if kind.arraysize is not None:
        attributes["arraysize"] = kind.arraysize
    if kind.xtype is not None:
        attributes["extendedType"] = kind.xtype
    node = ET.Element("dataType", attributes)
    node.text = kind.datatype
    return node


def _foreign_key(key: ForeignKey) -> ET.Element:
    node = ET.Element("foreignKey")
    _texts(node, targetTable=adql_table_name(key.target_schema, key.target_table))
    for source, goal in zip(key.from_columns, key.target_columns, strict=True):
        pair = ET.SubElement(node, "fkColumn")
        _texts(pair, fromColumn=adql_name(source), targetColumn=adql_name(goal))
    _texts(node, description=key.description, utype=key.utype)
    return node


def _texts(node: ET.Element, **texts: str | None) -> None:
    for tag, text in texts.items():
        if text:
            ET.SubElement(node, tag).text = text


def _root(tag: str, *prefixes: str) -> ET.Element:
    attributes = {f"xmlns:{prefix}": NAMESPACES[prefix] for prefix in prefixes}
    return ET.Element(tag, {"xmlns:xsi": XSI, **attributes})


def _document(root: ET.Element) -> Document:
    return Document(ET.tostring(root, encoding="utf-8", xml_declaration=True))
