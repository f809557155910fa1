"""What holds of every result format: zero rows, batches of any size, wide tables, flat memory, a reader that leaves."""

from __future__ import annotations

import gc
import io
import json
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits

from idac.core.errors import BadData, BadParameter
from idac.tables.arrow import arrow_schema
from idac.tables.formats import DEFAULT_FORMAT, FORMATS, find_format
from idac.tables.model import DOUBLE, LONG, POINT, SHORT, STRING, TIMESTAMP, Column
from idac.tables.readers import open_table
from idac.tables.writers.info import ResultInfo
from idac.tables.writers.parallel import map_ordered
from result_oracles import stilts, votable_rows
from result_samples import EVERY_KIND, batch_of, columns_of, only, sample_written, written

EVERY_FORMAT = pytest.mark.parametrize("name", FORMATS)


def column_from(name: str, data: bytes, column: str, kind: Callable[[str], Any]) -> list[Any]:
    """One column of a result of any format, read by a reader that is not ours."""
    if name.startswith("votable"):
        return votable_rows(data)[column]
    if name == "fits":
        with fits.open(io.BytesIO(data)) as hdus:
            found: list[Any] = hdus[1].data[column].tolist()
            return found
    if name == "parquet":
        return pq.read_table(io.BytesIO(data)).column(column).to_pylist()  # type: ignore[no-any-return]
    if name == "arrow":
        return pa.ipc.open_stream(data).read_all().column(column).to_pylist()  # type: ignore[no-any-return]
    if name == "json":
        document = json.loads(data)
        place = [f["name"] for f in document["metadata"]].index(column)
        return [row[place] for row in document["data"]]
    head, *lines = [line.split("," if name == "csv" else "\t") for line in data.decode().split("\r\n")[:-1]]
    return [kind(line[head.index(column)]) for line in lines]


def assert_same(name: str, found: bytes, wanted: bytes) -> None:
    """Equal bytes, save for Arrow, which keeps the padding and the empty bitmaps of what it was given."""
    if name == "arrow":
        rows = [str(pa.ipc.open_stream(data).read_all().to_pylist()) for data in (found, wanted)]
        assert rows[0] == rows[1]
    else:
        assert found == wanted


@EVERY_FORMAT
def test_zero_rows_and_zero_length_batches_are_an_empty_table(name: str) -> None:
    sample = only("id", "uni", "ints", "seen")
    columns = columns_of(sample)
    none = written(name, columns, [])
    assert column_from(name, none, "id", int) == []
    assert written(name, columns, [batch_of(sample)[:0]] * 3) == none


@EVERY_FORMAT
def test_zero_length_batches_between_others_change_nothing(name: str) -> None:
    sample = only("id", "uni", "ints")
    batch, columns = batch_of(sample), columns_of(sample)
    assert written(name, columns, [batch[:0], batch, batch[:0], batch[:0]]) == written(name, columns, [batch])


@EVERY_FORMAT
def test_many_small_batches_give_all_rows_in_order(name: str) -> None:
    columns = (Column("n", LONG), Column("s", STRING))
    schema = arrow_schema(columns)
    numbers = range(60_000)
    whole = pa.RecordBatch.from_arrays([pa.array(numbers), pa.array([f"row {n}" for n in numbers])], schema=schema)
    data = written(name, columns, (whole.slice(start, 7) for start in range(0, len(numbers), 7)))
    assert column_from(name, data, "n", int) == list(numbers)


@EVERY_FORMAT
def test_slices_of_a_batch_are_written_from_their_own_rows(name: str) -> None:
    sample = [pair for pair in EVERY_KIND if pair[0].name != "zs"]
    columns, batch = columns_of(sample), batch_of(sample)
    rebuilt = pa.RecordBatch.from_pylist(batch.to_pylist()[1:3], schema=batch.schema)
    assert_same(name, written(name, columns, [batch.slice(1, 2)]), written(name, columns, [rebuilt]))


@pytest.mark.parametrize("name", [n for n in FORMATS if n != "fits"])
def test_thirteen_hundred_columns(name: str, tmp_path: Path) -> None:
    columns = tuple(Column(f"c{i:04}", DOUBLE, unit="nJy", description=f"Flux {i}") for i in range(1300))
    schema = arrow_schema(columns)
    rows = 300
    values = np.arange(1300 * rows, dtype=float).reshape(1300, rows)
    batch = pa.RecordBatch.from_arrays([pa.array(column) for column in values], schema=schema)
    data = written(name, columns, [batch])
    if name.startswith("votable"):
        # astropy takes ten seconds for as many fields.
        path = tmp_path / "wide.vot"
        path.write_bytes(data)
        found = stilts("tpipe", f"in={path}", "cmd=keepcols c1299", "ofmt=csv").split()
        assert [float(line) for line in found[1:]] == values[1299].tolist()
    else:
        assert column_from(name, data, "c1299", float) == values[1299].tolist()


