"""ADQL 2.1 text to a tree of sqlglot expressions: the grammar of the standard, and nothing beside it.

sqlglot's own parser reads the union of some thirty dialects, which would have to be narrowed to ADQL afterwards, and
says little of where an error is. ADQL's grammar is small and closed, so it is read here by recursive descent; what is
not in it can't get into the tree. Names are not looked up yet (``resolve.py``). Every node carries the offset of its
first token in ``meta["at"]``.

Beyond ADQL 2.1 and declared as such: CASE, scalar sub-queries, bare boolean values as conditions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlglot import exp

from idac.core.errors import TooLarge
from idac.query.adql.casting import cast_type
from idac.query.adql.lexer import Kind, Token
from idac.query.adql.stream import TokenStream
from idac.tables.names import RESERVED_WORDS

#: Operators in one chain of + - * /; AND, OR and || may be as long as the text allows.
MAX_CHAIN = 500

#: Reserved words of ADQL that are the names of functions, so they may be followed by an argument list.
_FUNCTION_WORDS = frozenset(
    {
        *("ABS", "ACOS", "AREA", "ASIN", "ATAN", "ATAN2", "AVG", "BOX", "CEILING", "CENTROID", "CIRCLE", "COALESCE"),
        *("CONTAINS", "COORD1", "COORD2", "COORDSYS", "COS", "COT", "COUNT", "DEGREES", "DISTANCE", "EXP", "FLOOR"),
        *("IN_UNIT", "INTERSECTS", "LOG", "LOG10", "LOWER", "MAX", "MIN", "MOD", "PI", "POINT", "POLYGON", "POWER"),
        *("RADIANS", "RAND", "REGION", "ROUND", "SIN", "SQRT", "SUM", "TAN", "TRUNCATE", "UPPER"),
    }
)
_COMPARISONS: dict[str, type[exp.Binary]] = {
    "=": exp.EQ,
    "<>": exp.NEQ,
    "!=": exp.NEQ,
    "<": exp.LT,
    ">": exp.GT,
    "<=": exp.LTE,
    ">=": exp.GTE,
}


def parse_adql(text: str, *, max_bytes: int = 1 << 20) -> exp.Query:
    """The tree of a single ADQL query. Raises BadQuery with line and column, or TooLarge."""
    if len(text) > max_bytes:
        raise TooLarge(
            "The query text is too long.",
            value=f"{len(text)} characters",
            allowed=f"at most {max_bytes} characters",
            next_step="Upload long lists as a table (UPLOAD) and join with it.",
        )
    return _Parser(text).parse()


class _Parser(TokenStream):
    """One pass over one query's tokens."""

    # -- queries ---------------------------------------------------------------------------------------------------

    def parse(self) -> exp.Query:
        if self.at_end():
            raise self.error(
                "The query is empty.", self.token, next_step="Write, for example, SELECT TOP 5 * FROM a_table."
            )
        query = self.query()
        self.take_symbol(";")
        if not self.at_end():
            raise self.unexpected("the end of the query")
        return query

    def query(self) -> exp.Query:
        return self.nested(self._query)

    def _query(self) -> exp.Query:
        tables = self.separated(self.with_item) if self.take_word("WITH") else []
        query = self.set_operation()
        if tables:
            query.set("with_", exp.With(expressions=tables))
        return query

    def with_item(self) -> exp.CTE:
        at = self.token.at
        if self.at_word("RECURSIVE"):
            raise self.error("ADQL has no recursive WITH.", self.token, next_step="Leave RECURSIVE out.")
        name = self.identifier("the name of a common table")
        columns: list[exp.Identifier] = []
        if self.take_symbol("("):
            columns = self.separated(lambda: self.identifier("a column name"))
            self.expect_symbol(")", "after the column names")
        self.expect_word("AS", "after the name of a common table")
        self.expect_symbol("(", "before the query of a common table")
        query = self.query()
        self.expect_symbol(")", "after the query of a common table")
        return _at(exp.CTE(this=query, alias=exp.TableAlias(this=name, columns=columns or None)), at)

    def set_operation(self) -> exp.Query:
        """UNION and EXCEPT over INTERSECT, which binds tighter; then ORDER BY and OFFSET of the whole."""
        left = self.set_term()
        while self.at_word("UNION", "EXCEPT"):
            left = self.combine(left, self.set_term)
        if isinstance(left, exp.SetOperation):
            self.order_and_offset(left)
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
        return _at(kind(this=left, expression=operand(), distinct=not every), token.at)

    def set_primary(self) -> exp.Query:
        if self.at_word("SELECT"):
            return self.select()
        at = self.token.at
        if self.take_symbol("("):
            query = self.query()
            self.expect_symbol(")", "after a query")
            return _at(exp.Subquery(this=query), at)
        raise self.unexpected("SELECT")

    def select(self) -> exp.Select:
        at = self.advance().at
        distinct = self.take_word("DISTINCT")
        if not distinct:
            self.take_word("ALL")
        select = _at(exp.Select(distinct=exp.Distinct() if distinct else None), at)
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
        # In a set operation a trailing ORDER BY belongs to the whole of it, as it does in SQL.
        following = self.index
        self.order_and_offset(select)
        if self.index > following and self.at_word("UNION", "EXCEPT", "INTERSECT"):
            raise self.error(
                "ORDER BY and OFFSET stand after the last query of a set operation.",
                self.tokens[following],
                next_step="Put this query into parentheses, or move the clause to the end.",
            )
        return select

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
        return _at(exp.Ordered(this=value, desc=descending), at)

    def whole_number(self, where: str) -> exp.Literal:
        token = self.token
        if token.kind is not Kind.NUMBER or not token.text.isdigit():
            raise self.error(f"A whole number is needed {where}.", token, allowed="0, 1, 2, …")
        self.advance()
        return _at(_number(token.text), token.at)

    def select_item(self) -> exp.Expr:
        at = self.token.at
        if self.take_symbol("*"):
            return _at(exp.Star(), at)
        star = self.qualified_star()
        if star is not None:
            return star
        value = self.value()
        if self.take_word("AS"):
            return _at(exp.Alias(this=value, alias=self.identifier("a column alias after AS")), at)
        if self.is_name():
            return _at(exp.Alias(this=value, alias=self.identifier("a column alias")), at)
        return value

    def qualified_star(self) -> exp.Column | None:
        """``table.*`` or ``schema.table.*``; None, and nothing taken, where something else stands."""
        ahead = 0
        while self.peek(ahead).kind in (Kind.WORD, Kind.NAME) and self.peek(ahead + 1).text == ".":
            ahead += 2
        last = self.peek(ahead)
        if ahead == 0 or last.kind is not Kind.SYMBOL or last.text != "*":
            return None
        at = self.token.at
        names = []
        while not self.take_symbol("*"):
            names.append(self.identifier("a table name"))
            self.advance()
        return _at(_column(exp.Star(), names), at)

    # -- FROM ------------------------------------------------------------------------------------------------------

    def from_clause(self, select: exp.Select) -> None:
        first, joins = self.joined_table()
        select.set("from_", exp.From(this=first))
        while self.take_symbol(","):
            table, more = self.joined_table()
            # A comma binds less tightly than JOIN, so what is joined on its right is one operand of it.
            operand = table if not more else exp.Paren(this=_with_joins(table, more))
            joins.append(exp.Join(this=operand, kind="CROSS"))
        select.set("joins", joins or None)

    def joined_table(self) -> tuple[exp.Expr, list[exp.Join]]:
        table = self.table_primary()
        joins: list[exp.Join] = []
        while self.at_word("NATURAL", "INNER", "LEFT", "RIGHT", "FULL", "JOIN", "CROSS"):
            joins.append(self.join())
        return table, joins

    def join(self) -> exp.Join:
        start = self.token
        if self.at_word("CROSS"):
            raise self.error("ADQL has no CROSS JOIN.", start, next_step="Write a comma between the two tables.")
        natural = self.take_word("NATURAL")
        side = None
        if self.at_word("LEFT", "RIGHT", "FULL"):
            side = self.advance().upper
            self.take_word("OUTER")
        else:
            self.take_word("INNER")
        self.expect_word("JOIN", "in a join")
        table = self.table_primary()
        join = exp.Join(this=table, side=side, method="NATURAL" if natural else None)
        if self.take_word("ON"):
            join.set("on", self.condition())
        elif self.take_word("USING"):
            self.expect_symbol("(", "after USING")
            join.set("using", self.separated(lambda: self.identifier("a column name")))
            self.expect_symbol(")", "after the columns of USING")
        elif not natural:
            raise self.error(
                "JOIN needs to say which rows belong together.",
                self.token,
                allowed="ON condition, or USING (columns)",
                next_step="Write, for example, JOIN b ON a.id = b.id; for all pairs, write a comma instead of JOIN.",
            )
        if natural and (join.args.get("on") or join.args.get("using")):
            raise self.error("NATURAL JOIN takes neither ON nor USING.", start, next_step="Leave NATURAL out.")
        return _at(join, start.at)

    def table_primary(self) -> exp.Expr:
        return self.nested(self._table_primary)

    def _table_primary(self) -> exp.Expr:
        at = self.token.at
        if self.take_symbol("("):
            if self.at_word("SELECT", "WITH") or self.opens_query():
                query = self.query()
                self.expect_symbol(")", "after a sub-query")
                return _at(exp.Subquery(this=query, alias=self.table_alias(needed=True)), at)
            table, joins = self.joined_table()
            self.expect_symbol(")", "after a joined table")
            return _at(exp.Paren(this=_with_joins(table, joins)), at) if joins else table
        if self.token.kind is Kind.STRING:
            raise self.error(
                "A table is named, not quoted as text.",
                self.token,
                next_step='Write the name as it is, or in double quotes, like "my table".',
            )
        names = [self.identifier("a table name")]
        while self.take_symbol("."):
            names.append(self.identifier("a table name"))
        if self.token.text == "(" and self.token.kind is Kind.SYMBOL:
            raise self.error(
                "ADQL has no table functions.", self.tokens[self.index - 1], allowed="tables and sub-queries"
            )
        if len(names) > 3:
            raise self.error("A table name has too many parts.", self.tokens[self.index - 1], allowed="schema.table")
        table = exp.Table(
            this=names[-1],
            db=names[-2] if len(names) > 1 else None,
            catalog=names[-3] if len(names) > 2 else None,
            alias=self.table_alias(needed=False),
        )
        return _at(table, at)

    def opens_query(self) -> bool:
        """True where a parenthesis begins a query in more parentheses, and not a joined table."""
        ahead = 0
        while self.peek(ahead).text == "(" and self.peek(ahead).kind is Kind.SYMBOL:
            ahead += 1
        return ahead > 0 and self.peek(ahead).upper in ("SELECT", "WITH")

    def table_alias(self, *, needed: bool) -> exp.TableAlias | None:
        explicit = self.take_word("AS")
        if not explicit and not self.is_name():
            if needed:
                raise self.error("A sub-query in FROM needs a name.", self.token, next_step="Write (SELECT …) AS name.")
            return None
        return exp.TableAlias(this=self.identifier("a table alias"))

    # -- conditions ------------------------------------------------------------------------------------------------

    def condition(self) -> exp.Expr:
        return self.nested(self._disjunction)

    def _disjunction(self) -> exp.Expr:
        terms = [self._conjunction()]
        while self.take_word("OR"):
            terms.append(self._conjunction())
        return _balanced(exp.Or, terms)

    def _conjunction(self) -> exp.Expr:
        factors = [self._negation()]
        while self.take_word("AND"):
            factors.append(self._negation())
        return _balanced(exp.And, factors)

    def _negation(self) -> exp.Expr:
        at = self.token.at
        if self.take_word("NOT"):
            return _at(exp.Not(this=self.nested(self._negation)), at)
        return self.predicate()

    def predicate(self) -> exp.Expr:
        at = self.token.at
        if self.take_word("EXISTS"):
            self.expect_symbol("(", "after EXISTS")
            query = self.query()
            self.expect_symbol(")", "after the query of EXISTS")
            return _at(exp.Exists(this=query), at)
        left = self.value()
        return self.predicate_tail(left, at)

    def predicate_tail(self, left: exp.Expr, at: int) -> exp.Expr:
        token = self.token
        if token.kind is Kind.SYMBOL and token.text in _COMPARISONS:
            self.advance()
            if token.text == "=" and self.token.text == "=":
                raise self.error("Equality is written with one sign.", self.token, allowed="=")
            return _at(_COMPARISONS[token.text](this=left, expression=self.value()), at)
        negated = (
            self.at_word("NOT") and self.peek().upper in ("BETWEEN", "IN", "LIKE", "ILIKE") and self.take_word("NOT")
        )
        result = self.keyword_predicate(left)
        if result is None:
            return left
        return _at(exp.Not(this=_at(result, at)), at) if negated else _at(result, at)

    def keyword_predicate(self, left: exp.Expr) -> exp.Expr | None:
        if self.take_word("BETWEEN"):
            low = self.value()
            self.expect_word("AND", "between the two limits of BETWEEN")
            return exp.Between(this=left, low=low, high=self.value())
        if self.take_word("IN"):
            return self.membership(left)
        if self.at_word("LIKE", "ILIKE"):
            kind = exp.Like if self.advance().upper == "LIKE" else exp.ILike
            return kind(this=left, expression=self.value())
        if self.take_word("IS"):
            negated = self.take_word("NOT")
            self.expect_word("NULL", "after IS")
            null = exp.Is(this=left, expression=exp.Null())
            return exp.Not(this=null) if negated else null
        return None

    def membership(self, left: exp.Expr) -> exp.Expr:
        at = self.token.at
        self.expect_symbol("(", "after IN")
        if self.at_word("SELECT", "WITH") or self.opens_query():
            query = self.query()
            self.expect_symbol(")", "after the query of IN")
            return exp.In(this=left, query=_at(exp.Subquery(this=query), at))
        values = self.separated(self.value)
        self.expect_symbol(")", "after the values of IN")
        return exp.In(this=left, expressions=values)

    # -- values ----------------------------------------------------------------------------------------------------

    def value(self) -> exp.Expr:
        terms = [self.sum()]
        at = self.token.at
        while self.take_symbol("||"):
            terms.append(self.sum())
        return _at(_balanced(exp.DPipe, terms), at) if len(terms) > 1 else terms[0]

    def sum(self) -> exp.Expr:
        return self.chain({"+": exp.Add, "-": exp.Sub}, self.product)

    def product(self) -> exp.Expr:
        return self.chain({"*": exp.Mul, "/": exp.Div}, self.factor)

    def chain(self, kinds: dict[str, type[exp.Binary]], operand: Callable[[], exp.Expr]) -> exp.Expr:
        left = operand()
        length = 0
        while self.token.kind is Kind.SYMBOL and self.token.text in kinds:
            length += 1
            if length > MAX_CHAIN:
                raise self.error(
                    "This sum or product has too many terms.",
                    self.token,
                    allowed=f"at most {MAX_CHAIN} in one expression",
                )
            token = self.advance()
            left = _at(kinds[token.text](this=left, expression=operand()), token.at)
        return left

    def factor(self) -> exp.Expr:
        at = self.token.at
        if self.take_symbol("-"):
            return _at(exp.Neg(this=self.nested(self.factor)), at)
        if self.take_symbol("+"):
            return self.nested(self.factor)
        return self.primary()

    def primary(self) -> exp.Expr:
        token = self.token
        if token.kind is Kind.NUMBER:
            self.advance()
            return _at(_number(token.text), token.at)
        if token.kind is Kind.STRING:
            return self.string()
        if token.kind is Kind.SYMBOL and token.text == "(":
            return self.parenthesised()
        if token.upper in ("NULL", "TRUE", "FALSE"):
            self.advance()
            return _at(exp.Null() if token.upper == "NULL" else exp.Boolean(this=token.upper == "TRUE"), token.at)
        if token.upper == "CASE":
            return self.nested(self.case)
        if token.upper == "CAST" and self.peek().text == "(":
            return self.nested(self.cast)
        if token.kind is Kind.WORD and self.peek().text == "(" and self.peek().kind is Kind.SYMBOL:
            return self.nested(self.call)
        return self.column()

    def string(self) -> exp.Literal:
        token = self.advance()
        text = token.text
        # SQL joins strings that only white space with a line end separates (ADQL 2.1, character_string_literal).
        while self.token.kind is Kind.STRING and "\n" in self.text[token.at : self.token.at]:
            text += self.advance().text
        return _at(exp.Literal.string(text), token.at)

    def parenthesised(self) -> exp.Expr:
        at = self.advance().at
        if self.at_word("SELECT", "WITH") or self.opens_query():
            query = self.query()
            self.expect_symbol(")", "after a sub-query")
            return _at(exp.Subquery(this=query), at)
        inner = self.condition()
        self.expect_symbol(")", "to close the parenthesis")
        return _at(exp.Paren(this=inner), at)

    def case(self) -> exp.Expr:
        at = self.advance().at
        operand = None if self.at_word("WHEN") else self.value()
        branches = []
        while self.take_word("WHEN"):
            test = self.condition() if operand is None else self.value()
            self.expect_word("THEN", "in CASE")
            branches.append(exp.If(this=test, true=self.value()))
        if not branches:
            raise self.unexpected("WHEN in CASE")
        default = self.value() if self.take_word("ELSE") else None
        self.expect_word("END", "at the end of CASE")
        return _at(exp.Case(this=operand, ifs=branches, default=default), at)

    def cast(self) -> exp.Expr:
        at = self.advance().at
        self.expect_symbol("(", "after CAST")
        value = self.value()
        self.expect_word("AS", "in CAST(value AS type)")
        start = self.token
        words = []
        while self.token.kind is Kind.WORD:
            words.append(self.advance().upper)
        length = None
        if self.take_symbol("("):
            length = int(self.whole_number("as a length").this)
            self.expect_symbol(")", "after a length")
        self.expect_symbol(")", "at the end of CAST")
        kind = cast_type(" ".join(words), length)
        if kind is None:
            raise self.error(
                "CAST does not know this type.",
                start,
                allowed="CHAR(n), VARCHAR(n), SMALLINT, INTEGER, BIGINT, REAL, DOUBLE PRECISION, TIMESTAMP, BOOLEAN",
            )
        node = _at(exp.Cast(this=value, to=exp.DataType(this=exp.DType.UNKNOWN)), at)
        node.meta["to"] = kind
        return node

    def call(self) -> exp.Expr:
        token = self.advance()
        if token.upper in RESERVED_WORDS and token.upper not in _FUNCTION_WORDS:
            self.index -= 1
            raise self.unexpected("a value")
        self.advance()
        distinct = False
        arguments: list[exp.Expr] = []
        if self.take_symbol("*"):
            arguments = [exp.Star()]
        elif not (self.token.kind is Kind.SYMBOL and self.token.text == ")"):
            if self.at_word("DISTINCT", "ALL"):
                distinct = self.advance().upper == "DISTINCT"
            arguments = self.separated(self.value)
        self.expect_symbol(")", f"after the arguments of {token.text}")
        node = _at(exp.Anonymous(this=token.upper, expressions=arguments), token.at)
        node.meta["distinct"] = distinct
        return node

    def column(self) -> exp.Expr:
        at = self.token.at
        names = [self.identifier("a column name, value or function")]
        while self.take_symbol("."):
            names.append(self.identifier("a column name"))
        if self.token.kind is Kind.SYMBOL and self.token.text == "(":
            raise self.unexpected("a comma, an operator or the next clause")
        if len(names) > 4:
            raise self.error(
                "A column name has too many parts.", self.tokens[self.index - 1], allowed="schema.table.column"
            )
        return _at(_column(names[-1], names[:-1]), at)

    # -- names -----------------------------------------------------------------------------------------------------

    def is_name(self) -> bool:
        token = self.token
        return token.kind is Kind.NAME or (token.kind is Kind.WORD and self.is_free(token))

    @staticmethod
    def is_free(token: Token) -> bool:
        return token.upper not in RESERVED_WORDS and token.upper != "LIMIT"

    def identifier(self, wanted: str) -> exp.Identifier:
        token = self.token
        if token.kind is Kind.NAME or (token.kind is Kind.WORD and token.upper not in RESERVED_WORDS):
            self.advance()
            return _at(exp.Identifier(this=token.text, quoted=token.kind is Kind.NAME), token.at)
        raise self.unexpected(wanted)


def _number(text: str) -> exp.Literal:
    return exp.Literal(this=text, is_string=False)


def _at[E: exp.Expr](node: E, at: int) -> E:
    node.meta["at"] = at
    return node


def _column(name: exp.Expr, qualifiers: Sequence[exp.Identifier]) -> exp.Column:
    parts = dict(zip(("table", "db", "catalog"), reversed(qualifiers), strict=False))
    return exp.Column(this=name, **parts)


def _with_joins(table: exp.Expr, joins: list[exp.Join]) -> exp.Expr:
    table.set("joins", joins)
    return table


def _balanced(kind: type[exp.Binary], terms: list[exp.Expr]) -> exp.Expr:
    """Terms of an associative operator as a tree of logarithmic depth, so that a thousand of them are no deep nest."""
    if len(terms) == 1:
        return terms[0]
    middle = len(terms) // 2
    left, right = _balanced(kind, terms[:middle]), _balanced(kind, terms[middle:])
    return _at(kind(this=left, expression=right), left.meta.get("at", 0))
