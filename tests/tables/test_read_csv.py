"""CSV, TSV and ECSV as they are read: types that hold every row, odd files, errors with the row."""

from __future__ import annotations

import csv
import gzip
import io
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from astropy.table import MaskedColumn, Table
from hypothesis import given, settings
from hypothesis import strategies as st

from idac.core.errors import BadData
from idac.tables.arrow import arrow_schema
from idac.tables.readers import ReadLimits, open_table
from idac.tables.readers import csv as csv_reader
from idac.tables.readers.csv_types import TypesOutgrown


def columns_of(source: Any, **options: Any) -> dict[str, list[Any]]:
    with open_table(source, **options) as table:
        whole = pa.Table.from_batches(list(table.iter_batches()), schema=arrow_schema(table.columns))
        whole.validate(full=True)
        assert table.rows in (None, whole.num_rows)
        return {name: whole.column(name).to_pylist() for name in whole.column_names}


def text(*lines: str) -> io.BytesIO:
    return io.BytesIO("\n".join(lines).encode() + b"\n")


def kinds(source: Any, **options: Any) -> dict[str, str]:
    with open_table(source, **options) as table:
        return {c.name: "timestamp" if c.type.is_timestamp else c.type.datatype for c in table.columns}


def refused(source: Any, **options: Any) -> str:
    with pytest.raises(BadData) as caught:
        columns_of(source, **options)
    return caught.value.text


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of a few rows, pieces of three and a head of two, so that a few rows do what megabytes would."""
    monkeypatch.setattr(csv_reader, "_block_bytes", lambda columns: 64)
    monkeypatch.setattr(csv_reader, "_PIECE_BYTES", 160)
    monkeypatch.setattr(csv_reader, "_HEAD_BYTES", 128)


def test_types_are_found_from_the_text() -> None:
    source = text("i,f,b,t,z,s,n", "1,1.5,true,2026-01-31T12:00:00,2026-01-31T12:00:00Z,x,", "2,NaN,false,,,,")
    assert columns_of(source) == {
        "i": [1, 2],
        "f": [1.5, None],
        "b": [True, False],
        "t": [datetime(2026, 1, 31, 12), None],
        "z": [datetime(2026, 1, 31, 12), None],
        "s": ["x", None],
        "n": [None, None],
    }
    expected = {
        "i": "long",
        "f": "double",
        "b": "boolean",
        "t": "timestamp",
        "z": "timestamp",
        "s": "char",
        "n": "char",
    }
    assert kinds(source) == expected


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(
    ("late", "kind", "first", "last"),
    [
        ("7.25", "double", 0.0, 7.25),
        ("abc", "char", "0", "abc"),
        ("", "long", 0, None),
        ("NA", "long", 0, None),
        ("9223372036854775807", "long", 0, 2**63 - 1),
        ("9223372036854775808", "char", "0", "9223372036854775808"),
        ("2026-01-31", "char", "0", "2026-01-31"),
        ("true", "char", "0", "true"),
    ],
)
def test_a_column_widens_for_a_value_far_down(late: str, kind: str, first: object, last: object) -> None:
    source = text("id,x", *(f"{i},y" for i in range(500)), f"{late},y")
    found = columns_of(source)["id"]
    assert kinds(source)["id"] == kind
    assert (len(found), found[0], found[-1]) == (501, first, last)


@pytest.mark.usefixtures("small_blocks")
def test_ids_of_64_bits_never_become_doubles() -> None:
    big = 2**60 + 1
    with_gaps = text("id", *(str(big + i) for i in range(100)), "NaN", "nan")
    assert columns_of(with_gaps)["id"] == [big + i for i in range(100)] + [None, None]
    with_fractions = text("id", *(str(big + i) for i in range(100)), "0.5")
    assert columns_of(with_fractions)["id"] == [str(big + i) for i in range(100)] + ["0.5"]


def test_null_markers_are_those_documented() -> None:
    source = text("i,s", "1,NULL", "NA,NA", "--,null", "\\N,\\N", "N/A,nan", '4,""', "5,")
    assert columns_of(source) == {
        "i": [1, None, None, None, None, 4, 5],
        "s": [None, "NA", None, None, "nan", "", None],
    }


def test_quotes_line_ends_and_byte_order_marks(tmp_path: Path) -> None:
    path = tmp_path / "odd.csv"
    rows = [["id", "a,b"], ["1", 'say "hi"'], ["2", "two\nlines"], ["3", " padded "]]
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file, lineterminator="\r\n").writerows(rows)
    expected = {"id": [1, 2, 3], "a,b": ['say "hi"', "two\nlines", " padded "]}
    assert columns_of(path) == expected
    packed = tmp_path / "odd.csv.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert columns_of(packed) == expected


CELLS = st.text(st.characters(exclude_characters="\r\0", exclude_categories=["Cs"]), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=40), st.integers(16, 200))
def test_what_pythons_csv_writes_comes_back_whatever_the_blocks(rows: list[tuple[str, str]], block: int) -> None:
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(["kéy", "b"])
    # A letter in front keeps numbers and null markers text.
    writer.writerows([[f"t{a}", f"t{b}"] for a, b in rows])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_reader, "_block_bytes", lambda columns: block)
        found = columns_of(io.BytesIO(out.getvalue().encode()))
    assert list(zip(found["kéy"], found["b"], strict=True)) == [(f"t{a}", f"t{b}") for a, b in rows]


#: Words that Arrow, or this reader, may take for more than one type, beside plain ones of each.
_WORDS = ["0", "1", "2.5", "-3e5", "true", "FALSE", "NaN", "NA", "-", "", "NULL", "\\N", "x y", "1d3", "inf"]
_WORDS += ["9007199254740993", "9223372036854775808", "1e300", "2026-01-31", "2026-01-31T12:00:00Z", "12:30:00"]


@settings(max_examples=120, deadline=None)
@given(data=st.data(), threads=st.sampled_from([1, 3]), block=st.integers(16, 80))
def test_types_from_the_head_give_what_all_rows_give_or_say_that_they_do_not(
    data: st.DataObject, threads: int, block: int
) -> None:
    """A column has few different words, so that it often keeps its type, and the last rows may have others."""
    words = st.lists(st.sampled_from(_WORDS), min_size=1, max_size=3)
    columns = []
    for _ in range(2):
        usual, late = data.draw(words), data.draw(st.one_of(st.just([]), words))
        column = data.draw(st.lists(st.sampled_from(usual), min_size=4, max_size=30))
        columns.append([*column, *late])
    rows = [f"{n},{a},{b}" for n, (a, b) in enumerate(zip(*columns, strict=False))]
    source = "\n".join(["n,a,b", *rows]).encode() + b"\n"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_reader, "_block_bytes", lambda columns: block)
        patch.setattr(csv_reader, "_HEAD_BYTES", 2 * block)
        expected = columns_of(io.BytesIO(source)), kinds(io.BytesIO(source))
        try:
            found = columns_of(io.BytesIO(source), types_from_head=True, threads=threads)
        except TypesOutgrown:
            return
        assert (found, kinds(io.BytesIO(source), types_from_head=True)) == expected


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(
    ("usual", "late"),
    [("1", "1.5"), ("1", "x"), ("1.5", "9007199254740993"), ("true", "1"), ("2026-01-31", "soon"), ("1", "2026-01-31")],
)
def test_a_value_that_the_heads_types_do_not_hold_is_noticed(usual: str, late: str) -> None:
    lines = ["a,b", *[f"{usual},{n}" for n in range(100)], *[f"{late},{n}" for n in range(100, 130)]]
    with pytest.raises(TypesOutgrown):
        columns_of(text(*lines), types_from_head=True)
    assert kinds(text(*lines), types_from_head=True) != kinds(text(*lines))


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("threads", [1, 3])
def test_of_two_errors_the_one_in_the_earlier_row_is_told(threads: int) -> None:
    head = ["# %ECSV 1.0", "# ---", "# datatype:", "# - {name: a, datatype: int32}", "# - {name: b, datatype: int32}"]
    for wrong in range(1, 45):  # in blocks before that of the last row
        rows = [f"{n} {n}" for n in range(1, 60)]
        rows[wrong - 1] = f"x {wrong}"
        rows.append("1 2 3")
        with pytest.raises(BadData, match=rf"^Row {wrong}\b"):
            columns_of(text(*head, "a b", *rows), threads=threads)


@pytest.mark.usefixtures("small_blocks")
def test_rows_of_many_pieces_are_in_order() -> None:
    lines = ["n,t", *(f"{n},{'x' * (n % 90)}" for n in range(2_000))]
    found = columns_of(text(*lines), threads=3)
    assert found["n"] == list(range(2_000))
    assert [len(t or "") for t in found["t"]] == [n % 90 for n in range(2_000)]


@pytest.mark.usefixtures("small_blocks")
def test_a_column_without_values_in_the_head_is_looked_for_further_down() -> None:
    lines = ["a,b", *[f",{n}" for n in range(100)], "2.5,100"]
    assert kinds(text(*lines), types_from_head=True) == {"a": "double", "b": "long"}


@pytest.mark.usefixtures("small_blocks")
def test_rows_and_errors_are_the_same_with_threads() -> None:
    lines = ["a,b", *[f"{n},{n / 4}" for n in range(500)]]
    assert columns_of(text(*lines), threads=3, types_from_head=True) == columns_of(text(*lines))
    wrong = text(*lines, "1,2,3")
    assert refused(wrong, threads=3, types_from_head=True).startswith("Row 501: the number of fields is not")


def test_a_stray_quote_does_not_swallow_the_file() -> None:
    source = text(
        "id,note", *(f"{i},note {i}" for i in range(50)), '50,a 5" mirror', *(f"{i},n" for i in range(51, 99))
    )
    assert columns_of(source)["id"] == list(range(99))


def test_separators_and_headers_in_remarks_are_found() -> None:
    assert columns_of(text("a;b", "1;2")) == {"a": [1], "b": [2]}
    assert columns_of(text("a\tb", "1\t2"), format="tsv") == {"a": [1], "b": [2]}
    assert columns_of(text("# made by a tool", "a,b", "1,2")) == {"a": [1], "b": [2]}
    assert columns_of(text("# ra,dec", "1,2", "3,4")) == {"ra": [1, 3], "dec": [2, 4]}


def test_a_header_alone_is_a_table_without_rows() -> None:
    assert columns_of(text("a,b")) == {"a": [], "b": []}


def test_a_pipe_is_read_too() -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def seek(self, *_: Any) -> int:
            raise io.UnsupportedOperation("seek")

    assert columns_of(Pipe(b"a,b\n1,2\n"), format="csv") == {"a": [1], "b": [2]}


def test_chosen_columns_and_small_batches_join_to_the_whole() -> None:
    with open_table(text("a,b,c", *(f"{i},{i / 2},x{i}" for i in range(100)))) as table:
        batches = list(table.iter_batches(["c", "a"], batch_rows=7))
        assert batches[0].schema == arrow_schema([table.columns[2], table.columns[0]])
        assert sum(batch.num_rows for batch in table.iter_batches([])) == 100
    assert max(batch.num_rows for batch in batches) == 7
    assert pa.Table.from_batches(batches).to_pydict() == {"c": [f"x{i}" for i in range(100)], "a": list(range(100))}


def test_errors_give_the_row_and_the_way_out() -> None:
    assert refused(text("a,b", "1,2", "3,4", "5,6,7")) == (
        "Row 3: the number of fields is not the number of columns. Given: 3 fields: 5,6,7. "
        "Allowed: 2, one for each name in the header. Correct the row; a field that holds the separator must be quoted."
    )
    assert refused(text("a,b,a,c,b", "1,2,3,4,5")) == (
        "Several columns have the same name. Given: a, b. Allowed: a name for each column that no other has. "
        "Rename the columns in the file."
    )
    assert refused(text("a,,c,", "1,2,3,4")) == (
        "The header has columns without a name. Given: column 2, 4. Allowed: a name for each column. "
        "Name the columns in the file's first line; a separator at its end makes a column too many."
    )
    assert refused(text("1,2.5", "3,4")) == (
        "The file has no line of column names. Given: 1,2.5. Allowed: a first line with the names of the columns. "
        "Put the names in a line above the rows."
    )
    assert refused(io.BytesIO(b"a,b\n1,x\n2,caf\xe9\n")) == (
        "Row 2: the text is not UTF-8. Given: b'1,x\\n2,caf\\xe9\\n'. "
        "Allowed: UTF-8, with or without a byte order mark. Convert the file, with `iconv -t UTF-8` for instance."
    )
    assert refused(io.BytesIO("a,b\n1,2\n".encode("utf-16")), format="csv").startswith("The file is not UTF-8 text.")


@pytest.mark.usefixtures("small_blocks")
def test_a_line_without_end_has_a_bound() -> None:
    source = io.BytesIO(b"a,b\n1," + b"x" * 5000)
    assert refused(source, limits=ReadLimits(max_cell_bytes=1000)).startswith(
        "The CSV file has a line that is too long."
    )


@pytest.fixture
def astropy_table() -> Table:
    table = Table(meta={"name": "stars", "description": "Bright ones", "epoch": 2016.0})
    table["id"] = np.arange(4, dtype="i8") + 2**60
    table["ra"] = MaskedColumn([0.5, 1, 2, 3], mask=[0, 1, 0, 0], unit="deg", description="Right ascension")
    table["ra"].meta["ucd"] = "pos.eq.ra"
    table["s"] = MaskedColumn(["a b", "", 'q"q', "δ"], mask=[0, 0, 0, 1])
    table["b"] = [True, False, True, False]
    table["u"] = np.arange(4, dtype="u2") + 60000
    table["grid"] = np.arange(24, dtype="f4").reshape(4, 3, 2)
    table["z"] = np.arange(4) * (1 - 2j)
    ragged = np.empty(4, object)
    for i in range(4):
        ragged[i] = np.arange(i + 1, dtype="i4")
    table["ragged"] = ragged
    return table


@pytest.mark.parametrize("delimiter", [" ", ","])
def test_ecsv_keeps_types_units_and_remarks(astropy_table: Table, tmp_path: Path, delimiter: str) -> None:
    path = tmp_path / "t.ecsv"
    astropy_table.write(path, format="ascii.ecsv", delimiter=delimiter)
    found = columns_of(path)
    assert found["id"] == astropy_table["id"].tolist()
    assert found["ra"] == [0.5, None, 2.0, 3.0]
    assert found["s"] == ["a b", None, 'q"q', None]
    assert found["b"] == [True, False, True, False]
    assert found["u"] == [60000, 60001, 60002, 60003]
    assert found["grid"] == astropy_table["grid"].reshape(4, 6).tolist()
    assert found["z"] == [[v.real, v.imag] for v in astropy_table["z"]]
    assert found["ragged"] == [v.tolist() for v in astropy_table["ragged"]]
    with open_table(path) as table:
        ra = table.columns[1]
        assert (ra.unit, ra.description, ra.ucd) == ("deg", "Right ascension", "pos.eq.ra")
        assert (table.name, table.description) == ("stars", "Bright ones")
        assert "epoch: 2016.0" in table.info.comments
        assert {c.name: (c.type.datatype, c.type.arraysize) for c in table.columns}["grid"] == ("float", "2x3")


ECSV = "# %ECSV 1.0\n# ---\n# datatype:\n# - {name: a, datatype: int32}\n# - {name: s, datatype: string}\n"


def test_ecsv_errors_give_the_row() -> None:
    assert refused(io.BytesIO(f"{ECSV}a s\n1 x\nzz y\n".encode())) == (
        "Row 2: the value of column a is no int. Given: 'zz'. Allowed: an integer from -2147483648 to 2147483647. "
        "Correct the value, or the type of the column."
    )
    assert refused(io.BytesIO(f"{ECSV}a t\n1 x\n".encode())) == (
        "The ECSV header's columns are not those of the line of names. Given: a, t. Allowed: a, s. "
        "Write the file again, or correct one of the two."
    )
    assert refused(io.BytesIO(b"# %ECSV 1.0\n# ---\n# datatype: [}\na\n1\n")) == (
        "The table's YAML header can't be used. Given: line 2 of the header. Allowed: YAML as ECSV describes it. "
        "Write the file again with a tool that knows the format, such as astropy."
    )


def test_yaml_meant_to_do_harm_is_data_or_refused() -> None:
    code = "# %ECSV 1.0\n# ---\n# datatype: !!python/object/apply:os.system ['true']\na\n1\n"
    assert refused(io.BytesIO(code.encode())).startswith("The table's YAML header can't be used.")
    levels = "\n".join(f"#   l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9) if i else 'ha'}]" for i in range(12))
    bomb = f"# %ECSV 1.0\n# ---\n# datatype:\n# - {{name: a, datatype: int32}}\n# meta:\n{levels}\na\n1\n"
    with open_table(io.BytesIO(bomb.encode())) as table:
        assert sum(map(len, table.info.comments)) < 200_000
        assert [c.name for c in table.columns] == ["a"]
