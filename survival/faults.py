"""Does to a running centre what machines do: disks fill, databases lock, stores go down, files are lost, clocks jump.

Each fault must end in an error that tells its reader what to do, or in a second try, and be over when it is over:
nobody restarts anything. ``python -m survival faults`` runs all, ``faults state-locked`` one.
"""

from __future__ import annotations

import argparse
import io
import os
import pwd
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import httpx
import numpy as np
import obstore
import pyarrow as pa
import pyarrow.parquet as pq
from obstore.store import S3Store

from survival.centre import SETTINGS, Centre, Process, client, free_port, merged, until, write_stars

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from services.postgresql import PostgresServer, _run  # noqa: E402  the tests' own servers, from their folder
from services.rgw import _PROGRAMS, _Cluster, _started  # noqa: E402

ROWS, PAIRS = 20_000, 700
COUNT = "SELECT COUNT(*) AS n FROM s.fixed"
LARGE = "SELECT a.id, a.name, b.id AS other, b.name AS friend FROM s.pairs AS a, s.pairs AS b"
#: A sort that has to go to disk: 5.9 million rows.
SORT = (
    "SELECT a.name, b.name AS friend, c.id FROM s.pairs AS a, s.pairs AS b, s.pairs AS c WHERE c.id < 95000 "
    "ORDER BY b.name, a.name, c.id"
)
#: How a fault of ours begins, which no fault of the machine may look like.
FAULT = "The service failed"


