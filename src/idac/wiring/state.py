"""The schema of the state database: which revision it is at, and that it is at the one this program is written for."""

from __future__ import annotations

import logging
from pathlib import Path

import sqlalchemy as sa

from idac.core.database import Database
from idac.core.errors import BadConfiguration
from idac.core.loading import Loaded
from idac.wiring.build import open_state
from idac.wiring.settings import DacSettings

log = logging.getLogger(__name__)

#: Where Alembic notes the revision.
VERSION = sa.table("alembic_version", sa.column("version_num", sa.String))
_REVISIONS = Path(__file__).with_name("migrations") / "versions"


def known_revisions() -> list[str]:
    """Revisions that this program can make, oldest first; the last is its own.

    They are numbered, and read from the names of their files: that asks for no import of Alembic.
    """
    return sorted(path.name[1:5] for path in _REVISIONS.glob("r[0-9]*.py"))


def revision_of(connection: sa.Connection) -> str | None:
    """The revision that the database is at; None where it is empty, or older than revisions are.

    Raises BadConfiguration where a newer program made it.
    """
    if not sa.inspect(connection).has_table(VERSION.name):
        return None
    found = connection.execute(sa.select(VERSION.c.version_num)).scalar_one_or_none()
    if found is not None and found not in (known := known_revisions()):
        raise BadConfiguration(
            "The state database was made by a newer idac than this one.",
            value=f"revision {found}",
            allowed=f"revision {known[-1]} and older",
            next_step="Install the idac that made it, or name another database in state.database.",
        )
    return found


def make_current(database: Database) -> str | None:
    """Bring the database to this program's revision, once however many processes start together.

    Returns the revision that it was at. Where that is this program's own, nothing is done and little is spent.
    """
    newest = known_revisions()[-1]
    with database.read() as connection:
        found = revision_of(connection)
    if found == newest:
        return found
    # Alembic takes longer to import than all else that a start does here, and is hardly ever needed.
    from idac.wiring.migrating import upgrade  # noqa: PLC0415

    with database.change_schema() as connection:
        found = revision_of(connection)  # another process may have been first
        if found != newest:
            upgrade(connection, newest)
            log.info("Brought the state database to revision %s from %s", newest, found or "nothing")
    return found


def open_current_state(loaded: Loaded[DacSettings]) -> Database:
    """The state database, at this program's revision."""
    database = open_state(loaded)
    try:
        make_current(database)
    except BaseException:
        database.close()
        raise
    return database
