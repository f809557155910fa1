"""``idac catalog``: publish tables into the archive, and look after them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import reduce
from pathlib import Path
from typing import Any

import click

from idac.catalogs.access import AccessChange
from idac.catalogs.audit import check_table, require_whole
from idac.catalogs.felis import Gap
from idac.catalogs.ingest import IngestChoices
from idac.catalogs.manifest import Version
from idac.catalogs.publishing import Published
from idac.catalogs.service import CatalogService, SourceChoices
from idac.catalogs.snapshot import TableEntry
from idac.cli.catalog_rights import access_change, access_options, rights, table_access
from idac.cli.main import Options
from idac.cli.output import counted, print_json, print_table, progress
from idac.core import machine
from idac.core.errors import BadParameter, Cancelled, UserError
from idac.core.secrets import open_secrets
from idac.core.store import Store, open_store
from idac.tables.names import adql_table_name
from idac.wiring.build import open_archive

_GAPS_SHOWN = 12


@click.group("catalog")
def command() -> None:
    """Publish, describe, replace and drop tables."""


def _source_options(function: Callable[..., None]) -> Callable[..., None]:
    """What ``add`` and ``replace`` share."""
    options: list[Callable[[Any], Any]] = [
        click.argument("sources", nargs=-1, required=True, metavar="FILE..."),
        click.option("--ra", help="Column of right ascensions. Default: found by UCD or name.", metavar="COLUMN"),
        click.option("--dec", help="Column of declinations.", metavar="COLUMN"),
        click.option("--id", "id_column", help="Column whose values name one row each; indexed.", metavar="COLUMN"),
        click.option(
            "--felis",
            type=click.Path(path_type=Path),
            help="Felis YAML that describes the table, or a whole schema where --name is left out.",
        ),
        click.option("--format", "format_", help="Format of the files. Default: found from their content."),
        click.option("--description", help="What the table holds, in a sentence or two."),
        click.option("--no-positions", is_flag=True, help="Publish as a plain table, not sorted on the sky."),
        click.option("--wrap-ra", is_flag=True, help="Bring right ascensions into 0 to 360 degrees."),
        click.option("--convert-positions", is_flag=True, help="Convert positions from radians or hours to degrees."),
        click.option(
            "--rejects",
            type=click.Path(path_type=Path),
            help="Write rows without a valid position to this Parquet file instead of refusing the table.",
        ),
        click.option("--copy", is_flag=True, help="Ingest a HATS catalogue's rows instead of serving it where it is."),
        access_options,
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
        click.pass_obj,
    ]
    return reduce(lambda decorated, option: option(decorated), reversed(options), function)


@command.command(short_help="Publish a new table.")
@_source_options
@click.option("--name", help="schema.table; or the schema's name, with --felis and several tables.")
@click.option("--partial", is_flag=True, help="With a whole schema: leave out tables that have no file.")
def add(options: Options, name: str | None, partial: bool, as_json: bool, **given: Any) -> None:
    """Publish a new table from FILE... (FITS, VOTable, CSV, TSV, ECSV, Parquet, Arrow), patterns or s3:// addresses.

    A folder that is a HATS catalogue is registered where it is. With --felis and no --name schema.table, every table of
    the Felis schema is published from the file of its name: all of them, or none.
    """
    with access_change(options, given) as access, _service(options, "adding", access) as service:
        _show_published(_take_in(service, name, given, partial=partial, replacing=False), as_json)


@command.command(short_help="Publish a new version of a table.")
@_source_options
@click.option("--name", help="schema.table; or the schema's name, with --felis and several tables.")
@click.option("--partial", is_flag=True, help="With a whole schema: leave out tables that have no file.")
def replace(options: Options, name: str | None, partial: bool, as_json: bool, **given: Any) -> None:
    """Publish a new version of a table. The one before is kept for rollback; its description too, without --felis."""
    with access_change(options, given) as access, _service(options, "replacing", access) as service:
        _show_published(_take_in(service, name, given, partial=partial, replacing=True), as_json)


def _take_in(
    service: CatalogService, name: str | None, given: dict[str, Any], *, partial: bool, replacing: bool
) -> list[Published]:
    source = SourceChoices(given["sources"], given["format_"], given["felis"], given["description"], copy=given["copy"])
    choices = IngestChoices(
        given["ra"],
        given["dec"],
        given["id_column"],
        no_positions=given["no_positions"],
        wrap_ra=given["wrap_ra"],
        convert_positions=given["convert_positions"],
        rejects=given["rejects"],
    )
    if given["felis"] is not None and (name is None or "." not in name):
        return service.add_schema(source, choices, name=name, partial=partial, replacing=replacing)
    if name is None:
        raise BadParameter(
            "The table needs a name.", allowed="schema.table", next_step="Add --name, for example --name tycho2.main."
        )
    return [service.add(name, source, choices, replacing=replacing)]


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def list_tables(options: Options, as_json: bool) -> None:
    """List the published tables."""
    policy = options.load().settings.read_policy()
    with _service(options, "") as service:
        rules = service.archive.snapshot(fresh=True).rules
        readers = policy.with_published(rules).shown
        rows = [
            _summary(entry, version) | {"readers": readers(entry.table.schema, entry.table.name)}
            for entry, version in _published(service)
        ]
    if as_json:
        print_json(rows)
    elif not rows:
        click.echo("No tables are published yet. Add one with idac catalog add FILE --name schema.table")
    else:
        keys = ("table", "rows", "columns", "size", "files", "layout", "published_at", "readers")
        print_table(keys, [[_shown({**row, "size": _size(row["bytes"])}[key]) for key in keys] for row in rows])


@command.command(short_help="Show a table's columns.")
@click.argument("table")
@click.option("--felis", "as_felis", is_flag=True, help="Print the schema's Felis YAML.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def describe(options: Options, table: str, as_felis: bool, as_json: bool) -> None:
    """Show a TABLE's columns with units, UCDs and descriptions."""
    with _service(options, "") as service:
        if as_felis:
            click.echo(service.metadata_text(table.partition(".")[0]), nl=False)
            return
        entry, version = service.find(table)
        access = table_access(options, service.archive.snapshot().rules, entry.table)
    facts = _summary(entry, version) | {
        "description": entry.table.description,
        "positions": [entry.table.ra_column, entry.table.dec_column] if entry.table.ra_column else None,
        "id": entry.table.id_column,
        "margin_arcsec": version.margin_arcsec,
        "source": version.source,
        "location": version.location,
        "version": version.id,
        **access,
    }
    columns = [
        {
            "name": c.name,
            "datatype": c.type.datatype,
            "arraysize": c.type.arraysize,
            "xtype": c.type.xtype,
            "unit": c.unit,
            "ucd": c.ucd,
            "utype": c.utype,
            "description": c.description,
            "indexed": c.indexed,
        }
        for c in entry.table.columns
    ]
    if as_json:
        print_json({**facts, "column_list": columns})
        return
    print_table(("", entry.table.qualified_name), [(k, _shown(v)) for k, v in facts.items() if v is not None])
    click.echo()
    rows = [(c["name"], _type_text(c), c["unit"], c["ucd"], c["description"]) for c in columns]
    print_table(("column", "type", "unit", "ucd", "description"), rows)


