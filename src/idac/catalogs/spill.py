"""Sorted rows in a file on disk: appended run by run, read back by range into buffers of bounded size.

Read and not mapped: pages of a mapped file count as resident memory of whoever touches them, and a container is ended
for that. The system's cache holds what was written as long as it has room, and nobody is charged for it.
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from idac.core.arrays import distinct

type Keys = npt.NDArray[np.int64]
type Places = npt.NDArray[np.int64]

_KEY_BYTES = 8
#: About what a block holds: small, since a range takes whole blocks; not so small that reading is all calls.
_BLOCK_BYTES = 64 << 10


class SpillFile:
    """Two files in *folder*: the keys as they are, and the rows in blocks of Arrow's IPC format.

    Two for all runs together, since a process may open only so many. Reading is safe from several threads.
    """

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        self.schema = schema
        folder.mkdir(parents=True, exist_ok=True)
        self._keys = (folder / "keys").open("w+b")
        self._rows = (folder / "rows").open("w+b")

    def append(self, keys: Keys, rows: pa.Table) -> SpilledRun:
        """Write one run behind the others."""
        keys_at, at = self._keys.tell(), self._rows.tell()
        keys.tofile(self._keys)
        block_rows = int(np.clip(_BLOCK_BYTES * len(keys) // max(rows.nbytes, 1), 64, 8_192))
        offsets = [at]
        for batch in rows.combine_chunks().to_batches(max_chunksize=block_rows):
            at += self._rows.write(batch.serialize())
            offsets.append(at)
        self._keys.flush()
        self._rows.flush()
        return SpilledRun(self, keys, block_rows, keys_at, np.array(offsets))

    def read_keys(self, at: int, count: int) -> Keys:
        return np.frombuffer(_read(self._keys.fileno(), at, count * _KEY_BYTES), np.int64)

    def read_rows(self, offsets: Places) -> list[pa.RecordBatch]:
        """The blocks between each of *offsets* and the next, in one read."""
        data = _read(self._rows.fileno(), int(offsets[0]), int(offsets[-1] - offsets[0]))
        ends = (offsets - offsets[0]).tolist()
        parts = (data.slice(low, high - low) for low, high in itertools.pairwise(ends))
        return [pa.ipc.read_record_batch(part, self.schema) for part in parts]

    def close(self) -> None:
        self._keys.close()
        self._rows.close()


def _read(file: int, at: int, size: int) -> pa.Buffer:
    """*size* bytes from *at*, in memory of Arrow's pool, which gives it back sooner than Python's does."""
    buffer = pa.allocate_buffer(size)
    view = memoryview(buffer)
    done = 0
    while done < size:
        count = os.preadv(file, [view[done:]], at + done)
        if not count:
            raise OSError(f"a spilled file ends {size - done} bytes too early")
        done += count
    return buffer


class SpilledRun:
    """One run of a SpillFile. Memory holds the first key of each block alone."""

    spilled = True

    def __init__(self, file: SpillFile, keys: Keys, block_rows: int, keys_at: int, offsets: Places) -> None:
        self._file = file
        self._keys_at = keys_at
        self._offsets = offsets
        self._block_rows = block_rows
        self._block_keys = keys[::block_rows].copy()
        self.num_rows = len(keys)
        self.last_key = int(keys[-1])
        self.nbytes = int(offsets[-1] - offsets[0]) + keys.nbytes

    def places(self, keys: Keys) -> Places:
        """For each of *keys*, the number of rows of this run with a smaller one."""
        wanted, back = np.unique(keys, return_inverse=True)
        # The last block that begins below the key holds the place, or ends at it.
        blocks = np.searchsorted(self._block_keys, wanted) - 1
        found = np.zeros(len(wanted), np.int64)
        for block in distinct(blocks[blocks >= 0]).tolist():
            low, high = np.searchsorted(blocks, (block, block + 1)).tolist()
            first = block * self._block_rows
            inside = self.keys(first, min(first + self._block_rows, self.num_rows))
            found[low:high] = first + np.searchsorted(inside, wanted[low:high])
        places: Places = found[back]
        return places

    def keys(self, first: int, last: int) -> Keys:
        return self._file.read_keys(self._keys_at + first * _KEY_BYTES, last - first)

    def some_keys(self, step: int) -> Keys:
        """About every *step*-th key; not closer than the blocks are."""
        return self._block_keys[:: max(step // self._block_rows, 1)]

    def rows(self, first: int, last: int) -> pa.Table:
        """Rows *first* to before *last*."""
        begin, end = first // self._block_rows, -(-last // self._block_rows)
        batches = self._file.read_rows(self._offsets[begin : end + 1])
        return pa.Table.from_batches(batches, self._file.schema).slice(first - begin * self._block_rows, last - first)

    def sample(self) -> pa.Table:
        return self.rows(0, min(self.num_rows, max(self._block_rows, 65_536)))
