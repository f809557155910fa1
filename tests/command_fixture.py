"""The ``idac`` command as tests run it: in this process, from its arguments to its output and the code it ends with."""

from __future__ import annotations

import json
import logging
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from idac.cli.main import main


@dataclass(frozen=True)
class Outcome:
    """What a command printed, and the code it ended with."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> Any:
        """The error that was printed as JSON."""
        return json.loads(self.err)["error"]


type Run = Callable[..., Outcome]


def command_runner(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """A function that runs the command with the arguments that it is given."""

    def run(*arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["idac", *arguments])
        handler = signal.getsignal(signal.SIGINT)
        try:
            with _own_log(), pytest.raises(SystemExit) as ended:
                main()
        finally:
            # A command that has done its work no longer listens to Ctrl-C; the tests go on listening.
            signal.signal(signal.SIGINT, handler)
        captured = capsys.readouterr()
        return Outcome(int(ended.value.code or 0), captured.out, captured.err)

    return run


@contextmanager
def _own_log() -> Iterator[None]:
    """A service writes its log to this test's standard error, which the next test's commands must not go on with."""
    loggers = [logging.getLogger(name) for name in (None, "idac")]
    before = [(logger, list(logger.handlers), logger.level) for logger in loggers]
    try:
        yield
    finally:
        for logger, handlers, level in before:
            logger.handlers[:] = handlers
            logger.setLevel(level)
