"""The fenced blocks of Markdown pages, and a shell to try in what they show."""

from __future__ import annotations

import io
import os
import re
import shlex
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest

from command_fixture import Run

_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL
)
_ENVIRONMENT = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


@dataclass(frozen=True)
class Block:
    """One block: where it is, what it is in, and what it says."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(page: Path, *languages: str) -> list[Block]:
    """The fenced blocks of *page* in these languages (all, where none is named), in their order."""
    text = page.read_text(encoding="utf-8")
    found = (
        Block(page, text[: match.start()].count("\n") + 1, match["language"], textwrap.dedent(match["text"]))
        for match in _FENCE.finditer(text)
    )
    return [block for block in found if not languages or block.language in languages]


def commands(block: Block) -> list[str]:
    """The lines of a block that are commands; one that goes on in the next is one."""
    joined = block.text.replace("\\\n", " ")
    return [line for line in joined.splitlines() if line.strip() and not line.startswith("#")]


@dataclass(frozen=True)
class Shell:
    """As much of a shell as pages use, with idac in this process, where it need not be started for each line."""

    idac: Run
    monkeypatch: pytest.MonkeyPatch

    def run(self, line: str) -> str:
        """What *line* prints; the test fails where a command does."""
        said = ""
        for part in re.split(r"\s&&\s", line):
            said += self._run(shlex.split(part, comments=True))
        return said

    def _run(self, words: list[str]) -> str:
        match words:
            case ["cd", folder]:
                self.monkeypatch.chdir(folder)
                return ""
            case ["echo", text, "|", *rest]:
                self.monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(f"{text}\n".encode())))
                return self._run(rest)
            case [*rest, ">", file]:
                Path(file).write_text(self._run(rest), encoding="utf-8")
                return ""
            case ["idac", *arguments]:
                done = self.idac(*arguments)
                assert done.code == 0, done.err
                return done.out + done.err
        raise AssertionError(f"this shell does not know {' '.join(words)}")


def run_script(script: str, folder: Path, **environment: str) -> str:
    """What *script* prints, with idac on the PATH; it stops at the first command that fails, and the test with it."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        check=False,
        cwd=folder,
        env=_ENVIRONMENT | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
