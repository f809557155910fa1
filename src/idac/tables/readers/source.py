"""A table that is being read: what every format's reader gives, and the limits that it keeps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType, TracebackType
from typing import Self

import pyarrow as pa

from idac.core.errors import BadData, TooLarge
from idac.tables.arrow import arrow_schema
from idac.tables.model import Column

DEFAULT_BATCH_ROWS = 65_536
#: A batch never holds more than about this, however wide its rows are: 2 000 columns × 65 536 rows would be 1 GiB.
BATCH_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class ReadLimits:
    """What one input may cost; None is no limit. The defaults are for a publisher's own files, not for uploads."""

    #: Bytes taken from the input after decompression, so that a small gzip bomb counts as what it unpacks to.
    max_bytes: int | None = None
    max_rows: int | None = None
    #: Twice the widest known table of this field; each column costs memory before the first row is read.
    max_columns: int = 10_000
    #: One value: a string, an array. Above this no astronomical table is meant.
    max_cell_bytes: int = 16 * 2**20
    #: A FITS header, the VOTable text before the data, an ECSV header, a Parquet footer.
    max_header_bytes: int = 64 * 2**20
    #: Elements within elements in a VOTable; the schema needs about ten.
    max_depth: int = 64

    def check_columns(self, count: int) -> None:
        """Raise TooLarge for a table wider than the limit."""
        if count > self.max_columns:
            raise TooLarge(
                "The table has too many columns.",
                value=f"{count} columns",
                allowed=f"at most {self.max_columns} columns (max_columns)",
                next_step="Leave out columns that are not needed, or split the table.",
            )

    def check_rows(self, count: int) -> None:
        """Raise TooLarge for a table longer than the limit."""
        if self.max_rows is not None and count > self.max_rows:
            raise TooLarge(
                "The table has too many rows.",
                value=f"{count} rows or more",
                allowed=f"at most {self.max_rows} rows (max_rows)",
                next_step="Send the table in parts.",
            )

    def check_cell(self, size: int, column: str, row: int) -> None:
        """Raise BadData for a value bigger than the limit; *row* counts from 1."""
        if size > self.max_cell_bytes:
            raise BadData(
                f"Row {row}: the value of column {column} is too big.",
                value=f"{size} bytes",
                allowed=f"at most {self.max_cell_bytes} bytes a value (max_cell_bytes)",
                next_step="Check the file: a broken length reads as a huge value.",
            )


NO_LIMITS = ReadLimits()
_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class TableInfo:
    """What a file says about its table, apart from the rows."""

    columns: tuple[Column, ...]
    rows: int | None = None
    name: str | None = None
    description: str | None = None
    utype: str | None = None
    #: COMMENT and HISTORY cards, INFO elements, ECSV's meta: one text each, in the file's order.
    comments: tuple[str, ...] = ()
    #: Column name → the reference frame that the file ties to it (VOTable COOSYS, TIMESYS), such as ``ICRS``.
    frames: Mapping[str, str] = _NOTHING
    #: Column name → what the file says of it and Column has no place for: TDISP, TNULL, precision, ID …
    details: Mapping[str, Mapping[str, str]] = MappingProxyType({})


class TableSource(ABC):
    """One table of one input. Batches may be asked for again, except of a stream that can't be wound back."""

    def __init__(self, info: TableInfo, limits: ReadLimits) -> None:
        limits.check_columns(len(info.columns))
        refuse_names([column.name for column in info.columns])
        if info.rows is not None:
            limits.check_rows(info.rows)
        self.info = info
        self.limits = limits

    @property
    def columns(self) -> tuple[Column, ...]:
        return self.info.columns

    @property
    def rows(self) -> int | None:
        """Number of rows, where the file says it before the rows are read."""
        return self.info.rows

    @property
    def has_guessed_types(self) -> bool:
        """Whether reading may raise TypesOutgrown."""
        return False

    @property
    def name(self) -> str | None:
        return self.info.name

    @property
    def description(self) -> str | None:
        return self.info.description

    def iter_batches(
        self, columns: Sequence[str] | None = None, batch_rows: int = DEFAULT_BATCH_ROWS
    ) -> Iterator[pa.RecordBatch]:
        """The rows in the file's order, at most *batch_rows* at a time; the schema is ``arrow_schema(columns)``."""
        chosen = self.choose(columns)
        schema = arrow_schema([self.columns[index] for index in chosen])
        seen = 0
        for batch in self._iter_batches(chosen, schema, max(1, batch_rows)):
            if batch.num_rows == 0:
                continue
            seen += batch.num_rows
            self.limits.check_rows(seen)
            yield batch

    def choose(self, names: Sequence[str] | None) -> list[int]:
        """Positions of the named columns, in the order asked for."""
        if names is None:
            return list(range(len(self.columns)))
        places = {column.name: index for index, column in enumerate(self.columns)}
        missing = [name for name in names if name not in places]
        if missing:
            raise BadData(
                "The table has no such column.",
                value=", ".join(missing),
                allowed=", ".join(places),
                next_step="Choose among the columns of the table.",
            )
        return [places[name] for name in names]

    @abstractmethod
    def _iter_batches(self, chosen: list[int], schema: pa.Schema, batch_rows: int) -> Iterator[pa.RecordBatch]: ...

    @abstractmethod
    def close(self) -> None:
        """Let go of the input; files that the caller opened stay open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def refuse_names(names: Sequence[str]) -> None:
    """Raise BadData for names that no query could ask for: two columns share them, or they hold a NUL character."""
    with_nul = [name for name in names if "\0" in name]
    if with_nul:
        raise BadData(
            "The name of a column has a NUL character in it.",
            value=", ".join(name.replace("\0", "\N{SYMBOL FOR NULL}") for name in with_nul),
            allowed="names that can be written in a query",
            next_step="Rename the columns in the file; it may be damaged.",
        )
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise BadData(
            "Several columns have the same name.",
            value=", ".join(repeated),
            allowed="a name for each column that no other has",
            next_step="Rename the columns in the file.",
        )
