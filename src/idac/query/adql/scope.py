"""What the names in one SELECT can mean: the tables of its FROM clause, and of the queries round it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlglot import exp

from idac.core.errors import BadQuery
from idac.query.adql.hints import nearest
from idac.query.adql.lexer import position_of
from idac.query.adql.nodes import quoted
from idac.tables.model import Column, Table
from idac.tables.names import adql_name

#: Column names that an error lists.
_MOST_LISTED = 8


@dataclass(frozen=True, slots=True)
class Visible:
    """A column that a source offers. *second* is the other side's where FULL JOIN USING has merged two."""

    column: Column
    alias: str
    second: Visible | None = None

    def reference(self) -> exp.Expr:
        """A new node that stands for this column in the resolved tree."""
        node: exp.Expr = exp.Column(this=quoted(self.column.name), table=quoted(self.alias))
        meta = node.meta
        meta["type"], meta["column"], meta["level"] = self.column.type, self.column, 0
        if self.second is not None:
            node = exp.Coalesce(this=node, expressions=[self.second.reference()])
            node.meta.update(meta)
        return node


class Columns:
    """The columns of one source, found by name without a walk over all of them."""

    def __init__(self, columns: Sequence[Column], table: Table | None = None) -> None:
        self.all = columns
        self._table = table
        self._by_lower: dict[str, tuple[Column, ...]] = {}
        for column in columns if table is None else ():
            key = column.name.lower()
            self._by_lower[key] = (*self._by_lower.get(key, ()), column)

    def matching(self, name: str) -> tuple[Column, ...]:
        """Columns of that name regardless of case."""
        if self._table is not None:
            return self._table.matching(name)
        return self._by_lower.get(name.lower(), ())

    def find(self, name: exp.Identifier) -> tuple[Column, ...]:
        """Columns that an identifier may mean (ADQL 2.1 section 2.1.6); more than one where it is ambiguous."""
        found = self.matching(name.name)
        exact = tuple(c for c in found if c.name == name.name)
        if name.args.get("quoted"):
            return exact
        # Columns that differ in case alone must be delimited, unless one is spelled as it was asked for.
        return exact if len(found) > 1 and len(exact) == 1 else found


@dataclass(frozen=True, slots=True)
class Source:
    """One thing in FROM: a table, a sub-query or a common table, under the names by which columns may be qualified."""

    names: tuple[str, ...]  # as (schema, table) or (alias,)
    delimited: bool  # whether the last name was given in double quotes, so that case matters
    alias: str  # its name in the resolved tree
    columns: Columns

    def answers_to(self, qualifiers: Sequence[exp.Identifier]) -> bool:
        if len(qualifiers) > len(self.names):
            return False
        for given, own in zip(reversed(qualifiers), reversed(self.names), strict=False):
            same = (
                given.name == own if given.args.get("quoted") and self.delimited else given.name.lower() == own.lower()
            )
            if not same:
                return False
        return True

    def find(self, name: exp.Identifier) -> list[Visible]:
        return [Visible(c, self.alias) for c in self.columns.find(name)]

    def everything(self) -> list[Visible]:
        return [Visible(c, self.alias) for c in self.columns.all]

    @property
    def shown(self) -> str:
        """The name as it is written in a query."""
        return ".".join(adql_name(n) for n in self.names)


