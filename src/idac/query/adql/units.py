"""Units of computed columns, and conversion between units (ADQL 2.1 section 4.6), with astropy's unit parser."""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import TYPE_CHECKING

from idac.core.lazy import LazyModule

if TYPE_CHECKING:
    from astropy import units as u
else:
    u = LazyModule("astropy.units")


@lru_cache(maxsize=4096)
def _parse(unit: str) -> u.UnitBase | None:
    with warnings.catch_warnings():
        # Deprecated spellings are common in real metadata, and no fault of whoever asks.
        warnings.simplefilter("ignore", u.UnitsWarning)
        for form in ("vounit", "fits", "cds", None):
            try:
                parsed = u.Unit(unit, format=form)
            except (ValueError, TypeError):
                continue
            return parsed if isinstance(parsed, u.UnitBase) else None
    return None


@lru_cache(maxsize=4096)
def _text(unit: u.UnitBase) -> str | None:
    try:
        text = unit.to_string("vounit")
    except ValueError:
        return None
    return text or None


def product(left: str | None, right: str | None) -> str | None:
    """Unit of left x right; None is a bare number. None too where a unit can't be parsed."""
    if left is None or right is None:
        return left or right
    a, b = _parse(left), _parse(right)
    return None if a is None or b is None else _text(a * b)


def quotient(left: str | None, right: str | None) -> str | None:
    """Unit of left / right."""
    if right is None:
        return left
    a, b = (u.dimensionless_unscaled if left is None else _parse(left)), _parse(right)
    return None if a is None or b is None else _text(a / b)


def power(unit: str | None, exponent: float) -> str | None:
    """Unit of a value raised to *exponent*."""
    parsed = _parse(unit) if unit else None
    return None if parsed is None else _text(parsed**exponent)


def is_unit(text: str) -> bool:
    return _parse(text) is not None


@lru_cache(maxsize=4096)
def conversion_factor(unit: str, wanted: str) -> float | None:
    """What a number in *unit* is multiplied with to be in *wanted*; None where the two do not measure the same."""
    a, b = _parse(unit), _parse(wanted)
    if a is None or b is None:
        return None
    try:
        return float(a.to(b))
    except (u.UnitConversionError, TypeError):
        return None
