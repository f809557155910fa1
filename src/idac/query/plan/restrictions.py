"""From conditions to the part of the sky, or the ids, outside which a table's rows can't matter.

Each rule gives a superset, and the condition itself is still tested on every row that is read. Under NOT nothing is
concluded; under OR only what both sides allow together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from sqlglot import exp

from idac.catalogs.snapshot import HatsStorage
from idac.query.adql import geometry as g
from idac.query.plan import predicates as p
from idac.query.plan.constants import constant_number, constant_point, constant_region
from idac.query.plan.ranges import intersect, unite
from idac.query.plan.sources import Origins, conjuncts
from idac.query.resolved import TableUse
from idac.sky.cover import NOTHING, Ranges
from idac.sky.healpix import MAX_ORDER
from idac.sky.regions import Circle, Polygon, Range, Region

#: Ranges in a cover. More follow a large region's rim more closely, and cost a fraction of a microsecond each.
_COVER_RANGES = 32
#: Longer lists of ids are read faster by scanning.
MOST_IDS = 10_000
type Bounds = dict[str, tuple[float, float]]


@dataclass(frozen=True)
class Restriction:
    """What is known of the rows of one table that matter: inside *cover*, and with one of *ids*; None: not known.

    *whole* are the values that columns of whole numbers may have, of those columns of which that is known.
    """

    cover: Ranges | None = None
    ids: frozenset[object] | None = None
    reasons: tuple[str, ...] = ()
    whole: Mapping[str, frozenset[int]] = field(default_factory=dict)

    def and_(self, other: Restriction) -> Restriction:
        cover = self.cover if other.cover is None else other.cover
        if self.cover is not None and other.cover is not None:
            cover = intersect(self.cover, other.cover)
        ids = self.ids if other.ids is None else other.ids
        if self.ids is not None and other.ids is not None:
            ids = self.ids & other.ids
        both = {name: self.whole[name] & other.whole[name] for name in self.whole.keys() & other.whole.keys()}
        return Restriction(cover, ids, _joined(self.reasons, other.reasons), {**self.whole, **other.whole, **both})

    def or_(self, other: Restriction) -> Restriction | None:
        """What holds for rows of which either is true; None where that is nothing."""
        cover = ids = None
        if self.cover is not None and other.cover is not None:
            cover = unite(self.cover, other.cover)
        if self.ids is not None and other.ids is not None:
            ids = self.ids | other.ids
        whole = {name: self.whole[name] | other.whole[name] for name in self.whole.keys() & other.whole.keys()}
        if cover is None and ids is None and not whole:
            return None
        return Restriction(cover, ids, _joined(self.reasons, other.reasons), whole)


def _joined(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*first, *second)))


type Restrictions = dict[str, Restriction]


class Restrictor:
    """Reads restrictions of published tables from conditions; *origins* leads from sub-queries to tables."""

    def __init__(self, origins: Origins) -> None:
        self._origins = origins

    def of_all(self, conditions: Iterable[exp.Expr], tables: frozenset[str]) -> Restrictions:
        """Restrictions by the alias of the published table, from conditions that all hold; *tables* may be cut."""
        found: Restrictions = {}
        bounds: dict[str, tuple[TableUse, Bounds]] = {}
        for condition in conditions:
            for alias, part in self._of(condition, tables).items():
                found[alias] = found[alias].and_(part) if alias in found else part
            self._note_bounds(condition, tables, bounds)
        for use, limits in bounds.values():
            restriction = _of_bounds(limits)
            if restriction is not None:
                known = found.get(use.alias)
                found[use.alias] = known.and_(restriction) if known else restriction
        return found

    def _of(self, node: exp.Expr, tables: frozenset[str]) -> Restrictions:
        if isinstance(node, exp.Or):
            return self._of_either(node, tables)
        if isinstance(node, exp.In):
            return self._of_list(node, tables)
        return self._of_region(node, tables) or self._of_equality(node, tables)

    def _of_either(self, node: exp.Or, tables: frozenset[str]) -> Restrictions:
        left, right = (self.of_all(conjuncts(side), tables) for side in (node.this, node.expression))
        both = {alias: left[alias].or_(right[alias]) for alias in left.keys() & right.keys()}
        return {alias: restriction for alias, restriction in both.items() if restriction is not None}

    # -- regions ---------------------------------------------------------------------------------------------------

    def _of_region(self, node: exp.Expr, tables: frozenset[str]) -> Restrictions:
        found = _point_and_region(node)
        if found is None:
            return {}
        point, region = found
        uses = self.native_uses(point, tables)
        if not uses:
            return {}
        restriction = Restriction(region.cover(_COVER_RANGES), reasons=(describe_region(region),))
        return {use.alias: restriction for use in uses}

    def native_uses(self, point: exp.Expr, tables: frozenset[str]) -> list[TableUse]:
        """Published tables whose position, by which they are sorted, *point* is."""
        position = p.plain_position(point)
        if position is None or position[0] not in tables:
            return []
        alias, ra, dec = position
        pairs = zip(self._origins.trace(alias, ra), self._origins.trace(alias, dec), strict=False)
        return [use for (use, a), (other, d) in pairs if use is other and is_sorted_position(use, a, d)]

    # -- bounds on coordinates and on the index itself ----------------------------------------------------------------

    def _note_bounds(self, node: exp.Expr, tables: frozenset[str], bounds: dict[str, tuple[TableUse, Bounds]]) -> None:
        for comparison in p.comparisons(node):
            value = constant_number(comparison.right)
            if value is None:
                continue
            for use, quantity in self._quantities(comparison.left, tables):
                limits = bounds.setdefault(use.alias, (use, {}))[1]
                low, high = limits.get(quantity, (-np.inf, np.inf))
                if comparison.operator in (exp.GT, exp.GTE, exp.EQ):
                    low = max(low, value)
                if comparison.operator in (exp.LT, exp.LTE, exp.EQ):
                    high = min(high, value)
                limits[quantity] = (low, high)

    def _quantities(self, node: exp.Expr, tables: frozenset[str]) -> list[tuple[TableUse, str]]:
        """``ra``, ``dec`` or a HEALPix order that *node* is, and of which tables."""
        if isinstance(node, exp.Column) and node.table in tables:
            named = [(use, _quantity(use, column)) for use, column in self._origins.trace(node.table, node.name)]
            return [(use, quantity) for use, quantity in named if quantity is not None]
        if isinstance(node, exp.Anonymous) and node.name == "IVO_HEALPIX_INDEX" and len(node.expressions) > 1:
            order = constant_number(node.expressions[0])
            given = node.expressions[1:]
            point = given[0] if len(given) == 1 else g.Point(this=given[0].copy(), expression=given[1].copy())
            if order is not None and 0 <= order <= MAX_ORDER:
                return [(use, str(int(order))) for use in self.native_uses(point, tables)]
        return []

    # -- ids -------------------------------------------------------------------------------------------------------

    def _of_equality(self, node: exp.Expr, tables: frozenset[str]) -> Restrictions:
        for comparison in p.comparisons(node):
            if comparison.operator is exp.EQ:
                found = self._of_ids(comparison.left, [comparison.right], tables)
                if found:
                    return found
        return {}

    def _of_list(self, node: exp.In, tables: frozenset[str]) -> Restrictions:
        return self._of_ids(p.bare(node.this), node.expressions, tables) if node.expressions else {}

    def _of_ids(self, node: exp.Expr, values: list[exp.Expr], tables: frozenset[str]) -> Restrictions:
        known = [_id_value(v) for v in values]
        if not isinstance(node, exp.Column) or node.table not in tables or None in known or len(known) > MOST_IDS:
            return {}
        ids = frozenset(v for v in known if v is not None)
        found = {
            use.alias: Restriction(ids=ids, reasons=(describe_ids(len(ids)),)) for use in self.id_uses(node, tables)
        }
        numbers = frozenset(i for i in ids if isinstance(i, int))
        if len(numbers) == len(ids):
            for use, column in self._origins.trace(node.table, node.name):
                if use.alias not in found and _holds_whole_numbers(use, column):
                    found[use.alias] = Restriction(whole={column: numbers})
        return found

    def id_uses(self, node: exp.Expr, tables: frozenset[str]) -> list[TableUse]:
        """Published tables whose id, for which they have an index, the column *node* is."""
        if not isinstance(node, exp.Column) or node.table not in tables:
            return []
        traced = self._origins.trace(node.table, node.name)
        return [use for use, column in traced if has_id_index(use) and use.entry.table.id_column == column]


def has_id_index(use: TableUse) -> bool:
    return isinstance(use.entry.storage, HatsStorage) and bool(use.entry.storage.id_index_files)


def _holds_whole_numbers(use: TableUse, name: str) -> bool:
    column = use.entry.table.find(name, delimited=True)
    return isinstance(use.entry.storage, HatsStorage) and column is not None and column.type.is_integer


def is_sorted_position(use: TableUse, ra: str, dec: str) -> bool:
    """True where these columns are the position by which the table's rows are sorted."""
    table = use.entry.table
    return isinstance(use.entry.storage, HatsStorage) and (table.ra_column, table.dec_column) == (ra, dec)


