"""A place where one query at a time runs: a DuckDB of its own, with its share of memory, locked before any query."""

from __future__ import annotations

import importlib.util
import logging
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import pyarrow as pa

from idac.core.store import S3BucketStore
from idac.query.engines.duckdb.python_functions import PythonFunction, make_functions
from idac.query.engines.duckdb.text import list_of, literal
from idac.sky.regions import Region

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Access:
    """What queries may read: folders and ``s3://`` prefixes, and how to reach the buckets."""

    readable: tuple[str, ...] = ()
    stores: tuple[S3BucketStore, ...] = ()


@dataclass(frozen=True)
class Share:
    """One place's part of the machine."""

    memory_bytes: int
    threads: int
    #: Threads of a query that reads files in a store: most of them wait for it, each for one request.
    store_threads: int
    spill_bytes: int


@dataclass
class Place:
    """One DuckDB. Used by one thread at a time, except ``interrupt`` and ``progress``."""

    share: Share
    access: Access
    folder: Path
    _connection: duckdb.DuckDBPyConnection | None = None
    #: Set where DuckDB has failed in itself: ``clear`` gives the connection up, and the next query opens another.
    is_broken: bool = False
    _careful: bool = False
    #: Whether a query here has read files in a store. All later ones then have as many threads as that needs.
    _has_read_store: bool = False
    _roots: set[str] = field(default_factory=set)
    _regions: Sequence[Region] = ()
    _functions: set[str] = field(default_factory=set)
    _tables: list[str] = field(default_factory=list)

    def prepare(
        self,
        sql: str,
        tables: dict[str, pa.Table],
        regions: Sequence[Region],
        paths: Iterable[str],
        *,
        careful: bool = False,
    ) -> duckdb.DuckDBPyConnection:
        """The connection, with what *sql* needs: tables in memory, our functions, leave to read *paths*.

        *careful*: one without the optimiser that in DuckDB 1.5 breaks a plan in a hundred thousand.
        """
        connection = self._open(self._needed_roots(paths), careful)
        self._regions = regions
        for name, data in tables.items():
            connection.register(name, data)
            self._tables.append(name)
        self._define(connection, sql)
        return connection

    def clear(self) -> None:
        """Let go of the last query's tables."""
        self._regions = ()
        if self._connection is None:
            return
        if self.is_broken:
            self.close()
            return
        try:
            for name in self._tables:
                self._connection.unregister(name)
        except duckdb.Error:
            # A connection that can't do even this is given up; the next query opens another.
            log.exception("a place of the engine had to be opened anew")
            self.close()
        self._tables = []

    def interrupt(self) -> None:
        connection = self._connection
        if connection is not None:
            connection.interrupt()

    def progress(self) -> float | None:
        """Part done, 0 to 1, where DuckDB can tell."""
        connection = self._connection
        percent = connection.query_progress() if connection is not None else -1.0
        return min(percent / 100, 1.0) if percent >= 0 else None

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        self._functions, self._tables, self.is_broken = set(), [], False
        shutil.rmtree(self.folder, ignore_errors=True)

    # -- opening -----------------------------------------------------------------------------------------------------

    def _needed_roots(self, paths: Iterable[str]) -> set[str]:
        """Folders that must be readable: configured ones, or a table's own where it lies elsewhere."""
        needed = set()
        for path in paths:
            folder = path.rpartition("/")[0]
            within = (root for root in (*self.access.readable, *self._roots) if _is_within(folder, root))
            needed.add(next(within, folder))
        return needed

    def _open(self, roots: set[str], careful: bool) -> duckdb.DuckDBPyConnection:
        reads_store = self._has_read_store or any(root.startswith("s3://") for root in roots)
        same = careful == self._careful and reads_store == self._has_read_store
        if self._connection is not None and roots <= self._roots and same:
            return self._connection
        # What is readable, and the threads, are fixed when a connection is locked: others need another connection.
        self.close()
        self._roots |= roots | set(self.access.readable)
        self.folder.mkdir(parents=True, exist_ok=True)
        connection = duckdb.connect(":memory:", config=self._config(reads_store))
        try:
            self._lock(connection, careful)
        except BaseException:
            connection.close()
            raise
        self._connection, self._careful, self._has_read_store = connection, careful, reads_store
        return connection

    def _config(self, reads_store: bool) -> dict[str, str | bool | int | float | list[str]]:
        return {
            "memory_limit": f"{self.share.memory_bytes // 2**20}MiB",
            "threads": self.share.store_threads if reads_store else self.share.threads,
            "temp_directory": str(self.folder),
            # Results stream in any order where none is asked for: less memory, and a LIMIT that stops early.
            "preserve_insertion_order": False,
            "python_enable_replacements": False,
            "python_scan_all_frames": False,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "allow_community_extensions": False,
            "allow_persistent_secrets": False,
            # x / 0 is NULL and not infinity, which would compare as a number.
            "ieee_floating_point_ops": False,
        }

    def _lock(self, connection: duckdb.DuckDBPyConnection, careful: bool) -> None:
        connection.execute("SET enable_progress_bar = true")
        connection.execute("SET enable_progress_bar_print = false")
        connection.execute("SET parquet_metadata_cache = true")
        # Among the options of connect, DuckDB 1.5 shows this limit and does not keep it.
        connection.execute(f"SET max_temp_directory_size = '{self.share.spill_bytes // 2**20}MiB'")
        if careful:
            connection.execute("SET disabled_optimizers = 'late_materialization'")
        if self.access.stores:
            self._reach_stores(connection)
        allowed = list_of(literal(root.rstrip("/") + "/") for root in sorted(self._roots))
        connection.execute(f"SET allowed_directories = {allowed}")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")

    def _reach_stores(self, connection: duckdb.DuckDBPyConnection) -> None:
        extension = _httpfs()
        connection.execute(f"LOAD {literal(str(extension))}")
        for number, store in enumerate(self.access.stores):
            connection.execute(_secret_sql(number, store))

    def _define(self, connection: duckdb.DuckDBPyConnection, sql: str) -> None:
        """Register those of our functions that *sql* calls, once for each connection."""
        if "idac_" not in sql:
            return
        for name, function in make_functions(lambda: self._regions).items():
            if name not in self._functions and f"{name}(" in sql:
                _register(connection, function)
                self._functions.add(name)


