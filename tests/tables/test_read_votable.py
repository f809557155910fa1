"""VOTables as they are read: every serialisation, the odd corners of TABLEDATA, and documents meant to do harm."""

from __future__ import annotations

import base64
import gzip
import io
import struct
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from astropy.table import MaskedColumn, Table

from idac.core.errors import BadData, TooLarge
from idac.tables.arrow import arrow_schema
from idac.tables.readers import ReadLimits, open_table


def columns_of(source: Any, **options: Any) -> dict[str, list[Any]]:
    with open_table(source, **options) as table:
        whole = pa.Table.from_batches(list(table.iter_batches()), schema=arrow_schema(table.columns))
        whole.validate(full=True)
        return {name: whole.column(name).to_pylist() for name in whole.column_names}


def document(fields: str, data: str, *, before: str = "", after: str = "") -> io.BytesIO:
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3">\n'
        f'<RESOURCE type="results">{before}<TABLE name="t">{fields}<DATA>{data}</DATA></TABLE>{after}'
        "</RESOURCE></VOTABLE>"
    )
    return io.BytesIO(text.encode())


def rows(*cells: str) -> str:
    inner = "\n".join(f"<TR>{''.join(f'<TD>{c}</TD>' for c in row.split('|'))}</TR>" for row in cells)
    return f"<TABLEDATA>\n{inner}\n</TABLEDATA>"


TWO = '<FIELD name="a" datatype="int"/><FIELD name="s" datatype="char" arraysize="*"/>'


def refused(source: Any, **options: Any) -> str:
    with pytest.raises(BadData) as caught:
        columns_of(source, **options)
    return caught.value.text


class Stream(io.RawIOBase):
    """A pipe: bytes come once, a few at a time."""

    def __init__(self, data: bytes, step: int) -> None:
        self._data, self._step = data, step

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def read(self, size: int = -1) -> bytes:
        part, self._data = self._data[: self._step], self._data[self._step :]
        return part


@pytest.fixture(scope="module")
def rich() -> Table:
    count = 300
    table = Table()
    table["id"] = np.arange(count, dtype="i8") + 2**60
    table["ra"] = MaskedColumn(np.linspace(0, 360, count), mask=np.arange(count) % 7 == 0, unit="deg", description="α")
    table["f"] = np.arange(count, dtype="f4") / 8
    table["s"] = [f"star {i} δ<&>" for i in range(count)]
    table["b"] = np.arange(count) % 3 == 0
    table["u1"] = (np.arange(count) % 256).astype("u1")
    table["i2"] = (np.arange(count) - 150).astype("i2")
    table["arr"] = np.arange(count * 3, dtype="f4").reshape(count, 3)
    table["grid"] = np.arange(count * 6, dtype="i4").reshape(count, 3, 2)
    table["z"] = np.arange(count) + 1j
    return table


@pytest.mark.parametrize("form", ["tabledata", "binary", "binary2"])
@pytest.mark.parametrize("how", ["plain", "gzip", "stream"])
def test_astropys_serialisations_read_alike(rich: Table, form: str, how: str) -> None:
    out = io.BytesIO()
    rich.write(out, format="votable", tabledata_format=form)
    data = out.getvalue()
    source: Any = {"plain": io.BytesIO(data), "gzip": io.BytesIO(gzip.compress(data)), "stream": Stream(data, 777)}[how]
    found = columns_of(source)
    assert found["id"] == rich["id"].tolist()
    assert found["ra"] == rich["ra"].tolist()
    assert found["f"] == rich["f"].tolist()
    assert found["s"] == rich["s"].tolist()
    assert found["b"] == rich["b"].tolist()
    assert found["u1"] == rich["u1"].tolist()
    assert found["i2"] == rich["i2"].tolist()
    assert found["arr"] == rich["arr"].tolist()
    assert found["grid"] == rich["grid"].reshape(300, 6).tolist()
    assert found["z"] == [[v.real, v.imag] for v in rich["z"]]


@pytest.mark.parametrize("form", ["tabledata", "binary", "binary2"])
def test_small_batches_and_a_second_reading_give_the_same(rich: Table, form: str) -> None:
    out = io.BytesIO()
    rich.write(out, format="votable", tabledata_format=form)
    with open_table(out) as table:
        first = list(table.iter_batches(["s", "id"], batch_rows=70))
        again = pa.Table.from_batches(list(table.iter_batches()))
    assert max(b.num_rows for b in first) <= 70
    assert pa.Table.from_batches(first).column("id").to_pylist() == rich["id"].tolist()
    assert again.column("s").to_pylist() == rich["s"].tolist()