@command.command("edit-metadata", short_help="Edit what describes a schema's tables.")
@click.argument("schema")
@click.option("--from", "source", type=click.Path(path_type=Path), help="Take the edited Felis YAML from this file.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def edit_metadata(options: Options, schema: str, source: Path | None, as_json: bool) -> None:
    """Edit the Felis YAML of a SCHEMA in $EDITOR, or take it from a file; published once it fits the data."""
    schema = schema.partition(".")[0]
    with _service(options, "") as service:
        if source is not None:
            gaps = service.edit_metadata(schema, source)
        else:
            before = service.metadata_text(schema)
            after = _edited(before)
            if after is None or after == before:
                click.echo("Nothing was changed.")
                return
            with _kept(after, schema):
                gaps = service.edit_metadata(schema, after, before=before)
    if as_json:
        print_json({"schema": schema, "gaps": _plain_gaps(gaps)})
    else:
        click.echo(f"The metadata of {schema} are published.")
        _show_gaps(gaps)


def _edited(text: str) -> str | None:
    try:
        return click.edit(text, extension=".yaml")
    except click.ClickException as error:
        raise BadParameter(
            "The editor ended without success.",
            value=error.format_message(),
            allowed="an editor that waits until the file is closed",
            next_step="Name yours with the environment variable EDITOR, or take the text from a file with --from. "
            "Nothing was changed.",
        ) from None


@contextmanager
def _kept(text: str, schema: str) -> Iterator[None]:
    """Write what was typed to a file where it can't be published, so that no work is lost."""
    try:
        yield
    except UserError:
        path = Path(f"{schema}-edited.yaml")
        path.write_text(text, encoding="utf-8")
        click.echo(
            f"Your text was kept in {path}; use it with idac catalog edit-metadata {schema} --from {path}", err=True
        )
        raise


@command.command(short_help="Compare files with what was published.")
@click.argument("tables", nargs=-1, metavar="[TABLE...]")
@click.option("--quick", is_flag=True, help="Leave out the checksums, which read every byte.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def check(options: Options, tables: tuple[str, ...], quick: bool, as_json: bool) -> None:
    """Compare the files of TABLES with what was published: counts, checksums, footers, metadata.

    A TABLE may also be the name of a schema; without any, all tables are checked.
    """
    with _service(options, "checking") as service:
        chosen = [found for name in tables for found in _named(service, name)] or list(_published(service))
        findings = [
            finding
            for entry, version in chosen
            for finding in check_table(
                service.archive,
                entry,
                version,
                open_store=service.open_store,
                progress=service.progress,
                checksums=not quick,
            )
        ]
    if as_json:
        plain = [{"table": f.table, "file": f.file, "problem": f.problem} for f in findings]
        print_json({"ok": not findings, "tables": [e.table.qualified_name for e, _ in chosen], "findings": plain})
        click.get_current_context().exit(4 if findings else 0)
    for finding in findings:
        click.echo(str(finding))
    require_whole(findings)
    click.echo(f"{counted(len(chosen), 'table')} {'is' if len(chosen) == 1 else 'are'} as published.")


@command.command(short_help="Take a table down.")
@click.argument("table")
@click.option("--yes", is_flag=True, help="Don't ask.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def drop(options: Options, table: str, yes: bool, as_json: bool) -> None:
    """Take a TABLE down, for good. Its files are removed later, when no query can be using them."""
    with _service(options, "") as service:
        entry, version = service.find(table)
        name = entry.table.qualified_name
        if not yes:
            _confirm(f"Take down {name} with {counted(version.rows, 'row')}?")
        service.drop(table)
    if as_json:
        print_json({"dropped": name, "rows": version.rows})
    else:
        click.echo(f"{name} is taken down.")


def _confirm(question: str) -> None:
    try:
        agreed = click.confirm(question, err=True)
    except click.Abort:
        click.echo(err=True)
        agreed = False
    if not agreed:
        raise Cancelled("Nothing was changed, for nobody said yes.", next_step="Answer y, or give --yes in scripts.")


@command.command(short_help="Go back to the version before.")
@click.argument("table")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def rollback(options: Options, table: str, as_json: bool) -> None:
    """Show the version of a TABLE before the current one again; once more goes back."""
    with _service(options, "") as service:
        version = service.rollback(table)
    if as_json:
        print_json({"table": table, "version": version.id, "rows": version.rows, "published_at": version.published_at})
    else:
        click.echo(f"{table} is the version of {version.published_at} again, with {counted(version.rows, 'row')}.")


@command.command(short_help="Remove old versions.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def sweep(options: Options, as_json: bool) -> None:
    """Remove old versions whose grace period has passed (publishing does so too), and what dead publishers left."""
    with _service(options, "") as service:
        removed = service.archive.sweep(strays=True)
    if as_json:
        print_json({"removed": removed})
    else:
        versions = sum("/" in key for key in removed)
        click.echo(f"{counted(versions, 'old version')} removed.")


command.add_command(rights)


@contextmanager
def _service(options: Options, label: str, access: AccessChange | None = None) -> Iterator[CatalogService]:
    loaded = options.load()
    secrets = open_secrets(loaded.settings.secrets, loaded.folder)

    def open_source(location: str) -> Store:
        # Names on the command line are relative to where the command was given, and not to dac.yaml.
        return open_store(location, loaded.settings.stores, secrets, Path.cwd())

    archive = open_archive(loaded)
    machine.recycle_arrow_buffers()
    with progress(label) as meter:
        yield CatalogService(archive, open_source, lambda what, done, total: meter.update(done, total, what), access)


def _published(service: CatalogService) -> Iterator[tuple[TableEntry, Version]]:
    manifest = service.archive.manifest()
    for schema in service.archive.snapshot(fresh=True).schemas:
        for table in schema:
            version = manifest.current(schema.name, table.name)
            entry = service.archive.snapshot().find(schema.name, table.name)
            if version is not None and entry is not None:
                yield entry, version


def _named(service: CatalogService, name: str) -> list[tuple[TableEntry, Version]]:
    """The table of this name, or all those of the schema of this name."""
    of_schema = [found for found in _published(service) if found[0].table.schema.lower() == name.lower()]
    return of_schema or [service.find(name)]


def _summary(entry: TableEntry, version: Version) -> dict[str, Any]:
    layout = "plain" if version.kind == "plain" else "HATS in place" if version.location else "HATS"
    return {
        "table": entry.table.qualified_name,
        "rows": version.rows,
        "columns": len(entry.table.columns),
        "bytes": version.bytes,
        "files": version.files,
        "layout": layout,
        "published_at": version.published_at,
    }


def _show_published(results: list[Published], as_json: bool) -> None:
    if as_json:
        print_json([_plain_published(result) for result in results])
        return
    for result in results:
        table = result.table
        holds = f"{counted(result.rows, 'row')}, {counted(len(table.columns), 'column')}"
        size = f"{_size(result.bytes)} in {counted(result.files, 'file')}"
        positions = f"positions {table.ra_column} and {table.dec_column}" if table.ra_column else "no positions"
        click.echo(f"{table.qualified_name}: {holds}, {size}, {positions}")
        written = adql_table_name(table.schema, table.name)
        if written != table.qualified_name:
            click.echo(f"  in queries, write the name as {written}")
        if result.rejected:
            rows = counted(result.rejected, "row")
            click.echo(f"  written to the rejects file: {rows} without a valid position")
        _show_gaps(result.gaps)


def _plain_published(result: Published) -> dict[str, Any]:
    return {
        "table": result.table.qualified_name,
        "version": result.version,
        "rows": result.rows,
        "columns": len(result.table.columns),
        "bytes": result.bytes,
        "files": result.files,
        "rejected": result.rejected,
        "positions": [result.table.ra_column, result.table.dec_column] if result.table.ra_column else None,
        "id": result.table.id_column,
        "gaps": _plain_gaps(result.gaps),
    }


def _plain_gaps(gaps: tuple[Gap, ...] | list[Gap]) -> list[dict[str, Any]]:
    return [{"column": gap.column, "missing": gap.missing} for gap in gaps]


def _show_gaps(gaps: tuple[Gap, ...] | list[Gap]) -> None:
    """What the metadata lack, one line a kind, so that 1 300 columns don't fill the screen."""
    kinds: dict[str, list[str]] = {}
    for gap in gaps:
        kinds.setdefault(gap.missing, []).append(gap.column or "")
    for missing, columns in kinds.items():
        named = [c for c in columns if c]
        more = f" and {len(named) - _GAPS_SHOWN} more" if len(named) > _GAPS_SHOWN else ""
        click.echo(f"  {missing}{': ' if named else ''}{', '.join(named[:_GAPS_SHOWN])}{more}")
    if gaps:
        click.echo("  Mend these with idac catalog edit-metadata.")


def _type_text(column: dict[str, Any]) -> str:
    kind = column["xtype"] or column["datatype"]
    return f"{kind}[{column['arraysize']}]" if column["arraysize"] and not column["xtype"] else str(kind)


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else str(value)


def _size(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
