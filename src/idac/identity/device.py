"""Log-ins of programs without a browser (RFC 8628): a code to show, a person who decides, and a token to fetch."""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar, Literal

import sqlalchemy as sa

from idac.core.errors import AccessDenied, BadParameter, Conflict, NotFound, TooOften, UserError
from idac.core.principal import Principal
from idac.identity.administration import require_account
from idac.identity.credentials import Secret, matches, new_secret, parse_plain, parse_token
from idac.identity.directory import require_person
from idac.identity.model import SCOPES, Token
from idac.identity.schema import DEVICES
from idac.identity.self_service import allowed_scopes
from idac.identity.settings import IdentitySettings
from idac.identity.store import IdentityStore, Records, ms, time
from idac.identity.throttle import Throttle
from idac.identity.token_store import add_token, find_token, require_room, revoke_token, token_digest
from idac.identity.validity import require_good
from idac.web.callers import network_of

#: Seconds from the code to the decision: time to log in by a second factor first.
CODE_S = 900
#: Seconds after its end in which a program is still told that its code has expired, and not that there is none.
_KEPT_S = 3600
#: Seconds between two questions of a program; each that comes too soon makes it longer (RFC 8628 section 3.5).
INTERVAL_S, _LONGER_S, _LONGEST_S = 5, 5, 60
#: What a question may come too soon by, since networks are not even.
_EARLY_MS = 500
#: Codes that one address may have under way, so that nobody fills the state database with them.
MOST_PER_ADDRESS = 100
#: Consonants alone, upper case: no word, and nothing that looks like something else (RFC 8628 section 6.1). 34 bits.
_ALPHABET = "BCDFGHJKLMNPQRSTVWXZ"
_LENGTH = 8
_DEVICE_LENGTH = 40

type OAuthCode = Literal[
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "invalid_scope",
    "unsupported_grant_type",
    "authorization_pending",
    "slow_down",
    "access_denied",
    "expired_token",
]


class OAuthRefusal(UserError):
    """What a program asked of the token address and did not get; *oauth* is the word that the RFCs have for it."""

    code: ClassVar[str] = "oauth"

    def __init__(self, oauth: OAuthCode, what: str, **parts: Any) -> None:
        self.oauth = oauth
        super().__init__(what, **parts)


@dataclass(frozen=True, slots=True)
class Begun:
    """What a program is told first: its own secret, and what the person types in."""

    secret: Secret
    user_code: str


@dataclass(frozen=True, slots=True)
class Request:
    """What the person sees of a program that waits. *title* is what people call it, *device* what it calls itself."""

    key: str
    user_code: str
    title: str
    device: str
    scopes: frozenset[str]
    address: str
    begun: datetime


