"""One ASGI application from guarded routes; nothing else can be mounted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from idac.web.faces import http_exception
from idac.web.routes import Gate, Identify, PolicyRoute, identify_nobody

type Lifespan = Callable[[Starlette], AbstractAsyncContextManager[None]]


class WithoutTrailingSlash:
    """Answers ``/api/tap/`` as ``/api/tap``: people paste it so, and clients don't follow redirects of a POST."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] != "/" and scope["path"].endswith("/"):
            scope = {**scope, "path": scope["path"].rstrip("/") or "/"}
        await self._app(scope, receive, send)


def build_app(
    routes: Sequence[PolicyRoute],
    *,
    identify: Identify = identify_nobody,
    gate: Gate | None = None,
    lifespan: Lifespan | None = None,
) -> Starlette:
    """The application that serves *routes*; *gate* says who asks, for every one of them, or *identify*
    alone where there is no log-in.

    Raises TypeError for a route without a policy, and for two routes of the same path that share a method, where the
    second would never answer.
    """
    taken: set[tuple[str, str]] = set()
    for route in routes:
        if not isinstance(route, PolicyRoute):
            raise TypeError(f"route {getattr(route, 'path', route)} has no policy")
        for method in sorted((route.methods or set()) - {"OPTIONS"}):
            if (route.path, method) in taken:
                raise TypeError(f"two routes answer {method} {route.path}")
            taken.add((route.path, method))
    app = Starlette(routes=list(routes), lifespan=lifespan, exception_handlers={HTTPException: http_exception})
    for route in routes:
        # Only the first route of a path is asked for OPTIONS, and it must speak for all.
        route.guard.methods = frozenset().union(*(r.methods or () for r in routes if r.path == route.path))
    app.router.redirect_slashes = False
    app.add_middleware(WithoutTrailingSlash)
    app.state.gate = gate or Gate(identify)
    return app