class Bench:
    """One centre in one process, and the questions a scenario puts to it."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        environment = changes.pop("environment", {})
        temporary = changes.pop("temporary", None)
        self.centre = Centre(folder, merged(SETTINGS, changes), temporary, environment)
        self.process = Process(self.centre, "up", "query,jobs")
        self.http = client(180)

    def __enter__(self) -> Self:
        sources = self.centre.folder / "sources"
        sources.mkdir()
        for name, rows, seed in (("fixed", ROWS, 4), ("pairs", PAIRS, 5)):
            write_stars(sources / f"{name}.parquet", rows, seed)
            self.centre.idac("catalog", "add", str(sources / f"{name}.parquet"), "--name", f"s.{name}", "--id", "id")
        self.process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()
        if self.process.alive:
            self.process.kill()

    def sync(self, adql: str, form: str = "csv", **more: Any) -> httpx.Response:
        data = {"LANG": "ADQL", "QUERY": adql, "RESPONSEFORMAT": form, **more.pop("data", {})}
        return self.http.post(f"{self.process.url}/api/tap/sync", data=data, **more)

    def submit(self, adql: str, form: str = "csv", **more: Any) -> httpx.Response:
        data = {"LANG": "ADQL", "QUERY": adql, "RESPONSEFORMAT": form, "PHASE": "RUN", **more.pop("data", {})}
        return self.http.post(f"{self.process.url}/api/tap/async", data=data, **more)

    def job(self, adql: str, form: str = "csv", **more: Any) -> str:
        answer = self.submit(adql, form, **more)
        assert answer.status_code == 303, f"{answer.status_code}: {answer.text}"
        return str(answer.headers["location"])

    def end_of(self, job: str, timeout_s: float = 120) -> tuple[str, str]:
        """Phase and error of a job that has ended."""
        until(
            lambda: self.phase(job) in ("COMPLETED", "ERROR", "ABORTED"), timeout_s, f"job ends, is {self.phase(job)}"
        )
        phase = self.phase(job)
        return phase, self.http.get(f"{job}/error").text if phase == "ERROR" else ""

    def phase(self, job: str) -> str:
        answer = self.http.get(f"{job}/phase")
        return answer.text if answer.status_code == 200 else str(answer.status_code)

    def well(self) -> None:
        """A query is answered, and a job runs to its end."""
        answer = self.sync(COUNT)
        assert (answer.status_code, answer.text) == (200, f"n\r\n{ROWS}\r\n"), f"{answer.status_code}: {answer.text}"
        job = self.job(COUNT)
        assert self.end_of(job) == ("COMPLETED", "")
        result = self.http.get(f"{job}/results/result", follow_redirects=True)
        assert result.text == f"n\r\n{ROWS}\r\n", result.text
        health = self.http.get(f"{self.process.url}/api/health")
        assert health.status_code == 200, health.text

    def no_faults(self) -> None:
        faults = self.centre.faults()
        assert not faults, f"faults in the log: {faults[:3]}"


def refused(answer: httpx.Response, *words: str, status: int | None = None) -> None:
    """Fails where *answer* is not an error in words meant for people, with *words* among them."""
    assert answer.status_code in ((status,) if status else (400, 413, 503)), (
        f"{answer.status_code}: {answer.text[-400:]}"
    )
    text = " ".join(answer.text.split())
    assert FAULT not in text, text
    for word in words:
        assert word in text, f"{word!r} is not in: {text[-500:]}"


@contextmanager
def small_disk(path: Path, size: str) -> Iterator[Path]:
    """*path* as a disk of its own, of that size."""
    path.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def filled(path: Path) -> Path:
    """A file that takes all the room that is left."""
    ballast = path / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return ballast


def random_table(size: int) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"x": np.random.default_rng(1).integers(0, 2**62, size // 8)}), sink, compression="none")
    return sink.getvalue()


# -- disks -----------------------------------------------------------------------------------------------------------


def results_full(folder: Path) -> None:
    with small_disk(folder / "results", "3m"), Bench(folder) as bench:
        phase, error = bench.end_of(bench.job(LARGE, data={"MAXREC": "300000"}))
        assert phase == "ERROR", phase
        assert "The disk is full, so nothing was written." in error, error
        upload = {"data": {"UPLOAD": "mine,param:t"}, "files": {"t": ("t.parquet", random_table(5_000_000))}}
        refused(bench.submit("SELECT COUNT(*) AS n FROM TAP_UPLOAD.mine", **upload), "full")
        bench.well()
        bench.no_faults()


def scratch_full(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with small_disk(folder / "tmp", "4m"), Bench(folder) as bench:
        upload = {"data": {"UPLOAD": "mine,param:t"}, "files": {"t": ("t.parquet", random_table(8_000_000))}}
        count = "SELECT COUNT(*) AS n FROM TAP_UPLOAD.mine"
        refused(bench.sync(count, **upload), "disk")
        refused(bench.submit(count, **upload), "disk")
        half = {"data": {"UPLOAD": "mine,param:t"}, "files": {"t": ("t.parquet", random_table(2_500_000))}}
        refused(bench.sync(count, **half), "disk")  # it arrives, and can't be converted beside itself
        # FITS must know all rows first, and has nowhere to keep them.
        refused(bench.sync(LARGE, "fits"), "disk")
        phase, error = bench.end_of(bench.job(LARGE, "fits"))
        assert (phase, FAULT in error) == ("ERROR", False), error
        bench.well()
        assert not list((folder / "tmp").glob("idac-up-*/*/*")), list((folder / "tmp").rglob("*"))
        bench.no_faults()


def spill_full(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with small_disk(folder / "spill", "8m"), Bench(folder, engine={"memory_gib": 0.5}) as bench:
        refused(bench.sync(SORT), "The query needs more")
        bench.well()
        bench.no_faults()


def state_full(folder: Path) -> None:
    state = folder / "state"
    with small_disk(state, "1m"), Bench(folder, state={"database": f"sqlite:///{state}/state.db"}) as bench:
        ballast = filled(state)
        long = f"{COUNT} WHERE {' OR '.join(f'id = {i}' for i in range(20_000))}"
        refused(bench.submit(long), "The disk of the state database is full.", status=503)
        assert bench.sync(COUNT).status_code == 200
        ballast.unlink()
        bench.well()
        bench.no_faults()


# -- the state database ----------------------------------------------------------------------------------------------


def state_locked(folder: Path) -> None:
    with Bench(folder) as bench:
        lock = sqlite3.connect(bench.centre.state, isolation_level=None, check_same_thread=False)
        running = bench.job(LARGE, data={"MAXREC": "200000"})
        lock.execute("BEGIN IMMEDIATE")
        threading.Timer(4, lambda: lock.execute("COMMIT")).start()
        assert bench.submit(COUNT).status_code == 303  # it waited
        assert bench.end_of(running)[0] == "COMPLETED"
        lock.execute("BEGIN IMMEDIATE")
        held = time.monotonic()
        answers: list[httpx.Response] = []
        threads = [threading.Thread(target=lambda: answers.append(bench.submit(COUNT))) for _ in range(80)]
        for thread in threads:
            thread.start()
        time.sleep(1)
        with client(20) as other:  # those who wait for the database must not keep those who do not
            for _ in range(5):
                begun = time.monotonic()
                answer = other.post(f"{bench.process.url}/api/tap/sync", data={"LANG": "ADQL", "QUERY": COUNT})
                assert answer.status_code == 200, answer.text
                assert time.monotonic() - begun < 5, f"a query took {time.monotonic() - begun:.1f} s"
                large = {"LANG": "ADQL", "QUERY": LARGE, "MAXREC": "50000"}
                answer = other.post(f"{bench.process.url}/api/tap/sync", data=large)
                assert answer.status_code == 200, f"{answer.status_code}: {answer.text[:500]}"
        for thread in threads:
            thread.join()
        assert time.monotonic() - held > 25
        lock.execute("COMMIT")
        lock.close()
        for answer in answers:
            refused(answer, "The state database does not answer.", status=503)
        bench.well()
        bench.no_faults()


def state_away(folder: Path) -> None:
    with Bench(folder) as bench:
        running = bench.job(LARGE, data={"MAXREC": "200000"})
        hidden = folder / "hidden"
        hidden.mkdir()
        for path in folder.glob("state.db*"):
            path.rename(hidden / path.name)
        refused(bench.submit(COUNT), "The state database does not answer.", status=503)
        assert bench.sync(COUNT).status_code == 200
        assert bench.http.get(f"{bench.process.url}/api/health").status_code == 503
        for path in hidden.iterdir():
            path.rename(folder / path.name)
        assert bench.end_of(running)[0] == "COMPLETED"
        bench.well()
        bench.no_faults()


@contextmanager
def postgresql() -> Iterator[PostgresServer]:
    binaries = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: float(p.parent.name))
    user = "postgres" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
    place = Path(tempfile.mkdtemp(prefix="survival-pg-", dir="/tmp"))  # a socket's path must be short
    shutil.chown(place, user)
    server = PostgresServer(place, free_port(), str(binaries / "pg_ctl"), user)
    _run(user, [str(binaries / "initdb"), "-D", str(place / "data"), "-A", "trust", "-E", "UTF8", "--no-sync"])
    server.start()
    try:
        yield server
    finally:
        with suppress(AssertionError):
            server.stop()
        shutil.rmtree(place, ignore_errors=True)


def postgresql_restarted(folder: Path) -> None:
    with postgresql() as server, Bench(folder, state={"database": server.url("postgres")}) as bench:
        jobs = [bench.job(LARGE, data={"MAXREC": "400000"}) for _ in range(4)]
        for _ in range(3):
            time.sleep(0.7)
            server.stop()
            refused(bench.submit(COUNT), "The state database does not answer.", status=503)
            assert bench.sync(COUNT).status_code == 200
            server.start()
        for job in jobs:
            assert bench.end_of(job) == ("COMPLETED", "")
            body = bench.http.get(f"{job}/results/result", follow_redirects=True).content
            assert body.count(b"\n") == 400_001, body[-200:]
        bench.well()
        bench.no_faults()


# -- the store -------------------------------------------------------------------------------------------------------


@contextmanager
def gateway() -> Iterator[tuple[_Cluster, str, dict[str, str]]]:
    """A running gateway, a bucket, and its keys as settings of a store."""
    sys_path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    programs = {n: w for names in _PROGRAMS.values() for n in names if (w := shutil.which(n, path=sys_path))}
    with ExitStack() as stack:
        place = Path(tempfile.mkdtemp(prefix="survival-rgw-", dir="/tmp"))  # a socket's path must be short
        stack.callback(shutil.rmtree, place, ignore_errors=True)
        cluster = _started(place, programs)
        stack.callback(cluster.stop)
        user = cluster.user("dac")
        config = {"access_key_id": user.access_key_id, "secret_access_key": user.secret_access_key}
        name = f"s-{uuid.uuid4().hex[:12]}"
        root = S3Store(
            name,
            config={"endpoint": user.endpoint, "region": "us-east-1", "virtual_hosted_style_request": False, **config},
            client_options={"allow_http": True},
        )
        httpx.put(obstore.sign(root, "PUT", "", timedelta(minutes=1)), timeout=60, trust_env=False).raise_for_status()
        yield cluster, name, {"endpoint": user.endpoint, **config}


def store_stopped(folder: Path) -> None:
    with gateway() as (cluster, bucket, keys):
        folder.mkdir(parents=True, exist_ok=True)
        secrets = folder / "secrets"
        secrets.mkdir(mode=0o700)
        for name in ("access_key_id", "secret_access_key"):
            path = secrets / name.replace("_", "-")
            path.touch(mode=0o600)
            path.write_text(keys[name])
        store = {
            "endpoint": keys["endpoint"], "allow_http": True, "timeout_s": 5,
            "access_key_id": {"secret": "access-key-id"}, "secret_access_key": {"secret": "secret-access-key"},
        }  # fmt: skip
        places = {"archive": {"location": f"s3://{bucket}/archive"}, "results": {"location": f"s3://{bucket}/results"}}
        with Bench(folder, stores={bucket: store}, **places) as bench:
            bench.well()
            _stop_and_start(bench, cluster)
            bench.no_faults()


def _stop_and_start(bench: Bench, cluster: _Cluster) -> None:
    daemon = cluster.processes.pop()  # the gateway itself: the last that was started
    daemon.kill()
    daemon.wait()
    answers: list[tuple[float, httpx.Response]] = []

    def ask() -> None:
        begun = time.monotonic()
        answers.append((time.monotonic() - begun, bench.sync(COUNT + " WHERE mag < 20")))

    threads = [threading.Thread(target=ask) for _ in range(12)]
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.monotonic() - begun
    for _, answer in answers:
        refused(answer, status=503)  # the manifest or the data: both tell what to do
    assert took < 40, f"twelve queries took {took:.0f} s to learn that the store is away"
    job = bench.submit(COUNT)
    if job.status_code == 303:
        phase, error = bench.end_of(job.headers["location"])
        assert (phase, FAULT in error) in (("ERROR", False), ("COMPLETED", False)), error
    cluster.spawn("radosgw", "-n", "client.rgw")
    cluster.wait("the gateway", cluster._answers)
    until(lambda: bench.sync(COUNT).status_code == 200, 30, "queries are answered again")
    bench.well()


def archive_away(folder: Path) -> None:
    with Bench(folder) as bench:
        bench.centre.archive.rename(folder / "hidden")
        time.sleep(0.3)
        refused(bench.sync(COUNT), status=503)
        done = bench.centre.idac("catalog", "list", check=False)
        (folder / "hidden").rename(bench.centre.archive)
        assert done.returncode == 0, done.stderr  # a new process can't know that there was more
        time.sleep(0.3)
        bench.well()
        bench.no_faults()


def file_deleted(folder: Path) -> None:
    with Bench(folder) as bench:
        table = bench.centre.archive / "catalogs/tables/s/fixed"
        files = [p for p in sorted(table.rglob("Npix=*.parquet")) if "fixed/dataset" in p.as_posix()]
        contents = {path: path.read_bytes() for path in files}
        assert contents, "no files of the table were found"
        for path in files:
            path.unlink()
        words = "Data of a table that the query uses can't be read at the moment."
        for adql in ("SELECT id, name FROM s.fixed WHERE mag < 21", "SELECT * FROM s.fixed WHERE id = 13"):
            refused(bench.sync(adql), words, status=503)
        for path, data in contents.items():
            path.write_bytes(data[: len(data) // 2])
        refused(bench.sync("SELECT MAX(mag) AS m FROM s.fixed"), words, status=503)
        for path, data in contents.items():
            path.write_bytes(data)
        bench.well()
        assert bench.sync("SELECT id FROM s.fixed WHERE id = 13").text == "id\r\n13\r\n"
        bench.no_faults()


# -- time ------------------------------------------------------------------------------------------------------------


def clock_jumps(folder: Path) -> None:
    library = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)
    if library is None:
        raise RuntimeError("libfaketime is missing; install it with: apt-get install libfaketime")
    folder.mkdir(parents=True, exist_ok=True)
    offset = folder / "offset.log"
    offset.write_text("+0")
    environment = {
        "LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": str(offset), "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }  # fmt: skip
    with Bench(folder) as bench:
        bench.process.kill()
        bench.process.environment = environment
        bench.process.start()
        for jump in ("+2h", "-2h", "+0", "+3h", "+0"):
            job = bench.job(LARGE, data={"MAXREC": "300000"})
            offset.write_text(jump)
            assert bench.sync(COUNT).status_code == 200
            assert bench.end_of(job) == ("COMPLETED", "")
        other = Process(bench.centre, "other", "jobs", environment)
        try:
            # A worker that dies just before the clock is set back leaves a lease that ends hours from then.
            other.start()
            bench.process.kill()
            offset.write_text("+2h")
            bench.process.start()
            jobs = [bench.job(LARGE, data={"MAXREC": "400000"}) for _ in range(4)]
            until(lambda: "EXECUTING" in {r["phase"] for r in bench.centre.jobs().values()}, 30, "a job runs")
            other.kill()
            offset.write_text("+0")
            for job in jobs:
                assert bench.end_of(job, 60) == ("COMPLETED", "")
        finally:
            if other.alive:
                other.kill()
        bench.well()
        bench.no_faults()


SCENARIOS: dict[str, Callable[[Path], None]] = {
    "results-full": results_full,
    "scratch-full": scratch_full,
    "spill-full": spill_full,
    "state-full": state_full,
    "state-locked": state_locked,
    "state-away": state_away,
    "postgresql-restarted": postgresql_restarted,
    "store-stopped": store_stopped,
    "archive-away": archive_away,
    "file-deleted": file_deleted,
    "clock-jumps": clock_jumps,
}


def run(name: str, folder: Path) -> str | None:
    """What went wrong in one scenario; None where nothing did."""
    try:
        SCENARIOS[name](folder)
    except Exception as error:  # noqa: BLE001  whatever it is, it is the finding
        place = traceback.extract_tb(error.__traceback__)
        line = next((f"line {f.lineno}: {f.line}" for f in reversed(place) if f.filename == __file__), "")
        return f"{line}\n    {type(error).__name__}: {error}"
    return None


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="survival faults", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="FAULT", help=f"default: all of {', '.join(SCENARIOS)}")
    parser.add_argument("--folder", type=Path, help="keep the centres here (default: a temporary folder, removed)")
    options = parser.parse_args(arguments)
    unknown = set(options.names) - set(SCENARIOS)
    if unknown:
        parser.error(f"no such fault: {', '.join(sorted(unknown))}")
    top = options.folder or Path(tempfile.mkdtemp(prefix="survival-"))
    wrong = 0
    for name in options.names or SCENARIOS:
        begun = time.monotonic()
        found = run(name, top / name)
        wrong += found is not None
        print(f"{name:22s} {'ok' if found is None else 'WRONG'}  {time.monotonic() - begun:5.1f} s", flush=True)
        if found:
            print(f"    {found}", flush=True)
    if options.folder is None:
        shutil.rmtree(top, ignore_errors=True)
    return 1 if wrong else 0
