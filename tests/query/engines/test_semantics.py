"""What clauses mean, on the real engine: the rows are SQLite's, and types, units and UCDs those that were declared."""

from __future__ import annotations

import operator
import random
import sqlite3
from collections.abc import Iterator
from datetime import datetime
from fractions import Fraction
from pathlib import Path

import pyarrow as pa
import pytest

from engine_fixture import Asking, memory_entry, memory_snapshot, small_engine
from idac.core.errors import BadQuery
from idac.tables.model import (
    BOOLEAN,
    DOUBLE,
    FLOAT,
    INT,
    LONG,
    POINT,
    SHORT,
    STRING,
    TIMESTAMP,
    UNICODE,
    Column,
    DataType,
)

#: The same rows for both: NULLs in every column, values that repeat, text with what text can have.
A = {
    "id": [1, 2, 3, 4, 5, 6, None],
    "n": [3, -3, 0, None, 7, 3, 3],
    "x": [0.5, -0.5, 2.0, 1e6, None, 0.5, -2.0],
    "t": ["a", "b", None, "", "it's", "a", "ab%"],
}
B = {"id": [2, 3, 3, 8, None], "m": [10, 20, 30, 40, 50], "t": ["b", "x", None, "a", "a"]}
C = {"m": [10, 30, 60], "u": ["ten", "thirty", None]}


@pytest.fixture(scope="module")
def asking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asking]:
    long, text = pa.int64(), pa.string()
    a = pa.table({"id": pa.array(A["id"], long), "n": pa.array(A["n"], long), "x": A["x"], "t": A["t"]})
    b = pa.table({"id": pa.array(B["id"], long), "m": pa.array(B["m"], long), "t": B["t"]})
    c = pa.table({"m": pa.array(C["m"], long), "u": pa.array(C["u"], text)})
    tables = {
        name: memory_entry(name, data) for name, data in {"t.a": a, "t.b": b, "t.c": c, "t.typed": typed()}.items()
    }
    tables["t.typed"] = memory_entry("t.typed", typed(), TYPED)
    with small_engine(tmp_path_factory.mktemp("engine")) as engine:
        yield Asking(engine, memory_snapshot(tables))


@pytest.fixture(scope="module")
def sqlite() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:")
    connection.execute("PRAGMA case_sensitive_like = ON")
    connection.execute("ATTACH ':memory:' AS t")
    for name, data in (("a", A), ("b", B), ("c", C)):
        kinds = {"id": "INTEGER", "n": "INTEGER", "m": "INTEGER", "x": "REAL", "t": "TEXT", "u": "TEXT"}
        connection.execute(f"CREATE TABLE t.{name} ({', '.join(f'{c} {kinds[c]}' for c in data)})")
        marks = ", ".join("?" * len(data))
        connection.executemany(f"INSERT INTO t.{name} VALUES ({marks})", zip(*data.values(), strict=True))
    yield connection
    connection.close()


