"""Publication is one step that everyone sees whole; old versions stay while queries may use them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from archive_fixture import TableData, build_archive, open_archive, publish, small_settings, star_table
from idac.catalogs.archive import Archive
from idac.catalogs.felis import write_felis
from idac.catalogs.ingest import IngestChoices
from idac.catalogs.snapshot import HatsStorage, MemoryStorage, PlainStorage
from idac.core.errors import Conflict, NotFound, StoreUnavailable


def rows_of(archive: Archive, name: str = "demo.stars") -> int:
    entry = archive.snapshot(fresh=True).find(*name.split("."))
    assert entry is not None
    return entry.storage.rows


def read_rows(archive: Archive, name: str = "demo.stars") -> pa.Table:
    """The rows as an engine would read them: the files that the row-group index names."""
    entry = archive.snapshot(fresh=True).find(*name.split("."))
    assert entry is not None
    storage = entry.storage
    assert isinstance(storage, HatsStorage)
    return pa.concat_tables(pq.read_table(f, partitioning=None) for f in storage.index.files)


def version_folders(archive: Archive) -> set[str]:
    root = Path(archive.store.url("catalogs/tables"))
    return {p.name for p in root.glob("*/*/*")} if root.exists() else set()


def staged_folders(archive: Archive) -> list[str]:
    return [p.name for p in Path(archive.store.url("catalogs/staging")).iterdir() if p.is_dir()]


def test_an_empty_archive_shows_tap_schema_and_nothing_else(tmp_path: Path) -> None:
    snapshot = open_archive(tmp_path).snapshot()
    assert [s.name for s in snapshot.schemas] == ["TAP_SCHEMA"]
    assert len(snapshot.entries) == 5
    assert all(isinstance(e.storage, MemoryStorage) for e in snapshot.entries.values())


def test_a_running_service_sees_a_new_table_without_a_restart(tmp_path: Path) -> None:
    service, publisher = open_archive(tmp_path), open_archive(tmp_path)
    before = service.snapshot()
    publish(publisher, "demo.stars", star_table(500))
    after = service.snapshot()
    assert before.find("demo", "stars") is None
    assert after.find("DEMO", "Stars") is not None
    assert after.generation != before.generation
    assert service.snapshot() is after


def test_the_index_names_every_row_group_in_sky_order(tmp_path: Path) -> None:
    archive = build_archive(tmp_path, {"demo.stars": star_table(9_000)})
    storage = archive.snapshot().entries["demo", "stars"].storage
    assert isinstance(storage, HatsStorage)
    index = storage.index
    assert index.total_rows == storage.rows == 9_000
    assert np.all(np.diff(index.hpx_min) >= 0)
    for file, group, low, high, rows in zip(
        index.file, index.row_group, index.hpx_min, index.hpx_max, index.rows, strict=True
    ):
        found = pq.ParquetFile(index.files[file]).read_row_group(group, ["_healpix_29"]).column(0).to_numpy()
        assert (found[0], found[-1], len(found)) == (low, high, rows)


def test_loading_a_snapshot_reads_no_file_of_the_version(tmp_path: Path) -> None:
    build_archive(tmp_path, {"demo.stars": TableData(star_table(2_000), choices=IngestChoices(id="id"))})
    archive = open_archive(tmp_path)
    read: list[str] = []
    get = archive.store.get
    archive.store.get = lambda key: (read.append(key), get(key))[1]  # type: ignore[method-assign]
    storage = archive.snapshot().entries["demo", "stars"].storage
    assert [key.rpartition("/")[0] for key in read] == ["catalogs", "catalogs/schemas"]
    assert isinstance(storage, HatsStorage)
    assert storage.rows == 2_000
    assert len(storage.margin_files) > 0
    assert len(storage.id_index_files) == 1


def test_a_table_without_positions_is_plain_parquet_in_the_order_of_its_id(tmp_path: Path) -> None:
    visits = pa.table({"visit": np.random.default_rng(1).permutation(5_000), "band": ["r"] * 5_000})
    archive = build_archive(tmp_path, {"demo.visits": TableData(visits, choices=IngestChoices(id="visit"))})
    storage = archive.snapshot().entries["demo", "visits"].storage
    assert isinstance(storage, PlainStorage)
    assert len(storage.files) == 5
    found = pa.concat_tables(pq.read_table(f) for f in storage.files)
    assert found["visit"].to_pylist() == list(range(5_000))


def test_a_table_without_positions_or_id_keeps_its_order(tmp_path: Path) -> None:
    notes = pa.table({"text": [f"note {i * 7919 % 4000}" for i in range(4_000)]})
    archive = build_archive(tmp_path, {"demo.notes": notes})
    storage = archive.snapshot().entries["demo", "notes"].storage
    assert isinstance(storage, PlainStorage)
    assert pa.concat_tables(pq.read_table(f) for f in storage.files)["text"].to_pylist() == notes["text"].to_pylist()


def test_adding_a_table_twice_is_refused_and_leaves_nothing_behind(tmp_path: Path) -> None:
    archive = build_archive(tmp_path, {"demo.stars": star_table(500)})
    before = version_folders(archive)
    with pytest.raises(Conflict) as caught:
        publish(archive, "demo.stars", star_table(600))
    assert caught.value.text == (
        "The table demo.stars is published already. Use idac catalog replace to publish a new version of it, "
        "or idac catalog drop demo.stars first."
    )
    assert rows_of(archive) == 500
    assert version_folders(archive) == before
    assert staged_folders(archive) == []


def test_replacing_a_table_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as caught:
        publish(open_archive(tmp_path), "demo.stars", star_table(10), replacing=True)
    assert caught.value.text == "There is no table demo.stars to replace. Use idac catalog add to publish a new table."


def test_a_query_on_the_old_version_still_reads_it_after_a_replacement(tmp_path: Path) -> None:
    archive = build_archive(tmp_path, {"demo.stars": star_table(700)})
    old = archive.snapshot()
    publish(archive, "demo.stars", star_table(900), replacing=True)
    publish(archive, "demo.stars", star_table(1_100), replacing=True)
    assert rows_of(archive) == 1_100
    storage = old.entries["demo", "stars"].storage
    assert isinstance(storage, HatsStorage)
    assert sum(pq.read_metadata(f).num_rows for f in storage.index.files) == 700


def test_rollback_shows_the_version_before_with_its_own_metadata_and_back_again(tmp_path: Path) -> None:
    archive = build_archive(tmp_path, {"demo.stars": TableData(star_table(700), description="The first")})
    changed = star_table(900).drop_columns(["flag"])
    publish(archive, "demo.stars", TableData(changed, description="The second"), replacing=True)
    archive.rollback("demo", "stars", write_felis)
    first = archive.snapshot().entries["demo", "stars"].table
    assert (rows_of(archive), first.description, first.find("flag") is not None) == (700, "The first", True)
    archive.rollback("demo", "stars", write_felis)
    second = archive.snapshot().entries["demo", "stars"].table
    assert (rows_of(archive), second.description, second.find("flag")) == (900, "The second", None)


def test_rollback_without_an_earlier_version_is_refused(tmp_path: Path) -> None:
    archive = build_archive(tmp_path, {"demo.stars": star_table(100)})
    with pytest.raises(Conflict) as caught:
        archive.rollback("demo", "stars", write_felis)
    assert caught.value.text == (
        "There is no earlier version of demo.stars to go back to. Allowed: tables that were replaced while "
        "catalogs.keep_versions was at least 1. Publish the earlier data again with idac catalog replace."
    )


def test_files_are_removed_after_the_grace_period_and_not_before(tmp_path: Path) -> None:
    archive = build_archive(tmp_path, {"demo.stars": star_table(100), "demo.other": star_table(100)})
    for _ in range(3):
        publish(archive, "demo.stars", star_table(100), replacing=True)
    assert len(version_folders(archive)) == 5
    assert archive.sweep() == []
    impatient = open_archive(tmp_path, small_settings(version_grace_s=0))
    assert len(impatient.sweep()) >= 2
    assert len(version_folders(archive)) == 3  # shown, one before it, and the other table
    assert rows_of(archive) == 100
    impatient.rollback("demo", "stars", write_felis)
    assert read_rows(archive).num_rows == 100
    impatient.drop("demo", "stars", write_felis)
    impatient.sweep()
    assert len(version_folders(archive)) == 1
    documents = list(Path(archive.store.url("catalogs/schemas")).glob("*.yaml"))
    assert len(documents) == 1


def test_metadata_of_a_publisher_that_died_before_the_manifest_are_swept_and_those_in_use_stay(tmp_path: Path) -> None:
    archive = build_archive(tmp_path, {"demo.stars": star_table(50)})
    publish(archive, "demo.stars", TableData(star_table(60), description="New words"), replacing=True)
    folder = Path(archive.store.url("catalogs/schemas"))
    used = {p.name for p in folder.iterdir()}
    (folder / f"{'0' * 32}.json").write_text("{}")
    (folder / f"{'0' * 32}.yaml").write_text("name: dead")
    assert archive.sweep() == ["0" * 32]
    assert {p.name for p in folder.iterdir()} == used
    assert archive.rollback("demo", "stars", write_felis)
    assert rows_of(archive) == 50


def test_a_version_that_no_manifest_names_is_swept_when_it_is_old_and_asked_for(tmp_path: Path) -> None:
    """A publisher on another machine may still be uploading the young one."""
    archive = build_archive(tmp_path, {"demo.stars": star_table(50)}, small_settings(version_grace_s=0))
    tables = Path(archive.store.url("catalogs/tables"))
    for name in ("old", "young"):
        (tables / "demo" / "lost" / name).mkdir(parents=True)
        (tables / "demo" / "lost" / name / "part.parquet").write_bytes(b"half")
    os.utime(tables / "demo" / "lost" / "old" / "part.parquet", (0, 0))
    assert archive.sweep() == []
    assert archive.sweep(strays=True) == ["catalogs/tables/demo/lost/old"]
    assert version_folders(archive) == {"young", archive.manifest().tables["demo.stars"][0].id}
    assert rows_of(archive) == 50


def test_dropping_the_last_table_takes_its_schema_away(tmp_path: Path) -> None:
    archive = build_archive(tmp_path, {"demo.stars": star_table(100)})
    archive.drop("DEMO", "stars", write_felis)
    assert [s.name for s in archive.snapshot().schemas] == ["TAP_SCHEMA"]
    with pytest.raises(NotFound) as caught:
        archive.drop("demo", "stars", write_felis)
    assert caught.value.text == "There is no table demo.stars. Allowed: none yet. See idac catalog list."


def test_publications_at_the_same_time_all_count(tmp_path: Path) -> None:
    open_archive(tmp_path)
    threads = [
        threading.Thread(target=lambda i=i: publish(open_archive(tmp_path), f"demo.t{i}", star_table(50, seed=i)))
        for i in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    schemas = open_archive(tmp_path).snapshot().schemas
    assert sorted(t.name for t in schemas[0]) == [f"t{i}" for i in range(6)]


def test_a_damaged_manifest_is_said_and_not_taken_for_an_empty_archive(tmp_path: Path) -> None:
    archive = build_archive(tmp_path, {"demo.stars": star_table(50)})
    path = Path(archive.store.url("catalogs/manifest.json"))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(StoreUnavailable) as caught:
        open_archive(tmp_path).snapshot()
    assert caught.value.text == (
        "The archive's manifest is damaged. Allowed: the JSON file that idac writes. "
        "Restore catalogs/manifest.json of the archive from a backup."
    )


def test_an_archive_of_a_newer_form_is_refused(tmp_path: Path) -> None:
    archive = build_archive(tmp_path, {"demo.stars": star_table(50)})
    path = Path(archive.store.url("catalogs/manifest.json"))
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
    with pytest.raises(StoreUnavailable) as caught:
        open_archive(tmp_path).snapshot()
    assert caught.value.text == (
        "The archive was written by another version of idac. Given: manifest format 99. Allowed: formats 1 and 2. "
        "Use the version of idac that published the tables, or a newer one."
    )


CHILD = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from archive_fixture import TableData, open_archive, publish, star_table
from idac.catalogs.felis import fit_for_felis
from idac.catalogs.ingest import IngestChoices
from idac.tables.model import DOUBLE, Column, Table

calls, last, started = 0, 0, False
names = ("os.fsync", "os.rename", "os.replace", "os.mkdir", "os.remove", "os.rmdir", "open", "sqlite3.connect")

def watch(event, args):
    global calls
    if started and event in names:
        calls += 1
        if calls == last:
            os.kill(os.getpid(), signal.SIGKILL)

fit_for_felis(Table("a", "b", (Column("c", DOUBLE, "deg", "pos.eq.ra"),)))  # loads the vocabularies of units and UCDs
stars = TableData(star_table(2_000, seed=2), choices=IngestChoices(id="id"))
sys.addaudithook(watch)
# One process pays for the imports, and forks before anything has made a thread.
for folder, last in zip(sys.argv[1::2], map(int, sys.argv[2::2])):
    child = os.fork()
    if child == 0:
        archive = open_archive(Path(folder))
        started = True
        publish(archive, "demo.stars", stars, replacing=True)
        started = False
        (Path(folder) / "calls").write_text(str(calls))
        os._exit(0)
    print(os.waitpid(child, 0)[1])
"""


