"""What has become slower between two result files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.peers.results import Figure, ResultRow, Results, shown


@dataclass(frozen=True)
class Change:
    """How a row of the table went from one run to another. *factor* is above 1 where idac became worse."""

    row: ResultRow
    before: str
    after: str
    factor: float
    regressed: bool


def compare(before: Results, after: Results, threshold: float) -> list[Change]:
    """The rows that both runs have.

    On one and the same machine seconds are compared, on two the ratios to DaCHS, and rows without one are left out. A
    row has regressed when it is worse by more than *threshold* (0.2 is a fifth) and by more than its own spread: the
    better half of the later samples lies outside the worse half of the earlier ones.
    """
    same = before.machine == after.machine and before.sizes == after.sizes
    if before.sizes != after.sizes and before.sizes["rows"] != after.sizes["rows"]:
        raise ValueError(
            f"The tables have {before.sizes['rows']:,} and {after.sizes['rows']:,} rows; such runs can't be compared."
        )
    changes = []
    for new in after.rows:
        old = before.row(new.key)
        if old is None:
            continue
        change = _by_value(old, new, threshold) if same else _by_ratio(old, new, threshold)
        if change is not None:
            changes.append(change)
    return changes


def _by_value(old: ResultRow, new: ResultRow, threshold: float) -> Change | None:
    a, b = old.peers.get("idac"), new.peers.get("idac")
    if a is None or b is None or not a.median or not b.median:
        return None
    factor = a.median / b.median if new.more_is_better else b.median / a.median
    worse = factor > 1 + threshold and _apart(a, b, more_is_better=new.more_is_better)
    return Change(new, shown(a.median, new.unit), shown(b.median, new.unit), factor, worse)


def _by_ratio(old: ResultRow, new: ResultRow, threshold: float) -> Change | None:
    if not old.ratio or not new.ratio:
        return None
    factor = old.ratio / new.ratio
    return Change(new, f"{old.ratio:.3g}×", f"{new.ratio:.3g}×", factor, factor > 1 + threshold)


def _apart(a: Figure, b: Figure, *, more_is_better: bool) -> bool:
    if more_is_better:
        return b.quantile(0.75) < a.quantile(0.25)
    return b.quantile(0.25) > a.quantile(0.75)


def report(changes: Sequence[Change], *, everything: bool) -> str:
    """One line a row: those that regressed, or all."""
    chosen = [c for c in changes if everything or c.regressed]
    if not chosen:
        return f"No regression in {len(changes)} row{'' if len(changes) == 1 else 's'}.\n"
    lines = []
    for c in sorted(chosen, key=lambda c: -c.factor):
        mark = "worse" if c.regressed else "better" if c.factor < 1 else "noise"
        lines.append(f"{mark:<7}{c.factor:6.2f}×  {c.row.title}: {c.before} → {c.after}")
    return "\n".join(lines) + "\n"