def in_any_order(rows: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
    return sorted(rows, key=lambda row: [(v is None, isinstance(v, str), v) for v in row])


QUERIES = """
SELECT id, n, x, t FROM t.a
SELECT * FROM t.b
SELECT a.*, b.m FROM t.a AS a JOIN t.b AS b ON a.id = b.id
SELECT n / 2, n * 2, n - 1, n + x, -n FROM t.a
SELECT t || '-' || t FROM t.a
SELECT DISTINCT n FROM t.a
SELECT DISTINCT n, t FROM t.a
SELECT id FROM t.a WHERE n = 3
SELECT id FROM t.a WHERE n <> 3
SELECT id FROM t.a WHERE NOT n = 3
SELECT id FROM t.a WHERE n = 3 OR n IS NULL
SELECT id FROM t.a WHERE NOT (n > 0 AND x > 0)
SELECT id FROM t.a WHERE n IN (3, 7)
SELECT id FROM t.a WHERE n NOT IN (3, 7)
SELECT id FROM t.a WHERE n NOT IN (3, NULL)
SELECT id FROM t.a WHERE n IN (NULL)
SELECT id FROM t.a WHERE n BETWEEN 0 AND 3
SELECT id FROM t.a WHERE n NOT BETWEEN 0 AND 3
SELECT id FROM t.a WHERE n BETWEEN 3 AND 0
SELECT id FROM t.a WHERE t = ''
SELECT id FROM t.a WHERE t = 'it''s'
SELECT id FROM t.a WHERE t > 'a'
SELECT id FROM t.a WHERE t LIKE 'a%'
SELECT id FROM t.a WHERE id IN (SELECT id FROM t.b)
SELECT id FROM t.a WHERE id NOT IN (SELECT id FROM t.b)
SELECT id FROM t.a WHERE id NOT IN (SELECT id FROM t.b WHERE id IS NOT NULL)
SELECT id FROM t.a AS o WHERE EXISTS (SELECT 1 FROM t.b AS i WHERE i.id = o.id)
SELECT id FROM t.a AS o WHERE NOT EXISTS (SELECT 1 FROM t.b AS i WHERE i.id = o.id AND i.m > 10)
SELECT id FROM t.a WHERE EXISTS (SELECT 1 FROM t.b WHERE b.id = a.id AND EXISTS (SELECT 1 FROM t.c WHERE c.m = b.m))
SELECT id, (SELECT MAX(m) FROM t.b AS i WHERE i.id = o.id) FROM t.a AS o
SELECT id FROM t.a WHERE n = (SELECT MAX(n) FROM t.a)
SELECT id, (SELECT COUNT(*) FROM t.b AS i WHERE i.id < o.id) FROM t.a AS o
SELECT COUNT(*) FROM t.a, t.b
SELECT a.id, b.id FROM t.a AS a, t.b AS b WHERE a.t = b.t
SELECT a.id, b.m FROM t.a AS a LEFT JOIN t.b AS b ON a.id = b.id
SELECT a.id, b.m FROM t.a AS a LEFT JOIN t.b AS b ON a.id = b.id AND b.m > 10
SELECT a.id, b.m FROM t.a AS a LEFT JOIN t.b AS b ON a.id = b.id WHERE b.m IS NULL
SELECT a.id, b.m FROM t.a AS a RIGHT JOIN t.b AS b ON a.id = b.id
SELECT a.id, b.m FROM t.a AS a FULL JOIN t.b AS b ON a.id = b.id
SELECT a.id, b.m, c.u FROM t.a AS a JOIN t.b AS b ON a.id = b.id LEFT JOIN t.c AS c ON b.m = c.m
SELECT a.id, b.m, c.u FROM t.a AS a LEFT JOIN (t.b AS b JOIN t.c AS c ON b.m = c.m) ON a.id = b.id
SELECT id, m FROM t.a JOIN t.b USING (id)
SELECT id, n, m FROM t.a LEFT JOIN t.b USING (id)
SELECT id, n, m FROM t.a RIGHT JOIN t.b USING (id)
SELECT id, n, m FROM t.a FULL JOIN t.b USING (id)
SELECT id, t, n, m FROM t.a NATURAL JOIN t.b
SELECT id, t, n, m FROM t.a NATURAL LEFT JOIN t.b
SELECT p.id, q.id FROM t.a AS p JOIN t.a AS q ON p.n = q.n AND p.id < q.id
SELECT id FROM t.a UNION SELECT id FROM t.b
SELECT id FROM t.a UNION ALL SELECT id FROM t.b
SELECT id FROM t.a INTERSECT SELECT id FROM t.b
SELECT id FROM t.a EXCEPT SELECT id FROM t.b
SELECT id FROM t.b EXCEPT SELECT id FROM t.a
SELECT n, t FROM t.a UNION SELECT m, t FROM t.b
SELECT id FROM t.a UNION SELECT x FROM t.a
SELECT n, COUNT(*) FROM t.a GROUP BY n
SELECT n, COUNT(x), SUM(x), MIN(t), MAX(id), AVG(x) FROM t.a GROUP BY n
SELECT n, t, COUNT(*) FROM t.a GROUP BY n, t
SELECT n / 2, COUNT(*) FROM t.a GROUP BY n / 2
SELECT n / 2 AS h, COUNT(*) FROM t.a GROUP BY h
SELECT n / 2 AS h, COUNT(*) FROM t.a GROUP BY 1
SELECT n FROM t.a GROUP BY n HAVING COUNT(*) > 1
SELECT n, SUM(x) AS s FROM t.a WHERE id IS NOT NULL GROUP BY n HAVING SUM(x) > 0 AND COUNT(*) > 1
SELECT COUNT(*) FROM t.a HAVING COUNT(*) > 100
SELECT COUNT(*), SUM(n), MIN(t) FROM t.a WHERE 1 = 0
SELECT COUNT(DISTINCT n), COUNT(n), COUNT(*) FROM t.a
SELECT SUM(DISTINCT n) FROM t.a
SELECT CASE WHEN n > 0 THEN 'plus' WHEN n < 0 THEN 'minus' ELSE 'zero' END FROM t.a
SELECT CASE WHEN n > 0 THEN 1 END FROM t.a
SELECT CASE n WHEN 3 THEN 'three' WHEN 7 THEN 'seven' END FROM t.a
SELECT CASE t WHEN NULL THEN 1 ELSE 2 END FROM t.a
SELECT COALESCE(n, id, 0) FROM t.a
SELECT COALESCE(t, 'none') FROM t.a
SELECT s.h, s.k FROM (SELECT n AS h, COUNT(*) AS k FROM t.a GROUP BY n) AS s WHERE s.k > 1
WITH w AS (SELECT id, n FROM t.a WHERE n > 0) SELECT w.id, b.m FROM w JOIN t.b AS b ON w.id = b.id
WITH w(i, j) AS (SELECT id, n FROM t.a), v AS (SELECT i FROM w WHERE j > 0) SELECT w.i, w.j FROM w JOIN v ON w.i = v.i
WITH a AS (SELECT id FROM t.b) SELECT id FROM a
SELECT id FROM t.a WHERE id IN (WITH w AS (SELECT id FROM t.b) SELECT id FROM w)
""".strip().splitlines()


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_gives_the_rows_that_sqlite_gives(asking: Asking, sqlite: sqlite3.Connection, query: str) -> None:
    assert in_any_order(asking.rows(query)) == in_any_order(sqlite.execute(query).fetchall())


def random_condition(rng: random.Random, depth: int) -> str:
    """A condition over t.a that both databases understand, with NULLs in every place."""
    if depth == 0:
        number = rng.choice(["n", "id", "n + id", "n - 3", "-n", "n * n", "x", "NULL", "3", "0"])
        other = rng.choice(["n", "id", "3", "0", "-3", "x", "2.0", "(SELECT MAX(m) FROM t.b)", "NULL"])
        text = rng.choice(["t", "t || t", "'a'", "''", "COALESCE(t, 'a')"])
        return rng.choice(
            [
                f"{number} {rng.choice(['=', '<>', '<', '<=', '>', '>='])} {other}",
                f"{number} {rng.choice(['', 'NOT '])}BETWEEN {other} AND 5",
                f"{number} {rng.choice(['', 'NOT '])}IN (1, {other}, 7)",
                f"id {rng.choice(['', 'NOT '])}IN (SELECT id FROM t.b WHERE m > {rng.choice(['0', '25', '99'])})",
                f"{text} {rng.choice(['=', '<>', '<', '>='])} {rng.choice(['t', chr(39) + 'a' + chr(39)])}",
                f"{text} {rng.choice(['', 'NOT '])}LIKE {rng.choice([repr('a%'), repr('_'), repr('%b%')])}",
                f"{rng.choice(['n', 'x', 't', 'n + id'])} IS {rng.choice(['', 'NOT '])}NULL",
                "EXISTS (SELECT 1 FROM t.b WHERE t.b.id = t.a.id)",
            ]
        )
    left, right = random_condition(rng, depth - 1), random_condition(rng, rng.randrange(depth))
    return rng.choice([f"({left} AND {right})", f"({left} OR {right})", f"NOT ({left})", f"({left})"])


def test_random_conditions_are_true_of_the_rows_that_sqlite_says(asking: Asking, sqlite: sqlite3.Connection) -> None:
    rng = random.Random(11)
    answers = set()
    for _ in range(250):
        query = f"SELECT id, n, x FROM t.a WHERE {random_condition(rng, 3)}"
        expected = in_any_order(sqlite.execute(query).fetchall())
        assert in_any_order(asking.rows(query)) == expected, query
        answers.add(str(expected))
    assert len(answers) > 20


# -- what SQLite has not, or has otherwise -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ("SELECT n FROM t.a ORDER BY n", [-3, 0, 3, 3, 3, 7, None]),
        ("SELECT n FROM t.a ORDER BY n DESC", [7, 3, 3, 3, 0, -3, None]),
        ("SELECT n FROM t.a ORDER BY 1 DESC", [7, 3, 3, 3, 0, -3, None]),
        ("SELECT n AS z FROM t.a ORDER BY z", [-3, 0, 3, 3, 3, 7, None]),
        ("SELECT n FROM t.a ORDER BY -n, id", [7, 3, 3, 3, 0, -3, None]),
        ("SELECT id FROM t.a ORDER BY n DESC, id DESC", [5, 6, 1, None, 3, 2, 4]),
        ("SELECT id FROM t.a ORDER BY NULL, id", [1, 2, 3, 4, 5, 6, None]),
        ("SELECT id FROM t.a ORDER BY 'x', id DESC", [6, 5, 4, 3, 2, 1, None]),
        ("SELECT TOP 2 n FROM t.a ORDER BY n DESC", [7, 3]),
        ("SELECT TOP 2 n FROM t.a ORDER BY n DESC OFFSET 3", [3, 0]),
        ("SELECT n FROM t.a ORDER BY n OFFSET 5", [7, None]),
        ("SELECT n FROM t.a ORDER BY n OFFSET 99999999999999999999", []),
        ("SELECT TOP 0 n FROM t.a", []),
        ("SELECT DISTINCT TOP 3 n FROM t.a ORDER BY n", [-3, 0, 3]),
        ("SELECT t FROM t.a GROUP BY t ORDER BY COUNT(*) DESC, t", ["a", "", "ab%", "b", "it's", None]),
        ("SELECT n FROM t.a INTERSECT ALL SELECT n FROM t.a WHERE id < 3", [-3, 3]),
        ("SELECT n FROM t.a EXCEPT ALL SELECT n FROM t.a WHERE id < 3", [0, 3, 3, 7, None]),
        ("(SELECT TOP 1 n FROM t.a ORDER BY n) UNION ALL (SELECT TOP 1 n FROM t.a ORDER BY n DESC)", [-3, 7]),
        ("SELECT id FROM t.b UNION ALL SELECT id FROM t.a WHERE id = 1 ORDER BY id DESC OFFSET 1", [3, 3, 2, 1, None]),
        # INTERSECT binds tighter than UNION (SQL-92 section 7.10), which SQLite does not do.
        ("SELECT m FROM t.b WHERE m = 40 UNION SELECT m FROM t.b INTERSECT SELECT m FROM t.c", [10, 30, 40]),
        ("(SELECT m FROM t.b WHERE m = 40 UNION SELECT m FROM t.b) INTERSECT SELECT m FROM t.c", [10, 30]),
    ],
)
def test_rows_are_cut_and_ordered_with_null_last(asking: Asking, query: str, rows: list[object]) -> None:
    found = asking.column(query)
    if "ORDER BY" not in query or query.startswith("("):
        found = [v for (v,) in in_any_order([(v,) for v in found])]
    assert found == rows


