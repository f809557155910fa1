"""Pages on which people make groups, look after them and answer invitations. No script, and nothing from elsewhere."""

from __future__ import annotations

import html
from collections.abc import Iterable
from datetime import datetime
from urllib.parse import quote

from idac.identity.group_model import GroupView, Invitation, Role, UserGroup
from idac.identity.model import Member

GROUPS_PAGE, JOIN_PATH, INVITATIONS_PAGE = "/auth/groups", "/auth/join", "/auth/invitations"
_PLACES = (("", "no end"), ("30", "30 days"), ("90", "90 days"), ("365", "a year"))
_LIVES = (("1", "a day"), ("7", "7 days"), ("30", "30 days"))
_LINKS = '<a href="/auth/tokens">Tokens</a> · <a href="/auth/quota">Limits</a> · <a href="/auth/logout">Log out</a>'


def groups_body(
    name: str,
    groups: Iterable[tuple[UserGroup, Role]],
    others: Iterable[str],
    invitations: Iterable[Invitation],
    form: str,
    *,
    may_make: bool,
) -> str:
    """Groups of people that the caller is in, invitations to answer, and the form to make a group.

    *others* are groups that administrators and identity providers keep.
    """
    rows = "".join(
        f'<tr><td><a href="{GROUPS_PAGE}/{group.name}">{group.name}</a></td><td>{html.escape(group.description)}</td>'
        f"<td>{html.escape(group.owner)}</td><td>{role}</td></tr>"
        for group, role in groups
    )
    table = f"<table>{_head('Group', 'What it is', 'Owner', 'You are')}<tbody>{rows}</tbody></table>"
    kept = ", ".join(sorted(others))
    told = f"<p>Groups that the operator or your institute keeps: {html.escape(kept)}.</p>" if kept else ""
    make = (
        f'<h2>Make a group</h2><form method="post" action="{GROUPS_PAGE}">{_hidden(csrf=form)}'
        '<p><label>Name<br/><input name="name" maxlength="64" required="required" autocomplete="off"/></label></p>'
        '<p><label>What it is<br/><input name="description" maxlength="200" autocomplete="off"/></label></p>'
        f"{_button('Make it')}</form><p>A group gives nobody data rights. You can share what is yours with it.</p>"
    )
    return (
        f"<p>You are <strong>{html.escape(name)}</strong>. {_LINKS}</p>{_invitations(invitations, form)}"
        f"<h2>Your groups</h2>{table if rows else '<p>You are in none.</p>'}{told}{make if may_make else ''}"
    )


def _invitations(invitations: Iterable[Invitation], form: str) -> str:
    rows = "".join(
        f"<tr><td>{each.group}</td><td>{html.escape(each.description)}</td><td>{html.escape(each.inviter)}</td>"
        f'<td>{_until(each.member_expires)}</td><td><form method="post" action="{INVITATIONS_PAGE}">'
        f"{_hidden(csrf=form, key=each.key)}{_button('Join', answer='accept')} "
        f"{_button('Decline', answer='decline')}</form></td></tr>"
        for each in invitations
    )
    return (
        f"<h2>Invitations</h2><table>{_head('Group', 'What it is', 'From', 'Your place ends', '')}"
        f"<tbody>{rows}</tbody></table>"
        if rows
        else ""
    )


def group_body(view: GroupView, name: str, form: str, *, may_invite: bool, link: str | None = None) -> str:
    """One group with its members, and what the caller may do there; *link* is one just made, shown this once."""
    told = ""
    if link is not None:
        told = (
            "<h2>Your new link</h2><p>Send it to those whom you invite. Copy it now: it is kept nowhere and can't be "
            f'shown again.</p><p style="overflow-wrap:anywhere"><code>{html.escape(link)}</code></p>'
        )
    if view.unmeant:
        told += (
            '<p role="alert"><strong>This group counts for nobody now:</strong> its name has come to mean something '
            "else at this centre. Ask the operator to say that this group is meant, or make one of another name.</p>"
        )
    group = view.group
    rows = "".join(_member(view, member, name, form) for member in _once(view.members))
    what = f"{html.escape(group.description)} · " if group.description else ""
    manage = _manage(view, form, may_invite=may_invite) if view.may_manage else ""
    return (
        f"{told}<p>{what}Owner: <strong>{html.escape(group.owner)}</strong> · number {group.gid} · "
        f'<a href="{GROUPS_PAGE}">Groups</a></p>'
        f"<h2>Members</h2><table>{_head('Name', 'Role', 'Place ends', '')}"
        f"<tbody>{rows}</tbody></table>{manage}{_end(view, form)}"
    )


