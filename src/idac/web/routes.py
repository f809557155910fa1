"""Routes that cannot be made without a policy: who may call, what a body may weigh, and how errors look."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

import anyio
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as AsgiScope

from idac.core.errors import AccessDenied, NotAuthenticated, TooLarge, UserError
from idac.core.principal import ANONYMOUS, Principal, Scope
from idac.core.quota import Service
from idac.web.faces import Face, error_response, is_for_a_person

log = logging.getLogger(__name__)

type Access = Literal["open", "user", "admin"]
type Identify = Callable[[Request], Awaitable[Principal]]
type Endpoint = Callable[[Request], Awaitable[Response]] | Callable[[Request], Response]

#: Bytes of a refused body that are read and thrown away, so that the client gets to read why it was refused. A client
#: still writing when the connection closes sees a broken pipe and no message.
DRAIN_BYTES = 64 * 1024 * 1024
DRAIN_S = 10.0
#: Seconds after which a caller who is still being answered is identified again.
RECHECK_S = 5.0
#: Methods that change nothing (RFC 9110 section 9.2.1).
_READING = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True)
class Policy:
    """What a route demands and promises; there is no default, so nobody opens a route by forgetting.

    *access*: ``open`` to everyone (the service checks rights by principal), any logged-in ``user``, or ``admin``.
    *face*: how errors look to a client that states no preference. *max_body_bytes*: 0 refuses any body.
    *cross_origin*: browsers on other origins may read the answers, without credentials. *scope*: what a token must be
    for. *advertises*: answers to nameless callers say how to log in, as AuthVO has capabilities do. *lenient*: a
    credential that is not good counts as none, so that one can log in again. *service*: requests are counted against
    the caller's quota for it. *reads*: no method of it changes anything, so that those may use it who may only look.
    """

    access: Access
    face: Face
    max_body_bytes: int = 0
    cross_origin: bool = True
    scope: Scope | None = None
    advertises: bool = False
    lenient: bool = False
    service: Service | None = None
    reads: bool = False


class PolicyRoute(Route):
    """A Starlette route inside its policy's guard. HEAD and OPTIONS come with every route."""

    def __init__(
        self, path: str, endpoint: Endpoint, *, methods: Collection[str], policy: Policy, name: str | None = None
    ) -> None:
        if not isinstance(policy, Policy):
            raise TypeError(f"route {path} needs a Policy, not {policy!r}")
        super().__init__(path, endpoint, methods=[*methods, "OPTIONS"], name=name)
        self.policy = policy
        self.guard = Guard(self.app, policy, frozenset(self.methods or ()))
        self.app = self.guard


async def identify_nobody(_request: Request) -> Principal:
    """Everyone is anonymous: how a centre without log-in identifies callers."""
    return ANONYMOUS


def _no_challenges(_request: Request) -> Sequence[str]:
    return ()


def _forget(_request: Request, _error: UserError) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Metered:
    """A request counted: headers that say how the caller stands, and why it is one too many, where it is."""

    headers: Mapping[str, str]
    refusal: UserError | None = None


async def _count_nothing(_request: Request, _principal: Principal, _service: Service) -> Metered:
    return Metered({})


@dataclass(frozen=True, slots=True)
class Gate:
    """How a centre lets callers in; as it stands, it knows nobody and has no log-in.

    *challenges* are values of WWW-Authenticate. *on_refusal* is told of every access that is refused. *log_in_path* is
    where a browser is sent that should log in. *meter* counts a request of a service that may have a quota.
    """

    identify: Identify = identify_nobody
    challenges: Callable[[Request], Sequence[str]] = _no_challenges
    on_refusal: Callable[[Request, UserError], None] = _forget
    log_in_path: str | None = None
    meter: Callable[[Request, Principal, Service], Awaitable[Metered]] = _count_nothing


def principal_of(request: Request) -> Principal:
    """Who asks, as the guard found out before the endpoint ran."""
    principal = request.state.principal
    assert isinstance(principal, Principal)  # noqa: S101  set by Guard on every PolicyRoute
    return principal


_EXPOSED = (
    "Location, Content-Disposition, Retry-After, X-Request-Id, X-VO-Authenticated, ETag, X-RateLimit-Limit, "
    "X-RateLimit-Remaining, X-RateLimit-Used, X-RateLimit-Reset, X-RateLimit-Resource"
)


