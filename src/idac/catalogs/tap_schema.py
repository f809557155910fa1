"""TAP_SCHEMA (TAP 1.1 section 4): five tables in memory, made from the published metadata and from nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from idac.catalogs.snapshot import MemoryStorage, TableEntry
from idac.tables.model import INT, STRING, UNICODE, Column, DataType, ForeignKey, Schema, Table
from idac.tables.names import adql_name, adql_table_name

SCHEMA_NAME = "TAP_SCHEMA"


def _column(name: str, kind: DataType, description: str, *, principal: bool = True) -> Column:
    return Column(name, kind, description=description, std=True, principal=principal)


_SCHEMAS = Table(
    SCHEMA_NAME,
    "schemas",
    (
        _column("schema_name", STRING, "Name of the schema, as queries write it"),
        _column("utype", STRING, "Data model that the schema follows", principal=False),
        _column("description", UNICODE, "What the schema holds"),
        _column("schema_index", INT, "Recommended place of the schema in a list", principal=False),
    ),
    description="The schemas of this service",
    table_index=0,
    primary_key=("schema_name",),
)
_TABLES = Table(
    SCHEMA_NAME,
    "tables",
    (
        _column("schema_name", STRING, "Schema that the table belongs to"),
        _column("table_name", STRING, "Full name of the table, as queries write it"),
        _column("table_type", STRING, "table or view"),
        _column("utype", STRING, "Data model that the table follows", principal=False),
        _column("description", UNICODE, "What a row of the table is"),
        _column("table_index", INT, "Recommended place of the table in a list", principal=False),
    ),
    description="The tables of this service",
    table_index=1,
    foreign_keys=(ForeignKey("tables_schemas", ("schema_name",), SCHEMA_NAME, "schemas", ("schema_name",)),),
    primary_key=("table_name",),
)
_COLUMNS = Table(
    SCHEMA_NAME,
    "columns",
    (
        _column("table_name", STRING, "Full name of the table that the column belongs to"),
        _column("column_name", STRING, "Name of the column, as queries write it"),
        _column("datatype", STRING, "VOTable datatype of the values"),
        _column("arraysize", STRING, "VOTable arraysize of the values; empty for a scalar"),
        _column("xtype", STRING, "DALI xtype of the values", principal=False),
        _column("size", INT, "Length of an array, or the most it may have; superseded by arraysize", principal=False),
        _column("description", UNICODE, "What the values mean"),
        _column("utype", STRING, "Part of a data model that the column stands for", principal=False),
        _column("unit", UNICODE, "Unit of the values, in VOUnits"),
        _column("ucd", STRING, "Unified content descriptor of the values"),
        _column("indexed", INT, "1 where a condition on the column is answered without reading the table"),
        _column("principal", INT, "1 where the column is among the most important"),
        _column("std", INT, "1 where a standard defines the column", principal=False),
        _column("column_index", INT, "Recommended place of the column in a list", principal=False),
    ),
    description="The columns of this service's tables",
    table_index=2,
    foreign_keys=(ForeignKey("columns_tables", ("table_name",), SCHEMA_NAME, "tables", ("table_name",)),),
)
_KEYS = Table(
    SCHEMA_NAME,
    "keys",
    (
        _column("key_id", STRING, "Name of the foreign key"),
        _column("from_table", STRING, "Full name of the table that holds the key"),
        _column("target_table", STRING, "Full name of the table that the key points at"),
        _column("utype", STRING, "Part of a data model that the key stands for", principal=False),
        _column("description", UNICODE, "What the key connects"),
    ),
    description="The foreign keys between this service's tables",
    table_index=3,
    foreign_keys=(
        ForeignKey("keys_from_tables", ("from_table",), SCHEMA_NAME, "tables", ("table_name",)),
        ForeignKey("keys_target_tables", ("target_table",), SCHEMA_NAME, "tables", ("table_name",)),
    ),
    primary_key=("key_id",),
)
_KEY_COLUMNS = Table(
    SCHEMA_NAME,
    "key_columns",
    (
        _column("key_id", STRING, "Name of the foreign key"),
        _column("from_column", STRING, "Column of the table that holds the key"),
        _column("target_column", STRING, "Column that it points at"),
    ),
    description="The pairs of columns that make up the foreign keys",
    table_index=4,
    foreign_keys=(ForeignKey("key_columns_keys", ("key_id",), SCHEMA_NAME, "keys", ("key_id",)),),
)

TAP_SCHEMA = Schema(
    SCHEMA_NAME,
    (_SCHEMAS, _TABLES, _COLUMNS, _KEYS, _KEY_COLUMNS),
    description="What this service holds, described in tables (TAP 1.1 section 4)",
)


def tap_schema_entries(schemas: Sequence[Schema], version: str) -> dict[tuple[str, str], TableEntry]:
    """The five tables with their rows, keyed as in a snapshot; *schemas* is everything published, TAP_SCHEMA too."""
    rows = {
        "schemas": [_schema_row(schema) for schema in schemas],
        "tables": [_table_row(table) for schema in schemas for table in schema],
        "columns": [row for schema in schemas for table in schema for row in _column_rows(table)],
        "keys": [row for schema in schemas for table in schema for row in _key_rows(table)],
        "key_columns": [row for schema in schemas for table in schema for row in _key_column_rows(table)],
    }
    return {
        (SCHEMA_NAME.lower(), table.name): TableEntry(
            table, MemoryStorage(_memory_table(table, rows[table.name])), version
        )
        for table in TAP_SCHEMA
    }


def _memory_table(table: Table, rows: list[tuple[Any, ...]]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(table.columns)
    arrays = [
        pa.array(values, pa.int32() if column.type == INT else pa.string())
        for column, values in zip(table.columns, columns, strict=True)
    ]
    return pa.table(arrays, names=[column.name for column in table.columns])


def _schema_row(schema: Schema) -> tuple[Any, ...]:
    return adql_name(schema.name), schema.utype, schema.description, schema.schema_index


def _full_name(table: Table) -> str:
    return adql_table_name(table.schema, table.name)


def _table_row(table: Table) -> tuple[Any, ...]:
    return adql_name(table.schema), _full_name(table), "table", table.utype, table.description, table.table_index


def _size(kind: DataType) -> int | None:
    """Length of an array of one dimension, or the most it may have (``18*``); None where nothing bounds it."""
    length = (kind.arraysize or "").removesuffix("*")
    return int(length) if length.isdecimal() else None


def _column_rows(table: Table) -> list[tuple[Any, ...]]:
    name = _full_name(table)
    return [
        (
            name,
            adql_name(c.name),
            c.type.datatype,
            c.type.arraysize,
            c.type.xtype,
            _size(c.type),
            c.description,
            c.utype,
            c.unit,
            c.ucd,
            int(c.indexed),
            int(c.principal),
            int(c.std),
            c.column_index,
        )
        for c in table.columns
    ]


def key_name(table: Table, key: ForeignKey) -> str:
    """The key's name, which must be unique in the service, so it carries its schema (TAP 1.1 section 4.4)."""
    return key.key_id if table.schema == SCHEMA_NAME else f"{table.schema}.{key.key_id}"


def _key_rows(table: Table) -> list[tuple[Any, ...]]:
    return [
        (
            key_name(table, key),
            _full_name(table),
            adql_table_name(key.target_schema, key.target_table),
            key.utype,
            key.description,
        )
        for key in table.foreign_keys
    ]


def _key_column_rows(table: Table) -> list[tuple[Any, ...]]:
    return [
        (key_name(table, key), adql_name(source), adql_name(target))
        for key in table.foreign_keys
        for source, target in zip(key.from_columns, key.target_columns, strict=True)
    ]
