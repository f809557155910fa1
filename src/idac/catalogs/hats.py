"""HATS on disk: a collection with its catalogue, margin cache and id index, as LSDB, DuckDB and Spark read it.

Follows the IVOA note "HATS: Hierarchical Adaptive Tiling Scheme": Parquet files named by HEALPix pixel, sorted by
``_healpix_29``, with ``hats.properties``, ``partition_info.csv`` and ``dataset/_common_metadata`` beside them.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from idac import __version__
from idac.catalogs.margin import MarginRows
from idac.catalogs.partition import Int64s, Pixel
from idac.catalogs.runs import SortedRuns
from idac.core.errors import BadData

HEALPIX_COLUMN = "_healpix_29"
HEALPIX_FIELD = pa.field(HEALPIX_COLUMN, pa.int64(), nullable=False)

#: Least size at which a page ends.
_PAGE_BYTES = 1 << 20

type FileKind = Literal["data", "margin", "index", "other"]
type Report = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A file of a version, by its path under the version's folder."""

    path: str
    kind: FileKind
    rows: int
    bytes: int
    sha256: str
    modified_us: int = 0
    """Time of the last change, of a file that others keep, in microseconds since 1970; 0 where it is not known."""


@dataclass(frozen=True, slots=True)
class RowGroups:
    """The row groups of one data file: where each starts and ends on the sky, and its rows."""

    hpx_min: Int64s
    hpx_max: Int64s
    rows: Int64s


@dataclass(frozen=True, slots=True)
class ParquetOptions:
    """How the rows are written.

    *dictionary* names the columns whose values repeat, *compressed* by their paths those that zstd makes much smaller.
    """

    row_group_rows: int
    dictionary: tuple[str, ...] = ()
    bloom_columns: tuple[str, ...] = ()
    compressed: tuple[str, ...] = ()

    def open_writer(self, path: Path, schema: pa.Schema, rows: int) -> pq.ParquetWriter:
        bloom = {name: {"ndv": max(min(rows, self.row_group_rows), 1), "fpp": 0.01} for name in self.bloom_columns}
        # Level 1 of zstd: level 3 wrote 4 % less in twice the time. Page version 1: DataFusion and Spark stumble on 2.
        return pq.ParquetWriter(
            path,
            schema,
            compression=dict.fromkeys(self.compressed, "zstd"),
            compression_level=dict.fromkeys(self.compressed, 1),
            data_page_version="1.0",
            # One page: what is read of a row group is all of a column, and plain values then lie there in one piece.
            max_rows_per_page=self.row_group_rows,
            data_page_size=max(_PAGE_BYTES, 2 * 8 * self.row_group_rows),
            use_dictionary=list(self.dictionary) or False,
            bloom_filter_options=bloom or None,
        )


@dataclass
class WrittenCatalog:
    """What a catalogue's folder holds, in sky order."""

    files: list[WrittenFile] = field(default_factory=list)
    row_groups: list[RowGroups] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return sum(f.rows for f in self.files if f.kind == "data")

    @property
    def bytes(self) -> int:
        return sum(f.bytes for f in self.files if f.kind == "data")


def folder_name(name: str) -> str:
    """*name* as a part of a path that needs no quoting anywhere."""
    return re.sub(r"[^A-Za-z0-9_.+-]", "_", name).lstrip(".") or "_"


def write_catalog(
    root: Path,
    name: str,
    runs: SortedRuns,
    pixels: Sequence[Pixel],
    *,
    schema: pa.Schema,
    options: ParquetOptions,
    chunk_rows: int,
    pool: ThreadPoolExecutor,
    report: Report,
    margin: MarginRows | None = None,
) -> WrittenCatalog:
    """Write every pixel's file under *root*/*name* and read each back; the index column is put in front.

    *margin* looks at every row on its way.
    """
    out = with_healpix(schema)

    def write(pixel: Pixel) -> tuple[WrittenFile, RowGroups]:
        path = root / name / pixel.path
        path.parent.mkdir(parents=True, exist_ok=True)
        expected = int(runs.count(np.array([pixel.low]), np.array([pixel.high]))[0])
        chunks = runs.iter_sorted(pixel.low, pixel.high, chunk_rows)
        groups = _write_pixel(path, chunks, out, options, expected, margin)
        _verify_pixel(path, pixel, groups)
        # Each thread has a heap of its own, which keeps what it freed until it is told otherwise.
        pa.default_memory_pool().release_unused()
        report(expected)
        return describe_file(root, path, "data", expected), groups

    written = WrittenCatalog()
    for file, groups in pool.map(write, pixels):
        written.files.append(file)
        written.row_groups.append(groups)
    return written


