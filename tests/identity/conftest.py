"""State databases for the identity tests: SQLite always, PostgreSQL too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from argon2 import PasswordHasher

from idac.core.database import Database, open_database
from idac.identity import passwords
from idac.identity.administration import Administration
from idac.identity.groups import UserGroups
from idac.identity.invitations import Invitations
from idac.identity.schema import metadata
from idac.identity.settings import DataRight, IdentitySettings
from idac.identity.store import IdentityStore
from idac.identity.throttle import Throttle
from identity_clock import Clock
from services.postgresql import PostgresServer

SETTINGS = IdentitySettings(
    enabled=True,
    rights={"dp1": DataRight(title="Data Preview 1", tables=["dp1"], ask="write to dp1@example.org.")},
)


@pytest.fixture(scope="session", autouse=True)
def _quick_passwords() -> Iterator[None]:
    """argon2 at its least cost: these tests hash many passwords. test_passwords.py holds the real cost."""
    with pytest.MonkeyPatch.context() as patch:
        quick = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
        patch.setattr(passwords, "_hasher", quick)
        passwords._nobodys.cache_clear()
        yield


@pytest.fixture(scope="session")
def identity_postgresql_url(postgresql: PostgresServer) -> str:
    """One database for all these tests: making a new one costs more than most of them."""
    with psycopg.connect(postgresql.url("postgres"), autocommit=True) as connection:
        connection.execute("CREATE DATABASE identity")
    return postgresql.url("identity")


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    is_postgresql = request.param == "postgresql"
    opened = open_database(
        request.getfixturevalue("identity_postgresql_url") if is_postgresql else f"sqlite:///{tmp_path / 'state.db'}"
    )
    with opened.begin() as connection:
        metadata.create_all(connection)
    yield opened
    if is_postgresql:
        with opened.begin() as connection:
            connection.exec_driver_sql("DROP SCHEMA public CASCADE")
            connection.exec_driver_sql("CREATE SCHEMA public")
    opened.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(database: Database, clock: Clock) -> IdentityStore:
    return IdentityStore(database, now=clock)


@pytest.fixture
def administration(store: IdentityStore) -> Administration:
    return Administration(store, SETTINGS)


@pytest.fixture
def groups(administration: Administration) -> UserGroups:
    return UserGroups(administration)


@pytest.fixture
def invitations(groups: UserGroups, administration: Administration) -> Invitations:
    return Invitations(groups, Throttle(administration.store, administration.settings))