def test_metadata_come_whole() -> None:
    before = '<DESCRIPTION>A  small\ntable</DESCRIPTION><COOSYS ID="sys" system="ICRS" epoch="J2016.0"/>'
    before += '<TIMESYS ID="time" timescale="TDB" refposition="BARYCENTER"/><INFO name="QUERY_STATUS" value="OK"/>'
    fields = (
        '<DESCRIPTION>Of stars</DESCRIPTION><GROUP ref="time"><FIELDref ref="f_t"/></GROUP>'
        '<FIELD name="ra" ID="f_ra" datatype="double" unit="deg" ucd="pos.eq.ra" utype="u:ra" ref="sys" precision="5">'
        "<DESCRIPTION>Right ascension</DESCRIPTION></FIELD>"
        '<FIELD name="n" datatype="short"><VALUES null="-99"><MIN value="0"/></VALUES></FIELD>'
        '<FIELD name="t" ID="f_t" datatype="char" arraysize="*" xtype="timestamp"/>'
        '<FIELD name="p" datatype="double" arraysize="2" xtype="point"/>'
    )
    source = document(fields, rows("1.5|-99|2026-01-31T12:00:00.25Z|1 2", "NaN|3||"), before=before)
    with open_table(source) as table:
        ra, _, when, point = table.columns
        assert (ra.unit, ra.ucd, ra.utype, ra.description) == ("deg", "pos.eq.ra", "u:ra", "Right ascension")
        assert (when.type.is_timestamp, point.type.xtype) == (True, "point")
        assert (table.name, table.description) == ("t", "Of stars")
        assert table.info.frames == {"ra": "ICRS J2016.0", "t": "TDB BARYCENTER"}
        assert table.info.details["n"] == {"null": "-99"}
        assert table.info.details["ra"]["precision"] == "5"
        assert table.info.comments == ("QUERY_STATUS: OK",)
        batch = next(table.iter_batches())
    assert batch.column("n").to_pylist() == [None, 3]
    assert [str(v) for v in batch.column("t").to_pylist()] == ["2026-01-31 12:00:00.250000", "None"]
    assert batch.column("p").to_pylist() == [[1.0, 2.0], None]
    assert batch.column("ra").to_pylist() == [1.5, None]


@pytest.mark.parametrize("version", ["v1.1", "v1.2", "v1.3", "1.5"])
def test_prefixes_and_versions_make_no_difference(version: str) -> None:
    text = document(TWO, rows("1|x", "2|y")).getvalue().decode()
    for name in ("VOTABLE", "RESOURCE", "TABLE", "FIELD", "DATA", "TABLEDATA", "TR", "TD"):
        text = text.replace(f"<{name} ", f"<v:{name} ").replace(f"<{name}>", f"<v:{name}>")
        text = text.replace(f"</{name}>", f"</v:{name}>")
    text = text.replace(
        'xmlns="http://www.ivoa.net/xml/VOTable/v1.3"', f'xmlns:v="http://www.ivoa.net/xml/VOTable/{version}"'
    )
    assert columns_of(io.BytesIO(text.encode())) == {"a": [1, 2], "s": ["x", "y"]}


ODD_ROWS = {
    "empty elements": "<TR><TD/><TD/></TR><TR><TD>2</TD><TD /></TR>",
    "a comment": "<TR><TD>1</TD><!-- <TR> </TABLEDATA> --><TD>x</TD></TR>",
    "CDATA": "<TR><TD>1</TD><TD><![CDATA[<b>]]></TD></TR>",
    "an attribute": '<TR ID="r1"><TD>1</TD><TD>x</TD></TR>',
    "space in tags": "<TR ><TD >1</TD ><TD>x</TD></TR >",
    "entities": "<TR><TD>&#49;</TD><TD>a&lt;b&amp;&#x3b4;&quot;</TD></TR>",
    "hexadecimal and signs": "<TR><TD>0x1F</TD><TD>x</TD></TR><TR><TD>+5</TD><TD>y</TD></TR>",
}
ODD_RESULTS: dict[str, list[tuple[Any, Any]]] = {
    "empty elements": [(None, None), (2, None)],
    "a comment": [(1, "x")],
    "CDATA": [(1, "<b>")],
    "an attribute": [(1, "x")],
    "space in tags": [(1, "x")],
    "entities": [(1, 'a<b&δ"')],
    "hexadecimal and signs": [(31, "x"), (5, "y")],
}


