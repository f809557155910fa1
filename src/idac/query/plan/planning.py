"""Decides what a query reads: from its conditions to cells of the sky, from cells to row groups; reads no data file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from sqlglot import exp

from idac.catalogs.snapshot import HatsStorage, PlainStorage, RowGroupIndex
from idac.core.arrays import distinct
from idac.query.engines.base import ScanEstimate
from idac.query.plan import predicates as p
from idac.query.plan.constants import constant_number
from idac.query.plan.matches import Match, Place, SkyMatch, find_matches, find_outer_matches
from idac.query.plan.model import MatchPlan, Plan, Scan, SelectPlan, SideReader
from idac.query.plan.ranges import grown, ranges_near, ranges_of_cells
from idac.query.plan.restrictions import (
    MOST_IDS,
    Restriction,
    Restrictions,
    Restrictor,
    describe_angle,
    with_cover,
    without_ids,
)
from idac.query.plan.sources import (
    Item,
    Joined,
    Origins,
    aliases_of,
    conjuncts,
    from_tree,
    iter_items,
    iter_joins,
    iter_nodes,
)
from idac.query.resolved import ResolvedQuery, TableUse
from idac.sky.healpix import MAX_ORDER

#: A table up to this many rows is looked at while planning, to read only what is near it of a large one.
SMALL_ROWS = 200_000
#: Part of the row groups up to which they are chosen by the least and greatest value of a column.
_WORTH_PLANNING = 0.25


def plan_query(query: ResolvedQuery, reader: SideReader, max_rows: int | None = None) -> Plan:
    """The plan of *query*, of whose result at most *max_rows* + 1 rows are wanted."""
    return _Planner(query, reader, max_rows).plan()


class _Planner:
    """One query on its way to a plan."""

    def __init__(self, query: ResolvedQuery, reader: SideReader, max_rows: int | None) -> None:
        self.query, self.reader, self.max_rows = query, reader, max_rows
        self.nodes = list(iter_nodes(query.tree))
        self.selects = [node for node in self.nodes if isinstance(node, exp.Select)]
        self.origins = Origins(self.nodes)
        self.restrictor = Restrictor(self.origins)
        self.uses = {use.alias: use for use in query.tables}
        self.restrictions: Restrictions = {}

    def plan(self) -> Plan:
        selects = {id(node): self.select(node) for node in self.selects}
        for plan in selects.values():
            self.restrict(plan)
        self.look_up_ids()
        for _ in range(2):  # a chain of two matches lets a region reach three tables; longer ones are rare
            for plan in selects.values():
                self.propagate(plan)
        columns = self.columns()
        scans = {use.alias: self.scan(use, columns.get(use.alias, ())) for use in self.query.tables}
        self.cut_to_first_rows(scans, selects)
        for plan in selects.values():
            self.choose_sides(plan, scans)
            plan.known_count = self.known_count(plan)
        return Plan(self.query, selects, scans, tuple(_estimate(s, selects.values()) for s in scans.values()))

    def select(self, node: exp.Select) -> SelectPlan:
        if node.args.get("from_") is None:
            raise TypeError("a SELECT without FROM reached planning")
        where = node.args.get("where")
        plan = SelectPlan(node, from_tree(node), conjuncts(where.this) if where is not None else [])
        own = aliases_of(plan.tree)
        for join in iter_joins(plan.tree):
            plan.matches += [MatchPlan(m, join, "", "") for m in _across(join, join.conditions)]
        plan.matches += [MatchPlan(m, None, "", "") for m in find_matches(plan.where, own)]
        for match, alias in find_outer_matches(plan.where, own) if len(self.selects) > 1 else ():
            (other,) = match.aliases - {alias}
            plan.matches.append(MatchPlan(match, None, alias, other, correlated=True))
        return plan

    # -- restrictions ------------------------------------------------------------------------------------------------

    def restrict(self, plan: SelectPlan) -> None:
        self.add(self.restrictor.of_all(plan.where, aliases_of(plan.tree)))
        for join in iter_joins(plan.tree):
            self.add(self.restrictor.of_all(join.conditions, _cuttable(join)))

    def add(self, found: Restrictions) -> None:
        for alias, restriction in found.items():
            known = self.restrictions.get(alias)
            self.restrictions[alias] = known.and_(restriction) if known else restriction

    def look_up_ids(self) -> None:
        for alias, restriction in self.restrictions.items():
            if restriction.ids is None:
                continue
            cells = self.reader.cells_of_ids(self.uses[alias], restriction.ids)
            if cells is not None:
                self.restrictions[alias] = without_ids(restriction, ranges_of_cells(cells, MAX_ORDER))

    def propagate(self, plan: SelectPlan) -> None:
        """Carry what is known of one side of a join to the other."""
        own = aliases_of(plan.tree)
        for item in plan.matches:
            cuttable = own if item.join is None else _cuttable(item.join)
            if isinstance(item.match, SkyMatch) and item.match.radius_deg is not None:
                for alias in item.match.aliases & cuttable:
                    self.grow(item.match.other(alias), item.match.place(alias), item.match.radius_deg)
        self.carry_ids(plan.where, own)
        for join in iter_joins(plan.tree):
            self.carry_ids(join.conditions, _cuttable(join))

    def grow(self, source: Place, target: Place, radius_deg: float) -> None:
        targets = self.restrictor.native_uses(p.bare(target.point), frozenset((target.alias,)))
        if not targets:
            return
        cover, reason = None, ""
        natives = self.restrictor.native_uses(p.bare(source.point), frozenset((source.alias,)))
        known = [self.restrictions[u.alias] for u in natives if u.alias in self.restrictions]
        if len(natives) == 1 and known and known[0].cover is not None:
            cover = grown(known[0].cover, radius_deg)
            reason = f"within {describe_angle(radius_deg)} of {', '.join(known[0].reasons)}"
        else:
            small = self.small_positions(source)
            if small is not None:
                use, ra, dec = small
                ras, decs = self.reader.numbers(use, (ra, dec))
                cover = ranges_near(ras, decs, radius_deg)
                reason = f"within {describe_angle(radius_deg)} of {use.entry.table.qualified_name}"
        if cover is None:
            return
        for use in targets:
            before = self.restrictions.get(use.alias, Restriction())
            self.restrictions[use.alias] = with_cover(before, cover, reason)

    def small_positions(self, place: Place) -> tuple[TableUse, str, str] | None:
        """The small table that a position comes from, and its columns."""
        position = p.plain_position(p.bare(place.point))
        if position is None:
            return None
        alias, ra, dec = position
        ras, decs = self.origins.trace(alias, ra), self.origins.trace(alias, dec)
        if len(ras) != 1 or len(decs) != 1 or ras[0][0] is not decs[0][0] or not self.can_look_at(ras[0][0]):
            return None
        return ras[0][0], ras[0][1], decs[0][1]

    def can_look_at(self, use: TableUse) -> bool:
        return use.entry.storage.rows <= SMALL_ROWS and self.reader.can_look_at(use)

    def carry_ids(self, conditions: Sequence[exp.Expr], cuttable: frozenset[str]) -> None:
        """``big.id = small.id``: read of the large table only what the small one names."""
        for condition in conditions:
            for comparison in p.comparisons(condition):
                if comparison.operator is not exp.EQ or not isinstance(comparison.right, exp.Column):
                    continue
                targets = self.restrictor.id_uses(comparison.left, cuttable)
                sources = self.origins.trace(comparison.right.table, comparison.right.name)
                if targets and len(sources) == 1 and self.can_look_at(sources[0][0]):
                    self.restrict_to_ids(targets, *sources[0])

    def restrict_to_ids(self, targets: list[TableUse], source: TableUse, column: str) -> None:
        reason = f"ids of {source.entry.table.qualified_name}"
        fresh = [u for u in targets if reason not in self.restrictions.get(u.alias, Restriction()).reasons]
        ids = self.reader.values(source, column) if fresh else frozenset()
        for use in fresh if len(ids) <= MOST_IDS else []:
            cells = self.reader.cells_of_ids(use, ids)
            if cells is not None:
                before = self.restrictions.get(use.alias, Restriction())
                self.restrictions[use.alias] = with_cover(before, ranges_of_cells(cells, MAX_ORDER), reason)

    # -- scans -------------------------------------------------------------------------------------------------------

    def columns(self) -> dict[str, tuple[str, ...]]:
        """Columns of each published table that the query uses, in the table's order."""
        wanted: dict[str, set[str]] = {}
        for node in self.nodes:
            if isinstance(node, exp.Column):
                wanted.setdefault(node.table, set()).add(node.name)
        return {
            alias: tuple(c.name for c in self.uses[alias].entry.table.columns if c.name in names)
            for alias, names in wanted.items()
            if alias in self.uses
        }

    def scan(self, use: TableUse, columns: tuple[str, ...]) -> Scan:
        storage = use.entry.storage
        restriction = self.restrictions.get(use.alias)
        if not isinstance(storage, HatsStorage) or restriction is None:
            return Scan(use, columns, "whole table", storage.rows)
        reasons, entries = list(restriction.reasons), None
        if restriction.cover is not None:
            entries = storage.index.select(restriction.cover)
            ranges = len(restriction.cover)
            reasons = [f"{', '.join(reasons)}; {ranges} HEALPix range{'' if ranges == 1 else 's'}"]
        for column, values in restriction.whole.items():
            fewer = self.holding(use, column, values, entries)
            if fewer is not None:
                reasons, entries = [*reasons, f"{_counted(values)} of {column}"], fewer
        if entries is None:
            return Scan(use, columns, "whole table", storage.rows)
        rows = int(storage.index.rows[entries].sum())
        return Scan(use, columns, "; ".join(reasons), rows, entries, restriction.cover)

    def holding(
        self, use: TableUse, column: str, values: frozenset[int], entries: npt.NDArray[np.intp] | None
    ) -> npt.NDArray[np.intp] | None:
        """Of *entries* (None: all row groups) those that may hold one of *values*; None where that cuts off too little.

        An engine skips row groups by the same statistics while it scans; planning by them pays where few are left.
        """
        bounds = self.reader.bounds(use, column)
        if bounds is None:
            return None
        low, high = bounds if entries is None else (bounds[0][entries], bounds[1][entries])
        wanted = np.array(sorted(v for v in values if -(2**63) <= v < 2**63), dtype=np.int64)
        found = np.flatnonzero(np.searchsorted(wanted, low) < np.searchsorted(wanted, high, side="right"))
        if len(found) > len(low) * _WORTH_PLANNING:
            return None
        return found if entries is None else entries[found]

    def cut_to_first_rows(self, scans: dict[str, Scan], selects: dict[int, SelectPlan]) -> None:
        """``SELECT TOP 5 * FROM table``: any five rows will do, so the first row groups are enough."""
        if len(selects) != 1 or len(scans) != 1:
            return
        (plan,), (scan,) = selects.values(), scans.values()
        storage = scan.use.entry.storage
        wanted = _rows_wanted(plan.node, self.max_rows)
        if wanted is None or not isinstance(storage, HatsStorage) or not scan.is_whole or not _takes_any_rows(plan):
            return
        enough = int(np.searchsorted(np.cumsum(storage.index.rows), wanted)) + 1
        if enough < len(storage.index.rows):
            entries = np.arange(enough, dtype=np.intp)
            rows = int(storage.index.rows[:enough].sum())
            scans[scan.use.alias] = Scan(scan.use, scan.columns, f"first {wanted} rows", rows, entries)

    def known_count(self, plan: SelectPlan) -> int | None:
        node = plan.node
        if plan.where or not isinstance(plan.tree, Item) or plan.tree.use is None:
            return None
        if any(node.args.get(key) for key in ("group", "having", "distinct", "order")):
            return None
        values = [e.unalias() for e in node.expressions]
        return plan.tree.use.entry.storage.rows if values and all(map(_counts_rows, values)) else None

    # -- matches -----------------------------------------------------------------------------------------------------

    def choose_sides(self, plan: SelectPlan, scans: dict[str, Scan]) -> None:
        """Repeat the rows of the smaller side; the larger keeps its one cell a row, which it often has stored."""
        sizes = {item.alias: self.size(item.node, scans) for item in iter_items(plan.tree)}
        for item in plan.matches:
            if not item.correlated:
                item.exploded, item.keyed = self.sides(item.match, sizes)

    def sides(self, match: Match, sizes: dict[str, int]) -> tuple[str, str]:
        if not isinstance(match, SkyMatch):
            return match.outer.alias, match.inner.alias
        first, second = match.first.alias, match.second.alias
        weights = [sizes[place.alias] * (4 if self.has_index(place) else 1) for place in (match.first, match.second)]
        return (first, second) if weights[0] <= weights[1] else (second, first)

    def has_index(self, place: Place) -> bool:
        """True where the cells of this position are stored: looking rows up by them costs nothing."""
        return bool(self.restrictor.native_uses(p.bare(place.point), frozenset((place.alias,))))

    def size(self, node: exp.Expr, scans: dict[str, Scan]) -> int:
        """Rows that a source may yield: the largest of the tables in it."""
        names = {table.alias for table in node.find_all(exp.Table)}
        rows = [scans[name].rows for name in names if name in scans]
        limit = node.this.args.get("limit") if isinstance(node, exp.Subquery) else None
        most = max(rows, default=100_000)
        return min(most, int(limit.expression.name)) if limit is not None else most


