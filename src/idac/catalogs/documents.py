"""A schema's metadata in the archive: the Felis YAML for people, and the same in JSON for a service that starts fast.

Both are named by the content's hash, so a document never changes and a snapshot can be put together from any of them.
Reading 1 300 columns takes 4 ms from the JSON; validating the YAML with Felis takes a second.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from idac.core.errors import NotFound, StoreUnavailable
from idac.core.store import Store
from idac.tables.model import Column, DataType, ForeignKey, Schema, Table

SCHEMAS_FOLDER = "catalogs/schemas"
_COLUMN_TEXTS = ("name", "unit", "ucd", "utype", "description")


def yaml_key(digest: str) -> str:
    return f"{SCHEMAS_FOLDER}/{digest}.yaml"


def json_key(digest: str) -> str:
    return f"{SCHEMAS_FOLDER}/{digest}.json"


def put_document(store: Store, schema: Schema, felis_yaml: str) -> str:
    """Store both forms and give their hash; nothing refers to them until a manifest does."""
    data = json.dumps(plain_schema(schema), ensure_ascii=False, separators=(",", ":")).encode()
    digest = hashlib.sha256(data).hexdigest()[:32]
    store.put_atomic(yaml_key(digest), felis_yaml.encode())
    store.put_atomic(json_key(digest), data)
    return digest


def get_document(store: Store, digest: str) -> Schema:
    """Raises StoreUnavailable where the document is missing or damaged."""
    try:
        return schema_from_plain(json.loads(store.get(json_key(digest))))
    except (NotFound, ValueError, KeyError, TypeError, AttributeError):
        raise _damaged(json_key(digest)) from None


def get_yaml(store: Store, digest: str) -> str:
    """Raises StoreUnavailable where the document is missing or damaged."""
    try:
        return store.get(yaml_key(digest)).decode()
    except (NotFound, UnicodeDecodeError):
        raise _damaged(yaml_key(digest)) from None


def _damaged(key: str) -> StoreUnavailable:
    return StoreUnavailable(
        "The metadata of a schema are missing from the archive, or damaged.",
        value=key,
        allowed="the file that idac wrote",
        next_step="Restore it from a backup of the archive.",
    )


def plain_schema(schema: Schema) -> dict[str, Any]:
    return {
        "name": schema.name,
        "description": schema.description,
        "utype": schema.utype,
        "schema_index": schema.schema_index,
        "tables": [_plain_table(table) for table in schema],
    }


def _plain_table(table: Table) -> dict[str, Any]:
    return {
        "name": table.name,
        "description": table.description,
        "utype": table.utype,
        "table_index": table.table_index,
        "primary_key": table.primary_key,
        "columns": [_plain_column(column) for column in table.columns],
        "foreign_keys": [
            {
                "key_id": key.key_id,
                "from_columns": key.from_columns,
                "target_schema": key.target_schema,
                "target_table": key.target_table,
                "target_columns": key.target_columns,
                "description": key.description,
                "utype": key.utype,
            }
            for key in table.foreign_keys
        ],
    }


def _plain_column(column: Column) -> dict[str, Any]:
    kind = column.type
    values: dict[str, Any] = {"type": [kind.datatype, kind.arraysize, kind.xtype]}
    values |= {key: getattr(column, key) for key in _COLUMN_TEXTS}
    values |= {key: getattr(column, key) or None for key in ("principal", "indexed", "std")}
    values["column_index"] = column.column_index
    return {key: value for key, value in values.items() if value is not None}


def schema_from_plain(plain: Mapping[str, Any]) -> Schema:
    name = plain["name"]
    tables = tuple(_table(name, table) for table in plain["tables"])
    return Schema(name, tables, plain["description"], plain["utype"], plain["schema_index"])


def _table(schema: str, plain: Mapping[str, Any]) -> Table:
    return Table(
        schema,
        plain["name"],
        tuple(_column(column) for column in plain["columns"]),
        plain["description"],
        plain["utype"],
        plain["table_index"],
        tuple(_foreign_key(key) for key in plain["foreign_keys"]),
        tuple(plain["primary_key"]),
    )


def _column(plain: Mapping[str, Any]) -> Column:
    values = dict(plain)
    return Column(type=DataType(*values.pop("type")), **values)


def _foreign_key(plain: Mapping[str, Any]) -> ForeignKey:
    values = dict(plain)
    return ForeignKey(
        **{**values, "from_columns": tuple(values["from_columns"]), "target_columns": tuple(values["target_columns"])}
    )
