"""Administrators see what somebody else sees: for some minutes, for a reason, and never without being written down."""

from __future__ import annotations

from datetime import timedelta
from typing import cast

from idac.core.errors import AccessDenied, BadParameter
from idac.identity.administration import Administration, require_account, require_open
from idac.identity.credentials import Secret, new_secret
from idac.identity.directory import require_active
from idac.identity.issuers import is_administrator
from idac.identity.lent_tokens import LENT
from idac.identity.model import Token, TokenKind
from idac.identity.schema import LENT_TOKENS
from idac.identity.token_store import add_token, list_tokens
from idac.identity.validity import require_good

#: What is seen is data: nothing of the account can be changed with it, no token made, and so none renewed.
LENT_SCOPES = frozenset({"read:tap"})
DEFAULT_MINUTES, MOST_MINUTES = 15, 60
_LONGEST_REASON = 200


class Impersonation:
    """Thread-safe."""

    def __init__(self, administration: Administration) -> None:
        self._store, self._issuers = administration.store, administration.issuers

    def lend(
        self,
        name: str,
        reason: str,
        *,
        actor: str,
        administrator: str | None,
        credential: str | None = None,
        minutes: int = DEFAULT_MINUTES,
        address: str | None = None,
    ) -> tuple[Token, Secret]:
        """A token of the account *name* for an administrator; it ends with him. None: for whoever is at the machine.

        Raises AccessDenied where the account is an administrator's, or where either is frozen or has expired; and
        NotAuthenticated where the *credential* by which the administrator asks is not good any more.
        """
        if not 1 <= len(reason.strip()) <= _LONGEST_REASON or not reason.isprintable():
            raise BadParameter(
                "This needs a reason, which the account's holder will read.",
                value=reason[:40] or None,
                allowed=f"1 to {_LONGEST_REASON} printable characters",
            )
        if not 1 <= minutes <= MOST_MINUTES:
            raise BadParameter(
                "The time is not one that is allowed.", value=minutes, allowed=f"1 to {MOST_MINUTES} min"
            )
        secret = new_secret()
        with self._store.write() as records:
            account = require_account(records, name)
            lender = require_account(records, administrator) if administrator is not None else None
            if lender is not None:
                require_good(records, credential, lender)
                if not is_administrator(records, lender, self._issuers):
                    raise AccessDenied("Only administrators may act for others.", value=lender.name)
            else:
                require_open("Nobody sees anything as this account.", account, records.now)
            require_active(account, records.now)
            if account.is_admin:
                raise AccessDenied("Nobody acts for an administrator.", value=name)
            token = add_token(
                records,
                secret,
                account.id,
                cast(TokenKind, LENT),
                f"administrator {actor}: {reason}"[:64],
                LENT_SCOPES,
                expires=records.now + timedelta(minutes=minutes),
            )
            lent = {"key": token.key, "actor": actor, "administrator": lender.id if lender else None, "reason": reason}
            records.connection.execute(LENT_TOKENS.insert().values(lent))
            records.note(
                actor, "user impersonate", name, address=address, token=token.key, why=reason, expires=token.expires
            )
        return token, secret

    def lent(self, name: str) -> list[Token]:
        """Tokens of the account that were lent and are good now."""
        with self._store.read() as records:
            require_account(records, name)
            found = list_tokens(records, name)
            return [
                token for token in found if token.kind == cast(TokenKind, LENT) and token.state(records.now) == "active"
            ]
