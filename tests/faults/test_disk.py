"""A disk that is full or closed: at every step of publishing, and under results."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from archive_fixture import TableData, publish, small_settings, star_table
from idac.catalogs.archive import Archive
from idac.catalogs.felis import write_felis
from idac.catalogs.ingest import IngestChoices
from idac.core.database import open_database
from idac.core.errors import ResourceExhausted, StoreUnavailable
from idac.core.store import FolderStore
from services.desk import Desk, SmallDisk

FULL = (
    "The disk is full, so the table was not published; the unfinished files were removed. "
    "Allowed: about three times the table's size in free space. "
    "Free some space, or set catalogs.ingest.spill to a folder on a larger disk."
)
#: Where the room ends while the few kilobytes of words and manifest are written.
FULL_AT_THE_END = "The disk is full, so nothing was written. Free some space, or tell the operator."
CLOSED = (
    "A folder that publishing needs can't be written to, so nothing was published. Given: Read-only file system. "
    "Allowed: an archive, a spill folder and a rejects file that the user who runs idac may write. "
    "Check their owners and permissions, and whether the disk is mounted read-only."
)


def archive_on(disk: Path, state: Path) -> Archive:
    database = open_database(f"sqlite:///{state / 'state.db'}")
    return Archive(FolderStore(disk / "archive"), database, small_settings(version_grace_s=0, keep_versions=0))


def files_of(disk: Path) -> dict[str, bytes]:
    return {
        path.relative_to(disk).as_posix(): path.read_bytes()
        for path in disk.rglob("*")
        if path.is_file() and path.name != "filler"
    }


def test_a_full_disk_at_any_step_of_publishing_leaves_every_file_as_it_was(
    small_disk: SmallDisk, tmp_path: Path
) -> None:
    """The room left grows from nothing to just enough, so that every step in turn is the one that meets the end."""
    archive = archive_on(small_disk.folder, tmp_path)
    publish(archive, "demo.stars", TableData(star_table(500), choices=IngestChoices(id="id")))
    before = files_of(small_disk.folder)
    new = TableData(star_table(700, seed=2), description="New words", choices=IngestChoices(id="id"))
    texts = []
    for pages in range(100):
        with small_disk.leaving(pages):
            try:
                publish(archive, "demo.stars", new, replacing=True)
                break
            except ResourceExhausted as error:
                texts.append(error.text)
        assert files_of(small_disk.folder) == before, pages
    assert set(texts) <= {FULL, FULL_AT_THE_END}
    assert texts.count(FULL) > 5
    entry = archive.snapshot(fresh=True).find("demo", "stars")
    assert entry is not None
    assert entry.storage.rows == 700


def test_a_full_disk_is_told_to_the_publisher_and_the_archive_goes_on(desk: Desk, small_disk: SmallDisk) -> None:
    (desk.folder / "archive").symlink_to(small_disk.folder)
    pq.write_table(star_table(300), desk.folder / "few.parquet")
    pq.write_table(star_table(150_000), desk.folder / "many.parquet")
    desk.idac("catalog", "add", "few.parquet", "--name", "demo.few")
    with small_disk.leaving(100):
        assert desk.refused(8, "catalog", "add", "many.parquet", "--name", "demo.many") == FULL
        assert desk.refused(8, "catalog", "replace", "many.parquet", "--name", "demo.few") == FULL
        assert desk.idac("query", "SELECT COUNT(*) AS n FROM demo.few", "--format", "csv").split() == ["n", "300"]


def test_a_result_that_finds_the_disk_full_is_removed_and_told(desk: Desk, small_disk: SmallDisk) -> None:
    pq.write_table(star_table(20_000), desk.folder / "stars.parquet")
    desk.idac("catalog", "add", "stars.parquet", "--name", "demo.stars")
    (desk.folder / "out").symlink_to(small_disk.folder)
    with small_disk.leaving(20):
        text = desk.refused(8, "query", "SELECT * FROM demo.stars", "-o", "out/stars.csv")
    assert text in (
        "The result can't be written. Given: No space left on device. Free some disk space, or write elsewhere.",
        "The result can't be written. Given: File too large. Free some disk space, or write elsewhere.",
    )
    assert list(small_disk.folder.iterdir()) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda archive: publish(archive, "demo.more", star_table(50)),
        lambda archive: publish(archive, "demo.stars", star_table(50), replacing=True),
        lambda archive: archive.drop("demo", "stars", write_felis),
    ],
    ids=["add", "replace", "drop"],
)
def test_an_archive_that_may_not_be_written_to_is_still_read(
    read_only: Callable[[Path], None], tmp_path: Path, change: Callable[[Archive], object]
) -> None:
    disk = tmp_path / "disk"
    archive = archive_on(disk, tmp_path)
    publish(archive, "demo.stars", star_table(200))
    before = files_of(disk)
    read_only(disk)
    with pytest.raises(StoreUnavailable) as caught:
        change(archive)
    refused = "The store of this centre refuses access. Given: {}. Tell the operator: the user who runs idac must be " \
        "able to read and write it."  # fmt: skip
    words = ("Read-only file system", "Permission denied")
    known = {text for word in words for text in (CLOSED.replace(words[0], word), refused.format(word))}
    assert caught.value.text in known
    assert files_of(disk) == before
    entry = archive_on(disk, tmp_path).snapshot().find("demo", "stars")
    assert entry is not None
    assert entry.storage.rows == 200
