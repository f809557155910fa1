"""A server in GitHub's shape: OAuth apps as its documentation has them, and the API's pages about a person."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route


@dataclass
class GitHubServer:
    """*person* is whoever is logged in there, and says yes to everything."""

    client_id: str
    client_secret: str
    redirect_uri: str = ""
    person: dict[str, Any] = field(default_factory=dict)
    organisations: Sequence[str] = ()
    teams: Sequence[tuple[str, str]] = ()
    #: What was granted, which may be less than what was asked for.
    scope: str = "read:org"
    codes: dict[str, str] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/login/oauth/authorize", self._authorize),
                Route("/login/oauth/access_token", self._exchange, methods=["POST"]),
                Route("/api/v3/user", self._user),
                Route("/api/v3/user/orgs", self._organisations),
                Route("/api/v3/user/teams", self._teams),
            ]
        )

    async def _authorize(self, request: Request) -> Response:
        asked = request.query_params
        assert (asked["client_id"], asked["redirect_uri"]) == (self.client_id, self.redirect_uri)
        assert (asked["scope"], asked["code_challenge_method"]) == ("read:org", "S256")
        code = secrets.token_hex(10)
        self.codes[code] = asked["code_challenge"]
        return RedirectResponse(f"{self.redirect_uri}?{urlencode({'code': code, 'state': asked['state']})}", 302)

    async def _exchange(self, request: Request) -> Response:
        sent = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
        # Errors come with status 200.
        if (sent["client_id"], sent["client_secret"]) != (self.client_id, self.client_secret):
            return JSONResponse({"error": "incorrect_client_credentials"})
        challenge = self.codes.pop(sent["code"], None)
        made = base64.urlsafe_b64encode(hashlib.sha256(sent["code_verifier"].encode()).digest()).rstrip(b"=").decode()
        if challenge != made or sent["redirect_uri"] != self.redirect_uri:
            return JSONResponse({"error": "bad_verification_code"})
        token = f"gho_{secrets.token_hex(18)}"
        self.tokens.add(token)
        return JSONResponse({"access_token": token, "token_type": "bearer", "scope": self.scope})

    def _refusal(self, request: Request, scope: str | None = None) -> Response | None:
        if request.headers.get("authorization", "").removeprefix("Bearer ") not in self.tokens:
            return JSONResponse({"message": "Bad credentials"}, 401)
        if scope is not None and scope not in self.scope.split(","):
            return JSONResponse({"message": "Resource not accessible"}, 403)
        return None

    async def _user(self, request: Request) -> Response:
        return self._refusal(request) or JSONResponse(self.person)

    async def _organisations(self, request: Request) -> Response:
        refusal = self._refusal(request, "read:org")
        return refusal or JSONResponse(_page(request, [{"login": name, "id": 1} for name in self.organisations]))

    async def _teams(self, request: Request) -> Response:
        refusal = self._refusal(request, "read:org")
        teams = [
            {"slug": slug, "name": slug.title(), "organization": {"login": owner, "id": 1}}
            for owner, slug in self.teams
        ]
        return refusal or JSONResponse(_page(request, teams))


def _page(request: Request, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    size = min(int(request.query_params.get("per_page", "30")), 100)
    first = (int(request.query_params.get("page", "1")) - 1) * size
    return found[first : first + size]