class DeviceGrants:
    """Thread-safe; every method may wait for the state database."""

    def __init__(self, store: IdentityStore, settings: IdentitySettings, throttle: Throttle) -> None:
        self._store, self._settings, self._throttle = store, settings, throttle

    # -- the program -------------------------------------------------------------------------------------------------

    def begin(self, client: str, scopes: frozenset[str], *, device: str, address: str) -> Begun:
        """A new code to show, and the secret by which the program that shows it is known."""
        self._title(client)
        if unknown := sorted(scopes - SCOPES.keys()):
            raise OAuthRefusal(
                "invalid_scope", "There are no such scopes.", value=" ".join(unknown), allowed=" ".join(SCOPES)
            )
        secret, network = new_secret(prefix=""), network_of(address)
        with self._store.write() as records:
            connection = records.connection
            connection.execute(sa.delete(DEVICES).where(DEVICES.c.expires <= records.ms - _KEPT_S * 1000))
            waiting = sa.select(sa.func.count()).where(DEVICES.c.network == network, DEVICES.c.expires > records.ms)
            if connection.execute(waiting).scalar_one() >= MOST_PER_ADDRESS:
                raise TooOften(
                    "Too many log-ins were begun from this address and not finished.",
                    next_step=f"Try again in {CODE_S // 60} minutes.",
                    retry_after_s=CODE_S,
                )
            user_code = _new_code(records)
            connection.execute(
                DEVICES.insert().values(
                    key=secret.key,
                    digest=secret.digest,
                    user_digest=_digest(user_code),
                    client=client,
                    device=_printable(device),
                    scopes=" ".join(sorted(scopes or {"read:tap"})),
                    address=address,
                    network=network,
                    state="pending",
                    interval_s=INTERVAL_S,
                    created=records.ms,
                    expires=ms(records.now + timedelta(seconds=CODE_S)),
                )
            )
        return Begun(secret, user_code)

    def redeem(self, code: str, client: str, *, address: str) -> tuple[Token, Secret]:
        """The token of a program that was let in, once; OAuthRefusal while it was not, or for good."""
        self._title(client)
        self._throttle.check(address)
        presented = parse_plain(code)
        if presented is None or not self._is_kept(presented.key, presented.digest):
            self._throttle.wrong(address)
            raise _unknown()
        with self._store.write() as records:
            row = records.connection.execute(sa.select(DEVICES).where(DEVICES.c.key == presented.key)).first()
            answer = self._answer(records, row, address) if row is not None and row.client == client else _unknown()
        # Outside of the transaction, which keeps when it was asked.
        if isinstance(answer, OAuthRefusal):
            raise answer
        return answer

    def _is_kept(self, key: str, digest: str) -> bool:
        with self._store.read() as records:
            query = sa.select(DEVICES.c.digest).where(DEVICES.c.key == key)
            kept = records.connection.execute(query).scalar_one_or_none()
        return kept is not None and secrets.compare_digest(kept, digest)

    def _answer(self, records: Records, row: sa.Row[Any], address: str) -> tuple[Token, Secret] | OAuthRefusal:
        if row.expires <= records.ms:
            return OAuthRefusal("expired_token", "The code was not confirmed in time.", next_step="Begin again.")
        if row.state == "refused":
            return OAuthRefusal("access_denied", "The log-in was refused.")
        if row.state == "pending":
            return self._not_yet(records, row)
        return self._issue(records, row, address)

    @staticmethod
    def _not_yet(records: Records, row: sa.Row[Any]) -> OAuthRefusal:
        change = sa.update(DEVICES).where(DEVICES.c.key == row.key)
        if row.polled is not None and records.ms < row.polled + row.interval_s * 1000 - _EARLY_MS:
            longer = min(row.interval_s + _LONGER_S, _LONGEST_S)
            if longer > row.interval_s:
                records.connection.execute(change.values(interval_s=longer))
            return OAuthRefusal("slow_down", "The program asks too often.", allowed=f"once in {longer} s")
        records.connection.execute(change.values(polled=records.ms))
        return OAuthRefusal("authorization_pending", "Nobody has confirmed the code yet.")

    def _issue(self, records: Records, row: sa.Row[Any], address: str) -> tuple[Token, Secret] | OAuthRefusal:
        taken = sa.delete(DEVICES).where(DEVICES.c.key == row.key)
        account = records.account_by_id(row.account)
        if records.connection.execute(taken).rowcount != 1 or account is None:
            return _unknown()  # another request of the same program was quicker
        state = account.state(records.now) if account.kind == "user" else "a service"
        if state != "active":
            return OAuthRefusal("access_denied", "The account can't be used.", value=f"{account.name} is {state}")
        try:
            require_room(records, account, self._settings.max_tokens)
        except Conflict as error:
            return OAuthRefusal("access_denied", error.text)
        secret = new_secret()
        life_s = min(self._settings.device_token_s, self._settings.max_token_s or self._settings.device_token_s)
        expires = records.now + timedelta(seconds=life_s)
        name = f"{self._title(row.client)} on {row.device}"[:64]
        scopes = frozenset(row.scopes.split())
        token = add_token(records, secret, account.id, "user", name, scopes, expires=expires)
        detail = {"token": token.key, "kind": token.kind, "name": name, "scopes": scopes, "expires": expires}
        records.note(account.name, "token create", account.name, address=address, how="device", **detail)
        return token, secret

    def revoke(self, text: str, *, address: str) -> None:
        """Revoke a token for whoever holds it; nothing at all for what is no token (RFC 7009 section 2.2)."""
        presented = parse_token(text)
        if presented is None:
            return
        with self._store.write() as records:
            kept = token_digest(records, presented.key)
            if kept is None or not matches(presented, kept):
                return
            token = find_token(records, presented.key)
            assert token is not None  # noqa: S101  its hash was there in this transaction
            if revoked := revoke_token(records, token.key):
                detail = {"token": token.key, "name": token.name, "revoked": revoked}
                records.note(token.account, "token revoke", token.account, address=address, how="its holder", **detail)

    # -- the person --------------------------------------------------------------------------------------------------

    def look(self, text: str, principal: Principal, *, address: str) -> Request:
        """The program that shows this code; NotFound for a wrong one, and TooOften after many."""
        code = parse_code(text)
        self._throttle.check(address, f"device {principal.name}")
        with self._store.read() as records:
            row = self._waiting(records, code)
        if row is None:
            self._throttle.wrong(address, f"device {principal.name}")
            raise NotFound(
                "No program waits with this code.",
                value=show_code(code),
                allowed=f"a code that is shown now: it works once, for {CODE_S // 60} minutes",
                next_step="Look again at what your terminal shows, or begin again there.",
            )
        return Request(
            row.key,
            code,
            self._title(row.client),
            row.device,
            frozenset(row.scopes.split()),
            row.address,
            time(row.created),
        )

    def decide(self, text: str, principal: Principal, *, allow: bool, address: str) -> Request:
        """Let the program in as *principal*, with no more than that may do, or refuse it, once and for all."""
        asked = self.look(text, principal, address=address)
        given = asked.scopes & allowed_scopes(principal)
        if allow and not given:
            raise AccessDenied(
                "You may not give the program anything that it asks for.",
                value=", ".join(sorted(asked.scopes)),
                allowed=", ".join(sorted(allowed_scopes(principal))),
            )
        with self._store.write() as records:
            account = require_account(records, principal.name)
            require_person(account)
            require_good(records, principal.credential, account)
            values = {"state": "allowed" if allow else "refused", "account": account.id}
            change = sa.update(DEVICES).where(DEVICES.c.key == asked.key, DEVICES.c.state == "pending")
            decided = records.connection.execute(change.values(**values, scopes=" ".join(sorted(given))))
            if decided.rowcount != 1:
                raise Conflict("This code was decided on already.", value=show_code(asked.user_code))
            records.note(
                principal.name,
                "device allow" if allow else "device refuse",
                principal.name,
                address=address,
                program=asked.title,
                device=asked.device,
                at=asked.address,
                scopes=given if allow else None,
            )
        return asked

    @staticmethod
    def _waiting(records: Records, code: str) -> sa.Row[Any] | None:
        query = sa.select(DEVICES).where(DEVICES.c.user_digest == _digest(code), DEVICES.c.state == "pending")
        return records.connection.execute(query.where(DEVICES.c.expires > records.ms)).first()

    def _title(self, client: str) -> str:
        title = self._settings.device_clients.get(client)
        if title is None:
            raise OAuthRefusal(
                "invalid_client",
                "This centre lets no program of this name log people in.",
                value=client[:64],
                allowed=", ".join(self._settings.device_clients) or "none",
                next_step="Ask the operator, who names them in identity.device_clients.",
            )
        return title or client


