"""Literals that stand for something else than text: timestamps, booleans, geometries and doubles."""

from __future__ import annotations

import re
from datetime import datetime

from sqlglot import exp

from idac.query.adql.parser_names import number

_TIMESTAMP = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[T ]([0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?)Z?)?", re.ASCII
)
TIMESTAMP_FORM = "'2026-01-31', '2026-01-31T12:00:00', '2026-01-31T12:00:00.123Z'"
_TRUE, _FALSE = ("1", "true", "t"), ("0", "false", "f")
_NUMBERS = {"point": 2, "circle": 3}


def repr_double(text: str) -> str:
    """A number as a double literal: with an exponent, which no engine reads as a decimal of limited digits."""
    shown = repr(float(text))
    return shown if "e" in shown else f"{shown}e0"


def timestamp_text(text: str) -> str | None:
    """A DALI 1.1 (section 3.3.3) timestamp without its Z; None for what is none, such as the 30th of February."""
    match = _TIMESTAMP.fullmatch(text.strip())
    if match is None:
        return None
    day, time = match.groups()
    shown = f"{day}T{time}" if time else day
    try:
        datetime.fromisoformat(shown)
    except ValueError:
        return None
    return shown


def boolean_value(text: str) -> bool | None:
    """What 0, 1, 'true', 'false' and their first letters mean beside a boolean; None for anything else."""
    lower = text.strip().lower()
    if lower in _TRUE:
        return True
    return False if lower in _FALSE else None


def geometry_call(xtype: str, text: str) -> exp.Anonymous | None:
    """The constructor call that a DALI serialisation of a point, circle or polygon stands for; None if it is none."""
    try:
        values = [float(word) for word in text.split()]
    except ValueError:
        return None
    wanted = _NUMBERS.get(xtype)
    fits = len(values) == wanted if wanted is not None else len(values) >= 6 and len(values) % 2 == 0
    if not fits or not all(abs(v) < 1e6 for v in values):
        return None
    arguments = [exp.Neg(this=number(repr(-v))) if v < 0 else number(repr(v)) for v in values]
    return exp.Anonymous(this=xtype.upper(), expressions=arguments)
