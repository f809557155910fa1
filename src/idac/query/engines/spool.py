"""Batches on their way from an engine to a reader who may be slow: a few in memory, the rest on disk if there is need.

An engine has few places. A client behind a slow line would keep one for as long as it reads, and two such clients all
places of a lane. So the engine's end of the spool is allowed to run ahead, onto disk, as soon as somebody waits.
"""

from __future__ import annotations

import logging
import os
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

log = logging.getLogger(__name__)

#: Seconds between two looks at whether somebody waits, which nobody tells the spool.
_LOOK_S = 0.1


class Abandoned(Exception):
    """The reader has gone; there is nothing to write for."""


class Budget:
    """Bytes that the waiting rows of all answers together may take, in memory and on disk. Thread-safe.

    Each client may be slow; that there are many of them must cost no more than this.
    """

    def __init__(self, memory_bytes: int, disk_bytes: int) -> None:
        self._lock = threading.Lock()
        self._memory_left, self._disk_left = memory_bytes, disk_bytes

    @property
    def memory_left(self) -> int:
        return self._memory_left

    def take_memory(self, size: int, *, whatever_is_left: bool = False) -> bool:
        """Book *size* bytes; False where there is no room, unless the caller can't do without."""
        with self._lock:
            if size > self._memory_left and not whatever_is_left:
                return False
            self._memory_left -= size
            return True

    def give_memory(self, size: int) -> None:
        with self._lock:
            self._memory_left += size

    def take_disk(self, size: int) -> bool:
        with self._lock:
            if size > self._disk_left:
                return False
            self._disk_left -= size
            return True

    def give_disk(self, size: int) -> None:
        with self._lock:
            self._disk_left += size


@dataclass(frozen=True)
class _OnDisk:
    """A batch in the file."""

    offset: int
    length: int


class BatchSpool:
    """One writer, one reader. Up to *memory_bytes* wait in memory, and *disk_bytes* in a file in *folder*.

    The writer waits where memory is full, unless *hurry* says that somebody needs what the writer holds. *shared*
    bounds all spools together; one that holds nothing may always take one batch, so that every answer goes on.
    """

    def __init__(
        self,
        schema: pa.Schema,
        folder: Path,
        memory_bytes: int,
        disk_bytes: int,
        hurry: Callable[[], bool],
        shared: Budget,
    ) -> None:
        self._schema, self._folder, self._hurry, self._shared = schema, folder, hurry, shared
        self._memory_left, self._disk_left = memory_bytes, disk_bytes
        self._memory_bytes = memory_bytes
        self._disk_booked = 0
        self._changed = threading.Condition()
        self._items: deque[pa.RecordBatch | _OnDisk] = deque()
        self._file: BinaryIO | None = None
        self._written = 0
        self._ended = self._abandoned = False
        self._error: BaseException | None = None
        self._blocked_s = 0.0

    @property
    def blocked_s(self) -> float:
        """Seconds for which the writer has waited for the reader."""
        return self._blocked_s

    @property
    def on_disk(self) -> int:
        """Bytes that went to disk."""
        return self._written

    # -- the writer --------------------------------------------------------------------------------------------------

    def put(self, batch: pa.RecordBatch) -> None:
        """Add a batch; waits for room. Raises Abandoned once the reader has gone."""
        size = int(batch.nbytes)
        if not self._is_kept(batch, size):
            self._spill(batch, size)

    def _is_kept(self, batch: pa.RecordBatch, size: int) -> bool:
        """True once the batch waits in memory, False where it shall go to disk."""
        with self._changed:
            while True:
                if self._abandoned:
                    raise Abandoned
                empty = self._memory_left == self._memory_bytes
                if (size <= self._memory_left or empty) and self._shared.take_memory(size, whatever_is_left=empty):
                    self._memory_left -= size
                    self._items.append(batch)
                    self._changed.notify_all()
                    return True
                if self._disk_left >= size and self._hurry() and self._shared.take_disk(size):
                    self._disk_left -= size
                    self._disk_booked += size
                    return False
                begun = time.monotonic()
                self._changed.wait(_LOOK_S)
                self._blocked_s += time.monotonic() - begun

    def _spill(self, batch: pa.RecordBatch, size: int) -> None:
        data = batch.serialize()
        try:
            if self._file is None:
                self._folder.mkdir(parents=True, exist_ok=True)
                # Without a name: whatever ends this process, nothing is left of it.
                self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115  closed by abandon
            self._file.seek(self._written)
            self._file.write(data)
            self._file.flush()
        except ValueError:
            raise Abandoned from None  # the reader has closed the file
        except OSError:
            log.warning("an answer could not run ahead onto disk", exc_info=True)
            # No room there: the reader's pace is what is left.
            self._disk_left = 0
            self.put(batch)
            return
        with self._changed:
            self._items.append(_OnDisk(self._written, data.size))
            self._written += data.size
            self._changed.notify_all()

    def end(self, error: BaseException | None = None) -> None:
        """No batch comes any more; *error* is raised to the reader after those that are here."""
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify_all()

    # -- the reader --------------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """Every batch in order; ends, or raises the writer's error, when all are read."""
        while (item := self._next()) is not None:
            yield item if isinstance(item, pa.RecordBatch) else self._read(item)

    def _next(self) -> pa.RecordBatch | _OnDisk | None:
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._ended or self._abandoned)
            if self._abandoned or not self._items:
                if self._error is not None and not self._abandoned:
                    raise self._error
                return None
            item = self._items.popleft()
            if isinstance(item, pa.RecordBatch):
                self._forget_memory(int(item.nbytes))
                self._changed.notify_all()
            return item

    def _forget_memory(self, size: int) -> None:
        self._memory_left += size
        self._shared.give_memory(size)

    def _read(self, item: _OnDisk) -> pa.RecordBatch:
        with self._changed:
            if self._file is None:
                raise Abandoned
            number = self._file.fileno()
        data = pa.py_buffer(os.pread(number, item.length, item.offset))
        return pa.ipc.read_record_batch(data, self._schema)

    def abandon(self) -> None:
        """The reader has gone: let the writer know, and forget everything."""
        with self._changed:
            self._abandoned = True
            self._forget_memory(self._memory_bytes - self._memory_left)
            self._items.clear()
            file, self._file = self._file, None
            disk, self._disk_booked = self._disk_booked, 0
            self._changed.notify_all()
        if file is not None:
            with suppress(OSError):
                file.close()
        self._shared.give_disk(disk)
