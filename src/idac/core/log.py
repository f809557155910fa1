"""What a service says of itself: a line an event on standard error, where terminals and log collectors both look."""

from __future__ import annotations

import logging
import sys
import time
from typing import TextIO

#: What every record has; anything else was given as ``extra`` and is part of what is to be told.
_USUAL = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class LineFormatter(logging.Formatter):
    """``time level logger: message key=value …``, with the time in UTC."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  logging's own name
        extra = "".join(f" {key}={value!r}" for key, value in vars(record).items() if key not in _USUAL)
        return super().formatMessage(record) + extra


def log_to(stream: TextIO | None = None) -> None:
    """Send idac's messages, and other libraries' warnings, to *stream*; standard error by default."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(LineFormatter())
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("idac").setLevel(logging.INFO)
