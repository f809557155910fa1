"""ADQL's type names in CAST (ADQL 2.1 section 4.4.1) as the types that columns have."""

from __future__ import annotations

from idac.tables.model import (
    BOOLEAN,
    CIRCLE,
    DOUBLE,
    FLOAT,
    INT,
    LONG,
    POINT,
    POLYGON,
    SHORT,
    STRING,
    TIMESTAMP,
    DataType,
)

CAST_TYPES = (
    "CHAR(n), VARCHAR(n), SMALLINT, INTEGER, BIGINT, REAL, DOUBLE PRECISION, TIMESTAMP, BOOLEAN, POINT, CIRCLE, POLYGON"
)
#: Longest CHAR(n) and VARCHAR(n): a fixed length is written out in full, in every row.
_LONGEST = 65_535

_NAMES: dict[str, DataType] = {
    "SMALLINT": SHORT,
    "INTEGER": INT,
    "INT": INT,
    "BIGINT": LONG,
    "REAL": FLOAT,
    "FLOAT": DOUBLE,
    "DOUBLE": DOUBLE,
    "DOUBLE PRECISION": DOUBLE,
    "TIMESTAMP": TIMESTAMP,
    "BOOLEAN": BOOLEAN,
    "POINT": POINT,
    "CIRCLE": CIRCLE,
    "POLYGON": POLYGON,
}
_TEXT = {"CHAR": True, "CHARACTER": True, "VARCHAR": False, "CHARACTER VARYING": False, "CHAR VARYING": False}


def cast_type(name: str, length: int | None) -> DataType | None:
    """The type that an upper-case name and length stand for; None where ADQL knows no such type."""
    if name in _TEXT:
        if length is None:
            # SQL-92 section 6.1: CHAR without a length is CHAR(1), which nobody means who casts a number to text.
            return STRING
        return DataType("char", str(length) if _TEXT[name] else f"{length}*") if 0 < length <= _LONGEST else None
    return _NAMES.get(name) if length is None else None
