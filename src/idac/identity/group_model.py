"""Groups that somebody owns and looks after, and invitations to them. All times are UTC."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from idac.identity.model import Member

#: What somebody is to a group, the most first; administrators may do what owners may.
type Role = Literal["owner", "manager", "member", "administrator"]


@dataclass(frozen=True, slots=True)
class UserGroup:
    """A group with an owner. *given*: an administrator made it theirs."""

    id: int
    name: str
    gid: int
    description: str
    owner: str
    given: bool
    created: datetime


@dataclass(frozen=True, slots=True)
class Invitation:
    """An open invitation: to *account*, or where that is None to whoever has the link; good *uses* times more."""

    key: str
    group: str
    description: str
    inviter: str
    account: str | None
    uses: int
    created: datetime
    expires: datetime
    #: Until when a place lasts that it gives; None: without an end.
    member_expires: datetime | None
    #: Whether it lets anybody in: its giver looks after the group still, and neither they nor its owner are shut out.
    holds: bool
    #: Whether its giver looks after the group as an administrator alone, if they are one by whoever may say so.
    by_administrator: bool


@dataclass(frozen=True, slots=True)
class GroupView:
    """A group as one of those in it sees it: everyone who is in it now, and, for who looks after it, invitations."""

    group: UserGroup
    role: Role
    members: tuple[Member, ...]
    managers: frozenset[str]
    invitations: tuple[Invitation, ...] = ()
    #: Whether this centre has come to use its name, so that it counts for nobody until an administrator means it.
    unmeant: bool = False
    #: Whether its owner's account is frozen, so that it counts for nobody until it is not, or somebody else's.
    owner_frozen: bool = False

    @property
    def counts(self) -> bool:
        return not self.unmeant and not self.owner_frozen

    @property
    def may_manage(self) -> bool:
        return self.role != "member"

    @property
    def may_own(self) -> bool:
        return self.role in ("owner", "administrator")