def with_healpix(schema: pa.Schema) -> pa.Schema:
    return schema.insert(0, HEALPIX_FIELD)


def _write_pixel(
    path: Path,
    chunks: Iterable[tuple[Int64s, pa.Table]],
    schema: pa.Schema,
    options: ParquetOptions,
    rows: int,
    margin: MarginRows | None,
) -> RowGroups:
    size = options.row_group_rows
    parts: list[tuple[Int64s, Int64s, Int64s]] = []
    with options.open_writer(path, schema, rows) as writer:
        for keys, chunk in chunks:
            table = chunk.add_column(0, HEALPIX_FIELD, pa.array(keys))
            writer.write_table(table, row_group_size=size)
            if margin is not None:
                margin.look_at(keys, table)
            starts = np.arange(0, len(keys), size)
            ends = np.append(starts[1:], len(keys))
            parts.append((keys[starts], keys[ends - 1], ends - starts))
    lows, highs, counts = (np.concatenate(p).astype(np.int64) for p in zip(*parts, strict=True))
    return RowGroups(lows, highs, counts)


def _verify_pixel(path: Path, pixel: Pixel, groups: RowGroups) -> None:
    """Read the file just written: its rows are those meant, in order, inside its pixel."""
    keys = pq.read_table(path, columns=[HEALPIX_COLUMN], partitioning=None).column(0).to_numpy()
    ends = np.cumsum(groups.rows)
    whole = (
        len(keys) == ends[-1]
        and bool(np.all(keys[1:] >= keys[:-1]))
        and pixel.low <= keys[0]
        and keys[-1] < pixel.high
        and bool(np.array_equal(keys[ends - 1], groups.hpx_max))
    )
    if not whole:
        raise BadData(
            "A file of the new version does not hold what was written to it; nothing was published.",
            value=pixel.path,
            next_step="Check the disk under the archive, then run the command again.",
        )