@pytest.mark.parametrize("what", ODD_ROWS)
@pytest.mark.parametrize("plain_rows", [0, 30_000])
def test_odd_rows_are_read_wherever_they_stand(what: str, plain_rows: int) -> None:
    plain = "".join(f"<TR><TD>{i}</TD><TD>p{i}</TD></TR>\n" for i in range(plain_rows))
    found = columns_of(document(TWO, f"<TABLEDATA>{plain}{ODD_ROWS[what]}{plain}</TABLEDATA>"))
    pairs = list(zip(found["a"], found["s"], strict=True))
    expected = [(i, f"p{i}") for i in range(plain_rows)]
    assert pairs == expected + ODD_RESULTS[what] + expected


def test_arrays_bits_and_string_arrays_from_text() -> None:
    fields = (
        '<FIELD name="v" datatype="float" arraysize="*"/><FIELD name="b" datatype="bit" arraysize="4"/>'
        '<FIELD name="w" datatype="char" arraysize="3x*"/><FIELD name="c" datatype="floatComplex"/>'
        '<FIELD name="u" datatype="unsignedByte" arraysize="*"/><FIELD name="l" datatype="boolean"/>'
    )
    found = columns_of(document(fields, rows("1 2 NaN|1011|abcd  efg|1 2|1 255|T", "||||| ?".replace("| ?", "|?"))))
    assert found["v"][0][:2] == [1.0, 2.0]
    assert np.isnan(found["v"][0][2])
    assert found["b"] == [[True, False, True, True], None]
    assert found["w"] == [["abc", "d", "efg"], None]
    assert found["c"] == [[1.0, 2.0], None]
    assert found["u"] == [b"\x01\xff", None]
    assert found["l"] == [True, None]


def test_binary_with_variable_fields_is_decoded_by_the_standard() -> None:
    fields = (
        '<FIELD name="s" datatype="char" arraysize="*"/><FIELD name="u" datatype="unicodeChar" arraysize="*"/>'
        '<FIELD name="v" datatype="short" arraysize="*"/><FIELD name="n" datatype="int"/>'
        '<FIELD name="b" datatype="bit" arraysize="*"/>'
    )

    def cell(count: int, data: bytes) -> bytes:
        return struct.pack(">i", count) + data

    one = cell(3, b"abc") + cell(2, "δx".encode("utf-16-be")) + cell(2, struct.pack(">hh", -1, 7))
    one += struct.pack(">i", 5) + cell(10, bytes([0b10100000, 0b01000000]))
    two = cell(0, b"") + cell(0, b"") + cell(0, b"") + struct.pack(">i", -5) + cell(1, b"\x80")
    stream = base64.encodebytes(one + two).decode()
    plain = columns_of(document(fields, f'<BINARY><STREAM encoding="base64">{stream}</STREAM></BINARY>'))
    bits = [True, False, True, False, False, False, False, False, False, True]
    assert plain == {
        "s": ["abc", None],
        "u": ["δx", None],
        "v": [[-1, 7], None],
        "n": [5, -5],
        "b": [bits, [True]],
    }
    flagged = base64.encodebytes(b"\x00" + one + b"\x50" + two).decode()
    again = columns_of(document(fields, f'<BINARY2><STREAM encoding="base64">{flagged}</STREAM></BINARY2>'))
    assert again == {"s": ["abc", ""], "u": ["δx", None], "v": [[-1, 7], []], "n": [5, None], "b": [bits, [True]]}


def test_a_wrong_number_of_cells_names_the_row() -> None:
    plain = "".join(f"<TR><TD>{i}</TD><TD>x</TD></TR>\n" for i in range(1234))
    text = refused(document(TWO, f"<TABLEDATA>{plain}<TR><TD>1</TD></TR></TABLEDATA>"))
    assert text == (
        "Row 1235: the number of cells is not the number of FIELDs. Given: 1 TD elements. "
        "Allowed: 2, one for each FIELD. Correct the row, or the FIELDs."
    )


