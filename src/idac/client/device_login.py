"""Logging in without a browser of one's own (RFC 8628): show a code, wait until it is confirmed, have a token."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx

from idac.client.addresses import origin_of
from idac.client.kept import LogIn
from idac.core.errors import AccessDenied, Busy, NotAuthenticated, NotFound, UserError

CLIENT_ID = "idac"
GRANT_TYPE = "urn:ietf:params:oauth:grant-type:device_code"
_METADATA_PATH = "/.well-known/oauth-authorization-server"
_USER_PATH = "/auth/api/v1/user-info"
#: Seconds that a centre may take for an answer; none of these is any work.
_TIMEOUT_S = 30.0
#: What RFC 8628 section 3.5 adds to the interval at each slow_down, and the interval where none is told.
_SLOWER_S, _INTERVAL_S = 5.0, 5.0
_LONGEST_INTERVAL_S = 300.0


class CentreUnavailable(Busy):
    """A centre that does not answer, or not with what a centre answers."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What the person needs, and the secret that the program keeps."""

    user_code: str
    uri: str
    uri_complete: str | None
    device_code: str = field(repr=False)
    interval_s: float
    expires_s: float


@contextmanager
def open_centre(origin: str) -> Iterator[Centre]:
    """The addresses of the centre at *origin* for logging in, as it tells them itself."""
    with httpx.Client(timeout=_TIMEOUT_S, follow_redirects=False) as http:
        yield Centre(origin, http)


