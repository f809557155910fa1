"""How types go together: which values a function takes, what two have in common, what CAST may turn into what."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from idac.tables.model import DOUBLE, STRING, UNICODE, DataType

type Family = Literal["number", "integer", "text", "time", "boolean", "point", "region", "any"]

#: The type of a bare NULL as an output column: text to whoever reads the result, and told from text by identity, so
#: that a set operation can give it the type of the other side.
NULL_TYPE = DataType("char", "*")
_RANK = {"unsignedByte": 0, "short": 1, "int": 2, "long": 3, "float": 4, "double": 5}
_GEOMETRY = ("point", "circle", "polygon", "adql:REGION")
_TESTS: dict[Family, Callable[[DataType], bool]] = {
    "number": lambda k: k.is_numeric,
    "integer": lambda k: k.is_integer,
    "text": lambda k: k.is_string,
    "time": lambda k: k.is_timestamp or k.is_string,
    "boolean": lambda k: k.datatype == "boolean" and k.arraysize is None,
    "point": lambda k: k.xtype == "point",
    "region": lambda k: k.xtype in _GEOMETRY,
    "any": lambda _: True,
}
FAMILY_NAMES: dict[Family, str] = {
    "number": "a number",
    "integer": "a whole number",
    "text": "text",
    "time": "a timestamp",
    "boolean": "a boolean",
    "point": "a point",
    "region": "a geometry",
    "any": "a value",
}
_CAST_TO: dict[Family, str] = {"number": "DOUBLE PRECISION", "integer": "INTEGER", "text": "VARCHAR"}


def describe(kind: DataType | None) -> str:
    """A type as an astronomer would call it, for errors."""
    if kind is None:
        return "NULL"
    if kind.is_timestamp:
        return "a timestamp"
    if kind.xtype in ("point", "circle", "polygon"):
        return f"a {kind.xtype}"
    if kind.xtype == "adql:REGION":
        return "a region"
    if kind.is_string:
        return "text"
    if kind.arraysize is not None:
        return "an array"
    return "a boolean" if kind.datatype == "boolean" else "a number"


def belongs(kind: DataType | None, family: Family) -> bool:
    """True where a value of *kind* may be given for a parameter of *family*."""
    return kind is None or _TESTS[family](kind)


def cast_hint(kind: DataType | None, family: Family) -> str | None:
    """How to make a value of *kind* fit *family*; None where CAST can't."""
    target = _CAST_TO.get(family)
    scalar = kind is not None and (kind.is_numeric or kind.is_string or kind.is_timestamp)
    if target is None or not scalar or (family != "text" and kind is not None and kind.is_timestamp):
        return None
    return f"Convert it with CAST(… AS {target})."


def alike(left: DataType, right: DataType) -> bool:
    """True where one column can hold the values of both."""
    if left is NULL_TYPE or right is NULL_TYPE or left == right:
        return True
    return (left.is_numeric and right.is_numeric) or (left.is_string and right.is_string)


def widest(left: DataType | None, right: DataType | None) -> DataType | None:
    """The type that holds values of both, of two that are ``alike``."""
    if left is None or right is None:
        return left or right
    if left is NULL_TYPE or right is NULL_TYPE:
        return right if left is NULL_TYPE else left
    if left.is_numeric and right.is_numeric:
        low, high = sorted((left, right), key=lambda k: _RANK[k.datatype])
        # A float has 24 bits of mantissa: an int or long beside it needs a double.
        return DOUBLE if high.datatype == "float" and low.datatype in ("int", "long") else high
    if left.is_string and right.is_string and left != right:
        return UNICODE if "unicodeChar" in (left.datatype, right.datatype) else STRING
    return left


def can_cast(source: DataType | None, target: DataType) -> bool:
    """ADQL 2.1 table 15, and booleans beside it: to and from text, and to whole numbers."""
    if source is None:
        return True
    if target.is_string:
        return source.is_numeric or source.is_string or source.is_timestamp or _TESTS["boolean"](source)
    if target.is_timestamp:
        return source.is_timestamp or source.is_string
    if target.datatype == "boolean":
        return _TESTS["boolean"](source) or source.is_string or source.is_integer
    return source.is_numeric or source.is_string or (_TESTS["boolean"](source) and target.is_integer)
