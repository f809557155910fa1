"""Tables that lie in S3, and catalogues that others wrote, answer as our own on local disk do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from archive_fixture import TableData, build_archive, open_archive, publish, small_settings, star_table
from bucket_fixture import bucket_secrets, bucket_settings
from engine_fixture import Asking, small_engine
from idac.catalogs.archive import Archive
from idac.catalogs.ingest import IngestChoices
from idac.catalogs.service import CatalogService, SourceChoices
from idac.catalogs.snapshot import HatsStorage
from idac.core.database import open_database
from idac.core.store import FolderStore, S3BucketStore, open_store
from idac.query.engines.base import Explanation, QueryLimits
from idac.query.engines.duckdb.engine import DuckDBEngine
from idac.query.engines.duckdb.place import Access, Place, Share
from idac.query.engines.duckdb.settings import DuckDBSettings
from services.rgw import Bucket
from sky_oracles import near_pairs

STARS = star_table(6_000)
LIMITS = QueryLimits(100_000, 60)


def targets() -> pa.Table:
    """A few positions near stars, with the stars' ids."""
    chosen = STARS.slice(0, 40)
    return pa.table({"star": chosen["id"], "ra": chosen["ra"], "dec": pa.array(chosen["dec"].to_numpy() * 0.9999)})


@pytest.fixture
def remote(s3_bucket: Bucket, tmp_path: Path) -> Iterator[Asking]:
    """An archive in a real S3 service, and an engine that reads it there."""
    secrets, given = bucket_secrets(tmp_path / "secrets", s3_bucket), {s3_bucket.name: bucket_settings(s3_bucket)}
    store = open_store(f"s3://{s3_bucket.name}/dac", given, secrets, tmp_path)
    assert isinstance(store, S3BucketStore)
    archive = Archive(
        store, open_database(f"sqlite:///{tmp_path / 'state.db'}"), small_settings(ingest={"spill": tmp_path / "spill"})
    )
    publish(archive, "demo.stars", TableData(STARS, choices=IngestChoices(id="id")))
    publish(archive, "demo.targets", TableData(targets(), choices=IngestChoices(no_positions=True)))
    engine = DuckDBEngine(
        DuckDBSettings(memory_gib=4, threads=2, interactive_places=1, heavy_places=1),
        tmp_path / "engine",
        readable=[store.location],
        stores=[store],
    )
    try:
        yield Asking(engine, archive.snapshot())
    finally:
        engine.close()


def explain(asking: Asking, adql: str) -> Explanation:
    return asking.engine.explain(asking.compile(adql), LIMITS)


def test_ids_small_tables_and_cones_of_an_archive_in_s3(remote: Asking) -> None:
    wanted = int(STARS["id"][17].as_py())
    look_up = f"SELECT id, ra FROM demo.stars WHERE id = {wanted}"
    (scan,) = explain(remote, look_up).scans
    assert (scan.row_groups, scan.files) == (1, 1)
    assert scan.reason.startswith("look-up of one id; ")
    assert remote.rows(look_up) == [(wanted, STARS["ra"][17].as_py())]

    cone = "SELECT id FROM demo.stars WHERE DISTANCE(ra, dec, 0, 0) < 0.5 AND mag > 18"
    assert explain(remote, cone).sql.startswith("-- Read from these row groups directly, without running SQL.")
    near = np.hypot((STARS["ra"].to_numpy() + 180) % 360 - 180, STARS["dec"].to_numpy()) < 0.5
    bright = np.array([m is not None and m > 18 for m in STARS["mag"].to_pylist()])
    for _ in range(2):  # from the store, and then from memory
        assert set(remote.column(cone)) == set(STARS["id"].to_numpy()[near & bright].tolist())

    by_id = "SELECT s.id FROM demo.targets AS t JOIN demo.stars AS s ON s.id = t.star WHERE t.dec > 0"
    assert {s.table: s.reason.partition(";")[0] for s in explain(remote, by_id).scans} == {
        "demo.targets": "whole table",
        "demo.stars": "ids of demo.targets",
    }
    table = targets()
    assert set(remote.column(by_id)) == set(table["star"].to_numpy()[table["dec"].to_numpy() > 0].tolist())

    match = (
        "SELECT t.star, s.id FROM demo.targets AS t JOIN demo.stars AS s ON DISTANCE(t.ra, t.dec, s.ra, s.dec) < 0.05"
    )
    pairs = near_pairs(*((t["ra"].to_numpy(), t["dec"].to_numpy()) for t in (table, STARS)), 0.05)
    ids = STARS["id"].to_pylist()
    assert set(remote.rows(match)) == {(ids[a], ids[b]) for a, b in pairs.sure}
    assert {s.table: s.reason.partition(";")[0] for s in explain(remote, match).scans}["demo.stars"] == (
        "within 3 arcmin of demo.targets"
    )

    # A scan has more threads than processors, since they wait for the store.
    assert remote.rows("SELECT COUNT(*) AS n FROM demo.stars WHERE mag > 18") == [(int(bright.sum()),)]
    place = remote.engine._places["interactive"][0]
    assert place.prepare("", {}, (), ()).execute("SELECT current_setting('threads')").fetchone() == (8,)


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asking]:
    """A HATS catalogue whose files hold NaN where others write NULL, registered where it is."""
    folder = tmp_path_factory.mktemp("registered")
    own = build_archive(folder / "a", {"demo.stars": STARS})
    storage = own.snapshot().entries["demo", "stars"].storage
    assert isinstance(storage, HatsStorage)
    for path in storage.index.files:
        table = pq.read_table(path, partitioning=None)
        mag = pa.array(np.where(table["mag"].is_null(), np.nan, table["mag"].to_numpy()).astype(np.float32))
        pq.write_table(table.set_column(table.schema.get_field_index("mag"), "mag", mag), path)
    archive = open_archive(folder)
    CatalogService(archive, lambda place: FolderStore(Path(place))).add(
        "demo.theirs", SourceChoices([str(Path(storage.root).parent)]), IngestChoices()
    )
    with small_engine(folder) as engine:
        yield Asking(engine, archive.snapshot())


