"""``idac group``: groups, their members and the data rights that they hold."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from idac.cli.admin import actor, administration, parse_moment, shown
from idac.cli.group_remote import invite, join, leave, make, mine
from idac.cli.main import Options
from idac.cli.output import counted, print_json, print_table
from idac.core.errors import BadParameter
from idac.core.principal import Principal
from idac.identity.groups import UserGroups
from idac.identity.model import Group

_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_EXPIRES = click.option("--expires", help="Until when: a date, or a time from now such as 90d.", metavar="WHEN")


@click.group("group")
def command() -> None:
    """Make groups, and say who is in them and what they may read.

    add, remove, grant, owner, delete and list are the operator's, on the machine of the centre; mine, make, invite,
    join and leave are for groups of your own, at a centre where idac login has logged you in.
    """


for _each in (mine, make, invite, join, leave):
    command.add_command(_each)


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
        found, owned_by = _find(identity.groups(), group), UserGroups(identity).owners().get(group)
    ends = f" until {shown(until)} UTC" if until and users else ""
    _print_group(found, f"{group}: {', '.join(users) or 'nobody new'}{ends}.", as_json, owned_by)


@command.command(short_help="Take members out of a group.")
@click.argument("group")
@click.argument("users", nargs=-1, required=True)
@_JSON
@click.pass_obj
def remove(options: Options, group: str, users: tuple[str, ...], as_json: bool) -> None:
    """Take USERS out of GROUP; what they read by it they may not read any more, within seconds."""
    with administration(options) as identity:
        identity.remove_members(group, users, actor=actor())
        found, owned_by = _find(identity.groups(), group), UserGroups(identity).owners().get(group)
    _print_group(found, f"{', '.join(users)} left {group}.", as_json, owned_by)


@command.command("list")
@_JSON
@click.pass_obj
def list_groups(options: Options, as_json: bool) -> None:
    """List groups with their members and data rights."""
    with administration(options) as identity:
        groups, owners = identity.groups(), UserGroups(identity).owners()
    if as_json:
        print_json([group_json(group, owners.get(group.name)) for group in groups])
    elif not groups:
        click.echo("There are no groups yet. Make one with: idac group add GROUP USER...")
    else:
        rows = [
            (
                group.name,
                group.gid,
                owners.get(group.name, ""),
                ", ".join(_until(grant.right, grant.expires) for grant in group.grants),
                ", ".join(_until(member.account, member.expires) for member in group.members),
            )
            for group in groups
        ]
        print_table(("group", "gid", "owner", "data rights", "members"), rows)


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
        found, owned_by = _find(identity.groups(), group), UserGroups(identity).owners().get(group)
    verb = "no longer holds" if withdraw else "holds"
    ends = f" until {shown(until)} UTC" if until and not withdraw else ""
    warned = f" {owned_by} owns it and says who is in it." if owned_by and not withdraw else ""
    _print_group(found, f"{group} {verb} {right}{ends}.{warned}", as_json, owned_by)


@command.command(short_help="Say who owns a group, or take it back.")
@click.argument("group")
@click.argument("user", required=False)
@click.option("--none", "nobody", is_flag=True, help="Nobody: its members stay, and administrators alone change it.")
@_JSON
@click.pass_obj
def owner(options: Options, group: str, user: str | None, nobody: bool, as_json: bool) -> None:
    """Make USER the owner of GROUP, who then says who is in it, and appoints others that may.

    Whatever GROUP may read or have, and what dac.yaml uses its name for, is then in USER's hands.
    """
    if (user is None) != nobody:
        raise BadParameter("Who is to own the group?", allowed="an account, or --none")
    with administration(options) as identity:
        UserGroups(identity).give(group, user, actor=actor())
        found = _find(identity.groups(), group)
    whose = f"in the hands of {user}" if user else "administrators' alone"
    _print_group(found, f"{group} is {whose}.", as_json, user)


@command.command(short_help="Delete a group that somebody owns.")
@click.argument("group")
@_JSON
@click.pass_obj
def delete(options: Options, group: str, as_json: bool) -> None:
    """Delete GROUP, which a person made or owns; its name and number are never given again."""
    with administration(options) as identity:
        UserGroups(identity).delete(Principal(actor(), "user", is_admin=True), group)
    if as_json:
        print_json({"group": group, "deleted": True})
    else:
        click.echo(f"Deleted the group {group}. What its members read by it ends within 5 seconds.")


def group_json(group: Group, owner: str | None = None) -> dict[str, object]:
    def iso(moment: datetime | None) -> str | None:
        return moment.isoformat(timespec="seconds") if moment is not None else None

    return {
        "group": group.name,
        "gid": group.gid,
        "description": group.description,
        "owner": owner,
        "members": [{"username": m.account, "source": m.source, "expires": iso(m.expires)} for m in group.members],
        "rights": [{"right": grant.right, "expires": iso(grant.expires)} for grant in group.grants],
    }


def _find(groups: list[Group], name: str) -> Group:
    return next(group for group in groups if group.name == name)


def _until(what: str, expires: datetime | None) -> str:
    if expires is None:
        return what
    return f"{what} ({'ended' if expires <= datetime.now(UTC) else 'until'} {expires:%Y-%m-%d})"


def _print_group(group: Group, words: str, as_json: bool, owned_by: str | None = None) -> None:
    if as_json:
        print_json(group_json(group, owned_by))
    else:
        click.echo(f"{words} It has {counted(len(group.members), 'member')}.")
