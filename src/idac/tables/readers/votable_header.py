"""What a VOTable says before its rows: FIELDs, frames, comments; and how FIELDs become columns."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from idac.core.errors import BadData
from idac.tables.model import Column, DataType, VOTableType
from idac.tables.readers.source import ReadLimits, TableInfo
from idac.tables.readers.votable_xml import XmlReader

_TYPES: dict[str, VOTableType] = {
    "boolean": "boolean",
    "bit": "boolean",
    "unsignedByte": "unsignedByte",
    "short": "short",
    "int": "int",
    "long": "long",
    "char": "char",
    "unicodeChar": "unicodeChar",
    "float": "float",
    "double": "double",
    "floatComplex": "floatComplex",
    "doubleComplex": "doubleComplex",
}
#: ``*``, ``5``, ``10*``, ``3x2``, ``3x*``.
_ARRAYSIZE = re.compile(r"(\d{1,10}x)*(\d{1,10}\*?|\*)", re.ASCII)
_KEPT = ("ID", "ref", "width", "precision", "type")


@dataclass(slots=True)
class Field:
    """A FIELD: its attributes, and what its child elements say."""

    attributes: Mapping[str, str]
    description: str | None = None
    null: str | None = None

    @property
    def name(self) -> str:
        return self.attributes.get("name") or self.attributes.get("ID") or ""

    @property
    def is_bits(self) -> bool:
        return self.attributes.get("datatype") == "bit"


@dataclass(slots=True)
class Header:
    """One TABLE element without its rows."""

    number: int
    attributes: Mapping[str, str]
    fields: list[Field] = field(default_factory=list)
    description: str | None = None
    #: FIELDref → the GROUP's own ref, which ties columns to a COOSYS or TIMESYS.
    group_refs: dict[str, str] = field(default_factory=dict)

    @property
    def rows(self) -> int | None:
        text = self.attributes.get("nrows", "")
        return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else None

    def answers_to(self, choice: str | int | None) -> bool:
        """Whether this is the table asked for: None takes the first with columns, a number counts from 1."""
        if choice is None:
            return True
        if isinstance(choice, int):
            return self.number == choice
        return choice in (self.attributes.get("name"), self.attributes.get("ID"))


class HeaderReader:
    """Follows a VOTable's elements up to the data, table after table."""

    def __init__(self, limits: ReadLimits) -> None:
        self.limits = limits
        self.tables: list[Header] = []
        #: The table whose element is open.
        self.table: Header | None = None
        self.comments: list[str] = []
        self.frames: dict[str, str] = {}
        self.error_text: str | None = None
        self.is_votable = False
        self.description: str | None = None
        self._path: list[str] = []
        self._text: list[str] | None = None
        self._text_size = 0
        self._info: Mapping[str, str] = {}
        self._group_refs: list[str | None] = []
        self._header_size = 0
        self._starts: dict[str, Callable[[Mapping[str, str]], None]] = {
            "TABLE": self._start_table,
            "FIELD": self._start_field,
            "VALUES": self._start_values,
            "COOSYS": self._start_frame,
            "TIMESYS": self._start_frame,
            "GROUP": self._start_group,
            "FIELDref": self._start_field_ref,
            "INFO": self._start_info,
        }
        self._ends: dict[str, Callable[[], None]] = {
            "TABLE": self._end_table,
            "DESCRIPTION": self._end_description,
            "GROUP": self._end_group,
            "INFO": self._end_info,
        }

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        if not self._path:
            self._require_votable(name)
        self._path.append(name)
        self._charge(sum(len(k) + len(v) for k, v in attributes.items()) + len(name))
        handler = self._starts.get(name)
        if handler:
            handler(attributes)
        if name in ("DESCRIPTION", "INFO"):
            self._text = []

    def end(self, name: str) -> None:
        if self._path:
            self._path.pop()
        handler = self._ends.get(name)
        if handler:
            handler()

    def text(self, data: str) -> None:
        if self._text is not None:
            self._charge(len(data))
            self._text.append(data)

    def _charge(self, size: int) -> None:
        """A header is kept in memory whole, so it has a bound of its own."""
        self._header_size += size
        if self._header_size > self.limits.max_header_bytes:
            raise BadData(
                "The VOTable's header is too big.",
                value=f"more than {self.limits.max_header_bytes} characters before the rows",
                allowed=f"at most {self.limits.max_header_bytes} (max_header_bytes)",
                next_step="Leave out descriptions and parameters that are not needed.",
            )

    def _require_votable(self, name: str) -> None:
        if name != "VOTABLE":
            raise BadData(
                "The XML file is no VOTable.",
                value=f"its first element is {name}",
                allowed="a document whose first element is VOTABLE",
                next_step="Check how the file was made; services answer errors in other documents.",
            )
        self.is_votable = True

    def _parent(self) -> str:
        return self._path[-2] if len(self._path) > 1 else ""

    def _start_table(self, attributes: Mapping[str, str]) -> None:
        self.table = Header(len(self.tables) + 1, attributes)
        borrowed = next((t for t in self.tables if t.attributes.get("ID") == attributes.get("ref")), None)
        if attributes.get("ref") and borrowed is not None:
            self.table.fields = list(borrowed.fields)
        self.tables.append(self.table)

    def _end_table(self) -> None:
        self.table = None

    def _start_field(self, attributes: Mapping[str, str]) -> None:
        if self.table is not None:
            self.table.fields.append(Field(attributes))
            self.limits.check_columns(len(self.table.fields))

    def _start_values(self, attributes: Mapping[str, str]) -> None:
        if self.table is not None and self.table.fields and self._parent() == "FIELD" and attributes.get("null"):
            self.table.fields[-1].null = attributes["null"].strip()

    def _start_frame(self, attributes: Mapping[str, str]) -> None:
        words = [attributes.get(key, "") for key in ("system", "equinox", "epoch", "timescale", "refposition")]
        self.frames[attributes.get("ID", "")] = " ".join(word for word in words if word)

    def _start_group(self, attributes: Mapping[str, str]) -> None:
        self._group_refs.append(attributes.get("ref"))

    def _end_group(self) -> None:
        if self._group_refs:
            self._group_refs.pop()

    def _start_field_ref(self, attributes: Mapping[str, str]) -> None:
        ref = next((ref for ref in reversed(self._group_refs) if ref), None)
        if self.table is not None and ref and attributes.get("ref"):
            self.table.group_refs[attributes["ref"]] = ref

    def _start_info(self, attributes: Mapping[str, str]) -> None:
        self._info = attributes

    def _end_info(self) -> None:
        name, value = self._info.get("name", ""), self._info.get("value", "")
        text = self._take_text()
        if name == "QUERY_STATUS" and value == "ERROR":
            self.error_text = text or "no reason given"
        elif name:
            self.comments.append(f"{name}: {value}" + (f" ({text})" if text else ""))

    def _end_description(self) -> None:
        text = self._take_text() or None
        parent = self._path[-1] if self._path else ""
        if parent == "FIELD" and self.table is not None and self.table.fields:
            self.table.fields[-1].description = text
        elif parent == "TABLE" and self.table is not None:
            self.table.description = text
        elif parent in ("VOTABLE", "RESOURCE"):
            self.description = self.description or text

    def _take_text(self) -> str:
        parts, self._text = self._text or [], None
        return " ".join("".join(parts).split())

    def table_info(self, header: Header) -> TableInfo:
        """The table in the words of every format."""
        columns = tuple(column_from_field(f, i + 1, self.limits) for i, f in enumerate(header.fields))
        pairs = list(zip(columns, header.fields, strict=True))
        return TableInfo(
            columns,
            rows=header.rows,
            name=header.attributes.get("name"),
            description=header.description or self.description,
            utype=header.attributes.get("utype"),
            comments=tuple(self.comments),
            frames={c.name: frame for c, f in pairs if (frame := self._frame_of(f, header))},
            details={c.name: found for c, f in pairs if (found := _details(f))},
        )

    def _frame_of(self, described: Field, header: Header) -> str | None:
        ref = described.attributes.get("ref") or header.group_refs.get(described.attributes.get("ID", ""))
        return self.frames.get(ref) if ref else None


