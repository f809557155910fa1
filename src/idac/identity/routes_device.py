"""OAuth 2.0 for programs without a browser: device authorisation (RFC 8628), token, revocation (RFC 7009), metadata."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from idac.core.errors import AccessDenied, TooOften, UserError
from idac.core.principal import Principal
from idac.identity.cookies import Cookies
from idac.identity.device import CODE_S, INTERVAL_S, DeviceGrants, OAuthRefusal, show_code
from idac.identity.identify import address_of
from idac.identity.json_requests import by_session
from idac.identity.model import SCOPES
from idac.identity.pages import page
from idac.identity.pages_device import CODE_PATH, ask_body, decide_body, decided_body
from idac.identity.self_service import allowed_scopes
from idac.identity.settings import IdentitySettings
from idac.web.bodies import read_parameters
from idac.web.context import WebContext
from idac.web.parameters import Parameters
from idac.web.routes import Policy, PolicyRoute, principal_of

#: Where programs find all other addresses (RFC 8414).
METADATA_PATH = "/.well-known/oauth-authorization-server"
DEVICE_PATH, TOKEN_PATH, REVOKE_PATH = "/auth/device", "/auth/token", "/auth/revoke"
GRANT_TYPE = "urn:ietf:params:oauth:grant-type:device_code"
_FORM_BYTES = 16 * 1024
_PRIVATE = {"cache-control": "no-store", "pragma": "no-cache"}
_DAY_S = 86400
#: Words for errors that the RFCs have none for; slow_down makes programs wait and ask again.
_WORDS = {400: "invalid_request", 413: "invalid_request", 429: "slow_down"}


class DeviceRoutes:
    """For programs, answers and errors as the RFCs have them; for people, pages."""

    def __init__(self, grants: DeviceGrants, settings: IdentitySettings, cookies: Cookies, web: WebContext) -> None:
        self._grants, self._settings, self._cookies, self._web = grants, settings, cookies, web

    def routes(self) -> list[PolicyRoute]:
        program = Policy("open", "json", max_body_bytes=_FORM_BYTES, cross_origin=False, lenient=True)
        person = Policy("user", "text", max_body_bytes=_FORM_BYTES, cross_origin=False)
        return [
            PolicyRoute(METADATA_PATH, self.metadata, methods=["GET"], policy=Policy("open", "json")),
            PolicyRoute(DEVICE_PATH, self.begin, methods=["POST"], policy=program),
            PolicyRoute(TOKEN_PATH, self.token, methods=["POST"], policy=program),
            PolicyRoute(REVOKE_PATH, self.revoke, methods=["POST"], policy=program),
            PolicyRoute(CODE_PATH, self.show, methods=["GET"], policy=person),
            PolicyRoute(CODE_PATH, self.decide, methods=["POST"], policy=person),
        ]

    # -- programs ----------------------------------------------------------------------------------------------------

    async def metadata(self, request: Request) -> Response:
        """Where what is, and what it takes."""
        answer = {
            "issuer": self._web.urls.of(request),
            "device_authorization_endpoint": self._web.urls.of(request, DEVICE_PATH),
            "token_endpoint": self._web.urls.of(request, TOKEN_PATH),
            "token_endpoint_auth_methods_supported": ["none"],
            "revocation_endpoint": self._web.urls.of(request, REVOKE_PATH),
            "revocation_endpoint_auth_methods_supported": ["none"],
            "grant_types_supported": [GRANT_TYPE] if self._settings.device_clients else [],
            "response_types_supported": [],
            "scopes_supported": list(SCOPES),
        }
        return JSONResponse(answer)

    async def begin(self, request: Request) -> Response:
        """POST client_id, scope and device_name (ours: what the program calls its machine); a code for the person."""

        async def work(sent: Parameters) -> Response:
            client, scopes = _one(sent, "CLIENT_ID"), frozenset((sent.one("SCOPE") or "").split())
            device, address = sent.one("DEVICE_NAME") or "", address_of(request)
            begun = await self._web.in_state_thread(
                lambda: self._grants.begin(client, scopes, device=device, address=address)
            )
            uri, code = self._web.urls.of(request, CODE_PATH), show_code(begun.user_code)
            answer = {
                "device_code": begun.secret.text,
                "user_code": code,
                "verification_uri": uri,
                "verification_uri_complete": f"{uri}?user_code={code}",
                "expires_in": CODE_S,
                "interval": INTERVAL_S,
            }
            return JSONResponse(answer, headers=_PRIVATE)

        return await self._answered(request, work)

    async def token(self, request: Request) -> Response:
        """POST grant_type, device_code and client_id; the token, once somebody has let the program in."""

        async def work(sent: Parameters) -> Response:
            if (grant := _one(sent, "GRANT_TYPE")) != GRANT_TYPE:
                raise OAuthRefusal(
                    "unsupported_grant_type", "There is no such grant here.", value=grant, allowed=GRANT_TYPE
                )
            code, client, address = _one(sent, "DEVICE_CODE"), _one(sent, "CLIENT_ID"), address_of(request)
            token, secret = await self._web.in_state_thread(lambda: self._grants.redeem(code, client, address=address))
            assert token.expires is not None  # noqa: S101  tokens of this kind always end
            lives_s = int((token.expires - token.created).total_seconds())
            answer = {"access_token": secret.text, "token_type": "Bearer", "expires_in": lives_s}
            return JSONResponse({**answer, "scope": " ".join(sorted(token.scopes))}, headers=_PRIVATE)

        return await self._answered(request, work)

    async def revoke(self, request: Request) -> Response:
        """POST token; 200 also where it was none."""

        async def work(sent: Parameters) -> Response:
            text, address = _one(sent, "TOKEN"), address_of(request)
            await self._web.in_state_thread(lambda: self._grants.revoke(text, address=address))
            return Response(status_code=200, headers=_PRIVATE)

        return await self._answered(request, work)

    async def _answered(self, request: Request, work: Callable[[Parameters], Awaitable[Response]]) -> Response:
        """What *work* makes of the body, or its error as RFC 6749 section 5.2 has it."""
        try:
            if request.query_params:
                raise OAuthRefusal("invalid_request", "Addresses are written into logs.", allowed="a form in the body")
            async with read_parameters(request, self._web.limits, self._web.spool) as sent:
                return await work(sent)
        except UserError as error:
            return _refused(error)

    # -- people ------------------------------------------------------------------------------------------------------

    async def show(self, request: Request) -> Response:
        """The form for a code; with one, the program that shows it and what it asks for."""
        principal = _in_a_browser(request)
        code = request.query_params.get("user_code", "")
        if not code.strip():
            return page("Log in a program", ask_body())
        address = address_of(request)
        try:
            asked = await self._web.in_state_thread(lambda: self._grants.look(code, principal, address=address))
        except UserError as error:
            return _again(error, code)
        given = asked.scopes & allowed_scopes(principal)
        form = self._cookies.form_token(request)
        return page("Log in a program", decide_body(form, principal, asked, given, address, self._lives()))

    def _lives(self) -> str:
        life_s = min(self._settings.device_token_s, self._settings.max_token_s or self._settings.device_token_s)
        number, unit = (life_s // _DAY_S, "day") if life_s >= _DAY_S else (max(1, life_s // 60), "minute")
        return f"{number} {unit}{'' if number == 1 else 's'}"

    async def decide(self, request: Request) -> Response:
        """Let the program in, or refuse it."""
        principal, address = _in_a_browser(request), address_of(request)
        async with read_parameters(request, self._web.limits, self._web.spool) as sent:
            self._cookies.require_form_token(request, sent.one("CSRF"))
            code = sent.required("USER_CODE", "the code that the program shows")
            allow = sent.choice("DECISION", ["ALLOW", "REFUSE"]) == "ALLOW"
        try:
            asked = await self._web.in_state_thread(
                lambda: self._grants.decide(code, principal, allow=allow, address=address)
            )
        except UserError as error:
            return _again(error, code)
        return page("Allowed" if allow else "Refused", decided_body(asked, allow=allow))


def _again(error: UserError, code: str) -> Response:
    """The form once more, with what was wrong; a database that is away is no fault of the code."""
    if error.status >= 500:
        raise error
    answer = page("Log in a program", ask_body(error.text, code[:40]), error.status)
    if isinstance(error, TooOften) and error.retry_after_s:
        answer.headers["retry-after"] = str(error.retry_after_s)
    return answer


def _in_a_browser(request: Request) -> Principal:
    """The caller, where logged in by a browser: whoever holds but a token must not make further ones of it."""
    principal = principal_of(request)
    if not by_session(principal):
        raise AccessDenied("Programs are let in by a browser, not by a token.", next_step="Log in at /auth/login.")
    return principal


def _one(sent: Parameters, name: str) -> str:
    value = sent.one(name)
    if not value:
        raise OAuthRefusal("invalid_request", f"{name.lower()} is missing.", allowed="once, in the body")
    return value


def _refused(error: UserError) -> Response:
    headers = dict(_PRIVATE)
    if isinstance(error, TooOften) and error.retry_after_s:
        headers["retry-after"] = str(error.retry_after_s)
    word = error.oauth if isinstance(error, OAuthRefusal) else _WORDS.get(error.status, "temporarily_unavailable")
    return JSONResponse({"error": word, "error_description": error.text}, error.status, headers)
