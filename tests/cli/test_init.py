"""``idac init``: what a newcomer gets, and that nothing of theirs is lost."""

from __future__ import annotations

from pathlib import Path

from command_fixture import Run
from idac.cli.init import template
from idac.core.loading import load_settings
from idac.wiring.settings import DacSettings


def test_a_new_folder_has_a_commented_file_that_is_valid_as_it_stands(idac: Run, tmp_path: Path) -> None:
    done = idac("init", "mydac")
    assert (done.code, done.err) == (0, "")
    assert done.out == (
        "Wrote mydac/dac.yaml. Next:\n  cd mydac && idac catalog add TABLE --name SCHEMA.TABLE\n  idac up\n"
    )
    loaded = load_settings(DacSettings, tmp_path / "mydac" / "dac.yaml")
    assert loaded.settings.centre.title == "My Data Access Centre"
    assert loaded.settings.catalogs.default_read == ["public"]
    assert (tmp_path / "mydac" / ".gitignore").read_text().splitlines()[1:] == [
        "secrets/",
        "archive/",
        "results/",
        "state.db*",
    ]


def test_every_key_that_is_written_has_a_comment_above_it() -> None:
    lines = template().splitlines()
    keys = [number for number, line in enumerate(lines) if line.startswith("  ") and not line.startswith("  #")]
    assert len(keys) == 9
    assert all(lines[number - 1].startswith("  # ") for number in keys)
    assert max(map(len, lines)) <= 120


def test_what_is_said_of_reading_is_so_of_the_line_below_it() -> None:
    assert template().splitlines()[-3:] == [
        "  # Groups that may read whatever neither 'read' nor a data right names; 'public' is everyone. Without this "
        "line",
        "  # only administrators may, so that a forgotten rule hides data and never shows it.",
        "  default_read: [public]",
    ]


def test_here_is_the_default_and_the_next_step_says_so(idac: Run, tmp_path: Path) -> None:
    (tmp_path / "dac.yaml").unlink()
    done = idac("init")
    assert done.out == "Wrote dac.yaml. Next:\n  idac catalog add TABLE --name SCHEMA.TABLE\n  idac up\n"


def test_a_file_that_is_there_is_left_alone(idac: Run, tmp_path: Path) -> None:
    before = (tmp_path / "dac.yaml").read_bytes()
    done = idac("init")
    assert (done.code, done.out) == (7, "")
    assert done.err == (
        "Error: There is a configuration here already. Given: dac.yaml. Edit it, or name another folder. "
        "Nothing was changed.\n"
    )
    assert (tmp_path / "dac.yaml").read_bytes() == before
    ignore = tmp_path / "other" / ".gitignore"
    ignore.parent.mkdir()
    ignore.write_text("mine\n")
    assert idac("init", "other", "--json").json == {"file": "other/dac.yaml"}
    assert ignore.read_text() == "mine\n"


def test_a_folder_that_cannot_be_made_is_refused(idac: Run) -> None:
    done = idac("init", "dac.yaml/sub")
    assert done.code == 2
    assert done.err == (
        "Error: The folder can't be written to. Given: dac.yaml/sub: Not a directory. "
        "Allowed: a folder of yours, or the name of a new one. Name another folder.\n"
    )


def test_what_init_writes_carries_a_table_from_file_to_answer(idac: Run, stars: Path) -> None:
    idac("init", "mydac")
    config = ("--config", "mydac/dac.yaml")
    assert idac(*config, "catalog", "add", "stars.csv", "--name", "demo.stars").code == 0
    done = idac(*config, "query", "SELECT COUNT(*) AS n FROM demo.stars", "--format", "csv")
    assert (done.code, done.out) == (0, "n\r\n500\r\n")