CONE = "DISTANCE(ra, dec, 0, 0) < 0.5"


@pytest.mark.parametrize(
    "condition", ["mag > 18", "mag < 18", "NOT (mag < 18)", "mag IS NULL", "mag IS NOT NULL", "mag <> 18"]
)
def test_nan_in_a_registered_catalogue_is_null_on_every_way(registered: Asking, condition: str) -> None:
    mag = STARS["mag"].to_pylist()
    test = {
        "mag > 18": lambda m: m is not None and m > 18,
        "mag < 18": lambda m: m is not None and m < 18,
        "NOT (mag < 18)": lambda m: m is not None and not m < 18,
        "mag IS NULL": lambda m: m is None,
        "mag IS NOT NULL": lambda m: m is not None,
        "mag <> 18": lambda m: m is not None and m != 18,
    }[condition]
    near = (np.hypot((STARS["ra"].to_numpy() + 180) % 360 - 180, STARS["dec"].to_numpy()) < 0.49).tolist()
    whole = {i for i, m in zip(STARS["id"].to_pylist(), mag, strict=True) if test(m)}
    some = {i for i, m, n in zip(STARS["id"].to_pylist(), mag, near, strict=True) if n and test(m)}
    found = registered.ask(f"SELECT id, mag FROM demo.theirs WHERE {condition}")
    assert set(found["id"].to_pylist()) == whole
    assert not np.isnan(found["mag"].drop_null().to_numpy()).any()
    assert some <= set(registered.column(f"SELECT id FROM demo.theirs WHERE {CONE} AND {condition}"))
    assert set(registered.column(f"SELECT id FROM demo.theirs WHERE {CONE} AND {condition}")) <= whole
    assert some <= set(registered.column(f"SELECT DISTINCT id FROM demo.theirs WHERE {CONE} AND {condition}")) <= whole
    assert registered.value("SELECT MAX(mag) AS m FROM demo.theirs") == max(m for m in mag if m is not None)


def test_what_reads_a_store_has_threads_that_wait_for_it(tmp_path: Path) -> None:
    here, there = str(tmp_path / "t.parquet"), "s3://bucket/dac/t.parquet"
    place = Place(Share(2**30, 2, 8, 2**20), Access((str(tmp_path), "s3://bucket/dac")), tmp_path / "spill")

    def threads(path: str) -> int:
        found = place.prepare("", {}, (), [path]).execute("SELECT current_setting('threads')").fetchone()
        assert found is not None
        return int(found[0])

    try:
        # To change them takes another connection, so they stay.
        assert [threads(path) for path in (here, there, here)] == [2, 8, 8]
    finally:
        place.close()


@pytest.mark.parametrize(
    ("memory_gib", "threads", "expected"),
    [(1, 2, [(2, 2), (2, 6)]), (8, 2, [(2, 16), (2, 16)]), (8, 20, [(2, 16), (20, 20)])],
)
def test_there_are_so_many_threads_as_there_is_memory_for(
    tmp_path: Path, memory_gib: float, threads: int, expected: list[tuple[int, int]]
) -> None:
    settings = DuckDBSettings(memory_gib=memory_gib, threads=threads, interactive_places=1, heavy_places=1)
    engine = DuckDBEngine(settings, tmp_path / "engine")
    try:
        shares = [share for _, _, share in engine._shares()]
        assert [(share.threads, share.store_threads) for share in shares] == expected
    finally:
        engine.close()
