"""``idac adql check``: is it ADQL, does it fit the tables, and where does it not."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from command_fixture import Run


def test_a_valid_query_names_its_columns(centre: Run, tmp_path: Path) -> None:
    file = tmp_path / "q.adql"
    file.write_text("SELECT id, mag * 2 AS twice FROM demo.stars")
    assert centre("adql", "check", str(file)).out == "This is a valid query of 2 columns: id, twice.\n"
    assert centre("adql", "check", str(file), "--json").json == {"ok": True, "columns": ["id", "twice"]}


def test_the_grammar_alone_needs_no_tables_and_no_configuration(
    idac: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dac.yaml").unlink()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"SELECT anything FROM nowhere")))
    assert idac("adql", "check", "--grammar-only", "-").out == "This is valid ADQL 2.1.\n"
    (tmp_path / "q.adql").write_text("SELECT anything FROM nowhere")
    assert idac("adql", "check", "--grammar-only", "q.adql", "--json").json == {"ok": True, "columns": None}
    assert idac("adql", "check", "q.adql").err == (
        "Error: There is no configuration file here. Given: dac.yaml. "
        "Run idac init to write one, or name another with --config.\n"
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "SELECT a FROM t LIMIT 5",
            "  SELECT a FROM t LIMIT 5\n"
            "                  ^\n"
            "Error: line 1, column 17: The query can't be understood here. Given: LIMIT. "
            "Allowed: the end of the query. ADQL has no LIMIT; write SELECT TOP n … instead.\n",
        ),
        (
            "SELECT a,\n\tb::int\nFROM t",
            "   b::int\n"
            "    ^\n"
            "Error: line 2, column 3: This character does not begin anything that ADQL knows. Given: :. "
            "Write CAST(value AS type) instead of value::type; ADQL has no parameters.\n",
        ),
        (
            "",
            "Error: line 1, column 1: The query is empty. Given: the end of the query. "
            "Write, for example, SELECT TOP 5 * FROM a_table.\n",
        ),
        (
            "DROP TABLE t",
            "  DROP TABLE t\n"
            "  ^\n"
            "Error: line 1, column 1: This is not a query. Given: DROP. Allowed: SELECT …. "
            "Queries only read: begin with SELECT or WITH.\n",
        ),
    ],
)
def test_an_error_is_pointed_at_with_a_hint(idac: Run, tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "q.adql").write_text(text)
    done = idac("adql", "check", "--grammar-only", "q.adql")
    assert (done.code, done.out, done.err) == (2, "", told)
    error = idac("adql", "check", "--grammar-only", "q.adql", "--json").error
    assert told.endswith(f"Error: {error['message']}\n")
    assert f"line {error['line']}, column {error['column']}: " in told


@pytest.mark.parametrize(
    ("file", "code", "message"),
    [
        (
            "SELECT 1",
            5,
            "The query can't be read. Given: SELECT 1: No such file or directory. "
            "Allowed: a file, or - for standard input. To check a text itself: echo 'SELECT …' | idac adql check -",
        ),
        (
            ".",
            4,
            "The query can't be read. Given: .: Is a directory. "
            "Allowed: a file, or - for standard input. To check a text itself: echo 'SELECT …' | idac adql check -",
        ),
        ("latin.adql", 4, "The query is not UTF-8 text. Given: latin.adql. Allowed: UTF-8. Save the file as UTF-8."),
    ],
)
def test_a_file_that_cannot_be_read_is_told(idac: Run, tmp_path: Path, file: str, code: int, message: str) -> None:
    (tmp_path / "latin.adql").write_bytes("SELECT 'é' FROM t".encode("latin-1"))
    done = idac("adql", "check", file)
    assert (done.code, done.out, done.err) == (code, "", f"Error: {message}\n")
