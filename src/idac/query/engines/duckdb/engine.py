"""DuckDB as an engine: plans a query, waits for a place, writes the SQL, runs it. Nothing of DuckDB leaks above."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb

from idac.catalogs.snapshot import HatsStorage
from idac.core.arrays import distinct
from idac.core.errors import Cancelled
from idac.core.scratch import open_scratch
from idac.core.store import S3BucketStore
from idac.query.engines.base import Explanation, QueryLimits, QueryStream, ScanEstimate
from idac.query.engines.direct import ReadyStream, direct_query
from idac.query.engines.duckdb.failures import as_user_error
from idac.query.engines.duckdb.place import Access, Place, Share
from idac.query.engines.duckdb.queries import QueryWriter, uses_stored_cells
from idac.query.engines.duckdb.scans import Sources, make_source, row_groups_scanned
from idac.query.engines.duckdb.settings import DuckDBSettings
from idac.query.engines.duckdb.stream import DuckDBStream, took_too_long
from idac.query.engines.rowgroups import RowGroupReader
from idac.query.engines.spool import Budget
from idac.query.engines.summaries import SummaryQuery, summary_query
from idac.query.engines.values import LeftToEngine
from idac.query.plan.model import Plan, Scan
from idac.query.plan.planning import plan_query
from idac.query.plan.work import pairs_to_test
from idac.query.resolved import ResolvedQuery
from idac.query.scheduler import FairScheduler, Watchdog

#: Rows of a result up to which the cap is told to DuckDB as well; a larger one is kept by counting.
_LIMIT_IN_SQL = 1_000_000
#: Part of a place's memory that row groups read ahead may take.
_READ_AHEAD = 0.125
_MOST_READ_AHEAD = 64 * 2**20
#: Pairs of rows that cost as much to compare as one row to read.
_PAIRS_A_ROW = 10
#: Memory for each thread of a query. With less, DuckDB 1.5 runs out of it instead of spilling.
_BYTES_A_THREAD = 128 * 2**20
#: Threads of a query that reads files in a store. DuckDB asks for one column of one row group at a time in each, and a
#: gateway takes tens of milliseconds to answer.
_REQUESTS_AT_ONCE = 16
#: Threads of a query up to which sums are made without DuckDB: by one thread, in a third of its processor time.
_FEW_THREADS = 4
#: Part of the memory that interactive places share.
_INTERACTIVE_SHARE = 0.25
#: Part of the memory, beyond that of places, for rows that wait for slow readers.
_WAITING_SHARE = 0.125


def _share(memory_bytes: int, threads: int, spill_bytes: int) -> Share:
    """A share with no more threads than its memory is enough for: each has buffers that do not go to disk."""
    most = max(1, memory_bytes // _BYTES_A_THREAD)
    return Share(memory_bytes, min(threads, most), min(max(threads, _REQUESTS_AT_ONCE), most), spill_bytes)


def _as_scanned(estimate: ScanEstimate, scan: Scan) -> ScanEstimate:
    """*estimate* with the row groups between those wanted that a scan in SQL takes along."""
    groups, storage = row_groups_scanned(scan), scan.use.entry.storage
    if groups is None or not isinstance(storage, HatsStorage):
        return estimate
    files, rows = len(distinct(storage.index.file[groups])), int(storage.index.rows[groups].sum())
    return replace(estimate, files=files, row_groups=len(groups), rows=rows)


@dataclass
class _Here:
    """A query that is waiting or running in this process."""

    stream: DuckDBStream | None = None
    cancelled: bool = False


def _unless_cancelled(answer: ReadyStream, here: _Here) -> ReadyStream:
    """*answer*, whose memory is given back where nobody wants it any more."""
    if here.cancelled:
        answer.close()
        raise Cancelled("The query was stopped.")
    return answer


class DuckDBEngine:
    """The embedded engine (see ``engines.base.Engine``). Thread-safe."""

    def __init__(
        self,
        settings: DuckDBSettings,
        scratch: Path,
        *,
        readable: Sequence[str] = (),
        stores: Sequence[S3BucketStore] = (),
    ) -> None:
        """*readable* are folders and ``s3://`` prefixes whose tables may be read: the archive and the uploads.

        A table that lies elsewhere is read too, since only the archive names files; opening its folder costs its first
        query in each place some milliseconds.
        """
        self.settings = settings
        # The caller clears its own scratch folder; a folder for spilling is shared by processes, and some of them die.
        self._owned = open_scratch(settings.spill, "idac-engine") if settings.spill else None
        self._spill = (self._owned.path if self._owned else scratch) / f"engine-{id(self):x}"
        self._scheduler = FairScheduler(
            {
                # What needs no SQL engine ends in milliseconds, and waits for nothing that does.
                "direct": 2 * settings.threads,
                "interactive": settings.interactive_places,
                "heavy": settings.heavy_places,
            },
            settings.max_queued,
            settings.max_queued_per_owner,
        )
        self._reader = RowGroupReader(kept_bytes=int(settings.kept_gib * 2**30), stores=stores)
        self._watchdog = Watchdog()
        self._budget = Budget(int(settings.memory_gib * 2**30 * _WAITING_SHARE), int(settings.spill_gib * 2**30))
        access = Access(
            tuple(r.rstrip("/") for r in readable), tuple({store.bucket: store for store in stores}.values())
        )
        self._places = {
            lane: [Place(share, access, self._spill / f"{lane}-{i}") for i in range(count)]
            for lane, count, share in self._shares()
        }
        self._lock = threading.Lock()
        self._here: dict[str, _Here] = {}

    def _shares(self) -> list[tuple[str, int, Share]]:
        settings = self.settings
        memory, spill = settings.memory_gib * 2**30, int(settings.spill_gib * 2**30)
        small = int(memory * _INTERACTIVE_SHARE / settings.interactive_places)
        large = int(memory * (1 - _INTERACTIVE_SHARE) / settings.heavy_places)
        return [
            (
                "interactive",
                settings.interactive_places,
                _share(max(small, 64 * 2**20), min(2, settings.threads), spill),
            ),
            ("heavy", settings.heavy_places, _share(max(large, 192 * 2**20), settings.threads, spill)),
        ]

    # -- running -----------------------------------------------------------------------------------------------------

    def run(self, query: ResolvedQuery, limits: QueryLimits, *, owner: str, query_id: str) -> QueryStream:
        begun = time.monotonic()
        here = _Here()
        with self._lock:
            self._here[query_id] = here
        try:
            require_same = self._reader.watch(query.tables)
            plan = plan_query(query, self._reader, limits.max_rows)
            lane = self.lane(plan)
            direct = (
                direct_query(plan, self._reader) if lane == "interactive" and self._budget.memory_left > 0 else None
            )
            place = self._scheduler.acquire(
                "direct" if direct else lane, owner, query_id, limits.timeout_s, lambda: here.cancelled
            )
            if direct is not None:
                with place:
                    answer = ReadyStream(query.columns, direct.run(self._reader), limits.max_rows, self._budget)
                self._leave(query_id, here)
                return _unless_cancelled(answer, here)
        except BaseException:
            self._leave(query_id, here)
            raise

        def release() -> None:
            place.release()
            self._leave(query_id, here)

        left = max(0.001, limits.timeout_s - (time.monotonic() - begun))
        try:
            summed = self._summed_up(plan, lane, here, limits, time.monotonic() + left)
        except BaseException:
            release()
            raise
        if summed is not None:
            release()
            return _unless_cancelled(summed, here)

        def wanted() -> bool:
            return self._scheduler.waiting_in(lane) > 0

        left = max(0.001, limits.timeout_s - (time.monotonic() - begun))
        database = self._places[lane][place.number]
        try:
            stream = DuckDBStream(
                query.columns, limits, left, database, self._watchdog, release, wanted, require_same, self._budget
            )
        except BaseException:
            # What has no stream yet has nobody who would give its place back.
            release()
            raise
        here.stream = stream
        if here.cancelled:
            stream.close()
            raise Cancelled("The query was stopped.")
        self._start(stream, plan, database, limits)
        return stream

    def _summary(self, plan: Plan, lane: str) -> SummaryQuery | None:
        """How *plan* is summed up without SQL; None where DuckDB has so many threads that it is the faster.

        Beside other queries it is as well: arithmetic on arrays takes turns with them at the interpreter's lock,
        thousands of turns for a large table.
        """
        if self._places[lane][0].share.threads > _FEW_THREADS:
            return None
        return summary_query(plan, self._reader.plain)

    def _summed_up(self, plan: Plan, lane: str, here: _Here, limits: QueryLimits, until: float) -> ReadyStream | None:
        """The answer of aggregates over plain columns; None where SQL must give it."""
        with self._lock:
            alone = len(self._here) == 1
        summary = self._summary(plan, lane) if alone else None
        if summary is None:
            return None

        def check() -> None:
            if here.cancelled:
                raise Cancelled("The query was stopped.")
            if time.monotonic() > until:
                raise took_too_long(limits.timeout_s)

        try:
            table = summary.run(self._reader.plain, check)
        except LeftToEngine:
            return None
        return ReadyStream(plan.query.columns, table, limits.max_rows, self._budget)

    def _start(self, stream: DuckDBStream, plan: Plan, place: Place, limits: QueryLimits) -> None:
        try:
            sources = self._sources(plan, self._read_ahead(place))
            writer = QueryWriter(plan, sources.sql)
            sql = writer.write(self._limit(limits))
        except BaseException as error:
            stream.close()
            raise as_user_error(error, place.share.memory_bytes) or error from error

        def connection_for(careful: bool) -> duckdb.DuckDBPyConnection:
            return place.prepare(sql, sources.tables, writer.regions, sources.paths, careful=careful)

        stream.start(connection_for, sql)

    def _limit(self, limits: QueryLimits) -> int | None:
        return limits.max_rows + 1 if limits.max_rows < _LIMIT_IN_SQL else None

    def _read_ahead(self, place: Place) -> int:
        """Bytes of row groups that may be read before a query runs in *place*."""
        return min(int(place.share.memory_bytes * _READ_AHEAD), _MOST_READ_AHEAD)

    def _sources(self, plan: Plan, ahead: int, *, reading: bool = True) -> Sources:
        sources, stored = Sources(), uses_stored_cells(plan)
        for alias, scan in plan.scans.items():
            ahead -= make_source(
                sources, scan, self._reader, with_index=alias in stored, memory_bytes=ahead, reading=reading
            )
        return sources

    def lane(self, plan: Plan) -> str:
        """``interactive`` for a query that reads and compares little, else ``heavy``."""
        most = self.settings.interactive_rows
        return "interactive" if plan.rows_to_read <= most and pairs_to_test(plan) <= most * _PAIRS_A_ROW else "heavy"

    # -- explaining --------------------------------------------------------------------------------------------------

    def explain(self, query: ResolvedQuery, limits: QueryLimits) -> Explanation:
        self._reader.require_registered(query.tables)
        plan = plan_query(query, self._reader, limits.max_rows)
        lane = self.lane(plan)
        direct = lane == "interactive" and direct_query(plan, self._reader) is not None
        summed = self._summary(plan, lane) is not None
        sources = self._sources(plan, self._read_ahead(self._places[lane][0]), reading=False)
        sql = QueryWriter(plan, sources.sql).write(self._limit(limits))
        if direct:
            sql = f"-- Read from these row groups directly, without running SQL. In SQL it would be:\n{sql}"
        elif summed:
            sql = f"-- Summed up directly while no other query runs, else by this SQL:\n{sql}"
        scans = tuple(
            e if direct or summed or e.alias in sources.ahead else _as_scanned(e, plan.scans[e.alias])
            for e in plan.estimates
        )
        return Explanation(sql, scans, sum(s.rows for s in scans), lane)

    # -- stopping ----------------------------------------------------------------------------------------------------

    def cancel(self, query_id: str) -> bool:
        with self._lock:
            here = self._here.get(query_id)
            if here is None:
                return False
            here.cancelled = True
            stream = here.stream
        self._scheduler.cancel(query_id)
        if stream is not None:
            stream.cancel()
        return True

    def _leave(self, query_id: str, here: _Here) -> None:
        with self._lock:
            if self._here.get(query_id) is here:
                del self._here[query_id]

    def close(self) -> None:
        """Stop every query and free everything."""
        self._scheduler.close()
        with self._lock:
            for here in self._here.values():
                here.cancelled = True
            running = [here.stream for here in self._here.values() if here.stream is not None]
        for stream in running:
            with suppress(Exception):
                stream.close()
        for places in self._places.values():
            for place in places:
                place.close()
        shutil.rmtree(self._spill, ignore_errors=True)
        if self._owned is not None:
            self._owned.close()
