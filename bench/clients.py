"""How answers a second and their times go with the number of clients: 1 to 64 at once, cones of 1′.

``python -m bench.clients`` takes the loaded tables of ``make bench``, serves them by one process and by one for each
processor, and writes ``bench/results/clients.json``.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from bench.ingest import keep, machine
from bench.peers import extras
from bench.peers.centre import IdacCentre
from bench.peers.load import burst
from bench.peers.processes import BenchError
from bench.peers.queries import cone_queries
from bench.peers.sizes import FULL

HERE = Path(__file__).parent
CLIENTS = (1, 2, 4, 8, 16, 32, 64)


def measure(folder: Path, processes: int, seconds: int) -> dict[str, Any]:
    """Requests a second and the 95th percentile, by number of clients."""
    centre = IdacCentre(folder / "idac", folder / "log.txt")
    queries = cone_queries(400)
    found = {}
    with centre.running(processes, max(CLIENTS)) as service:
        extras.seconds_to_first_answer(service, centre.url)
        burst(centre.url, queries, 16, 5)
        for clients in CLIENTS:
            got = burst(centre.url, queries, clients, seconds)
            found[str(clients)] = {"per_second": round(got.per_second, 1), "p95_ms": round(1000 * got.p95_s, 1)}
        found["memory_mb"] = round(extras.memory_mb(service))
    centre.configure()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = HERE / ".run" / f"{FULL.rows}x{FULL.match_rows}"
    parser.add_argument(
        "--loaded", type=Path, default=default, help="folder that make bench loaded (default: %(default)s)"
    )
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--results", type=Path, default=HERE / "results" / "clients.json")
    options = parser.parse_args()
    folder = options.loaded.resolve()
    if not (folder / "idac" / "loaded").exists():
        raise BenchError(f"{folder} holds no loaded tables; make bench loads them.")
    cores = os.cpu_count() or 1
    counts = sorted({1, cores})
    processes = {str(count): measure(folder, count, options.seconds) for count in counts}
    keep({"processes": processes, "machine": machine()}, options.results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
