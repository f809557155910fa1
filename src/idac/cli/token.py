"""``idac token``: tokens of people, services and notebooks."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from idac.cli.admin import actor, administration, parse_moment, shown
from idac.cli.main import Options
from idac.cli.output import print_json, print_table
from idac.identity.model import SCOPES, TOKEN_KINDS, Account, Token, TokenKind
from idac.identity.routes_api import token_json

_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group("token")
def command() -> None:
    """Make, list and revoke tokens."""


@command.command(short_help="Make a token, and print it this once.")
@click.argument("user")
@click.option("--name", required=True, help="What it is for: shown in lists.")
@click.option("--kind", type=click.Choice(TOKEN_KINDS), help="Default: service for a service's account, else user.")
@click.option("--scope", "scopes", multiple=True, type=click.Choice(list(SCOPES)), default=("read:tap",),
              show_default=True, help="What it may be used for; may be repeated.")  # fmt: skip
@click.option("--expires", help="When it ends: a date, or a time from now such as 90d. Default: never.", metavar="WHEN")
@_JSON
@click.pass_obj
def create(
    options: Options,
    user: str,
    name: str,
    kind: TokenKind | None,
    scopes: tuple[str, ...],
    expires: str | None,
    as_json: bool,
) -> None:
    """Make a token for USER. Its secret is kept nowhere, and is shown this once."""
    with administration(options) as identity:
        identity.require_use_for_token(user, scopes)
        default: TokenKind = "service" if identity.account(user).kind == "service" else "user"
        token, secret = identity.add_token(
            user,
            name,
            actor=actor(),
            kind=kind or default,
            scopes=scopes,
            expires=parse_moment(expires, "--expires"),
        )
    if as_json:
        print_json({"secret": secret.text, **token_json(token)})
        return
    click.echo(secret.text)
    click.echo("Copy it now: it can't be shown again. It works as a bearer token and as a password.", err=True)


@command.command("list")
@click.argument("user", required=False)
@_JSON
@click.pass_obj
def list_tokens(options: Options, user: str | None, as_json: bool) -> None:
    """List the tokens of USER, or of everyone."""
    with administration(options) as identity:
        tokens, owners = identity.tokens(user), {account.name: account for account in identity.accounts()}
    now = datetime.now(UTC)
    states = {token.key: _state(token, owners[token.account], now) for token in tokens}
    if as_json:
        print_json([token_json(token) | {"state": states[token.key]} for token in tokens])
    elif not tokens:
        click.echo("There are no tokens. Make one with: idac token create USER --name NAME")
    else:
        rows = [
            (
                token.key,
                token.account,
                token.kind,
                states[token.key],
                " ".join(sorted(token.scopes)),
                shown(token.expires, "never"),
                shown(token.last_used, "never"),
                token.name,
            )
            for token in tokens
        ]
        print_table(("key", "user", "kind", "state", "scopes", "ends", "last used", "name"), rows)


def _state(token: Token, owner: Account, now: datetime) -> str:
    """A token's state; where it could be used but for its account, that of the account."""
    own, of_account = token.state(now), owner.state(now)
    return f"account {of_account}" if own == "active" and of_account != "active" else own


@command.command(short_help="Revoke a token.")
@click.argument("key")
@_JSON
@click.pass_obj
def revoke(options: Options, key: str, as_json: bool) -> None:
    """Revoke the token with this KEY (or that begins so, where the whole token is given), and those made with it."""
    with administration(options) as identity:
        token = identity.revoke(key, actor=actor())
    if as_json:
        print_json(token_json(token))
    else:
        click.echo(f"Revoked {token.name} of {token.account}. It holds nowhere within 5 seconds.")
