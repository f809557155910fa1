"""CSV, TSV and JSON as Python's own readers, pyarrow and STILTS have them."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import csv as arrow_csv

from idac.core.errors import ResourceExhausted
from idac.tables.formats import FORMATS
from idac.tables.model import INT, STRING, UNICODE, Column, DataType
from idac.tables.readers import open_table
from idac.tables.writers.info import ResultInfo
from idac.tables.writers.text import float_texts
from result_oracles import alike, expected, stilts_rows
from result_samples import (
    EVERY_KIND,
    batch_of,
    columns_of,
    cut,
    failing,
    only,
    sample_written,
    samples,
    timestamp_text,
    without,
    written,
)

TIMEOUT = ResourceExhausted("The query ran too long.", value="60 s", allowed="60 s", next_step="Ask for less.")
DELIMITERS = {"csv": ",", "tsv": "\t"}


def lines(name: str, data: bytes) -> list[list[str]]:
    """The file as Python's csv module has it where it forgives nothing."""
    return list(csv.reader(io.StringIO(data.decode(), newline=""), delimiter=DELIMITERS[name], strict=True))


def parsed(column: Column, text: str) -> Any:
    """A field of a CSV file as its column means it."""
    kind = column.type
    if kind.is_timestamp or kind.datatype in ("char", "unicodeChar"):
        return text
    if text == "":
        return [] if kind.arraysize is not None and "*" in kind.arraysize else None
    words = text.split(" ")
    read = {"boolean": {"true": True, "false": False}.__getitem__, "float": float, "double": float}
    one = read.get(kind.datatype, float if kind.datatype.endswith("Complex") else int)
    values = [one(word) for word in words]
    if kind.datatype.endswith("Complex"):
        values = [complex(a, b) for a, b in zip(values[::2], values[1::2], strict=True)]
    return values if kind.arraysize is not None else values[0]


def wanted(sample: Any) -> dict[str, list[Any]]:
    """The sample as CSV has it: NULL is an empty field, which is an empty text or array too."""
    found = expected(sample)
    for column, _ in sample:
        kind, values = column.type, found[column.name]
        if kind.is_timestamp:
            values = ["" if v is None else timestamp_text(v) for v in values]
        elif kind.datatype in ("char", "unicodeChar"):
            values = ["" if v is None else v for v in values]
        elif kind.arraysize is not None and "*" in kind.arraysize:
            values = [[] if v is None else v for v in values]
        found[column.name] = values
    return found


def single(column: Column, value: Any) -> Any:
    """Floats of 32 bits are written in the fewest digits that tell them apart."""
    if column.type.datatype == "float" and value is not None:
        return [single(Column("", DataType("float")), v) for v in value] if isinstance(value, list) else _f4(value)
    if column.type.datatype == "floatComplex" and value is not None:
        return [complex(_f4(v.real), _f4(v.imag)) for v in value]
    return value


def _f4(value: float) -> float:
    return float(np.float32(value))


def check_delimited(name: str, sample: Any, data: bytes) -> None:
    head, *body = lines(name, data)
    assert head == [c.name for c, _ in sample]
    want = wanted(sample)
    for place, (column, _) in enumerate(sample):
        found = [single(column, parsed(column, row[place])) for row in body]
        assert alike(found, want[column.name]), f"{column.name}: {found} is not {want[column.name]}"


@pytest.mark.parametrize("name", ["csv", "tsv"])
def test_every_kind_of_value_is_there(name: str) -> None:
    check_delimited(name, EVERY_KIND, sample_written(name, EVERY_KIND))


@pytest.mark.parametrize("name", ["csv", "tsv"])
def test_an_empty_text_is_quoted_and_null_is_not(name: str) -> None:
    data = sample_written(name, only("id", "name", "uni"))
    options = arrow_csv.ConvertOptions(strings_can_be_null=True, quoted_strings_can_be_null=False)
    parse = arrow_csv.ParseOptions(delimiter=DELIMITERS[name], newlines_in_values=True)
    table = arrow_csv.read_csv(io.BytesIO(data), parse_options=parse, convert_options=options)
    assert table.column("name").to_pylist() == ["plain", 'a "b", \t<c> & d\\', "", None]
    assert table.column("id").to_pylist() == [2**53 + 1, -(2**63) + 1, 2**63 - 1, None]


