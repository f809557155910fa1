"""A query has its share of memory, disk, time and places, and no more; stopped work is over, and its place is free."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from bounds_tables import CROWD, SHARE_BYTES, asking_over, large_entry, write_large
from engine_fixture import Asking, memory_entry, small_engine
from idac.core.errors import Cancelled, ResourceExhausted, UserError, with_hidden
from idac.query.engines.base import QueryLimits, QueryStream
from idac.query.engines.duckdb.settings import DuckDBSettings
from services.waiting import until

ROWS = 300_000
ONE = pa.table({"k": [1]})
#: Sixty-four billion pairs to compare: hours of work.
ENDLESS = "SELECT COUNT(*) FROM t.small AS a, t.small AS b, t.small AS c WHERE a.k + b.k * c.k = -1"
#: As many rows as anyone will read.
STREAMING = "SELECT a.k, b.k FROM t.small AS a, t.small AS b, t.small AS c"
GROUPED = "SELECT COUNT(*) FROM (SELECT t, COUNT(*) AS n FROM t.large GROUP BY t) AS g WHERE g.n = 1"
SORTED = "SELECT t FROM t.large ORDER BY t"


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("large") / "large.parquet"
    assert write_large(file, ROWS) > SHARE_BYTES
    return file


@pytest.fixture
def asking(tmp_path: Path, large: Path) -> Iterator[Asking]:
    small = memory_entry("t.small", pa.table({"k": range(4_000)}))
    with small_engine(tmp_path, **CROWD) as engine:
        yield asking_over(engine, small, large_entry(large, ROWS))


def scratch_files(asking: Asking) -> list[Path]:
    return [p for p in asking.engine._spill.rglob("*") if p.is_file()]


@dataclass
class Running:
    """A query in a thread of its own: engines start and wait in the caller's."""

    asking: Asking
    query_id: str
    adql: str
    timeout_s: float = 600
    error: BaseException | None = None
    stream: QueryStream | None = None
    thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.stream = self.asking.engine.run(
                self.asking.compile(self.adql),
                QueryLimits(10**9, self.timeout_s),
                owner=self.query_id,
                query_id=self.query_id,
            )
        except UserError as error:
            self.error = error

    def wait_until_it_works(self) -> None:
        """The engine is computing: it has a place, and DuckDB tells how far it is."""

        def works() -> bool:
            here = self.asking.engine._here.get(self.query_id)
            return here is not None and here.stream is not None and here.stream.progress().fraction is not None

        until(lambda: works() or not self.thread.is_alive())

    def join(self) -> None:
        self.thread.join(60)
        assert not self.thread.is_alive()


def fill_heavy_places(asking: Asking, count: int) -> list[Running]:
    running = [Running(asking, f"heavy {i}", ENDLESS) for i in range(count)]
    for query in running:
        query.wait_until_it_works()
    return running


# -- memory and disk ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("adql", "rows"), [(GROUPED, 1), (SORTED, ROWS)])
def test_what_does_not_fit_in_memory_goes_to_disk_and_the_process_stays_small(
    tmp_path: Path, large: Path, adql: str, rows: int
) -> None:
    script = Path(__file__).with_name("big_query.py")
    tests = script.parents[2]
    environment = {**os.environ, "PYTHONPATH": str(tests)}
    command = [sys.executable, str(script), str(tmp_path), str(large), str(ROWS), adql]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=300)
    found = json.loads(done.stdout)
    assert (found["rows"], found["ordered"], found["error"]) == (rows, True, None)
    # Its share, and as much again for batches on their way out; the values alone are more than the share.
    assert found["growth"] < 2 * SHARE_BYTES
    assert list((tmp_path / "engine").rglob("*")) == []


