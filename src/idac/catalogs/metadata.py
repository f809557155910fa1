"""What a table's columns say about themselves: which hold the position and the id, and in which unit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from idac.core.errors import BadData
from idac.core.nearest import nearest
from idac.tables.model import Column

type Conversion = Literal["none", "radian", "hour"]

#: Names that position columns go by where no UCD tells them, in the order in which they are believed.
_RA_NAMES = (
    "ra",
    "raj2000",
    "ra_icrs",
    "ra_deg",
    "radeg",
    "ra_j2000",
    "alpha_j2000",
    "coord_ra",
    "s_ra",
    "right_ascension",
)
_DEC_NAMES = (
    "dec",
    "dej2000",
    "de_icrs",
    "dec_deg",
    "dedeg",
    "dec_j2000",
    "delta_j2000",
    "coord_dec",
    "s_dec",
    "declination",
)
_DEC_NAMES_MORE = ("decj2000", "decdeg", "dec_icrs", "de")
_RADIANS = frozenset({"rad", "radian", "radians"})
_HOURS = frozenset({"h", "hr", "hour", "hours", "hourangle"})
_DEGREES = frozenset({"deg", "degree", "degrees", "°"})
#: Sexagesimal text is told by the format that FITS and VizieR write into the unit.
_SEXAGESIMAL = frozenset({'"h:m:s"', '"d:m:s"', "h:m:s", "d:m:s", "hms", "dms"})


def require_column(columns: Sequence[Column], name: str, purpose: str) -> Column:
    """The column of that name, regardless of case where that is unambiguous.

    Raises BadData with the nearest name.
    """
    exact = [c for c in columns if c.name == name]
    alike = exact or [c for c in columns if c.name.lower() == name.lower()]
    if len(alike) == 1:
        return alike[0]
    near = nearest(name, [c.name for c in columns])
    listed = ", ".join(c.name for c in columns[:20]) + (f" and {len(columns) - 20} more" if len(columns) > 20 else "")
    raise BadData(
        f"The table has no column for the {purpose} of this name.",
        value=name,
        allowed=listed,
        next_step=f"Did you mean {near}?" if near else "Name one of the table's columns.",
    )


def find_positions(columns: Sequence[Column], ra: str | None, dec: str | None) -> tuple[Column, Column] | None:
    """The position columns: those named, else by UCD ``pos.eq.*;meta.main``, a lone ``pos.eq.*``, or a usual name."""
    if (ra is None) != (dec is None):
        raise BadData(
            "Only one of the two position columns is named.",
            value=f"--ra {ra}" if ra else f"--dec {dec}",
            next_step="Name both, --ra and --dec.",
        )
    if ra is not None and dec is not None:
        found = require_column(columns, ra, "right ascension"), require_column(columns, dec, "declination")
        if found[0] is found[1]:
            raise BadData(
                "The right ascension and the declination can't be one column.",
                value=found[0].name,
                next_step="Name one column with --ra and another with --dec.",
            )
        return found
    return _by_ucd(columns) or _by_name(columns)


def _by_ucd(columns: Sequence[Column]) -> tuple[Column, Column] | None:
    for main in (True, False):
        ras, decs = (_with_ucd(columns, f"pos.eq.{axis}", main=main) for axis in ("ra", "dec"))
        if len(ras) == 1 and len(decs) == 1:
            return ras[0], decs[0]
    return None


def _with_ucd(columns: Sequence[Column], word: str, *, main: bool) -> list[Column]:
    """Columns whose UCD starts with *word*, and names them the main position where *main*; errors are not positions."""
    found = []
    for column in columns:
        words = (column.ucd or "").lower().split(";")
        if words[0] == word and column.type.is_numeric and (not main or "meta.main" in words):
            found.append(column)
    return found


def _by_name(columns: Sequence[Column]) -> tuple[Column, Column] | None:
    by_name = {column.name.lower(): column for column in columns if column.type.is_numeric}
    ra = next((by_name[n] for n in _RA_NAMES if n in by_name), None)
    dec = next((by_name[n] for n in (*_DEC_NAMES, *_DEC_NAMES_MORE) if n in by_name), None)
    return (ra, dec) if ra and dec else None


def position_conversion(column: Column, *, convert: bool) -> Conversion:
    """How the column's values become degrees. Raises BadData where they are not degrees and *convert* is false."""
    unit = (column.unit or "deg").strip()
    if not column.type.is_numeric or unit.lower() in _SEXAGESIMAL:
        raise BadData(
            f"The position column {column.name} does not hold numbers in degrees.",
            value=f"{column.type.datatype}, unit {column.unit or 'none'}",
            allowed="numbers in degrees",
            next_step="Convert the sexagesimal text to degrees before publishing the table.",
        )
    if unit.lower() in _DEGREES:
        return "none"
    kind: Conversion = "radian" if unit.lower() in _RADIANS else "hour" if unit.lower() in _HOURS else "none"
    if kind == "none":
        raise BadData(
            f"The position column {column.name} is in a unit that is not an angle of the sky.",
            value=unit,
            allowed="deg, rad, h",
            next_step="Name the right columns with --ra and --dec, or correct the unit in the source.",
        )
    if not convert:
        raise BadData(
            f"The position column {column.name} is not in degrees.",
            value=unit,
            allowed="deg",
            next_step="Add --convert-positions to convert it while the table is read.",
        )
    return kind
