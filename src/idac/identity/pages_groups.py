"""Pages on which people make groups, look after them and answer invitations. No script, and nothing from elsewhere."""

from __future__ import annotations

import html
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

from idac.core.errors import UserError
from idac.identity.group_model import GroupView, Invitation, Role, UserGroup
from idac.identity.model import Member
from idac.identity.pages import cards
from idac.identity.settings import UserGroupSettings

GROUPS_PAGE, JOIN_PATH, INVITATIONS_PAGE = "/auth/groups", "/auth/join", "/auth/invitations"
_PLACES = (("", "never"), ("30", "in 30 days"), ("90", "in 90 days"), ("365", "in a year"))
_LIVES = (("1", "a day"), ("7", "7 days"), ("30", "30 days"))
_WIDE = 'class="wide" autocomplete="off"'
_LONG_WORD = 20
_DAY_S = 24 * 3600
_LINKS = (
    f'<a href="{GROUPS_PAGE}">Groups</a> · <a href="/auth/tokens">Tokens</a> · <a href="/auth/quota">Limits</a> · '
    '<a href="/auth/logout">Log out</a>'
)


@dataclass(frozen=True, slots=True)
class Visit:
    """Who looks at a page, what its forms carry, and what was wrong with the form that was sent before."""

    name: str
    form: str
    error: UserError | None = None

    @property
    def head(self) -> str:
        """The beginning of every page."""
        told = ""
        if self.error is not None:
            more = html.escape(self.error.text.removeprefix(self.error.what))
            told = f'<p role="alert"><strong>{html.escape(self.error.what)}</strong>{more}</p>'
        return f"<p>You are <strong>{html.escape(self.name)}</strong>. {_LINKS}</p>{told}"


def groups_body(
    visit: Visit,
    groups: Iterable[tuple[UserGroup, Role]],
    others: Iterable[str],
    invitations: Iterable[Invitation],
    *,
    may_make: bool,
    typed: tuple[str, str] = ("", ""),
) -> str:
    """Groups of people that the caller is in, invitations to answer, and the form to make a group.

    *others* are groups that administrators and identity providers keep; *typed* is the name and description of a group
    that could not be made.
    """
    rows = [
        (
            f'<a href="{GROUPS_PAGE}/{group.name}">{_words(group.name)}</a>',
            _words(group.description),
            _words(group.owner),
            role,
        )
        for group, role in groups
    ]
    table = cards(("Group", "What it is", "Owner", "You are"), rows)
    kept = ", ".join(sorted(others))
    told = f"<p>Groups that the operator or your institute keeps: {html.escape(kept)}.</p>" if kept else ""
    make = (
        f'<h2>Make a group</h2><form method="post" action="{GROUPS_PAGE}">{_hidden(csrf=visit.form)}'
        f'<p><label>Name (a-z, 0-9, - and _)<br/><input name="name" {_WIDE} maxlength="64" '
        f'pattern="[a-z]([a-z0-9_\\-]*[a-z0-9])?" required="required" value="{html.escape(typed[0])}"/></label></p>'
        f'<p><label>What it is<br/><input name="description" {_WIDE} maxlength="200" value="{html.escape(typed[1])}"/>'
        f"</label></p>{_button('Make it')}</form>"
        "<p>A group gives nobody data rights. You can share what is yours with it.</p>"
    )
    return (
        f"{visit.head}{_invitations(invitations, visit.form)}"
        f"<h2>Your groups</h2>{table if rows else '<p>You are in none.</p>'}{told}{make if may_make else ''}"
    )


def _invitations(invitations: Iterable[Invitation], form: str) -> str:
    rows = [
        (
            _words(each.group),
            _words(each.description),
            _words(each.inviter),
            _until(each.member_expires),
            f'<form method="post" action="{INVITATIONS_PAGE}">{_hidden(csrf=form, key=each.key)}'
            f"{_button('Join', answer='accept')} {_button('Decline', answer='decline')}</form>",
        )
        for each in invitations
    ]
    return f"<h2>Invitations</h2>{cards(('Group', 'What it is', 'From', 'Your place ends', ''), rows)}" if rows else ""


