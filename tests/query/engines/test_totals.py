"""Totals of parts, joined, are the totals of the whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from idac.query.engines.totals import Shape, Totals, Wanted
from idac.query.engines.values import LeftToEngine, Vector

ASKED: frozenset[Wanted] = frozenset({"count", "sum", "mean", "least", "greatest"})
ROWS = st.lists(
    st.tuples(
        st.one_of(st.none(), st.integers(-40, 40)), st.one_of(st.none(), st.integers(-1000, 1000)), st.booleans()
    ),
    max_size=12,
)


def vector(values: list[int | None], kind: str) -> Vector:
    there = np.array([v is not None for v in values], dtype=bool)
    return Vector(np.array([v or 0 for v in values], dtype=kind), None if there.all() else there)


def expected(rows: list[tuple[int | None, int | None, bool]], *, keyed: bool) -> dict[object, tuple[object, ...]]:
    groups: dict[object, list[int | None]] = {} if keyed else {None: []}
    for key, value, chosen in rows:
        if chosen:
            groups.setdefault(key if keyed else None, []).append(value)
    return {key: _of(values) for key, values in groups.items()}


def _of(values: list[int | None]) -> tuple[object, ...]:
    there = [v for v in values if v is not None]
    if not there:
        return len(values), 0, None, None, None, None
    return len(values), len(there), sum(there), sum(there) / len(there), min(there), max(there)


@settings(deadline=None, max_examples=300)
@given(parts=st.lists(ROWS, min_size=1, max_size=5), keyed=st.booleans(), kinds=st.data())
def test_joined_totals_are_those_of_all_rows(
    parts: list[list[tuple[int | None, int | None, bool]]], kinds: st.DataObject, *, keyed: bool
) -> None:
    shape = Shape((ASKED,), keyed)
    totals = []
    for rows in parts:
        # Whole numbers may come as longer ones from one row group and as shorter ones from the next.
        kind = kinds.draw(st.sampled_from(["i2", "i4", "i8"]))
        chosen = np.flatnonzero([r[2] for r in rows]) if not all(r[2] for r in rows) else None
        key = vector([r[0] for r in rows], "f8") if keyed else None
        totals.append(Totals.of(shape, len(rows), chosen, key, [vector([r[1] for r in rows], kind)]))
    joined = Totals.joined(totals)
    names: list[Wanted] = ["count", "sum", "mean", "least", "greatest"]
    columns = [joined.column("count", None), *(joined.column(name, 0) for name in names)]
    keys = joined.keys().to_pylist() if keyed else [None]
    found = dict(zip(keys, zip(*(c.to_pylist() for c in columns), strict=True), strict=True))
    everything = [row for rows in parts for row in rows]
    assert found == expected(everything, keyed=keyed)
    assert keys == sorted(k for k in keys if k is not None) + [None] * (None in keys)


def test_groups_that_are_too_far_apart_are_left_to_the_engine() -> None:
    shape = Shape((), True)
    one, two = (Totals.of(shape, 1, None, Vector(np.array([k])), []) for k in (0, 1 << 20))
    assert Totals.joined([one, one]).rows.tolist() == [0, 2]
    with pytest.raises(LeftToEngine):
        Totals.joined([one, two])
    for keys in ([0.0, 1e9], [np.nan], [np.inf, 1.0], [1e300]):
        with pytest.raises(LeftToEngine):
            Totals.of(shape, len(keys), None, Vector(np.array(keys)), [])


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_sums_that_are_no_numbers_are_left_to_the_engine(value: float) -> None:
    totals = Totals.of(Shape((ASKED,), False), 2, None, None, [Vector(np.array([1.0, value]))])
    for wanted in ("sum", "mean", "least" if value != np.inf else "greatest"):
        with pytest.raises(LeftToEngine):
            totals.column(wanted, 0)  # type: ignore[arg-type]
    assert totals.column("count", 0).to_pylist() == [2]
