"""Groups that people make: who may do what with them. Every act and its line in the audit log are one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from idac.core.errors import AccessDenied, BadParameter, Conflict, NotFound
from idac.core.principal import Principal
from idac.identity import group_store
from idac.identity.administration import Administration, require_account, require_group_name, require_own_end
from idac.identity.directory import require_active
from idac.identity.group_model import GroupView, Role, UserGroup
from idac.identity.model import Account
from idac.identity.store import Records
from idac.identity.validity import require_good

_LONGEST_DESCRIPTION = 200
_NO_LIMIT = "Hand one over, or ask the operator of this centre."


class UserGroups:
    """Thread-safe."""

    def __init__(self, administration: Administration, published: Callable[[], Collection[str]] = frozenset) -> None:
        """*published*: groups that publishers let read something, as of now."""
        self.store = administration.store
        self.settings = administration.settings.user_groups
        self._names, self._published = administration.names, published
        self.issuers = administration.issuers

    # -- looking -----------------------------------------------------------------------------------------------------

    def mine(self, principal: Principal) -> list[tuple[UserGroup, Role]]:
        """Groups of people that the caller owns, or is in now."""
        with self.store.read() as records:
            me = require_account(records, principal.name)
            return group_store.groups_of(records, me.id)

    def view(self, principal: Principal, name: str) -> GroupView:
        """The group as the caller may see it; NotFound for one that they are not in, whether it is there or not."""
        with self.store.read() as records:
            group, role = self._role(records, principal, name)
            return GroupView(
                group,
                role,
                tuple(group_store.members(records, group.id)),
                group_store.managers(records, group.id),
                tuple(group_store.invitations_to_group(records, group.id)) if role != "member" else (),
                unmeant=not group.given and self._names.means_something(name),
                owner_frozen=require_account(records, group.owner).frozen is not None,
            )

    def owners(self) -> dict[str, str]:
        """The owner of each group that has one, by its name."""
        with self.store.read() as records:
            return group_store.owners(records)

    # -- groups ------------------------------------------------------------------------------------------------------

    def make(self, principal: Principal, name: str, description: str = "") -> UserGroup:
        """A new group, whose owner and first member the caller is."""
        self.require_enabled()
        require_group_name(name)
        if len(description) > _LONGEST_DESCRIPTION or not description.isprintable():
            raise BadParameter("The description can't be used.", allowed=f"{_LONGEST_DESCRIPTION} printable characters")
        # Asked before anything is locked, as the archive may take its time.
        means_something = name in self._published() or self._names.means_something(name)
        with self.store.write() as records:
            records.lock_names()
            me = active_account(records, principal)
            self._require_room(records, me)  # first: whoever has none could try as many names as they like
            # Nobody learns whether an account, a group or dac.yaml has it.
            if means_something or not group_store.is_free(records, name):
                raise Conflict("This name is taken.", value=name, next_step="Choose another.")
            group_id = records.add_group(name, description)
            group_store.put_owner(records, group_id, me.id)
            records.put_member(group_id, me.id)
            records.note(me.name, "group make", name)
            return self._found(records, name)

    def delete(self, principal: Principal, name: str) -> None:
        """Remove the group and all places in it; nobody gets its name again but by an administrator's word.

        One that an administrator put into somebody's hands is not theirs to end: rights may hang on it.
        """
        with self._as_owner(principal, name) as (records, group):
            if group.given and not principal.is_admin:
                raise AccessDenied(
                    "Only an administrator deletes a group that an administrator gave you.",
                    value=name,
                    next_step="Hand it over to another member, or ask the operator.",
                )
            group_store.remove_group(records, group.id, name, actor=principal.name)

    def hand_over(self, principal: Principal, name: str, to: str) -> UserGroup:
        """Make another member the owner; who was that is a manager from now on."""
        with self._as_owner(principal, name) as (records, group):
            new, old = self._member(records, group, to), require_account(records, group.owner)
            if new.id == old.id:
                raise Conflict("The group is theirs already.", value=to, allowed="another member")
            require_active(new, records.now)
            self._require_room(records, new)
            group_store.put_owner(records, group.id, new.id)
            group_store.remove_manager(records, group.id, new.id)
            records.put_member(group.id, new.id)
            if group_store.is_member(records, group.id, old.id):
                group_store.add_manager(records, group.id, old.id)
            records.note(principal.name, "group owner", name, owner=new.name, before=old.name)
            return self._found(records, name)

    # -- members -----------------------------------------------------------------------------------------------------

    def remove(self, principal: Principal, name: str, who: str) -> None:
        """Take a member out; for oneself, leave. Managers are taken out by the owner alone."""
        with self.store.write() as records:
            group, role = self._role(records, principal, name, lock=True)
            leaves = who == principal.name
            if role == "member" and not leaves:
                raise _for_managers(name)
            member = self._member(records, group, who)
            if who == group.owner:
                raise Conflict(
                    "The owner can't leave the group.", value=who, next_step="Hand it over first, or delete it."
                )
            if role == "manager" and not leaves and who in group_store.managers(records, group.id):
                raise AccessDenied("Managers are taken out by the owner.", value=who, next_step=f"Ask {group.owner}.")
            group_store.remove_manager(records, group.id, member.id)
            records.remove_member(group.id, member.id)
            records.note(principal.name, "group leave" if leaves else "group remove", name, account=who)

    def set_end(self, principal: Principal, name: str, who: str, expires: datetime | None) -> None:
        """Let a member's place last until *expires*; without an end, where that is None."""
        with self.as_manager(principal, name) as (records, group):
            member = self._member(records, group, who)
            if who == group.owner:
                raise Conflict("The owner's place has no end.", value=who, next_step="Hand the group over first.")
            if who in group_store.managers(records, group.id):
                self._require_owner(records, principal, group)
            require_own_end(records, group.id, f"{who} in {name}", member)
            require_ahead(expires, records.now)
            records.put_member(group.id, member.id, expires=expires)
            records.note(principal.name, "group member", name, account=who, expires=expires or "never")

    def set_manager(self, principal: Principal, name: str, who: str, *, manages: bool) -> None:
        """Let a member look after the group too, or no longer."""
        with self._as_owner(principal, name) as (records, group):
            member = self._member(records, group, who)
            if who == group.owner:
                raise Conflict("The owner manages the group as it is.", value=who, allowed="another member")
            if manages:
                group_store.add_manager(records, group.id, member.id)
            elif not group_store.remove_manager(records, group.id, member.id):
                raise NotFound(
                    "The member is no manager of the group.", value=who, next_step="The group's page shows who is."
                )
            records.note(principal.name, "group manager", name, account=who, manager=manages)

    # -- administrators ----------------------------------------------------------------------------------------------

    def give(self, name: str, to: str | None, *, actor: str) -> None:
        """An administrator's word: any group is the account's from now on, whatever dac.yaml uses its name for.

        With None the group is nobody's but administrators', its members stay, and its managers are that no more.
        """
        with self.store.write() as records:
            group_id = records.lock_group(name)
            if group_id is None:
                raise NotFound("There is no group of this name.", value=name, next_step="idac group list shows all.")
            owned = group_store.find_group(records, name)
            if to is None:
                group_store.remove_owner(records, group_id)
            else:
                self._give(records, group_id, owned, to)
            before = owned.owner if owned is not None else None
            records.note(actor, "group owner", name, owner=to or "administrators", before=before)

    def _give(self, records: Records, group_id: int, owned: UserGroup | None, to: str) -> None:
        new = require_account(records, to)
        require_active(new, records.now)
        if owned is not None and owned.owner != to:  # whose invitations end, however they come to manage it later
            group_store.remove_manager(records, group_id, require_account(records, owned.owner).id)
        group_store.put_owner(records, group_id, new.id, given=True)
        group_store.remove_manager(records, group_id, new.id)
        records.put_member(group_id, new.id)

    # -- who may -----------------------------------------------------------------------------------------------------

    def require_enabled(self) -> None:
        if not self.settings.enabled:
            raise AccessDenied(
                "Nobody makes groups of their own at this centre.",
                allowed="groups of administrators (identity.user_groups.enabled is off)",
                next_step="Ask the operator of this centre.",
            )

    @contextmanager
    def as_manager(self, principal: Principal, name: str) -> Iterator[tuple[Records, UserGroup]]:
        """A transaction in which nobody else changes the group, for whoever looks after it."""
        with self.store.write() as records:
            group, role = self._role(records, principal, name, lock=True)
            if role == "member":
                raise _for_managers(name)
            yield records, group

    @contextmanager
    def _as_owner(self, principal: Principal, name: str) -> Iterator[tuple[Records, UserGroup]]:
        with self.store.write() as records:
            group, _ = self._role(records, principal, name, lock=True)
            self._require_owner(records, principal, group)
            yield records, group

    def _require_owner(self, records: Records, principal: Principal, group: UserGroup) -> None:
        if role_in(records, principal, group) not in ("owner", "administrator"):
            raise AccessDenied("Only the owner of the group may do this.", value=group.name, allowed=group.owner)

    def _role(self, records: Records, principal: Principal, name: str, *, lock: bool = False) -> tuple[UserGroup, Role]:
        group = group_store.find_group(records, name, lock=lock)
        if lock and records.account(principal.name) is not None:  # an operator at the machine has none
            active_account(records, principal)
        role = role_in(records, principal, group) if group is not None else None
        if group is None or role is None:
            if principal.is_admin:
                raise NotFound(
                    "There is no group of this name that somebody owns.",
                    value=name,
                    next_step="idac group list shows all, with their owners.",
                )
            raise NotFound(
                "You are in no group of this name that people look after.",
                value=name,
                next_step="/auth/groups shows yours.",
            )
        return group, role

    def _member(self, records: Records, group: UserGroup, who: str) -> Account:
        member = records.account(who)
        if member is None or not group_store.is_member(records, group.id, member.id):
            raise NotFound(
                "The account is no member of the group.",
                value=f"{who} in {group.name}",
                next_step="The group's page shows its members.",
            )
        return member

    def _require_room(self, records: Records, owner: Account) -> None:
        taken = group_store.room_taken(records, owner)
        if taken >= self.settings.per_account:
            raise Conflict(
                "There is no room for one more group.",
                value=f"{owner.name} has {taken}",
                allowed=f"{self.settings.per_account} groups, deleted ones that they made among them "
                "(identity.user_groups.per_account)",
                next_step=_NO_LIMIT,
            )

    def _found(self, records: Records, name: str) -> UserGroup:
        group = group_store.find_group(records, name)
        assert group is not None  # noqa: S101  put there in this transaction
        return group


