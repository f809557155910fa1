"""Expressions over arrays: what is worked out in single precision first comes to what doubles give, to the last one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from archive_fixture import TableData, build_archive
from asked_archive import AskedArchive
from idac.catalogs.ingest import IngestChoices
from idac.query.engines.conditions import TableRows
from idac.query.engines.values import LeftToEngine, Value, value_of
from services.tap_centre import duckdb_engine

type Doubles = npt.NDArray[np.float64]

#: Whole numbers of expressions, and the same in double precision.
NEAR: dict[str, Callable[[Doubles], Doubles]] = {
    "FLOOR(0 * LOG(flux) + 0.5)": lambda x: np.floor(0 * np.log(x) + 0.5),
    "FLOOR(LOG(flux))": lambda x: np.floor(np.log(x)),
    "FLOOR(LOG(flux) * 10)": lambda x: np.floor(np.log(x) * 10),
    "CEILING(-2.5 * LOG10(flux) + 31.4)": lambda x: np.ceil(-2.5 * np.log10(x) + 31.4),
    "FLOOR((31.4 - 2.5 * LOG10(flux)) / 0.1)": lambda x: np.floor((31.4 - 2.5 * np.log10(x)) / 0.1),
    "FLOOR(100 * (LOG10(flux) - 3))": lambda x: np.floor(100 * (np.log10(x) - 3)),
    "CEILING(0 * LOG(flux) - 1)": lambda x: np.ceil(0 * np.log(x) - 1),
}
#: Of these too little would be known.
NOT_NEAR = [
    "FLOOR(LOG(flux) * 1000)",
    "FLOOR(LOG(flux) / 0.0001)",
    "FLOOR(LOG(flux) + 1000000)",
    "FLOOR(LOG(flux) / 0)",
    "FLOOR(1 / LOG(flux))",
    "FLOOR(LOG(flux) * LOG(flux))",
    "FLOOR(LOG(shift) * 10)",
    "FLOOR(SQRT(flux))",
    "FLOOR(LOG(flux) * 1e-40)",
]


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AskedArchive]:
    folder = tmp_path_factory.mktemp("values")
    one = {"id": np.arange(1), "ra": np.ones(1), "dec": np.ones(1), "flux": np.ones(1, np.float32), "shift": np.ones(1)}
    archive = build_archive(folder, {"demo.sources": TableData(pa.table(one), choices=IngestChoices(id="id"))})
    with duckdb_engine(folder) as engine:
        yield AskedArchive(archive, engine)


def value(asked: AskedArchive, expression: str) -> Value:
    (item,) = asked.resolve(f"SELECT {expression} AS v FROM demo.sources").tree.expressions
    found = value_of(item.unalias(), {})
    assert found is not None
    return found


def argument(asked: AskedArchive, expression: str) -> Value:
    """What is made whole by *expression*."""
    return value(asked, expression.partition("(")[2][:-1])


floats = arrays(np.float32, st.integers(1, 60), elements=st.floats(width=32, min_value=0, exclude_min=True))


@pytest.mark.parametrize("expression", NEAR)
@given(fluxes=floats)
@example(fluxes=np.exp(np.arange(-80, 80) / 10).astype(np.float32))  # each is next to a whole number
@example(fluxes=np.power(10.0, np.arange(-30, 30)).astype(np.float32))
@example(fluxes=np.array([1e-45, 1.1754944e-38, 3.4028235e38, 1], np.float32))
def test_whole_numbers_are_those_of_doubles(
    asked: AskedArchive, expression: str, fluxes: npt.NDArray[np.float32]
) -> None:
    assert argument(asked, expression).near is not None
    fluxes = fluxes[np.isfinite(fluxes)]
    found = value(asked, expression).of(TableRows(pa.table({"flux": fluxes})))
    assert found.there is None
    assert found.values.tolist() == NEAR[expression](fluxes.astype(np.float64)).tolist()


@pytest.mark.parametrize("expression", NEAR)
def test_what_is_near_is_within_its_bound(asked: AskedArchive, expression: str) -> None:
    rng = np.random.default_rng(1)
    bits = rng.integers(1, 0x7F800000, 2_000_000, dtype=np.int32)  # all numbers above zero alike
    rows = TableRows(pa.table({"flux": bits.view(np.float32)}))
    of = argument(asked, expression)
    assert of.near is not None
    nearly, exactly = of.near.of(rows).values, of.of(rows).values
    assert nearly.dtype == np.float32
    assert np.abs(nearly - exactly).max() < of.near.bound / 2
    assert np.abs(exactly).max() <= of.near.most


@pytest.mark.parametrize("expression", NOT_NEAR)
def test_what_single_precision_cannot_tell_is_worked_out_in_double(asked: AskedArchive, expression: str) -> None:
    assert argument(asked, expression).near is None


def test_what_has_no_logarithm_has_no_value(asked: AskedArchive) -> None:
    fluxes = pa.array(np.array([0, -1, 5, np.inf, 7, 100], np.float32), mask=np.array([0, 0, 0, 0, 1, 0], bool))
    found = value(asked, "FLOOR(LOG(flux))").of(TableRows(pa.table({"flux": fluxes})))
    assert found.there is not None
    assert found.there.tolist() == [False, False, True, True, False, True]
    assert found.values[found.there].tolist() == [1, np.inf, 4]
    with pytest.raises(LeftToEngine):
        value(asked, "FLOOR(LOG(flux) * 2)").of(TableRows(pa.table({"flux": fluxes})))
