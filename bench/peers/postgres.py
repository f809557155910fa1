"""A PostgreSQL cluster of the benchmark's own: made, tuned, started and stopped without the system's."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from bench.peers.processes import BenchError, free_port, give, processor_seconds, run


def binaries() -> Path:
    """Folder of the newest PostgreSQL's programs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: float(p.parts[-3]))
    if not found:
        raise BenchError("PostgreSQL's programs are not in /usr/lib/postgresql; install Debian's package postgresql.")
    return found[-1].parent


def tuning() -> dict[str, str]:
    """Settings for a server that has a quarter of the machine's memory to itself and reads from memory or SSD."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    cores = os.cpu_count() or 1
    buffers = min(memory // 4, 5 * 2**30)
    return {
        "shared_buffers": f"{buffers // 2**20}MB",
        "effective_cache_size": f"{memory // 2 // 2**20}MB",
        "work_mem": "128MB",
        "maintenance_work_mem": f"{min(memory // 16, 2**30) // 2**20}MB",
        "max_worker_processes": str(max(8, 2 * cores)),
        "max_parallel_workers": str(cores),
        "max_parallel_workers_per_gather": str(max(2, cores)),
        "max_parallel_maintenance_workers": str(max(2, cores)),
        "random_page_cost": "1.1",
        "effective_io_concurrency": "200",
        "max_wal_size": "8GB",
        "checkpoint_timeout": "30min",
        "wal_compression": "on",
        "max_connections": "100",
    }


@dataclass(frozen=True)
class Cluster:
    """A running cluster, reached over the loopback."""

    folder: Path
    port: int
    password: str

    def dsn(self, database: str) -> str:
        return f"host=localhost port={self.port} user=postgres password={self.password} dbname={database}"

    def processor_seconds(self) -> float:
        """Processor time of the server's processes since it began."""
        return processor_seconds(int((self.folder / "postmaster.pid").read_text().split("\n", 1)[0]))

    def connect(self, database: str) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(self.dsn(database), autocommit=True)


def make_cluster(folder: Path, log: Path) -> None:
    """A new cluster in *folder*, unless there is one."""
    if (folder / "PG_VERSION").exists():
        return
    secret = folder.parent / "postgres.password"
    secret.touch(mode=0o600)
    secret.write_text(secrets.token_hex(16) + "\n")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    give(secret)
    give(folder)
    options = [
        "--username=postgres",
        f"--pwfile={secret}",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--locale=C.UTF-8",
    ]
    run([str(binaries() / "initdb"), "-D", str(folder), *options], log)


@contextmanager
def running_cluster(folder: Path, log: Path) -> Iterator[Cluster]:
    """The cluster in *folder*, started on a free port and stopped at the end."""
    port = free_port()
    control = [str(binaries() / "pg_ctl"), "-D", str(folder), "-w", "-t", "120"]
    settings = {
        **tuning(),
        "port": str(port),
        "listen_addresses": "localhost",
        # DaCHS and psycopg come over the loopback; a socket's path could be too long here.
        "unix_socket_directories": "",
    }
    lines = [f"{key} = '{value}'" for key, value in settings.items()]
    (folder / "postgresql.auto.conf").write_text("\n".join(lines) + "\n")
    give(folder / "postgresql.auto.conf")
    # A run that was killed may have left its server behind.
    if (folder / "postmaster.pid").exists() and _is_running(folder):
        run([*control, "-m", "fast", "stop"], log)
    server_log = folder.parent / "postgres.server.log"
    server_log.touch()
    give(server_log)
    run([*control, "-l", str(server_log), "start"], log)
    try:
        yield Cluster(folder, port, (folder.parent / "postgres.password").read_text().strip())
    finally:
        run([*control, "-m", "fast", "stop"], log)


def _is_running(folder: Path) -> bool:
    pid = (folder / "postmaster.pid").read_text().split("\n", 1)[0]
    return Path(f"/proc/{pid}/exe").exists() and "postgres" in Path(f"/proc/{pid}/comm").read_text()