def rows_of(count: int) -> tuple[tuple[Column, ...], Callable[[], Iterator[pa.RecordBatch]]]:
    """*count* batches of 4 096 rows and about 350 kB, made one at a time."""
    columns = (*(Column(f"x{i}", DOUBLE) for i in range(8)), Column("n", LONG), Column("s", STRING))
    schema = arrow_schema(columns)
    rng = np.random.default_rng(7)
    words = pa.array(["star" + "x" * i for i in range(20)])

    def batches() -> Iterator[pa.RecordBatch]:
        for _ in range(count):
            numbers = [pa.array(rng.standard_normal(4096)) for _ in range(8)]
            ids = pa.array(rng.integers(0, 2**62, 4096))
            texts = words.take(pa.array(rng.integers(0, 20, 4096)))
            yield pa.RecordBatch.from_arrays([*numbers, ids, texts], schema=schema)

    return columns, batches


def peak_bytes(name: str, count: int, folder: Path) -> int:
    """The most memory that Python, numpy and Arrow hold together while a result is written and thrown away."""
    columns, batches = rows_of(count)
    gc.collect()
    before = pa.total_allocated_bytes()
    most = 0
    tracemalloc.start()
    try:
        for _ in FORMATS[name].write(columns, batches(), ResultInfo(spool_folder=folder), lambda: False):
            python, _peak = tracemalloc.get_traced_memory()
            most = max(most, python + pa.total_allocated_bytes() - before)
        return max(most, tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()


@EVERY_FORMAT
def test_memory_does_not_grow_with_the_number_of_rows(name: str, tmp_path: Path) -> None:
    # Enough rows for what a format gathers to be full: FITS's spool of 16 MiB, Parquet's groups of 32. How many pieces
    # are in hand depends on the threads, which may be several MiB; rows that were kept would be 40 MB and more.
    batches = {"fits": 60, "parquet": 210}.get(name, 40)
    few, many = peak_bytes(name, batches, tmp_path), peak_bytes(name, batches * 4, tmp_path)
    assert many < few + 16 * 2**20
    assert many < (80 if name == "parquet" else 40) * 2**20


@EVERY_FORMAT
def test_a_reader_that_leaves_stops_the_source(name: str, tmp_path: Path) -> None:
    columns, batches = rows_of(400)
    drawn = 0
    closed = threading.Event()

    def counted() -> Iterator[pa.RecordBatch]:
        nonlocal drawn
        try:
            for batch in batches():
                drawn += 1
                yield batch
        finally:
            closed.set()

    stream = FORMATS[name].write(columns, counted(), ResultInfo(spool_folder=tmp_path), lambda: False)
    next(stream)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    gc.collect()
    assert closed.is_set()
    # FITS must have seen all rows before its first byte.
    assert drawn < 250 or name == "fits"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [n for n in FORMATS if n not in ("fits", "parquet")])
def test_the_first_rows_are_sent_before_more_are_asked_for(name: str) -> None:
    # FITS needs all rows for its header, Parquet a row group full of them.
    columns, batches = rows_of(2)
    first, second = batches()
    sent, when_asked = 0, 0

    def source() -> Iterator[pa.RecordBatch]:
        nonlocal when_asked
        yield first
        when_asked = sent
        yield second

    for chunk in FORMATS[name].write(columns, source(), ResultInfo(), lambda: False):
        sent += len(chunk)
    assert when_asked > 0.95 * len(written(name, columns, [first]))


@EVERY_FORMAT
def test_batches_of_the_engine_s_types_become_those_of_the_columns(name: str) -> None:
    columns = (
        Column("n", LONG),
        Column("d", DOUBLE),
        Column("s", STRING),
        Column("p", POINT),
    )
    given = pa.RecordBatch.from_pydict(
        {
            "N": pa.array([1, 2], pa.uint32()),
            "D": pa.array([1, 2], pa.int16()),
            "S": pa.array(["a", "b"]).dictionary_encode(),
            "P": pa.array([[1.0, 2.0], None], pa.list_(pa.float64())),
        }
    )
    same = sample_written(
        name, [(c, v) for c, v in zip(columns, [[1, 2], [1.0, 2.0], ["a", "b"], [[1.0, 2.0], None]], strict=True)]
    )
    assert_same(name, written(name, columns, [given]), same)


