"""ADQL text to tokens, each with its place (ADQL 2.1 section 2.1)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto

from idac.core.errors import BadQuery, Position


class Kind(Enum):
    """What a token is."""

    WORD = auto()  # a regular identifier or a keyword: which of them, the parser decides
    NAME = auto()  # a delimited identifier; text is without quotes
    STRING = auto()  # text is without quotes
    NUMBER = auto()
    SYMBOL = auto()
    END = auto()


@dataclass(frozen=True, slots=True)
class Token:
    """One token. *upper* is what keywords are compared with; it is empty for anything but a word."""

    kind: Kind
    text: str
    upper: str
    at: int  # offset into the query


_PATTERN = re.compile(
    r"""
    (?P<space>(?:\s+|--[^\n]*)+)
  | (?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)
  | (?P<word>[A-Za-z][A-Za-z0-9_]*)
  | (?P<string>'(?:[^']|'')*')
  | (?P<name>"(?:[^"]|"")*")
  | (?P<symbol><>|!=|<=|>=|\|\||[-+*/(),.=<>;])
    """,
    re.VERBOSE,
)

_NAME_TAIL = re.compile(r"[A-Za-z0-9_]{0,40}")

#: Characters that other dialects give a meaning, and what ADQL has instead.
_FOREIGN = {
    "`": 'Write names that need quoting in double quotes, like "name".',
    "[": "ADQL has no arrays or brackets; write names that need quoting in double quotes.",
    "]": "ADQL has no arrays or brackets; write names that need quoting in double quotes.",
    "{": "ADQL has no braces.",
    "}": "ADQL has no braces.",
    ":": "Write CAST(value AS type) instead of value::type; ADQL has no parameters.",
    "?": "ADQL has no parameters; write the value itself.",
    "@": "ADQL has no variables.",
    "$": "ADQL has no parameters; write the value itself.",
    "%": "Write MOD(a, b) for the remainder.",
    "^": "Write POWER(a, b).",
    "&": "Write BITWISE_AND(a, b), or AND between conditions.",
    "|": "Text is joined with ||; alternatives with OR.",
    "!": "Write NOT before a condition, and <> or != for unequal.",
    "#": "Comments begin with two hyphens.",
    "_": 'Regular names begin with a letter; write this one in double quotes, like "_name".',
    "'": "A string is not closed. Close it with ', and write '' for a quote inside.",
    '"': 'A delimited name is not closed. Close it with ".',
    "\\": "There are no backslash escapes; write '' for a quote inside a string.",
}


def position_of(text: str, at: int) -> Position:
    """Line and column, from 1, of an offset into the query."""
    before = text[:at]
    return Position(before.count("\n") + 1, at - (before.rfind("\n") + 1) + 1)


def read_tokens(text: str) -> list[Token]:
    """Every token of *text*, an END token last. Raises BadQuery at the first character that begins none."""
    tokens: list[Token] = []
    at, end = 0, len(text)
    while at < end:
        match = _PATTERN.match(text, at)
        if match is None:
            raise _unknown_character(text, at)
        kind = match.lastgroup
        found = match.group()
        if kind == "word":
            tokens.append(Token(Kind.WORD, found, found.upper(), at))
        elif kind == "symbol":
            tokens.append(Token(Kind.SYMBOL, found, "", at))
        elif kind == "number":
            tokens.append(_number(text, found, at, match.end()))
        elif kind == "string":
            tokens.append(Token(Kind.STRING, found[1:-1].replace("''", "'"), "", at))
        elif kind == "name":
            tokens.append(_delimited(text, found, at))
        at = match.end()
    # An error at the end is shown where the text ends, not after the white space behind it.
    tokens.append(Token(Kind.END, "", "", len(text.rstrip())))
    return tokens


def _number(text: str, found: str, at: int, end: int) -> Token:
    if end < len(text) and (text[end].isalpha() or text[end] == "_"):
        raise BadQuery(
            "A number runs into a name.",
            value=found + _NAME_TAIL.match(text, end).group(),  # type: ignore[union-attr]  # it may match nothing
            allowed="decimal numbers such as 12, 1.5 or 1e-3",
            next_step="Names that begin with a digit are written in double quotes.",
            position=position_of(text, at),
        )
    return Token(Kind.NUMBER, found, "", at)


def _delimited(text: str, found: str, at: int) -> Token:
    name = found[1:-1].replace('""', '"')
    if not name or "\0" in name:
        raise BadQuery(
            "A delimited name is empty.",
            value=found,
            allowed="at least one character between the double quotes",
            position=position_of(text, at),
        )
    return Token(Kind.NAME, name, "", at)


def _unknown_character(text: str, at: int) -> BadQuery:
    character = text[at]
    hint = _FOREIGN.get(character)
    if text.startswith("/*", at):
        hint = "Comments begin with two hyphens and end with the line."
    return BadQuery(
        "This character does not begin anything that ADQL knows.",
        value=character,
        next_step=hint or "Letters outside ASCII belong inside strings or double-quoted names.",
        position=position_of(text, at),
    )