def test_a_value_of_the_wrong_type_names_row_and_column() -> None:
    assert refused(document(TWO, rows("1|x", "two|y"))) == (
        "Row 2: the value of column a is no int. Given: 'two'. "
        "Allowed: an integer from -2147483648 to 2147483647. Correct the value, or the type of the column."
    )


def test_an_array_of_the_wrong_length_names_the_row() -> None:
    field = '<FIELD name="v" datatype="float" arraysize="3"/>'
    assert refused(document(field, rows("1 2 3", "1 2"))) == (
        "Row 2: the array in column v has the wrong length. Given: 2 numbers. Allowed: 3 numbers (arraysize 3). "
        "Correct the value, or the arraysize of the column."
    )


@pytest.mark.parametrize("length", [2**31 - 1, 100_000_000, -1])
def test_binary_lengths_beyond_reason_are_refused_without_room_made(length: int) -> None:
    field = '<FIELD name="s" datatype="char" arraysize="*"/>'
    stream = base64.b64encode(b"\x00" + struct.pack(">i", length) + b"abc").decode()
    text = refused(document(field, f'<BINARY2><STREAM encoding="base64">{stream}</STREAM></BINARY2>'))
    if length > 0:
        assert text == (
            f"Row 1: the value of column s is too big. Given: {length} bytes. "
            "Allowed: at most 16777216 bytes a value (max_cell_bytes). "
            "Check the file: a broken length reads as a huge value."
        )
    else:
        assert text == (
            "Row 1: the length of column s is negative. Given: -1. Allowed: 0 or more elements. "
            "Check the file: the FIELDs may not describe the stream."
        )


@pytest.mark.parametrize("size", ["99999999999", "4294967296x4294967296", "0", "-1", "3x", "x", "*x2", "2e9"])
def test_array_sizes_beyond_reason_are_refused(size: str) -> None:
    text = refused(document(f'<FIELD name="v" datatype="int" arraysize="{size}"/>', rows("1")))
    assert text.startswith("Column v has an arraysize that ")
    assert f"Given: {size}." in text


def test_a_stream_that_breaks_off_names_the_row() -> None:
    field = '<FIELD name="a" datatype="int"/>'
    stream = base64.b64encode(struct.pack(">ii", 1, 2) + b"\x00\x00").decode()
    assert refused(document(field, f'<BINARY><STREAM encoding="base64">{stream}</STREAM></BINARY>')) == (
        "Row 3: the VOTable's binary stream breaks off within the row. Given: 2 bytes left over. "
        "Allowed: whole rows. Write or send the file again."
    )


def test_what_is_no_base64_is_refused() -> None:
    field = '<FIELD name="a" datatype="int"/>'
    with pytest.raises(BadData) as caught:
        columns_of(document(field, '<BINARY><STREAM encoding="base64">AAA*AAAA</STREAM></BINARY>'))
    assert caught.value.what == "The VOTable's binary stream is no base64, in row 1 or soon after."


LAUGHS = '<!DOCTYPE VOTABLE [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]>'
EXTERNAL = '<!DOCTYPE VOTABLE [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
PARAMETER = '<!DOCTYPE VOTABLE [<!ENTITY % p SYSTEM "http://127.0.0.1:9/x"> %p;]>'


@pytest.mark.parametrize(("doctype", "name"), [(LAUGHS, "a"), (EXTERNAL, "x"), (PARAMETER, "p")])
def test_entities_are_refused_and_never_fetched(doctype: str, name: str) -> None:
    text = document(TWO, rows("1|&b;")).getvalue().decode().replace("<VOTABLE", f"{doctype}<VOTABLE", 1)
    found = refused(io.BytesIO(text.encode()))
    assert f"The VOTable declares or uses an XML entity of its own. Given: {name}." in found
    assert found.endswith(
        "Allowed: the five entities that XML has by itself, and character numbers. "
        "Write the text itself where the entity stands."
    )


def test_a_bare_doctype_is_let_be_and_its_dtd_not_fetched() -> None:
    text = document(TWO, rows("1|x")).getvalue().decode()
    text = text.replace("<VOTABLE", '<!DOCTYPE VOTABLE SYSTEM "http://127.0.0.1:9/VOTable.dtd">\n<VOTABLE', 1)
    assert columns_of(io.BytesIO(text.encode())) == {"a": [1], "s": ["x"]}


