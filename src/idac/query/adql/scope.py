"""What the names in one SELECT can mean: the tables of its FROM clause, and of the queries round it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rapidfuzz import process
from sqlglot import exp

from idac.core.errors import BadQuery
from idac.query.adql.lexer import position_of
from idac.tables.model import Column
from idac.tables.names import adql_name


@dataclass(frozen=True)
class Visible:
    """A column that a source offers: how it is described, and how it is reached in the resolved tree."""

    column: Column
    reference: Callable[[], exp.Expr]


@dataclass(frozen=True)
class Source:
    """One thing in FROM: a table, a sub-query or a common table, under the names by which columns may be qualified."""

    names: tuple[str, ...]  # as (…, schema, table) or (alias,)
    delimited: bool  # whether the last name was given in double quotes, so that case matters
    columns: tuple[Visible, ...]

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


@dataclass
class Scope:
    """The sources of one SELECT; *parent* is the query round it, whose columns a correlated sub-query may use."""

    text: str
    parent: Scope | None = None
    sources: list[Source] = field(default_factory=list)
    #: Columns that USING or NATURAL has merged, by lower-case name: they stand for both sides and need no qualifier.
    merged: dict[str, Visible] = field(default_factory=dict)

    def everything(self) -> list[Visible]:
        """What ``*`` stands for: merged columns first and once (SQL-92 section 7.5), then the rest in order."""
        rest = [v for s in self.sources for v in s.columns if v.column.name.lower() not in self.merged]
        return [*self.merged.values(), *rest]

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
            found = _matching(name, source.columns)
            if not found:
                raise self.unknown(name, qualifiers, source)
        else:
            merged = self.merged.get(name.name.lower())
            if merged is not None:
                return merged
            found = [v for s in self.sources for v in _matching(name, s.columns)]
        if len(found) > 1:
            raise self.ambiguous(name, found)
        return found[0] if found else None

    def ambiguous(self, name: exp.Identifier, found: list[Visible]) -> BadQuery:
        owners = [s for s in self.sources if any(v in s.columns for v in found)]
        places = ", ".join(f"{'.'.join(adql_name(n) for n in s.names)}.{adql_name(name.name)}" for s in owners)
        return self.error(
            "This column name could mean more than one column.",
            name,
            name.name,
            allowed=places,
            next_step="Write the table's name or alias before it.",
        )

    def unknown(
        self, name: exp.Identifier, qualifiers: Sequence[exp.Identifier], source: Source | None = None
    ) -> BadQuery:
        if qualifiers and source is None:
            given = ".".join(q.name for q in qualifiers)
            names = [".".join(adql_name(n) for n in s.names) for s in self.sources]
            return self.error(
                "No table of this name is in the FROM clause.",
                qualifiers[0],
                given,
                allowed=", ".join(names) or None,
                next_step="Where a table has an alias, its columns are written with the alias.",
            )
        sources = [source] if source else self.sources
        names = [v.column.name for s in sources for v in s.columns]
        where = ".".join(adql_name(n) for n in source.names) if source else "the tables of this query"
        return self.error(
            f"There is no column of this name in {where}.", name, name.name, next_step=nearest(name.name, names)
        )

    def error(
        self, what: str, node: exp.Expr, value: str | None, *, allowed: str | None = None, next_step: str | None = None
    ) -> BadQuery:
        at = position_of(self.text, node.meta.get("at", 0))
        return BadQuery(what, value=value, allowed=allowed, next_step=next_step, position=at)


def _matching(name: exp.Identifier, columns: Sequence[Visible]) -> list[Visible]:
    if name.args.get("quoted"):
        return [v for v in columns if v.column.name == name.name]
    wanted = name.name.lower()
    found = [v for v in columns if v.column.name.lower() == wanted]
    exact = [v for v in found if v.column.name == name.name]
    # Columns that differ in case alone must be delimited, unless one is spelled as it was asked for.
    return exact if len(found) > 1 and len(exact) == 1 else found


def nearest(name: str, names: Sequence[str], show: Callable[[str], str] = adql_name) -> str | None:
    """A sentence that names the closest of *names*, for the end of an error; None where none is close."""
    lower = {n.lower(): n for n in names}
    close = process.extract(name.lower(), list(lower), limit=3, score_cutoff=60)
    # A good match needs no company.
    close = [match for match in close if match[1] > close[0][1] - 10]
    if not close:
        return None
    return f"Did you mean {' or '.join(show(lower[match]) for match, _, _ in close)}?"
