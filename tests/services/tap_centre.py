"""A whole TAP service over an archive, behind a real server: state database, workers, uploads, results."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from idac.core.rights import PUBLIC, ReadRule, RightsPolicy
from idac.core.store import FolderStore
from idac.jobs.model import Phase
from idac.jobs.routes_uws import UwsRoutes
from idac.jobs.service import JobService
from idac.jobs.settings import JobsSettings
from idac.jobs.store import JobStore
from idac.jobs.watch import PhaseWatch
from idac.jobs.workers import Workers
from idac.query.adql.compiler import QueryCompiler
from idac.query.engines.base import Engine
from idac.query.engines.duckdb.engine import DuckDBEngine
from idac.query.engines.duckdb.settings import DuckDBSettings
from idac.query.fetching import UriFetcher
from idac.query.routes_cone import ConeRoutes
from idac.query.routes_tap import TapRoutes
from idac.query.service import QueryService, SnapshotSource
from idac.query.settings import QuerySettings, UploadSettings
from idac.query.tap_jobs import TapJobs
from idac.query.uploads import Uploads
from idac.web.app import build_app
from idac.web.context import WebContext
from idac.web.routes_health import HealthRoutes
from idac.web.settings import ServerSettings
from services.http_server import serving
from state_fixture import state_in

JOBS = JobsSettings(workers=2, poll_s=0.05)
QUERY = QuerySettings(uploads=UploadSettings(allow_hosts=("127.0.0.1",)))
OPEN_TO_ALL = RightsPolicy({}, ReadRule.of([PUBLIC]))


@dataclass(frozen=True)
class Centre:
    url: str
    service: QueryService
    jobs: JobStore
    spool: Path
    results: FolderStore

    @property
    def tap(self) -> str:
        return f"{self.url}/api/tap"


@contextmanager
def duckdb_engine(folder: Path) -> Iterator[DuckDBEngine]:
    """The real engine, small, with its scratch under *folder*."""
    settings = DuckDBSettings(memory_gib=1, threads=2, interactive_places=2, heavy_places=1)
    engine = DuckDBEngine(settings, folder / "engine", readable=[str(folder)])
    try:
        yield engine
    finally:
        engine.close()


@contextmanager
def serving_tap(
    folder: Path,
    archive: SnapshotSource,
    engine: Engine,
    *,
    rights: RightsPolicy = OPEN_TO_ALL,
    query: QuerySettings = QUERY,
    server: ServerSettings | None = None,
) -> Iterator[Centre]:
    """TAP and cone search over *archive* at a free port."""
    web = WebContext(server or ServerSettings(), folder / "spool")
    store = JobStore(state_in(folder, "jobs.db"))
    results = FolderStore(folder / "results")
    service = QueryService(archive, engine, QueryCompiler(rights), query)
    uploads = Uploads(query.uploads, UriFetcher(query.uploads), folder / "spool")
    kind = TapJobs(service, uploads, results)

    async def read_phases(ids: Collection[str]) -> Mapping[str, Phase]:
        return await web.in_thread(lambda: store.phases(ids))

    watch = PhaseWatch(read_phases, JOBS.poll_s)
    workers = Workers(store, results, {"tap": kind}, JOBS, watch.look)
    jobs = JobService(store, results, JOBS, workers.wake)
    uws = UwsRoutes("/api/tap/async", kind, jobs, watch, web)
    routes = [
        *TapRoutes(service, uploads, uws, web, JOBS).routes(),
        *ConeRoutes(service, web).routes(),
        *HealthRoutes({"archive": archive.snapshot}, web).routes(),
    ]

    workers.start()
    try:
        with serving(build_app(routes)) as url:
            yield Centre(url, service, store, folder / "spool", results)
    finally:
        workers.stop()
