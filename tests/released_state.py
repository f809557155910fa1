"""State databases as earlier versions of idac left them: schema as each kind of database tells it, and sample rows."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa

from idac.core.database import Database

FOLDER = Path(__file__).parent / "wiring" / "released"
#: Revisions of which there is one, oldest first.
RELEASED = sorted(path.name.partition(".")[0] for path in FOLDER.glob("*.rows.sql"))

type Rows = dict[str, list[dict[str, Any]]]


def put(database: Database, revision: str) -> None:
    """Fill an empty database with what a program of *revision* left in it."""
    url = database.engine.url
    schema = (FOLDER / f"{revision}.{url.get_backend_name()}.sql").read_text(encoding="utf-8")
    rows = (FOLDER / f"{revision}.rows.sql").read_text(encoding="utf-8")
    if database.is_sqlite:
        connection = sqlite3.connect(str(url.database))
        connection.executescript(schema + rows)
        connection.close()
        return
    with psycopg.connect(url.set(drivername="postgresql").render_as_string(hide_password=False)) as server:
        server.execute(schema.encode())
        server.execute(rows.encode())
        for table in ("identity_accounts", "identity_groups", "identity_audit"):
            number = f"pg_get_serial_sequence('{table}', 'id')"
            server.execute(f"SELECT setval({number}, (SELECT max(id) FROM {table}))".encode())


def rows_of(database: Database) -> Rows:
    """All rows of all tables, sorted, with true and false as numbers: as plain SQL has them."""
    found: Rows = {}
    with database.read() as connection:
        for table in sa.inspect(connection).get_table_names():
            rows = connection.exec_driver_sql(f'SELECT * FROM "{table}"').mappings()
            plain = [{k: int(v) if isinstance(v, bool) else v for k, v in row.items()} for row in rows]
            found[table] = sorted(plain, key=repr)
    return found
