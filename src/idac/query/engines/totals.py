"""What is added up while rows pass by: counts, sums, least and greatest values, for all rows or each value of a key.

Totals of parts of the rows are joined to those of all. Groups are places in arrays, since a key is a whole number
within narrow bounds: of a histogram, or of codes. The first place is that of the rows whose key is NULL.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from idac.query.engines.conditions import Mask, Values
from idac.query.engines.values import LeftToEngine, Vector

type Wanted = Literal["count", "sum", "mean", "least", "greatest"]
type Counts = npt.NDArray[np.int64]
type Chosen = npt.NDArray[np.intp]

#: Places for groups, and for all that is asked of them together. With more, a hash table is the better way.
_MOST_GROUPS, _MOST_NUMBERS = 1 << 15, 1 << 20
#: Keys beyond this are no codes, and no doubles count them one by one.
_LARGEST_KEY = 2.0**52


@dataclass(frozen=True)
class Shape:
    """What is asked of each of the values that are added up; by groups or not."""

    wanted: tuple[frozenset[Wanted], ...]
    is_keyed: bool

    def require_few(self, groups: int) -> None:
        """Raises LeftToEngine where totals of so many groups are too many numbers."""
        if groups > _MOST_GROUPS or groups * self.arrays > _MOST_NUMBERS:
            raise LeftToEngine

    @cached_property
    def arrays(self) -> int:
        """Numbers that are kept of each group: its rows, and of each value those that are there and what is asked."""
        return 1 + sum(1 + len(asked) for asked in self.wanted)


@dataclass(frozen=True)
class Ends:
    """The least and greatest values that were met, one each, for rows among which there is none beyond them."""

    least: Values | None
    greatest: Values | None

    def joined(self, other: Ends | None) -> Ends:
        """Those of the rows of both."""
        if other is None:
            return self
        return Ends(
            None if self.least is None or other.least is None else np.minimum(self.least, other.least),
            None if self.greatest is None or other.greatest is None else np.maximum(self.greatest, other.greatest),
        )


@dataclass(frozen=True)
class _Part:
    """Of one value, for each group: rows that have it, and what was asked for."""

    counts: Counts
    sums: Values | None
    least: Values | None
    greatest: Values | None


@dataclass(frozen=True)
class Totals:
    """Totals of some rows. Group *g* stands at place ``g - low + 1``."""

    shape: Shape
    low: int
    rows: Counts
    parts: tuple[_Part, ...]

    @classmethod
    def of(
        cls, shape: Shape, length: int, chosen: Chosen | None, key: Vector | None, vectors: Sequence[Vector | Ends]
    ) -> Totals:
        """Totals of those of *length* rows that are *chosen*, by their numbers (None: of all).

        Without a key, a value may be given by its ends.
        """
        if key is None:
            rows = length if chosen is None else len(chosen)
            parts = (
                _Part(np.zeros(1, np.int64), None, v.least, v.greatest) if isinstance(v, Ends) else _whole(v, chosen, w)
                for v, w in zip(vectors, shape.wanted, strict=True)
            )
            return cls(shape, 0, np.array([rows]), tuple(parts))
        low, places = _places(key, chosen)
        size = int(places.max()) + 1 if len(places) else 1
        shape.require_few(size)
        rows_of = np.bincount(places, minlength=size)
        known = (v for v in vectors if isinstance(v, Vector))
        grouped = (_grouped(v, chosen, w, places, size) for v, w in zip(known, shape.wanted, strict=True))
        return cls(shape, low, rows_of, tuple(grouped))

    @classmethod
    def joined(cls, some: Sequence[Totals]) -> Totals:
        """Totals of the rows of all. Raises LeftToEngine where that makes too many groups."""
        shape = some[0].shape
        if not shape.is_keyed:
            spread: _Spread = _one_by_one
            low, size = 0, 1
        else:
            # One without groups has no least one.
            low = min((t.low for t in some if len(t.rows) > 1), default=0)
            size = max(len(t.rows) + (t.low - low if len(t.rows) > 1 else 0) for t in some)
            shape.require_few(size)
            spread = partial(_spread, [t.low - low for t in some], size)
        rows = spread(np.add, [t.rows for t in some])
        parts = []
        for same in zip(*(t.parts for t in some), strict=True):
            of_all = [[p.counts for p in same], [p.sums for p in same], [p.least for p in same]]
            of_all.append([p.greatest for p in same])
            pairs = zip((np.add, np.add, np.minimum, np.maximum), of_all, strict=True)
            arrays: list[Any] = [None if a[0] is None else spread(operate, a) for operate, a in pairs]
            parts.append(_Part(*arrays))
        return cls(shape, low, rows, tuple(parts))

    @property
    def size(self) -> int:
        """Numbers that are kept."""
        return len(self.rows) * self.shape.arrays

    def ends(self, number: int) -> Ends:
        """The least and greatest value of that *number*, as far as they are asked for."""
        return Ends(self.parts[number].least, self.parts[number].greatest)

    # -- the answer --------------------------------------------------------------------------------------------------

    def keys(self) -> pa.Array:
        """The keys that occur, NULL last."""
        found = self._occurring()
        return pa.array(found + (self.low - 1), mask=found == 0)

    def column(self, wanted: Wanted, number: int | None) -> pa.Array:
        """An aggregate of the value of that *number* (None: of rows), in the order of ``keys``.

        Raises LeftToEngine for what is no number, or none that a double holds.
        """
        found = self._occurring()
        if number is None:
            return pa.array(self.rows[found])
        part = self.parts[number]
        counts = part.counts[found]
        if wanted == "count":
            return pa.array(counts)
        values = {"sum": part.sums, "mean": part.sums, "least": part.least, "greatest": part.greatest}[wanted]
        assert values is not None  # noqa: S101  what is asked for was added up
        chosen, missing = values[found], counts == 0
        if not np.isfinite(chosen[~missing]).all():
            raise LeftToEngine
        if wanted == "mean":
            chosen = chosen / np.maximum(counts, 1)
        return pa.array(chosen, mask=missing)

    def _occurring(self) -> npt.NDArray[np.intp]:
        """Places of the groups with rows; of all rows together, whether there are any or not."""
        if not self.shape.is_keyed:
            return np.zeros(1, np.intp)
        found = np.flatnonzero(self.rows)
        return np.roll(found, -1) if len(found) and found[0] == 0 else found


#: Joins the arrays of several totals by what is done to two values.
type _Spread = Callable[[Any, Sequence[Values]], Values]


def _one_by_one(operate: Any, arrays: Sequence[Values]) -> Values:
    return np.array([operate.reduce(np.concatenate(arrays))])


def _spread(shifts: Sequence[int], size: int, operate: Any, arrays: Sequence[Values]) -> Values:
    """Arrays whose groups are *shifts* places further on, among *size*."""
    found = np.full(size, _nothing(operate, arrays[0]), arrays[0].dtype)
    for shift, array in zip(shifts, arrays, strict=True):
        found[0] = operate(found[0], array[0])
        there = found[1 + shift : shift + len(array)]
        operate(there, array[1:], out=there)
    return found


def _nothing(operate: Any, array: Values) -> Any:
    """What changes nothing when it is joined."""
    if operate is np.add:
        return 0
    return _greatest_of(array.dtype) if operate is np.minimum else _least_of(array.dtype)


def _greatest_of(kind: np.dtype[Any]) -> Any:
    return np.iinfo(kind).max if kind.kind in "iu" else np.inf


def _least_of(kind: np.dtype[Any]) -> Any:
    return np.iinfo(kind).min if kind.kind in "iu" else -np.inf


def _taken(vector: Vector, chosen: Chosen | None) -> tuple[Values, Mask | None]:
    """Values of the chosen rows, and which of them are there."""
    if chosen is None:
        return vector.values, vector.there
    # Nothing is clipped, since all are there: what numpy does otherwise is to check each number, for half of the time.
    values = vector.values.take(chosen, mode="clip")
    return values, None if vector.there is None else vector.there.take(chosen, mode="clip")


def _present(vector: Vector, chosen: Chosen | None) -> Values:
    values, there = _taken(vector, chosen)
    # Several times as fast as an index of booleans.
    return values if there is None else np.compress(there, values)


def _places(key: Vector, chosen: Chosen | None) -> tuple[int, npt.NDArray[np.intp]]:
    """The least key, and the place of each chosen row. Raises LeftToEngine for keys that are too far apart."""
    values, there = _taken(key, chosen)
    known = values if there is None else np.compress(there, values)
    if not len(known):
        return 0, np.zeros(len(values), np.intp)
    least, greatest = float(known.min()), float(known.max())
    # NaN is not within bounds either.
    if not (least > -_LARGEST_KEY and greatest < _LARGEST_KEY and greatest - least < _MOST_GROUPS - 1):
        raise LeftToEngine
    low = int(least)
    # What stands where there is no key may be no number.
    places = (values if there is None else np.where(there, values, low)).astype(np.intp)
    places -= low - 1
    return low, places if there is None else np.where(there, places, 0)


def _whole(vector: Vector, chosen: Chosen | None, wanted: frozenset[Wanted]) -> _Part:
    """One value's totals over all chosen rows."""
    values = _present(vector, chosen)
    return _Part(
        np.array([len(values)]),
        np.array([_sum(values)]) if wanted & {"sum", "mean"} else None,
        _ends(values, np.minimum, _greatest_of) if "least" in wanted else None,
        _ends(values, np.maximum, _least_of) if "greatest" in wanted else None,
    )


