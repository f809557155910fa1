"""VOTables as astropy and STILTS read them: every kind of value, what is said of it, and how a result ends."""

from __future__ import annotations

import base64
import io
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from astropy.io.votable import parse
from hypothesis import given, settings
from hypothesis import strategies as st

from idac.core.errors import BadData, ResourceExhausted
from idac.tables.formats import error_document
from idac.tables.model import STRING, UNICODE, Column, DataType
from idac.tables.writers.info import ResultInfo
from result_oracles import alike, assert_alike, expected, stilts_rows, votable, votable_rows, votable_table, votlint
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

SERIALISATIONS = ("votable/b2", "votable", "votable/td")


def wanted(name: str, sample: Any) -> dict[str, list[Any]]:
    """The sample as astropy should find it: texts are never masked, and NaN always is."""
    found = expected(sample, nan_is_null=True)
    for column, _ in sample:
        values = found[column.name]
        if column.type.is_timestamp:
            found[column.name] = ["" if v is None else timestamp_text(v) for v in values]
        elif column.type.datatype in ("char", "unicodeChar"):
            found[column.name] = ["" if v is None else v for v in values]
        elif name != "votable/b2" and column.type.arraysize is not None and "*" in column.type.arraysize:
            found[column.name] = [[] if v is None else v for v in values]
    return found


@pytest.mark.parametrize("name", SERIALISATIONS)
def test_astropy_finds_every_kind_of_value(name: str) -> None:
    found = votable_rows(sample_written(name, EVERY_KIND))
    if name == "votable/td":
        # astropy masks an array of complex numbers that has none.
        found["zs"] = [v or [] for v in found["zs"]]
    assert_alike(found, wanted(name, EVERY_KIND))


@pytest.mark.parametrize("name", SERIALISATIONS)
def test_stilts_finds_every_kind_of_value(name: str, tmp_path: Path) -> None:
    # STILTS 3.4 takes the count of a varying array of complex numbers for one of real numbers.
    sample = without("zs", "z")
    found = stilts_rows(sample_written(name, sample), tmp_path, "votable")
    empty_is_null = expected(sample, nan_is_null=True, empty_is_null=True)
    empty_is_null["seen"] = [v and timestamp_text(v) for v in empty_is_null["seen"]]
    if name == "votable":
        # Nor does it look for NULL inside arrays.
        empty_is_null["grid"][3], empty_is_null["rgb"][3] = [-32768] * 6, [-32768] * 3
    assert_alike({key: [_nothing(v) for v in values] for key, values in found.items()}, empty_is_null)


def _nothing(value: Any) -> Any:
    return None if value in ("", []) else value


@pytest.mark.parametrize("name", ["votable/b2", "votable"])
def test_votlint_complains_of_nothing_but_the_new_xtype_of_lists_of_texts(name: str, tmp_path: Path) -> None:
    # votlint 3.4 misreads polygons in a stream, those that STILTS itself has written too; see above for zs.
    assert votlint(sample_written(name, without("zs", "names", "area")), tmp_path) == []
    (complaint,) = votlint(sample_written(name, only("id", "names")), tmp_path)
    assert complaint.endswith('Non-DALI xtype value "json"')


def test_votlint_complains_of_nothing_in_tabledata_without_null_arrays(tmp_path: Path) -> None:
    # An empty TD is NULL for every type since VOTable 1.3; votlint 3.4 knows that of scalars only.
    scalars = [pair for pair in without("names", "z") if not isinstance(pair[1][0], list | bytes)]
    arrays = [(column, [*values[:2], values[1], values[0]]) for column, values in without("names", "zs")]
    assert votlint(sample_written("votable/td", scalars), tmp_path) == []
    assert votlint(sample_written("votable/td", arrays), tmp_path) == []


def test_binary2_tells_nan_from_null_and_an_empty_text_from_none() -> None:
    data = sample_written("votable/b2", [*only("odd"), *only("name")])
    stream = re.search(rb"<STREAM encoding=\"base64\">(.*)</STREAM>", data, re.DOTALL)
    assert stream is not None
    rows, place = [], 0
    raw = base64.b64decode(stream[1])
    while place < len(raw):
        flags, number, length = struct.unpack_from(">BdI", raw, place)
        place += 13 + length
        rows.append((flags >> 7, flags >> 6 & 1, number, raw[place - length : place]))
    assert place == len(raw)
    nan, inf = float("nan"), float("inf")
    assert alike([list(r) for r in rows], [
        [0, 0, nan, b"plain"],
        [0, 0, inf, b'a "b", \t<c> & d\\'],
        [0, 0, -inf, b""],
        [1, 1, nan, b""],
    ])  # fmt: skip


