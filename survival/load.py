"""Mixed clients at twice a centre's capacity: small queries stay quick, memory bounded, answers right, nothing leaks.

Some ask for one row, some for cones, scans, cross-matches, exports, uploads and jobs; some read slowly, and some go away in
the middle. First each kind is timed alone, which gives the machine's capacity; then enough clients of each kind are
started for twice that. ``python -m survival load --seconds 3600``.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from survival.centre import SETTINGS, Centre, Process, client, merged, rss_bytes, threads_and_files, until, write_stars

ROOT = Path(__file__).parents[1]
#: What the service may take beyond engine.memory_gib and engine.kept_gib: itself, results on their way, 512 threads.
OVERHEAD_BYTES = 700 * 2**20
SMALL = ("top", "cone", "lookup")


@dataclass
class Measured:
    """What the clients met; from many threads."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    refused: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    wrong: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def took(self, kind: str, seconds: float) -> None:
        with self.lock:
            self.seconds[kind].append(seconds)

    def refuse(self, kind: str) -> None:
        with self.lock:
            self.refused[kind] += 1

    def find(self, what: str) -> None:
        with self.lock:
            if len(self.wrong) < 100:
                self.wrong.append(what)
                print(f"  WRONG: {what}", flush=True)


@dataclass(frozen=True)
class Sample:
    """What the process held at one moment."""

    at_s: float
    rss_bytes: int
    threads: int
    files: int
    temporary_files: int
    temporary_bytes: int


class Refused(Exception):
    """The service said that it is busy, which at twice its capacity it may."""


