"""``idac user``: accounts of people and services."""

from __future__ import annotations

import sys
from dataclasses import asdict
from datetime import UTC, datetime

import click

from idac.cli.admin import actor, administration, parse_moment, shown
from idac.cli.main import Options
from idac.cli.output import print_json, print_table
from idac.core.errors import BadParameter
from idac.identity.claimed import forget_claims
from idac.identity.claimed_rights import rights_json
from idac.identity.gate import LOG_IN_PATH
from idac.identity.impersonation import DEFAULT_MINUTES, MOST_MINUTES, Impersonation
from idac.identity.model import Account
from idac.identity.routes_api import account_json, token_json

_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_NOT_ENABLED = "Nobody is asked to log in yet: set identity.enabled to true in dac.yaml."
_STDIN = click.option("--password-stdin", is_flag=True, help="Read the password from the first line of standard input.")


@click.group("user")
def command() -> None:
    """Make, list, freeze and end accounts."""


@command.command(short_help="Make an account.")
@click.argument("name")
@click.option("--full-name", help="Name for people.")
@click.option("--email", help="Address for letters.")
@click.option("--admin", is_flag=True, help="Make an administrator, who may read and do everything.")
@click.option("--service", is_flag=True, help="An account for a program: it has tokens and no log-in.")
@click.option("--expires", help="When the account ends: a date, or a time from now such as 90d.", metavar="WHEN")
@click.option("--uid", type=int, help="Number that the user has elsewhere. Default: the next free one.")
@_STDIN
@_JSON
@click.pass_obj
def add(
    options: Options,
    name: str,
    full_name: str | None,
    email: str | None,
    admin: bool,
    service: bool,
    expires: str | None,
    uid: int | None,
    password_stdin: bool,
    as_json: bool,
) -> None:
    """Make the account NAME. Without a password, idac user link NAME prints a way in."""
    if service and (admin or password_stdin):
        raise BadParameter("A service is no administrator and has no password.", value=name)
    with administration(options) as identity:
        made = identity.add_account(
            name,
            actor=actor(),
            kind="service" if service else "user",
            full_name=full_name,
            email=email,
            is_admin=admin,
            password=_read_password() if password_stdin else None,
            expires=parse_moment(expires, "--expires"),
            uid=uid,
        )
        enabled = identity.settings.enabled
    _print_account(made, f"Made the account {made.name}, number {made.uid}.", as_json)
    if not as_json and not enabled:
        click.echo(_NOT_ENABLED)


@command.command("list")
@_JSON
@click.pass_obj
def list_accounts(options: Options, as_json: bool) -> None:
    """List all accounts."""
    with administration(options) as identity:
        accounts, claimed = identity.accounts(), identity.claimed_rights()
    now = datetime.now(UTC)
    if as_json:
        print_json([account_json(a, now) | {"rights_by_claim": rights_json(claimed.get(a.name, []))} for a in accounts])
    elif not accounts:
        click.echo("There are no accounts yet. Make one with: idac user add NAME")
    else:
        rows = [
            (
                a.name,
                a.uid,
                a.kind,
                "yes" if a.is_admin else "",
                a.state(now),
                shown(a.expires),
                shown(a.last_login),
                ", ".join(f"{each.right} (until {each.expires:%Y-%m-%d})" for each in claimed.get(a.name, [])),
            )
            for a in accounts
        ]
        print_table(("account", "uid", "kind", "admin", "state", "expires", "last log-in", "rights by claim"), rows)


@command.command(short_help="Shut an account out.")
@click.argument("name")
@click.option("--why", default="by the operator", help="Reason, for the audit log.", show_default=True)
@_JSON
@click.pass_obj
def freeze(options: Options, name: str, why: str, as_json: bool) -> None:
    """Shut the account NAME out everywhere, within seconds; its queries stop within half a minute."""
    with administration(options) as identity:
        account = identity.freeze(name, why, actor=actor())
    _print_account(account, f"Froze the account {name}.", as_json)


@command.command(short_help="Let a frozen account in again.")
@click.argument("name")
@_JSON
@click.pass_obj
def unfreeze(options: Options, name: str, as_json: bool) -> None:
    """Let the frozen account NAME in again, with the tokens that it had."""
    with administration(options) as identity:
        account = identity.unfreeze(name, actor=actor())
    words = f"The account {name} may log in again."
    if account.state(datetime.now(UTC)) == "expired":
        words = (
            f"The account {name} is frozen no more, but it ended on {shown(account.expires)} UTC. Let it go on: "
            f"idac user expire {name} --never, or --on DATE."
        )
    _print_account(account, words, as_json)


