"""Requests to principals: tokens, passwords and session cookies, believed for a few seconds after each look."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
from starlette.requests import Request

from idac.core.errors import AccessDenied, NotAuthenticated
from idac.core.principal import ANONYMOUS, Principal
from idac.identity.cookies import Cookies
from idac.identity.credentials import PREFIX, Presented, parse_plain, parse_token
from idac.identity.directory import Directory, Known, UnknownCredential
from idac.identity.ledger import Ledger
from idac.identity.settings import IdentitySettings
from idac.identity.sign_in import SignIn
from idac.identity.store import IdentityStore, ms
from idac.identity.throttle import Throttle
from idac.web.callers import unmapped

#: Callers remembered at once; the one seen longest ago is forgotten first.
_KEPT = 20_000
#: Seconds for which a password that was right need not be hashed again, as long as the account's own is the same.
_PASSWORD_S = 300.0
#: Looks at the state database at once; threads of their own, since every request needs them first.
_LOOKS = 16
#: Of those for whom an address must wait, at once, so that guesses leave the state database to others.
_DOUBTFUL_LOOKS = 2
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class _Kept:
    known: Known
    fresh_until: float  # on the monotonic clock


class Identifier:
    """Says who asks. One a process, in one event loop.

    A request without any credential is anonymous. One with a credential is never that: where the credential is not good
    the request is refused, and where the state database is away nobody knows, so it is refused too.
    """

    def __init__(
        self,
        store: IdentityStore,
        directory: Directory,
        sign_in: SignIn,
        throttle: Throttle,
        ledger: Ledger,
        settings: IdentitySettings,
        cookies: Cookies,
        hashing: anyio.CapacityLimiter,
    ) -> None:
        """*hashing* holds back passwords, whose hashes cost more than everything else that is done with a request."""
        self._store, self._directory, self._sign_in = store, directory, sign_in
        self._throttle, self._ledger, self._settings = throttle, ledger, settings
        self._cookies, self._hashing = cookies, hashing
        self._looking = anyio.CapacityLimiter(_LOOKS)
        self._doubting = anyio.CapacityLimiter(_DOUBTFUL_LOOKS)
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._wrong: OrderedDict[str, float] = OrderedDict()
        self._asked: dict[str, asyncio.Task[Known]] = {}
        #: Accounts and credentials of passwords that were right, until when they need not be hashed again.
        self._passwords: OrderedDict[str, tuple[int, str, float]] = OrderedDict()
        self._key = secrets.token_bytes(32)

    async def __call__(self, request: Request) -> Principal:
        """The caller; NotAuthenticated, AccessDenied or TooOften for one whose credential is not good."""
        header = request.headers.get("authorization")
        if header is not None:
            known = await self._by_header(header, address_of(request))
            sent_by_browsers = header.partition(" ")[0].lower() == "basic"
        else:
            cookie = self._cookies.session_of(request)
            if cookie is None:
                return ANONYMOUS
            known = await self._by_cookie(cookie, address_of(request))
            sent_by_browsers = True
        if sent_by_browsers and request.method not in _SAFE:
            self._require_own_page(request)
        if known.acting is not None:
            self._note_acting(request, known.acting, known.principal)
        return known.principal

    def _note_acting(self, request: Request, actor: str, principal: Principal) -> None:
        """Write down each use of a lent token; and let the gate know whose refusals these are."""
        request.state.acting = actor
        done = f"{request.method} {request.url.path}"
        self._ledger.note_acting(actor, principal.name, address_of(request), done)

    def forget(self, presented: Presented) -> None:
        """Look again the next time: this process has just changed something about it."""
        self._kept.pop(presented.digest, None)

    # -- kinds of credentials ----------------------------------------------------------------------------------------

    async def _by_header(self, header: str, address: str) -> Known:
        scheme, _, value = header.partition(" ")
        if scheme.lower() == "bearer":
            return await self.by_token(value.strip(), address)
        if scheme.lower() != "basic":
            raise NotAuthenticated(
                "This way to log in is not known here.", value=scheme[:20], allowed="Bearer, Basic, a session cookie"
            )
        name, password = _basic(value.strip())
        for text in (password, name):
            if text.startswith(PREFIX):
                return await self.by_token(text, address)
        if not self._settings.basic_passwords:
            raise NotAuthenticated(
                "Passwords are not taken with a request here.",
                allowed="a token in place of the password, with any user name",
                next_step="Make a token at /auth/tokens.",
            )
        return await self._by_password(name, password, address)

    async def by_token(self, text: str, address: str) -> Known:
        """Whom a token stands for, as if a request had come with it; guesses count against *address*."""
        presented = parse_token(text)
        if presented is None:
            return await self._refuse(_digest(text), address)
        return await self._look(presented, lambda: self._directory.by_token(presented), address)

    async def _by_cookie(self, text: str, address: str) -> Known:
        if text.startswith(PREFIX):  # of a program that logged in by a token
            return await self.by_token(text, address)
        presented = parse_plain(text)
        if presented is None:
            return await self._refuse(_digest(text), address)
        return await self._look(presented, lambda: self._directory.by_session(presented), address)

    async def _by_password(self, name: str, password: str, address: str) -> Known:
        digest = hmac.new(self._key, f"{name}\0{password}".encode(), hashlib.sha256).hexdigest()
        known = self._fresh(digest)
        if known is None:
            known = await self._once(
                digest, lambda: self._password_known(digest, name, password, address), self._hashing
            )
        return known

    def _password_known(self, digest: str, name: str, password: str, address: str) -> Known:
        account_id, credential, until = self._passwords.get(digest, (0, "", 0.0))
        if until > time.monotonic():
            try:
                return self._directory.by_account(account_id, credential)
            except UnknownCredential:  # which says that the hash is another; the password may be the same
                self._passwords.pop(digest, None)
        proven = self._sign_in.by_password(name, password, address)
        known = self._directory.by_account(proven.account.id, proven.credential)
        self._passwords[digest] = (proven.account.id, proven.credential or "", time.monotonic() + _PASSWORD_S)
        while len(self._passwords) > _KEPT:
            self._passwords.popitem(last=False)
        return known

    # -- looking, and remembering ------------------------------------------------------------------------------------

    async def _look(self, presented: Presented, look: Callable[[], Known], address: str) -> Known:
        digest = presented.digest
        known = self._fresh(digest)
        if known is None:
            if self._is_wrong(digest):
                raise _unknown()
            # Those who guess wait for each other, and not for whoever shares an address with them.
            guessed_at = self._throttle.is_blocked(address)
            try:
                known = await self._once(digest, look, self._doubting if guessed_at else self._looking)
            except UnknownCredential:
                await self._refuse(digest, address)
                raise
        return known

    def _fresh(self, digest: str) -> Known | None:
        kept = self._kept.get(digest)
        if kept is None or kept.fresh_until <= time.monotonic():
            return None
        until_ms = kept.known.until_ms
        return kept.known if until_ms is None or until_ms > ms(self._store.now()) else None

    async def _once(self, digest: str, look: Callable[[], Known], limiter: anyio.CapacityLimiter) -> Known:
        """What *look* finds; callers who ask for the same at once share one look."""
        task = self._asked.get(digest)
        if task is None:
            task = asyncio.ensure_future(self._remembered(digest, look, limiter))
            self._asked[digest] = task
            task.add_done_callback(lambda done: self._answered(digest, done))
        return await asyncio.shield(task)

    def _answered(self, digest: str, done: asyncio.Task[Known]) -> None:
        self._asked.pop(digest, None)
        if not done.cancelled():
            done.exception()  # read, since everyone who waited for it may have gone away

    async def _remembered(self, digest: str, look: Callable[[], Known], limiter: anyio.CapacityLimiter) -> Known:
        begun = time.monotonic()
        self._kept.pop(digest, None)
        known = await anyio.to_thread.run_sync(look, limiter=limiter)
        if known.token is not None:
            self._ledger.note_use(known.token)
        self._kept[digest] = _Kept(known, begun + self._settings.check_s)
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return known

    def _is_wrong(self, digest: str) -> bool:
        until = self._wrong.get(digest)
        return until is not None and until > time.monotonic()

    async def _refuse(self, digest: str, address: str) -> Known:
        """Count a guess, once however often it is sent: an old script does not lock out its whole institute."""
        if not self._is_wrong(digest):
            self._throttle.check(address)
            self._wrong[digest] = time.monotonic() + self._settings.guess_window_s
            while len(self._wrong) > _KEPT:
                self._wrong.popitem(last=False)
            await anyio.to_thread.run_sync(self._throttle.wrong, address, limiter=self._looking)
        raise _unknown()

    def _require_own_page(self, request: Request) -> None:
        """Refuse what a page of another site sends in the name of whoever is logged in here.

        Cookies and what was typed into a browser's own form for a name and a password go along by themselves, whatever
        page asks. Browsers say where a request that changes something comes from; what says nothing is no browser.
        """
        origin = request.headers.get("origin")
        site = request.headers.get("sec-fetch-site")
        own = self._cookies.origin_of(request)
        foreign = site is not None and site not in ("same-origin", "none")
        if foreign or (origin is not None and origin != own):
            raise AccessDenied(
                "A page of another site may not do this in your name.",
                value=_shown_origin(origin) or site,
                allowed=own,
                next_step="Programs send a token, in the header Authorization: Bearer.",
            )


def address_of(request: Request) -> str:
    """The caller's address; that of a proxy's client where the server believes the proxy."""
    return unmapped(request.client.host) if request.client is not None else "unknown"


def _basic(value: str) -> tuple[str, str]:
    try:
        name, colon, password = base64.b64decode(value, validate=True).decode("utf-8").partition(":")
    except (binascii.Error, UnicodeDecodeError):
        colon = name = password = ""
    if not colon:
        raise NotAuthenticated(
            "The Authorization header can't be read.", allowed="Basic and the base64 form of name:password, in UTF-8"
        )
    return name, password


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def _unknown() -> UnknownCredential:
    return UnknownCredential(
        "This token or log-in is not known here.", next_step="Log in again, or make a new token at /auth/tokens."
    )


def _shown_origin(origin: str | None) -> str | None:
    """Scheme and host alone: whatever else was put there is nobody's business."""
    parts = urlsplit(origin or "")
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else None
