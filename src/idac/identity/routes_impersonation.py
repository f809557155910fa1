"""Impersonation for administrators' programs: lend a token of somebody's account, list them, and take them back."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from idac.core.errors import BadParameter, NotFound
from idac.identity.administration import Administration
from idac.identity.cookies import Cookies
from idac.identity.identify import address_of
from idac.identity.impersonation import DEFAULT_MINUTES, Impersonation
from idac.identity.json_requests import json_object
from idac.identity.routes_api import PATH, token_json
from idac.web.context import WebContext
from idac.web.routes import Policy, PolicyRoute, principal_of

_PRIVATE = {"cache-control": "no-store"}
_BODY_BYTES = 16 * 1024


class ImpersonationRoutes:
    """For administrators alone; the secret is shown once."""

    def __init__(self, administration: Administration, cookies: Cookies, web: WebContext) -> None:
        self._administration, self._cookies, self._web = administration, cookies, web
        self._impersonation = Impersonation(administration)

    def routes(self) -> list[PolicyRoute]:
        admin = Policy("admin", "json", max_body_bytes=_BODY_BYTES, cross_origin=False, scope="admin")
        path = f"{PATH}/users/{{name}}/impersonations"
        return [
            PolicyRoute(path, self.list_lent, methods=["GET"], policy=admin),
            PolicyRoute(path, self.lend, methods=["POST"], policy=admin),
            PolicyRoute(f"{path}/{{key}}", self.take_back, methods=["DELETE"], policy=admin),
        ]

    async def list_lent(self, request: Request) -> Response:
        name = request.path_params["name"]
        tokens = await self._web.in_state_thread(lambda: self._impersonation.lent(name))
        return JSONResponse([token_json(token) for token in tokens], headers=_PRIVATE)

    async def lend(self, request: Request) -> Response:
        """POST why, and minutes where it is not the default; the answer has the secret."""
        principal, name = principal_of(request), request.path_params["name"]
        self._cookies.require_own_form(request, principal, request.headers.get("x-csrf-token"))
        asked = json_object(await request.body(), "why", "minutes")
        why, minutes = asked.get("why", ""), asked.get("minutes", DEFAULT_MINUTES)
        if not isinstance(why, str):
            raise BadParameter("why is no text.", allowed="the reason, in words")
        if isinstance(minutes, bool) or not isinstance(minutes, int):
            raise BadParameter("minutes is no whole number.", value=minutes)
        address = address_of(request)
        token, secret = await self._web.in_state_thread(
            lambda: self._impersonation.lend(
                name,
                why,
                actor=principal.name,
                administrator=principal.name,
                credential=principal.credential,
                minutes=minutes,
                address=address,
            )
        )
        return JSONResponse({"token": secret.text, "info": token_json(token)}, 201, _PRIVATE)

    async def take_back(self, request: Request) -> Response:
        principal, name, key = principal_of(request), request.path_params["name"], request.path_params["key"]
        self._cookies.require_own_form(request, principal, request.headers.get("x-csrf-token"))

        def revoke() -> None:
            if key not in {token.key for token in self._impersonation.lent(name)}:
                raise NotFound("No such token of this account is lent.", value=key[:22])
            self._administration.revoke(key, actor=principal.name, of=name)

        await self._web.in_state_thread(revoke)
        return Response(status_code=204, headers=_PRIVATE)
