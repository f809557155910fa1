"""A run from nothing to its results: data, peers, questions, load, ingest, memory."""

from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import fmean

from bench.peers import extras
from bench.peers.bare import BarePostgres
from bench.peers.centre import IdacCentre, hats_folder
from bench.peers.client import TapClient
from bench.peers.dachs import DATABASE, Dachs
from bench.peers.data import Files, make_data
from bench.peers.load import Burst, bare_burst, burst
from bench.peers.lsdb_files import LsdbFiles
from bench.peers.measure import Measurement, Peer, ServicePeer
from bench.peers.postgres import Cluster, make_cluster, running_cluster
from bench.peers.processes import Service, check_reachable, ended_by_signals
from bench.peers.queries import cone_queries, pgsphere_cones, table_rows, whole_table
from bench.peers.results import Figure, ResultRow, Results, to_json
from bench.peers.sizes import Sizes, as_json

type Say = Callable[[str], None]

_PIECE_BYTES = 16 << 20


@dataclass
class Session:
    """What one run has at hand; its folder keeps data and loaded tables for the next."""

    folder: Path
    sizes: Sizes
    say: Say
    files: Files
    cluster: Cluster
    dachs: Dachs
    centre: IdacCentre
    rows: list[ResultRow] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, row: ResultRow) -> None:
        self.rows.append(row)


@contextmanager
def prepared(run_folder: Path, sizes: Sizes, say: Say) -> Iterator[Session]:
    """Everything made and loaded, and PostgreSQL running, until it is left."""
    folder = (run_folder / f"{sizes.rows}x{sizes.match_rows}").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    check_reachable(folder)
    log = folder / "log.txt"
    say(f"Data and servers are in {folder}; what they say is in {log.name}.")
    files = make_data(folder / "data", sizes)
    make_cluster(folder / "postgres", log)
    with ended_by_signals(), running_cluster(folder / "postgres", log) as cluster:
        dachs = Dachs(folder / "dachs", cluster, log)
        say("Loading DaCHS (kept for the next run) …")
        dachs.prepare(files)
        centre = IdacCentre(folder / "idac", log)
        say("Loading idac (kept for the next run) …")
        centre.prepare(files)
        yield Session(folder, sizes, say, files, cluster, dachs, centre)


def run_all(session: Session, skip: frozenset[str]) -> Results:
    """Measure everything but the parts in *skip*, and give the results; what is there is kept after each part."""
    begun = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    session.notes.append(f"Load average of the machine when the run began: {os.getloadavg()[0]:.1f}.")

    def results() -> Results:
        return Results(session.rows, as_json(session.sizes), machine(), versions(session), begun, tuple(session.notes))

    def part(name: str, measure: Callable[[], None]) -> None:
        if name not in skip:
            measure()
            (session.folder / "unfinished.json").write_text(to_json(results()), encoding="utf-8")

    with ExitStack() as stack:
        services = {"idac": stack.enter_context(session.centre.running())}
        services["DaCHS"] = stack.enter_context(session.dachs.running())
        urls = {"idac": session.centre.url, "DaCHS": session.dachs.url}
        for name, service in services.items():
            extras.seconds_to_first_answer(service, urls[name])
        part("queries", lambda: _measure_queries(session, urls, services))
        part("load", lambda: _measure_load(session, urls))
        part("pyvo", lambda: _measure_pyvo(session, urls))
    part("ingest", lambda: _measure_ingest(session))
    part("memory", lambda: _measure_memory(session))
    part("planning", lambda: _measure_planning(session))
    return results()


def _measure_queries(session: Session, urls: Mapping[str, str], services: Mapping[str, Service]) -> None:
    sizes = session.sizes
    rows = table_rows(sizes, session.files)
    cluster = session.cluster
    used = {
        "idac": services["idac"].processor_seconds,
        # DaCHS's queries are PostgreSQL's work, and nobody else has it work meanwhile.
        "DaCHS": lambda: services["DaCHS"].processor_seconds() + cluster.processor_seconds(),
    }
    peers: dict[str, Peer] = {name: ServicePeer(name, TapClient(url), used[name]) for name, url in urls.items()}
    peers["PostgreSQL q3c"] = BarePostgres(session.cluster, "q3c")
    peers["PostgreSQL pgSphere"] = BarePostgres(session.cluster, "pgsphere")
    peers["LSDB"] = LsdbFiles(*(hats_folder(session.centre, table) for table in ("survey", "positions")))
    measurement = Measurement(rows, peers, sizes.small_repeats)
    measurement.run(sizes.rounds, session.say)
    for row in rows:
        samples = measurement.samples[row.key]
        figures = {name: Figure(tuple(found)) for name, found in samples.items()}
        answer, cpu = measurement.answers[row.key], measurement.client_cpu[row.key]["idac"]
        note = f"the client's own processor time: {1000 * Figure(tuple(cpu)).median:.2f} ms"
        # The mean, since the kernel counts in steps of 10 ms.
        work = {name: fmean(found) for name, found in measurement.service_cpu[row.key].items()}
        if row.kind == "also" and row.rows_each:
            rates = {n: Figure(tuple(row.rows_each / s for s in f.samples)) for n, f in figures.items()}
            found = ResultRow(
                row.key, row.title, "rows/s", rates, limit=1e6, answer=answer, kind="also", note=note, processor_s=work
            )
        else:
            found = ResultRow(
                row.key, row.title, "s", figures, bar=row.bar, answer=answer, kind=row.kind, note=note, processor_s=work
            )
        session.add(found)