class Guard:
    """Applies a policy around one endpoint, and turns what it raises into the right face."""

    def __init__(self, app: ASGIApp, policy: Policy, methods: frozenset[str]) -> None:
        self.app = app
        self.policy = policy
        self.methods = methods

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        body = BoundedBody(receive, self.policy.max_body_bytes, takes_uploads=self.policy.scope == "read:tap")
        request = Request(scope, body)
        request.state.request_id = secrets.token_hex(8)
        answer = Answer(send, self._headers(request))
        if request.method == "OPTIONS":
            await self._preflight()(scope, receive, answer)
            return
        gate: Gate = getattr(request.app.state, "gate", Gate())
        try:
            principal = request.state.principal = await self._admit(request, gate)
            if principal.kind != "anonymous":
                answer.headers["x-vo-authenticated"] = principal.name
                answer.recheck = lambda: gate.identify(request)
            elif self.policy.advertises:
                answer.challenges = gate.challenges(request)
            if self.policy.service is not None:
                metered = await gate.meter(request, principal, self.policy.service)
                answer.headers.update(metered.headers)
                if metered.refusal is not None:
                    raise metered.refusal
            body.check_declared(request.headers.get("content-length"))
            await self.app(scope, body, answer)
        except ClientDisconnect:
            log.info("client went away before it had its answer", extra={"path": request.url.path})
        except Exception as error:
            if isinstance(error, NotAuthenticated | AccessDenied):
                gate.on_refusal(request, error)
            if answer.started:
                # Returning without the end of the body makes the server close the connection: the client sees a
                # broken transfer, never a short table that looks whole.
                log.exception("answer broke off after it had begun", extra={"path": request.url.path})
                return
            response = self._refusal(error, request, gate)
            if not await self._drained(body, request):
                response.headers["connection"] = "close"
            await response(scope, receive, answer)

    def _refusal(self, error: Exception, request: Request, gate: Gate) -> Response:
        """The answer that says what is wrong; a person who should log in is led to where that is done."""
        if isinstance(error, NotAuthenticated) and gate.log_in_path and is_for_a_person(request):
            here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
            headers = {"location": f"{gate.log_in_path}?next={quote(here, safe='')}", "cache-control": "no-store"}
            return Response(status_code=303, headers=headers)
        response = error_response(error, request, self.policy.face)
        challenges = gate.challenges(request) if response.status_code == 401 else ()
        if challenges:
            del response.headers["www-authenticate"]
        for challenge in challenges:
            response.headers.append("www-authenticate", challenge)
        return response

    async def _drained(self, body: BoundedBody, request: Request) -> bool:
        """Read the rest of a refused request; False where the client waits to be asked for it, or sends too much."""
        if "expect" in request.headers and body.untouched:
            return False
        with anyio.move_on_after(DRAIN_S):
            await body.drain(DRAIN_BYTES)
        return body.ended

    async def _admit(self, request: Request, gate: Gate) -> Principal:
        try:
            principal = await gate.identify(request)
        except (NotAuthenticated, AccessDenied):
            if not self.policy.lenient:
                raise
            principal = ANONYMOUS
        if self.policy.access != "open" and principal.kind == "anonymous":
            raise NotAuthenticated(
                "This address needs a log-in.", value=request.url.path, next_step="Log in, or send a token."
            )
        if self.policy.access == "admin" and not principal.is_admin:
            raise _for_administrators(principal)
        if self.policy.scope is not None and not principal.may_use(self.policy.scope):
            raise AccessDenied(
                "This token is not for this.",
                value=f"scopes {', '.join(sorted(principal.scopes or ()))}",
                allowed=f"tokens with the scope {self.policy.scope}",
                next_step="Make a token with this scope at /auth/tokens.",
            )
        # Where one logs in, the credential that came along means nothing.
        harmless = self.policy.reads or self.policy.lenient or request.method in _READING
        if principal.reads_only and not harmless:
            raise AccessDenied(
                "This token is lent to look, and changes nothing.",
                value=f"{request.method} {request.url.path}",
                allowed="GET, HEAD, and queries that are answered at once",
                next_step="The account's holder does this.",
            )
        return principal

    def _headers(self, request: Request) -> dict[str, str]:
        headers = {"x-request-id": request.state.request_id}
        if self.policy.cross_origin:
            headers["access-control-allow-origin"] = "*"
            headers["access-control-expose-headers"] = _EXPOSED
        return headers

    def _preflight(self) -> Response:
        methods = ", ".join(sorted(self.methods))
        headers = {"allow": methods}
        if self.policy.cross_origin:
            headers |= {
                "access-control-allow-methods": methods,
                "access-control-allow-headers": "Accept, Authorization, Content-Type, Range, X-Requested-With",
                "access-control-max-age": "86400",
            }
        return Response(status_code=204, headers=headers)