def _counted(values: frozenset[int]) -> str:
    return "one value" if len(values) == 1 else f"{len(values)} values"


def _across(join: Joined, conditions: Sequence[exp.Expr]) -> Iterable[Match]:
    """Matches of a join's conditions; those between its two sides first."""
    found = list(find_matches(conditions, aliases_of(join)))
    left = aliases_of(join.left)
    return sorted(found, key=lambda m: len({a in left for a in m.aliases}) == 1)


def _cuttable(join: Joined) -> frozenset[str]:
    """Tables of which a join's conditions say what rows matter: those that it does not keep without a partner."""
    left, right = aliases_of(join.left), aliases_of(join.right)
    return {"INNER": left | right, "LEFT": right, "RIGHT": left, "FULL": frozenset[str]()}[join.side]


def _counts_rows(node: exp.Expr) -> bool:
    return isinstance(node, exp.Anonymous) and node.name == "COUNT" and isinstance(node.expressions[0], exp.Star)


def _rows_wanted(node: exp.Select, max_rows: int | None) -> int | None:
    numbers = [constant_number(node.args[key].expression) for key in ("limit", "offset") if node.args.get(key)]
    limit = node.args.get("limit")
    if limit is None:
        return None if max_rows is None else max_rows + 1 + int(sum(n or 0 for n in numbers))
    return int(sum(n or 0 for n in numbers))


