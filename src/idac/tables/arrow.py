"""How VOTable's types and Arrow's answer to each other: one mapping, used by readers, writers and engines alike."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import pyarrow as pa

from idac.core.errors import BadData
from idac.tables.model import Column, DataType

_SCALARS: dict[str, pa.DataType] = {
    "boolean": pa.bool_(),
    "unsignedByte": pa.uint8(),
    "short": pa.int16(),
    "int": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "floatComplex": pa.list_(pa.float32(), 2),
    "doubleComplex": pa.list_(pa.float64(), 2),
}
#: Types that a file may have and a VOTable has not, by the nearest wider one that it has.
_WIDENED: dict[pa.DataType, DataType] = {
    pa.int8(): DataType("short"),
    pa.uint16(): DataType("int"),
    pa.uint32(): DataType("long"),
    pa.float16(): DataType("float"),
}
_FROM_ARROW: dict[pa.DataType, DataType] = {
    **{arrow: DataType(name) for name, arrow in _SCALARS.items() if not name.endswith("Complex")},  # type: ignore[arg-type]
    **_WIDENED,
}
#: Field metadata in which a column's own travels through Arrow and plain Parquet.
_KEYS = ("datatype", "arraysize", "xtype", "unit", "ucd", "utype", "description")


def fixed_length(arraysize: str | None) -> int | None:
    """Number of elements of a fixed arraysize such as ``5`` or ``2x3``; None for a scalar or a variable one."""
    if arraysize is None or "*" in arraysize:
        return None
    length = 1
    for part in arraysize.split("x"):
        length *= int(part)
    return length


def arrow_type(kind: DataType) -> pa.DataType:
    """The Arrow type whose arrays hold a column of *kind*; arrays of several dimensions are flattened, row-major."""
    if kind.is_timestamp:
        return pa.timestamp("us")
    if kind.datatype in ("char", "unicodeChar"):
        # A second dimension makes an array of strings ("8x*").
        return pa.list_(pa.string()) if kind.arraysize and "x" in kind.arraysize else pa.string()
    scalar = _SCALARS[kind.datatype]
    if kind.arraysize is None:
        return scalar
    length = fixed_length(kind.arraysize)
    if kind.datatype == "unsignedByte" and length is None:
        return pa.binary()
    if length == 1:
        # VOTable 1.5 section 2.2: arraysize="1" is an array of one, which most writers mean as a scalar.
        return scalar
    return pa.list_(scalar) if length is None else pa.list_(scalar, length)


@lru_cache(maxsize=16_384)
def arrow_field(column: Column) -> pa.Field:
    """A nullable field of the column's type that carries its metadata; kept, since each query asks for those it has."""
    kind = column.type
    values = {
        "datatype": kind.datatype,
        "arraysize": kind.arraysize,
        "xtype": kind.xtype,
        "unit": column.unit,
        "ucd": column.ucd,
        "utype": column.utype,
        "description": column.description,
    }
    metadata = {key: value for key, value in values.items() if value}
    return pa.field(column.name, arrow_type(kind), metadata=metadata)


def arrow_schema(columns: Iterable[Column]) -> pa.Schema:
    """The schema of every batch whose columns are *columns*."""
    return pa.schema([arrow_field(column) for column in columns])


def column_from_arrow(field: pa.Field) -> Column:
    """The column that a field describes, from its metadata where they are ours and from its type otherwise.

    Raises BadData for a type that no VOTable can hold (maps, structs, unions).
    """
    stored = {k.decode(): v.decode() for k, v in (field.metadata or {}).items() if k.decode() in _KEYS}
    kind = _stored_type(stored, field.type) or type_from_arrow(field.type, field.name)
    return Column(
        field.name,
        kind,
        unit=stored.get("unit"),
        ucd=stored.get("ucd"),
        utype=stored.get("utype"),
        description=stored.get("description"),
    )


def _stored_type(stored: dict[str, str], actual: pa.DataType) -> DataType | None:
    """The type that the metadata name, where it is the type of the data; metadata of others may lie."""
    if stored.get("datatype") not in (*_SCALARS, "char", "unicodeChar"):
        return None
    kind = DataType(stored["datatype"], stored.get("arraysize"), stored.get("xtype"))  # type: ignore[arg-type]
    try:
        return kind if arrow_type(kind) == actual else None
    except ValueError:
        return None


def type_from_arrow(kind: pa.DataType, name: str = "") -> DataType:
    """The VOTable type for an Arrow type; *name* is the column's, for the error."""
    if pa.types.is_dictionary(kind):
        return type_from_arrow(kind.value_type, name)
    if kind in _FROM_ARROW:
        return _FROM_ARROW[kind]
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return DataType("char", "*")
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return DataType("unsignedByte", "*")
    if pa.types.is_fixed_size_binary(kind):
        return DataType("unsignedByte", str(kind.byte_width))
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return DataType("char", "*", "timestamp")
    if pa.types.is_decimal(kind):
        return DataType("double") if kind.scale else DataType("long")
    if pa.types.is_uint64(kind):
        # Ids of 64 bits are almost always below 2**63; a value above is refused when it is met.
        return DataType("long")
    if pa.types.is_null(kind):
        return DataType("char", "*")
    if pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _list_type(kind, name)
    raise BadData(
        f"Column {name} has a type that no astronomical table format can hold.",
        value=str(kind),
        allowed="numbers, booleans, text, timestamps and lists of them",
        next_step="Split or convert the column before publishing the table.",
    )


def _list_type(kind: pa.DataType, name: str) -> DataType:
    element = type_from_arrow(kind.value_type, name)
    size = str(kind.list_size) if pa.types.is_fixed_size_list(kind) else "*"
    if element.datatype == "char" and element.xtype is None and element.arraysize == "*":
        # An array of strings needs a width for each (VOTable 1.5 section 2.2), which is not known here.
        return DataType("char", "*x*")
    if element.arraysize is None:
        return DataType(element.datatype, size)
    fixed = fixed_length(element.arraysize)
    if fixed is None:
        raise BadData(
            f"Column {name} holds lists of lists of varying length.",
            value=str(kind),
            allowed="lists of numbers, or lists of fixed-size lists",
            next_step="Flatten the column before publishing the table.",
        )
    return DataType(element.datatype, f"{element.arraysize}x{size}")


def row_width(schema: pa.Schema) -> int:
    """Bytes that a row takes in memory, taking text and lists of unknown length for 24; at least 1."""
    return max(1, sum(_width(field.type) for field in schema))


def _width(kind: pa.DataType) -> int:
    if pa.types.is_fixed_size_list(kind):
        return int(kind.list_size) * _width(kind.value_type)
    try:
        return max(int(kind.bit_width) // 8, 1)
    except ValueError:
        return 24
