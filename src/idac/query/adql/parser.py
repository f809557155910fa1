"""ADQL 2.1 text to a tree of sqlglot expressions: the grammar of the standard, and nothing beside it.

sqlglot's own parser reads the union of some thirty dialects, which would have to be narrowed to ADQL afterwards, and
says little of where an error is. ADQL's grammar is small and closed, so it is read here by recursive descent; what is
not in it can't get into the tree. Names are not looked up yet (``resolve.py``). Every node carries the offset of its
first token in ``meta["at"]``.

Beyond ADQL 2.1 and declared as such: CASE; TRUE, FALSE and boolean columns as conditions; scalar sub-queries; column
names after a common table's name; WITH in sub-queries; ``*`` beside other columns.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp

from idac.core.errors import BadQuery, TooLarge
from idac.query.adql import hints
from idac.query.adql.lexer import Kind, position_of
from idac.query.adql.parser_names import column, located
from idac.query.adql.parser_tables import TableParser, with_joins
from idac.query.adql.parser_values import ValueParser

#: Levels of the tree. Every step after this one walks it by recursion, some four of Python's thousand frames a level.
MAX_HEIGHT = 160
#: More than a token can add: what nests, a parenthesis or an operator, is one of each.
_LEVELS_A_TOKEN = 2
_EXAMPLE = "Write, for example, SELECT TOP 5 * FROM a_table."


def parse_adql(text: str, *, max_bytes: int = 1 << 20) -> exp.Query:
    """The tree of a single ADQL query. Raises BadQuery with line and column, or TooLarge."""
    if len(text) > max_bytes:
        raise TooLarge(
            "The query text is too long.",
            value=f"{len(text)} characters",
            allowed=f"at most {max_bytes} characters",
            next_step="Upload long lists as a table (UPLOAD) and join with it.",
        )
    parser = _Parser(text)
    query = parser.parse()
    if len(parser.tokens) * _LEVELS_A_TOKEN > MAX_HEIGHT:
        _check_height(query, text)
    return query


def _check_height(query: exp.Query, text: str) -> None:
    """Refuse a tree that is too high to be walked by recursion: chains inside parentheses add up."""
    level: list[exp.Expr] = [query]
    for _ in range(MAX_HEIGHT):
        level = [child for node in level for child in node.iter_expressions()]
        if not level:
            return
    places = (node.meta.get("at") for node in level)
    raise BadQuery(
        "The query is nested too deeply.",
        allowed=f"at most {MAX_HEIGHT} operators, parentheses and calls inside one another",
        next_step="Use WITH to name parts of the query.",
        position=position_of(text, next((at for at in places if at is not None), 0)),
    )


class _Parser(TableParser, ValueParser):
    """One pass over one query's tokens."""

    def parse(self) -> exp.Query:
        start = self.token
        if self.at_end():
            raise self.error("The query is empty.", start, next_step=_EXAMPLE)
        if not self.at_word("SELECT", "WITH") and not self.at_symbol("("):
            hint = hints.for_statement(start.upper) or _EXAMPLE
            raise self.error("This is not a query.", start, allowed="SELECT …", next_step=hint)
        query = self.query()
        self.take_symbol(";")
        if not self.at_end():
            raise self.unexpected("the end of the query")
        return query

    # -- WITH and set operations -----------------------------------------------------------------------------------

    def query(self) -> exp.Query:
        return self.nested(self._query)

    def _query(self) -> exp.Query:
        tables = self.separated(self.with_item) if self.take_word("WITH") else []
        query = self.set_operation()
        if tables:
            query.set("with_", exp.With(expressions=tables))
        return query

    def with_item(self) -> exp.CTE:
        start = self.token
        if start.upper == "RECURSIVE":
            raise self.error("ADQL has no recursive WITH.", start, next_step="Leave RECURSIVE out.")
        name = self.identifier("the name of a common table")
        columns: list[exp.Identifier] = []
        if self.take_symbol("("):
            columns = self.separated(lambda: self.identifier("a column name"))
            self.expect_symbol(")", "after the column names")
        self.expect_word("AS", "after the name of a common table")
        self.expect_symbol("(", "before the query of a common table")
        query = self.query()
        self.expect_symbol(")", "after the query of a common table")
        alias = exp.TableAlias(this=name, columns=columns or None)
        return located(exp.CTE(this=query, alias=alias), start.at)

    def set_operation(self) -> exp.Query:
        """UNION and EXCEPT over INTERSECT, which binds tighter; then ORDER BY and OFFSET of the whole."""
        left = self.set_term()
        while self.at_word("UNION", "EXCEPT"):
            left = self.combine(left, self.set_term)
        start = self.token
        self.order_and_offset(left)
        if self.token is not start and self.at_word("UNION", "EXCEPT", "INTERSECT"):
            raise self.error(
                "ORDER BY and OFFSET stand after the last query of a set operation.",
                start,
                next_step="Put this query into parentheses, or move the clause to the end.",
            )
        return left

    def set_term(self) -> exp.Query:
        left = self.set_primary()
        while self.at_word("INTERSECT"):
            left = self.combine(left, self.set_primary)
        return left

    def combine(self, left: exp.Query, operand: Callable[[], exp.Query]) -> exp.Query:
        token = self.advance()
        kind = {"UNION": exp.Union, "EXCEPT": exp.Except, "INTERSECT": exp.Intersect}[token.upper]
        every = self.take_word("ALL")
        return located(kind(this=left, expression=operand(), distinct=not every), token.at)

    def set_primary(self) -> exp.Query:
        if self.at_word("SELECT"):
            return self.select()
        at = self.token.at
        if self.take_symbol("("):
            query = self.query()
            self.expect_symbol(")", "after a query")
            return located(exp.Subquery(this=query), at)
        raise self.unexpected("SELECT")

    def order_and_offset(self, query: exp.Query) -> None:
        if self.take_word("ORDER"):
            self.expect_word("BY", "after ORDER")
            query.set("order", exp.Order(expressions=self.separated(self.order_item)))
        if self.take_word("OFFSET"):
            query.set("offset", exp.Offset(expression=self.whole_number("after OFFSET")))

    def order_item(self) -> exp.Ordered:
        at = self.token.at
        value = self.value()
        descending = self.take_word("DESC")
        if not descending:
            self.take_word("ASC")
        return located(exp.Ordered(this=value, desc=descending), at)

    # -- SELECT ----------------------------------------------------------------------------------------------------

    def select(self) -> exp.Select:
        at = self.advance().at
        distinct = self.take_word("DISTINCT")
        if not distinct:
            self.take_word("ALL")
        select = located(exp.Select(distinct=exp.Distinct() if distinct else None), at)
        if self.take_word("TOP"):
            select.set("limit", exp.Limit(expression=self.whole_number("after TOP")))
        select.set("expressions", self.separated(self.select_item))
        if not self.at_word("FROM"):
            raise self.unexpected("a comma, AS or FROM")
        self.advance()
        self.from_clause(select)
        if self.take_word("WHERE"):
            select.set("where", exp.Where(this=self.condition()))
        if self.take_word("GROUP"):
            self.expect_word("BY", "after GROUP")
            select.set("group", exp.Group(expressions=self.separated(self.value)))
        if self.take_word("HAVING"):
            select.set("having", exp.Having(this=self.condition()))
        return select

    def select_item(self) -> exp.Expr:
        at = self.token.at
        if self.take_symbol("*"):
            return located(exp.Star(), at)
        star = self.qualified_star()
        if star is not None:
            return star
        value = self.value()
        if self.take_word("AS"):
            return located(exp.Alias(this=value, alias=self.identifier("a column alias after AS")), at)
        if self.is_name():
            return located(exp.Alias(this=value, alias=self.identifier("a column alias")), at)
        return value

    def qualified_star(self) -> exp.Column | None:
        """``table.*`` or ``schema.table.*``; None, and nothing taken, where something else stands."""
        ahead = 0
        while self.peek(ahead).kind in (Kind.WORD, Kind.NAME) and self.at_symbol(".", ahead=ahead + 1):
            ahead += 2
        if ahead == 0 or not self.at_symbol("*", ahead=ahead):
            return None
        at = self.token.at
        names = []
        while not self.take_symbol("*"):
            names.append(self.identifier("a table name"))
            self.advance()
        return located(column(exp.Star(), names), at)

    # -- FROM ------------------------------------------------------------------------------------------------------

    def from_clause(self, select: exp.Select) -> None:
        first, joins = self.joined_table()
        select.set("from_", exp.From(this=first))
        while self.take_symbol(","):
            table, more = self.joined_table()
            # A comma binds less tightly than JOIN, so what is joined on its right is one operand of it.
            operand = table if not more else exp.Paren(this=with_joins(table, more))
            joins.append(exp.Join(this=operand, kind="CROSS"))
        select.set("joins", joins or None)
