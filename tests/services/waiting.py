"""Waiting for what other threads and processes bring about, without guessing how long that takes."""

from __future__ import annotations

import threading
from collections.abc import Callable


def until(condition: Callable[[], bool]) -> None:
    """Return when *condition* holds; fails after a minute of looking."""
    pause = threading.Event()
    for _ in range(6000):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError("it did not come about")