class Clients:
    """Every kind of client, with the truth about what it asks for."""

    def __init__(self, centre: Centre, process: Process, table: pa.Table, measured: Measured) -> None:
        self.centre, self.process, self.measured = centre, process, measured
        self.rows = table.num_rows
        self.ids, self.ra, self.dec = (table.column(n).to_numpy() for n in ("id", "ra", "dec"))
        self.mag = table.column("mag").to_numpy().astype(np.float64)
        self.vectors = _vectors(self.ra, self.dec)
        self.stop = threading.Event()
        self.kinds: dict[str, Callable[[httpx.Client, random.Random], None]] = {
            "top": self.top, "cone": self.cone, "lookup": self.lookup, "scan": self.scan, "match": self.match,
            "export": self.export, "upload": self.upload, "job": self.job, "leaver": self.leaver, "slow": self.slow,
        }  # fmt: skip

    def go_on(self, kind: str, dice: random.Random) -> None:
        """Ask again and again until told to stop."""
        with client(600) as web:
            while not self.stop.is_set():
                begun = time.monotonic()
                try:
                    self.kinds[kind](web, dice)
                except Refused:
                    self.measured.refuse(kind)
                    self.stop.wait(dice.uniform(0.5, 1.5))
                except Exception as error:  # noqa: BLE001  the finding is that it happened
                    if not self.stop.is_set():
                        self.measured.find(f"{kind}: {type(error).__name__}: {str(error)[:300]}")
                        self.stop.wait(1)
                else:
                    self.measured.took(kind, time.monotonic() - begun)
                if kind in SMALL:
                    self.stop.wait(dice.uniform(0.05, 0.2))

    # -- asking --------------------------------------------------------------------------------------------------

    def ask(self, web: httpx.Client, adql: str, form: str = "csv", path: str = "sync", **more: Any) -> httpx.Response:
        data = {"LANG": "ADQL", "QUERY": adql, "RESPONSEFORMAT": form, **more.pop("data", {})}
        answer = web.post(f"{self.process.url}/api/tap/{path}", data=data, **more)
        if answer.status_code == 503:
            raise Refused
        assert answer.status_code in (200, 303), f"{answer.status_code}: {answer.text[-300:]}"
        return answer

    def values(self, answer: httpx.Response) -> list[str]:
        return answer.text.split("\r\n")[1:-1]

    def top(self, web: httpx.Client, _dice: random.Random) -> None:
        assert len(self.values(self.ask(web, "SELECT TOP 1 id, ra, dec FROM s.fixed"))) == 1

    def lookup(self, web: httpx.Client, dice: random.Random) -> None:
        number = dice.randrange(self.rows)
        found = self.values(self.ask(web, f"SELECT name FROM s.fixed WHERE id = {number * 7919 + 13}"))
        assert found == [f"star {number}"], f"row {number} is {found}"

    def cone(self, web: httpx.Client, dice: random.Random) -> None:
        centre, radius = dice.randrange(self.rows), dice.choice([0.02, 0.1, 0.3])
        ra, dec = float(self.ra[centre]), float(self.dec[centre])
        adql = f"SELECT id FROM s.fixed WHERE 1 = CONTAINS(POINT(ra, dec), CIRCLE({ra!r}, {dec!r}, {radius}))"
        found = {int(v) for v in self.values(self.ask(web, adql))}
        expected = set(self.ids[self._near(ra, dec, radius)].tolist())
        assert found == expected, f"a cone at {ra}, {dec} of {radius} has {len(found)} rows instead of {len(expected)}"

    def _near(self, ra: float, dec: float, radius_deg: float) -> np.ndarray:
        chord = 2 * np.sin(np.radians(radius_deg) / 2)
        return np.linalg.norm(self.vectors - _vectors(np.array([ra]), np.array([dec])), axis=1) <= chord

    def scan(self, web: httpx.Client, dice: random.Random) -> None:
        limit = dice.choice([18.0, 20.5, 23.25])
        found = self.values(self.ask(web, f"SELECT COUNT(*) AS n, SUM(edition) AS e FROM s.fixed WHERE mag < {limit}"))
        expected = int((self.mag < limit).sum())
        assert found == [f"{expected},{expected * 5}"], f"the scan gives {found} instead of {expected}"

    def match(self, web: httpx.Client, _dice: random.Random) -> None:
        adql = (
            "SELECT COUNT(*) AS n FROM s.fixed AS a JOIN s.shifted AS b "
            "ON DISTANCE(POINT(a.ra, a.dec), POINT(b.ra, b.dec)) < 0.5/3600 WHERE a.id = b.id"
        )
        found = self.values(self.ask(web, adql))
        assert found == [str(self.rows)], f"the match gives {found} instead of {self.rows}"

    def export(self, web: httpx.Client, dice: random.Random) -> None:
        form = dice.choice(["csv", "parquet", "votable", "fits"])
        body = self.ask(web, "SELECT * FROM s.fixed", form).content
        if form == "csv":
            assert body.count(b"\n") == self.rows + 1
        elif form == "parquet":
            assert pq.read_metadata(io.BytesIO(body)).num_rows == self.rows
        elif form == "votable":
            assert body.rstrip().endswith(b"</VOTABLE>"), body[-100:]
        else:
            assert f"NAXIS2  = {self.rows:20d}".encode() in body

    def upload(self, web: httpx.Client, dice: random.Random) -> None:
        chosen = np.array(dice.sample(range(self.rows), 500))
        sink = io.BytesIO()
        pq.write_table(pa.table({"ra": self.ra[chosen], "dec": self.dec[chosen], "wanted": self.ids[chosen]}), sink)
        adql = (
            "SELECT COUNT(*) AS n FROM TAP_UPLOAD.mine AS u JOIN s.fixed AS f "
            "ON DISTANCE(POINT(f.ra, f.dec), POINT(u.ra, u.dec)) < 0.1/3600 WHERE f.id = u.wanted"
        )
        files = {"t": ("t.parquet", sink.getvalue())}
        found = self.values(self.ask(web, adql, data={"UPLOAD": "mine,param:t"}, files=files))
        assert found == ["500"], f"of 500 uploaded positions {found} are found"

    def job(self, web: httpx.Client, _dice: random.Random) -> None:
        data = {"PHASE": "RUN"}
        url = self.ask(web, "SELECT id, name FROM s.fixed WHERE mag < 20", path="async", data=data).headers["location"]
        phase = ""
        while phase not in ("COMPLETED", "ERROR", "ABORTED"):
            answer = web.get(f"{url}/phase", params={"WAIT": "30"})
            phase = answer.text
            assert answer.status_code == 200, f"{answer.status_code} for a phase"
        assert phase == "COMPLETED", f"{phase}: {web.get(f'{url}/error').text[-300:]}"
        body = web.get(f"{url}/results/result", follow_redirects=True).content
        assert body.count(b"\n") == int((self.mag < 20).sum()) + 1
        assert web.delete(url).status_code == 303

    def leaver(self, web: httpx.Client, dice: random.Random) -> None:
        """Goes away in the middle of a long answer, or before it has begun."""
        data = {
            "LANG": "ADQL",
            "QUERY": "SELECT a.*, b.name AS other FROM s.fixed AS a, s.few AS b",
            "RESPONSEFORMAT": "votable/td",
        }
        try:
            with web.stream(
                "POST", f"{self.process.url}/api/tap/sync", data=data, timeout=dice.uniform(0.2, 20)
            ) as answer:
                if answer.status_code == 503:
                    raise Refused
                wanted = dice.choice([0, 100_000, 20_000_000])
                for piece in answer.iter_raw():
                    wanted -= len(piece)
                    if wanted <= 0 or self.stop.is_set():
                        return
        except httpx.TimeoutException:
            return

    def slow(self, web: httpx.Client, _dice: random.Random) -> None:
        """Reads a long answer at 200 kB/s for half a minute."""
        data = {
            "LANG": "ADQL",
            "QUERY": "SELECT a.*, b.name AS other FROM s.fixed AS a, s.few AS b",
            "RESPONSEFORMAT": "csv",
        }
        with web.stream("POST", f"{self.process.url}/api/tap/sync", data=data) as answer:
            if answer.status_code == 503:
                raise Refused
            end = time.monotonic() + 30
            for piece in answer.iter_raw(65536):
                if time.monotonic() > end or self.stop.wait(len(piece) / 200_000):
                    return