def test_columns_that_a_join_merges_come_first_and_once(asking: Asking) -> None:
    # SQL-92 section 7.5; SQLite leaves them where they are.
    for join in ("t.a NATURAL JOIN t.b", "t.a JOIN t.b USING (id, t)"):
        answer = asking.ask(f"SELECT * FROM {join}")
        assert answer.column_names == ["id", "t", "n", "x", "m"]
        assert answer.to_pylist() == [{"id": 2, "t": "b", "n": -3, "x": -0.5, "m": 10}]


def test_a_sub_query_that_is_a_value_may_have_one_row_alone(asking: Asking) -> None:
    with pytest.raises(BadQuery) as caught:
        asking.ask("SELECT id FROM t.a WHERE n = (SELECT m FROM t.b)")
    assert caught.value.text == (
        "A sub-query that is used as a value gives more than one row. "
        "Use IN or EXISTS, or make it one row with MAX, MIN or TOP 1."
    )


# -- CAST --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("CAST(2.7 AS INTEGER)", 3),
        ("CAST(-2.7 AS INTEGER)", -3),
        ("CAST('12' AS INTEGER)", 12),
        ("CAST(' -12 ' AS BIGINT)", -12),
        ("CAST('1.5e3' AS DOUBLE PRECISION)", 1500.0),
        ("CAST('inf' AS REAL)", float("inf")),
        ("CAST(16777217 AS REAL)", 16777216.0),
        ("CAST(32767 AS SMALLINT)", 32767),
        ("CAST(TRUE AS INTEGER)", 1),
        ("CAST(0 AS BOOLEAN)", False),
        ("CAST('t' AS BOOLEAN)", True),
        ("CAST(TRUE AS VARCHAR)", "true"),
        ("CAST(1.5 AS VARCHAR)", "1.5"),
        ("CAST(1e300 AS VARCHAR)", "1e+300"),
        ("CAST(12345 AS VARCHAR(3))", "123"),
        ("CAST(12 AS CHAR(4))", "12  "),
        ("CAST('abc' AS CHAR)", "abc"),
        ("CAST('2000-01-01' AS TIMESTAMP)", datetime(2000, 1, 1)),
        ("CAST('2000-01-01T12:00:00.5Z' AS TIMESTAMP)", datetime(2000, 1, 1, 12, 0, 0, 500_000)),
        ("CAST('1 2' AS POINT)", [1.0, 2.0]),
        ("CAST('1 2 3' AS CIRCLE)", [1.0, 2.0, 3.0]),
        ("CAST('1 1 2 1 2 2' AS POLYGON)", [1.0, 1.0, 2.0, 1.0, 2.0, 2.0]),
        *((f"CAST(NULL AS {kind})", None) for kind in ("INTEGER", "REAL", "VARCHAR", "TIMESTAMP", "BOOLEAN")),
    ],
)
def test_cast_gives_the_value_in_the_type(asking: Asking, call: str, expected: object) -> None:
    assert asking.value(f"SELECT {call} FROM t.c WHERE m = 10") == expected


