"""What clients that are not ours do, and our tests let pass."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def foreign_clients() -> Iterator[None]:
    """Let other people's clients leave sockets open and use what is deprecated; in our own code warnings are errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            yield
        finally:
            # What they left is collected while its warnings still pass, and not in some later test.
            gc.collect()
