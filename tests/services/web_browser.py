"""A real browser, Debian's Chromium, that does what a test tells it; it keeps to the rules that only browsers have."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from services.oidc_provider import MODULES
from services.programs import require


class WebBrowser:
    """One window. Selectors are CSS, or ``text=…`` for what a person reads."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def anew(self) -> None:
        """A window without a cookie."""
        self._do("anew")

    def open(self, url: str) -> None:
        self._do("open", url)

    def fill(self, selector: str, text: str) -> None:
        self._do("fill", selector, text)

    def press(self, selector: str) -> None:
        """Click, and wait for what that leads to."""
        self._do("press", selector)

    def reach(self, pattern: str) -> None:
        """Wait until the address fits a regular expression."""
        self._do("reach", pattern)

    def read(self, selector: str = "body") -> str:
        """The text that is seen there."""
        return self._do("read", selector)

    def width(self, pixels: int) -> None:
        """Make the window so wide."""
        self._do("width", pixels)

    def tell(self, expression: str) -> str:
        """What an expression of JavaScript comes to on the page."""
        return self._do("tell", expression)

    def _do(self, *step: str | int) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(step) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            assert self._process.stderr is not None
            pytest.fail(f"{step}: {self._process.stderr.read()}", pytrace=False)
        return json.loads(line) or ""


@contextmanager
def web_browser() -> Iterator[WebBrowser]:
    node = require("nodejs", ["node"])["node"]
    chromium = require("chromium", ["chromium"])["chromium"]
    if not (MODULES / "node_modules" / "playwright-core").is_dir():
        pytest.fail("playwright-core is not installed; run: scripts/setup-node-parts.sh", pytrace=False)
    script = str(Path(__file__).parent / "node" / "browse.mjs")
    pipe = subprocess.PIPE
    process = subprocess.Popen([node, script, str(MODULES), chromium], stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    try:
        yield WebBrowser(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()  # which ends it, and the browser with it
        process.wait(60)
        for stream in (process.stdout, process.stderr):
            assert stream is not None
            stream.close()