ROWS = "Leave out such rows with WHERE; look at the CASTs of the query, and at texts compared with timestamps."
FORMS = "'2026-01-31', '2026-01-31T12:00:00', '2026-01-31T12:00:00.123Z'"


@pytest.mark.parametrize(
    ("call", "text"),
    [
        ("CAST(u AS INTEGER)", f"A value can't be converted to INTEGER. Given: ten. {ROWS}"),
        ("CAST(u AS BIGINT)", f"A value can't be converted to BIGINT. Given: ten. {ROWS}"),
        ("CAST(u || '''s' AS REAL)", f"A value can't be converted to REAL. Given: ten's. {ROWS}"),
        ("CAST(u AS BOOLEAN)", f"A value can't be converted to BOOLEAN. Given: ten. {ROWS}"),
        ("CAST(u AS TIMESTAMP)", f"This text is not a timestamp. Given: ten. Allowed: {FORMS}. {ROWS}"),
        (
            "CAST('2000-13-' || CAST(m AS VARCHAR) AS TIMESTAMP)",
            f"This text is not a timestamp. Given: 2000-13-10. Allowed: {FORMS}. {ROWS}",
        ),
        ("CAST(m * 10000 AS SMALLINT)", f"A value can't be converted to SMALLINT. Given: 100000. {ROWS}"),
        ("CAST(m * 1e300 AS BIGINT)", f"A value can't be converted to BIGINT. Given: 1e+301. {ROWS}"),
        ("CAST(m * 1e300 AS REAL)", f"A value can't be converted to REAL. Given: 1e+301. {ROWS}"),
        ("CAST(CAST('nan' AS REAL) AS INTEGER)", f"A value can't be converted to INTEGER. Given: nan. {ROWS}"),
        ("ivo_to_mjd(u)", f"This text is not a timestamp. Given: ten. Allowed: {FORMS}. {ROWS}"),
    ],
)
def test_a_value_that_cast_can_not_convert_is_named(asking: Asking, call: str, text: str) -> None:
    with pytest.raises(BadQuery) as caught:
        asking.ask(f"SELECT {call} FROM t.c WHERE m = 10")
    assert caught.value.text == text


