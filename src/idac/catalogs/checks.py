"""What every row must pass on its way in: a valid position, an id of its own; and where those go that do not."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from idac.catalogs.metadata import Conversion
from idac.core.errors import BadData, BadParameter
from idac.sky.healpix import healpix29
from idac.tables.model import Column, Table
from idac.tables.writers.packing import is_ascii

_EXAMPLES = 5
_FACTORS: dict[Conversion, float] = {"none": 1.0, "radian": 180 / np.pi, "hour": 15.0}

type Mask = npt.NDArray[np.bool_]


class Rejects:
    """Rows without a valid position: counted with examples, and written to a file where one was asked for.

    Without a file they end the ingest, after the whole source was read, so that the count is the true one. The file
    takes its name when the block ends well, where there were such rows; raises BadParameter where it can't be written.
    """

    def __init__(self, path: Path | None, table: str) -> None:
        self._path = path
        self._table = table
        self._part: Path | None = None
        self._writer: pq.ParquetWriter | None = None
        self._examples: list[str] = []
        self.count = 0

    def __enter__(self) -> Self:
        if self._path is None:
            return self
        part = self._path.parent / f".{self._path.name}-{secrets.token_hex(4)}"
        try:
            if self._path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            part.touch(exist_ok=False)  # found out now, and not after hours of reading
        except OSError as error:
            raise BadParameter(
                "The file for rejected rows can't be written.",
                value=f"{self._path}: {error.strerror}",
                allowed="a file in a folder that is there and may be written to",
                next_step="Name another file with --rejects.",
            ) from None
        self._part = part
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._part is None or self._path is None:
            return
        try:
            if self._writer is not None:
                self._writer.close()
                if error is None:
                    self._part.replace(self._path)
        finally:
            self._part.unlink(missing_ok=True)

    @property
    def refusing(self) -> bool:
        """True once the ingest is bound to fail, so that rows need no longer be kept."""
        return self.count > 0 and self._path is None

    def add(self, batch: pa.RecordBatch, rows: npt.NDArray[np.int64], words: Iterable[str]) -> None:
        """Take the rejected rows of one batch; *rows* are their numbers in the source, counted from 1."""
        self.count += batch.num_rows
        for number, text in zip(rows.tolist(), words, strict=False):
            if len(self._examples) >= _EXAMPLES:
                break
            self._examples.append(f"row {number}: {text}")
        if self._part is not None:
            if self._writer is None:
                self._writer = pq.ParquetWriter(self._part, batch.schema, compression="zstd")
            self._writer.write_batch(batch)

    def finish(self) -> None:
        """Raise BadData where there is no file and rows were rejected."""
        if self.refusing:
            raise BadData(
                f"{self.count:,} row{'s have' if self.count > 1 else ' has'} no valid position, "
                f"so {self._table} was not published.",
                value="; ".join(self._examples),
                allowed="right ascensions from 0 (with --wrap-ra, -360) to 360, declinations from -90 to 90 degrees",
                next_step="Correct them, name the right columns with --ra and --dec, "
                "or add --rejects FILE to publish the other rows and keep these in a file.",
            )


class PositionCheck:
    """Finds each row's place on the sky, and sets aside the rows that have none."""

    def __init__(self, ra: str, dec: str, ra_how: Conversion, dec_how: Conversion, *, wrap_ra: bool) -> None:
        self._names = (ra, dec)
        self._how = (ra_how, dec_how)
        self._wrap = wrap_ra
        self._rewrites = wrap_ra or ra_how != "none" or dec_how != "none"

    def apply(
        self, batch: pa.RecordBatch, start: int, rejects: Rejects
    ) -> tuple[pa.RecordBatch, npt.NDArray[np.int64]]:
        """The valid rows with positions in degrees, and their ``_healpix_29``; *start* rows came before this batch."""
        ra, dec = (
            _floats(batch.column(name)) * _FACTORS[how] if how != "none" else _floats(batch.column(name))
            for name, how in zip(self._names, self._how, strict=True)
        )
        # Written so that NaN, which compares false with everything, is not valid.
        valid = (ra >= (-360.0 if self._wrap else 0.0)) & (ra <= 360.0) & (np.abs(dec) <= 90.0)
        if not valid.all():
            bad = np.flatnonzero(~valid)
            words = (f"{self._names[0]} {_shown(ra[i])}, {self._names[1]} {_shown(dec[i])}" for i in bad)
            rejects.add(batch.take(pa.array(bad)), bad + start + 1, words)
            batch, ra, dec = batch.filter(pa.array(valid)), ra[valid], dec[valid]
        if self._rewrites:
            batch = self._rewritten(batch, ra, dec)
        return batch, healpix29(ra, dec)

    def _rewritten(
        self, batch: pa.RecordBatch, ra: npt.NDArray[np.float64], dec: npt.NDArray[np.float64]
    ) -> pa.RecordBatch:
        if self._wrap:
            ra = np.mod(ra, 360.0)
            ra = np.where(ra >= 360.0, 0.0, ra)  # the remainder of a tiny negative number rounds up to 360
        for name, values in zip(self._names, (ra, dec), strict=True):
            at = batch.schema.get_field_index(name)
            field = batch.schema.field(at)
            batch = batch.set_column(at, field, pa.array(values).cast(field.type, safe=False))
        return batch