def group_body(view: GroupView, visit: Visit, settings: UserGroupSettings, link: str | None = None) -> str:
    """One group with its members, and what the caller may do there; *link* is one just made, shown this once."""
    told = ""
    if link is not None:
        told = (
            "<h2>Your new link</h2><p>Send it to those whom you invite. Copy it now: it is kept nowhere and can't be "
            f"shown again.</p><p><code>{html.escape(link)}</code></p>"
        )
    if view.unmeant:
        told += (
            '<p role="alert"><strong>This group counts for nobody now:</strong> its name has come to mean something '
            "else at this centre. Ask the operator to say that this group is meant, or make one of another name.</p>"
        )
    if view.owner_frozen:
        told += (
            '<p role="alert"><strong>This group counts for nobody now:</strong> the account of its owner is frozen. '
            "Ask the operator to give the group to somebody else.</p>"
        )
    group = view.group
    rows = [_member(view, member, visit) for member in _once(view.members)]
    what = f"{html.escape(group.description)} · " if group.description else ""
    manage = _manage(view, visit.form, settings) if view.may_manage else ""
    return (
        f"{visit.head}{told}<p>{what}Owner: <strong>{html.escape(group.owner)}</strong> · number {group.gid}</p>"
        f"<h2>Members</h2>{cards(('Name', 'Role', 'Place ends', ''), rows)}{manage}{_end(view, visit.form)}"
    )


def _once(members: Iterable[Member]) -> Iterable[Member]:
    """Each account once, whoever put it there."""
    return {member.account: member for member in members}.values()


def _member(view: GroupView, member: Member, visit: Visit) -> tuple[str, ...]:
    group, who, form, is_me = view.group, member.account, visit.form, member.account == visit.name
    role = "owner" if who == group.owner else "manager" if who in view.managers else "member"
    buttons = []
    if view.may_own and role != "owner":
        words, act = ("Make a member", "demote") if role == "manager" else ("Make a manager", "promote")
        buttons.append(_act(group.name, form, words, act, who))
    if role != "owner" and not is_me and (view.may_own or (view.may_manage and role == "member")):
        buttons.append(_act(group.name, form, "Remove", "remove", who))
    if role != "owner" and is_me:
        buttons.append(_act(group.name, form, "Leave", "remove", who))
    return _words(who), role, _until(member.expires), " ".join(buttons)


def _manage(view: GroupView, form: str, settings: UserGroupSettings) -> str:
    group = view.group
    rows = [
        (
            _words(each.account) if each.account else "a link",
            _words(each.inviter),
            str(each.uses),
            f"{each.expires:%Y-%m-%d}" if each.holds else "lets nobody in now",
            _until(each.member_expires),
            _act(group.name, form, "Take back", "withdraw", each.key),
        )
        for each in view.invitations
    ]
    table = f"<h2>Open invitations</h2>{cards(('For', 'From', 'Times', 'Ends', 'Place ends', ''), rows)}"
    begin = f'<form method="post" action="{GROUPS_PAGE}/{group.name}">{_hidden(csrf=form)}'
    how_long = f"<p>{_lives(settings)}{_select('place_days', 'The place in the group ends', _PLACES, '')}</p>"
    invite = (
        f'<h2>Invite</h2>{begin}<p><label>Account<br/><input name="who" {_WIDE} maxlength="32" required="required"/>'
        f"</label></p>{how_long}{_button('Invite this account', act='invite')}</form>"
        "<h2>Invite by a link</h2><p>Whoever has it, and an account here, can join.</p>"
        f'{begin}<p><label>For how many people <input name="uses" type="number" min="1" max="{settings.max_members}" '
        f'value="1" required="required"/></label></p>{how_long}{_button("Make a link", act="link")}</form>'
    )
    return f"{table if rows else ''}{invite if settings.enabled else ''}"


