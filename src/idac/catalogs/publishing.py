"""Rows become published tables: staged, checked, moved into place and shown, several in one step or none."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from idac.catalogs.archive import TABLES_FOLDER, Archive
from idac.catalogs.disk import disk_errors
from idac.catalogs.felis import Gap, fit_for_felis, missing_words, write_felis
from idac.catalogs.hats import folder_name
from idac.catalogs.ingest import Ingest, IngestChoices, Progress, Staged
from idac.catalogs.manifest import Manifest
from idac.catalogs.staging import note_moves
from idac.core.errors import ResourceExhausted, StoreUnavailable
from idac.tables.model import Schema, Table

log = logging.getLogger(__name__)


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
    gaps: tuple[Gap, ...] = ()


def silent(stage: str, done: int, total: int | None) -> None:
    return None


def version_prefix(schema: str, table: str, version_id: str) -> str:
    return f"{TABLES_FOLDER}/{folder_name(schema)}/{folder_name(table)}/{version_id}"


class Publisher:
    """Takes rows into one archive."""

    def __init__(self, archive: Archive, progress: Progress = silent) -> None:
        self.archive = archive
        self.progress = progress

    def publish(
        self,
        schema: Schema,
        tables: Sequence[Rows],
        *,
        replacing: bool = False,
        also: Callable[[Manifest], Manifest] = lambda manifest: manifest,
    ) -> list[Published]:
        """Ingest all *tables* and show them in one step with what *also* changes, or none of them.

        Raises ResourceExhausted where the disk is full, and StoreUnavailable where it may not be written to.
        """
        results: list[Published] = []
        with disk_errors(), self.archive.staging() as staging:
            staged = []
            for number, rows in enumerate(tables):
                folder = staging / f"{number:04d}"
                folder.mkdir()
                done, result = self._stage(rows, folder)
                staged.append(done)
                results.append(result)
            note_moves(staging, [done.version.prefix for done in staged])
            for done in staged:
                self.archive.store_version(done.folder, done.version.prefix)
            self.archive.publish(
                schema, [(d.table, d.version) for d in staged], to_yaml=write_felis, replacing=replacing, also=also
            )
        self._sweep()
        return results

    def _sweep(self) -> None:
        """Remove what is due. What is published is published, whatever hinders this; the next sweep gets it."""
        try:
            self.archive.sweep()
        except (ResourceExhausted, StoreUnavailable, OSError) as error:
            log.warning("old versions could not be removed: %s", error)

    def _stage(self, rows: Rows, folder: Path) -> tuple[Staged, Published]:
        version_id = secrets.token_hex(8)
        table, lost = fit_for_felis(rows.table)
        ingest = Ingest(
            table,
            rows.choices,
            self.archive.settings.ingest,
            folder,
            version_id=version_id,
            prefix=version_prefix(table.schema, table.name, version_id),
            source=rows.source,
            progress=self.progress,
        )
        done = ingest.stage(rows.batches(ingest.batch_rows), rows.total)
        version = done.version
        words = (*rows.gaps, *lost, *missing_words(done.table))
        result = Published(done.table, version_id, version.rows, version.bytes, version.files, done.rejected, words)
        return done, result
