"""Parquet and Arrow files as they are read: types of others, folders, metadata, damage."""

from __future__ import annotations

import io
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
from astropy.table import MaskedColumn, Table

from idac.core.errors import BadData, TooLarge
from idac.tables.arrow import arrow_schema
from idac.tables.model import Column, DataType
from idac.tables.readers import ReadLimits, open_table


def columns_of(source: Any, **options: Any) -> dict[str, list[Any]]:
    with open_table(source, **options) as table:
        whole = pa.Table.from_batches(list(table.iter_batches()), schema=arrow_schema(table.columns))
        whole.validate(full=True)
        return {name: whole.column(name).to_pylist() for name in whole.column_names}


FOREIGN = pa.table(
    {
        "i8": pa.array([1, None], pa.int8()),
        "u16": pa.array([65535, None], pa.uint16()),
        "u32": pa.array([2**32 - 1, None], pa.uint32()),
        "u64": pa.array([2**63 - 1, None], pa.uint64()),
        "word": pa.array(["a", None]).dictionary_encode(),
        "large": pa.array(["b", None], pa.large_string()),
        "price": pa.array([Decimal("1.25"), None], pa.decimal128(10, 2)),
        "count": pa.array([Decimal(12345678901234567), None], pa.decimal128(17, 0)),
        "day": pa.array([date(2026, 1, 31), None]),
        "when": pa.array([datetime(2026, 1, 31, 12, tzinfo=UTC), None], pa.timestamp("ns", "Europe/Berlin")),
        "many": pa.array([[1.5, 2.5], None], pa.large_list(pa.float32())),
        "fixed": pa.array([[1, 2], None], pa.list_(pa.int16(), 2)),
        "pairs": pa.array([[[1, 2], [3, 4]], None], pa.list_(pa.list_(pa.int32(), 2))),
        "raw": pa.array([b"ab", None], pa.binary()),
        "raw2": pa.array([b"ab", None], pa.binary(2)),
        "nothing": pa.nulls(2),
    }
)
FOREIGN_VALUES = {
    "i8": [1, None],
    "u16": [65535, None],
    "u32": [2**32 - 1, None],
    "u64": [2**63 - 1, None],
    "word": ["a", None],
    "large": ["b", None],
    "price": [1.25, None],
    "count": [12345678901234567, None],
    "day": [datetime(2026, 1, 31), None],
    "when": [datetime(2026, 1, 31, 12), None],
    "many": [[1.5, 2.5], None],
    "fixed": [[1, 2], None],
    "pairs": [[1, 2, 3, 4], None],
    "raw": [b"ab", None],
    "raw2": [[97, 98], None],
    "nothing": [None, None],
}


def write(table: pa.Table, form: str) -> io.BytesIO:
    out = io.BytesIO()
    if form == "parquet":
        pq.write_table(table, out)
    elif form == "feather":
        feather.write_feather(table, out, compression="zstd")
    elif form == "file":
        with pa.ipc.new_file(out, table.schema) as writer:
            writer.write_table(table)
    else:
        with pa.ipc.new_stream(out, table.schema) as writer:
            writer.write_table(table)
    return io.BytesIO(out.getvalue())


@pytest.mark.parametrize("form", ["parquet", "file", "stream", "feather"])
def test_types_of_others_become_ours(form: str) -> None:
    assert columns_of(write(FOREIGN, form)) == FOREIGN_VALUES


@pytest.mark.parametrize("form", ["file", "stream", "feather", "parquet"])
def test_small_batches_and_chosen_columns_join_to_the_whole(form: str) -> None:
    table = pa.table({"a": range(1000), "b": [str(i) for i in range(1000)]})
    with open_table(write(table, form)) as source:
        batches = list(source.iter_batches(["b"], batch_rows=64))
        again = list(source.iter_batches(["b", "a"]))
        assert again[0].schema == arrow_schema([source.columns[1], source.columns[0]])
    assert max(batch.num_rows for batch in batches) <= 64
    assert pa.Table.from_batches(batches).column("b").to_pylist() == table.column("b").to_pylist()
    assert pa.Table.from_batches(again).column("a").to_pylist() == list(range(1000))


def test_our_own_field_metadata_come_back() -> None:
    columns = (
        Column("ra", DataType("double"), unit="deg", ucd="pos.eq.ra", utype="u:x", description="Right ascension"),
        Column("shape", DataType("char", "*", "adql:REGION")),
        Column("grid", DataType("float", "2x2")),
    )
    table = pa.table([[1.5], ["CIRCLE 1 2 3"], [[1, 2, 3, 4]]], schema=arrow_schema(columns))
    for form in ("parquet", "file", "stream"):
        with open_table(write(table, form)) as source:
            assert source.columns == columns


