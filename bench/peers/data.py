"""The benchmark's tables as files: a survey in Parquet and CSV, and positions to match with it.

The rows are those of ``bench/generate.py``, with one change: ``object_id`` is made as Gaia and Rubin make theirs, from
the position, so that near objects have near ids; ``source_id`` is scattered at random. Both kinds are looked up.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from astropy import units as u
from astropy.coordinates import Latitude, Longitude
from cdshealpix.nested import lonlat_to_healpix

from bench.generate import DEEP, WIDE, iter_pieces
from bench.peers.sizes import Sizes

#: HEALPix order of the cell that an object_id begins with; the running number has the other bits.
ID_ORDER = 12
_ID_SHIFT = 35
#: Part of the match table that has a counterpart, and its scatter on each axis.
MATCHED = 0.7
SCATTER_ARCSEC = 0.3
#: DaCHS's booster knows no quotes.
_CSV = pacsv.WriteOptions(quoting_style="none", quoting_header="none")


@dataclass(frozen=True)
class Files:
    """The tables of one size, and ids that occur in them."""

    survey_parquet: Path
    survey_csv: Path
    match_parquet: Path
    match_csv: Path
    ids: Path

    def complete(self) -> bool:
        return self.ids.exists()


def make_data(folder: Path, sizes: Sizes) -> Files:
    """The files for *sizes* in *folder*, written unless they are there."""
    names = ("survey.parquet", "survey.csv", "match.parquet", "match.csv", "ids.parquet")
    files = Files(*(folder / name for name in names))
    if files.complete():
        return files
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(20250524)
    kept: list[pa.Table] = []
    parquet: pq.ParquetWriter | None = None
    csv: pacsv.CSVWriter | None = None
    for piece in iter_pieces(sizes.rows, seed=1):
        table = _with_sky_ids(piece)
        parquet = parquet or pq.ParquetWriter(files.survey_parquet, table.schema, compression="zstd")
        csv = csv or pacsv.CSVWriter(files.survey_csv, table.schema, write_options=_CSV)
        parquet.write_table(table)
        csv.write_table(table)
        share = int(np.ceil(sizes.match_rows * MATCHED * len(piece) / sizes.rows))
        some = rng.choice(len(table), min(share, len(table)), replace=False)
        kept.append(table.select(["object_id", "source_id", "ra", "dec"]).take(pa.array(np.sort(some))))
    for writer in (parquet, csv):
        if writer is not None:
            writer.close()
    sample = pa.concat_tables(kept)
    match = _match_table(sample, sizes.match_rows, rng)
    pq.write_table(match, files.match_parquet, compression="zstd")
    pacsv.write_csv(match, files.match_csv, _CSV)
    some = rng.choice(len(sample), min(len(sample), 20_000), replace=False)
    pq.write_table(sample.take(pa.array(some)), files.ids)
    return files


def _with_sky_ids(table: pa.Table) -> pa.Table:
    ra, dec = (table.column(name).to_numpy() for name in ("ra", "dec"))
    cell = lonlat_to_healpix(Longitude(ra * u.deg), Latitude(dec * u.deg), ID_ORDER).astype(np.int64)
    ids = (cell << _ID_SHIFT) + table.column("object_id").to_numpy()
    return table.set_column(0, "object_id", pa.array(ids))


def _match_table(sample: pa.Table, rows: int, rng: np.random.Generator) -> pa.Table:
    """*rows* positions: MATCHED of them beside a row of the survey, the others anywhere in its two fields."""
    n = min(len(sample), int(rows * MATCHED))
    chosen = sample.take(pa.array(rng.choice(len(sample), n, replace=False)))
    dec = chosen.column("dec").to_numpy() + rng.normal(0, SCATTER_ARCSEC / 3600, n)
    ra = chosen.column("ra").to_numpy() + rng.normal(0, SCATTER_ARCSEC / 3600, n) / np.cos(np.radians(dec))
    left = rows - n
    deep = left // 2
    fields = [DEEP] * deep + [WIDE] * (left - deep)
    centre = np.array([f[:2] for f in fields]).reshape(-1, 2)
    half = np.array([f[2] for f in fields])
    ra = np.concatenate([ra, centre[:, 0] + rng.uniform(-1, 1, left) * half])
    dec = np.concatenate([dec, centre[:, 1] + rng.uniform(-1, 1, left) * half])
    order = rng.permutation(rows)
    columns = {
        "match_id": np.arange(rows, dtype=np.int64),
        "ra": ra[order] % 360.0,
        "dec": dec[order],
        "mag": rng.normal(21, 1.5, rows).astype(np.float32),
    }
    return pa.table(columns)


def known_ids(files: Files, column: str) -> list[int]:
    """Some values of *column* of the survey, in no order."""
    found: list[int] = pc.cast(pq.read_table(files.ids, columns=[column]).column(0), pa.int64()).to_pylist()
    return found
