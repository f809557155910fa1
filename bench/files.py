"""What a catalogue of many files costs: opening it, cones and look-ups, at 10, 1 000 and 20 000 files.

``python -m bench.files`` writes three HATS catalogues of small files, registers each where it stands, asks all of
them the same in turns, and writes ``bench/results/files.json``. The files are small, so that their number is measured.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cdshealpix
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy import units as u

from bench.ingest import keep, machine
from bench.wide import ask, timed
from idac.catalogs.ingest import IngestChoices
from idac.catalogs.partition import FINE_ORDER, Pixel
from idac.catalogs.service import CatalogService, SourceChoices
from idac.cli.query import local_service
from idac.core.loading import load_settings
from idac.core.principal import LOCAL_ADMIN
from idac.core.store import FolderStore
from idac.query.service import QueryService
from idac.wiring.build import open_archive
from idac.wiring.settings import DacSettings

RESULTS = Path(__file__).parent / "results" / "files.json"
FILES = (10, 1_000, 20_000)
ROWS = 200
TABLE = "many.objects"


def order_for(files: int) -> int:
    """The least order with so many pixels on half the sky."""
    return next(order for order in range(12) if 6 * 4**order >= files)


def write_catalogue(folder: Path, files: int) -> tuple[float, float]:
    """A HATS catalogue of so many files, each of ``ROWS`` objects; gives a place with rows, in degrees."""
    order = order_for(files)
    rng = np.random.default_rng(files)
    schema = pa.schema(
        [("_healpix_29", pa.int64()), ("object_id", pa.int64()), ("ra", pa.float64()), ("dec", pa.float64())]
        + [(f"{band}_mag", pa.float32()) for band in "ugrizy"]
    )
    pixels = [Pixel(order, index) for index in range(files)]
    for number, pixel in enumerate(pixels):
        hpx = np.sort(rng.integers(pixel.low, pixel.high, ROWS))
        lon, lat = cdshealpix.healpix_to_lonlat(hpx.astype(np.uint64), FINE_ORDER)
        ids = np.arange(number * ROWS, (number + 1) * ROWS)
        magnitudes = rng.normal(22, 1, (6, ROWS)).astype(np.float32)
        columns = [hpx, ids, lon.to_value(u.deg), lat.to_value(u.deg), *magnitudes]
        path = folder / pixel.path
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table([pa.array(c) for c in columns], schema=schema), path)
    pq.write_metadata(schema, folder / "dataset/_common_metadata")
    lines = ["Norder,Npix", *(f"{p.order},{p.index}" for p in pixels)]
    (folder / "partition_info.csv").write_text("\n".join(lines) + "\n")
    properties = {
        "obs_collection": "many",
        "dataproduct_type": "object",
        "hats_nrows": files * ROWS,
        "hats_col_ra": "ra",
        "hats_col_dec": "dec",
        "hats_col_healpix": "_healpix_29",
        "hats_col_healpix_order": FINE_ORDER,
        "hats_version": "v1.0",
    }
    (folder / "hats.properties").write_text("".join(f"{key}={value}\n" for key, value in properties.items()))
    middle = Pixel(order, files // 2)
    lon, lat = cdshealpix.healpix_to_lonlat(np.array([middle.index], dtype=np.uint64), order)
    return float(lon[0].to_value(u.deg)), float(lat[0].to_value(u.deg))


def queries(place: tuple[float, float], files: int) -> dict[str, str]:
    """Each answers from one file or two, however many there are."""
    ra, dec = place
    radius = 10 / 2 ** order_for(files)
    cone = f"1 = CONTAINS(POINT(ra, dec), CIRCLE({ra:.6f}, {dec:.6f}, {radius / 4:.6f}))"
    return {
        "TOP 1": f"SELECT TOP 1 * FROM {TABLE}",  # noqa: S608
        "cone": f"SELECT object_id, ra, dec, r_mag FROM {TABLE} WHERE {cone}",  # noqa: S608
        "look-up by id": f"SELECT * FROM {TABLE} WHERE object_id = {files * ROWS // 2}",  # noqa: S608
    }


def measure(folder: Path, sizes: tuple[int, ...], rounds: int) -> dict[str, Any]:
    found: dict[str, dict[str, Any]] = {}
    asked: dict[int, dict[str, str]] = {}
    services: dict[int, QueryService] = {}
    with ExitStack() as stack:
        for files in sizes:
            home = folder / str(files)
            place = write_catalogue(home / "hats", files)
            asked[files] = queries(place, files)
            (home / "dac.yaml").write_text("catalogs:\n  default_read: [public]\n")
            loaded = load_settings(DacSettings, home / "dac.yaml")
            add = CatalogService(open_archive(loaded), lambda location: FolderStore(Path(location))).add
            source = SourceChoices((str(home / "hats"),))
            registered, _ = timed(lambda: add(TABLE, source, IngestChoices(id="object_id")))  # noqa: B023
            opened, _ = timed(lambda: open_archive(loaded).snapshot())  # noqa: B023
            services[files] = stack.enter_context(local_service(loaded))
            first = {name: ask(services[files], adql)[0] for name, adql in asked[files].items()}
            explained = {name: services[files].explain(adql, LOCAL_ADMIN).scans for name, adql in asked[files].items()}
            found[str(files)] = {
                "register_s": round(registered, 3),
                "open_s": round(opened, 3),
                "first_s": {name: round(seconds, 3) for name, seconds in first.items()},
                "files_opened": {name: scans[0].files for name, scans in explained.items()},
            }
        for name in asked[sizes[0]]:
            taken: dict[int, list[float]] = {files: [] for files in sizes}
            for _ in range(rounds):
                for files in sizes:
                    taken[files].append(ask(services[files], asked[files][name])[0])
            base = statistics.median(taken[sizes[0]])
            for files in sizes:
                ratio = round(statistics.median(taken[files]) / base, 2)
                found[str(files)].setdefault("ratio_to_fewest", {})[name] = ratio
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, nargs="+", default=list(FILES))
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="idac-bench-") as name:
        result = {"files": measure(Path(name), tuple(options.files), options.rounds), "machine": machine()}
    keep(result, options.results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