def _point_and_region(node: exp.Expr) -> tuple[exp.Expr, Region] | None:
    """A point that must lie inside a constant region for *node* to be true."""
    near = p.nearness(node)
    if near is not None:
        radii = [constant_number(r) for r in near.radius]
        known = [r for r in radii if r is not None]
        if len(known) < len(radii):
            return None
        for point, other in ((near.first, near.second), (near.second, near.first)):
            centre = constant_point(other)
            if centre is not None:
                # A negative distance is never reached: the circle of no size is superset enough.
                return point, Circle(*centre, min(max(sum(known), 0.0), 180.0))
        return None
    relation = p.demanded(node)
    if relation is None:
        return None
    inner, outer = p.bare(relation.this), p.bare(relation.expression)
    if isinstance(relation, g.Intersects) and not p.is_point(inner):
        inner, outer = outer, inner
    region = constant_region(outer) if p.is_point(inner) else None
    return None if region is None else (inner, region)


def _quantity(use: TableUse, column: str) -> str | None:
    table, storage = use.entry.table, use.entry.storage
    if not isinstance(storage, HatsStorage):
        return None
    named = {storage.healpix_column: str(MAX_ORDER), table.ra_column: "ra", table.dec_column: "dec"}
    return named.get(column)


def _of_bounds(limits: Mapping[str, tuple[float, float]]) -> Restriction | None:
    """The cover of a box in RA and Dec and of index ranges; None where they bound nothing."""
    result: Restriction | None = None
    for quantity in limits.keys() - {"ra", "dec"}:
        part = Restriction(_index_ranges(int(quantity), *limits[quantity]), reasons=("HEALPix index",))
        result = part if result is None else result.and_(part)
    west, east = limits.get("ra", (-np.inf, np.inf))
    low, high = limits.get("dec", (-np.inf, np.inf))
    low, high = max(low, -90.0), min(high, 90.0)
    if west > east or low > high:
        return Restriction(NOTHING, reasons=("nothing can match",))
    if not (np.isfinite(west) and np.isfinite(east)):
        # Right ascension bounded on one side alone: some archives count from -180, others from 0.
        west, east = 0.0, 360.0
    if east - west >= 360 and (low, high) == (-90.0, 90.0):
        return result
    if east == west:
        # A range of no width is a whole circle to ``Range``.
        west, east = west - 1e-9, east + 1e-9
    box = Restriction(Range(west, east, low, high).cover(_COVER_RANGES), reasons=("box in RA and Dec",))
    return box if result is None else result.and_(box)


