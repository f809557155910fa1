"""What identity is made of: accounts, groups, tokens, sessions and what was done with them. All times are UTC."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, get_args

from idac.core.principal import Scope

type AccountKind = Literal["user", "service"]
type TokenKind = Literal["user", "service", "notebook"]

TOKEN_KINDS: tuple[TokenKind, ...] = ("user", "service", "notebook")
#: Scopes, and what each is for in words.
SCOPES: dict[Scope, str] = {
    "read:tap": "Query tables",
    "user:token": "Make and revoke tokens",
    "user:groups": "Make groups, and invite to them",
    "admin": "Do what administrators may, where the account is an administrator's",
}


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody, or some program, that this centre knows."""

    id: int
    name: str
    kind: AccountKind
    full_name: str | None
    email: str | None
    uid: int
    is_admin: bool
    has_password: bool
    created: datetime
    frozen: datetime | None = None
    frozen_why: str | None = None
    expires: datetime | None = None
    last_login: datetime | None = None

    def state(self, now: datetime) -> Literal["active", "frozen", "expired"]:
        if self.frozen is not None:
            return "frozen"
        return "expired" if self.expires is not None and self.expires <= now else "active"


@dataclass(frozen=True, slots=True)
class ExternalIdentity:
    """Somebody as an identity provider vouches for them; *issuer* and *subject* together name one person for ever."""

    issuer: str
    subject: str
    username: str
    full_name: str | None = None
    email: str | None = None
    #: Groups from claims, as names of this centre; they hold until the next log-in says otherwise, or *groups_until*.
    groups: frozenset[str] = field(default_factory=frozenset)
    groups_until: datetime | None = None
    #: Data rights from claims, which hold as long.
    rights: frozenset[str] = field(default_factory=frozenset)
    #: The provider's groups by which this person is an administrator here, as long as the groups hold; empty: no more.
    admin_groups: frozenset[str] = field(default_factory=frozenset)

    @property
    def is_admin(self) -> bool:
        return bool(self.admin_groups)


@dataclass(frozen=True, slots=True)
class Member:
    """One account's place in a group; *source* is the issuer whose claims gave it, and None where people did."""

    account: str
    source: str | None
    expires: datetime | None


@dataclass(frozen=True, slots=True)
class Grant:
    """A data right that a group holds."""

    right: str
    expires: datetime | None


@dataclass(frozen=True, slots=True)
class Group:
    """A group with everyone in it and all it holds, expired or not."""

    name: str
    gid: int
    description: str
    created: datetime
    members: tuple[Member, ...] = ()
    grants: tuple[Grant, ...] = ()


@dataclass(frozen=True, slots=True)
class Token:
    """A token without its secret, which nobody keeps but its holder."""

    key: str
    account: str
    kind: TokenKind
    name: str
    scopes: frozenset[str]
    created: datetime
    expires: datetime | None
    last_used: datetime | None = None
    revoked: datetime | None = None
    parent: str | None = None

    def state(self, now: datetime) -> Literal["active", "revoked", "expired"]:
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and self.expires <= now else "active"


#: What the audit log tells of: all that is written down is one of these.
type Action = Literal[
    "catalog rights",
    "device allow",
    "device refuse",
    "group add",
    "group decline",
    "group delete",
    "group grant",
    "group invite",
    "group invite refused",
    "group join",
    "group leave",
    "group make",
    "group manager",
    "group member",
    "group owner",
    "group remove",
    "group uninvite",
    "group withdraw",
    "login",
    "login refused",
    "logout",
    "quota remove",
    "quota set",
    "refused",
    "state backup",
    "state restore",
    "token create",
    "token revoke",
    "user add",
    "user admin",
    "user expire",
    "user forget-claims",
    "user freeze",
    "user identity",
    "user impersonate",
    "user impersonated",
    "user link",
    "user password",
    "user rights",
    "user unfreeze",
    "user unlink",
]
ACTIONS: tuple[Action, ...] = get_args(Action.__value__)
#: What of an act on a group names accounts.
_ACCOUNTS = ("account", "owner", "before", "inviter", "left")


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One line of the audit log; nothing in it is secret."""

    at: datetime
    actor: str
    action: str
    subject: str | None = None
    address: str | None = None
    detail: dict[str, object] = field(default_factory=dict)

    def is_of(self, name: str) -> bool:
        """True where the account did it, or it was done to the account, be it by way of a group."""
        if name in (self.actor, self.subject):
            return True
        named = [self.detail.get(part) for part in _ACCOUNTS] if self.action.startswith("group ") else []
        return any(value == name or (isinstance(value, list) and name in value) for value in named)