def active_account(records: Records, principal: Principal) -> Account:
    """The caller's account, as it is in this transaction, by a credential that is good in it."""
    account = require_account(records, principal.name)
    require_good(records, principal.credential, account)
    return account


def role_in(records: Records, principal: Principal, group: UserGroup) -> Role | None:
    """What the caller is to the group in this transaction; None for a stranger."""
    me = records.account(principal.name)
    if me is not None:
        require_active(me, records.now)
        own = _own_role(records, group, me)
        if own == "owner":
            return own
        if principal.is_admin and me.is_admin:
            return "administrator"
        return own
    return "administrator" if principal.is_admin else None


def _own_role(records: Records, group: UserGroup, me: Account) -> Role | None:
    if group.owner == me.name:
        return "owner"
    if me.name in group_store.managers(records, group.id):
        return "manager"
    return "member" if group_store.is_member(records, group.id, me.id) else None


def require_ahead(moment: datetime | None, now: datetime, longest: timedelta | None = None) -> None:
    if moment is not None and (moment <= now or (longest is not None and moment > now + longest)):
        latest = f", {now + longest:%Y-%m-%d %H:%M} UTC at the latest" if longest is not None else ""
        raise BadParameter(
            "The end is not in the time that is allowed.",
            value=f"{moment:%Y-%m-%d %H:%M} UTC",
            allowed=f"a time to come{latest}",
        )


def _for_managers(name: str) -> AccessDenied:
    return AccessDenied(
        "Only those who look after the group may do this.",
        value=name,
        allowed="its owner and managers",
    )
