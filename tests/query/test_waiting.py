"""Those who ask for much wait for one another, and keep nobody else from an answer."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import httpx
import pytest

from archive_fixture import TableData, build_archive, star_table
from idac.catalogs.ingest import IngestChoices
from idac.core.errors import Busy
from idac.core.principal import ANONYMOUS
from idac.query.adql.compiler import QueryCompiler
from idac.query.engines.duckdb.engine import DuckDBEngine
from idac.query.engines.duckdb.settings import DuckDBSettings
from idac.query.plan.planning import plan_query
from idac.query.scheduler import FairScheduler
from idac.web.settings import ServerSettings
from services.http import post
from services.tap_centre import OPEN_TO_ALL, Centre, serving_tap
from services.waiting import until

HEAVY = "SELECT COUNT(*) FROM demo.stars AS a, demo.stars AS b WHERE a.mag + b.mag > 1000"
SMALL = "SELECT TOP 1 * FROM demo.stars"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DuckDBEngine]:
    settings = DuckDBSettings(memory_gib=1, threads=1, interactive_places=1, heavy_places=1)
    engine = DuckDBEngine(settings, tmp_path_factory.mktemp("engine"), readable=["/"])
    try:
        yield engine
    finally:
        engine.close()


@pytest.fixture(scope="module")
def centre(tmp_path_factory: pytest.TempPathFactory, engine: DuckDBEngine) -> Iterator[Centre]:
    folder = tmp_path_factory.mktemp("centre")
    archive = build_archive(folder, {"demo.stars": TableData(star_table(10_000), choices=IngestChoices(id="id"))})
    # As few threads as may be: four requests that held one each would stop everything.
    with serving_tap(folder, archive, engine, server=ServerSettings(worker_threads=4)) as centre:
        yield centre


@pytest.mark.parametrize(
    ("adql", "lane"),
    [
        (SMALL, "interactive"),
        ("SELECT * FROM demo.stars AS a JOIN demo.stars AS b ON a.id = b.id", "interactive"),
        ("SELECT * FROM demo.stars AS a, demo.stars AS b WHERE b.id = a.id + 1", "interactive"),
        (
            "SELECT * FROM demo.stars AS a JOIN demo.stars AS b ON DISTANCE(a.ra, a.dec, b.ra, b.dec) < 0.001",
            "interactive",
        ),
        ("SELECT * FROM demo.stars AS a LEFT JOIN demo.stars AS b USING (id)", "interactive"),
        (HEAVY, "heavy"),
        ("SELECT * FROM demo.stars AS a JOIN demo.stars AS b ON a.mag < b.mag", "heavy"),
        ("SELECT * FROM demo.stars AS a JOIN demo.stars AS b ON a.id = a.id", "heavy"),
        ("SELECT * FROM (SELECT * FROM demo.stars) AS a, (SELECT * FROM demo.stars) AS b", "heavy"),
    ],
)
def test_joins_that_compare_every_pair_are_heavy_however_small_their_tables(
    centre: Centre, engine: DuckDBEngine, adql: str, lane: str
) -> None:
    resolved = QueryCompiler(OPEN_TO_ALL).compile(adql, centre.service.archive.snapshot(), ANONYMOUS)
    assert engine.lane(plan_query(resolved, engine._reader)) == lane


def test_many_heavy_queries_keep_no_small_one_and_no_page_waiting(centre: Centre) -> None:
    async def ask(client: httpx.AsyncClient, adql: str) -> httpx.Response:
        return await client.get(f"{centre.tap}/sync", params={"LANG": "ADQL", "QUERY": adql, "FORMAT": "csv"})

    async def scene() -> tuple[int, list[str]]:
        limits = httpx.Limits(max_connections=60)
        async with httpx.AsyncClient(limits=limits, timeout=120) as client:
            heavy = [asyncio.create_task(ask(client, HEAVY)) for _ in range(30)]
            # The first heavy answer shows that all are on their way; the rest still wait or run.
            await asyncio.wait(heavy, return_when=asyncio.FIRST_COMPLETED)
            answers = [
                (await ask(client, SMALL)).text,
                (await client.get(f"{centre.tap}/tables")).text,
                (await client.get(f"{centre.tap}/availability")).text,
            ]
            unanswered = sum(not task.done() for task in heavy)
            for task in heavy:
                task.cancel()
            await asyncio.gather(*heavy, return_exceptions=True)
        return unanswered, answers

    unanswered, (row, tables, availability) = asyncio.run(scene())
    assert unanswered > 10
    assert row.startswith("id,ra,dec,mag,name,flag")
    assert "demo.stars" in tables
    assert "true" in availability


def test_the_refusal_says_whose_queries_are_too_many() -> None:
    scheduler = FairScheduler({"heavy": 0}, max_queued=3, max_per_owner=2)
    with ThreadPoolExecutor(3) as threads:
        for owner in ("ada", "ada", "ben"):
            before = scheduler.waiting
            threads.submit(scheduler.acquire, "heavy", owner, f"query {before}", 60)
            until(lambda before=before: scheduler.waiting > before)
        with pytest.raises(Busy) as own:
            scheduler.acquire("heavy", "ada", "x", 1)
        with pytest.raises(Busy) as everyone:
            scheduler.acquire("heavy", "cem", "y", 1)
        scheduler.close()
    assert own.value.text == (
        "Too many of your queries are waiting at the moment. Given: 2 waiting. "
        "Try again in a minute, or submit the query as an asynchronous job."
    )
    assert everyone.value.text == (
        "Too many queries are waiting at the moment. Given: 3 waiting. "
        "Try again in a minute, or submit the query as an asynchronous job."
    )


def test_requests_that_wait_for_a_locked_state_database_keep_no_answer_from_being_made(centre: Centre) -> None:
    with closing(sqlite3.connect(centre.spool.parent / "jobs.db", isolation_level=None)) as lock:
        lock.execute("BEGIN IMMEDIATE")
        with ThreadPoolExecutor(8) as pool:
            form = {"LANG": "ADQL", "QUERY": SMALL}
            waiting = [pool.submit(post, f"{centre.tap}/async", data=form, timeout=60) for _ in range(8)]
            for _ in range(5):
                answer = post(f"{centre.tap}/sync", data={**form, "QUERY": "SELECT * FROM demo.stars"}, timeout=20)
                assert answer.text.rstrip().endswith("</VOTABLE>")
            assert not any(future.done() for future in waiting)
            lock.execute("COMMIT")
            assert {future.result().status_code for future in waiting} == {303}
