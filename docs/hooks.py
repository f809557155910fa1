"""Fill the reference pages from the code they describe, so that they can't drift from it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from idac.core import errors
from idac.core.errors import UserError
from idac.query.adql.functions import FUNCTIONS
from idac.tables.formats import FORMATS
from idac.wiring.settings import DacSettings


def _cell(text: object) -> str:
    return re.sub(r"\s+", " ", str(text)).replace("|", "\\|").strip()


def _table(header: tuple[str, ...], rows: Iterator[tuple[object, ...]]) -> str:
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    lines += [f"| {' | '.join(_cell(value) for value in row)} |" for row in rows]
    return "\n".join(lines)


def exit_codes() -> str:
    kinds = [k for k in vars(errors).values() if isinstance(k, type) and issubclass(k, UserError)]
    by_code: dict[int, list[type[UserError]]] = {}
    for kind in kinds:
        by_code.setdefault(kind.exit_code, []).append(kind)
    rows = (
        (code, ", ".join(f"`{k.code}`" for k in group), " ".join((k.__doc__ or "").split("\n")[0] for k in group))
        for code, group in sorted(by_code.items())
    )
    return _table(("exit code", "kinds of error", "when"), rows)
