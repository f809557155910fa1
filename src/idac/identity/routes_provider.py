"""Logging in by an identity provider: out to it, back with a code, and further identities for who is logged in."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from idac.core.errors import AccessDenied, NotAuthenticated, NotFound, UserError
from idac.core.principal import Principal
from idac.identity.cookies import Cookies
from idac.identity.credentials import identity_credential
from idac.identity.external import ExternalAccounts
from idac.identity.flows import FLOW_S, Flow, Flows
from idac.identity.gate import LOG_IN_PATH
from idac.identity.identify import address_of
from idac.identity.ledger import Ledger
from idac.identity.model import ExternalIdentity
from idac.identity.pages import go_on_page, identities_body, page
from idac.identity.provider import Provider
from idac.identity.routes_login import LogInRoutes, own_path
from idac.identity.sign_in import Proven
from idac.identity.store import IdentityStore
from idac.web.bodies import read_parameters
from idac.web.context import WebContext
from idac.web.routes import Policy, PolicyRoute, principal_of

IDENTITIES_PATH = "/auth/identities"
_FORM_BYTES = 16 * 1024
#: Characters of each parameter that a browser comes back with; codes of some providers are whole tokens.
_LONGEST = 8192


class ProviderRoutes:
    """*providers* by the name that dac.yaml has for them."""

    def __init__(
        self,
        providers: Mapping[str, Provider],
        store: IdentityStore,
        log_in: LogInRoutes,
        ledger: Ledger,
        cookies: Cookies,
        web: WebContext,
        *,
        passwords: bool,
    ) -> None:
        """*passwords*: whether people may log in by one."""
        self._providers, self._store, self._log_in, self._ledger = providers, store, log_in, ledger
        self._cookies, self._web, self._passwords = cookies, web, passwords
        self._flows, self._accounts = Flows(store), ExternalAccounts(store)

    def routes(self) -> list[PolicyRoute]:
        view = Policy("open", "text", cross_origin=False, lenient=True)
        own = Policy("user", "text", cross_origin=False)
        send = Policy("user", "text", max_body_bytes=_FORM_BYTES, cross_origin=False)
        there = f"{LOG_IN_PATH}/{{provider}}"
        return [
            PolicyRoute(there, self.begin, methods=["GET"], policy=view),
            PolicyRoute(f"{there}/callback", self.finish, methods=["GET"], policy=view),
            PolicyRoute(IDENTITIES_PATH, self.show, methods=["GET"], policy=own),
            PolicyRoute(f"{IDENTITIES_PATH}/{{provider}}", self.link, methods=["POST"], policy=send),
            PolicyRoute("/auth/unlink", self.unlink, methods=["POST"], policy=send),
        ]

    # -- logging in --------------------------------------------------------------------------------------------------

    async def begin(self, request: Request) -> Response:
        """Send the browser to the provider."""
        provider = self._provider(request)
        next_path = own_path(request.query_params.get("next"))
        try:
            url, cookie = await self._begun(request, provider, next_path)
        except UserError as error:
            return self._log_in.log_in_page(request, next_path, error=error)
        answer = Response(status_code=303, headers={"location": url, "cache-control": "no-store"})
        self._cookies.set_flow(request, answer, cookie, FLOW_S)
        return answer

    async def finish(self, request: Request) -> Response:
        """The browser is back: log in whoever the provider vouches for, once, and only the browser that began it."""
        provider = self._provider(request)
        flow: Flow | None = None
        try:
            parameters = _single(request)
            state, cookie = parameters.get("state", ""), self._cookies.flow_of(request) or ""
            flow = await self._web.in_state_thread(lambda: self._flows.take(provider.name, state, cookie))
            identity = await provider.finish(flow, parameters)
            if flow.session is not None:
                await self._linked(principal_of(request), flow.session, identity)
                answer = Response(status_code=303, headers={"location": flow.next_path, "cache-control": "no-store"})
            else:
                answer = await self._logged_in(request, provider, flow, identity)
        except UserError as error:
            self._ledger.note_log_in_refused(error.holder, provider.name, address_of(request), error.what)
            answer = self._log_in.log_in_page(request, flow.next_path if flow else "/", error=error)
        self._cookies.set_flow(request, answer, "", 0)
        return answer

    async def _begun(
        self, request: Request, provider: Provider, next_path: str, session: str | None = None
    ) -> tuple[str, str]:
        """Where the browser goes, and what its cookie keeps meanwhile."""
        await provider.ready()  # first, so that a provider that is away leaves nothing behind
        redirect_uri = self._web.urls.of(request, f"{LOG_IN_PATH}/{provider.name}/callback")
        flow, secret = await self._web.in_state_thread(
            lambda: self._flows.begin(
                provider.name,
                redirect_uri=redirect_uri,
                next_path=next_path,
                address=address_of(request),
                session=session,
            )
        )
        return await provider.log_in_url(flow, secret.key), secret.text

    async def _logged_in(
        self, request: Request, provider: Provider, flow: Flow, identity: ExternalIdentity
    ) -> Response:
        may_create = provider.makes_accounts
        account = await self._web.in_state_thread(
            lambda: self._accounts.account_for(identity, address=address_of(request), may_create=may_create)
        )
        proven = Proven(account, identity_credential(identity.issuer, identity.subject))
        secret = await self._log_in.open_session(request, proven, provider.name)
        answer = Response(status_code=303, headers={"location": flow.next_path, "cache-control": "no-store"})
        self._cookies.set_session(request, answer, secret.text)
        return answer

    # -- further identities ------------------------------------------------------------------------------------------

    async def show(self, request: Request) -> Response:
        """Identities that lead to the caller's account, and buttons for further ones."""
        principal = principal_of(request)
        _session_of(principal)
        titles = {provider.issuer: provider.title for provider in self._providers.values()}

        def held() -> list[tuple[str, str, str]]:
            with self._store.read() as records:
                account = records.account(principal.name)
                found = records.identities(account.id) if account is not None else []
            return [(titles.get(issuer, issuer), issuer, subject) for issuer, subject in found]

        shown = await self._web.in_state_thread(held)
        form = self._cookies.form_token(request)
        names = {name: provider.title for name, provider in self._providers.items()}
        return page("Identities", identities_body(form, shown, names))

    async def link(self, request: Request) -> Response:
        """Send the browser of somebody who is logged in to a provider, to link who they are there to their account."""
        principal = principal_of(request)
        session = _session_of(principal)
        async with read_parameters(request, self._web.limits, self._web.spool) as parameters:
            self._cookies.require_form_token(request, parameters.one("CSRF"))
        provider = self._provider(request)
        url, cookie = await self._begun(request, provider, IDENTITIES_PATH, session)
        answer = go_on_page(url, provider.title)
        self._cookies.set_flow(request, answer, cookie, FLOW_S)
        return answer

    async def unlink(self, request: Request) -> Response:
        """End the way that an identity has to the caller's account."""
        principal = principal_of(request)
        session = _session_of(principal)
        async with read_parameters(request, self._web.limits, self._web.spool) as parameters:
            self._cookies.require_form_token(request, parameters.one("CSRF"))
            issuer, subject = parameters.one("ISSUER") or "", parameters.one("SUBJECT") or ""
        await self._web.in_state_thread(
            lambda: self._accounts.unlink(
                principal.name, issuer, subject, passwords=self._passwords, actor=principal.name, session=session
            )
        )
        return Response(status_code=303, headers={"location": IDENTITIES_PATH, "cache-control": "no-store"})

    async def _linked(self, principal: Principal, session: str, identity: ExternalIdentity) -> None:
        if principal.credential != f"session:{session}":
            raise NotAuthenticated(
                "You are no longer logged in as whoever began this.", next_step="Log in, and link it again."
            )
        await self._web.in_state_thread(
            lambda: self._accounts.link(principal.name, identity, actor=principal.name, credential=principal.credential)
        )

    def _provider(self, request: Request) -> Provider:
        name = request.path_params["provider"]
        provider = self._providers.get(name)
        if provider is None:
            raise NotFound(
                "There is no identity provider of this name.",
                value=name,
                allowed=", ".join(sorted(self._providers)) or "none",
                next_step=f"Log in at {LOG_IN_PATH}.",
            )
        return provider


def _session_of(principal: Principal) -> str:
    """The key of the caller's browser session; whoever holds but a token must not make it a way in for ever."""
    kind, _, key = (principal.credential or "").partition(":")
    if kind != "session":
        raise AccessDenied("Identities are linked in a browser, not by a token.", next_step="Log in at /auth/login.")
    return key


def _single(request: Request) -> dict[str, str]:
    """The parameters that the browser came back with; each once, as what comes twice could be read in two ways."""
    found: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name in found or len(value) > _LONGEST:
            raise NotAuthenticated(
                "The answer of the provider can't be read.", value=name[:40], next_step="Begin again."
            )
        found[name] = value
    return found
