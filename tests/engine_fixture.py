"""Queries on the real engine, over a few tables in memory: what comes back is held against what was declared."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from idac.catalogs.snapshot import CatalogSnapshot, MemoryStorage, TableEntry
from idac.core.principal import ANONYMOUS
from idac.core.rights import PUBLIC, ReadRule, RightsPolicy
from idac.query.adql.compiler import QueryCompiler
from idac.query.engines.base import QueryLimits
from idac.query.engines.duckdb.engine import DuckDBEngine
from idac.query.engines.duckdb.settings import DuckDBSettings
from idac.query.resolved import ResolvedQuery
from idac.tables.arrow import arrow_schema, column_from_arrow
from idac.tables.model import Column, Schema, Table

OPEN_TO_ALL = RightsPolicy({}, ReadRule.of([PUBLIC]))
_NUMBERS = itertools.count(1)


def memory_entry(name: str, data: pa.Table, columns: tuple[Column, ...] | None = None) -> TableEntry:
    """A table in memory under its full name, such as ``demo.stars``; columns are taken from the rows by default."""
    schema, _, short = name.partition(".")
    columns = columns or tuple(column_from_arrow(f) for f in data.schema)
    return TableEntry(Table(schema, short, columns), MemoryStorage(data.cast(arrow_schema(columns))), "1")


def memory_snapshot(entries: Mapping[str, TableEntry]) -> CatalogSnapshot:
    """What is published, by full names."""
    tables = [e.table for e in entries.values()]
    schemas = tuple(
        Schema(name, tuple(t for t in tables if t.schema == name)) for name in dict.fromkeys(t.schema for t in tables)
    )
    found = {(e.table.schema.lower(), e.table.name.lower()): e for e in entries.values()}
    return CatalogSnapshot(f"memory {next(_NUMBERS)}", schemas, found)


@dataclass
class Asking:
    """Asks the engine, as the service does, and checks every batch against the declared columns."""

    engine: DuckDBEngine
    snapshot: CatalogSnapshot
    compiler: QueryCompiler = field(default_factory=lambda: QueryCompiler(OPEN_TO_ALL))

    def compile(self, adql: str) -> ResolvedQuery:
        return self.compiler.compile(adql, self.snapshot, ANONYMOUS)

    def ask(self, adql: str, *, max_rows: int = 100_000, timeout_s: float = 60.0) -> pa.Table:
        """The whole answer; its batches have the declared names, types and metadata to the letter."""
        query = self.compile(adql)
        limits = QueryLimits(max_rows, timeout_s)
        stream = self.engine.run(query, limits, owner="tester", query_id=f"q{next(_NUMBERS)}")
        try:
            batches = list(stream)
        finally:
            stream.close()
        schema = arrow_schema(query.columns)
        for batch in batches:
            assert batch.schema.equals(schema, check_metadata=True), adql
            batch.validate(full=True)
        return pa.Table.from_batches(batches, schema)

    def rows(self, adql: str) -> list[tuple[object, ...]]:
        """The answer's rows in their order."""
        answer = self.ask(adql)
        return list(zip(*(c.to_pylist() for c in answer.columns), strict=True))

    def column(self, adql: str) -> list[object]:
        """The answer's only column."""
        (values,) = self.ask(adql).columns
        return list(values.to_pylist())

    def value(self, adql: str) -> object:
        """The answer's only value."""
        (found,) = self.column(adql)
        return found


@contextmanager
def small_engine(folder: Path, **changes: object) -> Iterator[DuckDBEngine]:
    """The real engine, small, with its scratch and its readable tables under *folder*."""
    given: dict[str, object] = {"memory_gib": 1, "threads": 2, "interactive_places": 1, "heavy_places": 1, **changes}
    engine = DuckDBEngine(DuckDBSettings(**given), folder / "engine", readable=[str(folder)])  # type: ignore[arg-type]
    try:
        yield engine
    finally:
        engine.close()