def test_stilts_finds_numbers_times_and_texts_in_csv(tmp_path: Path) -> None:
    found = stilts_rows(sample_written("csv", only("id", "flag", "ra", "odd", "fixed", "i4")), tmp_path, "csv")
    assert found["id"] == [2**53 + 1, -(2**63) + 1, 2**63 - 1, None]
    assert found["flag"] == [True, False, True, None]
    assert found["ra"] == [0.1 + 0.2, 1.7976931348623157e308, 5e-324, None]
    assert found["odd"] == [None, math.inf, -math.inf, None]
    assert found["fixed"] == ["abcdefgh", "ab", "", ""]
    assert found["i4"] == [-(2**31) + 1, 2**31 - 1, 0, None]


@pytest.mark.parametrize("name", ["csv", "tsv"])
def test_lines_end_in_crlf_and_a_null_alone_in_its_line_is_no_empty_line(name: str) -> None:
    data = sample_written(name, [(Column("n", INT), [1, None, 3])])
    assert data == b'n\r\n1\r\n""\r\n3\r\n'
    assert lines(name, data) == [["n"], ["1"], [""], ["3"]]


@pytest.mark.parametrize("name", ["csv", "tsv"])
def test_names_and_texts_with_delimiters_quotes_and_line_ends_come_back(name: str) -> None:
    odd = ['a,b\t"c"', "two\nlines", "cr\rlf\r\n", '"', ",", "\t", " "]
    sample = [(Column(text, STRING), odd) for text in odd]
    found = lines(name, sample_written(name, sample))
    assert found == [odd, *[[text] * len(odd) for text in odd]]


@pytest.mark.parametrize("name", ["csv", "tsv", "json"])
def test_an_error_in_mid_stream_is_raised_behind_the_rows_before_it(name: str) -> None:
    sample = only("id", "name")
    stream = FORMATS[name].write(
        columns_of(sample), failing([batch_of(sample)], TIMEOUT), ResultInfo(mark_errors=True), lambda: False
    )
    chunks: list[bytes] = []
    with pytest.raises(ResourceExhausted) as caught:
        chunks.extend(stream)
    assert caught.value is TIMEOUT
    data = b"".join(chunks)
    if name == "json":
        with pytest.raises(json.JSONDecodeError):
            json.loads(data)
        assert len(json.loads(data + b"]}")["data"]) == 4
    else:
        assert len(lines(name, data)) == 5


def finite(value: Any) -> Any:
    """A value as JSON has it: what is not finite is null, and a complex number is a list of two."""
    if isinstance(value, complex):
        return [finite(value.real), finite(value.imag)]
    if isinstance(value, list):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def check_json(sample: Any, data: bytes) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(data)
    # Whole numbers stand without a fraction, of doubles too.
    want = expected(sample)
    for place, (column, values) in enumerate(sample):
        found = [row[place] for row in document["data"]]
        wanted_values = [finite(v) for v in want[column.name]]
        if column.type.is_timestamp:
            wanted_values = [v and timestamp_text(v) for v in wanted_values]
        elif column.type.arraysize == "*x*":
            wanted_values = values
        if column.type.datatype in ("float", "floatComplex"):
            found = [_singles(v) for v in found]
        assert found == wanted_values, column.name
    return document


def _singles(value: Any) -> Any:
    if isinstance(value, list):
        return [_singles(v) for v in value]
    return None if value is None else _f4(value)


