"""Whether a credential is good in this very transaction, whatever was believed when the request came."""

from __future__ import annotations

from idac.core.errors import NotAuthenticated
from idac.identity.directory import require_active, require_password
from idac.identity.model import Account, Token
from idac.identity.store import Records
from idac.identity.token_store import lock_token


def require_good(records: Records, credential: str | None, account: Account) -> Token | None:
    """The token that *credential* is, if it is one; raises where it is not good for *account* now, or that is shut.

    Everything that people do with their own accounts asks this where it writes: who stole a credential makes nothing
    with it after it was ended, or the account frozen, however soon. What is found good stays so until the transaction
    ends. Locks of groups and accounts come before it. None is the word of the operator, which nothing ends.
    """
    require_active(account, records.now)
    if credential is None:
        return None
    kind, _, key = credential.partition(":")
    if kind == "token":
        return _good_token(records, key, account)
    if kind == "session":
        if not records.lock_session(key, account.id):
            raise NotAuthenticated("Your log-in has ended.", next_step="Log in again.")
    elif kind == "password":
        require_password(records, account, credential)
    elif kind == "identity":
        _require_identity(records, key, account)
    else:
        raise NotAuthenticated("Nothing is changed by this way to log in.", value=kind, next_step="Log in again.")
    return None


def _require_identity(records: Records, key: str, account: Account) -> None:
    issuer, _, subject = key.partition(" ")
    found = records.account_of_identity(issuer, subject)
    if found is None or found.id != account.id:
        raise NotAuthenticated(
            "This identity does not lead to the account any more.",
            value=f"{subject[:100]} of {issuer[:200]}",
            next_step="Log in by another.",
        )


def _good_token(records: Records, key: str, account: Account) -> Token:
    token = lock_token(records, key)
    if token is None or token.account != account.name or token.revoked is not None:
        raise NotAuthenticated("This token was revoked.", value=key, next_step="Log in again, or use another token.")
    if token.state(records.now) != "active":
        raise NotAuthenticated("This token has expired.", value=key, next_step="Log in again, or use another token.")
    return token
