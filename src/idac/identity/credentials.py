"""Tokens, session cookies and one-time links: random text, of which this centre keeps nothing but a hash."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
from dataclasses import dataclass, field

#: Programs that look for secrets in repositories and logs can find ours by this.
PREFIX = "idac_"
_ALPHABET = string.digits + string.ascii_letters
_KEY_LENGTH, _SECRET_LENGTH = 22, 43  # 131 and 256 bits
_TOKEN = re.compile(rf"{PREFIX}[0-9A-Za-z]{{{_KEY_LENGTH + _SECRET_LENGTH}}}", re.ASCII)
_PLAIN = re.compile(rf"[0-9A-Za-z]{{{_KEY_LENGTH + _SECRET_LENGTH}}}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Presented:
    """A credential as it came: the public key by which it is found, and the hash to compare with what is kept."""

    key: str
    digest: str


@dataclass(frozen=True, slots=True)
class Secret:
    """A new credential. *text* is shown once, to whom it is made for, and kept nowhere."""

    key: str
    digest: str
    text: str = field(repr=False)


def new_secret(prefix: str = PREFIX) -> Secret:
    """Random text with *prefix*: a key to find it by and 256 bits that nobody can guess."""
    text = prefix + "".join(secrets.choice(_ALPHABET) for _ in range(_KEY_LENGTH + _SECRET_LENGTH))
    return Secret(text[len(prefix) : len(prefix) + _KEY_LENGTH], _digest(text), text)


def parse_token(text: str) -> Presented | None:
    """The parts of a token; None for text that can't be one."""
    if _TOKEN.fullmatch(text) is None:
        return None
    return Presented(text[len(PREFIX) : len(PREFIX) + _KEY_LENGTH], _digest(text))


def parse_plain(text: str) -> Presented | None:
    """The parts of a session cookie or one-time link; None for text that can't be one."""
    if _PLAIN.fullmatch(text) is None:
        return None
    return Presented(text[:_KEY_LENGTH], _digest(text))


def matches(presented: Presented, kept: str) -> bool:
    """True where the secret is the one whose hash was kept; takes as long where it is not."""
    return hmac.compare_digest(presented.digest, kept)


def password_credential(kept: str) -> str:
    """What a log-in by the password of which *kept* is the hash is known by; nothing of the password is in it.

    Another password makes another, so that what was begun by the one before is not good any more.
    """
    return f"password:{_digest(f'idac password {kept}')[:32]}"


def identity_credential(issuer: str, subject: str) -> str:
    """What a log-in by an identity provider is known by until its session is open; no issuer has a blank in it."""
    return f"identity:{issuer} {subject}"


def form_token(cookie: str) -> str:
    """The text that forms of one browser carry, so that no other site can send them in its name."""
    return hmac.new(cookie.encode(), b"idac form", hashlib.sha256).hexdigest()


def _digest(text: str) -> str:
    # A plain hash: stretching is for passwords, and 256 random bits need none.
    return hashlib.sha256(text.encode()).hexdigest()