WORDS = {"TIMESTAMP": "a timestamp", "BOOLEAN": "a boolean", "VARCHAR": "text", "CHAR(5)": "text", "VARCHAR(5)": "text"}
SCALARS = {
    "SMALLINT": SHORT,
    "INTEGER": INT,
    "BIGINT": LONG,
    "REAL": FLOAT,
    "DOUBLE PRECISION": DOUBLE,
    "BOOLEAN": BOOLEAN,
}
OTHERS = {
    "VARCHAR": STRING,
    "CHAR(5)": DataType("char", "5"),
    "VARCHAR(5)": DataType("char", "5*"),
    "TIMESTAMP": TIMESTAMP,
}


@pytest.mark.parametrize("target", [*SCALARS, *OTHERS, "POINT", "CIRCLE", "POLYGON"])
@pytest.mark.parametrize(
    "source", ["sh", "i", "l", "f", "d", "b", "s", "uni", "w", "p", "arr", "NULL", "1", "'1'", "1.5"]
)
def test_every_pair_of_types_is_cast_or_refused_before_running(asking: Asking, source: str, target: str) -> None:
    """Either an error of the query, or values of the declared type; ``asking`` holds the types."""
    query = f"SELECT CAST({source} AS {target}) AS v FROM t.typed"
    try:
        kind = asking.compile(query).columns[0].type
        assert len(asking.column(query)) == 2
    except BadQuery as error:
        refused = error.what.startswith((f"CAST can't make {WORDS.get(target, '')}", "CAST makes a "))
        no_time = error.what in ("This text is not a timestamp.", "This is not a timestamp.")
        assert refused or (no_time and target == "TIMESTAMP" and source in ("s", "uni", "'1'")), error.text  # noqa: PT017
        return
    expected = {**SCALARS, **OTHERS}[target]
    assert kind == expected or (source == "uni" and kind.datatype == "unicodeChar")


