"""What publishers do with the archive: add, replace, describe, edit, drop, roll back. Checking is in ``audit``."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from idac.catalogs.access import AccessChange
from idac.catalogs.archive import Archive
from idac.catalogs.disk import disk_errors
from idac.catalogs.felis import (
    Gap,
    fit_for_felis,
    iter_type_clashes,
    merge_metadata,
    missing_words,
    read_felis,
    write_felis,
)
from idac.catalogs.ingest import IngestChoices, Progress
from idac.catalogs.manifest import Manifest, Version
from idac.catalogs.metadata import require_column
from idac.catalogs.publishing import Published, Publisher, Rows, silent, version_prefix
from idac.catalogs.register import HatsCatalog, find_hats, open_hats, register_hats
from idac.catalogs.snapshot import TableEntry
from idac.catalogs.sources import OpenStore, TableFiles, expand_sources, is_pattern, table_name_of
from idac.catalogs.staging import note_moves
from idac.core.errors import BadData, BadParameter, NotFound
from idac.core.nearest import nearest
from idac.core.store import Store
from idac.tables.model import Column, Schema, Table
from idac.tables.readers.csv_types import TypesOutgrown


@dataclass(frozen=True, slots=True)
class SourceChoices:
    """Where a table's rows and words come from, as the command line gives it."""

    patterns: tuple[str, ...]
    format: str | None = None
    felis: Path | None = None
    description: str | None = None
    #: Ingest the rows of a HATS catalogue instead of registering it where it is.
    copy: bool = False


def split_name(name: str) -> tuple[str, str]:
    """Schema and table of ``schema.table``. Raises BadParameter for another form."""
    schema, dot, table = name.partition(".")
    if (
        not dot
        or not schema.strip()
        or not table.strip()
        or any(mark in table for mark in './"')
        or any(mark in schema for mark in '/"')
        or schema.upper() in ("TAP_SCHEMA", "TAP_UPLOAD")
    ):
        raise BadParameter(
            "This can't be the name of a published table.",
            value=name,
            allowed="schema.table with one dot and no / or quotes; the schema is not TAP_SCHEMA or TAP_UPLOAD",
            next_step="Name the table with --name, for example --name tycho2.main.",
        )
    return schema.strip(), table.strip()


