"""A table larger than one query's share of memory, and an engine whose shares are the smallest that may be."""

from __future__ import annotations

from pathlib import Path

import duckdb

from engine_fixture import Asking, memory_snapshot
from idac.catalogs.snapshot import PlainStorage, TableEntry
from idac.query.engines.duckdb.engine import DuckDBEngine
from idac.tables.model import LONG, STRING, Column, Table

#: Two places share what there is, so each has the least that an engine gives. Small tables are heavy too.
CROWD = {"memory_gib": 0.5, "heavy_places": 2, "interactive_rows": 10_000}
SHARE_BYTES = 192 * 2**20


def write_large(file: Path, rows: int) -> int:
    """Rows of a number and a text of 800 characters, none of them twice; gives the bytes of all values."""
    text = "rpad(CAST(hash(i) AS VARCHAR), 800, 'x')"
    options = "FORMAT parquet, ROW_GROUP_SIZE 20480"
    with duckdb.connect() as connection:
        connection.execute(f"COPY (SELECT i AS k, {text} AS t FROM range({rows}) r(i)) TO '{file}' ({options})")
    return rows * 808


def large_entry(file: Path, rows: int) -> TableEntry:
    table = Table("t", "large", (Column("k", LONG), Column("t", STRING)))
    return TableEntry(table, PlainStorage([str(file)], rows, file.stat().st_size), "1")


def asking_over(engine: DuckDBEngine, *entries: TableEntry) -> Asking:
    return Asking(engine, memory_snapshot({e.table.qualified_name: e for e in entries}))
