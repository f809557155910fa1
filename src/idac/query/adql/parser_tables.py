"""The FROM clause: tables, sub-queries and joins (ADQL 2.1 appendix A, from_clause)."""

from __future__ import annotations

from sqlglot import exp

from idac.query.adql.lexer import Kind
from idac.query.adql.parser_names import NameParser, located

_JOIN_WORDS = ("NATURAL", "INNER", "LEFT", "RIGHT", "FULL", "JOIN", "CROSS")


class TableParser(NameParser):
    """Reads what stands after FROM."""

    def joined_table(self) -> tuple[exp.Expr, list[exp.Join]]:
        table = self.table_primary()
        joins: list[exp.Join] = []
        while self.at_word(*_JOIN_WORDS):
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
        table = self.joined_operand(natural)
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
        return located(join, start.at)

    def joined_operand(self, natural: bool) -> exp.Expr:
        """The table on the right of JOIN, with joins of its own where their conditions come first.

        ``a JOIN b JOIN c ON b.x = c.x ON a.x = b.x`` joins b with c before either with a (SQL-92 section 7.5).
        """
        table = self.table_primary()
        inner: list[exp.Join] = []
        while not natural and self.at_word(*_JOIN_WORDS):
            inner.append(self.nested(self.join))
        return exp.Paren(this=with_joins(table, inner)) if inner else table

    def table_primary(self) -> exp.Expr:
        return self.nested(self._table_primary)

    def _table_primary(self) -> exp.Expr:
        at = self.token.at
        if self.take_symbol("("):
            if self.at_query():
                query = self.query()
                self.expect_symbol(")", "after a sub-query")
                return located(exp.Subquery(this=query, alias=self.table_alias(needed=True)), at)
            table, joins = self.joined_table()
            self.expect_symbol(")", "after a joined table")
            return located(exp.Paren(this=with_joins(table, joins)), at) if joins else table
        if self.token.kind is Kind.STRING:
            raise self.error(
                "A table is named, not quoted as text.",
                self.token,
                next_step='Write the name as it is, or in double quotes, like "my table".',
            )
        names = [self.identifier("a table name")]
        while self.take_symbol("."):
            names.append(self.identifier("a table name"))
        if self.at_symbol("("):
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
        return located(table, at)

    def table_alias(self, *, needed: bool) -> exp.TableAlias | None:
        explicit = self.take_word("AS")
        if not explicit and not self.is_name():
            if needed:
                raise self.error("A sub-query in FROM needs a name.", self.token, next_step="Write (SELECT …) AS name.")
            return None
        return exp.TableAlias(this=self.identifier("a table alias"))


def with_joins(table: exp.Expr, joins: list[exp.Join]) -> exp.Expr:
    table.set("joins", joins)
    return table
