"""Uploaded tables: any format we read, streamed into Parquet on disk, and put before the query as TAP_UPLOAD."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from idac.catalogs.snapshot import PlainStorage, TableEntry
from idac.core.errors import BadData, BadParameter, Cancelled, TooLarge
from idac.core.store import Store
from idac.jobs.model import StoredFile
from idac.query.fetching import UriFetcher
from idac.query.settings import UploadSettings
from idac.query.upload_specs import UploadSpec
from idac.tables.arrow import arrow_schema, column_from_arrow
from idac.tables.model import Column, Table
from idac.tables.readers.opening import open_table
from idac.tables.readers.source import ReadLimits, TableSource
from idac.web.parameters import UploadedFile

SCHEMA = "TAP_UPLOAD"
_ROW_GROUP = 131_072
#: Bytes of rows that wait to be written: a wide table, which may come as a few kB of zeros, has fewer rows in a group.
_PENDING_BYTES = 64 * 2**20
_SUFFIX = re.compile(r"(\.[A-Za-z0-9]{1,8}){0,2}$", re.ASCII)


def never() -> bool:
    return False


class Uploads:
    """Makes tables of what requests bring. *spool* is this machine's scratch folder."""

    def __init__(self, settings: UploadSettings, fetcher: UriFetcher, spool: Path) -> None:
        self._settings = settings
        self._fetcher = fetcher
        self._spool = spool

    def new_folder(self) -> Path:
        """An empty folder for one query's uploads; whoever asks removes it."""
        self._spool.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix="uploads-", dir=self._spool))

    def stage(
        self,
        specs: Sequence[UploadSpec],
        files: Mapping[str, UploadedFile],
        folder: Path,
        cancelled: Callable[[], bool] = never,
    ) -> dict[str, TableEntry]:
        """Every upload of a request as a Parquet file in *folder*, by table name."""
        for spec in specs:
            if spec.inline is not None:
                find_file(spec, files)  # before the work on another is done
        return {spec.name: self._stage(spec, files, folder, cancelled) for spec in specs}

    def _stage(
        self, spec: UploadSpec, files: Mapping[str, UploadedFile], folder: Path, cancelled: Callable[[], bool]
    ) -> TableEntry:
        target = folder / f"{spec.name}.parquet"
        raw = self._raw(spec, files, folder, cancelled)
        try:
            self.convert(raw, target, cancelled)
        finally:
            raw.unlink(missing_ok=True)
        return upload_entry(spec.name, target)

    def _raw(
        self, spec: UploadSpec, files: Mapping[str, UploadedFile], folder: Path, cancelled: Callable[[], bool]
    ) -> Path:
        """The upload as it came, under a name that ends as the client's file does: readers look at endings."""
        if spec.inline is None:
            path = folder / f"{SCHEMA}.{spec.name}{_suffix(spec.uri.partition('?')[0])}"
            self._fetcher.fetch(spec.uri, path, cancelled)
            return path
        file = find_file(spec, files)
        path = folder / f"{SCHEMA}.{spec.name}{_suffix(file.filename)}"
        shutil.move(file.path, path)
        return path

    def convert(self, source: Path, target: Path, cancelled: Callable[[], bool] = never) -> None:
        """Stream the table in *source* to Parquet with its columns' metadata."""
        most = 4 * self._settings.max_uri_bytes
        limits = ReadLimits(max_bytes=most, max_rows=self._settings.max_rows, max_columns=4096)
        with open_table(source, limits=limits) as table:
            _refuse_names_alike(table.columns)
            _write(table, target, cancelled, most)

    def put(self, spec: UploadSpec, files: Mapping[str, UploadedFile], key: str, store: Store) -> StoredFile:
        """An inline upload, converted, in the result store: a job may run on any machine."""
        folder = self.new_folder()
        try:
            entry = self._stage(spec, files, folder, never)
            assert isinstance(entry.storage, PlainStorage)  # noqa: S101  what upload_entry makes
            store.put_atomic(key, Path(entry.storage.files[0]))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return StoredFile(spec.name, key, "parquet")

    def take(self, file: StoredFile, store: Store, folder: Path) -> TableEntry:
        """A job's stored upload on this machine: where it lies, or as a copy in *folder*."""
        local = store.local_path(file.key)
        if local is None:
            local = folder / f"{file.name}.parquet"
            with store.open_input(file.key) as source, local.open("wb") as target:
                shutil.copyfileobj(source, target, 4 * 1024 * 1024)
        return upload_entry(file.name, local)


def upload_entry(name: str, path: Path) -> TableEntry:
    """The table in a Parquet file that ``Uploads`` wrote."""
    with pq.ParquetFile(path) as file:
        columns = tuple(column_from_arrow(field) for field in file.schema_arrow)
        rows = file.metadata.num_rows
    storage = PlainStorage((str(path),), rows=rows, bytes=path.stat().st_size)
    return TableEntry(Table(SCHEMA, name, columns), storage, version=path.parent.name)


def find_file(spec: UploadSpec, files: Mapping[str, UploadedFile]) -> UploadedFile:
    """The form's file that ``param:`` names; field names keep their case, and another case is forgiven."""
    wanted = spec.inline or ""
    file = files.get(wanted) or next((f for name, f in files.items() if name.lower() == wanted.lower()), None)
    if file is None or not file.path.exists():
        raise BadParameter(
            "UPLOAD names a file that the request does not carry.",
            value=spec.uri,
            allowed=", ".join(f"param:{name}" for name in files) or "the name of a file in a multipart form",
            next_step="Send the table as a file of a multipart/form-data request under that name.",
        )
    return file


def _suffix(filename: str) -> str:
    match = _SUFFIX.search(filename)
    return match.group(0) if match else ""


def _refuse_names_alike(columns: Sequence[Column]) -> None:
    counts = Counter(column.name.lower() for column in columns)
    alike = [column.name for column in columns if counts[column.name.lower()] > 1]
    if alike:
        raise BadData(
            "Columns of the upload have names that differ only in case.",
            value=", ".join(alike),
            allowed="names that are distinct when case does not count, as in ADQL",
            next_step="Rename the columns and upload again.",
        )


def _write(table: TableSource, target: Path, cancelled: Callable[[], bool], most_bytes: int) -> None:
    with pq.ParquetWriter(target, arrow_schema(table.columns), compression="zstd", compression_level=1) as writer:
        pending: list[pa.RecordBatch] = []
        rows = size = whole = 0
        for batch in table.iter_batches():
            if cancelled():
                raise Cancelled("The query was stopped.")
            pending.append(batch)
            rows += batch.num_rows
            size += batch.nbytes
            whole += batch.nbytes
            if whole > most_bytes:
                raise TooLarge(
                    "The upload unpacks to more than an upload may hold.",
                    value=f"more than {most_bytes} bytes",
                    allowed="four times query.uploads.max_uri_bytes",
                    next_step="Leave out columns or rows that the query does not need.",
                )
            if rows >= _ROW_GROUP or size >= _PENDING_BYTES:
                writer.write_table(pa.Table.from_batches(pending), row_group_size=_ROW_GROUP)
                pending, rows, size = [], 0, 0
        if pending:
            writer.write_table(pa.Table.from_batches(pending), row_group_size=_ROW_GROUP)
