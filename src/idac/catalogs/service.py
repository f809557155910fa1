"""What publishers do with the archive: add, replace, describe, edit, check, drop, roll back."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import pyarrow as pa

from idac.catalogs.archive import TABLES_FOLDER, Archive
from idac.catalogs.felis import Gap, fit_for_felis, write_felis
from idac.catalogs.hats import folder_name
from idac.catalogs.ingest import Ingest, IngestChoices, Progress, Staged
from idac.catalogs.staging import staging_folder
from idac.tables.model import Schema, Table


@dataclass(frozen=True, slots=True)
class Published:
    """What came of publishing one table."""

    table: Table
    version: str
    rows: int
    bytes: int
    files: int
    rejected: int
    gaps: tuple[Gap, ...]


@dataclass(frozen=True, slots=True)
class Rows:
    """A table's rows on their way in: ``batches(n)`` gives them with about *n* rows each."""

    table: Table
    batches: Callable[[int], Iterable[pa.RecordBatch]]
    total: int | None
    source: str
    choices: IngestChoices = field(default_factory=IngestChoices)


def _silent(stage: str, done: int, total: int | None) -> None:
    return None


class CatalogService:
    """Publishes into one archive."""

    def __init__(self, archive: Archive, progress: Progress = _silent) -> None:
        self.archive = archive
        self._progress = progress

    def publish(self, schema: Schema, tables: list[Rows], *, replacing: bool = False) -> list[Published]:
        """Ingest all *tables* and show them in one step, or none of them."""
        results: list[Published] = []
        with staging_folder(self.archive.store, self.archive.settings.ingest) as staging:
            staged: list[Staged] = []
            for number, rows in enumerate(tables):
                version_id = secrets.token_hex(8)
                prefix = f"{TABLES_FOLDER}/{folder_name(schema.name)}/{folder_name(rows.table.name)}/{version_id}"
                folder = staging / f"{number:04d}"
                folder.mkdir()
                table, gaps = fit_for_felis(rows.table)
                ingest = Ingest(
                    table,
                    rows.choices,
                    self.archive.settings.ingest,
                    folder,
                    version_id=version_id,
                    prefix=prefix,
                    source=rows.source,
                    progress=self._progress,
                )
                done = ingest.stage(rows.batches(ingest.batch_rows), rows.total)
                staged.append(done)
                results.append(
                    Published(
                        done.table,
                        version_id,
                        done.version.rows,
                        done.version.bytes,
                        done.version.files,
                        done.rejected,
                        tuple(gaps),
                    )
                )
            for done in staged:
                self.archive.store_version(done.folder, done.version.prefix)
            self.archive.publish(
                schema, [(d.table, d.version) for d in staged], to_yaml=write_felis, replacing=replacing
            )
        return results