def show_code(code: str) -> str:
    """``WDJBMJHT`` as people read it: ``WDJB-MJHT``."""
    return f"{code[: _LENGTH // 2]}-{code[_LENGTH // 2 :]}"


def parse_code(text: str) -> str:
    """The letters of a code, however they were typed; BadParameter for what can't be one."""
    code = re.sub(r"[^A-Z]", "", text.upper())
    if len(text) > 40 or len(code) != _LENGTH or not set(code) <= set(_ALPHABET) or re.search(r"[0-9]", text):
        raise BadParameter(
            "This can't be a code.",
            value=text[:40],
            allowed=f"{_LENGTH} letters, none of them a vowel or Y, such as WDJB-MJHT",
        )
    return code


def _new_code(records: Records) -> str:
    while True:
        code = "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))
        query = sa.select(DEVICES.c.key).where(DEVICES.c.user_digest == _digest(code))
        if records.connection.execute(query).first() is None:
            return code


def _printable(text: str) -> str:
    """What a program says of where it runs, as a line that can be shown."""
    shown = "".join(character for character in text if character.isprintable()).strip()
    return shown[:_DEVICE_LENGTH] or "an unnamed machine"


def _digest(code: str) -> str:
    return hashlib.sha256(f"idac device {code}".encode()).hexdigest()


def _unknown() -> OAuthRefusal:
    return OAuthRefusal(
        "invalid_grant", "This device code is not known here, or was used already.", next_step="Begin again."
    )