def test_what_can_not_go_to_disk_ends_in_an_error_and_leaves_the_place_good(asking: Asking) -> None:
    with pytest.raises(ResourceExhausted) as caught:
        asking.ask("SELECT LENGTH(ivo_string_agg(t, ',')) FROM t.large")
    assert caught.value.text == (
        "The query needs more memory than one query may use. Given: 0.19 GiB. "
        "Select fewer rows or columns, or sort and group less at once; a smaller region helps most."
    )
    assert asking.value("SELECT COUNT(*) FROM t.large WHERE k >= 0") == ROWS
    assert scratch_files(asking) == []


def test_a_query_has_its_share_of_the_disk(tmp_path: Path, large: Path) -> None:
    with small_engine(tmp_path, **CROWD, spill_gib=0.01) as engine:
        asking = asking_over(engine, large_entry(large, ROWS))
        with pytest.raises(ResourceExhausted) as caught:
            asking.ask(SORTED, max_rows=10**9)
        assert caught.value.text == (
            "The query needs more temporary disk space than one query may use. "
            "Select fewer rows or columns, or sort and group less at once; a smaller region helps most."
        )
        until(lambda: scratch_files(asking) == [])  # threads that were writing end first
        assert asking.value("SELECT MAX(k) FROM t.large") == ROWS - 1


def test_spilled_rows_are_gone_with_the_engine(tmp_path: Path, large: Path) -> None:
    with small_engine(tmp_path, **CROWD) as engine:
        asking = asking_over(engine, large_entry(large, ROWS))
        stream = engine.run(asking.compile(SORTED), QueryLimits(10**9, 600), owner="a", query_id="q")
        next(iter(stream))
        assert scratch_files(asking) != []
    assert list((tmp_path / "engine").rglob("*")) == []
    with pytest.raises(Cancelled):
        list(stream)


# -- time --------------------------------------------------------------------------------------------------------------


def test_a_query_whose_time_is_over_has_stopped_and_its_place_is_free(asking: Asking) -> None:
    for _ in range(3):  # there are two places
        with pytest.raises(ResourceExhausted) as caught:
            asking.ask(ENDLESS, timeout_s=0.2)
        assert caught.value.text == (
            "The query took longer than it may. Given: 0.2 s. "
            "Make it smaller, or submit it as an asynchronous job with a longer execution duration."
        )
    assert asking.value("SELECT COUNT(*) FROM t.large WHERE k < 5") == 5
    assert asking.engine._here == {}


def test_rows_are_cut_at_the_limit_and_the_work_is_not_done_to_the_end(asking: Asking) -> None:
    stream = asking.engine.run(asking.compile(STREAMING), QueryLimits(250_000, 600), owner="a", query_id="q")
    assert sum(b.num_rows for b in stream) == 250_000
    assert stream.overflowed
    assert stream.progress().fraction == 1.0
    stream.close()
    exact = asking.engine.run(asking.compile("SELECT k FROM t.small"), QueryLimits(4_000, 600), owner="a", query_id="q")
    assert sum(b.num_rows for b in exact) == 4_000
    assert not exact.overflowed
    exact.close()


# -- stopping ----------------------------------------------------------------------------------------------------------


def test_a_query_that_is_stopped_while_it_computes_has_stopped(asking: Asking) -> None:
    running = fill_heavy_places(asking, 2)
    for query in running:
        assert asking.engine.cancel(query.query_id)
        query.join()
        assert isinstance(query.error, Cancelled)
        assert query.error.text == "The query was stopped."
        assert not asking.engine.cancel(query.query_id)
    # Both places are free, and each is good: this needs them at once.
    streams = [
        asking.engine.run(asking.compile(STREAMING), QueryLimits(10**9, 600), owner="b", query_id=f"s{i}")
        for i in range(2)
    ]
    for stream in streams:
        stream.close()


