"""``idac query``: run an ADQL query on the archive, in this process, without a server."""

from __future__ import annotations

import os
import secrets
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import BinaryIO

import click
import pyarrow as pa

from idac.cli.main import Options
from idac.cli.output import Meter, print_json, print_table, progress
from idac.core.errors import BadParameter, ResourceExhausted
from idac.core.loading import Loaded
from idac.core.principal import LOCAL_ADMIN
from idac.query.adql.compiler import QueryCompiler
from idac.query.service import QueryRequest, QueryService, RunningQuery
from idac.tables.formats import FORMATS, Format, find_format
from idac.wiring.build import open_archive, open_engine
from idac.wiring.settings import DacSettings

#: Rows printed on a terminal where neither a format nor a file is asked for.
_ROWS_SHOWN = 50
_A_DAY_S = 86_400.0


@click.command("query")
@click.argument("adql")
@click.option("--format", "format_name", help="Format of the result. Default: by the ending of --output.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the result to this file.")
@click.option("--max-rows", type=click.IntRange(min=0), help="Cut the result after this many rows.")
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=0.001), default=_A_DAY_S, help="Seconds it may take.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: rows, or what was written.")
@click.pass_obj
def command(
    options: Options,
    adql: str,
    format_name: str | None,
    output: Path | None,
    max_rows: int | None,
    timeout_s: float,
    as_json: bool,
) -> None:
    """Run the query ADQL; - reads it from standard input."""
    text = sys.stdin.read() if adql == "-" else adql
    chosen = _format(format_name, output, as_json)
    to_terminal = output is None and format_name is None
    if to_terminal and not as_json and max_rows is None:
        max_rows = _ROWS_SHOWN
    with local_service(options.load()) as service:
        request = QueryRequest(text, chosen, timeout_s, max_rows)
        running = service.run(request, LOCAL_ADMIN, query_id=secrets.token_hex(8))
        with _stopping(running):
            if to_terminal and not as_json:
                _show(running)
            elif output is None:
                _copy(running, sys.stdout.buffer, None)
            else:
                _save(running, output, as_json)


@contextmanager
def local_service(loaded: Loaded[DacSettings]) -> Iterator[QueryService]:
    """Queries on this centre's archive, without a server; what they spill goes with it."""
    settings = loaded.settings
    with tempfile.TemporaryDirectory(prefix="idac-query-") as scratch:
        engine = open_engine(loaded, Path(scratch))
        try:
            compiler = QueryCompiler(settings.catalogs.rights())
            yield QueryService(open_archive(loaded), engine, compiler.compile, settings.query)
        finally:
            engine.close()


def _format(name: str | None, output: Path | None, as_json: bool) -> Format:
    if name is not None:
        return find_format(name)
    if output is None:
        return find_format("json" if as_json else "votable")
    ending = output.suffix.lstrip(".").lower()
    found = next((f for f in FORMATS.values() if f.extension == ending or f.name == ending), None)
    if found is None:
        raise BadParameter(
            "The ending of the output file names no format.",
            value=output.name,
            allowed=", ".join(sorted({f".{f.extension}" for f in FORMATS.values()})),
            next_step="Give the format with --format.",
        )
    return found


@contextmanager
def _stopping(running: RunningQuery) -> Iterator[None]:
    """Ctrl-C stops the engine's work; whatever happens, everything is given back."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        running.cancel()
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        running.close()


def _show(running: RunningQuery) -> None:
    rows = [tuple(row.values()) for batch in running.batches() for row in batch.to_pylist()]
    print_table([_heading(c.name, c.unit) for c in running.columns], [tuple(map(_shown, row)) for row in rows])
    cut = "; there are more, see --max-rows and --output" if running.overflowed else ""
    click.echo(f"{len(rows):,} row{'' if len(rows) == 1 else 's'}{cut}", err=True)


def _heading(name: str, unit: str | None) -> str:
    return f"{name} [{unit}]" if unit else name


def _shown(value: object) -> object:
    return f"{value:.10g}" if isinstance(value, float) else value


def _save(running: RunningQuery, output: Path, as_json: bool) -> None:
    """The whole result under its name, or nothing."""
    try:
        handle, name = tempfile.mkstemp(prefix=f".{output.name}-", dir=output.parent)
    except OSError as error:
        raise BadParameter("The output file can't be written.", value=f"{output}: {error.strerror}") from None
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file, progress("query") as meter:
            _copy(running, file, meter)
        part.chmod(0o644)
        part.replace(output)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    rows = running.progress().rows
    if as_json:
        print_json({"file": str(output), "rows": rows, "format": running.format.name, "cut": running.overflowed})
        return
    cut = ", cut at the row limit (--max-rows)" if running.overflowed else ""
    click.echo(f"{output}: {rows:,} rows, {running.format.description}{cut}", err=True)


def _copy(running: RunningQuery, file: BinaryIO, meter: Meter | None) -> None:
    try:
        for chunk in running.chunks():
            file.write(chunk)
            if meter is not None:
                meter.update(running.progress().rows)
        file.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        if isinstance(error, pa.ArrowException):
            raise
        raise ResourceExhausted(
            "The result can't be written.", value=error.strerror, next_step="Free some disk space, or write elsewhere."
        ) from None
