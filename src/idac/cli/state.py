"""``idac state``: the state database's revision, and backups of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from idac.cli.admin import actor
from idac.cli.main import Options
from idac.cli.output import counted, print_json, print_table
from idac.core.database import Database
from idac.wiring.backup import Backup, count_rows, restore_backup, write_backup
from idac.wiring.build import open_state
from idac.wiring.state import known_revisions, make_current, revision_of


@click.group("state")
def command() -> None:
    """Look at the state database (accounts, groups, rights, tokens, audit log, jobs), back it up and restore it."""


@contextmanager
def _state(options: Options) -> Iterator[Database]:
    database = open_state(options.load())
    try:
        yield database
    finally:
        database.close()


@command.command(short_help="The revision of its schema, and how much it holds.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def show(options: Options, as_json: bool) -> None:
    """Show which revision the state database is at, and the rows of its tables. Changes nothing."""
    newest = known_revisions()[-1]
    with _state(options) as database, database.snapshot() as connection:
        found = revision_of(connection)
        rows = count_rows(connection, found) if found is not None else {}
        kind = "SQLite" if database.is_sqlite else "PostgreSQL"
    if as_json:
        print_json({"kind": kind, "revision": found, "newest": newest, "rows": rows})
        return
    click.echo(f"{kind}, revision {found or 'none yet'}; this idac has {newest}.")
    if found != newest:
        click.echo("The next start brings it there, or: idac state upgrade")
    if rows:
        print_table(("table", "rows"), [(name, f"{number:,}") for name, number in sorted(rows.items())])


@command.command("upgrade", short_help="Bring its schema to this version of idac.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def upgrade_(options: Options, as_json: bool) -> None:
    """Bring the state database to the revision of this idac, as idac up does when it starts."""
    newest = known_revisions()[-1]
    with _state(options) as database:
        found = make_current(database)
    if as_json:
        print_json({"before": found, "revision": newest})
    elif found == newest:
        click.echo(f"The state database is at revision {newest} already.")
    else:
        click.echo(f"Brought the state database to revision {newest} from {found or 'nothing'}.")


@command.command(short_help="Write all of it to one file.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def backup(options: Options, file: Path, as_json: bool) -> None:
    """Write the state, as it is at one moment, to FILE, while the service runs.

    Catalogues, results of jobs and secrets are not in it.
    """
    with _state(options) as database:
        made = write_backup(database, file, actor=actor())
    _tell(made, file, f"Wrote {counted(made.total, 'row')} to {file}", as_json)


@command.command(short_help="Put back what a backup holds.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--replace", is_flag=True, help="Give up what the state database holds; stop the service before.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def restore(options: Options, file: Path, replace: bool, as_json: bool) -> None:
    """Put what FILE holds into the state database, SQLite or PostgreSQL: all of it, or nothing.

    Stop the service first.
    """
    with _state(options) as database:
        held = restore_backup(database, file, actor=actor(), replace=replace)
    _tell(held, file, f"Restored {counted(held.total, 'row')} from {file}", as_json)
    if replace and not as_json:
        click.echo(
            "A service that was not stopped before goes by what it knew: stop it now, and start it anew.", err=True
        )


def _tell(backup: Backup, file: Path, done: str, as_json: bool) -> None:
    if as_json:
        about = {"revision": backup.revision, "program": backup.program, "made": backup.made, "sha256": backup.sha256}
        print_json({"file": str(file), **about, "rows": backup.rows})
    else:
        click.echo(f"{done} (revision {backup.revision}, made {backup.made}).")
