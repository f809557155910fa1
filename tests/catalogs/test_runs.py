"""Rows come back sorted, whole and in any range, whether they fit in memory or not."""

from __future__ import annotations

import itertools
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


def test_rows_stay_the_same_when_the_pages_of_spilled_runs_are_given_back_at_every_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("idac.catalogs.runs._TRIM_EVERY", 1)
    keys = np.random.default_rng(8).integers(0, 5_000, 30_000)
    runs = filled(tmp_path, keys, memory_bytes=1 << 20)
    assert runs.spilled_runs > 3
    found = [rows.column("n").to_numpy() for _, rows in runs.iter_sorted(0, 5_000, 1_000)]
    assert np.array_equal(np.concatenate(found), np.argsort(keys, kind="stable"))
    some, rows = runs.gather(np.array([10, 400]), np.array([12, 500]))
    assert np.array_equal(some, np.sort(keys[((keys >= 10) & (keys < 12)) | ((keys >= 400) & (keys < 500))]))
    assert np.array_equal(keys[rows.column("n").to_numpy()], some)
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
def test_counts_and_gathered_ranges_equal_numpys(
    tmp_path_factory: pytest.TempPathFactory, keys: list[int], cuts: list[int]
) -> None:
    values = np.array(keys, dtype=np.int64)
    runs = filled(tmp_path_factory.mktemp("runs"), values, memory_bytes=1 << 20, batch=17)
    edges = np.sort(np.array(cuts, dtype=np.int64))
    lows, highs = edges[:-1][::2], edges[1:][::2]
    expected = [int(((values >= a) & (values < b)).sum()) for a, b in zip(lows, highs, strict=True)]
    assert runs.count(lows, highs).tolist() == expected
    gathered, rows = runs.gather(lows, highs)
    inside = np.zeros(len(values), dtype=bool)
    for a, b in zip(lows, highs, strict=True):
        inside |= (values >= a) & (values < b)
    assert gathered.tolist() == sorted(values[inside].tolist())
    assert sorted(rows.column("n").to_pylist()) == np.flatnonzero(inside).tolist()
    runs.close()


@settings(max_examples=40, deadline=None)
@given(keys=st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=200), rows=st.integers(1, 50))
def test_bounds_hold_every_key_once(tmp_path_factory: pytest.TempPathFactory, keys: list[int], rows: int) -> None:
    runs = filled(tmp_path_factory.mktemp("runs"), np.array(keys, dtype=np.int64), memory_bytes=1 << 20, batch=31)
    bounds = runs.bounds(rows)
    found = [k for low, high in itertools.pairwise(bounds) for ks, _ in runs.iter_sorted(low, high, 8) for k in ks]
    assert found == sorted(keys)
    runs.close()


def test_many_rows_of_one_key_come_in_pieces(tmp_path: Path) -> None:
    runs = filled(tmp_path, np.full(10_000, 7), memory_bytes=1 << 20)
    sizes = [len(k) for k, _ in runs.iter_sorted(0, 8, 1_000)]
    assert sizes == [1_000] * 10
    runs.close()
