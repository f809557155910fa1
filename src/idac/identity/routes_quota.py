"""Where callers see their limits and how they stand with them: for programs, and on a page."""

from __future__ import annotations

import html

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from idac.core.quota import KeptResult, shown_bytes
from idac.identity.pages import page
from idac.identity.quota_report import TITLES, UNITS, Report, Reports, Standing, report_json
from idac.web.callers import fair_owner
from idac.web.context import WebContext
from idac.web.routes import Policy, PolicyRoute, principal_of

PAGE_PATH = "/auth/quota"
API_PATH = "/auth/api/v1/quota"


class QuotaRoutes:
    """Limits and use of whoever asks; *jobs_path* is where people find their jobs."""

    def __init__(self, reports: Reports, web: WebContext, jobs_path: str) -> None:
        self._reports, self._web, self._jobs_path = reports, web, jobs_path

    def routes(self) -> list[PolicyRoute]:
        anyone = Policy("open", "json", cross_origin=False)
        person = Policy("user", "text", cross_origin=False)
        return [
            PolicyRoute(API_PATH, self.show, methods=["GET"], policy=anyone),
            PolicyRoute(PAGE_PATH, self.show_page, methods=["GET"], policy=person),
        ]

    async def show(self, request: Request) -> Response:
        """GET limits and use, also without a log-in: then of everyone at the caller's address."""
        return JSONResponse(report_json(await self._report(request)), headers={"cache-control": "no-store"})

    async def show_page(self, request: Request) -> Response:
        return page("Limits", quota_body(await self._report(request), self._jobs_path))

    async def _report(self, request: Request) -> Report:
        principal = principal_of(request)
        owner = fair_owner(request, principal)
        return await self._web.in_state_thread(lambda: self._reports.of(principal, owner))


def quota_body(report: Report, jobs_path: str) -> str:
    """The page's limits, each with a bar, and the results that take room."""
    told = (
        f"<p>You are <strong>{html.escape(report.name)}</strong>. What you may ask for, and what you use of it now. "
        '<a href="/auth/tokens">Tokens</a> · <a href="/auth/groups">Groups</a> · <a href="/auth/logout">Log out</a></p>'
    )
    if all(each.amount is None for each in report.standings):
        told += "<p>Nothing is limited for you.</p>"
    return told + "".join(map(_standing, report.standings)) + _results(report.results, jobs_path)


def _standing(each: Standing) -> str:
    unit = "" if each.limit == "result_bytes" else f" {UNITS[each.limit]}"
    words = f"{html.escape(each.words)}{unit if each.amount is not None else ''}"
    bar = ""
    if each.amount is not None:
        # A bar turns yellow when four fifths are used, and red when all is.
        most = max(each.amount, 1)
        bar = (
            f'<meter style="width:100%;height:1.1rem" min="0" max="{most}" low="{most * 0.8}" high="{most * 0.999}" '
            f'optimum="0" value="{min(each.used, each.amount)}">{html.escape(each.words)}</meter>'
        )
    notes = [each.origin] if each.shares else []
    if each.amount is not None and each.limit in ("concurrent", "queued"):
        notes.append("synchronous queries have as many besides")
    if each.resets is not None and each.amount is not None and each.used:
        notes.append(f"begins anew at {each.resets:%H:%M:%S} UTC")
    small = f'<div style="font-size:.85rem;opacity:.75">{html.escape(" · ".join(notes))}</div>' if notes else ""
    return (
        '<section style="margin:1.1rem 0"><div style="display:flex;justify-content:space-between;gap:1rem">'
        f'<strong>{html.escape(TITLES[each.limit])}</strong><span style="text-align:right">{words}</span></div>'
        f"{bar}{small}</section>"
    )


def _results(results: tuple[KeptResult, ...], jobs_path: str) -> str:
    if not results:
        return ""
    rows = "".join(
        f'<tr><td><a href="{jobs_path}/{kept.job_id}"><code>{kept.job_id[:12]}…</code></a></td>'
        f"<td>{html.escape(kept.run_id or '')}</td>"
        f'<td class="number">{shown_bytes(kept.size)}</td><td class="number">{kept.until:%Y-%m-%d %H:%M}</td></tr>'
        for kept in results
    )
    return (
        "<h2>Your largest results</h2><p>Delete a job to make room: "
        f"<code>job.delete()</code> in pyvo, or DELETE at its address.</p>"
        "<table><thead><tr><th>Job</th><th>Run</th><th>Size</th><th>Deleted by itself (UTC)</th></tr></thead>"
        f"<tbody>{rows}</tbody></table>"
    )
