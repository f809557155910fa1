"""Who asks: the one object that every service takes as proof of identity."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

type PrincipalKind = Literal["anonymous", "user", "service"]
#: What a token may be used for: queries, making and revoking tokens, groups, and what is for administrators.
type Scope = Literal["read:tap", "user:token", "user:groups", "admin"]


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller, after identification: services read it and never look at a request for more."""

    name: str
    kind: PrincipalKind
    groups: frozenset[str] = field(default_factory=frozenset)
    is_admin: bool = False
    #: Data rights held now, by name (``dp1``); those that have expired are not among them.
    rights: frozenset[str] = field(default_factory=frozenset)
    #: What the token in use is limited to; None where nothing limits it, as in a browser session.
    scopes: frozenset[str] | None = None
    #: What proved the identity, such as ``token:<key>``, so that it can be looked at again while work goes on.
    credential: str | None = None
    #: Whether this is somebody else, who may look at what the account sees and change nothing.
    reads_only: bool = False

    def may_use(self, scope: Scope) -> bool:
        """True where the credential in use is not limited to other things."""
        return self.scopes is None or scope in self.scopes

    def owns(self, owner: str) -> bool:
        """True where this caller may see and change things that belong to *owner*."""
        return self.is_admin or self.name == owner


#: Everyone who has not logged in. Shares one name, so anonymous jobs are protected by their unguessable ids alone.
ANONYMOUS = Principal(name="anonymous", kind="anonymous")

#: Whoever runs the ``idac`` command on the machine itself: they can read the files anyway.
LOCAL_ADMIN = Principal(name="local-admin", kind="user", is_admin=True)
