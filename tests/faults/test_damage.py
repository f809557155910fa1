"""Files of the archive that are missing or damaged while it is in use: told, and mended by putting them back."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from archive_fixture import TableData, build_archive, open_archive, star_table
from engine_fixture import OPEN_TO_ALL, small_engine
from idac.catalogs.archive import Archive
from idac.catalogs.ingest import IngestChoices
from idac.core.errors import StoreUnavailable
from idac.core.principal import ANONYMOUS
from idac.query.adql.compiler import QueryCompiler
from idac.query.service import QueryRequest, QueryService
from idac.query.settings import QuerySettings
from idac.tables.formats import find_format
from services.desk import Desk

ROWS = 3_000
EVERYTHING = "SELECT COUNT(*) AS n FROM demo.stars WHERE mag IS NOT NULL OR mag IS NULL"
CONE = "SELECT id FROM demo.stars WHERE 1 = CONTAINS(POINT(ra, dec), CIRCLE(10, 89, 2))"
#: Where nobody has looked yet, so that no row of it is still in memory.
ELSEWHERE = "SELECT id FROM demo.stars WHERE 1 = CONTAINS(POINT(ra, dec), CIRCLE(180, -60, 20))"
LOOK_UP = "SELECT ra FROM demo.stars WHERE id = 1000003"
UNREADABLE = (
    "Data of a table that the query uses can't be read at the moment. "
    "Run the query again; if it fails again, tell the operator."
)


def told_list(key: str) -> str:
    return (
        f"The list of a table's files is missing from the archive, or damaged. Given: {key}. "
        "Allowed: the file that idac wrote. Restore it from a backup of the archive, "
        "or publish the table again with idac catalog replace."
    )


class Running:
    """A service that has the archive open, and the archive's files."""

    def __init__(self, archive: Archive, service: QueryService) -> None:
        self.archive, self.service = archive, service
        self.root = Path(archive.store.url("catalogs")).parent

    def ask(self, adql: str) -> bytes:
        request = QueryRequest(adql, find_format("csv"), timeout_s=60)
        running = self.service.run(request, ANONYMOUS, query_id="q")
        try:
            return b"".join(running.chunks())
        finally:
            running.close()

    def fails(self, adql: str) -> str:
        with pytest.raises(StoreUnavailable) as caught:
            self.ask(adql)
        assert caught.value.status == 503
        return caught.value.text

    def files(self, pattern: str) -> list[Path]:
        found = sorted(self.root.glob(pattern))
        assert found, pattern
        return found


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    archive = build_archive(tmp_path, {"demo.stars": TableData(star_table(ROWS), choices=IngestChoices(id="id"))})
    with small_engine(tmp_path) as engine:
        yield Running(archive, QueryService(archive, engine, QueryCompiler(OPEN_TO_ALL), QuerySettings()))


DATA = "catalogs/tables/demo/stars/*/stars/dataset/**/Npix=*.parquet"


@pytest.mark.parametrize("how", ["gone", "cut", "noise", "blank"])
def test_a_data_file_that_goes_under_a_running_service_stops_queries_of_it_and_no_others(
    running: Running, tmp_path: Path, how: str
) -> None:
    whole = {adql: running.ask(adql) for adql in (EVERYTHING, CONE, LOOK_UP)}
    assert whole[EVERYTHING].split() == [b"n", b"3000"]
    kept = tmp_path / "kept"
    for number, path in enumerate(running.files(DATA)):
        shutil.copyfile(path, kept.with_suffix(f".{number}"))
        damage(path, how)
    assert running.fails(EVERYTHING) == UNREADABLE
    assert running.fails(ELSEWHERE) == UNREADABLE
    assert running.ask("SELECT COUNT(*) AS n FROM TAP_SCHEMA.tables").split() == [b"n", b"6"]
    for number, path in enumerate(running.files(DATA) if how != "gone" else sorted(originals(running))):
        shutil.copyfile(kept.with_suffix(f".{number}"), path)
        os.utime(path, (1e9, 1e9))  # as a backup's; DuckDB takes a file of the same second and size for the same
    assert {adql: running.ask(adql) for adql in whole} == whole


def originals(running: Running) -> list[Path]:
    """Where the data files were, by their own list."""
    (version,) = running.archive.manifest().tables["demo.stars"]
    return [Path(url) for url in running.archive.file_urls(version, "data")]


def damage(path: Path, how: str) -> None:
    data = path.read_bytes()
    path.unlink()
    if how == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif how == "noise":
        path.write_bytes(bytes(255 - b for b in data))
    elif how == "blank":  # all its pages; the footer, which tells where they are, is whole
        footer = 8 + int.from_bytes(data[-8:-4], "little")
        path.write_bytes(data[:4] + bytes(len(data) - footer - 4) + data[-footer:])


@pytest.mark.parametrize("how", ["gone", "cut", "noise"])
@pytest.mark.parametrize("name", ["files.parquet", "rowgroups.parquet"])
def test_a_list_of_files_that_is_damaged_is_named_and_a_query_works_when_it_is_back(
    running: Running, tmp_path: Path, name: str, how: str
) -> None:
    (path,) = running.files(f"catalogs/tables/demo/stars/*/{name}")
    shutil.copyfile(path, tmp_path / "kept")
    damage(path, how)
    key = path.relative_to(running.root).as_posix()
    assert running.fails(CONE) == told_list(key)
    shutil.copyfile(tmp_path / "kept", path)
    assert running.ask(EVERYTHING).split() == [b"n", b"3000"]


@pytest.mark.parametrize("how", ["gone", "cut", "noise"])
def test_metadata_that_are_damaged_are_named_to_a_service_that_starts(
    running: Running, tmp_path: Path, how: str
) -> None:
    assert running.ask(EVERYTHING).split() == [b"n", b"3000"]
    (path,) = running.files("catalogs/schemas/*.json")
    damage(path, how)
    with pytest.raises(StoreUnavailable) as caught:
        open_archive(tmp_path).snapshot()
    assert caught.value.text == (
        f"The metadata of a schema are missing from the archive, or damaged. Given: catalogs/schemas/{path.name}. "
        "Allowed: the file that idac wrote. Restore it from a backup of the archive."
    )
    assert running.ask(EVERYTHING).split() == [b"n", b"3000"]  # one that runs has read them


def test_a_manifest_that_is_damaged_under_a_running_service_is_told_until_it_is_back(running: Running) -> None:
    (path,) = running.files("catalogs/manifest.json")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    assert running.fails(CONE) == (
        "The archive's manifest is damaged. Allowed: the JSON file that idac writes. "
        "Restore catalogs/manifest.json of the archive from a backup."
    )
    path.write_bytes(data)
    assert running.ask(EVERYTHING).split() == [b"n", b"3000"]


def test_check_names_what_is_damaged(desk: Desk) -> None:
    (desk.folder / "s.csv").write_text("ra,dec\n1,2\n3,4\n")
    desk.idac("catalog", "add", "s.csv", "--name", "demo.s")
    (path,) = desk.folder.glob("archive/catalogs/tables/demo/s/*/rowgroups.parquet")
    damage(path, "cut")
    done = desk.run("catalog", "check")
    assert done.code == 4
    assert done.out == "demo.s: The list of a table's files is missing from the archive, or damaged\n"
    assert " ".join(done.err.split()) == (
        "Error: 1 thing is not as published in demo.s. "
        "Given: demo.s The list of a table's files is missing from the archive, or damaged. "
        "Restore the files from a backup, or publish the table again with idac catalog replace."
    )
