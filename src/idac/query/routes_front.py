"""``/``: what this centre offers and how to reach it, for whoever opens its address in a browser."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator, Sequence
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from idac.catalogs.snapshot import CatalogSnapshot
from idac.core.principal import ANONYMOUS, Principal
from idac.core.rights import RightsPolicy
from idac.query import routes_cone, routes_tap
from idac.query.service import QueryService
from idac.tables.model import Table
from idac.tables.names import adql_table_name
from idac.web.context import WebContext
from idac.web.pages import xhtml_page
from idac.web.routes import Policy, PolicyRoute, principal_of

#: Names and addresses of the pages on which a caller looks after what is theirs, or logs in.
type OwnPages = Callable[[Principal], Sequence[tuple[str, str]]]


def no_pages(_principal: Principal) -> Sequence[tuple[str, str]]:
    """Of a centre without log-in."""
    return ()


class FrontRoutes:
    """The page at the root of the centre. *run_by* is who answers for it and an address for questions, or empty."""

    def __init__(
        self,
        queries: QueryService,
        web: WebContext,
        *,
        title: str,
        run_by: tuple[str, str] = ("", ""),
        own_pages: OwnPages = no_pages,
    ) -> None:
        self._queries = queries
        self._web = web
        self._title = title
        self._run_by = run_by
        self._own_pages = own_pages

    def routes(self) -> list[PolicyRoute]:
        # Lenient: whose log-in has ended may read what everyone may.
        return [PolicyRoute("/", self.front, methods=["GET"], policy=Policy("open", "text", lenient=True))]

    async def front(self, request: Request) -> Response:
        principal = principal_of(request)
        snapshot = await self._web.in_thread(self._queries.archive.snapshot)
        body = _own(principal, self._own_pages(principal)) + _access(self._web.urls.of(request, routes_tap.PATH))
        tables = _Tables(self._queries.rights_at(snapshot), principal, self._web.urls.of(request, routes_cone.PATH))
        body += tables.section(snapshot)
        body += _people(*self._run_by)
        return xhtml_page(self._title, body).response(request)


def _own(principal: Principal, pages: Sequence[tuple[str, str]]) -> str:
    if not pages:
        return ""
    who = "" if principal.kind == "anonymous" else f"You are <strong>{html.escape(principal.name)}</strong>. "
    links = " · ".join(f'<a href="{html.escape(address)}">{html.escape(name)}</a>' for name, address in pages)
    return f"<p>{who}{links}</p>\n"


def _access(tap: str) -> str:
    shown = html.escape(tap)
    query = "SELECT * FROM TAP_SCHEMA.tables"
    return (
        f"<dl><dt>TAP</dt><dd><code>{shown}</code><br/>Give this address to TOPCAT, STILTS, pyvo or any other TAP "
        f'client. <a href="{routes_tap.PATH}/examples">Examples</a> · '
        f'<a href="{routes_tap.PATH}/capabilities">Capabilities</a> · '
        f'<a href="{routes_tap.PATH}/tables">Tables as VOSI</a></dd></dl>\n'
        f"<pre>import pyvo\ncentre = pyvo.dal.TAPService(&quot;{shown}&quot;)\n"
        f"centre.search(&quot;{query}&quot;).to_table()</pre>\n"
    )


class _Tables:
    """What is published, with as much of each table as the caller may know."""

    def __init__(self, rights: RightsPolicy, principal: Principal, cones: str) -> None:
        self._rights, self._principal, self._cones = rights, principal, cones

    def section(self, snapshot: CatalogSnapshot) -> str:
        rows = "".join(self._row(table, rows) for table, rows in _published(snapshot))
        if not rows:
            return "<h2>Tables</h2>\n<p>None is published yet.</p>\n"
        return (
            "<h2>Tables</h2>\n<table><thead><tr><th>Table</th><th>What it holds</th><th>Rows</th><th>Columns</th></tr>"
            f"</thead><tbody>\n{rows}</tbody></table>\n"
        )

    def _row(self, table: Table, rows: int) -> str:
        name = adql_table_name(table.schema, table.name)
        page = f"{routes_tap.PATH}/tables/{html.escape(quote(name))}"
        lines = [html.escape(table.description or ""), self._for_whom(table)]
        readable = self._rights.may_read(self._principal, table.schema, table.name)
        if readable and table.ra_column and table.dec_column:
            address = f"{self._cones}/{quote(table.qualified_name)}"
            lines.append(f"Cone search: <code>{html.escape(address)}</code>")
        return (
            f'<tr><td><a href="{page}"><code>{html.escape(name)}</code></a>'
            f"</td><td>{'<br/>'.join(line for line in lines if line)}</td>"
            f'<td class="number">{f"{rows:,}" if readable else "–"}</td>'
            f'<td class="number">{len(table.columns):,}</td></tr>\n'
        )

    def _for_whom(self, table: Table) -> str:
        if self._rights.may_read(ANONYMOUS, table.schema, table.name):
            return ""
        return f"For {html.escape(self._rights.shown(table.schema, table.name))}."


def _people(publisher: str, contact: str) -> str:
    address = f'<a href="mailto:{html.escape(quote(contact, safe="@"))}">{html.escape(contact)}</a>' if contact else ""
    lines = [f"Published by {html.escape(publisher)}" if publisher else "", f"Questions: {address}" if address else ""]
    shown = " · ".join(line for line in lines if line)
    return f"<footer><p>{shown}</p></footer>\n" if shown else ""


def _published(snapshot: CatalogSnapshot) -> Iterator[tuple[Table, int]]:
    for schema in snapshot.schemas:
        if schema.name.upper() != "TAP_SCHEMA":
            for table in schema:
                entry = snapshot.find(schema.name, table.name)
                yield table, entry.storage.rows if entry is not None else 0