def test_an_id_beyond_63_bits_is_refused_with_its_row() -> None:
    table = pa.table({"id": pa.array([1, 2, 2**63 + 1, 4], pa.uint64())})
    with pytest.raises(BadData) as caught:
        columns_of(write(table, "parquet"))
    assert caught.value.text == (
        "Row 3: the value of column id does not fit its type. Given: 9223372036854775809. "
        "Allowed: integers up to 9223372036854775807. "
        "Convert the column, to text for instance, before publishing the table."
    )


def test_nested_columns_are_refused_with_the_way_out() -> None:
    table = pa.table({"s": pa.array([{"a": 1}])})
    with pytest.raises(BadData) as caught:
        open_table(write(table, "parquet"))
    assert caught.value.text == (
        "Column s has a type that no astronomical table format can hold. Given: struct<a: int64>. "
        "Allowed: numbers, booleans, text, timestamps and lists of them. "
        "Split or convert the column before publishing the table."
    )


def test_a_folder_is_one_table_and_its_hive_keys_are_columns(tmp_path: Path) -> None:
    for band in ("g", "r"):
        for night in (1, 2):
            place = tmp_path / f"band={band}" / f"night={night}"
            place.mkdir(parents=True)
            pq.write_table(pa.table({"x": [night * 10]}), place / "part.parquet")
    (tmp_path / "_metadata").write_bytes(b"not a table")
    with open_table(tmp_path) as source:
        assert source.rows == 4
        assert {c.name: c.type.datatype for c in source.columns} == {"x": "long", "band": "char", "night": "int"}
        keys_only = pa.Table.from_batches(list(source.iter_batches(["night"])))
    assert keys_only.column("night").to_pylist() == [1, 2, 1, 2]
    assert columns_of(tmp_path) == {"x": [10, 20, 10, 20], "band": ["g", "g", "r", "r"], "night": [1, 2, 1, 2]}


def test_the_file_of_a_folder_that_differs_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [1], "y": [1.5]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"x": [1], "y": ["1.5"]}), tmp_path / "b.parquet")
    with pytest.raises(BadData) as caught:
        open_table(tmp_path)
    assert caught.value.text == (
        "The Parquet files of the folder do not have the same columns. "
        "Given: b.parquet: column y is string, not double. Allowed: the columns and types of a.parquet. "
        "Write the files again with one schema, or add them as separate tables."
    )


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadData) as caught:
        open_table(tmp_path / "empty")
    assert caught.value.text == (
        "The folder holds no Parquet files. Given: empty. "
        "Allowed: files that end in .parquet, .pq, .parq, also in folders below. "
        "Name the folder that holds the files, or name the files themselves."
    )


def stars() -> Table:
    table = Table({"id": [1, 2, 3]})
    table["ra"] = MaskedColumn([0.5, 1, 2], mask=[0, 1, 0], unit="deg", description="Right ascension")
    table["v"] = np.arange(6, dtype="f4").reshape(3, 2)
    return table


def test_astropys_parquet_gives_units_and_masked_values(tmp_path: Path) -> None:
    stars().write(tmp_path / "t.parquet")
    with open_table(tmp_path / "t.parquet") as source:
        assert [c.name for c in source.columns] == ["id", "ra", "v"]
        assert (source.columns[1].unit, source.columns[1].description) == ("deg", "Right ascension")
    assert columns_of(tmp_path / "t.parquet")["ra"] == [0.5, None, 2.0]


def test_astropys_voparquet_gives_the_votables_metadata(tmp_path: Path) -> None:
    metadata = {"id": {"ucd": "meta.id"}, "ra": {"ucd": "pos.eq.ra"}}
    plain = Table({"id": [1, 2], "ra": [0.5, 1.5]})
    plain["ra"].unit, plain["ra"].description = "deg", "Right ascension"
    plain.write(tmp_path / "t.parquet", format="parquet.votable", metadata=metadata)
    with open_table(tmp_path / "t.parquet") as source:
        ra = source.columns[1]
        assert (ra.unit, ra.ucd, ra.description) == ("deg", "pos.eq.ra", "Right ascension")
        assert source.columns[0].type.datatype == "long"
    assert columns_of(tmp_path / "t.parquet") == {"id": [1, 2], "ra": [0.5, 1.5]}


def test_a_hats_catalogues_common_metadata_describe_its_columns(tmp_path: Path) -> None:
    content = (
        b'<VOTABLE version="1.5"><RESOURCE><TABLE name="cat"><DESCRIPTION>A catalogue</DESCRIPTION>'
        b'<FIELD name="ra" datatype="double" unit="deg" ucd="pos.eq.ra"/></TABLE></RESOURCE></VOTABLE>'
    )
    place = tmp_path / "dataset" / "Norder=0" / "Dir=0"
    place.mkdir(parents=True)
    pq.write_table(pa.table({"ra": [1.5]}), place / "Npix=3.parquet")
    schema = pa.schema([("ra", pa.float64())], metadata={b"IVOA.VOTable-Parquet.content": content})
    pq.write_metadata(schema, tmp_path / "dataset" / "_common_metadata")
    with open_table(tmp_path) as source:
        assert (source.name, source.description, source.rows) == ("cat", "A catalogue", 1)
        assert (source.columns[0].unit, source.columns[0].ucd) == ("deg", "pos.eq.ra")
    assert columns_of(tmp_path) == {"ra": [1.5]}


