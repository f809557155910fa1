"""``idac group``: groups, their members and the data rights that they hold."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

import click

from idac.cli.admin import actor, administration, parse_moment, shown, unmeant_words
from idac.cli.group_remote import invite, join, leave, make, mine
from idac.cli.main import Options
from idac.cli.output import counted, print_json, print_table
from idac.core.errors import BadParameter
from idac.identity.administration import Administration
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
@click.option("--again", is_flag=True, help="Make it with the name of one that was deleted, and nothing else of that.")
@_JSON
@click.pass_obj
def add(options: Options, group: str, users: tuple[str, ...], expires: str | None, again: bool, as_json: bool) -> None:
    """Add USERS to GROUP, which is made where there is none; a member who is there gets the new date."""
    with administration(options) as identity:
        until = parse_moment(expires, "--expires")
        identity.add_members(group, users, actor=actor(), expires=until, again=again)
        found = _find(identity, group)
    ends = f" until {shown(until)} UTC" if until and users else ""
    _print(found, f"{group}: {', '.join(users) or 'nobody new'}{ends}.{_warning(found)}", as_json)


@command.command(short_help="Take members out of a group.")
@click.argument("group")
@click.argument("users", nargs=-1, required=True)
@_JSON
@click.pass_obj
def remove(options: Options, group: str, users: tuple[str, ...], as_json: bool) -> None:
    """Take USERS out of GROUP; what they read by it they may not read any more, within seconds."""
    with administration(options) as identity:
        identity.remove_members(group, users, actor=actor())
        found = _find(identity, group)
    _print(found, f"{', '.join(users)} left {group}.", as_json)


@command.command("list")
@_JSON
@click.pass_obj
def list_groups(options: Options, as_json: bool) -> None:
    """List groups with their members and data rights."""
    with administration(options) as identity:
        found = _look(identity)
    if as_json:
        print_json([_json(each) for each in found])
    elif not found:
        click.echo("There are no groups yet. Make one with: idac group add GROUP USER...")
    else:
        rows = [
            (
                each.group.name,
                each.group.gid,
                each.owner or "",
                ", ".join(_until(grant.right, grant.expires) for grant in each.group.grants),
                ", ".join(_until(member.account, member.expires) for member in each.group.members),
            )
            for each in found
        ]
        print_table(("group", "gid", "owner", "data rights", "members"), rows)
        _tell_unmeant(found)


@command.command(short_help="Give a group a data right, or take it.")
@click.argument("group")
@click.argument("right")
@_EXPIRES
@click.option("--withdraw", is_flag=True, help="Take the right from the group.")
@_JSON
@click.pass_obj
def grant(options: Options, group: str, right: str, expires: str | None, withdraw: bool, as_json: bool) -> None:
    """Let GROUP hold RIGHT, which dac.yaml names under identity.rights."""
    if withdraw and expires is not None:
        raise BadParameter(
            "A right that is withdrawn has no end.",
            value=f"--withdraw --expires {expires}",
            allowed="one of them",
            next_step="Leave out --expires to take the right at once, or --withdraw to let it end then.",
        )
    with administration(options) as identity:
        until = parse_moment(expires, "--expires")
        if withdraw:
            identity.withdraw(group, right, actor=actor())
        else:
            identity.grant(group, right, actor=actor(), expires=until)
        found = _find(identity, group)
    verb = "no longer holds" if withdraw else "holds"
    ends = f" until {shown(until)} UTC" if until and not withdraw else ""
    _print(found, f"{group} {verb} {right}{ends}.{'' if withdraw else _warning(found)}", as_json)


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
        found = _find(identity, group)
    whose = f"in the hands of {user}" if user else "administrators' alone"
    _print(found, f"{group} is {whose}.", as_json)


@command.command(short_help="Delete a group.")
@click.argument("group")
@_JSON
@click.pass_obj
def delete(options: Options, group: str, as_json: bool) -> None:
    """Delete GROUP, whoever made or owns it; nobody gets its number again, and its name only by add --again."""
    with administration(options) as identity:
        quotas = identity.delete_group(group, actor=actor())
    if as_json:
        print_json({"group": group, "deleted": True, "limits": quotas})
    else:
        gone = f" Limits that were set for it are gone: {', '.join(quotas)}." if quotas else ""
        click.echo(f"Deleted the group {group}. What its members read by it ends within 5 seconds.{gone}")


@dataclass(frozen=True, slots=True)
class _Found:
    group: Group
    owner: str | None
    #: It counts for nobody, as this centre has come to use the name that its owner gave it.
    is_unmeant: bool
    owner_frozen: bool


def _look(identity: Administration) -> list[_Found]:
    owners, unmeant = UserGroups(identity).owners(), identity.unmeant_groups()
    frozen = {account.name for account in identity.accounts() if account.frozen is not None}
    return [
        _Found(group, owner := owners.get(group.name), group.name in unmeant, owner in frozen)
        for group in identity.groups()
    ]


def _find(identity: Administration, name: str) -> _Found:
    return next(found for found in _look(identity) if found.group.name == name)


def _json(found: _Found) -> dict[str, object]:
    def iso(moment: datetime | None) -> str | None:
        return moment.isoformat(timespec="seconds") if moment is not None else None

    group = found.group
    return {
        "group": group.name,
        "gid": group.gid,
        "description": group.description,
        "owner": found.owner,
        "counts": not found.is_unmeant and not found.owner_frozen,
        "members": [{"username": m.account, "source": m.source, "expires": iso(m.expires)} for m in group.members],
        "rights": [{"right": grant.right, "expires": iso(grant.expires)} for grant in group.grants],
    }


def _warning(found: _Found) -> str:
    """What whoever puts members or rights into somebody's group should know."""
    return f" {found.owner} owns it and says who is in it." if found.owner else ""


def _tell_unmeant(found: Iterable[_Found]) -> None:
    for each in found:
        if each.is_unmeant:
            click.echo(unmeant_words(each.group.name, str(each.owner)), err=True)


def _until(what: str, expires: datetime | None) -> str:
    if expires is None:
        return what
    return f"{what} ({'ended' if expires <= datetime.now(UTC) else 'until'} {expires:%Y-%m-%d})"


def _print(found: _Found, words: str, as_json: bool) -> None:
    if as_json:
        print_json(_json(found))
    else:
        click.echo(f"{words} It has {counted(len(found.group.members), 'member')}.")
        _tell_unmeant([found])
