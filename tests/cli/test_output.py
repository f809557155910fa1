"""What the command prints: on terminals wide and narrow, with and without colour, in pipes, and when it fails."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from command_fixture import Run, command_runner
from idac.cli import main as command
from idac.cli import output
from idac.core.errors import BadConfiguration, NotFound, Position
from services.idac_process import IDAC


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Callable[[], str]]:
    """Makes stdout and stderr a real terminal of so many columns; what was shown on it can then be asked for once."""

    def make(columns: int) -> Callable[[], str]:
        ours, theirs = pty.openpty()
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", str(columns))
        file = os.fdopen(theirs, "w", encoding="utf-8")
        monkeypatch.setattr(sys, "stdout", file)
        monkeypatch.setattr(sys, "stderr", file)

        def shown() -> str:
            file.flush()
            parts = []
            file.write("\x04end")
            file.flush()
            while not "".join(parts).endswith("\x04end"):
                parts.append(os.read(ours, 65536).decode())
            file.close()
            os.close(ours)
            return "".join(parts).removesuffix("\x04end").replace("\r\n", "\n")

        return shown

    return make


HEADER = ["id", "ra [deg]", "description"]
ROWS = [[1, "10.5", "a star of some renown that has a long story"], [2, None, "another"]]


def test_a_pipe_gets_each_row_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table(HEADER, [*ROWS, [3, "x" * 300, "y" * 300]])
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert len(lines) == 5
    assert lines[0].split() == ["id", "ra", "[deg]", "description"]
    assert f"{'x' * 300}   {'y' * 300}" in lines[4]


def test_a_value_without_end_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table(["name"], [["x" * 20_000_000]])
    assert capsys.readouterr().out.split()[-3:] == ["x" * 1000 + "…", "(20,000,000", "characters)"]


def test_a_terminal_wraps_the_last_column_alone(terminal: Callable[[int], Callable[[], str]]) -> None:
    shown = terminal(50)
    output.print_table(HEADER, ROWS)
    text = strip_style(shown())
    assert [line.rstrip() for line in text.splitlines() if line.strip()] == [
        "id   ra [deg]   description",
        "─" * 50,
        "1    10.5       a star of some renown that has a",
        "                long story",
        "2               another",
    ]


def test_a_narrow_terminal_gets_a_list_for_each_row(terminal: Callable[[int], Callable[[], str]]) -> None:
    shown = terminal(30)
    output.print_table(HEADER, ROWS)
    lines = [line.rstrip() for line in strip_style(shown()).splitlines() if line.strip()]
    assert lines[0] == "row 1"
    assert lines[2:4] == ["id            1", "ra [deg]      10.5"]
    assert lines[4].startswith("description   a star of some")
    assert "row 2" in lines
    assert max(map(len, lines)) <= 30


def test_colour_is_for_terminals_and_no_color_turns_it_off(
    terminal: Callable[[int], Callable[[], str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def told() -> None:
        with pytest.raises(SystemExit):
            output.fail(NotFound("There is no such thing.", value="[red]x\x1b[31m"), as_json=False)

    told()
    assert capsys.readouterr().err == "Error: There is no such thing. Given: [red]x [31m.\n"
    with monkeypatch.context():
        shown = terminal(80)
        told()
        assert shown() == "\x1b[1;31mError: \x1b[0mThere is no such thing. Given: [red]x [31m.\n"
    monkeypatch.setenv("NO_COLOR", "1")
    shown = terminal(80)
    told()
    assert "31m" not in shown().replace(" [31m.", "")


def strip_style(text: str) -> str:
    for style in ("\x1b[1m", "\x1b[0m"):
        text = text.replace(style, "")
    return text


def test_an_error_is_json_with_all_its_parts() -> None:
    error = BadConfiguration(
        "x is wrong.", value=1, allowed="2", next_step="Correct it.", position=Position(3, 4, "dac.yaml")
    )
    assert output.error_json(error) == {
        "error": {
            "code": "bad-configuration",
            "message": "dac.yaml, line 3, column 4: x is wrong. Given: 1. Allowed: 2. Correct it.",
            "what": "x is wrong.",
            "value": "1",
            "allowed": "2",
            "next_step": "Correct it.",
            "line": 3,
            "column": 4,
            "file": "dac.yaml",
        }
    }


@pytest.mark.parametrize(
    ("arguments", "usage", "message", "hint"),
    [
        (
            ("explian", "x"),
            "idac [OPTIONS] COMMAND [ARGS]...",
            "No such command 'explian'. Did you mean 'explain'?",
            None,
        ),
        (
            ("catalog", "lst"),
            "idac catalog [OPTIONS] COMMAND [ARGS]...",
            "No such command 'lst'. Did you mean 'list'?",
            None,
        ),
        (("query",), "idac query [OPTIONS] ADQL", "Missing argument 'ADQL'.", None),
        (
            ("config", "show", "--env", "prod"),
            "idac config show [OPTIONS]",
            "No such option '--env'.",
            "--env belongs to idac itself: write it before the command, as in idac --env prod up.",
        ),
    ],
)
def test_a_wrong_command_line_is_told_for_people_and_programs(
    idac: Run, arguments: tuple[str, ...], usage: str, message: str, hint: str | None
) -> None:
    done = idac(*arguments)
    help_for = usage.split(" [")[0]
    text = f"Usage: {usage}\nTry '{help_for} --help' for help.\n\nError: {message}\n"
    assert (done.code, done.out, done.err) == (2, "", text + (f"{hint}\n" if hint else ""))
    told = idac(*arguments, "--json")
    assert (told.code, told.out) == (2, "")
    assert (told.error["code"], told.error["what"], told.error["next_step"]) == ("usage", message, hint)


def test_a_defect_is_told_apart_from_a_mistake_and_its_traceback_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "broken.py").write_text("raise ValueError('secret')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(output.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setitem(command.COMMANDS, "init", ("broken", "It breaks."))
    run = command_runner(monkeypatch, capsys)
    done = run("init")
    (log,) = tmp_path.glob("idac-fault-*.log")
    number = log.stem.removeprefix("idac-fault-")
    message = (
        f"Something went wrong inside idac (fault {number}). This is a defect, not a mistake of yours. "
        f"Please report it with the file {log}, or run again with --debug."
    )
    assert (done.code, done.out, done.err) == (70, "", f"Error: {message}\n")
    assert log.read_text().endswith("ValueError: secret\n")
    assert log.stat().st_mode & 0o777 == 0o600
    log.unlink()
    told = run("init", "--json")
    assert (told.code, told.error["code"]) == (70, "fault")
    assert Path(told.error["log"]).read_text().endswith("ValueError: secret\n")


def test_a_question_that_nobody_answers_changes_nothing(
    idac: Run, stars: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    idac("catalog", "add", "stars.csv", "--name", "demo.stars")
    with Path(os.devnull).open() as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        done = idac("catalog", "drop", "demo.stars")
    assert (done.code, done.out) == (130, "")
    assert done.err == (
        "Take down demo.stars with 500 rows? [y/N]: \n"
        "Error: Nothing was changed, for nobody said yes. Answer y, or give --yes in scripts.\n"
    )
    assert [table["table"] for table in idac("catalog", "list", "--json").json] == ["demo.stars"]


def test_help_names_every_command_and_imports_none_of_them(idac: Run) -> None:
    done = idac("--help")
    assert done.code == 0
    shown = done.out.split("Commands:\n")[1]
    assert [line.split()[0] for line in shown.splitlines()] == list(command.COMMANDS)
    for name in command.COMMANDS:
        assert idac(name, "--help").code == 0


def test_lines_of_progress_have_rows_and_rate(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    times = iter([0.0, 0.0, 4.0, 14.0])
    monkeypatch.setattr(output, "time", SimpleNamespace(monotonic=lambda: next(times)))
    with output.progress("adding") as meter:
        meter.update(0, 4_000_000, "reading")
        meter.update(2_500_000, 4_000_000, "reading")
    assert capsys.readouterr().err == "adding: reading 2,500,000 of 4,000,000 rows, 250.0 k rows/s\n"


def test_a_bar_of_progress_has_rows_and_rate(terminal: Callable[[int], Callable[[], str]]) -> None:
    shown = terminal(120)
    with output.progress("adding") as meter:
        meter.update(1_000, 4_000, "reading [x]")
    text = shown()
    assert "adding: reading [x]" in text
    assert "1,000 of 4,000 rows" in text


def test_what_libraries_warn_of_is_shown_to_nobody(tmp_path: Path) -> None:
    (tmp_path / "dac.yaml").write_text("")
    # astropy warns of a folder of settings that is not there.
    surroundings = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path / "nosuch")}
    done = subprocess.run([IDAC, "catalog", "list"], cwd=tmp_path, env=surroundings, capture_output=True, check=True)
    assert done.stderr == b""
