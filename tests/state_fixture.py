"""A state database with its tables, as tests of the parts that keep something there want it."""

from __future__ import annotations

from pathlib import Path

from idac.core.database import Database, open_database
from idac.wiring.state import make_current


def state_in(folder: Path, name: str = "state.db") -> Database:
    """A new one in *folder*, made as ``idac up`` makes it."""
    database = open_database(f"sqlite:///{folder / name}")
    make_current(database)
    return database
