"""Angles written as hours or degrees, minutes and seconds."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

from idac.sky.vectors import Floats

_PARTS = re.compile(
    r"\s*([+-]?)\s*(\d+)(?:\s*[:hd°\s]\s*(\d+)(?:\s*[:m'′\s]\s*(\d+(?:\.\d*)?|\.\d+)\s*[s\"″]?)?\s*[m'′]?)?\s*[hd°]?\s*",
    re.IGNORECASE,
)
#: Two digits each, as in 123456.7; degrees may have three.
_PACKED = re.compile(r"\s*([+-]?)(\d{2,3})(\d{2})(\d{2}(?:\.\d*)?)\s*")


def hms_to_degrees(texts: Iterable[str | None]) -> Floats:
    """Right ascensions such as ``12:34:56.7``, ``12h34m56.7s`` or ``123456.7`` in degrees; NaN for what is none."""
    return np.array([_angle(text, 24.0) * 15.0 for text in texts], dtype=np.float64)


def dms_to_degrees(texts: Iterable[str | None]) -> Floats:
    """Angles such as ``-12:34:56.7``, ``-12d34m56.7s`` or ``-123456.7`` in degrees; NaN for what is none."""
    return np.array([_angle(text, 360.0) for text in texts], dtype=np.float64)


def _angle(text: str | None, most: float) -> float:
    match = _PACKED.fullmatch(text) or _PARTS.fullmatch(text) if text is not None else None
    if match is None:
        return float("nan")
    sign, whole, minutes, seconds = match.groups()
    m, s = float(minutes or 0), float(seconds or 0)
    value = float(whole) + m / 60 + s / 3600
    if m >= 60 or s >= 60 or value > most:
        return float("nan")
    # The sign stands before the degrees, so that -0:30 is half a degree south.
    return -value if sign == "-" else value