class Centre:
    """A centre to log in to. Nothing is sent to any other origin, and no redirect is followed."""

    def __init__(self, origin: str, http: httpx.Client) -> None:
        self.origin = origin
        self._http = http
        self._known: dict[str, Any] | None = None

    def _metadata(self) -> dict[str, Any]:
        """The centre's own word on where what is (RFC 8414), which is for this very address or none."""
        if self._known is None:
            answer = self._send("GET", f"{self.origin}{_METADATA_PATH}")
            if answer.status_code == 404:
                raise NotFound(
                    "There is no log-in at this address.",
                    value=self.origin,
                    allowed="a centre with log-in",
                    next_step="Check the address; where it is right, its tables need no log-in.",
                )
            known = self._object(answer)
            if answer.status_code != 200:
                raise self._unexpected(answer)
            if known.get("issuer") != self.origin:
                raise NotFound(
                    "The centre knows itself by another address.",
                    value=self.origin,
                    allowed=_line(known.get("issuer")),
                    next_step="Log in at that address, if it is the one that you know.",
                )
            self._known = known
        return self._known

    def _endpoint(self, name: str) -> str:
        url = self._metadata().get(name)
        if not isinstance(url, str) or origin_of(url) != self.origin:
            raise NotFound(
                "The centre has no log-in for terminals.",
                value=self.origin,
                next_step="Make a token in a browser, at /auth/tokens.",
            )
        return url

    def begin(self, scopes: tuple[str, ...], device: str) -> Shown:
        """A new code to show."""
        form = {"client_id": CLIENT_ID, "scope": " ".join(scopes), "device_name": device}
        answer = self._send("POST", self._endpoint("device_authorization_endpoint"), form)
        told = self._object(answer)
        if answer.status_code != 200:
            raise self._refused(told)
        complete = told.get("verification_uri_complete")
        shown = Shown(
            _line(told.get("user_code")),
            _line(told.get("verification_uri")),
            _line(complete) if isinstance(complete, str) and origin_of(complete) == self.origin else None,
            _line(told.get("device_code")),
            _number(told.get("interval"), _INTERVAL_S),
            _number(told.get("expires_in"), 0.0),
        )
        if not (shown.user_code and shown.device_code and shown.expires_s) or origin_of(shown.uri) != self.origin:
            raise self._unexpected(answer)
        return shown

    def wait(
        self,
        shown: Shown,
        *,
        sleep: Callable[[float], object] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> LogIn:
        """The log-in, once somebody has confirmed the code; asks no oftener than the centre wants."""
        ends, interval_s = clock() + shown.expires_s, min(shown.interval_s, _LONGEST_INTERVAL_S)
        form = {"grant_type": GRANT_TYPE, "device_code": shown.device_code, "client_id": CLIENT_ID}
        while clock() + interval_s <= ends:
            sleep(interval_s)
            try:
                answer = self._send("POST", self._endpoint("token_endpoint"), form)
            except CentreUnavailable:
                # RFC 8628 section 3.5: a network that fails is asked less often, and not given up.
                interval_s = min(interval_s * 2, _LONGEST_INTERVAL_S)
                continue
            if answer.status_code >= 500:
                continue
            told = self._object(answer)
            if answer.status_code == 200:
                return self._log_in(told)
            if told.get("error") == "slow_down":
                interval_s = min(interval_s + _SLOWER_S, _LONGEST_INTERVAL_S)
            elif told.get("error") != "authorization_pending":
                raise self._refused(told)
        raise NotAuthenticated("The code was not confirmed in time.", next_step="Begin again.")

    def _log_in(self, told: Mapping[str, Any]) -> LogIn:
        token, life_s = _line(told.get("access_token")), _number(told.get("expires_in"), 0.0)
        if not token or _line(told.get("token_type")).lower() != "bearer":
            raise CentreUnavailable("The centre sent no token that can be used here.", value=self.origin)
        expires = int(time.time() + life_s) if life_s else None
        scopes = tuple(_line(told.get("scope")).split())
        username = ""
        with suppress(CentreUnavailable):  # a name for people, for which no token is thrown away
            username = _line(self._object(self._send("GET", f"{self.origin}{_USER_PATH}", token=token)).get("username"))
        return LogIn(self.origin, token, username, scopes, expires)

    def revoke(self, token: str) -> None:
        """End a token; a centre that knows it no longer has nothing against that (RFC 7009)."""
        answer = self._send("POST", self._endpoint("revocation_endpoint"), {"token": token, "client_id": CLIENT_ID})
        if answer.status_code != 200:
            raise self._refused(self._object(answer))

    # -- requests ----------------------------------------------------------------------------------------------------

    def _send(
        self, method: str, url: str, form: Mapping[str, str] | None = None, token: str | None = None
    ) -> httpx.Response:
        headers = {"accept": "application/json"}
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        try:
            return self._http.request(method, url, data=form, headers=headers)
        except httpx.HTTPError as error:
            raise unavailable(self.origin, error) from None

    def _object(self, answer: httpx.Response) -> dict[str, Any]:
        try:
            told = answer.json()
        except ValueError:
            told = None
        if not isinstance(told, dict):
            raise self._unexpected(answer)
        return told

    def _unexpected(self, answer: httpx.Response) -> CentreUnavailable:
        return CentreUnavailable(
            "What answers at this address is no centre, or has a fault.",
            value=f"{self.origin}, status {answer.status_code}",
            next_step="Check the address; where it is right, try again later, or tell the operator.",
        )

    @staticmethod
    def _refused(told: Mapping[str, Any]) -> UserError:
        word, why = _line(told.get("error")), _line(told.get("error_description"))
        if word == "access_denied":
            return AccessDenied(why or "The log-in was refused.")
        if word == "expired_token":
            return NotAuthenticated(why or "The code was not confirmed in time.")
        return NotAuthenticated("The centre did not let this program log in.", value=why or word)


def unavailable(origin: str, error: httpx.HTTPError) -> CentreUnavailable:
    """The error for a request that came to no answer."""
    return CentreUnavailable(
        "The centre does not answer.",
        value=f"{origin}: {str(error) or type(error).__name__}",
        next_step="Check the address and your network, and try again.",
    )


def _line(value: object) -> str:
    """Text that a terminal can show; nothing for anything else."""
    return value if isinstance(value, str) and value.isprintable() else ""


def _number(value: object, otherwise: float) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0 else otherwise
