"""Libraries that are imported when something of them is first used, so that what has no need of them starts sooner."""

from __future__ import annotations

import importlib
from typing import Any


class LazyModule:
    """Stands for the module *name*. Annotations of its types need the import itself, under ``TYPE_CHECKING``."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(self._name), attribute)
