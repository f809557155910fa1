"""Groups that publishers name, as identity asks for them with every request: true soon, and never waited for twice."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from archive_fixture import build_archive, open_archive, star_table
from idac.catalogs.access import AccessChange
from idac.catalogs.archive import Archive
from idac.catalogs.snapshot import CatalogSnapshot
from idac.core.errors import StoreUnavailable
from idac.core.rights import ReadRule
from idac.wiring.published_groups import PublishedGroups


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return build_archive(tmp_path, {"demo.stars": star_table(50)})


def attach(archive: Archive, *groups: str) -> None:
    change = AccessChange(ReadRule.of(groups), lambda *_: None)
    archive.change(lambda manifest: change.applied_to_known("demo", manifest))


def test_what_is_attached_is_seen(archive: Archive) -> None:
    published = PublishedGroups(archive)
    assert published.lately() == published.now() == frozenset()
    attach(archive, "team", "staff")
    assert published.lately() == published.now() == {"team", "staff"}


def test_what_was_seen_last_holds_while_the_archive_is_away(archive: Archive, tmp_path: Path) -> None:
    attach(archive, "team")
    published = PublishedGroups(archive)
    published.lately()
    (tmp_path / "archive").rename(tmp_path / "elsewhere")
    attached = PublishedGroups(archive)
    with pytest.raises(StoreUnavailable):
        published.now()
    with pytest.raises(StoreUnavailable):
        attached.lately()
    assert published.lately() == {"team"}
    (tmp_path / "elsewhere").rename(tmp_path / "archive")
    assert published.now() == attached.lately() == {"team"}


class SlowArchive(Archive):
    """An archive that answers when it is told to, from its second look on."""

    def __init__(self, archive: Archive) -> None:
        self.inner = archive
        self.looks = 0
        self.asked, self.may_answer = threading.Event(), threading.Event()

    def snapshot(self, *, fresh: bool = False) -> CatalogSnapshot:
        self.looks += 1
        if self.looks > 1:
            self.asked.set()
            assert self.may_answer.wait(60)
        return self.inner.snapshot(fresh=fresh)


def test_nobody_waits_for_the_look_of_another(archive: Archive, tmp_path: Path) -> None:
    slow = SlowArchive(archive)
    published = PublishedGroups(slow)
    assert published.lately() == frozenset()
    attach(open_archive(tmp_path), "team")
    found: list[frozenset[str]] = []
    looking = threading.Thread(target=lambda: found.append(published.lately()))
    looking.start()
    assert slow.asked.wait(60)
    assert published.lately() == frozenset()
    slow.may_answer.set()
    looking.join(60)
    assert found == [{"team"}]
