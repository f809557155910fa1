"""Finds the programs that real services need, and says exactly what is missing where one is not there."""

from __future__ import annotations

import os
import random
import shutil
import socket
from collections.abc import Sequence
from pathlib import Path

import pytest


def require(package: str, programs: Sequence[str], folders: Sequence[Path] = ()) -> dict[str, str]:
    """Paths of *programs*, from PATH or *folders*.

    Fails the test that asks where one is missing. It is skipped only on a machine without apt whose owner said, by
    IDAC_TESTS_ALLOW_MISSING=1, that this may be: a green run must mean that the real parts were there.
    """
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin", *map(str, folders)])
    found = {name: where for name in programs if (where := shutil.which(name, path=path))}
    missing = [name for name in programs if name not in found]
    if not missing:
        return found
    text = (
        f"missing: {', '.join(missing)} of the package {package}; "
        f"install with: apt-get install --no-install-recommends {package}"
    )
    if shutil.which("apt-get") is None and os.environ.get("IDAC_TESTS_ALLOW_MISSING") == "1":
        pytest.skip(text)
    pytest.fail(text, pytrace=False)


def free_port() -> int:
    """A port that nothing listens on, below those that the system gives to outgoing connections.

    A port of that range would be taken again, by any client on this machine, before a slow service listens on it.
    """
    for port in random.SystemRandom().sample(range(20_000, 32_000), 100):
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    pytest.fail("no port of a hundred tried is free", pytrace=False)