@EVERY_FORMAT
def test_a_value_that_its_column_has_no_room_for_is_refused(name: str) -> None:
    batch = pa.RecordBatch.from_pydict({"n": pa.array([1, 40_000])})
    with pytest.raises(BadData) as caught:
        written(name, (Column("n", SHORT),), [batch])
    assert caught.value.text == (
        "Column n holds a value that its type has no room for. "
        "Given: Integer value 40000 not in range: -32768 to 32767. Allowed: values of the type int16. "
        "Use CAST in the query, or ask for other columns."
    )


def test_times_are_whole_seconds_where_they_can_be_and_finer_where_they_must() -> None:
    def texts(*micros: int | None) -> list[Any]:
        return votable_rows(sample_written("votable", [(Column("t", TIMESTAMP), list(micros))]))["t"]

    assert texts(0, 10**6, None) == ["1970-01-01T00:00:00", "1970-01-01T00:00:01", ""]
    assert texts(0, 1_500_000) == ["1970-01-01T00:00:00.000", "1970-01-01T00:00:01.500"]
    assert texts(-1, 0) == ["1969-12-31T23:59:59.999999", "1970-01-01T00:00:00.000000"]


@pytest.mark.parametrize("name", ["votable", "votable/b2", "votable/td", "parquet", "fits", "arrow"])
def test_our_own_reader_finds_what_was_written(name: str) -> None:
    sample = only("id", "flag", "i2", "ra", "uni", "seen", "spot", "area", "ints")
    with open_table(io.BytesIO(sample_written(name, sample))) as table:
        (batch,) = table.iter_batches()
        columns = {c.name: c for c in table.columns}
    assert batch.column("id").to_pylist() == sample[0][1]
    assert batch.column("ra").to_pylist() == only("ra")[0][1]
    assert (columns["ra"].unit, columns["ra"].ucd) == ("deg", "pos.eq.ra;meta.main")


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("votable", "votable"),
        ("VOTable/B2", "votable/b2"),
        ("votable/b1", "votable"),
        ("application/x-votable+xml", "votable"),
        ("application/x-votable+xml; serialization=TABLEDATA", "votable/td"),
        ("application/x-votable+xml;serialization=BINARY", "votable"),
        ("application/x-votable+xml;serialization=binary2", "votable/b2"),
        ("application/x-votable+xml;content=datalink", "votable"),
        ("text/xml", "votable"),
        ("text/csv", "csv"),
        ("text/csv;header=present;charset=utf-8", "csv"),
        ("text/tab-separated-values", "tsv"),
        ("FITS", "fits"),
        ("application/x-parquet", "parquet"),
        ("json", "json"),
        ("application/vnd.apache.arrow.stream", "arrow"),
    ],
)
def test_formats_are_found_by_name_alias_and_media_type(asked: str, name: str) -> None:
    assert find_format(asked) is FORMATS[name]


def test_every_name_of_a_format_finds_it_and_no_two_share_one() -> None:
    names = [(f, n) for f in FORMATS.values() for n in (f.name, f.mime, *f.aliases)]
    assert all(find_format(n) is f for f, n in names)
    assert len({n.lower() for _, n in names}) == len(names)
    assert DEFAULT_FORMAT is FORMATS["votable"]


def test_an_unknown_format_is_refused_with_those_there_are() -> None:
    with pytest.raises(BadParameter) as caught:
        find_format("excel")
    assert caught.value.text == (
        "There is no such format. Given: excel. "
        "Allowed: votable, votable/b2, votable/td, parquet, fits, csv, tsv, json, arrow. "
        "Leave FORMAT and RESPONSEFORMAT out for a VOTable."
    )


def test_work_of_several_threads_comes_in_order_and_its_error_in_its_place() -> None:
    def work(number: int) -> int:
        if number == 40:
            raise BadData("Forty.", value=40, allowed="less", next_step="Count.")
        # The longer an item takes, the likelier that the next one is done before it.
        return number if sum(range(100_000 if number % 3 == 0 else 10)) else -1

    found: list[int] = []
    with pytest.raises(BadData, match=r"Forty\."):
        found.extend(map_ordered(work, range(60)))
    assert found == list(range(40))
