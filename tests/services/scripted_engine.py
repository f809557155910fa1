"""An engine that does what a test tells it: so many batches, then an end, an error, or a wait until it is cancelled."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pyarrow as pa

from idac.core.errors import Cancelled
from idac.query.engines.base import Explanation, Progress, QueryLimits, QueryStream
from idac.query.resolved import ResolvedQuery
from idac.tables.arrow import arrow_schema
from idac.tables.model import Column


@dataclass
class Script:
    """What each run does. *rows* come in batches of *batch_rows*, cut at the row limit."""

    rows: int = 3
    batch_rows: int = 2
    start_error: Exception | None = None
    fails_with: Exception | None = None
    waits_at_start: bool = False
    waits_at_end: bool = False


@dataclass
class Seen:
    """What the engine was asked for."""

    limits: list[QueryLimits] = field(default_factory=list)
    owners: list[str] = field(default_factory=list)
    queries: list[ResolvedQuery] = field(default_factory=list)
    started: threading.Event = field(default_factory=threading.Event)
    cancelled: threading.Event = field(default_factory=threading.Event)
    closed: threading.Event = field(default_factory=threading.Event)


class ScriptedStream:
    def __init__(self, columns: tuple[Column, ...], limits: QueryLimits, script: Script, seen: Seen) -> None:
        self.columns = columns
        self._limits = limits
        self._script = script
        self._seen = seen
        self._sent = 0

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        schema = arrow_schema(self.columns)
        left = min(self._script.rows, self._limits.max_rows)
        while left > 0:
            rows = min(left, self._script.batch_rows)
            values = [pa.array(range(self._sent, self._sent + rows)).cast(kind) for kind in schema.types]
            self._sent += rows
            left -= rows
            yield pa.RecordBatch.from_arrays(values, schema=schema)
        if self._script.fails_with is not None:
            raise self._script.fails_with
        if self._script.waits_at_end:
            wait_for_cancel(self._seen)

    @property
    def overflowed(self) -> bool:
        return self._script.rows > self._limits.max_rows

    def progress(self) -> Progress:
        return Progress(None, self._sent)

    def cancel(self) -> None:
        self._seen.cancelled.set()

    def close(self) -> None:
        self._seen.closed.set()


def wait_for_cancel(seen: Seen) -> None:
    assert seen.cancelled.wait(60)
    raise Cancelled("The query was stopped.")


class ScriptedEngine:
    """Satisfies ``query.engines.base.Engine``."""

    def __init__(self, script: Script | None = None) -> None:
        self.script = script or Script()
        self.seen = Seen()

    def run(self, query: ResolvedQuery, limits: QueryLimits, *, owner: str, query_id: str) -> QueryStream:
        self.seen.queries.append(query)
        self.seen.limits.append(limits)
        self.seen.owners.append(owner)
        self.seen.started.set()
        if self.script.start_error is not None:
            raise self.script.start_error
        if self.script.waits_at_start:
            wait_for_cancel(self.seen)
        return ScriptedStream(query.columns, limits, self.script, self.seen)

    def explain(self, query: ResolvedQuery, limits: QueryLimits) -> Explanation:
        return Explanation("scripted", (), 0, "interactive")

    def cancel(self, query_id: str) -> bool:
        self.seen.cancelled.set()
        return True

    def close(self) -> None:
        return
