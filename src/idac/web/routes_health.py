"""``/api/health`` for load balancers and people: does this process answer, and can it reach what it needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import anyio
import anyio.to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from idac.core.errors import UserError
from idac.web.context import WebContext
from idac.web.routes import Policy, PolicyRoute

PATH = "/api/health"
#: Seconds after which a check that has not answered counts as failed.
CHECK_S = 5.0


class HealthRoutes:
    """*checks* by name; each returns when its part is well and raises when it is not."""

    def __init__(self, checks: Mapping[str, Callable[[], object]], web: WebContext, *, path: str = PATH) -> None:
        self._checks = dict(checks)
        self._web = web
        self._path = path

    def routes(self) -> list[PolicyRoute]:
        return [
            PolicyRoute(self._path, self.health, methods=["GET"], policy=Policy("open", "json")),
            PolicyRoute(f"{self._path}/live", self.live, methods=["GET"], policy=Policy("open", "json")),
        ]

    async def live(self, _request: Request) -> Response:
        """Only that the process answers: a supervisor restarts it on this, and must not when a database is away."""
        return JSONResponse({"status": "ok"}, headers={"cache-control": "no-store"})

    async def health(self, _request: Request) -> Response:
        """200 where every check passes, else 503; says which failed and nothing of why."""
        found: dict[str, str] = {}
        async with anyio.create_task_group() as group:
            for name, check in self._checks.items():
                group.start_soon(self._run, name, check, found)
        well = all(state == "ok" for state in found.values())
        body = {"status": "ok" if well else "failing", "checks": dict(sorted(found.items()))}
        return JSONResponse(body, status_code=200 if well else 503, headers={"cache-control": "no-store"})

    async def _run(self, name: str, check: Callable[[], object], found: dict[str, str]) -> None:
        found[name] = "no answer"
        with anyio.move_on_after(CHECK_S):
            try:
                await anyio.to_thread.run_sync(check, abandon_on_cancel=True, limiter=self._web.threads)
            except UserError as error:
                found[name] = error.code
            else:
                found[name] = "ok"
