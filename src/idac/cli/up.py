"""``idac up``: run this centre."""

from __future__ import annotations

import errno
import logging
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import IPv4Network
from typing import Any

import click
import uvicorn

from idac import __version__
from idac.catalogs.archive import Archive
from idac.cli.admin import unmeant_words
from idac.cli.main import Options
from idac.cli.output import counted, print_json
from idac.core.errors import Conflict
from idac.core.loading import Loaded
from idac.core.log import log_to
from idac.wiring.app import build_centre
from idac.wiring.build import open_archive
from idac.wiring.processes import keep_for_good, serve_in_processes
from idac.wiring.settings import DacSettings
from idac.wiring.state import open_current_state

log = logging.getLogger(__name__)


@click.command("up")
@click.option("--host", help="Listen on this address instead of server.host.")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Listen on this port instead of server.port; 0 takes a free one."
)
@click.option("--only", help="Run only these parts, with commas between them: query, jobs.", metavar="PARTS")
@click.option("--json", "as_json", is_flag=True, help="Print the addresses as JSON once the service answers.")
@click.pass_obj
def command(options: Options, host: str | None, port: int | None, only: str | None, as_json: bool) -> None:
    """Run this centre until it is stopped with Ctrl-C."""
    loaded = _chosen(options.load(), host, port, only)
    log_to()
    server = loaded.settings.server
    listener = _listen(server.host, server.port)
    address = f"http://{_shown_host(server.host)}:{listener.getsockname()[1]}"
    url = server.public_url or address
    how = {
        "log_config": None,
        "access_log": False,
        "server_header": False,
        # Clients log it, and validators ask for it: whoever reports a fault can say which version it was.
        "headers": [("Server", f"idac/{__version__}")],
        "proxy_headers": True,
        "forwarded_allow_ips": _believed(server.forwarded_allow_ips),
        # Streams end with their query; half a minute is for those that are nearly done.
        "timeout_graceful_shutdown": 30,
    }
    if server.processes > 1:
        # Here, so that what is wrong with it is said once, by the process that was started by hand.
        archive = open_archive(loaded, open_current_state(loaded))
        serve_in_processes(loaded, listener, how, lambda: _announce(archive, loaded, url, as_json))
        return
    centre = build_centre(loaded)
    keep_for_good()
    config = uvicorn.Config(centre.app, **how)  # type: ignore[arg-type]
    service = _Server(config, lambda: _announce(centre.archive, loaded, url, as_json))
    service.run(sockets=[listener])
    if not service.started:
        raise RuntimeError("the application did not start; the log has the reason")


class _Server(uvicorn.Server):
    """A server that says when it answers, and for which being stopped is a good end."""

    def __init__(self, config: uvicorn.Config, started: Any) -> None:
        super().__init__(config)
        self._started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._started()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn has it, but a signal that was obeyed isn't raised again, which would end in an error code."""
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _chosen(loaded: Loaded[DacSettings], host: str | None, port: int | None, only: str | None) -> Loaded[DacSettings]:
    """The settings with what was said on the command line over them."""
    values = loaded.settings.model_dump()
    values["server"] |= {key: value for key, value in (("host", host), ("port", port)) if value is not None}
    if only is not None:
        values["parts"] = [part.strip() for part in only.split(",") if part.strip()]
        unknown = set(values["parts"]) - {"query", "jobs"}
        if unknown or not values["parts"]:
            raise click.UsageError(f"There is no part {', '.join(sorted(unknown)) or only!r}. Allowed: query, jobs.")
    return Loaded(DacSettings.model_validate(values), loaded.values, loaded.origins, loaded.folder)


def _believed(proxies: str) -> str:
    """Proxies, those of IPv4 also as a socket names them that hears both kinds of addresses."""
    names = [name.strip() for name in proxies.split(",")]
    for name in tuple(names):
        with suppress(ValueError):  # of IPv6, or * for all
            network = IPv4Network(name)
            names.append(f"::ffff:{network.network_address}/{96 + network.prefixlen}")
    return ",".join(names)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise Conflict(
            "This address can't be listened on.",
            value=f"{host}:{port}: {error.strerror}",
            allowed="an address of this machine, and a port that is free",
            next_step=_advice(error),
        ) from None
    listener.set_inheritable(True)
    return listener


def _advice(error: OSError) -> str:
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return "Name an address of this machine with --host or server.host: 127.0.0.1, or 0.0.0.0 for all."
    if isinstance(error, PermissionError):
        return "Ports below 1024 are for root: choose another with --port or server.port."
    return "Stop what uses it, or choose another with --port or server.port; 0 takes a free one."


def _shown_host(host: str) -> str:
    if host in ("0.0.0.0", "::", "127.0.0.1", "::1"):  # noqa: S104  it is compared, not listened on
        return "localhost"
    return f"[{host}]" if ":" in host else host


def _announce(archive: Archive, loaded: Loaded[DacSettings], url: str, as_json: bool) -> None:
    snapshot = archive.snapshot()
    tables = [t.qualified_name for s in snapshot.schemas for t in s if s.name.lower() != "tap_schema"]
    log_in = None
    if loaded.settings.identity.enabled:
        from idac.wiring.identity import first_log_in, unmeant_groups  # noqa: PLC0415

        log_in = first_log_in(loaded, url)
        for group, owner in unmeant_groups(loaded).items():
            log.warning(unmeant_words(group, owner))
    if as_json:
        print_json({"url": url, "tap": f"{url}/api/tap", "tables": tables} | ({"log_in": log_in} if log_in else {}))
        return
    lines = [f"{loaded.settings.centre.title} is up.", f"  TAP          {url}/api/tap"]
    lines += [f"  Examples     {url}/api/tap/examples", f"  Cone search  {url}/api/scs/SCHEMA.TABLE", ""]
    if tables:
        shown = ", ".join(tables[:6]) + (f" and {len(tables) - 6} more" if len(tables) > 6 else "")
        lines.append(f"{counted(len(tables), 'table')}: {shown}")
    else:
        lines.append("No tables yet. Publish one with: idac catalog add TABLE --name SCHEMA.TABLE")
    if log_in:
        lines += ["", "Log in as the administrator, once, within a day:", f"  {log_in}", ""]
    click.echo("\n".join([*lines, "Stop with Ctrl-C."]))