def test_a_query_that_is_stopped_while_it_waits_for_its_turn_does_not_take_it(asking: Asking) -> None:
    running = fill_heavy_places(asking, 2)
    waiting = Running(asking, "waiting", ENDLESS)
    until(lambda: asking.engine._scheduler.waiting == 1)
    assert asking.engine.cancel("waiting")
    waiting.join()
    assert isinstance(waiting.error, Cancelled)
    assert waiting.error.text == "The query was stopped while it waited for its turn."
    for query in running:
        asking.engine.cancel(query.query_id)
        query.join()
    assert asking.engine._here == {}


@pytest.mark.parametrize("way", ["engine", "stream", "close"])
def test_a_query_that_is_stopped_while_its_rows_are_read_gives_its_place_back(asking: Asking, way: str) -> None:
    for number in range(3):  # there are two places
        query_id = f"q{number}"
        stream = asking.engine.run(asking.compile(STREAMING), QueryLimits(10**9, 600), owner="a", query_id=query_id)
        rows = iter(stream)
        assert next(rows).num_rows > 0
        stop = {"engine": partial(asking.engine.cancel, query_id), "stream": stream.cancel, "close": stream.close}
        stop[way]()
        with pytest.raises(Cancelled):
            list(rows)
        # The reader has gone no further than this, and does not close it; the place is free all the same.
        until(lambda query_id=query_id: query_id not in asking.engine._here)


def test_a_query_of_our_own_functions_can_be_stopped_as_well(asking: Asking) -> None:
    adql = (
        "SELECT COUNT(*) FROM t.small AS a, t.small AS b "
        "WHERE ivo_healpix_index(12, MOD(a.k * 7, 360), MOD(b.k, 90)) = -1"
    )
    running = Running(asking, "python", adql)
    running.wait_until_it_works()
    assert asking.engine.cancel("python")
    running.join()
    assert isinstance(running.error, Cancelled)


def test_stopping_twice_and_closing_twice_does_no_harm(asking: Asking) -> None:
    stream = asking.engine.run(asking.compile(STREAMING), QueryLimits(10**9, 600), owner="a", query_id="q")
    for _ in range(2):
        stream.cancel()
        stream.close()
    assert asking.engine._here == {}
    assert not asking.engine.cancel("q")


def test_an_engine_that_is_closed_stops_all_its_queries(tmp_path: Path, large: Path) -> None:
    small = memory_entry("t.small", pa.table({"k": range(4_000)}))
    with small_engine(tmp_path, **CROWD) as engine:
        asking = asking_over(engine, small, large_entry(large, ROWS))
        running = fill_heavy_places(asking, 2)
        waiting = [Running(asking, f"more {i}", ENDLESS) for i in range(3)]
        until(lambda: engine._scheduler.waiting == 3)
    for query in (*running, *waiting):
        query.join()
        assert isinstance(query.error, UserError)
    assert not (tmp_path / "engine").exists() or list((tmp_path / "engine").iterdir()) == []


# -- places ------------------------------------------------------------------------------------------------------------


def test_a_small_query_is_answered_while_every_heavy_place_is_busy(asking: Asking) -> None:
    running = fill_heavy_places(asking, 2)
    assert asking.rows("SELECT TOP 1 k FROM t.small ORDER BY k") == [(0,)]
    assert all(query.thread.is_alive() for query in running)
    for query in running:
        asking.engine.cancel(query.query_id)
        query.join()


def test_a_fault_of_the_engine_is_raised_once_and_gives_the_place_back(tmp_path: Path) -> None:
    """DuckDB can't read such a name; readers of tables refuse it."""
    with small_engine(tmp_path, **CROWD) as engine:
        asking = asking_over(engine, memory_entry("t.odd", pa.table({"a\0b": [1]})), memory_entry("t.small", ONE))
        for _ in range(DuckDBSettings().interactive_places + 1):
            with pytest.raises(duckdb.ParserException) as caught:
                asking.ask("SELECT * FROM t.odd")
            assert len(list(with_hidden(caught.value))) == 1
            assert caught.value.__cause__ is None
        assert asking.rows("SELECT k FROM t.small") == [(1,)]
