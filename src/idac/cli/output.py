"""What the command prints: tables, JSON, progress, errors. Results go to stdout, everything else to stderr."""

from __future__ import annotations

import json
import re
import secrets
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NoReturn, Protocol

import click
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn, TimeElapsedColumn
from rich.table import Column, Table
from rich.text import Text

from idac.core.errors import Cancelled, Position, UserError

#: What a terminal would obey instead of showing: data and file names may hold anything.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
#: Characters of a value that a table for people shows; --json and -o have all of them.
_CELL_SHOWN = 1000
#: A pipe has no width, and programs that read tables want a row in a line.
_PIPE_WIDTH = 1_000_000
_LINE_SHOWN = 100
#: Characters between two columns, and what the last is worth showing with.
_GAP, _LAST_COLUMN_LEAST = 3, 24
#: Seconds between lines of progress where there is no terminal to draw a bar on.
_LINE_EVERY_S = 10.0


def print_json(value: object, file: IO[str] | None = None) -> None:
    """*value* as indented JSON on stdout."""
    (file or sys.stdout).write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


def counted(number: int, noun: str) -> str:
    """``1 row``, ``7,711 rows``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def print_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Rows under a header; on a terminal too narrow for them, each row as a list of its values.

    The last column alone may be wrapped. Where stdout is no terminal, each row is one line.
    """
    console = Console(file=sys.stdout, soft_wrap=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH)
    texts = [[_cell(value) for value in row] for row in rows]
    names = [_cell(name) for name in header]
    widths = [max(cell.cell_len for cell in column) for column in zip(names, *texts, strict=True)]
    least = sum(widths[:-1]) + min(widths[-1], _LAST_COLUMN_LEAST) + _GAP * len(widths)
    if least <= console.width or not texts:
        console.print(_table(names, texts))
        return
    for number, row in enumerate(texts, 1):
        if number > 1:
            console.print()
        console.print(_table([Text(f"row {number}"), Text()], zip(names, row, strict=True)))


def _table(header: Sequence[Text], rows: Iterable[Sequence[Text]]) -> Table:
    # Header and cells are Text, since rich would take a unit in brackets for one of its own marks.
    columns = [Column(name, no_wrap=index < len(header) - 1, overflow="fold") for index, name in enumerate(header)]
    table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for row in rows:
        table.add_row(*row)
    return table


def _cell(value: object) -> Text:
    text = "" if value is None else str(value)
    if len(text) > _CELL_SHOWN:
        text = f"{text[:_CELL_SHOWN]}… ({len(text):,} characters)"
    return Text(_CONTROL.sub(" ", text))


def fail(error: UserError, *, as_json: bool) -> NoReturn:
    """Print an error of the caller's, and end with its exit code."""
    if as_json:
        print_json(error_json(error), sys.stderr)
    else:
        _print_error("\n".join(_CONTROL.sub(" ", line) for line in error.text.splitlines()))
    sys.exit(error.exit_code)


def error_json(error: UserError) -> dict[str, object]:
    """An error's parts, for programs; where it stands for several, ``all`` has the parts of each."""
    several = [_parts(one) for one in getattr(error, "errors", ())]
    return {"error": _parts(error) | ({"all": several} if several else {})}


def _parts(error: UserError) -> dict[str, object]:
    place = error.position
    return {
        "code": error.code,
        "message": error.text,
        "what": error.what,
        "value": error.value,
        "allowed": error.allowed,
        "next_step": error.next_step,
        "line": place.line if place else None,
        "column": place.column if place else None,
        "file": place.file if place else None,
    }


def fail_usage(error: click.ClickException, *, as_json: bool) -> NoReturn:
    """Print what is wrong with the command line itself, and end with exit code 2."""
    hint = _usage_hint(error)
    if as_json:
        print_json(error_json(UserError(error.format_message(), next_step=hint)), sys.stderr)
    else:
        error.show()
        if hint:
            click.echo(hint, err=True)
    sys.exit(UserError.exit_code)


def _usage_hint(error: click.ClickException) -> str | None:
    if isinstance(error, click.NoSuchOption) and error.option_name in ("--config", "--env", "--debug"):
        return f"{error.option_name} belongs to idac itself: write it before the command, as in idac --env prod up."
    return None


