"""What is done in place of numpy gives what numpy gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from idac.core.arrays import distinct

_SHAPES = arrays.array_shapes(min_dims=1, max_dims=2, min_side=0, max_side=20)
_KINDS = st.sampled_from([np.dtype("i4"), np.dtype("i8"), np.dtype("u8")])


@given(_KINDS.flatmap(lambda kind: arrays.arrays(kind, _SHAPES)))
def test_distinct_values_are_those_that_numpy_finds(values: npt.NDArray[Any]) -> None:
    before, found = values.copy(), distinct(values)
    assert found.dtype == values.dtype
    assert found.tolist() == np.unique(values).tolist()
    assert np.array_equal(values, before)
