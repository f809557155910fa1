"""Catalogues that are served from where others keep them: are their files still those that were registered?

Of ours, none ever changes. What is known of theirs (which row groups lie where, how many rows there are, what was read
and kept) holds for the files that were looked at; so these are looked at again for each query.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from time import monotonic

import numpy as np

from idac.catalogs.snapshot import HatsStorage, RegisteredFile
from idac.core.errors import BadData, StoreUnavailable
from idac.query.engines.parquet_files import Footer, ParquetFiles, Stamp, stamp_of, unreadable
from idac.query.resolved import TableUse
from idac.tables.arrow import type_from_arrow
from idac.tables.model import Column, DataType

#: Files of a table up to which all are looked at for each query; of more, once in so many seconds.
_FEW_FILES, _PATIENCE_S = 256, 1.0
#: Microseconds by which the time of a change may have been rounded when it was noted.
_ROUNDED_US = 2
#: Versions of tables that are known.
_MOST_VERSIONS = 1_000


@dataclass(frozen=True)
class _Known:
    """How the files of a version were found; *state* names that."""

    state: str
    stamps: tuple[Stamp | None, ...]
    at_s: float


class RegisteredFiles:
    """Thread-safe."""

    def __init__(self, files: ParquetFiles) -> None:
        self._files = files
        self._lock = threading.Lock()
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._changes = 0

    def state(self, use: TableUse) -> str:
        """A name for the table's files as they are: another one once any of them is another file.

        Raises StoreUnavailable where a file has other row groups than when it was registered. One that is gone is for
        who reads it to tell.
        """
        version, storage = use.entry.version, self._registered(use)
        if storage is None:
            return version
        files = storage.index.files
        with self._lock:
            known = self._known.get(version)
        if known is not None and len(files) > _FEW_FILES and monotonic() < known.at_s + _PATIENCE_S:
            return known.state
        stamps = tuple(_stamp(path) for path in files)
        if known is None:
            changed = [n for n, stamp in enumerate(stamps) if _is_another(stamp, storage.index.registered[n])]
        else:
            changed = [n for n, stamp in enumerate(stamps) if stamp != known.stamps[n]]
        self._require_registered(use, storage, [number for number in changed if stamps[number] is not None])
        return self._note(version, known, stamps, is_changed=bool(changed))

    def watch(self, uses: Sequence[TableUse]) -> Callable[[], None]:
        """What raises StoreUnavailable once a file of these tables is another one than now."""
        states = [(use, storage, self.state(use)) for use in uses if (storage := self._registered(use)) is not None]

        def require_same() -> None:
            for use, storage, state in states:
                self.require_still(use, state, range(len(storage.index.files)))

        return require_same

    def require_still(self, use: TableUse, state: str, numbers: Iterable[int]) -> None:
        """Raises StoreUnavailable where a file of those *numbers* is another one than in *state*.

        What was read of it may be of either.
        """
        storage = self._registered(use)
        if storage is None:
            return
        with self._lock:
            known = self._known.get(use.entry.version)
        if known is None or known.state != state:
            raise unreadable()
        if any(_stamp(storage.index.files[number]) != known.stamps[number] for number in numbers):
            raise unreadable()

    def _registered(self, use: TableUse) -> HatsStorage | None:
        """Where the rows of a table lie whose files can change; None for other tables.

        In a store a look at each file is a request, which is more than to read of it. The index comes last: that of a
        large table of ours is not read for what needs none.
        """
        storage = use.entry.storage
        if (
            not isinstance(storage, HatsStorage)
            or not storage.may_hold_nan
            or not self._files.are_local([storage.root])
        ):
            return None
        return storage if storage.index.registered else None

    def _require_registered(self, use: TableUse, storage: HatsStorage, numbers: Sequence[int]) -> None:
        for number in numbers:
            footer = self._files.footer(storage.index.files[number])
            entries = np.flatnonzero(storage.index.file == number)
            entries = entries[np.argsort(storage.index.row_group[entries])]
            # Where a footer tells no bounds, those registered are of the whole pixel.
            if (
                not np.array_equal(footer.rows, storage.index.rows[entries])
                or any(
                    footer.bounds(storage.healpix_column, group)
                    not in (None, (storage.index.hpx_min[entry], storage.index.hpx_max[entry]))
                    for group, entry in enumerate(entries)
                )
                or not all(_holds(footer, column) for column in use.entry.table.columns)
            ):
                table = use.entry.table.qualified_name
                raise StoreUnavailable(
                    f"The files of {table} are not those that were registered: their owners have changed them.",
                    next_step="Tell the operator, who can register them again: "
                    f"idac catalog replace FOLDER --name {table}",
                )

    def _note(self, version: str, known: _Known | None, stamps: tuple[Stamp | None, ...], *, is_changed: bool) -> str:
        with self._lock:
            newest = self._known.get(version)
            if newest is not None and newest is not known and newest.stamps == stamps:
                # Somebody else has looked meanwhile.
                return newest.state
            if known is not None and newest is known and not is_changed:
                state = known.state
            else:
                self._changes += 1
                state = f"{version} {self._changes}"
            self._known[version] = _Known(state, stamps, monotonic())
            self._known.move_to_end(version)
            while len(self._known) > _MOST_VERSIONS:
                self._known.popitem(last=False)
        return state


def _is_another(stamp: Stamp | None, registered: RegisteredFile) -> bool:
    if stamp is None:
        return False
    size, modified_ns, _ = stamp
    was_noted = registered.modified_us > 0
    return size != registered.bytes or (was_noted and abs(modified_ns // 1000 - registered.modified_us) > _ROUNDED_US)


def _holds(footer: Footer, column: Column) -> bool:
    """Whether a file has a column as it was registered, though its numbers may be shorter or longer ones."""
    kind = footer.types.get(column.name)
    if kind is None:
        return False
    try:
        found = type_from_arrow(kind, column.name)
    except BadData:
        return False
    return _kind(found) == _kind(column.type)


def _kind(kind: DataType) -> tuple[bool, ...]:
    return kind.is_integer, kind.is_numeric, kind.is_string, kind.is_timestamp


def _stamp(path: str) -> Stamp | None:
    """None for a file that is gone."""
    try:
        return stamp_of(os.stat(path))  # noqa: PTH116 - a Path would cost as much again
    except OSError:
        return None
