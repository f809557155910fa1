"""Bare PostgreSQL: the same tables and clustered index that DaCHS has, asked by psycopg without any service."""

from __future__ import annotations

import time

from bench.peers.dachs import DATABASE
from bench.peers.postgres import Cluster
from bench.peers.queries import Query


class BarePostgres:
    """Answers *query*'s own SQL for *dialect*, ``q3c`` or ``pgsphere``."""

    most_each_round = 1_000_000

    def __init__(self, cluster: Cluster, dialect: str) -> None:
        self._connection = cluster.connect(DATABASE)
        self._dialect = dialect
        # pgSphere takes what lies within 1e-9 radians outside a region for inside (its EPSILON).
        self.edge_rows = 2 if dialect == "pgsphere" else 0

    def can(self, query: Query) -> bool:
        return self._sql(query) is not None

    def ask(self, query: Query) -> tuple[float, int]:
        """Seconds to the last row in the client, and the number of rows, or the number that is the answer."""
        sql = self._sql(query)
        assert sql is not None
        cursor = self._connection.cursor(binary=True)
        begun = time.perf_counter()
        if sql.startswith("COPY"):
            with cursor.copy(sql.encode()) as copy:
                for _ in copy:
                    pass
            return time.perf_counter() - begun, cursor.rowcount
        # One simple statement a query, as a program that is not a benchmark would send it.
        found = cursor.execute(sql.encode()).fetchall()
        seconds = time.perf_counter() - begun
        return seconds, int(str(found[0][0])) if query.counts else len(found)

    def _sql(self, query: Query) -> str | None:
        return query.q3c if self._dialect == "q3c" else query.pgsphere

    def close(self) -> None:
        self._connection.close()
