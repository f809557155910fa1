"""Values that are read from where they lie are those that Parquet's own reader finds, however a file was written."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from idac.catalogs.hats import ParquetOptions
from idac.core.errors import StoreUnavailable
from idac.query.engines.kept import ENTRY_BYTES, Kept
from idac.query.engines.parquet_files import Bounds, ParquetFiles
from idac.query.engines.plain_columns import PlainColumns

TYPES = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.float32(), pa.float64()]
OTHERS = [pa.uint32(), pa.uint64(), pa.float16(), pa.bool_(), pa.timestamp("us"), pa.decimal128(9, 2), pa.string()]


def table_of(kinds: list[pa.DataType], rows: int, *, nullable: bool = True, missing: bool = False) -> pa.Table:
    rng = np.random.default_rng(rows)
    fields, columns = [], []
    for number, kind in enumerate(kinds):
        values = pa.array(rng.integers(0, 100, rows)).cast(pa.float64() if kind == pa.float16() else pa.int64())
        column = values.cast(pa.string()).cast(kind) if pa.types.is_decimal(kind) else values.cast(kind)
        if missing:
            column = pa.array([None, *column.to_pylist()[1:]], kind)
        fields.append(pa.field(f"c{number}", kind, nullable=nullable))
        columns.append(column)
    return pa.table(columns, schema=pa.schema(fields))


def read(path: Path, names: list[str]) -> tuple[dict[str, list[object]], set[str]]:
    """The values of columns, and which of them lie plain."""
    columns = PlainColumns(ParquetFiles())
    groups = list(range(pq.read_metadata(path).num_row_groups))
    found: dict[str, list[object]] = {name: [] for name in names}
    plain: set[str] = set()
    for rows in columns.iter_rows(str(path), groups, names):
        for name in names:
            there = rows.there(name)
            assert len(rows.values(name)) == len(rows)
            values = rows.values(name).tolist()
            found[name] += values if there is None else [v if t else None for v, t in zip(values, there, strict=True)]
        plain |= set(rows.plain)
    return found, plain


def test_what_ingest_writes_lies_plain(tmp_path: Path) -> None:
    table = table_of(TYPES, 50_000)
    path = tmp_path / "a.parquet"
    with ParquetOptions(20_480).open_writer(path, table.schema, 50_000) as writer:
        writer.write_table(table, row_group_size=20_480)
    assert read(path, table.column_names) == (table.to_pydict(), set(table.column_names))


@settings(deadline=None, max_examples=150)
@given(
    rows=st.integers(1, 3000),
    group=st.integers(1, 1500),
    page=st.one_of(st.none(), st.integers(1, 2000)),
    packed=st.sampled_from(["none", "zstd", "snappy"]),
    dictionary=st.booleans(),
    version=st.sampled_from(["1.0", "2.0"]),
    nullable=st.booleans(),
    missing=st.booleans(),
    statistics=st.booleans(),
    checksum=st.booleans(),
    split=st.booleans(),
)
def test_values_are_those_of_parquets_own_reader(
    tmp_path_factory: pytest.TempPathFactory,
    rows: int,
    group: int,
    page: int | None,
    packed: str,
    *,
    dictionary: bool,
    version: str,
    nullable: bool,
    missing: bool,
    statistics: bool,
    checksum: bool,
    split: bool,
) -> None:
    table = table_of(TYPES, rows, nullable=nullable or missing, missing=missing)
    path = tmp_path_factory.mktemp("plain") / "a.parquet"
    pq.write_table(
        table,
        path,
        row_group_size=group,
        max_rows_per_page=page,
        compression=packed,
        use_dictionary=dictionary,
        data_page_version=version,
        write_statistics=statistics,
        write_page_checksum=checksum,
        use_byte_stream_split=split and not dictionary,
    )
    found, plain = read(path, table.column_names)
    assert found == table.to_pydict()
    assert not plain or packed == "none"


def test_a_null_leaves_the_other_row_groups_of_its_column_plain(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    values = pa.array([1.0, 2.0, None, 4.0, 5.0, 6.0])
    pq.write_table(
        pa.table({"c0": values, "c1": range(6)}), path, row_group_size=2, compression="none", use_dictionary=False
    )
    groups = list(PlainColumns(ParquetFiles()).iter_rows(str(path), [2, 1, 0], ["c0", "c1"]))
    assert [set(rows.plain) for rows in groups] == [{"c0", "c1"}, {"c1"}, {"c0", "c1"}]
    assert [rows.values("c0").tolist() for rows in groups] == [[5.0, 6.0], [0.0, 4.0], [1.0, 2.0]]
    assert [rows.values("c1").tolist() for rows in groups] == [[4, 5], [2, 3], [0, 1]]
    there = groups[1].there("c0")
    assert there is not None
    assert there.tolist() == [False, True]


@pytest.mark.parametrize("kind", OTHERS, ids=str)
def test_columns_of_other_types_are_decoded(tmp_path: Path, kind: pa.DataType) -> None:
    path = tmp_path / "a.parquet"
    table = table_of([kind, pa.float64()], 100)
    pq.write_table(table, path, compression="none", use_dictionary=False)
    (rows,) = PlainColumns(ParquetFiles()).iter_rows(str(path), [0], ["c0", "c1"])
    assert set(rows.plain) == {"c1"}
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        assert rows.values("c0").tolist() == table.column(0).to_pylist()


def test_bounds_tell_which_columns_are_needed(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    values = pa.array([1.5, -2.5, 7.0, 8.0, None, 4.0])
    table = pa.table({"c0": values, "c1": range(6), "c2": pa.array(["a"] * 6)})
    pq.write_table(table, path, row_group_size=2, compression="none", use_dictionary=False)
    told: list[list[Bounds | None]] = []

    def needed(bounds: Callable[[str], Bounds | None]) -> list[str]:
        told.append([bounds(name) for name in ("c0", "c1", "nowhere")])
        return ["c1"] if len(told) == 1 else ["c0", "c1"]

    # The third row group is by itself, since a NULL makes it decoded.
    first, second = PlainColumns(ParquetFiles()).iter_rows(str(path), [0, 1, 2], ["c0", "c1"], needed)
    assert told == [[(-2.5, 8.0), (0, 3), None], [(4.0, 4.0), (4, 5), None]]
    assert (set(first.plain), len(first)) == ({"c1"}, 4)
    assert second.values("c0").tolist()[1] == 4.0
    pq.write_table(table, path, row_group_size=2, compression="none", use_dictionary=False, write_statistics=["c1"])
    told.clear()
    assert len(list(PlainColumns(ParquetFiles()).iter_rows(str(path), [1, 2], ["c0", "c1"], needed))) == 2
    assert [bounds[:2] for bounds in told] == [[None, (2, 3)], [None, (4, 5)]]


def test_a_file_that_was_cut_is_told_as_one_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(table_of(TYPES, 5000), path, compression="none", use_dictionary=False)
    columns = PlainColumns(ParquetFiles())
    assert len(list(columns.iter_rows(str(path), [0], ["c3"]))) == 1
    for content in (path.read_bytes()[:100], b""):
        path.write_bytes(content)
        with pytest.raises(StoreUnavailable):
            list(columns.iter_rows(str(path), [0], ["c3"]))


@pytest.mark.parametrize("times", [1, 4])
def test_another_file_in_the_same_place_is_read_as_what_it_is(tmp_path: Path, times: int) -> None:
    path = tmp_path / "a.parquet"
    kinds = [pa.float64(), pa.int64(), pa.float64()]
    table = table_of(kinds, 5000)
    pq.write_table(table, path, compression="none", use_dictionary=False)
    kept = Kept(2**30)
    columns = PlainColumns(ParquetFiles(), kept)

    def values(group: int = 0) -> list[object]:
        for _ in range(times):
            found = [v for rows in columns.iter_rows(str(path), [group], ["c0"]) for v in rows.values("c0").tolist()]
        return found

    assert values() == table.column("c0").to_pylist()
    # As many bytes, and the column elsewhere in them.
    other = table.select(["c1", "c2", "c0"])
    other = other.set_column(2, "c0", pa.array(np.arange(5000.0)))
    pq.write_table(other, path, compression="none", use_dictionary=False)
    assert values() == list(range(5000))
    pq.write_table(table, path, compression="none", use_dictionary=False)
    assert values() == table.column("c0").to_pylist()
    with pytest.raises(StoreUnavailable):
        values(group=1)
    assert kept.bytes == 0


def test_columns_that_are_scanned_again_and_again_are_read_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, kept = tmp_path / "a.parquet", Kept(2**30)
    table = table_of([pa.float32(), pa.int16(), pa.float64()], 3_000)
    pq.write_table(table, path, row_group_size=1_000, compression="none", use_dictionary=False)
    columns = PlainColumns(ParquetFiles(), kept)

    def values(groups: list[int], names: list[str]) -> dict[str, list[object]]:
        found: dict[str, list[object]] = {name: [] for name in names}
        for rows in columns.iter_rows(str(path), groups, names):
            for name in names:
                found[name] += rows.values(name).tolist()
        return found

    for _ in range(2):
        assert values([0, 1, 2], ["c0", "c1"]) == table.select(["c0", "c1"]).to_pydict()
    assert kept.bytes == 0
    expected = values([0, 1, 2], ["c0", "c1"])
    # Short whole numbers stand as longer ones.
    assert kept.bytes == 3_000 * (4 + 4) + 2 * ENTRY_BYTES
    monkeypatch.setattr(os, "preadv", None)
    assert values([0, 1, 2], ["c1", "c0"]) == expected == table.select(["c0", "c1"]).to_pydict()
    # What is kept stays as it is.
    (rows,) = columns.iter_rows(str(path), [0, 1, 2], ["c0"])
    with pytest.raises(ValueError, match="read-only"):
        rows.values("c0")[0] = 1
    monkeypatch.undo()
    # Other row groups of as many rows, that begin with the same one, are others.
    odd = table.take(pa.array([*range(1_000), *range(2_000, 3_000)]))
    for _ in range(4):
        assert values([0, 2], ["c0"]) == odd.select(["c0"]).to_pydict()
        assert values([0, 1], ["c0"]) == table.slice(0, 2_000).select(["c0"]).to_pydict()
