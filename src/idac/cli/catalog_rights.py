"""``idac catalog rights``, and the options of ``add`` and ``replace`` that say who may read what is published."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import reduce
from typing import Any

import click

from idac.catalogs.access import AccessChange, parse_rule
from idac.catalogs.archive import Archive
from idac.cli.admin import actor, administration
from idac.cli.main import Options
from idac.cli.output import print_json, print_table
from idac.core.errors import BadParameter
from idac.core.nearest import nearest
from idac.core.rights import ReadRule
from idac.tables.model import Table
from idac.wiring.build import open_archive


def access_options(function: Callable[..., None]) -> Callable[..., None]:
    """Who may read it, as options of the command that *function* will be."""
    options: tuple[Callable[[Any], Any], ...] = (
        click.option(
            "--right",
            "right",
            multiple=True,
            metavar="RIGHT",
            help="Holders of this data right may read it; may be repeated.",
        ),
        click.option(
            "--group",
            "group",
            multiple=True,
            metavar="GROUP",
            help="Members of this group may read it; may be repeated.",
        ),
        click.option("--public", is_flag=True, help="Everyone may read it, where dac.yaml does not close it."),
        click.option("--closed", is_flag=True, help="Only administrators may read it."),
    )
    return reduce(lambda decorated, option: option(decorated), reversed(options), function)


@contextmanager
def access_change(options: Options, given: Mapping[str, Any]) -> Iterator[AccessChange | None]:
    """The change that the options ask for, with the audit log open to take it; None where they ask for none."""
    rule = _rule(options, given)
    if rule is None:
        yield None
        return
    with _noted_change(options, rule) as change:
        yield change


@click.command("rights", short_help="Say who may read a schema or table.")
@click.argument("name", required=False)
@access_options
@click.option("--reset", is_flag=True, help="Take away what was attached here, so that dac.yaml alone decides.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def rights(options: Options, /, name: str | None, reset: bool, as_json: bool, **given: Any) -> None:
    """Attach data rights and groups to NAME, a schema or schema.table, in place of those attached before.

    Whoever reads it must satisfy both this and what dac.yaml says of it. Without options, show what is attached;
    without NAME, everywhere.
    """
    rule = _rule(options, given)
    if reset and rule is not None:
        raise BadParameter("--reset takes away what the other options attach.", next_step="Give one or the other.")
    archive = open_archive(options.load())
    if name is None and (reset or rule is not None):
        raise BadParameter("This needs the name of a schema or table.", allowed="schema or schema.table")
    if name is not None and (reset or rule is not None):
        with _noted_change(options, rule) as change:
            archive.change(lambda manifest: change.applied_to_known(name, manifest))
        if not as_json:
            click.echo(f"Attached to {name}: {rule.shown}." if rule else f"Took away what was attached to {name}.")
    _show(options, archive, name, as_json)


def table_access(options: Options, rules: Mapping[str, ReadRule], table: Table) -> dict[str, Any]:
    """What ``describe`` tells of who may read a table."""
    policy = options.load().settings.read_policy().with_published(rules)
    first, *more = policy.rules_for(table.schema, table.name)
    facts: dict[str, Any] = {
        "readers": policy.shown(table.schema, table.name),
        "readable_by": sorted(first.groups),
        "needs_right": sorted(first.rights),
    }
    for rule in more:
        facts |= {"and_readable_by": sorted(rule.groups), "and_needs_right": sorted(rule.rights)}
    return facts


def _rule(options: Options, given: Mapping[str, Any]) -> ReadRule | None:
    known = options.load().settings.identity.rights
    rule = parse_rule(given["right"], given["group"], public=given["public"], closed=given["closed"], known=known)
    if given["group"]:
        _require_groups(options, given["group"])
    return rule


def _require_groups(options: Options, wanted: Collection[str]) -> None:
    """Refuse groups whose members administrators don't choose: whoever makes a group of the name would open the table.

    A group that there is keeps its name for ever, and those that dac.yaml leads claims to are nobody else's to make;
    but somebody may have made one before dac.yaml did.
    """
    # Publishing without such an option starts without all that knows of people.
    from idac.identity import group_store  # noqa: PLC0415
    from idac.identity.administration import require_group_name  # noqa: PLC0415

    for name in wanted:
        require_group_name(name)
    settings = options.load().settings.identity
    from_claims = {
        name for each in (*settings.providers.values(), *settings.github.values()) for name in each.groups.values()
    }
    with administration(options) as identity, identity.store.read() as records:
        owners = group_store.owners(records)
        known = (from_claims | {group.name for group in records.groups()}) - owners.keys()
    if unknown := sorted(set(wanted) - known):
        name, near = unknown[0], nearest(unknown[0], sorted(known))
        next_step = f"Did you mean {near}?" if near else f"Make it first: idac group add {name}"
        if name in owners:
            next_step = (
                f"{owners[name]} owns {name} and says who is in it. Make another for this, or take it over with those "
                f"who are in it: idac group owner {name} --none"
            )
        raise BadParameter(
            "There is no such group of administrators' making.",
            value=", ".join(unknown),
            allowed=", ".join(sorted(known)) or "none yet",
            next_step=next_step,
        )


@contextmanager
def _noted_change(options: Options, rule: ReadRule | None) -> Iterator[AccessChange]:
    with administration(options) as identity:

        def note(name: str, before: ReadRule | None, after: ReadRule | None) -> None:
            with identity.store.write() as records:
                records.note(actor(), "catalog rights", name, before=_plain(before), after=_plain(after))

        yield AccessChange(rule, note)


def _plain(rule: ReadRule | None) -> dict[str, list[str]] | str:
    return "none" if rule is None else {"groups": sorted(rule.groups), "rights": sorted(rule.rights)}


def _show(options: Options, archive: Archive, name: str | None, as_json: bool) -> None:
    manifest = archive.manifest()
    policy = options.load().settings.read_policy().with_published(manifest.rules)
    keys = sorted(manifest.rules) if name is None else [name.lower()]
    # A schema alone is asked for with a table of no name, which has no rule of its own.
    facts = [
        {
            "name": key,
            "published_rule": _plain(manifest.rules[key]) if key in manifest.rules else None,
            "readers": policy.shown(*_parts(key)),
        }
        for key in keys
    ]
    if as_json:
        print_json(facts if name is None else facts[0])
    elif name is not None:
        click.echo(f"{name} may be read by {facts[0]['readers']}.")
        if name.lower() not in manifest.rules:
            click.echo("Nothing is attached to it itself.")
        elif len(both := policy.rules_for(*_parts(name))) > 1:
            named = [key for key in (keys[0], _parts(keys[0])[0]) if key in policy.rules]
            whose = named[0] if named else "all that it does not name"
            click.echo(f"dac.yaml has a rule for {whose} too ({both[0].shown}): whoever reads it must satisfy both.")
    elif not facts:
        click.echo("Nothing is attached to any schema or table: dac.yaml alone decides.")
    else:
        rows = [(key, manifest.rules[key].shown, policy.shown(*_parts(key))) for key in keys]
        print_table(("name", "attached for", "may be read by"), rows)


def _parts(key: str) -> tuple[str, str]:
    schema, _, table = key.partition(".")
    return schema, table
