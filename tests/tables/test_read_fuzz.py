"""Damaged files of every format: cut off anywhere, or with bytes changed, they give a table or a UserError."""

from __future__ import annotations

import gzip
import io
import random
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import MaskedColumn, Table

from idac.core.errors import BadData, UserError
from idac.tables.readers import READ_FORMATS, ReadLimits, open_table

LIMITS = ReadLimits(max_bytes=4 * 2**20, max_rows=10_000, max_columns=200, max_cell_bytes=2**16)


def plain_table() -> Table:
    table = Table()
    table["id"] = np.arange(20, dtype="i8") + 2**40
    table["ra"] = MaskedColumn(np.linspace(0, 359, 20), mask=np.arange(20) % 5 == 0, unit="deg", description="RA")
    table["name"] = [f"star {i}" for i in range(20)]
    table["pair"] = np.arange(40, dtype="f4").reshape(20, 2)
    return table


def as_fits() -> bytes:
    varying = np.empty(20, object)
    for i in range(20):
        varying[i] = np.arange(i % 4, dtype="i4")
    hdu = fits.BinTableHDU(plain_table().filled(0))
    hdu = fits.BinTableHDU.from_columns(
        hdu.columns
        + fits.ColDefs([fits.Column("v", "PJ()", array=varying), fits.Column("x", "9X", array=np.ones((20, 9)))])
    )
    out = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(out)
    return out.getvalue()


def as_votable(form: str) -> Callable[[], bytes]:
    def make() -> bytes:
        out = io.BytesIO()
        plain_table().write(out, format="votable", tabledata_format=form)
        return out.getvalue()

    return make


def as_text(form: str) -> Callable[[], bytes]:
    def make() -> bytes:
        table = plain_table()
        if form != "ascii.ecsv":
            table.remove_column("pair")
        out = io.StringIO()
        table.write(out, format=form)
        return out.getvalue().encode()

    return make


def arrow_table() -> pa.Table:
    return pa.table(
        {
            "id": range(20),
            "s": [f"star {i} δ" for i in range(20)],
            "l": [[1.0] * (i % 3) for i in range(20)],
            "d": pa.array(["a", "b"] * 10).dictionary_encode(),
        }
    )


def as_parquet() -> bytes:
    out = io.BytesIO()
    pq.write_table(arrow_table(), out)
    return out.getvalue()


def as_ipc(*, stream: bool) -> Callable[[], bytes]:
    def make() -> bytes:
        out = io.BytesIO()
        table = arrow_table()
        with (pa.ipc.new_stream if stream else pa.ipc.new_file)(out, table.schema) as writer:
            writer.write_table(table)
        return out.getvalue()

    return make


SAMPLES: dict[str, Callable[[], bytes]] = {
    "fits": as_fits,
    "fits.gz": lambda: gzip.compress(as_fits()),
    "tabledata": as_votable("tabledata"),
    "binary": as_votable("binary"),
    "binary2": as_votable("binary2"),
    "csv": as_text("ascii.csv"),
    "ecsv": as_text("ascii.ecsv"),
    "parquet": as_parquet,
    "arrow file": as_ipc(stream=False),
    "arrow stream": as_ipc(stream=True),
}


def outcome(data: bytes, format_name: str | None = None) -> pa.Table | UserError:
    """The table, held to be valid in itself, or the error; anything else that is raised fails the test."""
    try:
        with open_table(io.BytesIO(data), format=format_name, limits=LIMITS) as table:
            whole = pa.Table.from_batches(list(table.iter_batches(batch_rows=7)), schema=table_schema(table.columns))
            whole.validate(full=True)
            return whole
    except UserError as caught:
        error = caught
    assert error.next_step
    return error


def table_schema(columns: object) -> pa.Schema:
    from idac.tables.arrow import arrow_schema

    return arrow_schema(columns)  # type: ignore[arg-type]


@pytest.fixture(scope="module", params=SAMPLES)
def sample(request: pytest.FixtureRequest) -> bytes:
    data = SAMPLES[request.param]()
    assert isinstance(outcome(data), pa.Table)
    return data


def test_files_cut_anywhere_give_a_table_or_an_error(sample: bytes) -> None:
    ends = sorted({*range(min(64, len(sample))), *np.linspace(0, len(sample) - 1, 150, dtype=int).tolist()})
    errors = [end for end in ends if isinstance(outcome(sample[:end]), BadData)]
    assert len(errors) > 2


def test_files_with_changed_bytes_give_a_table_or_an_error(sample: bytes) -> None:
    source = random.Random(20260131)
    for _ in range(250):
        changed = bytearray(sample)
        for _ in range(source.choice((1, 1, 2, 8))):
            changed[source.randrange(len(changed))] = source.choice((0, 1, 0x7F, 0x80, 0xFF, source.randrange(256)))
        outcome(bytes(changed))


def test_files_with_pieces_moved_or_doubled_give_a_table_or_an_error(sample: bytes) -> None:
    source = random.Random(4)
    for _ in range(60):
        a, b = sorted(source.sample(range(len(sample)), 2))
        outcome(sample[:a] + sample[b:])
        outcome(sample[:b] + sample[a:])


@pytest.mark.parametrize("format_name", READ_FORMATS)
def test_noise_called_a_table_gives_an_error(format_name: str) -> None:
    source = random.Random(9)
    for size in (1, 10, 100, 3000):
        for _ in range(10):
            outcome(source.randbytes(size), format_name)
    assert isinstance(outcome(b"\x00\xff" * 1500, format_name), BadData)


@pytest.mark.parametrize("format_name", READ_FORMATS)
def test_a_table_called_by_another_formats_name_gives_an_error_or_a_table(format_name: str) -> None:
    for make in SAMPLES.values():
        outcome(make(), format_name)
