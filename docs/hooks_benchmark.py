"""Fill the benchmark's page from the results in bench/results."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "bench" / "results" / "peers.json"
# The benchmark is no part of the package that is installed.
sys.path.append(str(ROOT))

from bench.peers.results import Results, read_results, table  # noqa: E402


def _machine(results: Results) -> str:
    machine, versions = results.machine, results.versions
    text = (
        f"{results.sizes['rows']:,} rows, measured {results.begun[:10]} on {machine['cores']} × {machine['processor']}"
    )
    text += f", {machine['memory_gib']} GiB, {machine['system']}: "
    text += ", ".join(f"{name} {version}" for name, version in versions.items()) + "."
    return " ".join([text, *results.notes])


def on_page_markdown(markdown: str, **_: Any) -> str:
    """MkDocs' hook: the page with the results in their places."""
    if "<!-- benchmark:" not in markdown:
        return markdown
    results = read_results(RESULTS)
    # A line ends between two figures, and not between a figure and its unit.
    figures = re.sub(r"(\d) (M?/?m?s|MB)\b", "\\1&nbsp;\\2", table(results))
    parts = {"table": figures, "machine": _machine(results), "file": f"`{RESULTS.relative_to(ROOT)}`"}
    return re.sub(r"<!-- benchmark: (\w+) -->", lambda match: parts[match[1]], markdown)


def on_files(files: Files, *, config: Any) -> Files:
    """MkDocs' hook: the picture that the run drew, beside the page."""
    picture = RESULTS.with_suffix(".svg")
    files.append(File.generated(config, "reference/benchmark.svg", abs_src_path=str(picture)))
    return files
