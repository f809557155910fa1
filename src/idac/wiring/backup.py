"""One file with all that the state database holds: written while a service runs, and read into either kind of database.

Lines of JSON, compressed: a head, each table's columns, rows and digest, and a line with the checksum of all before it.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import secrets
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import sqlalchemy as sa

from idac import __version__
from idac.core.database import Database
from idac.core.errors import BadConfiguration, BadData, BadParameter, Conflict
from idac.identity.store import Records
from idac.wiring.migrating import schema_at, upgrade
from idac.wiring.state import VERSION, known_revisions, make_current, revision_of

FORMAT = 1
_BATCH = 1000
_STREAMED = {"yield_per": _BATCH}
#: What the number of the next account is says nothing of anybody.
_SAYS_NOTHING = "identity_numbers"
_HASHES = 2**256
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class Backup:
    """What a backup says of itself, and the rows it has of each table."""

    revision: str
    program: str
    made: str
    rows: dict[str, int]
    sha256: str

    @property
    def total(self) -> int:
        return sum(self.rows.values())


class _Digest:
    """Of rows in any order: databases sort text in ways of their own."""

    def __init__(self) -> None:
        self.rows = 0
        self._sum = 0

    def add(self, line: bytes) -> None:
        self.rows += 1
        self._sum = (self._sum + int.from_bytes(hashlib.sha256(line).digest())) % _HASHES

    @property
    def text(self) -> str:
        return f"{self._sum:064x}"


def write_backup(database: Database, path: Path, *, actor: str) -> Backup:
    """Write the state, as it is at one moment, to a new file that its owner alone may read."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        if path.exists():
            raise Conflict("There is a file of this name already.", value=path, next_step="Name a new one.")
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            with gzip.GzipFile(fileobj=file, mode="wb", filename="") as packed, database.snapshot() as connection:
                made = _write(connection, packed)
            file.flush()
            os.fsync(file.fileno())
        os.link(part, path)  # unlike a renaming, it replaces nothing
    except OSError as error:
        raise BadParameter(
            "The backup can't be written.", value=f"{path}: {error.strerror}", next_step="Name another file."
        ) from None
    finally:
        part.unlink(missing_ok=True)
    with database.begin() as connection:
        Records(connection, datetime.now(UTC)).note(
            actor, "state backup", path.name, rows=made.total, sha256=made.sha256
        )
    return made


def _write(connection: sa.Connection, file: gzip.GzipFile) -> Backup:
    revision = revision_of(connection)
    if revision is None:
        raise Conflict("The state database has no tables yet.", next_step="Make them with: idac state upgrade")
    whole = hashlib.sha256()

    def put(value: object) -> bytes:
        line = orjson.dumps(value) + b"\n"
        whole.update(line)
        file.write(line)
        return line

    made = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    put({"idac-state": FORMAT, "program": __version__, "revision": revision, "made": made})
    rows = {}
    for table in schema_at(revision).sorted_tables:
        put({"table": table.name, "columns": table.columns.keys()})
        digest = _Digest()
        for row in connection.execute(sa.select(table), execution_options=_STREAMED):
            digest.add(put(list(row)))
        put({"rows": digest.rows, "digest": digest.text})
        rows[table.name] = digest.rows
    sha256 = whole.hexdigest()
    file.write(orjson.dumps({"end": sum(rows.values()), "sha256": sha256}) + b"\n")
    return Backup(revision, __version__, made, rows, sha256)


def read_backup(path: Path) -> Backup:
    """What the file holds; every byte of it is looked at.

    Raises BadData where it is no backup, is cut off or was altered, and BadConfiguration where a newer idac made it.
    """
    with _open(path) as file:
        rows: dict[str, int] = {}
        head, table = None, ""
        for value in _values(file, path):
            if head is None:
                head = _head(value, path)
            elif isinstance(value, dict) and "table" in value:
                table = value["table"]
            elif isinstance(value, dict) and "rows" in value:
                rows[table] = value["rows"]
            elif isinstance(value, dict):
                return Backup(head["revision"], head["program"], head["made"], rows, value["sha256"])
    raise _damaged(path)


def _head(value: object, path: Path) -> dict[str, Any]:
    if not isinstance(value, dict) or "idac-state" not in value:
        raise _no_backup(path)
    known = known_revisions()
    if value["idac-state"] != FORMAT or value["revision"] not in known:
        raise BadConfiguration(
            "The backup was made by a newer idac than this one.",
            value=f"revision {value['revision']}, idac {value['program']}",
            allowed=f"revision {known[-1]} and older",
            next_step="Install the idac that made it.",
        )
    return value


def _open(path: Path) -> gzip.GzipFile:
    try:
        with path.open("rb") as file:
            if file.read(2) != _GZIP:
                raise _no_backup(path)
        return gzip.open(path, "rb")
    except OSError as error:
        raise BadParameter(
            "The backup can't be read.", value=f"{path}: {error.strerror}", next_step="Name a file that idac made."
        ) from None


def _values(file: gzip.GzipFile, path: Path) -> Iterator[Any]:
    """Each line's value, the last only where all lines before it are as they were written."""
    whole = hashlib.sha256()
    try:
        for line in file:
            value = orjson.loads(line)
            if isinstance(value, dict) and "end" in value:
                if value["sha256"] != whole.hexdigest() or file.read(1):
                    raise _damaged(path)
                yield value
                return
            whole.update(line)
            yield value
    except (OSError, EOFError, zlib.error, orjson.JSONDecodeError) as error:
        raise _damaged(path) from error
    raise _damaged(path)


