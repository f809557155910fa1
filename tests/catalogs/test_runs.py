"""Rows come back sorted, whole and in any range, whether they fit in memory or not."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from idac.catalogs.runs import SortedRuns

SCHEMA = pa.schema([("n", pa.int64()), ("text", pa.string())])


def filled(folder: Path, keys: np.ndarray, *, memory_bytes: int, batch: int = 500) -> SortedRuns:
    runs = SortedRuns(SCHEMA, folder, memory_bytes=memory_bytes, workers=2)
    for at in range(0, len(keys), batch):
        part = keys[at : at + batch]
        numbers = np.arange(at, at + len(part))
        rows = pa.record_batch([pa.array(numbers), pa.array([f"row {n} " * 20 for n in numbers])], schema=SCHEMA)
        runs.add(part, rows)
    runs.finish()
    return runs


def test_spilled_rows_are_read_and_not_mapped(tmp_path: Path) -> None:
    """Pages of a mapped file are counted as memory of the process that touches them."""
    keys = np.random.default_rng(8).integers(0, 5_000, 30_000)
    runs = filled(tmp_path, keys, memory_bytes=1 << 20)
    assert runs.spilled_runs > 3
    found = [rows.column("n").to_numpy() for _, rows in runs.iter_sorted(0, 5_000, 1_000)]
    assert np.array_equal(np.concatenate(found), np.argsort(keys, kind="stable"))
    assert str(tmp_path) not in Path("/proc/self/maps").read_text()
    runs.close()


def test_a_spilled_file_cut_short_is_noticed(tmp_path: Path) -> None:
    runs = filled(tmp_path, np.arange(30_000), memory_bytes=1 << 20)
    os.truncate(tmp_path / "rows", (tmp_path / "rows").stat().st_size - 8)
    with pytest.raises(OSError, match="a spilled file ends 8 bytes too early"):
        list(runs.iter_sorted(0, 30_000, 10_000))
    runs.close()


@pytest.mark.parametrize("memory_bytes", [1 << 20, 1 << 28], ids=["spilled", "in memory"])
def test_rows_come_back_in_the_order_of_their_keys_and_equal_keys_as_they_came(
    tmp_path: Path, memory_bytes: int
) -> None:
    keys = np.random.default_rng(3).integers(0, 5_000, 60_000)
    runs = filled(tmp_path, keys, memory_bytes=memory_bytes)
    assert (runs.spilled_runs > 3) == (memory_bytes == 1 << 20)
    chunks = list(runs.iter_sorted(0, 5_000, 7_000))
    assert max(len(k) for k, _ in chunks) == 7_000
    found = np.concatenate([rows.column("n").to_numpy() for _, rows in chunks])
    assert np.array_equal(found, np.argsort(keys, kind="stable"))
    assert np.array_equal(np.concatenate([k for k, _ in chunks]), np.sort(keys))
    assert all(t == f"row {n} " * 20 for _, rows in chunks for n, t in zip(*rows.to_pydict().values(), strict=True))
    runs.close()


@settings(max_examples=40, deadline=None)
@given(
    keys=st.lists(st.integers(-50, 50), min_size=0, max_size=300),
    cuts=st.lists(st.integers(-60, 60), min_size=2, max_size=6, unique=True),
)
def test_counts_of_ranges_equal_numpys(
    tmp_path_factory: pytest.TempPathFactory, keys: list[int], cuts: list[int]
) -> None:
    values = np.array(keys, dtype=np.int64)
    runs = filled(tmp_path_factory.mktemp("runs"), values, memory_bytes=1 << 20, batch=17)
    edges = np.sort(np.array(cuts, dtype=np.int64))
    lows, highs = edges[:-1][::2], edges[1:][::2]
    expected = [int(((values >= a) & (values < b)).sum()) for a, b in zip(lows, highs, strict=True)]
    assert runs.count(lows, highs).tolist() == expected
    runs.close()


@settings(max_examples=40, deadline=None)
@given(keys=st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=200), rows=st.integers(1, 50))
def test_bounds_hold_every_key_once(tmp_path_factory: pytest.TempPathFactory, keys: list[int], rows: int) -> None:
    runs = filled(tmp_path_factory.mktemp("runs"), np.array(keys, dtype=np.int64), memory_bytes=1 << 20, batch=31)
    bounds = runs.bounds(rows)
    found = [k for low, high in itertools.pairwise(bounds) for ks, _ in runs.iter_sorted(low, high, 8) for k in ks]
    assert found == sorted(keys)
    runs.close()


@pytest.mark.parametrize("span", [3, 400, 2**62])
def test_counts_of_spilled_rows_equal_numpys(tmp_path: Path, span: int) -> None:
    rng = np.random.default_rng(11)
    keys = rng.integers(-span, span, 20_000)
    runs = filled(tmp_path, keys, memory_bytes=1 << 20)
    assert runs.spilled_runs > 3
    cuts = np.sort(np.concatenate([rng.integers(-span, span, 300), rng.choice(keys, 300), [-span - 1, span + 1]]))
    ordered = np.sort(keys)
    expected = np.searchsorted(ordered, cuts[1:]) - np.searchsorted(ordered, cuts[:-1])
    assert runs.count(cuts[:-1], cuts[1:]).tolist() == expected.tolist()
    bounds = runs.bounds(1_000)
    assert bounds[0] == ordered[0]
    assert bounds[-1] == ordered[-1] + 1
    runs.close()


def test_many_rows_of_one_key_come_in_pieces(tmp_path: Path) -> None:
    runs = filled(tmp_path, np.full(10_000, 7), memory_bytes=1 << 20)
    sizes = [len(k) for k, _ in runs.iter_sorted(0, 8, 1_000)]
    assert sizes == [1_000] * 10
    runs.close()
