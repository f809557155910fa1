"""``idac query``: answers on the terminal, in a file and in a pipe, and what it says of a query that can't run."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from astropy.table import Table

from command_fixture import Run
from idac.tables.formats import FORMATS
from services.idac_process import IDAC

_ASTROPY = {"csv": "ascii.csv"}
ALL = "SELECT id, ra, mag, name FROM demo.stars ORDER BY id"


def test_an_answer_has_names_units_and_readable_numbers(centre: Run) -> None:
    done = centre("query", ALL)
    assert done.code == 0, done.err
    assert next(line.split() for line in done.out.splitlines() if line.strip()) == (
        ["id", "ra", "[deg]", "mag", "[mag]", "name"]
    )
    rows = [line.split() for line in done.out.splitlines() if line.strip()][2:]
    # 32-bit numbers show the digits they have; marks and terminal codes in data are shown, not obeyed.
    assert rows == [
        ["1", "10.5", "6.474", "alpha"],
        ["2", "56.7500000001", "[red]", "[31mbeta[/red]"],
        ["3", "300", "1.5"],
    ]
    assert done.err == "3 rows\n"


def test_more_rows_than_a_screen_has_are_cut_and_said_to_be(centre: Run) -> None:
    done = centre("query", ALL, "--max-rows", "1")
    assert done.err == "1 row; there are more, see --max-rows and --output\n"
    many = "SELECT a.id FROM demo.stars a, demo.stars b, demo.stars c, demo.stars d"
    assert centre("query", many).err == "50 rows; there are more, see --max-rows and --output\n"


def test_an_answer_of_no_rows_still_shows_its_columns(centre: Run) -> None:
    done = centre("query", "SELECT id FROM demo.stars WHERE id > 9")
    assert done.out.split()[0] == "id"
    assert done.err == "0 rows\n"


def test_json_is_rows_with_their_metadata(centre: Run) -> None:
    answer = centre("query", ALL, "--json").json
    assert [column["name"] for column in answer["metadata"]] == ["id", "ra", "mag", "name"]
    assert {key: answer["metadata"][1][key] for key in ("datatype", "unit", "ucd")} == {
        "datatype": "double",
        "unit": "deg",
        "ucd": "pos.eq.ra;meta.main",
    }
    assert answer["data"][0] == [1, 10.5, 6.474, "alpha"]
    assert answer["data"][1][:3] == [2, 56.750000000123, None]


@pytest.mark.parametrize(
    ("ending", "name"),
    [("parquet", "parquet"), ("fits", "fits"), ("csv", "csv"), ("vot", "votable"), ("xml", "votable")],
)
def test_the_ending_of_the_file_chooses_its_format(centre: Run, tmp_path: Path, ending: str, name: str) -> None:
    file = tmp_path / f"out.{ending}"
    done = centre("query", ALL, "-o", str(file))
    assert (done.code, done.out, done.err) == (0, "", f"{file}: 3 rows, {FORMATS[name].description}\n")
    # astropy can't read texts with NULLs from Parquet.
    ids = pq.read_table(file)["id"] if name == "parquet" else Table.read(file, format=_ASTROPY.get(name, name))["id"]
    assert [int(str(value)) for value in ids] == [1, 2, 3]


def test_an_explicit_format_wins_and_json_tells_what_was_written(centre: Run, tmp_path: Path) -> None:
    file = tmp_path / "out.dat"
    done = centre("query", ALL, "--format", "parquet", "-o", str(file), "--max-rows", "2", "--json")
    assert done.json == {"file": str(file), "rows": 2, "format": "parquet", "cut": True}
    assert pq.read_table(file)["id"].to_pylist() == [1, 2]
    plain = centre("query", ALL, "--format", "parquet", "-o", str(file), "--max-rows", "2")
    assert plain.err == (
        f"{file}: 2 rows, Parquet, with VOTable metadata (VOParquet 1.0), cut at the row limit (--max-rows)\n"
    )


def test_a_query_may_come_from_standard_input(centre: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xef\xbb\xbfSELECT id\nFROM demo.stars")))
    assert sorted(centre("query", "-", "--format", "csv").out.split()) == ["1", "2", "3", "id"]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"SELECT \xff")))
    done = centre("query", "-")
    assert (done.code, done.err) == (
        2,
        "Error: The query is not UTF-8 text. Given: standard input. Allowed: UTF-8. Convert it to UTF-8.\n",
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("SELECT id FRM demo.stars",),
            "line 1, column 15: The query can't be understood here. Given: demo. Allowed: a comma, AS or FROM.",
        ),
        (
            ("SELECT idd FROM demo.stars",),
            "line 1, column 8: There is no column of this name in the tables of this query. Given: idd. "
            "Did you mean id?",
        ),
        (
            ("SELECT id FROM demo.starz",),
            "line 1, column 16: There is no table of this name. Given: demo.starz. Did you mean demo.stars?",
        ),
        (
            (ALL, "--format", "xls"),
            "There is no such format. Given: xls. "
            "Allowed: votable, votable/b2, votable/td, parquet, fits, csv, tsv, json, arrow. "
            "Give one of these with --format, or leave it out and name the file with --output.",
        ),
        (
            (ALL, "-o", "out.xls"),
            "The ending of the output file names no format. Given: out.xls. "
            "Allowed: .arrow, .csv, .fits, .json, .parquet, .tsv, .vot. Give the format with --format.",
        ),
        (
            (ALL, "-o", "nosuch/out.csv"),
            "The output file can't be written. Given: nosuch/out.csv: No such file or directory. "
            "Allowed: a file in a folder that exists and may be written to. Make the folder, or name another file.",
        ),
        (
            (ALL, "--format", "csv", "-o", "archive"),
            "The output file can't be written. Given: archive: it is a folder. Allowed: a file. Name a file in it.",
        ),
        (
            ("dac.yaml",),
            "This is the name of a file, not a query. Given: dac.yaml. "
            "Allowed: the text of a query, or - to read it from standard input. "
            "Read the query from the file: idac query - < dac.yaml",
        ),
    ],
)
def test_what_cannot_be_done_is_said_in_full(centre: Run, arguments: tuple[str, ...], message: str) -> None:
    done = centre("query", *arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.endswith(f"Error: {message}\n")
    told = centre("query", *arguments, "--json")
    assert (told.code, told.out, told.error["message"]) == (2, "", message)


def test_an_error_points_into_the_line_it_is_in(centre: Run) -> None:
    done = centre("query", "SELECT ra,\n\tdecc\nFROM demo.stars")
    assert done.err.splitlines()[:2] == ["   decc", "   ^"]
    long = f"SELECT {', '.join(['ra'] * 80)}, decc, {', '.join(['ra'] * 80)} FROM demo.stars"
    line, mark = centre("query", long).err.splitlines()[:2]
    assert line[mark.index("^") :].startswith("decc, ra")
    assert len(line) <= 102


def test_nothing_is_left_where_writing_fails(centre: Run, tmp_path: Path) -> None:
    file = tmp_path / "old.csv"
    file.write_text("old")
    assert centre("query", "SELECT 1/0.0 AS x, nosuch FROM demo.stars", "-o", str(file)).code == 2
    assert [p.name for p in tmp_path.iterdir()] == ["old.csv"]
    assert file.read_text() == "old"


def run_process(folder: Path, *arguments: str, stdout: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([IDAC, *arguments], cwd=folder, stdout=stdout, stderr=subprocess.PIPE)


ENDLESS = "SELECT a.id, b.ra, c.dec FROM " + ", ".join(f"demo.stars {name}" for name in "abcdefghijklmnop")


def test_a_reader_that_has_seen_enough_is_no_error(centre_folder: Path) -> None:
    process = run_process(centre_folder, "query", ENDLESS, "--format", "csv", stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"id,ra,dec\r\n"
    process.stdout.close()
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, b"")


def test_ctrl_c_stops_a_query(centre_folder: Path) -> None:
    process = run_process(centre_folder, "query", ENDLESS, "--format", "csv", stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"id,ra,dec\r\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err.split()) == (130, [b"Stopped."])


@pytest.mark.parametrize("module", ["pyarrow", "numpy", "sqlglot"])
def test_ctrl_c_while_modules_are_loaded_is_no_fault(centre_folder: Path, tmp_path: Path, module: str) -> None:
    """An import that is interrupted raises whatever it likes; here a module of that name does."""
    (tmp_path / f"{module}.py").write_text(
        "import signal\ntry:\n    signal.raise_signal(signal.SIGINT)\n"
        "except KeyboardInterrupt:\n    raise TypeError('half a module') from None\n"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    process = subprocess.Popen(
        [IDAC, "query", "SELECT 1"], cwd=centre_folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out.decode(), err.decode()) == (130, "", "Stopped.\n")


def test_a_full_disk_is_said_to_be_one(centre_folder: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        process = run_process(centre_folder, "query", ALL, "--format", "csv", stdout=full.fileno())
        _, err = process.communicate(timeout=60)
        assert process.returncode == 8
        assert err.decode() == (
            "Error: The result can't be written. Given: No space left on device. "
            "Free some disk space, or write elsewhere.\n"
        )
        process = run_process(centre_folder, "config", "show", "--json", stdout=full.fileno())
        _, err = process.communicate(timeout=60)
        assert process.returncode == 8
        assert json.loads(err)["error"]["message"] == (
            "There is no room left to write to. Given: No space left on device. "
            "Free some disk space, or write elsewhere."
        )
