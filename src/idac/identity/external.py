"""People whom identity providers vouch for, as accounts of this centre: the way in for OpenID Connect and its like."""

from __future__ import annotations

import logging
import re
import unicodedata
from itertools import count

from idac.core.errors import AccessDenied, Conflict, NotFound
from idac.identity.administration import is_account_name, require_group_name
from idac.identity.claimed_rights import remove_claimed_rights, set_claimed_rights
from idac.identity.directory import require_person
from idac.identity.group_store import add_member, is_free, remove_claimed_places
from idac.identity.model import Account, ExternalIdentity
from idac.identity.store import IdentityStore, Records
from idac.identity.validity import require_good

log = logging.getLogger(__name__)

_NOT_IN_NAMES = re.compile(r"[^a-z0-9]+")


class ExternalAccounts:
    """Thread-safe."""

    def __init__(self, store: IdentityStore) -> None:
        self._store = store

    def account_for(
        self, identity: ExternalIdentity, *, address: str | None = None, may_create: bool = True
    ) -> Account:
        """The account of *identity*, made at its first log-in; groups from claims are made to agree with them.

        An account is never found by its name or its e-mail address, which providers let people choose: only by the
        issuer's own identifier, or because its holder linked them. Without *may_create*, a first log-in is refused.
        """
        with self._store.write() as records:
            account = records.account_of_identity(identity.issuer, identity.subject)
            if account is None:
                records.lock_names()  # the same person may come twice in one moment
                account = records.account_of_identity(identity.issuer, identity.subject)
            if account is None and not may_create:
                raise AccessDenied(
                    "Nobody here has this identity.",
                    value=f"{identity.username} of {identity.issuer}",
                    next_step="Log in another way and link it to your account, or ask the operator for one.",
                )
            if account is None:
                account = self._first_time(records, identity, address)
            require_person(account)
            account = self._set_claimed(records, account, identity)
            records.change_account(
                account.id,
                full_name=identity.full_name or account.full_name,
                email=identity.email or account.email,
            )
            found = records.account_by_id(account.id)
            assert found is not None  # noqa: S101  accounts are never removed
            return found

    def link(self, account_name: str, identity: ExternalIdentity, *, actor: str, credential: str | None = None) -> None:
        """Let *identity* lead to an account that is there; Conflict where it leads to another.

        *credential*: by which the account's holder asks for it, and which must be good now.
        """
        with self._store.write() as records:
            records.lock_names()
            account = records.account(account_name)
            if account is None or account.kind != "user":
                raise AccessDenied("This account can't be logged in to.", value=account_name)
            other = records.account_of_identity(identity.issuer, identity.subject)
            if other is not None and other.id != account.id:
                raise Conflict(
                    "This identity belongs to another account.",
                    value=f"{identity.username} of {identity.issuer}",
                    next_step="Log in with it and use that account, or ask the operator.",
                )
            if other is None:
                records.link_identity(account.id, identity.issuer, identity.subject)
                records.note(actor, "user identity", account.name, issuer=identity.issuer, known_as=identity.subject)
            require_good(records, credential, self._set_claimed(records, account, identity))

    def unlink(
        self, account_name: str, issuer: str, subject: str, *, passwords: bool, actor: str, session: str | None = None
    ) -> None:
        """End an identity's way to an account, with the groups that it gave; Conflict where it is the last way in.

        *passwords*: whether the account's own would be one. Whoever has that identity may be logged in by it still, so
        all the account's sessions end but the one with the key *session*, from which this is asked.
        """
        with self._store.write() as records:
            account = records.account(account_name)
            if account is not None:
                account = records.lock_account(account.id)  # of two ways in that end in one moment, one stays
                require_good(records, f"session:{session}" if session is not None else None, account)
            held = records.identities(account.id) if account is not None else []
            if account is None or (issuer, subject) not in held:
                raise NotFound(
                    "This identity does not lead to your account.", value=f"{subject[:100]} of {issuer[:200]}"
                )
            if len(held) == 1 and not (passwords and account.has_password):
                raise Conflict(
                    "This is the only way to log in to your account.",
                    value=f"{subject} of {issuer}",
                    next_step="Link another identity first, or ask the operator.",
                )
            records.unlink_identity(account.id, issuer, subject)
            records.end_sessions(account.id, but=session)
            records.note(actor, "user unlink", account.name, issuer=issuer, known_as=subject)
            if issuer not in {other for other, name in held if name != subject}:
                self._take_back(records, account, issuer)

    def _take_back(self, records: Records, account: Account, issuer: str) -> None:
        """End what the account had by the issuer's word alone."""
        remove_claimed_places(records, account.id, issuer)
        remove_claimed_rights(records, account, issuer)
        by_claim = records.claimed_administrator(account.id)
        if issuer in by_claim:
            records.remove_claimed_administrator(account.id, issuer)
            if len(by_claim) == 1:
                records.change_account(account.id, is_admin=False)
                records.note(account.name, "user admin", account.name, admin=False, issuer=issuer)

    def _set_claimed(self, records: Records, account: Account, identity: ExternalIdentity) -> Account:
        """Let the account have what the issuer says, and nothing else by it; returns it as it was found then.

        What was read before the account was locked may be so no longer: of two log-ins in one moment one waits here.
        """
        locked = self._set_groups(records, account, identity)
        set_claimed_rights(records, locked, identity)
        self._set_administrator(records, locked, identity)
        return locked

    def _set_administrator(self, records: Records, account: Account, identity: ExternalIdentity) -> None:
        """Make the account an administrator's as the issuer says; what an operator made it, it stays."""
        by_claim = records.claimed_administrator(account.id)
        if identity.is_admin and (not account.is_admin or by_claim):
            records.put_claimed_administrator(account.id, identity.issuer, identity.admin_groups, identity.groups_until)
            now = True
        elif not identity.is_admin and identity.issuer in by_claim:
            records.remove_claimed_administrator(account.id, identity.issuer)
            now = len(by_claim) > 1
        else:
            return
        if now != account.is_admin:
            records.change_account(account.id, is_admin=now)
            records.note(account.name, "user admin", account.name, admin=now, issuer=identity.issuer)

    def _first_time(self, records: Records, identity: ExternalIdentity, address: str | None) -> Account:
        name = _free_name(records, identity.username)
        account = records.add_account(name, "user", full_name=identity.full_name, email=identity.email)
        records.link_identity(account.id, identity.issuer, identity.subject)
        records.note(name, "user add", name, address=address, kind="user", uid=account.uid, issuer=identity.issuer)
        return account

    def _set_groups(self, records: Records, account: Account, identity: ExternalIdentity) -> Account:
        """Let the account be in the groups that the issuer says; returns it, locked, as all groups are before it."""
        for name in identity.groups:
            require_group_name(name)
        if any(records.group_id(name) is None for name in identity.groups):
            self._make_groups(records, account, identity)
        found = (records.lock_group(name, shared=True) for name in sorted(identity.groups))
        kept = [group_id for group_id in found if group_id is not None]
        locked = records.lock_account(account.id)  # two log-ins at once would wait for each other's places
        for group_id in kept:
            add_member(records, group_id, account.id, source=identity.issuer, expires=identity.groups_until)
        remove_claimed_places(records, account.id, identity.issuer, but=kept)
        return locked

    def _make_groups(self, records: Records, account: Account, identity: ExternalIdentity) -> None:
        """Make the groups that are not there, but for those of names that a user has, or that a deleted group had.

        A group of a user's name would pass for that user where files belong to groups. One of a deleted group's name
        would pass for that group with those who still trust it: an administrator says when that is meant.
        """
        records.lock_names()
        for name in sorted(identity.groups):
            if is_free(records, name):
                records.add_group(name)
                records.note(account.name, "group add", name, issuer=identity.issuer)
            elif records.is_retired(name):
                log.warning(
                    "a claim names a group that was deleted: idac group add --again makes it again",
                    extra={"group": name, "issuer": identity.issuer},
                )


def _free_name(records: Records, wanted: str) -> str:
    """*wanted* in the letters that names have here, with a number where somebody has it already."""
    plain = unicodedata.normalize("NFKD", wanted.partition("@")[0].lower()).encode("ascii", "ignore").decode()
    base = _NOT_IN_NAMES.sub("-", plain).strip("-")[:26].strip("-")
    base = base if base[:1].isalpha() else f"user-{base}".strip("-")
    for number in count(1):
        name = base if number == 1 else f"{base}-{number}"
        if is_account_name(name) and is_free(records, name):
            return name
    raise AssertionError("numbers end nowhere")
