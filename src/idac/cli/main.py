"""The ``idac`` command. Each sub-command is a module of this folder, imported only when it runs."""

from __future__ import annotations

import errno
import gc
import importlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

import click

from idac import __version__
from idac.cli.output import fail, fail_stopped, fail_usage, report_fault
from idac.core import machine
from idac.core.errors import ResourceExhausted, UserError

if TYPE_CHECKING:
    from idac.core.loading import Loaded
    from idac.wiring.settings import DacSettings

#: Sub-command to module and one line of help: ``idac --help`` imports none of them.
COMMANDS: dict[str, tuple[str, str]] = {
    "init": ("idac.cli.init", "Write a commented dac.yaml into a new folder."),
    "config": ("idac.cli.config", "Check or show the configuration, or print its JSON Schema."),
    "catalog": ("idac.cli.catalog", "Publish, describe, replace and drop tables."),
    "up": ("idac.cli.up", "Run this centre."),
    "query": ("idac.cli.query", "Run an ADQL query on the archive."),
    "explain": ("idac.cli.explain", "Show what a query will read, and how."),
    "login": ("idac.cli.login", "Log in at a centre, and keep its token on this machine."),
    "logout": ("idac.cli.logout", "Revoke the token of a log-in, and remove it here."),
    "user": ("idac.cli.user", "Make, list, freeze and end accounts."),
    "group": ("idac.cli.group", "Groups, their members and their data rights."),
    "token": ("idac.cli.token", "Make, list and revoke tokens."),
    "quota": ("idac.cli.quota", "See quotas, and set limits until a date."),
    "audit": ("idac.cli.audit", "Read the audit log."),
    "state": ("idac.cli.state", "Back up, restore and upgrade the state database."),
    "adql": ("idac.cli.adql", "Check ADQL text."),
}
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Options:
    """What was said before the sub-command."""

    config: Path
    environment: str | None
    debug: bool

    def load(self) -> Loaded[DacSettings]:
        """The settings that --config and --env name."""
        # Sections come from every part of the package; commands that need none must not pay for them.
        from idac.core.loading import load_settings  # noqa: PLC0415
        from idac.wiring.settings import DacSettings  # noqa: PLC0415

        return load_settings(DacSettings, self.config, self.environment)


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        with _without_collections():
            command: click.Command = importlib.import_module(COMMANDS[cmd_name][0]).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and not ctx.resilient_parsing:
            raise click.NoSuchCommand(args[0], possibilities=COMMANDS, ctx=ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # Here, since click would end with 1 for it.
            _end_quietly()

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@contextmanager
def _without_collections() -> Iterator[None]:
    """Import without looking for garbage, of which there is next to none: a tenth of a command's start.

    What was imported is never looked through afterwards either, nor at the command's end.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="idac")
@click.option("--config", type=click.Path(path_type=Path), default="dac.yaml", show_default=True, envvar="IDAC_CONFIG",
              show_envvar=True, help="The configuration file.")  # fmt: skip
@click.option(
    "--env", "environment", envvar="IDAC_ENV", show_envvar=True, help="Overlay environments/NAME.yaml.", metavar="NAME"
)
@click.option("--debug", is_flag=True, help="Show where an unexpected error arose.")
@click.pass_context
def group(ctx: click.Context, config: Path, environment: str | None, debug: bool) -> None:
    """A Data Access Centre: publish tables, and serve them to astronomers' tools.

    Begin with: idac init mydac && cd mydac && idac catalog add TABLE --name SCHEMA.TABLE && idac up
    """
    ctx.obj = Options(config, environment, debug)


def main() -> None:
    """Run the command line; ends the process with the exit code that docs/reference/exit-codes.md lists."""
    machine.share_freed_memory()
    logging.getLogger("idac").addHandler(logging.NullHandler())
    # What libraries warn of is for those who write programs: services have it in their log, and others don't see it.
    logging.captureWarnings(True)
    debug, as_json = "--debug" in sys.argv, "--json" in sys.argv
    interrupted = _note_interrupts()
    try:
        result = group.main(standalone_mode=False)
        # What was asked for is done: Ctrl-C from here on must not say that it was stopped.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        sys.stdout.flush()
        sys.exit(result if isinstance(result, int) else 0)
    except UserError as error:
        fail(error, as_json=as_json)
    except click.ClickException as error:
        fail_usage(error, as_json=as_json)
    except (click.Abort, KeyboardInterrupt):
        fail_stopped(as_json=as_json)
    except BrokenPipeError:
        _end_quietly()
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _DISK_FULL:
            _fail_full(error, as_json=as_json)
        if interrupted.is_set():
            fail_stopped(as_json=as_json)
        if debug:
            raise
        report_fault(error, as_json=as_json)
        sys.exit(70)


def _note_interrupts() -> threading.Event:
    """Set at the first Ctrl-C: a module that is interrupted while it is imported may raise anything at all."""
    noted = threading.Event()

    def note(number: int, frame: FrameType | None) -> None:
        noted.set()
        signal.default_int_handler(number, frame)

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, note)
    return noted


def _end_quietly() -> NoReturn:
    """Whoever read our output has seen enough (``| head``)."""
    _drop_output()
    sys.exit(0)


def _fail_full(error: OSError, *, as_json: bool) -> NoReturn:
    _drop_output()
    full = ResourceExhausted(
        "There is no room left to write to.",
        value=error.filename or error.strerror,
        next_step="Free some disk space, or write elsewhere.",
    )
    fail(full, as_json=as_json)


def _drop_output() -> None:
    # What is left in the buffer can't be written, and the interpreter would complain of it at its end.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