def restore_backup(database: Database, path: Path, *, actor: str, replace: bool = False) -> Backup:
    """Put what the file holds in the place of what the database holds: all of it, or nothing is changed.

    An older backup comes in as it is and is then brought forward. Raises Conflict where the database is not empty and
    *replace* is not said.
    """
    backup = read_backup(path)
    make_current(database)
    with database.change_schema() as connection:
        _require_empty(connection, replace)
        _drop_all(connection)
        upgrade(connection, backup.revision)
        with _any_order(connection, backup.rows), _open(path) as file:
            _load(connection, backup, file, path)
        upgrade(connection, known_revisions()[-1])
        note = Records(connection, datetime.now(UTC))
        note.note(actor, "state restore", path.name, rows=backup.total, sha256=backup.sha256, made=backup.made)
    return backup


def count_rows(connection: sa.Connection, revision: str) -> dict[str, int]:
    """The number of rows of each table."""
    return {
        table.name: connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
        for table in schema_at(revision).sorted_tables
    }


def _require_empty(connection: sa.Connection, replace: bool) -> None:
    full = [
        f"{name} ({rows:,})"
        for name, rows in count_rows(connection, known_revisions()[-1]).items()
        if rows and name != _SAYS_NOTHING
    ]
    if full and not replace:
        raise Conflict(
            "The state database is not empty.",
            value=f"rows in {', '.join(full)}",
            next_step="Restore into an empty one. "
            "Or stop the service, back up what is there, and give it up with --replace.",
        )


def _drop_all(connection: sa.Connection) -> None:
    # Tables that are dropped fire no trigger: only so can an audit log be replaced by another.
    names = [*(table.name for table in schema_at(known_revisions()[-1]).sorted_tables), VERSION.name]
    if connection.dialect.name == "sqlite":
        for name in names:
            connection.exec_driver_sql(f"DROP TABLE {name}")
    else:
        connection.exec_driver_sql(f"DROP TABLE {', '.join(names)}")


@contextmanager
def _any_order(connection: sa.Connection, tables: Iterable[str]) -> Iterator[None]:
    """Let rows point to rows that come after them, until the end of the block; on SQLite they may anyway."""
    if connection.dialect.name == "sqlite":
        yield
        return
    found = sa.inspect(connection)
    keys = [f'ALTER TABLE {t} ALTER CONSTRAINT "{key["name"]}"' for t in tables for key in found.get_foreign_keys(t)]
    for start in keys:
        connection.exec_driver_sql(f"{start} DEFERRABLE INITIALLY DEFERRED")
    yield
    connection.exec_driver_sql("SET CONSTRAINTS ALL IMMEDIATE")
    for start in keys:
        connection.exec_driver_sql(f"{start} NOT DEFERRABLE")


def _load(connection: sa.Connection, backup: Backup, file: gzip.GzipFile, path: Path) -> None:
    tables = schema_at(backup.revision).tables
    table: sa.Table | None = None
    columns: list[str] = []
    batch: list[dict[str, Any]] = []
    for value in _values(file, path):
        if isinstance(value, list):
            batch.append(dict(zip(columns, value, strict=True)))
        if table is not None and batch and (len(batch) == _BATCH or isinstance(value, dict)):
            _insert(connection, table, batch)
            batch = []
        if isinstance(value, dict) and "table" in value:
            table, columns = tables[value["table"]], value["columns"]
        elif isinstance(value, dict) and "digest" in value and table is not None:
            _compare(connection, table, columns, value)
        elif isinstance(value, dict) and "end" in value and value["sha256"] != backup.sha256:
            raise _damaged(path)  # it was replaced by another while it was read


def _insert(connection: sa.Connection, table: sa.Table, rows: list[dict[str, Any]]) -> None:
    try:
        connection.execute(table.insert(), rows)
    except (sa.exc.DataError, sa.exc.IntegrityError) as error:
        reason = getattr(getattr(error.orig, "diag", None), "message_primary", None) or type(error.orig).__name__
        raise BadData(
            f"A row of {table.name} can't be stored in this database.",
            value=reason,
            next_step="Nothing was changed. Restore into a database of the kind that the backup was made from.",
        ) from error


def _compare(connection: sa.Connection, table: sa.Table, columns: list[str], said: dict[str, Any]) -> None:
    """See that the database has what the file has, and goes on counting where it stopped."""
    digest = _Digest()
    chosen = sa.select(*(table.c[name] for name in columns))
    for row in connection.execute(chosen, execution_options=_STREAMED):
        digest.add(orjson.dumps(list(row)) + b"\n")
    if (digest.rows, digest.text) != (said["rows"], said["digest"]):
        raise BadData(
            f"What was stored of {table.name} is not what the backup holds.",
            value=f"{digest.rows:,} rows",
            allowed=f"the {said['rows']:,} rows of the backup",
            next_step="Nothing was changed. Tell the developers, with the versions of both databases.",
        )
    if connection.dialect.name != "sqlite" and table.autoincrement_column is not None and digest.rows:
        column = table.autoincrement_column
        number = sa.func.pg_get_serial_sequence(table.name, column.name)
        largest = sa.select(sa.func.max(column)).scalar_subquery()
        connection.execute(sa.select(sa.func.setval(number, largest)))


def _no_backup(path: Path) -> BadData:
    return BadData(
        "The file is no backup of a centre's state.",
        value=path.name,
        next_step="Name a file that idac state backup made.",
    )


def _damaged(path: Path) -> BadData:
    return BadData(
        "The backup is cut off, or was altered since it was made.",
        value=path.name,
        next_step="Nothing was changed. Use another copy of it, or an older backup.",
    )
