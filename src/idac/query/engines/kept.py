"""What stays in memory of what was read from files: row groups where people look most, and columns that are summed up
again and again. Each has a room of its own, so that neither pushes the other out.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

#: The path of a file, and what tells a part of it from others.
type Key = tuple[str, *tuple[Any, ...]]

#: Times from which on a thing is worth keeping.
_OFTEN = 3
#: Parts of the room; what would fill more than one of them pushes too much out.
_PARTS = 16
#: Bytes that are taken to keep a thing, beside its own.
ENTRY_BYTES = 1024


@dataclass(frozen=True)
class _Entry:
    value: Any
    bytes: int
    used: float


class Kept:
    """What was used last, up to *limit_bytes*. Thread-safe."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._lock = threading.Lock()
        self._entries: OrderedDict[Key, _Entry] = OrderedDict()
        self._bytes = 0

    @property
    def bytes(self) -> int:
        return self._bytes

    @property
    def has_room(self) -> bool:
        """False where nothing is ever kept."""
        return self._limit > 0

    def get(self, key: Key) -> Any:
        """What is kept there; None for nothing."""
        with self._lock:
            found = self._entries.pop(key, None)
            if found is None:
                return None
            self._entries[key] = _Entry(found.value, found.bytes, time.monotonic())
            return found.value

    def put(self, key: Key, value: Any, size: int, since: float | None = None) -> None:
        """Keep *value* of so many bytes in place of what was used longest ago: only of what was not used *since* then.

        Without that last bound, who scans more than there is room for would push everything out, and find nothing of
        it when the scan begins anew.
        """
        size += ENTRY_BYTES
        with self._lock:
            self._drop(key)
            if size * _PARTS > self._limit:
                return
            going = self._to_make_room(size)
            if since is not None and any(self._entries[old].used > since for old in going):
                return
            for old in going:
                self._drop(old)
            self._entries[key] = _Entry(value, size, time.monotonic())
            self._bytes += size

    def _to_make_room(self, size: int) -> list[Key]:
        """What has to go, the oldest first."""
        found, lacking = [], self._bytes + size - self._limit
        for key, entry in self._entries.items():
            if lacking <= 0:
                break
            found.append(key)
            lacking -= entry.bytes
        return found

    def forget(self, path: str) -> None:
        """Drop what came from a file that can't be read any more."""
        with self._lock:
            for key in [k for k in self._entries if k[0] == path]:
                self._drop(key)

    def _drop(self, key: Key) -> None:
        old = self._entries.pop(key, None)
        if old is not None:
            self._bytes -= old.bytes


class Asked:
    """The *most* things that were asked for lately, and how often. Thread-safe."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._times: OrderedDict[Key, tuple[int, float]] = OrderedDict()

    def often_before(self, key: Key) -> float | None:
        """When this was asked for before, from the third time on; None for what is asked for rarely, or was long ago.

        It counts as asked for now.
        """
        with self._lock:
            times, before = self._times.pop(key, (0, 0.0))
            self._times[key] = times + 1, time.monotonic()
            if len(self._times) > self._most:
                self._times.popitem(last=False)
            return before if times + 1 >= _OFTEN else None
