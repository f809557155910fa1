"""``idac login``: log in at a centre, in any browser, and keep the token on this machine."""

from __future__ import annotations

import os
import socket
import sys
import webbrowser
from datetime import UTC, datetime

import click

from idac.cli.output import print_json
from idac.client.addresses import parse_centre
from idac.client.device_login import Centre, Shown, open_centre
from idac.client.kept import LogIn, LogIns
from idac.core.errors import UserError


@click.command("login", short_help="Log in at a centre, and keep its token on this machine.")
@click.argument("url")
@click.option("--no-browser", is_flag=True, help="Open no browser here; any other will do.")
@click.option("--scope", "scopes", multiple=True, default=("read:tap",), show_default=True,
              help="What the token may be used for; may be repeated.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON: first the code, then who is logged in.")
def command(url: str, no_browser: bool, scopes: tuple[str, ...], as_json: bool) -> None:
    """Log in at the centre at URL, such as https://dac.example.org.

    Confirm the code that is shown in a browser, here or anywhere. The token is then used by idac query, and by
    idac.client.session() in Python.
    """
    origin, log_ins = parse_centre(url), LogIns()
    with open_centre(origin) as centre:
        shown = centre.begin(scopes, _machine())
        _tell(shown, as_json=as_json)
        if not (no_browser or as_json) and _has_browser():
            webbrowser.open(shown.uri_complete or shown.uri)
        log_in = centre.wait(shown)
        _replace(log_ins, centre, log_in)
    if as_json:
        print_json({"url": origin, "username": log_in.username, "scopes": log_in.scopes, "expires": log_in.expires})
        return
    ends = f" until {datetime.fromtimestamp(log_in.expires, tz=UTC):%Y-%m-%d}" if log_in.expires else ""
    who = f" as {log_in.username}" if log_in.username else ""
    click.echo(f"You are logged in at {origin}{who}{ends}.")


def _replace(log_ins: LogIns, centre: Centre, log_in: LogIn) -> None:
    """Keep the new token, and end the one before, which nobody has any more."""
    try:
        before = log_ins.find(log_in.url)
    except UserError:
        before = None  # a file that can't be read is replaced
    try:
        log_ins.keep(log_in)
    except BaseException:
        centre.revoke(log_in.token)
        raise
    if before is not None:
        try:
            centre.revoke(before.token)
        except UserError as error:
            click.echo(f"The token of your earlier log-in was not revoked: {error.what}", err=True)


def _tell(shown: Shown, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "user_code": shown.user_code,
                "verification_uri": shown.uri,
                "verification_uri_complete": shown.uri_complete,
                "expires_in": shown.expires_s,
            }
        )
        sys.stdout.flush()
        return
    click.echo(f"Open   {shown.uri}\nEnter  {shown.user_code}\n")
    click.echo(f"Waiting for you to allow it there ({shown.expires_s / 60:.0f} minutes; Ctrl-C gives up) …", err=True)


def _machine() -> str:
    return socket.gethostname().partition(".")[0]


def _has_browser() -> bool:
    """True where a browser has a window to open in; one in the terminal, or on the far end of ssh, helps nobody."""
    if "SSH_CONNECTION" in os.environ:
        return False
    return sys.platform == "darwin" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))
