"""The known name that was probably meant, for the end of an error."""

from __future__ import annotations

from collections.abc import Iterable

from rapidfuzz import fuzz, process


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name most like *name*, where one is near enough to be worth saying."""
    choices = list(known)
    match = process.extractOne(name.lower(), [c.lower() for c in choices], scorer=fuzz.ratio, score_cutoff=60)
    return choices[match[2]] if match else None
