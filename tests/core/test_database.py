"""The state database, on SQLite and on a real PostgreSQL: transactions, locks between processes, faults."""

from __future__ import annotations

import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from idac.core import database as database_module
from idac.core.database import Database, open_database
from idac.core.errors import BadConfiguration, StoreUnavailable
from services.postgresql import PostgresServer

metadata = sa.MetaData()
things = sa.Table(
    "things", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("n", sa.Integer, nullable=False)
)
AWAY = "The state database does not answer. Try again in a minute; if it lasts, tell the operator."

#: Takes the lock, says so, and holds it until its standard input ends.
HOLDER = """
import sys
from idac.core.database import open_database
with open_database(sys.argv[1]).exclusive(sys.argv[2]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'state.db'}"
    return str(request.getfixturevalue("postgresql_url"))


def make(tables: sa.MetaData, database: Database) -> None:
    with database.begin() as connection:
        tables.create_all(connection)


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    opened = open_database(url)
    make(metadata, opened)
    yield opened
    opened.close()


def holder(url: str, name: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", HOLDER, url, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    return process


def end(process: subprocess.Popen[bytes]) -> None:
    process.communicate()


def test_what_is_committed_is_there_and_what_fails_is_not(database: Database) -> None:
    with database.begin() as connection:
        connection.execute(sa.insert(things).values(id=1, n=10))

    def fail() -> None:
        with database.begin() as connection:
            connection.execute(sa.update(things).values(n=11))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with database.read() as connection:
        assert connection.execute(sa.select(things)).all() == [(1, 10)]


def test_a_faulty_statement_is_a_fault_and_not_an_outage(database: Database) -> None:
    with pytest.raises(sa.exc.DBAPIError), database.begin() as connection:
        connection.execute(sa.text("SELECT * FROM nowhere"))
    with pytest.raises(sa.exc.IntegrityError), database.begin() as connection:
        connection.execute(sa.insert(things), [{"id": 1, "n": 1}, {"id": 1, "n": 2}])


def run_together(work: Callable[[], None], threads: int) -> None:
    """Run *work* in several threads, and fail where one fails."""
    with ThreadPoolExecutor(threads) as pool:
        for future in [pool.submit(work) for _ in range(threads)]:
            future.result()


def test_reading_and_then_writing_in_a_transaction_loses_nothing(database: Database) -> None:
    with database.begin() as connection:
        connection.execute(sa.insert(things).values(id=1, n=0))

    def add() -> None:
        for _ in range(10):
            with database.begin() as connection:
                n = connection.execute(sa.select(things.c.n).with_for_update()).scalar_one()
                connection.execute(sa.update(things).values(n=n + 1))

    run_together(add, 4)
    with database.read() as connection:
        assert connection.execute(sa.select(things.c.n)).scalar_one() == 40


def test_a_lock_excludes_threads_too(database: Database) -> None:
    inside = 0
    most = 0

    def enter() -> None:
        nonlocal inside, most
        for _ in range(10):
            with database.exclusive("archive"):
                inside += 1
                most = max(most, inside)
                with database.read() as connection:
                    connection.execute(sa.select(things))
                inside -= 1

    run_together(enter, 4)
    assert most == 1


def test_a_lock_keeps_another_process_out_until_it_is_let_go(
    database: Database, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "LOCK_TIMEOUT_S", 0.2)
    impatient = open_database(url)
    process = holder(url, "archive")
    try:
        with pytest.raises(StoreUnavailable) as caught, impatient.exclusive("archive"):
            pytest.fail("the lock was given to two processes")
        assert caught.value.text == AWAY
    finally:
        end(process)
    with impatient.exclusive("archive"):
        pass
    impatient.close()


def test_the_lock_of_a_killed_process_is_free(database: Database, url: str) -> None:
    process = holder(url, "archive")
    process.send_signal(signal.SIGKILL)
    process.wait()
    end(process)
    entered = False
    with database.exclusive("archive"):
        entered = True
    assert entered


def test_two_names_are_two_locks(database: Database, url: str) -> None:
    process = holder(url, "archive")
    entered = False
    try:
        with database.exclusive("jobs"):
            entered = True
    finally:
        end(process)
    assert entered


def test_reading_waits_for_no_lock(database: Database, url: str) -> None:
    process = holder(url, "archive")
    try:
        with database.read() as connection:
            assert connection.execute(sa.select(things)).all() == []
    finally:
        end(process)


def test_the_holder_may_use_the_database_inside_its_lock(database: Database) -> None:
    with database.exclusive("archive"):
        with database.begin() as connection:
            connection.execute(sa.insert(things).values(id=1, n=1))
        with database.read() as connection:
            assert connection.execute(sa.select(things)).all() == [(1, 1)]


def test_foreign_keys_are_held(database: Database) -> None:
    family = sa.MetaData()
    parents = sa.Table("parents", family, sa.Column("id", sa.Integer, primary_key=True))
    children = sa.Table("children", family, sa.Column("parent", sa.ForeignKey(parents.c.id), nullable=False))
    make(family, database)
    with pytest.raises(sa.exc.IntegrityError), database.begin() as connection:
        connection.execute(sa.insert(children).values(parent=5))


def test_a_snapshot_shows_nothing_that_came_after_its_first_statement(database: Database) -> None:
    with database.begin() as connection:
        connection.execute(sa.insert(things).values(id=1, n=1))
    with database.snapshot() as seen:
        assert seen.execute(sa.select(things)).all() == [(1, 1)]
        with database.begin() as connection:
            connection.execute(sa.update(things).values(n=2))
            connection.execute(sa.insert(things).values(id=2, n=2))
        assert seen.execute(sa.select(things)).all() == [(1, 1)]
    with database.snapshot() as seen:
        assert seen.execute(sa.select(things)).all() == [(1, 2), (2, 2)]


def test_tables_are_changed_wholly_or_not_at_all(database: Database) -> None:
    def change() -> None:
        with database.change_schema() as connection:
            connection.exec_driver_sql("CREATE TABLE more (n INTEGER)")
            connection.exec_driver_sql("ALTER TABLE things ADD COLUMN m INTEGER")
            connection.exec_driver_sql("INSERT INTO things VALUES (1, 2, 3)")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        change()
    with database.read() as connection:
        found = sa.inspect(connection)
        assert found.get_table_names() == ["things"]
        assert [column["name"] for column in found.get_columns("things")] == ["id", "n"]


# SQLite


def test_a_table_that_others_point_to_can_be_made_anew_but_not_without_what_they_point_to(tmp_path: Path) -> None:
    opened = open_database("sqlite:///state.db", tmp_path)

    def change(kept: str) -> None:
        with opened.change_schema() as connection:
            connection.exec_driver_sql("CREATE TABLE new (id INTEGER PRIMARY KEY)")
            connection.exec_driver_sql(f"INSERT INTO new SELECT id FROM parents WHERE {kept}")
            connection.exec_driver_sql("DROP TABLE parents")
            connection.exec_driver_sql("ALTER TABLE new RENAME TO parents")

    with opened.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE parents (id INTEGER PRIMARY KEY)")
        connection.exec_driver_sql("CREATE TABLE children (parent INTEGER REFERENCES parents)")
        connection.exec_driver_sql("INSERT INTO parents VALUES (1)")
        connection.exec_driver_sql("INSERT INTO children VALUES (1)")
    change("true")
    with pytest.raises(RuntimeError, match=r"^a row of children points to one of parents that is not there$"):
        change("false")
    with opened.read() as connection:
        assert connection.exec_driver_sql("SELECT * FROM parents").all() == [(1,)]


def test_a_file_that_can_not_be_opened_is_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.mkdir()
    with pytest.raises(StoreUnavailable) as caught, open_database(f"sqlite:///{path}").begin():
        pass
    assert caught.value.text == AWAY


def test_a_folder_that_can_not_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadConfiguration) as caught:
        open_database("sqlite:///file/run/state.db", tmp_path)
    assert caught.value.text == (
        "The state database's file can't be made. Given: state.db: Not a directory. "
        "Correct state.database in dac.yaml, or the permissions of its folder."
    )


def test_a_writer_waits_for_another_and_gives_up_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "LOCK_TIMEOUT_S", 0.1)
    opened = open_database("sqlite:///state.db", tmp_path)
    make(metadata, opened)
    with opened.begin(), pytest.raises(StoreUnavailable) as caught, opened.begin():
        pytest.fail("two writers at once")
    assert caught.value.text == AWAY


def test_a_file_that_is_no_database_is_said(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"SIMPLE  =                    T" * 100)
    with pytest.raises(StoreUnavailable) as caught, open_database("sqlite:///state.db", tmp_path).begin():
        pass
    assert caught.value.text == (
        "The file of the state database is no SQLite database, or is damaged. "
        "Tell the operator: state.database must name another file, or this one be restored."
    )


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    opened = open_database("sqlite:///state.db", tmp_path)
    make(metadata, opened)

    def fill() -> None:
        with opened.begin() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count = 1")
            connection.execute(sa.insert(things), [{"id": n, "n": n} for n in range(5_000)])

    with pytest.raises(StoreUnavailable) as caught:
        fill()
    assert caught.value.text == (
        "The disk of the state database is full. Tell the operator to make room, and try again."
    )


def test_a_relative_path_is_taken_from_the_given_folder_and_made(tmp_path: Path) -> None:
    opened = open_database("sqlite:///run/state.db", tmp_path)
    make(metadata, opened)
    assert (tmp_path / "run" / "state.db").is_file()


def test_the_state_database_is_for_its_owner_alone(tmp_path: Path) -> None:
    opened = open_database("sqlite:///state.db", tmp_path)
    make(metadata, opened)
    modes = {path.name: path.stat().st_mode & 0o077 for path in tmp_path.iterdir()}
    assert modes == dict.fromkeys(modes, 0)
    assert "state.db" in modes


# PostgreSQL


def test_a_server_that_stops_is_unavailable_and_comes_back(postgresql: PostgresServer, postgresql_url: str) -> None:
    opened = open_database(postgresql_url)
    make(metadata, opened)
    postgresql.stop()
    try:
        with pytest.raises(StoreUnavailable) as caught, opened.begin() as connection:
            connection.execute(sa.select(things))
        assert caught.value.text == AWAY
    finally:
        postgresql.start()
    with opened.begin() as connection:
        assert connection.execute(sa.select(things)).all() == []
    opened.close()


def test_a_connection_that_breaks_inside_a_transaction_is_unavailable(
    postgresql: PostgresServer, postgresql_url: str
) -> None:
    opened, other = open_database(postgresql_url), open_database(postgresql_url)
    make(metadata, opened)

    def break_off() -> None:
        with opened.begin() as connection:
            number = connection.execute(sa.text("SELECT pg_backend_pid()")).scalar_one()
            with other.begin() as second:
                second.execute(sa.select(sa.func.pg_terminate_backend(number, 5000)))
            connection.execute(sa.select(things))

    with pytest.raises(StoreUnavailable) as caught:
        break_off()
    assert caught.value.text == AWAY
    opened.close()
    other.close()


# URLs


@pytest.mark.parametrize(
    ("url", "given"),
    [
        ("mysql://me:hunter2@host/db", " Given: mysql."),
        ("sqlite:///:memory:", " Given: sqlite."),
        ("sqlite://", " Given: sqlite."),
        ("state.db", ""),
        ("postgresql://me:hunter2@host:port/db", ""),
    ],
)
def test_other_urls_are_refused_without_their_password(url: str, given: str) -> None:
    with pytest.raises(BadConfiguration) as caught:
        open_database(url)
    assert caught.value.text == (
        f"The state database can't be used.{given} Allowed: sqlite:///state.db, or "
        "postgresql://user:password@host/database. Correct state.database in dac.yaml."
    )
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_a_file_that_was_moved_away_is_unavailable_and_no_empty_one_takes_its_place(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    database = open_database(f"sqlite:///{path}")
    with database.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE kept (n INTEGER)")
    path.rename(tmp_path / "elsewhere.db")
    with pytest.raises(StoreUnavailable), database.read() as connection:
        connection.exec_driver_sql("SELECT * FROM kept")
    assert not path.exists()
    (tmp_path / "elsewhere.db").rename(path)
    with database.read() as connection:
        assert connection.exec_driver_sql("SELECT * FROM kept").all() == []
