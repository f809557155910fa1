"""A run's figures: medians, 95th percentiles, ratios and bars; as JSON and as a table."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

FORMAT = 1
#: Seconds, or something that is better when there is more of it.
type Unit = Literal["s", "req/s", "rows/s", "MB"]
_MORE_IS_BETTER = ("req/s", "rows/s")


@dataclass(frozen=True)
class Figure:
    """One peer's samples of one row."""

    samples: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    def quantile(self, q: float) -> float:
        """By linear interpolation between the samples, as numpy's default."""
        ordered = sorted(self.samples)
        place = q * (len(ordered) - 1)
        low = int(place)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (ordered[high] - ordered[low]) * (place - low)

    @property
    def p95(self) -> float:
        return self.quantile(0.95)


@dataclass(frozen=True)
class ResultRow:
    """A row of the table. *bar* is the least ratio; *limit* the most, or for rates the least, that idac may have."""

    key: str
    title: str
    unit: Unit
    peers: Mapping[str, Figure]
    bar: float | None = None
    limit: float | None = None
    answer: int | None = None
    kind: Literal["bar", "also"] = "bar"
    note: str = ""
    #: Processor seconds of each service for one query, its database's included.
    processor_s: Mapping[str, float] = field(default_factory=dict)

    @property
    def more_is_better(self) -> bool:
        return self.unit in _MORE_IS_BETTER

    @property
    def ratio(self) -> float | None:
        """How many times better idac is than DaCHS."""
        ours, theirs = self.peers.get("idac"), self.peers.get("DaCHS")
        if ours is None or theirs is None or not ours.median or not theirs.median:
            return None
        return ours.median / theirs.median if self.more_is_better else theirs.median / ours.median

    @property
    def processor_ratio(self) -> float | None:
        """How many times less processor time idac needs than DaCHS; unlike the clock, other work hardly changes it."""
        ours, theirs = self.processor_s.get("idac"), self.processor_s.get("DaCHS")
        return theirs / ours if ours and theirs else None

    @property
    def met(self) -> bool | None:
        """Whether the bar or the limit is kept; None where there is none."""
        ours = self.peers.get("idac")
        if self.bar is not None and self.ratio is not None:
            return self.ratio >= self.bar
        if self.limit is not None and ours is not None:
            return ours.median >= self.limit if self.more_is_better else ours.median <= self.limit
        return None


@dataclass(frozen=True)
class Results:
    """A whole run."""

    rows: Sequence[ResultRow]
    sizes: Mapping[str, int]
    machine: Mapping[str, Any]
    versions: Mapping[str, str]
    begun: str
    notes: Sequence[str] = field(default_factory=tuple)

    def row(self, key: str) -> ResultRow | None:
        return next((row for row in self.rows if row.key == key), None)


def joined(first: Results, second: Results) -> Results:
    """The rows of both, for parts of one benchmark that ran one after the other; ValueError where they can't be.

    A row is whole in its own run, so its ratio holds; where both have it, the *first* run's stays.
    """
    for name in ("sizes", "machine", "versions"):
        if dict(getattr(first, name)) != dict(getattr(second, name)):
            raise ValueError(f"The two files differ in {name}: they are no parts of one benchmark.")
    more = [row for row in second.rows if first.row(row.key) is None]
    note = f"Run in two parts, begun at {first.begun} and at {second.begun}."
    return replace(first, rows=(*first.rows, *more), notes=(*first.notes, *second.notes, note))


def to_json(results: Results) -> str:
    """The results as kept in ``bench/results``; what can be derived is written too, for those who only read JSON."""
    document = {
        "format": FORMAT,
        "begun": results.begun,
        "machine": dict(results.machine),
        "versions": dict(results.versions),
        "sizes": dict(results.sizes),
        "notes": list(results.notes),
        "rows": [_row_json(row) for row in results.rows],
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _row_json(row: ResultRow) -> dict[str, Any]:
    peers = {
        name: {
            "median": _short(figure.median),
            "p95": _short(figure.p95),
            "samples": [_short(s) for s in figure.samples],
        }
        for name, figure in row.peers.items()
    }
    derived = {"ratio": _short(row.ratio), "processor_ratio": _short(row.processor_ratio), "met": row.met}
    used = {name: _short(seconds) for name, seconds in row.processor_s.items()}
    found = asdict(row) | derived | {"peers": peers, "processor_s": used}
    return {key: value for key, value in found.items() if value not in (None, "", {})}


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")


def from_json(text: str) -> Results:
    """Results as ``to_json`` wrote them; ValueError for anything else."""
    document = json.loads(text)
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ValueError(f"this is not a result file of format {FORMAT}")
    rows = [
        ResultRow(
            key=row["key"],
            title=row["title"],
            unit=row["unit"],
            peers={name: Figure(tuple(peer["samples"])) for name, peer in row["peers"].items()},
            bar=row.get("bar"),
            limit=row.get("limit"),
            answer=row.get("answer"),
            kind=row["kind"],
            note=row.get("note", ""),
            processor_s=row.get("processor_s", {}),
        )
        for row in document["rows"]
    ]
    return Results(
        rows, document["sizes"], document["machine"], document["versions"], document["begun"], document["notes"]
    )


def read_results(path: Path) -> Results:
    return from_json(path.read_text(encoding="utf-8"))


# -- the table -------------------------------------------------------------------------------------------------------


def shown(value: float, unit: Unit) -> str:
    """*value* with a unit that suits its size."""
    if unit == "s":
        return f"{_digits(value)} s" if value >= 1 else f"{_digits(value * 1000)} ms"
    if unit == "rows/s":
        return f"{_digits(value / 1e6)} M/s"
    return f"{_digits(value)} {'MB' if unit == 'MB' else '/s'}"


def _digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def table(results: Results) -> str:
    """The results as a table in Markdown: medians, with 95th percentiles in brackets."""
    names = sorted({name for row in results.rows for name in row.peers}, key=_order)
    head = ["", *names, "DaCHS ÷ idac", "bar", "", "by processor time"]
    body = [_cells(row, names) for row in results.rows]
    widths = [max(len(line[i]) for line in [head, *body]) for i in range(len(head))]
    lines = [_line(head, widths), "|" + "|".join("-" * (w + 2) for w in widths) + "|"]
    lines += [_line(line, widths) for line in body]
    return "\n".join(lines) + "\n"


def _order(name: str) -> tuple[int, str]:
    known = ["idac", "DaCHS"]
    return (known.index(name) if name in known else len(known)), name


def _cells(row: ResultRow, names: Sequence[str]) -> list[str]:
    cells = [row.title]
    for name in names:
        figure = row.peers.get(name)
        if figure is None:
            cells.append("–")
        elif len(figure.samples) < 3:
            cells.append(shown(figure.median, row.unit))
        else:
            tail = figure.quantile(0.05) if row.more_is_better else figure.p95
            cells.append(f"{shown(figure.median, row.unit)} ({shown(tail, row.unit)})")
    ratio = row.ratio
    cells.append("–" if ratio is None else _digits(ratio))
    if row.bar is not None:
        cells.append(f"≥ {row.bar:g}")
    elif row.limit is not None:
        cells.append(f"{'≥' if row.more_is_better else '≤'} {shown(row.limit, row.unit)}")
    else:
        cells.append("")
    cells.append({True: "met", False: "missed", None: ""}[row.met])
    work = row.processor_ratio
    cells.append("–" if work is None else _digits(work))
    return cells


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"
