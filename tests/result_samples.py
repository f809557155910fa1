"""Results of every kind of column, for the tests of what is written: columns, their values, and batches of both."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from idac.core.errors import UserError
from idac.tables.arrow import arrow_schema, fixed_length
from idac.tables.formats import FORMATS
from idac.tables.model import CIRCLE, POINT, POLYGON, REGION, STRING, TIMESTAMP, UNICODE, Column, DataType
from idac.tables.writers.info import ResultInfo

type Values = list[Any]

NAN, INF = float("nan"), float("inf")
#: Four rows of every type: an ordinary value, one at an end of its range, one that is empty or odd, and NULL.
EVERY_KIND: tuple[tuple[Column, Values], ...] = (
    (Column("id", DataType("long"), ucd="meta.id;meta.main"), [2**53 + 1, -(2**63) + 1, 2**63 - 1, None]),
    (Column("flag", DataType("boolean")), [True, False, True, None]),
    (Column("byte", DataType("unsignedByte")), [0, 255, 128, None]),
    (Column("i2", DataType("short")), [-32767, 32767, 0, None]),
    (Column("i4", DataType("int")), [-(2**31) + 1, 2**31 - 1, 0, None]),
    (Column("f4", DataType("float"), unit="mag"), [0.1, -3.4028235e38, 1e-45, None]),
    (
        Column(
            "ra",
            DataType("double"),
            unit="deg",
            ucd="pos.eq.ra;meta.main",
            utype="stc:AstroCoords.Position2D.Value2.C1",
            description="Right ascension <α> & more",
        ),
        [0.1 + 0.2, 1.7976931348623157e308, 5e-324, None],
    ),
    (Column("odd", DataType("double")), [NAN, INF, -INF, None]),
    (Column("name", STRING), ["plain", 'a "b", \t<c> & d\\', "", None]),
    (Column("uni", UNICODE), ["δ Cephei", "𝔖 star 日本", "", None]),
    (Column("one", DataType("char")), ["x", "&", "y", None]),
    (Column("fixed", DataType("char", "8")), ["abcdefgh", "ab", "", None]),
    (
        Column("seen", TIMESTAMP),
        [
            dt.datetime(2026, 1, 31, 12),
            dt.datetime(1858, 11, 17, 0, 0, 0, 1),
            dt.datetime(2016, 12, 31, 23, 59, 59, 500000),
            None,
        ],
    ),
    (Column("spot", POINT, unit="deg"), [[10.5, -20.25], [359.9, 90.0], [0.0, 0.0], None]),
    (Column("disc", CIRCLE, unit="deg"), [[1.0, 2.0, 0.5], [0.0, -90.0, 180.0], [1.0, 1.0, 0.0], None]),
    (Column("area", POLYGON, unit="deg"), [[1.0, 1.0, 2.0, 1.0, 2.0, 2.0], [0.0] * 8, [], None]),
    (Column("s_region", REGION), ["CIRCLE ICRS 1 2 3", "POLYGON 1 2 3 4 5 6", "", None]),
    (Column("f3", DataType("float", "3")), [[1.5, -2.5, 0.1], [0.0, INF, 1.0], [1.0, 2.0, 3.0], None]),
    (Column("grid", DataType("short", "2x3")), [[1, 2, 3, 4, 5, 6], [-32767] * 6, [0] * 6, None]),
    (Column("ints", DataType("int", "*")), [[1, 2, 3], [2**31 - 1], [], None]),
    (Column("longs", DataType("long", "*")), [[2**53 + 1], [-1, 2**62], [], None]),
    (Column("bits", DataType("boolean", "*")), [[True, False], [True], [], None]),
    (Column("bytes", DataType("unsignedByte", "*")), [b"\x00\xff\x80", b"a", b"", None]),
    (Column("rgb", DataType("unsignedByte", "3")), [[1, 2, 255], [0, 0, 0], [9, 9, 9], None]),
    (Column("z", DataType("doubleComplex")), [[1.0, -2.0], [0.0, 1e300], [0.0, 0.0], None]),
    (Column("zs", DataType("floatComplex", "*")), [[[1.0, 2.0], [3.0, 4.0]], [[0.5, 0.25]], [], None]),
    (Column("names", DataType("char", "*x*")), [["a", 'b"c'], ["δ"], [], None]),
)


def columns_of(sample: Iterable[tuple[Column, Values]]) -> tuple[Column, ...]:
    return tuple(column for column, _ in sample)


def batch_of(sample: Sequence[tuple[Column, Values]]) -> pa.RecordBatch:
    schema = arrow_schema(columns_of(sample))
    arrays = [pa.array(values, field.type) for (_, values), field in zip(sample, schema, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def only(*names: str) -> tuple[tuple[Column, Values], ...]:
    """These columns of EVERY_KIND."""
    return tuple(pair for pair in EVERY_KIND if pair[0].name in names)


def without(*names: str) -> tuple[tuple[Column, Values], ...]:
    """EVERY_KIND less these columns."""
    return tuple(pair for pair in EVERY_KIND if pair[0].name not in names)


def cut(batch: pa.RecordBatch, step: int) -> Iterator[pa.RecordBatch]:
    for start in range(0, batch.num_rows, step):
        yield batch.slice(start, step)


def written(
    name: str,
    columns: Sequence[Column],
    batches: Iterable[pa.RecordBatch],
    info: ResultInfo | None = None,
    *,
    overflowed: bool = False,
) -> bytes:
    """The whole document in the format *name*."""
    return b"".join(FORMATS[name].write(tuple(columns), batches, info or ResultInfo(), lambda: overflowed))


def sample_written(name: str, sample: Sequence[tuple[Column, Values]], **options: Any) -> bytes:
    """A sample in the format *name*, from one batch."""
    return written(name, columns_of(sample), [batch_of(sample)], **options)


def failing(batches: Iterable[pa.RecordBatch], error: UserError) -> Iterator[pa.RecordBatch]:
    """The batches, and then the error."""
    yield from batches
    raise error


def timestamp_text(moment: dt.datetime) -> str:
    """As DALI 1.1 section 3.3.3 writes it, with all of the microseconds."""
    return moment.isoformat(timespec="microseconds")


@st.composite
def samples(draw: st.DrawFn, *, complex_arrays: bool = True) -> list[tuple[Column, Values]]:
    """A few of EVERY_KIND's columns with any values."""
    kinds = [c for c, _ in EVERY_KIND if complex_arrays or c.name != "zs"]
    columns = draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=6, unique_by=lambda c: c.name))
    count = draw(st.integers(1, 9))
    return [
        (column, draw(st.lists(st.none() | _values(column.type), min_size=count, max_size=count))) for column in columns
    ]