def _measure_load(session: Session, urls: Mapping[str, str]) -> None:
    """Many clients at once: idac by a process for each processor, DaCHS, and idac by its default, in turns."""
    sizes = session.sizes
    queries = cone_queries(400)
    cores = os.cpu_count() or 1
    # A centre of its own, over the same files: the one with defaults goes on running beside it, and idles.
    many = IdacCentre(session.folder / "idac", session.folder / "log.txt", name="idac-processes")
    bursts: dict[str, list[Burst]] = {"many": [], **{name: [] for name in urls}}
    bare: list[float] = []
    with many.running(cores) as service:
        extras.seconds_to_first_answer(service, many.url)
        for number in range(4):
            for name, url in {"many": many.url, **urls}.items():
                session.say(f"{sizes.clients} clients at {_of_many(name, cores)}, burst {number} of 3")
                found = burst(url, queries, sizes.clients, sizes.load_seconds if number else 3)
                if number:
                    bursts[name].append(found)
            if number:
                dsn = session.cluster.dsn(DATABASE)
                bare.append(bare_burst(dsn, pgsphere_cones(100), sizes.clients, sizes.load_seconds))
    many.configure()
    rate = {name: Figure(tuple(b.per_second for b in found)) for name, found in bursts.items()}
    tail = {name: Figure(tuple(b.p95_s for b in found)) for name, found in bursts.items()}
    share = max(b.client_cpu_share for b in bursts["many"])
    note = f"idac by server.processes: {cores}; wrk kept at most {share:.2f} of {cores} processors busy"
    title = f"{sizes.clients} clients, 1′ cones"
    rates = {"idac": rate["many"], "DaCHS": rate["DaCHS"], "PostgreSQL pgSphere": Figure(tuple(bare))}
    session.add(ResultRow("clients", f"{title}, a process for each processor", "req/s", rates, bar=40, note=note))
    tails = {"idac": tail["many"], "DaCHS": tail["DaCHS"]}
    session.add(ResultRow("clients_p95", f"{title}: 95th percentile of one", "s", tails, kind="also"))
    rates = {name: rate[name] for name in urls}
    session.add(ResultRow("clients_default", f"{title}, processes by default", "req/s", rates, kind="also"))


def _of_many(name: str, cores: int) -> str:
    return f"idac, {cores} processes" if name == "many" else name


def _measure_pyvo(session: Session, urls: Mapping[str, str]) -> None:
    rows = session.sizes.pyvo_rows
    found: dict[str, list[float]] = {name: [] for name in urls}
    parquet: list[float] = []
    for number in range(4 if rows <= 100_000 else 3):
        session.say(f"pyvo, {rows:,} rows, round {number}")
        for name, url in urls.items():
            seconds = extras.pyvo_seconds(url, rows)
            if number:
                found[name].append(seconds)
        seconds = extras.parquet_seconds(urls["idac"], rows)
        if number:
            parquet.append(seconds)
    figures = {name: Figure(tuple(samples)) for name, samples in found.items()}
    session.add(ResultRow("pyvo", f"pyvo, {rows:,} rows × 10, default format", "s", figures, kind="also"))
    by_parquet = {"idac": Figure(tuple(parquet)), "DaCHS": figures["DaCHS"]}
    note = "DaCHS has no Parquet; its figure is that of its default format"
    session.add(
        ResultRow("pyvo_parquet", f"the same {rows:,} rows by Parquet", "s", by_parquet, kind="also", note=note)
    )


def _measure_ingest(session: Session) -> None:
    files, sizes = session.files, session.sizes
    ours, theirs = [], []
    for number in range(sizes.ingest_rounds):
        session.say(f"Ingest of {sizes.rows:,} rows from CSV, {number + 1} of {sizes.ingest_rounds}: idac")
        centre = IdacCentre(session.folder / "ingest", session.folder / "log.txt")
        centre.clear()
        centre.configure()
        _settle(session)
        ours.append(centre.load("survey", files.survey_csv, "source_id"))
        centre.clear()
        session.say(f"Ingest of {sizes.rows:,} rows from CSV, {number + 1} of {sizes.ingest_rounds}: DaCHS")
        ids = ("object_id", "source_id")
        _settle(session)
        theirs.append(session.dachs.load("ingested", files.survey_parquet, files.survey_csv, ids))
        session.dachs.drop("ingested")
    figures = {"idac": Figure(tuple(ours)), "DaCHS": Figure(tuple(theirs))}
    note = "from the command to the prompt: read, sorted on the sky, indexed on position and ids"
    session.add(ResultRow("ingest", f"ingest {sizes.rows:,} rows from CSV", "s", figures, bar=8, note=note))


