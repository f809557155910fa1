"""Invitations to groups that people make: to an account, or by a link whose secret is shown once."""

from __future__ import annotations

from datetime import datetime, timedelta

from idac.core.errors import BadParameter, Conflict, NotFound
from idac.core.principal import Principal
from idac.identity import group_store
from idac.identity.credentials import Presented, Secret, matches, new_secret, parse_plain
from idac.identity.group_model import Invitation, UserGroup
from idac.identity.groups import UserGroups, active_account, require_ahead
from idac.identity.issuers import is_administrator
from idac.identity.model import Account
from idac.identity.store import IdentityStore, Records
from idac.identity.throttle import Throttle

#: Seconds for which an invitation is good unless it is said otherwise: a week, or less where less is allowed.
LIFE_S = 7 * 24 * 3600


class Invitations:
    """Thread-safe. An invitation holds while its giver looks after the group, and neither they nor its owner are shut
    out; a frozen account's invitations let nobody in."""

    def __init__(self, groups: UserGroups, throttle: Throttle) -> None:
        self._groups, self._throttle = groups, throttle

    @property
    def _store(self) -> IdentityStore:
        return self._groups.store

    # -- those who invite --------------------------------------------------------------------------------------------

    def invite(
        self,
        principal: Principal,
        name: str,
        who: str,
        *,
        expires: datetime | None = None,
        member_expires: datetime | None = None,
    ) -> Invitation:
        """Ask an account to join; it sees the invitation at its next look. An earlier one to the group is void.

        Who names too many that are not there must wait: they would learn so which accounts there are.
        """
        self._groups.require_enabled()
        self._throttle.check_names(principal.name)
        secret = new_secret(prefix="")
        with self._groups.as_manager(principal, name) as (records, group):
            invited = records.account(who)
            if invited is not None and invited.state(records.now) == "active":
                if group_store.is_member(records, group.id, invited.id):
                    raise Conflict(
                        "The account is a member of the group already.",
                        value=f"{who} in {name}",
                        next_step="An end for their place is set on the group's page.",
                    )
                self._require_few(records, group, invited)
                return self._add(records, principal, group, secret, invited, 1, expires, member_expires)
            records.note(principal.name, "group invite refused", name, account=who[:64])
        self._throttle.wrong_name(principal.name)
        raise NotFound(
            "There is no account of this name that can be invited.",
            value=who,
            next_step="Ask them for their name here, or send them a link.",
        )

    def _require_few(self, records: Records, group: UserGroup, invited: Account) -> None:
        most = self._groups.settings.invitations_per_account
        if group_store.count_other_invitations(records, invited.id, group.id) >= most:
            raise Conflict(
                "The account has too many open invitations.",
                value=invited.name,
                allowed=f"{most} (identity.user_groups.invitations_per_account)",
                next_step="Ask its holder to answer some, or send them a link.",
            )

    def make_link(
        self,
        principal: Principal,
        name: str,
        *,
        uses: int = 1,
        expires: datetime | None = None,
        member_expires: datetime | None = None,
    ) -> tuple[Invitation, Secret]:
        """An invitation to whoever has its secret, which nobody is ever told again."""
        self._groups.require_enabled()
        most = self._groups.settings.max_members
        if not 1 <= uses <= most:
            raise BadParameter("The link can't be good so often.", value=uses, allowed=f"1 to {most} times")
        secret = new_secret(prefix="")
        with self._groups.as_manager(principal, name) as (records, group):
            return self._add(records, principal, group, secret, None, uses, expires, member_expires), secret

    def _add(
        self,
        records: Records,
        principal: Principal,
        group: UserGroup,
        secret: Secret,
        invited: Account | None,
        uses: int,
        expires: datetime | None,
        member_expires: datetime | None,
    ) -> Invitation:
        settings = self._groups.settings
        longest = timedelta(seconds=settings.invitation_s)
        require_ahead(expires, records.now, longest)
        require_ahead(member_expires, records.now)
        others = group_store.invitations_to_group(records, group.id)
        if invited is not None:  # whose earlier invitation this one replaces
            others = [each for each in others if each.account != invited.name]
        if len(others) >= settings.max_invitations:
            raise Conflict(
                "The group has too many open invitations.",
                value=group.name,
                allowed=f"{settings.max_invitations} (identity.user_groups.max_invitations)",
                next_step="Take some back.",
            )
        group_store.add_invitation(
            records,
            secret,
            group.id,
            active_account(records, principal).id,
            account_id=invited.id if invited is not None else None,
            uses=uses,
            expires=expires or records.now + min(timedelta(seconds=LIFE_S), longest),
            member_expires=member_expires,
        )
        made, _ = _require(group_store.find_invitation(records, secret.key))
        records.note(
            principal.name,
            "group invite",
            group.name,
            account=made.account,
            invitation=made.key,
            uses=uses if invited is None else None,
            expires=made.expires,
            member_expires=member_expires,
        )
        return made

    def withdraw(self, principal: Principal, name: str, key: str) -> None:
        """Take an invitation to the group back."""
        with self._groups.as_manager(principal, name) as (records, group):
            held = {each.key: each for each in group_store.invitations_to_group(records, group.id)}
            if key not in held:
                raise _gone()
            group_store.remove_invitation(records, key)
            records.note(principal.name, "group uninvite", name, account=held[key].account, invitation=key)

    # -- those who are invited ---------------------------------------------------------------------------------------

    def mine(self, principal: Principal) -> list[Invitation]:
        """Invitations to the caller that hold now."""
        with self._store.read() as records:
            me = active_account(records, principal)
            return [each for each in group_store.invitations_to_account(records, me.id) if self._holds(records, each)]

    def answer(self, principal: Principal, key: str, *, accept: bool) -> Invitation:
        """Accept an invitation to the caller's account, or decline it."""
        if accept:
            self._groups.require_enabled()
        with self._store.write() as records:
            me = active_account(records, principal)
            found, _ = _require(group_store.find_invitation(records, key))
            if found.account != me.name:
                raise _gone()
            if accept:
                self._join(records, found, me)
            else:
                group_store.remove_invitation(records, key)
                records.note(me.name, "group decline", found.group, invitation=key)
            return found

    def look(self, principal: Principal, text: str, *, address: str) -> Invitation:
        """What a link invites to, without using it."""
        self._groups.require_enabled()
        self._throttle.check(address)
        with self._store.read() as records:
            active_account(records, principal)
            found = self._by_secret(records, text)
            if found is not None and self._holds(records, found):
                return found
        if found is None:
            self._throttle.wrong(address)
        raise _gone()

    def join(self, principal: Principal, text: str, *, address: str) -> Invitation:
        """Become a member by a link, which is used once more by this."""
        found = self.look(principal, text, address=address)
        with self._store.write() as records:
            me = active_account(records, principal)
            self._join(records, found, me)
        return found

    def _holds(self, records: Records, invitation: Invitation) -> bool:
        if not invitation.holds or not invitation.by_administrator:
            return invitation.holds
        giver = records.account(invitation.inviter)
        return giver is not None and is_administrator(records, giver, self._groups.issuers)

    def _by_secret(self, records: Records, text: str) -> Invitation | None:
        presented = parse_plain(text) or Presented("", "")
        kept = group_store.find_invitation(records, presented.key)
        if kept is None or kept[1] is None or not matches(presented, kept[1]):
            return None
        return kept[0]

    def _join(self, records: Records, asked: Invitation, me: Account) -> None:
        group = group_store.find_group(records, asked.group, lock=True)
        found = group_store.find_invitation(records, asked.key)  # as it is now that the group stays as it is
        if group is None or found is None or not self._holds(records, found[0]):
            raise _gone()
        invitation = found[0]
        if group_store.is_member(records, group.id, me.id):
            raise Conflict(
                "You are a member of the group already.", value=group.name, next_step="/auth/groups shows it."
            )
        if invitation.member_expires is not None and invitation.member_expires <= records.now:
            raise _gone()
        if group_store.count_members(records, group.id) >= self._groups.settings.max_members:
            raise Conflict(
                "The group is full.",
                value=group.name,
                allowed=f"{self._groups.settings.max_members} members (identity.user_groups.max_members)",
                next_step=f"Ask {group.owner}.",
            )
        if not group_store.take_invitation(records, invitation.key):
            raise _gone()
        group_store.add_member(records, group.id, me.id, expires=invitation.member_expires)
        records.note(
            me.name,
            "group join",
            group.name,
            invitation=invitation.key,
            inviter=invitation.inviter,
            expires=invitation.member_expires,
        )


def _require[T](found: T | None) -> T:
    if found is None:
        raise _gone()
    return found


def _gone() -> NotFound:
    return NotFound(
        "This invitation is not good, or not any more.",
        next_step="Ask whoever invited you for a new one.",
    )
