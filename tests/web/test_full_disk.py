"""A full disk is told to the caller in words, wherever it was met, and to the operator in the log."""

from __future__ import annotations

import errno
import logging

import pyarrow as pa
import pytest

from idac.web.faces import as_user_error


def hidden() -> Exception:
    """An error of a library that stumbled over the full disk and then over its own clearing up."""
    try:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError:
            raise ValueError("I/O operation on closed file") from None
    except ValueError as error:
        return error


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device", "/secret/place"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        pa.ArrowException("IOError: Error writing bytes to file. Detail: [errno 28] No space left on device"),
        hidden(),
    ],
)
def test_a_full_disk_is_no_fault(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        shown = as_user_error(error, "/api/tap/sync")
    assert (shown.status, shown.text) == (
        503,
        "The disk for temporary files of this centre is full. Try again in a minute, with a smaller upload or result "
        "if it lasts, and tell the operator.",
    )
    assert "no room on the disk for temporary files, in /api/tap/sync" in caplog.text


def test_another_error_stays_a_fault() -> None:
    assert as_user_error(OSError(errno.EIO, "Input/output error"), "/api/tap/sync").status == 500


def test_errors_that_hide_each_other_are_looked_at_once(caplog: pytest.LogCaptureFixture) -> None:
    first, second = RuntimeError("one"), RuntimeError("two")
    first.__cause__, second.__cause__ = second, first
    assert as_user_error(first, "/here").status == 500
    assert "fault" in caplog.text
