"""The archive: what is published at this moment, and how something new becomes published.

Every change builds new files under names that nothing refers to, then replaces the manifest in one atomic write under a
lock. A process killed anywhere leaves the old manifest or the new one, and at worst files that ``sweep`` removes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath

from idac.catalogs.access import without_open
from idac.catalogs.documents import SCHEMAS_FOLDER, get_document, get_yaml, json_key, put_document, yaml_key
from idac.catalogs.manifest import (
    MANIFEST_KEY,
    Manifest,
    Retired,
    Version,
    now_text,
    parse_manifest,
    table_key,
)
from idac.catalogs.settings import CatalogsSettings
from idac.catalogs.sidecar import LazyFiles, read_files, read_row_groups
from idac.catalogs.snapshot import (
    CatalogSnapshot,
    HatsStorage,
    PlainStorage,
    RegisteredFile,
    RowGroupIndex,
    Storage,
    TableEntry,
)
from idac.catalogs.staging import staging_base, staging_folder, sweep_staging
from idac.catalogs.tap_schema import TAP_SCHEMA, tap_schema_entries
from idac.core.database import Database
from idac.core.errors import Conflict, NotFound, StoreUnavailable, UserError
from idac.core.store import Store
from idac.tables.model import Schema, Table

TABLES_FOLDER = "catalogs/tables"
#: Days for which a version that no manifest names may still be on its way in: uploads of a large schema take long.
_STRAY_DAYS = 7
#: Seconds after which a file that does not grow is left from a publisher that died while it wrote.
_UNFINISHED_S = 86400
#: Seconds for which nobody asks again a store that has just not answered: each would wait, one after the other.
_PAUSE_S = 1.0


class Archive:
    """The published tables in *store*. Thread-safe; any number of processes may publish and read."""

    def __init__(self, store: Store, database: Database, settings: CatalogsSettings) -> None:
        self.store = store
        self.settings = settings
        self._database = database
        self._lock = threading.Lock()
        self._checked = float("-inf")
        self._manifest_bytes: bytes | None = None
        self._failure: StoreUnavailable | None = None
        self._failed = float("-inf")
        self._snapshot: CatalogSnapshot | None = None
        self._entries: dict[str, tuple[Version, TableEntry]] = {}
        self._documents: dict[str, Schema] = {}

    def snapshot(self, *, fresh: bool = False) -> CatalogSnapshot:
        """What is published now, at most ``refresh_s`` old; *fresh* asks the store however recent the last look was."""
        with self._lock:
            now = time.monotonic()
            if self._snapshot is None or fresh or now - self._checked >= self.settings.refresh_s:
                self._look(fresh or self._snapshot is None)
                self._checked = time.monotonic()
            assert self._snapshot is not None  # noqa: S101  the first look makes one or raises
            return self._snapshot

    def _look(self, fresh: bool) -> None:
        """Bring the snapshot up to date; those who waited for a look that failed share its failure."""
        if self._failure is not None and not fresh and time.monotonic() - self._failed < _PAUSE_S:
            raise StoreUnavailable(self._failure.what, next_step=self._failure.next_step)
        try:
            data = self._read_manifest_bytes()
            if not data and self._manifest_bytes:
                # An archive that was there a moment ago is not mounted, and not empty.
                raise StoreUnavailable(
                    "The archive of this centre is not there.",
                    next_step="Try again in a minute; if it lasts, tell the operator.",
                )
            if self._snapshot is None or data != self._manifest_bytes:
                self._snapshot = self._build(parse_manifest(data) if data else Manifest())
                self._manifest_bytes = data
            self._failure = None
        except StoreUnavailable as error:
            self._failure, self._failed = error, time.monotonic()
            raise

    def manifest(self) -> Manifest:
        data = self._read_manifest_bytes()
        return parse_manifest(data) if data else Manifest()

    def _read_manifest_bytes(self) -> bytes:
        try:
            return self.store.get(MANIFEST_KEY)
        except NotFound:
            return b""

    # -- from the manifest to a picture ------------------------------------------------------------------------------

    def _build(self, manifest: Manifest) -> CatalogSnapshot:
        self._documents = {
            digest: self._documents.get(digest) or get_document(self.store, digest)
            for digest in set(manifest.documents.values())
        }
        entries: dict[tuple[str, str], TableEntry] = {}
        schemas: list[Schema] = []
        for digest in manifest.documents.values():
            schema = self._documents[digest]
            tables = []
            for table in schema:
                version = manifest.current(schema.name, table.name)
                if version is None:
                    continue  # described and not yet published
                entry = self._entry(table, version)
                entries[schema.name.lower(), table.name.lower()] = entry
                tables.append(entry.table)
            if tables:
                schemas.append(replace(schema, tables=tuple(_with_known_targets(tables))))
        schemas.sort(key=lambda s: (s.schema_index is None, s.schema_index or 0, s.name.lower()))
        published = (*schemas, TAP_SCHEMA)
        entries |= tap_schema_entries(published, manifest.generation)
        return CatalogSnapshot(manifest.generation, published, entries, manifest.rules)

    def _entry(self, table: Table, version: Version) -> TableEntry:
        key = table_key(table.schema, table.name)
        found = self._entries.get(key)
        shown = _physical_table(table, version)
        if found and found[0] == version:
            # Same files: keep what was read of them, whatever happened to the words.
            entry = found[1] if found[1].table == shown else replace(found[1], table=shown)
        else:
            entry = TableEntry(shown, self._storage(version), version.id)
        self._entries[key] = (version, entry)
        return entry

    def _storage(self, version: Version) -> Storage:
        margin = LazyFiles(lambda: self.file_urls(version, "margin"))
        index = LazyFiles(lambda: self.file_urls(version, "index"))
        if version.kind == "plain":
            return PlainStorage(LazyFiles(lambda: self.file_urls(version, "data")), version.rows, version.bytes)
        return HatsStorage(
            root=self.root_url(version),
            rows=version.rows,
            bytes=version.bytes,
            load_index=lambda: self.row_group_index(version),
            margin_arcsec=version.margin_arcsec,
            margin_files=margin if version.margin_arcsec else (),
            id_index_files=index if version.id_column and version.location is None else (),
            healpix_column=version.healpix_column or "_healpix_29",
            may_hold_nan=version.location is not None,
        )

    def root_url(self, version: Version) -> str:
        """Address of the main catalogue's folder."""
        if version.location is not None:
            return f"{version.location.rstrip('/')}/{version.catalog}".rstrip("/")
        return self.store.url(f"{version.prefix}/{version.catalog}".rstrip("/"))

    def file_urls(self, version: Version, kind: str) -> tuple[str, ...]:
        """Addresses of the version's files of that kind, in the order of its list."""
        files = read_files(self.store, version.prefix)
        if version.location is not None:
            base = version.location.rstrip("/")
            return tuple(f"{base}/{f.path}" for f in files if f.kind == kind)
        return tuple(self.store.url(f"{version.prefix}/{f.path}") for f in files if f.kind == kind)

    def row_group_index(self, version: Version) -> RowGroupIndex:
        urls = self.file_urls(version, "data")
        if version.location is None:
            return read_row_groups(self.store, version.prefix, urls)
        files = [f for f in read_files(self.store, version.prefix) if f.kind == "data"]
        found = [RegisteredFile(f.bytes, f.modified_us) for f in files]
        return read_row_groups(self.store, version.prefix, urls, found)

    # -- changes -----------------------------------------------------------------------------------------------------

    def change(self, edit: Callable[[Manifest], Manifest]) -> Manifest:
        """Replace the manifest by what *edit* makes of the newest one, alone; raise in *edit* to change nothing."""
        with self._database.exclusive("archive"):
            old = self.manifest()
            try:
                new = edit(old)
                if new is not old:
                    self.store.put_atomic(MANIFEST_KEY, new.to_json())
            except BaseException:
                if self.store.is_local:  # elsewhere a request that failed here may yet succeed there
                    with suppress(UserError, OSError):
                        self._remove_stray_documents(self.manifest())
                raise
        with self._lock:
            self._checked = float("-inf")
        return new

    def document(self, schema: str) -> tuple[Schema, str] | None:
        """The schema's metadata as they are published, and their Felis YAML; None where there is no such schema."""
        digest = self.manifest().documents.get(schema.lower())
        return None if digest is None else (get_document(self.store, digest), get_yaml(self.store, digest))

    def publish(
        self,
        schema: Schema,
        versions: Sequence[tuple[Table, Version]],
        *,
        to_yaml: Callable[[Schema], str],
        replacing: bool,
        also: Callable[[Manifest], Manifest] = lambda manifest: manifest,
    ) -> None:
        """Show *versions* to everyone at once, with their metadata merged into the schema's, and what *also* changes.

        *schema* gives the schema's own words; tables it describes that are already published keep their own metadata.
        Raises Conflict where a table is there already and *replacing* is false, NotFound the other way round.
        """

        def edit(old: Manifest) -> Manifest:
            tables = dict(old.tables)
            retired = list(old.retired)
            before = old.documents.get(schema.name.lower())
            for table, version in versions:
                key = table_key(schema.name, table.name)
                _check_presence(f"{schema.name}.{table.name}", key in tables, replacing=replacing)
                earlier = [replace(v, document=v.document or before) for v in tables.get(key, ())]
                keep = self.settings.keep_versions
                retired += [Retired(v.prefix, now_text()) for v in earlier[keep:]]
                tables[key] = (version, *earlier[:keep])
            merged = self._merged_schema(schema, [t for t, _ in versions], before)
            digest = put_document(self.store, merged, to_yaml(merged))
            return also(_with_document(old.advanced(tables=tables, retired=tuple(retired)), schema.name, digest))

        self.change(edit)

    def _merged_schema(self, schema: Schema, tables: Sequence[Table], before: str | None) -> Schema:
        if before is None:
            return replace(schema, tables=tuple(tables))
        old = get_document(self.store, before)
        new = {table.name.lower(): table for table in tables}
        kept = [new.pop(table.name.lower(), table) for table in old]
        return replace(
            old,
            tables=(*kept, *new.values()),
            description=schema.description or old.description,
            utype=schema.utype or old.utype,
        )

    def require_presence(self, schema: str, table: str, *, replacing: bool) -> None:
        """Raise Conflict where a table to add is there already, NotFound where one to replace is not."""
        present = table_key(schema, table) in self.manifest().tables
        _check_presence(f"{schema}.{table}", present, replacing=replacing)

    def replace_metadata(
        self, schema: Schema, to_yaml: Callable[[Schema], str], *, expected: str | None = None
    ) -> None:
        """Publish new words for a schema; *expected* is the document they were edited from, to notice a lost race."""

        def edit(old: Manifest) -> Manifest:
            before = old.documents.get(schema.name.lower())
            if before is None:
                raise _no_schema(schema.name, old)
            if expected is not None and before != expected:
                raise Conflict(
                    f"The metadata of {schema.name} changed while you were editing them.",
                    next_step="Look at the new metadata and apply your changes again.",
                )
            digest = put_document(self.store, schema, to_yaml(schema))
            return old if digest == before else _with_document(old.advanced(), schema.name, digest)

        self.change(edit)

    def drop(self, schema: str, table: str, to_yaml: Callable[[Schema], str]) -> Version:
        """Take a table out of sight; its files go when no query can be using them. Gives the version that was shown."""
        gone: list[Version] = []

        def edit(old: Manifest) -> Manifest:
            key = table_key(schema, table)
            if key not in old.tables:
                raise _no_table(schema, table, old)
            gone.extend(old.tables[key])
            retired = (*old.retired, *(Retired(v.prefix, now_text()) for v in gone))
            tables = {name: versions for name, versions in old.tables.items() if name != key}
            before = old.documents[schema.lower()]
            document = get_document(self.store, before)
            left = replace(document, tables=tuple(t for t in document if t.name.lower() != table.lower()))
            left = replace(left, tables=tuple(_with_known_targets(left.tables)))
            if not left.tables:
                documents = {name: digest for name, digest in old.documents.items() if name != schema.lower()}
                retired = (*retired, Retired(before, now_text()))
                rules = without_open(old.rules, key, schema.lower())
                return old.advanced(tables=tables, retired=retired, documents=documents, rules=rules)
            digest = put_document(self.store, left, to_yaml(left))
            changed = old.advanced(tables=tables, retired=retired, rules=without_open(old.rules, key))
            return _with_document(changed, schema, digest)

        self.change(edit)
        return gone[0]

    def rollback(self, schema: str, table: str, to_yaml: Callable[[Schema], str]) -> Version:
        """Show the version before the current one again, with the metadata it had; doing it twice changes nothing."""
        shown: list[Version] = []

        def edit(old: Manifest) -> Manifest:
            key = table_key(schema, table)
            versions = old.tables.get(key)
            if not versions:
                raise _no_table(schema, table, old)
            if len(versions) < 2:
                raise Conflict(
                    f"There is no earlier version of {schema}.{table} to go back to.",
                    allowed="tables that were replaced while catalogs.keep_versions was at least 1",
                    next_step="Publish the earlier data again with idac catalog replace.",
                )
            before = old.documents[schema.lower()]
            current, previous, *rest = versions
            shown.append(previous)
            tables = {**old.tables, key: (previous, replace(current, document=before), *rest)}
            document = get_document(self.store, before)
            words = get_document(self.store, previous.document) if previous.document else document
            earlier = {t.name.lower(): t for t in words}
            merged = [earlier.get(t.name.lower(), t) if t.name.lower() == table.lower() else t for t in document]
            restored = replace(document, tables=tuple(merged))
            digest = put_document(self.store, restored, to_yaml(restored))
            return _with_document(old.advanced(tables=tables), schema, digest)

        self.change(edit)
        return shown[0]

    def sweep(self, *, strays: bool = False) -> list[str]:
        """Remove what nothing has named for longer than ``version_grace_s``; gives the keys removed.

        *strays* looks through the whole archive for versions too that a publisher on another machine moved in before it
        died; one on this machine is cleared up after by the next.
        """
        oldest = datetime.now(UTC) - timedelta(seconds=self.settings.version_grace_s)
        removed: list[str] = []
        self._remove_due_versions(oldest)
        self.store.delete_unfinished("catalogs", _UNFINISHED_S)
        ingest = self.settings.ingest
        sweep_staging(staging_base(self.store, ingest), ingest.staging_lease_s, self._discard_unpublished)

        def edit(old: Manifest) -> Manifest:
            due = [r for r in old.retired if datetime.fromisoformat(r.at) <= oldest]
            named = _named(old)
            removed.extend(r.key for r in due if r.key not in named and _is_version(r.key))
            known = named | {r.key for r in old.retired}
            if strays:
                removed.extend(p for p in self._old_versions(oldest) if p not in known)
            left = tuple(r for r in old.retired if r not in due or r.key in named)
            new = old.advanced(retired=left) if len(left) < len(old.retired) else old
            # Under the lock, since the same words published again are the same document.
            removed.extend(self._remove_stray_documents(new))
            return new

        self.change(edit)
        for key in filter(_is_version, removed):
            self._remove(key)
        return removed

    def _remove_stray_documents(self, manifest: Manifest) -> list[str]:
        """Remove those that *manifest* doesn't know, left by a failed publisher: all write under one lock."""
        known = _named(manifest) | {r.key for r in manifest.retired}
        stored = dict.fromkeys(PurePosixPath(item.key).stem for item in self.store.list(SCHEMAS_FOLDER))
        strays = [digest for digest in stored if digest not in known]
        for digest in strays:
            self._remove(digest)
        return strays

    def _remove_due_versions(self, oldest: datetime) -> None:
        """Remove their files while the manifest still lists them as retired: a death on the way is made good later."""
        manifest = self.manifest()
        named = _named(manifest)
        for retired in manifest.retired:
            due = datetime.fromisoformat(retired.at) <= oldest
            if due and _is_version(retired.key) and retired.key not in named:
                self._remove(retired.key)

    def _old_versions(self, oldest: datetime) -> list[str]:
        """Prefixes of all versions in the store that nobody has added to for a week, nor since *oldest*."""
        newest: dict[str, datetime] = {}
        for item in self.store.list(TABLES_FOLDER):
            prefix = "/".join(item.key.split("/")[: TABLES_FOLDER.count("/") + 4])
            newest[prefix] = max(item.modified, newest.get(prefix, item.modified))
        limit = min(oldest, datetime.now(UTC) - timedelta(days=_STRAY_DAYS))
        return [prefix for prefix, modified in newest.items() if modified <= limit]

    def _remove(self, key: str) -> None:
        if _is_version(key):
            self.store.delete_prefix(f"{key}/")
            return
        for name in (yaml_key(key), json_key(key)):
            self.store.delete(name)

    def staging(self) -> AbstractContextManager[Path]:
        """A folder for versions in the making; see ``staging_folder``."""
        return staging_folder(self.store, self.settings.ingest, self._discard_unpublished)

    def _discard_unpublished(self, prefixes: list[str]) -> None:
        manifest = self.manifest()
        named = {v.prefix for versions in manifest.tables.values() for v in versions}
        named |= {r.key for r in manifest.retired}
        for prefix in prefixes:
            if prefix not in named:
                self._remove(prefix)

    def store_version(self, folder: Path, prefix: str) -> None:
        """Move a staged version to its place in the store; nothing refers to it yet."""
        target = self.store.local_path(prefix)
        if target is not None:
            while True:  # whoever sweeps beside us may remove the parent again while it is empty
                target.parent.mkdir(parents=True, exist_ok=True)
                try:
                    folder.rename(target)
                except FileNotFoundError:
                    if not folder.exists():
                        raise
                else:
                    return
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            self.store.put_atomic(f"{prefix}/{path.relative_to(folder).as_posix()}", path)


