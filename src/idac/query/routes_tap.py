"""TAP 1.1 over HTTP: sync, async, tables, capabilities, availability, examples."""

from __future__ import annotations

import secrets
import shutil
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from idac.catalogs.snapshot import CatalogSnapshot
from idac.core.errors import NotFound, UserError
from idac.core.principal import Principal
from idac.jobs.routes_uws import UwsRoutes
from idac.jobs.settings import JobsSettings
from idac.query.capabilities import tap_capabilities
from idac.query.examples import Example, examples_of, examples_page
from idac.query.service import QueryRequest, QueryService
from idac.query.tap_jobs import result_infos
from idac.query.tap_request import TapRequest, parse_tap_request
from idac.query.uploads import Uploads
from idac.tables.model import Table
from idac.tables.names import adql_table_name
from idac.web.bodies import read_parameters
from idac.web.callers import fair_owner
from idac.web.context import WebContext
from idac.web.parameters import Parameters
from idac.web.routes import Policy, PolicyRoute, principal_of
from idac.web.streaming import Started, run_for_client, start_stream
from idac.web.vosi import Document, availability_xml, capabilities_xml, table_xml, tableset_xml

PATH = "/api/tap"


class TapRoutes:
    """TAP at *path*. *written* gives publishers' own examples; *uws* serves /async."""

    def __init__(
        self,
        service: QueryService,
        uploads: Uploads,
        uws: UwsRoutes,
        web: WebContext,
        jobs: JobsSettings,
        *,
        path: str = PATH,
        title: str = "Catalogue queries",
        written: Callable[[], Iterable[Example]] = tuple,
    ) -> None:
        self._service = service
        self._uploads = uploads
        self._uws = uws
        self._web = web
        self._jobs = jobs
        self._path = path
        self._title = title
        self._written = written
        self._up_since = datetime.now(UTC)
        self._documents: tuple[str, dict[str, Document]] = ("", {})

    def routes(self) -> list[PolicyRoute]:
        """Every address of the service; who may read what is decided by table, when the query is checked."""
        large = self._web.max_body_bytes
        answer = Policy("open", "votable", max_body_bytes=large, scope="read:tap", service="tap", reads=True)
        page = Policy("open", "text")
        capabilities = Policy("open", "text", advertises=True)
        path = self._path
        return [
            PolicyRoute(path, self.base, methods=["GET"], policy=page),
            PolicyRoute(f"{path}/sync", self.sync, methods=["GET", "POST"], policy=answer),
            PolicyRoute(f"{path}/tables", self.tables, methods=["GET"], policy=page),
            PolicyRoute(f"{path}/tables/{{name:path}}", self.table, methods=["GET"], policy=page),
            PolicyRoute(f"{path}/capabilities", self.capabilities, methods=["GET"], policy=capabilities),
            PolicyRoute(f"{path}/availability", self.availability, methods=["GET"], policy=page),
            PolicyRoute(f"{path}/examples", self.examples, methods=["GET"], policy=page),
            *self._uws.routes(),
        ]

    async def base(self, request: Request) -> Response:
        """The base address answers nothing by itself; what it offers is said at /capabilities."""
        return Response(status_code=303, headers={"location": self._web.urls.of(request, f"{self._path}/capabilities")})

    async def sync(self, request: Request) -> Response:
        """Run a query and stream its answer; the query stops when the client goes away."""
        principal = principal_of(request)
        async with read_parameters(request, self._web.limits, self._web.spool) as parameters:
            asked = parse_tap_request(parameters, self._service.settings.uploads)
            query_id = f"sync-{secrets.token_hex(8)}"
            owner, gone = fair_owner(request, principal), threading.Event()

            def stop() -> None:
                gone.set()  # uploads are read before there is a query
                self._service.cancel(query_id)

            start = partial(self._start, asked, parameters, principal, query_id, owner, gone.is_set)
            started = await run_for_client(request, start, stop, self._web.waiting)
        return answer(started, self._web, asked)

    def _start(
        self,
        asked: TapRequest,
        parameters: Parameters,
        principal: Principal,
        query_id: str,
        owner: str,
        gone: Callable[[], bool],
    ) -> Started:
        if asked.uploads:
            self._service.check_tables(asked.adql, principal, [spec.name for spec in asked.uploads])
        folder = self._uploads.new_folder() if asked.uploads else None
        clean = partial(shutil.rmtree, folder, ignore_errors=True) if folder else _nothing
        try:
            tables = self._uploads.stage(asked.uploads, parameters.files, folder, gone) if folder else {}
        except BaseException:
            clean()
            raise
        query = QueryRequest(
            adql=asked.adql,
            format=asked.format,
            timeout_s=self._service.settings.sync_timeout_s,
            max_rows=asked.max_rows,
            uploads=tables,
            infos=result_infos(asked),
            mark_errors=True,
        )
        running = self._service.run(query, principal, query_id=query_id, owner=owner, on_close=clean)
        return start_stream(running)

    async def tables(self, request: Request) -> Response:
        """VOSI tables; ``detail=min`` leaves the columns out (VOSI 1.1 section 2.5).

        ``tables=a.b,a.c`` is no standard: astroquery's ``load_table`` asks so, and takes the first table it gets.
        """
        parameters = Parameters.of(request.query_params.multi_items())
        detail = parameters.choice("DETAIL", ["MIN", "MAX"]) or "MAX"
        names = [name.strip() for value in parameters.many("TABLES") for name in value.split(",") if name.strip()]
        # astroquery's TapPlus sends no User-Agent with this request; nearly nobody else goes without.
        esa = request.headers.get("user-agent", "astroquery/").startswith("astroquery/")
        document = await self._web.in_thread(lambda: self._tableset(detail, esa, names))
        return document.response(request)

    def _tableset(self, detail: str, esa: bool, names: Sequence[str]) -> Document:
        snapshot = self._service.archive.snapshot()
        if names:
            tables = [_published(snapshot, name) for name in names]
            schemas = [
                replace(schema, tables=tuple(t for t in tables if t.schema == schema.name))
                for schema in snapshot.schemas
                if any(t.schema == schema.name for t in tables)
            ]
            return tableset_xml(schemas, columns=detail == "MAX", esa_flags=esa)
        return self._document(
            f"tables {detail} {esa}",
            snapshot.generation,
            lambda: tableset_xml(snapshot.schemas, columns=detail == "MAX", esa_flags=esa),
        )

    async def table(self, request: Request) -> Response:
        """VOSI tables of one table, by its name as /tables shows it."""
        name = request.path_params["name"]
        document = await self._web.in_thread(lambda: self._table(name))
        return document.response(request)

    def _table(self, name: str) -> Document:
        snapshot = self._service.archive.snapshot()
        table = _published(snapshot, name)
        return self._document(f"table {table.qualified_name}", snapshot.generation, partial(table_xml, table))

    async def capabilities(self, request: Request) -> Response:
        base = self._web.urls.of(request, self._path)
        settings = self._service.settings
        return capabilities_xml(tap_capabilities(base, settings, self._jobs, self._web.settings)).response(request)

    async def availability(self, request: Request) -> Response:
        """Whether the archive can be read now; never an error itself (VOSI 1.1 section 3)."""
        try:
            await self._web.in_thread(self._service.archive.snapshot)
        except UserError as error:
            return availability_xml(available=False, notes=[error.text]).response(request)
        return availability_xml(available=True, up_since=self._up_since).response(request)

    async def examples(self, request: Request) -> Response:
        document = await self._web.in_thread(partial(self._examples, principal_of(request)))
        return document.response(request)

    def _examples(self, principal: Principal) -> Document:
        """Queries that the caller may run."""
        snapshot = self._service.archive.snapshot()
        rights = self._service.rights_at(snapshot)

        def make() -> Document:
            shown = examples_of(snapshot, self._written(), lambda t: rights.may_read(principal, t.schema, t.name))
            return examples_page(shown, f"{self._title}: examples", f"{self._path}/sync")

        return self._document("examples", snapshot.generation, make) if principal.kind == "anonymous" else make()

    def _document(self, name: str, generation: str, make: Callable[[], Document]) -> Document:
        """A page of the present generation, made once: a table set of thousands of columns costs seconds to build."""
        # One attribute, read once: a thread that still serves the generation before keeps its pages to itself.
        known, documents = self._documents
        if known != generation:
            documents = {}
            self._documents = (generation, documents)
        if name not in documents:
            documents[name] = make()
        return documents[name]


def _published(snapshot: CatalogSnapshot, name: str) -> Table:
    """The table of that name, as queries write it or without delimiters."""
    for schema in snapshot.schemas:
        for table in schema:
            if name.lower() in (adql_table_name(table.schema, table.name).lower(), table.qualified_name.lower()):
                return table
    raise NotFound("There is no such table.", value=name, next_step="See /api/tap/tables for the list.")


def answer(started: Started, web: WebContext, asked: TapRequest) -> Response:
    """The HTTP answer with a query's result."""
    return started.response(
        media_type=asked.format.mime,
        headers={
            "content-disposition": f'inline; filename="result.{asked.format.extension}"',
            "cache-control": "no-store",
        },
        stall_timeout_s=web.settings.stall_timeout_s,
        limiter=web.threads,
    )


def _nothing() -> None:
    return None
