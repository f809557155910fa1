"""Rows between an engine and its reader: in order, bounded in memory, on disk only when somebody waits."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from archive_fixture import TableData, build_archive, star_table
from idac.catalogs.archive import Archive
from idac.core.errors import Cancelled
from idac.core.principal import ANONYMOUS
from idac.query.adql.compiler import QueryCompiler
from idac.query.engines.base import QueryLimits, QueryStream
from idac.query.engines.duckdb.engine import DuckDBEngine
from idac.query.engines.duckdb.settings import DuckDBSettings
from idac.query.engines.duckdb.stream import batch_rows
from idac.query.engines.spool import Abandoned, BatchSpool, Budget
from services.tap_centre import OPEN_TO_ALL
from services.waiting import until

ROWS = 10_000
BATCH = pa.record_batch({"n": np.arange(ROWS), "text": [f"é {i}" if i % 3 else None for i in range(ROWS)]})
SIZE = BATCH.nbytes


def plenty() -> Budget:
    return Budget(1 << 40, 1 << 40)


def write_all(spool: BatchSpool, count: int) -> threading.Thread:
    """A thread that puts numbered batches, and ends."""

    def write() -> None:
        for number in range(count):
            spool.put(BATCH.set_column(0, "n", pa.array(np.arange(ROWS) + number * ROWS)))
        spool.end()

    thread = threading.Thread(target=write)
    thread.start()
    return thread


def test_rows_come_in_order_whether_they_were_in_memory_or_on_disk(tmp_path: Path) -> None:
    spool = BatchSpool(BATCH.schema, tmp_path, 2 * SIZE, 1 << 30, lambda: True, plenty())
    thread = write_all(spool, 9)
    thread.join()
    assert spool.on_disk > 5 * ROWS * 8
    table = pa.Table.from_batches(list(spool))
    assert table.column("n").to_pylist() == list(range(9 * ROWS))
    assert table.column("text").to_pylist() == BATCH.column("text").to_pylist() * 9
    spool.abandon()
    assert list(tmp_path.iterdir()) == [], "the file has no name, so nothing can be left behind"


def test_a_writer_waits_for_its_reader_while_nobody_waits_for_the_writer(tmp_path: Path) -> None:
    spool = BatchSpool(BATCH.schema, tmp_path, 2 * SIZE, 1 << 30, lambda: False, plenty())
    thread = write_all(spool, 9)
    until(lambda: spool.blocked_s > 0)
    assert thread.is_alive()
    assert sum(b.num_rows for b in spool) == 9 * ROWS
    thread.join()
    assert spool.on_disk == 0


def test_disk_is_bounded_too(tmp_path: Path) -> None:
    spool = BatchSpool(BATCH.schema, tmp_path, SIZE, 3 * SIZE, lambda: True, plenty())
    thread = write_all(spool, 20)
    until(lambda: spool.blocked_s > 0)
    assert spool.on_disk < 4 * SIZE
    assert sum(b.num_rows for b in spool) == 20 * ROWS
    thread.join()
    spool.abandon()


def test_without_a_place_on_disk_the_reader_sets_the_pace(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    spool = BatchSpool(BATCH.schema, blocked, SIZE, 1 << 30, lambda: True, plenty())
    thread = write_all(spool, 5)
    assert sum(b.num_rows for b in spool) == 5 * ROWS
    thread.join()
    assert spool.on_disk == 0


def test_a_writer_learns_that_its_reader_has_gone(tmp_path: Path) -> None:
    spool = BatchSpool(BATCH.schema, tmp_path, SIZE, 0, lambda: True, plenty())
    spool.put(BATCH)
    outcome: list[BaseException] = []

    def write() -> None:
        try:
            spool.put(BATCH)
        except Abandoned as error:
            outcome.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    until(lambda: spool.blocked_s > 0)
    spool.abandon()
    thread.join()
    assert len(outcome) == 1
    assert list(spool) == []


def test_an_error_comes_after_the_rows_before_it(tmp_path: Path) -> None:
    spool = BatchSpool(BATCH.schema, tmp_path, 10 * SIZE, 0, lambda: False, plenty())
    spool.put(BATCH)
    spool.end(ValueError("broken"))
    rows = iter(spool)
    assert next(rows).num_rows == ROWS
    with pytest.raises(ValueError, match="broken"):
        next(rows)


def test_many_slow_readers_together_hold_no_more_than_their_share(tmp_path: Path) -> None:
    budget = Budget(3 * SIZE, 1 << 30)
    spools = [BatchSpool(BATCH.schema, tmp_path, 4 * SIZE, 1 << 30, lambda: True, budget) for _ in range(6)]
    for thread in [write_all(spool, 5) for spool in spools]:
        thread.join()
    # One batch each, with which every answer can go on, whatever there is.
    assert budget.memory_left >= -len(spools) * SIZE
    for spool in spools[:3]:
        assert sum(b.num_rows for b in spool) == 5 * ROWS
    for spool in spools:
        spool.abandon()
    assert budget.memory_left == 3 * SIZE
    assert budget.take_disk(1 << 30), "all of the disk is free again"


# -- in the engine -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return build_archive(tmp_path_factory.mktemp("spool"), {"demo.stars": TableData(star_table(3_000))})


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DuckDBEngine]:
    settings = DuckDBSettings(memory_gib=1, threads=2, interactive_places=1, heavy_places=1)
    engine = DuckDBEngine(settings, tmp_path_factory.mktemp("engine"), readable=["/"])
    try:
        yield engine
    finally:
        engine.close()


#: Nine million rows of 32 bytes: more than what waits in memory.
LARGE = "SELECT a.id, b.id AS other, a.ra, b.dec FROM demo.stars AS a, demo.stars AS b"


def start(engine: DuckDBEngine, archive: Archive, adql: str, name: str, timeout_s: float = 120) -> QueryStream:
    resolved = QueryCompiler(OPEN_TO_ALL).compile(adql, archive.snapshot(), ANONYMOUS)
    return engine.run(resolved, QueryLimits(100_000_000, timeout_s), owner=name, query_id=name)


def test_two_who_read_nothing_keep_no_third_from_its_answer(engine: DuckDBEngine, archive: Archive) -> None:
    slow = [start(engine, archive, LARGE, f"slow {number}") for number in range(2)]
    third = start(
        engine, archive, "SELECT COUNT(*) AS n FROM demo.stars AS a, demo.stars AS b WHERE a.mag < b.mag + 99", "third"
    )
    assert sum(b.num_rows for b in third) == 1
    for stream in slow:
        assert sum(b.num_rows for b in stream) == 9_000_000
        stream.close()


def test_a_limit_of_time_is_for_the_engine_and_not_for_its_reader(engine: DuckDBEngine, archive: Archive) -> None:
    # Long enough to get ahead of the reader on a machine that has much else to do.
    stream = start(engine, archive, LARGE, "patient", timeout_s=3)
    batches = iter(stream)
    next(batches)
    # The engine is far ahead and has waited longer than the query may take.
    until(lambda: stream._spool.blocked_s > 3.5)
    assert 0 < sum(b.num_rows for b in batches) < 9_000_000
    stream.close()


def test_a_query_stopped_while_its_reader_sleeps_gives_its_place_back(engine: DuckDBEngine, archive: Archive) -> None:
    stream = start(engine, archive, LARGE, "sleeper")
    rows = iter(stream)
    next(rows)
    until(lambda: stream._spool.blocked_s > 0)
    assert engine.cancel("sleeper")
    with pytest.raises(Cancelled, match="The query was stopped"):
        list(rows)
    after = start(engine, archive, LARGE, "after")
    after.close()


def test_what_waited_for_readers_is_given_back_however_they_end(engine: DuckDBEngine, archive: Archive) -> None:
    whole = engine._budget.memory_left
    streams = [start(engine, archive, LARGE, "half read"), start(engine, archive, "SELECT id FROM demo.stars", "all")]
    next(iter(streams[0]))
    assert sum(b.num_rows for b in streams[1]) == 3_000
    unread = start(engine, archive, "SELECT * FROM demo.stars WHERE CONTAINS(POINT(ra, dec), CIRCLE(0, 0, 1)) = 1", "c")
    assert engine._budget.memory_left < whole
    for stream in (*streams, unread):
        stream.close()
        stream.close()
    assert engine._budget.memory_left == whole
    assert engine._budget.take_disk(1 << 36), "nothing on disk is booked any more"
    engine._budget.give_disk(1 << 36)


def test_wide_rows_come_in_small_batches() -> None:
    narrow, wide = (pa.schema([(f"c{i}", pa.float64()) for i in range(n)]) for n in (2, 1_300))
    assert (batch_rows(narrow), batch_rows(wide)) == (65_536, 2_048)
