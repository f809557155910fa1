"""``idac group mine``, ``make``, ``invite``, ``join`` and ``leave``: groups of one's own at a centre from afar."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import click

from idac.cli.admin import parse_moment
from idac.cli.output import print_json, print_table
from idac.client.addresses import origin_of
from idac.client.groups import RemoteGroups
from idac.client.kept import LogIns
from idac.core.errors import BadParameter, NotAuthenticated

_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_SERVICE = click.option("--service", metavar="URL", help="The centre; where you are logged in at one alone, that one.")


@click.command(short_help="List your own groups at a centre, and invitations to you.")
@_SERVICE
@_JSON
def mine(service: str | None, as_json: bool) -> None:
    """List the groups that you own or are in at a centre where you are logged in, and what you are invited to."""
    remote = _remote(service)
    groups, invitations = remote.mine(), remote.invitations()
    if as_json:
        print_json({"groups": groups, "invitations": invitations})
        return
    if not groups and not invitations:
        click.echo("You are in no group. Make one with: idac group make NAME")
    if groups:
        print_table(
            ("group", "you are", "owner", "what it is"),
            [(each["name"], each["role"], each["owner"], each["description"]) for each in groups],
        )
    for each in invitations:
        click.echo(f"{each['inviter']} invites you to {each['group']}: idac group join {each['invitation']}")


@click.command(short_help="Make a group of your own at a centre.")
@click.argument("name")
@click.option("--description", default="", help="What it is.")
@_SERVICE
@_JSON
def make(name: str, description: str, service: str | None, as_json: bool) -> None:
    """Make the group NAME, which you own, at a centre where you are logged in."""
    made = _remote(service).make(name, description)
    if as_json:
        print_json(made)
    else:
        click.echo(f"You own the group {name}. Invite to it with: idac group invite {name} USER")


@click.command(short_help="Invite somebody to a group of yours, or make a link.")
@click.argument("group")
@click.argument("user", required=False)
@click.option("--uses", type=click.IntRange(min=1), help="For how many a link is. Default: 1.")
@click.option("--expires", metavar="WHEN", help="Until when: a date, or a time from now such as 7d.")
@click.option("--place-expires", metavar="WHEN", help="Until when the place in the group lasts. Default: for good.")
@_SERVICE
@_JSON
def invite(
    group: str,
    user: str | None,
    uses: int | None,
    expires: str | None,
    place_expires: str | None,
    service: str | None,
    as_json: bool,
) -> None:
    """Invite USER to GROUP, or, without USER, make a link that lets in whoever has it."""
    if user is not None and uses is not None:
        raise BadParameter(
            "An account is invited once.",
            value=f"--uses {uses}",
            allowed="--uses for a link",
            next_step=f"Leave out --uses, or {user}.",
        )
    made = _remote(service).invite(
        group, user, uses or 1, parse_moment(expires, "--expires"), parse_moment(place_expires, "--place-expires")
    )
    if as_json:
        print_json(made)
    elif user is not None:
        click.echo(f"{user} is invited to {group} until {_day(made['expires'])}.")
    else:
        click.echo(f"Whoever opens this until {_day(made['expires'])} may join {group}. It is not shown again.")
        click.echo(made["url"])


@click.command(short_help="Accept an invitation to a group, or decline it.")
@click.argument("invitation")
@click.option("--decline", is_flag=True, help="Decline it; for one to your account.")
@_SERVICE
@_JSON
def join(invitation: str, decline: bool, service: str | None, as_json: bool) -> None:
    """Accept INVITATION: a link, or what idac group mine shows."""
    secret = _secret(invitation)
    if secret is not None and decline:
        raise BadParameter("A link need not be declined.", next_step="Just leave it.")
    remote = _remote(service or (origin_of(invitation) if secret is not None else None))
    if secret is not None:
        remote.join(secret)
    else:
        remote.answer(invitation, accept=not decline)
    if as_json:
        print_json({"joined": not decline})
    else:
        click.echo("You declined." if decline else "You are in the group now. idac group mine shows it.")


@click.command(short_help="Leave a group at a centre.")
@click.argument("group")
@_SERVICE
@_JSON
def leave(group: str, service: str | None, as_json: bool) -> None:
    """Leave GROUP, which somebody else owns, at a centre where you are logged in."""
    _remote(service).leave(group)
    if as_json:
        print_json({"group": group, "left": True})
    else:
        click.echo(f"You left the group {group}.")


def _remote(service: str | None) -> RemoteGroups:
    try:
        return RemoteGroups(LogIns().choose(service))
    except NotAuthenticated as error:
        # A log-in for queries alone would be refused next.
        more = " --scope read:tap --scope user:groups" if (error.next_step or "").startswith("Log in with: ") else ""
        raise NotAuthenticated(
            error.what, value=error.value, allowed=error.allowed, next_step=f"{error.next_step}{more}"
        ) from None


def _secret(text: str) -> str | None:
    """The secret in a link; None for the name of an invitation to an account."""
    if "://" not in text:
        return None
    found = parse_qs(urlsplit(text).query).get("invitation")
    if not found:
        raise BadParameter("This is no link to join a group.", value=text.partition("?")[0])
    return found[0]


def _day(seconds: Any) -> str:
    return f"{datetime.fromtimestamp(int(seconds), tz=UTC):%Y-%m-%d}"
