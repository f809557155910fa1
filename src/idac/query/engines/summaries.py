"""Sums, means, counts and histograms of a table, worked out over its columns as they lie in the files.

Statistics of whole tables are the commonest large query of a catalogue service. Where the columns lie plain, arithmetic
on arrays takes a third of the processor time of an SQL engine, which is made for any type and any plan. What is not
understood here is left to it: ``summary_query`` gives None, or ``run`` raises LeftToEngine, and nothing is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sqlglot import exp

from idac.catalogs.snapshot import HatsStorage
from idac.core.arrays import distinct
from idac.query.engines.conditions import Rows, Test, tests_of
from idac.query.engines.parquet_files import Bounds
from idac.query.engines.plain_columns import PlainColumns
from idac.query.engines.totals import Ends, Shape, Totals, Wanted
from idac.query.engines.values import Inner, LeftToEngine, Value, value_of
from idac.query.plan.model import Plan, Scan, SelectPlan
from idac.query.plan.sources import Item, columns_of

#: Row groups, and numbers in their totals, after which these are joined.
_ROW_GROUPS_A_TASK, _NUMBERS_HELD = 64, 1 << 20
#: The query, and one in its FROM.
_MOST_SELECTS = 2
_NAMES: dict[str, Wanted] = {"COUNT": "count", "SUM": "sum", "AVG": "mean", "MIN": "least", "MAX": "greatest"}


@dataclass(frozen=True)
class _Output:
    """A column of the answer: an aggregate of the expression of that number (None: of rows), or the key."""

    wanted: Wanted | None
    value: int | None = None


@dataclass(frozen=True)
class SummaryQuery:
    """Aggregates of one table's rows, over all or for each value of *key*."""

    scan: Scan
    columns: tuple[str, ...]
    tests: tuple[Test, ...]
    #: Columns of the tests.
    tested: frozenset[str]
    key: Value | None
    values: tuple[Value, ...]
    outputs: tuple[_Output, ...]
    #: Outputs by number, and whether the greatest comes first.
    order: tuple[tuple[int, bool], ...]
    limit: int | None

    def run(self, plain: PlainColumns, check: Callable[[], None]) -> pa.Table:
        """The rows of the answer. *check* is called often, and raises what shall end the work.

        Raises LeftToEngine where an engine must answer after all.
        """
        shape = self._totalled()
        met = _Met(self.columns, self._by_ends(shape))
        totals: list[Totals] = []
        held = 0
        for path, groups in self._tasks():
            for rows in plain.iter_rows(path, groups, self.columns, met.needed):
                check()
                totals.append(self._of(rows, shape, met))
                met.note(totals[-1])
                held += totals[-1].size
                if held > _NUMBERS_HELD:
                    totals = [Totals.joined(totals)]
                    held = totals[0].size
            totals = [Totals.joined(totals)]
            held = totals[0].size
        if not totals:
            raise LeftToEngine
        return self._answer(totals[0])

    def _totalled(self) -> Shape:
        asked = (
            frozenset(o.wanted for o in self.outputs if o.value == number and o.wanted is not None)
            for number in range(len(self.values))
        )
        return Shape(tuple(asked), self.key is not None)

    def _tasks(self) -> Iterator[tuple[str, list[int]]]:
        storage = self.scan.use.entry.storage
        assert isinstance(storage, HatsStorage)  # noqa: S101  summary_query has looked
        index = storage.index
        entries = np.arange(len(index.rows)) if self.scan.entries is None else self.scan.entries
        for number in distinct(index.file[entries]):
            groups = index.row_group[entries[index.file[entries] == number]].tolist()
            for at in range(0, len(groups), _ROW_GROUPS_A_TASK):
                yield index.files[number], groups[at : at + _ROW_GROUPS_A_TASK]

    def _by_ends(self, shape: Shape) -> dict[str, int]:
        """Columns of which the least and greatest value are all that is asked, and the numbers of these values."""
        if self.key is not None:
            return {}
        asked = zip(self.values, shape.wanted, strict=True)
        known = {
            value.column: number
            for number, (value, wanted) in enumerate(asked)
            if value.column is not None and wanted <= {"least", "greatest"}
        }
        others = self.tested.union(*(v.columns for n, v in enumerate(self.values) if n not in known.values()))
        return {name: number for name, number in known.items() if name not in others}

    def _of(self, rows: Rows, shape: Shape, met: _Met) -> Totals:
        chosen = None
        if self.tests:
            chosen = np.flatnonzero(reduce(np.logical_and, (test(rows) for test in self.tests)))
        key = None if self.key is None else self.key.of(rows)
        vectors = [met.instead.get(number) or value.of(rows) for number, value in enumerate(self.values)]
        return Totals.of(shape, len(rows), chosen, key, vectors)

    def _answer(self, totals: Totals) -> pa.Table:
        columns = [totals.keys() if o.wanted is None else totals.column(o.wanted, o.value) for o in self.outputs]
        table = pa.table(columns, names=[str(number) for number in range(len(columns))])
        if self.order:
            keys = [(str(number), "descending" if falls else "ascending", "at_end") for number, falls in self.order]
            table = table.take(pc.sort_indices(table, sort_keys=keys))
        return table.slice(0, self.limit)


