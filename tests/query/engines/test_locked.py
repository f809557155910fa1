"""Nothing but one SELECT over the caller's own tables is ever run; and an engine that were told else would refuse."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine_fixture import OPEN_TO_ALL, Asking, memory_entry, memory_snapshot, small_engine
from idac.catalogs.snapshot import PlainStorage, TableEntry
from idac.core.errors import AccessDenied, BadQuery, UserError
from idac.core.principal import ANONYMOUS
from idac.core.rights import PUBLIC, ReadRule, RightsPolicy
from idac.query.adql.compiler import QueryCompiler
from idac.query.engines.base import QueryLimits
from idac.query.engines.duckdb.place import Access, Place, Share, only_select
from idac.tables.model import Column, DataType, Table

HIDDEN = "what nobody may read"


@dataclass
class House:
    """A place that may read *archive*, and what lies beside it."""

    connection: duckdb.DuckDBPyConnection
    archive: Path
    outside: Path


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.setenv("IDAC_TEST_SECRET", HIDDEN)
    archive, outside = tmp_path / "archive", tmp_path / "archive-of-others"
    archive.mkdir()
    outside.mkdir()
    pq.write_table(pa.table({"x": [1, 2]}), archive / "t.parquet")
    pq.write_table(pa.table({"x": [HIDDEN]}), outside / "t.parquet")
    (outside / "secret.txt").write_text(HIDDEN)
    (archive / "link.parquet").symlink_to(outside / "t.parquet")
    place = Place(Share(128 * 2**20, 1, 1, 2**20), Access((str(archive),)), tmp_path / "spill")
    connection = place.prepare("", {}, (), [str(archive / "t.parquet")])
    yield House(connection, archive, outside)
    place.close()


READS = """
SELECT * FROM '{outside}/t.parquet'
SELECT * FROM read_parquet('{outside}/t.parquet')
SELECT * FROM read_parquet(['{archive}/t.parquet', '{outside}/t.parquet'], union_by_name = true)
SELECT * FROM read_parquet('{archive}/../archive-of-others/t.parquet')
SELECT * FROM parquet_metadata('{outside}/t.parquet')
SELECT * FROM parquet_schema('{outside}/t.parquet')
SELECT * FROM read_text('{outside}/secret.txt')
SELECT * FROM read_blob('{outside}/secret.txt')
SELECT * FROM read_csv('{outside}/secret.txt')
SELECT * FROM read_csv_auto('{outside}/secret.txt')
SELECT * FROM read_json('{outside}/secret.txt')
SELECT * FROM sniff_csv('{outside}/secret.txt')
SELECT * FROM glob('{outside}/*')
SELECT * FROM glob('/*')
SELECT * FROM '/etc/passwd'
SELECT * FROM read_text('/proc/self/environ')
SELECT * FROM 'https://example.org/x.parquet'
SELECT * FROM read_parquet('http://127.0.0.1/x.parquet')
SELECT * FROM 's3://bucket/x.parquet'
SELECT getenv('IDAC_TEST_SECRET')
SELECT * FROM python_variable
""".strip().splitlines()

STATEMENTS = """
ATTACH '{outside}/x.db' AS other
ATTACH 'postgres://127.0.0.1/x' AS other (TYPE postgres)
COPY (SELECT 1) TO '{outside}/out.csv'
COPY (SELECT 1) TO '/tmp/idac-test-out.parquet' (FORMAT parquet)
EXPORT DATABASE '{outside}/out'
INSTALL httpfs
INSTALL '{outside}/x.duckdb_extension'
LOAD httpfs
LOAD '{outside}/x.duckdb_extension'
SET enable_external_access = true
SET allowed_directories = ['/']
SET allowed_paths = ['/etc/passwd']
SET lock_configuration = false
SET memory_limit = '100GB'
SET max_temp_directory_size = '100GB'
SET threads = 64
SET temp_directory = '{outside}'
SET autoload_known_extensions = true
SET python_enable_replacements = true
RESET memory_limit
PRAGMA memory_limit = '100GB'
PRAGMA threads = 64
PRAGMA profiling_output = '{outside}/profile.json'
CREATE SECRET (TYPE s3, KEY_ID 'a', SECRET 'b')
""".strip().splitlines()


@pytest.mark.parametrize("sql", READS)
def test_the_connection_reads_nothing_outside_its_folders(house: House, sql: str) -> None:
    python_variable = pa.table({"x": [HIDDEN]})
    with pytest.raises(duckdb.Error) as caught:
        house.connection.execute(sql.format(archive=house.archive, outside=house.outside)).fetchall()
    assert python_variable.num_rows == 1
    assert HIDDEN not in str(caught.value)


@pytest.mark.parametrize("sql", STATEMENTS)
def test_the_connection_can_not_be_opened_from_within(house: House, sql: str) -> None:
    with pytest.raises(duckdb.Error):
        house.connection.execute(sql.format(archive=house.archive, outside=house.outside))
    assert sorted(p.name for p in house.outside.iterdir()) == ["secret.txt", "t.parquet"]
    assert house.connection.execute(f"SELECT sum(x) FROM '{house.archive}/t.parquet'").fetchall() == [(3,)]


@pytest.mark.parametrize(
    "sql",
    [
        "COPY (SELECT 1) TO '{archive}/out.csv'",
        "ATTACH '{archive}/x.db' AS other",
        "EXPORT DATABASE '{archive}/out'",
        "CREATE TABLE t AS SELECT 1",
        "CREATE VIEW v AS SELECT 1",
        "CREATE MACRO f(x) AS x",
        "INSERT INTO t VALUES (1)",
        "SET VARIABLE x = 1",
        "PREPARE p AS SELECT 1",
        "EXPLAIN ANALYZE SELECT 1",
        "CALL enable_logging()",
        "CHECKPOINT",
        "BEGIN",
        "USE memory",
        "SELECT 1; SELECT 2",
        "SELECT 1; COPY (SELECT 1) TO '{archive}/out.csv'",
        "",
        "-- nothing",
    ],
)
def test_what_is_not_one_select_is_not_run_even_where_it_could_be(house: House, sql: str) -> None:
    with pytest.raises(RuntimeError, match="something other than one SELECT was about to be run"):
        only_select(house.connection, sql.format(archive=house.archive))
    assert sorted(p.name for p in house.archive.iterdir()) == ["link.parquet", "t.parquet"]


def test_one_select_is_run(house: House) -> None:
    statement = only_select(house.connection, "WITH w AS (SELECT 1 AS x) (SELECT x FROM w) UNION ALL SELECT 2")
    assert house.connection.execute(statement).fetchall() == [(1,), (2,)]


# -- names and texts ---------------------------------------------------------------------------------------------------

NASTY = [
    "'",
    "''",
    "' OR 1=1 --",
    '"',
    '""',
    '"; DROP TABLE x; --',
    "'; COPY (SELECT 1) TO '/tmp/idac-test-out.csv'; --",
    "\\",
    "\\'",
    "\\x27",
    "$$",
    "$1",
    "?",
    ":name",
    "%s",
    "{0}",
    "/* */",
    "--",
    "\n",
    "\r\n",
    "\t",
    "select",
    "read_csv('/etc/passwd')",
    "/etc/passwd",
    "m_t1",
    "t1",
    "__row",
    "rowid",
    "main",
    "information_schema.tables",
    "\u2028",
    "\u202e",
    "\ufeff",
    "E'\\x41'",
    "U&'\\0041'",
    "日本",
    "a" * 1000,
]


@pytest.fixture(scope="module")
def asking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asking]:
    data = pa.table({"id": range(len(NASTY)), "t": NASTY})
    columns = pa.table({f"{name}_": pa.array([i]) for i, name in enumerate(NASTY)})
    tables = {"s.texts": memory_entry("s.texts", data), "s.columns": memory_entry("s.columns", columns)}
    tables |= {
        f"n{i}": memory_entry(f"schema {name}.{name}", columns) for i, name in enumerate(NASTY) if "." not in name
    }
    with small_engine(tmp_path_factory.mktemp("engine")) as engine:
        yield Asking(engine, memory_snapshot(tables))


def text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def name(value: str) -> str:
    return '"' + value.replace('"', '""') + '"'


@pytest.mark.parametrize("value", NASTY)
def test_a_text_is_only_ever_a_text(asking: Asking, value: str) -> None:
    query = (
        f"SELECT id, t, {text(value)}, t || {text(value)} FROM s.texts WHERE t = {text(value)} OR t IN ({text(value)})"
    )
    assert asking.rows(query) == [(NASTY.index(value), value, value, value + value)]


@pytest.mark.parametrize("value", NASTY)
def test_a_name_is_only_ever_a_name(asking: Asking, value: str) -> None:
    column = name(f"{value}_")
    query = f"SELECT {name(value)}.{column} AS {name(value)}, MAX({column}) AS m FROM s.columns AS {name(value)} "
    query += f"WHERE {column} IS NOT NULL GROUP BY {column} ORDER BY {column}"
    answer = asking.ask(query)
    assert answer.column_names[0] == value
    assert answer.to_pylist() == [{value: NASTY.index(value), answer.column_names[1]: NASTY.index(value)}]
    common = (
        f"WITH {name(value)} ({name(value)}) AS (SELECT id FROM s.texts) SELECT MAX({name(value)}) FROM {name(value)}"
    )
    assert asking.value(common) == len(NASTY) - 1


@pytest.mark.parametrize("value", [v for v in NASTY if "." not in v])
def test_a_published_table_may_have_any_name(asking: Asking, value: str) -> None:
    query = f"SELECT {name(value + '_')} FROM {name('schema ' + value)}.{name(value)}"
    assert asking.value(query) == NASTY.index(value)


def test_random_texts_of_quotes_and_marks_come_back_to_the_letter(asking: Asking) -> None:
    rng = random.Random(5)
    marks = ["'", '"', "\\", ";", "--", "/*", "*/", "$", "\n", "%", "a", " ", "(", ")", "\u2019", "é"]
    for _ in range(100):
        value = "".join(rng.choice(marks) for _ in range(rng.randrange(1, 12)))
        answer = asking.ask(f"SELECT TOP 1 {text(value)} AS {name(value)} FROM s.texts")
        assert answer.to_pylist() == [{value: value}]


@pytest.mark.parametrize("quote", ["'", '"'])
def test_a_nul_ends_no_text_and_no_name(asking: Asking, quote: str) -> None:
    with pytest.raises(BadQuery) as caught:
        asking.ask(f"SELECT {quote}a\0b{quote} FROM s.texts")
    assert caught.value.what == "This character does not begin anything that ADQL knows."
    assert caught.value.value == "U+0000"


@pytest.mark.parametrize(
    "adql",
    [
        "SELECT * FROM '/etc/passwd'",
        'SELECT * FROM "/etc/hosts"',
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM TABLE(read_csv('/etc/passwd'))",
        "SELECT read_text('/etc/passwd') FROM s.texts",
        "SELECT getenv('HOME') FROM s.texts",
        "SELECT current_setting('temp_directory') FROM s.texts",
        "SELECT \"current_setting\"('temp_directory') FROM s.texts",
        "SELECT version() FROM s.texts",
        "SELECT * FROM information_schema.tables",
        "SELECT * FROM duckdb_settings()",
        "SELECT * FROM main.m_t1",
        "SELECT * FROM m_t2",
        "SELECT rowid FROM s.texts",
        "SELECT id::text FROM s.texts",
        "SELECT COLUMNS('.*') FROM s.texts",
        "SELECT * EXCLUDE (id) FROM s.texts",
        "SELECT * REPLACE (1 AS id) FROM s.texts",
        "SELECT [1, 2] FROM s.texts",
        "SELECT {'a': 1} FROM s.texts",
        "SELECT $1 FROM s.texts",
        "SELECT ? FROM s.texts",
        "SELECT E'\\x41' FROM s.texts",
        "SELECT id FROM s.texts; COPY s.texts TO '/tmp/x'",
        "SELECT id FROM s.texts LIMIT 1",
        "SELECT id FROM s.texts WHERE t SIMILAR TO 'a'",
        "SELECT id FROM s.texts WHERE regexp_matches(t, 'a')",
        "SELECT idac_area(t) FROM s.texts",
        "SELECT row_number() OVER () FROM s.texts",
        "FROM s.texts",
        "COPY s.texts TO '/tmp/x'",
        "ATTACH '/tmp/x.db'",
        "PRAGMA version",
        "SET threads = 1",
        "INSTALL httpfs",
        "CREATE TABLE x AS SELECT 1 FROM s.texts",
        "SELECT 1 INTO x FROM s.texts",
        "WITH w AS (INSERT INTO t VALUES (1)) SELECT 1 FROM s.texts",
        "EXPLAIN SELECT 1 FROM s.texts",
    ],
)
def test_the_engines_own_language_is_not_adql(asking: Asking, adql: str) -> None:
    with pytest.raises(BadQuery) as caught:
        asking.compile(adql)
    assert caught.value.position is not None


# -- tables of others --------------------------------------------------------------------------------------------------


def upload(folder: Path, file: str, values: list[str]) -> TableEntry:
    path = folder / f"{file}.parquet"
    pq.write_table(pa.table({"v": values}), path)
    table = Table("TAP_UPLOAD", "mine", (Column("v", DataType("char", "*")),))
    return TableEntry(table, PlainStorage([str(path)], len(values), path.stat().st_size), "1")


def test_uploads_of_one_name_belong_each_to_its_own_query(tmp_path: Path) -> None:
    published = memory_snapshot({"s.t": memory_entry("s.t", pa.table({"n": [1]}))})
    query = "SELECT v FROM TAP_UPLOAD.mine ORDER BY v"
    with small_engine(tmp_path, interactive_places=2) as engine:
        compiler = QueryCompiler(OPEN_TO_ALL)
        snapshots = {
            owner: published.with_uploads({"mine": upload(tmp_path, owner, [f"{owner} {i}" for i in range(3)])})
            for owner in ("ada", "ben")
        }
        for _ in range(3):
            streams = {
                owner: engine.run(
                    compiler.compile(query, snapshot, ANONYMOUS), QueryLimits(10, 60), owner=owner, query_id=owner
                )
                for owner, snapshot in snapshots.items()
            }
            for owner, stream in streams.items():
                rows = pa.Table.from_batches(list(stream)).column(0).to_pylist()
                stream.close()
                assert rows == [f"{owner} {i}" for i in range(3)]
        asking = Asking(engine, published)
        for adql in (query, "SELECT v FROM mine"):
            with pytest.raises(BadQuery, match="There is no table of this name"):
                asking.ask(adql)
        # A query leaves no table behind in the place where it ran.
        for place in (p for places in engine._places.values() for p in places):
            connection = place.prepare("", {}, (), ())
            assert connection.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall() == []
            assert connection.execute("SELECT table_name FROM duckdb_tables()").fetchall() == []


def test_a_table_without_the_right_to_it_is_never_read(tmp_path: Path) -> None:
    rights = RightsPolicy({"s.secret": ReadRule.of(["survey"])}, ReadRule.of([PUBLIC]))
    tables = {n: memory_entry(n, pa.table({"v": [n]})) for n in ("s.shown", "s.secret")}
    with small_engine(tmp_path) as engine:
        asking = Asking(engine, memory_snapshot(tables), QueryCompiler(rights))
        assert asking.column("SELECT v FROM s.shown") == ["s.shown"]
        for adql in (
            "SELECT v FROM s.secret",
            "SELECT o.v FROM s.shown AS o JOIN s.secret AS x ON 1 = 1",
            "SELECT v FROM s.shown WHERE EXISTS (SELECT 1 FROM s.secret)",
            "SELECT v FROM s.shown UNION SELECT v FROM s.secret",
            "WITH w AS (SELECT v FROM s.secret) SELECT v FROM s.shown",
            "SELECT (SELECT MAX(v) FROM s.secret) FROM s.shown",
        ):
            with pytest.raises(AccessDenied):
                asking.ask(adql)
        with pytest.raises(UserError):
            asking.ask("SELECT v FROM secret")
