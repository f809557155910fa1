"""What planning decides: which part of each table is read, and how sources are matched. Engines turn it into work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt
from sqlglot import exp

from idac.query.engines.base import ScanEstimate
from idac.query.plan.matches import Match
from idac.query.plan.sources import FromTree, Joined
from idac.query.resolved import ResolvedQuery, TableUse
from idac.sky.cover import Ranges


class SideReader(Protocol):
    """Reads the little that planning needs to see: id indexes, and positions and ids of small tables."""

    def cells_of_ids(self, use: TableUse, ids: frozenset[object]) -> npt.NDArray[np.int64] | None:
        """``_healpix_29`` of the rows with these ids, from the table's id index; None where that can't be told."""
        ...

    def bounds(self, use: TableUse, column: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None:
        """The least and the greatest value of a column of whole numbers in each row group of the table's index.

        None where that can't be told without reading too much.
        """
        ...

    def can_look_at(self, use: TableUse) -> bool:
        """True for a table of which ``numbers`` and ``values`` can tell."""
        ...

    def numbers(self, use: TableUse, columns: tuple[str, ...]) -> tuple[npt.NDArray[np.float64], ...]:
        """Whole numeric columns of a small table as doubles, NULL as NaN."""
        ...

    def values(self, use: TableUse, column: str) -> frozenset[object]:
        """Distinct values of a column of a small table, NULL left out."""
        ...


@dataclass(frozen=True)
class Scan:
    """The part of a table that one use of it reads."""

    use: TableUse
    columns: tuple[str, ...]  # in the table's order; the index column is not among them unless it is asked for
    reason: str
    rows: int
    #: Row groups to read, as places in the table's RowGroupIndex; None: the whole table.
    entries: npt.NDArray[np.intp] | None = None
    #: Cells outside which no row matters; None: not known.
    ranges: Ranges | None = None

    @property
    def is_whole(self) -> bool:
        return self.entries is None


@dataclass
class MatchPlan:
    """A match, and where it stands: in the ON of *join*, or in WHERE (None).

    The rows of *exploded* are repeated for every cell near them; *keyed* is looked up by the one cell of each row.
    *correlated*: *keyed* is a source of a query round this one, as in ``WHERE EXISTS (SELECT … near the row outside)``.
    """

    match: Match
    join: Joined | None
    exploded: str
    keyed: str
    correlated: bool = False


@dataclass
class SelectPlan:
    """One SELECT with its sources as a tree, its conditions apart, and its matches."""

    node: exp.Select
    tree: FromTree
    where: list[exp.Expr]
    matches: list[MatchPlan] = field(default_factory=list)
    #: Set for ``SELECT COUNT(*) FROM table``: the answer is known.
    known_count: int | None = None


@dataclass(frozen=True)
class Plan:
    """A query with every decision made that does not depend on the engine."""

    query: ResolvedQuery
    selects: Mapping[int, SelectPlan]  # by id() of the SELECT in query.tree
    scans: Mapping[str, Scan]  # by alias
    estimates: tuple[ScanEstimate, ...]

    @property
    def rows_to_read(self) -> int:
        return sum(e.rows for e in self.estimates)

    @property
    def is_simple(self) -> bool:
        """True for one SELECT of one table: what a reader of row groups could answer without an SQL engine."""
        return len(self.selects) == 1 and len(self.scans) == 1
