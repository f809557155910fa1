"""A synthetic survey of any size: half of it in a deep field, half spread wide, written piece by piece.

``python bench/generate.py OUT.parquet --rows 10000000`` makes the table that the benchmark runs on: 25 columns,
5 M rows in a deep 10 deg² field for every 5 M spread over 300 deg² (so that at 10 M rows a cone of 1 arcmin holds about
430 rows or 12). ``--bands r`` makes 10 columns of them, ``--extra-columns 1275`` makes 1 300. An OUT that ends in
``.csv`` or ``.fits`` becomes that.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from astropy.io import fits

PIECE_ROWS = 1_000_000
#: Centre (ra, dec) and half-width in degrees of the two fields; both lie away from the poles, where area is simple.
DEEP = (150.0, 2.2, 1.58)
WIDE = (180.0, 0.0, 8.66)
BANDS = "ugrizy"


def _positions(rng: np.random.Generator, rows: int, field: tuple[float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    ra0, dec0, half = field
    low, high = np.sin(np.radians([dec0 - half, dec0 + half]))
    dec = np.degrees(np.arcsin(rng.uniform(low, high, rows)))
    ra = ra0 + rng.uniform(-half, half, rows) / np.cos(np.radians(dec0))
    return ra % 360.0, dec


def iter_pieces(rows: int, seed: int, extra_columns: int = 0, bands: str = BANDS) -> Iterator[pa.Table]:
    """Tables of at most PIECE_ROWS rows, *rows* in all; the same seed gives the same rows."""
    for number, start in enumerate(range(0, rows, PIECE_ROWS)):
        rng = np.random.default_rng([seed, number])
        n = min(PIECE_ROWS, rows - start)
        deep = n // 2
        positions = zip(_positions(rng, deep, DEEP), _positions(rng, n - deep, WIDE), strict=True)
        ra, dec = (np.concatenate(pair) for pair in positions)
        # Multiplying by an odd constant scatters the ids over 63 bits and never makes two of them equal.
        scattered = (np.arange(start, start + n, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)) % np.uint64(2**63)
        columns: dict[str, np.ndarray] = {
            "object_id": np.arange(start, start + n, dtype=np.int64),
            "source_id": scattered.astype(np.int64),
            "ra": ra,
            "dec": dec,
        }
        for band in bands:
            flux = rng.lognormal(6.0, 1.5, n).astype(np.float32)
            columns[f"{band}_flux"] = flux
            columns[f"{band}_flux_err"] = (flux * 0.05 + 10).astype(np.float32)
            columns[f"{band}_flag"] = rng.random(n) < 0.02
        columns["n_obs"] = rng.poisson(80, n).astype(np.int16)
        columns["extendedness"] = rng.random(n).astype(np.float32)
        columns["tract"] = rng.integers(0, 18_000, n).astype(np.int32)
        for i in range(extra_columns):
            columns[f"extra_{i:04d}"] = rng.standard_normal(n).astype(np.float32)
        yield pa.table(columns)


def write_parquet(out: Path, pieces: Iterator[pa.Table], rows: int) -> None:
    first = next(pieces)
    with pq.ParquetWriter(out, first.schema, compression="zstd", compression_level=1) as writer:
        for piece in itertools.chain([first], pieces):
            writer.write_table(piece)


def write_csv(out: Path, pieces: Iterator[pa.Table], rows: int) -> None:
    first = next(pieces)
    with pyarrow.csv.CSVWriter(out, first.schema) as writer:
        for piece in itertools.chain([first], pieces):
            writer.write_table(piece)


def write_fits(out: Path, pieces: Iterator[pa.Table], rows: int) -> None:
    """A binary table of *rows* rows, with units for the positions; its header is astropy's."""
    first = next(pieces)
    names = {"int64": "K", "int32": "J", "int16": "I", "double": "D", "float": "E", "bool": "L"}
    units = {"ra": "deg", "dec": "deg"}
    columns = [fits.Column(f.name, names[str(f.type)], unit=units.get(f.name)) for f in first.schema]
    header = fits.BinTableHDU.from_columns(columns).header
    header["NAXIS2"] = rows
    kinds = {"K": ">i8", "J": ">i4", "I": ">i2", "D": ">f8", "E": ">f4", "L": "u1"}
    packed = np.dtype([(c.name, kinds[c.format]) for c in columns])
    out.unlink(missing_ok=True)  # the stream would append to it
    stream = fits.StreamingHDU(out, header)
    for piece in itertools.chain([first], pieces):
        records = np.empty(piece.num_rows, packed)
        for name, column in zip(piece.column_names, piece.columns, strict=True):
            values = column.to_numpy()
            records[name] = np.where(values, ord("T"), ord("F")) if values.dtype == bool else values
        stream.write(records.view(np.uint8))
    stream.close()


WRITERS: dict[str, Callable[[Path, Iterator[pa.Table], int], None]] = {
    ".parquet": write_parquet,
    ".csv": write_csv,
    ".fits": write_fits,
}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--bands", default=BANDS, help="letters of the bands; three columns each")
    parser.add_argument("--extra-columns", type=int, default=0, help="add that many float columns, for wide tables")
    options = parser.parse_args(arguments)
    if options.rows < 1:
        parser.error("--rows must be at least 1")
    if options.out.suffix not in WRITERS:
        parser.error(f"OUT must end in {', '.join(WRITERS)}")
    pieces = iter_pieces(options.rows, options.seed, options.extra_columns, options.bands)
    WRITERS[options.out.suffix](options.out, pieces, options.rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
