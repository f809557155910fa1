"""Passwords hashed with argon2id, a few at a time, since each hash takes 64 MiB for a moment."""

from __future__ import annotations

import threading
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from idac.core.errors import BadParameter

#: NIST SP 800-63B section 3.1.1: length, and no rules of which characters.
MIN_LENGTH, MAX_LENGTH = 12, 1024
_AT_ONCE = 2

_hasher = PasswordHasher()  # RFC 9106's second recommended option: 64 MiB, 3 passes, 4 lanes
_turn = threading.BoundedSemaphore(_AT_ONCE)


@cache
def _nobodys() -> str:
    """What an unknown name's password is compared with, so that the answer takes as long as for a known one.

    Made when it is first needed: a hash takes a tenth of a second, and every command would wait for it.
    """
    return _hasher.hash("nobody has this password")


def hash_password(password: str) -> str:
    """What to keep of *password*; BadParameter for one that is too short to protect anything."""
    if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
        raise BadParameter(
            "The password can't be used.",
            value=f"{len(password)} characters",
            allowed=f"{MIN_LENGTH} to {MAX_LENGTH} characters, of any kind",
            next_step="Choose a longer one: some words that only you would put together.",
        )
    with _turn:
        return _hasher.hash(password)


def is_password(kept: str | None, password: str) -> bool:
    """True where *kept* was made of *password*; never for an account without one, in the same time."""
    with _turn:
        try:
            right = _hasher.verify(kept or _nobodys(), password[:MAX_LENGTH])
        except (VerificationError, InvalidHashError):
            return False
    return right and kept is not None


def is_outdated(kept: str) -> bool:
    """True for a hash of weaker parameters than today's."""
    return _hasher.check_needs_rehash(kept)