def _takes_any_rows(plan: SelectPlan) -> bool:
    """True where each row of the one table makes one row of the result, and none is preferred."""
    if plan.where or any(plan.node.args.get(key) for key in ("group", "having", "distinct", "order")):
        return False
    calls = plan.node.find_all(exp.Anonymous)
    return not any((f := c.meta.get("function")) is not None and f.aggregate for c in calls)


def _estimate(scan: Scan, plans: Iterable[SelectPlan]) -> ScanEstimate:
    table, storage = scan.use.entry.table, scan.use.entry.storage
    counted = any(
        plan.known_count is not None and isinstance(plan.tree, Item) and plan.tree.use is scan.use for plan in plans
    )
    reason = "row count is known" if counted else scan.reason
    if isinstance(storage, HatsStorage):
        files, row_groups = _totals(storage.index) if not scan.is_whole or not counted else (0, 0)
        if counted:
            read = (0, 0, 0)
        elif scan.entries is None:
            read = (files, row_groups, storage.rows)
        else:
            read = (len(distinct(storage.index.file[scan.entries])), len(scan.entries), scan.rows)
        return ScanEstimate(
            table.qualified_name, scan.use.alias, read[0], files, read[1], row_groups, read[2], storage.rows, reason
        )
    files = len(storage.files) if isinstance(storage, PlainStorage) else 0
    rows = 0 if counted else storage.rows
    return ScanEstimate(
        table.qualified_name, scan.use.alias, 0 if counted else files, files, 0, 0, rows, storage.rows, reason
    )


def _totals(index: RowGroupIndex) -> tuple[int, int]:
    return len(index.files), len(index.rows)
