"""A session of ``requests`` that carries the token which ``idac login`` left, to its own centre alone."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self, cast

import requests
from requests.adapters import HTTPAdapter
from urllib3 import BaseHTTPResponse, Retry
from urllib3.connectionpool import ConnectionPool
from urllib3.exceptions import MaxRetryError, ResponseError

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


#: Seconds that one request waits in all, since limits are counted by the minute, and how often it is sent again.
_WAIT_S, _TIMES = 60, 5


class WaitWhereTold(Retry):
    """Sends a request again that came too often (429), once the time that the answer names is over, and no other.

    An answer that names none, or more than is left of a minute, is the caller's.
    """

    RETRY_AFTER_STATUS_CODES = frozenset({429})

    def __init__(self, *, left_s: float = _WAIT_S, **options: Any) -> None:
        super().__init__(**options)
        self.left_s = left_s

    @classmethod
    def fresh(cls) -> Self:
        """For one request. All methods are sent again, as what was refused has done nothing."""
        return cls(total=_TIMES, connect=0, read=False, other=0, allowed_methods=None, raise_on_status=False)

    def new(self, **options: Any) -> Self:
        return super().new(left_s=self.left_s, **options)

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: BaseHTTPResponse | None = None,
        error: Exception | None = None,
        _pool: ConnectionPool | None = None,
        _stacktrace: TracebackType | None = None,
    ) -> Self:
        after = super().increment(method, url, response, error, _pool, _stacktrace)
        wait_s = (self.get_retry_after(response) or 0) if response is not None else 0
        if wait_s > self.left_s:
            # Told as an end of patience, for which urllib3 gives the caller the answer as it is.
            raise MaxRetryError(cast("ConnectionPool", _pool), url or "", ResponseError("the wait is too long"))
        after.left_s = self.left_s - wait_s
        return after


class _Patient(HTTPAdapter):
    def __init__(self) -> None:
        super().__init__(max_retries=WaitWhereTold.fresh())
        self._at_once = HTTPAdapter()

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        # A body that is read as it is sent is gone after the first time.
        if not isinstance(request.body, bytes | str | None):
            return self._at_once.send(request, *args, **options)
        return super().send(request, *args, **options)

    def close(self) -> None:
        super().close()
        self._at_once.close()


class LoggedInSession(requests.Session):
    """Logged in at the centre at *url*, or at the only one; NotAuthenticated where that can't be.

    A request that the centre refuses for coming too often waits for up to a minute, as the centre tells it to.
    """

    def __init__(self, url: str | None = None) -> None:
        super().__init__()
        log_in = LogIns().choose(url).require_current()
        self._bearer = _Bearer(log_in)
        self.auth = self._bearer
        self.mount(f"{log_in.url}/", _Patient())

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        """As for every session, and then with the token again where a redirect stays at the centre."""
        super().rebuild_auth(prepared_request, response)
        self._bearer(prepared_request)