def _vectors(ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    a, d = np.radians(ra), np.radians(dec)
    return np.column_stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)])


class Load:
    """A centre, its clients, and what is looked at meanwhile."""

    def __init__(self, folder: Path, rows: int, seed: int, memory_gib: float) -> None:
        self.seed, self.rows = seed, rows
        changes = {
            "engine": {"memory_gib": memory_gib, "kept_gib": 0.25, "max_queued": 60, "max_queued_per_owner": 60},
            "catalogs": {"ingest": {"rows_per_file": 200_000, "row_group_rows": 20_480}, "refresh_s": 1.0},
            "jobs": {"lease_s": 30, "poll_s": 0.4},
        }
        self.centre = Centre(folder, merged(SETTINGS, changes))
        self.process = Process(self.centre, "up", "query,jobs")
        self.bound = int((memory_gib * 1.125 + 0.25) * 2**30) + OVERHEAD_BYTES
        self.measured = Measured()
        self.samples: list[Sample] = []
        self.begun = 0.0

    def prepare(self) -> Clients:
        sources = self.centre.folder / "sources"
        sources.mkdir()
        table = write_stars(sources / "fixed.parquet", self.rows, 4, 5)
        dec = np.clip(table.column("dec").to_numpy() + 0.1 / 3600, -90, 90)
        pq.write_table(table.set_column(2, "dec", pa.array(dec)), sources / "shifted.parquet")
        write_stars(sources / "few.parquet", 20, 6)
        for name in ("fixed", "shifted", "few"):
            self.centre.idac("catalog", "add", str(sources / f"{name}.parquet"), "--name", f"s.{name}", "--id", "id")
        self.process.start()
        return Clients(self.centre, self.process, table, self.measured)

    def alone(self, clients: Clients) -> dict[str, float]:
        """Seconds that each kind takes when it has the machine to itself."""
        found = {}
        dice = random.Random(self.seed)
        with client(600) as web:
            for kind in ("top", "lookup", "cone", "scan", "match", "export", "upload", "job"):
                clients.kinds[kind](web, dice)
                begun = time.monotonic()
                clients.kinds[kind](web, dice)
                found[kind] = time.monotonic() - begun
        return found

    def run(self, clients: Clients, seconds: float, factor: float) -> dict[str, int]:
        """Start the clients; gives how many of each kind."""
        cores = os.cpu_count() or 1
        # Each heavy client keeps about one processor busy: twice the machine's, and the others come on top.
        heavy = max(1, round(factor * cores / 4))
        counts = {kind: heavy for kind in ("scan", "match", "export", "upload", "job")}  # noqa: C420
        counts |= {"top": 2 * cores, "lookup": 2 * cores, "cone": 2 * cores, "leaver": cores, "slow": cores}
        threads = [
            threading.Thread(target=clients.go_on, args=(kind, random.Random(f"{self.seed} {kind} {i}")))
            for kind, count in counts.items()
            for i in range(count)
        ]
        self.begun = time.monotonic()
        for thread in threads:
            thread.start()
        while time.monotonic() - self.begun < seconds and self.process.alive:
            time.sleep(min(2.0, seconds / 20))
            self.look()
        clients.stop.set()
        for thread in threads:
            thread.join()
        return counts

    def look(self) -> None:
        assert self.centre.temporary is not None
        files = [
            p for top in (self.centre.temporary, self.centre.folder / "spill") for p in top.rglob("*") if p.is_file()
        ]
        size = 0
        for path in files:
            try:
                size += path.stat().st_size
            except FileNotFoundError:
                continue
        threads, descriptors = threads_and_files(self.process.pid)
        at = time.monotonic() - self.begun
        self.samples.append(Sample(at, rss_bytes(self.process.pid), threads, descriptors, len(files), size))

    def settle(self, idle: Sample) -> Sample:
        """What is left a little after the last client has gone."""

        def settled() -> bool:
            self.look()
            last = self.samples[-1]
            return last.files <= idle.files + 10 and last.temporary_files <= idle.temporary_files + 2

        try:
            until(settled, 45, "everything is given back")
        except TimeoutError:
            self.measured.find(f"not given back after the load: {self.samples[-1]}, before it {idle}")
        return self.samples[-1]

    def judge(self, idle: Sample, settled: Sample, small_s: float) -> None:
        measured = self.measured
        if not self.process.alive:
            measured.find("the service died")
        for kind in SMALL:
            p99 = percentile(measured.seconds[kind], 99)
            if p99 > small_s:
                measured.find(f"{kind}: p99 is {p99:.2f} s, the bound {small_s:g} s")
        peak = max(s.rss_bytes for s in self.samples)
        if peak > self.bound:
            measured.find(f"memory: {peak / 2**20:.0f} MiB, the bound {self.bound / 2**20:.0f}")
        if settled.threads > idle.threads + 40:
            measured.find(f"threads: {settled.threads} are left, {idle.threads} were there before")
        growth = _growth([s for s in self.samples if s.at_s > self.samples[-1].at_s * 0.4])
        if growth > 0.25:
            measured.find(f"memory grew by {growth:.0%} from the middle of the run to its end")
        for fault in self.centre.faults():
            measured.find(fault)


