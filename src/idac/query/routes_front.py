"""``/``: what this centre offers and how to reach it, for whoever opens its address in a browser."""

from __future__ import annotations

import html
from collections.abc import Iterator
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from idac.catalogs.snapshot import CatalogSnapshot
from idac.query import routes_cone, routes_tap
from idac.query.service import SnapshotSource
from idac.tables.model import Table
from idac.tables.names import adql_table_name
from idac.web.context import WebContext
from idac.web.pages import xhtml_page
from idac.web.routes import Policy, PolicyRoute


class FrontRoutes:
    """The page at the root of the centre. *run_by* is who answers for it and an address for questions, or empty."""

    def __init__(
        self, archive: SnapshotSource, web: WebContext, *, title: str, run_by: tuple[str, str] = ("", "")
    ) -> None:
        self._archive = archive
        self._web = web
        self._title = title
        self._run_by = run_by

    def routes(self) -> list[PolicyRoute]:
        return [PolicyRoute("/", self.front, methods=["GET"], policy=Policy("open", "text"))]

    async def front(self, request: Request) -> Response:
        snapshot = await self._web.in_thread(self._archive.snapshot)
        body = _access(self._web.urls.of(request, routes_tap.PATH))
        body += _tables(snapshot, self._web.urls.of(request, routes_cone.PATH))
        body += _people(*self._run_by)
        return xhtml_page(self._title, body).response(request)


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


def _tables(snapshot: CatalogSnapshot, cones: str) -> str:
    rows = "".join(_row(table, rows, cones) for table, rows in _published(snapshot))
    if not rows:
        return "<h2>Tables</h2>\n<p>None is published yet.</p>\n"
    return (
        "<h2>Tables</h2>\n<table><thead><tr><th>Table</th><th>What it holds</th><th>Rows</th><th>Columns</th></tr>"
        f"</thead><tbody>\n{rows}</tbody></table>\n"
    )


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


def _row(table: Table, rows: int, cones: str) -> str:
    name = adql_table_name(table.schema, table.name)
    cone = ""
    if table.ra_column and table.dec_column:
        address = f"{cones}/{quote(table.qualified_name)}"
        cone = f"<br/>Cone search: <code>{html.escape(address)}</code>"
    return (
        f'<tr><td><a href="{routes_tap.PATH}/tables/{html.escape(quote(name))}"><code>{html.escape(name)}</code></a>'
        f"</td><td>{html.escape(table.description or '')}{cone}</td>"
        f'<td class="number">{rows:,}</td><td class="number">{len(table.columns):,}</td></tr>\n'
    )
