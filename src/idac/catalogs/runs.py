"""Rows sorted by an int64 key, however many: sorted runs in memory until they outgrow it, then in a file on disk."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from idac.catalogs.spill import Keys, Places, SpilledRun, SpillFile

#: Runs in memory are no larger, so that they are sorted while more is read; on disk fewer are better.
_HELD_RUN_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class HeldRun:
    """One stretch of rows in the order of their keys, in memory."""

    all_keys: Keys
    table: pa.Table
    spilled = False

    @property
    def nbytes(self) -> int:
        return int(self.table.nbytes) + self.all_keys.nbytes

    @property
    def num_rows(self) -> int:
        return len(self.all_keys)

    @property
    def last_key(self) -> int:
        return int(self.all_keys[-1])

    def places(self, keys: Keys) -> Places:
        """For each of *keys*, the number of rows of this run with a smaller one."""
        return np.searchsorted(self.all_keys, keys).astype(np.int64)

    def keys(self, first: int, last: int) -> Keys:
        return self.all_keys[first:last]

    def some_keys(self, step: int) -> Keys:
        return self.all_keys[::step]

    def rows(self, first: int, last: int) -> pa.Table:
        """Rows *first* to before *last*."""
        return self.table.slice(first, last - first)

    def sample(self) -> pa.Table:
        return self.table


type Run = HeldRun | SpilledRun


class SortedRuns:
    """Collects batches and gives them back in key order, any key range, any number of times.

    A merge sort rather than buckets on the sky: its memory does not depend on how the rows cluster, so a single crowded
    field costs no more than the whole sky. *memory_bytes* bounds the rows held, beside what *workers* have in hand.
    """

    def __init__(self, schema: pa.Schema, folder: Path, *, memory_bytes: int, workers: int) -> None:
        self._schema = schema
        self._folder = folder
        # Half for the rows held; the other half for sorting, where each worker's run, and the one that waits, is there
        # three times: as batches, joined, and in its new order.
        self._memory_bytes = memory_bytes // 2
        self._run_bytes = max(memory_bytes // (6 * (workers + 2)), 1 << 18)
        self._pool = ThreadPoolExecutor(workers)
        self._workers = workers
        self._pending: list[tuple[Keys, pa.RecordBatch]] = []
        self._pending_bytes = 0
        self._sorting: deque[Future[HeldRun]] = deque()
        self._runs: list[Run] = []
        self._held_bytes = 0
        self._file: SpillFile | None = None

    @property
    def rows(self) -> int:
        return sum(run.num_rows for run in self._runs)

    @property
    def nbytes(self) -> int:
        return sum(run.nbytes for run in self._runs)

    @property
    def spilled_runs(self) -> int:
        return sum(run.spilled for run in self._runs)

    def sample(self) -> pa.Table | None:
        """Some of the rows, neighbours in the final order."""
        return self._runs[0].sample() if self._runs else None

    def bounds(self, rows: int) -> list[int]:
        """Keys that divide the rows into ranges of about *rows* each; the first is below all keys, the last above.

        Rows of one key are never divided, so ranges may be larger.
        """
        taken = [run.some_keys(max(rows // 64, 1)) for run in self._runs]
        keys = np.sort(np.concatenate(taken)) if taken else np.empty(0, np.int64)
        if not len(keys):
            return [0, 1]
        wanted = max(round(self.rows / rows), 1)
        cuts = keys[(np.arange(1, wanted) * len(keys)) // wanted].tolist()
        return sorted({int(keys[0]), *cuts, max(run.last_key for run in self._runs) + 1})

    def add(self, keys: Keys, batch: pa.RecordBatch) -> None:
        self._pending.append((keys, batch))
        self._pending_bytes += batch.nbytes
        if self._pending_bytes >= (self._run_bytes if self._file else min(self._run_bytes, _HELD_RUN_BYTES)):
            self._start_sort()

    def finish(self) -> None:
        """Sort what is left; the rows may be read from now on."""
        self._start_sort()
        while self._sorting:
            self._take_sorted()

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._runs.clear()
        if self._file is not None:
            self._file.close()

    def _start_sort(self) -> None:
        if not self._pending:
            return
        pending, self._pending, self._pending_bytes = self._pending, [], 0
        self._sorting.append(self._pool.submit(_sorted_run, pending, self._schema))
        while len(self._sorting) > self._workers:
            self._take_sorted()

    def _take_sorted(self) -> None:
        run = self._sorting.popleft().result()
        if self._held_bytes + run.nbytes > self._memory_bytes:
            self._runs = [self._spill(r) for r in self._runs]
            self._runs.append(self._spill(run))
            self._held_bytes = 0
            self._memory_bytes = 0  # once out of core, the memory is for those who read and write
        else:
            self._held_bytes += run.nbytes
            self._runs.append(run)

    def _spill(self, run: Run) -> SpilledRun:
        if isinstance(run, SpilledRun):
            return run
        if self._file is None:
            self._file = SpillFile(self._folder, self._schema)
        return self._file.append(run.all_keys, run.table)

    def count(self, lows: Keys, highs: Keys) -> Keys:
        """Rows with ``low <= key < high``, for each pair."""
        total = np.zeros(len(lows), dtype=np.int64)
        for run in self._runs:
            first, last = np.split(run.places(np.concatenate([lows, highs])), 2)
            total += last - first
        return total

    def iter_sorted(self, low: int, high: int, chunk_rows: int) -> Iterator[tuple[Keys, pa.Table]]:
        """Rows with ``low <= key < high`` in key order, at most *chunk_rows* at a time, equal keys as they came."""
        spans: list[tuple[Run, int, int]] = []
        for run in self._runs:
            first, last = run.places(np.array([low, high])).tolist()
            if last > first:
                spans.append((run, first, last))
        yield from _iter_single(*spans[0], chunk_rows) if len(spans) == 1 else _merge(spans, chunk_rows)


def _sorted_run(pending: list[tuple[Keys, pa.RecordBatch]], schema: pa.Schema) -> HeldRun:
    keys = np.concatenate([k for k, _ in pending])
    rows = pa.Table.from_batches([b for _, b in pending], schema)
    pending.clear()
    if len(keys) > 1 and np.any(keys[1:] < keys[:-1]):
        order = np.argsort(keys, kind="stable")
        # From many batches as fast as from one, without the copy that joins them.
        keys, rows = keys[order], pc.take(rows, pa.array(order), boundscheck=False)
    return HeldRun(keys, rows.combine_chunks())


def _iter_single(run: Run, first: int, last: int, chunk_rows: int) -> Iterator[tuple[Keys, pa.Table]]:
    for at in range(first, last, chunk_rows):
        size = min(chunk_rows, last - at)
        yield run.keys(at, at + size), run.rows(at, at + size)


def _merge(spans: list[tuple[Run, int, int]], chunk_rows: int) -> Iterator[tuple[Keys, pa.Table]]:
    if not spans:
        return
    sizes = [last - first for _, first, last in spans]
    keys = np.concatenate([run.keys(first, last) for run, first, last in spans])
    order = np.argsort(keys, kind="stable")
    origin = np.repeat(np.arange(len(spans), dtype=np.int32), sizes)[order]
    starts = [first for _, first, _ in spans]
    keys = keys[order]
    del order
    for at in range(0, len(origin), chunk_rows):
        # A stable merge keeps each run's own order, so a chunk takes one unbroken stretch of every run.
        stretch = origin[at : at + chunk_rows]
        parts = []
        for i, count in enumerate(np.bincount(stretch, minlength=len(spans)).tolist()):
            if count:
                parts.append(spans[i][0].rows(starts[i], starts[i] + count))
                starts[i] += count
        rows = pa.concat_tables(parts)
        # Each row of the chunk, as it lies there run by run: a stable sort by run, turned round.
        place = np.empty(len(stretch), np.int64)
        place[np.argsort(stretch, kind="stable")] = np.arange(len(stretch))
        yield keys[at : at + chunk_rows], rows if len(parts) == 1 else pc.take(rows, pa.array(place), boundscheck=False)


def ranges_between(first: Places, last: Places) -> Places:
    """``arange(first, last)`` of every pair, end to end."""
    sizes = last - first
    keep = sizes > 0
    first, sizes = first[keep], sizes[keep]
    if not len(sizes):
        return np.empty(0, np.int64)
    ends = np.cumsum(sizes)
    rows: Places = np.arange(ends[-1], dtype=np.int64) + np.repeat(first - (ends - sizes), sizes)
    return rows