def _sum(values: Values) -> Any:
    # A sum that makes doubles of floats on its way takes half as long again.
    return values.sum(dtype=np.int64) if values.dtype.kind in "iu" else values.astype(np.float64, copy=False).sum()


def _ends(values: Values, choose: Any, other_end: Callable[[np.dtype[Any]], Any]) -> Values:
    kind = _kind_of_ends(values)
    return np.array([choose.reduce(values) if len(values) else other_end(kind)], kind)


def _kind_of_ends(values: Values) -> np.dtype[Any]:
    """One type for whole numbers: the same column may be read as shorter or longer ones in two row groups."""
    return np.dtype(np.int64) if values.dtype.kind in "iu" else values.dtype


def _grouped(
    vector: Vector, chosen: Chosen | None, wanted: frozenset[Wanted], places: npt.NDArray[np.intp], size: int
) -> _Part:
    """One value's totals for each of *size* groups; *places* are those of the chosen rows."""
    values, there = _taken(vector, chosen)
    if there is not None:
        values, places = np.compress(there, values), np.compress(there, places)
    kind = _kind_of_ends(values)
    sums = least = greatest = None
    if wanted & {"sum", "mean"}:
        # Exact for whole numbers: a row group's are too few to go beyond what doubles hold.
        sums = np.bincount(places, values, minlength=size)
        sums = sums.astype(np.int64) if values.dtype.kind in "iu" else sums
    if "least" in wanted:
        least = np.full(size, _greatest_of(kind), kind)
        np.minimum.at(least, places, values)
    if "greatest" in wanted:
        greatest = np.full(size, _least_of(kind), kind)
        np.maximum.at(greatest, places, values)
    return _Part(np.bincount(places, minlength=size), sums, least, greatest)