@pytest.mark.parametrize("name", SERIALISATIONS)
def test_fields_say_what_columns_are(name: str) -> None:
    fields = {f.name: f for f in votable_table(sample_written(name, EVERY_KIND)).fields}
    ra = fields["ra"]
    assert (ra.datatype, str(ra.unit), ra.ucd, ra.ref) == ("double", "deg", "pos.eq.ra;meta.main", "icrs")
    assert (ra.utype, ra.description) == ("stc:AstroCoords.Position2D.Value2.C1", "Right ascension <α> & more")
    shapes = {key: (f.datatype, f.arraysize, f.xtype) for key, f in fields.items()}
    assert shapes["name"] == ("char", "*", None)
    assert shapes["seen"] == ("char", "*", "timestamp")
    assert shapes["spot"] == ("double", "2", "point")
    assert shapes["disc"] == ("double", "3", "circle")
    assert shapes["area"] == ("double", "*", "polygon")
    assert shapes["s_region"] == ("char", "*", "adql:REGION")
    assert shapes["grid"] == ("short", "2x3", None)
    assert shapes["names"] == ("unicodeChar", "*", "json")


def test_positions_refer_to_icrs_and_other_columns_to_nothing() -> None:
    sample = [
        (Column("RAJ2000", DataType("double"), ucd="POS.EQ.RA;META.MAIN"), [1.0]),
        (Column("ra_b1950", DataType("double"), ucd="pos.eq.ra"), [1.0]),
        (Column("e_ra", DataType("double"), ucd="stat.error;pos.eq.ra;meta.main"), [1.0]),
    ]
    document = votable(sample_written("votable/b2", sample))
    assert [f.ref for f in document.get_first_table().fields] == ["icrs", None, None]
    (frame,) = document.resources[0].coordinate_systems
    assert (frame.ID, frame.system) == ("icrs", "ICRS")


@pytest.mark.parametrize("name", SERIALISATIONS)
def test_infos_and_description_stand_in_the_resource(name: str) -> None:
    infos = (("CITATION", 'doi:10/"x"&<y>', "cite & thank"), ("standardID", "ivo://ivoa.net/std/tap", ""))
    document = votable(sample_written(name, only("id"), info=ResultInfo(infos=infos, description="Stars & <more>\x01")))
    resource = document.resources[0]
    found = [(i.name, i.value, i.content or "") for i in resource.infos]
    assert resource.type == "results"
    assert resource.description == "Stars & <more>�"
    assert found == [("QUERY_STATUS", "OK", ""), *infos]


@pytest.mark.parametrize("name", SERIALISATIONS)
def test_a_cut_result_says_so_behind_its_table(name: str, tmp_path: Path) -> None:
    data = sample_written(name, only("id", "name"), overflowed=True)
    assert b'</TABLE>\n<INFO name="QUERY_STATUS" value="OVERFLOW"/>\n</RESOURCE>' in data
    assert votlint(data, tmp_path) == []
    assert [i.value for i in votable(data).resources[0].infos] == ["OK", "OVERFLOW"]


@pytest.mark.parametrize("name", SERIALISATIONS)
def test_an_error_in_mid_stream_closes_the_document_and_keeps_the_rows_before_it(name: str, tmp_path: Path) -> None:
    error = ResourceExhausted("The query ran <too> long.", value="60 s", allowed="60 s", next_step="Ask for less.")
    sample = only("id", "uni")
    batches = failing(cut(batch_of(sample), 1), error)
    data = written(name, columns_of(sample), batches, ResultInfo(mark_errors=True))
    document = votable(data)
    (_, last) = document.resources[0].infos
    assert (last.name, last.value, last.content) == ("QUERY_STATUS", "ERROR", error.text)
    assert len(document.get_first_table().array) == 4
    assert votlint(data, tmp_path) == []


@pytest.mark.parametrize("name", SERIALISATIONS)
@pytest.mark.parametrize("before", [0, 1])
def test_an_error_that_is_not_marked_is_raised(name: str, before: int) -> None:
    error = ResourceExhausted("The query ran too long.", value="60 s", allowed="60 s", next_step="Ask for less.")
    sample = only("id")
    with pytest.raises(ResourceExhausted) as caught:
        written(name, columns_of(sample), failing([batch_of(sample)] * before, error))
    assert caught.value is error


@pytest.mark.parametrize("name", SERIALISATIONS)
def test_an_error_before_the_first_row_is_raised_even_where_errors_are_marked(name: str) -> None:
    error = BadData("No.", value=1, allowed="2", next_step="Go.")
    with pytest.raises(BadData) as caught:
        written(name, columns_of(only("id")), failing([], error), ResultInfo(mark_errors=True))
    assert caught.value is error


def test_an_error_document_is_a_votable_with_the_reason(tmp_path: Path) -> None:
    data = error_document("Unknown column <b> & 'c'\x00", (("QUERY", "SELECT 1", ""),))
    infos = votable(data).resources[0].infos
    assert [(i.name, i.value, i.content) for i in infos] == [
        ("QUERY_STATUS", "ERROR", "Unknown column <b> & 'c'�"),
        ("QUERY", "SELECT 1", None),
    ]
    assert votlint(data, tmp_path) == []


