"""What a query costs on tables of different sizes: rows read, files opened, and time.

``python -m bench.growth FOLDER FOLDER …`` takes the folders of centres that ``bench/ingest.py --keep`` made, publishes
a million positions in each (``survey.positions``, which stays), asks all of them for cones that hold equally many rows,
for rows by their ids, for an aggregate of all rows and for a cross-match with the positions, and writes
``bench/results/growth.json``. What is read comes from the planner, as ``idac explain --json`` prints it; times are
medians of runs in turns, so that their ratio to the smallest holds on any machine.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.generate import DEEP, iter_pieces, write_parquet
from bench.ingest import keep, machine
from bench.peers.centre import installed_idac
from bench.peers.processes import BenchError
from idac.cli.query import local_service
from idac.core.loading import load_settings
from idac.core.principal import LOCAL_ADMIN
from idac.query.service import QueryRequest, QueryService
from idac.tables.formats import find_format
from idac.wiring.settings import DacSettings

RESULTS = Path(__file__).parent / "results" / "growth.json"
TABLE, POSITIONS, POSITIONS_ROWS = "survey.objects", "survey.positions", 1_000_000
COLUMNS = "object_id, ra, dec, r_flux"
AGGREGATE = f"SELECT COUNT(*) AS n, AVG(r_flux) AS mean, MAX(dec) AS high FROM {TABLE} WHERE r_flux_err > 20"  # noqa: S608
MATCH = (
    f"SELECT COUNT(*) AS n FROM {POSITIONS} AS m JOIN {TABLE} AS s "  # noqa: S608
    f"ON 1 = CONTAINS(POINT(s.ra, s.dec), CIRCLE(m.ra, m.dec, {1 / 3600:.9f}))"
)


@dataclass(frozen=True)
class Side:
    """One of the centres."""

    service: QueryService
    rows: int

    def ask(self, adql: str) -> tuple[float, int]:
        """Seconds to the last byte, and the rows of the answer."""
        request = QueryRequest(adql, find_format("votable"), 600.0)
        begun = time.perf_counter()
        running = self.service.run(request, LOCAL_ADMIN, query_id="bench")
        try:
            for _ in running.chunks():
                pass
            return time.perf_counter() - begun, running.progress().rows
        finally:
            running.close()

    def reads(self, adql: str) -> dict[str, int]:
        scan = next(scan for scan in self.service.explain(adql, LOCAL_ADMIN).scans if scan.table == TABLE)
        return {"rows_read": scan.rows, "row_groups_read": scan.row_groups, "files_opened": scan.files}


def deep_places(rng: np.random.Generator, count: int) -> list[tuple[float, float]]:
    """Positions in the deep field, so far inside that no cone reaches over its edge."""
    inner = DEEP[2] - 0.2
    return [(float(DEEP[0] + x), float(DEEP[1] + y)) for x, y in rng.uniform(-inner, inner, (count, 2))]


def cones(side: Side, rows: int, places: list[tuple[float, float]]) -> list[str]:
    """Cones in the deep field that hold about *rows* rows of this table."""
    per_deg2 = side.rows / 2 / (2 * DEEP[2]) ** 2
    radius = float(np.sqrt(rows / per_deg2 / np.pi))
    return [
        f"SELECT {COLUMNS} FROM {TABLE} WHERE 1 = CONTAINS(POINT(ra, dec), CIRCLE({ra}, {dec}, {radius:.9f}))"  # noqa: S608
        for ra, dec in places
    ]


def look_ups(side: Side, shares: list[float]) -> list[str]:
    ids = [int(share * side.rows) for share in shares]
    return [f"SELECT * FROM {TABLE} WHERE object_id = {number}" for number in ids]  # noqa: S608


def measure(sides: dict[str, Side], make: Callable[[Side], list[str]], rounds: int) -> dict[str, Any]:
    queries = {name: make(side) for name, side in sides.items()}
    found: dict[str, Any] = {}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    answered: dict[str, list[int]] = {name: [] for name in sides}
    for _ in range(rounds):
        for pair in zip(*queries.values(), strict=True):
            for name, adql in zip(sides, pair, strict=True):
                took, rows = sides[name].ask(adql)
                seconds[name].append(took)
                answered[name].append(rows)
    for name, side in sides.items():
        reads = [side.reads(adql) for adql in queries[name]]
        found[name] = {
            "rows_answered": statistics.mean(answered[name]),
            **{f"{key}_mean": statistics.mean(r[key] for r in reads) for key in reads[0]},
            **{f"{key}_most": max(r[key] for r in reads) for key in reads[0]},
            "median_ms": round(statistics.median(seconds[name]) * 1000, 2),
        }
    least = next(iter(found.values()))["median_ms"]
    return {name: side | {"time_ratio": round(side["median_ms"] / least, 2)} for name, side in found.items()}


def publish(folder: Path, source: Path, table: str) -> float:
    """Publish *source* in the centre in *folder*, by ``object_id``; seconds that ``idac catalog add`` takes."""
    command = [installed_idac(), "--config", str(folder / "dac.yaml"), "catalog", "add", str(source), "--name", table]
    begun = time.perf_counter()
    done = subprocess.run(  # noqa: S603  its own command, on a file that the caller names
        [*command, "--id", "object_id"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BenchError(f"idac ended with {done.returncode}: {done.stderr[-2000:]}")
    return time.perf_counter() - begun


def open_side(folder: Path, stack: ExitStack) -> Side:
    """The centre in *folder*."""
    service = stack.enter_context(local_service(load_settings(DacSettings, folder / "dac.yaml")))
    entry = service.archive.snapshot().find(*TABLE.split("."))
    if entry is None:
        raise BenchError(f"{folder} has no table {TABLE}.")
    return Side(service, entry.storage.rows)


def with_positions(folder: Path, positions: Path) -> Path:
    """*folder*, with *positions* published in its centre if they were not."""
    with ExitStack() as stack:
        service = stack.enter_context(local_service(load_settings(DacSettings, folder / "dac.yaml")))
        known = service.archive.snapshot().find(*POSITIONS.split("."))
    if known is None:
        publish(folder, positions, POSITIONS)
    return folder


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    parser.add_argument("--queries", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--cone-rows", type=int, default=400)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    rng = np.random.default_rng(1)
    places = deep_places(rng, options.queries)
    shares = rng.uniform(0, 1, options.queries).tolist()
    with ExitStack() as stack:
        positions = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="idac-bench-"))) / "positions.parquet"
        write_parquet(positions, iter_pieces(POSITIONS_ROWS, 2, bands=""), POSITIONS_ROWS)
        opened = [open_side(with_positions(folder, positions), stack) for folder in options.folders]
        sides = {f"{side.rows:,}": side for side in sorted(opened, key=lambda side: side.rows)}
        if len(sides) < len(opened):
            raise BenchError("Two of the tables have as many rows.")
        result = {
            "cone": measure(sides, lambda side: cones(side, options.cone_rows, places), options.rounds),
            "id": measure(sides, lambda side: look_ups(side, shares), options.rounds),
            "aggregate": measure(sides, lambda _: [AGGREGATE], options.rounds),
            "crossmatch": measure(sides, lambda _: [MATCH], options.rounds),
            "machine": machine(),
        }
    keep(result, options.results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
