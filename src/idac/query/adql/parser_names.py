"""What every part of the grammar needs: identifiers, whole numbers, and nodes that know their place."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from sqlglot import exp

from idac.query.adql.lexer import Kind, Token, is_whole
from idac.query.adql.stream import TokenStream
from idac.tables.names import RESERVED_WORDS

_QUERY_STARTS = ("SELECT", "WITH")
_QUERY_CONTINUES = ("UNION", "EXCEPT", "INTERSECT", "ORDER", "OFFSET")


class NameParser(TokenStream, ABC):
    """Reads names and numbers, and tells a query in parentheses from anything else in parentheses."""

    @abstractmethod
    def query(self) -> exp.Query:
        """A whole query, up to its end or the parenthesis that closes it."""

    @abstractmethod
    def value(self) -> exp.Expr:
        """A value of any type."""

    @abstractmethod
    def condition(self) -> exp.Expr:
        """Something that is true or false."""

    def is_name(self) -> bool:
        token = self.token
        return token.kind is Kind.NAME or (token.kind is Kind.WORD and self.is_free(token))

    @staticmethod
    def is_free(token: Token) -> bool:
        # LIMIT is no reserved word, and yet nobody who writes it after a table means an alias.
        return token.upper not in RESERVED_WORDS and token.upper != "LIMIT"

    def identifier(self, wanted: str) -> exp.Identifier:
        token = self.token
        if token.kind is Kind.NAME or (token.kind is Kind.WORD and token.upper not in RESERVED_WORDS):
            self.advance()
            return located(exp.Identifier(this=token.text, quoted=token.kind is Kind.NAME), token.at)
        raise self.unexpected(wanted)

    def whole_number(self, where: str) -> exp.Literal:
        token = self.token
        if token.kind is not Kind.NUMBER or not is_whole(token.text):
            raise self.error(f"A whole number is needed {where}.", token, allowed="0, 1, 2, …")
        self.advance()
        return located(number(token.text), token.at)

    def at_query(self) -> bool:
        """True where what stands before the next closing parenthesis is a query, itself in parentheses or not.

        ``((SELECT …) UNION SELECT …)`` is one, ``((SELECT …) + 1)`` and ``((SELECT …) AS a JOIN b …)`` are not: what
        follows a query in parentheses decides.
        """
        levels = 0
        while self.at_symbol("(", ahead=levels):
            levels += 1
        if self.peek(levels).upper not in _QUERY_STARTS:
            return False
        place, open_ = self.index + levels, levels
        deepest = levels
        while open_ > 0 and place < len(self.tokens):
            token = self.tokens[place]
            if token.kind is Kind.SYMBOL and token.text == "(":
                open_ += 1
            elif token.kind is Kind.SYMBOL and token.text == ")":
                open_ -= 1
                # Only the parentheses that the query began with matter, from the innermost outwards.
                if open_ == deepest - 1:
                    deepest -= 1
                    if not self._ends_query(place + 1):
                        return False
            place += 1
        return True

    def _ends_query(self, place: int) -> bool:
        if place >= len(self.tokens):
            return True
        token = self.tokens[place]
        return token.upper in _QUERY_CONTINUES or (token.kind is Kind.SYMBOL and token.text == ")")


def number(text: str) -> exp.Literal:
    return exp.Literal(this=text, is_string=False)


def located[E: exp.Expr](node: E, at: int) -> E:
    node.meta["at"] = at
    return node


def column(name: exp.Expr, qualifiers: Sequence[exp.Identifier]) -> exp.Column:
    parts = dict(zip(("table", "db", "catalog"), reversed(qualifiers), strict=False))
    return exp.Column(this=name, **parts)


def balanced(kind: type[exp.Binary], terms: list[exp.Expr]) -> exp.Expr:
    """Terms of an associative operator as a tree of logarithmic depth, so that a thousand of them are no deep nest."""
    if len(terms) == 1:
        return terms[0]
    middle = len(terms) // 2
    left, right = balanced(kind, terms[:middle]), balanced(kind, terms[middle:])
    return located(kind(this=left, expression=right), left.meta.get("at", 0))
