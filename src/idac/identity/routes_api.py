"""Tokens and user information for programs, in the shapes that Rubin's clients know, and for the token page."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from idac.core.errors import BadParameter
from idac.core.principal import Principal
from idac.core.quota import SERVICES, Quota
from idac.identity.administration import Administration
from idac.identity.claimed_rights import rights_json
from idac.identity.cookies import Cookies
from idac.identity.json_requests import by_session, json_object, moment_of, require_no_keys, text_of
from idac.identity.model import SCOPES, TOKEN_KINDS, Account, AuditEntry, Token, TokenKind
from idac.identity.pages import page, tokens_body
from idac.identity.quotas import Quotas
from idac.identity.self_service import SelfService, allowed_scopes
from idac.identity.token_store import find_token
from idac.web.bodies import read_parameters
from idac.web.context import WebContext
from idac.web.routes import Policy, PolicyRoute, principal_of

PATH = "/auth/api/v1"
_BODY_BYTES = 16 * 1024
_PRIVATE = {"cache-control": "no-store"}
#: Entries of the audit log in one answer; the command idac audit export has no such bound.
_AUDIT_MOST = 10_000


class ApiRoutes:
    """Self-service for whoever is logged in, and a little administration. Secrets are shown once."""

    def __init__(
        self, service: SelfService, administration: Administration, cookies: Cookies, web: WebContext, quotas: Quotas
    ) -> None:
        self._service, self._administration = service, administration
        self._cookies, self._web, self._quotas = cookies, web, quotas

    def routes(self) -> list[PolicyRoute]:
        user = Policy("user", "json", cross_origin=False)
        tokens = Policy("user", "json", cross_origin=False, scope="user:token")
        make = Policy("user", "json", max_body_bytes=_BODY_BYTES, cross_origin=False, scope="user:token")
        shown = Policy("user", "text", max_body_bytes=_BODY_BYTES, cross_origin=False, scope="user:token")
        admin = Policy("admin", "json", max_body_bytes=_BODY_BYTES, cross_origin=False, scope="admin")
        return [
            PolicyRoute(f"{PATH}/login", self.login, methods=["GET"], policy=user),
            PolicyRoute(f"{PATH}/user-info", self.user_info, methods=["GET"], policy=user),
            PolicyRoute(f"{PATH}/token-info", self.token_info, methods=["GET"], policy=user),
            PolicyRoute(f"{PATH}/tokens", self.list_tokens, methods=["GET"], policy=tokens),
            PolicyRoute(f"{PATH}/tokens", self.make_token, methods=["POST"], policy=make),
            PolicyRoute(f"{PATH}/tokens/{{key}}", self.revoke_token, methods=["DELETE"], policy=tokens),
            PolicyRoute(f"{PATH}/users", self.users, methods=["GET"], policy=admin),
            PolicyRoute(f"{PATH}/users/{{name}}/freeze", self.freeze, methods=["POST"], policy=admin),
            PolicyRoute(f"{PATH}/users/{{name}}/unfreeze", self.unfreeze, methods=["POST"], policy=admin),
            PolicyRoute(f"{PATH}/audit", self.audit, methods=["GET"], policy=admin),
            PolicyRoute("/auth/tokens", self.show_page, methods=["GET"], policy=shown),
            PolicyRoute("/auth/tokens", self.make_on_page, methods=["POST"], policy=shown),
            PolicyRoute("/auth/tokens/revoke", self.revoke_on_page, methods=["POST"], policy=shown),
        ]

    # -- who I am ----------------------------------------------------------------------------------------------------

    async def login(self, request: Request) -> Response:
        """Name and scopes of the caller, and what a page must send along to change anything."""
        principal = principal_of(request)
        scopes = [{"name": name, "description": words} for name, words in SCOPES.items()]
        answer = {
            "csrf": self._cookies.form_token(request) if by_session(principal) else None,
            "username": principal.name,
            "scopes": sorted(allowed_scopes(principal)),
            "config": {"scopes": scopes},
        }
        return JSONResponse(_known(answer), headers=_PRIVATE)

    async def user_info(self, request: Request) -> Response:
        principal = principal_of(request)
        account, groups = await self._web.in_state_thread(lambda: self._service.account(principal))
        quota = await self._web.in_state_thread(lambda: self._quotas.of(principal))
        answer = {
            "username": account.name,
            "name": account.full_name,
            "email": account.email,
            "uid": account.uid,
            "gid": account.uid,
            # Each user is a group of one, as on any Unix machine.
            "groups": [{"name": name, "id": number} for name, number in [(account.name, account.uid), *groups.items()]],
            "data_rights": sorted(principal.rights),
            "quota": _quota_json(quota),
        }
        return JSONResponse(_known(answer), headers=_PRIVATE)

    async def token_info(self, request: Request) -> Response:
        """The token in use; a browser session is told as one of the type ``session``."""
        principal = principal_of(request)
        kind, _, key = (principal.credential or "").partition(":")
        token = await self._web.in_state_thread(lambda: self._token(key)) if kind == "token" else None
        if token is not None:
            return JSONResponse(token_json(token), headers=_PRIVATE)
        session = {"username": principal.name, "token_type": "session", "scopes": sorted(allowed_scopes(principal))}
        return JSONResponse(session | ({"token": key} if kind == "session" else {}), headers=_PRIVATE)

    def _token(self, key: str) -> Token | None:
        with self._administration.store.read() as records:
            return find_token(records, key)

    # -- my tokens ---------------------------------------------------------------------------------------------------

    async def list_tokens(self, request: Request) -> Response:
        principal = principal_of(request)
        tokens = await self._web.in_state_thread(lambda: self._service.tokens(principal))
        return JSONResponse([token_json(token) for token in tokens], headers=_PRIVATE)

    async def make_token(self, request: Request) -> Response:
        """POST token_name, scopes, expires (seconds since 1970) and token_type; the answer has the secret."""
        principal = principal_of(request)
        self._cookies.require_own_form(request, principal, request.headers.get("x-csrf-token"))
        asked = json_object(await request.body(), "token_name", "scopes", "expires", "token_type")
        name = text_of(asked, "token_name")
        kind = _kind(asked.get("token_type", "user"))
        scopes = asked.get("scopes", ["read:tap"])
        if not isinstance(scopes, list) or not all(isinstance(scope, str) for scope in scopes):
            raise BadParameter("scopes is no list of scopes.", allowed=", ".join(SCOPES))
        expires = moment_of(asked.get("expires"))
        token, secret = await self._web.in_state_thread(
            lambda: self._service.make_token(principal, name, kind=kind, scopes=scopes, expires=expires)
        )
        location = self._web.urls.of(request, f"{PATH}/tokens/{token.key}")
        return JSONResponse({"token": secret.text, "info": token_json(token)}, 201, {**_PRIVATE, "location": location})

    async def revoke_token(self, request: Request) -> Response:
        principal = principal_of(request)
        self._cookies.require_own_form(request, principal, request.headers.get("x-csrf-token"))
        await self._web.in_state_thread(lambda: self._service.revoke(principal, request.path_params["key"]))
        return Response(status_code=204, headers=_PRIVATE)

    async def show_page(self, request: Request) -> Response:
        return await self._page(request, principal_of(request))

    async def make_on_page(self, request: Request) -> Response:
        principal = principal_of(request)
        async with read_parameters(request, self._web.limits, self._web.spool) as parameters:
            self._cookies.require_own_form(request, principal, parameters.one("CSRF"))
            days = parameters.integer("DAYS", minimum=1, maximum=36500)
            name, scopes = parameters.required("NAME", "a name for the token"), parameters.many("SCOPE")
        expires = self._administration.in_s(days * 86400) if days is not None else None
        _, secret = await self._web.in_state_thread(
            lambda: self._service.make_token(principal, name, scopes=scopes, expires=expires)
        )
        return await self._page(request, principal, new=secret.text)

    async def revoke_on_page(self, request: Request) -> Response:
        principal = principal_of(request)
        async with read_parameters(request, self._web.limits, self._web.spool) as parameters:
            self._cookies.require_own_form(request, principal, parameters.one("CSRF"))
            key = parameters.required("KEY", "the key of a token")
        await self._web.in_state_thread(lambda: self._service.revoke(principal, key))
        return Response(status_code=303, headers={"location": "/auth/tokens", **_PRIVATE})

    async def _page(self, request: Request, principal: Principal, new: str | None = None) -> Response:
        tokens = await self._web.in_state_thread(lambda: self._service.tokens(principal))
        form = self._cookies.form_token(request) if by_session(principal) else ""
        now = self._administration.store.now()
        return page("Tokens", tokens_body(principal, tokens, form, allowed_scopes(principal), now, new))

    # -- administration ----------------------------------------------------------------------------------------------

    async def users(self, _request: Request) -> Response:
        accounts, claimed = await self._web.in_state_thread(
            lambda: (self._administration.accounts(), self._administration.claimed_rights())
        )
        now = self._administration.store.now()
        found = [account_json(a, now) | {"rights_by_claim": rights_json(claimed.get(a.name, []))} for a in accounts]
        return JSONResponse(found, headers=_PRIVATE)

    async def freeze(self, request: Request) -> Response:
        """POST why; the account is shut out everywhere within seconds."""
        principal, name = principal_of(request), request.path_params["name"]
        self._cookies.require_own_form(request, principal, request.headers.get("x-csrf-token"))
        why = text_of(json_object(await request.body(), "why"), "why")
        account = await self._web.in_state_thread(lambda: self._administration.freeze(name, why, actor=principal.name))
        return JSONResponse(account_json(account, self._administration.store.now()), headers=_PRIVATE)

    async def unfreeze(self, request: Request) -> Response:
        principal, name = principal_of(request), request.path_params["name"]
        self._cookies.require_own_form(request, principal, request.headers.get("x-csrf-token"))
        require_no_keys(await request.body())
        account = await self._web.in_state_thread(lambda: self._administration.unfreeze(name, actor=principal.name))
        return JSONResponse(account_json(account, self._administration.store.now()), headers=_PRIVATE)

    async def audit(self, request: Request) -> Response:
        """The audit log from ``since`` (ISO 8601) on, oldest first."""
        given = request.query_params.get("since")
        try:
            since = datetime.fromisoformat(given) if given else None
        except ValueError:
            raise BadParameter("since is not a time.", value=given, allowed="ISO 8601, such as 2026-11-24") from None
        if since is not None and since.tzinfo is None:
            since = since.replace(tzinfo=UTC)

        def read() -> list[dict[str, object]]:
            entries = self._administration.store.iter_audit(since=since)
            return [entry_json(entry) for _, entry in zip(range(_AUDIT_MOST), entries, strict=False)]

        return JSONResponse(await self._web.in_state_thread(read), headers=_PRIVATE)


def _quota_json(quota: Quota) -> dict[str, object] | None:
    """A quota as Gafaelfawr's user-info tells it, which has no words for the rest; None where nothing is limited."""
    requests = {service: amount for service in SERVICES if (amount := quota.of(service)) is not None}
    running = {} if quota.concurrent is None else {"tap": {"concurrent": quota.concurrent}}
    return {"api": requests, "tap": running} if requests or running else None


