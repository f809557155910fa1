"""Finds the programs that real services need, and says exactly what is missing where one is not there."""

from __future__ import annotations

import os
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
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
