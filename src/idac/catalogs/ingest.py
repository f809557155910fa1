"""A stream of batches becomes a staged version: every row checked, sorted on the sky, written as HATS, counted."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from idac.catalogs import hats
from idac.catalogs.checks import IdDigest, IdOrder, PositionCheck, Rejects, WideTexts
from idac.catalogs.hats import HEALPIX_COLUMN, ParquetOptions, RowGroups, WrittenFile
from idac.catalogs.manifest import Version, now_text
from idac.catalogs.margin import MarginRows
from idac.catalogs.metadata import find_positions, position_conversion, require_column
from idac.catalogs.partition import Pixel, margin_order, plan_partitions
from idac.catalogs.runs import SortedRuns
from idac.catalogs.settings import IngestSettings
from idac.catalogs.sidecar import write_sidecars
from idac.core.errors import BadData
from idac.core.scratch import open_scratch
from idac.tables.arrow import arrow_schema
from idac.tables.model import LONG, Column, Table
from idac.tables.writers.info import ResultInfo
from idac.tables.writers.votable import fields_document

#: Bounds of a row group and of a file in bytes before compression: a wide table gets fewer rows in each.
_ROW_GROUP_BYTES = 32 << 20
_FILE_BYTES = 1 << 30
_CHUNK_BYTES = 64 << 20
_BATCH_BYTES = 32 << 20
#: Rows of the id index in a row group and in a file.
_INDEX_GROUP_ROWS = 32_768
_INDEX_FILE_ROWS = 20_000_000
#: Values a column chunk may repeat before a dictionary no longer pays, as a share of its rows.
_DICTIONARY_SHARE = 0.25
#: What zstd must leave of a column's bytes to be used. Measurements keep nine tenths, and unpacking them takes longer
#: than everything else in most scans and look-ups.
_COMPRESSED_SHARE = 0.75

_HEALPIX = Column(HEALPIX_COLUMN, LONG, ucd="pos.healpix", description="HEALPix index, nested, order 29")

type Progress = Callable[[str, int, int | None], None]


@dataclass(frozen=True, slots=True)
class IngestChoices:
    """What the publisher says about a table beyond what the source tells."""

    ra: str | None = None
    dec: str | None = None
    id: str | None = None
    #: Publish a table that has positions without sorting it on the sky.
    no_positions: bool = False
    wrap_ra: bool = False
    convert_positions: bool = False
    rejects: Path | None = None


@dataclass(frozen=True, slots=True)
class Staged:
    """A finished version in a folder of its own, which nothing shows yet."""

    folder: Path
    version: Version
    table: Table
    rejected: int


def row_width(schema: pa.Schema) -> int:
    """Bytes that a row takes in memory, taking text and lists of unknown length for 24."""
    return sum(_field_width(field.type) for field in schema)


def _field_width(kind: pa.DataType) -> int:
    if pa.types.is_fixed_size_list(kind):
        return int(kind.list_size) * _field_width(kind.value_type)
    try:
        return max(int(kind.bit_width) // 8, 1)
    except ValueError:
        return 24


def batch_rows(schema: pa.Schema) -> int:
    """Rows of a batch that keep it near 32 MiB, whatever the number of columns."""
    return int(np.clip(_BATCH_BYTES // row_width(schema), 1_024, 262_144))


@dataclass(frozen=True, slots=True)
class _Layout:
    """Sizes that follow from the width of a row."""

    options: ParquetOptions
    rows_per_file: int
    chunk_rows: int


def _layout(schema: pa.Schema, settings: IngestSettings, id_column: str | None, sample: pa.Table | None) -> _Layout:
    width = row_width(schema)
    group = int(np.clip(_ROW_GROUP_BYTES // width, 1_024, settings.row_group_rows))
    per_file = int(np.clip(_FILE_BYTES // width, group, settings.rows_per_file))
    chunk_bytes = min(_CHUNK_BYTES, settings.memory_bytes // (settings.worker_count * 12))
    chunk = group * max(1, chunk_bytes // (group * width))
    dictionary = _repeating_columns(sample, group) if sample is not None else ()
    options = ParquetOptions(group, tuple(n for n in dictionary if n != id_column), (id_column,) if id_column else ())
    if sample is not None:
        options = replace(options, compressed=_compressible_columns(sample, options))
    return _Layout(options, per_file, chunk)


def _repeating_columns(sample: pa.Table, rows: int) -> tuple[str, ...]:
    head = sample.slice(0, rows)
    found = []
    for field in head.schema:
        if pa.types.is_nested(field.type) or pa.types.is_boolean(field.type):
            continue
        if pc.count_distinct(head.column(field.name)).as_py() < _DICTIONARY_SHARE * head.num_rows:
            found.append(field.name)
    return tuple(found)


def _compressible_columns(sample: pa.Table, options: ParquetOptions) -> tuple[str, ...]:
    """Paths of the columns that zstd makes much smaller, by a row group that is written to be looked at."""
    trial = io.BytesIO()
    rows = sample.slice(0, options.row_group_rows)
    pq.write_table(
        rows, trial, compression="zstd", compression_level=1, use_dictionary=list(options.dictionary) or False
    )
    footer = pq.read_metadata(trial)
    if not footer.num_row_groups:
        return ()
    group = footer.row_group(0)
    columns = [group.column(number) for number in range(group.num_columns)]
    return tuple(
        c.path_in_schema for c in columns if c.total_compressed_size < _COMPRESSED_SHARE * c.total_uncompressed_size
    )


class Ingest:
    """One table on its way into the archive: ``stage`` reads, checks, sorts and writes it into *folder*."""

    def __init__(
        self,
        table: Table,
        choices: IngestChoices,
        settings: IngestSettings,
        folder: Path,
        *,
        version_id: str,
        prefix: str,
        source: str,
        progress: Progress,
    ) -> None:
        self._choices = choices
        self._settings = settings
        self._folder = folder
        self._version_id, self._prefix, self._source = version_id, prefix, source
        self._progress = progress
        self._catalog = hats.folder_name(table.name)
        columns = tuple(c for c in table.columns if c.name != HEALPIX_COLUMN)
        positions = None if choices.no_positions else find_positions(columns, choices.ra, choices.dec)
        self._positions = positions
        self._check = self._position_check(positions)
        named = choices.id or table.id_column
        self._id = require_column(columns, named, "id") if named else None
        if self._id is not None:
            _check_id_type(self._id)
        columns = tuple(self._told(c) for c in columns)
        self._table = replace(table, columns=columns, primary_key=table.primary_key or self._primary_key())
        # Words travel in _common_metadata alone; repeated in every file they would outweigh a wide table's footers.
        self._schema = pa.schema([pa.field(f.name, f.type) for f in arrow_schema(columns)])
        self._texts = WideTexts(columns)

    def _told(self, column: Column) -> Column:
        """*column* with what its part in the table makes plain, where the source did not say it."""
        if self._positions and column in self._positions:
            axis = "ra" if column is self._positions[0] else "dec"
            return replace(column, unit="deg", ucd=column.ucd or f"pos.eq.{axis};meta.main")
        if self._id is not None and column == self._id:
            return replace(column, ucd=column.ucd or "meta.id;meta.main")
        return column

    def _primary_key(self) -> tuple[str, ...]:
        return (self._id.name,) if self._id else ()

    def _position_check(self, positions: tuple[Column, Column] | None) -> PositionCheck | None:
        if positions is None:
            return None
        ra, dec = positions
        how = [position_conversion(c, convert=self._choices.convert_positions) for c in positions]
        return PositionCheck(ra.name, dec.name, how[0], how[1], wrap_ra=self._choices.wrap_ra)

    @property
    def batch_rows(self) -> int:
        return batch_rows(self._schema)

    def stage(self, batches: Iterable[pa.RecordBatch], total: int | None = None) -> Staged:
        """Everything from the first row to the last file; the folder holds a whole version afterwards.

        Raises BadData for rows that can't be taken.
        """
        # Where an ingest was killed, the next one clears what it spilled.
        scratch = open_scratch(self._settings.spill or self._folder.parent, "rows")
        with closing(scratch), Rejects(self._choices.rejects, self._table.qualified_name) as rejects:
            return self._stage(batches, total, scratch.path, rejects)

    def _stage(self, batches: Iterable[pa.RecordBatch], total: int | None, scratch: Path, rejects: Rejects) -> Staged:
        workers = self._settings.worker_count
        runs = SortedRuns(self._schema, scratch, memory_bytes=int(self._settings.memory_bytes * 0.8), workers=workers)
        digest = IdDigest()
        pool = ThreadPoolExecutor(workers)
        try:
            read = self._read(batches, runs, rejects, digest, total)
            runs.finish()
            pa.default_memory_pool().release_unused()
            rejects.finish()
            self._table = self._texts.widened(self._table)
            if not runs.rows:
                raise _empty(self._source)
            _check_count(read, runs.rows + rejects.count, "sorted")
            if self._check:
                files, row_groups, margin = self._write_hats(runs, digest, scratch, pool)
            else:
                files, row_groups, margin = self._write_plain(runs, digest, scratch, pool), [], None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            runs.close()
        return self._finished(files, row_groups, margin, read, rejects.count)

    def _read(
        self, batches: Iterable[pa.RecordBatch], runs: SortedRuns, rejects: Rejects, digest: IdDigest, total: int | None
    ) -> int:
        read = 0
        for batch in batches:
            start, read = read, read + batch.num_rows
            self._texts.look_at(batch)
            if HEALPIX_COLUMN in batch.schema.names:
                batch = batch.drop_columns([HEALPIX_COLUMN])
            if self._check:
                batch, keys = self._check.apply(batch, start, rejects)
            else:
                keys = np.arange(start, read, dtype=np.int64)  # keeps the source's order
            if self._id:
                ids = batch.column(self._id.name)
                digest.add(ids, start)
                if not self._check and pa.types.is_integer(ids.type):
                    keys = ids.cast(pa.int64()).to_numpy(zero_copy_only=False)
            if batch.num_rows and not rejects.refusing:
                runs.add(keys, pa.RecordBatch.from_arrays(batch.columns, schema=self._schema))
            self._progress("reading", read, total)
        return read

    # -- HATS --------------------------------------------------------------------------------------------------------

    def _write_hats(
        self, runs: SortedRuns, digest: IdDigest, scratch: Path, pool: ThreadPoolExecutor
    ) -> tuple[list[WrittenFile], list[RowGroups], float | None]:
        layout = _layout(self._schema, self._settings, self._id.name if self._id else None, runs.sample())
        arcsec = self._settings.margin_arcsec
        limit = margin_order(arcsec) if arcsec else 29
        pixels, counts = plan_partitions(runs.count, rows_per_file=layout.rows_per_file, max_order=limit)
        collection: dict[str, object] = {
            "obs_collection": self._catalog,
            "hats_primary_table_url": self._catalog,
        }
        with closing(self._margin_runs(scratch)) as near:
            margin = MarginRows(pixels, arcsec, near) if arcsec else None
            written = hats.write_catalog(
                self._folder,
                self._catalog,
                runs,
                pixels,
                schema=self._schema,
                options=layout.options,
                chunk_rows=layout.chunk_rows,
                pool=pool,
                report=_Counter(self._progress, "writing", runs.rows),
                margin=margin,
            )
            _check_count(runs.rows, written.rows, "written")
            runs.close()
            self._write_catalog_metadata(list(zip(pixels, counts, strict=True)), written)
            others = self._write_margin(margin, pixels, layout, pool, collection) if margin else []
        others += self._write_id_index(written, pixels, digest, scratch, collection)
        hats.write_properties(self._folder, collection, collection=True)
        return [*written.files, *others], written.row_groups, arcsec or None

    def _margin_runs(self, scratch: Path) -> SortedRuns:
        """A place for the rows of the margin cache, which are few: what the rows themselves left of the memory."""
        memory = int(self._settings.memory_bytes * 0.05)
        return SortedRuns(hats.with_healpix(self._schema), scratch / "margin", memory_bytes=memory, workers=1)

    def _write_catalog_metadata(self, files: list[tuple[Pixel, int]], written: hats.WrittenCatalog) -> None:
        root = self._folder / self._catalog
        hats.write_partition_info(root, files)
        info = ResultInfo(description=self._table.description)
        votable = fields_document([_HEALPIX, *self._table.columns], info).encode()
        hats.write_common_metadata(root, hats.with_healpix(self._schema), votable)
        shown = [c.name for c in self._table.columns if c.principal and " " not in c.name]
        properties = self._sky_properties("object") | {
            "obs_collection": self._catalog,
            "hats_nrows": written.rows,
            "hats_order": max(pixel.order for pixel, _ in files),
            "hats_max_rows": max(rows for _, rows in files),
            "hats_estsize": written.bytes // 1024,
            "hats_cols_default": " ".join(shown) or None,
            "moc_sky_fraction": round(sum(4.0**-pixel.order / 12 for pixel, _ in files), 6),
            "obs_title": self._table.description,
        }
        hats.write_properties(root, properties)

    def _sky_properties(self, kind: str) -> dict[str, object]:
        assert self._positions is not None  # noqa: S101 - only HATS tables come here
        return {
            "dataproduct_type": kind,
            "hats_col_ra": self._positions[0].name,
            "hats_col_dec": self._positions[1].name,
            "hats_col_healpix": HEALPIX_COLUMN,
            "hats_col_healpix_order": 29,
            "hats_npix_suffix": ".parquet",
        }

    def _write_margin(
        self,
        rows: MarginRows,
        pixels: list[Pixel],
        layout: _Layout,
        pool: ThreadPoolExecutor,
        collection: dict[str, object],
    ) -> list[WrittenFile]:
        margin = self._settings.margin_arcsec
        name = f"{self._catalog}_{margin:g}arcs"
        self._progress("margin cache", 0, None)
        rows.finish()
        files = hats.write_margin(
            self._folder,
            name,
            rows,
            pixels,
            schema=self._schema,
            options=replace(layout.options, bloom_columns=()),
            pool=pool,
        )
        _check_count(rows.rows, sum(file.rows for _, file in files), "written to the margin cache")
        root = self._folder / name
        hats.write_partition_info(root, [(pixel, file.rows) for pixel, file in files])
        hats.write_common_metadata(root, hats.with_healpix(self._schema), None)
        properties = self._sky_properties("margin") | {
            "obs_collection": name,
            "hats_nrows": sum(file.rows for _, file in files),
            "hats_primary_table_url": self._catalog,
            "hats_margin_threshold": margin,
        }
        hats.write_properties(root, properties)
        collection |= {"all_margins": name, "default_margin": name}
        return [file for _, file in files]

    def _write_id_index(
        self,
        written: hats.WrittenCatalog,
        pixels: list[Pixel],
        digest: IdDigest,
        scratch: Path,
        collection: dict[str, object],
    ) -> list[WrittenFile]:
        if self._id is None:
            return []
        name = f"{self._catalog}_{hats.folder_name(self._id.name)}_index"
        paths = [str(self._folder / f.path) for f in written.files]
        ordered = IdOrder(self._id.name, self._table.qualified_name)
        batches = ordered.watch(self._sorted_ids(paths, scratch, [self._id.name, HEALPIX_COLUMN], written.rows))
        files = hats.write_id_index(
            self._folder,
            name,
            self._catalog,
            self._id.name,
            batches,
            pixels,
            rows_per_file=_INDEX_FILE_ROWS,
            row_group_rows=_INDEX_GROUP_ROWS,
        )
        digest.require_same(ordered.digest)
        if " " not in self._id.name:  # the properties format separates names by spaces
            collection |= {"all_indexes": f"{self._id.name} {name}", "default_index": self._id.name}
        return files

    def _sorted_ids(self, paths: list[str], scratch: Path, columns: list[str], rows: int) -> Iterator[pa.RecordBatch]:
        """*columns* of the *rows* written in the order of the first, sorted by DuckDB: it spills and is quick."""
        self._progress("id index", 0, rows)
        pa.default_memory_pool().release_unused()  # what the writers left is not for DuckDB otherwise
        report = _Counter(self._progress, "id index", rows)
        quoted = ", ".join('"' + name.replace('"', '""') + '"' for name in columns)
        connection = duckdb.connect(config={"threads": self._settings.worker_count})
        try:
            connection.execute("SET enable_progress_bar = false")  # it would be printed among a command's output
            connection.execute(f"SET memory_limit = '{self._settings.memory_bytes // 2 >> 20}MiB'")
            connection.execute("SET temp_directory = ?", [str(scratch / "sort")])
            query = f"SELECT {quoted} FROM read_parquet(?, hive_partitioning = false) ORDER BY 1"  # noqa: S608 - names are quoted
            for batch in connection.execute(query, [paths]).to_arrow_reader(262_144):
                yield batch
                report(batch.num_rows)
        finally:
            connection.close()

    # -- plain Parquet -----------------------------------------------------------------------------------------------

    def _write_plain(
        self, runs: SortedRuns, digest: IdDigest, scratch: Path, pool: ThreadPoolExecutor
    ) -> list[WrittenFile]:
        """Files of rows in the order of an integer id, or as they came."""
        layout = _layout(self._schema, self._settings, self._id.name if self._id else None, runs.sample())
        bounds = runs.bounds(layout.rows_per_file)
        report = _Counter(self._progress, "writing", runs.rows)
        (self._folder / "data").mkdir(parents=True)

        def write(number: int) -> WrittenFile:
            path = self._folder / "data" / f"part-{number:05d}.parquet"
            rows = 0
            with layout.options.open_writer(path, self._schema, layout.rows_per_file) as writer:
                for _, chunk in runs.iter_sorted(bounds[number], bounds[number + 1], layout.chunk_rows):
                    writer.write_table(chunk, row_group_size=layout.options.row_group_rows)
                    rows += chunk.num_rows
            report(rows)
            return hats.describe_file(self._folder, path, "data", pq.read_metadata(path).num_rows)

        files = list(pool.map(write, range(len(bounds) - 1)))
        _check_count(runs.rows, sum(f.rows for f in files), "written")
        if self._id:
            ordered = IdOrder(self._id.name, self._table.qualified_name)
            paths = [str(self._folder / f.path) for f in files]
            for _ in ordered.watch(self._sorted_ids(paths, scratch, [self._id.name], runs.rows)):
                pass
            digest.require_same(ordered.digest)
        return files

    def _finished(
        self, files: list[WrittenFile], row_groups: list[RowGroups], margin: float | None, read: int, rejected: int
    ) -> Staged:
        data = [f for f in files if f.kind == "data"]
        rows = sum(f.rows for f in data)
        _check_count(read, rows + rejected, "published")
        write_sidecars(self._folder, files, row_groups)
        ra, dec = (c.name for c in self._positions) if self._positions else (None, None)
        version = Version(
            id=self._version_id,
            kind="hats" if self._positions else "plain",
            prefix=self._prefix,
            catalog=self._catalog if self._positions else "",
            rows=rows,
            bytes=sum(f.bytes for f in data),
            columns=len(self._table.columns),
            files=len(data),
            published_at=now_text(),
            source=self._source,
            ra_column=ra,
            dec_column=dec,
            id_column=self._id.name if self._id else None,
            healpix_column=HEALPIX_COLUMN if self._positions else None,
            margin_arcsec=margin,
        )
        table = replace(self._table, ra_column=ra, dec_column=dec, id_column=version.id_column)
        return Staged(self._folder, version, table, rejected)


class _Counter:
    """Adds up the rows that several threads have finished and passes the sum on."""

    def __init__(self, progress: Progress, stage: str, total: int) -> None:
        self._progress, self._stage, self._total, self._done = progress, stage, total, 0

    def __call__(self, rows: int) -> None:
        self._done += rows
        self._progress(self._stage, self._done, self._total)


def _check_count(expected: int, found: int, what: str) -> None:
    if expected != found:
        raise BadData(
            f"The rows {what} are not as many as were read; nothing was published.",
            value=f"{expected} read, {found} {what}",
            next_step="Run the command again; if it happens twice, report it with the source file.",
        )


def _check_id_type(column: Column) -> None:
    if not (column.type.is_integer or column.type.is_string):
        raise BadData(
            f"The column {column.name} can't be the id.",
            value=f"{column.type.datatype}{'' if column.type.arraysize is None else '[' + column.type.arraysize + ']'}",
            allowed="a column of integers or text",
            next_step="Name another column with --id, or leave the option out.",
        )


def _empty(source: str) -> BadData:
    return BadData(
        "The source holds no rows that can be published.",
        value=source,
        allowed="at least one row with a valid position",
        next_step="Check that this is the right file, and whole.",
    )
