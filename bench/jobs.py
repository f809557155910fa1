"""What work on jobs costs in a state database that holds a thousand jobs, and in one that holds a hundred thousand.

``python -m bench.jobs`` fills two SQLite databases with jobs of one user and of many, does to both in turns what a
request or a worker does, and writes ``bench/results/jobs.json``. Ratios hold on any machine; milliseconds hold on none.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

from bench.ingest import keep, machine
from idac.core.database import open_database
from idac.core.principal import Principal
from idac.jobs.model import JobResult, NewJob, Phase
from idac.jobs.store import JOBS, JobStore
from idac.wiring.state import make_current

RESULTS = Path(__file__).parent / "results" / "jobs.json"
FEW, MANY = 1_000, 100_000
#: One user has half of all jobs; the others have a hundred each.
BUSY = Principal(name="busy", kind="user")
_DAY_MS = 86_400_000
_QUERY = [("LANG", "ADQL"), ("QUERY", "SELECT TOP 100 ra, dec FROM survey.objects")]


def iter_jobs(jobs: int) -> Iterator[dict[str, Any]]:
    """Rows of jobs that ended, one in fifty by an error, spread over the month before now."""
    now = int(time.time() * 1000)
    result = JobResult("result", "result.vot", "application/x-votable+xml", "result.vot", 123_456, "0" * 64)
    for number in range(jobs):
        owner = BUSY.name if number % 2 else f"user{number // 200}"
        failed = number % 50 == 1
        created = now - 30 * _DAY_MS + number * (30 * _DAY_MS // jobs)
        yield {
            "id": f"job{number:08d}",
            "kind": "tap",
            "owner": owner,
            "principal": json.dumps({"name": owner, "kind": "user", "groups": [], "is_admin": False}),
            "phase": Phase.ERROR if failed else Phase.COMPLETED,
            "created": created,
            "queued": created,
            "started": created,
            "ended": created + 5_000,
            "destruction": now + 7 * _DAY_MS + number,
            "execution_duration_s": 3_600,
            "parameters": json.dumps(_QUERY),
            "files": "[]",
            "attempt": 1,
            "results": "[]" if failed else json.dumps([asdict(result)]),
            "result_bytes": 0 if failed else result.size,
        }


def filled(folder: Path, jobs: int) -> JobStore:
    """A store of *jobs* jobs in a database of its own."""
    database = open_database(f"sqlite:///{folder / f'{jobs}.sqlite'}")
    make_current(database)
    rows = list(iter_jobs(jobs))
    with database.begin() as connection:
        for start in range(0, jobs, 10_000):
            connection.execute(JOBS.insert(), rows[start : start + 10_000])
    return JobStore(database)


def acts() -> dict[str, Callable[[JobStore], object]]:
    """What is done to jobs, by name; each leaves as many jobs as it found."""
    numbers = count()
    later = datetime.now(UTC) + timedelta(days=7)

    def submit(store: JobStore) -> None:
        job_id = f"new{next(numbers)}"
        new = NewJob("tap", BUSY, tuple(_QUERY))
        store.add(job_id, new, destruction=later, execution_duration_s=60, phase=Phase.QUEUED)
        store.delete(job_id)

    return {
        "submit and delete a job": submit,
        "read one job": lambda store: store.get("job00000501"),
        "list the newest 100 of a user": lambda store: store.newest("tap", BUSY.name, last=100),
        "list a user's newest 100 that failed": lambda store: store.newest(
            "tap", BUSY.name, phases=[Phase.ERROR], last=100
        ),
        "count what a user has waiting": lambda store: store.count_unfinished("tap", BUSY.name),
        "look for work": lambda store: store.claim(["tap"], "bench-worker", 60.0),
        "look for jobs to destroy": lambda store: store.due(100),
        "what a user with 100 jobs takes": lambda store: store.use("user1"),
        "what the user with half of all jobs takes": lambda store: store.use(BUSY.name),
    }


def measure(stores: dict[str, JobStore], rounds: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, act in acts().items():
        taken: dict[str, list[float]] = {size: [] for size in stores}
        for _ in range(rounds):
            for size, store in stores.items():
                begun = time.perf_counter()
                act(store)
                taken[size].append(time.perf_counter() - begun)
        few, many = (statistics.median(times) for times in taken.values())
        found[name] = {"few_ms": round(few * 1e3, 3), "many_ms": round(many * 1e3, 3), "ratio": round(many / few, 2)}
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--few", type=int, default=FEW)
    parser.add_argument("--many", type=int, default=MANY)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="idac-bench-") as name:
        stores = {size: filled(Path(name), getattr(options, size)) for size in ("few", "many")}
        result = {
            "jobs": {"few": options.few, "many": options.many},
            "acts": measure(stores, options.rounds),
            "machine": machine(),
        }
    keep(result, options.results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
