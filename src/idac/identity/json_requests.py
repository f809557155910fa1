"""What programs send to identity's API, read from JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from idac.core.errors import BadParameter
from idac.core.nearest import nearest
from idac.core.principal import Principal
from idac.identity.store import is_storable


def by_session(principal: Principal) -> bool:
    """True for whoever is logged in by a browser, which sends its cookie with whatever a page makes it send."""
    return (principal.credential or "").startswith("session:")


def json_object(body: bytes, *known: str) -> dict[str, Any]:
    """The object that a body is; BadParameter for anything else, and for keys that are not *known*.

    What would be passed over is refused: a key that is written wrongly could give more than was meant.
    """
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise BadParameter("The body is no JSON object.", allowed="application/json, in UTF-8")
    if unknown := sorted(value.keys() - set(known)):
        near = nearest(unknown[0], known)
        raise BadParameter(
            "There is no such key.",
            value=unknown[0][:100],
            allowed=", ".join(known) or "an empty body",
            next_step=f"Did you mean {near}?" if near else "Leave it out.",
        )
    return value


def require_no_keys(body: bytes) -> None:
    """Raise BadParameter for a body that says something to what asks for nothing; ``{}`` is as good as none."""
    if body.strip():
        json_object(body)


def text_of(asked: Mapping[str, Any], name: str) -> str:
    value = asked.get(name)
    if value is None:
        raise BadParameter(f"{name} is missing.", allowed="text")
    if not isinstance(value, str):
        raise BadParameter(f"{name} is no text.", value=json.dumps(value), allowed="text, in quotes")
    if not value:
        raise BadParameter(f"{name} is empty.", allowed="text")
    if not is_storable(value):
        raise BadParameter(f"{name} has what is no character.", allowed="text without NUL and lone surrogates")
    return value


def moment_of(value: object, name: str = "expires") -> datetime | None:
    """A time in seconds since 1970, or None where there is none."""
    if value is None:
        return None
    latest = datetime.now(UTC) + timedelta(days=36500)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < latest.timestamp():
        raise BadParameter(f"{name} is not a time.", value=value, allowed="seconds since 1970, or null for no end")
    return datetime.fromtimestamp(value, tz=UTC)
