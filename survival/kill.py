"""Kills any process of a centre, again and again, at moments that a seed chooses, and checks what must hold.

A service answers queries, two others work off jobs, a command publishes, replaces and drops tables, while clients read
streams, start jobs, upload, delete and let expire. ``python -m survival kill --moments 200 --seed 1``.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pyarrow as pa
import pyarrow.parquet as pq

from survival import invariants
from survival.centre import Centre, Process, age, client, kill_process, until, write_stars

#: Rows of the two versions of ``s.flip`` and of each table that comes and goes.
FLIP = {1: 9_000, 2: 13_000}
COMES = {3: 7_000}
FIXED_ROWS, PAIR_ROWS = 40_000, 700
JOB_ROWS = 150_000
UPLOAD_ROWS = 20_000
#: What a client may see while its server dies: a broken connection, and never half an answer that looks whole.
BROKEN = (httpx.TransportError,)


@dataclass
class Findings:
    """What went wrong, and what was done; from many threads."""

    wrong: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    jobs: dict[str, Callable[[bytes], str | None]] = field(default_factory=dict)
    forgotten: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, what: str) -> None:
        with self.lock:
            if what not in self.wrong:
                self.wrong.append(what)
                print(f"  WRONG: {what}", flush=True)

    def count(self, what: str) -> None:
        with self.lock:
            self.counts[what] += 1

    def promise(self, job_id: str, check: Callable[[bytes], str | None]) -> None:
        with self.lock:
            self.jobs[job_id] = check

    def forget(self, job_id: str) -> None:
        with self.lock:
            self.forgotten.add(job_id)


class Actors:
    """Clients and a publisher who go on about their work until told to stop."""

    def __init__(self, centre: Centre, service: Process, findings: Findings, seed: int) -> None:
        self.centre, self.service, self.findings, self.seed = centre, service, findings, seed
        self.command: subprocess.Popen[str] | None = None
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._round = 0

    def start(self) -> None:
        self._stop.clear()
        self._round += 1
        acts = (self.publish, self.stream, self.look, self.submit, self.upload, self.expire)
        self._threads = [
            threading.Thread(target=self._go_on, args=(act, random.Random(f"{self.seed} {self._round} {act.__name__}")))
            for act in acts
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _go_on(self, act: Callable[[httpx.Client, random.Random], None], dice: random.Random) -> None:
        with client(120) as http:
            while not self._stop.is_set():
                try:
                    act(http, dice)
                except BROKEN:
                    self.findings.count(f"{act.__name__}: connection broken")
                    self._stop.wait(0.2)
                except AssertionError as error:
                    self.findings.add(f"{act.__name__}: {error}")
                    self._stop.wait(0.5)
                except Exception as error:  # noqa: BLE001  the harness must tell and go on
                    self.findings.add(f"{act.__name__}: {type(error).__name__}: {error}")
                    self._stop.wait(0.5)

    # -- publishing ----------------------------------------------------------------------------------------------

    def publish(self, _http: httpx.Client, dice: random.Random) -> None:
        """Replace s.flip, add or drop a table, by the command line."""
        sources = self.centre.folder / "sources"
        what = dice.choice(["replace", "replace", "add", "drop", "rollback"])
        if what == "replace":
            arguments = ["catalog", "replace", str(sources / f"flip{dice.choice((1, 2))}.parquet"), "--name", "s.flip"]
        elif what == "rollback":
            arguments = ["catalog", "rollback", "s.flip"]
        elif what == "add":
            arguments = ["catalog", "add", str(sources / "comes.parquet"), "--name", f"s.comes{dice.randrange(4)}"]
        else:
            arguments = ["catalog", "drop", f"s.comes{dice.randrange(4)}", "--yes"]
        if what in ("add", "replace"):
            arguments += ["--id", "id"]
        process = self.centre.spawn(*arguments)
        self.command = process
        output, _ = process.communicate()
        self.command = None
        self.findings.count(f"publish {what}: {'killed' if process.returncode < 0 else process.returncode}")
        # 5: nothing to drop or replace; 7: there already, or nothing to go back to.
        if process.returncode > 0 and process.returncode not in (5, 7):
            self.findings.add(f"{' '.join(arguments)} ended with {process.returncode}: {output[-600:]}")

    # -- reading -------------------------------------------------------------------------------------------------

    def stream(self, http: httpx.Client, dice: random.Random) -> None:
        """Read a long answer; one that ends as HTTP says must be whole."""
        name = dice.choice(["csv", "votable/td", "votable", "parquet", "fits", "json"])
        adql = "SELECT a.id, a.name, b.id AS other FROM s.pairs AS a, s.pairs AS b"
        rows = dice.choice([2_000, 60_000, 200_000])
        data = {"LANG": "ADQL", "QUERY": adql, "RESPONSEFORMAT": name, "MAXREC": str(rows)}
        with http.stream("POST", f"{self.service.url}/api/tap/sync", data=data) as answer:
            if answer.status_code == 503:
                answer.read()
                return
            body = answer.read()
            if answer.status_code != 200:
                raise AssertionError(f"{answer.status_code} for a stream of {name}: {body[-300:]!r}")
        self.findings.count("streams read to their end")
        wrong = wrong_answer(name, body, rows)
        if wrong:
            raise AssertionError(f"a {name} answer of {len(body)} bytes ended well and {wrong}")

    def look(self, http: httpx.Client, dice: random.Random) -> None:
        """Look at tables that others replace, and look up single rows."""
        truth = {"s.flip": FLIP, **{f"s.comes{i}": COMES for i in range(4)}}
        for wrong in invariants.wrong_tables(http, self.service, truth):
            raise AssertionError(wrong)
        number = dice.randrange(FIXED_ROWS)
        rows = invariants.ask(http, self.service, f"SELECT id, name FROM s.fixed WHERE id = {number * 7919 + 13}")
        assert rows == [{"id": str(number * 7919 + 13), "name": f"star {number}"}], f"row {number} is {rows}"
        self.findings.count("looks at tables")
        self._stop.wait(0.1)

    # -- jobs ----------------------------------------------------------------------------------------------------

    def submit(self, http: httpx.Client, dice: random.Random) -> None:
        """Start a job; what it must have in the end is written down."""
        adql = "SELECT a.id, a.name, b.id AS other FROM s.pairs AS a, s.pairs AS b"
        name = dice.choice(["csv", "parquet", "votable"])
        data = {"QUERY": adql, "LANG": "ADQL", "PHASE": "RUN", "RESPONSEFORMAT": name, "MAXREC": str(JOB_ROWS)}
        self._create(http, lambda body: wrong_answer(name, body, JOB_ROWS), data=data)
        self._stop.wait(dice.uniform(0.3, 1.2))

    def upload(self, http: httpx.Client, dice: random.Random) -> None:
        """Start a job, or a query, that brings its own table."""
        salt = dice.randrange(1000)
        table = pa.table({"x": pa.array(range(salt, salt + UPLOAD_ROWS), pa.int64())})
        sink = io.BytesIO()
        pq.write_table(table, sink)
        expected = f"{UPLOAD_ROWS},{sum(range(salt, salt + UPLOAD_ROWS))}"
        adql = "SELECT COUNT(*) AS n, SUM(u.x) AS total FROM TAP_UPLOAD.mine AS u"
        data = {"QUERY": adql, "LANG": "ADQL", "RESPONSEFORMAT": "csv", "UPLOAD": "mine,param:t"}
        files = {"t": ("t.parquet", sink.getvalue())}

        def check(body: bytes) -> str | None:
            return None if expected.encode() in body else f"it says {body[:200]!r} and not {expected}"

        if dice.random() < 0.5:
            self._create(http, check, data={**data, "PHASE": "RUN"}, files=files)
        else:
            answer = http.post(f"{self.service.url}/api/tap/sync", data=data, files=files)
            if answer.status_code != 503:
                assert answer.status_code == 200, f"{answer.status_code}: {answer.text[-300:]}"
                wrong = check(answer.content)
                assert wrong is None, wrong
        self._stop.wait(dice.uniform(0.1, 0.6))

    def _create(self, http: httpx.Client, check: Callable[[bytes], str | None], **request: object) -> None:
        answer = http.post(f"{self.service.url}/api/tap/async", **request)  # type: ignore[arg-type]
        if answer.status_code == 503:
            return
        assert answer.status_code == 303, f"{answer.status_code} for a new job: {answer.text[-300:]}"
        self.findings.promise(answer.headers["location"].rpartition("/")[2], check)
        self.findings.count("jobs accepted")

    def expire(self, http: httpx.Client, dice: random.Random) -> None:
        """Delete, abort or date some job, whatever it is doing."""
        self._stop.wait(dice.uniform(0.5, 1.5))
        with self.findings.lock:
            mine = [job for job in self.findings.jobs if job not in self.findings.forgotten]
        if len(mine) < 4:
            return
        job = dice.choice(mine[:-1])
        self.findings.forget(job)
        url = f"{self.service.url}/api/tap/async/{job}"
        what = dice.choice(["delete", "destroy", "abort"])
        if what == "delete":
            answer = http.delete(url)
        elif what == "abort":
            answer = http.post(f"{url}/phase", data={"PHASE": "ABORT"})
        else:
            when = datetime.now(UTC) + timedelta(seconds=dice.uniform(-2, 4))
            answer = http.post(f"{url}/destruction", data={"DESTRUCTION": when.strftime("%Y-%m-%dT%H:%M:%SZ")})
        self.findings.count(f"jobs: {what}")
        # 404: a kill came between the work and its answer, and this is the second try of nobody.
        assert answer.status_code in (303, 404, 503), f"{what} of a job: {answer.status_code} {answer.text[-300:]}"


def wrong_answer(name: str, body: bytes, rows: int) -> str | None:
    """What is wrong with an answer that must have *rows* rows, read by other programs than ours."""
    rows = min(rows, PAIR_ROWS**2)
    try:
        found = count_rows(name, body)
    except Exception as error:  # noqa: BLE001  whatever the reader says is the finding
        return f"can't be read: {type(error).__name__}: {str(error)[:150]}"
    return None if found == rows else f"has {found} rows instead of {rows}"


def count_rows(name: str, body: bytes) -> int:
    if name == "csv":
        return body.count(b"\n") - 1
    if name == "votable/td":
        assert body.rstrip().endswith(b"</VOTABLE>"), "it has no end"
        return body.count(b"<TR>")
    if name == "votable":
        assert body.rstrip().endswith(b"</VOTABLE>"), "it has no end"
        return _binary_rows(body)
    if name == "parquet":
        return int(pq.read_metadata(io.BytesIO(body)).num_rows)
    if name == "json":
        return len(json.loads(body)["data"])
    assert len(body) % 2880 == 0, "its length is no whole number of FITS blocks"
    at = body.rindex(b"NAXIS2  =")
    return int(body[at + 10 : at + 30])


def _binary_rows(body: bytes) -> int:
    """Rows of a BINARY stream of (long, text, long): its bytes must be used up by whole rows."""
    start = body.index(b"<STREAM")
    data = base64.b64decode(body[body.index(b">", start) + 1 : body.index(b"</STREAM>", start)])
    at = rows = 0
    while at < len(data):
        at += 20 + int.from_bytes(data[at + 8 : at + 12], "big")
        rows += 1
    assert at == len(data), "its last row is cut"
    return rows


# -- the course of it ------------------------------------------------------------------------------------------------


class Course:
    """A centre, its actors, and one who kills."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.findings = Findings()
        self.dice = random.Random(seed)
        self.centre = Centre(folder)
        self.service = Process(self.centre, "service", "query")
        self.workers = [Process(self.centre, f"worker{i}", "jobs") for i in range(2)]
        self.actors = Actors(self.centre, self.service, self.findings, seed)

    def prepare(self) -> None:
        sources = self.centre.folder / "sources"
        sources.mkdir(exist_ok=True)
        for value, rows in FLIP.items():
            write_stars(sources / f"flip{value}.parquet", rows, value, value)
        write_stars(sources / "comes.parquet", COMES[3], 3, 3)
        write_stars(sources / "fixed.parquet", FIXED_ROWS, 4)
        write_stars(sources / "pairs.parquet", PAIR_ROWS, 5)
        for name, source in (("flip", "flip1"), ("fixed", "fixed"), ("pairs", "pairs")):
            self.centre.idac("catalog", "add", str(sources / f"{source}.parquet"), "--name", f"s.{name}", "--id", "id")
        for process in (self.service, *self.workers):
            process.start()

    def run(self, moments: int, rest_every: int) -> None:
        done = 0
        while done < moments:
            self.actors.start()
            try:
                for _ in range(min(rest_every, moments - done)):
                    self.moment()
                    done += 1
            finally:
                self.actors.stop()
            self.rest()
            print(f"{done} of {moments} moments: {len(self.findings.wrong)} findings", flush=True)

    def moment(self) -> None:
        time.sleep(min(self.dice.expovariate(1 / 0.7), 3.0))
        victims = ["service", "worker0", "worker1", "command", "command"]
        victim = self.dice.choice(victims)
        command = self.actors.command
        if victim == "command":
            if command is None or command.poll() is not None:
                self.findings.count("kills: missed the command")
                return
            # The command spends its first second on imports; what it may leave behind comes later.
            time.sleep(self.dice.uniform(0, 1.5))
            command.kill()
        else:
            process = next(p for p in (self.service, *self.workers) if p.name == victim)
            process.kill()
            process.start()
        self.findings.count(f"kills: {victim}")
        self.check()

    def check(self) -> None:
        """What holds while work goes on."""
        with self.findings.lock:
            acknowledged, forgotten = list(self.findings.jobs), set(self.findings.forgotten)
        rows = self.centre.jobs()
        with self.findings.lock:
            forgotten |= self.findings.forgotten
        for wrong in invariants.wrong_jobs(rows, acknowledged, forgotten):
            self.findings.add(wrong)

    def rest(self) -> None:
        """Everything comes to its end; then all must be in its place and nothing elsewhere."""
        until(lambda: not self._unfinished(), 180, "all jobs end")
        with client() as http:
            for wrong in (
                *invariants.wrong_tap_schema(http, self.service, self.centre),
                *invariants.wrong_results(self.centre, self.centre.jobs()),
                *self._wrong_downloads(http),
            ):
                self.findings.add(wrong)
        done = self.centre.idac("catalog", "check", "--json", check=False)
        if done.returncode or not json.loads(done.stdout)["ok"]:
            self.findings.add(f"catalog check: {done.stdout[-800:]}{done.stderr[-400:]}")
        self._sweep()
        for wrong in (*invariants.overdue_jobs(self.centre.jobs()), *invariants.orphans(self.centre)):
            self.findings.add(wrong)
        for fault in self.centre.faults():
            self.findings.add(fault)
        for process in (self.service, *self.workers):
            process.start()

    def _unfinished(self) -> list[str]:
        return [job for job, row in self.centre.jobs().items() if row["phase"] in ("QUEUED", "EXECUTING")]

    def _wrong_downloads(self, http: httpx.Client) -> list[str]:
        found = []
        with self.findings.lock:
            promised = {job: check for job, check in self.findings.jobs.items() if job not in self.findings.forgotten}
        for job, check in promised.items():
            answer = http.get(f"{self.service.url}/api/tap/async/{job}/results/result", follow_redirects=True)
            wrong = check(answer.content) if answer.status_code == 200 else f"{answer.status_code} {answer.text[-200:]}"
            if wrong:
                found.append(f"the result of job {job}: {wrong}")
            http.delete(f"{self.service.url}/api/tap/async/{job}")
            self.findings.forget(job)
            self.findings.count("results of jobs verified")
        return found

    def _sweep(self) -> None:
        """Let a day pass for all that lies about, and have it swept as a running centre does by itself."""
        for process in (self.service, *self.workers):
            process.stop()
        for folder in (self.centre.archive, self.centre.results, self.centre.temporary):
            if folder is not None and folder.exists():
                age(folder, 2 * 86400)
        due = [job for job, row in self.centre.jobs().items() if row["destruction"] / 1000 < time.time()]
        self.centre.idac("catalog", "sweep")
        self.workers[0].start()
        until(lambda: not set(due) & set(self.centre.jobs()), 60, "jobs past their destruction go")
        self.workers[0].stop()

    def close(self) -> None:
        for process in (self.service, *self.workers):
            if process.alive:
                process.kill()
        if self.actors.command is not None:
            kill_process(self.actors.command)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="survival kill", description=__doc__)
    parser.add_argument("--moments", type=int, default=200, help="how often to kill (default: 200)")
    parser.add_argument("--rest-every", type=int, default=20, help="kills between two looks at everything")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="keep the centre here (default: a temporary folder, removed)")
    parser.add_argument("--json", type=Path, help="write what was found to this file")
    options = parser.parse_args(arguments)
    folder = options.folder or Path(tempfile.mkdtemp(prefix="survival-"))
    begun = time.monotonic()
    course = Course(folder, options.seed)
    try:
        course.prepare()
        course.run(options.moments, options.rest_every)
    finally:
        course.close()
    findings = course.findings
    for what, count in sorted(findings.counts.items()):
        print(f"  {count:6d}  {what}")
    print(f"{options.moments} moments in {time.monotonic() - begun:.0f} s: {len(findings.wrong)} findings")
    if options.json:
        options.json.write_text(
            json.dumps(
                {"seed": options.seed, "moments": options.moments, "counts": findings.counts, "wrong": findings.wrong},
                indent=1,
            )
        )
    if options.folder is None and not findings.wrong:
        shutil.rmtree(folder, ignore_errors=True)
    elif findings.wrong:
        print(f"the centre is kept in {folder}", file=sys.stderr)
    return 1 if findings.wrong else 0
