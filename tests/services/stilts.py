"""STILTS, the real program: one JVM a call."""

from __future__ import annotations

import subprocess
from pathlib import Path

from services.programs import require


def run_stilts(*arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """What a task says, and how it ended."""
    program = require("stilts", ["stilts"])["stilts"]
    # Without a display, and with the one compiler that is quick to start: the JVM lives for a few seconds.
    options = ["-Djava.awt.headless=true", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
    return subprocess.run([program, *options, *arguments], capture_output=True, text=True, check=False, cwd=folder)


def stilts(*arguments: str, folder: Path | None = None) -> str:
    """What a task prints; fails where it does."""
    done = run_stilts(*arguments, folder=folder)
    assert done.returncode == 0, f"{' '.join(arguments)}: {done.stdout}{done.stderr}"
    return done.stdout