def _lives(settings: UserGroupSettings) -> str:
    """How long an invitation may be good for here; nothing where it is less than a day, and needs no choice."""
    lives = [(days, words) for days, words in _LIVES if int(days) * _DAY_S <= settings.invitation_s]
    chosen = "7" if ("7", "7 days") in lives else "1"
    return f"{_select('days', 'Good for', lives, chosen)}<br/>" if lives else ""


def _end(view: GroupView, form: str) -> str:
    if not view.may_own:
        return ""
    name = view.group.name
    return (
        f'<h2>Hand the group over</h2><form method="post" action="{GROUPS_PAGE}/{name}">{_hidden(csrf=form)}'
        "<p>The member is its owner from now on, and you manage it.</p>"
        f'<p><label>Member<br/><input name="who" {_WIDE} maxlength="32" required="required"/></label></p>'
        f"{_button('Hand over', act='hand-over')}</form>"
        f'<h2>Delete the group</h2><form method="post" action="{GROUPS_PAGE}/{name}">{_hidden(csrf=form)}'
        "<p>Everyone loses their place, and nobody gets the name again but by the operator of this centre.</p>"
        f'<p><label>Type its name to delete it<br/><input name="who" {_WIDE} required="required"/></label></p>'
        f"{_button('Delete', act='delete')}</form>"
    )


def join_body(invitation: Invitation, secret: str, visit: Visit, *, is_in: bool) -> str:
    """What a link invites to, with a button: opening an address uses nothing up."""
    what = f" ({html.escape(invitation.description)})" if invitation.description else ""
    told = (
        f"{visit.head}<p><strong>{html.escape(invitation.inviter)}</strong> invites you to the group "
        f"<strong>{invitation.group}</strong>{what}."
    )
    if is_in:
        return f'{told} You are <a href="{GROUPS_PAGE}/{invitation.group}">in it</a> already.</p>'
    return (
        f"{told} Its members will see your name. Your place has {_until(invitation.member_expires, 'no end')}.</p>"
        f'<form method="post" action="{JOIN_PATH}">{_hidden(csrf=visit.form, invitation=secret)}'
        f"{_button('Join')}</form>"
    )


def _act(group: str, form: str, words: str, act: str, who: str) -> str:
    return (
        f'<form method="post" action="{GROUPS_PAGE}/{quote(group)}" style="display:inline">'
        f"{_hidden(csrf=form, who=who)}{_button(words, act=act)}</form>"
    )


def _words(text: str) -> str:
    """Text for a table; one with a long word may be broken anywhere, as that would make its column too wide."""
    shown = html.escape(text)
    is_long = max(map(len, text.split()), default=0) > _LONG_WORD
    return f'<span class="long">{shown}</span>' if is_long else shown


def _select(name: str, words: str, options: Iterable[tuple[str, str]], chosen: str) -> str:
    inner = "".join(
        f'<option value="{value}"{" selected=" + chr(34) + "selected" + chr(34) if value == chosen else ""}>{text}'
        "</option>"
        for value, text in options
    )
    return f'<label>{words} <select name="{name}">{inner}</select></label>'


def _until(moment: datetime | None, otherwise: str = "never") -> str:
    if moment is None:
        return otherwise
    return f"{'its end on ' if otherwise != 'never' else ''}{moment:%Y-%m-%d}"


def _hidden(**values: str) -> str:
    return "".join(
        f'<input type="hidden" name="{name}" value="{html.escape(value)}"/>' for name, value in values.items()
    )


def _button(text: str, **value: str) -> str:
    named = "".join(f' name="{name}" value="{each}"' for name, each in value.items())
    return f"<button{named}>{html.escape(text)}</button>"
