"""Changes of the state database's schema, made by Alembic. Imported only where there is one to make."""

from __future__ import annotations

import threading
from functools import cache
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.pool import StaticPool

from idac.core.errors import BadConfiguration
from idac.identity.schema import metadata as identity
from idac.jobs.store import metadata as jobs
from idac.wiring.state import VERSION, known_revisions, revision_of

#: All that the state database holds. A part that gets tables of its own is named here.
METADATA = (identity, jobs)
#: Where databases were noted to be before there were revisions; all that is kept of it is that they can be taken over.
_BEFORE = sa.table("schema_versions", sa.column("part", sa.String), sa.column("version", sa.Integer))
_FOLDER = Path(__file__).with_name("migrations")
#: Alembic keeps what it works on in variables of its modules.
_one_at_a_time = threading.Lock()


def upgrade(connection: sa.Connection, revision: str) -> None:
    """Bring the database to *revision* inside the connection's transaction.

    One that was made before there were revisions is taken over. Raises BadConfiguration where its tables are not those
    of the first revision.
    """
    if revision_of(connection) is None:
        _take_over(connection)
    with _one_at_a_time:
        command.upgrade(alembic_config(connection), revision)


def alembic_config(connection: sa.Connection) -> Config:
    """What Alembic's commands are given, to work in the connection's transaction."""
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.set_main_option("file_template", "r%%(rev)s_%%(slug)s")
    return config


@cache
def schema_at(revision: str) -> sa.MetaData:
    """The tables of *revision*, found by making them."""
    engine = sa.create_engine("sqlite://", poolclass=StaticPool)
    tables = sa.MetaData()
    with engine.begin() as connection:
        with _one_at_a_time:
            command.upgrade(alembic_config(connection), revision)
        tables.reflect(connection, only=lambda name, _: name != VERSION.name)
    engine.dispose()
    return tables


def _take_over(connection: sa.Connection) -> None:
    """See that the tables which are there are those that the first revision would make; it then makes the others."""
    found = sa.inspect(connection)
    there = set(found.get_table_names())
    if _BEFORE.name in there:
        for part, version in connection.execute(sa.select(_BEFORE)):
            if version != 1:
                raise _not_ours(f"{part}, version {version}", "version 1")
        connection.exec_driver_sql(f"DROP TABLE {_BEFORE.name}")
    first = known_revisions()[0]
    for table in schema_at(first).sorted_tables:
        if table.name in there:
            columns = {column["name"] for column in found.get_columns(table.name)}
            if columns != set(table.columns.keys()):
                raise _not_ours(
                    f"{table.name} with {', '.join(sorted(columns))}", f"with {', '.join(sorted(table.columns.keys()))}"
                )


def _not_ours(value: str, allowed: str) -> BadConfiguration:
    return BadConfiguration(
        "The state database has tables that this idac can't take over.",
        value=value,
        allowed=allowed,
        next_step="Use the idac that made them, or name a new database in state.database.",
    )
