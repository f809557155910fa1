"""Types of the columns of a text table, found over all of its rows.

Arrow's parser judges each block by itself; the judgements of a column join to the narrowest type that holds them all.
An id that outgrows 64 bits, or that shares its column with fractions, becomes text, since a double would change it.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from idac.tables.model import BOOLEAN, DOUBLE, LONG, STRING, TIMESTAMP, Column, DataType
from idac.tables.readers.packed import float_values

#: Whole records of a file.
type Block = bytes | bytearray
type Kind = Literal["nothing", "bool", "int", "float", "time", "zoned", "text"]

#: Doubles hold each integer up to this one.
_EXACT = 2**53
_TYPES: dict[Kind, DataType] = {
    "nothing": STRING,
    "bool": BOOLEAN,
    "int": LONG,
    "float": DOUBLE,
    "time": TIMESTAMP,
    "zoned": TIMESTAMP,
    "text": STRING,
}


class TypesOutgrown(Exception):
    """Rows were met that the types found in the head of the file do not hold."""


class Parse(Protocol):
    """Arrow's parser for this file."""

    def __call__(self, data: Block, **options: Any) -> pa.Table: ...


class TypeFinder:
    """Looks at block after block of a file."""

    def __init__(self, names: Sequence[str], nulls: list[str], number_nulls: list[str]) -> None:
        self._names = list(names)
        self._nulls = nulls
        self._number_nulls = number_nulls
        self._kinds: dict[str, Kind] = dict.fromkeys(names, "nothing")
        self._has_big_integers: set[str] = set()

    @property
    def has_seen_all(self) -> bool:
        """Whether each column has shown a value."""
        return "nothing" not in self._kinds.values()

    def needs_look(self, name: str, column: pa.ChunkedArray) -> bool:
        """Whether the values of a block, read with the type found so far, may yet ask for another.

        Times are read as text. Whole numbers that doubles do not hold make text of a column.
        """
        kind = self._kinds[name]
        if kind == "float":
            # What is no number is looked at, too: it compares as neither.
            return not all(np.abs(float_values(chunk)).max() < _EXACT for chunk in column.chunks if len(chunk))
        return kind in ("time", "zoned", "nothing")

    def require_held(self, parse: Parse, data: Block) -> None:
        """Raises TypesOutgrown where a block needs other types than those found so far."""
        finder = copy.deepcopy(self)
        finder.look_at(parse, data)
        if finder.columns() != self.columns():
            raise TypesOutgrown

    def look_at(self, parse: Parse, data: Block) -> int:
        """Take a block into account; the number of its rows."""
        settled = {name: pa.string() for name, kind in self._kinds.items() if kind == "text"}
        table = parse(data, column_types=settled)
        doubtful = []
        for name in self._names:
            if name in settled:
                continue
            column = table.column(name)
            kind = self._kind_of(column.type)
            if kind == "text":
                doubtful.append(name)
            else:
                self._join(name, self._judge(parse, data, name, column, kind))
        if doubtful:
            self._look_again(parse, data, doubtful)
        return int(table.num_rows)

    def columns(self) -> tuple[Column, ...]:
        """The columns with the types that hold every row seen."""
        return tuple(Column(name, _TYPES[kind]) for name, kind in self._kinds.items())

    def _look_again(self, parse: Parse, data: Block, names: list[str]) -> None:
        """Text may be numbers with a null that is spelt ``NA`` or the like."""
        table = parse(data, columns=names, null_values=self._number_nulls)
        for name in names:
            column = table.column(name)
            kind = self._kind_of(column.type)
            self._join(name, self._judge(parse, data, name, column, kind))

    @staticmethod
    def _kind_of(kind: pa.DataType) -> Kind:
        if pa.types.is_null(kind):
            return "nothing"
        if pa.types.is_boolean(kind):
            return "bool"
        if pa.types.is_integer(kind):
            return "int"
        if pa.types.is_floating(kind):
            return "float"
        if pa.types.is_timestamp(kind):
            return "zoned" if kind.tz else "time"
        return "time" if pa.types.is_date(kind) else "text"

    def _judge(self, parse: Parse, data: Block, name: str, column: pa.ChunkedArray, kind: Kind) -> Kind:
        if kind == "int":
            bounds = pc.min_max(column).as_py()
            if max(abs(bounds["min"] or 0), abs(bounds["max"] or 0)) > _EXACT:
                self._has_big_integers.add(name)
        if kind == "float":
            values = column.to_numpy()
            if (np.abs(values[np.isfinite(values)]) >= _EXACT).any():
                return self._judge_big(parse, data, name)
        return kind

    def _judge_big(self, parse: Parse, data: Block, name: str) -> Kind:
        """What looked like doubles may be integers of 64 bits and a NaN among them, or integers of more bits."""
        texts = parse(data, columns=[name], column_types={name: pa.string()}, null_values=self._number_nulls)
        words = pc.drop_null(texts.column(0))
        whole = pc.match_substring_regex(words, r"^\s*[+-]?\d+\s*$")
        if not pc.any(pc.and_(whole, pc.greater_equal(pc.utf8_length(words), 16))).as_py():
            return "float"
        if not pc.all(whole).as_py():
            return "text"
        try:
            words.cast(pa.int64())
        except pa.ArrowInvalid:
            return "text"
        self._has_big_integers.add(name)
        return "int"

    def _join(self, name: str, found: Kind) -> None:
        before = self._kinds[name]
        if found == "nothing" or found == before:
            return
        if before == "nothing":
            self._kinds[name] = found
        elif {before, found} == {"int", "float"} and name not in self._has_big_integers:
            self._kinds[name] = "float"
        else:
            self._kinds[name] = "text"