@command.command(short_help="Say when an account ends.")
@click.argument("name")
@click.option("--on", "when", help="A date, or a time from now such as 90d. Default: now.", metavar="WHEN")
@click.option("--never", is_flag=True, help="Let it go on without an end.")
@_JSON
@click.pass_obj
def expire(options: Options, name: str, when: str | None, never: bool, as_json: bool) -> None:
    """End the account NAME at a date. Accounts are never removed, so that nobody gets the name of another."""
    if never and when:
        raise BadParameter("--never and --on say different things.", allowed="one of them")
    moment = None if never else parse_moment(when, "--on") or datetime.now(UTC)
    with administration(options) as identity:
        account = identity.expire(name, moment, actor=actor())
    ends = f"ends {shown(account.expires)} UTC" if account.expires else "goes on without an end"
    _print_account(account, f"The account {name} {ends}.", as_json)


@command.command(short_help="Make an account an administrator's, or no longer.")
@click.argument("name")
@click.option("--dismiss", is_flag=True, help="Let it be an administrator's no longer.")
@_JSON
@click.pass_obj
def admin(options: Options, name: str, dismiss: bool, as_json: bool) -> None:
    """Make the account NAME an administrator's, who may read and do everything.

    Where an identity provider says that somebody is one (admin_groups in dac.yaml), the next log-in by it counts again.
    """
    with administration(options) as identity:
        account = identity.appoint(name, actor=actor(), dismiss=dismiss)
    _print_account(account, f"{name} is {'no administrator any more' if dismiss else 'an administrator'}.", as_json)


@command.command("forget-claims", short_help="Take back what identity providers gave.")
@click.argument("name")
@_JSON
@click.pass_obj
def forget(options: Options, name: str, as_json: bool) -> None:
    """Take back the groups, data rights and administration that identity providers gave the account NAME.

    It is logged out of every browser, and its next log-in by a provider asks anew: what that says then counts again.
    """
    with administration(options) as identity:
        taken = forget_claims(identity.store, name, actor=actor())
    if as_json:
        print_json(asdict(taken))
        return
    parts = [f"the groups {', '.join(taken.groups)}"] if taken.groups else []
    parts += [f"the data rights {', '.join(taken.rights)}"] if taken.rights else []
    parts += ["being an administrator"] if taken.was_admin else []
    click.echo(
        f"Took back from {name}: {'; '.join(parts) or 'nothing, as no provider gave anything'}. It is logged out."
    )


@command.command(short_help="Set an account's password.")
@click.argument("name")
@_STDIN
@_JSON
@click.pass_obj
def password(options: Options, name: str, password_stdin: bool, as_json: bool) -> None:
    """Set the password of the account NAME, and log it out of every browser."""
    with administration(options) as identity:
        identity.account(name)
        chosen = _read_password() if password_stdin else _ask_password()
        account = identity.set_password(name, chosen, actor=actor())
    _print_account(account, f"The account {name} has a new password.", as_json)


@command.command(short_help="Print a one-time log-in link.")
@click.argument("name")
@_JSON
@click.pass_obj
def link(options: Options, name: str, as_json: bool) -> None:
    """Print a link that logs in to the account NAME, once, within a day."""
    loaded = options.load()
    with administration(options) as identity:
        secret = identity.log_in_link(name, actor=actor())
        enabled = identity.settings.enabled
    server = loaded.settings.server
    url = f"{server.public_url or f'http://localhost:{server.port}'}{LOG_IN_PATH}?link={secret.text}"
    if as_json:
        print_json({"username": name, "url": url})
    else:
        click.echo(url)
        if not enabled:
            click.echo(_NOT_ENABLED, err=True)


@command.command(short_help="See what somebody else sees.")
@click.argument("name")
@click.option("--reason", required=True, help="Why: for the audit log, and for the account's holder to read.")
@click.option("--minutes", type=click.IntRange(1, MOST_MINUTES), default=DEFAULT_MINUTES, show_default=True,
              help="For how long.")  # fmt: skip
@_JSON
@click.pass_obj
def impersonate(options: Options, name: str, reason: str, minutes: int, as_json: bool) -> None:
    """Print a token that reads data and jobs as the account NAME, for some minutes, and changes nothing.

    Each use is in the audit log, and the holder sees the token among their own. Administrators can't be named.
    """
    with administration(options) as identity:
        token, secret = Impersonation(identity).lend(name, reason, actor=actor(), administrator=None, minutes=minutes)
    if as_json:
        print_json({"secret": secret.text, **token_json(token)})
        return
    click.echo(secret.text)
    click.echo(f"Good for {minutes} min; end it before with: idac token revoke {token.key}", err=True)


def _ask_password() -> str:
    return str(click.prompt("Password", hide_input=True, confirmation_prompt=True))


def _read_password() -> str:
    line = sys.stdin.readline().rstrip("\r\n")
    if not line:
        raise BadParameter("There is no password on standard input.", allowed="one line")
    return line


def _print_account(account: Account, words: str, as_json: bool) -> None:
    if as_json:
        print_json(account_json(account, datetime.now(UTC)))
    else:
        click.echo(words)