def _settle(session: Session) -> None:
    """Begin alike: the source in the page cache, and what came before written, which else the next one waits for."""
    with session.cluster.connect(DATABASE) as connection:
        connection.execute("CHECKPOINT")
    os.sync()
    with session.files.survey_csv.open("rb", buffering=0) as source:
        while source.read(_PIECE_BYTES):
            pass


def _measure_memory(session: Session) -> None:
    """Start-up, idle memory, and one result of the whole table, each with a fresh process."""
    starts: dict[str, list[float]] = {"idac": [], "DaCHS": []}
    idle: dict[str, list[float]] = {"idac": [], "DaCHS": []}
    peak: dict[str, list[float]] = {"idac": [], "DaCHS": []}
    first: dict[str, list[float]] = {"idac": [], "DaCHS": []}
    whole: dict[str, list[float]] = {"idac": [], "DaCHS": []}
    for name, times in (("idac", 3), ("DaCHS", 1)):
        for _ in range(times):
            running = session.centre.running() if name == "idac" else session.dachs.running()
            with running as service:
                url = session.centre.url if name == "idac" else session.dachs.url
                starts[name].append(extras.seconds_to_first_answer(service, url))
                idle[name].append(extras.memory_mb(service))
                session.say(f"The whole table as one result: {name}")
                _whole_result(session, service, url, first[name], whole[name], peak[name], idle[name][-1])
    rows = session.sizes.rows
    for key, title, unit, found, limit in (
        ("first_byte", f"first byte of a result of {rows:,} rows", "s", first, 0.3),
        ("whole_result", f"all of it, {rows:,} × 10 in BINARY2", "s", whole, None),
        ("peak_memory", "memory for it above idle", "MB", peak, 600.0),
        ("start", "start to first answer", "s", starts, 2.0),
        ("idle_memory", "memory when idle", "MB", idle, 300.0),
    ):
        figures = {name: Figure(tuple(samples)) for name, samples in found.items()}
        note = "PostgreSQL's own processes are not counted for DaCHS" if unit == "MB" else ""
        session.add(ResultRow(key, title, unit, figures, limit=limit, kind="also", note=note))  # type: ignore[arg-type]


def _whole_result(
    session: Session,
    service: Service,
    url: str,
    first: list[float],
    whole: list[float],
    peak: list[float],
    idle: float,
) -> None:
    client = TapClient(url)
    watch = extras.PeakMemory(service)
    answer = client.ask(whole_table(), "binary2", session.sizes.rows, keep=False)
    peak.append(watch.mb() - idle)
    first.append(answer.first_byte_s)
    whole.append(answer.seconds)
    client.close()


def _measure_planning(session: Session) -> None:
    times = session.centre.planning_seconds(cone_queries(220))
    figure = {"idac": Figure(tuple(times[20:]))}
    title = "parse, check and plan of a cone"
    session.add(ResultRow("planning", title, "s", figure, limit=0.003, kind="also"))


# -- circumstances ---------------------------------------------------------------------------------------------------


def machine() -> dict[str, object]:
    """What decides how fast anything is here. Two runs on one machine have this the same."""
    names = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count() or 1,
        "memory_gib": round(memory / 2**30),
        "system": _debian() or platform.platform(),
    }


def _debian() -> str:
    found = re.search(r'PRETTY_NAME="(.*)"', Path("/etc/os-release").read_text())
    return found[1] if found else ""


def versions(session: Session) -> dict[str, str]:
    """Versions of everything that was measured."""
    with session.cluster.connect(DATABASE) as connection:
        postgres = connection.execute("SHOW server_version").fetchone()
        extensions = connection.execute("SELECT extname, extversion FROM pg_extension").fetchall()
    found = {"idac": f"{version('idac')} ({_commit()})", "DaCHS": _debian_version("python3-gavo")}
    found["PostgreSQL"] = str(postgres[0]) if postgres else ""
    found |= {str(name): str(number) for name, number in extensions if name in ("q3c", "pg_sphere")}
    found |= {name: version(name) for name in ("duckdb", "pyarrow", "lsdb", "pyvo", "astropy")}
    return found | {"Python": platform.python_version()}


def _commit() -> str:
    folder = Path(__file__).parent
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=folder, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "no repository"


def _debian_version(package: str) -> str:
    command = ["dpkg-query", "-W", "-f", "${Version}", package]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout or "not from Debian"
