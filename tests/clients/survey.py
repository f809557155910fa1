"""A small survey with all that clients stumble over: every type, NULLs, odd names, keys, plain and very wide tables."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from archive_fixture import TableData, open_archive, small_settings
from idac.catalogs.archive import Archive
from idac.catalogs.ingest import IngestChoices
from idac.catalogs.publishing import Publisher, Rows
from idac.tables.arrow import arrow_schema
from idac.tables.model import (
    BOOLEAN,
    CIRCLE,
    DOUBLE,
    FLOAT,
    INT,
    LONG,
    POINT,
    POLYGON,
    REGION,
    SHORT,
    STRING,
    TIMESTAMP,
    UNICODE,
    Column,
    DataType,
    ForeignKey,
    Schema,
    Table,
)

OBJECTS = 2_000
VISITS = 40
#: Less than there are detections, so that an unbounded query of them is cut.
DEFAULT_MAX_ROWS = 5_000
WIDE_COLUMNS = 1_300

_OBJECTS = Table(
    "survey",
    "objects",
    (
        Column("object_id", LONG, ucd="meta.id;meta.main", description="Identifier", principal=True),
        Column("ra", DOUBLE, "deg", "pos.eq.ra;meta.main", description="Right ascension, ICRS", principal=True),
        Column("dec", DOUBLE, "deg", "pos.eq.dec;meta.main", description="Declination, ICRS", principal=True),
        Column("mag", FLOAT, "mag", "phot.mag;em.opt.R", description="Magnitude in r", principal=True),
        Column("size", SHORT, "pixel", "phys.size", description="A name that ADQL reserves"),
        Column("date", TIMESTAMP, None, "time.epoch", description="A moment, and another reserved name"),
        Column("is_star", BOOLEAN, None, "meta.code", description="Whether it is a point source"),
        Column("name", UNICODE, None, "meta.id", description="Name, with letters of every kind: α, é, 星"),
        Column("kind", DataType("char", "6*"), None, "src.class", description="Class, six letters at most"),
        Column("flag", DataType("unsignedByte"), None, "meta.code", description="Bits"),
        Column("colour", DataType("float", "3"), "mag", "phot.color", description="Three colours"),
        Column("light_curve", DataType("double", "*"), "mag", "phot.mag", description="As many as there are"),
        Column("bits", DataType("unsignedByte", "*"), None, "meta.code", description="Bytes"),
        Column("place", POINT, "deg", "pos.eq", description="The position as a point"),
        Column("beam", CIRCLE, "deg", "pos.eq", description="A circle round it"),
        Column("outline", POLYGON, "deg", "pos.outline;obs.field", description="A triangle round it"),
        Column("s_region", REGION, None, "pos.outline;obs.field", description="The same as text"),
        Column("flux/err", DOUBLE, None, "stat.snr", description="A name that must be delimited"),
    ),
    description="Things on the sky",
    id_column="object_id",
    primary_key=("object_id",),
)
_VISITS = Table(
    "survey",
    "visits",
    (
        Column("visit", INT, None, "meta.id", description="Number of the visit", principal=True),
        Column("band", STRING, None, "instr.bandpass", description="Filter", principal=True),
        Column("begun", TIMESTAMP, None, "time.start", description="When the shutter opened"),
        Column("seeing", FLOAT, "arcsec", "instr.obsty.seeing", description="Width of a star"),
    ),
    description="Exposures: a table without positions",
    primary_key=("visit",),
)
_DETECTIONS = Table(
    "survey",
    "detections",
    (
        Column("ra", DOUBLE, "deg", "pos.eq.ra;meta.main", description="Right ascension, ICRS"),
        Column("dec", DOUBLE, "deg", "pos.eq.dec;meta.main", description="Declination, ICRS"),
        Column("object_id", LONG, ucd="meta.id", description="The thing detected"),
        Column("visit", INT, None, "meta.id", description="The visit in which it was"),
        Column("flux", DOUBLE, "nJy", "phot.flux", description="Flux"),
    ),
    description="Things seen in single exposures",
    foreign_keys=(
        ForeignKey("detections_objects", ("object_id",), "survey", "objects", ("object_id",), "What was detected"),
        ForeignKey("detections_visits", ("visit",), "survey", "visits", ("visit",), "When it was detected"),
    ),
)
_WIDE = Table(
    "wide",
    "2mass-like objects",
    (
        Column("ra", DOUBLE, "deg", "pos.eq.ra;meta.main", description="Right ascension, ICRS"),
        Column("dec", DOUBLE, "deg", "pos.eq.dec;meta.main", description="Declination, ICRS"),
        *(
            Column(f"band{n:04d}_flux", FLOAT, "nJy", "phot.flux", description=f"Flux in band {n}")
            for n in range(WIDE_COLUMNS - 2)
        ),
    ),
    description="As many columns as Rubin's Object has, under a name that must be delimited",
)


def sky(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions over the whole sky, degrees."""
    rng = np.random.default_rng(seed)
    return rng.uniform(0, 360, rows), np.degrees(np.arcsin(rng.uniform(-1, 1, rows)))


