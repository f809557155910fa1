"""Ways in: passwords, one-time links and what identity providers say; and the browser sessions they open."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from idac.core.errors import NotAuthenticated, UserError
from idac.identity.credentials import Presented, Secret, matches, new_secret, parse_plain, password_credential
from idac.identity.directory import UnknownCredential, require_active, require_person
from idac.identity.ledger import Ledger
from idac.identity.model import Account
from idac.identity.passwords import hash_password, is_outdated, is_password
from idac.identity.settings import IdentitySettings
from idac.identity.store import IdentityStore
from idac.identity.throttle import Throttle
from idac.identity.token_store import revoke_kind
from idac.identity.validity import require_good


@dataclass(frozen=True, slots=True)
class Proven:
    """Somebody who proved to be an account's holder, and the credential that it was by: which password, if it was one.

    What is opened for them looks at it again, so that a log-in under way does not outlive the password.
    """

    account: Account
    credential: str | None = None


class SignIn:
    """Thread-safe; every method may wait for the state database."""

    def __init__(self, store: IdentityStore, settings: IdentitySettings, throttle: Throttle, ledger: Ledger) -> None:
        self._store = store
        self._settings = settings
        self._throttle = throttle
        self._ledger = ledger

    def by_password(self, name: str, password: str, address: str) -> Proven:
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
            wrong = UnknownCredential(
                "The name or the password is not right.", next_step="Try again, or ask the operator for a new one."
            )
            self._ledger.note_log_in_refused(name[:64], "password", address, wrong.what)
            raise wrong
        self._require_active(account, "password", address)
        if is_outdated(kept):
            kept = self._hashed_anew(account, kept, password)
        return Proven(account, password_credential(kept))

    def _hashed_anew(self, account: Account, kept: str, password: str) -> str:
        """The hash that is kept from now on, unless the password was changed meanwhile."""
        hashed = hash_password(password)
        with self._store.write() as records:
            if records.replace_password(account.id, kept, hashed):
                return hashed
            now = records.password_hash(account.id)
        # Another log-in may have been quicker to hash the same password.
        return now if now is not None and is_password(now, password) else kept

    def by_link(self, text: str, address: str) -> Proven:
        """The account of a one-time link, which from now on is void."""
        self._throttle.check(address)
        presented = parse_plain(text)
        with self._store.write() as records:
            kept = records.take_link(presented.key) if presented is not None else None
            account = records.account_by_id(kept[1]) if kept is not None else None
        if presented is None or kept is None or account is None or not matches(presented, kept[0]):
            self._throttle.wrong(address)
            void = UnknownCredential(
                "This link is not good any more: it works once, and for a day.",
                next_step="Ask for a new one; the operator makes it with idac user link NAME.",
            )
            self._ledger.note_log_in_refused(None, "link", address, void.what)
            raise void
        self._require_active(account, "link", address)
        return Proven(account)

    def _require_active(self, account: Account, how: str, address: str) -> None:
        """Refuse whoever proved to be an account's holder while it is shut, and write it down: they may be a thief."""
        try:
            require_active(account, self._store.now())
        except UserError as error:
            self._ledger.note_log_in_refused(account.name, how, address, error.what)
            raise

    def open_session(self, account: Account, *, address: str, how: str, credential: str | None = None) -> Secret:
        """A new browser session; always a new one, so that nobody can have prepared it.

        Raises NotAuthenticated where the *credential* that it is for is not good any more.
        """
        secret = new_secret(prefix="")
        with self._store.write() as records:
            now = records.lock_account(account.id)  # who ends its sessions comes before this one, or finds it
            require_person(now)
            require_good(records, credential, now)
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
