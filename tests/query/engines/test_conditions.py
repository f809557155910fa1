"""Rows of an Arrow table as conditions see them: whole numbers stay whole, whatever type a file has them in."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pyarrow as pa

from idac.query.engines.conditions import TableRows


def test_whole_decimals_are_whole_numbers() -> None:
    ids = [1237648720693755918, 1237648720693755919, None]
    rows = TableRows(pa.table({"id": pa.array([None if i is None else Decimal(i) for i in ids], pa.decimal128(20, 0))}))
    assert (rows.values("id") == ids[0]).tolist() == [True, False, False]
    there = rows.there("id")
    assert there is not None
    assert there.tolist() == [True, True, False]


def test_decimals_that_are_no_longs_are_doubles() -> None:
    fractions = TableRows(pa.table({"x": pa.array([Decimal("1.25")], pa.decimal128(9, 2))}))
    large = TableRows(pa.table({"x": pa.array([Decimal(2**70)], pa.decimal128(30, 0))}))
    assert fractions.values("x").tolist() == [1.25]
    assert large.values("x").tolist() == [2.0**70]


def test_numbers_of_rows_without_a_value_are_any_and_told_from_others() -> None:
    rows = TableRows(pa.table({"x": pa.array([3, None, 5], pa.int16()), "y": pa.array([1.0, 2.0, 3.0])}))
    there = rows.there("x")
    assert there is not None
    assert rows.values("x")[there].tolist() == [3, 5]
    assert rows.values("x").dtype == np.int16
    assert rows.there("y") is None
    assert len(rows) == 3