def token_json(token: Token) -> dict[str, object]:
    """A token as Gafaelfawr's token-info tells it; times are seconds since 1970."""
    return _known(
        {
            "token": token.key,
            "username": token.account,
            "token_type": token.kind,
            "token_name": token.name,
            "scopes": sorted(token.scopes),
            "created": _seconds(token.created),
            "expires": _seconds(token.expires),
            "last_used": _seconds(token.last_used),
            "revoked": _seconds(token.revoked),
            "parent": token.parent,
        }
    )


def account_json(account: Account, now: datetime) -> dict[str, object]:
    return {
        "username": account.name,
        "kind": account.kind,
        "name": account.full_name,
        "email": account.email,
        "uid": account.uid,
        "admin": account.is_admin,
        "state": account.state(now),
        "password": account.has_password,
        "created": _iso(account.created),
        "frozen": _iso(account.frozen),
        "frozen_why": account.frozen_why,
        "expires": _iso(account.expires),
        "last_login": _iso(account.last_login),
    }


def entry_json(entry: AuditEntry) -> dict[str, object]:
    return {
        "at": entry.at.isoformat(timespec="milliseconds"),
        "actor": entry.actor,
        "action": entry.action,
        "subject": entry.subject,
        "address": entry.address,
        "detail": entry.detail,
    }


def _known(values: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in values.items() if value is not None}


def _seconds(moment: datetime | None) -> int | None:
    return int(moment.timestamp()) if moment is not None else None


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat(timespec="seconds") if moment is not None else None


def _kind(value: object) -> TokenKind:
    if value not in TOKEN_KINDS:
        raise BadParameter("token_type has a value that is not allowed.", value=value, allowed=", ".join(TOKEN_KINDS))
    return value
