"""Simple Cone Search 1.03 over HTTP, for every table with positions."""

from __future__ import annotations

import math
import secrets
from dataclasses import replace
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from idac.core.errors import BadParameter, NotFound
from idac.core.principal import Principal
from idac.query.routes_tap import answer
from idac.query.service import QueryRequest, QueryService
from idac.query.tap_request import TapRequest, requested_format
from idac.tables.model import Column, Table
from idac.tables.names import adql_name, adql_table_name
from idac.web.callers import fair_owner
from idac.web.context import WebContext
from idac.web.parameters import Parameters
from idac.web.routes import Policy, PolicyRoute, principal_of
from idac.web.streaming import Started, run_for_client, start_stream
from idac.web.vosi import Capability, availability_xml, capabilities_xml, element

PATH = "/api/scs"
_SCS_MIME = "text/xml;content=x-votable"
#: SCS 1.03 section 2.2 asks for UCDs of the first kind, and pyvo, STILTS and TOPCAT look for them.
_RA_UCD, _DEC_UCD, _ID_UCD = "POS_EQ_RA_MAIN", "POS_EQ_DEC_MAIN", "ID_MAIN"


class ConeRoutes:
    """Cone search at *path*/schema.table. Errors are VOTables with status 200, as section 2.3 of SCS has them."""

    def __init__(self, service: QueryService, web: WebContext, *, path: str = PATH) -> None:
        self._service = service
        self._web = web
        self._path = path

    def routes(self) -> list[PolicyRoute]:
        form = self._web.limits.max_form_bytes
        answer = Policy("open", "cone", max_body_bytes=form, scope="read:tap", service="scs")
        page = Policy("open", "text")
        capabilities = Policy("open", "text", advertises=True)
        path = f"{self._path}/{{table}}"
        return [
            PolicyRoute(path, self.search, methods=["GET"], policy=answer),
            PolicyRoute(f"{path}/capabilities", self.capabilities, methods=["GET"], policy=capabilities),
            PolicyRoute(f"{path}/availability", self.availability, methods=["GET"], policy=page),
        ]

    async def search(self, request: Request) -> Response:
        """Rows within SR of RA, DEC; SR=0 or MAXREC=0 gives the columns alone."""
        principal = principal_of(request)
        parameters = Parameters.of(request.query_params.multi_items())
        table = await self._web.in_thread(lambda: self._table(request.path_params["table"]))
        asked = self._parse(table, parameters)
        query_id = f"cone-{secrets.token_hex(8)}"
        start = partial(self._start, table, asked, principal, query_id, fair_owner(request, principal))
        started = await run_for_client(request, start, lambda: self._service.cancel(query_id), self._web.waiting)
        return answer(started, self._web, asked)

    def _parse(self, table: Table, parameters: Parameters) -> TapRequest:
        longest = self._service.settings.max_cone_radius_deg
        ra = _degrees(parameters, "RA", -360.0, 360.0)
        dec = _degrees(parameters, "DEC", -90.0, 90.0)
        radius = _degrees(parameters, "SR", 0.0, longest)
        verbosity = parameters.integer("VERB", minimum=1, maximum=3) or 2
        chosen = requested_format(parameters)
        if chosen.name == "votable":
            chosen = replace(chosen, mime=_SCS_MIME)
        return TapRequest(
            adql=cone_query(table, ra, dec, radius, verbosity),
            format=chosen,
            max_rows=0 if radius == 0 else parameters.integer("MAXREC"),
            run_id=parameters.text("RUNID"),
            uploads=(),
        )

    def _start(self, table: Table, asked: TapRequest, principal: Principal, query_id: str, owner: str) -> Started:
        query = QueryRequest(
            adql=asked.adql,
            format=asked.format,
            timeout_s=self._service.settings.sync_timeout_s,
            max_rows=asked.max_rows,
            mark_errors=True,
            relabel=partial(with_main_ucds, table),
        )
        return start_stream(self._service.run(query, principal, query_id=query_id, owner=owner))

    def _table(self, name: str) -> Table:
        for schema in self._service.archive.snapshot().schemas:
            for table in schema:
                if table.qualified_name.lower() == name.lower():
                    if table.ra_column and table.dec_column:
                        return table
                    raise NotFound(
                        "This table has no positions to search around.", value=name, next_step="Query it by TAP."
                    )
        raise NotFound("There is no such table.", value=name, next_step="See /api/tap/tables for the list.")

    async def capabilities(self, request: Request) -> Response:
        name = request.path_params["table"]
        table = await self._web.in_thread(lambda: self._table(name))
        base = self._web.urls.of(request, f"{self._path}/{table.qualified_name}")
        details = (
            element("maxSR", f"{self._service.settings.max_cone_radius_deg:g}"),
            element("maxRecords", str(self._service.settings.default_max_rows)),
            element("verbosity", "true"),
        )
        cone = Capability(
            "ivo://ivoa.net/std/ConeSearch",
            base,
            use="base",
            version="1.03",
            xsi_type="cs:ConeSearch",
            details=details,
        )
        pages = [
            Capability(f"ivo://ivoa.net/std/VOSI#{page}", f"{base}/{page}") for page in ("capabilities", "availability")
        ]
        return capabilities_xml([cone, *pages]).response(request)

    async def availability(self, request: Request) -> Response:
        await self._web.in_thread(lambda: self._table(request.path_params["table"]))
        return availability_xml(available=True).response(request)


def cone_query(table: Table, ra_deg: float, dec_deg: float, radius_deg: float, verbosity: int) -> str:
    """The ADQL of a cone search, so that it is checked, planned and run like any other query."""
    ra, dec = adql_name(table.ra_column or ""), adql_name(table.dec_column or "")
    columns = ", ".join(_selected(table, column) for column in _chosen(table, verbosity))
    return (
        f"SELECT {columns} FROM {adql_table_name(table.schema, table.name)} "  # noqa: S608  names are escaped, numbers are floats
        f"WHERE 1 = CONTAINS(POINT({ra}, {dec}), CIRCLE({ra_deg!r}, {dec_deg!r}, {radius_deg!r}))"
    )


def _chosen(table: Table, verbosity: int) -> list[Column]:
    """VERB=1: identifier and position; 2: and the columns that the publisher calls principal; 3: all."""
    main = {name for name in (table.id_column, table.ra_column, table.dec_column) if name}
    if verbosity == 3:
        return list(table.columns)
    return [c for c in table.columns if c.name in main or (verbosity == 2 and c.principal)]


def _selected(table: Table, column: Column) -> str:
    name = adql_name(column.name)
    if column.name == table.id_column and not column.type.is_string:
        return f"CAST({name} AS VARCHAR) AS {name}"  # SCS 2.2 wants the identifier as text
    return name


def with_main_ucds(table: Table, column: Column) -> Column:
    """The three UCDs that SCS 2.2 asks for, each on one column and on no other; an identifier made text keeps its
    description."""
    main = {table.ra_column: _RA_UCD, table.dec_column: _DEC_UCD, table.id_column: _ID_UCD}
    if column.name in main:
        published = table.find(column.name, delimited=True)
        description = column.description or (published.description if published else None)
        return replace(column, ucd=main[column.name], description=description)
    if column.ucd in main.values():
        return replace(column, ucd=None)
    return column


def _degrees(parameters: Parameters, name: str, least: float, most: float) -> float:
    allowed = f"degrees, {least:g} to {most:g}"
    value = parameters.required(name, allowed)
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not least <= number <= most:
        raise BadParameter(f"{name} has a value that is not allowed.", value=value, allowed=allowed)
    return number
