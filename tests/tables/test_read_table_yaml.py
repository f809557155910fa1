"""Astropy's YAML header, in ECSV and in Parquet, where a few lines could stand for gigabytes."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import MaskedColumn, QTable
from astropy.time import Time

from idac.core.errors import BadData
from idac.tables.readers import open_table
from idac.tables.readers.source import ReadLimits, TableInfo

WAY_OUT = "Write the file again with a tool that knows the format, such as astropy."
#: Nine times nine times …, eight levels deep: 43 million texts in 300 bytes.
LEVELS = "".join(
    f"{name}: &{name} [{', '.join([f'*{before}' if before else 'x'] * 9)}]\n"
    for before, name in zip(["", *"abcdefg"], "abcdefgh", strict=True)
)


def ecsv(header: str) -> io.BytesIO:
    lines = ["%ECSV 1.0", "---", *header.splitlines()]
    return io.BytesIO("".join(f"# {line}\n" for line in lines).encode() + b"x\n1\n")


def parquet(header: str) -> io.BytesIO:
    sink = io.BytesIO()
    schema = pa.schema([("x", pa.int64())], metadata={"table_meta_yaml": header})
    pq.write_table(pa.table([[1]], schema=schema), sink)
    return io.BytesIO(sink.getvalue())


def read(source: io.BytesIO | Path) -> TableInfo:
    """What the file tells of its table, which must not cost more than a table of that size may."""
    tracemalloc.start()
    try:
        with open_table(source) as table:
            return table.info
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 16 * 2**20


def refused(source: io.BytesIO) -> str:
    with pytest.raises(BadData) as caught:
        read(source)
    return caught.value.text


@pytest.mark.parametrize("wrap", [ecsv, parquet])
@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ("name: x, datatype: int64, description: *h", "description"),
        ("name: x, datatype: int64, unit: *h", "unit"),
        ("name: x, datatype: int64, unit: {unit: *h}", "unit"),
        ("name: x, datatype: int64, unit: {other: *h, unit: [a]}", "unit"),
        ("name: x, datatype: string, subtype: *h", "subtype"),
        ("name: x, datatype: int64, meta: {ucd: *h}", "ucd"),
        ("name: x, datatype: int64, meta: !!omap [utype: *h]", "utype"),
        ("name: *h, datatype: int64", "name"),
    ],
)
def test_a_field_of_a_column_is_one_value_and_none_made_of_others(
    wrap: Callable[[str], io.BytesIO], fields: str, field: str
) -> None:
    text = refused(wrap(f"{LEVELS}datatype:\n- {{{fields}}}\n"))
    assert text.startswith(f"The table's YAML header can't be used. Given: the {field} [")
    most = 100_000 if field == "description" else 1000
    assert text.endswith(f"Allowed: a text of at most {most} characters for the {field} of a column. {WAY_OUT}")


@pytest.mark.parametrize("wrap", [ecsv, parquet])
@pytest.mark.parametrize(
    "entry", ["{name: x, datatype: *h}", "*h", "{name: x}", "{datatype: int64}", "{name: {a: *h}, datatype: int64}"]
)
def test_a_column_without_a_plain_name_and_datatype_is_refused(wrap: Callable[[str], io.BytesIO], entry: str) -> None:
    text = refused(wrap(f"{LEVELS}datatype:\n- {entry}\n"))
    assert text.startswith("The table's YAML header can't be used. Given: ")
    assert text.endswith(WAY_OUT)
    assert len(text) < 1000


@pytest.mark.parametrize("wrap", [ecsv, parquet])
@pytest.mark.parametrize("meta", ["meta: {deep: *h}", "meta: !!omap\n- ? *h\n  : 1", "meta: {name: *h}", "meta: *h"])
def test_remarks_that_would_be_huge_are_cut(wrap: Callable[[str], io.BytesIO], meta: str) -> None:
    info = read(wrap(f"{LEVELS}datatype:\n- {{name: x, datatype: int64, meta: *h}}\n{meta}\n"))
    assert all(len(remark) < 21_000 for remark in info.comments)
    assert [column.name for column in info.columns] == ["x"]


def test_many_remarks_are_cut_as_a_whole() -> None:
    head = f"t: &t {{k: [{', '.join(['x' * 100] * 90)}]}}\n"
    info = read(ecsv(f"{head}datatype:\n- {{name: x, datatype: int64}}\nmeta: [{', '.join(['*t'] * 5000)}]\n"))
    assert 50 < len(info.comments) < 5000
    assert sum(map(len, info.comments)) <= 2**20


def test_a_text_is_long_only_where_it_stands() -> None:
    text = f"t: &t {'x' * 201}\ndatatype:\n- {{name: x, datatype: int64, description: *t}}\n"
    assert refused(ecsv(text)) == (
        "The table's YAML header can't be used. Given: YAMLError. Allowed: YAML as ECSV describes it. " + WAY_OUT
    )
    long = "x" * 1001
    assert refused(ecsv(f"datatype:\n- {{name: x, datatype: int64, unit: {long}}}\n")) == (
        f"The table's YAML header can't be used. Given: the unit {'x' * 171}… (1010 characters). "
        f"Allowed: a text of at most 1000 characters for the unit of a column. {WAY_OUT}"
    )
    described = read(ecsv(f"datatype:\n- {{name: x, datatype: int64, description: {long}}}\n")).columns[0]
    assert described.description == long


def test_a_header_has_a_size() -> None:
    remark = "# " + "x" * 5_000_000
    size = len(remark) - 2 + 1 + len("---\n")
    assert refused(ecsv(remark[2:])) == (
        f"The table's YAML header can't be used. Given: {size} bytes. Allowed: at most 4194304 bytes. {WAY_OUT}"
    )
    with pytest.raises(BadData, match="Allowed: at most 10 bytes"):
        open_table(ecsv("datatype: []"), limits=ReadLimits(max_header_bytes=10))


@pytest.mark.parametrize(
    "value",
    [
        *("1" + ":01" * 3000, "1" + ":01" * 300 + ".5", "0x" + "f" * 5000, "0b" + "1" * 20_000, "9" * 5000),
        *("!!int ''", "!!bool maybe", "!!float ''", "!!timestamp x", "!!binary x", "2026-99-99", "!!int 1:x"),
        *(
            "!!python/object/apply:os.system [ls]",
            "{[a]: 1}",
            "!!omap [a]",
            "[" * 20_000,
            "- " * 5000,
            "&a [*a]",
            "{<<: *h}",
        ),
    ],
)
def test_odd_values_are_told_or_taken_as_text(value: str) -> None:
    """Numbers of any length, in base 60 too, and values that are not what their tags say."""
    header = f"{LEVELS}datatype:\n- {{name: x, datatype: int64}}\nmeta:\n  odd: {value}\n"
    with suppress(BadData):
        assert len(read(ecsv(header)).comments) == 1


def test_shapes_of_any_size_are_refused() -> None:
    for shape in ("9" * 5000, "1000000,1000000", "0", "-1", "²"):
        text = refused(ecsv(f"datatype:\n- {{name: x, datatype: string, subtype: 'float64[{shape[:900]}]'}}\n"))
        assert "Allowed: a shape of positive numbers, or null." in text


def test_everything_that_astropy_names_once_and_uses_again_is_read(tmp_path: Path) -> None:
    """Units, times and objects of a table's meta are aliases in the YAML of astropy."""
    shared, number = {"x": [1, 2]}, np.int64(5)
    table = QTable({f"flux{i}": np.arange(2.0) * u.Jy for i in range(60)})
    table["when"] = Time([60000, 60001], format="mjd")
    table["place"] = SkyCoord([1, 2] * u.deg, [3, 4] * u.deg)
    table["note"] = MaskedColumn(["a", "b"], meta={"ucd": "meta.note"}, description="true")
    table["grid"] = np.zeros((2, 3))
    table.meta.update(a=shared, b=shared, first=number, second=number)
    for name in ("t.ecsv", "t.parquet"):
        table.write(tmp_path / name)
        text = (tmp_path / name).read_bytes()
        assert b"*id0" in text
        columns = {column.name: column for column in read(tmp_path / name).columns}
        assert columns["flux59"].unit == "Jy"
        assert columns["place.ra"].unit == "deg"
        assert (columns["note"].ucd, columns["note"].description) == ("meta.note", "true")
