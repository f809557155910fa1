"""What the commands on accounts, groups, tokens and the audit log share: who did it, and dates as people write them."""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING

from idac.cli.main import Options
from idac.core.errors import BadParameter
from idac.wiring.state import open_current_state

if TYPE_CHECKING:
    from idac.identity.administration import Administration

_AGO = re.compile(r"(\d{1,5})\s*([hdwy])", re.ASCII)
_HOURS = {"h": 1, "d": 24, "w": 168, "y": 8760}
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
#: ISO 8601 has further ways to write a day, which mean another one to whoever takes them for this.
_TIME = re.compile(_DAY.pattern + r"[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[+-]\d{2}:\d{2})?", re.ASCII)


def actor() -> str:
    """Who runs the command, for the audit log: as the system knows them, whatever their environment says."""
    try:
        return f"local:{pwd.getpwuid(os.getuid()).pw_name}"
    except KeyError:  # as in containers, which run under any number
        return f"local:{os.getuid()}"


@contextmanager
def administration(options: Options) -> Iterator[Administration]:
    """The state database's identity, open until the end of the block."""
    # All that people log in with, which publishing a table has no need of.
    from idac.wiring.identity import open_administration  # noqa: PLC0415

    loaded = options.load()
    database = open_current_state(loaded)
    try:
        yield open_administration(loaded, database)
    finally:
        database.close()


def parse_moment(text: str | None, what: str, *, past: bool = False) -> datetime | None:
    """``2027-03-31`` (the end of that day), a time such as ``2027-03-31T12:00Z``, or a stretch from now: ``90d``.

    All are UTC where they don't say otherwise, and a year has 365 days. It is to come, since what is given until it
    would hold for nobody. *past*: days begin something, and stretches go back from now.
    """
    if text is None:
        return None
    allowed = f"2027-03-31, 2027-03-31T12:00Z, or 12h, 90d, 8w, 1y {'ago' if past else 'from now'}"
    try:
        moment = _moment(text.strip(), past)
    except (ValueError, OverflowError):
        raise BadParameter(
            f"{what} is no date.", value=text, allowed=allowed, next_step="Write it in one of these ways."
        ) from None
    if not past and moment <= datetime.now(UTC):
        raise BadParameter(
            f"{what} is over already.",
            value=f"{text}, which is {shown(moment)} UTC",
            allowed=f"a time to come, such as {allowed}",
            next_step="Nothing was changed. Give a later one.",
        )
    return moment


def _moment(text: str, past: bool) -> datetime:
    stretch = _AGO.fullmatch(text.lower())
    if stretch is not None:
        length = timedelta(hours=int(stretch[1]) * _HOURS[stretch[2]])
        now = datetime.now(UTC)
        return now - length if past else now + length
    is_day = _DAY.fullmatch(text) is not None
    if not is_day and _TIME.fullmatch(text) is None:
        raise ValueError(text)
    moment = datetime.fromisoformat(text)
    if is_day and not past:
        moment = datetime.combine(moment, time(23, 59, 59))
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def shown(moment: datetime | None, otherwise: str = "") -> str:
    return f"{moment:%Y-%m-%d %H:%M}" if moment is not None else otherwise


def unmeant_words(group: str, owner: str) -> str:
    """Why a group of somebody's counts for nobody, and what an administrator can say to that."""
    return (
        f"The group {group}, which {owner} owns, counts for nobody: its name has come to mean something here. "
        f"If it is meant: idac group owner {group} {owner}. To have it yourself, with its members: idac group owner "
        f"{group} --none. If neither, use another name in dac.yaml, or end it: idac group delete {group}."
    )
