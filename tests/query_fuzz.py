"""Random queries on the real engine over real small tables: what becomes of each, and which ends as none may."""

from __future__ import annotations

import random
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from adql_generator import QueryGenerator, mutated
from archive_fixture import TableData, build_archive, star_table
from engine_fixture import Asking, small_engine
from idac.catalogs.ingest import IngestChoices
from idac.core.errors import UserError
from idac.tables.model import CIRCLE, DOUBLE, LONG, POINT, POLYGON, REGION, STRING, Column, DataType

#: What a file beside the tables holds, in the folder that the engine may read: it must never be in an answer.
CANARY = "the canary has been read"
TABLES = {
    "demo.stars": {
        "id": "integer",
        "ra": "number",
        "dec": "number",
        "mag": "number",
        "name": "text",
        "flag": "boolean",
    },
    "demo.visits": {
        "id": "integer",
        "ra": "number",
        "dec": "number",
        "begun": "time",
        "s_region": "region",
        "name": "text",
        "place": "point",
        "footprint": "region",
        "outline": "region",
        "fluxes": "array",
        "small": "integer",
        "mag": "number",
    },
    "tap_schema.columns": {"table_name": "text", "column_name": "text", '"size"': "integer", "indexed": "integer"},
}


@dataclass
class Outcomes:
    """Counts by kind, and the queries that ended in a fault, with what happened."""

    counts: Counter[str] = field(default_factory=Counter)
    faults: list[tuple[str, str]] = field(default_factory=list)


def visits(rows: int = 40) -> TableData:
    """Observations without an index on the sky, with every kind of column."""
    rng = np.random.default_rng(3)
    ra, dec = rng.uniform(0, 360, rows), np.degrees(np.arcsin(rng.uniform(-1, 1, rows)))
    some = [i % 9 != 0 for i in range(rows)]
    corners = [
        [a % 360, b, (a + 1) % 360, b, a % 360, min(b + 1, 90)] for a, b in zip(ra, np.clip(dec, -89, 89), strict=True)
    ]
    begun = [datetime(2026, 1, 1) + timedelta(hours=i) if ok else None for i, ok in enumerate(some)]
    data = pa.table(
        {
            "id": np.arange(rows) * 1_000_003,
            "ra": ra,
            "dec": dec,
            "begun": pa.array(begun, pa.timestamp("us")),
            "s_region": [f"CIRCLE ICRS {a} {b} 1" if ok else None for a, b, ok in zip(ra, dec, some, strict=True)],
            "name": [f"visit {i}" for i in range(rows)],
            "place": pa.array(
                [[a, b] if ok else None for a, b, ok in zip(ra, dec, some, strict=True)], pa.list_(pa.float64(), 2)
            ),
            "footprint": pa.array([[a, b, 0.5] for a, b in zip(ra, dec, strict=True)], pa.list_(pa.float64(), 3)),
            "outline": pa.array(corners, pa.list_(pa.float64())),
            "fluxes": pa.array([[1.0, None, 3.0]] * rows, pa.list_(pa.float32(), 3)),
            "small": pa.array([i % 300 - 150 for i in range(rows)], pa.int16()),
            "mag": pa.array(rng.normal(20, 2, rows), pa.float32()),
        }
    )
    columns = (
        *(Column("id", LONG), Column("ra", DOUBLE, "deg"), Column("dec", DOUBLE, "deg")),
        *(Column("begun", DataType("char", "*", "timestamp")), Column("s_region", REGION), Column("name", STRING)),
        *(Column("place", POINT, "deg"), Column("footprint", CIRCLE, "deg"), Column("outline", POLYGON, "deg")),
        *(
            Column("fluxes", DataType("float", "3"), "Jy"),
            Column("small", DataType("short")),
            Column("mag", DataType("float"), "mag"),
        ),
    )
    return TableData(data, columns, choices=IngestChoices(no_positions=True))


@contextmanager
def open_asking(folder: Path) -> Iterator[Asking]:
    """The engine over the tables of these tests, with the canary in its folder."""
    tables = {"demo.stars": TableData(star_table(400), choices=IngestChoices(id="id")), "demo.visits": visits()}
    archive = build_archive(folder, tables)
    pq.write_table(pa.table({"canary": [CANARY]}), folder / "canary.parquet")
    (folder / "canary.csv").write_text(f"canary\n{CANARY}\n")
    with small_engine(folder, memory_gib=0.5, threads=1) as engine:
        yield Asking(engine, archive.snapshot())


def queries(seed: int, count: int, folder: Path, corpus: Sequence[str]) -> Iterator[str]:
    """*count* queries: by the grammar, mutations of those, and mutations of *corpus*."""
    rng = random.Random(seed)
    files = [f"'{folder}/canary.parquet'", f'"{folder}/canary.csv"', f"read_parquet('{folder}/canary.parquet')"]
    for _ in range(count):
        text = QueryGenerator(rng, TABLES, rng.choice([0.0, 0.0, 0.03, 0.2])).query()
        kind = rng.random()
        if kind > 0.5:
            text = mutated(rng, text, QueryGenerator(rng, TABLES).query(), files)
        if kind > 0.9:
            text = mutated(rng, rng.choice(corpus), text, files)
        yield text


def run_query(asking: Asking, text: str, outcomes: Outcomes) -> None:
    """Ask, and note what happened."""
    try:
        answer = asking.ask(text, max_rows=50, timeout_s=2)
        if CANARY in str(answer):
            outcomes.faults.append((text, CANARY))
        kind = "answer" if answer.num_rows else "answer without rows"
    except UserError as error:
        kind = f"{type(error).__name__}{' with a place' if error.position else ''}"
        if not error.what or CANARY in error.text:
            outcomes.faults.append((text, error.text))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  whatever it is, it is what is looked for
        kind = f"FAULT {type(error).__name__}"
        outcomes.faults.append((text, traceback.format_exc(limit=-6)))
    outcomes.counts[kind] += 1
