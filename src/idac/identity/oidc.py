"""One OpenID Connect provider, as its client: where to send people, and who comes back with a code."""

from __future__ import annotations

import base64
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote_plus, urlencode

import anyio
from authlib.oauth2 import ClientAuth
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from idac.core.errors import BadConfiguration, UserError
from idac.identity.claims import identity_from_claims, wants_more
from idac.identity.flows import Flow
from idac.identity.model import ExternalIdentity
from idac.identity.provider import Provider
from idac.identity.provider_http import fetch_object
from idac.identity.settings import ProviderSettings, require_safe_url

log = logging.getLogger(__name__)

#: Signatures that anyone can check and only the provider can make: never ``none``, never a shared secret.
ALGORITHMS = (*(f"{kind}{bits}" for kind in ("RS", "PS", "ES") for bits in (256, 384, 512)), "EdDSA", "Ed25519")
_KEY_TYPES: dict[str, type[RSAKey | ECKey | OKPKey]] = {"RS": RSAKey, "PS": RSAKey, "ES": ECKey, "Ed": OKPKey}
#: EdDSA says no curve; RFC 9864 names each. Providers use the old name for the one that is taken here.
_NAMES = {"EdDSA": "Ed25519"}
#: Seconds for which the discovery document and the keys are believed.
_FRESH_S = 3600.0
#: Seconds between two looks for a key that is not known: a forger's tokens must not become a flood of requests.
LOOK_AGAIN_S = 10.0
#: Seconds after which a provider that did not answer is asked again.
RETRY_S = 2.0
#: Seconds that the clocks may differ.
_LEEWAY_S = 60
_MOST_KEYS = 100
#: Bits of an RSA key: fewer are broken (NIST SP 800-131A), and many more keep a processor busy for nothing.
_RSA_BITS = range(2048, 16385)
_LONGEST_SUBJECT = 255  # OpenID Connect Core 1.0, section 2

type Key = RSAKey | ECKey | OKPKey


@dataclass(frozen=True, slots=True)
class Metadata:
    """What of a discovery document counts here."""

    authorization: str
    token: str
    keys: str
    user_info: str | None
    #: Whether every return carries the issuer (RFC 9207).
    sends_issuer: bool


class _Kept[T]:
    """Something that is fetched seldom, by one caller for all who wait; a failure is told to all of them as well."""

    def __init__(self) -> None:
        self._fetching = anyio.Lock()
        self._value: T | None = None
        self._error: UserError | None = None
        self._at = self._failed_at = float("-inf")  # by the monotonic clock

    async def get(self, fresh_s: float, fetch: Callable[[], Awaitable[T]]) -> T:
        """The value as it was *fresh_s* seconds ago at most."""
        async with self._fetching:
            if self._value is not None and time.monotonic() - self._at < fresh_s:
                return self._value
            # Those who waited while it was tried in vain would each wait for as long again.
            if self._error is not None and time.monotonic() - self._failed_at < RETRY_S:
                raise self._error.with_traceback(None)
            try:
                self._value = await fetch()
            except UserError as error:
                self._error, self._failed_at = error, time.monotonic()
                raise
            self._error, self._at = None, time.monotonic()
            return self._value


