"""What people do with their own tokens, never beyond what they may do themselves."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime, timedelta

from idac.core.errors import AccessDenied, BadParameter
from idac.core.principal import Principal
from idac.identity.administration import NOTEBOOK_SCOPES, Administration, require_account, require_scopes
from idac.identity.credentials import Secret
from idac.identity.directory import require_active
from idac.identity.memberships import groups_now
from idac.identity.model import SCOPES, Account, Token, TokenKind


class SelfService:
    """Thread-safe."""

    def __init__(self, administration: Administration) -> None:
        self._administration = administration
        self._settings = administration.settings

    def make_token(
        self,
        principal: Principal,
        name: str,
        *,
        kind: TokenKind = "user",
        scopes: Collection[str] = ("read:tap",),
        expires: datetime | None = None,
    ) -> tuple[Token, Secret]:
        """A new token of the caller's own. One that is made with a token ends with that, whether by time or revoked."""
        wanted = frozenset(scopes)
        require_scopes(wanted)
        allowed = allowed_scopes(principal)
        if not wanted <= allowed:
            raise AccessDenied(
                "You may not give a token more than you have.",
                value=", ".join(sorted(wanted - allowed)),
                allowed=", ".join(sorted(allowed)) or "nothing",
            )
        if kind not in ("user", "notebook"):
            if kind == "service" and principal.kind == "service":
                raise AccessDenied("A service makes no tokens.", next_step="The operator does: idac token create.")
            raise BadParameter("This kind of token is the operator's to make.", value=kind, allowed="user, notebook")
        return self._administration.add_token(
            principal.name,
            name,
            actor=principal.name,
            kind=kind,
            scopes=wanted,
            expires=self._within_limits(expires),
            maker=principal.credential or "",
        )

    def _within_limits(self, expires: datetime | None) -> datetime | None:
        longest = self._settings.max_token_s
        if longest is None:
            return expires
        latest = self._administration.store.now() + timedelta(seconds=longest)
        if expires is not None and expires > latest:
            raise BadParameter(
                "The token would live too long.",
                value=f"{expires:%Y-%m-%d %H:%M} UTC",
                allowed=f"until {latest:%Y-%m-%d %H:%M} UTC (identity.max_token_s)",
            )
        return expires or latest

    def tokens(self, principal: Principal) -> list[Token]:
        """The caller's tokens, newest first, without those that ended a month ago or longer."""
        oldest = self._administration.store.now() - timedelta(days=30)
        never = datetime.max.replace(tzinfo=UTC)
        return [
            token
            for token in self._administration.tokens(principal.name)
            if min(token.revoked or never, token.expires or never) > oldest
        ]

    def revoke(self, principal: Principal, key: str) -> Token:
        return self._administration.revoke(key, actor=principal.name, of=principal.name)

    def account(self, principal: Principal) -> tuple[Account, dict[str, int]]:
        """The caller's account, and the numbers of its groups by name: as of now, whatever *principal* knew."""
        with self._administration.store.read() as records:
            account = require_account(records, principal.name)
            require_active(account, records.now)
            known = self._administration
            return account, groups_now(records, account.id, known.names, known.issuers)


def allowed_scopes(principal: Principal, kind: TokenKind = "user") -> frozenset[str]:
    """Scopes that the caller may give to a token."""
    own = frozenset(SCOPES) if principal.scopes is None else principal.scopes & SCOPES.keys()
    own = own if principal.is_admin else own - {"admin"}
    return own & NOTEBOOK_SCOPES if kind == "notebook" else own
