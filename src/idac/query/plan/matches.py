"""Cross-matches: conditions that two tables' positions lie near each other, found so that no engine tries all pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlglot import exp

from idac.query.adql import geometry as g
from idac.query.plan import predicates as p
from idac.query.plan.constants import constant_number
from idac.query.plan.sources import FromTree, Item, aliases_of


@dataclass(frozen=True)
class Place:
    """A position that depends on one source of a FROM clause."""

    alias: str
    point: exp.Expr


@dataclass(frozen=True)
class SkyMatch:
    """Two sources matched by position. *radius_deg* is None where it depends on rows; *terms* then sum up to it."""

    first: Place
    second: Place
    radius_deg: float | None
    terms: tuple[exp.Expr, ...]
    condition: exp.Expr

    @property
    def aliases(self) -> frozenset[str]:
        return frozenset((self.first.alias, self.second.alias))

    def place(self, alias: str) -> Place:
        return self.first if self.first.alias == alias else self.second

    def other(self, alias: str) -> Place:
        return self.second if self.first.alias == alias else self.first


@dataclass(frozen=True)
class RegionMatch:
    """Positions of *inner* matched with the regions that rows of *outer* hold."""

    inner: Place
    outer: Place
    condition: exp.Expr

    @property
    def aliases(self) -> frozenset[str]:
        return frozenset((self.inner.alias, self.outer.alias))


type Match = SkyMatch | RegionMatch


def find_matches(conditions: Sequence[exp.Expr], tables: frozenset[str]) -> Iterator[Match]:
    """Every match among conditions that all hold, between sources that are in *tables*."""
    for condition in conditions if len(tables) > 1 else ():
        match = _sky_match(condition, tables) or _region_match(condition, tables)
        if match is not None:
            yield match


def find_outer_matches(conditions: Sequence[exp.Expr], own: frozenset[str]) -> Iterator[tuple[Match, str]]:
    """Matches of a source of a sub-query, whose alias comes too, with one of the queries round it."""
    for condition in conditions:
        match = _sky_match(condition, None) or _region_match(condition, None)
        if match is None:
            continue
        inside = match.aliases & own
        # The row outside is one; what it is compared with can be repeated for its cells, and not the other way.
        if len(inside) == 1 and not (isinstance(match, RegionMatch) and match.outer.alias not in own):
            yield match, next(iter(inside))


def _sky_match(condition: exp.Expr, tables: frozenset[str] | None) -> SkyMatch | None:
    near = p.nearness(condition)
    if near is None:
        return None
    first, second = _place(near.first, tables), _place(near.second, tables)
    if first is None or second is None or first.alias == second.alias:
        return None
    numbers = [constant_number(r) for r in near.radius]
    known = [n for n in numbers if n is not None]
    if len(known) == len(numbers):
        return SkyMatch(first, second, max(sum(known), 0.0), near.radius, condition)
    # Every term must belong to one of the two, so that it has a largest value that can be worked out beforehand.
    terms = tuple(term for r in near.radius for term in _terms(r))
    own = {first.alias, second.alias}
    bounded = all(constant_number(t) is not None or p.only_table(t) in own for t in terms)
    return SkyMatch(first, second, None, terms, condition) if bounded else None


def _terms(node: exp.Expr) -> Iterator[exp.Expr]:
    """The terms of a sum."""
    node = p.bare(node)
    if isinstance(node, exp.Add):
        yield from _terms(node.this)
        yield from _terms(node.expression)
    else:
        yield node


def _region_match(condition: exp.Expr, tables: frozenset[str] | None) -> RegionMatch | None:
    relation = p.demanded(condition)
    if relation is None:
        return None
    inner, outer = p.bare(relation.this), p.bare(relation.expression)
    if isinstance(relation, g.Intersects) and not p.is_point(inner):
        inner, outer = outer, inner
    if not p.is_point(inner) or p.is_point(outer):
        return None
    places = _place(inner, tables), _place(outer, tables)
    if places[0] is None or places[1] is None or places[0].alias == places[1].alias:
        return None
    return RegionMatch(places[0], places[1], condition)


def _place(node: exp.Expr, tables: frozenset[str] | None) -> Place | None:
    alias = p.only_table(node)
    return Place(alias, node) if alias is not None and (tables is None or alias in tables) else None


def item_of(tree: FromTree, alias: str) -> Item:
    """The source of that alias."""
    while not isinstance(tree, Item):
        tree = tree.left if alias in aliases_of(tree.left) else tree.right
    return tree
