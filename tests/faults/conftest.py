"""The desk that faults are met at, and a disk that can be filled."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from command_fixture import command_runner
from services.desk import Desk, SmallDisk


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Desk:
    """A new centre's desk."""
    folder = tmp_path / "desk"
    folder.mkdir()
    (folder / "dac.yaml").write_text("catalogs:\n  default_read: [public]\n")
    monkeypatch.chdir(folder)

    return Desk(folder, command_runner(monkeypatch, capsys))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A file system of its own with 4 MiB, where this user may mount one."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount, umount = shutil.which("mount"), shutil.which("umount")
    command = [mount or "mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    own = mount is not None and subprocess.run(command, capture_output=True, check=False).returncode == 0
    try:
        yield SmallDisk(folder, own)
    finally:
        if own:
            subprocess.run([umount or "umount", "-l", str(folder)], check=True)


@pytest.fixture
def read_only() -> Iterator[Callable[[Path], None]]:
    """Closes a folder to writing: by a mount where this user may, since root writes where permissions forbid it."""
    undo: list[Callable[[], object]] = []

    def close(folder: Path) -> None:
        mount = shutil.which("mount") or "mount"
        bind = [[mount, "--bind", str(folder), str(folder)], [mount, "-o", "remount,bind,ro", str(folder)]]
        if all(subprocess.run(c, capture_output=True, check=False).returncode == 0 for c in bind):
            umount = shutil.which("umount") or "umount"
            undo.append(lambda: subprocess.run([umount, "-l", str(folder)], check=True))
            return
        for path in (folder, *(p for p in folder.rglob("*") if p.is_dir())):
            path.chmod(0o555)
            undo.append(partial(path.chmod, 0o755))

    yield close
    for each in undo:
        each()
