"""One query from its place to its last batch: started, read, counted, stopped, and everything given back."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator

import duckdb
import pyarrow as pa

from idac.core.errors import Cancelled, ResourceExhausted
from idac.query.engines.base import Progress, QueryLimits
from idac.query.engines.conversion import Converter
from idac.query.engines.duckdb.failures import as_user_error
from idac.query.engines.duckdb.place import Place, only_select
from idac.query.engines.spool import Abandoned, BatchSpool, Budget
from idac.query.scheduler import Watchdog
from idac.tables.arrow import row_width
from idac.tables.model import Column

log = logging.getLogger(__name__)

#: Rows of a batch, and its bytes where rows are wide: 65 536 rows of 1 300 columns would be 680 MB.
_BATCH_ROWS = 65_536
_BATCH_BYTES = 8 * 2**20
_FEWEST_ROWS = 2_048
#: A small answer is taken whole at once, so that a slow client keeps no place from others.
_TAKEN_AT_ONCE_BYTES = 8 * 2**20
#: What else of a larger one waits in memory for its reader.
_AHEAD_BYTES = 32 * 2**20
#: Seconds between interrupts of a query that was told to stop and has not: one may come before it has begun.
_AGAIN_S = 0.1


def batch_rows(schema: pa.Schema) -> int:
    """Rows that a batch of *schema* may have."""
    return max(_FEWEST_ROWS, min(_BATCH_ROWS, _BATCH_BYTES // row_width(schema)))


def took_too_long(limit_s: float) -> ResourceExhausted:
    """For a query that was still at work when its time was over."""
    return ResourceExhausted(
        "The query took longer than it may.",
        value=f"{limit_s:g} s",
        next_step="Make it smaller, or submit it as an asynchronous job with a longer execution duration.",
    )


class DuckDBStream:
    """A running query (see ``engines.base.QueryStream``). One thread reads; any may cancel, close or ask progress."""

    def __init__(
        self,
        columns: tuple[Column, ...],
        limits: QueryLimits,
        left_s: float,
        place: Place,
        watchdog: Watchdog,
        release: Callable[[], None],
        wanted: Callable[[], bool],
        require_same: Callable[[], None],
        budget: Budget,
    ) -> None:
        """*left_s* is what the limit on time leaves after planning and waiting.

        *wanted* tells whether others wait for the place: then rows go to disk, at the engine's pace.

        *require_same* raises StoreUnavailable where what was read may be of two kinds, before its last row is given.

        *budget* is for the rows of all queries together that wait for their readers.
        """
        self.columns = columns
        self.overflowed = False
        self._max_rows, self._limit_s, self._left_s = limits.max_rows, limits.timeout_s, left_s
        self._place, self._watchdog, self._release = place, watchdog, release
        self._converter = Converter(columns)
        self._lock = threading.RLock()
        self._reader: pa.RecordBatchReader | None = None
        self._ready: deque[pa.RecordBatch] = deque()
        self._spool = BatchSpool(
            self._converter.schema,
            place.folder.parent / "answers",
            _AHEAD_BYTES,
            place.share.spill_bytes,
            wanted,
            budget,
        )
        self._require_same = require_same
        self._budget = budget
        self._forgiven_s = 0.0
        self._rows = 0
        self._stopped: Exception | None = None
        self._ended = self._released = self._runs_ahead = False
        self._deadline: int | None = None

    # -- running -----------------------------------------------------------------------------------------------------

    def start(self, connection_for: Callable[[bool], duckdb.DuckDBPyConnection], sql: str) -> None:
        """Run *sql* until its first batch, its end, or all of a small answer is here."""
        self._deadline = self._watchdog.watch(self._left_s, self._time_is_over)
        try:
            try:
                self._reader = self._open_reader(connection_for(False), sql)
            except duckdb.InternalException:
                log.warning("DuckDB's optimiser broke a plan, which is made without it: %s", sql, exc_info=True)
                self._reader = self._open_reader(connection_for(True), sql)
            taken = 0
            while not self._ended and (not taken or (taken < _TAKEN_AT_ONCE_BYTES and self._budget.memory_left > 0)):
                batch = self._fetch()
                if batch is not None:
                    self._budget.take_memory(batch.nbytes, whatever_is_left=True)
                    self._ready.append(batch)
                    taken += batch.nbytes
        except BaseException as error:
            shown = self._failed(error)
            if shown is None:
                raise
            raise shown from error
        self._runs_ahead = not self._ended
        if self._runs_ahead:
            threading.Thread(target=self._run_ahead, name="query-rows", daemon=True).start()

    def _open_reader(self, connection: duckdb.DuckDBPyConnection, sql: str) -> pa.RecordBatchReader:
        self._check()
        rows = batch_rows(self._converter.schema)
        return connection.execute(only_select(connection, sql)).to_arrow_reader(rows)

    def _run_ahead(self) -> None:
        """Fetch the rest, as fast as its reader or those who wait for the place would have it."""
        try:
            while not self._ended:
                batch = self._fetch()
                if batch is not None:
                    self._spool.put(batch)
            self._spool.end()
        except Abandoned:
            # Its reader may be slow to notice that it was stopped; the place need not wait for that.
            with self._lock:
                self._finish()
        except BaseException as error:  # noqa: BLE001  whatever it is, the reader's thread raises it
            with self._lock:
                self._finish()
            self._spool.end(error)

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        try:
            self._check()
            while (batch := self._next_ready()) is not None:
                yield batch
                self._check()
            for batch in self._spool if self._runs_ahead else ():
                self._check()
                yield batch
            self._check()
        except GeneratorExit:
            raise
        except BaseException as error:
            shown = self._failed(error)
            if shown is None:
                raise
            raise shown from error

    def _next_ready(self) -> pa.RecordBatch | None:
        try:
            batch = self._ready.popleft()
        except IndexError:
            return None
        self._budget.give_memory(batch.nbytes)
        return batch

    def _fetch(self) -> pa.RecordBatch | None:
        """The next batch within the row cap; None at the end, which gives the place back."""
        with self._lock:
            self._check()
            if self._reader is None or self._ended:
                return None
            try:
                batch = self._converter.convert(self._reader.read_next_batch())
            except StopIteration:
                self._require_same()
                self._finish()
                return None
            room = self._max_rows - self._rows
            if batch.num_rows > room:
                self._require_same()
                self.overflowed = True
                batch = batch.slice(0, room)
                self._finish()
            self._rows += batch.num_rows
            return batch if batch.num_rows else None

    def _check(self) -> None:
        if self._stopped is not None:
            raise self._stopped

    def _failed(self, error: BaseException) -> BaseException | None:
        """Give everything back; what to raise in the place of *error*, where that is not itself."""
        memory = self._place.share.memory_bytes
        # Before closing, which stops what runs: an error of the engine must not be told as a query that was stopped.
        stopped = self._stopped
        if isinstance(error, duckdb.InternalException | duckdb.FatalException):
            self._place.is_broken = True
        self.close()
        shown = stopped or as_user_error(error, memory)
        return None if shown is error else shown

    # -- stopping ----------------------------------------------------------------------------------------------------

    def cancel(self) -> None:
        self._stop(Cancelled("The query was stopped."))

    def _time_is_over(self) -> float | None:
        owed = self._spool.blocked_s - self._forgiven_s
        if owed > 0.01:
            # The limit is on the engine's work; what it waited for a slow reader is not that.
            self._forgiven_s += owed
            return owed
        return self._stop(took_too_long(self._limit_s))

    def _stop(self, reason: Exception) -> float | None:
        if self._released:
            # All rows are here already; only a cancel can still keep them back.
            if self._stopped is None and isinstance(reason, Cancelled):
                self._stopped = reason
            return None
        first = self._stopped is None
        if first:
            self._stopped = reason
        self._place.interrupt()
        self._spool.abandon()
        if first and isinstance(reason, Cancelled):
            self._watchdog.watch(_AGAIN_S, lambda: self._stop(reason))
        return _AGAIN_S

    def close(self) -> None:
        """Stop the work if it runs, and give everything back. Waits for a batch in the making."""
        if not self._released and not self._ended and self._stopped is None:
            self.cancel()
        with self._lock:
            while self._next_ready() is not None:
                pass
            self._spool.abandon()
            self._finish()

    def _finish(self) -> None:
        """Give the place back: the engine's part is over."""
        self._ended = True
        if self._released:
            return
        self._released = True
        if self._deadline is not None:
            self._watchdog.forget(self._deadline)
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()
        self._place.clear()
        self._release()

    def progress(self) -> Progress:
        if self._ended:
            return Progress(1.0, self._rows)
        return Progress(self._place.progress(), self._rows)
