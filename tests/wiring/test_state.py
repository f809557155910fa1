"""The state database's schema: made, brought forward and taken over the same way on SQLite and on PostgreSQL."""

from __future__ import annotations

import logging
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from command_fixture import command_runner
from idac.core.database import Database, open_database
from idac.core.errors import BadConfiguration
from idac.wiring.migrating import METADATA, alembic_config
from idac.wiring.state import known_revisions, make_current, revision_of
from released_state import RELEASED, put, rows_of

NEWEST = known_revisions()[-1]


def shape(database: Database) -> dict[str, Any]:
    """All there is in a database but its rows, as the database itself tells it."""
    with database.read() as connection:
        found = sa.inspect(connection)
        if database.is_sqlite:
            triggers = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' ORDER BY name"
            counted = "SELECT name, name FROM sqlite_master WHERE sql LIKE '%AUTOINCREMENT%' ORDER BY name"
        else:
            triggers = "SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal ORDER BY tgname"
            counted = "SELECT proname, prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        tables = {
            name: {
                "columns": {
                    c["name"]: (str(c["type"]), c["nullable"], c.get("default")) for c in found.get_columns(name)
                },
                "key": found.get_pk_constraint(name)["constrained_columns"],
                "points": sorted((f["constrained_columns"], f["referred_table"]) for f in found.get_foreign_keys(name)),
                "unique": sorted(u["column_names"] for u in found.get_unique_constraints(name)),
                "indexes": sorted((str(i["name"]), i["column_names"], i["unique"]) for i in found.get_indexes(name)),
            }
            for name in found.get_table_names()
            if name != "alembic_version"
        }
        others = [
            [
                (name, " ".join(text.replace("IF NOT EXISTS ", "").split()))
                for name, text in connection.exec_driver_sql(sql)
            ]
            for sql in (triggers, counted)
        ]
    return tables | {"": others}


def revision(database: Database) -> str | None:
    with database.read() as connection:
        return revision_of(connection)


def test_revisions_are_numbered_and_follow_each_other_in_one_line(database: Database) -> None:
    with database.read() as connection:
        scripts = ScriptDirectory.from_config(alembic_config(connection))
    walked = [script.revision for script in scripts.walk_revisions()]
    assert walked == list(reversed(known_revisions()))
    assert walked == [f"{number:04}" for number in range(len(walked), 0, -1)]


def test_the_tables_of_the_code_are_those_that_the_revisions_make(database: Database) -> None:
    make_current(database)
    with database.read() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), METADATA)
    assert differences == [], "a table was changed without a revision: CONTRIBUTING.md says how to add one"


def test_nothing_else_differs_from_what_the_code_would_make_by_itself(database: Database) -> None:
    with database.begin() as connection:
        for metadata in METADATA:
            metadata.create_all(connection)
    directly = shape(database)
    with database.begin() as connection:
        for metadata in reversed(METADATA):
            metadata.drop_all(connection)
    make_current(database)
    assert shape(database) == directly


def test_a_new_database_is_made_once_however_many_start_together(
    url: str, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    def start(_number: int) -> None:
        opened = open_database(url)
        make_current(opened)
        opened.close()

    caplog.set_level(logging.INFO, "idac")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(start, range(8)))
    made = [record.getMessage() for record in caplog.records if record.name == "idac.wiring.state"]
    assert made == [f"Brought the state database to revision {NEWEST} from nothing"]
    assert revision(database) == NEWEST


@pytest.mark.parametrize("released", RELEASED)
def test_every_released_schema_comes_forward_with_its_rows(database: Database, released: str) -> None:
    put(database, released)
    before = rows_of(database)
    assert make_current(database) == released
    after = rows_of(database)
    for table in before.keys() - {"alembic_version"}:
        columns = before[table][0].keys()
        assert [{name: row[name] for name in columns} for row in after[table]] == before[table], table
    assert after["alembic_version"] == [{"version_num": NEWEST}]
    came = shape(database)
    with database.change_schema() as connection:
        everything = sa.MetaData()
        everything.reflect(connection)
        everything.drop_all(connection)
    make_current(database)
    assert came == shape(database)


def test_the_size_of_a_result_comes_forward_into_a_column_of_its_own(database: Database) -> None:
    put(database, RELEASED[0])
    sizes = {"[]": 0, '[{"id": "result", "key": "k", "size": 5000000000}]': 5_000_000_000}
    with database.begin() as connection:
        for number, results in enumerate(sizes):
            copy = f"'copy{number}', CAST(:results AS text)"
            names = [column["name"] for column in sa.inspect(connection).get_columns("jobs")]
            others = ", ".join(name for name in names if name not in ("id", "results"))
            text = f"INSERT INTO jobs (id, results, {others}) SELECT {copy}, {others} FROM jobs WHERE id = 'j1'"
            connection.execute(sa.text(text), {"results": results})
    make_current(database)
    with database.read() as connection:
        query = "SELECT results, result_bytes FROM jobs WHERE id LIKE 'copy%'"
        assert {row.results: row.result_bytes for row in connection.execute(sa.text(query))} == sizes