def _index_ranges(order: int, low: float, high: float) -> Ranges:
    shift, last = 2 * (MAX_ORDER - order), (12 << (2 * order)) - 1
    # Bounds were read as doubles, which are whole numbers up to 2**53: one step of doubles more on either side.
    first = 0 if low <= 0 else int(np.nextafter(low, -np.inf))
    final = last if high >= last else int(np.nextafter(np.ceil(high), np.inf))
    first, final = max(first, 0), min(final, last)
    return np.array([[first << shift, (final + 1) << shift]], dtype=np.int64) if first <= final else NOTHING


def _id_value(node: exp.Expr) -> object | None:
    """The id that a literal is: a whole number or a text."""
    node = p.bare(node)
    if isinstance(node, exp.Neg):
        value = _id_value(node.this)
        return -value if isinstance(value, int) else None
    if not isinstance(node, exp.Literal):
        return None
    if node.args.get("is_string"):
        return str(node.name)
    return int(node.name) if node.name.isdigit() else None


def describe_ids(count: int) -> str:
    return "look-up of one id" if count == 1 else f"look-up of {count} ids"


def describe_region(region: Region) -> str:
    """A region in a few words, for ``idac explain``."""
    if isinstance(region, Circle):
        return f"cone of {describe_angle(region.radius_deg)}"
    if isinstance(region, Polygon):
        return f"polygon of {len(region.ra_deg)} corners"
    return "region"


def describe_angle(angle_deg: float) -> str:
    for unit, size in (("deg", 1.0), ("arcmin", 1 / 60), ("arcsec", 1 / 3600)):
        if angle_deg >= size * 0.999:
            return f"{angle_deg / size:.4g} {unit}"
    return f"{angle_deg * 3600:.3g} arcsec"


def with_cover(restriction: Restriction, cover: Ranges, reason: str) -> Restriction:
    """*restriction* cut to *cover* as well; as it is where that cuts nothing off."""
    if restriction.cover is not None and np.array_equal(intersect(restriction.cover, cover), restriction.cover):
        return restriction
    return restriction.and_(Restriction(cover, reasons=(reason,)))


def without_ids(restriction: Restriction, cover: Ranges) -> Restriction:
    """*restriction* with its ids replaced by the cells in which an index found them."""
    found = cover if restriction.cover is None else intersect(restriction.cover, cover)
    return replace(restriction, cover=found, ids=None)