class _Met:
    """The ends of values met so far: columns need not be read where a file tells that theirs lie within."""

    def __init__(self, columns: Sequence[str], numbers: Mapping[str, int]) -> None:
        self._columns, self._numbers = columns, numbers
        self._ends: dict[int, Ends] = {}
        #: What stands for values whose columns are not read, of the rows that come next.
        self.instead: dict[int, Ends] = {}

    def needed(self, bounds: Callable[[str], Bounds | None]) -> Sequence[str]:
        """The columns to read of rows where *bounds* tells those of a column."""
        within = {name: number for name, number in self._numbers.items() if self._is_within(number, bounds, name)}
        self.instead = {number: self._ends[number] for number in within.values()}
        return [name for name in self._columns if name not in within]

    def _is_within(self, number: int, bounds: Callable[[str], Bounds | None], name: str) -> bool:
        ends = self._ends.get(number)
        found = None if ends is None else bounds(name)
        if ends is None or found is None:
            return False
        low, high = found
        return (ends.least is None or low >= ends.least[0]) and (ends.greatest is None or high <= ends.greatest[0])

    def note(self, totals: Totals) -> None:
        for number in self._numbers.values():
            self._ends[number] = totals.ends(number).joined(self._ends.get(number))


def summary_query(plan: Plan, plain: PlainColumns) -> SummaryQuery | None:
    """How to sum *plan*'s table up; None where an engine must."""
    if len(plan.scans) != 1 or len(plan.selects) > _MOST_SELECTS:
        return None
    (scan,) = plan.scans.values()
    node, storage = plan.query.tree, scan.use.entry.storage
    if not isinstance(storage, HatsStorage) or storage.may_hold_nan or scan.ranges is not None:
        return None
    if not isinstance(node, exp.Select) or any(node.args.get(k) for k in ("with_", "distinct", "having", "offset")):
        return None
    found = _source(plan, plan.selects[id(node)])
    if found is None:
        return None
    inner, conditions = found
    tests, shape = tests_of(conditions), _shape(node, inner)
    if tests is None or shape is None:
        return None
    key, values, outputs = shape
    order = _order(node)
    if order is None:
        return None
    tested = frozenset(column.name for condition in conditions for column in columns_of(condition))
    used = tested.union(*(value.columns for value in values), key.columns if key is not None else ())
    if not used or not plain.can_read(storage.index.files):
        return None
    limit = node.args.get("limit")
    number = int(limit.expression.name) if limit is not None else None
    return SummaryQuery(
        scan, tuple(name for name in scan.columns if name in used), tests, tested, key, values, outputs, order, number
    )


def _source(plan: Plan, select: SelectPlan) -> tuple[Inner, list[exp.Expr]] | None:
    """What stands for the columns of a sub-query, and the conditions; None for anything but a table, or rows of one."""
    item = select.tree
    if select.matches or select.known_count is not None or not isinstance(item, Item):
        return None
    if item.use is not None:
        return {}, select.where
    query = item.node.this
    inner = plan.selects.get(id(query)) if isinstance(query, exp.Select) else None
    if inner is None or select.where or inner.matches or not isinstance(inner.tree, Item) or inner.tree.use is None:
        return None
    if any(query.args.get(k) for k in ("with_", "distinct", "group", "having", "order", "limit", "offset", "joins")):
        return None
    if any(_is_aggregate(e.unalias()) for e in query.expressions):
        return None
    return {(item.alias, e.alias_or_name): e.unalias() for e in query.expressions}, inner.where


def _is_aggregate(node: exp.Expr) -> bool:
    return any(found.meta["function"].aggregate for found in node.find_all(exp.Anonymous) if "function" in found.meta)


def _shape(node: exp.Select, inner: Inner) -> tuple[Value | None, tuple[Value, ...], tuple[_Output, ...]] | None:
    """The key, the expressions that are summed up, and the columns of the answer."""
    group = node.args.get("group")
    keys = group.expressions if group is not None else []
    if len(keys) > 1:
        return None
    key = value_of(keys[0], inner) if keys else None
    if keys and (key is None or not key.is_whole or not key.columns):
        return None
    values: dict[exp.Expr, Value] = {}
    outputs: list[_Output] = []
    for item in node.expressions:
        output = _Output(None) if keys and item.unalias() == keys[0] else _output(item.unalias(), inner, values)
        if output is None:
            return None
        outputs.append(output)
    return key, tuple(values.values()), tuple(outputs)


def _output(node: exp.Expr, inner: Inner, values: dict[exp.Expr, Value]) -> _Output | None:
    """The column for one aggregate; its expression joins *values*."""
    wanted = _NAMES.get(node.name) if isinstance(node, exp.Anonymous) else None
    if wanted is None or node.meta.get("distinct") or len(node.expressions) != 1:
        return None
    argument = node.expressions[0]
    if isinstance(argument, exp.Star):
        return _Output("count")
    value = values.get(argument) or value_of(argument, inner)
    # A sum of ids goes beyond 64 bits.
    if value is None or not value.columns or (value.kind == "long" and wanted in ("sum", "mean")):
        return None
    values[argument] = value
    return _Output(wanted, list(values).index(argument))


def _order(node: exp.Select) -> tuple[tuple[int, bool], ...] | None:
    """ORDER BY as numbers of outputs; None for anything else in it."""
    order = node.args.get("order")
    values = [e.unalias() for e in node.expressions]
    items: Sequence[exp.Ordered] = order.expressions if order is not None else ()
    if any(item.this not in values for item in items):
        return None
    return tuple((values.index(item.this), bool(item.args.get("desc"))) for item in items)
