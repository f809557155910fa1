"""How fast result formats are: written by idac, and read end to end by astropy, pyvo and STILTS.

``python bench/formats.py`` writes ``bench/results/formats.json``. All measures of one part are made in turns in one
run, so that their ratios hold on any machine; the seconds hold on none. ``--part`` measures one part anew and keeps
the other.
"""

from __future__ import annotations

import argparse
import gc
import io
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import astropy
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyvo
from astropy.io.votable import parse
from astropy.table import Table
from pyvo.dal import TAPResults

from idac.tables.arrow import arrow_schema
from idac.tables.formats import DEFAULT_FORMAT, FORMATS
from idac.tables.model import BOOLEAN, DOUBLE, FLOAT, LONG, SHORT, STRING, Column
from idac.tables.writers.info import ResultInfo

#: Rows of a batch, as DuckDB sends them to a query of this width.
BATCH_ROWS = 100_000
BANDS = "ugrizy"
#: Readers that hold rows in the form in which a user goes on with them.
READ_BY_ASTROPY = ("votable", "votable/b2", "votable/td", "fits", "csv", "parquet", "arrow")
READ_BY_PYVO = ("votable", "votable/b2", "votable/td")
READ_BY_STILTS = {"votable": "votable", "votable/b2": "votable", "votable/td": "votable", "fits": "fits", "csv": "csv"}

type Batches = list[pa.RecordBatch]


def make_rows(count: int, *, with_text: bool) -> tuple[tuple[Column, ...], Batches]:
    """A piece of a survey: an id, a position, six magnitudes with a NULL in twenty, a flag, and a name if asked for."""
    rng = np.random.default_rng(1)
    columns: list[Column] = [
        Column("object_id", LONG, ucd="meta.id;meta.main"),
        Column("ra", DOUBLE, unit="deg", ucd="pos.eq.ra;meta.main"),
        Column("dec", DOUBLE, unit="deg", ucd="pos.eq.dec;meta.main"),
        *(Column(f"{band}_mag", FLOAT, unit="mag", ucd="phot.mag") for band in BANDS),
    ]
    numbers = [
        pa.array(rng.integers(2**53, 2**62, count)),
        pa.array(rng.uniform(0, 360, count)),
        pa.array(rng.uniform(-90, 90, count)),
        *(pa.array(rng.normal(22, 2, count).astype(np.float32), mask=rng.random(count) < 0.05) for _ in BANDS),
    ]
    if with_text:
        columns += [Column("is_star", BOOLEAN), Column("name", STRING)]
        numbers += [pa.array(rng.random(count) < 0.5), pa.array([f"SIM J{n:08d}" for n in range(count)])]
    else:
        columns.append(Column("n_obs", SHORT))
        numbers.append(pa.array(rng.integers(0, 900, count).astype(np.int16)))
    batch = pa.RecordBatch.from_arrays(numbers, schema=arrow_schema(columns))
    return tuple(columns), [batch.slice(start, BATCH_ROWS) for start in range(0, count, BATCH_ROWS)]


def write(name: str, columns: tuple[Column, ...], batches: Batches, out: io.BufferedIOBase | None = None) -> int:
    """Number of bytes of the result, which goes to *out* or nowhere."""
    size = 0
    for chunk in FORMATS[name].write(columns, batches, ResultInfo(), lambda: False):
        size += len(chunk)
        if out is not None:
            out.write(chunk)
    return size


