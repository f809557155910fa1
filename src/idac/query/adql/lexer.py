"""ADQL text to tokens, each with its place (ADQL 2.1 section 2.1)."""

from __future__ import annotations

import math
import re
from enum import Enum, auto
from typing import NamedTuple

from idac.core.errors import BadQuery, Position
from idac.query.adql.hints import CHARACTERS


class Kind(Enum):
    """What a token is."""

    WORD = auto()  # a regular identifier or a keyword: which of them, the parser decides
    NAME = auto()  # a delimited identifier; text is without quotes
    STRING = auto()  # text is without quotes
    NUMBER = auto()
    SYMBOL = auto()
    END = auto()


class Token(NamedTuple):
    """One token. *upper* is what keywords are compared with; it is empty for anything but a word."""

    kind: Kind
    text: str
    upper: str
    at: int  # offset into the query


#: Possessive throughout: a text is read once, and an unclosed quote costs one pass over the rest of it.
_PATTERN = re.compile(
    r"""
    (?P<space>(?:[\s\ufeff]++|--[^\n]*+)++)
  | (?P<number>(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][+-]?[0-9]++)?)
  | (?P<word>[A-Za-z][A-Za-z0-9_]*+)
  | (?P<string>'[^']*+(?:''[^']*+)*+')
  | (?P<name>"[^"]*+(?:""[^"]*+)*+")
  | (?P<symbol><>|!=|<=|>=|\|\||[-+*/(),.=<>;])
    """,
    re.VERBOSE,
)


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
            _refuse_comment(text, at)
            tokens.append(Token(Kind.SYMBOL, found, "", at))
        elif kind == "number":
            tokens.append(_number(text, found, at, match.end()))
        elif kind == "string":
            _refuse_nul(text, found, at)
            tokens.append(Token(Kind.STRING, found[1:-1].replace("''", "'"), "", at))
        elif kind == "name":
            tokens.append(_delimited(text, found, at))
        at = match.end()
    # An error at the end is shown where the text ends, not after the white space behind it.
    tokens.append(Token(Kind.END, "", "", len(text.rstrip())))
    return tokens


def _refuse_comment(text: str, at: int) -> None:
    if text.startswith("/*", at):
        raise BadQuery(
            "ADQL has no comments of this kind.",
            value="/*",
            allowed="-- and what follows it in the line",
            next_step="Begin each line of the comment with --.",
            position=position_of(text, at),
        )


def _number(text: str, found: str, at: int, end: int) -> Token:
    if end < len(text) and (text[end].isalpha() or text[end] == "_"):
        whole = re.compile(r"[\w.]+").match(text, at)
        hint = "Names that begin with a digit are written in double quotes."
        if found == "0" and text[end] in "xX":
            hint = "ADQL has no hexadecimal numbers; write the number in decimal."
        raise BadQuery(
            "A number runs into a name.",
            value=whole.group() if whole else found,
            allowed="decimal numbers such as 12, 1.5 or 1e-3",
            next_step=hint,
            position=position_of(text, at),
        )
    if not is_whole(found) and math.isinf(float(found)):
        raise BadQuery(
            "A number is too large.",
            value=found,
            allowed="numbers up to 1.797e308",
            position=position_of(text, at),
        )
    return Token(Kind.NUMBER, found, "", at)


def is_whole(text: str) -> bool:
    """True for a number token of digits alone."""
    return text.isdecimal()


def whole(text: str) -> int:
    """The value of a whole number; one of more than thirty digits counts as 10**30, which no type holds either."""
    digits = text.lstrip("0")
    # Python refuses to read more than 4,300 digits, since that takes quadratic time.
    return int(digits or "0") if len(digits) <= 30 else 10**30


def _delimited(text: str, found: str, at: int) -> Token:
    _refuse_nul(text, found, at)
    name = found[1:-1].replace('""', '"')
    if not name:
        raise BadQuery(
            "A delimited name is empty.",
            value=found,
            allowed="at least one character between the double quotes",
            next_step="Text is written in single quotes.",
            position=position_of(text, at),
        )
    return Token(Kind.NAME, name, "", at)


def _refuse_nul(text: str, found: str, at: int) -> None:
    if "\0" in found:
        raise _unknown_character(text, at + found.index("\0"))


def _unknown_character(text: str, at: int) -> BadQuery:
    character = text[at]
    hint = CHARACTERS.get(character)
    if text.startswith("/*", at):
        hint = "Comments begin with two hyphens and end with the line."
    return BadQuery(
        "This character does not begin anything that ADQL knows.",
        value=character if character.isprintable() else f"U+{ord(character):04X}",
        next_step=hint or "Letters outside ASCII belong inside strings or double-quoted names.",
        position=position_of(text, at),
    )
