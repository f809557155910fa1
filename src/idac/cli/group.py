"""``idac group``: groups, their members and the data rights that they hold."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from idac.cli.admin import actor, administration, parse_moment, shown
from idac.cli.main import Options
from idac.cli.output import counted, print_json, print_table
from idac.identity.model import Group

_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_EXPIRES = click.option("--expires", help="Until when: a date, or a time from now such as 90d.", metavar="WHEN")


@click.group("group")
def command() -> None:
    """Make groups, and say who is in them and what they may read."""


@command.command(short_help="Make a group, or add members to it.")
@click.argument("group")
@click.argument("users", nargs=-1)
@_EXPIRES
@_JSON
@click.pass_obj
def add(options: Options, group: str, users: tuple[str, ...], expires: str | None, as_json: bool) -> None:
    """Add USERS to GROUP, which is made where there is none; a member who is there gets the new date."""
    with administration(options) as identity:
        until = parse_moment(expires, "--expires")
        identity.add_members(group, users, actor=actor(), expires=until)
        found = _find(identity.groups(), group)
    ends = f" until {shown(until)} UTC" if until and users else ""
    _print_group(found, f"{group}: {', '.join(users) or 'nobody new'}{ends}.", as_json)


@command.command(short_help="Take members out of a group.")
@click.argument("group")
@click.argument("users", nargs=-1, required=True)
@_JSON
@click.pass_obj
def remove(options: Options, group: str, users: tuple[str, ...], as_json: bool) -> None:
    """Take USERS out of GROUP; what they read by it they may not read any more, within seconds."""
    with administration(options) as identity:
        identity.remove_members(group, users, actor=actor())
        found = _find(identity.groups(), group)
    _print_group(found, f"{', '.join(users)} left {group}.", as_json)


@command.command("list")
@_JSON
@click.pass_obj
def list_groups(options: Options, as_json: bool) -> None:
    """List groups with their members and data rights."""
    with administration(options) as identity:
        groups = identity.groups()
    if as_json:
        print_json([group_json(group) for group in groups])
    elif not groups:
        click.echo("There are no groups yet. Make one with: idac group add GROUP USER...")
    else:
        rows = [
            (
                group.name,
                group.gid,
                ", ".join(_until(grant.right, grant.expires) for grant in group.grants),
                ", ".join(_until(member.account, member.expires) for member in group.members),
            )
            for group in groups
        ]
        print_table(("group", "gid", "data rights", "members"), rows)


@command.command(short_help="Give a group a data right, or take it.")
@click.argument("group")
@click.argument("right")
@_EXPIRES
@click.option("--withdraw", is_flag=True, help="Take the right from the group.")
@_JSON
@click.pass_obj
def grant(options: Options, group: str, right: str, expires: str | None, withdraw: bool, as_json: bool) -> None:
    """Let GROUP hold RIGHT, which dac.yaml names under identity.rights."""
    with administration(options) as identity:
        until = parse_moment(expires, "--expires")
        if withdraw:
            identity.withdraw(group, right, actor=actor())
        else:
            identity.grant(group, right, actor=actor(), expires=until)
        found = _find(identity.groups(), group)
    verb = "no longer holds" if withdraw else "holds"
    ends = f" until {shown(until)} UTC" if until and not withdraw else ""
    _print_group(found, f"{group} {verb} {right}{ends}.", as_json)


def group_json(group: Group) -> dict[str, object]:
    def iso(moment: datetime | None) -> str | None:
        return moment.isoformat(timespec="seconds") if moment is not None else None

    return {
        "group": group.name,
        "gid": group.gid,
        "description": group.description,
        "members": [{"username": m.account, "source": m.source, "expires": iso(m.expires)} for m in group.members],
        "rights": [{"right": grant.right, "expires": iso(grant.expires)} for grant in group.grants],
    }


def _find(groups: list[Group], name: str) -> Group:
    return next(group for group in groups if group.name == name)


def _until(what: str, expires: datetime | None) -> str:
    if expires is None:
        return what
    return f"{what} ({'ended' if expires <= datetime.now(UTC) else 'until'} {expires:%Y-%m-%d})"


def _print_group(group: Group, words: str, as_json: bool) -> None:
    if as_json:
        print_json(group_json(group))
    else:
        click.echo(f"{words} It has {counted(len(group.members), 'member')}.")
