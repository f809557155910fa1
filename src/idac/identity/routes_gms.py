"""IVOA Group Membership Service 1.0: in which groups the caller is, for services elsewhere that ask as the caller."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from idac.identity.self_service import SelfService
from idac.web.context import WebContext
from idac.web.routes import Policy, PolicyRoute, principal_of
from idac.web.vosi import Capability, availability_xml, capabilities_xml

PATH = "/auth/gms"
#: IVOIDs have no case, but programs compare them as text: GMS 1.0 section 3.1 and cadcutils have the first spelling,
#: OpenCADC's registry client the second.
_STANDARDS = ("ivo://ivoa.net/std/gms#search-1.0", "ivo://ivoa.net/std/GMS#search-1.0")
#: Ways to log in, as IVOA SSO names them: clients of GMS look for theirs before they ask.
_SECURITY = ("ivo://ivoa.net/sso#token", "ivo://ivoa.net/sso#BasicAA", "ivo://ivoa.net/sso#cookie")


class GmsRoutes:
    """Only the caller's own groups are told, and any token may ask: it knows them by user-info too."""

    def __init__(self, service: SelfService, web: WebContext) -> None:
        self._service, self._web = service, web

    def routes(self) -> list[PolicyRoute]:
        page = Policy("open", "text", advertises=True)
        return [
            PolicyRoute(f"{PATH}/search", self.search, methods=["GET"], policy=Policy("user", "text")),
            PolicyRoute(f"{PATH}/capabilities", self.capabilities, methods=["GET"], policy=page),
            PolicyRoute(f"{PATH}/availability", self.availability, methods=["GET"], policy=page),
        ]

    async def search(self, request: Request) -> Response:
        """The caller's groups now, one a line; with ``group``, once or more, those of them that are named.

        Empty where there are none: that somebody is no member, or a group not there, is no error.
        """
        principal = principal_of(request)
        _, groups = await self._web.in_state_thread(lambda: self._service.account(principal))
        named = {value for name, value in request.query_params.multi_items() if name.lower() == "group"}
        body = "".join(f"{name}\r\n" for name in groups if not named or name in named)
        return Response(body, media_type="text/plain", headers={"cache-control": "no-store"})

    async def capabilities(self, request: Request) -> Response:
        base = self._web.urls.of(request, PATH)
        return capabilities_xml(
            [
                *(Capability(standard, f"{base}/search", version="1.0", security=_SECURITY) for standard in _STANDARDS),
                Capability("ivo://ivoa.net/std/VOSI#capabilities", f"{base}/capabilities"),
                Capability("ivo://ivoa.net/std/VOSI#availability", f"{base}/availability"),
            ]
        ).response(request)

    async def availability(self, request: Request) -> Response:
        return availability_xml(available=True).response(request)
