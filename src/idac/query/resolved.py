"""A checked query: what the ADQL half hands to planning, and nothing engine-specific in it."""

from __future__ import annotations

from dataclasses import dataclass

from sqlglot import exp

from idac.catalogs.snapshot import TableEntry
from idac.tables.model import Column


@dataclass(frozen=True)
class TableUse:
    """One appearance of a table in a FROM clause; *alias* is unique in the whole query."""

    alias: str
    entry: TableEntry


@dataclass(frozen=True)
class ResolvedQuery:
    """A single read-only query, names resolved and types known.

    In *tree* every column is qualified by its table's alias, ``*`` is expanded, identifiers are quoted and spelled as
    published, TOP and OFFSET are ``limit`` and ``offset``, geometry stands as the nodes of ``query.adql.geometry``, and
    functions have passed the allow-list. Each ``exp.Table`` in the tree carries its ``TableUse`` in ``.meta["use"]``;
    every expression that yields a value carries its ``DataType`` in ``.meta["type"]`` where it is known.
    """

    adql: str
    tree: exp.Query
    columns: tuple[Column, ...]
    tables: tuple[TableUse, ...]