def test_nesting_and_tags_have_bounds() -> None:
    deep = "<RESOURCE>" * 100 + "</RESOURCE>" * 100
    text = refused(document(TWO, rows("1|x"), before=deep))
    assert "The VOTable's elements are nested too deep. Given: more than 64 levels." in text
    wide = io.BytesIO(b'<VOTABLE version="' + b"1" * (12 * 2**20))
    assert "A tag of the VOTable is too long. Given: more than 4194304 bytes." in refused(wide)


def test_huge_cells_and_headers_have_bounds() -> None:
    limits = ReadLimits(max_cell_bytes=1000, max_header_bytes=2000)
    assert "Row 1: the value of column s is too big." in refused(document(TWO, rows(f"1|{'x' * 2000}")), limits=limits)
    big = document(TWO, rows("1|x"), before=f"<DESCRIPTION>{'y' * 5000}</DESCRIPTION>")
    assert refused(big, limits=limits) == (
        "The VOTable's header is too big. Given: more than 2000 characters before the rows. "
        "Allowed: at most 2000 (max_header_bytes). Leave out descriptions and parameters that are not needed."
    )
    with pytest.raises(TooLarge):
        columns_of(document(TWO, rows(*["1|x"] * 20)), limits=ReadLimits(max_rows=10))


def test_an_error_document_gives_the_services_own_words() -> None:
    text = (
        '<VOTABLE><RESOURCE type="results"><INFO name="QUERY_STATUS" value="ERROR">No such table: x.y</INFO>'
        "</RESOURCE></VOTABLE>"
    )
    assert refused(io.BytesIO(text.encode())) == (
        "The VOTable is a service's error message, not a table. Given: No such table: x.y. "
        "Allowed: a VOTable with a table. Mend the query that made it and send its result."
    )


def test_an_error_behind_the_rows_makes_them_no_whole_table() -> None:
    after = '<INFO name="QUERY_STATUS" value="ERROR">time is up</INFO>'
    assert refused(document(TWO, rows("1|x"), after=after)) == (
        "The service that wrote the VOTable stopped with an error before the last row. Given: time is up. "
        "Allowed: a whole table. Run the query that made it again."
    )


def test_a_document_cut_short_is_refused_with_its_place() -> None:
    data = document(TWO, rows("1|x", "2|y")).getvalue()
    text = refused(io.BytesIO(data[:-60]))
    assert "The VOTable is no well-formed XML: it is damaged or cut short." in text
    assert text.startswith("line ")


def test_tables_are_chosen_by_name_id_or_number() -> None:
    text = (
        '<VOTABLE><RESOURCE><TABLE name="one"><FIELD name="a" datatype="int"/><DATA><TABLEDATA><TR><TD>1</TD></TR>'
        '</TABLEDATA></DATA></TABLE><TABLE ID="two"><FIELD name="b" datatype="int"/><DATA><TABLEDATA>'
        "<TR><TD>2</TD></TR></TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>"
    )
    data = text.encode()
    assert columns_of(io.BytesIO(data)) == {"a": [1]}
    assert columns_of(io.BytesIO(data), table="two") == {"b": [2]}
    assert columns_of(io.BytesIO(data), table=2) == {"b": [2]}
    assert refused(io.BytesIO(data), table="three") == (
        "The VOTable has no such table. Given: three. Allowed: one, table 2. "
        "Choose one of its tables by name or number, or leave the choice out."
    )


def test_a_table_without_data_has_no_rows() -> None:
    text = f'<VOTABLE><RESOURCE><TABLE name="t">{TWO}</TABLE></RESOURCE></VOTABLE>'
    assert columns_of(io.BytesIO(text.encode())) == {"a": [], "s": []}


@pytest.mark.parametrize("encoding", ["iso-8859-1", "utf-16"])
def test_other_encodings_are_read(encoding: str) -> None:
    text = document(TWO, rows("1|é")).getvalue().decode().replace("UTF-8", encoding.upper())
    assert columns_of(io.BytesIO(text.encode(encoding))) == {"a": [1], "s": ["é"]}


def test_rows_in_another_place_are_not_fetched() -> None:
    stream = '<BINARY><STREAM href="http://127.0.0.1:9/rows"/></BINARY>'
    assert refused(document(TWO, stream)) == (
        "The VOTable's rows are in another place. Given: http://127.0.0.1:9/rows. "
        "Allowed: rows within the file; nothing is fetched from elsewhere. Write the table with its rows inline."
    )