def test_text_beyond_ascii_in_the_first_rows_makes_a_char_column_unicode() -> None:
    sample = [(Column("s", DataType("char", "12*")), ["naïve", "日本"])]
    for name in ("votable/b2", "votable"):
        table = votable_table(sample_written(name, sample))
        assert (table.fields[0].datatype, table.fields[0].arraysize) == ("unicodeChar", "12*")
        assert table.array["s"].tolist() == ["naïve", "日本"]
    assert votable_rows(sample_written("votable/td", sample))["s"] == ["naïve", "日本"]


@pytest.mark.parametrize("name", ["votable/b2", "votable"])
def test_text_beyond_ascii_in_later_rows_of_char_is_replaced_and_told(name: str) -> None:
    columns = (Column("s", STRING), Column("l", DataType("char", "*x*")), Column("u", UNICODE))
    early = [(c, [v]) for c, v in zip(columns, ["a", ["b"], "c"], strict=True)]
    late = [(c, [v]) for c, v in zip(columns, ["α1", ["β2", None], "γ3"], strict=True)]
    data = written(name, columns, [batch_of(early), batch_of(late)])
    found = votable_rows(data)
    assert found == {"s": ["a", "?1"], "l": ['["b"]', '["?2",null]'], "u": ["c", "γ3"]}
    (_, warning) = votable(data).resources[0].infos
    assert (warning.name, warning.value) == (
        "warning",
        "Characters outside ASCII were replaced by ? in s, l. TABLEDATA, Parquet, CSV and JSON keep them.",
    )


def test_a_text_longer_than_its_column_declares_arrives_whole() -> None:
    sample = [(Column("s", DataType("char", "3")), ["abcdef", "a"]), (Column("c", DataType("char")), ["xyz", ""])]
    sample += [
        (Column("u", DataType("unicodeChar", "2*")), ["𝔖𝔖", "a"]),
        (Column("k", DataType("char", "3*")), ["ab", ""]),
    ]
    for name in SERIALISATIONS:
        data = sample_written(name, sample)
        assert votable_rows(data) == {"s": ["abcdef", "a"], "c": ["xyz", ""], "u": ["𝔖𝔖", "a"], "k": ["ab", ""]}
        assert [f.arraysize for f in votable_table(data).fields] == ["*", "*", "*", "3*"]


def test_nulls_inside_arrays_are_what_the_field_declares() -> None:
    sample = [
        (Column("i", DataType("int", "*")), [[1, None], [None]]),
        (Column("j", DataType("short", "2")), [[None, 7], [1, 2]]),
        (Column("b", DataType("boolean", "2")), [[None, True], [False, None]]),
    ]
    for name in SERIALISATIONS:
        array = votable_table(sample_written(name, sample)).array
        assert [v.tolist() for v in array["i"]] == [[1, None], [None]]
        assert array["j"].tolist() == [[None, 7], [1, 2]]
        assert array["b"].tolist() == [[None, True], [False, None]]


def test_names_that_xml_must_escape_come_back() -> None:
    names = ['a"b', "c<d>&e", "f'g", "δ", "with space"]
    sample = [(Column(name, DataType("int"), unit="m", description="  two\nlines "), [1]) for name in names]
    data = sample_written("votable/b2", sample)
    # A warning tells that astropy made IDs of such names.
    assert [f.name for f in parse(io.BytesIO(data), verify="ignore").get_first_table().fields] == names


def xml_text(text: str) -> str:
    return re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f￾￿]", "�", text)


@settings(max_examples=60, deadline=None)
@given(samples(), st.integers(1, 5))
def test_any_rows_come_back_from_binary2(sample: Any, step: int) -> None:
    data = written("votable/b2", columns_of(sample), cut(batch_of(sample), step))
    assert_alike(votable_rows(data), wanted("votable/b2", sample))


@settings(max_examples=60, deadline=None)
@given(samples(), st.integers(1, 5))
def test_any_rows_come_back_from_binary(sample: Any, step: int) -> None:
    data = written("votable", columns_of(sample), cut(batch_of(sample), step))
    assert_alike(votable_rows(data), wanted("votable", sample))


@settings(max_examples=60, deadline=None)
@given(samples(complex_arrays=False), st.integers(1, 5))
def test_any_rows_come_back_from_tabledata(sample: Any, step: int) -> None:
    data = written("votable/td", columns_of(sample), cut(batch_of(sample), step))
    found = wanted("votable/td", sample)
    for column, _ in sample:
        if column.type.is_string:
            # astropy strips texts; STILTS does not.
            found[column.name] = [xml_text(v).strip(" \t\r\n") for v in found[column.name]]
    assert_alike(votable_rows(data), found)


def many(count: int) -> Iterator[pa.RecordBatch]:
    batch = batch_of(only("id", "uni", "spot"))
    for _ in range(count):
        yield batch


@pytest.mark.parametrize("name", SERIALISATIONS)
def test_the_document_is_the_same_however_the_rows_are_batched(name: str) -> None:
    columns = columns_of(only("id", "uni", "spot"))
    whole = votable_rows(written(name, columns, [pa.concat_batches(list(many(3000)))]))
    assert len(whole["id"]) == 12_000
    assert_alike(votable_rows(written(name, columns, many(3000))), whole)
