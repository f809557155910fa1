"""What a column, a table and a schema are, in VOTable's terms: the metadata that travels with the data everywhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

#: VOTable 1.5 section 2.1, table 1, less the bit type (nothing in this field writes it) and unsignedByte's arithmetic.
type VOTableType = Literal[
    "boolean",
    "unsignedByte",
    "short",
    "int",
    "long",
    "char",
    "unicodeChar",
    "float",
    "double",
    "floatComplex",
    "doubleComplex",
]


@dataclass(frozen=True, slots=True)
class DataType:
    """A VOTable type: ``datatype``, ``arraysize`` (None for scalar, else ``*``, ``5``, ``10*``, ``3x*``), ``xtype``.

    A string is ``char`` or ``unicodeChar`` with an arraysize. Timestamps are ``char``, ``*``, xtype ``timestamp``. DALI
    point, circle and polygon are ``double`` arrays of ``2``, ``3`` and ``*`` with that xtype; a polymorphic region
    (``s_region``) is ``char``, ``*``, xtype ``adql:REGION``.
    """

    datatype: VOTableType
    arraysize: str | None = None
    xtype: str | None = None

    @property
    def is_string(self) -> bool:
        return self.datatype in ("char", "unicodeChar") and self.xtype != "timestamp"

    @property
    def is_timestamp(self) -> bool:
        return self.xtype == "timestamp"

    @property
    def is_numeric(self) -> bool:
        return self.arraysize is None and self.datatype in ("unsignedByte", "short", "int", "long", "float", "double")

    @property
    def is_integer(self) -> bool:
        return self.arraysize is None and self.datatype in ("unsignedByte", "short", "int", "long")


BOOLEAN = DataType("boolean")
SHORT = DataType("short")
INT = DataType("int")
LONG = DataType("long")
FLOAT = DataType("float")
DOUBLE = DataType("double")
STRING = DataType("char", "*")
UNICODE = DataType("unicodeChar", "*")
TIMESTAMP = DataType("char", "*", "timestamp")
POINT = DataType("double", "2", "point")
CIRCLE = DataType("double", "3", "circle")
POLYGON = DataType("double", "*", "polygon")
REGION = DataType("char", "*", "adql:REGION")


@dataclass(frozen=True, slots=True)
class Column:
    """A column's metadata: TAP_SCHEMA.columns and VOTable FIELD are two faces of it."""

    name: str
    type: DataType
    unit: str | None = None
    ucd: str | None = None
    utype: str | None = None
    description: str | None = None
    #: TAP_SCHEMA flags (TAP 1.1 section 4.3).
    principal: bool = False
    indexed: bool = False
    std: bool = False
    column_index: int | None = None

    def renamed(self, name: str) -> Column:
        return replace(self, name=name)


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """Columns of this table that point at columns of another (TAP_SCHEMA.keys and key_columns)."""

    key_id: str
    from_columns: tuple[str, ...]
    target_schema: str
    target_table: str
    target_columns: tuple[str, ...]
    description: str | None = None
    utype: str | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A table's metadata; where its rows are is the archive's business."""

    schema: str
    name: str
    columns: tuple[Column, ...]
    description: str | None = None
    utype: str | None = None
    table_index: int | None = None
    foreign_keys: tuple[ForeignKey, ...] = ()
    primary_key: tuple[str, ...] = ()
    #: Names of the position columns (ICRS, degrees) that the archive sorts by; None for a table without positions.
    ra_column: str | None = None
    dec_column: str | None = None
    #: The column whose values name one row, for id look-ups.
    id_column: str | None = None
    _by_lower: dict[str, tuple[Column, ...]] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        for column in self.columns:
            key = column.name.lower()
            self._by_lower[key] = (*self._by_lower.get(key, ()), column)

    @property
    def qualified_name(self) -> str:
        return f"{self.schema}.{self.name}"

    def matching(self, name: str) -> tuple[Column, ...]:
        """Every column of that name regardless of case; a look-up, since tables have more than a thousand columns."""
        return self._by_lower.get(name.lower(), ())

    def find(self, name: str, *, delimited: bool = False) -> Column | None:
        """The column of that name: regardless of case unless *delimited* (ADQL 2.1 section 2.1.3)."""
        matches = self.matching(name)
        if delimited:
            return next((c for c in matches if c.name == name), None)
        return matches[0] if len(matches) == 1 else next((c for c in matches if c.name == name), None)


@dataclass(frozen=True, slots=True)
class Schema:
    """A named group of tables (TAP_SCHEMA.schemas)."""

    name: str
    tables: tuple[Table, ...]
    description: str | None = None
    utype: str | None = None
    schema_index: int | None = None

    def __iter__(self) -> Iterator[Table]:
        return iter(self.tables)
