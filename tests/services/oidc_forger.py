"""A provider that does as a test says, wrong things above all: tokens made by hand, answers of any shape and size."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

type Answer = Callable[[], Response]


def new_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def public_jwk(key: rsa.RSAPrivateKey, kid: str | None = "one") -> dict[str, str]:
    """The key as a provider publishes it (RFC 7517)."""
    numbers = key.public_key().public_numbers()
    parts = {name: base64url(n.to_bytes((n.bit_length() + 7) // 8)) for name, n in (("n", numbers.n), ("e", numbers.e))}
    return {"kty": "RSA", "use": "sig", **parts, **({"kid": kid} if kid is not None else {})}


def public_pem(key: rsa.RSAPrivateKey) -> bytes:
    form, kind = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(form, kind)


def signed(claims: Mapping[str, Any], key: rsa.RSAPrivateKey, **header: Any) -> str:
    """A JWT with an RS256 signature (RFC 7515, appendix A.2), whatever its *header* says of it."""
    said = {"alg": "RS256", "kid": "one", **header}
    text = _unsigned(claims, {name: value for name, value in said.items() if value is not None})
    return f"{text}.{base64url(key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def signed_by_curve(claims: Mapping[str, Any], key: Ed25519PrivateKey | Ed448PrivateKey, **header: Any) -> str:
    """A JWT with an EdDSA signature (RFC 8037, appendix A.4), whatever its *header* says of it."""
    text = _unsigned(claims, {"alg": "EdDSA", "kid": "curve", **header})
    return f"{text}.{base64url(key.sign(text.encode()))}"


def curve_jwk(key: Ed25519PrivateKey | Ed448PrivateKey | X25519PrivateKey, curve: str = "Ed25519") -> dict[str, str]:
    """The key as a provider publishes it (RFC 8037, section 2)."""
    x = base64url(key.public_key().public_bytes_raw())
    return {"kty": "OKP", "crv": curve, "use": "sig", "kid": "curve", "x": x}


def keyed(claims: Mapping[str, Any], secret: bytes, **header: Any) -> str:
    """A JWT with an HS256 signature by *secret*."""
    text = _unsigned(claims, {"alg": "HS256", "kid": "one", **header})
    return f"{text}.{base64url(hmac.digest(secret, text.encode(), 'sha256'))}"


def unsigned(claims: Mapping[str, Any], algorithm: str = "none") -> str:
    return f"{_unsigned(claims, {'alg': algorithm})}."


def _unsigned(claims: Mapping[str, Any], header: Mapping[str, Any]) -> str:
    return f"{base64url(json.dumps(header).encode())}.{base64url(json.dumps(claims).encode())}"


@dataclass
class Forger:
    """What the provider answers at each of its addresses; *asked* counts how often it was asked."""

    client_id: str = "idac"
    key: rsa.RSAPrivateKey = field(default_factory=new_key)
    url: str = ""
    access_token: str = "an access token"  # noqa: S105
    id_token: str = ""
    discovery: dict[str, Any] = field(default_factory=dict)
    keys: list[dict[str, Any]] = field(default_factory=list)
    person: dict[str, Any] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)
    sent: dict[str, Any] = field(default_factory=dict)

    def good(self, url: str | None = None) -> None:
        """Do nothing wrong."""
        self.url = url or self.url
        self.discovery = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
            "userinfo_endpoint": f"{self.url}/me",
        }
        self.keys, self.answers, self.asked = [public_jwk(self.key)], {}, {}
        self.person = {"sub": "1815"}

    def claims(self, nonce: str, /, **other: Any) -> dict[str, Any]:
        """What a good ID token says, with *other* claims; those that are None are left out."""
        now = int(time.time())
        half = hashlib.sha256(self.access_token.encode()).digest()[:16]
        found = {
            "iss": self.url, "sub": "1815", "aud": self.client_id, "iat": now, "exp": now + 300, "nonce": nonce,
            "at_hash": base64url(half), "name": "Ada L.", "preferred_username": "ada", "email": "ada@example.org",
        }  # fmt: skip
        return {name: value for name, value in (found | other).items() if value is not None}

    def curve_claims(self, nonce: str, /, **other: Any) -> dict[str, Any]:
        """The same under an EdDSA signature, whose hash is SHA-512."""
        half = hashlib.sha512(self.access_token.encode()).digest()[:32]
        return self.claims(nonce, **({"at_hash": base64url(half)} | other))

    def app(self) -> Starlette:
        places = {
            "/.well-known/openid-configuration": ("discovery", lambda: JSONResponse(self.discovery)),
            "/keys": ("keys", lambda: JSONResponse({"keys": self.keys})),
            "/token": ("token", self._tokens),
            "/me": ("person", lambda: JSONResponse(self.person)),
        }
        return Starlette(
            routes=[Route(path, self._at(*place), methods=["GET", "POST"]) for path, place in places.items()]
        )

    def _tokens(self) -> Response:
        return JSONResponse({"access_token": self.access_token, "token_type": "Bearer", "id_token": self.id_token})

    def _at(self, name: str, usual: Answer) -> Callable[[Request], Any]:
        async def answer(request: Request) -> Response:
            self.asked[name] = self.asked.get(name, 0) + 1
            self.sent[name] = dict(request.headers) | {"body": (await request.body()).decode()}
            return self.answers.get(name, usual)()

        return answer


def huge() -> Response:
    """An answer of 64 MiB, a piece at a time."""

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(1024):
            yield b" " * 65536

    return StreamingResponse(pieces(), media_type="application/json")
