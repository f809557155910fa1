"""The archive at one moment: an immutable picture that a query is checked, planned and run against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from idac.core.arrays import distinct
from idac.core.rights import ReadRule
from idac.tables.model import Schema, Table

if TYPE_CHECKING:
    from collections.abc import Callable


class RegisteredFile(NamedTuple):
    """How a file that others keep was found when it was registered."""

    bytes: int
    modified_us: int
    """Time of its last change, in microseconds since 1970; 0 where that was not noted."""


@dataclass(frozen=True)
class RowGroupIndex:
    """Where every row group of a HATS catalogue lies on the sky, in arrays: pruning costs no footer read.

    One entry a row group, sorted by ``hpx_min``. Ranges are of ``_healpix_29`` and include both ends.
    """

    files: tuple[str, ...]  # paths or URLs that the engine can open
    file: npt.NDArray[np.int32]  # (n,) index into files
    row_group: npt.NDArray[np.int32]  # (n,) number within the file
    hpx_min: npt.NDArray[np.int64]  # (n,)
    hpx_max: npt.NDArray[np.int64]  # (n,)
    rows: npt.NDArray[np.int64]  # (n,)
    #: Of files that others keep, one for each.
    registered: tuple[RegisteredFile, ...] = ()

    @cached_property
    def total_rows(self) -> int:
        return int(self.rows.sum())

    @cached_property
    def _running_max(self) -> npt.NDArray[np.int64]:
        return np.maximum.accumulate(self.hpx_max) if len(self.hpx_max) else self.hpx_max

    def select(self, ranges: npt.NDArray[np.int64]) -> npt.NDArray[np.intp]:
        """Entries that touch any of *ranges*, an (m, 2) array of order-29 pixels, half-open, sorted, disjoint.

        Costs O((m + hits) log n), or O(n log m) where there are more ranges than entries.
        """
        if len(ranges) == 0 or len(self.hpx_min) == 0:
            return np.empty(0, dtype=np.intp)
        if len(ranges) > len(self.hpx_min):
            # The first range that ends behind the entry's beginning is the first that may touch it.
            nearest = np.searchsorted(ranges[:, 1], self.hpx_min, side="right")
            begins = np.append(ranges[:, 0], np.iinfo(np.int64).max)[nearest]
            return np.flatnonzero(begins <= self.hpx_max)
        # hpx_max need not be monotonic (a margin or foreign file may overlap), its running maximum is.
        first = np.searchsorted(self._running_max, ranges[:, 0], side="left")
        last = np.searchsorted(self.hpx_min, ranges[:, 1], side="left")
        picked = [
            i + np.flatnonzero(self.hpx_max[i:j] >= low)
            for i, j, low in zip(first, last, ranges[:, 0], strict=True)
            if j > i
        ]
        return distinct(np.concatenate(picked)) if picked else np.empty(0, dtype=np.intp)


@dataclass(frozen=True)
class HatsStorage:
    """Rows in a HATS catalogue, sorted by ``_healpix_29``."""

    root: str  # folder or URL of the catalogue inside its collection
    rows: int
    bytes: int
    load_index: Callable[[], RowGroupIndex]  # cached by the archive; never touches the data files
    margin_arcsec: float | None = None
    margin_files: Sequence[str] = ()
    #: Side index for the id column: Parquet sorted by id with (id, _healpix_29); None where no id column was named.
    id_index_files: Sequence[str] = ()
    #: Physical column that holds the HEALPix index; in the files, and not among the table's columns unless published.
    healpix_column: str = "_healpix_29"
    #: Whether numbers may be NaN where NULL is meant: files that others wrote. Ours hold none.
    may_hold_nan: bool = False

    @cached_property
    def index(self) -> RowGroupIndex:
        return self.load_index()


@dataclass(frozen=True)
class PlainStorage:
    """Rows in Parquet files of no spatial order: tables without positions, and uploads."""

    files: Sequence[str]
    rows: int
    bytes: int


@dataclass(frozen=True)
class MemoryStorage:
    """Rows held in memory: TAP_SCHEMA itself, and nothing of unbounded size."""

    data: pa.Table

    @property
    def rows(self) -> int:
        return int(self.data.num_rows)


type Storage = HatsStorage | PlainStorage | MemoryStorage


@dataclass(frozen=True)
class TableEntry:
    """A published table: its metadata, where its rows are, and which version of them this picture shows."""

    table: Table
    storage: Storage
    version: str


@dataclass(frozen=True)
class CatalogSnapshot:
    """Everything published at *generation*. Two snapshots of one generation are equal in content.

    Holds TAP_SCHEMA too, as tables in memory derived from the rest.
    """

    generation: str
    schemas: tuple[Schema, ...]
    entries: Mapping[tuple[str, str], TableEntry] = field(repr=False)  # keys are lower-case (schema, table)
    #: Read rules that publishers attached, as ``RightsPolicy.published`` has them.
    rules: Mapping[str, ReadRule] = field(default_factory=dict)

    def find(self, schema: str, table: str) -> TableEntry | None:
        return self.entries.get((schema.lower(), table.lower()))

    def with_uploads(self, uploads: Mapping[str, TableEntry]) -> CatalogSnapshot:
        """This picture plus one request's ``TAP_UPLOAD`` tables, named by *uploads*' keys."""
        if not uploads:
            return self
        schema = Schema("TAP_UPLOAD", tuple(e.table for e in uploads.values()))
        added = {("tap_upload", name.lower()): entry for name, entry in uploads.items()}
        return replace(self, schemas=(*self.schemas, schema), entries={**self.entries, **added})

    def with_rules_of(self, later: CatalogSnapshot) -> CatalogSnapshot:
        """This picture's tables, with the read rules of a later one: for a query that is still running."""
        if self.rules == later.rules:
            return self
        return replace(self, generation=f"{self.generation} under {later.generation}", rules=later.rules)
