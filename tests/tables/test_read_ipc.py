"""Arrow that others sent: read from end to end, and refused before it is unpacked where that would be too much."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from idac.core.errors import BadData, TooLarge
from idac.tables.arrow import arrow_type
from idac.tables.readers import ipc_messages, open_table
from idac.tables.readers.ipc_messages import MOST_BYTES
from idac.tables.readers.source import ReadLimits

FOREIGN = ReadLimits(max_bytes=10**8)
FORMS: dict[str, Callable[..., Any]] = {"file": pa.ipc.new_file, "stream": pa.ipc.new_stream}


def stars() -> pa.Table:
    names = pa.array([None if i % 5 == 0 else f"HD {i % 7}" for i in range(1000)])
    lists = pa.array([[i, i + 1] * (i % 3) for i in range(1000)])
    return pa.table({"n": np.arange(1000), "name": names, "code": names.dictionary_encode(), "list": lists})


def written(table: pa.Table, form: str, batch_rows: int | None = None, **options: Any) -> bytes:
    out = io.BytesIO()
    with FORMS[form](out, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table, max_chunksize=batch_rows)
    return out.getvalue()


def read(data: bytes) -> pa.Table:
    with open_table(io.BytesIO(data), limits=FOREIGN) as table:
        batches = list(table.iter_batches())
        return pa.Table.from_batches(
            batches, None if batches else pa.schema([(c.name, arrow_type(c.type)) for c in table.columns])
        )


@pytest.mark.parametrize("compression", [None, "zstd", "lz4"])
@pytest.mark.parametrize(("form", "legacy"), [("file", False), ("file", True), ("stream", False)])
def test_what_others_write_is_read_whatever_its_form(form: str, legacy: bool, compression: str | None) -> None:
    options = {"compression": compression, "use_legacy_format": legacy, "emit_dictionary_deltas": True}
    got = read(written(stars(), form, batch_rows=300, **options))
    want = stars()
    assert got.column_names == want.column_names
    for name in want.column_names:
        assert got[name].to_pylist() == want[name].to_pylist()


@pytest.mark.parametrize("form", FORMS)
def test_a_file_without_batches_is_a_table_without_rows(form: str) -> None:
    assert read(written(stars().slice(0, 0), form)).num_rows == 0


@pytest.mark.parametrize("form", FORMS)
def test_a_batch_that_unpacks_to_too_much_is_refused_before_it_is(form: str) -> None:
    zeros = pa.table({"z": np.zeros(MOST_BYTES // 8 + 1)})
    data = written(zeros, form, compression="zstd")
    assert len(data) < 100_000
    before = pa.total_allocated_bytes()
    del zeros
    with pytest.raises(TooLarge) as caught:
        read(data)
    assert caught.value.text == (
        f"The Arrow file unpacks to too much at once. Given: input: {MOST_BYTES + 8} bytes. "
        f"Allowed: {MOST_BYTES} bytes for a record batch, and for all dictionaries together. "
        "Write the file again with smaller record batches."
    )
    assert pa.total_allocated_bytes() <= before


def test_dictionaries_count_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ipc_messages, "MOST_BYTES", 1_000_000)
    text = "x" * 333_334
    codes = pa.DictionaryArray.from_arrays(pa.array([0]), pa.array([text]))
    data = written(pa.table(dict.fromkeys("abc", codes)), "stream", compression="zstd")
    with pytest.raises(TooLarge, match="The Arrow file unpacks to too much at once"):
        read(data)


def test_metadata_of_a_message_that_are_endless_are_refused() -> None:
    data = written(stars(), "stream")
    size = 17 * 2**20
    with pytest.raises(BadData) as caught:
        read(data[:4] + size.to_bytes(4, "little") + data[8:])
    assert caught.value.text == (
        "The Arrow file is damaged or cut short. Given: input (a message with 17825792 bytes of metadata). "
        "Allowed: a whole Arrow file. Write or send the file again."
    )


WHOLE = {form: written(stars(), form, batch_rows=300, compression="zstd") for form in FORMS}


@given(form=st.sampled_from(sorted(FORMS)), draw=st.data())
def test_bytes_that_were_changed_give_rows_or_a_refusal(form: str, draw: st.DataObject) -> None:
    data = bytearray(WHOLE[form])
    for at in draw.draw(st.lists(st.integers(8, len(data) - 1), min_size=1, max_size=4)):
        data[at] = draw.draw(st.integers(0, 255))
    try:
        assert read(bytes(data)).num_rows <= 10**6
    except (BadData, TooLarge) as error:
        assert error.text  # noqa: PT017 - either may come


def test_a_name_that_no_query_could_hold_is_refused() -> None:
    with pytest.raises(BadData) as caught:
        read(written(pa.table({"ra": [1.0], "t\0\0": [2.0]}), "stream"))
    assert caught.value.text == (
        "The name of a column has a NUL character in it. Given: t␀␀. Allowed: names that can be written in a query. "
        "Rename the columns in the file; it may be damaged."
    )
