"""Walking over a query's tokens: take, expect, and say precisely what was found instead."""

from __future__ import annotations

from collections.abc import Callable

from idac.core.errors import BadQuery
from idac.query.adql import hints
from idac.query.adql.lexer import Kind, Token, position_of, read_tokens

#: Nesting of parentheses, sub-queries and calls; ADQL written by people stays below ten, by programs below thirty. The
#: descent takes some sixteen frames a level, of the thousand that Python allows.
MAX_DEPTH = 40


class TokenStream:
    """The tokens of one query and a place among them."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = read_tokens(text)
        self.index = 0
        self.depth = 0

    @property
    def token(self) -> Token:
        """The next token, not taken yet."""
        return self.tokens[self.index]

    def at_end(self) -> bool:
        return self.token.kind is Kind.END

    def peek(self, ahead: int = 1) -> Token:
        return self.tokens[min(self.index + ahead, len(self.tokens) - 1)]

    def advance(self) -> Token:
        token = self.tokens[self.index]
        if token.kind is not Kind.END:
            self.index += 1
        return token

    def at_word(self, *words: str) -> bool:
        # No word is empty, as what any other token has is.
        return self.tokens[self.index].upper in words

    def take_word(self, *words: str) -> bool:
        if self.at_word(*words):
            self.index += 1
            return True
        return False

    def at_symbol(self, *symbols: str, ahead: int = 0) -> bool:
        token = self.peek(ahead) if ahead else self.tokens[self.index]
        return token.kind is Kind.SYMBOL and token.text in symbols

    def take_symbol(self, symbol: str) -> bool:
        if self.at_symbol(symbol):
            self.index += 1
            return True
        return False

    def expect_word(self, word: str, where: str) -> None:
        if not self.take_word(word):
            raise self.unexpected(f"{word} {where}")

    def expect_symbol(self, symbol: str, where: str) -> None:
        if not self.take_symbol(symbol):
            raise self.unexpected(f"{symbol} {where}")

    def error(self, what: str, token: Token, *, allowed: str | None = None, next_step: str | None = None) -> BadQuery:
        value = token.text if token.kind is not Kind.END else "the end of the query"
        at = position_of(self.text, token.at)
        return BadQuery(what, value=value, allowed=allowed, next_step=next_step, position=at)

    def unexpected(self, allowed: str) -> BadQuery:
        hint = hints.for_word(self.token.upper, self.token.text)
        if self.at_symbol(";"):
            hint = "Send one query at a time."
        return self.error("The query can't be understood here.", self.token, allowed=allowed, next_step=hint)

    def nested[T](self, parse: Callable[[], T]) -> T:
        """Run *parse* one level deeper; ends runaway nesting as an error of the query, not of the interpreter."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.error(
                "The query is nested too deeply.",
                self.token,
                allowed=f"at most {MAX_DEPTH} levels of parentheses, calls and sub-queries",
                next_step="Use WITH to name parts of the query.",
            )
        try:
            return parse()
        finally:
            self.depth -= 1

    def separated[T](self, parse: Callable[[], T]) -> list[T]:
        items = [parse()]
        while self.take_symbol(","):
            items.append(parse())
        return items
