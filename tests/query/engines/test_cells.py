"""Cells near rows whose index is stored: DuckDB's arithmetic gives those that cdshealpix's neighbours do."""

from __future__ import annotations

import cdshealpix.nested as nested
import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from idac.query.engines.duckdb.cells import cells_near_stored

#: For what the function of ours would be asked.
ELSEWHERE = "NULL"


def by_duckdb(index: npt.NDArray[np.int64], order: int) -> list[list[int] | None]:
    rows = pa.table({"i": np.arange(len(index)), "h": index})
    with duckdb.connect() as connection:
        connection.register("rows", rows)
        cells = cells_near_stored("h", order, ELSEWHERE)
        return [sorted(c) if c else c for (c,) in connection.execute(f"SELECT {cells} FROM rows ORDER BY i").fetchall()]


def by_neighbours(fine: npt.NDArray[np.int64], order: int) -> list[list[int]]:
    block = nested.neighbours(fine.astype(np.uint64), order + 2)
    return [sorted({int(cell) >> 4 for cell in row if cell >= 0}) for row in block]


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_every_cell_of_the_sky_has_the_parents_of_its_neighbours(order: int) -> None:
    fine = np.arange(12 * 4 ** (order + 2), dtype=np.int64)
    found = by_duckdb(fine << (2 * (29 - order - 2)), order)
    expected = by_neighbours(fine, order)
    known = [place for place, cells in enumerate(found) if cells is not None]
    assert [found[place] for place in known] == [expected[place] for place in known]
    # Only cells at the rim of a base cell are left to the function.
    assert len(known) == 12 * 16 * (2**order - 2) ** 2


@pytest.mark.parametrize("order", [10, 14, 20, 24])
def test_so_have_cells_of_deep_orders(order: int) -> None:
    rng = np.random.default_rng(order)
    index = rng.integers(0, 12 * 4**29, 2_000)
    found = by_duckdb(index, order)
    expected = by_neighbours(index >> (2 * (29 - order - 2)), order)
    assert all(cells is None or cells == known for cells, known in zip(found, expected, strict=True))
    assert sum(cells is None for cells in found) < 20