def _once(members: Iterable[Member]) -> Iterable[Member]:
    """Each account once, whoever put it there."""
    return {member.account: member for member in members}.values()


def _member(view: GroupView, member: Member, me: str, form: str) -> str:
    group, who = view.group, member.account
    role = "owner" if who == group.owner else "manager" if who in view.managers else "member"
    buttons = []
    if view.may_own and role != "owner":
        words, act = ("Make a member", "demote") if role == "manager" else ("Make a manager", "promote")
        buttons.append(_act(group.name, form, words, act, who))
    if role != "owner" and who != me and (view.may_own or (view.may_manage and role == "member")):
        buttons.append(_act(group.name, form, "Remove", "remove", who))
    if role != "owner" and who == me:
        buttons.append(_act(group.name, form, "Leave", "remove", who))
    cells = (html.escape(who), role, _until(member.expires), " ".join(buttons))
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _manage(view: GroupView, form: str, *, may_invite: bool) -> str:
    group = view.group
    rows = "".join(
        f"<tr><td>{html.escape(each.account) if each.account else 'a link'}</td><td>{html.escape(each.inviter)}</td>"
        f"<td>{each.uses}</td><td>{each.expires:%Y-%m-%d}</td><td>{_until(each.member_expires)}</td>"
        f"<td>{_act(group.name, form, 'Take back', 'withdraw', each.key)}</td></tr>"
        for each in view.invitations
    )
    table = (
        f"<h2>Open invitations</h2><table>{_head('For', 'From', 'Times', 'Ends', 'Place ends', '')}"
        f"<tbody>{rows}</tbody></table>"
    )
    invite = (
        f'<h2>Invite</h2><form method="post" action="{GROUPS_PAGE}/{group.name}">{_hidden(csrf=form)}'
        '<p><label>Account<br/><input name="who" maxlength="32" autocomplete="off"/></label></p>'
        f"<p>{_select('days', 'The invitation is good for', _LIVES, '7')} "
        f"{_select('place_days', 'the place has', _PLACES, '')}</p>"
        f"{_button('Invite this account', act='invite')}"
        '<p>Or make a link, for <label><input name="uses" type="number" min="1" value="1" style="width:5rem"/> '
        f"people: </label>{_button('Make a link', act='link')}</p></form>"
    )
    return f"{table if rows else ''}{invite if may_invite else ''}"


def _end(view: GroupView, form: str) -> str:
    if not view.may_own:
        return ""
    name = view.group.name
    return (
        f'<h2>Hand the group over</h2><form method="post" action="{GROUPS_PAGE}/{name}">{_hidden(csrf=form)}'
        "<p>The member is its owner from now on, and you manage it.</p>"
        '<p><label>Member<br/><input name="who" maxlength="32" autocomplete="off" required="required"/></label> '
        f"{_button('Hand over', act='hand-over')}</p></form>"
        f'<h2>Delete the group</h2><form method="post" action="{GROUPS_PAGE}/{name}">{_hidden(csrf=form)}'
        "<p>Everyone loses their place, and nobody can ever make a group of this name again.</p>"
        f'<p><label>Type its name to delete it<br/><input name="who" autocomplete="off" required="required"/></label> '
        f"{_button('Delete', act='delete')}</p></form>"
    )


def join_body(invitation: Invitation, secret: str, form: str, name: str) -> str:
    """What a link invites to, with a button: opening an address uses nothing up."""
    what = f" ({html.escape(invitation.description)})" if invitation.description else ""
    return (
        f"<p><strong>{html.escape(invitation.inviter)}</strong> invites you to the group "
        f"<strong>{invitation.group}</strong>{what}. You are <strong>{html.escape(name)}</strong>. Its members will "
        f"see your name. Your place has {_until(invitation.member_expires, 'no end')}.</p>"
        f'<form method="post" action="{JOIN_PATH}">{_hidden(csrf=form, invitation=secret)}{_button("Join")}</form>'
    )


def _act(group: str, form: str, words: str, act: str, who: str) -> str:
    return (
        f'<form method="post" action="{GROUPS_PAGE}/{quote(group)}" style="display:inline">'
        f"{_hidden(csrf=form, who=who)}{_button(words, act=act)}</form>"
    )


def _head(*titles: str) -> str:
    cells = "".join(f'<th style="text-align:left">{title}</th>' for title in titles)
    return f"<thead><tr>{cells}</tr></thead>"


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
