"""Pages for people, in one plain look: well-formed XHTML, so that programs can read them too."""

from __future__ import annotations

import html

from idac.web.vosi import Document

_STYLE = (
    ":root{color-scheme:light dark}body{font:1rem/1.5 system-ui,sans-serif;max-width:56rem;margin:2rem auto;"
    "padding:0 1rem}h1{font-size:1.6rem}h2{font-size:1.15rem;margin-top:2rem}code,pre{font:.9rem/1.45 ui-monospace,"
    "monospace}pre{background:#8881;border:1px solid #8884;border-radius:.3rem;padding:.7rem;overflow-x:auto}"
    "table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;padding:.3rem .8rem .3rem 0;"
    "border-bottom:1px solid #8884}td.number,th+th+th{text-align:right;font-variant-numeric:tabular-nums}"
    "td{overflow-wrap:anywhere}td.number{white-space:nowrap}"
    "body{overflow-wrap:break-word}button,input,select{font:inherit}button{overflow-wrap:normal}"
    ".whole pre{white-space:pre-wrap;overflow-wrap:anywhere}"
    ".wide{width:100%;max-width:26rem;box-sizing:border-box}"
    "[role=alert]{border-left:.25rem solid #c43;padding:.3rem .8rem}"
    "dt{font-weight:600}dd{margin:0 0 .6rem}"
    # Tables of words: to the left, and in a narrow window a card a row.
    ".cards th{text-align:left}.cards td{overflow-wrap:break-word}.cards .long{overflow-wrap:anywhere}"
    ".cards button{white-space:nowrap}.cards form{display:inline-block;margin:0 .3rem .2rem 0}"
    "@media(max-width:44rem){.cards thead{display:none}.cards tr{display:block;border-bottom:1px solid #8884;"
    "padding:.5rem 0}.cards td{display:block;border:0;padding:.1rem 0}.cards td:empty{display:none}"
    ".cards td[data-title]:before{content:attr(data-title) ': ';opacity:.7}}"
)


def xhtml_page(title: str, body: str) -> Document:
    """A page with *title* as its heading over *body*, which is markup already."""
    shown = html.escape(title)
    page = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE html>\n'
        '<html xmlns="http://www.w3.org/1999/xhtml" lang="en" xml:lang="en">\n'
        f'<head><title>{shown}</title><meta name="viewport" content="width=device-width"/>'
        f"<style>{_STYLE}</style></head>\n<body><h1>{shown}</h1>\n{body}</body>\n</html>\n"
    )
    return Document(page.encode(), "application/xhtml+xml")