class CatalogService(Publisher):
    """Publishes into one archive. *open_store* opens sources in S3 and HATS catalogues outside the archive.

    *access* is who may read what is published, from its first moment on.
    """

    def __init__(
        self,
        archive: Archive,
        open_store: OpenStore | None = None,
        progress: Progress = silent,
        access: AccessChange | None = None,
    ) -> None:
        super().__init__(archive, progress)
        self._access = access
        self.open_store = open_store or _no_stores

    # -- one table ---------------------------------------------------------------------------------------------------

    def add(self, name: str, source: SourceChoices, choices: IngestChoices, *, replacing: bool = False) -> Published:
        """Publish the table *name* from its files, or register the HATS catalogue that they are."""
        schema_name, table_name = split_name(name)
        self._check_free(schema_name, table_name, replacing=replacing)
        words = self._words(source, schema_name, table_name, replacing=replacing)
        schema = Schema(schema_name, (), words[0].description, words[0].utype) if words else Schema(schema_name, ())
        described = words[1] if words else None
        location = _one_folder(source.patterns)
        hats = self._hats_at(location) if location else None
        if hats is not None and location is not None and not source.copy:
            return self._register(schema, table_name, location, hats, described, choices, replacing)
        if hats is not None and location is not None:
            paths = hats.data_files(location)
            described = described or Table(schema_name, table_name, hats.columns, hats.description)
        else:
            paths = expand_sources(source.patterns, self.open_store)

        def publish(*, types_from_head: bool) -> Published:
            with self._files(paths, source, types_from_head=types_from_head) as files, files.doubting_types():
                rows = self._rows(schema_name, table_name, files, described, choices, source.description)
                also = self._closing(f"{schema_name}.{table_name}")
                return self.publish(schema, [rows], replacing=replacing, also=also)[0]

        try:
            return publish(types_from_head=True)
        except TypesOutgrown:
            return publish(types_from_head=False)

    def _closing(self, name: str) -> Callable[[Manifest], Manifest]:
        """The change to the manifest that attaches the read rule, where there is one, to *name*."""
        return partial(self._access.applied, name) if self._access is not None else lambda manifest: manifest

    def _files(self, paths: Sequence[str], source: SourceChoices, *, types_from_head: bool) -> TableFiles:
        threads = self.archive.settings.ingest.parser_count
        return TableFiles(paths, self.open_store, source.format, threads=threads, types_from_head=types_from_head)

    def _check_free(self, schema: str, table: str, *, replacing: bool) -> None:
        """Find out before the work whether it could be published; publishing asks again under the lock."""
        self.archive.require_presence(schema, table, replacing=replacing)

    def _words(self, source: SourceChoices, schema: str, table: str, *, replacing: bool) -> tuple[Schema, Table] | None:
        """The Felis schema given and its table of that name; on a replacement without one, the words published now."""
        if source.felis is not None:
            given = read_felis(source.felis)
            found = next((t for t in given if t.name.lower() == table.lower()), None)
            if found is None:
                near = nearest(table, [t.name for t in given])
                raise BadData(
                    f"The Felis schema {given.name} does not describe this table.",
                    value=table,
                    allowed=", ".join(t.name for t in given),
                    next_step=f"Did you mean {near}?" if near else "Name the table as the schema does.",
                )
            return given, replace(found, schema=schema, name=table)
        published = self.archive.document(schema) if replacing else None
        if published is None:
            return None
        old = next((t for t in published[0] if t.name.lower() == table.lower()), None)
        return (published[0], old) if old else None

    def _rows(
        self,
        schema: str,
        name: str,
        files: TableFiles,
        words: Table | None,
        choices: IngestChoices,
        description: str | None = None,
    ) -> Rows:
        table = Table(schema, name, files.columns, description or files.description)
        gaps: tuple[Gap, ...] = ()
        if words is not None:
            table, gaps = _apply_words(table, words)
            table = replace(table, schema=schema, name=name, description=description or table.description)
        return Rows(table, files.iter_batches, files.rows, files.label, choices, gaps)

    # -- HATS where it is --------------------------------------------------------------------------------------------

    def _hats_at(self, location: str) -> HatsCatalog | None:
        store = self.open_store(location)
        return open_hats(store) if find_hats(store) else None

    def _register(
        self,
        schema: Schema,
        name: str,
        location: str,
        catalog: HatsCatalog,
        words: Table | None,
        choices: IngestChoices,
        replacing: bool,
    ) -> Published:
        table = Table(schema.name, name, catalog.columns, catalog.description)
        extra: tuple[Gap, ...] = ()
        if words is not None:
            table, extra = _apply_words(table, words)
            table = replace(table, schema=schema.name, name=name)
        id_column = require_column(table.columns, choices.id, "id").name if choices.id else None
        table, lost = fit_for_felis(table)
        version_id = secrets.token_hex(8)
        prefix = version_prefix(schema.name, name, version_id)
        with disk_errors(), self.archive.staging() as staging:
            folder = staging / "0000"
            folder.mkdir()
            version = register_hats(
                catalog,
                folder,
                version_id=version_id,
                prefix=prefix,
                location=location,
                workers=self.archive.settings.ingest.worker_count * 4,
                id_column=id_column,
            )
            note_moves(staging, [prefix])
            self.archive.store_version(folder, prefix)
            self.archive.publish(
                schema,
                [(table, version)],
                to_yaml=write_felis,
                replacing=replacing,
                also=self._closing(f"{schema.name}.{name}"),
            )
        shown = replace(table, ra_column=version.ra_column, dec_column=version.dec_column, id_column=id_column)
        told = (*extra, *lost, *missing_words(table))
        return Published(shown, version_id, version.rows, version.bytes, version.files, 0, told)

    # -- a whole schema ----------------------------------------------------------------------------------------------

    def add_schema(
        self,
        source: SourceChoices,
        choices: IngestChoices,
        *,
        name: str | None = None,
        partial: bool = False,
        replacing: bool = False,
    ) -> list[Published]:
        """Publish every table of the Felis schema from the files of its name: all of them in one step, or none."""
        if source.felis is None:
            raise BadParameter(
                "A whole schema needs its Felis file.", next_step="Add --felis FILE, or --name schema.table."
            )
        schema = read_felis(source.felis)
        schema = replace(schema, name=name or schema.name)
        found = self._match_files(schema, source.patterns, partial=partial)
        for table, _ in found:
            split_name(f"{schema.name}.{table.name}")
            self._check_free(schema.name, table.name, replacing=replacing)

        def publish(*, types_from_head: bool) -> list[Published]:
            with ExitStack() as stack:
                rows = []
                for table, paths in found:
                    files = stack.enter_context(self._files(paths, source, types_from_head=types_from_head))
                    stack.enter_context(files.doubting_types())
                    rows.append(self._rows(schema.name, table.name, files, table, choices))
                also = self._closing(schema.name)
                return self.publish(replace(schema, tables=()), rows, replacing=replacing, also=also)

        try:
            return publish(types_from_head=True)
        except TypesOutgrown:
            return publish(types_from_head=False)

    def _match_files(self, schema: Schema, patterns: Sequence[str], *, partial: bool) -> list[tuple[Table, list[str]]]:
        """Each table with its files: ``Object.fits``, ``Object.csv.gz``, a folder ``Object`` of Parquet files."""
        files = _candidates(expand_sources(patterns, self.open_store))
        by_name: dict[str, list[str]] = {}
        for path in files:
            by_name.setdefault(table_name_of(path).lower(), []).append(path)
        known = {table.name.lower(): table.name for table in schema}
        strangers = [name for name in by_name if name not in known]
        absent = [table.name for table in schema if table.name.lower() not in by_name]
        if strangers:
            near = nearest(strangers[0], known.values())
            raise BadData(
                f"Files were found that no table of {schema.name} is named after.",
                value=", ".join(sorted(Path(p).name for name in strangers for p in by_name[name])),
                allowed=", ".join(known.values()),
                next_step=f"Rename the file; did you mean {near}?" if near else "Rename or remove the files.",
            )
        if not by_name or (absent and not partial):
            raise BadData(
                f"Tables of {schema.name} have no file.",
                value=", ".join(absent),
                allowed="a file named after each table, such as Object.parquet",
                next_step="Add the files, or add --partial to publish only the tables that have one.",
            )
        return [(t, sorted(by_name[t.name.lower()])) for t in schema if t.name.lower() in by_name]

    # -- metadata ----------------------------------------------------------------------------------------------------

    def metadata_text(self, schema: str) -> str:
        """The schema's Felis YAML as published, for editing. Raises NotFound."""
        return self._document(schema)[1]

    def _document(self, schema: str) -> tuple[Schema, str]:
        found = self.archive.document(schema)
        if found is None:
            names = [s.name for s in self.archive.snapshot(fresh=True).schemas]
            near = nearest(schema, names)
            raise NotFound(
                f"There is no schema {schema}.",
                allowed=", ".join(names),
                next_step=f"Did you mean {near}?" if near else "See idac catalog list.",
            )
        return found

    def edit_metadata(self, schema: str, text: str | Path, *, before: str | None = None) -> list[Gap]:
        """Publish edited Felis metadata, once they fit the data; *before* is the text that the edit began with.

        Raises BadData where columns or tables don't match, Conflict where someone else was faster.
        """
        published, current = self._document(schema)
        edited = read_felis(text)
        if edited.name != published.name:
            raise BadData(
                "The name of a schema can't be changed by editing its metadata.",
                value=edited.name,
                allowed=published.name,
                next_step="Keep the name, or publish the tables again under the new one.",
            )
        merged, gaps = _edited_schema(published, edited)
        expected = self.archive.manifest().documents.get(schema.lower())
        if before is not None and before != current:
            expected = ""  # what the edit began with is not published any more: no document has this name
        self.archive.replace_metadata(merged, write_felis, expected=expected)
        return gaps

    # -- the rest ----------------------------------------------------------------------------------------------------

    def find(self, name: str) -> tuple[TableEntry, Version]:
        """The published table of that full name. Raises NotFound with the nearest."""
        schema, _, table = name.partition(".")
        entry = self.archive.snapshot(fresh=True).find(schema, table)
        version = self.archive.manifest().current(schema, table)
        if entry is None or version is None:
            names = [t.qualified_name for s in self.archive.snapshot().schemas for t in s if s.name != "TAP_SCHEMA"]
            near = nearest(name, names)
            raise NotFound(
                f"There is no table {name}.",
                allowed=", ".join(names) or "none published yet",
                next_step=f"Did you mean {near}?" if near else "See idac catalog list.",
            )
        return entry, version

    def drop(self, name: str) -> Version:
        entry, _ = self.find(name)
        version = self.archive.drop(entry.table.schema, entry.table.name, write_felis)
        self._sweep()
        return version

    def rollback(self, name: str) -> Version:
        entry, _ = self.find(name)
        return self.archive.rollback(entry.table.schema, entry.table.name, write_felis)


