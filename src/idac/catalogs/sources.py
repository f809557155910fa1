"""The files of one table: a name, a pattern or several, on this machine or in S3, read as one stream of batches."""

from __future__ import annotations

import fnmatch
import glob
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import BinaryIO, Self

import pyarrow as pa

from idac.core.errors import BadData, NotFound
from idac.core.nearest import nearest
from idac.core.store import Store
from idac.tables.arrow import arrow_schema
from idac.tables.model import Column
from idac.tables.readers.csv_types import TypesOutgrown
from idac.tables.readers.opening import open_table
from idac.tables.readers.source import TableSource

type OpenStore = Callable[[str], Store]

_PATTERN = re.compile(r"[*?\[]")
#: Endings that a table's file may have; the name of the table is what stands before them.
_ENDINGS = re.compile(
    r"(\.(fits?|fts|csv|tsv|tab|ecsv|txt|dat|vot|votable|xml|parquet|parq|pq|arrow|feather|ipc))?(\.gz)?\Z",
    re.IGNORECASE,
)


def table_name_of(path: str) -> str:
    """The file's name without folder and endings: ``data/Object.csv.gz`` holds the table ``Object``."""
    name = PurePosixPath(path.rstrip("/")).name
    return _ENDINGS.sub("", name)


def is_pattern(path: str) -> bool:
    """True where *path* has the signs of a pattern: ``*``, ``?`` or ``[``."""
    return _PATTERN.search(path) is not None


def expand_sources(patterns: Sequence[str], open_store: OpenStore) -> list[str]:
    """Every file or folder that the names and patterns stand for, each pattern's in order of name.

    Raises NotFound for one that stands for nothing.
    """
    found: list[str] = []
    for pattern in patterns:
        matches = _expand_s3(pattern, open_store) if pattern.startswith("s3://") else _expand_local(pattern)
        if not matches:
            raise _no_match(pattern)
        found += [m for m in matches if m not in found]
    return found


def _expand_local(pattern: str) -> list[str]:
    path = str(Path(pattern).expanduser())
    if _PATTERN.search(path) and not Path(path).exists():
        return sorted(glob.glob(path, recursive=True))  # noqa: PTH207 - Path.glob refuses absolute patterns
    return [path] if Path(path).exists() else []


def _expand_s3(pattern: str, open_store: OpenStore) -> list[str]:
    bucket, _, key = pattern.removeprefix("s3://").partition("/")
    store = open_store(f"s3://{bucket}")
    fixed = _PATTERN.split(key, maxsplit=1)[0]
    folder = fixed.rpartition("/")[0]
    keys = [item.key for item in store.list(folder)]
    if fixed == key:
        # A "folder" of S3 is every Parquet file below it.
        inside = [k for k in keys if k == key or (k.startswith(f"{key.rstrip('/')}/") and k.endswith(".parquet"))]
    else:
        inside = [k for k in keys if fnmatch.fnmatchcase(k, key)]
    return [f"s3://{bucket}/{k}" for k in sorted(inside)]


def _no_match(pattern: str) -> NotFound:
    near = None
    if not pattern.startswith("s3://"):
        folder = Path(pattern).expanduser().parent
        names = [p.name for p in folder.iterdir()] if folder.is_dir() else []
        near = nearest(Path(pattern).name, names)
    return NotFound(
        "There is no such file.",
        value=pattern,
        allowed="a file, a folder, a pattern such as 'part-*.csv', or an s3:// address",
        next_step=f"Did you mean {near}?"
        if near
        else "Check the name, and quote patterns so that the shell leaves them.",
    )


