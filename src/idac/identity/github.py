"""Log-in by GitHub, which speaks OAuth 2 and no OpenID Connect: its API says who somebody is, and in which teams."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from authlib.oauth2 import ClientAuth
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge

from idac.identity.claims import identity_from_claims
from idac.identity.flows import Flow
from idac.identity.model import ExternalIdentity
from idac.identity.provider import Provider
from idac.identity.provider_http import fetch_list, fetch_object
from idac.identity.settings import ClaimPaths, GitHubSettings

_PUBLIC = "https://github.com"
#: What the API is asked as, so that its answers keep their shape.
_API_HEADERS = {"accept": "application/vnd.github+json", "x-github-api-version": "2022-11-28"}
#: Lets organisations and teams be seen; name and address need no permission.
_SCOPE = "read:org"
_PAGE = 100  # the API's largest
_MOST_PAGES = 10
_PATHS = ClaimPaths(username=["login"], full_name=["name"], email=["email"], groups=["groups"])


class GitHubProvider(Provider):
    """GitHub or a server of its kind. Organisations are groups by their name, teams by ``organisation/team``."""

    def __init__(self, name: str, settings: GitHubSettings, client_secret: str, now: Callable[[], datetime]) -> None:
        super().__init__(name, settings, settings.address, now)
        self._settings = settings
        own_api = "https://api.github.com" if settings.address == _PUBLIC else f"{settings.address}/api/v3"
        self._api = settings.api or own_api
        self._auth = ClientAuth(settings.client_id, client_secret, "client_secret_post")

    async def ready(self) -> None:
        """Nothing is asked: its addresses are known."""

    async def log_in_url(self, flow: Flow, state: str) -> str:
        url: str = prepare_grant_uri(
            f"{self.issuer}/login/oauth/authorize",
            client_id=self._settings.client_id,
            response_type="code",
            redirect_uri=flow.redirect_uri,
            scope=_SCOPE,
            state=state,
            code_challenge=create_s256_code_challenge(flow.verifier),
            code_challenge_method="S256",
        )
        return url

    async def finish(self, flow: Flow, answer: Mapping[str, str]) -> ExternalIdentity:
        token = await self._exchange(flow, self.code_of(answer))
        headers = {**_API_HEADERS, "authorization": f"Bearer {token}"}
        person = await fetch_object("GET", f"{self._api}/user", timeout_s=self._settings.timeout_s, headers=headers)
        number = person.get("id")
        # The number stays; a log-in name can be given up, and taken by somebody else.
        if not isinstance(number, int) or isinstance(number, bool):
            raise self.doubted("it names nobody")
        groups = [*await self._organisations(headers), *await self._teams(headers)]
        claims = {**person, "sub": str(number), "groups": groups}
        return identity_from_claims(self._settings, self.issuer, _PATHS, claims, self._now())

    async def _exchange(self, flow: Flow, code: str) -> str:
        form = urlencode({"code": code, "redirect_uri": flow.redirect_uri, "code_verifier": flow.verifier})
        headers = {"content-type": "application/x-www-form-urlencoded"}
        url, headers, form = self._auth.prepare("POST", f"{self.issuer}/login/oauth/access_token", headers, form)
        found = await fetch_object(
            "POST", url, timeout_s=self._settings.timeout_s, headers=headers, body=form, refusals=True
        )
        self.require_no_error(found)
        token = found.get("access_token")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise self.doubted("it sent no tokens")
        return token

    async def _organisations(self, headers: Mapping[str, str]) -> list[str]:
        return [name for each in await self._all("/user/orgs", headers) if (name := _text(each, "login"))]

    async def _teams(self, headers: Mapping[str, str]) -> list[str]:
        found = []
        for each in await self._all("/user/teams", headers):
            organisation = each.get("organization")
            owner = _text(organisation, "login") if isinstance(organisation, Mapping) else None
            slug = _text(each, "slug")
            if owner and slug:
                found.append(f"{owner}/{slug}")
        return found

    async def _all(self, path: str, headers: Mapping[str, str]) -> list[Mapping[str, Any]]:
        """All pages of a list."""
        found: list[Mapping[str, Any]] = []
        for number in range(1, _MOST_PAGES + 1):
            url = f"{self._api}{path}?per_page={_PAGE}&page={number}"
            page = await fetch_list(url, timeout_s=self._settings.timeout_s, headers=headers)
            found += [each for each in page if isinstance(each, Mapping)]
            if len(page) < _PAGE:
                break
        return found


def _text(values: Mapping[str, Any], name: str) -> str | None:
    found = values.get(name)
    return found if isinstance(found, str) else None
