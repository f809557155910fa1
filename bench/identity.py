"""Token checks a second on one core, and what log-in and quotas add to the median of a small query.

``python bench/identity.py`` writes ``bench/results/identity.json``. The centre with log-in and the one without are
asked in turn, so that what else the machine does falls on both alike: their ratio holds on any machine, and the seconds
on none.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import anyio
import httpx
from starlette.requests import Request

from idac.core.database import open_database
from idac.identity.administration import Administration
from idac.identity.cookies import Cookies
from idac.identity.directory import Directory
from idac.identity.identify import Identifier
from idac.identity.ledger import Ledger
from idac.identity.settings import IdentitySettings
from idac.identity.sign_in import SignIn
from idac.identity.store import IdentityStore
from idac.identity.throttle import Throttle
from idac.web.urls import PublicUrl
from idac.wiring.state import make_current

IDAC = str(Path(sys.executable).with_name("idac"))
CONFIG = """\
server: {{processes: 1}}
catalogs: {{default_read: [public]}}
identity:
  enabled: {enabled}
  quotas: {{default: {{requests: {{tap: 1000000}}, concurrent: 8, queued: 50}}}}
"""
QUERY = {"LANG": "ADQL", "QUERY": "SELECT TOP 1 id FROM demo.stars", "FORMAT": "csv"}


def measure_checks(folder: Path, count: int) -> dict[str, float]:
    """Checks a second of tokens in use, and of tokens that this process has not looked at before."""
    settings = IdentitySettings(enabled=True)
    database = open_database(f"sqlite:///{folder / 'checks.db'}")
    make_current(database)
    store = IdentityStore(database)
    administration = Administration(store, settings)
    administration.add_account("ada", actor="bench")
    administration.add_members("team", ["ada"], actor="bench")
    tokens = [administration.add_token("ada", f"t{n}", actor="bench")[1].text for n in range(100)]

    async def run() -> dict[str, float]:
        throttle, ledger = Throttle(store, settings), Ledger(store)
        identifier = Identifier(
            store,
            Directory(store),
            SignIn(store, settings, throttle, ledger),
            throttle,
            ledger,
            settings,
            Cookies(PublicUrl(None), "bench", 60),
            anyio.CapacityLimiter(2),
        )
        requests = [_request(token) for token in tokens]
        begun = time.process_time()
        for request in requests:
            await identifier(request)
        first = len(requests) / (time.process_time() - begun)
        begun = time.process_time()
        for number in range(count):
            await identifier(requests[number % len(requests)])
        return {"checks_per_cpu_s": count / (time.process_time() - begun), "first_checks_per_cpu_s": first}

    found = asyncio.run(run())
    database.close()
    return found


def _request(token: str) -> Request:
    headers = [
        (b"host", b"localhost"),
        (b"user-agent", b"python-requests/2 pyVO"),
        (b"accept", b"*/*"),
        (b"authorization", f"Bearer {token}".encode()),
    ]
    return Request({"type": "http", "method": "GET", "path": "/", "headers": headers, "client": ("192.0.2.1", 1)})


def measure_queries(folder: Path, rounds: int) -> dict[str, float]:
    """Median seconds of a query for one row without log-in, and with it and a token."""
    taken: dict[str, list[float]] = {"off": [], "on": []}
    with ExitStack() as stack:
        clients = {}
        for name in taken:
            where = folder / name
            where.mkdir()
            (where / "dac.yaml").write_text(CONFIG.format(enabled=str(name == "on").lower()))
            (where / "stars.csv").write_text("id,ra,dec\n" + "".join(f"{n},{n % 360},{n % 90}\n" for n in range(5000)))
            _idac(where, "catalog", "add", str(where / "stars.csv"), "--name", "demo.stars", "--json")
            headers = {}
            if name == "on":
                _idac(where, "user", "add", "ada", "--json")
                made = json.loads(_idac(where, "token", "create", "ada", "--name", "bench", "--json"))
                headers["authorization"] = f"Bearer {made['secret']}"
            url = stack.enter_context(_serving(where))
            clients[name] = stack.enter_context(httpx.Client(base_url=url, headers=headers, trust_env=False))
        for number in range(rounds + 50):
            for name in ("off", "on") if number % 2 else ("on", "off"):
                begun = time.perf_counter()
                answer = clients[name].post("/api/tap/sync", data=QUERY)
                if number >= 50:  # the first ones warm both up
                    taken[name].append(time.perf_counter() - begun)
                answer.raise_for_status()
    medians = {f"median_{name}_s": statistics.median(values) for name, values in taken.items()}
    return {**medians, "ratio": medians["median_on_s"] / medians["median_off_s"]}


def _idac(folder: Path, *arguments: str) -> str:
    command = [IDAC, "--config", str(folder / "dac.yaml"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603


@contextmanager
def _serving(folder: Path) -> Iterator[str]:
    command = [IDAC, "--config", str(folder / "dac.yaml"), "up", "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        said = ""
        while not said.endswith("}\n"):
            line = process.stdout.readline() if process.stdout is not None else ""
            if not line:
                raise SystemExit("idac up ended before it answered")
            said += line
        try:
            yield str(json.loads(said)["url"])
        finally:
            process.terminate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checks", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=1000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="idac-bench-") as name:
        found = {
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            **measure_checks(Path(name), options.checks),
            **measure_queries(Path(name), options.rounds),
        }
    text = json.dumps(found, indent=2) + "\n"
    (Path(__file__).parent / "results" / "identity.json").write_text(text, encoding="utf-8")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