def object_rows() -> pa.Table:
    """The rows of survey.objects; the first are round (10, -5), and some values of every nullable kind are NULL."""
    rng = np.random.default_rng(5)
    ra, dec = sky(OBJECTS, 5)
    ra[:100], dec[:100] = 10 + rng.uniform(-0.4, 0.4, 100), -5 + rng.uniform(-0.4, 0.4, 100)
    start = datetime(2026, 1, 1, 0, 0, 0, 250_000)
    n = range(OBJECTS)
    values: dict[str, list[object]] = {
        "object_id": [9_007_199_254_740_993 + i for i in n],  # beyond what a double can hold
        "ra": ra.tolist(),
        "dec": dec.tolist(),
        "mag": [float(m) if i % 7 else None for i, m in enumerate(rng.normal(20, 2, OBJECTS))],
        "size": [i % 300 - 50 if i % 5 else None for i in n],
        "date": [start + timedelta(minutes=i) if i % 3 else None for i in n],
        "is_star": [None if i % 11 == 0 else i % 2 == 0 for i in n],
        "name": [None if i % 13 == 0 else f"étoile α {i} 星 <&>" for i in n],
        "kind": [("star", "galaxy", "qso")[i % 3] for i in n],
        "flag": [i % 256 for i in n],
        "colour": [None if i % 17 == 0 else [i * 0.5, -1.0, float(i)] for i in n],
        "light_curve": [None if i % 19 == 0 else [float(k) for k in range(i % 4)] for i in n],
        "bits": [None if i % 23 == 0 else bytes([i % 256] * (i % 3)) for i in n],
        "place": [[a, d] for a, d in zip(ra.tolist(), dec.tolist(), strict=True)],
        "beam": [[a, d, 0.01] for a, d in zip(ra.tolist(), dec.tolist(), strict=True)],
        "outline": [triangle(a, d) for a, d in zip(ra.tolist(), dec.tolist(), strict=True)],
        "s_region": [
            "POLYGON ICRS " + " ".join(map(str, triangle(a, d))) for a, d in zip(ra.tolist(), dec.tolist(), strict=True)
        ],
        "flux/err": rng.normal(5, 1, OBJECTS).tolist(),
    }
    return pa.table(values, schema=arrow_schema(_OBJECTS.columns))


def triangle(ra: float, dec: float) -> list[float]:
    """A small triangle that holds the position, anticlockwise, within the range of declinations."""
    low = max(-89.9, dec - 0.1) if dec < 89 else dec - 0.3
    return [(ra - 0.1) % 360, low, (ra + 0.1) % 360, low, ra, min(89.99, low + 0.3)]


def visit_rows() -> pa.Table:
    start = datetime(2026, 1, 1, 3, 0)
    n = range(VISITS)
    values: dict[str, list[object]] = {
        "visit": list(n),
        "band": ["ugrizy"[i % 6] for i in n],
        "begun": [start + timedelta(seconds=40 * i) for i in n],
        "seeing": [0.6 + 0.01 * i for i in n],
    }
    return pa.table(values, schema=arrow_schema(_VISITS.columns))


def detection_rows() -> pa.Table:
    objects = object_rows()
    rng = np.random.default_rng(8)
    which = rng.integers(0, OBJECTS, 3 * OBJECTS)
    taken = objects.select(["ra", "dec", "object_id"]).take(pa.array(which))
    columns = [
        *taken.columns,
        pa.array(rng.integers(0, VISITS, len(which)), pa.int32()),
        pa.array(rng.uniform(10, 1e5, len(which))),
    ]
    return pa.table(columns, schema=arrow_schema(_DETECTIONS.columns))


def wide_rows() -> pa.Table:
    ra, dec = sky(200, 6)
    values = np.arange(200, dtype=np.float32)
    columns = [pa.array(ra), pa.array(dec), *(pa.array(values + n) for n in range(WIDE_COLUMNS - 2))]
    return pa.table(columns, schema=arrow_schema(_WIDE.columns))


def build_survey(folder: Path) -> Archive:
    """The survey in a centre's folder: archive, state database and a dac.yaml that opens it to everyone."""
    (folder / "dac.yaml").write_text(
        "centre: {name: survey, title: A small survey}\n"
        "catalogs: {default_read: [public]}\n"
        "engine: {memory_gib: 1, kept_gib: 0.1, threads: 2}\n"
        # Uploads by address come from this machine in the tests.
        f"query: {{default_max_rows: {DEFAULT_MAX_ROWS}, uploads: {{allow_hosts: [127.0.0.1, localhost]}}}}\n"
        # A killed process's jobs are taken over within seconds, not half a minute.
        "jobs: {lease_s: 2, poll_s: 0.1, max_execution_duration_s: 1000, execution_duration_s: 600}\n"
    )
    archive = open_archive(folder, small_settings())
    schemas = {
        "survey": (
            (_OBJECTS, object_rows(), IngestChoices(id="object_id")),
            (_VISITS, visit_rows(), IngestChoices()),
            (_DETECTIONS, detection_rows(), IngestChoices()),
        ),
        "wide": ((_WIDE, wide_rows(), IngestChoices()),),
    }
    for name, tables in schemas.items():
        rows = [_rows(TableData(data, choices=choices), table) for table, data, choices in tables]
        Publisher(archive).publish(Schema(name, (), description=f"The schema {name}"), rows)
    return archive


def _rows(given: TableData, table: Table) -> Rows:
    def batches(size: int) -> list[pa.RecordBatch]:
        return given.data.to_batches(max_chunksize=size)

    return Rows(table, batches, given.data.num_rows, f"{table.name}.parquet", given.choices)
