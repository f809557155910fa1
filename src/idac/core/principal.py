"""Who asks: the one object that every service takes as proof of identity."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

type PrincipalKind = Literal["anonymous", "user", "service"]


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller, after identification: services read it and never look at a request for more."""

    name: str
    kind: PrincipalKind
    groups: frozenset[str] = field(default_factory=frozenset)
    is_admin: bool = False

    def owns(self, owner: str) -> bool:
        """True where this caller may see and change things that belong to *owner*."""
        return self.is_admin or self.name == owner


#: Everyone who has not logged in. Shares one name, so anonymous jobs are protected by their unguessable ids alone.
ANONYMOUS = Principal(name="anonymous", kind="anonymous")

#: Whoever runs the ``idac`` command on the machine itself: they can read the files anyway.
LOCAL_ADMIN = Principal(name="local-admin", kind="user", is_admin=True)
