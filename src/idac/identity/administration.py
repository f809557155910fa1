"""What administrators do with accounts, groups, rights and tokens. Every act and its line in the audit log are one."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count as counted

from idac.core.errors import BadParameter, Conflict, NotFound
from idac.core.nearest import nearest
from idac.identity import group_store
from idac.identity.claimed_rights import ClaimedRight, claimed_rights
from idac.identity.credentials import Secret, new_secret
from idac.identity.group_names import GroupNames, names_in_use
from idac.identity.issuers import Issuers, is_administrator
from idac.identity.memberships import unmeant
from idac.identity.model import SCOPES, Account, AccountKind, Group, Token, TokenKind
from idac.identity.passwords import hash_password
from idac.identity.settings import GROUP_NAME, RESERVED_NAMES, DataRight, IdentitySettings
from idac.identity.store import IdentityStore, Records, maybe_ms
from idac.identity.token_store import add_token, find_token, list_tokens, require_room, revoke_token
from idac.identity.validity import require_good

_NAME = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?", re.ASCII)
_GROUP = re.compile(GROUP_NAME, re.ASCII)
_LONGEST_TOKEN_NAME = 64
_LONGEST_LINE = 200
#: What to do instead of letting a service log in.
_FOR_SERVICES = "Give it a token: idac token create {} --name NAME."
#: Seconds for which a one-time log-in link is good.
LINK_S = 24 * 3600
#: What a token for a notebook may do at most: it lies in a file that a whole session can read.
NOTEBOOK_SCOPES = frozenset({"read:tap"})


class Administration:
    """Thread-safe. *actor* of each act is whoever did it, for the audit log."""

    def __init__(self, store: IdentityStore, settings: IdentitySettings, names: GroupNames | None = None) -> None:
        """*names* of groups mean something here; those of *settings* alone unless they are given."""
        self.store = store
        self.settings = settings
        self.names = names if names is not None else names_in_use(settings)
        self.issuers = Issuers(settings)

    def in_s(self, seconds: float) -> datetime:
        """The moment that comes after so many seconds."""
        return self.store.now() + timedelta(seconds=seconds)

    # -- accounts ----------------------------------------------------------------------------------------------------

    def add_account(
        self,
        name: str,
        *,
        actor: str,
        kind: AccountKind = "user",
        full_name: str | None = None,
        email: str | None = None,
        is_admin: bool = False,
        password: str | None = None,
        expires: datetime | None = None,
        uid: int | None = None,
    ) -> Account:
        """A new account under a name that was never used; nothing can log in to it until it has a way to."""
        require_name(name)
        for what, line in (("The full name", full_name), ("The e-mail address", email)):
            if line is not None:
                _require_line(what, line)
        hashed = hash_password(password) if password is not None else None
        with self.store.write() as records:
            require_free(records, name)
            if uid is not None:
                _require_free_number(records, uid)
            made = records.add_account(
                name,
                kind,
                uid=uid,
                full_name=full_name,
                email=email,
                is_admin=is_admin,
                password=hashed,
                expires=expires,
            )
            records.note(actor, "user add", name, kind=kind, uid=made.uid, admin=is_admin, expires=expires)
        return made

    def accounts(self) -> list[Account]:
        """All accounts; administrators are those who are so now."""
        with self.store.read() as records:
            found = records.accounts()
            return [replace(each, is_admin=is_administrator(records, each, self.issuers)) for each in found]

    def account(self, name: str) -> Account:
        with self.store.read() as records:
            return require_account(records, name)

    def claimed_rights(self) -> dict[str, list[ClaimedRight]]:
        """Data rights that accounts have now by claims of their providers, by the account's name."""
        with self.store.read() as records:
            return claimed_rights(records, self.issuers)

    def freeze(self, name: str, why: str, *, actor: str) -> Account:
        """Shut the account out, and end its browser sessions; its tokens are kept for when it is let in again."""
        _require_line("The reason", why)
        with self.store.write() as records:
            account = _lock_account(records, name)
            records.change_account(account.id, frozen=records.ms, frozen_why=why)
            ended = records.end_sessions(account.id)
            records.remove_links(account.id)
            records.note(actor, "user freeze", name, why=why, sessions=ended)
            return require_account(records, name)

    def unfreeze(self, name: str, *, actor: str) -> Account:
        with self.store.write() as records:
            account = _lock_account(records, name)
            if account.frozen is None:
                raise Conflict("The account is not frozen.", value=name)
            records.change_account(account.id, frozen=None, frozen_why=None)
            records.note(actor, "user unfreeze", name)
            return require_account(records, name)

    def expire(self, name: str, when: datetime | None, *, actor: str) -> Account:
        """Let the account end at *when*; never, where that is None."""
        with self.store.write() as records:
            account = require_account(records, name)
            records.change_account(account.id, expires=maybe_ms(when))
            records.note(actor, "user expire", name, expires=when or "never")
            return require_account(records, name)

    def appoint(self, name: str, *, actor: str, dismiss: bool = False) -> Account:
        """Make the account an administrator's by the operator's word, or with *dismiss* no longer by anybody's."""
        with self.store.write() as records:
            account = _lock_account(records, name)
            if account.kind != "user":
                raise BadParameter("A service is no administrator.", value=name, next_step="Name a person's account.")
            for issuer in records.claimed_administrator(account.id):
                records.remove_claimed_administrator(account.id, issuer)
            records.change_account(account.id, is_admin=not dismiss)
            records.note(actor, "user admin", name, admin=not dismiss)
            return replace(account, is_admin=not dismiss)

    def set_password(self, name: str, password: str, *, actor: str) -> Account:
        """Give the account a password, and end its browser sessions and one-time link, which may be someone else's."""
        hashed = hash_password(password)
        with self.store.write() as records:
            account = _lock_account(records, name)
            if account.kind != "user":
                raise BadParameter("A service has no password.", value=name, next_step=_FOR_SERVICES.format(name))
            records.change_account(account.id, password=hashed)
            ended = records.end_sessions(account.id)
            records.remove_links(account.id)
            records.note(actor, "user password", name, sessions=ended)
            return replace(account, has_password=True)

    def log_in_link(self, name: str, *, actor: str) -> Secret:
        """A secret that logs in once, within a day; earlier ones of the account are void."""
        secret = new_secret(prefix="")
        with self.store.write() as records:
            account = require_account(records, name)
            if account.kind != "user":
                raise BadParameter("A service has no log-in.", value=name, next_step=_FOR_SERVICES.format(name))
            require_open("Nobody can log in to this account.", account, records.now)
            records.remove_links(account.id)
            records.add_link(secret.key, secret.digest, account.id, records.now + timedelta(seconds=LINK_S))
            records.note(actor, "user link", name)
        return secret

    def first_administrator(self, *, actor: str) -> tuple[Account, Secret] | None:
        """An account and one-time link for the first to look after this centre; None once any administrator came.

        None too where all administrators are shut out, as whoever runs the centre wanted that.
        """
        with self.store.write() as records:
            records.lock_names()  # processes that start together make one
            admins = [account for account in records.accounts() if account.is_admin]
            if any(account.last_login is not None or account.has_password for account in admins):
                return None
            account = next((each for each in admins if each.state(records.now) == "active"), None)
            if account is None and admins:
                return None
            if account is None:
                name = next(each for each in _first_names() if group_store.is_free(records, each))
                account = records.add_account(name, "user", is_admin=True, full_name="Administrator")
                records.note(actor, "user add", account.name, kind="user", uid=account.uid, admin=True)
        return account, self.log_in_link(account.name, actor=actor)

    # -- groups and rights -------------------------------------------------------------------------------------------

    def add_group(self, name: str, *, actor: str, description: str = "", gid: int | None = None) -> None:
        require_group_name(name)
        with self.store.write() as records:
            require_free(records, name)
            if gid is not None:
                _require_free_number(records, gid)
            records.add_group(name, description, gid=gid)
            records.note(actor, "group add", name)

    def groups(self) -> list[Group]:
        with self.store.read() as records:
            return records.groups()

    def unmeant_groups(self) -> dict[str, str]:
        """Owners of groups that count for nobody, as this centre has come to use their names; by the group's name."""
        with self.store.read() as records:
            return unmeant(records.connection, self.names)

    def delete_group(self, name: str, *, actor: str) -> list[str]:
        """Remove a group and all places in it, whoever owns it; its number is never given again.

        Its name is, where ``add_members`` is told so. Returns the limits that were set for it, which are gone.
        """
        with self.store.write() as records:
            return group_store.remove_group(records, _require_group(records, name), name, actor=actor)

    def add_members(
        self,
        group: str,
        names: Iterable[str],
        *,
        actor: str,
        expires: datetime | None = None,
        again: bool = False,
    ) -> None:
        """Make accounts members until *expires*; the group is made where there is none of this name.

        *again*: it is made with the name of a deleted one, and with nothing else of that.
        """
        require_group_name(group)
        if again:
            self._require_read_by_nobody(group)
        with self.store.write() as records:
            if records.group_id(group) is None:
                records.lock_names()
            group_id = records.lock_group(group)
            before = _take_name_back(records, group, group_id) if again else None
            if group_id is None:
                require_free(records, group)
                group_id = records.add_group(group)
                records.note(actor, "group add", group, in_place_of=before)
            for name in names:
                account = require_account(records, name)
                if expires is not None:
                    require_own_end(records, group_id, f"{name} in {group}", account)
                group_store.add_member(records, group_id, account.id, expires=expires)
                records.note(actor, "group member", group, account=name, expires=expires)

    def _require_read_by_nobody(self, group: str) -> None:
        """What publishers opened to the group that was deleted must not open to the next."""
        if group in self.names.published():
            raise Conflict(
                "The group that was deleted may still read what publishers opened to it.",
                value=group,
                next_step="Take it out there first: idac catalog rights shows where.",
            )

    def remove_members(self, group: str, names: Iterable[str], *, actor: str) -> None:
        with self.store.write() as records:
            group_id = _require_group(records, group)
            found = group_store.find_group(records, group)
            for name in names:
                account = require_account(records, name)
                if found is not None and found.owner == name:  # who could come back by an invitation of their own
                    raise Conflict(
                        "The owner can't leave the group.",
                        value=f"{name} in {group}",
                        allowed="members who do not own it",
                        next_step=f"Give it to somebody else first: idac group owner {group} ACCOUNT, or to "
                        f"administrators alone: idac group owner {group} --none.",
                    )
                if not records.remove_member(group_id, account.id):
                    raise NotFound(
                        "The account is no member of the group.",
                        value=f"{name} in {group}",
                        next_step="idac group list shows its members.",
                    )
                group_store.remove_manager(records, group_id, account.id)
                records.note(actor, "group remove", group, account=name)

    def grant(self, group: str, right: str, *, actor: str, expires: datetime | None = None) -> None:
        """Let the group hold a data right of dac.yaml until *expires*."""
        _require_right(self.settings.rights, right)
        with self.store.write() as records:
            records.put_grant(_require_group(records, group), right, expires)
            records.note(actor, "group grant", group, right=right, expires=expires)

    def withdraw(self, group: str, right: str, *, actor: str) -> None:
        with self.store.write() as records:
            if not records.remove_grant(_require_group(records, group), right):
                raise NotFound(
                    "The group does not hold this right.",
                    value=f"{right} by {group}",
                    next_step="idac group list shows what it holds.",
                )
            records.note(actor, "group withdraw", group, right=right)

    # -- tokens ------------------------------------------------------------------------------------------------------

    def add_token(
        self,
        account: str,
        name: str,
        *,
        actor: str,
        kind: TokenKind = "user",
        scopes: Collection[str] = ("read:tap",),
        expires: datetime | None = None,
        maker: str | None = None,
    ) -> tuple[Token, Secret]:
        """A new token and its secret, which is never to be had again.

        *maker* is the credential with which somebody makes one for themselves: it must be good now, whatever was so
        when the request came, and the new token ends with it where it is a token.
        """
        wanted = frozenset(scopes)
        require_scopes(wanted)
        if not name:
            raise BadParameter("The token needs a name.", allowed=f"1 to {_LONGEST_TOKEN_NAME} printable characters")
        _require_line("The token's name", name, _LONGEST_TOKEN_NAME)
        secret = new_secret()
        with self.store.write() as records:
            owner = _lock_account(records, account)
            if (kind == "service") != (owner.kind == "service"):
                raise BadParameter(
                    "A service token belongs to a service account, and every other kind to a person's.",
                    value=f"{kind} token for {account}, a {owner.kind}",
                    next_step="Make a service account with idac user add NAME --service.",
                )
            expires = self._notebook_limits(kind, wanted, expires, records.now)
            parent = require_good(records, maker, owner) if maker is not None else None
            if maker is not None:
                require_room(records, owner, self.settings.max_tokens)
            if parent is not None and parent.expires is not None:
                expires = min(expires, parent.expires) if expires is not None else parent.expires
            if expires is not None and expires <= records.now:
                raise BadParameter("The token would have expired already.", value=expires.isoformat())
            key = parent.key if parent is not None else None
            token = add_token(records, secret, owner.id, kind, name, wanted, expires=expires, parent=key)
            records.note(
                actor, "token create", account, token=token.key, kind=kind, name=name, scopes=wanted, expires=expires
            )
        return token, secret

    def _notebook_limits(
        self, kind: TokenKind, scopes: frozenset[str], expires: datetime | None, now: datetime
    ) -> datetime | None:
        if kind != "notebook":
            return expires
        if not scopes <= NOTEBOOK_SCOPES:
            raise BadParameter(
                "A notebook's token may not do this.",
                value=", ".join(sorted(scopes - NOTEBOOK_SCOPES)),
                allowed=", ".join(sorted(NOTEBOOK_SCOPES)),
            )
        latest = now + timedelta(seconds=self.settings.notebook_token_s)
        return min(expires, latest) if expires is not None else latest

    def require_use_for_token(self, account: str, scopes: Collection[str]) -> None:
        """Raise Conflict where the account could not use a token of these scopes as it is now."""
        with self.store.read() as records:
            owner = require_account(records, account)
            require_open("Nobody can use a token of this account.", owner, records.now)
            if "admin" in scopes and not is_administrator(records, owner, self.issuers):
                person = owner.kind == "user"
                raise Conflict(
                    "Only an administrator's token can have the scope admin.",
                    value=account if person else f"{account}, a service",
                    allowed=", ".join(scope for scope in SCOPES if scope != "admin"),
                    next_step=f"Leave it out, or first: idac user admin {account}." if person else "Leave it out.",
                )

    def tokens(self, account: str | None = None) -> list[Token]:
        with self.store.read() as records:
            if account is not None:
                require_account(records, account)
            return list_tokens(records, account)

    def revoke(self, key: str, *, actor: str, of: str | None = None) -> Token:
        """Revoke a token and those made with it; NotFound where it is not there, or not *of* this account."""
        with self.store.write() as records:
            token = find_token(records, key.removeprefix("idac_")[:22])
            if token is None or (of is not None and token.account != of):
                raise NotFound(
                    "There is no such token.", value=key[:22], next_step="The list of tokens shows each with its key."
                )
            revoked = revoke_token(records, token.key)
            records.note(actor, "token revoke", token.account, token=token.key, name=token.name, revoked=revoked)
            return replace(token, revoked=token.revoked or records.now)


