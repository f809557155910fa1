"""Logging in and out: the pages for browsers, and IVOA SSO's addresses for TOPCAT and its like."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import anyio
import anyio.to_thread
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from idac.core.errors import BadParameter, NotAuthenticated, TooOften, UserError
from idac.core.principal import Principal
from idac.identity.administration import Administration
from idac.identity.cookies import Cookies
from idac.identity.credentials import PREFIX, Secret, parse_plain
from idac.identity.gate import BEARER_PATH, COOKIE_PATH, LOG_IN_PATH
from idac.identity.identify import Identifier, address_of
from idac.identity.json_requests import by_session
from idac.identity.pages import log_in_body, log_out_body, logged_in_body, page
from idac.identity.settings import IdentitySettings
from idac.identity.sign_in import Proven, SignIn
from idac.web.bodies import read_parameters
from idac.web.context import WebContext
from idac.web.parameters import Parameters
from idac.web.routes import Policy, PolicyRoute, principal_of

_FORM_BYTES = 16 * 1024
#: Seconds for which a token that a program got by a password is good: a day's work.
_BY_PROGRAM_S = 24 * 3600


class LogInRoutes:
    """*hashing* holds back passwords, together with those that come with requests."""

    def __init__(
        self,
        sign_in: SignIn,
        identifier: Identifier,
        administration: Administration,
        cookies: Cookies,
        web: WebContext,
        hashing: anyio.CapacityLimiter,
    ) -> None:
        self._sign_in, self._identifier, self._administration = sign_in, identifier, administration
        self._cookies, self._web, self._hashing = cookies, web, hashing
        self._settings: IdentitySettings = administration.settings
        self._providers = provider_titles(self._settings)

    def routes(self) -> list[PolicyRoute]:
        view = Policy("open", "text", cross_origin=False, lenient=True)
        send = Policy("open", "text", max_body_bytes=_FORM_BYTES, cross_origin=False, lenient=True)
        return [
            PolicyRoute(LOG_IN_PATH, self.show, methods=["GET"], policy=view),
            PolicyRoute(LOG_IN_PATH, self.log_in, methods=["POST"], policy=send),
            PolicyRoute("/auth/logout", self.ask, methods=["GET"], policy=view),
            PolicyRoute("/auth/logout", self.log_out, methods=["POST"], policy=send),
            PolicyRoute(BEARER_PATH, self.bearer, methods=["POST"], policy=send),
            PolicyRoute(COOKIE_PATH, self.cookie, methods=["POST"], policy=send),
        ]

    # -- pages -------------------------------------------------------------------------------------------------------

    async def show(self, request: Request) -> Response:
        """The log-in page; for who is logged in, where to go on."""
        principal = principal_of(request)
        link, next_path = request.query_params.get("link"), own_path(request.query_params.get("next"))
        if principal.kind != "anonymous" and not link:
            return page("Logged in", logged_in_body(principal, next_path))
        return self.log_in_page(request, next_path, link)

    def log_in_page(
        self, request: Request, next_path: str, link: str | None = None, error: UserError | None = None
    ) -> Response:
        """The page with all ways to log in, and what went wrong."""
        bare = Response()
        form = self._cookies.form_token(request, bare)
        body = log_in_body(
            form,
            next_path,
            link=link,
            passwords=self._settings.passwords,
            providers=self._providers,
            error=error.text if error else None,
        )
        answer = page("Log in", body, error.status if error else 200)
        answer.raw_headers.extend(header for header in bare.raw_headers if header[0] == b"set-cookie")
        if isinstance(error, TooOften) and error.retry_after_s:
            answer.headers["retry-after"] = str(error.retry_after_s)
        return answer

    async def log_in(self, request: Request) -> Response:
        """Log in with a password or a one-time link, and go to where the caller wanted."""
        async with read_parameters(request, self._web.limits, self._web.spool) as parameters:
            self._cookies.require_form_token(request, parameters.one("CSRF"))
            next_path = own_path(parameters.one("NEXT"))
            try:
                proven, how = await self._who(request, parameters)
                secret = await self.open_session(request, proven, how)
            except UserError as error:
                if error.status not in (400, 401, 403, 429):
                    raise
                return self.log_in_page(request, next_path, error=error)
        answer = Response(status_code=303, headers={"location": next_path, "cache-control": "no-store"})
        self._cookies.set_session(request, answer, secret.text)
        return answer

    async def _who(self, request: Request, parameters: Parameters) -> tuple[Proven, str]:
        link, address = parameters.one("LINK"), address_of(request)
        if link:
            return await self._web.in_state_thread(lambda: self._sign_in.by_link(link, address)), "link"
        name, password = parameters.one("USERNAME") or "", parameters.one("PASSWORD") or ""
        return await self._by_password(name, password, address), "password"

    async def _by_password(self, name: str, password: str, address: str) -> Proven:
        if not self._settings.passwords:
            raise NotAuthenticated("This centre takes no passwords.", next_step="Use a token, or ask the operator.")
        return await self._hashed(lambda: self._sign_in.by_password(name, password, address))

    async def _hashed(self, work: Callable[[], Proven]) -> Proven:
        return await anyio.to_thread.run_sync(work, limiter=self._hashing)

    async def open_session(self, request: Request, proven: Proven, how: str) -> Secret:
        """A new session, and the end of the one that this browser had."""
        old = parse_plain(self._cookies.session_of(request) or "")

        def open_() -> Secret:
            if old is not None:
                self._close(old.key, old.digest)
            return self._sign_in.open_session(
                proven.account, address=address_of(request), how=how, credential=proven.credential
            )

        return await self._web.in_state_thread(open_)

    def _close(self, key: str, digest: str) -> None:
        with self._administration.store.write() as records:
            records.end_session_of(key, digest)

    async def ask(self, request: Request) -> Response:
        """A page that asks; a link alone logs nobody out, since any site could show it as a picture."""
        principal = principal_of(request)
        if principal.kind == "anonymous":
            answer = page("Logged out", '<p>You are not logged in. <a href="/auth/login">Log in</a></p>')
            self._cookies.clear_session(request, answer)
            return answer
        return page("Log out", log_out_body(self._cookies.form_token(request), principal))

    async def log_out(self, request: Request) -> Response:
        """End this browser's session; with EVERYWHERE, all of them, and notebooks."""
        principal = principal_of(request)
        async with read_parameters(request, self._web.limits, self._web.spool) as parameters:
            if by_session(principal):
                self._cookies.require_form_token(request, parameters.one("CSRF"))
                await self._web.in_state_thread(
                    lambda: self._end(request, principal, bool(parameters.one("EVERYWHERE")))
                )
        answer = Response(status_code=303, headers={"location": LOG_IN_PATH, "cache-control": "no-store"})
        self._cookies.clear_session(request, answer)
        return answer

    def _end(self, request: Request, principal: Principal, everywhere: bool) -> None:
        presented = parse_plain(self._cookies.session_of(request) or "")
        address = address_of(request)
        if everywhere:
            self._sign_in.close_all(principal.name, address=address)
        elif presented is not None:
            self._sign_in.close_session(presented, name=principal.name, address=address)
        if presented is not None:
            self._identifier.forget(presented)

    # -- IVOA SSO ----------------------------------------------------------------------------------------------------

    async def bearer(self, request: Request) -> Response:
        """A token, in the header where AuthVO's clients look for it, for a name and its password."""
        sent = await self._sent(request)
        if isinstance(sent, _HeldToken):
            return _permit(sent.account, sent.text, {"x-vo-bearer": sent.text})
        expires_s = min(_BY_PROGRAM_S, self._settings.max_token_s or _BY_PROGRAM_S)
        token, secret = await self._web.in_state_thread(
            lambda: self._administration.add_token(
                sent.account.name,
                "log-in of a program",
                actor=sent.account.name,
                expires=self._administration.in_s(expires_s),
                maker=sent.credential,
            )
        )
        return _permit(token.account, secret.text, {"x-vo-bearer": secret.text})

    async def cookie(self, request: Request) -> Response:
        """A session cookie, for a name and its password."""
        sent = await self._sent(request)
        if isinstance(sent, _HeldToken):
            answer = _permit(sent.account)
            self._cookies.set_session(request, answer, sent.text)
            return answer
        secret = await self.open_session(request, sent, "program")
        answer = _permit(sent.account.name)
        self._cookies.set_session(request, answer, secret.text)
        return answer

    async def _sent(self, request: Request) -> Proven | _HeldToken:
        """The account of a name and password; a token may stand for the password, as it may everywhere."""
        if "origin" in request.headers or "sec-fetch-site" in request.headers:
            raise NotAuthenticated("This address is for programs.", next_step="Browsers log in at /auth/login.")
        async with read_parameters(request, self._web.limits, self._web.spool) as parameters:
            name, password = parameters.one("USERNAME"), parameters.one("PASSWORD")
        if not name or not password:
            raise BadParameter("A name and a password are needed.", allowed="username=…&password=… in the body")
        if not password.startswith(PREFIX):
            return await self._by_password(name, password, address_of(request))
        known = await self._identifier.by_token(password, address_of(request))
        return _HeldToken(known.principal.name, password)


@dataclass(frozen=True, slots=True)
class _HeldToken:
    """A token that a program sent in place of a password. It gets this one back, as a new one could do more, or go on
    when this one is revoked."""

    account: str
    text: str = field(repr=False)


def _permit(account: str, body: str = "", headers: Mapping[str, str] | None = None) -> Response:
    return PlainTextResponse(
        body, headers={"cache-control": "no-store", "x-vo-authenticated": account, **(headers or {})}
    )


def provider_titles(settings: IdentitySettings) -> dict[str, str]:
    """What people call each provider."""
    return {name: each.title or name for name, each in (*settings.providers.items(), *settings.github.items())}


def own_path(text: str | None) -> str:
    """*text* where it is a path of this centre and nothing that a browser could take for another place; else ``/``."""
    if not text or not text.startswith("/") or text.startswith("//") or "\\" in text or len(text) > 2000:
        return "/"
    if any(character.isspace() or unicodedata.category(character)[0] == "C" for character in text):
        return "/"
    return text
