"""``idac query``: run an ADQL query on the archive, in this process without a server, or ask a service."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import click
from click.core import ParameterSource

from idac.cli import remote
from idac.cli.main import Options
from idac.cli.output import counted, pointing_into, print_json, progress
from idac.cli.results import open_whole, print_rows, write_chunks
from idac.core.errors import BadParameter
from idac.core.loading import Loaded
from idac.core.principal import LOCAL_ADMIN
from idac.core.scratch import open_scratch
from idac.query.adql.compiler import QueryCompiler
from idac.query.service import QueryRequest, QueryService, RunningQuery
from idac.tables.formats import FORMATS, Format, find_format
from idac.wiring.build import open_archive
from idac.wiring.engine import open_engine
from idac.wiring.settings import DacSettings

#: Rows printed on a terminal where neither a format nor a file is asked for.
_ROWS_SHOWN = 50
_A_DAY_S = 86_400.0
#: Other endings that people give to files of these formats.
_ENDINGS = {".xml": ".vot", ".votable": ".vot", ".fit": ".fits", ".parq": ".parquet"}


@click.command("query")
@click.argument("adql")
@click.option("--format", "format_name", help="Format of the result. Default: by the ending of --output.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the result to this file.")
@click.option("--max-rows", type=click.IntRange(min=0), help="Cut the result after this many rows.")
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=0.001), default=_A_DAY_S, help="Seconds it may take.")
@click.option("--service", metavar="URL", envvar="IDAC_SERVICE", show_envvar=True,
              help="Ask the centre or TAP service at URL, and not the archive of dac.yaml.")  # fmt: skip
@click.option("--job", "as_job", is_flag=True, help="Let the service run it as a job, which may take hours.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: rows, or what was written.")
@click.pass_context
def command(
    ctx: click.Context,
    adql: str,
    format_name: str | None,
    output: Path | None,
    max_rows: int | None,
    timeout_s: float,
    service: str | None,
    as_job: bool,
    as_json: bool,
) -> None:
    """Run the query ADQL; - reads it from standard input.

    Without --service it runs on the archive of dac.yaml, in this process. Where there is no dac.yaml, the centre is
    asked at which you are logged in (idac login), if it is one.
    """
    options: Options = ctx.obj
    text = read_query(adql)
    chosen = _format(format_name, output, as_json)
    to_terminal = output is None and format_name is None
    if to_terminal and not as_json and max_rows is None:
        max_rows = _ROWS_SHOWN
    if service is None and _is_astronomers(ctx, options):
        service = remote.require_log_in()
    if service is not None:
        with pointing_into(text, as_json=as_json):
            asked = remote.Asked(text, chosen, max_rows, timeout_s, as_job)
            remote.ask(service, asked, output, as_json=as_json, as_table=to_terminal and not as_json)
        return
    if as_job:
        raise BadParameter("A job is for a service.", next_step="Name the service with --service, or leave --job out.")
    with pointing_into(text, as_json=as_json), local_service(options.load()) as queries:
        request = QueryRequest(text, chosen, timeout_s, max_rows)
        query_id = secrets.token_hex(8)

        def work() -> None:
            with closing(queries.run(request, LOCAL_ADMIN, query_id=query_id)) as running:
                if to_terminal and not as_json:
                    _show(running)
                elif output is None:
                    write_chunks(running.chunks(), sys.stdout.buffer)
                else:
                    _save(running, output, as_json)

        _interruptible(work, lambda: queries.cancel(query_id))


def _is_astronomers(ctx: click.Context, options: Options) -> bool:
    """True where nobody named a configuration and there is none: this is no machine of a centre."""
    source = ctx.find_root().get_parameter_source("config")
    return source is ParameterSource.DEFAULT and options.environment is None and not options.config.exists()


def _interruptible(work: Callable[[], None], stop: Callable[[], None]) -> None:
    """Do *work* in a thread of its own: this one would see Ctrl-C only when the engine lets go of it."""
    with ThreadPoolExecutor(1, "query") as pool:
        future = pool.submit(work)
        try:
            future.result()
        except KeyboardInterrupt:
            stop()
            future.exception()  # its Cancelled, once everything is given back
            raise


def read_query(adql: str) -> str:
    """The text of a query given on the command line, or from standard input for ``-``."""
    if adql != "-":
        # A query has a blank in it, which the name of a file seldom has.
        if " " not in adql and Path(adql).is_file():
            raise BadParameter(
                "This is the name of a file, not a query.",
                value=adql,
                allowed="the text of a query, or - to read it from standard input",
                next_step=f"Read the query from the file: idac query - < {adql}",
            )
        return adql
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadParameter(
            "The query is not UTF-8 text.",
            value="standard input",
            allowed="UTF-8",
            next_step="Convert it to UTF-8.",
        ) from None


@contextmanager
def local_service(loaded: Loaded[DacSettings]) -> Iterator[QueryService]:
    """Queries on this centre's archive, without a server; what they spill goes with it."""
    settings = loaded.settings
    with closing(open_scratch(None, "idac-query")) as scratch:
        engine = open_engine(loaded, scratch.path)
        try:
            compiler = QueryCompiler(settings.catalogs.rights())
            origin = settings.centre.origin()
            yield QueryService(open_archive(loaded), engine, compiler, settings.query, origin=origin)
        finally:
            engine.close()


def _format(name: str | None, output: Path | None, as_json: bool) -> Format:
    if name is not None:
        try:
            return find_format(name)
        except BadParameter as error:
            raise BadParameter(
                error.what,
                value=error.value,
                allowed=error.allowed,
                next_step="Give one of these with --format, or leave it out and name the file with --output.",
            ) from None
    if output is None:
        return find_format("json" if as_json else "votable")
    ending = _ENDINGS.get(output.suffix.lower(), output.suffix.lower())
    found = next((f for f in FORMATS.values() if f".{f.extension}" == ending), None)
    if found is None:
        raise BadParameter(
            "The ending of the output file names no format.",
            value=output.name,
            allowed=", ".join(sorted({f".{f.extension}" for f in FORMATS.values()})),
            next_step="Give the format with --format.",
        )
    return found


def _show(running: RunningQuery) -> None:
    rows = print_rows(running.columns, running.batches())
    cut = "; there are more, see --max-rows and --output" if running.overflowed else ""
    click.echo(f"{counted(rows, 'row')}{cut}", err=True)


def _save(running: RunningQuery, output: Path, as_json: bool) -> None:
    """The whole result under its name, or nothing."""
    with open_whole(output) as file, progress("query") as meter:
        write_chunks(running.chunks(), file, lambda: meter.update(running.progress().rows))
    rows = running.progress().rows
    if as_json:
        print_json({"file": str(output), "rows": rows, "format": running.format.name, "cut": running.overflowed})
        return
    cut = ", cut at the row limit (--max-rows)" if running.overflowed else ""
    click.echo(f"{output}: {counted(rows, 'row')}, {running.format.description}{cut}", err=True)