def _first_names() -> Iterator[str]:
    """Names for the first administrator: somebody's account or group may have the one that it would have."""
    yield "admin"
    yield from (f"admin-{number}" for number in counted(2))


def is_account_name(name: str) -> bool:
    return len(name) <= 32 and _NAME.fullmatch(name) is not None and name not in RESERVED_NAMES


def require_name(name: str) -> None:
    """Raise BadParameter for what can't be the name of an account."""
    if not is_account_name(name):
        raise BadParameter(
            "The account can't have this name.",
            value=name,
            allowed="1 to 32 lower-case letters, digits and hyphens, a letter first; not "
            + ", ".join(sorted(RESERVED_NAMES)),
        )


def require_group_name(name: str) -> None:
    """Raise BadParameter for what can't be the name of a group."""
    if len(name) > 64 or _GROUP.fullmatch(name) is None or name in RESERVED_NAMES:
        raise BadParameter(
            "The group can't have this name.",
            value=name,
            allowed="1 to 64 lower-case letters, digits, hyphens and underscores, a letter first; not "
            + ", ".join(sorted(RESERVED_NAMES)),
        )


def require_free(records: Records, name: str) -> None:
    """Users and groups share their names, as each user is a group of one wherever files belong to groups."""
    records.lock_names()
    if records.account(name) is not None or records.group_id(name) is not None:
        raise Conflict(
            "There is an account or a group of this name already.", value=name, next_step="Choose another name."
        )
    if records.is_retired(name):
        raise Conflict(
            "A group of this name was deleted, and names are given once.",
            value=name,
            next_step=f"Where it is meant for a group again: idac group add {name} --again",
        )


