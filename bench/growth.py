"""What a query costs on a small table and on a large one: rows read, files opened, and time.

``python -m bench.growth SMALL LARGE`` takes the folders of two centres that ``bench/ingest.py --keep`` made, asks both
for cones that hold equally many rows, for rows by their ids and for an aggregate of all rows, and writes
``bench/results/growth.json``. What is read comes from the planner, as ``idac explain --json`` prints it; times are
medians of runs in turns, so that their ratio holds on any machine.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.generate import DEEP
from bench.ingest import keep, machine
from idac.cli.query import local_service
from idac.core.loading import load_settings
from idac.core.principal import LOCAL_ADMIN
from idac.query.service import QueryRequest, QueryService
from idac.tables.formats import find_format
from idac.wiring.settings import DacSettings

RESULTS = Path(__file__).parent / "results" / "growth.json"
TABLE = "survey.objects"
COLUMNS = "object_id, ra, dec, r_flux"
AGGREGATE = f"SELECT COUNT(*) AS n, AVG(r_flux) AS mean, MAX(dec) AS high FROM {TABLE} WHERE r_flux_err > 20"  # noqa: S608


@dataclass(frozen=True)
class Side:
    """One of the two centres."""

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
        (scan,) = self.service.explain(adql, LOCAL_ADMIN).scans
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
        }
    small, large = (statistics.median(seconds[name]) for name in sides)
    return found | {"time_ratio": round(large / small, 2)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("small", type=Path)
    parser.add_argument("large", type=Path)
    parser.add_argument("--queries", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cone-rows", type=int, default=400)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    rng = np.random.default_rng(1)
    places = deep_places(rng, options.queries)
    shares = rng.uniform(0, 1, options.queries).tolist()
    with ExitStack() as stack:
        sides = {}
        for name in ("small", "large"):
            loaded = load_settings(DacSettings, getattr(options, name) / "dac.yaml")
            service = stack.enter_context(local_service(loaded))
            schema, _, table = TABLE.partition(".")
            entry = service.archive.snapshot().find(schema, table)
            if entry is None:
                sys.exit(f"{getattr(options, name)} has no table {TABLE}")
            sides[name] = Side(service, entry.storage.rows)
        result = {
            "rows": {name: side.rows for name, side in sides.items()},
            "cone": measure(sides, lambda side: cones(side, options.cone_rows, places), options.rounds),
            "id": measure(sides, lambda side: look_ups(side, shares), options.rounds),
            "aggregate": measure(sides, lambda _: [AGGREGATE], options.rounds + 1),
            "machine": machine(),
        }
    keep(result, options.results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
