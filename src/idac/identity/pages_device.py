"""Pages on which people let in a program that shows a code."""

from __future__ import annotations

import html
from collections.abc import Iterable

from idac.core.principal import Principal
from idac.identity.device import Request, show_code
from idac.identity.model import SCOPES

CODE_PATH = "/auth/code"


def ask_body(error: str | None = None, code: str = "") -> str:
    """The form for the code; *code* is what was typed before."""
    told = f'<p role="alert"><strong>{html.escape(error)}</strong></p>' if error else ""
    return (
        f'{told}<form method="get" action="{CODE_PATH}"><p><label>The code that your terminal shows<br/>'
        f'<input name="user_code" value="{html.escape(code)}" autocomplete="off" autocapitalize="characters" '
        'spellcheck="false" maxlength="40" required="required"/></label></p><button>Go on</button></form>'
    )


def decide_body(form: str, principal: Principal, asked: Request, given: Iterable[str], address: str, lives: str) -> str:
    """What asks, from where and for what, and the buttons; *address* is the caller's own, *lives* how long it holds."""
    name = html.escape(principal.name)
    for_what = "".join(f"<li>{html.escape(words)}</li>" for scope, words in SCOPES.items() if scope in set(given))
    same = asked.address == address
    where = (
        f"{html.escape(asked.address)}, which is your own address too"
        if same
        else f"<strong>{html.escape(asked.address)}</strong>, while you are at {html.escape(address)}. "
        "That is right where your terminal is on another machine"
    )
    rows = (
        ("Code", f"<code><strong>{show_code(asked.user_code)}</strong></code>"),
        ("Program", html.escape(asked.title)),
        ("On", f"{html.escape(asked.device)}, as it says itself"),
        ("From", where),
        ("Since", f"{asked.begun:%Y-%m-%d %H:%M} UTC"),
    )
    listed = "".join(f"<dt>{term}</dt><dd>{words}</dd>" for term, words in rows)
    return (
        f"<p>A program asks to do these things in the name of <strong>{name}</strong>, for {lives}:</p>"
        f"<ul>{for_what}</ul><dl>{listed}</dl>"
        "<p>Allow it only where you began this yourself, and your terminal shows this very code. "
        "Nobody who sends you a code or a link to this page should get your log-in.</p>"
        f'<form method="post" action="{CODE_PATH}"><input type="hidden" name="csrf" value="{html.escape(form)}"/>'
        f'<input type="hidden" name="user_code" value="{asked.user_code}"/>'
        '<button name="decision" value="allow">Allow</button> '
        '<button name="decision" value="refuse">Refuse</button></form>'
    )


def decided_body(asked: Request, *, allow: bool) -> str:
    program = f"{html.escape(asked.title)} on {html.escape(asked.device)}"
    if not allow:
        return f"<p>{program} was refused. Where you did not begin it, somebody else did: tell the operator.</p>"
    return (
        f"<p>{program} is logged in within seconds; you can go back to your terminal.</p>"
        '<p>Its token is among <a href="/auth/tokens">your tokens</a>, where you can revoke it.</p>'
    )
