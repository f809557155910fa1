"""The parts of a centre joined into one ASGI application, with the order in which they start and stop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.applications import Starlette

from idac.catalogs.archive import Archive
from idac.core.database import Database
from idac.core.lazy import load_in_background
from idac.core.loading import Loaded
from idac.core.principal import Principal
from idac.core.quota import UNLIMITED, Quota
from idac.core.scratch import Scratch, open_scratch
from idac.core.secrets import open_secrets
from idac.core.store import Store
from idac.jobs.model import Phase
from idac.jobs.routes_uws import UwsRoutes
from idac.jobs.service import JobService
from idac.jobs.store import JobStore
from idac.jobs.watch import PhaseWatch
from idac.jobs.workers import Workers
from idac.query.adql.compiler import QueryCompiler
from idac.query.engines.base import Engine
from idac.query.fetching import UriFetcher
from idac.query.routes_cone import ConeRoutes
from idac.query.routes_front import FrontRoutes, no_pages
from idac.query.routes_tap import TapRoutes
from idac.query.service import QueryService
from idac.query.tap_jobs import JOBS_PATH, TapJobs
from idac.query.turns import Turns
from idac.query.uploads import Uploads
from idac.web.app import Lifespan, build_app
from idac.web.context import WebContext
from idac.web.routes import PolicyRoute
from idac.web.routes_health import HealthRoutes
from idac.wiring.build import open_archive, open_results
from idac.wiring.engine import open_engine
from idac.wiring.published_groups import PublishedGroups
from idac.wiring.settings import DacSettings
from idac.wiring.state import open_current_state

if TYPE_CHECKING:
    from idac.wiring.identity import Identity


@dataclass(frozen=True)
class Centre:
    """Everything one process runs, and the order to close it in."""

    app: Starlette
    archive: Archive
    queries: QueryService
    identity: Identity | None


@dataclass(frozen=True)
class _Kept:
    """What outlives a request, opened once."""

    database: Database
    archive: Archive
    results: Store
    engine: Engine


@dataclass(frozen=True)
class _Jobs:
    """Jobs as this process has them: kept, watched, and run where it has workers."""

    kind: TapJobs
    store: JobStore
    watch: PhaseWatch
    workers: Workers | None

    def wake(self) -> None:
        """Something about a job was changed by a request to this process."""
        if self.workers is not None:
            self.workers.wake()
        self.watch.look()


def build_centre(loaded: Loaded[DacSettings]) -> Centre:
    """One process's share of the centre, as ``parts`` says. Nothing is started before the application's lifespan."""
    with ExitStack() as on_failure:
        owned = open_scratch(None, "idac-up")
        on_failure.callback(owned.close)
        centre = _build(loaded, owned)
        on_failure.pop_all()
    return centre


def _build(loaded: Loaded[DacSettings], owned: Scratch) -> Centre:
    settings, scratch = loaded.settings, owned.path
    database = open_current_state(loaded)
    archive = open_archive(loaded, database)
    kept = _Kept(database, archive, open_results(loaded), open_engine(loaded, scratch))
    web = WebContext(settings.server, scratch / "requests")
    store = JobStore(database)
    identity = None
    if settings.identity.enabled:
        # Signatures and providers' protocols are a good part of what a service imports.
        from idac.wiring.identity import open_identity  # noqa: PLC0415

        secrets = open_secrets(settings.secrets, loaded.folder)
        identity = open_identity(settings, database, web, secrets, store.use, PublishedGroups(archive))
    watch = identity.watch if identity is not None else None
    compiler = QueryCompiler(settings.read_policy())
    queries = QueryService(
        archive,
        kept.engine,
        compiler,
        settings.query,
        scratch,
        watch,
        settings.centre.origin(),
        Turns(settings.server.processes),
        _quota_of(identity),
    )
    uploads = Uploads(settings.query.uploads, UriFetcher(settings.query.uploads), scratch / "uploads")
    jobs = _jobs(settings, kept, store, TapJobs(queries, uploads, kept.results), web, identity)
    routes = _routes(settings, kept, queries, uploads, jobs, web, identity)
    if identity is not None and "query" in settings.parts:
        routes += identity.routes
    app = build_app(
        routes,
        gate=identity.gate if identity is not None else None,
        lifespan=_lifespan(kept, jobs.workers, identity, owned),
    )
    return Centre(app, archive, queries, identity)


def _quota_of(identity: Identity | None) -> Callable[[Principal], Quota]:
    return identity.quotas.quotas.of if identity is not None else lambda _: UNLIMITED


def _jobs(
    settings: DacSettings, kept: _Kept, store: JobStore, kind: TapJobs, web: WebContext, identity: Identity | None
) -> _Jobs:
    async def read_phases(ids: Collection[str]) -> Mapping[str, Phase]:
        return await web.in_state_thread(lambda: store.phases(ids))

    watch = PhaseWatch(read_phases, settings.jobs.poll_s)
    runs = "jobs" in settings.parts
    runner = identity.with_owners_rights(kind) if identity is not None else kind
    quota_of = identity.quotas.of_owner if identity is not None else None
    workers = Workers(store, kept.results, {kind.name: runner}, settings.jobs, watch.look, quota_of) if runs else None
    return _Jobs(kind, store, watch, workers)


def _routes(
    settings: DacSettings,
    kept: _Kept,
    queries: QueryService,
    uploads: Uploads,
    jobs: _Jobs,
    web: WebContext,
    identity: Identity | None,
) -> list[PolicyRoute]:
    checks: Mapping[str, Callable[[], object]] = {
        "archive": kept.archive.snapshot,
        "state": lambda: jobs.store.phases(()),
    }
    health = HealthRoutes(checks, web).routes()
    if "query" not in settings.parts:
        return health
    service = JobService(jobs.store, kept.results, settings.jobs, jobs.wake, _quota_of(identity))
    uws = UwsRoutes(JOBS_PATH, jobs.kind, service, jobs.watch, web, scope="read:tap", service_name="tap")
    tap = TapRoutes(queries, uploads, uws, web, settings.jobs, title=settings.centre.title)
    front = FrontRoutes(
        queries,
        web,
        title=settings.centre.title,
        run_by=(settings.centre.publisher, settings.centre.contact_email),
        own_pages=identity.own_pages if identity is not None else no_pages,
    )
    return [*front.routes(), *tap.routes(), *ConeRoutes(queries, web).routes(), *health]


def _lifespan(kept: _Kept, workers: Workers | None, identity: Identity | None, scratch: Scratch) -> Lifespan:
    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        if identity is not None:
            identity.start()
        if workers is not None:
            workers.start()
        load_in_background()
        try:
            yield
        finally:
            # Workers first: they give their jobs back to the queue, for which they need everything else.
            if workers is not None:
                workers.stop()
            if identity is not None:
                identity.stop()
            kept.engine.close()
            kept.database.close()
            scratch.close()

    return lifespan
