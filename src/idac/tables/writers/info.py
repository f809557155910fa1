"""What a result says of itself beside its rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from idac.tables.model import Column


@dataclass(frozen=True, slots=True)
class ResultInfo:
    """Facts about one result.

    *infos* are (name, value, text) of VOTable INFO elements. *mark_errors*: a stream that breaks ends as a well-formed
    document with QUERY_STATUS ERROR where the format has one; otherwise the error goes on to the caller, which is right
    for a result that is stored whole. *spool_folder* is where formats that must know all rows first keep them.
    """

    infos: tuple[tuple[str, str, str], ...] = ()
    description: str | None = None
    mark_errors: bool = False
    spool_folder: Path | None = None


#: Columns, batches of those columns, facts, and whether the row cap cut the result, asked at the end.
type Write = Callable[[tuple[Column, ...], Iterable[pa.RecordBatch], ResultInfo, Callable[[], bool]], Iterator[bytes]]