_ASCII = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=9)
_UNICODE = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=9)
_SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "boolean": st.booleans(),
    "unsignedByte": st.integers(0, 255),
    "short": st.integers(-(2**15) + 1, 2**15 - 1),
    "int": st.integers(-(2**31) + 1, 2**31 - 1),
    "long": st.integers(-(2**63) + 1, 2**63 - 1),
    "float": st.floats(width=32, allow_nan=False),
    "double": st.floats(allow_nan=False),
}
_SCALARS["floatComplex"] = st.lists(_SCALARS["float"], min_size=2, max_size=2)
_SCALARS["doubleComplex"] = st.lists(_SCALARS["double"], min_size=2, max_size=2)


def _values(kind: DataType) -> st.SearchStrategy[Any]:
    if kind.is_timestamp:
        # Odd microseconds, so that all of a result's have six decimals.
        moments = st.datetimes(dt.datetime(1000, 1, 1), dt.datetime(9999, 12, 31))
        return moments.map(lambda m: m.replace(microsecond=m.microsecond | 1))
    if kind.datatype == "unicodeChar":
        return _UNICODE
    if kind.datatype == "char":
        most = fixed_length(kind.arraysize or "1")
        return st.lists(_ASCII, max_size=3) if kind.arraysize == "*x*" else _ASCII.map(lambda text: text[:most])
    if kind.arraysize is None:
        return _SCALARS[kind.datatype]
    if kind == DataType("unsignedByte", "*"):
        return st.binary(max_size=5)
    length = fixed_length(kind.arraysize)
    return st.lists(_SCALARS[kind.datatype], min_size=length or 0, max_size=length or 4)
