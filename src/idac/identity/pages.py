"""Pages for people to log in and to look after their tokens. No script, and nothing from elsewhere."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from urllib.parse import quote

from starlette.responses import Response

from idac.core.principal import Principal
from idac.identity.gate import LOG_IN_PATH
from idac.identity.model import SCOPES, Token
from idac.web.pages import xhtml_page

_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    # Not no-referrer: with that, browsers send the forms of these pages with the origin of nobody.
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
}
_LIVES = (("30", "30 days"), ("90", "90 days"), ("365", "a year"), ("", "no end"))
_NEAR = timedelta(days=7)


#: Where somebody looks after what is theirs, by name and address.
_OWN_PAGES = (
    ("Tokens", "/auth/tokens"),
    ("Groups", "/auth/groups"),
    ("Limits", "/auth/quota"),
    ("Identities", "/auth/identities"),
    ("Log out", "/auth/logout"),
)


def own_pages(principal: Principal) -> Sequence[tuple[str, str]]:
    """Names and addresses of the pages that are of use to the caller: to log in, or to look after what is theirs."""
    return (("Log in", LOG_IN_PATH),) if principal.kind == "anonymous" else _OWN_PAGES


def page(title: str, body: str, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A page that no other site may show in a frame, and no cache may keep."""
    document = xhtml_page(title, body)
    return Response(document.body, status, {**_HEADERS, **(headers or {})}, "text/html")


