"""TAP_SCHEMA describes everything published, itself too, in the columns that TAP 1.1 asks for."""

from __future__ import annotations

import pyarrow as pa
import pytest

from archive_fixture import build_archive
from idac.catalogs.snapshot import CatalogSnapshot, MemoryStorage
from idac.catalogs.tap_schema import tap_schema_entries
from idac.tables.arrow import arrow_type
from idac.tables.model import Column, DataType, Schema, Table

#: TAP 1.1, sections 4.1 to 4.5.
STANDARD = {
    "schemas": {"schema_name", "utype", "description", "schema_index"},
    "tables": {"schema_name", "table_name", "table_type", "utype", "description", "table_index"},
    "columns": {
        *("table_name", "column_name", "datatype", "arraysize", "xtype", "size", "description", "utype"),
        *("unit", "ucd", "indexed", "principal", "std", "column_index"),
    },
    "keys": {"key_id", "from_table", "target_table", "utype", "description"},
    "key_columns": {"key_id", "from_column", "target_column"},
}


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> CatalogSnapshot:
    odd = pa.table({"ra": [1.0], "dec": [2.0], "select": [1], "flux/err": [0.5], "size": [3], 'a"b': [1]})
    return build_archive(tmp_path_factory.mktemp("a"), {"demo.odd": odd, "demo.2mass": odd}).snapshot()


def rows(snapshot: CatalogSnapshot, table: str) -> list[dict[str, object]]:
    storage = snapshot.entries["tap_schema", table].storage
    assert isinstance(storage, MemoryStorage)
    return storage.data.to_pylist()


@pytest.mark.parametrize("table", list(STANDARD))
def test_each_table_has_the_columns_of_the_standard_and_rows_of_their_types(
    snapshot: CatalogSnapshot, table: str
) -> None:
    entry = snapshot.entries["tap_schema", table]
    assert {c.name for c in entry.table.columns} == STANDARD[table]
    assert all(c.std for c in entry.table.columns)
    assert isinstance(entry.storage, MemoryStorage)
    assert [f.type for f in entry.storage.data.schema] == [arrow_type(c.type) for c in entry.table.columns]


def test_names_are_delimited_where_a_query_must_delimit_them(snapshot: CatalogSnapshot) -> None:
    names = [r["column_name"] for r in rows(snapshot, "columns") if r["table_name"] == "demo.odd"]
    assert names == ["ra", "dec", '"select"', '"flux/err"', '"size"', '"a""b"']
    assert 'demo."2mass"' in {r["table_name"] for r in rows(snapshot, "tables")}
    assert '"size"' in {r["column_name"] for r in rows(snapshot, "columns") if r["table_name"] == "TAP_SCHEMA.columns"}


@pytest.mark.parametrize(
    ("arraysize", "size"), [(None, None), ("*", None), ("5", 5), ("18*", 18), ("2x3", None), ("8x*", None)]
)
def test_size_is_the_length_of_an_array_of_one_dimension_or_its_bound(arraysize: str | None, size: int | None) -> None:
    kind = DataType("char" if arraysize else "double", arraysize)
    schema = Schema("demo", (Table("demo", "t", (Column("c", kind),)),))
    storage = tap_schema_entries([schema], "1")["tap_schema", "columns"].storage
    assert isinstance(storage, MemoryStorage)
    (row,) = storage.data.to_pylist()
    assert (row["arraysize"], row["size"]) == (arraysize, size)


def test_the_tables_agree_with_each_other(snapshot: CatalogSnapshot) -> None:
    schemas = {r["schema_name"] for r in rows(snapshot, "schemas")}
    tables = {r["table_name"] for r in rows(snapshot, "tables")}
    columns = {(r["table_name"], r["column_name"]) for r in rows(snapshot, "columns")}
    keys = {r["key_id"]: r for r in rows(snapshot, "keys")}
    assert schemas == {"demo", "TAP_SCHEMA"} == {r["schema_name"] for r in rows(snapshot, "tables")}
    assert tables == {t for t, _ in columns}
    for pair in rows(snapshot, "key_columns"):
        key = keys[pair["key_id"]]  # type: ignore[index]
        assert (key["from_table"], pair["from_column"]) in columns
        assert (key["target_table"], pair["target_column"]) in columns
    assert len(keys) == 6 - 1


def test_position_and_id_columns_are_marked_as_indexed(snapshot: CatalogSnapshot) -> None:
    found = {r["column_name"]: r["indexed"] for r in rows(snapshot, "columns") if r["table_name"] == "demo.odd"}
    assert (found["ra"], found["dec"], found['"size"']) == (1, 1, 0)