# -- what is declared --------------------------------------------------------------------------------------------------

TYPED = (
    Column("sh", SHORT, "mag", "phot.mag"),
    Column("i", INT, "s", "time.duration"),
    Column("l", LONG, None, "meta.id;meta.main"),
    Column("f", FLOAT, "arcsec", "phys.angSize"),
    Column("d", DOUBLE, "deg", "pos.eq.ra;meta.main", "stc:ra", "Right ascension"),
    Column("b", BOOLEAN, None, "meta.code"),
    Column("s", STRING, None, "meta.note"),
    Column("uni", UNICODE),
    Column("w", TIMESTAMP, None, "time.epoch"),
    Column("p", POINT, "deg", "pos.eq"),
    Column("arr", DataType("float", "3"), "Jy", "phot.flux"),
    Column("var", DataType("int", "*")),
    Column("byte", DataType("unsignedByte")),
)


def typed() -> pa.Table:
    now = datetime(2026, 1, 1)
    rows = [
        (1, 2, 3, 0.5, 1.5, True, "1", "1", now, [1.0, 2.0], [1.0, 2.0, 3.0], [1, 2], 255),
        (None,) * len(TYPED),
    ]
    kinds = (
        *(pa.int16(), pa.int32(), pa.int64(), pa.float32(), pa.float64(), pa.bool_(), pa.string(), pa.string()),
        *(pa.timestamp("us"), pa.list_(pa.float64(), 2), pa.list_(pa.float32(), 3), pa.list_(pa.int32()), pa.uint8()),
    )
    columns = (pa.array(values, kind) for values, kind in zip(zip(*rows, strict=True), kinds, strict=True))
    return pa.table(dict(zip((c.name for c in TYPED), columns, strict=True)))


def test_columns_come_back_as_they_were_published(asking: Asking) -> None:
    answer = asking.ask("SELECT * FROM t.typed")
    assert asking.compile("SELECT * FROM t.typed").columns == TYPED
    assert answer.to_pylist()[0] == typed().to_pylist()[0]
    assert answer.to_pylist()[1] == dict.fromkeys((c.name for c in TYPED), None)


@pytest.mark.parametrize(
    ("call", "kind", "unit", "ucd", "value"),
    [
        ("d * 2", DOUBLE, None, None, 3.0),
        ("d + d", DOUBLE, "deg", None, 3.0),
        ("d / i", DOUBLE, "deg.s**-1", None, 0.75),
        ("f + i", DOUBLE, None, None, 2.5),
        ("f * f", FLOAT, "arcsec**2", None, 0.25),
        ("sh + sh", LONG, "mag", None, 2),
        ("byte - 256", LONG, None, None, -1),
        ("i / 4", LONG, None, None, 0),
        ("-f", FLOAT, "arcsec", None, -0.5),
        ("ABS(f)", FLOAT, "arcsec", None, 0.5),
        ("CEILING(sh)", DOUBLE, "mag", None, 1.0),
        ("IN_UNIT(d, 'arcsec')", DOUBLE, "arcsec", None, 5400.0),
        ("IN_UNIT(f, 'deg')", DOUBLE, "deg", None, 0.5 / 3600),
        ("IN_UNIT(d / i, 'arcsec/h')", DOUBLE, "arcsec/h", None, 0.75 * 3600 * 3600),
        ("MAX(d)", DOUBLE, "deg", "pos.eq.ra;stat.max", 1.5),
        ("MIN(sh)", SHORT, "mag", "phot.mag;stat.min", 1),
        ("AVG(f)", DOUBLE, "arcsec", "phys.angSize;stat.mean", 0.5),
        ("SUM(byte)", LONG, None, None, 255),
        ("COUNT(s)", LONG, None, "meta.number", 1),
        ("VAR_POP(d)", DOUBLE, "deg**2", "stat.variance;pos.eq.ra", 0.0),
        ("MAX(w)", TIMESTAMP, None, "time.epoch;stat.max", datetime(2026, 1, 1)),
        ("MAX(uni)", UNICODE, None, None, "1"),
        ("POINT(d, f)", POINT, "deg", None, [1.5, 0.5]),
        ("COORD2(p)", DOUBLE, "deg", None, 2.0),
        ("DISTANCE(p, p)", DOUBLE, "deg", None, 0.0),
        ("COALESCE(arr, arr)", DataType("float", "3"), "Jy", None, [1.0, 2.0, 3.0]),
        ("CASE WHEN b THEN p END", POINT, "deg", None, [1.0, 2.0]),
        ("CASE WHEN NOT b THEN p END", POINT, "deg", None, None),
        ("NULL", STRING, None, None, None),
        ("uni || s", UNICODE, None, None, "11"),
        ("b", BOOLEAN, None, "meta.code", True),
    ],
)
def test_a_value_has_the_type_the_unit_and_the_ucd_that_were_declared(
    asking: Asking, call: str, kind: DataType, unit: str | None, ucd: str | None, value: object
) -> None:
    query = f"SELECT {call} AS v FROM t.typed WHERE l = 3"
    column = asking.compile(query).columns[0]
    assert (column.type, column.unit, column.ucd) == (kind, unit, ucd)
    found = asking.value(query)
    assert found == pytest.approx(value, rel=1e-14) if isinstance(value, float) else found == value


