"""How much work a plan is, beyond the rows it reads: pairs of rows that joins without an equality must look at."""

from __future__ import annotations

from collections.abc import Iterable

from sqlglot import exp

from idac.query.plan.model import Plan, SelectPlan
from idac.query.plan.predicates import bare
from idac.query.plan.sources import FromTree, Item, aliases_of, tables_of

#: Rows taken for a source whose size is not known, such as a common table.
_UNKNOWN_ROWS = 10_000


def pairs_to_test(plan: Plan) -> int:
    """Pairs of rows that the joins of *plan* compare one by one, in the worst case."""
    if plan.is_simple:
        return 0
    return sum(_Counter(plan, select).all_pairs() for select in plan.selects.values())


class _Counter:
    """The joins of one SELECT."""

    def __init__(self, plan: Plan, select: SelectPlan) -> None:
        self._plan = plan
        self._tree, self._where = select.tree, select.where
        self._matched = [(m.exploded, m.keyed) for m in select.matches]

    def all_pairs(self) -> int:
        """Pairs compared in the joins, and those of rows with rows of a query round this one."""
        rows, pairs = self.pairs(self._tree)
        own = aliases_of(self._tree)
        outside = _aliases_outside(self._where) - own
        if outside and not self._has_equality((own, outside), self._where):
            pairs += rows * max(self._plan.scans[a].rows if a in self._plan.scans else _UNKNOWN_ROWS for a in outside)
        return pairs

    def pairs(self, tree: FromTree) -> tuple[int, int]:
        """Rows that *tree* may have, and pairs compared to make them."""
        if isinstance(tree, Item):
            return self._rows(tree), 0
        (left, before), (right, beside) = self.pairs(tree.left), self.pairs(tree.right)
        sides = aliases_of(tree.left), aliases_of(tree.right)
        if self._has_equality(sides, [*tree.conditions, *self._where]):
            return max(left, right), before + beside
        return left * right, before + beside + left * right

    def _rows(self, item: Item) -> int:
        names = {table.alias for table in item.node.find_all(exp.Table)}
        return max((self._plan.scans[n].rows for n in names if n in self._plan.scans), default=_UNKNOWN_ROWS)

    def _has_equality(self, sides: tuple[frozenset[str], frozenset[str]], conditions: Iterable[exp.Expr]) -> bool:
        """True where rows of both sides meet by a hash: equal values, or equal cells of the sky."""
        if any(_joins(sides, frozenset((a,)), frozenset((b,))) for a, b in self._matched):
            return True
        equalities = (c for c in conditions if isinstance(c, exp.EQ))
        return any(_joins(sides, tables_of(bare(c.this)), tables_of(bare(c.expression))) for c in equalities)


def _aliases_outside(conditions: Iterable[exp.Expr]) -> frozenset[str]:
    """Aliases that conditions use, less those of sub-queries inside them."""
    used: set[str] = set()
    for condition in conditions:
        inside = {source.alias for source in condition.find_all(exp.Table, exp.Subquery)}
        used |= tables_of(condition) - inside
    return frozenset(used)


def _joins(sides: tuple[frozenset[str], frozenset[str]], first: frozenset[str], second: frozenset[str]) -> bool:
    left, right = sides
    return bool(first and second) and ((first <= left and second <= right) or (first <= right and second <= left))
