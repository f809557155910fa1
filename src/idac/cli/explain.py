"""``idac explain``: what a query will read, how it was narrowed down, and the SQL that the engine gets."""

from __future__ import annotations

import re
from dataclasses import asdict

import click

from idac.cli.main import Options
from idac.cli.output import counted, pointing_into, print_json, print_table
from idac.cli.query import local_service, read_query
from idac.core.principal import LOCAL_ADMIN
from idac.query.engines.base import Explanation, ScanEstimate

#: A file in SQL, where a quote in its name is written twice; and those of a scan from the second on.
_FILE = r"'[^']*(?:''[^']*)*'"
_FURTHER_FILES = re.compile(rf"(read_parquet\(\[{_FILE})((?:, {_FILE})+)\]")


@click.command("explain")
@click.argument("adql")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def command(options: Options, adql: str, as_json: bool) -> None:
    """Show what the query ADQL would read, without running it; - reads it from standard input."""
    text = read_query(adql)
    with pointing_into(text, as_json=as_json), local_service(options.load()) as service:
        explanation = service.explain(text, LOCAL_ADMIN)
    if as_json:
        print_json(asdict(explanation))
    else:
        _show(explanation)


def _show(explanation: Explanation) -> None:
    header = ("table", "files", "row groups", "rows", "read because of")
    print_table(header, map(_row, explanation.scans))
    click.echo(f"\n{counted(explanation.rows_to_read, 'row')} to read; lane: {explanation.lane}\n")
    click.echo(_FURTHER_FILES.sub(_counted, explanation.sql))


def _counted(listed: re.Match[str]) -> str:
    return f"{listed[1]}, … {counted(len(re.findall(_FILE, listed[2])), 'more file')}]"


def _row(scan: ScanEstimate) -> tuple[str, ...]:
    return (
        f"{scan.table} ({scan.alias})",
        _of(scan.files, scan.files_total),
        _of(scan.row_groups, scan.row_groups_total),
        _of(scan.rows, scan.rows_total),
        scan.reason,
    )


def _of(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,}"