def _details(described: Field) -> dict[str, str]:
    found = {key: described.attributes[key] for key in _KEPT if described.attributes.get(key)}
    return {**found, "null": described.null} if described.null is not None else found


def column_from_field(described: Field, number: int, limits: ReadLimits) -> Column:
    """The column of a FIELD; BadData for a type or array size that no VOTable has."""
    name = described.name or f"col{number}"
    attributes = described.attributes
    # Before VOTable 1.0 was settled some writers left the datatype out of text fields.
    kind = _TYPES.get(attributes.get("datatype", "char").strip())
    if kind is None:
        raise BadData(
            f"Column {name} has a datatype that VOTable does not know.",
            value=attributes.get("datatype"),
            allowed=", ".join(_TYPES),
            next_step="Correct the FIELD's datatype.",
        )
    arraysize = attributes.get("arraysize", "").strip() or None
    if arraysize is not None:
        _check_arraysize(arraysize, name, limits)
    xtype = attributes.get("xtype") or None
    if xtype == "timestamp" and (kind not in ("char", "unicodeChar") or (arraysize and "x" in arraysize)):
        xtype = None
    if xtype == "adql:TIMESTAMP" and kind in ("char", "unicodeChar"):
        xtype = "timestamp"  # TAP 1.0's word for it
    return Column(
        name,
        DataType(kind, arraysize, xtype),
        unit=attributes.get("unit") or None,
        ucd=attributes.get("ucd") or None,
        utype=attributes.get("utype") or None,
        description=described.description,
    )


def _check_arraysize(arraysize: str, name: str, limits: ReadLimits) -> None:
    if not _ARRAYSIZE.fullmatch(arraysize):
        raise BadData(
            f"Column {name} has an arraysize that VOTable does not allow.",
            value=arraysize,
            allowed="*, a number, a number and *, or several of these joined by x, the star last",
            next_step="Correct the FIELD's arraysize.",
        )
    if arraysize.endswith("*") and "x" not in arraysize:
        return
    count = 1
    for part in arraysize.rstrip("*").rstrip("x").split("x"):
        count *= int(part)
    if count > limits.max_cell_bytes or count == 0:
        raise BadData(
            f"Column {name} has an arraysize that is out of bounds.",
            value=arraysize,
            allowed=f"1 to {limits.max_cell_bytes} elements (max_cell_bytes)",
            next_step="Correct the FIELD's arraysize.",
        )


def read_votable_header(text: bytes, limits: ReadLimits) -> TableInfo:
    """The metadata of the first table in a VOTable that is at hand whole, as VOParquet embeds it."""
    reader = HeaderReader(limits)
    xml = XmlReader(reader.start, reader.end, reader.text, limits)
    xml.feed(text)
    xml.finish()
    if not reader.tables:
        return TableInfo(())
    return reader.table_info(reader.tables[0])