def _no_stores(location: str) -> Store:
    raise BadParameter("Sources outside the archive can't be opened here.", value=location)


def _one_folder(patterns: Sequence[str]) -> str | None:
    """The one folder or S3 prefix that *patterns* name, as an absolute address; None where they name something else."""
    if len(patterns) != 1:
        return None
    if patterns[0].startswith("s3://"):
        return None if is_pattern(patterns[0]) else patterns[0].rstrip("/")
    path = Path(patterns[0]).expanduser()
    return str(path.resolve()) if path.is_dir() else None


def _candidates(paths: Sequence[str]) -> list[str]:
    """The files of each folder named, and the folders in it (tables of many Parquet files); hidden ones left out."""
    found: list[str] = []
    for path in paths:
        folder = Path(path)
        if path.startswith("s3://") or not folder.is_dir():
            found.append(path)
            continue
        inside = sorted(p for p in folder.iterdir() if not p.name.startswith((".", "_")))
        found += [str(p) for p in inside if p.suffix.lower() not in (".yaml", ".yml", ".md")]
    return found


def _apply_words(table: Table, words: Table) -> tuple[Table, tuple[Gap, ...]]:
    """*table* with the description's words. Raises BadData where the two don't fit."""
    merged, missing, extra = merge_metadata(table, words)
    if missing:
        near = nearest(missing[0], [c.name for c in table.columns])
        more = f" and {len(missing) - 8} more" if len(missing) > 8 else ""
        raise BadData(
            f"The Felis schema describes columns of {words.name} that its data lack.",
            value=", ".join(missing[:8]) + more,
            allowed="columns of the data",
            next_step=f"Did you mean {near}? Correct the schema, or the names in the source."
            if near
            else "Take them out of the schema, or add them to the source.",
        )
    clashes = list(iter_type_clashes(table, words))
    if clashes:
        raise BadData(
            f"The Felis schema and the data of {words.name} disagree about the kind of values.",
            value=", ".join(clashes[:8]),
            allowed="the data's own kinds",
            next_step="Correct the datatype in the schema, or convert the column in the source.",
        )
    return merged, tuple(Gap(name, "in the data and not in the Felis schema") for name in extra)


