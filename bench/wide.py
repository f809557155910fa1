"""What a table as wide as Rubin's Object costs: narrow queries on it against the same on a table of 20 columns.

``python -m bench.wide`` publishes both, and a schema of 2 000 columns in ten tables, in a folder of their own, asks
both tables in turns, and writes ``bench/results/wide.json``. Ratios hold on any machine; seconds hold on none.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bench.generate import DEEP, iter_pieces
from bench.ingest import keep, machine
from idac.catalogs.ingest import IngestChoices
from idac.catalogs.service import CatalogService, SourceChoices
from idac.cli.query import local_service
from idac.core.loading import Loaded, load_settings
from idac.core.principal import LOCAL_ADMIN
from idac.query.service import QueryRequest, QueryService
from idac.tables.formats import find_format
from idac.web.vosi import table_xml, tableset_xml
from idac.wiring.build import open_archive
from idac.wiring.settings import DacSettings

RESULTS = Path(__file__).parent / "results" / "wide.json"
WIDE, NARROW = 1_300, 20
TABLES, TABLE_COLUMNS = 10, 200
#: In a table of 25 columns the generator's own are complete; the narrow one keeps the first 20 of them.
_OWN = 25
CIRCLE = f"CIRCLE({DEEP[0]}, {DEEP[1]}, 0.05)"
QUERIES = {
    "cone, 4 columns": f"SELECT object_id, ra, dec, r_flux FROM {{}} WHERE 1 = CONTAINS(POINT(ra, dec), {CIRCLE})",  # noqa: S608
    "id, 3 columns": "SELECT ra, dec, g_flux FROM {} WHERE object_id = 4321",
    "scan of 2 columns": "SELECT COUNT(*) AS n, AVG(r_flux) AS mean FROM {} WHERE g_flux > 400",
    "TOP 10": "SELECT TOP 10 object_id, ra, dec FROM {}",
}
STAR_CONE = f"SELECT * FROM {{}} WHERE 1 = CONTAINS(POINT(ra, dec), {CIRCLE})"  # noqa: S608


def ask(service: QueryService, adql: str) -> tuple[float, int]:
    """Seconds to the last byte, and the bytes."""
    request = QueryRequest(adql, find_format("votable"), 600.0)
    begun = time.perf_counter()
    running = service.run(request, LOCAL_ADMIN, query_id="bench")
    try:
        size = sum(len(chunk) for chunk in running.chunks())
        return time.perf_counter() - begun, size
    finally:
        running.close()


def timed[T](work: Callable[[], T]) -> tuple[float, T]:
    begun = time.perf_counter()
    result = work()
    return time.perf_counter() - begun, result


def publish(loaded: Loaded[DacSettings], folder: Path, rows: int) -> dict[str, float]:
    """Seconds that publishing each took."""
    (data,) = iter_pieces(rows, 1, WIDE - _OWN)
    pq.write_table(data, folder / "wide.parquet", compression="zstd", compression_level=1)
    pq.write_table(data.select(data.column_names[:NARROW]), folder / "narrow.parquet")
    service = CatalogService(open_archive(loaded))
    choices = IngestChoices(id="object_id")
    found = {}
    for name in ("wide", "narrow"):
        source = SourceChoices((str(folder / f"{name}.parquet"),))
        found[name], _ = timed(lambda name=name, source=source: service.add(f"survey.{name}", source, choices))  # type: ignore[misc]
    some = data.slice(0, 100)
    for number in range(TABLES):
        columns = [data.column_names[i] for i in range(_OWN, _OWN + TABLE_COLUMNS)]
        pq.write_table(
            pa.table({f"c{i}": some.column(n) for i, n in enumerate(columns)}), folder / f"t{number}.parquet"
        )
        service.add(f"many.t{number}", SourceChoices((str(folder / f"t{number}.parquet"),)), IngestChoices())
    return found


def measure(loaded: Loaded[DacSettings], rounds: int) -> dict[str, Any]:
    opening, archive = timed(lambda: open_archive(loaded))
    loading, snapshot = timed(archive.snapshot)
    tables = [t for s in snapshot.schemas for t in s]
    everything, document = timed(lambda: tableset_xml(snapshot.schemas, columns=True))
    wide = next(t for t in tables if t.name == "wide")
    result: dict[str, Any] = {
        "columns_published": sum(len(t.columns) for t in tables),
        "snapshot_s": round(opening + loading, 3),
        "tables_page": {"seconds": round(everything, 3), "bytes": len(document.body)},
        "one_table_page_s": round(timed(lambda: table_xml(wide))[0], 3),
        "ratio_to_20_columns": {},
    }
    with local_service(loaded) as service:
        for label, text in QUERIES.items():
            seconds: dict[str, list[float]] = {"wide": [], "narrow": []}
            for _ in range(rounds):
                for name, taken in seconds.items():
                    taken.append(ask(service, text.format(f"survey.{name}"))[0])
            medians = {name: statistics.median(taken) for name, taken in seconds.items()}
            result["ratio_to_20_columns"][label] = round(medians["wide"] / medians["narrow"], 2)
        stars = [ask(service, STAR_CONE.format("survey.wide")) for _ in range(rounds)]
        seconds_taken, size = statistics.median(s for s, _ in stars), stars[0][1]
    result["star_cone"] = {"seconds": round(seconds_taken, 3), "bytes": size}
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="idac-bench-") as name:
        folder = Path(name)
        (folder / "dac.yaml").write_text("catalogs:\n  default_read: [public]\n")
        loaded = load_settings(DacSettings, folder / "dac.yaml")
        taken = publish(loaded, folder, options.rows)
        result = {
            "rows": options.rows,
            "columns": {"wide": WIDE, "narrow": NARROW},
            "ingest_megavalues_per_s": {
                "wide": round(options.rows * WIDE / taken["wide"] / 1e6, 1),
                "narrow": round(options.rows * NARROW / taken["narrow"] / 1e6, 1),
            },
            **measure(loaded, options.rounds),
            "machine": machine(),
        }
    keep(result, options.results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
