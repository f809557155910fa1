"""Example queries of what is published, and the DALI-examples page that clients and people both read."""

from __future__ import annotations

import html
import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlencode

from idac.catalogs.snapshot import CatalogSnapshot
from idac.tables.model import Column, Table
from idac.tables.names import adql_name, adql_table_name
from idac.web.pages import xhtml_page
from idac.web.vosi import Document

_MAX_TABLES = 12
_NO_XML_NAME = re.compile(r"[^a-z0-9_.]+", re.ASCII)
#: Somewhere every survey has sky: examples need a place, and tables rarely say where theirs is.
_CENTER = "56.75, 24.12"  # the Pleiades


@dataclass(frozen=True, slots=True)
class Example:
    """A query that runs as it stands. *id* is a fragment of the page's address: an XML name, each its own."""

    id: str
    name: str
    query: str
    description: str
    table: str | None = None


def examples_of(
    snapshot: CatalogSnapshot,
    written: Iterable[Example] = (),
    readable: Callable[[Table], bool] = lambda _: True,
) -> tuple[Example, ...]:
    """Publishers' own examples first, then some made from each table's columns, then one about the metadata.

    Only of tables that are *readable*; an example that names none is everyone's.
    """
    tables = [t for schema in snapshot.schemas if schema.name.upper() != "TAP_SCHEMA" for t in schema if readable(t)]
    known = {adql_table_name(t.schema, t.name) for t in tables}
    made = [example for example in written if example.table is None or example.table in known]
    for table in tables[:_MAX_TABLES]:
        made.extend(_examples_of_table(table))
    positioned = [t for t in tables if t.ra_column and t.dec_column]
    if len(positioned) > 1:
        made.append(_cross_match(positioned[0], positioned[1]))
    made.append(_metadata_example())
    return _named_apart(made)


def _named_apart(examples: Iterable[Example]) -> tuple[Example, ...]:
    """The examples with ids of which no two are the same: tables' names may differ in what no id can hold."""
    taken: set[str] = set()
    named: list[Example] = []
    for example in examples:
        names = (example.id if n == 1 else f"{example.id}-{n}" for n in itertools.count(1))
        name = next(name for name in names if name not in taken)
        taken.add(name)
        named.append(replace(example, id=name))
    return tuple(named)


def _slug(table: Table) -> str:
    """The table's name as the beginning of an XML name."""
    slug = _NO_XML_NAME.sub("-", table.qualified_name.lower().replace(".", "-", 1)).strip("-")
    return slug if slug[:1].isalpha() else f"table-{slug}"


# The coordinate system is given although ADQL 2.1 no longer asks for it: editors in clients that know ADQL 2.0 alone
# would mark the query as wrong.
def _examples_of_table(table: Table) -> list[Example]:
    name = adql_table_name(table.schema, table.name)
    slug = _slug(table)
    columns = ", ".join(adql_name(column.name) for column in _telling(table))
    made = [
        Example(
            f"{slug}-first",
            f"First rows of {name}",
            f"SELECT TOP 10 {columns}\nFROM {name}",
            f"A look at {name}: {table.description or 'no description was given'}",
            name,
        )
    ]
    if table.ra_column and table.dec_column:
        point = f"POINT('ICRS', {adql_name(table.ra_column)}, {adql_name(table.dec_column)})"
        made.append(
            Example(
                f"{slug}-cone",
                f"Rows of {name} around the Pleiades",
                f"SELECT TOP 100 {columns},\n  DISTANCE({point}, POINT('ICRS', {_CENTER})) AS separation\nFROM {name}\n"
                f"WHERE 1 = CONTAINS({point}, CIRCLE('ICRS', {_CENTER}, 0.5))\nORDER BY separation",
                "A cone of half a degree, nearest first. Only the parts of the table that touch the cone are read.",
                name,
            )
        )
    return made


def _cross_match(left: Table, right: Table) -> Example:
    one, other = adql_table_name(left.schema, left.name), adql_table_name(right.schema, right.name)
    a = [f"a.{adql_name(name)}" for name in (left.ra_column, left.dec_column) if name]
    b = [f"b.{adql_name(name)}" for name in (right.ra_column, right.dec_column) if name]
    separation = f"DISTANCE(POINT('ICRS', {', '.join(a)}), POINT('ICRS', {', '.join(b)}))"
    return Example(
        "cross-match",
        f"{one} and {other} by position",
        f"SELECT TOP 100 {', '.join([*a, *b])},\n  {separation} * 3600 AS separation_arcsec\n"
        f"FROM {one} AS a\nJOIN {other} AS b\n  ON {separation} < 1.0/3600\n"
        f"WHERE 1 = CONTAINS(POINT('ICRS', {', '.join(a)}), CIRCLE('ICRS', {_CENTER}, 2))",
        "Pairs within one arcsecond. The same works with an uploaded table in place of either.",
        one,
    )


def _metadata_example() -> Example:
    return Example(
        "columns-by-ucd",
        "Columns that hold magnitudes",
        "SELECT table_name, column_name, unit, description\nFROM TAP_SCHEMA.columns\nWHERE ucd LIKE 'phot.mag%'",
        "The catalogue of catalogues is queried like any other table.",
        "TAP_SCHEMA.columns",
    )


def _telling(table: Table, limit: int = 6) -> Sequence[Column]:
    """A few columns that say most: identifier and position, then those the publisher calls principal."""
    named = (table.id_column, table.ra_column, table.dec_column)
    first = [column for column in table.columns if column.name in named]
    others = [c for c in table.columns if c not in first]
    principal = [c for c in others if c.principal] or others
    return [*first, *principal][:limit]


def examples_page(examples: Sequence[Example], title: str, sync: str) -> Document:
    """DALI-examples 1.1 section 2.3: well-formed XHTML with RDFa in the examples vocabulary.

    *sync* is where a query is answered at once; each example has a link that runs it.
    """
    parts = "".join(_example_html(example, sync) for example in examples)
    return xhtml_page(title, f'<div vocab="http://www.ivoa.net/rdf/examples#">\n{parts}</div>\n')


def _example_html(example: Example, sync: str) -> str:
    table = f'<p>Table: <code property="table">{html.escape(example.table)}</code></p>\n' if example.table else ""
    run = f"{sync}?{urlencode({'LANG': 'ADQL', 'RESPONSEFORMAT': 'csv', 'MAXREC': '1000', 'QUERY': example.query})}"
    return (
        f'<div id="{html.escape(example.id)}" resource="#{html.escape(example.id)}" typeof="example">\n'
        f'<h2 property="name">{html.escape(example.name)}</h2>\n'
        f"<p>{html.escape(example.description)}</p>\n{table}"
        f'<pre property="query">{html.escape(example.query)}</pre>\n'
        f'<p><a href="{html.escape(run)}">Run it, up to 1000 rows as CSV</a></p>\n</div>\n'
    )
