"""Small archives of made-up stars, through the same ingest as everything else, for the tests of every folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from idac.catalogs.archive import Archive
from idac.catalogs.ingest import IngestChoices
from idac.catalogs.publishing import Publisher, Rows
from idac.catalogs.settings import CatalogsSettings, IngestSettings
from idac.core.database import open_database
from idac.core.store import FolderStore
from idac.tables.arrow import arrow_schema, column_from_arrow
from idac.tables.model import Column, Schema, Table


@dataclass(frozen=True)
class TableData:
    """A table to publish: its rows, and what to say of them. Columns are taken from the rows where none are given."""

    data: pa.Table
    columns: tuple[Column, ...] | None = None
    description: str | None = None
    choices: IngestChoices = field(default_factory=IngestChoices)


def small_settings(**changes: object) -> CatalogsSettings:
    """Settings that make many files and row groups of few rows, so that pruning and margins have something to do."""
    ingest = {"memory_gib": 0.5, "workers": 2, "rows_per_file": 1_000, "row_group_rows": 1_024}
    return CatalogsSettings(
        default_read=["public"],
        ingest=IngestSettings(**{**ingest, **dict(changes.pop("ingest", {}))}),  # type: ignore[arg-type, call-overload]
        refresh_s=0,
        **changes,  # type: ignore[arg-type]
    )


def open_archive(folder: Path, settings: CatalogsSettings | None = None) -> Archive:
    """The archive in *folder*, new or old."""
    database = open_database(f"sqlite:///{folder / 'state.db'}")
    return Archive(FolderStore(folder / "archive"), database, settings or small_settings())


def publish(archive: Archive, name: str, table: pa.Table | TableData, *, replacing: bool = False) -> None:
    """Publish one table under its full name."""
    given = table if isinstance(table, TableData) else TableData(table)
    schema, _, short = name.partition(".")
    columns = given.columns or tuple(column_from_arrow(f) for f in given.data.schema)
    data = given.data.select([c.name for c in columns]).cast(arrow_schema(columns))
    rows = Rows(
        Table(schema, short, columns, given.description or f"The table {name}"),
        lambda size: data.to_batches(max_chunksize=size),
        data.num_rows,
        f"{short}.parquet",
        given.choices,
    )
    Publisher(archive).publish(Schema(schema, ()), [rows], replacing=replacing)


def build_archive(
    folder: Path, tables: Mapping[str, pa.Table | TableData], settings: CatalogsSettings | None = None
) -> Archive:
    """A new archive under *folder* with *tables* published by their full names, such as ``demo.stars``."""
    archive = open_archive(folder, settings)
    for name, table in tables.items():
        publish(archive, name, table)
    return archive


def star_table(rows: int = 10_000, seed: int = 1, *, crowded_deg: float = 1.0) -> pa.Table:
    """Made-up stars: half on the whole sky, half in fields at RA 0 and the pole; ids, magnitudes, NULLs, names."""
    rng = np.random.default_rng(seed)
    spread = rows // 2
    field_rows = (rows - spread) // 2
    pole_rows = rows - spread - field_rows
    ra = np.concatenate(
        [
            rng.uniform(0, 360, spread),
            rng.uniform(-crowded_deg, crowded_deg, field_rows) % 360,
            rng.uniform(0, 360, pole_rows),
        ]
    )
    dec = np.concatenate(
        [
            np.degrees(np.arcsin(rng.uniform(-1, 1, spread))),
            rng.uniform(-crowded_deg, crowded_deg, field_rows),
            90 - crowded_deg * np.sqrt(rng.uniform(0, 1, pole_rows)),
        ]
    )
    mag = rng.normal(18, 3, rows)
    order = rng.permutation(rows)
    return pa.table(
        {
            "id": pa.array(np.arange(1, rows + 1, dtype=np.int64) * 1_000_003),
            "ra": ra[order],
            "dec": dec[order],
            "mag": pa.array(mag, pa.float32(), mask=rng.uniform(size=rows) < 0.05),
            "name": [f"star {i}" if i % 10 else None for i in range(rows)],
            "flag": pa.array(rng.uniform(size=rows) < 0.5),
        }
    )
