"""Parquet and Arrow results as pyarrow and astropy read them: every value, and the metadata beside the rows."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st

from idac.core.errors import ResourceExhausted
from idac.tables.arrow import arrow_schema
from idac.tables.formats import FORMATS
from idac.tables.model import DOUBLE, STRING, Column
from idac.tables.readers import open_table
from idac.tables.writers.info import ResultInfo
from result_oracles import votable
from result_samples import (
    EVERY_KIND,
    batch_of,
    columns_of,
    cut,
    failing,
    only,
    sample_written,
    samples,
    without,
    written,
)

TIMEOUT = ResourceExhausted("The query ran too long.", value="60 s", allowed="60 s", next_step="Ask for less.")


def parquet(data: bytes) -> pq.ParquetFile:
    return pq.ParquetFile(io.BytesIO(data))


def arrow(data: bytes) -> pa.Table:
    return pa.ipc.open_stream(data).read_all()


def same_values(found: pa.Table, wanted: pa.RecordBatch) -> None:
    assert found.schema.names == wanted.schema.names
    # NaN is not equal to itself, its text is; Arrow tells NULL from it.
    assert str(found.to_pylist()) == str(pa.Table.from_batches([wanted]).to_pylist())


@pytest.mark.parametrize("name", ["parquet", "arrow"])
def test_every_value_and_type_survives(name: str) -> None:
    data = sample_written(name, EVERY_KIND)
    found = parquet(data).read() if name == "parquet" else arrow(data)
    same_values(found, batch_of(EVERY_KIND))
    assert found.schema.types == arrow_schema(columns_of(EVERY_KIND)).types


@pytest.mark.parametrize("name", ["parquet", "arrow"])
def test_columns_of_a_result_can_be_published_again_as_they_are(name: str) -> None:
    with open_table(io.BytesIO(sample_written(name, EVERY_KIND))) as table:
        found = {c.name: (c.type, c.unit, c.ucd, c.utype, c.description) for c in table.columns}
    for column, _ in without("names"):
        assert found[column.name] == (column.type, column.unit, column.ucd, column.utype, column.description)


def test_the_footer_has_the_fields_as_a_votable() -> None:
    infos = (("CITATION", "doi:10/x", ""),)
    # astropy warns of a char without arraysize, which is one character.
    sample = without("one")
    metadata = parquet(sample_written("parquet", sample, info=ResultInfo(infos=infos))).metadata.metadata
    assert metadata[b"IVOA.VOTable-Parquet.version"] == b"1.0"
    document = votable(metadata[b"IVOA.VOTable-Parquet.content"])
    (resource,) = document.resources
    fields = {f.name: f for f in document.get_first_table().fields}
    assert [(i.name, i.value) for i in resource.infos] == [("QUERY_STATUS", "OK"), ("CITATION", "doi:10/x")]
    assert list(fields) == [c.name for c, _ in sample]
    ra = fields["ra"]
    assert (ra.datatype, str(ra.unit), ra.ucd, ra.utype) == (
        "double",
        "deg",
        "pos.eq.ra;meta.main",
        "stc:AstroCoords.Position2D.Value2.C1",
    )
    assert ra.description == "Right ascension <α> & more"
    assert (fields["area"].arraysize, fields["area"].xtype) == ("*", "polygon")


def test_astropy_reads_voparquet_with_units_and_ucds() -> None:
    # astropy 8's Parquet reader fails on a NULL text and warns of every text.
    sample = [(c, v[:3]) for c, v in only("id", "ra", "f4", "flag", "i2")]
    table = Table.read(io.BytesIO(sample_written("parquet", sample)), format="parquet.votable")
    assert str(table["ra"].unit) == "deg"
    assert table["ra"].meta["ucd"] == "pos.eq.ra;meta.main"
    assert table["ra"].description == "Right ascension <α> & more"
    assert table["id"].tolist() == [2**53 + 1, -(2**63) + 1, 2**63 - 1]


def test_a_cut_parquet_says_so_in_its_fields() -> None:
    metadata = parquet(sample_written("parquet", only("id"), overflowed=True)).metadata.metadata
    (status,) = votable(metadata[b"IVOA.VOTable-Parquet.content"]).resources[0].infos
    assert (status.name, status.value) == ("QUERY_STATUS", "OVERFLOW")


@pytest.mark.parametrize(("overflowed", "status"), [(False, b"OK"), (True, b"OVERFLOW")])
def test_an_arrow_stream_ends_with_its_status(overflowed: bool, status: bytes) -> None:
    data = sample_written("arrow", only("id"), overflowed=overflowed, info=ResultInfo(infos=(("A", "b", "c"),)))
    reader = pa.ipc.open_stream(data)
    batches = list(reader.iter_batches_with_custom_metadata())
    assert reader.schema.metadata == {b"A": b"b"}
    assert [b.batch.num_rows for b in batches] == [4, 0]
    assert batches[-1].custom_metadata == {b"QUERY_STATUS": status}


def test_arrow_fields_carry_what_columns_are() -> None:
    field = arrow(sample_written("arrow", EVERY_KIND)).schema.field("spot")
    assert field.metadata == {b"datatype": b"double", b"arraysize": b"2", b"xtype": b"point", b"unit": b"deg"}


@pytest.mark.parametrize("name", ["parquet", "arrow"])
def test_an_error_in_mid_stream_leaves_a_file_that_no_reader_takes_for_whole(name: str) -> None:
    sample = only("id", "name")
    chunks: list[bytes] = []
    stream = FORMATS[name].write(
        columns_of(sample), failing([batch_of(sample)], TIMEOUT), ResultInfo(mark_errors=True), lambda: False
    )
    with pytest.raises(ResourceExhausted) as caught:
        chunks.extend(stream)
    assert caught.value is TIMEOUT
    data = b"".join(chunks)
    if name == "parquet":
        with pytest.raises(pa.ArrowInvalid, match="magic bytes not found in footer"):
            parquet(data)
    else:
        statuses = [b.custom_metadata for b in pa.ipc.open_stream(data).iter_batches_with_custom_metadata()]
        assert statuses == [None]


@pytest.mark.parametrize("name", ["parquet", "arrow"])
def test_zero_rows_keep_all_columns(name: str) -> None:
    data = written(name, columns_of(EVERY_KIND), [])
    found = parquet(data).read() if name == "parquet" else arrow(data)
    assert found.num_rows == 0
    assert found.schema.types == arrow_schema(columns_of(EVERY_KIND)).types


def test_parquet_gathers_small_batches_and_cuts_large_ones() -> None:
    columns = (Column("x", DOUBLE), Column("s", STRING))
    schema = arrow_schema(columns)
    small = pa.RecordBatch.from_arrays([pa.array(np.arange(10.0)), pa.array(["a"] * 10)], schema=schema)
    assert parquet(written("parquet", columns, [small] * 5000)).num_row_groups == 1
    count = 6_000_000
    x = pa.array(np.zeros(count))
    large = pa.RecordBatch.from_arrays([x, pa.array(["b"]).take(pa.array(np.zeros(count, int)))], schema=schema)
    file = parquet(written("parquet", columns, [large]))
    rows = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    assert sum(rows) == count
    assert max(rows) <= 500_000 * 6


def test_column_names_with_dots_and_quotes_are_only_names() -> None:
    columns = (Column("a.b", STRING), Column('c"d', STRING), Column("a", STRING), Column("δ", DOUBLE))
    values: Any = [["x"], ["y"], ["z"], [1.0]]
    data = sample_written("parquet", list(zip(columns, values, strict=True)))
    assert parquet(data).read().to_pylist() == [{"a.b": "x", 'c"d': "y", "a": "z", "δ": 1.0}]


@settings(max_examples=40, deadline=None)
@given(samples(), st.integers(1, 5), st.sampled_from(["parquet", "arrow"]))
def test_any_rows_come_back(sample: Any, step: int, name: str) -> None:
    data = written(name, columns_of(sample), cut(batch_of(sample), step))
    same_values(parquet(data).read() if name == "parquet" else arrow(data), batch_of(sample))