def test_pandas_metadata_are_let_be(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    pandas.DataFrame({"a": [1, 2]}).to_parquet(tmp_path / "p.parquet")
    assert columns_of(tmp_path / "p.parquet") == {"a": [1, 2]}


@pytest.mark.parametrize(("form", "kind"), [("parquet", "Parquet"), ("file", "Arrow"), ("stream", "Arrow")])
def test_a_file_cut_short_is_refused(form: str, kind: str) -> None:
    table = pa.table({"a": range(5000)})
    data = write(table, form).getvalue()
    with pytest.raises(BadData) as caught:
        columns_of(io.BytesIO(data[: len(data) // 2]))
    assert caught.value.what == f"The {kind} file is damaged or cut short."
    assert caught.value.next_step == "Write or send the file again."


def test_limits_hold_for_rows_columns_and_bytes() -> None:
    data = write(pa.table({"a": range(100), "b": range(100)}), "parquet")
    with pytest.raises(TooLarge) as caught:
        open_table(data, limits=ReadLimits(max_columns=1))
    assert caught.value.text == (
        "The table has too many columns. Given: 2 columns. Allowed: at most 1 columns (max_columns). "
        "Leave out columns that are not needed, or split the table."
    )
    for limits in (ReadLimits(max_rows=99), ReadLimits(max_bytes=100)):
        with pytest.raises(TooLarge):
            columns_of(data, limits=limits)
    with pytest.raises(TooLarge):
        columns_of(write(pa.table({"a": range(100)}), "stream"), limits=ReadLimits(max_rows=99))


def test_a_table_can_be_chosen_only_where_there_are_several() -> None:
    with pytest.raises(BadData) as caught:
        open_table(write(pa.table({"a": [1]}), "parquet"), table=2)
    assert caught.value.text == (
        "A Parquet file holds one table, so none can be chosen. Given: 2. "
        "Allowed: a choice of table in FITS and VOTable files. Leave the choice out."
    )


def test_rows_that_unpack_from_nothing_come_in_batches_of_what_they_take_in_memory() -> None:
    zeros = pa.array(np.zeros(30_000))
    sink = io.BytesIO()
    pq.write_table(pa.table({f"c{i}": zeros for i in range(600)}), sink, compression="zstd")
    with open_table(io.BytesIO(sink.getvalue())) as table:
        sizes = [batch.nbytes for batch in table.iter_batches()]
    assert sum(sizes) >= 30_000 * 600 * 8
    assert max(sizes) < 70 * 2**20


def views_of(text: str, rows: int) -> pa.Array:
    """A row of nothing, and rows that all show one text."""
    views = np.tile(np.frombuffer(np.array([len(text), 0, 0, 0], np.int32).tobytes(), np.int32), rows).reshape(-1, 4)
    views[:, 1] = np.frombuffer(text[:4].encode(), np.int32)
    views[0] = [-7, 0, 0, 0]
    valid = np.packbits([False, *[True] * (rows - 1)], bitorder="little").tobytes()
    buffers = [pa.py_buffer(data) for data in (valid, views.astype(np.int32).tobytes(), text.encode())]
    return pa.Array.from_buffers(pa.string_view(), rows, buffers)


@pytest.mark.parametrize("form", ["file", "stream"])
@pytest.mark.parametrize("kind", ["dictionary", "dictionary in lists", "lists in a dictionary", "view"])
def test_rows_of_arrow_that_share_a_value_come_in_batches_of_what_they_take_in_memory(form: str, kind: str) -> None:
    text, rows = "x" * 2_000_000, 100
    zeros = pa.array(np.zeros(rows, np.int32))
    shared = pa.DictionaryArray.from_arrays(zeros, pa.array([text]))
    column = {
        "dictionary": lambda: shared,
        "dictionary in lists": lambda: pa.ListArray.from_arrays(np.arange(rows + 1, dtype=np.int32), shared),
        "lists in a dictionary": lambda: pa.DictionaryArray.from_arrays(zeros, pa.array([[0.5] * 250_000])),
        "view": lambda: views_of(text, rows),
    }[kind]()
    source = write(pa.table({"s": column}), form)
    with open_table(source, limits=ReadLimits(max_bytes=2**33)) as table:
        sizes = [(batch.num_rows, batch.nbytes) for batch in table.iter_batches()]
    assert sum(count for count, _ in sizes) == rows
    assert sum(size for _, size in sizes) >= (rows - 1) * 2_000_000
    assert max(size for _, size in sizes) < 70 * 2**20