def describe_file(root: Path, path: Path, kind: FileKind, rows: int) -> WrittenFile:
    """Push the file to disk and take its size and checksum."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return WrittenFile(path.relative_to(root).as_posix(), kind, rows, path.stat().st_size, digest)


def write_margin(
    root: Path,
    name: str,
    margin: MarginRows,
    pixels: Sequence[Pixel],
    *,
    schema: pa.Schema,
    options: ParquetOptions,
    pool: ThreadPoolExecutor,
) -> list[tuple[Pixel, WrittenFile]]:
    """The ring of each pixel of *pixels*, which are those that *margin* was made for, in a file of its own."""
    out = with_healpix(schema)

    def write(number: int) -> tuple[Pixel, WrittenFile] | None:
        pixel = pixels[number]
        table = margin.ring(number, HEALPIX_COLUMN)
        if table is None:
            return None
        path = root / name / pixel.path
        path.parent.mkdir(parents=True, exist_ok=True)
        with options.open_writer(path, out, table.num_rows) as writer:
            writer.write_table(table, row_group_size=options.row_group_rows)
        return pixel, describe_file(root, path, "margin", table.num_rows)

    return [found for found in pool.map(write, range(len(pixels))) if found]


def write_id_index(
    root: Path,
    name: str,
    primary: str,
    id_column: str,
    batches: Iterator[pa.RecordBatch],
    pixels: Sequence[Pixel],
    *,
    rows_per_file: int,
    row_group_rows: int,
) -> list[WrittenFile]:
    """An index catalogue of (id, _healpix_29, Norder, Npix) from *batches* of (id, _healpix_29) sorted by id."""
    lows = np.array([p.low for p in pixels], dtype=np.int64)
    orders = np.array([p.order for p in pixels], dtype=np.int8)
    numbers = np.array([p.index for p in pixels], dtype=np.int64)
    folder = root / name / "dataset" / "index"
    folder.mkdir(parents=True)
    files: list[WrittenFile] = []
    footers: list[pq.FileMetaData] = []
    schema = pa.schema([])
    for rows in _in_files(batches, rows_per_file):
        path = folder / f"part-{len(files):05d}.parquet"
        collected: list[pq.FileMetaData] = []
        with ExitStack() as stack:
            writer: pq.ParquetWriter | None = None
            for batch in rows:
                at = np.searchsorted(lows, batch.column(HEALPIX_COLUMN).to_numpy(), side="right") - 1
                table = pa.Table.from_batches([batch])
                table = table.append_column("Norder", pa.array(orders[at])).append_column("Npix", pa.array(numbers[at]))
                if writer is None:
                    schema = table.schema
                    options = index_options(schema, id_column, row_group_rows)
                    writer = pq.ParquetWriter(path, schema, metadata_collector=collected, **options)
                    # A close that fails must not be tried again when the writer is collected.
                    stack.callback(setattr, writer, "is_open", False)
                    stack.enter_context(writer)
                writer.write_table(table, row_group_size=row_group_rows)
        collected[0].set_file_path(f"index/{path.name}")
        footers.extend(collected)
        files.append(describe_file(root, path, "index", collected[0].num_rows))
    if files:
        # LSDB finds the partitions of an id through this file alone (hats IndexCatalog.loc_partitions).
        pq.write_metadata(schema, root / name / "dataset" / "_metadata", metadata_collector=footers)
        pq.write_metadata(schema, root / name / "dataset" / "_common_metadata")
    properties = {
        "obs_collection": name,
        "dataproduct_type": "index",
        "hats_nrows": sum(f.rows for f in files),
        "hats_primary_table_url": primary,
        "hats_index_column": id_column,
        "hats_index_extra_column": HEALPIX_COLUMN,
    }
    write_properties(root / name, properties)
    return files


def index_options(schema: pa.Schema, id_column: str, row_group_rows: int) -> dict[str, Any]:
    """How an id index is written: whole numbers plain and in one page, where a look-up finds them without decoding."""
    texts = [id_column] if not pa.types.is_integer(schema.field(id_column).type) else []
    packed = [*texts, "Norder", "Npix"]
    return {
        "max_rows_per_page": row_group_rows,
        "use_dictionary": ["Norder", "Npix"],
        "compression": dict.fromkeys(packed, "zstd"),
        "compression_level": dict.fromkeys(packed, 1),
    }


def _in_files(batches: Iterator[pa.RecordBatch], rows: int) -> Iterator[Iterator[pa.RecordBatch]]:
    """The batches of one file after the other, about *rows* rows each; each is to be taken before the next."""
    for first in batches:
        yield _one_file(first, batches, rows)


def _one_file(first: pa.RecordBatch, more: Iterator[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    yield first
    left = rows - first.num_rows
    while left > 0 and (batch := next(more, None)) is not None:
        yield batch
        left -= batch.num_rows


def write_partition_info(folder: Path, files: Iterable[tuple[Pixel, int]]) -> None:
    lines = ["Norder,Npix,num_rows"]
    lines += [f"{pixel.order},{pixel.index},{rows}" for pixel, rows in files]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "partition_info.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_common_metadata(folder: Path, schema: pa.Schema, votable: bytes | None) -> None:
    """The schema of the data files, with the columns' metadata as a VOTable (VOParquet 1.0) where given."""
    if votable is not None:
        extra = {b"IVOA.VOTable-Parquet.version": b"1.0", b"IVOA.VOTable-Parquet.content": votable}
        schema = schema.with_metadata({**(schema.metadata or {}), **extra})
    (folder / "dataset").mkdir(parents=True, exist_ok=True)
    pq.write_metadata(schema, folder / "dataset" / "_common_metadata")


def write_properties(folder: Path, values: Mapping[str, object], *, collection: bool = False) -> None:
    """``hats.properties`` and its older name ``properties``, or ``collection.properties``."""
    common = {
        "hats_builder": f"idac v{__version__}",
        "hats_creation_date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%MZ"),
        "hats_version": "v1.0",
    }
    lines = ["# HATS collection" if collection else "# HATS catalog"]
    lines += [f"{key}={_escaped(str(value))}" for key, value in {**values, **common}.items() if value is not None]
    folder.mkdir(parents=True, exist_ok=True)
    for name in ["collection.properties"] if collection else ["hats.properties", "properties"]:
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")


def read_properties(text: str) -> dict[str, str]:
    """The pairs of a Java-style properties file, as far as HATS uses the format."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        line = line.strip()
        if not line or line[0] in "#!":
            continue
        key, _, value = line.partition("=")
        found[key.strip()] = value.strip().replace("\\n", "\n").replace("\\:", ":").replace("\\\\", "\\")
    return found