def test_json_has_every_kind_of_value_and_says_what_columns_are() -> None:
    infos = (("CITATION", 'doi:10/"x"', "é"),)
    document = check_json(EVERY_KIND, sample_written("json", EVERY_KIND, info=ResultInfo(infos=infos)))
    assert list(document) == ["info", "metadata", "data", "status"]
    assert document["info"] == [["CITATION", 'doi:10/"x"', "é"]]
    assert document["status"] == "OK"
    fields = {f["name"]: f for f in document["metadata"]}
    assert fields["ra"] == {
        "name": "ra",
        "datatype": "double",
        "unit": "deg",
        "ucd": "pos.eq.ra;meta.main",
        "utype": "stc:AstroCoords.Position2D.Value2.C1",
        "description": "Right ascension <α> & more",
    }
    spot = {"name": "spot", "datatype": "double", "arraysize": "2", "xtype": "point", "unit": "deg"}
    assert fields["spot"] == {**spot, "description": None}
    assert [type(v) for v in document["data"][0][:3]] == [int, bool, int]


def test_json_says_that_a_result_is_cut() -> None:
    assert json.loads(sample_written("json", only("id"), overflowed=True))["status"] == "OVERFLOW"


def test_control_characters_are_escaped_in_json() -> None:
    text = "".join(map(chr, range(0x20))) + '"\\/\x7f\u2028𝔖'
    sample = [(Column("s", UNICODE), [text]), (Column("l", DataType("char", "*x*")), [[text, None]])]
    assert json.loads(sample_written("json", sample))["data"] == [[text, [text, None]]]


@settings(max_examples=60, deadline=None)
@given(samples(), st.integers(1, 5), st.sampled_from(["csv", "tsv"]))
def test_any_rows_come_back_from_csv(sample: Any, step: int, name: str) -> None:
    check_delimited(name, sample, written(name, columns_of(sample), cut(batch_of(sample), step)))


@settings(max_examples=60, deadline=None)
@given(samples(), st.integers(1, 5))
def test_any_rows_come_back_from_json(sample: Any, step: int) -> None:
    check_json(sample, written("json", columns_of(sample), cut(batch_of(sample), step)))


def test_csv_of_a_result_can_be_published_again_without_its_metadata() -> None:
    sample = without("names", "zs", "z", "bits", "bytes", "rgb")
    with open_table(io.BytesIO(sample_written("csv", sample))) as table:
        assert [c.name for c in table.columns] == [c.name for c, _ in sample]
        (batch,) = table.iter_batches()
    assert batch.column("id").to_pylist() == [2**53 + 1, -(2**63) + 1, 2**63 - 1, None]


@pytest.mark.parametrize(("floats", "whole"), [(np.float32, np.int32), (np.float64, np.int64)])
def test_every_float_reads_back_as_the_same_bits_in_no_more_digits_than_it_takes(floats: type, whole: type) -> None:
    rng = np.random.default_rng(3)
    limits = np.iinfo(whole)
    bits = rng.integers(limits.min, limits.max, 200_000, dtype=whole).view(floats)
    plain = np.concatenate(
        [rng.normal(0, 100, 5_000), rng.integers(-1_000, 1_000, 500), [0.0, -0.0, 2.0**53, 1e16, 1e-7]]
    )
    values = np.concatenate([bits[np.isfinite(bits)], plain.astype(floats)])
    texts = float_texts(pa.array(values))
    texts.validate(full=True)
    assert np.array_equal(np.array(texts.to_pylist()).astype(floats).view(whole), values.view(whole))
    digits = [text.partition("e")[0].replace(".", "").strip("-0") for text in texts.to_pylist()]
    fewest = [np.format_float_scientific(v).partition("e")[0].replace(".", "").strip("-0") for v in values[-6_000:]]
    assert list(map(len, digits[-6_000:])) == list(map(len, fewest))
    assert not [text for text in texts.to_pylist() if text.endswith(".0")]


def test_texts_of_floats_keep_null_in_slices_and_nothing_of_their_neighbours() -> None:
    values = pa.array([1.5, None, 2.0, None, -100.0, 1e300])
    assert float_texts(values).to_pylist() == ["1.5", None, "2", None, "-100", "1e+300"]
    assert float_texts(values[1:5]).to_pylist() == [None, "2", None, "-100"]
    assert float_texts(values[:0]).to_pylist() == []