def _growth(samples: list[Sample]) -> float:
    """By which part the memory of the last third is above that of the first."""
    third = len(samples) // 3
    if third < 5:
        return 0.0
    first, last = (float(np.median([s.rss_bytes for s in part])) for part in (samples[:third], samples[-third:]))
    return last / first - 1


def percentile(values: list[float], percent: float) -> float:
    return float(np.percentile(values, percent)) if values else float("nan")


def table(load: Load, counts: dict[str, int], alone: dict[str, float]) -> list[dict[str, Any]]:
    lines = []
    for kind, number in counts.items():
        seconds = load.measured.seconds[kind]
        lines.append({
            "kind": kind, "clients": number, "answers": len(seconds), "refused": load.measured.refused[kind],
            "alone_s": alone.get(kind), **{f"p{p}_s": percentile(seconds, p) for p in (50, 95, 99)},
        })  # fmt: skip
    return lines


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="survival load", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--factor", type=float, default=2.0, help="times the machine's capacity (default: 2)")
    parser.add_argument("--memory-gib", type=float, default=2.0, help="engine.memory_gib of the centre (default: 2)")
    parser.add_argument("--small-s", type=float, default=1.0, help="bound of p99 of small queries (default: 1)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="keep the centre here (default: a temporary folder, removed)")
    parser.add_argument(
        "--json", type=Path, default=ROOT / "bench/results/load.json", help="write what was measured here"
    )
    options = parser.parse_args(arguments)
    folder = options.folder or Path(tempfile.mkdtemp(prefix="survival-"))
    load = Load(folder, options.rows, options.seed, options.memory_gib)
    others = os.getloadavg()[0]
    try:
        clients = load.prepare()
        alone = load.alone(clients)
        load.look()
        idle = load.samples.pop()
        counts = load.run(clients, options.seconds, options.factor)
        settled = load.settle(idle) if load.process.alive else idle
        load.judge(idle, settled, options.small_s)
    finally:
        if load.process.alive:
            load.process.kill()
    lines = table(load, counts, alone)
    report(load, lines, idle, settled, options, others)
    if options.folder is None and not load.measured.wrong:
        shutil.rmtree(folder, ignore_errors=True)
    elif load.measured.wrong:
        print(f"the centre is kept in {folder}", file=sys.stderr)
    return 1 if load.measured.wrong else 0


def report(
    load: Load, lines: list[dict[str, Any]], idle: Sample, settled: Sample, options: argparse.Namespace, others: float
) -> None:
    print(
        f"{'kind':10s} {'clients':>7s} {'answers':>8s} {'refused':>8s} {'alone':>8s} {'p50':>8s} {'p95':>8s} {'p99':>8s}"
    )
    for line in lines:
        times = [line["alone_s"], line["p50_s"], line["p95_s"], line["p99_s"]]
        shown = " ".join(f"{'–' if t is None else f'{t:.3f}':>8s}" for t in times)
        print(f"{line['kind']:10s} {line['clients']:7d} {line['answers']:8d} {line['refused']:8d} {shown}")
    peak = max(s.rss_bytes for s in load.samples)
    print(
        f"memory: {idle.rss_bytes / 2**20:.0f} MiB idle, {peak / 2**20:.0f} at most, {load.bound / 2**20:.0f} allowed"
    )
    print(f"threads: {idle.threads} before, {max(s.threads for s in load.samples)} at most, {settled.threads} after")
    print(f"files: {idle.files} before, {max(s.files for s in load.samples)} at most, {settled.files} after")
    print(f"temporary files: {max(s.temporary_files for s in load.samples)} at most, {settled.temporary_files} after")
    print(f"other work on this machine at the start: load {others:.1f} on {os.cpu_count()} processors")
    print(f"{options.seconds:g} s: {len(load.measured.wrong)} findings")
    every = max(1, len(load.samples) // 200)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "seconds": options.seconds, "rows": options.rows, "seed": options.seed, "factor": options.factor,
        "memory_gib": options.memory_gib, "processors": os.cpu_count(), "load_of_others": others,
        "kinds": lines, "bound_bytes": load.bound, "idle": vars(idle), "settled": vars(settled),
        "samples": [vars(s) for s in load.samples[::every]], "wrong": load.measured.wrong,
    }  # fmt: skip
    options.json.write_text(json.dumps(document, indent=1))
