"""What a running centre imports: nothing that only publishing, testing or other people's notebooks need."""

from __future__ import annotations

import subprocess
import sys

#: Heavy, and of no use to a service: Felis and its migrations, and what is installed beside idac for tests. pandas and
#: matplotlib are not named: pyarrow and mocpy take them up wherever they are installed, which idac does not ask for.
NEVER = ("felis", "alembic", "lsst", "lsdb", "dask", "pyvo", "IPython", "scipy")
#: Imported after the start, or when it is first used: astropy knows units and frames, and few queries ask for either.
LATER = ("astropy", "mocpy")
#: Imported by a centre where people log in, and by no other.
WITH_LOG_IN = ("authlib", "cryptography", "joserfc")


def _imported_by(module: str) -> set[str]:
    program = f"import sys, {module}\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_a_service_imports_nothing_it_has_no_use_for() -> None:
    loaded = _imported_by("idac.cli.up")
    assert {"idac", "duckdb", "starlette"} <= loaded
    assert sorted(loaded & {*NEVER, *LATER, *WITH_LOG_IN}) == []


def test_a_service_that_has_started_imports_the_rest_beside_its_work() -> None:
    loaded = _imported_by("idac.cli.up, idac.core.lazy as lazy; lazy.load_in_background().join()")
    assert set(LATER) <= loaded
    assert sorted(loaded & set(NEVER)) == []


def test_publishing_imports_nothing_that_people_log_in_or_ask_with() -> None:
    loaded = _imported_by("idac.cli.catalog")
    assert {"idac", "duckdb", "pyarrow"} <= loaded
    assert sorted(loaded & {*LATER, "authlib", "felis", "httpx", "joserfc", "lsst", "sqlglot", "starlette"}) == []


def test_help_imports_next_to_nothing() -> None:
    program = "import sys, idac.cli.main as m\ntry: m.group.main(['--help'])\nexcept SystemExit: print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split()}
    assert sorted(loaded & {"numpy", "pyarrow", "duckdb", "astropy", "sqlalchemy", "pydantic", "httpx"}) == []