def _for_administrators(principal: Principal) -> AccessDenied:
    if principal.may_use("admin"):
        return AccessDenied(
            "This address is for administrators.",
            value=f"caller {principal.name}",
            allowed="administrators of this centre",
            next_step="Ask the operator.",
        )
    # The account may be an administrator's, whose tokens are that only where it was asked for.
    return AccessDenied(
        "This address is for administrators.",
        value=f"caller {principal.name}, by a token with the scopes {', '.join(sorted(principal.scopes or ()))}",
        allowed="administrators of this centre, by a token with the scope admin",
        next_step="Administrators make one at /auth/tokens in a browser, or with idac token create --scope admin.",
    )


class Answer:
    """``send`` that adds a route's headers, remembers whether the status line is out, and ends when its caller must.

    A long answer is stopped at the next piece after the caller's token was revoked, or the account frozen.
    """

    def __init__(self, send: Send, headers: dict[str, str]) -> None:
        self._send = send
        self._checked = time.monotonic()
        self.headers = headers
        self.challenges: Sequence[str] = ()
        self.recheck: Callable[[], Awaitable[object]] | None = None
        self.started = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            headers = MutableHeaders(scope=message)
            for name, value in self.headers.items():
                headers.setdefault(name, value)
            for challenge in self.challenges:
                headers.append("www-authenticate", challenge)
        elif self.recheck is not None and time.monotonic() - self._checked >= RECHECK_S:
            await self._look_again(self.recheck)
            self._checked = time.monotonic()
        await self._send(message)

    async def _look_again(self, recheck: Callable[[], Awaitable[object]]) -> None:
        """Raise where the caller may have no answer any more, and for nothing else.

        A state database that is away for a moment hides no revocation, as none can be written to it either; and
        guesses of a neighbour, for which their whole address must wait, are not the caller's.
        """
        try:
            await recheck()
        except (NotAuthenticated, AccessDenied):
            raise
        except UserError as error:
            log.info("whose answer is being sent could not be looked at", extra={"code": error.code})


class BoundedBody:
    """``receive`` that stops at a byte count, so that no handler can hold more than its policy allows."""

    def __init__(self, receive: Receive, limit: int, *, takes_uploads: bool = False) -> None:
        """*takes_uploads*: a table may be sent in place of long parameters."""
        self._receive = receive
        self._limit = limit
        self._takes_uploads = takes_uploads
        self._read = 0
        self.ended = False

    async def __call__(self) -> Message:
        message = await self._receive()
        self._note(message)
        if self._read > self._limit:
            raise self._too_large(None)
        return message

    @property
    def untouched(self) -> bool:
        return self._read == 0 and not self.ended

    def check_declared(self, content_length: str | None) -> None:
        """Refuse a body by its own declaration, before any of it is read."""
        if content_length is not None and content_length.isdigit() and int(content_length) > self._limit:
            raise self._too_large(int(content_length))

    async def drain(self, limit: int) -> None:
        """Read on, holding nothing, to the end of the body or *limit* bytes."""
        end = self._read + limit
        while not self.ended and self._read < end:
            self._note(await self._receive())

    def _note(self, message: Message) -> None:
        if message["type"] == "http.disconnect":
            self.ended = True
            return
        self._read += len(message.get("body", b""))
        self.ended = not message.get("more_body", False)

    def _too_large(self, declared: int | None) -> TooLarge:
        if self._limit == 0:
            return TooLarge("This address takes no request body.", next_step="Send parameters in the URL.")
        return TooLarge(
            "The request is too large.",
            value=f"{declared} bytes" if declared is not None else f"more than {self._limit} bytes",
            allowed=f"{self._limit} bytes for this address",
            next_step="Send less, or upload a table and join it." if self._takes_uploads else "Send less.",
        )
