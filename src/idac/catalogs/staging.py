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
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from idac.catalogs.settings import IngestSettings
from idac.core.store import Store

STAGING_FOLDER = "catalogs/staging"
_MOVING = "moving.json"

#: Longer than it takes to write a line.
_WRITING_S = 60

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
    with _owned(_lock_of(folder), settings.staging_lease_s):
        try:
            folder.mkdir()
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


def _lock_of(folder: Path) -> Path:
    """The file beside *folder* that its owner keeps locked; made before the folder, and removed after it."""
    return folder.with_name(f"{folder.name}.owner")


@contextmanager
def _owned(path: Path, lease_s: int) -> Iterator[None]:
    """Hold the lock, which the system frees when this process dies, and refresh its file's time for other hosts."""
    with ExitStack() as stack:
        file = stack.enter_context(path.open("w", encoding="utf-8"))
        stack.callback(path.unlink, missing_ok=True)
        fcntl.flock(file, fcntl.LOCK_EX)
        json.dump({"host": socket.gethostname(), "pid": os.getpid()}, file)
        file.flush()
        stop = threading.Event()
        beat = threading.Thread(target=_keep_alive, args=(path, lease_s / 4, stop), daemon=True)
        beat.start()
        stack.callback(beat.join)
        stack.callback(stop.set)
        yield


def _keep_alive(path: Path, interval_s: float, stop: threading.Event) -> None:
    while not stop.wait(interval_s):
        os.utime(path)


def sweep_staging(base: Path, lease_s: int, discard: Discard) -> list[str]:
    """Remove the folders whose owner is dead; gives their names."""
    removed = []
    for lock in sorted(base.glob("*.owner")):
        if _is_abandoned(lock, lease_s):
            _clear(lock.with_suffix(""), discard)
            lock.unlink(missing_ok=True)
            removed.append(lock.stem)
    return removed


def _is_abandoned(lock: Path, lease_s: int) -> bool:
    try:
        with lock.open("r+", encoding="utf-8") as file:
            age_s = time.time() - lock.stat().st_mtime
            owner = _read_owner(file)
            if owner.get("host") == socket.gethostname():
                return _is_free(file)
            # Without a name its owner died while writing it, or is doing so at this very moment.
            return age_s > (lease_s if owner else _WRITING_S) and _is_free(file)
    except FileNotFoundError:
        return False


def _read_owner(file: IO[str]) -> dict[str, object]:
    try:
        owner = json.load(file)
    except ValueError:
        return {}
    return owner if isinstance(owner, dict) else {}


def _is_free(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
