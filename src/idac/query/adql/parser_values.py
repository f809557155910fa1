"""Conditions and values, from OR down to numbers and calls (ADQL 2.1 appendix A: search_condition and below)."""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp

from idac.query.adql.casting import CAST_TYPES, cast_type
from idac.query.adql.hints import FUNCTIONS_ELSEWHERE
from idac.query.adql.lexer import Kind, Token, whole
from idac.query.adql.parser_names import NameParser, balanced, column, located, number
from idac.tables.names import RESERVED_WORDS

#: Operators in one chain of + - or * /, which make a tree as deep; || may be as long as the text allows.
MAX_CHAIN = 100
#: Conditions in one chain of AND or OR, and in a whole query. Engines compare them with one another: a thousand cost
#: DuckDB 1.5 s, two thousand 8 s, and no limit of time is kept while it plans.
MAX_CONDITIONS, MAX_CONDITIONS_IN_ALL = 1_000, 4_000
#: Equalities of one column with constants, joined by OR, from which on they are read as IN.
_LISTED_FROM = 8

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
#: Symbols that make what stands before them part of something larger.
_CONTINUING = frozenset({"+", "-", "*", "/", "||", ".", "("})


class ValueParser(NameParser):
    """Reads conditions and values."""

    #: Conditions read so far that stand beside others.
    conditions = 0

    def condition(self) -> exp.Expr:
        return self.nested(self._disjunction)

    def _disjunction(self) -> exp.Expr:
        terms = [self._conjunction()]
        while self.take_word("OR"):
            terms.append(self._conjunction())
        terms = _listed(terms)
        self._count_conditions(terms)
        return balanced(exp.Or, terms)

    def _conjunction(self) -> exp.Expr:
        factors = [self._negation()]
        while self.take_word("AND"):
            factors.append(self._negation())
        self._count_conditions(factors)
        return balanced(exp.And, factors)

    def _count_conditions(self, terms: list[exp.Expr]) -> None:
        """Refuse more conditions than an engine can plan."""
        if len(terms) == 1:
            return
        self.conditions += len(terms)
        if len(terms) > MAX_CONDITIONS or self.conditions > MAX_CONDITIONS_IN_ALL:
            raise self.error(
                "The query has too many conditions.",
                self.tokens[self.index - 1],
                allowed=f"{MAX_CONDITIONS:,} joined by AND or OR in one place, {MAX_CONDITIONS_IN_ALL:,} in all",
                next_step="Write a list of values with IN (…), or upload it as a table (UPLOAD) and join with it.",
            )

    def _negation(self) -> exp.Expr:
        at = self.token.at
        if self.take_word("NOT"):
            return located(exp.Not(this=self.nested(self._negation)), at)
        return self.predicate()

    def predicate(self) -> exp.Expr:
        at = self.token.at
        if self.take_word("EXISTS"):
            self.expect_symbol("(", "after EXISTS")
            query = self.query()
            self.expect_symbol(")", "after the query of EXISTS")
            return located(exp.Exists(this=query), at)
        left = self.value()
        return self.predicate_tail(left, at)

    def predicate_tail(self, left: exp.Expr, at: int) -> exp.Expr:
        token = self.token
        if self.at_symbol(*_COMPARISONS):
            self.advance()
            if token.text == "=" and self.at_symbol("="):
                raise self.error("Equality is written with one sign.", self.token, allowed="=")
            return located(_COMPARISONS[token.text](this=left, expression=self.value()), at)
        negated = (
            self.at_word("NOT") and self.peek().upper in ("BETWEEN", "IN", "LIKE", "ILIKE") and self.take_word("NOT")
        )
        result = self.keyword_predicate(left)
        if result is None:
            return left
        return located(exp.Not(this=located(result, at)), at) if negated else located(result, at)

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
            null = located(exp.Is(this=left, expression=exp.Null()), left.meta.get("at", 0))
            return exp.Not(this=null) if negated else null
        return None

    def membership(self, left: exp.Expr) -> exp.Expr:
        at = self.token.at
        self.expect_symbol("(", "after IN")
        if self.at_query():
            query = self.query()
            self.expect_symbol(")", "after the query of IN")
            return exp.In(this=left, query=located(exp.Subquery(this=query), at))
        values = self.separated(self.value)
        self.expect_symbol(")", "after the values of IN")
        return exp.In(this=left, expressions=values)

    # -- values ----------------------------------------------------------------------------------------------------

    def value(self) -> exp.Expr:
        if self.stands_alone():
            return self.primary()
        terms = [self.sum()]
        at = self.token.at
        while self.take_symbol("||"):
            terms.append(self.sum())
        return located(balanced(exp.DPipe, terms), at) if len(terms) > 1 else terms[0]

    def stands_alone(self) -> bool:
        """Whether the next value is a number or a name and no more, as most are: nothing need be looked for then."""
        token, after = self.token, self.peek()
        if token.kind is Kind.WORD:
            return token.upper != "CASE" and not _continues(after)
        return token.kind in (Kind.NUMBER, Kind.NAME) and not _continues(after)

    def sum(self) -> exp.Expr:
        return self.chain({"+": exp.Add, "-": exp.Sub}, self.product)

    def product(self) -> exp.Expr:
        return self.chain({"*": exp.Mul, "/": exp.Div}, self.factor)

    def chain(self, kinds: dict[str, type[exp.Binary]], operand: Callable[[], exp.Expr]) -> exp.Expr:
        left = operand()
        length = 0
        while self.at_symbol(*kinds):
            length += 1
            if length > MAX_CHAIN:
                raise self.error(
                    "This sum or product has too many terms.",
                    self.token,
                    allowed=f"at most {MAX_CHAIN} in one expression",
                )
            token = self.advance()
            left = located(kinds[token.text](this=left, expression=operand()), token.at)
        return left

    def factor(self) -> exp.Expr:
        at = self.token.at
        if self.take_symbol("-"):
            return located(exp.Neg(this=self.nested(self.factor)), at)
        if self.take_symbol("+"):
            return self.nested(self.factor)
        return self.primary()

    def primary(self) -> exp.Expr:
        token = self.token
        if token.kind is Kind.NUMBER:
            self.advance()
            return located(number(token.text), token.at)
        if token.kind is Kind.STRING:
            return self.string()
        if self.at_symbol("("):
            return self.parenthesised()
        if token.upper in ("NULL", "TRUE", "FALSE"):
            self.advance()
            return located(exp.Null() if token.upper == "NULL" else exp.Boolean(this=token.upper == "TRUE"), token.at)
        if token.upper == "CASE":
            return self.nested(self.case)
        if token.upper == "CAST" and self.at_symbol("(", ahead=1):
            return self.nested(self.cast)
        if token.kind is Kind.WORD and self.at_symbol("(", ahead=1):
            return self.nested(self.call)
        return self.column_reference()

    def string(self) -> exp.Literal:
        token = self.advance()
        text = token.text
        # SQL-92 section 5.3 joins strings that a line end separates; ADQL 2.1 neither says so nor forbids it.
        while self.token.kind is Kind.STRING and "\n" in self.text[token.at : self.token.at]:
            text += self.advance().text
        return located(exp.Literal.string(text), token.at)

    def parenthesised(self) -> exp.Expr:
        at = self.advance().at
        if self.at_query():
            query = self.query()
            self.expect_symbol(")", "after a sub-query")
            return located(exp.Subquery(this=query), at)
        inner = self.condition()
        self.expect_symbol(")", "to close the parenthesis")
        return located(exp.Paren(this=inner), at)

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
        return located(exp.Case(this=operand, ifs=branches, default=default), at)

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
            length = whole(self.whole_number("as a length").this)
            self.expect_symbol(")", "after a length")
        self.expect_symbol(")", "at the end of CAST")
        kind = cast_type(" ".join(words), length)
        if kind is None:
            raise self.error(
                "CAST does not know this type.",
                start,
                allowed=CAST_TYPES,
            )
        node = located(exp.Cast(this=value, to=exp.DataType(this=exp.DType.UNKNOWN)), at)
        node.meta["to"] = kind
        return node

    def call(self) -> exp.Expr:
        token = self.advance()
        if token.upper in RESERVED_WORDS and token.upper not in _FUNCTION_WORDS:
            self.index -= 1
            hint = FUNCTIONS_ELSEWHERE.get(token.upper)
            if hint is not None:
                raise self.error("There is no function of this name.", token, next_step=hint)
            raise self.unexpected("a value")
        self.advance()
        distinct = False
        arguments: list[exp.Expr] = []
        if self.take_symbol("*"):
            arguments = [exp.Star()]
        elif not self.at_symbol(")"):
            if self.at_word("DISTINCT", "ALL"):
                distinct = self.advance().upper == "DISTINCT"
            arguments = self.separated(self.value)
        self.expect_symbol(")", f"after the arguments of {token.text}")
        node = located(exp.Anonymous(this=token.upper, expressions=arguments), token.at)
        node.meta["distinct"] = distinct
        return node

    def column_reference(self) -> exp.Expr:
        at = self.token.at
        names = [self.identifier("a column name, value or function")]
        while self.take_symbol("."):
            names.append(self.identifier("a column name"))
        if self.at_symbol("("):
            raise self.unexpected("a comma, an operator or the next clause")
        if len(names) > 4:
            raise self.error(
                "A column name has too many parts.", self.tokens[self.index - 1], allowed="schema.table.column"
            )
        return located(column(names[-1], names[:-1]), at)


