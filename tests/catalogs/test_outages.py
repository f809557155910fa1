"""An archive whose store is away, or was never whole again after a death: said, shared, and made good."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path

import pytest

from archive_fixture import build_archive, open_archive, publish, small_settings, star_table
from idac.catalogs.archive import Archive
from idac.core.database import open_database
from idac.core.errors import StoreUnavailable
from idac.core.store import FolderStore


def test_an_archive_that_is_not_mounted_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    archive = build_archive(tmp_path, {"demo.stars": star_table(100)})
    assert archive.snapshot().find("demo", "stars") is not None
    (tmp_path / "archive").rename(tmp_path / "elsewhere")
    with pytest.raises(StoreUnavailable) as caught:
        archive.snapshot()
    assert caught.value.text == (
        "The archive of this centre is not there. Try again in a minute; if it lasts, tell the operator."
    )
    (tmp_path / "elsewhere").rename(tmp_path / "archive")
    assert archive.snapshot(fresh=True).find("demo", "stars") is not None


class Counting(FolderStore):
    """A store that is away when it is told to be, and counts who asks."""

    away, asked = False, 0

    def get(self, key: str) -> bytes:
        self.asked += 1
        if self.away:
            raise StoreUnavailable("The store of this centre does not answer.", next_step="Try again in a minute.")
        return super().get(key)


def test_those_who_waited_for_a_store_that_does_not_answer_do_not_all_ask_it_again(tmp_path: Path) -> None:
    build_archive(tmp_path, {"demo.stars": star_table(100)})
    store = Counting(tmp_path / "archive")
    archive = Archive(store, open_database(f"sqlite:///{tmp_path / 'state.db'}"), small_settings())
    archive.snapshot()
    store.away, store.asked = True, 0
    for _ in range(20):
        with pytest.raises(StoreUnavailable) as caught:
            archive.snapshot()
        assert caught.value.text == "The store of this centre does not answer. Try again in a minute."
    assert store.asked < 20
    store.away = False
    assert archive.snapshot(fresh=True).find("demo", "stars") is not None


def test_a_sweep_cut_short_is_finished_by_the_next(tmp_path: Path) -> None:
    archive = build_archive(tmp_path, {"demo.stars": star_table(100)})
    for _ in range(2):
        publish(archive, "demo.stars", star_table(100), replacing=True)

    class Dying(FolderStore):
        def delete_prefix(self, prefix: str) -> int:
            raise KeyboardInterrupt

    settings = small_settings(version_grace_s=0)
    dying = Archive(Dying(tmp_path / "archive"), open_database(f"sqlite:///{tmp_path / 'state.db'}"), settings)
    with pytest.raises(KeyboardInterrupt):
        dying.sweep()
    assert len(list((tmp_path / "archive/catalogs/tables/demo/stars").iterdir())) == 3
    open_archive(tmp_path, settings).sweep()
    assert len(list((tmp_path / "archive/catalogs/tables/demo/stars").iterdir())) == 2


def test_what_a_publisher_left_half_written_goes_when_it_is_old(tmp_path: Path) -> None:
    archive = build_archive(tmp_path, {"demo.stars": star_table(100)})
    left = tmp_path / "archive/catalogs/.new-0123456789abcdef"
    left.write_bytes(b'{"format": 1')
    archive.sweep()
    assert left.exists()
    os.utime(left, (time.time() - 2 * 86400,) * 2)
    archive.sweep()
    assert not left.exists()


def test_a_sweep_clears_up_after_a_publisher_that_died_and_was_the_last(tmp_path: Path) -> None:
    archive = build_archive(tmp_path, {"demo.stars": star_table(100)})
    staging = tmp_path / "archive/catalogs/staging"
    (staging / "dead/0000").mkdir(parents=True)
    (staging / "dead/0000/part.parquet").write_bytes(b"half")
    (staging / "dead.owner").write_text(json.dumps({"host": socket.gethostname(), "pid": 1}))
    archive.sweep()
    assert list(staging.iterdir()) == []
