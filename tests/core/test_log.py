"""The log's lines: when, how grave, from where, what, and what else was said."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator

import pytest

from idac.core.log import log_to


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """What is logged while a test runs; the loggers are as before afterwards."""
    root, own = logging.getLogger(), logging.getLogger("idac")
    handlers, levels = list(root.handlers), (root.level, own.level)
    stream = io.StringIO()
    log_to(stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    own.setLevel(levels[1])


def test_a_line_has_time_level_origin_message_and_extras(stream: io.StringIO) -> None:
    logging.getLogger("idac.web").info("client went away after %d bytes", 7, extra={"path": "/api/tap/sync"})
    (line,) = stream.getvalue().splitlines()
    when, rest = line.split(" ", 1)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", when)
    assert rest == "INFO idac.web: client went away after 7 bytes path='/api/tap/sync'"


def test_a_fault_is_told_with_its_traceback(stream: io.StringIO) -> None:
    try:
        raise ValueError("not for the caller")
    except ValueError:
        logging.getLogger("idac").exception("fault %s", "abc")
    lines = stream.getvalue().splitlines()
    assert lines[0].endswith("ERROR idac: fault abc")
    assert lines[1].startswith("Traceback ")
    assert lines[-1] == "ValueError: not for the caller"


def test_of_other_libraries_only_warnings_are_told(stream: io.StringIO) -> None:
    logging.getLogger("httpx").info("HTTP Request: GET …")
    logging.getLogger("httpx").warning("odd")
    assert [line.partition(" ")[2] for line in stream.getvalue().splitlines()] == ["WARNING httpx: odd"]
