"""A centre under test: its folder, its processes, its tables and what is true of them."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

IDAC = str(Path(sys.executable).with_name("idac"))

#: Short leases and small files, so that an hour's worth of housekeeping happens in a minute.
SETTINGS: dict[str, Any] = {
    "centre": {"name": "survival", "title": "Survival"},
    "catalogs": {
        "default_read": ["public"],
        "refresh_s": 0.1,
        "version_grace_s": 20,
        "ingest": {"memory_gib": 0.5, "workers": 2, "rows_per_file": 4_000, "row_group_rows": 2_048},
    },
    "jobs": {"workers": 2, "poll_s": 0.1, "lease_s": 3, "max_attempts": 20, "retention_s": 3600},
    "engine": {"memory_gib": 1.0, "kept_gib": 0.0625, "threads": 2},
}


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """*base* with *over* laid over it, section by section."""
    result = dict(base)
    for key, value in over.items():
        below = result.get(key)
        result[key] = merged(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return result


def free_port() -> int:
    """A port below those that the system gives to outgoing connections, that nothing listens on."""
    for port in random.SystemRandom().sample(range(20_000, 32_000), 100):
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no port of a hundred tried is free")


@dataclass
class Process:
    """One ``idac up``, at the same port however often it is started."""

    centre: Centre
    name: str
    parts: str
    environment: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    running: subprocess.Popen[str] | None = None
    starts: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self.running is not None
        return self.running.pid

    @property
    def alive(self) -> bool:
        return self.running is not None and self.running.poll() is None

    def start(self, wait_s: float = 300) -> None:
        """Start, and return when it says that it answers."""
        command = [*self.centre.command, "up", "--only", self.parts, "--host", "127.0.0.1"]
        command += ["--port", str(self.port), "--json"]
        with self.centre.log(self.name).open("ab") as log:
            self.running = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, text=True, env=self.centre.environment(self.environment)
            )
        self.starts += 1
        said: list[str] = []
        reader = threading.Thread(target=_read_announcement, args=(self.running, said), daemon=True)
        reader.start()
        reader.join(wait_s)
        if reader.is_alive() or not said:
            raise RuntimeError(f"{self.name} did not start: {self.centre.log(self.name).read_text()[-2000:]}")

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it as an operator would."""
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        if self.running is None:
            return
        self.running.send_signal(how)
        try:
            self.running.wait(60)
        except subprocess.TimeoutExpired:
            self.running.kill()
            self.running.wait()
            raise RuntimeError(f"{self.name} did not end within a minute of {how.name}") from None
        finally:
            if self.running.stdout is not None:
                self.running.stdout.close()
            self.running = None


def _read_announcement(process: subprocess.Popen[str], said: list[str]) -> None:
    assert process.stdout is not None
    text = ""
    for line in process.stdout:
        text += line
        if text.endswith("}\n"):
            said.append(str(json.loads(text)["url"]))
            return


@dataclass
class Centre:
    """A centre in *folder*, with temporary files, state and archive all inside it."""

    folder: Path
    settings: dict[str, Any] = field(default_factory=lambda: dict(SETTINGS))
    temporary: Path | None = None
    extra_environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.temporary = self.temporary or self.folder / "tmp"
        self.temporary.mkdir(exist_ok=True)
        spill = {"engine": {"spill": str(self.folder / "spill")}}
        (self.folder / "dac.yaml").write_text(yaml.safe_dump(merged(spill, self.settings)))

    @property
    def command(self) -> list[str]:
        return [IDAC, "--config", str(self.folder / "dac.yaml")]

    @property
    def archive(self) -> Path:
        return self.folder / "archive"

    @property
    def results(self) -> Path:
        return self.folder / "results"

    @property
    def state(self) -> Path:
        return self.folder / "state.db"

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        return {**os.environ, "TMPDIR": str(self.temporary), **self.extra_environment, **(more or {})}

    def idac(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        done = subprocess.run(
            [*self.command, *arguments], capture_output=True, text=True, check=False, env=self.environment()
        )
        if check and done.returncode:
            raise RuntimeError(f"idac {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done

    def spawn(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command, to be killed or waited for."""
        return subprocess.Popen(
            [*self.command, *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=self.environment(),
        )  # fmt: skip

    def jobs(self) -> dict[str, dict[str, Any]]:
        """Every job's row of the state database, by id; SQLite alone."""
        connection = sqlite3.connect(self.state, timeout=30)
        try:
            connection.row_factory = sqlite3.Row
            return {row["id"]: dict(row) for row in connection.execute("SELECT * FROM jobs")}
        finally:
            connection.close()

    def faults(self) -> list[str]:
        """Lines of the logs that tell of a fault: what no client's doing may bring about."""
        found = []
        for path in sorted(self.folder.glob("*.log")):
            lines = path.read_text(errors="replace").splitlines()
            found += [f"{path.name}: {line}" for line in lines if "fault " in line and " in " in line]
        found += [str(p) for p in sorted((self.temporary or self.folder).glob("idac-fault-*.log"))]
        return found


def client(timeout_s: float = 60) -> httpx.Client:
    """An HTTP client that keeps no certificates and asks no proxy."""
    return httpx.Client(timeout=timeout_s, verify=False, trust_env=False)  # noqa: S501  our own machine, no TLS


def stars(rows: int, seed: int, edition: int = 0) -> pa.Table:
    """Positions all over the sky and in one deep field; *edition* in every row tells versions apart."""
    rng = np.random.default_rng(seed)
    deep = rows // 2
    ra = np.concatenate([rng.uniform(0, 360, rows - deep), rng.uniform(149, 151, deep)])
    dec = np.concatenate([np.degrees(np.arcsin(rng.uniform(-1, 1, rows - deep))), rng.uniform(1, 3, deep)])
    return pa.table(
        {
            "id": np.arange(rows, dtype=np.int64) * 7919 + 13,
            "ra": ra,
            "dec": dec,
            "mag": rng.normal(20, 2, rows).astype(np.float32),
            "edition": np.full(rows, edition, np.int32),
            "name": [f"star {i}" for i in range(rows)],
        }
    )


def write_stars(path: Path, rows: int, seed: int, edition: int = 0) -> pa.Table:
    table = stars(rows, seed, edition)
    pq.write_table(table, path)
    return table


def until(condition: Callable[[], bool], timeout_s: float, what: str) -> None:
    """Return when *condition* holds."""
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"it did not come about in {timeout_s:g} s: {what}")
        time.sleep(0.05)


def rss_bytes(pid: int) -> int:
    """Memory of a process that is in RAM and its own: pages of files that it maps are the system's to drop."""
    status = Path(f"/proc/{pid}/status").read_text()
    kept = {line.split(":")[0]: line.split()[1] for line in status.splitlines() if line.startswith("Rss")}
    return (int(kept["RssAnon"]) + int(kept["RssShmem"])) * 1024


def threads_and_files(pid: int) -> tuple[int, int]:
    return len(os.listdir(f"/proc/{pid}/task")), len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208  they vanish


def kill_process(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def age(folder: Path, seconds: float) -> None:
    """Let everything under *folder* be that much older, as if nobody had touched it since."""
    then = time.time() - seconds
    paths: Sequence[Path] = [folder, *folder.rglob("*")]
    for path in paths:
        try:
            os.utime(path, (then, then), follow_symlinks=False)
        except FileNotFoundError:
            continue