def _require_line(what: str, text: str, longest: int = _LONGEST_LINE) -> None:
    """Raise BadParameter for what would not be one line in a list, or would write over others in a terminal."""
    allowed = f"1 to {longest} printable characters"
    if not text.strip():
        raise BadParameter(f"{what} is empty.", allowed=allowed)
    if len(text) > longest:
        raise BadParameter(f"{what} is too long.", value=f"{len(text)} characters", allowed=allowed)
    if not text.isprintable():
        raise BadParameter(f"{what} can't be printed.", value=repr(text), allowed=allowed)


def require_open(what: str, account: Account, now: datetime) -> None:
    """Raise Conflict with *what* where the account is shut, and say how it is opened."""
    state = account.state(now)
    if state != "active":
        first = f"unfreeze {account.name}" if state == "frozen" else f"expire {account.name} --never"
        raise Conflict(what, value=f"{account.name} is {state}", next_step=f"First: idac user {first}.")


def require_scopes(scopes: Collection[str]) -> None:
    unknown = sorted(set(scopes) - SCOPES.keys())
    if unknown or not scopes:
        raise BadParameter(
            "The token's scopes can't be used." if unknown else "The token needs a scope.",
            value=", ".join(unknown) or None,
            allowed=", ".join(SCOPES),
        )


