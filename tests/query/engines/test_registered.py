"""A catalogue that others keep and rewrite where it lies: nothing that was known of a file is used of the next."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from archive_fixture import TableData, build_archive, open_archive, star_table
from engine_fixture import Asking, small_engine
from idac.catalogs.ingest import IngestChoices
from idac.catalogs.service import CatalogService, SourceChoices
from idac.catalogs.snapshot import HatsStorage
from idac.core.errors import StoreUnavailable
from idac.core.store import FolderStore
from idac.query.engines import registered as module
from idac.query.engines.base import QueryLimits
from idac.query.engines.duckdb.stream import DuckDBStream
from idac.query.engines.rowgroups import RowGroupReader

# Ids in the order of the sky, so that their bounds tell row groups apart.
STARS = star_table(6_000).sort_by([("dec", "ascending")])
STARS = STARS.set_column(0, "id", pa.array(np.arange(6_000)))
CONE = "SELECT id, mag FROM demo.theirs WHERE DISTANCE(ra, dec, 0, 0) < 0.5 AND mag IS NOT NULL"
CHANGED = (
    "The files of demo.theirs are not those that were registered: their owners have changed them. "
    "Tell the operator, who can register them again: idac catalog replace FOLDER --name demo.theirs"
)
GONE = (
    "Data of a table that the query uses can't be read at the moment. "
    "Run the query again; if it fails again, tell the operator."
)


class Theirs(Asking):
    """The catalogue, and its files as their owner has them."""

    @property
    def files(self) -> list[Path]:
        storage = self.snapshot.entries["demo", "theirs"].storage
        assert isinstance(storage, HatsStorage)
        return [Path(path) for path in storage.index.files]

    def rewrite(self, change: Callable[[pa.Table], pa.Table]) -> None:
        for path in self.files:
            table, groups = pq.read_table(path, partitioning=None), pq.read_metadata(path).row_group(0).num_rows
            new = path.with_suffix(".new")
            pq.write_table(change(table), new, row_group_size=groups, compression="none", use_dictionary=False)
            new.replace(path)


@pytest.fixture
def theirs(tmp_path: Path) -> Iterator[Theirs]:
    own = build_archive(tmp_path / "a", {"demo.stars": TableData(STARS, choices=IngestChoices(id="id"))})
    storage = own.snapshot().entries["demo", "stars"].storage
    assert isinstance(storage, HatsStorage)
    archive = open_archive(tmp_path)
    CatalogService(archive, lambda place: FolderStore(Path(place))).add(
        "demo.theirs", SourceChoices([str(Path(storage.root).parent)]), IngestChoices(id="id")
    )
    with small_engine(tmp_path) as engine:
        yield Theirs(engine, archive.snapshot())


def fainter(table: pa.Table) -> pa.Table:
    place = table.schema.get_field_index("mag")
    return table.set_column(place, "mag", pc.add(table["mag"], pa.scalar(100, pa.float32())))


def turned(table: pa.Table) -> pa.Table:
    place = table.schema.get_field_index("id")
    return table.set_column(place, "id", pc.subtract(pa.scalar(5_999), table["id"]))


def look_up(number: int) -> str:
    return f"SELECT ra, mag FROM demo.theirs WHERE id = {number}"


def test_rows_that_are_kept_are_never_those_of_the_file_before(theirs: Theirs) -> None:
    before = {row for _ in range(5) for row in theirs.rows(CONE)}  # by now they are kept
    some = next(iter(before))[0]
    theirs.rewrite(fainter)
    theirs.rows(f"SELECT mag FROM demo.theirs WHERE id = {some}")
    after = {(number, float(np.float32(mag) + np.float32(100))) for number, mag in before}
    for _ in range(5):
        assert set(theirs.rows(CONE)) == after
    assert theirs.column("SELECT COUNT(*) AS n FROM demo.theirs") == [6_000]


class Countless(tuple[str, ...]):
    """Names of files that are not gone through."""

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("all files were gone through")


@pytest.mark.parametrize("query", [CONE, "SELECT TOP 3 id, ra FROM demo.theirs"])
def test_a_small_query_of_many_files_goes_through_few_of_them(
    theirs: Theirs, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    monkeypatch.setattr(module, "_FEW_FILES", 0)
    monkeypatch.setattr(module, "_PATIENCE_S", 1e9)
    expected = theirs.rows(query)
    storage = theirs.snapshot.entries["demo", "theirs"].storage
    storage.__dict__["index"] = replace(storage.index, files=Countless(storage.index.files))
    assert theirs.rows(query) == expected


def test_an_id_is_looked_for_where_the_file_says_now(theirs: Theirs) -> None:
    position = {row[0]: row[1:] for row in zip(*(STARS[c].to_pylist() for c in ("id", "ra", "mag")), strict=True)}
    assert theirs.rows(look_up(100)) == [position[100]]
    theirs.rewrite(turned)
    assert theirs.rows(look_up(100)) == [position[5_899]]
    theirs.rewrite(turned)
    assert theirs.rows(look_up(100)) == [position[100]]


@pytest.mark.parametrize(
    "query",
    [
        CONE,
        look_up(100),
        "SELECT COUNT(*) AS n FROM demo.theirs",
        "SELECT AVG(mag) AS m FROM demo.theirs",
        "SELECT id FROM demo.theirs ORDER BY id",
    ],
)
def test_other_rows_than_were_registered_are_refused_until_they_are_back(
    theirs: Theirs, tmp_path: Path, query: str
) -> None:
    expected = theirs.rows(query)
    kept = [shutil.copy2(path, tmp_path / f"{number}.kept") for number, path in enumerate(theirs.files)]
    theirs.rewrite(without_the_last)
    for _ in range(2):
        with pytest.raises(StoreUnavailable) as refused:
            theirs.rows(query)
        assert str(refused.value) == CHANGED
    with pytest.raises(StoreUnavailable) as refused:
        theirs.engine.explain(theirs.compile(query), QueryLimits(100, 60.0))
    assert str(refused.value) == CHANGED
    for path, copy in zip(theirs.files, kept, strict=True):
        shutil.copy2(copy, path)
    assert theirs.rows(query) == expected


def moved(table: pa.Table) -> pa.Table:
    """As many in each row group, and a cell that was in none of them."""
    cells = table["_healpix_29"].to_numpy().copy()
    cells[-1] += 1
    return table.set_column(table.schema.get_field_index("_healpix_29"), "_healpix_29", pa.array(cells))


def without_the_last(table: pa.Table) -> pa.Table:
    return table.slice(0, table.num_rows - 1)


def as_text(table: pa.Table) -> pa.Table:
    return table.set_column(table.schema.get_field_index("mag"), "mag", table["mag"].cast(pa.string()))


@pytest.mark.parametrize("change", [moved, as_text, lambda table: table.drop_columns(["mag"])])
@pytest.mark.parametrize("query", [CONE, "SELECT MAX(mag) AS m FROM demo.theirs"])
def test_rows_elsewhere_on_the_sky_and_other_columns_are_refused(
    theirs: Theirs, query: str, change: Callable[[pa.Table], pa.Table]
) -> None:
    theirs.rows(query)
    theirs.rewrite(change)
    with pytest.raises(StoreUnavailable) as refused:
        theirs.rows(query)
    assert str(refused.value) == CHANGED


def test_longer_numbers_are_served(theirs: Theirs) -> None:
    before = theirs.rows(CONE)
    theirs.rewrite(lambda t: t.set_column(t.schema.get_field_index("mag"), "mag", t["mag"].cast(pa.float64())))
    assert theirs.rows(CONE) == before


@pytest.mark.parametrize("change", [without_the_last, moved])
def test_a_service_that_starts_later_refuses_them_too(
    theirs: Theirs, tmp_path: Path, change: Callable[[pa.Table], pa.Table]
) -> None:
    theirs.rewrite(change)
    with small_engine(tmp_path / "later") as engine, pytest.raises(StoreUnavailable) as refused:
        Asking(engine, theirs.snapshot).rows(CONE)
    assert str(refused.value) == CHANGED


def test_a_file_that_is_gone_is_told_to_those_who_need_it(theirs: Theirs) -> None:
    rows = [theirs.rows(CONE) for _ in range(5)][-1]  # by now they are kept
    (there, *_) = [p for p in theirs.files if set(pq.read_table(p, partitioning=None)["id"].to_pylist()) & {rows[0][0]}]
    elsewhere = next(path for path in theirs.files if path != there)
    elsewhere.unlink()
    assert theirs.rows(CONE) == rows
    there.unlink()
    with pytest.raises(StoreUnavailable) as refused:
        theirs.rows(CONE)
    assert str(refused.value) == GONE


def test_a_file_that_changes_while_it_is_read_is_read_again(theirs: Theirs, monkeypatch: pytest.MonkeyPatch) -> None:
    before = theirs.rows(CONE)
    read_file = RowGroupReader._read_file

    def read_and_rewrite(reader: RowGroupReader, *given: object) -> list[pa.Table]:
        monkeypatch.setattr(RowGroupReader, "_read_file", read_file)
        found = read_file(reader, *given)  # type: ignore[arg-type]
        theirs.rewrite(fainter)
        return found

    monkeypatch.setattr(RowGroupReader, "_read_file", read_and_rewrite)
    with pytest.raises(StoreUnavailable) as refused:
        theirs.rows(CONE)
    assert str(refused.value) == GONE
    assert sorted(theirs.rows(CONE)) == sorted((n, float(np.float32(m) + np.float32(100))) for n, m in before)


def test_a_file_that_changes_while_a_query_runs_is_told(theirs: Theirs, monkeypatch: pytest.MonkeyPatch) -> None:
    query = "SELECT id, mag FROM demo.theirs ORDER BY id"
    open_reader = DuckDBStream._open_reader

    def open_and_rewrite(stream: DuckDBStream, *given: object) -> pa.RecordBatchReader:
        monkeypatch.setattr(DuckDBStream, "_open_reader", open_reader)
        found = open_reader(stream, *given)  # type: ignore[arg-type]
        theirs.rewrite(fainter)
        return found

    monkeypatch.setattr(DuckDBStream, "_open_reader", open_and_rewrite)
    with pytest.raises(StoreUnavailable) as refused:
        theirs.rows(query)
    assert str(refused.value) == GONE
    assert len(theirs.rows(query)) == 6_000


def test_a_copy_that_brought_its_time_along_is_another_file(theirs: Theirs) -> None:
    before = [theirs.rows(CONE) for _ in range(5)][-1]  # by now they are kept
    times = [path.stat() for path in theirs.files]
    theirs.rewrite(fainter)
    for path, time in zip(theirs.files, times, strict=True):
        os.utime(path, ns=(time.st_atime_ns, time.st_mtime_ns))
    assert sorted(theirs.rows(CONE)) == sorted((n, float(np.float32(m) + np.float32(100))) for n, m in before)


def test_files_that_are_cut_while_they_are_written_are_unreadable(theirs: Theirs) -> None:
    theirs.column("SELECT AVG(mag) AS m FROM demo.theirs")
    for path in theirs.files:
        path.write_bytes(b"")
    with pytest.raises(StoreUnavailable) as refused:
        theirs.column("SELECT AVG(mag) AS m FROM demo.theirs")
    assert str(refused.value) == GONE


def test_of_many_files_a_change_is_seen_a_moment_later(theirs: Theirs, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1_000.0]
    monkeypatch.setattr(module, "_FEW_FILES", 0)
    monkeypatch.setattr(module, "monotonic", lambda: now[0])
    assert theirs.column("SELECT COUNT(*) AS n FROM demo.theirs") == [6_000]
    theirs.rewrite(without_the_last)
    now[0] += module._PATIENCE_S / 2
    for query in (CONE, "SELECT COUNT(*) AS n FROM demo.theirs"):  # what is read is looked at in any case
        with pytest.raises(StoreUnavailable) as refused:
            theirs.rows(query)
        assert str(refused.value) == GONE
    now[0] += module._PATIENCE_S
    with pytest.raises(StoreUnavailable) as refused:
        theirs.column("SELECT COUNT(*) AS n FROM demo.theirs")
    assert str(refused.value) == CHANGED
