"""GAVO DaCHS as the benchmark's peer: a configuration, tables and a server of its own, on the benchmark's cluster."""

from __future__ import annotations

import grp
import os
import pwd
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from bench.peers.data import Files
from bench.peers.postgres import Cluster
from bench.peers.processes import BenchError, Service, free_port, give, run, server_user, stopping, user_env

DATABASE = "gavo"
DACHS = "/usr/bin/dachs"
SCHEMA = "bench"
#: More than any result here has; DaCHS cuts results at 20 000 rows otherwise.
_ROWS_ALLOWED = 1_000_000_000
_TYPES = {
    pa.int16(): "smallint",
    pa.int32(): "integer",
    pa.int64(): "bigint",
    pa.float32(): "real",
    pa.float64(): "double precision",
    pa.bool_(): "boolean",
}
_UCDS = {"ra": "pos.eq.ra;meta.main", "dec": "pos.eq.dec;meta.main"}


@dataclass
class Dachs:
    """DaCHS in *folder*, with its tables in *cluster*."""

    folder: Path
    cluster: Cluster
    log: Path
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}/tap"

    # -- setting up --------------------------------------------------------------------------------------------------

    def prepare(self, files: Files) -> None:
        """Configure DaCHS, and make and fill its tables unless that has been done."""
        if not Path(DACHS).exists():
            raise BenchError("DaCHS is not installed; install Debian's package python3-gavo.")
        self._configure()
        done = self.folder / "loaded"
        if done.exists():
            return
        with self.cluster.connect("postgres") as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {DATABASE}")
            connection.execute(f"CREATE DATABASE {DATABASE} ENCODING 'UTF8' TEMPLATE template0")
        self._dachs("init", "--dsn", self.cluster.dsn(DATABASE))
        self._configure()
        self.load("survey", files.survey_parquet, files.survey_csv, ("object_id", "source_id"))
        self.load("positions", files.match_parquet, files.match_csv, ("match_id",))
        self._tune()
        done.touch()

    def _tune(self) -> None:
        """Fresh statistics, and an index for pgSphere, which bare PostgreSQL is measured with as well.

        DaCHS has clustered the tables on their q3c index as a part of the import.
        """
        with self.cluster.connect(DATABASE) as connection:
            for table in ("survey", "positions"):
                name = f"{SCHEMA}.{table}"
                point = "spoint(radians(ra), radians(dec))"
                connection.execute(f"CREATE INDEX IF NOT EXISTS {table}_pgsphere ON {name} USING gist ({point})")
                connection.execute(f"VACUUM ANALYZE {name}")

    def _configure(self) -> None:
        """gavo.rc with the port of now; the database's port in DaCHS's own file."""
        tmp = self.folder / "root" / "tmp"
        tmp.mkdir(parents=True, exist_ok=True)
        settings: dict[str, dict[str, object]] = {
            "general": {"rootDir": self.folder / "root", "tempDir": tmp, "group": _group(), "gavoGroup": _group()},
            "web": {
                "bindAddress": "127.0.0.1",
                "serverPort": self.port,
                "serverURL": f"http://localhost:{self.port}",
                "sitename": "benchmark",
                "sqlTimeout": 3600,
            },
            "async": {"defaultMAXREC": _ROWS_ALLOWED, "hardMAXREC": _ROWS_ALLOWED, "defaultExecTimeSync": 3600},
            "ivoa": {"dalDefaultLimit": _ROWS_ALLOWED, "dalHardLimit": _ROWS_ALLOWED, "authority": "org.example.bench"},
        }
        lines = []
        for section, values in settings.items():
            lines += [f"[{section}]", *(f"{key}: {value}" for key, value in values.items()), ""]
        self._rc.write_text("\n".join(lines))
        dsn = self.folder / "root" / "etc" / "dsn"
        if dsn.exists():
            dsn.write_text(re.sub(r"(?m)^port = .*$", f"port = {self.cluster.port}", dsn.read_text()))
        give(self.folder)

    @property
    def _rc(self) -> Path:
        return self.folder / "gavo.rc"

    def _dachs(self, *words: str) -> str:
        return run([DACHS, *words], self.log, env={"GAVOSETTINGS": str(self._rc)})

    # -- tables ------------------------------------------------------------------------------------------------------

    def load(self, table: str, parquet: Path, csv: Path, ids: tuple[str, ...]) -> float:
        """Seconds in which DaCHS's fastest loader, a C booster, takes *csv* in and indexes it."""
        folder = self.folder / "root" / "inputs" / table
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "data").mkdir(parents=True)
        (folder / "q.rd").write_text(_descriptor(table, pq.read_schema(parquet), ids))
        give(folder)
        # What mkboost prints is a skeleton, which DaCHS's manual tells its users to complete by hand.
        made = self._dachs("mkboost", f"{table}/q#booster")
        (folder / "booster.c").write_text(_completed(made))
        # One row first, which compiles the booster: a publisher does that once, whatever the number of rows.
        link = folder / "data" / "rows.csv"
        with csv.open() as lines:
            link.write_text(next(lines) + next(lines))
        give(folder)
        self._dachs("imp", f"{table}/q")
        link.unlink()
        link.symlink_to(csv)
        begun = time.perf_counter()
        self._dachs("imp", f"{table}/q")
        return time.perf_counter() - begun

    def drop(self, table: str) -> None:
        self._dachs("drop", f"{table}/q")

    # -- the server --------------------------------------------------------------------------------------------------

    def start(self) -> Service:
        """The server, on a port that is free now."""
        self.port = free_port()
        self._configure()
        env = user_env({"GAVOSETTINGS": str(self._rc)})
        return Service("dachs", [DACHS, "serve", "start", "-f"], self.log, env, as_user=True)

    @contextmanager
    def running(self) -> Iterator[Service]:
        with stopping(self.start()) as service:
            yield service


def _group() -> str:
    user = server_user()
    return grp.getgrgid(pwd.getpwnam(user).pw_gid if user else os.getgid()).gr_name


def _descriptor(table: str, schema: pa.Schema, ids: tuple[str, ...]) -> str:
    """A resource descriptor: the table on disk, open to ADQL, indexed on position and *ids*."""
    columns = "\n".join(
        f'    <column name="{f.name}" type="{_TYPES[f.type]}" ucd="{_UCDS.get(f.name, "")}" required="True"'
        f' description="{f.name}"/>'
        for f in schema
    )
    indices = "\n".join(f'    <index columns="{name}"/>' for name in ids[1:])
    return f"""<resource schema="{SCHEMA}" resdir="{table}">
  <meta name="title">Benchmark</meta>
  <meta name="description">Rows of the benchmark.</meta>
  <meta name="creationDate">2025-01-01T00:00:00Z</meta>
  <meta name="subject">surveys</meta>
  <table id="{table}" onDisk="True" adql="True" mixin="//scs#q3cindex" primary="{ids[0]}">
    <meta name="description">Rows of the benchmark.</meta>
{indices}
{columns}
  </table>
  <data id="import">
    <sources>data/rows.csv</sources>
    <directGrammar id="booster" cBooster="booster.c" type="split" splitChar="," recordSize="4000"
      preFilter="tail -n +2" customFlags="-O3"/>
    <make table="{table}"/>
  </data>
</resource>
"""


def _completed(source: str) -> str:
    """The booster's skeleton with the one thing filled in that it can't parse by itself, booleans."""
    return re.sub(
        r"fieldscanf\(curCont, (\w+), VAL_BOOL\);",
        r"F(\1)->type = VAL_BOOL; F(\1)->val.c_int8 = *curCont == 't';",
        source,
    )
