"""Libraries that are imported when something of them is first used, so that what has no need of them starts sooner."""

from __future__ import annotations

import importlib
import threading
from typing import Any


class LazyModule:
    """Stands for the module *name*. Annotations of its types need the import itself, under ``TYPE_CHECKING``."""

    def __init__(self, name: str) -> None:
        self._name = name
        _declared.append(self)

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self.load(), attribute)

    def load(self) -> Any:
        return importlib.import_module(self._name)


_declared: list[LazyModule] = []


def load_in_background() -> threading.Thread:
    """Import all that was put off, in a thread of its own: for a service, whose callers shall not wait for it."""

    def load() -> None:
        for module in tuple(_declared):
            module.load()

    thread = threading.Thread(target=load, name="lazy-imports", daemon=True)
    thread.start()
    return thread