def fail_stopped(*, as_json: bool) -> NoReturn:
    """Say that Ctrl-C, or a question without an answer, ended the command."""
    error = Cancelled("The command was stopped.")
    if as_json:
        print_json(error_json(error), sys.stderr)
    else:
        click.echo("Stopped.", err=True)
    sys.exit(error.exit_code)


def report_fault(error: BaseException, *, as_json: bool) -> None:
    """Write a fault's traceback to a file of its own, and say which."""
    number = secrets.token_hex(4)
    path = Path(tempfile.gettempdir()) / f"idac-fault-{number}.log"
    path.touch(mode=0o600)
    path.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    what = f"Something went wrong inside idac (fault {number}). This is a defect, not a mistake of yours."
    next_step = f"Please report it with the file {path}, or run again with --debug."
    if as_json:
        parts = {"code": "fault", "message": f"{what} {next_step}", "what": what, "next_step": next_step}
        print_json({"error": {**parts, "fault": number, "log": str(path)}}, sys.stderr)
    else:
        _print_error(f"{what} {next_step}")


def _print_error(text: str) -> None:
    console = Console(file=sys.stderr, soft_wrap=True, highlight=False)
    console.print(Text.assemble(("Error: ", "bold red"), text))


@contextmanager
def pointing_into(text: str, *, as_json: bool) -> Iterator[None]:
    """Before an error that has a place in *text* is told, show its line with a mark below the place."""
    try:
        yield
    except UserError as error:
        if not as_json and error.position is not None and error.position.file is None:
            _point_at(text, error.position)
        raise


def _point_at(text: str, place: Position) -> None:
    lines = text.splitlines()
    line = _CONTROL.sub(" ", lines[place.line - 1]) if place.line <= len(lines) else ""
    if not line.strip():
        return
    start = max(0, place.column - 60)
    click.echo(f"  {line[start : start + _LINE_SHOWN]}\n  {' ' * (place.column - 1 - start)}^", err=True)


class Meter(Protocol):
    """Long work tells how far it is."""

    def update(self, done: int, total: int | None = None, what: str | None = None) -> None:
        """*done* rows of *total* so far; *what* names the step, such as "reading"."""
        ...


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        rate = task.finished_speed or task.speed
        return Text(f"{_count(rate)} rows/s" if rate else "")


class _Rows(ProgressColumn):
    def render(self, task: Task) -> Text:
        total = f" of {task.total:,.0f}" if task.total else ""
        return Text(f"{task.completed:,.0f}{total} rows")


def _count(value: float) -> str:
    for factor, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:.1f} {suffix}"
    return f"{value:.0f} "


class _Bar:
    def __init__(self, progress: Progress, label: str) -> None:
        self._progress, self._label = progress, label
        self._task = progress.add_task(label, total=None)

    def update(self, done: int, total: int | None = None, what: str | None = None) -> None:
        label = f"{self._label}: {what}" if what else self._label
        self._progress.update(self._task, completed=done, total=total, description=label)


class _Lines:
    """A line now and then, for logs."""

    def __init__(self, label: str) -> None:
        self._label, self._begun, self._next = label, time.monotonic(), time.monotonic() + _LINE_EVERY_S
        self._step: str | None = None

    def update(self, done: int, total: int | None = None, what: str | None = None) -> None:
        now = time.monotonic()
        if what != self._step:
            self._step, self._begun = what, now
        if now < self._next:
            return
        self._next = now + _LINE_EVERY_S
        share = f" of {total:,}" if total else ""
        rate = _count(done / max(now - self._begun, 0.1))
        sys.stderr.write(f"{self._label}{f': {what}' if what else ''} {done:,}{share} rows, {rate} rows/s\n")


@contextmanager
def progress(label: str) -> Iterator[Meter]:
    """A progress bar with rows and rate on a terminal's stderr, lines now and then elsewhere; none without a label."""
    if not label or not sys.stderr.isatty():
        yield _Lines(label)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        _Rows(),
        _Rate(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(file=sys.stderr), transient=True) as bar:
        yield _Bar(bar, label)
