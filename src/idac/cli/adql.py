"""``idac adql check``: is this text valid ADQL, and does it fit the tables of this centre?"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from idac.cli.main import Options
from idac.cli.output import counted, pointing_into, print_json
from idac.core.errors import BadData, NotFound
from idac.core.principal import LOCAL_ADMIN
from idac.query.adql.parser import parse_adql
from idac.query.adql.resolve import resolve_query


@click.group("adql")
def command() -> None:
    """Check ADQL text."""


@command.command()
@click.argument("file")
@click.option(
    "--grammar-only", is_flag=True, help="Check the grammar of ADQL 2.1 alone; needs no tables and no dac.yaml."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def check(options: Options, file: str, grammar_only: bool, as_json: bool) -> None:
    """Check the query in FILE, or on standard input where FILE is -."""
    text = _read(file)
    with pointing_into(text, as_json=as_json):
        parse_adql(text)
        columns = None if grammar_only else _resolve(options, text)
    if as_json:
        print_json({"ok": True, "columns": columns})
    else:
        click.echo("This is valid ADQL 2.1." if columns is None else f"This is a valid query of {_counted(columns)}.")


def _counted(columns: list[str]) -> str:
    return f"{counted(len(columns), 'column')}: {', '.join(columns)}"


def _resolve(options: Options, text: str) -> list[str]:
    """The names of the query's columns."""
    # The archive and its libraries take half a second to import, which --grammar-only should not pay.
    from idac.wiring.build import open_archive  # noqa: PLC0415

    loaded = options.load()
    snapshot = open_archive(loaded).snapshot()
    resolved = resolve_query(text, snapshot, LOCAL_ADMIN, loaded.settings.catalogs.rights())
    return [column.name for column in resolved.columns]


def _read(file: str) -> str:
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return data.decode("utf-8-sig")
    except OSError as error:
        kind = NotFound if isinstance(error, FileNotFoundError) else BadData
        raise kind(
            "The query can't be read.",
            value=f"{file}: {error.strerror}",
            allowed="a file, or - for standard input",
            next_step="To check a text itself: echo 'SELECT …' | idac adql check -",
        ) from None
    except UnicodeDecodeError:
        raise BadData(
            "The query is not UTF-8 text.", value=file, allowed="UTF-8", next_step="Save the file as UTF-8."
        ) from None
