"""Run by Alembic for each upgrade and comparison, on a connection that it was handed and in its transaction."""

from __future__ import annotations

from alembic import context

from idac.wiring.migrating import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    # SQLite can take tables back too, which Alembic does not expect of it.
    transactional_ddl=True,
    # SQLite changes columns by making the table anew.
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