def _floats(column: pa.Array) -> npt.NDArray[np.float64]:
    """Values as float64, NULL as NaN."""
    values = column.cast(pa.float64())
    if values.null_count:
        values = values.fill_null(float("nan"))
    return np.asarray(values.to_numpy(zero_copy_only=False))


def _shown(value: float) -> str:
    return "missing" if np.isnan(value) else f"{value:.10g}"


class IdDigest:
    """A sum over all ids that does not depend on their order: equal before and after, or rows were changed."""

    def __init__(self) -> None:
        self.rows = 0
        self._sum = 0
        self._least: Any = None
        self._greatest: Any = None

    def add(self, ids: pa.Array, start: int | None = None) -> None:
        """Raises BadData for a missing id where *start*, the rows that came before, is given."""
        if ids.null_count and start is not None:
            first = start + int(np.flatnonzero(ids.is_null().to_numpy(zero_copy_only=False))[0]) + 1
            raise BadData(
                "Rows without an id were found; nothing was published.",
                value=f"row {first} is the first",
                allowed="a value in every row of the id column",
                next_step="Fill them, name another column with --id, or leave the option out.",
            )
        if not len(ids):
            return
        self.rows += len(ids)
        self._sum = (self._sum + _order_free_sum(ids)) & (2**64 - 1)
        ends = pc.min_max(ids).as_py()
        self._least = ends["min"] if self._least is None else min(self._least, ends["min"])
        self._greatest = ends["max"] if self._greatest is None else max(self._greatest, ends["max"])

    def state(self) -> tuple[object, ...]:
        return self.rows, self._sum, self._least, self._greatest

    def require_same(self, other: IdDigest) -> None:
        if self.state() != other.state():
            raise BadData(
                "The ids written are not those that were read; nothing was published.",
                value=f"{self.rows} ids read, {other.rows} written",
                next_step="Run the command again; if it happens twice, check the disk and report it.",
            )


def _order_free_sum(ids: pa.Array) -> int:
    if pa.types.is_integer(ids.type):
        values = ids.cast(pa.int64()).to_numpy(zero_copy_only=False).view(np.uint64)
        # splitmix64's finaliser, so that two wrong ids can't make up for each other.
        mixed = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return int((mixed ^ (mixed >> np.uint64(31))).sum(dtype=np.uint64))
    return int(pc.sum(pc.binary_length(ids)).as_py() or 0)


class IdOrder:
    """Watches ids go by in sorted order: equal neighbours are duplicates."""

    def __init__(self, column: str, table: str) -> None:
        self._column = column
        self._table = table
        self._last: pa.Array | None = None
        self.digest = IdDigest()

    def watch(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The same batches. When they end, raises BadData where any id came twice, with how many and examples."""
        duplicates = 0
        examples: list[object] = []
        for batch in batches:
            ids = batch.column(0)
            self.digest.add(ids)
            joined = ids if self._last is None else pa.concat_arrays([self._last, ids])
            again = pc.equal(joined.slice(1), joined.slice(0, len(joined) - 1))
            number = int(pc.sum(again).as_py() or 0)
            if number:
                duplicates += number
                more = pc.unique(joined.slice(1).filter(again))[: _EXAMPLES + 1].to_pylist()
                examples = list(dict.fromkeys([*examples, *more]))[:_EXAMPLES]
            self._last = ids.slice(len(ids) - 1)
            yield batch
        if duplicates:
            raise BadData(
                f"{duplicates:,} row{'s repeat' if duplicates > 1 else ' repeats'} an id, "
                f"so {self._table} was not published.",
                value=", ".join(str(e) for e in examples),
                allowed=f"a different value of {self._column} in every row",
                next_step="Remove the repeated rows, name another column with --id, or leave the option out.",
            )


class WideTexts:
    """Notes which text columns hold more than ASCII: a result can only keep that where its ``FIELD`` says so.

    VOTable's ``char`` is ASCII (VOTable 1.5 section 2.1), whatever a source or its description says of the column.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self._narrow = {c.name for c in columns if c.type.datatype == "char" and not c.type.is_timestamp}
        self._wide: set[str] = set()

    def look_at(self, batch: pa.RecordBatch) -> None:
        for name in [n for n in self._narrow if n in batch.schema.names]:
            if not is_ascii(batch.column(name)):
                self._narrow.discard(name)
                self._wide.add(name)

    def widened(self, table: Table) -> Table:
        """*table* with ``unicodeChar`` where that was seen to be needed."""
        columns = (
            replace(c, type=replace(c.type, datatype="unicodeChar")) if c.name in self._wide else c
            for c in table.columns
        )
        return replace(table, columns=tuple(columns))
