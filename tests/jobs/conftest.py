"""State databases and result stores for the job tests: SQLite always, PostgreSQL where it is installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from idac.core.database import Database, open_database
from idac.core.store import FolderStore
from idac.jobs.store import JobStore, metadata


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if request.param == "postgresql":
        url = request.getfixturevalue("postgresql_url")
    else:
        url = f"sqlite:///{tmp_path / 'state.db'}"
    opened = open_database(url)
    with opened.begin() as connection:
        metadata.create_all(connection)
    yield opened
    with opened.begin() as connection:
        metadata.drop_all(connection)
    opened.close()


@pytest.fixture
def jobs(database: Database) -> JobStore:
    return JobStore(database)


@pytest.fixture
def results(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "results")
