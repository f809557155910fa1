"""Waiting for what other threads and processes bring about, without guessing how long that takes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


def until(condition: Callable[[], bool]) -> None:
    """Return when *condition* holds; fails after a minute of looking."""
    pause = threading.Event()
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError("it did not come about")