@dataclass
class Scope:
    """The sources of one SELECT; *parent* is the query round it, whose columns a correlated sub-query may use."""

    text: str
    parent: Scope | None = None
    sources: list[Source] = field(default_factory=list)
    #: Columns that USING or NATURAL has merged, by lower-case name: they stand for both sides and need no qualifier.
    merged: dict[str, Visible] = field(default_factory=dict)
    #: Names that the select list gives, in lower case: known for the sake of errors, since WHERE can't use them.
    aliases: frozenset[str] = frozenset()

    def everything(self) -> list[Visible]:
        """What ``*`` stands for: merged columns first and once (SQL-92 section 7.5), then the rest in order."""
        rest = [v for s in self.sources for v in s.everything()]
        if not self.merged:
            return rest
        return [*self.merged.values(), *(v for v in rest if v.column.name.lower() not in self.merged)]

    def find_source(self, qualifiers: Sequence[exp.Identifier]) -> Source | None:
        found = [s for s in self.sources if s.answers_to(qualifiers)]
        if len(found) > 1:
            name = ".".join(q.name for q in qualifiers)
            raise self.error(
                "Two tables in FROM have this name.",
                qualifiers[0],
                name,
                next_step="Give one of them an alias with AS.",
            )
        return found[0] if found else None

    def resolve(self, name: exp.Identifier, qualifiers: Sequence[exp.Identifier]) -> tuple[Visible, int]:
        """The column meant, and how many queries further out it stands (0: this one)."""
        scope: Scope | None = self
        level = 0
        while scope is not None:
            found = scope.own(name, qualifiers)
            if found is not None:
                return found, level
            scope, level = scope.parent, level + 1
        raise self.unknown(name, qualifiers)

    def own(self, name: exp.Identifier, qualifiers: Sequence[exp.Identifier]) -> Visible | None:
        if qualifiers:
            source = self.find_source(qualifiers)
            if source is None:
                return None
            found = source.find(name)
            if not found:
                raise self.unknown(name, qualifiers, source)
        else:
            merged = self.merged.get(name.name.lower())
            if merged is not None:
                return merged
            found = [v for s in self.sources for v in s.find(name)]
        if len(found) > 1:
            raise self.ambiguous(name, found)
        return found[0] if found else None

    # -- errors ----------------------------------------------------------------------------------------------------

    def ambiguous(self, name: exp.Identifier, found: list[Visible]) -> BadQuery:
        shown = {s.alias: s.shown for s in self.sources}
        places = ", ".join(dict.fromkeys(f"{shown[v.alias]}.{adql_name(v.column.name)}" for v in found))
        same_table = len({v.alias for v in found}) == 1
        quotes = ", ".join(f'"{v.column.name}"' for v in found)
        return self.error(
            "This column name could mean more than one column.",
            name,
            name.name,
            allowed=quotes if same_table else places,
            next_step="Write the name in double quotes, which makes case matter."
            if same_table
            else "Write the table's name or alias before it.",
        )

    def unknown(
        self, name: exp.Identifier, qualifiers: Sequence[exp.Identifier], source: Source | None = None
    ) -> BadQuery:
        if qualifiers and source is None:
            return self.unknown_source(qualifiers)
        sources = [source] if source else self.sources
        names = [c.name for s in sources for c in s.columns.all]
        where = source.shown if source else "the tables of this query"
        what, hint = f"There is no column of this name in {where}.", self.hint(name, names)
        if hint is not None:
            return self.error(what, name, name.name, next_step=hint)
        listed = ", ".join(map(adql_name, names[:_MOST_LISTED]))
        more = len(names) - _MOST_LISTED
        allowed = f"{listed} and {more} more" if more > 0 else listed
        step = "SELECT * FROM tap_schema.columns lists all columns of all tables, with what they mean."
        return self.error(what, name, name.name, allowed=allowed, next_step=step)

    def unknown_source(self, qualifiers: Sequence[exp.Identifier]) -> BadQuery:
        scope: Scope | None = self
        names: list[str] = []
        while scope is not None:
            names += [s.shown for s in scope.sources]
            scope = scope.parent
        return self.error(
            "No table of this name is in the FROM clause.",
            qualifiers[0],
            ".".join(q.name for q in qualifiers),
            allowed=", ".join(dict.fromkeys(names)) or None,
            next_step="Where a table has an alias, its columns are written with the alias.",
        )

    def hint(self, name: exp.Identifier, names: Sequence[str]) -> str | None:
        if name.name.lower() in self.aliases:
            return (
                "A name that the select list gives can be used in GROUP BY and ORDER BY alone; repeat the expression."
            )
        close = nearest(name.name, names)
        if not name.args.get("quoted"):
            return close
        other_case = [n for n in names if n.lower() == name.name.lower()]
        if other_case:
            return f'In double quotes case matters: write "{other_case[0]}".'
        quotes = "Text is written in single quotes; double quotes are for names."
        return f"{close} {quotes}" if close else quotes

    def error(
        self, what: str, node: exp.Expr, value: str | None, *, allowed: str | None = None, next_step: str | None = None
    ) -> BadQuery:
        at = position_of(self.text, node.meta.get("at", 0))
        return BadQuery(what, value=value, allowed=allowed, next_step=next_step, position=at)
