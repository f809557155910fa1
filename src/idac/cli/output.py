"""What the command prints: tables, JSON, progress, errors. Results go to stdout, everything else to stderr."""

from __future__ import annotations

import json
import secrets
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NoReturn, Protocol

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from idac.core.errors import UserError

#: Seconds between lines of progress where there is no terminal to draw a bar on.
_LINE_EVERY_S = 10.0


def print_json(value: object, file: IO[str] | None = None) -> None:
    """*value* as indented JSON on stdout."""
    (file or sys.stdout).write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


def print_table(header: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None) -> None:
    """Rows under a header, as wide as the terminal; plain columns where stdout is no terminal."""
    console = Console(file=sys.stdout, soft_wrap=False, width=None if sys.stdout.isatty() else 160)
    table = Table(*header, title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, expand=False)
    for row in rows:
        table.add_row(*(Text("" if value is None else str(value)) for value in row))
    console.print(table)


def fail(error: UserError, *, as_json: bool) -> NoReturn:
    """Print an error of the caller's, and end with its exit code."""
    if as_json:
        print_json(error_json(error), sys.stderr)
    else:
        console = Console(file=sys.stderr, soft_wrap=True, highlight=False)
        console.print(Text("Error: ", style="bold red") + Text(error.text))
    sys.exit(error.exit_code)


def error_json(error: UserError) -> dict[str, object]:
    """An error's parts, for programs."""
    place = error.position
    return {
        "error": {
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
    }


def report_fault(error: BaseException) -> None:
    """Write a fault's traceback to a file of its own, and say which."""
    number = secrets.token_hex(4)
    path = Path(tempfile.gettempdir()) / f"idac-fault-{number}.log"
    path.touch(mode=0o600)
    path.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    sys.stderr.write(
        f"Error: something went wrong inside idac (fault {number}). This is a defect, not a mistake of yours. "
        f"Please report it with the file {path}, or run again with --debug.\n"
    )


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

    def update(self, done: int, total: int | None = None, what: str | None = None) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _LINE_EVERY_S
        share = f" of {total:,}" if total else ""
        rate = _count(done / max(now - self._begun, 1e-9))
        sys.stderr.write(f"{self._label}{f': {what}' if what else ''} {done:,}{share} rows, {rate} rows/s\n")


@contextmanager
def progress(label: str) -> Iterator[Meter]:
    """A progress bar with rows and rate on a terminal's stderr, lines now and then elsewhere."""
    if not sys.stderr.isatty():
        yield _Lines(label)
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), _Rows(), _Rate(), TimeElapsedColumn())
    with Progress(*columns, console=Console(file=sys.stderr), transient=True) as bar:
        yield _Bar(bar, label)
