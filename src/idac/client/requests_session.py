"""A session of ``requests`` that carries the token which ``idac login`` left, to its own centre alone."""

from __future__ import annotations

import requests

from idac.client.addresses import origin_of
from idac.client.kept import LogIn, LogIns


class _Bearer(requests.auth.AuthBase):
    """An object and no header of the session, so that what a .netrc has for the host does not take its place."""

    def __init__(self, log_in: LogIn) -> None:
        self._log_in = log_in

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if origin_of(request.url or "") == self._log_in.url:
            request.headers["Authorization"] = f"Bearer {self._log_in.token}"
        return request


class LoggedInSession(requests.Session):
    """Logged in at the centre at *url*, or at the only one; NotAuthenticated where that can't be."""

    def __init__(self, url: str | None = None) -> None:
        super().__init__()
        self._bearer = _Bearer(LogIns().choose(url).require_current())
        self.auth = self._bearer

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        """As for every session, and then with the token again where a redirect stays at the centre."""
        super().rebuild_auth(prepared_request, response)
        self._bearer(prepared_request)