def run_children(*work: tuple[Path, int]) -> list[int]:
    """Publish into each folder in a process of its own, killed at its n-th call to the system; their wait statuses."""
    code = CHILD.format(tests=str(Path(__file__).parents[1]))
    arguments = [str(part) for pair in work for part in pair]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [int(line) for line in done.stdout.split()]


def test_a_kill_at_any_moment_leaves_the_old_table_or_the_new_one_whole(tmp_path: Path) -> None:
    """Kills real processes at places spread over everything they do to files, manifest and database."""
    template, whole = tmp_path / "template", tmp_path / "whole"
    template.mkdir()
    build_archive(template, {"demo.stars": star_table(1_000, seed=1)})
    shutil.copytree(template, whole)
    assert run_children((whole, 10**9)) == [0]
    assert rows_of(open_archive(whole)) == 2_000
    calls = int((whole / "calls").read_text())
    # The last calls are those that publish, so half of the kills go there.
    early, late = np.linspace(2, calls - 30, 8), np.linspace(calls - 28, calls, 10)
    work = [(tmp_path / f"killed-{n}", n) for n in sorted({*early.astype(int).tolist(), *late.astype(int).tolist()})]
    for folder, _ in work:
        shutil.copytree(template, folder)
    statuses = run_children(*work)
    # The number of calls differs by a few between runs, so that the last may be past the end.
    assert set(statuses) <= {0, signal.SIGKILL}
    assert statuses.count(signal.SIGKILL) >= len(work) - 4
    outcomes = set()
    for folder, _ in work:
        archive = open_archive(folder)
        rows = rows_of(archive)
        assert rows in (1_000, 2_000)
        assert read_rows(archive).num_rows == rows
        outcomes.add(rows)
        # The next publication works, and clears away what the dead one left.
        publish(archive, "demo.stars", star_table(300), replacing=True)
        assert rows_of(archive) == 300
        assert staged_folders(archive) == []
        named = {v.prefix.rpartition("/")[2] for v in archive.manifest().tables["demo.stars"]}
        named |= {r.key.rpartition("/")[2] for r in archive.manifest().retired}
        assert version_folders(archive) <= named
    assert outcomes == {1_000, 2_000}