def only_select(connection: duckdb.DuckDBPyConnection, sql: str) -> duckdb.Statement:
    """*sql* as the one SELECT that it must be; raises RuntimeError for anything else.

    The lock of a connection leaves the readable folders writable: COPY and ATTACH would work there. Nothing writes such
    statements, and should a hole be found one day, it ends here. Parsing is not done twice: the statement is run.
    """
    statements = connection.extract_statements(sql)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise RuntimeError("something other than one SELECT was about to be run")
    return statements[0]


def _httpfs() -> Path:
    """DuckDB's extension for S3, from its wheel: nothing is fetched at run time."""
    spec = importlib.util.find_spec("duckdb_extension_httpfs")
    if spec is None or spec.origin is None:
        raise RuntimeError("the package duckdb-extension-httpfs is not installed")
    return next(Path(spec.origin).parent.glob(f"extensions/v{duckdb.__version__}/httpfs.duckdb_extension"))


def _is_within(folder: str, root: str) -> bool:
    return folder == root.rstrip("/") or folder.startswith(root.rstrip("/") + "/")


def _register(connection: duckdb.DuckDBPyConnection, function: PythonFunction) -> None:
    connection.create_function(  # type: ignore[call-overload]  # its stubs know no function of Arrow arrays
        function.name,
        function.run,
        list(function.parameters),
        function.result,
        type="arrow",
        null_handling="special",
        side_effects=False,
    )


def _secret_sql(number: int, store: S3BucketStore) -> str:
    settings = store.settings
    options = {"REGION": settings.region, "URL_STYLE": "path" if settings.path_style else "vhost"}
    if store.credentials:
        options |= {"KEY_ID": store.credentials[0], "SECRET": store.credentials[1]}
    secure = True
    if settings.endpoint:
        scheme, _, host = settings.endpoint.rpartition("://")
        options["ENDPOINT"] = host.rstrip("/")
        secure = scheme != "http"
    listed = ", ".join(f"{key} {literal(value)}" for key, value in options.items())
    scope = literal(f"s3://{store.bucket}")
    return f"CREATE SECRET store_{number} (TYPE s3, {listed}, USE_SSL {str(secure).lower()}, SCOPE {scope})"
