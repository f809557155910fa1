"""Rows sorted by an int64 key, however many: sorted runs in memory until they outgrow it, then in Arrow IPC files."""

from __future__ import annotations

import mmap
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

type Keys = npt.NDArray[np.int64]

#: Bytes handed out after which pages of spilled runs are given back.
_TRIM_EVERY = 32 << 20
#: Bytes that the system maps around the first touch of a mapped page: a whole folio of its cache, on newer kernels.
_FAULT_BYTES = 2 << 20


@dataclass(frozen=True, slots=True)
class SortedRun:
    """One stretch of rows in the order of their keys."""

    keys: Keys
    rows: pa.Table
    #: True where both are mapped from files.
    spilled: bool = False

    @property
    def nbytes(self) -> int:
        return int(self.rows.nbytes) + self.keys.nbytes


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
        self._sorting: deque[Future[SortedRun]] = deque()
        self._runs: list[SortedRun] = []
        self._held_bytes = 0
        self._maps: list[mmap.mmap] = []
        self._lock = threading.Lock()
        self._handed_out = 0

    @property
    def rows(self) -> int:
        return sum(len(run.keys) for run in self._runs)

    @property
    def nbytes(self) -> int:
        return sum(run.nbytes for run in self._runs)

    @property
    def spilled_runs(self) -> int:
        return sum(run.spilled for run in self._runs)

    def sample(self) -> pa.Table | None:
        """Some of the rows, neighbours in the final order."""
        return self._runs[0].rows if self._runs else None

    def bounds(self, rows: int) -> list[int]:
        """Keys that divide the rows into ranges of about *rows* each; the first is below all keys, the last above.

        Rows of one key are never divided, so ranges may be larger.
        """
        taken = [np.asarray(run.keys[:: max(rows // 64, 1)]) for run in self._runs]
        keys = np.sort(np.concatenate(taken)) if taken else np.empty(0, np.int64)
        if not len(keys):
            return [0, 1]
        wanted = max(round(self.rows / rows), 1)
        cuts = keys[(np.arange(1, wanted) * len(keys)) // wanted].tolist()
        return sorted({int(keys[0]), *cuts, max(int(run.keys[-1]) for run in self._runs if len(run.keys)) + 1})

    def add(self, keys: Keys, batch: pa.RecordBatch) -> None:
        self._pending.append((keys, batch))
        self._pending_bytes += batch.nbytes
        if self._pending_bytes >= self._run_bytes:
            self._start_sort()

    def finish(self) -> None:
        """Sort what is left; the rows may be read from now on."""
        self._start_sort()
        while self._sorting:
            self._take_sorted()

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._runs.clear()
        self._maps.clear()  # unmapped when the last table made of them goes

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
            run = self._spill(run)
            held, self._runs = self._runs, []
            self._runs = [r if r.spilled else self._spill(r) for r in held]
            self._held_bytes = 0
            self._memory_bytes = 0  # once out of core, the memory is for the page cache and the writers
        else:
            self._held_bytes += run.nbytes
        self._runs.append(run)

    def _spill(self, run: SortedRun) -> SortedRun:
        stem = self._folder / f"run-{len(self._maps):05d}"
        self._folder.mkdir(parents=True, exist_ok=True)
        run.keys.tofile(stem.with_suffix(".keys"))
        rows = run.rows.combine_chunks()
        with pa.OSFile(str(stem.with_suffix(".arrow")), "wb") as sink, pa.ipc.new_file(sink, self._schema) as writer:
            writer.write_table(rows)
        keys, table = (self._map(stem.with_suffix(ending)) for ending in (".keys", ".arrow"))
        read = pa.ipc.open_file(pa.py_buffer(table)).read_all()
        return SortedRun(np.frombuffer(keys, np.int64), read, spilled=True)

    def _map(self, path: Path) -> mmap.mmap:
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._maps.append(mapped)
        return mapped

    def _hand_out(self, nbytes: int) -> None:
        """Now and then take the pages of spilled runs out of this process; the system's cache has them still.

        They are not memory of ours, and yet whoever watches the process sees them counted as such.
        """
        if not self._maps:
            return
        with self._lock:
            self._handed_out += nbytes
            if self._handed_out < _TRIM_EVERY:
                return
            self._handed_out = 0
        for mapped in self._maps:
            mapped.madvise(mmap.MADV_DONTNEED)

    def count(self, lows: Keys, highs: Keys) -> Keys:
        """Rows with ``low <= key < high``, for each pair."""
        total = np.zeros(len(lows), dtype=np.int64)
        for run in self._runs:
            total += np.searchsorted(run.keys, highs) - np.searchsorted(run.keys, lows)
        return total

    def iter_sorted(self, low: int, high: int, chunk_rows: int) -> Iterator[tuple[Keys, pa.Table]]:
        """Rows with ``low <= key < high`` in key order, at most *chunk_rows* at a time, equal keys as they came."""
        spans: list[tuple[SortedRun, int, int]] = []
        for run in self._runs:
            first, last = np.searchsorted(run.keys, (low, high)).tolist()
            if last > first:
                spans.append((run, first, last))
        for keys, rows in _iter_single(*spans[0], chunk_rows) if len(spans) == 1 else _merge(spans, chunk_rows):
            yield keys, rows
            self._hand_out(rows.nbytes)

    def gather(self, lows: Keys, highs: Keys) -> tuple[Keys, pa.Table]:
        """All rows whose key is in any of the half-open ranges, in key order, in one table."""
        keys: list[Keys] = []
        tables: list[pa.Table] = []
        touched = 0
        for run in self._runs:
            first, last = np.searchsorted(run.keys, lows), np.searchsorted(run.keys, highs)
            picked = _concatenated_ranges(first, last)
            if len(picked):
                touched += int(np.count_nonzero(last > first)) * len(self._schema) * _FAULT_BYTES
                keys.append(np.asarray(run.keys[picked]))
                tables.append(run.rows.take(pa.array(picked)))
        if not keys:
            return np.empty(0, np.int64), self._schema.empty_table()
        joined = np.concatenate(keys)
        self._hand_out(touched)
        order = np.argsort(joined, kind="stable")
        return joined[order], pa.concat_tables(tables).take(pa.array(order))


def _sorted_run(pending: list[tuple[Keys, pa.RecordBatch]], schema: pa.Schema) -> SortedRun:
    keys = np.concatenate([k for k, _ in pending])
    rows = pa.Table.from_batches([b for _, b in pending], schema).combine_chunks()
    pending.clear()
    if len(keys) > 1 and np.any(keys[1:] < keys[:-1]):
        order = np.argsort(keys, kind="stable")
        return SortedRun(keys[order], rows.take(pa.array(order)))
    return SortedRun(keys, rows)


def _iter_single(run: SortedRun, first: int, last: int, chunk_rows: int) -> Iterator[tuple[Keys, pa.Table]]:
    for at in range(first, last, chunk_rows):
        size = min(chunk_rows, last - at)
        yield np.asarray(run.keys[at : at + size]), run.rows.slice(at, size)


def _merge(spans: list[tuple[SortedRun, int, int]], chunk_rows: int) -> Iterator[tuple[Keys, pa.Table]]:
    if not spans:
        return
    sizes = [last - first for _, first, last in spans]
    keys = np.concatenate([run.keys[first:last] for run, first, last in spans])
    order = np.argsort(keys, kind="stable")
    origin = np.repeat(np.arange(len(spans), dtype=np.int32), sizes)[order]
    starts = [first for _, first, _ in spans]
    for at in range(0, len(order), chunk_rows):
        # A stable merge keeps each run's own order, so a chunk takes one unbroken stretch of every run.
        counts = np.bincount(origin[at : at + chunk_rows], minlength=len(spans)).tolist()
        parts, part_keys = [], []
        for i, count in enumerate(counts):
            if count:
                parts.append(spans[i][0].rows.slice(starts[i], count))
                part_keys.append(spans[i][0].keys[starts[i] : starts[i] + count])
                starts[i] += count
        chunk_keys = np.concatenate(part_keys)
        chunk_order = np.argsort(chunk_keys, kind="stable")
        rows = pa.concat_tables(parts).combine_chunks()
        yield chunk_keys[chunk_order], rows if len(parts) == 1 else rows.take(pa.array(chunk_order))


def _concatenated_ranges(first: npt.NDArray[np.intp], last: npt.NDArray[np.intp]) -> npt.NDArray[np.int64]:
    """``arange(first, last)`` of every pair, end to end."""
    sizes = last - first
    keep = sizes > 0
    first, sizes = first[keep], sizes[keep]
    if not len(sizes):
        return np.empty(0, np.int64)
    ends = np.cumsum(sizes)
    rows: Keys = np.arange(ends[-1], dtype=np.int64) + np.repeat(first - (ends - sizes), sizes)
    return rows
