"""The state database: SQLite on one machine, PostgreSQL at scale, one interface to both."""

from __future__ import annotations

import fcntl
import hashlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import NullPool

from idac.core.errors import BadConfiguration, StoreUnavailable

#: How long a statement waits for another process's lock before it gives up.
LOCK_TIMEOUT_S: float = 30.0
_SQLITE_AWAY = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
    }
)


class Database:
    """Connections to the state database. Thread-safe; one a process.

    Statements that can't be carried out because the database is locked or away raise StoreUnavailable, whose text says
    nothing of where the database is.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        self._waiting: dict[str, threading.Lock] = {}

    @property
    def is_sqlite(self) -> bool:
        return self.engine.dialect.name == "sqlite"

    @contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        """A transaction: committed at the end of the block, rolled back where it raises.

        On SQLite it takes the write lock at once, so that two writers wait for each other instead of failing half-way.
        """
        with _as_unavailable(), self.engine.begin() as connection:
            if self.is_sqlite:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A transaction for reading alone: on SQLite it waits for nobody."""
        with _as_unavailable(), self.engine.begin() as connection:
            if self.is_sqlite:
                connection.exec_driver_sql("BEGIN")
            yield connection

    @contextmanager
    def exclusive(self, name: str) -> Iterator[None]:
        """Keep every other thread and process that asks for *name* out of the block; freed if this process dies.

        The database itself stays free: readers and writers go on, the block's own too.
        """
        if self.is_sqlite:
            # A lock of SQLite's own would stop every writer of the database for as long as the block takes.
            with _locked_file(Path(f"{self.engine.url.database}.{name}.lock")):
                yield
        else:
            # One of this process waits at the database; all of them would take the connections that the holder needs.
            with self._waiting.setdefault(name, threading.Lock()), self.begin() as connection:
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_lock_key(name))))
                yield

    @contextmanager
    def snapshot(self) -> Iterator[sa.Connection]:
        """A transaction for reading, all of whose statements see the database as it was at the first of them."""
        if self.is_sqlite:
            with self.read() as connection:
                yield connection
        else:
            with _as_unavailable(), self.engine.connect() as connection:
                connection = connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
                with connection.begin():
                    yield connection

    @contextmanager
    def change_schema(self) -> Iterator[sa.Connection]:
        """A transaction that may make, change and drop tables; one at a time, however many processes ask.

        SQLite changes a table by making it anew, which foreign keys would forbid on the way: there they are looked at
        when all is done.
        """
        with self.exclusive("schema"), _as_unavailable(), self.engine.connect() as connection:
            if self.is_sqlite:
                connection.exec_driver_sql("PRAGMA foreign_keys=OFF")  # for this connection, which is not kept
                connection.commit()
            with connection.begin():
                if self.is_sqlite:
                    connection.exec_driver_sql("BEGIN IMMEDIATE")
                yield connection
                if self.is_sqlite and (broken := connection.exec_driver_sql("PRAGMA foreign_key_check").first()):
                    raise RuntimeError(f"a row of {broken[0]} points to one of {broken[2]} that is not there")

    def close(self) -> None:
        self.engine.dispose()


def open_database(url: str, folder: Path | None = None) -> Database:
    """The database at *url*; a relative SQLite path is taken from *folder*.

    Raises BadConfiguration for a URL of another kind. Nothing is connected to before the first statement.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise _bad_url() from None
    if parsed.drivername in ("postgresql", "postgresql+psycopg"):
        parsed = parsed.set(drivername="postgresql+psycopg")
        arguments: dict[str, Any] = {"connect_timeout": 10, "options": f"-c lock_timeout={int(LOCK_TIMEOUT_S * 1000)}"}
        engine = sa.create_engine(
            parsed, pool_pre_ping=True, pool_size=10, connect_args=arguments, hide_parameters=True
        )
        return Database(engine)
    if parsed.drivername != "sqlite" or not parsed.database or parsed.database == ":memory:":
        raise _bad_url(parsed.drivername)
    path = Path(parsed.database)
    path = path if path.is_absolute() or folder is None else folder / path
    _make_private(path)
    # Opening an SQLite file costs little, and a connection that is not kept can't hold a stale lock or a deleted file.
    engine = sa.create_engine(
        parsed.set(database=str(path)),
        poolclass=NullPool,
        hide_parameters=True,  # what is stored, such as a password's hash or a query, belongs in no log
        creator=lambda: _connect_sqlite(path),
    )
    sa.event.listen(engine, "connect", _prepare_sqlite)
    return Database(engine)


def _connect_sqlite(path: Path) -> sqlite3.Connection:
    """A connection to a file that is there: SQLite would make an empty one where it was moved away or not mounted."""
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=LOCK_TIMEOUT_S, isolation_level=None
    )


def _make_private(path: Path) -> None:
    """Make an empty database that its owner alone may read; SQLite gives its journals the same mode."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
    except OSError as error:
        raise BadConfiguration(
            "The state database's file can't be made.",
            value=f"{path.name}: {error.strerror}",
            next_step="Correct state.database in dac.yaml, or the permissions of its folder.",
        ) from None


@contextmanager
def _locked_file(path: Path) -> Iterator[None]:
    """Hold the lock of *path*, which the system lets go when the process ends however it ends."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise _unavailable() from error
    try:
        _wait_for_lock(handle)
        yield
    finally:
        os.close(handle)


def _wait_for_lock(handle: int) -> None:
    end = time.monotonic() + LOCK_TIMEOUT_S
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > end:
                raise _unavailable() from error
            time.sleep(0.02)  # flock can wait for ever or not at all
        else:
            return


def _lock_key(name: str) -> int:
    """The 64-bit number that PostgreSQL knows a lock by."""
    return int.from_bytes(hashlib.sha256(f"idac {name}".encode()).digest()[:8], signed=True)


def _prepare_sqlite(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    # WAL lets readers go on while one process writes; NORMAL is durable against a crash of the process.
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _bad_url(kind: str | None = None) -> BadConfiguration:
    # The URL itself may hold a password, so only its kind is repeated.
    return BadConfiguration(
        "The state database can't be used.",
        value=kind,
        allowed="sqlite:///state.db, or postgresql://user:password@host/database",
        next_step="Correct state.database in dac.yaml.",
    )


@contextmanager
def _as_unavailable() -> Iterator[None]:
    try:
        yield
    except sa.exc.TimeoutError as error:
        raise _unavailable() from error
    except DBAPIError as error:
        if _sqlite_code(error.orig) in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            raise StoreUnavailable(
                "The file of the state database is no SQLite database, or is damaged.",
                next_step="Tell the operator: state.database must name another file, or this one be restored.",
            ) from error
        if _sqlite_code(error.orig) == sqlite3.SQLITE_FULL:
            raise StoreUnavailable(
                "The disk of the state database is full.", next_step="Tell the operator to make room, and try again."
            ) from error
        if error.connection_invalidated or _is_away(error):
            raise _unavailable() from error
        raise


def _is_away(error: DBAPIError) -> bool:
    """True where the database is locked or can't be reached, and false where the statement is at fault."""
    if isinstance(error.orig, sqlite3.Error):
        return _sqlite_code(error.orig) in _SQLITE_AWAY
    return isinstance(error, sa.exc.OperationalError)


def _sqlite_code(error: BaseException | None) -> int:
    # Extended codes keep the primary one in their low byte (https://sqlite.org/rescode.html).
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _unavailable() -> StoreUnavailable:
    return StoreUnavailable(
        "The state database does not answer.", next_step="Try again in a minute; if it lasts, tell the operator."
    )
