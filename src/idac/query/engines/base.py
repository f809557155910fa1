"""What an engine is: all that TAP, jobs and the command line ever see of the thing that runs queries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from idac.query.resolved import ResolvedQuery
from idac.tables.model import Column


@dataclass(frozen=True, slots=True)
class QueryLimits:
    """Bounds of one run. *max_rows* is the cap after which the result is cut and marked as overflowed."""

    max_rows: int
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is: *fraction* in 0..1, or None where the engine can't tell yet."""

    fraction: float | None
    rows: int


@dataclass(frozen=True, slots=True)
class ScanEstimate:
    """What one table costs: shown by ``idac explain`` and used to choose the lane."""

    table: str
    alias: str
    files: int
    files_total: int
    row_groups: int
    row_groups_total: int
    rows: int
    rows_total: int
    reason: str  # how it was pruned, e.g. "cone of 1 arcmin, 4 HEALPix ranges" or "whole table"


@dataclass(frozen=True, slots=True)
class Explanation:
    """What will be read, and the engine's own statement of it."""

    sql: str
    scans: tuple[ScanEstimate, ...]
    rows_to_read: int
    lane: str  # "interactive" or "heavy"


class QueryStream(Protocol):
    """A running query. Iterating yields batches whose schema is ``columns``'; closing it frees everything."""

    columns: tuple[Column, ...]

    def __iter__(self) -> Iterator[pa.RecordBatch]: ...
    @property
    def overflowed(self) -> bool:
        """True once the row cap cut the result; settled when iteration has ended."""
        ...

    def progress(self) -> Progress: ...
    def cancel(self) -> None:
        """Stop the work within a second, from any thread; iteration then raises ``Cancelled``."""
        ...

    def close(self) -> None: ...


class Engine(Protocol):
    """Runs resolved queries. Thread-safe. Raises only ``UserError`` for what a caller may see."""

    def run(self, query: ResolvedQuery, limits: QueryLimits, *, owner: str, query_id: str) -> QueryStream:
        """Wait for a place (fairly between owners), start, and return once the first batch or the end is known."""
        ...

    def explain(self, query: ResolvedQuery, limits: QueryLimits) -> Explanation: ...
    def cancel(self, query_id: str) -> bool:
        """Stop that query wherever it is, waiting or running; False if it is not here."""
        ...

    def close(self) -> None: ...
