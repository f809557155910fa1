"""The browser's cookies: where the session lies, and how forms prove that they are this centre's own."""

from __future__ import annotations

import hmac
import secrets

from starlette.requests import Request
from starlette.responses import Response

from idac.core.errors import AccessDenied
from idac.core.principal import Principal
from idac.identity.credentials import form_token
from idac.identity.json_requests import by_session
from idac.web.urls import PublicUrl


class Cookies:
    """Cookies of one centre; its *name* keeps those of several on one machine apart, since cookies know no ports."""

    def __init__(self, urls: PublicUrl, name: str, session_s: int) -> None:
        self._urls = urls
        self._name = name
        self._session_s = session_s

    def origin_of(self, request: Request) -> str:
        """The origin under which browsers know this centre."""
        return self._urls.of(request)

    def session_of(self, request: Request) -> str | None:
        return request.cookies.get(self._cookie(request, "session"))

    def set_session(self, request: Request, response: Response, value: str) -> None:
        self._set(request, response, "session", value, self._session_s)

    def clear_session(self, request: Request, response: Response) -> None:
        self._set(request, response, "session", "", 0)

    def flow_of(self, request: Request) -> str | None:
        """What this browser keeps of a log-in at a provider that it began."""
        return request.cookies.get(self._cookie(request, "flow"))

    def set_flow(self, request: Request, response: Response, value: str, max_age: int) -> None:
        self._set(request, response, "flow", value, max_age)

    def form_token(self, request: Request, response: Response | None = None) -> str:
        """What a form of this browser must carry; *response* gets the cookie that it is compared with.

        With a session it follows from the session's own cookie. Without one, as at log-in, a cookie is made for it, so
        that another site can't log a browser in under a name of its choice either.
        """
        cookie = self.session_of(request) or request.cookies.get(self._cookie(request, "form"))
        if cookie is None:
            cookie = secrets.token_urlsafe(32)
            if response is not None:
                self._set(request, response, "form", cookie, 3600)
        return form_token(cookie)

    def require_form_token(self, request: Request, given: str | None) -> None:
        """Raise AccessDenied where a form is not one that this centre gave to this browser."""
        held = [self.session_of(request), request.cookies.get(self._cookie(request, "form"))]
        if not any(hmac.compare_digest(form_token(cookie), given or "") for cookie in held if cookie):
            raise AccessDenied(
                "The form is not one that this browser was given.", next_step="Open the page again, and send it anew."
            )

    def require_own_form(self, request: Request, principal: Principal, given: str | None) -> None:
        """Raise AccessDenied where a browser's log-in would do what no form of this centre asked for.

        Browsers send their cookie with whatever a page makes them send; a form's own text they don't.
        """
        if by_session(principal):
            self.require_form_token(request, given)

    def _cookie(self, request: Request, what: str) -> str:
        name = f"idac-{self._name}-{what}"
        # Browsers take a cookie of this prefix from nobody but this very host, over https.
        return f"__Host-{name}" if self._is_secure(request) else name

    def _is_secure(self, request: Request) -> bool:
        return self.origin_of(request).startswith("https://")

    def _set(self, request: Request, response: Response, what: str, value: str, max_age: int) -> None:
        response.set_cookie(
            self._cookie(request, what),
            value,
            max_age=max_age,
            path="/",
            secure=self._is_secure(request),
            httponly=True,
            samesite="lax",
        )
