"""The ratios of a run as a picture: how many times faster than DaCHS, on a logarithmic axis, with the bars to clear.

The SVG is written here, without a drawing library: one picture would be all its work, and idac's own start imports
matplotlib, by way of mocpy, wherever that is installed.
"""

from __future__ import annotations

import math
from html import escape
from pathlib import Path

from bench.peers.results import ResultRow, Results

_LINE, _LEFT, _WIDTH, _TOP, _RIGHT = 26, 290, 520, 56, 90
_MET, _MISSED = "#2f6fb0", "#c8553d"


def draw(results: Results, out: Path) -> None:
    """Write the picture of *results* to *out*, as SVG."""
    out.write_text(svg(results), encoding="utf-8")


def svg(results: Results) -> str:
    """The picture: one bar a row that has a ratio and belongs to the table's first part."""
    rows = [(row, row.ratio) for row in results.rows if row.ratio and row.kind == "bar"]
    highest = max([10.0, *(max(ratio, row.bar or 0) for row, ratio in rows)])
    lowest = min([1.0, *(ratio for _, ratio in rows)])
    first, last = math.floor(math.log10(lowest)), math.ceil(math.log10(highest))
    height = _TOP + _LINE * len(rows) + 34

    def across(value: float) -> float:
        return round(_LEFT + _WIDTH * (math.log10(value) - first) / (last - first), 1)

    title = f"{results.sizes['rows']:,} rows, {results.machine['cores']} processors, over HTTP"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LEFT + _WIDTH + _RIGHT} {height}" '
        'font-family="sans-serif" font-size="13">',
        "<style>text{fill:#555} .bar{stroke:#555;stroke-width:2.5} .axis{stroke:#999;stroke-width:1}</style>",
        f"<title>{escape(title)}</title>",
        f'<text x="{_LEFT}" y="18">Times faster than DaCHS: {escape(title)}</text>',
        f'<text x="{_LEFT}" y="36" font-size="11">The line across a bar is what the project set itself.</text>',
    ]
    bottom = _TOP + _LINE * len(rows) + 6
    for power in range(first, last + 1):
        x = across(10.0**power)
        parts.append(f'<line class="axis" x1="{x}" y1="{_TOP - 6}" x2="{x}" y2="{bottom}"/>')
        parts.append(f'<text x="{x}" y="{bottom + 16}" text-anchor="middle">{10.0**power:g}×</text>')
    start = across(1.0)
    for number, (row, ratio) in enumerate(rows):
        parts += _bar(row, ratio, _TOP + _LINE * number, start, across(ratio), across(row.bar) if row.bar else None)
    return "\n".join([*parts, "</svg>", ""])


def _bar(row: ResultRow, ratio: float, y: int, start: float, end: float, wanted: float | None) -> list[str]:
    left, width = min(start, end), round(abs(end - start), 1)
    colour = _MISSED if row.met is False else _MET
    parts = [
        f'<text x="{_LEFT - 8}" y="{y + 15}" text-anchor="end">{escape(row.title)}</text>',
        f'<rect x="{left}" y="{y + 3}" width="{width}" height="{_LINE - 9}" fill="{colour}"/>',
        f'<text x="{max(end, wanted or 0) + 7}" y="{y + 15}">{ratio:.3g}×</text>',
    ]
    if wanted is not None:
        parts.append(f'<line class="bar" x1="{wanted}" y1="{y}" x2="{wanted}" y2="{y + _LINE - 3}"/>')
    return parts
