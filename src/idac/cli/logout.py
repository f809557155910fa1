"""``idac logout``: end the token that ``idac login`` left, at the centre and on this machine."""

from __future__ import annotations

import click

from idac.cli.output import print_json
from idac.client.addresses import parse_centre
from idac.client.device_login import CentreUnavailable, open_centre
from idac.client.kept import LogIns


@click.command("logout", short_help="Revoke the token of a log-in, and remove it here.")
@click.argument("url", required=False)
@click.option("--only-here", is_flag=True, help="Remove it from this machine alone, where the centre is gone.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(url: str | None, only_here: bool, as_json: bool) -> None:
    """Log out at the centre at URL, or at the only one where you are logged in."""
    log_ins = LogIns()
    if only_here and url is not None:
        origin = parse_centre(url)  # and no look at the file, which may be damaged
    else:
        log_in = log_ins.choose(url)
        origin = log_in.url
    if not only_here:
        try:
            with open_centre(origin) as centre:
                centre.revoke(log_in.token)
        except CentreUnavailable as error:
            raise CentreUnavailable(
                "The token was not revoked, since the centre does not answer.",
                value=error.value,
                next_step="Try again later. With --only-here it is removed from this machine, and still holds there.",
            ) from None
    log_ins.remove(origin)
    if as_json:
        print_json({"url": origin, "revoked": not only_here})
    else:
        click.echo(f"You are logged out at {origin}." if not only_here else f"The log-in at {origin} is removed here.")
