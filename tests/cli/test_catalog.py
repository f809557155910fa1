"""``idac catalog`` from the command line to what it prints and the code it ends with."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from command_fixture import Run


def test_adding_a_table_says_what_was_published_and_what_its_metadata_lack(idac: Run, stars: Path) -> None:
    done = idac("catalog", "add", "stars.csv", "--name", "demo.stars", "--id", "id", "--description", "Made-up stars")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0].startswith("demo.stars: 500 rows, 6 columns, ")
    assert lines[0].endswith(", positions ra and dec")
    assert lines[1:] == [
        "  no description: id, ra, dec, mag, name, flag",
        "  no UCD: mag, name, flag",
        "  Mend these with idac catalog edit-metadata.",
    ]


def test_a_name_that_queries_must_quote_is_shown_as_they_must_write_it(idac: Run, stars: Path) -> None:
    done = idac("catalog", "add", "stars.csv", "--name", "my survey.table")
    assert (done.code, done.out.splitlines()[1]) == (0, '  in queries, write the name as "my survey"."table"')
    found = idac("query", 'SELECT COUNT(*) AS n FROM "my survey"."table"', "--format", "csv")
    assert found.out.split() == ["n", "500"]


def test_every_command_speaks_json(idac: Run, stars: Path) -> None:
    added = idac("catalog", "add", "stars.csv", "--name", "demo.stars", "--id", "id", "--json").json
    assert [(t["table"], t["rows"], t["positions"], t["id"]) for t in added] == [
        ("demo.stars", 500, ["ra", "dec"], "id")
    ]
    assert {"column": "mag", "missing": "no UCD"} in added[0]["gaps"]
    assert [t["table"] for t in idac("catalog", "list", "--json").json] == ["demo.stars"]
    described = idac("catalog", "describe", "demo.stars", "--json").json
    assert described["readable_by"] == ["public"]
    assert [c["name"] for c in described["column_list"]] == ["id", "ra", "dec", "mag", "name", "flag"]
    assert described["column_list"][1] | {"description": None} == {
        "name": "ra",
        "datatype": "double",
        "arraysize": None,
        "xtype": None,
        "unit": "deg",
        "ucd": "pos.eq.ra;meta.main",
        "utype": None,
        "description": None,
        "indexed": True,
    }
    assert idac("catalog", "check", "--json").json == {"ok": True, "tables": ["demo.stars"], "findings": []}
    replaced = idac("catalog", "replace", "stars.csv", "--name", "demo.stars", "--json").json
    assert replaced[0]["version"] != added[0]["version"]
    assert idac("catalog", "rollback", "demo.stars", "--json").json["version"] == added[0]["version"]
    assert idac("catalog", "sweep", "--json").json == {"removed": []}
    assert idac("catalog", "drop", "demo.stars", "--yes", "--json").json == {"dropped": "demo.stars", "rows": 500}
    assert idac("catalog", "list", "--json").json == []


def test_the_list_of_an_empty_archive_says_how_to_begin(idac: Run) -> None:
    assert idac("catalog", "list").out == (
        "No tables are published yet. Add one with idac catalog add FILE --name schema.table\n"
    )


def test_describe_prints_columns_and_the_felis_text(idac: Run, stars: Path) -> None:
    idac("catalog", "add", "stars.csv", "--name", "demo.stars")
    shown = idac("catalog", "describe", "demo.stars").out
    assert "pos.eq.ra;meta.main" in shown
    assert idac("catalog", "describe", "demo.stars", "--felis").out.startswith("name: demo\n")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            ["add", "none.csv", "--name", "demo.stars"],
            5,
            "There is no such file. Given: none.csv. Allowed: a file, a folder, a pattern such as 'part-*.csv', "
            "or an s3:// address. Check the name, and quote patterns so that the shell leaves them.",
        ),
        (
            ["add", ".", "--felis", "none.yaml"],
            5,
            "The Felis file can't be read. Given: none.yaml (No such file or directory). "
            "Allowed: a readable YAML file. Check the name and its permissions.",
        ),
        (["check", "nope"], 5, "There is no table nope. Allowed: none published yet. See idac catalog list."),
        (["drop", "nope"], 5, "There is no table nope. Allowed: none published yet. See idac catalog list."),
        (
            ["add", "stars.csv"],
            2,
            "The table needs a name. Allowed: schema.table. Add --name, for example --name tycho2.main.",
        ),
        (
            ["add", "stars.csv", "--name", "demo.stars", "--ra", "mag", "--dec", "decc"],
            4,
            "The table has no column for the declination of this name. Given: decc. "
            "Allowed: id, ra, dec, mag, name, flag. Did you mean dec?",
        ),
        (
            ["replace", "stars.csv", "--name", "demo.stars"],
            5,
            "There is no table demo.stars to replace. Use idac catalog add to publish a new table.",
        ),
        (
            ["describe", "demo.none"],
            5,
            "There is no table demo.none. Allowed: none published yet. See idac catalog list.",
        ),
    ],
)
def test_mistakes_are_told_in_four_parts_with_an_exit_code(
    idac: Run, stars: Path, arguments: list[str], code: int, message: str
) -> None:
    done = idac("catalog", *arguments, "--json")
    assert (done.code, done.out) == (code, "")
    assert json.loads(done.err)["error"]["message"] == message
    plain = idac("catalog", *arguments)
    assert (plain.code, " ".join(plain.err.split())) == (code, f"Error: {message}")


def test_rejected_rows_are_counted_and_kept(idac: Run, tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("ra,dec\n1,2\n3,95\n")
    done = idac("catalog", "add", "s.csv", "--name", "demo.s", "--rejects", "bad.parquet")
    assert "  written to the rejects file: 1 row without a valid position\n" in done.out
    assert pq.read_table(tmp_path / "bad.parquet").to_pylist() == [{"ra": 3, "dec": 95}]


def test_metadata_are_edited_in_the_editor_and_text_that_fails_is_kept(
    idac: Run, stars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    idac("catalog", "add", "stars.csv", "--name", "demo.stars", "--description", "Old words")
    editor = tmp_path / "editor.py"
    editor.write_text(
        "import sys, pathlib\np = pathlib.Path(sys.argv[1])\n"
        "p.write_text(p.read_text().replace(*pathlib.Path('change').read_text().split('|')))\n"
    )
    monkeypatch.setenv("EDITOR", f"{sys.executable} {editor}")
    (tmp_path / "change").write_text("Old words|New words")
    assert idac("catalog", "edit-metadata", "demo").out.startswith("The metadata of demo are published.\n")
    assert idac("catalog", "describe", "demo.stars", "--json").json["description"] == "New words"
    assert idac("catalog", "edit-metadata", "demo").out == "Nothing was changed.\n"
    (tmp_path / "change").write_text("datatype: double|datatype: doubl")
    failed = idac("catalog", "edit-metadata", "demo")
    assert failed.code == 4
    assert "Your text was kept in demo-edited.yaml" in failed.err
    assert "datatype: doubl\n" in (tmp_path / "demo-edited.yaml").read_text()
    mended = (tmp_path / "demo-edited.yaml").read_text().replace("datatype: doubl\n", "datatype: double\n")
    (tmp_path / "demo-edited.yaml").write_text(mended.replace("New words", "Newest words"))
    assert idac("catalog", "edit-metadata", "demo", "--from", "demo-edited.yaml").code == 0
    assert idac("catalog", "describe", "demo.stars", "--json").json["description"] == "Newest words"


def test_check_ends_with_an_error_where_a_file_is_gone(idac: Run, stars: Path, tmp_path: Path) -> None:
    idac("catalog", "add", "stars.csv", "--name", "demo.stars")
    assert idac("catalog", "check").out == "1 table is as published.\n"
    gone = next(p for p in tmp_path.rglob("Npix=*.parquet") if "arcs" not in str(p))
    gone.unlink()
    done = idac("catalog", "check", "demo.stars", "--quick")
    assert done.code == 4
    assert done.out.endswith(
        f"dataset/{gone.relative_to(next(p for p in gone.parents if p.name == 'dataset'))}: missing\n"
    )
    assert "1 thing is not as published in demo.stars." in done.err
    assert idac("catalog", "check", "--json").json["ok"] is False


def test_a_folder_with_felis_is_a_whole_schema(idac: Run, tmp_path: Path) -> None:
    folder = tmp_path / "survey"
    folder.mkdir()
    pq.write_table(pa.table({"n": np.arange(5)}), folder / "a.parquet")
    pq.write_table(pa.table({"n": np.arange(7)}), folder / "b.parquet")
    columns = "  columns:\n  - {name: n, datatype: long}\n"
    (folder / "s.yaml").write_text(f"name: survey\ntables:\n- name: A\n{columns}- name: B\n{columns}")
    done = idac("catalog", "add", "survey", "--felis", "survey/s.yaml", "--json")
    assert [(t["table"], t["rows"]) for t in done.json] == [("survey.A", 5), ("survey.B", 7)]
    again = idac("catalog", "add", "survey", "--felis", "survey/s.yaml", "--name", "copy", "--json")
    assert [t["table"] for t in again.json] == ["copy.A", "copy.B"]
