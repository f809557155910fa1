"""What an archive in an object store costs: cones, ids, a scan and ingest, on a disk and in a Ceph RADOS Gateway.

``python -m bench.stores FILE.parquet`` takes a survey that ``bench/generate.py`` wrote, starts a gateway of its own
with its data in memory, publishes the survey in both places, asks both the same by turns, and writes
``bench/results/stores.json``. It needs Debian's ``ceph-mon``, ``ceph-osd``, ``radosgw`` and ``ceph-common``.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from survival.faults import gateway

from bench.growth import TABLE, Side, cones, deep_places, look_ups, open_side, publish
from bench.ingest import keep, machine
from bench.peers.processes import BenchError

RESULTS = Path(__file__).parent / "results" / "stores.json"
SCAN = f"SELECT COUNT(*) AS n, AVG(r_flux) AS mean FROM {TABLE} WHERE r_flux_err > 20"  # noqa: S608
#: When each question is asked: footers and row groups are kept from the first time on.
FIRST, AGAIN = "first", "again"


def configure(folder: Path, bucket: str | None, keys: dict[str, str]) -> None:
    """A centre whose archive lies in *bucket*, or in *folder* itself."""
    folder.mkdir(parents=True)
    settings: dict[str, Any] = {"catalogs": {"default_read": ["public"]}}
    if bucket is not None:
        (folder / "secrets").mkdir(mode=0o700)
        for name in ("access_key_id", "secret_access_key"):
            path = folder / "secrets" / name.replace("_", "-")
            path.touch(mode=0o600)
            path.write_text(keys[name])
        store = {
            "endpoint": keys["endpoint"],
            "allow_http": True,
            "access_key_id": {"secret": "access-key-id"},
            "secret_access_key": {"secret": "secret-access-key"},
        }
        settings |= {"stores": {bucket: store}, "archive": {"location": f"s3://{bucket}/archive"}}
    (folder / "dac.yaml").write_text(yaml.safe_dump(settings))


def measure(sides: dict[str, Side], queries: list[str], rounds: int) -> dict[str, Any]:
    """Medians in milliseconds: of the first time that each of *queries* is asked, and of the times after that."""
    times: dict[str, dict[str, list[float]]] = {name: {FIRST: [], AGAIN: []} for name in sides}
    for number in range(rounds):
        for adql in queries:
            rows = set()
            for name, side in sides.items():
                seconds, found = side.ask(adql)
                rows.add(found)
                times[name][AGAIN if number else FIRST].append(seconds)
            if len(rows) > 1:
                raise BenchError(f"The answers to {adql!r} differ: {rows} rows.")
    return {
        name: {kind: round(statistics.median(values) * 1000, 2) for kind, values in kinds.items()}
        for name, kinds in times.items()
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--queries", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    rng = np.random.default_rng(1)
    places = deep_places(rng, options.queries)
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="idac-bench-")))
        _, bucket, keys = stack.enter_context(gateway())
        sides, ingest = {}, {}
        for name, where in (("disk", None), ("store", bucket)):
            configure(scratch / name, where, keys)
            ingest[name] = round(publish(scratch / name, options.source.resolve(), TABLE), 1)
            sides[name] = open_side(scratch / name, stack)
        first = next(iter(sides.values()))
        ids = look_ups(first, rng.uniform(0, 1, options.queries).tolist())
        result = {
            "rows": first.rows,
            "ingest_s": ingest,
            "cone_ms": measure(sides, cones(first, 400, places), options.rounds),
            "id_ms": measure(sides, ids, options.rounds),
            "scan_ms": measure(sides, [SCAN], options.rounds + 3),
            "machine": machine(),
        }
    keep(result, options.results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
