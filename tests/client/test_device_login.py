"""Waiting for a code to be confirmed, with a server that says what a test wants, and a clock that nobody waits for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from idac.client.addresses import parse_address
from idac.client.device_login import Centre, CentreUnavailable, Shown, open_centre
from idac.client.kept import LogIn
from idac.core.errors import AccessDenied, BadParameter, NotAuthenticated, NotFound, UserError
from services.http_server import serving


@dataclass
class Script:
    """What the server answers at its token address, one after the other, and its metadata."""

    answers: list[tuple[int, dict[str, object]]] = field(default_factory=list)
    metadata: dict[str, object] = field(default_factory=dict)
    begun: dict[str, object] = field(default_factory=dict)

    async def about(self, request: Request) -> Response:
        here = str(request.base_url).rstrip("/")
        known = {"issuer": here, "token_endpoint": f"{here}/t", "device_authorization_endpoint": f"{here}/d"}
        return JSONResponse({**known, **self.metadata})

    async def token(self, _request: Request) -> Response:
        status, told = self.answers.pop(0)
        return JSONResponse(told, status)

    async def device(self, request: Request) -> Response:
        shown = {"user_code": "WDJB-MJHT", "device_code": "secret", "expires_in": 60, "interval": 5}
        return JSONResponse({**shown, "verification_uri": f"{request.base_url}auth/code", **self.begun})

    async def user(self, request: Request) -> Response:
        assert request.headers["authorization"] == "Bearer idac_x"
        return JSONResponse({"username": "ada"})


@contextmanager
def scripted(script: Script) -> Iterator[Centre]:
    routes = [
        Route("/.well-known/oauth-authorization-server", script.about),
        Route("/t", script.token, methods=["POST"]),
        Route("/d", script.device, methods=["POST"]),
        Route("/auth/api/v1/user-info", script.user),
    ]
    with serving(Starlette(routes=routes)) as url, open_centre(url) as centre:
        yield centre


class Time:
    """A clock that sleeping alone moves."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def clock(self) -> float:
        return sum(self.slept)


def wait(centre: Centre, time: Time, shown: Shown | None = None) -> LogIn:
    return centre.wait(shown or centre.begin((), "laptop"), sleep=time.sleep, clock=time.clock)


TOKEN = (200, {"access_token": "idac_x", "token_type": "Bearer", "expires_in": 60, "scope": "read:tap"})
PENDING = (400, {"error": "authorization_pending"})


def test_the_interval_is_kept_and_grows_when_the_centre_says_so() -> None:
    slower, broken = (400, {"error": "slow_down"}), (503, {})
    with scripted(Script([PENDING, slower, PENDING, broken, slower, TOKEN], begun={"expires_in": 900})) as centre:
        time = Time()
        found = wait(centre, time)
    assert (found.token, found.username, found.scopes) == ("idac_x", "ada", ("read:tap",))
    assert time.slept == [5, 5, 10, 10, 10, 15]


def test_after_the_code_has_ended_nobody_waits() -> None:
    with scripted(Script([PENDING] * 12)) as centre, pytest.raises(NotAuthenticated) as caught:
        wait(centre, Time())
    assert str(caught.value) == "The code was not confirmed in time. Begin again."


def test_a_network_that_fails_is_asked_less_often() -> None:
    with scripted(Script(begun={"expires_in": 40})) as centre:
        shown = centre.begin((), "laptop")
    time = Time()
    with open_centre(centre.origin) as away:
        away._known = {"token_endpoint": f"{centre.origin}/t"}  # which it told before it went away
        with pytest.raises(NotAuthenticated):
            wait(away, time, shown)
        assert time.slept == [5, 10, 20]


@pytest.mark.parametrize(
    ("told", "kind", "message"),
    [
        ({"error": "access_denied"}, AccessDenied, "The log-in was refused."),
        ({"error": "expired_token"}, NotAuthenticated, "The code was not confirmed in time."),
        (
            {"error": "invalid_client", "error_description": "No such program."},
            NotAuthenticated,
            "The centre did not let this program log in. Given: No such program..",
        ),
        (
            {"error": "x", "error_description": "\x1b[31m"},
            NotAuthenticated,
            "The centre did not let this program log in. Given: x.",
        ),
    ],
)
def test_what_ends_the_log_in_ends_it(told: dict[str, object], kind: type[UserError], message: str) -> None:
    with scripted(Script([(400, told)])) as centre, pytest.raises(kind) as caught:
        wait(centre, Time())
    assert str(caught.value) == message


def test_nothing_goes_to_another_origin() -> None:
    elsewhere = {"device_authorization_endpoint": "https://evil.example.org/d"}
    with scripted(Script(metadata=elsewhere)) as centre, pytest.raises(NotFound) as caught:
        centre.begin((), "laptop")
    assert str(caught.value) == (
        f"The centre has no log-in for terminals. Given: {centre.origin}. Make a token in a browser, at /auth/tokens."
    )
    with scripted(Script(metadata={"issuer": "https://dac.example.org"})) as centre, pytest.raises(NotFound) as caught:
        centre.begin((), "laptop")
    assert str(caught.value) == (
        f"The centre knows itself by another address. Given: {centre.origin}. Allowed: https://dac.example.org. "
        "Log in at that address, if it is the one that you know."
    )
    with scripted(Script(begun={"verification_uri": "https://evil.example.org/"})) as centre:
        with pytest.raises(CentreUnavailable) as away:
            centre.begin((), "laptop")
        assert str(away.value) == (
            f"What answers at this address is no centre, or has a fault. Given: {centre.origin}, status 200. "
            "Check the address; where it is right, try again later, or tell the operator."
        )
    evil = "https://evil.example.org/?user_code=WDJB-MJHT"
    with scripted(Script(begun={"verification_uri_complete": evil})) as centre:
        assert centre.begin((), "laptop").uri_complete is None


def test_a_place_without_log_in_is_said_to_be_one() -> None:
    with serving(Starlette()) as url, open_centre(url) as centre, pytest.raises(NotFound) as caught:
        centre.begin((), "laptop")
    assert str(caught.value) == (
        f"There is no log-in at this address. Given: {url}. Allowed: a centre with log-in. "
        "Check the address; where it is right, its tables need no log-in."
    )


@pytest.mark.parametrize(
    ("typed", "origin", "tap"),
    [
        ("dac.example.org", "https://dac.example.org", "https://dac.example.org/api/tap"),
        ("HTTPS://DAC.example.org:443/", "https://dac.example.org", "https://dac.example.org/api/tap"),
        ("localhost:8080", "http://localhost:8080", "http://localhost:8080/api/tap"),
        ("http://[::1]:8080/api/tap/", "http://[::1]:8080", "http://[::1]:8080/api/tap"),
        ("https://dc.example.org:8443/tap", "https://dc.example.org:8443", "https://dc.example.org:8443/tap"),
    ],
)
def test_addresses_are_read_as_people_type_them(typed: str, origin: str, tap: str) -> None:
    address = parse_address(typed)
    assert (address.origin, address.tap, address.is_safe) == (origin, tap, True)


@pytest.mark.parametrize(
    "typed",
    ["", "https://", "https://me:pw@dac.example.org", "https://dac.example.org:x", "http://[::1", "a b", "é.org"],
)
def test_what_is_no_address_is_refused(typed: str) -> None:
    with pytest.raises(BadParameter):
        parse_address(typed)
