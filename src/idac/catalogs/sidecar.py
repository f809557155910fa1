"""What a version keeps beside its data so that no query reads a footer: its files, and its row groups on the sky.

Both are small Parquet files, read the first time a query needs them; a service that starts reads neither.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import overload

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from idac.catalogs.hats import RowGroups, WrittenFile
from idac.catalogs.snapshot import RegisteredFile, RowGroupIndex
from idac.core.errors import NotFound, StoreUnavailable
from idac.core.store import Store

FILES_NAME = "files.parquet"
ROW_GROUPS_NAME = "rowgroups.parquet"


class LazyFiles(Sequence[str]):
    """A list of files that is read when first looked at; a table of 40 000 files costs a service's start nothing."""

    def __init__(self, load: Callable[[], tuple[str, ...]]) -> None:
        self._load = load
        self._loaded: tuple[str, ...] | None = None

    @property
    def _files(self) -> tuple[str, ...]:
        if self._loaded is None:
            self._loaded = self._load()
        return self._loaded

    def __len__(self) -> int:
        return len(self._files)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[str, ...]: ...
    def __getitem__(self, index: int | slice) -> str | tuple[str, ...]:
        return self._files[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self._files == tuple(other)

    def __hash__(self) -> int:
        return hash(self._files)


def write_sidecars(folder: Path, files: Sequence[WrittenFile], row_groups: Sequence[RowGroups]) -> None:
    """*row_groups* belong to the data files of *files*, in their order."""
    table = pa.table(
        {
            "path": [f.path for f in files],
            "kind": [f.kind for f in files],
            "rows": pa.array([f.rows for f in files], pa.int64()),
            "bytes": pa.array([f.bytes for f in files], pa.int64()),
            "sha256": [f.sha256 for f in files],
            "modified_us": pa.array([f.modified_us for f in files], pa.int64()),
        }
    )
    pq.write_table(table, folder / FILES_NAME, compression="zstd")
    if row_groups:
        _write_row_groups(folder / ROW_GROUPS_NAME, row_groups)


def _write_row_groups(path: Path, row_groups: Sequence[RowGroups]) -> None:
    sizes = [len(g.rows) for g in row_groups]
    file = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    number = np.concatenate([np.arange(n, dtype=np.int32) for n in sizes])
    low, high, rows = (np.concatenate([getattr(g, k) for g in row_groups]) for k in ("hpx_min", "hpx_max", "rows"))
    order = np.lexsort((high, low))
    columns = {"file": file, "row_group": number, "hpx_min": low, "hpx_max": high, "rows": rows}
    pq.write_table(pa.table({name: values[order] for name, values in columns.items()}), path, compression="zstd")


def read_files(store: Store, prefix: str) -> list[WrittenFile]:
    """The files of the version at *prefix*. Raises StoreUnavailable where their list is missing or damaged."""
    return [WrittenFile(**row) for row in _read(store, f"{prefix}/{FILES_NAME}").to_pylist()]


def read_row_groups(
    store: Store, prefix: str, files: Iterable[str], registered: Iterable[RegisteredFile] = ()
) -> RowGroupIndex:
    """*files* are the addresses of the version's data files, in the order of its list.

    Raises StoreUnavailable where the index is missing or damaged.
    """
    table = _read(store, f"{prefix}/{ROW_GROUPS_NAME}")
    arrays = {name: table.column(name).to_numpy() for name in table.column_names}
    return RowGroupIndex(tuple(files), **arrays, registered=tuple(registered))


def _read(store: Store, key: str) -> pa.Table:
    try:
        return pq.read_table(io.BytesIO(store.get(key)))
    except (NotFound, OSError, pa.ArrowException):
        raise StoreUnavailable(
            "The list of a table's files is missing from the archive, or damaged.",
            value=key,
            allowed="the file that idac wrote",
            next_step="Restore it from a backup of the archive, or publish the table again with idac catalog replace.",
        ) from None