def test_what_comes_forward_can_be_used(database: Database) -> None:
    put(database, RELEASED[0])
    make_current(database)
    with database.begin() as connection:
        new = {"at": 1, "actor": "me", "action": "try", "detail": "{}"}
        connection.execute(METADATA[0].tables["identity_audit"].insert().values(**new))
    with pytest.raises(sa.exc.DBAPIError, match="append-only"), database.begin() as connection:
        connection.execute(METADATA[0].tables["identity_audit"].delete())


# Databases that are older than revisions


def put_older(database: Database, *, versions: str = "('jobs', 1), ('identity', 1)", drop: str = "") -> None:
    put(database, "0001")
    with database.begin() as connection:
        connection.exec_driver_sql("DROP TABLE alembic_version")
        connection.exec_driver_sql("CREATE TABLE schema_versions (part VARCHAR PRIMARY KEY, version INTEGER NOT NULL)")
        connection.exec_driver_sql(f"INSERT INTO schema_versions VALUES {versions}")
        if drop:
            connection.exec_driver_sql(f"DROP TABLE {drop}")


@pytest.mark.parametrize("missing", ["", "identity_flows", "identity_devices"])
def test_a_database_from_before_there_were_revisions_is_taken_over(database: Database, missing: str) -> None:
    put_older(database, drop=missing)
    before = rows_of(database)
    assert make_current(database) is None
    after = rows_of(database)
    columns = before["jobs"][0].keys()
    assert [{name: row[name] for name in columns} for row in after["jobs"]] == before["jobs"]
    assert after["identity_audit"] == before["identity_audit"]
    assert "schema_versions" not in after
    came = shape(database)
    with database.change_schema() as connection:
        everything = sa.MetaData()
        everything.reflect(connection)
        everything.drop_all(connection)
    make_current(database)
    assert came == shape(database)


def test_one_that_another_layout_was_noted_of_is_not_taken_over(database: Database) -> None:
    put_older(database, versions="('jobs', 2)")
    before = rows_of(database)
    with pytest.raises(BadConfiguration) as caught:
        make_current(database)
    assert caught.value.text == (
        "The state database has tables that this idac can't take over. Given: jobs, version 2. Allowed: version 1. "
        "Use the idac that made them, or name a new database in state.database."
    )
    assert rows_of(database) == before


def test_one_whose_tables_have_other_columns_is_not_taken_over(database: Database) -> None:
    put_older(database)
    with database.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE identity_numbers ADD COLUMN step INTEGER")
    with pytest.raises(BadConfiguration) as caught:
        make_current(database)
    assert caught.value.text == (
        "The state database has tables that this idac can't take over. Given: identity_numbers with name, next, step. "
        "Allowed: with name, next. Use the idac that made them, or name a new database in state.database."
    )


# Databases that are newer than the program


def test_a_newer_database_is_refused_and_left_as_it_is(database: Database) -> None:
    make_current(database)
    with database.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    before = rows_of(database)
    with pytest.raises(BadConfiguration) as caught:
        make_current(database)
    assert caught.value.text == (
        f"The state database was made by a newer idac than this one. Given: revision 9999. "
        f"Allowed: revision {NEWEST} and older. "
        "Install the idac that made it, or name another database in state.database."
    )
    assert rows_of(database) == before


# Starting


def test_a_command_brings_the_database_forward_that_it_works_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "dac.yaml").write_text("")
    state = open_database("sqlite:///state.db", tmp_path)
    put(state, RELEASED[0])
    monkeypatch.chdir(tmp_path)
    accounts = command_runner(monkeypatch, capsys)("user", "list", "--json").json
    assert [account["username"] for account in accounts] == ["ada", "ben", "robot"]
    assert revision(state) == NEWEST


PROGRAM = """
import sys
from idac.core.database import open_database
from idac.wiring.state import make_current
print(make_current(open_database(sys.argv[1])), "alembic" in sys.modules)
"""


def test_alembic_is_imported_only_where_there_is_something_for_it_to_do(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'state.db'}"
    make_current(open_database(url))
    done = subprocess.run([sys.executable, "-c", PROGRAM, url], capture_output=True, text=True, check=True)
    assert done.stdout == f"{NEWEST} False\n"