def test_set_operations_widen_types_and_keep_what_both_sides_say(asking: Asking) -> None:
    query = "SELECT sh, p, s FROM t.typed UNION ALL SELECT l, p, uni FROM t.typed"
    columns = asking.compile(query).columns
    assert [(c.type, c.unit) for c in columns] == [(LONG, None), (POINT, "deg"), (UNICODE, None)]
    expected = [(1, [1.0, 2.0], "1"), (3, [1.0, 2.0], "1"), (None, None, None), (None, None, None)]
    assert in_any_order(asking.rows(query)) == expected


def test_names_of_any_kind_come_back_to_the_letter(tmp_path: Path) -> None:
    names = ['a"b', "select", "ä'\\x", "a.b", " ", "x;--", "\n", "*", "日本", "$1", "?", "%s", "{0}"]
    data = pa.table({name: pa.array([i]) for i, name in enumerate(names)})
    entry = memory_entry('odd schema".ta"ble', data)
    with small_engine(tmp_path) as engine:
        asking = Asking(engine, memory_snapshot({"odd": entry}))
        answer = asking.ask('SELECT * FROM "odd schema"""."ta""ble"')
        assert answer.to_pylist() == [{name: i for i, name in enumerate(names)}]
        for number, name in enumerate(names):
            quoted = '"' + name.replace('"', '""') + '"'
            query = f'SELECT x.{quoted} AS {quoted}, MAX(x.{quoted}) AS "m" FROM "odd schema"""."ta""ble" AS x '
            assert asking.rows(f"{query} WHERE {quoted} = {number} GROUP BY {quoted} ORDER BY {quoted}") == [
                (number,) * 2
            ]


@pytest.mark.parametrize("column", ["n", "x", "t", "id"])
def test_a_long_list_of_alternatives_is_true_of_the_same_rows_as_each_of_them(asking: Asking, column: str) -> None:
    values = ["'a'", "'it''s'", "'zz'"] if column == "t" else ["3", "-3", "0.5", "7", "99", "2.5", "1e6", "-2.0"]
    separately = {row for v in values for row in asking.column(f"SELECT id FROM t.a WHERE {column} = {v}")}
    many = " OR ".join(f"{column} = {v}" for v in values * 5)
    assert set(asking.column(f"SELECT id FROM t.a WHERE {many}")) == separately
    unknown = asking.column(f"SELECT id FROM t.a WHERE NOT ({many}) ORDER BY id")
    known = asking.column(f"SELECT id FROM t.a WHERE {column} IS NOT NULL ORDER BY id")
    assert unknown == [i for i in known if i not in separately]


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ("SELECT id FROM t.a WHERE t IN (SELECT NULL FROM t.a)", []),
        ("SELECT id FROM t.a WHERE n IN (SELECT NULL FROM t.a)", []),
        ("SELECT id FROM t.a WHERE n NOT IN (SELECT NULL FROM t.a)", []),
        ("SELECT id FROM t.a WHERE id < 3 AND t NOT IN (SELECT NULL FROM t.a WHERE 1 = 0)", [1, 2]),
        ("SELECT id FROM t.a WHERE n = (SELECT NULL FROM t.a)", []),
        ("SELECT byte FROM t.typed WHERE byte IN (SELECT NULL FROM t.a)", []),
        ("SELECT uni FROM t.typed WHERE uni IN (SELECT NULL FROM t.a)", []),
        ("SELECT w FROM t.typed WHERE w IN (SELECT NULL FROM t.a)", []),
        ("SELECT UPPER(s.z) || 'x' FROM (SELECT NULL AS z FROM t.c) AS s", [None, None, None]),
        ("SELECT COALESCE(s.z, 'none') FROM (SELECT NULL AS z FROM t.c) AS s", ["none"] * 3),
        ("WITH w (z) AS (SELECT NULL FROM t.c UNION SELECT NULL FROM t.a) SELECT LENGTH(z) FROM w", [None]),
        (
            "WITH w (z) AS (SELECT NULL FROM t.c) SELECT z FROM w UNION SELECT u FROM t.c ORDER BY 1",
            ["ten", "thirty", None],
        ),
        ("SELECT NULL FROM t.c UNION SELECT m FROM t.c ORDER BY 1", [10, 30, 60, None]),
    ],
)
def test_columns_of_nulls_alone_go_with_every_type(asking: Asking, query: str, rows: list[object]) -> None:
    assert asking.column(query) == rows


