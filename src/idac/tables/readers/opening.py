"""One door for every table format."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Literal

from idac.tables.readers.csv import open_csv
from idac.tables.readers.detect import ReadFormat, detect, named_format
from idac.tables.readers.fits import open_fits
from idac.tables.readers.inputs import Input
from idac.tables.readers.ipc import open_ipc
from idac.tables.readers.parquet import open_parquet
from idac.tables.readers.source import NO_LIMITS, ReadLimits, TableSource
from idac.tables.readers.votable import open_votable

type Opener = Callable[[Input, str | int | None], TableSource]

_TEXTS: dict[ReadFormat, Literal["csv", "tsv", "ecsv"]] = {"csv": "csv", "tsv": "tsv", "ecsv": "ecsv"}
_OPENERS: dict[ReadFormat, Opener] = {
    "fits": open_fits,
    "votable": open_votable,
    "parquet": open_parquet,
    "arrow": open_ipc,
}


def open_table(
    source: str | Path | BinaryIO,
    *,
    format: str | None = None,  # noqa: A002 - the word that every caller of table libraries knows
    table: str | int | None = None,
    limits: ReadLimits = NO_LIMITS,
    threads: int = 1,
    types_from_head: bool = False,
) -> TableSource:
    """The table in a file, folder of Parquet files, or binary file object, ready to be read in batches.

    *table* chooses one of several in a FITS or VOTable file by its name, or by number: a FITS extension counted as
    FITS does (the first extension is 1), a VOTable's tables counted from 1. Without it the first table is taken.
    Text is parsed by that many *threads*. With *types_from_head* the types of a text file come from its first rows, and
    reading raises TypesOutgrown where later ones need others.
    Raises BadData for what is not a readable table, BadParameter for a format name that is not known.
    """
    chosen = None if format is None else named_format(format)
    opened = Input(source, limits)
    try:
        found = chosen or detect(opened)
        if found in _TEXTS:
            return open_csv(opened, table, _TEXTS[found], threads=threads, types_from_head=types_from_head)
        return _OPENERS[found](opened, table)
    except BaseException:
        opened.close()
        raise
