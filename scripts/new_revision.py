"""Write the next revision of the state database's schema: what the code has that the newest revision has not.

usage: scripts/new_revision.py "What it adds"
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from alembic import command

from idac.core.database import open_database
from idac.wiring.migrating import alembic_config, upgrade
from idac.wiring.state import known_revisions


def main() -> None:
    newest = known_revisions()[-1]
    with tempfile.TemporaryDirectory() as folder:
        database = open_database(f"sqlite:///{folder}/state.db")
        with database.change_schema() as connection:
            upgrade(connection, newest)
            command.revision(alembic_config(connection), sys.argv[1], autogenerate=True, rev_id=f"{int(newest) + 1:04}")
    versions = Path(__file__).parents[1] / "src/idac/wiring/migrations/versions"
    subprocess.run([sys.executable, "-m", "ruff", "format", "--quiet", versions], check=True)  # noqa: S603


if __name__ == "__main__":
    main()