class TableFiles:
    """Files with the same columns, as one table; the first one's metadata stand for all.

    *threads* and *types_from_head* are for text files, as in ``open_table``.
    """

    def __init__(
        self,
        paths: Sequence[str],
        open_store: OpenStore,
        format: str | None = None,  # noqa: A002 - the reader's own word
        *,
        threads: int = 1,
        types_from_head: bool = False,
    ) -> None:
        self.paths = list(paths)
        self._open_store = open_store
        self._format = format
        self._threads = threads
        self._types_from_head = types_from_head
        self._has_begun = False
        self._stack = ExitStack()
        self._first = self._open(self.paths[0])
        self.columns: tuple[Column, ...] = self._first.columns
        self.description = self._first.description
        self.rows = self._first.rows if len(self.paths) == 1 else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @contextmanager
    def doubting_types(self) -> Iterator[None]:
        """What is refused before any row was read is put down to types that the head of the file had wrong.

        Raises TypesOutgrown then.
        """
        try:
            yield
        except BadData:
            if self._first.has_guessed_types and not self._has_begun:
                raise TypesOutgrown from None
            raise

    @property
    def label(self) -> str:
        name = PurePosixPath(self.paths[0]).name
        return name if len(self.paths) == 1 else f"{name} and {len(self.paths) - 1} more"

    def iter_batches(self, batch_rows: int) -> Iterator[pa.RecordBatch]:
        """All rows, file after file, with the first file's columns in its order."""
        schema = arrow_schema(self.columns)
        self._has_begun = True
        with _naming(self.paths[0]):
            yield from self._first.iter_batches(batch_rows=batch_rows)
        self._first.close()
        for path in self.paths[1:]:
            source = self._open(path)
            names = self._require_same_columns(path, source)
            with _naming(path):
                for batch in source.iter_batches(names, batch_rows):
                    yield _cast(batch, schema, PurePosixPath(path).name)
            source.close()

    def _open(self, path: str) -> TableSource:
        with _naming(path):
            return self._opened(path)

    def _opened(self, path: str) -> TableSource:
        source: str | BinaryIO = path
        if path.startswith("s3://"):
            location, _, key = path.rpartition("/")
            source = self._open_store(location).open_input(key)
        table = open_table(source, format=self._format, threads=self._threads, types_from_head=self._types_from_head)
        self._stack.callback(table.close)
        return table

    def _require_same_columns(self, path: str, source: TableSource) -> list[str]:
        wanted = [c.name for c in self.columns]
        there = {c.name.lower(): c.name for c in source.columns}
        missing = [name for name in wanted if name.lower() not in there]
        extra = [c.name for c in source.columns if c.name.lower() not in {w.lower() for w in wanted}]
        if missing or extra:
            differences = [*(f"no {name}" for name in missing[:5]), *(f"also {name}" for name in extra[:5])]
            raise BadData(
                f"The file {PurePosixPath(path).name} has other columns than {PurePosixPath(self.paths[0]).name}.",
                value=", ".join(differences),
                allowed="the same columns in every file of a table",
                next_step="Add the files as separate tables, or make their columns alike.",
            )
        return [there[name.lower()] for name in wanted]


@contextmanager
def _naming(path: str) -> Iterator[None]:
    """Errors about a file say which of all those of a table or schema it is."""
    try:
        yield
    except BadData as error:
        name = PurePosixPath(path).name
        if name in error.text:
            raise
        where = error.position and replace(error.position, file=name)
        what = error.what if where else f"{name}: {error.what}"
        raise BadData(
            what, value=error.value, allowed=error.allowed, next_step=error.next_step, position=where
        ) from None


def _cast(batch: pa.RecordBatch, schema: pa.Schema, name: str) -> pa.RecordBatch:
    """*batch* with the first file's types; a value that doesn't fit them is refused and never bent."""
    columns = []
    for column, field in zip(batch.columns, schema, strict=True):
        try:
            columns.append(column if column.type == field.type else column.cast(field.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            raise BadData(
                f"The column {field.name} of {name} does not fit the type that it has in the table's first file.",
                value=str(column.type),
                allowed=str(field.type),
                next_step="Make the types alike, or name the file with the widest type first.",
            ) from None
    return pa.RecordBatch.from_arrays(columns, schema=schema)
