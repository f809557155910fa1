"""Scratch folders of this machine, which outlive their owner's death by no more than the next one's start."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

_OWNER = ".owner"
#: Longer than it takes from making a folder to locking its owner's file.
_UNOWNED_S = 3600


@dataclass(frozen=True)
class Scratch:
    """A folder of one's own, gone with ``close``, or at the next ``open_scratch`` after its owner died."""

    path: Path
    _lock: int

    def close(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def open_scratch(parent: Path | None, name: str) -> Scratch:
    """A new folder ``name-…`` in *parent* (default: the system's temporary folder), beside which dead ones are cleared.

    Its owner holds a lock that the system frees when the process ends, however that happens.
    """
    parent = parent or Path(tempfile.gettempdir())
    parent.mkdir(parents=True, exist_ok=True)
    sweep_scratch(parent, name)
    while True:
        path = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=parent))
        lock = os.open(path / _OWNER, os.O_RDWR | os.O_CREAT, 0o600)
        if _is_free(lock):
            return Scratch(path, lock)
        os.close(lock)  # someone who clears up was quicker, and is removing it


def sweep_scratch(parent: Path, name: str) -> list[Path]:
    """Remove this user's folders ``name-…`` whose owner is dead; gives them."""
    return [path for path in parent.glob(f"{name}-*") if _is_own_folder(path) and _is_removed(path)]


def _is_own_folder(path: Path) -> bool:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()


def _is_removed(path: Path) -> bool:
    try:
        lock = os.open(path / _OWNER, os.O_RDWR | os.O_NOFOLLOW)
    except OSError:
        # Its owner died before it made the file, or is about to make it.
        old = path.exists() and path.lstat().st_mtime < time.time() - _UNOWNED_S
        if old:
            shutil.rmtree(path, ignore_errors=True)
        return old
    try:
        free = _is_free(lock)
        if free:
            shutil.rmtree(path, ignore_errors=True)
        return free
    finally:
        os.close(lock)


def _is_free(lock: int) -> bool:
    """True where nobody held the lock; it is held by *lock* then."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