def _edited_schema(published: Schema, edited: Schema) -> tuple[Schema, list[Gap]]:
    given = {table.name.lower(): table for table in edited}
    tables, gaps = [], []
    for table in published:
        words = given.pop(table.name.lower(), None)
        if words is None:
            raise BadData(
                "The edited metadata leave out a published table.",
                value=table.name,
                allowed=", ".join(t.name for t in published),
                next_step=f"Put it back, or take the table down with idac catalog drop {table.qualified_name}.",
            )
        bare = replace(table, columns=tuple(_bare(c) for c in table.columns), description=None, utype=None)
        merged, left_out = _apply_words(bare, words)
        forgotten = [g.column for g in left_out if g.column]
        if forgotten:
            raise BadData(
                f"The edited metadata leave out columns of {table.name}.",
                value=", ".join(forgotten[:8]),
                allowed="every column of the data",
                next_step="Put them back; a column is removed by publishing the table again without it.",
            )
        fitted, lost = fit_for_felis(replace(merged, name=table.name, schema=published.name))
        tables.append(fitted)
        gaps += [*lost, *missing_words(fitted)]
    if given:
        near = nearest(next(iter(given)), [t.name for t in published])
        raise BadData(
            "The edited metadata describe tables that are not published.",
            value=", ".join(t.name for t in given.values()),
            allowed=", ".join(t.name for t in published),
            next_step=f"Did you mean {near}?" if near else "Publish their data with idac catalog add.",
        )
    return replace(edited, tables=tuple(tables)), gaps


def _bare(column: Column) -> Column:
    """The column with nothing but its name and type, so that a word removed by the editor is really gone."""
    return Column(column.name, column.type)
