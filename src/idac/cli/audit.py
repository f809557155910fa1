"""``idac audit``: what was done, by whom, and what was refused."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from idac.cli.admin import administration, parse_moment
from idac.cli.main import Options
from idac.cli.output import counted, print_json
from idac.core.errors import BadParameter
from idac.core.nearest import nearest
from idac.identity.model import ACTIONS, AuditEntry
from idac.identity.routes_api import entry_json

_COLUMNS = ("at", "actor", "action", "subject", "address", "detail")


@click.group("audit")
def command() -> None:
    """Read the audit log."""


@command.command(short_help="Write the audit log as JSON lines or CSV.")
@click.option("--since", help="From this date or time on (UTC), or since so long ago: 12h, 90d.", metavar="WHEN")
@click.option("--action", "actions", multiple=True, help="Only this action, such as login; may be repeated.")
@click.option("--of", "subject", help="Only what this account did, or what was done to it.", metavar="NAME")
@click.option("--format", "format_", type=click.Choice(("jsonl", "csv")), default="jsonl", show_default=True)
@click.option("--output", "-o", type=click.Path(path_type=Path), help="File to write. Default: standard output.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array instead of lines.")
@click.pass_obj
def export(
    options: Options,
    since: str | None,
    actions: tuple[str, ...],
    subject: str | None,
    format_: str,
    output: Path | None,
    as_json: bool,
) -> None:
    """Write the log, oldest entries first: administrative acts, log-ins and refused accesses. It holds no secrets."""
    for action in actions:
        _require_action(action)
    with administration(options) as identity:
        found = _Counted(
            identity.store.iter_audit(since=parse_moment(since, "--since", past=True), actions=actions, subject=subject)
        )
        _export(found, format_, output, as_json)
    if subject is not None and not found.count:
        asked = " that was asked for" if since or actions else ""
        click.echo(f"The audit log has nothing{asked} of {subject}: idac user list shows accounts.", err=True)


class _Counted:
    """Entries, and how many of them there were."""

    def __init__(self, entries: Iterator[AuditEntry]) -> None:
        self._entries = entries
        self.count = 0

    def __iter__(self) -> Iterator[AuditEntry]:
        for entry in self._entries:
            self.count += 1
            yield entry


def _export(entries: Iterable[AuditEntry], format_: str, output: Path | None, as_json: bool) -> None:
    if as_json and output is None:
        print_json([entry_json(entry) for entry in entries])
        return
    lines = _csv(entries) if format_ == "csv" else (_line(entry) for entry in entries)
    if output is None:
        for line in lines:
            click.echo(line, nl=False)
        return
    written = _write(output, lines)
    if as_json:
        print_json({"file": str(output), "lines": written})
    else:
        click.echo(f"Wrote {counted(written, 'line')} to {output}.")


def _require_action(action: str) -> None:
    if action not in ACTIONS:
        near = nearest(action, ACTIONS)
        raise BadParameter(
            "The audit log tells of no such action.",
            value=action,
            allowed=", ".join(ACTIONS),
            next_step=f"Did you mean {near}?" if near else "Leave --action out to see all.",
        )


def _line(entry: AuditEntry) -> str:
    return json.dumps(entry_json(entry), ensure_ascii=False) + "\n"


def _csv(entries: Iterable[AuditEntry]) -> Iterator[str]:
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(_COLUMNS)
    for entry in entries:
        parts = entry_json(entry)
        cells = [*(parts[name] for name in _COLUMNS[:-1]), json.dumps(entry.detail, ensure_ascii=False)]
        writer.writerow([_no_formula(cell) for cell in cells])
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
    yield buffer.getvalue()


def _no_formula(cell: object) -> object:
    """The cell as text for a spreadsheet too: whoever was refused chose the name that they tried."""
    # Spreadsheets pass over the white space before a formula.
    return f"'{cell}" if isinstance(cell, str) and cell.lstrip().startswith(("=", "+", "-", "@")) else cell


def _write(path: Path, lines: Iterator[str]) -> int:
    try:
        path.touch(mode=0o600)  # it tells who was where and when
        with path.open("w", encoding="utf-8") as file:
            return sum(bool(file.write(line)) for line in lines)
    except OSError as error:
        raise BadParameter(
            "The file can't be written.", value=f"{path}: {error.strerror}", next_step="Name another with --output."
        ) from None
