"""One door for every table format."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from idac.tables.readers.csv import open_csv
from idac.tables.readers.detect import ReadFormat, detect, named_format
from idac.tables.readers.fits import open_fits
from idac.tables.readers.inputs import Input
from idac.tables.readers.ipc import open_ipc
from idac.tables.readers.parquet import open_parquet
from idac.tables.readers.source import NO_LIMITS, ReadLimits, TableSource
from idac.tables.readers.votable import open_votable

type Opener = Callable[[Input, str | int | None], TableSource]

_OPENERS: dict[ReadFormat, Opener] = {
    "fits": open_fits,
    "votable": open_votable,
    "csv": lambda source, table: open_csv(source, table, "csv"),
    "tsv": lambda source, table: open_csv(source, table, "tsv"),
    "ecsv": lambda source, table: open_csv(source, table, "ecsv"),
    "parquet": open_parquet,
    "arrow": open_ipc,
}


def open_table(
    source: str | Path | BinaryIO,
    *,
    format: str | None = None,  # noqa: A002 - the word that every caller of table libraries knows
    table: str | int | None = None,
    limits: ReadLimits = NO_LIMITS,
) -> TableSource:
    """The table in a file, folder of Parquet files, or binary file object, ready to be read in batches.

    *table* chooses one of several in a FITS or VOTable file by its name, or by number: a FITS extension counted as
    FITS does (the first extension is 1), a VOTable's tables counted from 1. Without it the first table is taken.
    Raises BadData for what is not a readable table, BadParameter for a format name that is not known.
    """
    chosen = None if format is None else named_format(format)
    opened = Input(source, limits)
    try:
        return _OPENERS[chosen or detect(opened)](opened, table)
    except BaseException:
        opened.close()
        raise
