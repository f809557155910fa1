"""Results of queries as the command gives them: a table on the terminal, bytes in a pipe, a whole file or none."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from idac.cli.output import print_table
from idac.core.errors import BadParameter, ResourceExhausted
from idac.tables.model import Column
from idac.tables.writers.text import cells


def print_rows(columns: Sequence[Column], batches: Iterable[pa.RecordBatch]) -> int:
    """Print the rows under their names and units; returns how many there were."""
    rows = [row for batch in batches for row in _shown(columns, batch)]
    print_table([_heading(c.name, c.unit) for c in columns], rows)
    return len(rows)


def _heading(name: str, unit: str | None) -> str:
    return f"{name} [{unit}]" if unit else name


def _shown(columns: Sequence[Column], batch: pa.RecordBatch) -> Iterator[tuple[str | None, ...]]:
    """Values for people: doubles with the digits that one can compare by eye, all else as in a VOTable."""
    texts = [
        [None if value is None else f"{value:.12g}" for value in array.to_pylist()]
        if column.type.datatype == "double" and column.type.arraysize is None
        else cells(column, array).to_pylist()
        for column, array in zip(columns, batch.columns, strict=True)
    ]
    return zip(*texts, strict=True)


@contextmanager
def open_whole(output: Path) -> Iterator[BinaryIO]:
    """A file to write, which gets its name at the end of the block; nothing is left where that raises."""
    if output.is_dir():
        raise BadParameter(
            "The output file can't be written.",
            value=f"{output}: it is a folder",
            allowed="a file",
            next_step="Name a file in it.",
        )
    try:
        handle, name = tempfile.mkstemp(prefix=f".{output.name}-", dir=output.parent)
    except OSError as error:
        raise BadParameter(
            "The output file can't be written.",
            value=f"{output}: {error.strerror}",
            allowed="a file in a folder that exists and may be written to",
            next_step="Make the folder, or name another file.",
        ) from None
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        part.chmod(0o644)
        part.replace(output)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_chunks(chunks: Iterable[bytes], file: BinaryIO, tell: Callable[[], None] | None = None) -> int:
    """Write all of a result, telling after each piece; returns its bytes."""
    size = 0
    try:
        for chunk in chunks:
            size += file.write(chunk)
            if tell is not None:
                tell()
        file.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        if isinstance(error, pa.ArrowException):
            raise
        raise ResourceExhausted(
            "The result can't be written.", value=error.strerror, next_step="Free some disk space, or write elsewhere."
        ) from None
    return size
