"""Fill the reference pages from the code they describe, so that they can't drift from it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from idac.core import errors
from idac.core.errors import UserError
from idac.tables.formats import FORMATS


def _cell(text: object) -> str:
    return re.sub(r"\s+", " ", str(text)).replace("|", "\\|").strip()


def _table(header: tuple[str, ...], rows: Iterator[tuple[object, ...]]) -> str:
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    lines += [f"| {' | '.join(_cell(value) for value in row)} |" for row in rows]
    return "\n".join(lines)


def exit_codes() -> str:
    kinds = [k for k in vars(errors).values() if isinstance(k, type) and issubclass(k, UserError)]
    by_code: dict[int, list[type[UserError]]] = {}
    for kind in kinds:
        by_code.setdefault(kind.exit_code, []).append(kind)
    rows = (
        (code, ", ".join(f"`{k.code}`" for k in group), " ".join((k.__doc__ or "").split("\n")[0] for k in group))
        for code, group in sorted(by_code.items())
    )
    return _table(("exit code", "kinds of error", "when"), rows)


def result_formats() -> str:
    rows = (
        (
            f"`{f.name}`",
            f.description,
            f"`{f.mime}`",
            ", ".join(f"`{alias}`" for alias in f.aliases),
            f.loses,
        )
        for f in FORMATS.values()
    )
    return _table(("name", "what it is", "media type", "other names", "what does not survive"), rows)


def _figures() -> dict[str, Any]:
    path = Path(__file__).parent.parent / "bench" / "results" / "formats.json"
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def _seconds(found: dict[str, float], name: str) -> str:
    return f"{found[name]:.2g}" if name in found else "–"


def format_reading() -> str:
    reading = _figures()["reading"]
    rows = (
        (
            FORMATS[name].description,
            f"{size / 1e6:.0f}",
            *(_seconds(reading[client], name) for client in ("astropy_s", "pyvo_s", "stilts_s")),
        )
        for name, size in reading["bytes"].items()
    )
    return _table(("format", "MB", "astropy, s", "pyvo, s", "STILTS, s"), rows)


def format_writing() -> str:
    writing = _figures()["writing"]
    rows = (
        (FORMATS[name].description, f"{writing['bytes'][name] / 1e6:.0f}", f"{rate / 1e6:.1f}")
        for name, rate in writing["rows_per_cpu_s"].items()
    )
    return _table(("format", "MB", "million rows in a second of one processor"), rows)


def format_versions() -> str:
    found = _figures()
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    return f"{found['cores']} cores; {versions}"


#: What a page may ask for with a line ``<!-- generated: name -->``.
_GENERATED: dict[str, Callable[[], str]] = {
    "exit_codes": exit_codes,
    "result_formats": result_formats,
    "format_reading": format_reading,
    "format_writing": format_writing,
    "format_versions": format_versions,
}


def on_page_markdown(markdown: str, **_: Any) -> str:
    """MkDocs' hook: the page with its generated parts in their places; KeyError for one that there is not."""
    return re.sub(r"<!-- generated: (\w+) -->", lambda match: _GENERATED[match[1]](), markdown)