def test_common_tables_that_name_each_other_twice_do_not_double_the_work(asking: Asking) -> None:
    tables = "".join(f", w{i} AS (SELECT p.m FROM w{i - 1} AS p JOIN w{i - 1} AS q ON p.m = q.m)" for i in range(1, 20))
    assert asking.value(f"WITH w0 AS (SELECT m FROM t.c){tables} SELECT COUNT(*) FROM w19") == 3


#: Neighbours that doubles don't tell apart, and what lies beyond what 64 bits hold.
LARGE = 2**53
LARGE_IDS = [0, 1, 2**52 + 2, 2**52 + 3, *range(LARGE - 4, LARGE + 9), -LARGE - 3, 2**63 - 1, -(2**63)]
COMPARE = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
FLIPPED = {"=": "=", "<>": "<>", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
CONSTANTS = [
    *(
        "0.5",
        "9007199254740995.0",
        "9007199254740996.5",
        "-9007199254740995.0",
        "9.007199254740998e15",
        "4503599627370498.5",
        "1e40",
    ),
    *("9223372036854775807.5", "-9223372036854775808.5", "9007199254740995", "1"),
]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asking]:
    table = pa.table({"id": pa.array([*LARGE_IDS, None], pa.int64())})
    with small_engine(tmp_path_factory.mktemp("large")) as engine:
        yield Asking(engine, memory_snapshot({"t.large": memory_entry("t.large", table)}))


def value(constant: object) -> Fraction:
    """What a constant is: a double, where it is written with a point or an exponent."""
    return Fraction(str(constant)) if str(constant).isdigit() else Fraction(float(str(constant)))


def held(large: Asking, condition: str) -> list[int]:
    return sorted(large.column(f"SELECT id FROM t.large WHERE {condition}"))


@pytest.mark.parametrize("constant", CONSTANTS)
@pytest.mark.parametrize("sign", ["=", "<>", "<", "<=", ">", ">="])
def test_large_numbers_are_compared_with_fractions_exactly(large: Asking, sign: str, constant: str) -> None:
    compare = COMPARE[sign]
    expected = sorted(i for i in LARGE_IDS if compare(i, value(constant)))
    assert held(large, f"id {sign} {constant}") == expected
    assert held(large, f"NOT (id {sign} {constant})") == sorted(set(LARGE_IDS) - set(expected))
    assert held(large, f"{constant} {FLIPPED[sign]} id") == expected


@pytest.mark.parametrize("low", CONSTANTS)
@pytest.mark.parametrize("high", CONSTANTS)
def test_large_numbers_between_a_fraction_and_another_number(large: Asking, low: str, high: str) -> None:
    expected = sorted(i for i in LARGE_IDS if value(low) <= i <= value(high))
    assert held(large, f"id BETWEEN {low} AND {high}") == expected
    assert held(large, f"id NOT BETWEEN {low} AND {high}") == sorted(set(LARGE_IDS) - set(expected))


@pytest.mark.parametrize(
    "constants", [["0.5", LARGE + 3], ["0.5", "9007199254740996.5"], [LARGE, "9007199254740995.0", 1.0]]
)
def test_large_numbers_in_a_list_with_fractions(large: Asking, constants: list[object]) -> None:
    wanted = {value(c) for c in constants}
    listed = ", ".join(map(str, constants))
    expected = sorted(i for i in LARGE_IDS if i in wanted)
    assert held(large, f"id IN ({listed})") == expected
    assert held(large, f"id NOT IN ({listed})") == sorted(set(LARGE_IDS) - set(expected))
