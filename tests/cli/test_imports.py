"""What a running centre imports: nothing that only publishing, testing or other people's notebooks need."""

from __future__ import annotations

import subprocess
import sys

#: Heavy, and of no use to a service: Felis and its migrations, and what is installed beside idac for tests. pandas and
#: matplotlib are not named: pyarrow and mocpy take them up wherever they are installed, which idac does not ask for.
NEVER = ("felis", "alembic", "lsst", "lsdb", "dask", "pyvo", "IPython", "scipy")

PROGRAM = "import sys, idac.cli.up\nprint(*sorted({name.partition('.')[0] for name in sys.modules}))"


def test_a_service_imports_nothing_it_has_no_use_for() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert {"idac", "duckdb", "starlette"} <= loaded
    assert sorted(loaded & set(NEVER)) == []


def test_help_imports_next_to_nothing() -> None:
    program = "import sys, idac.cli.main as m\ntry: m.group.main(['--help'])\nexcept SystemExit: print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split()}
    assert sorted(loaded & {"numpy", "pyarrow", "duckdb", "astropy", "sqlalchemy", "pydantic", "httpx"}) == []
