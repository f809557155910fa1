"""Guessing made slow: wrong passwords and tokens are counted by address and by account, for all processes together."""

from __future__ import annotations

import threading

from idac.core.errors import TooOften
from idac.identity.settings import IdentitySettings
from idac.identity.store import IdentityStore, ms
from idac.web.callers import network_of


class Throttle:
    """Thread-safe. *address* is the caller's as the server knows it."""

    def __init__(self, store: IdentityStore, settings: IdentitySettings) -> None:
        self._store = store
        self._settings = settings
        self._blocked: dict[str, int] = {}  # until when, in milliseconds: no look at the database for those
        self._lock = threading.Lock()

    def check(self, address: str, account: str | None = None) -> None:
        """Raise TooOften while there were too many wrong guesses.

        For an account, other processes' counts are asked for; for tokens, which nobody guesses in a thousand years,
        this process's own memory is enough to keep the state database from being flooded with counts of tries.
        """
        subjects = self._subjects(address, account)
        for subject, limit in subjects:
            self._require_unblocked(subject)
            if account is not None:
                with self._store.read() as records:
                    self._block(subject, limit, records.guesses(subject, self._window()))
                self._require_unblocked(subject)

    def is_blocked(self, address: str) -> bool:
        """Whether ``check`` would refuse the address now. Whoever has a good token is let in by it nevertheless."""
        return any(self._left_s(subject) for subject, _ in self._subjects(address, None))

    def wrong(self, address: str, account: str | None = None) -> None:
        """Count a wrong guess."""
        for subject, limit in self._subjects(address, account):
            with self._store.write() as records:
                self._block(subject, limit, records.count_guess(subject, self._window()))

    def check_names(self, caller: str) -> None:
        """Raise TooOften while a caller named too many accounts that are not there, by which they could find who is."""
        subject, limit = _naming(caller), self._settings.guesses_per_account
        if not self._left_s(subject):
            with self._store.read() as records:
                self._block(subject, limit, records.guesses(subject, self._window()))
        if left_s := self._left_s(subject):
            raise TooOften(
                "You named too many accounts that are not there.",
                value=caller,
                allowed=f"{limit} in {self._settings.guess_window_s} s (identity.guesses_per_account)",
                next_step=f"Try again in {left_s} s, or invite by a link whom you know by no account.",
                retry_after_s=left_s,
            )

    def wrong_name(self, caller: str) -> None:
        """Count an account that a caller named, and that is not there."""
        subject = _naming(caller)
        with self._store.write() as records:
            count = records.count_guess(subject, self._window())
        self._block(subject, self._settings.guesses_per_account, count)

    def _subjects(self, address: str, account: str | None) -> list[tuple[str, int]]:
        subjects = [(f"address {network_of(address)}", self._settings.guesses_per_address)]
        if account is not None:
            subjects.append((f"account {account[:64]}", self._settings.guesses_per_account))
        return subjects

    def _window(self) -> int:
        return ms(self._store.now()) // (self._settings.guess_window_s * 1000)

    def _block(self, subject: str, limit: int, count: int) -> None:
        if count < limit:
            return
        now = ms(self._store.now())
        with self._lock:
            self._blocked = {name: until for name, until in self._blocked.items() if until > now}
            self._blocked[subject] = (self._window() + 1) * self._settings.guess_window_s * 1000

    def _require_unblocked(self, subject: str) -> None:
        if left_s := self._left_s(subject):
            raise TooOften(
                "There were too many wrong passwords, codes or tokens.",
                next_step=f"Try again in {left_s} s. Programs that send an old token may be the cause.",
                retry_after_s=left_s,
            )

    def _left_s(self, subject: str) -> int:
        """For how long it is blocked still."""
        until = self._blocked.get(subject)
        return max(0, -((ms(self._store.now()) - until) // 1000)) if until is not None else 0


def _naming(caller: str) -> str:
    return f"naming {caller[:64]}"
