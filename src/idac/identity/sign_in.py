"""Ways in: passwords, one-time links and what identity providers say; and the browser sessions they open."""

from __future__ import annotations

from datetime import timedelta

from idac.core.errors import NotAuthenticated
from idac.identity.credentials import Presented, Secret, matches, new_secret, parse_plain
from idac.identity.directory import UnknownCredential, require_active
from idac.identity.model import Account
from idac.identity.passwords import hash_password, is_outdated, is_password
from idac.identity.settings import IdentitySettings
from idac.identity.store import IdentityStore
from idac.identity.throttle import Throttle
from idac.identity.token_store import revoke_kind


class SignIn:
    """Thread-safe; every method may wait for the state database."""

    def __init__(self, store: IdentityStore, settings: IdentitySettings, throttle: Throttle) -> None:
        self._store = store
        self._settings = settings
        self._throttle = throttle

    def by_password(self, name: str, password: str, address: str) -> Account:
        """The account of that name, where the password is its own.

        The refusal does not tell whether there is such an account, by its words or by its time.
        """
        name = _askable(name)
        self._throttle.check(address, name)
        with self._store.read() as records:
            account = records.account(name)
            kept = records.password_hash(account.id) if account is not None else None
        if not is_password(kept, password) or account is None or kept is None:
            self._throttle.wrong(address, name)
            with self._store.write() as records:
                records.note(name[:64], "login refused", name[:64], address=address, how="password")
            raise UnknownCredential(
                "The name or the password is not right.", next_step="Try again, or ask the operator for a new one."
            )
        require_active(account, self._store.now())
        if is_outdated(kept):
            with self._store.write() as records:
                records.change_account(account.id, password=hash_password(password))
        return account

    def by_link(self, text: str, address: str) -> Account:
        """The account of a one-time link, which from now on is void."""
        self._throttle.check(address)
        presented = parse_plain(text)
        with self._store.write() as records:
            kept = records.take_link(presented.key) if presented is not None else None
            account = records.account_by_id(kept[1]) if kept is not None else None
        if presented is None or kept is None or account is None or not matches(presented, kept[0]):
            self._throttle.wrong(address)
            raise UnknownCredential(
                "This link is not good any more: it works once, and for a day.",
                next_step="Ask for a new one; the operator makes it with idac user link NAME.",
            )
        require_active(account, self._store.now())
        return account

    def open_session(self, account: Account, *, address: str, how: str) -> Secret:
        """A new browser session; always a new one, so that nobody can have prepared it."""
        secret = new_secret(prefix="")
        with self._store.write() as records:
            now = records.account_by_id(account.id)
            assert now is not None  # noqa: S101  accounts are never removed
            require_active(now, records.now)
            ends = records.now + timedelta(seconds=self._settings.session_s)
            records.add_session(secret.key, secret.digest, account.id, ends, address)
            records.change_account(account.id, last_login=records.ms)
            records.note(account.name, "login", account.name, address=address, how=how)
        return secret

    def close_session(self, presented: Presented, *, name: str, address: str) -> None:
        with self._store.write() as records:
            records.end_session(presented.key)
            records.note(name, "logout", name, address=address)

    def close_all(self, name: str, *, address: str) -> None:
        """Log out everywhere: all browsers, and all notebooks, which were begun from them."""
        with self._store.write() as records:
            account = records.account(name)
            if account is None:
                raise NotAuthenticated("There is no such account.", value=name)
            sessions = records.end_sessions(account.id)
            notebooks = revoke_kind(records, account.id, "notebook")
            records.note(name, "logout", name, address=address, sessions=sessions, notebooks=notebooks)


def _askable(name: str) -> str:
    """*name* where an account can have it; else one that none has, and that any database can be asked for."""
    return name.encode("ascii", "backslashreplace").decode("ascii").replace("\0", "\\0")
