"""Cells near positions whose HEALPix index is stored, in DuckDB's own arithmetic: a tenth of the cost of a function."""

from __future__ import annotations

from idac.sky.healpix import MAX_ORDER

_EVEN = 0x5555_5555_5555_5555
_ODD = _EVEN << 1
#: Levels between a cell and those in whose 3 x 3 block a circle fits; ``sky.healpix.order_for_radius`` keeps two.
_LEVELS = 2


def cells_near_stored(index: str, order: int, otherwise: str) -> str:
    """A list of the cells at *order* that ``sky.healpix.cells_near`` gives for a row.

    *index* is the row's cell at order 29. *otherwise* makes the list where base cells meet, which is rare: there the
    numbers of neighbours follow no arithmetic. Inside a base cell the even bits of a number are one coordinate and the
    odd bits the other, so one is added to a coordinate by letting the carry run through the other's bits.
    """
    inside = 4**order - 1
    even, odd, base = _EVEN & inside, _ODD & inside, 15 << (2 * order)
    shift = 2 * (MAX_ORDER - order)
    fine, own = f"({index} >> {shift - 2 * _LEVELS})", f"({index} >> {shift})"
    x, y, root = f"({own} & {even})", f"({own} & {odd})", f"({own} & {base})"
    x_step, y_step = f"({fine} & 5)", f"({fine} & 10)"
    beside = f"(CASE {x_step} WHEN 0 THEN ({x} - 1) & {even} ELSE (({x} | {odd}) + 1) & {even} END)"
    above = f"(CASE {y_step} WHEN 0 THEN ({y} - 1) & {odd} ELSE (({y} | {even}) + 1) & {odd} END)"
    across_x, across_y = f"{root} | {beside} | {y}", f"{root} | {x} | {above}"
    return (
        f"CASE WHEN {x} IN (0, {even}) OR {y} IN (0, {odd}) THEN {otherwise} "
        f"WHEN {x_step} IN (1, 4) AND {y_step} IN (2, 8) THEN [{own}] "
        f"WHEN {x_step} IN (1, 4) THEN [{own}, {across_y}] "
        f"WHEN {y_step} IN (2, 8) THEN [{own}, {across_x}] "
        f"ELSE [{own}, {across_x}, {across_y}, {root} | {beside} | {above}] END"
    )
