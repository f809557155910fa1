"""``idac query --service``: the same query asked of a TAP service, as whoever ``idac login`` has logged in there."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import click
import pyarrow as pa

from idac.cli.output import counted, print_json
from idac.cli.results import open_whole, print_rows, write_chunks
from idac.client.addresses import parse_address
from idac.client.cut import CutWatch
from idac.client.kept import LogIns
from idac.client.tap import RemoteTap
from idac.core.errors import BadConfiguration
from idac.tables.formats import Format
from idac.tables.readers.inputs import Input
from idac.tables.readers.source import NO_LIMITS
from idac.tables.readers.votable import open_votable

_CUT = "The result was cut at the row limit: ask for more with --max-rows."
_NO_MARK = (
    "The result has as many rows as the limit lets through, and its format can't say whether there are more: ask for "
    "more with --max-rows, or for another format."
)
#: Bytes of a result for the terminal that are held in memory.
_IN_MEMORY = 8 * 2**20


@dataclass(frozen=True)
class Asked:
    """A query and what is wanted of it."""

    adql: str
    format: Format
    max_rows: int | None
    timeout_s: float
    as_job: bool


def require_log_in() -> str:
    """The only centre where this user is logged in; BadConfiguration where it is none, or one of several."""
    every = [each.url for each in LogIns().all()]
    if len(every) == 1:
        return every[0]
    raise BadConfiguration(
        "There is no dac.yaml here, and so no archive to ask.",
        value=Path.cwd(),
        allowed=f"--service with one of {', '.join(every)}" if every else "a centre where you are logged in",
        next_step="Name one with --service."
        if every
        else "Log in with idac login https://dac.example.org, or name a "
        "service with --service. To make a centre, run idac init.",
    )


def ask(service: str, asked: Asked, output: Path | None, *, as_json: bool, as_table: bool) -> None:
    """Ask the service at an address as it was typed, with the log-in there if there is one; give what it answers."""
    address = parse_address(service)
    log_in = LogIns().find(address.origin) if address.is_safe else None
    tap = RemoteTap(address, log_in, asked.timeout_s)
    if not as_json:
        who = f" as {log_in.username}" if log_in is not None and log_in.username else ""
        click.echo(f"Asking {address.tap}{who}", err=True)
    if as_table:
        _show(tap, asked)
        return
    form = {"FORMAT": asked.format.name, **({} if asked.max_rows is None else {"MAXREC": str(asked.max_rows)})}
    watch = CutWatch(asked.format.name)
    with tap.run(asked.adql, form, as_job=asked.as_job) as chunks:
        if output is None:
            size = write_chunks(watch.pass_on(chunks), sys.stdout.buffer)
        else:
            with open_whole(output) as file:
                size = write_chunks(watch.pass_on(chunks), file)
    is_cut = _is_cut(watch, tap, asked.max_rows)
    if as_json:
        if output is not None:
            print_json({"file": str(output), "bytes": size, "format": asked.format.name, "cut": is_cut})
        return
    if output is not None:
        click.echo(f"{output}: {counted(size, 'byte')}, {asked.format.description}", err=True)
    if is_cut is not False:
        click.echo(_CUT if is_cut else _NO_MARK, err=True)


def _is_cut(watch: CutWatch, tap: RemoteTap, max_rows: int | None) -> bool | None:
    """Whether a limit cut the result; None where it has as many rows as the limit, and no way to say more."""
    if not watch.is_text:
        return watch.is_marked
    limit = tap.row_limit(max_rows)
    return None if limit is not None and watch.rows >= limit else False


def _show(tap: RemoteTap, asked: Asked) -> None:
    """Print the result as a table; one row more is asked for than is shown, so as to know whether there are more."""
    most = asked.max_rows or 0
    form = {"FORMAT": "votable", "MAXREC": str(most + 1)}
    with tempfile.SpooledTemporaryFile(_IN_MEMORY) as spooled:
        file = cast("BinaryIO", spooled)
        with tap.run(asked.adql, form, as_job=asked.as_job) as chunks:
            write_chunks(chunks, file)
        file.seek(0)
        with open_votable(Input(file, NO_LIMITS)) as source:
            batches = list(source.iter_batches())
            shown = print_rows(source.columns, _first(batches, most))
    cut = "; there are more, see --max-rows and --output" if sum(b.num_rows for b in batches) > shown else ""
    click.echo(f"{counted(shown, 'row')}{cut}", err=True)


def _first(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        if rows > 0:
            yield batch.slice(0, rows)
        rows -= batch.num_rows