def require_account(records: Records, name: str) -> Account:
    found = records.account(name)
    if found is None:
        names = [account.name for account in records.accounts()]
        hint = _nearest(name, names, "idac user list")
        raise NotFound("There is no account of this name.", value=name, next_step=hint)
    return found


def _lock_account(records: Records, name: str) -> Account:
    """The account as it is now and stays until this transaction ends."""
    return records.lock_account(require_account(records, name).id)


def _require_group(records: Records, name: str) -> int:
    """The group, which nobody else changes until this transaction ends."""
    found = records.lock_group(name)
    if found is None:
        names = [group.name for group in records.groups()]
        hint = _nearest(name, names, "idac group list")
        raise NotFound("There is no group of this name.", value=name, next_step=hint)
    return found


def require_own_end(records: Records, group_id: int, shown: str, account: Account) -> None:
    """Raise Conflict where a member's end is their provider's to say: another one would end nothing."""
    if group_store.is_member_by_claim_alone(records, group_id, account.id):
        raise Conflict(
            "An identity provider says how long this place lasts.",
            value=shown,
            allowed="ends of places that people or administrators gave",
            next_step="Change it at the provider, or take the member out until their next log-in by it.",
        )


def _take_name_back(records: Records, name: str, group_id: int | None) -> int:
    """Free the name of a deleted group; returns that one's number, which nobody gets."""
    if group_id is not None:
        raise Conflict(
            "There is a group of this name.", value=name, next_step="Leave out --again to add members to it."
        )
    before = group_store.free_name(records, name)
    if before is None:
        raise NotFound("No group of this name was deleted.", value=name, next_step="Leave out --again to make it.")
    return before


def _require_right(rights: Mapping[str, DataRight], name: str) -> None:
    if name not in rights:
        raise NotFound(
            "dac.yaml has no data right of this name.",
            value=name,
            allowed=", ".join(rights) or "none: identity.rights is empty",
            next_step="Add it under identity.rights.",
        )


def _require_free_number(records: Records, number: int) -> None:
    if not 1000 <= number <= 2**31 - 1 or records.has_number(number):
        raise Conflict(
            "The number can't be used for a user or group.",
            value=str(number),
            allowed="1000 to 2147483647, each once for all users and groups together",
        )


def _nearest(name: str, names: Collection[str], command: str) -> str:
    found = nearest(name, names)
    return f"Did you mean {found}?" if found else f"{command} shows those there are."