def _continues(token: Token) -> bool:
    """Whether *token* after a number or a name makes it part of something larger."""
    return token.kind is Kind.SYMBOL and token.text in _CONTINUING


def _listed(terms: list[exp.Expr]) -> list[exp.Expr]:
    """*terms* of OR, where ``a = 1 OR a = 2 OR …`` stands as ``a IN (1, 2, …)``: the same, and quick for any number.

    Whole numbers and fractions are not listed together: an engine would take all of a list for what suits each of them.
    """
    if len(terms) < _LISTED_FROM:
        return terms
    values: dict[tuple[exp.Expr, bool], list[exp.Expr]] = {}
    keys = [_list_of(term) for term in terms]
    for key, term in zip(keys, terms, strict=True):
        if key is not None:
            values.setdefault(key, []).append(term.expression)
    lists = {key: found for key, found in values.items() if len(found) >= _LISTED_FROM}
    result: list[exp.Expr] = []
    for key, term in zip(keys, terms, strict=True):
        if key is None or key not in lists:
            result.append(term)
        elif values.pop(key, None) is not None:
            result.append(located(exp.In(this=term.this, expressions=lists[key]), term.meta.get("at", 0)))
    return result


def _list_of(term: exp.Expr) -> tuple[exp.Expr, bool] | None:
    """The column that is compared with a constant, and whether that is written as a whole number."""
    if not isinstance(term, exp.EQ) or not isinstance(term.this, exp.Column):
        return None
    value = term.expression.this if isinstance(term.expression, exp.Neg) else term.expression
    return (term.this, value.name.isdigit()) if isinstance(value, exp.Literal) else None
