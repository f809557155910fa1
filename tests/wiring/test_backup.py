"""Backups of the state: the same rows come back, in either kind of database, or nothing is changed."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
import sqlalchemy as sa

from command_fixture import Run, command_runner
from idac.core.database import Database, open_database
from idac.core.errors import BadConfiguration, BadData, BadParameter, Conflict, UserError
from idac.wiring.backup import read_backup, restore_backup, write_backup
from idac.wiring.migrating import METADATA, upgrade
from idac.wiring.state import known_revisions, make_current
from released_state import Rows, put, rows_of

ME = "local:tester"
NEWEST = known_revisions()[-1]


@pytest.fixture
def filled(database: Database) -> Database:
    put(database, "0001")
    make_current(database)
    return database


@pytest.fixture
def file(filled: Database, tmp_path: Path) -> Path:
    write_backup(filled, tmp_path / "state.backup", actor=ME)
    return tmp_path / "state.backup"


def but_the_last_notes(rows: Rows, count: int) -> Rows:
    """Without the newest entries of the audit log: a backup and a restoration are noted when they are done."""
    audit = sorted(rows["identity_audit"], key=lambda row: row["id"])
    return rows | {"identity_audit": sorted(audit[: len(audit) - count], key=repr)}


def refused(kind: type[UserError], work: Callable[[], object]) -> str:
    with pytest.raises(kind) as caught:
        work()
    return caught.value.text


def test_what_was_backed_up_comes_back_row_by_row(filled: Database, file: Path, tmp_path: Path) -> None:
    """Into SQLite, from both; then back into the kind that it came from, in the place of what is there."""
    before = but_the_last_notes(rows_of(filled), 1)
    other = open_database(f"sqlite:///{tmp_path / 'other.db'}")
    held = restore_backup(other, file, actor=ME)
    assert held.total == sum(len(rows) for name, rows in before.items() if name != "alembic_version")
    assert but_the_last_notes(rows_of(other), 1) == before
    write_backup(other, tmp_path / "second.backup", actor=ME)
    restored = rows_of(other)
    restore_backup(filled, tmp_path / "second.backup", actor=ME, replace=True)
    assert but_the_last_notes(rows_of(filled), 1) == but_the_last_notes(restored, 1)
    last = max(rows_of(filled)["identity_audit"], key=lambda row: row["id"])
    assert (last["actor"], last["action"], last["subject"]) == (ME, "state restore", "second.backup")


def test_a_restored_database_goes_on_counting_and_holds_its_rules(filled: Database, file: Path) -> None:
    restore_backup(filled, file, actor=ME, replace=True)
    accounts, tokens = (METADATA[0].tables[f"identity_{name}"] for name in ("accounts", "tokens"))
    new = {"name": "eve", "kind": "user", "uid": 5, "is_admin": False, "created": 1}
    with filled.begin() as connection:
        connection.execute(accounts.insert().values(new))
        assert connection.execute(sa.select(accounts.c.id).where(accounts.c.name == "eve")).scalar_one() == 4
    orphan = {"key": "k", "account": 99, "digest": "d", "kind": "user", "name": "n", "scopes": "", "created": 1}
    with pytest.raises(sa.exc.IntegrityError), filled.begin() as connection:
        connection.execute(tokens.insert().values(orphan))
    with pytest.raises(sa.exc.DBAPIError, match="append-only"), filled.begin() as connection:
        connection.execute(METADATA[0].tables["identity_audit"].delete())


def test_an_older_backup_comes_in_as_it_was_and_is_brought_forward(database: Database, tmp_path: Path) -> None:
    put(database, "0001")
    held = write_backup(database, tmp_path / "old", actor=ME)
    assert held.revision == "0001"
    old = rows_of(database)
    other = open_database(f"sqlite:///{tmp_path / 'other.db'}")
    restore_backup(other, tmp_path / "old", actor=ME)
    came = rows_of(other)
    assert came["alembic_version"] == [{"version_num": NEWEST}]
    columns = old["jobs"][0].keys()
    assert [{name: row[name] for name in columns} for row in came["jobs"]] == old["jobs"]
    assert came["identity_tokens"] == old["identity_tokens"]


def test_a_backup_shows_one_moment_and_is_for_its_owner_alone(filled: Database, file: Path) -> None:
    assert file.stat().st_mode & 0o777 == 0o600
    assert read_backup(file).rows["identity_accounts"] == 3
    assert [path.name for path in file.parent.iterdir() if "backup" in path.name] == [file.name]
    entry = max(rows_of(filled)["identity_audit"], key=lambda row: row["id"])
    assert (entry["actor"], entry["action"]) == (ME, "state backup")


# Refusals: each leaves what was there


def test_a_database_that_is_not_empty_is_left_alone(filled: Database, file: Path) -> None:
    before = rows_of(filled)
    text = refused(Conflict, lambda: restore_backup(filled, file, actor=ME))
    assert text.startswith(
        "The state database is not empty. Given: rows in identity_accounts (3), identity_audit (12), "
    )
    assert text.endswith(
        "Restore into an empty one. Or stop the service, back up what is there, and give it up with --replace."
    )
    assert rows_of(filled) == before


def lines_of(file: Path) -> list[bytes]:
    return gzip.decompress(file.read_bytes()).splitlines(keepends=True)


def forge(file: Path, lines: list[bytes]) -> None:
    """Write *lines* with the checksum that they should have, as somebody would who wants them to be taken."""
    end = {"end": 0, "sha256": hashlib.sha256(b"".join(lines)).hexdigest()}
    file.write_bytes(gzip.compress(b"".join([*lines, orjson.dumps(end), b"\n"])))


DAMAGED = (
    "The backup is cut off, or was altered since it was made. Given: state.backup. "
    "Nothing was changed. Use another copy of it, or an older backup."
)


def test_files_that_were_cut_off_or_altered_are_refused(filled: Database, file: Path) -> None:
    before = rows_of(filled)
    whole, lines = file.read_bytes(), lines_of(file)
    altered = [line.replace(b'"ada"', b'"eve"') for line in lines]
    bad = [whole[:-1], whole[: len(whole) // 2], gzip.compress(b"".join(lines[:-1])), gzip.compress(b"".join(altered))]
    bad += [whole[:200] + bytes([whole[200] ^ 1]) + whole[201:], gzip.compress(b"".join(lines) + b"[]\n")]
    for data in bad:
        file.write_bytes(data)
        assert refused(BadData, lambda: restore_backup(filled, file, actor=ME, replace=True)) == DAMAGED
    for data in (b"", b"SQLite format 3\0", gzip.compress(b"[1]\n")):
        file.write_bytes(data)
        assert refused(BadData, lambda: restore_backup(filled, file, actor=ME, replace=True)) == (
            "The file is no backup of a centre's state. Given: state.backup. Name a file that idac state backup made."
        )
    assert rows_of(filled) == before


def test_a_restoration_that_fails_half_way_leaves_the_old_state(filled: Database, file: Path) -> None:
    before = rows_of(filled)
    lines = lines_of(file)[:-1]
    (place,) = (n for n, line in enumerate(lines) if line.startswith(b'["j1"'))
    lines.insert(place, lines[place])
    forge(file, lines)
    text = refused(BadData, lambda: restore_backup(filled, file, actor=ME, replace=True))
    reason = "IntegrityError" if filled.is_sqlite else 'duplicate key value violates unique constraint "jobs_pkey"'
    assert text == (
        f"A row of jobs can't be stored in this database. Given: {reason}. "
        "Nothing was changed. Restore into a database of the kind that the backup was made from."
    )
    assert rows_of(filled) == before


def test_rows_that_are_not_those_of_the_digest_are_not_kept(filled: Database, file: Path) -> None:
    before = rows_of(filled)
    forge(file, [line.replace(b'"ada"', b'"eve"') for line in lines_of(file)[:-1]])
    assert refused(BadData, lambda: restore_backup(filled, file, actor=ME, replace=True)) == (
        "What was stored of identity_accounts is not what the backup holds. Given: 3 rows. "
        "Allowed: the 3 rows of the backup. "
        "Nothing was changed. Tell the developers, with the versions of both databases."
    )
    assert rows_of(filled) == before


def test_a_backup_of_a_newer_program_is_refused(filled: Database, file: Path) -> None:
    lines = lines_of(file)[:-1]
    head = orjson.loads(lines[0]) | {"revision": "9999", "program": "9.0"}
    forge(file, [orjson.dumps(head) + b"\n", *lines[1:]])
    assert refused(BadConfiguration, lambda: restore_backup(filled, file, actor=ME, replace=True)) == (
        "The backup was made by a newer idac than this one. Given: revision 9999, idac 9.0. "
        f"Allowed: revision {NEWEST} and older. Install the idac that made it."
    )


def test_a_file_is_never_written_over_and_places_that_are_none_are_said(tmp_path: Path) -> None:
    database = open_database("sqlite:///state.db", tmp_path)
    there, nowhere = tmp_path / "there", tmp_path / "no" / "file"
    assert refused(Conflict, lambda: write_backup(database, tmp_path / "new", actor=ME)) == (
        "The state database has no tables yet. Make them with: idac state upgrade"
    )
    with database.change_schema() as connection:
        upgrade(connection, NEWEST)
    there.write_text("mine")
    assert refused(Conflict, lambda: write_backup(database, there, actor=ME)) == (
        f"There is a file of this name already. Given: {there}. Name a new one."
    )
    assert refused(BadParameter, lambda: write_backup(database, nowhere, actor=ME)) == (
        f"The backup can't be written. Given: {nowhere}: No such file or directory. Name another file."
    )
    assert refused(BadParameter, lambda: restore_backup(database, nowhere, actor=ME)) == (
        f"The backup can't be read. Given: {nowhere}: No such file or directory. Name a file that idac made."
    )
    assert sorted(path.name for path in tmp_path.iterdir() if "new" in path.name) == []
    assert there.read_text() == "mine"


def test_only_values_that_both_databases_and_the_file_can_hold_are_kept() -> None:
    kinds = {type(column.type) for tables in METADATA for table in tables.tables.values() for column in table.columns}
    assert kinds <= {sa.Integer, sa.BigInteger, sa.String, sa.Text, sa.Boolean}


# The command


@pytest.fixture
def idac(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    (tmp_path / "dac.yaml").write_text("")
    monkeypatch.chdir(tmp_path)
    return command_runner(monkeypatch, capsys)


def test_the_command_from_an_empty_state_to_a_restored_one(idac: Run) -> None:
    assert idac("state", "show").out == (
        f"SQLite, revision none yet; this idac has {NEWEST}.\nThe next start brings it there, or: idac state upgrade\n"
    )
    assert idac("state", "upgrade").out == f"Brought the state database to revision {NEWEST} from nothing.\n"
    assert idac("state", "upgrade").out == f"The state database is at revision {NEWEST} already.\n"
    assert idac("group", "add", "staff").code == 0
    done = idac("state", "backup", "one")
    assert done.out.startswith(f"Wrote 3 rows to one (revision {NEWEST}, made 20")
    assert idac("state", "restore", "one").code == 7
    restored = idac("state", "restore", "one", "--replace")
    assert restored.out.startswith("Restored 3 rows from one (revision ")
    assert restored.err == (
        "A service that was not stopped before goes by what it knew: stop it now, and start it anew.\n"
    )
    shown = idac("state", "show", "--json").json
    assert (shown["revision"], shown["newest"], shown["rows"]["identity_audit"]) == (NEWEST, NEWEST, 2)
    assert "identity_groups" in idac("state", "show").out