def cards(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of markup; in a narrow window each row is a card, whose lines begin with the titles."""
    head = "".join(f"<th>{title}</th>" for title in titles)
    lines = "".join(
        "<tr>"
        + "".join(
            f'<td data-title="{title}">{cell}</td>' if title else f"<td>{cell}</td>"
            for title, cell in zip(titles, row, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    return f'<table class="cards"><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>'


def log_in_body(
    form: str,
    next_path: str,
    *,
    link: str | None,
    passwords: bool,
    providers: Mapping[str, str],
    error: str | None = None,
) -> str:
    """The form of the log-in page; with *link*, only a button, so that opening an address uses nothing up.

    *providers* are titles by name, each with a button of its own.
    """
    hidden = _hidden(csrf=form, next=next_path)
    told = f'<p role="alert"><strong>{html.escape(error)}</strong></p>' if error else ""
    if link:
        return f'{told}<form method="post" action="/auth/login">{hidden}{_hidden(link=link)}{_button("Log in")}</form>'
    buttons = "".join(
        # Links, since browsers apply form-action to where a form is redirected, and providers redirect as they like.
        f'<p><a role="button" href="/auth/login/{name}?next={quote(next_path, safe="")}">'
        f"Log in with {html.escape(title)}</a></p>"
        for name, title in providers.items()
    )
    if not passwords:
        without = "" if buttons else "<p>This centre takes no passwords. Use the link that its operator gave you.</p>"
        return f"{told}{buttons}{without}"
    return (
        f'{told}{buttons}<form method="post" action="/auth/login">{hidden}'
        '<p><label>Name<br/><input name="username" autocomplete="username" required="required"/></label></p>'
        '<p><label>Password<br/><input name="password" type="password" autocomplete="current-password" '
        f'required="required"/></label></p>{_button("Log in")}</form>'
    )


def logged_in_body(principal: Principal, next_path: str) -> str:
    return (
        f"<p>You are logged in as <strong>{html.escape(principal.name)}</strong>.</p>"
        f'<p><a href="{html.escape(next_path)}">Go on</a> · '
        f"{' · '.join(f'<a href="{address}">{name}</a>' for name, address in _OWN_PAGES)}</p>"
    )


def identities_body(form: str, held: Iterable[tuple[str, str, str]], providers: Mapping[str, str]) -> str:
    """Identities that lead to the caller's account, as title, issuer and subject, and buttons for further ones."""
    rows = [
        (
            html.escape(title),
            html.escape(who),
            f'<form method="post" action="/auth/unlink">{_hidden(csrf=form, issuer=issuer, subject=who)}'
            f"{_button('Unlink')}</form>",
        )
        for title, issuer, who in held
    ]
    buttons = "".join(
        f'<form method="post" action="/auth/identities/{name}">{_hidden(csrf=form)}{_button(f"Link {title}")}</form>'
        for name, title in providers.items()
    )
    table = cards(("Provider", "Known there as", ""), rows)
    return (
        f"{table if rows else '<p>No identity of a provider leads to your account yet.</p>'}"
        "<h2>Link a further one</h2><p>You can then log in by it, and its groups are yours.</p>"
        f"{buttons or '<p>This centre knows no providers.</p>'}"
    )


def go_on_page(url: str, title: str) -> Response:
    """A page that goes on to a provider by itself, or by its link: a form's answer may not redirect there."""
    body = f'<p><a href="{html.escape(url)}">Go on to {html.escape(title)}</a></p>'
    return page(title, body, headers={"refresh": f"0; url={url}"})


def log_out_body(form: str, principal: Principal) -> str:
    name = html.escape(principal.name)
    return (
        f'<p>You are logged in as <strong>{name}</strong>.</p><form method="post" action="/auth/logout">'
        f"{_hidden(csrf=form)}{_button('Log out')} "
        '<button name="everywhere" value="1">Log out everywhere, and end notebooks</button></form>'
    )


def tokens_body(
    principal: Principal, tokens: Iterable[Token], form: str, scopes: Iterable[str], now: datetime, new: str | None
) -> str:
    """The caller's tokens, and the form to make one; *new* is the secret just made, shown this once."""
    told = ""
    if new is not None:
        told = (
            "<h2>Your new token</h2><p>Copy it now: it is kept nowhere and can't be shown again.</p>"
            f'<div class="whole"><pre>{html.escape(new)}</pre></div>'
        )
    rights = ", ".join(sorted(principal.rights)) or "none"
    groups = ", ".join(sorted(principal.groups)) or "none"
    boxes = "".join(
        f'<label><input type="checkbox" name="scope" value="{scope}"'
        f"{' checked="checked"' if scope == 'read:tap' else ''}/> {html.escape(words)}</label><br/>"
        for scope, words in SCOPES.items()
        if scope in set(scopes)
    )
    lives = "".join(f'<option value="{days}">{words}</option>' for days, words in _LIVES)
    rows = [_row(token, form, now) for token in tokens]
    table = cards(("Name", "Token", "For", "Ends", "Last used", ""), rows)
    return (
        f"{told}<p>You are <strong>{html.escape(principal.name)}</strong>. Data rights: {html.escape(rights)}. "
        f'<a href="/auth/groups">Groups</a>: {html.escape(groups)}. <a href="/auth/quota">Limits</a> · '
        '<a href="/auth/logout">Log out</a></p>'
        f"<h2>Tokens</h2>{table if rows else '<p>You have none.</p>'}"
        f'<h2>Make a token</h2><form method="post" action="/auth/tokens">{_hidden(csrf=form)}'
        '<p><label>Name<br/><input name="name" maxlength="64" required="required"/></label></p>'
        f'<p>{boxes}</p><p><label>Good for <select name="days">{lives}</select></label></p>'
        f"{_button('Make it')}</form>"
    )


def _end(ends: datetime, now: datetime) -> str:
    """The day on which something ends, with the time where that is near."""
    return f"{ends:%Y-%m-%d %H:%M}" if timedelta(0) < ends - now < _NEAR else f"{ends:%Y-%m-%d}"


def _row(token: Token, form: str, now: datetime) -> tuple[str, ...]:
    state = token.state(now)
    ends = _end(token.expires, now) if token.expires else "never"
    used = f"{token.last_used:%Y-%m-%d %H:%M}" if token.last_used else "never"
    revoke: str = state
    if state == "active":
        revoke = (
            f'<form method="post" action="/auth/tokens/revoke">{_hidden(csrf=form, key=token.key)}'
            f"{_button('Revoke')}</form>"
        )
    name, shown = html.escape(token.name), f'<code class="long">idac_{token.key}…</code>'
    return name, shown, " ".join(sorted(token.scopes)), ends, used, revoke


def _hidden(**values: str) -> str:
    return "".join(
        f'<input type="hidden" name="{name}" value="{html.escape(value)}"/>' for name, value in values.items()
    )


def _button(text: str) -> str:
    return f"<button>{html.escape(text)}</button>"
