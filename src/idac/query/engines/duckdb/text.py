"""Names, texts and types as DuckDB's SQL spells them."""

from __future__ import annotations

from collections.abc import Iterable

from idac.tables.model import DataType

_TYPES = {
    "boolean": "BOOLEAN",
    "unsignedByte": "UTINYINT",
    "short": "SMALLINT",
    "int": "INTEGER",
    "long": "BIGINT",
    "float": "FLOAT",
    "double": "DOUBLE",
}


def quoted(name: str) -> str:
    """An identifier, whatever characters it has."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text constant."""
    return "'" + text.replace("'", "''") + "'"


def list_of(items: Iterable[str]) -> str:
    return "[" + ", ".join(items) + "]"


def number(value: float) -> str:
    """A double constant that reads back as the same bits."""
    shown = repr(float(value))
    if shown in ("inf", "-inf", "nan"):
        return f"'{shown}'::DOUBLE"
    shown = shown if "e" in shown else f"{shown}e0"
    return f"({shown})" if shown.startswith("-") else shown


def type_name(kind: DataType) -> str:
    """The SQL type that a scalar of *kind* is cast to."""
    if kind.is_timestamp:
        return "TIMESTAMP"
    if kind.datatype in ("char", "unicodeChar"):
        return "VARCHAR"
    return _TYPES[kind.datatype]