def in_turns(
    tasks: dict[str, Callable[[], object]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """The least seconds of each task; one round to warm up, and then all of them once a round.

    The least, since other work on a machine only ever makes a task slower.
    """
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for number in range(rounds + 1):
        for name, task in tasks.items():
            gc.collect()
            start = clock()
            task()
            if number:
                times[name].append(clock() - start)
    return {name: round(min(found), 4) for name, found in times.items()}


def astropy_reader(name: str, path: Path) -> Callable[[], object]:
    """Reads a file into what its users work with: an astropy table, or for Parquet and Arrow one of Arrow."""
    if name.startswith("votable"):
        return lambda: parse(path).get_first_table().to_table()
    if name == "parquet":
        return lambda: pq.read_table(path)
    if name == "arrow":
        return lambda: pa.ipc.open_stream(path.read_bytes()).read_all()
    return lambda: Table.read(path, format={"fits": "fits", "csv": "ascii.csv"}[name])


def pyvo_reader(path: Path) -> Callable[[], object]:
    """What ``TAPService.search(...).to_table()`` does once the bytes are there."""
    return lambda: TAPResults(parse(path)).to_table()


def stilts_reader(kind: str, path: Path) -> Callable[[], object]:
    """STILTS from its start to the last row: each value is decoded, and written as FITS, its fastest, to nowhere."""
    # To standard output, and from there nowhere: STILTS run by root replaces the device /dev/null itself by a file.
    command = ["stilts", "tpipe", f"in={path}", f"ifmt={kind}", "ofmt=fits-basic", "out=-"]
    return lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)  # noqa: S603


def measure_reading(rows: int, rounds: int) -> dict[str, object]:
    columns, batches = make_rows(rows, with_text=True)
    with tempfile.TemporaryDirectory() as folder:
        paths: dict[str, Path] = {}
        for name in READ_BY_ASTROPY:
            paths[name] = Path(folder) / f"{name.replace('/', '-')}.{FORMATS[name].extension}"
            with paths[name].open("wb") as out:
                write(name, columns, batches, out)
        nothing = Path(folder) / "nothing.fits"
        nothing.write_bytes(b"".join(FORMATS["fits"].write(columns, [], ResultInfo(), lambda: False)))
        found: dict[str, object] = {"rows": rows, "columns": len(columns)}
        found["bytes"] = {name: path.stat().st_size for name, path in paths.items()}
        found["astropy_s"] = in_turns({n: astropy_reader(n, paths[n]) for n in READ_BY_ASTROPY}, rounds)
        found["pyvo_s"] = in_turns({n: pyvo_reader(paths[n]) for n in READ_BY_PYVO}, rounds)
        stilts = {n: stilts_reader(kind, paths[n]) for n, kind in READ_BY_STILTS.items()}
        found["stilts_s"] = in_turns(stilts | {"start alone": stilts_reader("fits", nothing)}, rounds)
    return found


def measure_writing(rows: int, rounds: int) -> dict[str, object]:
    columns, batches = make_rows(rows, with_text=False)
    tasks: dict[str, Callable[[], object]] = {n: lambda n=n: write(n, columns, batches) for n in FORMATS}  # type: ignore[misc]
    sizes = {name: write(name, columns, batches) for name in FORMATS}
    # Seconds of one processor, of all threads together: a service has others to answer meanwhile, and a machine that
    # does other work gives the same figures.
    seconds = in_turns(tasks, rounds, time.process_time)
    rates = {name: round(rows / s) for name, s in seconds.items()}
    return {"rows": rows, "columns": len(columns), "bytes": sizes, "rows_per_cpu_s": rates}


def fastest_serialisation(reading: dict[str, object]) -> dict[str, str]:
    """The fastest of VOTable's serialisations, by client."""
    fastest = {}
    for client in ("astropy_s", "pyvo_s", "stilts_s"):
        seconds: dict[str, float] = reading[client]  # type: ignore[assignment]
        fastest[client.removesuffix("_s")] = min(READ_BY_PYVO, key=seconds.__getitem__)
    return fastest


def stilts_version() -> str:
    done = subprocess.run(["stilts", "-version"], check=True, capture_output=True, text=True)  # noqa: S607
    words = [line for line in (done.stdout + done.stderr).splitlines() if "STILTS version" in line]
    return words[0].split("version", 1)[1].strip() if words else "unknown"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "formats.json")
    parser.add_argument("--read-rows", type=int, default=200_000)
    parser.add_argument("--write-rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--part", choices=["reading", "writing"], help="measure only this, and keep the other figures")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    result: dict[str, object] = json.loads(options.out.read_text()) if options.part else {}
    result["cores"] = os.cpu_count()
    result["versions"] = {
        "Python": platform.python_version(),
        "astropy": astropy.__version__,
        "pyvo": pyvo.__version__,
        "pyarrow": pa.__version__,
        "STILTS": stilts_version(),
    }
    result["default"] = DEFAULT_FORMAT.name
    if options.part != "writing":
        reading = measure_reading(options.read_rows, options.rounds)
        result |= {"reading": reading, "fastest_votable": fastest_serialisation(reading)}
    if options.part != "reading":
        result["writing"] = measure_writing(options.write_rows, options.rounds)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    sys.stdout.write(options.out.read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
