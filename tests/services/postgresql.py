"""A real PostgreSQL in a temporary folder: a session's server, and a database of its own for each test."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from services.programs import free_port, require


@dataclass(frozen=True)
class PostgresServer:
    """A running server that only its unix socket leads to."""

    folder: Path
    port: int
    pg_ctl: str
    user: str

    def url(self, database: str) -> str:
        return f"postgresql://{self.user}@/{database}?host={self.folder}&port={self.port}"

    def control(self, *arguments: str) -> None:
        _run(self.user, [self.pg_ctl, "-D", str(self.folder / "data"), "-w", "-s", *arguments])

    def start(self) -> None:
        options = f"-c listen_addresses='' -k {self.folder} -p {self.port} -c fsync=off -c shared_buffers=16MB"
        self.control("-l", str(self.folder / "log"), "-o", options, "start")

    def stop(self) -> None:
        self.control("-m", "immediate", "stop")


def _run(user: str, command: list[str]) -> None:
    # The server refuses to run as root.
    as_user = {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []} if os.getuid() == 0 else {}
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", check=False, **as_user)  # type: ignore[call-overload]
    assert done.returncode == 0, f"{command[0]}: {done.stdout}{done.stderr}"


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresServer]:
    """The session's server."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: -float(p.parent.name))
    programs = require("postgresql", ["initdb", "pg_ctl"], versions)
    user = "postgres" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
    # A unix socket's path may have 107 characters, which pytest's own folders use up.
    folder = Path(tempfile.mkdtemp(prefix="idac-pg-", dir="/tmp"))
    shutil.chown(folder, user)
    server = PostgresServer(folder, free_port(), programs["pg_ctl"], user)
    _run(user, [programs["initdb"], "-D", str(folder / "data"), "-A", "trust", "-E", "UTF8", "--no-sync"])
    server.start()
    yield server
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgresql_url(postgresql: PostgresServer) -> Iterator[str]:
    """The URL of a new, empty database."""
    name = f"t{secrets.token_hex(6)}"
    identifier = sql.Identifier(name)
    with psycopg.connect(postgresql.url("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(identifier))
    yield postgresql.url(name)
    with psycopg.connect(postgresql.url("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(identifier))