def _is_version(key: str) -> bool:
    """True for a version's folder, false for a document's hash."""
    return key.startswith(TABLES_FOLDER)


def _named(manifest: Manifest) -> set[str]:
    """Every version and document that the manifest shows or can go back to."""
    versions = [v for of_table in manifest.tables.values() for v in of_table]
    return {
        *(v.prefix for v in versions),
        *(v.document for v in versions if v.document),
        *manifest.documents.values(),
    }


def _with_document(manifest: Manifest, schema: str, digest: str) -> Manifest:
    before = manifest.documents.get(schema.lower())
    retired = manifest.retired if before in (None, digest) else (*manifest.retired, Retired(before, now_text()))
    return replace(manifest, documents={**manifest.documents, schema.lower(): digest}, retired=retired)


def _check_presence(name: str, present: bool, *, replacing: bool) -> None:
    if present and not replacing:
        raise Conflict(
            f"The table {name} is published already.",
            next_step=f"Use idac catalog replace to publish a new version of it, or idac catalog drop {name} first.",
        )
    if replacing and not present:
        raise NotFound(
            f"There is no table {name} to replace.", next_step="Use idac catalog add to publish a new table."
        )


def _no_table(schema: str, table: str, manifest: Manifest) -> NotFound:
    known = ", ".join(sorted(manifest.tables)) or "none yet"
    return NotFound(f"There is no table {schema}.{table}.", allowed=known, next_step="See idac catalog list.")


def _no_schema(schema: str, manifest: Manifest) -> NotFound:
    known = ", ".join(sorted(manifest.documents)) or "none yet"
    return NotFound(f"There is no schema {schema}.", allowed=known, next_step="See idac catalog list.")


def _physical_table(table: Table, version: Version) -> Table:
    """*table* with what the files add: position and id columns, and that conditions on them are fast."""
    fast = {version.ra_column, version.dec_column, version.id_column} - {None}
    columns = tuple(replace(c, indexed=True) if c.name in fast and not c.indexed else c for c in table.columns)
    return replace(
        table,
        columns=columns,
        ra_column=version.ra_column,
        dec_column=version.dec_column,
        id_column=version.id_column,
    )


def _with_known_targets(tables: Sequence[Table]) -> list[Table]:
    """*tables* without the foreign keys whose target is not among them: TAP_SCHEMA must not point at nothing."""
    known = {table.name.lower() for table in tables}
    return [
        table
        if all(key.target_table.lower() in known for key in table.foreign_keys)
        else replace(table, foreign_keys=tuple(k for k in table.foreign_keys if k.target_table.lower() in known))
        for table in tables
    ]
