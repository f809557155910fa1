"""idac as the benchmark runs it: defaults throughout, with its tables open to all."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.peers.data import Files
from bench.peers.processes import BenchError, Service, free_port, stopping
from idac.core.loading import load_settings
from idac.core.principal import ANONYMOUS
from idac.query.engines.rowgroups import RowGroupReader
from idac.query.plan.planning import plan_query
from idac.wiring.app import build_centre
from idac.wiring.settings import DacSettings

_IDAC = Path(__file__).parents[2] / ".cache/installed/bin/idac"
_DAC_YAML = """\
# Everything else has its default.
catalogs:
  default_read: [public]
"""


@dataclass
class IdacCentre:
    """A centre in *folder*."""

    folder: Path
    log: Path
    port: int = 0
    name: str = "idac"
    """What its process is called: two that run at once differ."""

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}/api/tap"

    @property
    def archive(self) -> Path:
        return self.folder / "archive"

    def prepare(self, files: Files) -> None:
        """Publish the tables unless that has been done."""
        if (self.folder / "loaded").exists():
            return
        self.clear()
        self.configure()
        self.load("survey", files.survey_parquet, "source_id")
        self.load("positions", files.match_parquet, "match_id")
        (self.folder / "loaded").touch()

    def configure(self, processes: int | None = None, queued: int | None = None) -> None:
        """Write dac.yaml; *processes* of the service instead of as many as it takes by itself.

        *queued*: queries that one address may have waiting, where all clients of a run are at one.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        server = f"server:\n  processes: {processes}\n" if processes else ""
        engine = f"engine:\n  max_queued_per_owner: {queued}\n" if queued else ""
        (self.folder / "dac.yaml").write_text(_DAC_YAML + server + engine)

    def clear(self) -> None:
        """Forget everything."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def load(self, table: str, source: Path, id_column: str) -> float:
        """Seconds that ``idac catalog add`` takes, from the command to the prompt."""
        begun = time.perf_counter()
        self._idac("catalog", "add", str(source), "--name", f"bench.{table}", "--id", id_column, "--json")
        return time.perf_counter() - begun

    def _idac(self, *words: str) -> str:
        command = self._command(*words)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        with self.log.open("a") as out:
            out.write(f"$ {' '.join(command)}\n{done.stdout}{done.stderr}\n")
        if done.returncode:
            raise BenchError(f"idac ended with {done.returncode}: {done.stderr[-2000:]}")
        return done.stdout

    def start(self) -> Service:
        """The service, on a port that is free now."""
        self.port = free_port()
        command = self._command("up", "--port", str(self.port), "--json")
        return Service(self.name, command, self.log, os.environ, as_user=False)

    def _command(self, *words: str) -> list[str]:
        return [installed_idac(), "--config", str(self.folder / "dac.yaml"), *words]

    @contextmanager
    def running(self, processes: int | None = None, queued: int | None = None) -> Iterator[Service]:
        """The service while it is used, as ``configure`` has it."""
        self.configure(processes, queued)
        with stopping(self.start()) as service:
            yield service

    def planning_seconds(self, queries: Sequence[str]) -> list[float]:
        """Seconds of parsing, checking and planning each of *queries*, inside one process, once it is warm."""
        centre = build_centre(load_settings(DacSettings, self.folder / "dac.yaml"))
        reader = RowGroupReader()
        times = []
        for query in queries:
            begun = time.perf_counter()
            plan_query(centre.queries.compile(query, ANONYMOUS), reader, 1_000_000)
            times.append(time.perf_counter() - begun)
        centre.queries.engine.close()
        return times


def installed_idac() -> str:
    """``idac`` as an operator has it: beside the developers' tools, pyarrow imports pandas, which idac never needs."""
    if not _IDAC.exists():
        raise BenchError(f"idac is not installed in {_IDAC.parents[1]}; `make bench-parts` does that.")
    return str(_IDAC)


def hats_folder(centre: IdacCentre, table: str) -> Path:
    """The HATS catalogue of *table*'s current version, for those who read it without idac."""
    found = list((centre.archive / "catalogs" / "tables" / "bench" / table).glob("*/"))
    if not found:
        raise BenchError(f"No version of {table} was found in {centre.archive}.")
    return max(found, key=lambda folder: folder.stat().st_mtime)
