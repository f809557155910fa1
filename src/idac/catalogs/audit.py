"""Is what is published still what was published? Files, checksums, footers, counts and metadata, compared."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq

from idac.catalogs.archive import Archive
from idac.catalogs.hats import WrittenFile
from idac.catalogs.ingest import Progress
from idac.catalogs.manifest import Version
from idac.catalogs.sidecar import read_files
from idac.catalogs.snapshot import RowGroupIndex, TableEntry
from idac.catalogs.sources import OpenStore
from idac.core.errors import BadData, NotFound, StoreUnavailable
from idac.core.store import Store
from idac.tables.arrow import arrow_schema
from idac.tables.model import Table

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it was published."""

    table: str
    file: str | None
    problem: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.table, self.file, self.problem) if part)


def check_table(
    archive: Archive,
    entry: TableEntry,
    version: Version,
    *,
    open_store: OpenStore,
    progress: Progress,
    checksums: bool = True,
) -> list[Finding]:
    """Everything wrong with one published table; an empty list where all is well."""
    return list(_TableCheck(archive, entry, version, open_store, progress, checksums).run())


class _TableCheck:
    def __init__(
        self,
        archive: Archive,
        entry: TableEntry,
        version: Version,
        open_store: OpenStore,
        progress: Progress,
        checksums: bool,
    ) -> None:
        self._archive = archive
        self._table: Table = entry.table
        self._version = version
        self._progress = progress
        self._checksums = checksums
        here = version.location is None
        self._store: Store = archive.store if here else open_store(version.location or "")
        self._base = f"{version.prefix}/" if here else ""

    def run(self) -> Iterator[Finding]:
        try:
            files = read_files(self._archive.store, self._version.prefix)
            index = self._archive.row_group_index(self._version) if self._version.kind == "hats" else None
        except StoreUnavailable as error:
            yield self._finding(None, error.what.rstrip("."))
            return
        data = [f for f in files if f.kind == "data"]
        groups = _groups_by_file(index, len(data))
        with ThreadPoolExecutor(self._archive.settings.ingest.worker_count) as pool:
            done = 0
            numbered = [(f, groups[i] if f.kind == "data" and index else None) for i, f in enumerate(files)]
            for file, problems in zip(files, pool.map(lambda args: self._check_file(*args), numbered), strict=True):
                yield from (self._finding(file, p) for p in problems)
                done += file.rows if file.kind == "data" else 0
                self._progress("checking", done, self._version.rows)
        if sum(f.rows for f in data) != self._version.rows:
            yield self._finding(
                None, f"its files list {sum(f.rows for f in data)} rows, published were {self._version.rows}"
            )

    def _finding(self, file: WrittenFile | None, problem: str) -> Finding:
        return Finding(self._table.qualified_name, file.path if file else None, problem)

    def _check_file(self, file: WrittenFile, groups: list[tuple[int, int, int, int]] | None) -> list[str]:
        key = self._base + file.path
        try:
            size = self._store.head(key).size
            if size != file.bytes:
                return [f"{size} bytes long, written were {file.bytes}"]
            if self._checksums and file.sha256 and self._digest(key) != file.sha256:
                return ["its content has changed since it was written (checksum)"]
            with self._store.open_input(key) as stream:
                footer = pq.read_metadata(stream)
        except NotFound:
            return ["missing"]
        except StoreUnavailable as error:
            return [f"can't be read: {error.what}"]
        except pa.ArrowInvalid:
            return ["not whole Parquet"]
        return [] if file.kind != "data" else list(self._check_footer(file, footer, groups))

    def _digest(self, key: str) -> str:
        digest = hashlib.sha256()
        with self._store.open_input(key) as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
        return digest.hexdigest()

    def _check_footer(
        self, file: WrittenFile, footer: pq.FileMetaData, groups: list[tuple[int, int, int, int]] | None
    ) -> Iterator[str]:
        if footer.num_rows != file.rows:
            yield f"{footer.num_rows} rows, listed are {file.rows}"
        yield from self._check_columns(footer)
        if groups is None:
            return
        if footer.num_row_groups != len(groups):
            yield f"{footer.num_row_groups} row groups, the index has {len(groups)}"
            return
        names = footer.schema.names
        healpix = self._version.healpix_column
        at = names.index(healpix) if healpix in names else None
        for number, low, high, rows in groups:
            group = footer.row_group(number)
            if group.num_rows != rows:
                yield f"row group {number} has {group.num_rows} rows, the index says {rows}"
            statistics = group.column(at).statistics if at is not None else None
            if (
                statistics is not None
                and statistics.has_min_max
                and not low <= statistics.min <= statistics.max <= high
            ):
                yield f"row group {number} holds positions outside the range that the index gives it"

    def _check_columns(self, footer: pq.FileMetaData) -> Iterator[str]:
        actual = footer.schema.to_arrow_schema()
        for field in arrow_schema(self._table.columns):
            at = actual.get_field_index(field.name)
            if at < 0:
                yield f"has no column {field.name}"
            elif self._version.location is None and actual.field(at).type != field.type:
                yield f"column {field.name} is {actual.field(at).type}, its metadata say {field.type}"


def _groups_by_file(index: RowGroupIndex | None, files: int) -> list[list[tuple[int, int, int, int]]]:
    """(number, least, greatest, rows) of every row group, by the number of its file."""
    found: list[list[tuple[int, int, int, int]]] = [[] for _ in range(files)]
    if index is not None:
        columns = (index.file, index.row_group, index.hpx_min, index.hpx_max, index.rows)
        for file, *values in zip(*(c.tolist() for c in columns), strict=True):
            found[file].append(tuple(values))
    return [sorted(groups) for groups in found]


def require_whole(findings: list[Finding]) -> None:
    """Raise BadData with the first findings where there are any."""
    if findings:
        tables = ", ".join(sorted({f.table for f in findings}))
        raise BadData(
            f"{len(findings)} thing{'s are' if len(findings) > 1 else ' is'} not as published in {tables}.",
            value="; ".join(_short(f) for f in findings[:3]),
            next_step="Restore the files from a backup, or publish the table again with idac catalog replace.",
        )


def _short(finding: Finding) -> str:
    return f"{PurePosixPath(finding.file).name if finding.file else finding.table} {finding.problem}"
