"""An archive and the engine that answers from it, for tests that hold one way of answering against another."""

from __future__ import annotations

from dataclasses import dataclass

from idac.catalogs.archive import Archive
from idac.core.principal import ANONYMOUS
from idac.query.adql.compiler import QueryCompiler
from idac.query.engines.base import QueryLimits
from idac.query.engines.duckdb.engine import DuckDBEngine
from idac.query.engines.rowgroups import RowGroupReader
from idac.query.plan.model import Plan
from idac.query.plan.planning import plan_query
from idac.query.resolved import ResolvedQuery


@dataclass
class AskedArchive:
    """Asks as anybody."""

    archive: Archive
    engine: DuckDBEngine

    @property
    def reader(self) -> RowGroupReader:
        return self.engine._reader

    def resolve(self, adql: str) -> ResolvedQuery:
        return QueryCompiler(self.archive.settings.rights()).compile(adql, self.archive.snapshot(), ANONYMOUS)

    def plan(self, adql: str) -> Plan:
        return plan_query(self.resolve(adql), self.reader)

    def answer(self, adql: str, max_rows: int = 1_000_000) -> tuple[list[tuple[object, ...]], bool]:
        """The rows as the engine gives them, and whether they were cut."""
        stream = self.engine.run(self.resolve(adql), QueryLimits(max_rows, 60), owner="a", query_id=adql)
        try:
            return [tuple(row.values()) for batch in stream for row in batch.to_pylist()], stream.overflowed
        finally:
            stream.close()