class OpenIdProvider(Provider):
    """One process's view of a provider; for one event loop. *now* is the clock that tokens are judged by."""

    def __init__(
        self, name: str, settings: ProviderSettings, client_secret: str | None, now: Callable[[], datetime]
    ) -> None:
        super().__init__(name, settings, settings.issuer, now)
        self.settings = settings
        method = f"client_secret_{settings.client_auth}" if client_secret is not None else "none"
        # RFC 6749, section 2.3.1: each is form-encoded before they are joined, as a client_id may have a colon.
        encode = quote_plus if method == "client_secret_basic" else str
        self._auth = ClientAuth(encode(settings.client_id), encode(client_secret or ""), method)
        self._metadata: _Kept[Metadata] = _Kept()
        self._keys: _Kept[list[tuple[dict[str, Any], Key]]] = _Kept()

    async def ready(self) -> None:
        await self.metadata()

    # -- there and back ----------------------------------------------------------------------------------------------

    async def log_in_url(self, flow: Flow, state: str) -> str:
        """Where the browser goes to log in."""
        metadata = await self.metadata()
        url: str = prepare_grant_uri(
            metadata.authorization,
            client_id=self.settings.client_id,
            response_type="code",
            redirect_uri=flow.redirect_uri,
            scope=" ".join(self.settings.scopes),
            state=state,
            nonce=flow.nonce,
            code_challenge=create_s256_code_challenge(flow.verifier),
            code_challenge_method="S256",
        )
        return url

    async def finish(self, flow: Flow, answer: Mapping[str, str]) -> ExternalIdentity:
        """Who logged in, by the parameters that the browser came back with; NotAuthenticated where nobody did."""
        metadata = await self.metadata()
        self._require_own_answer(metadata, answer)
        tokens = await self._exchange(metadata, flow, self.code_of(answer))
        id_token, access_token = tokens.get("id_token"), tokens.get("access_token")
        if not isinstance(id_token, str) or not isinstance(access_token, str):
            raise self.doubted("it sent no tokens")
        claims = await self.verified(id_token, nonce=flow.nonce, access_token=access_token)
        if metadata.user_info is not None and wants_more(self.settings.claims, claims):
            claims = await self._user_info(metadata.user_info, access_token, claims) | claims
        return identity_from_claims(self.settings, self.issuer, self.settings.claims, claims, self._now())

    def _require_own_answer(self, metadata: Metadata, answer: Mapping[str, str]) -> None:
        issuer = answer.get("iss")
        if (issuer is not None or metadata.sends_issuer) and issuer != self.settings.issuer:
            raise self.doubted("the answer comes from another provider")

    async def _exchange(self, metadata: Metadata, flow: Flow, code: str) -> dict[str, Any]:
        form = urlencode(
            {
                "grant_type": "authorization_code",
                "code": code,
                "redirect_uri": flow.redirect_uri,
                "code_verifier": flow.verifier,
            }
        )
        headers = {"content-type": "application/x-www-form-urlencoded"}
        url, headers, form = self._auth.prepare("POST", metadata.token, headers, form)
        found = await fetch_object(
            "POST", url, timeout_s=self.settings.timeout_s, headers=headers, body=form, refusals=True
        )
        self.require_no_error(found)
        return found

    async def _user_info(self, url: str, access_token: str, claims: Mapping[str, Any]) -> dict[str, Any]:
        headers = {"authorization": f"Bearer {access_token}"}
        found = await fetch_object("GET", url, timeout_s=self.settings.timeout_s, headers=headers)
        # OpenID Connect Core 1.0, section 5.3.2: without this, one person's answer could be put in another's place.
        if found.get("sub") != claims["sub"]:
            raise self.doubted("its user information is of somebody else")
        return found

    # -- tokens ------------------------------------------------------------------------------------------------------

    async def verified(self, id_token: str, *, nonce: str, access_token: str) -> dict[str, Any]:
        """The claims of an ID token that this provider made, for this centre and this log-in, and that is good now."""
        try:
            header, claims = await self._signed(id_token)
            options = {
                "iss": {"essential": True, "value": self.settings.issuer},
                "aud": {"essential": True, "value": self.settings.client_id},
                "nonce": {"essential": True, "value": nonce},
            }
            told = {"nonce": nonce, "client_id": self.settings.client_id, "access_token": access_token}
            # The library knows the hash of the access token by the older name alone, and would let any pass else.
            header = header | ({"alg": "EdDSA"} if header["alg"] == "Ed25519" else {})
            CodeIDToken(claims, header, options, told).validate(now=int(self._now().timestamp()), leeway=_LEEWAY_S)
        except (JoseError, ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
            # Only the library's own word for what is wrong, never what the token says.
            why = f"{getattr(error, 'error', 'malformed')} {getattr(error, 'claim', None) or ''}".strip()
            raise self.doubted(f"its ID token is not good: {why}") from error
        subject = claims["sub"]
        if not isinstance(subject, str) or not 0 < len(subject) <= _LONGEST_SUBJECT:
            raise self.doubted("it names nobody")
        return claims

    async def _signed(self, id_token: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Header and claims, with a signature by one of the provider's keys."""
        registry = _Registry(algorithms=ALGORITHMS, strict_check_header=False)
        registry.max_header_length = 8192  # some send their certificates along
        header: dict[str, Any] = jws.extract_compact(id_token.encode(), registry=registry).headers()
        algorithm = header.get("alg")
        if algorithm not in ALGORITHMS:
            raise self.doubted("its ID token is signed in a way that is not allowed")
        registry.check_header(header)
        keys = await self._keys_for(algorithm, header.get("kid"))
        for key in keys:
            try:
                payload = jws.deserialize_compact(id_token.encode(), key, registry=registry).payload
            except (JoseError, ValueError):
                continue
            claims = json.loads(payload or b"")
            if isinstance(claims, dict):
                return header, claims
        raise self.doubted("its ID token is signed by a key that is not its own")

    async def _keys_for(self, algorithm: str, kid: object) -> list[Key]:
        keys = _fitting(await self._key_set(_FRESH_S), algorithm, kid)
        if keys:
            return keys
        # Its keys may have changed since.
        return _fitting(await self._key_set(LOOK_AGAIN_S), algorithm, kid)

    # -- what the provider says of itself ----------------------------------------------------------------------------

    async def metadata(self) -> Metadata:
        """Its discovery document, looked at once an hour."""

        async def fetch() -> Metadata:
            url = f"{self.settings.issuer.rstrip('/')}/.well-known/openid-configuration"
            return self._parse_metadata(await fetch_object("GET", url, timeout_s=self.settings.timeout_s))

        return await self._metadata.get(_FRESH_S, fetch)

    def _parse_metadata(self, document: Mapping[str, Any]) -> Metadata:
        if document.get("issuer") != self.settings.issuer:
            raise self._misconfigured("calls itself by another name", "issuer", document)
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint"):
            found = document.get(name)
            if found is None and name == "userinfo_endpoint":
                continue
            try:
                require_safe_url(found if isinstance(found, str) else "")
            except ValueError:
                raise self._misconfigured("names no https address", name, document) from None
        return Metadata(
            document["authorization_endpoint"],
            document["token_endpoint"],
            document["jwks_uri"],
            document.get("userinfo_endpoint"),
            document.get("authorization_response_iss_parameter_supported") is True,
        )

    async def _key_set(self, fresh_s: float) -> list[tuple[dict[str, Any], Key]]:
        """Its keys, as they were *fresh_s* seconds ago at most."""
        metadata = await self.metadata()

        async def fetch() -> list[tuple[dict[str, Any], Key]]:
            return _parse_keys(await fetch_object("GET", metadata.keys, timeout_s=self.settings.timeout_s))

        return await self._keys.get(fresh_s, fetch)

    def _misconfigured(self, what: str, key: str, document: Mapping[str, Any]) -> BadConfiguration:
        log.error(
            "an identity provider is not the one that dac.yaml names",
            extra={"provider": self.name, "key": key, "found": str(document.get(key))[:200]},
        )
        return BadConfiguration(
            f"The provider {self.name} {what}.",
            value=f"{key} {document.get(key)}",
            allowed=self.settings.issuer if key == "issuer" else "https addresses",
            next_step=f"The operator corrects identity.providers.{self.name}.issuer in dac.yaml.",
        )


def _parse_keys(document: Mapping[str, Any]) -> list[tuple[dict[str, Any], Key]]:
    """The public keys of a key set (RFC 7517) that can check signatures here; others are passed over."""
    found: list[tuple[dict[str, Any], Key]] = []
    entries = document.get("keys")
    for entry in entries[:_MOST_KEYS] if isinstance(entries, list) else []:
        if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
            continue
        try:
            if entry.get("kty") == "RSA" and _bits(entry["n"]) in _RSA_BITS:
                found.append((entry, RSAKey.import_key(entry)))
            elif entry.get("kty") == "EC":
                found.append((entry, ECKey.import_key(entry)))
            elif entry.get("kty") == "OKP" and entry.get("crv") == "Ed25519":
                # Without the algorithm, which has two names; _fitting sees to it.
                nameless = {name: value for name, value in entry.items() if name != "alg"}
                found.append((entry, OKPKey.import_key(nameless)))
        except (JoseError, ValueError, TypeError, KeyError):
            continue
    return found


class _Registry(jws.JWSRegistry):
    """Checks EdDSA as Ed25519, and with no other curve."""

    def get_alg(self, name: str) -> Any:
        return super().get_alg(_NAMES.get(name, name))


def _named(algorithm: object) -> object:
    return _NAMES.get(algorithm, algorithm) if isinstance(algorithm, str) else algorithm


def _bits(number: str) -> int:
    """How many bits a number has that is written as base64url, as in keys."""
    return int.from_bytes(base64.urlsafe_b64decode(number + "==")).bit_length()


def _fitting(keys: list[tuple[dict[str, Any], Key]], algorithm: str, kid: object) -> list[Key]:
    kind = _KEY_TYPES[algorithm[:2]]
    return [
        key
        for entry, key in keys
        if isinstance(key, kind)
        and (kid is None or entry.get("kid") == kid)
        and _named(entry.get("alg", algorithm)) == _named(algorithm)
    ]
