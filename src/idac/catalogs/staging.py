"""Folders for work in progress, which outlive their owner's death by no more than the next one's start."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from idac.catalogs.settings import IngestSettings
from idac.core.store import Store

STAGING_FOLDER = "catalogs/staging"
_OWNER = "owner.json"
_MOVING = "moving.json"

type Discard = Callable[[list[str]], None]


@contextmanager
def staging_folder(store: Store, settings: IngestSettings, discard: Discard) -> Iterator[Path]:
    """A folder of one's own, gone at the end of the block however it ends; what dead owners left is cleared first.

    For a store in a folder it is inside the store, so that a finished version moves into place by one rename.
    *discard* is given the prefixes that ``note_moves`` listed, and removes those that were never published.
    """
    base = staging_base(store, settings)
    base.mkdir(parents=True, exist_ok=True)
    sweep_staging(base, settings.staging_lease_s, discard)
    folder = base / f"{int(time.time()):x}-{secrets.token_hex(4)}"
    folder.mkdir()
    try:
        with _owned(folder, settings.staging_lease_s):
            yield folder
    finally:
        _clear(folder, discard)


def note_moves(folder: Path, prefixes: Sequence[str]) -> None:
    """Write down what is about to be moved into the store, so that a death on the way leaves nothing behind."""
    with (folder / _MOVING).open("w", encoding="utf-8") as file:
        json.dump(list(prefixes), file)
        file.flush()
        os.fsync(file.fileno())


def _clear(folder: Path, discard: Discard) -> None:
    try:
        moved = json.loads((folder / _MOVING).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        moved = []
    if moved:
        discard(moved)
    shutil.rmtree(folder, ignore_errors=True)


def staging_base(store: Store, settings: IngestSettings) -> Path:
    local = store.local_path(STAGING_FOLDER)
    return local or (settings.spill or Path(tempfile.gettempdir())) / "idac-staging"


@contextmanager
def _owned(folder: Path, lease_s: int) -> Iterator[None]:
    """Hold the folder's lock, which the system frees when this process dies, and refresh its time for other hosts."""
    path = folder / _OWNER
    with path.open("w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        json.dump({"host": socket.gethostname(), "pid": os.getpid()}, file)
        file.flush()
        stop = threading.Event()
        beat = threading.Thread(target=_keep_alive, args=(path, lease_s / 4, stop), daemon=True)
        beat.start()
        try:
            yield
        finally:
            stop.set()
            beat.join()


def _keep_alive(path: Path, interval_s: float, stop: threading.Event) -> None:
    while not stop.wait(interval_s):
        os.utime(path)


def sweep_staging(base: Path, lease_s: int, discard: Discard) -> list[str]:
    """Remove the folders whose owner is dead; gives their names."""
    removed = []
    for folder in sorted(p for p in base.iterdir() if p.is_dir()) if base.is_dir() else []:
        if _is_abandoned(folder, lease_s):
            _clear(folder, discard)
            removed.append(folder.name)
    return removed


def _is_abandoned(folder: Path, lease_s: int) -> bool:
    path = folder / _OWNER
    try:
        with path.open("r+", encoding="utf-8") as file:
            age_s = time.time() - path.stat().st_mtime
            owner = _read_owner(file)
            if owner.get("host") == socket.gethostname():
                return _lock_is_free(file)
            return age_s > lease_s
    except FileNotFoundError:
        # Killed between making the folder and its lock, or doing so at this very moment.
        return _age_s(folder) > lease_s


def _age_s(folder: Path) -> float:
    try:
        return time.time() - folder.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _read_owner(file: IO[str]) -> dict[str, object]:
    try:
        owner = json.load(file)
    except ValueError:
        return {}
    return owner if isinstance(owner, dict) else {}


def _lock_is_free(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
