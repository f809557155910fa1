"""Names, types, units and rights are settled before anything runs, and every mistake is told with its place."""

from __future__ import annotations

import random

import pyarrow as pa
import pytest
from sqlglot import exp
from tests.query.adql.corpus import VALID

from idac.catalogs.snapshot import CatalogSnapshot, MemoryStorage, TableEntry
from idac.core.errors import AccessDenied, BadQuery, UserError
from idac.core.principal import ANONYMOUS, LOCAL_ADMIN, Principal
from idac.core.rights import ReadRule, RightsPolicy
from idac.query.adql.compiler import QueryCompiler
from idac.query.adql.resolve import resolve_query
from idac.query.resolved import ResolvedQuery
from idac.tables.model import (
    BOOLEAN,
    CIRCLE,
    DOUBLE,
    FLOAT,
    INT,
    LONG,
    POINT,
    POLYGON,
    REGION,
    SHORT,
    STRING,
    TIMESTAMP,
    Column,
    DataType,
    Schema,
    Table,
)

STARS = Table(
    "sky",
    "stars",
    (
        Column("id", LONG, ucd="meta.id;meta.main"),
        Column("ra", DOUBLE, "deg", "pos.eq.ra;meta.main", description="Right ascension"),
        Column("dec", DOUBLE, "deg", "pos.eq.dec;meta.main"),
        Column("mag", FLOAT, "mag", "phot.mag"),
        Column("n", SHORT),
        Column("count_i", INT),
        Column("name", STRING),
        Column("seen", TIMESTAMP),
        Column("flag", BOOLEAN),
        Column("s_region", REGION),
        Column("place", POINT),
        Column("size", FLOAT, "arcsec"),
    ),
    ra_column="ra",
    dec_column="dec",
    id_column="id",
)
OTHER = Table("sky", "other", (Column("id", LONG), Column("ra", DOUBLE, "deg"), Column("Dec", DOUBLE, "deg")))
MIXED = Table("case", "Mixed", (Column("a", INT), Column("A", DOUBLE), Column("odd name", INT)))
SECRET = Table("secret", "x", (Column("hidden_column", INT),))
TABLES = (STARS, OTHER, MIXED, SECRET)
RIGHTS = RightsPolicy(
    {"sky": ReadRule.of(["public"]), "case": ReadRule.of(["public"]), "secret": ReadRule.of(["team"])}, ReadRule.of([])
)


def snapshot(generation: str = "1") -> CatalogSnapshot:
    entries = {(t.schema.lower(), t.name.lower()): TableEntry(t, MemoryStorage(pa.table({})), "v") for t in TABLES}
    schemas = tuple(Schema(name, tuple(t for t in TABLES if t.schema == name)) for name in ("sky", "case", "secret"))
    return CatalogSnapshot(generation, schemas, entries)


def resolve(text: str, principal: Principal = ANONYMOUS) -> ResolvedQuery:
    return resolve_query(text, snapshot(), principal, RIGHTS)


def first(text: str) -> Column:
    return resolve(f"SELECT {text} FROM sky.stars").columns[0]


@pytest.mark.parametrize(
    ("expression", "kind"),
    [
        ("id", LONG),
        ("mag", FLOAT),
        ("n + n", LONG),
        ("count_i * 2", LONG),
        ("mag + 1", DOUBLE),
        ("mag * mag", FLOAT),
        ("ra / 2", DOUBLE),
        ("id / 2", LONG),
        ("-mag", FLOAT),
        ("1", INT),
        ("3000000000", LONG),
        ("99999999999999999999", DOUBLE),
        ("1.0", DOUBLE),
        ("'a'", STRING),
        ("name || 'a'", STRING),
        ("TRUE", BOOLEAN),
        ("COUNT(*)", LONG),
        ("COUNT(DISTINCT name)", LONG),
        ("SUM(n)", LONG),
        ("SUM(mag)", DOUBLE),
        ("AVG(id)", DOUBLE),
        ("MIN(mag)", FLOAT),
        ("MAX(name)", STRING),
        ("MAX(seen)", TIMESTAMP),
        ("ROUND(mag, 1)", DOUBLE),
        ("ABS(n)", SHORT),
        ("MOD(id, 7)", LONG),
        ("CAST(mag AS INTEGER)", INT),
        ("CAST(id AS VARCHAR(8))", DataType("char", "8*")),
        ("CAST(id AS CHAR(8))", DataType("char", "8")),
        ("CAST('2026-01-01' AS TIMESTAMP)", TIMESTAMP),
        ("COALESCE(n, id)", LONG),
        ("COALESCE(mag, count_i)", DOUBLE),
        ("CASE WHEN mag > 1 THEN 1 ELSE 2.5 END", DOUBLE),
        ("POINT(ra, dec)", POINT),
        ("CIRCLE(ra, dec, 1)", CIRCLE),
        ("BOX(ra, dec, 1, 1)", POLYGON),
        ("POLYGON(1, 1, 2, 1, 2, 2)", POLYGON),
        ("REGION('CIRCLE ICRS 1 2 3')", REGION),
        ("CENTROID(s_region)", POINT),
        ("AREA(s_region)", DOUBLE),
        ("DISTANCE(ra, dec, 1, 1)", DOUBLE),
        ("CONTAINS(place, CIRCLE(1, 2, 3))", INT),
        ("COORDSYS(place)", STRING),
        ("ivo_healpix_index(5, ra, dec)", LONG),
        ("ivo_healpix_index(5, place)", LONG),
        ("ivo_histogram(mag, 0, 10, 5)", DataType("long", "*")),
        ("ivo_to_mjd(seen)", DOUBLE),
    ],
)
def test_expressions_have_the_types_of_adql(expression: str, kind: DataType) -> None:
    assert first(expression).type == kind


@pytest.mark.parametrize(
    ("expression", "unit"),
    [
        ("ra", "deg"),
        ("ra + dec", "deg"),
        ("ra + 1", "deg"),
        ("ra + mag", None),
        ("ra * 3600", None),
        ('ra * "size"', "arcsec.deg"),
        ('ra / "size"', "deg.arcsec**-1"),
        ("id * ra", "deg"),
        ("MAX(ra)", "deg"),
        ("AVG(mag)", "mag"),
        ("ROUND(mag, 1)", "mag"),
        ("SQRT(ra * ra)", "deg"),
        ("SIN(ra)", None),
        ("DISTANCE(ra, dec, 1, 1)", "deg"),
        ("IN_UNIT(\"size\", 'deg')", "deg"),
        ("COALESCE(ra, dec)", "deg"),
        ("CAST(ra AS REAL)", "deg"),
    ],
)
def test_units_follow_the_arithmetic(expression: str, unit: str | None) -> None:
    assert first(expression).unit == unit


def test_plain_columns_keep_all_their_metadata() -> None:
    assert first("ra") == STARS.columns[1]
    assert first("ra AS x") == STARS.columns[1].renamed("x")
    assert first("MAX(mag)").ucd == "phot.mag;stat.max"
    assert first("COUNT(*)").ucd == "meta.number"


def test_star_is_every_column_in_order() -> None:
    assert [c.name for c in resolve("SELECT * FROM sky.stars").columns] == [c.name for c in STARS.columns]


def test_output_names_are_unique_whatever_the_case() -> None:
    query = resolve("SELECT a.id, b.id, a.ra, b.ra, a.dec, b.dec, 1, 2 FROM sky.stars a, sky.other b")
    assert [c.name for c in query.columns] == ["id", "id_2", "ra", "ra_2", "dec", "Dec_2", "expr", "expr_2"]


def test_names_are_found_whatever_their_case_unless_they_are_delimited() -> None:
    assert first("RA").name == "ra"
    assert first('"ra"').name == "ra"
    with pytest.raises(BadQuery, match='write "ra"'):
        first('"RA"')


def test_columns_that_differ_in_case_alone_are_told_apart_by_spelling() -> None:
    query = resolve('SELECT a, A, "a", "A", "odd name" FROM "case".Mixed')
    assert [c.type for c in query.columns] == [INT, DOUBLE, INT, DOUBLE, INT]


def test_using_and_natural_joins_have_their_columns_once() -> None:
    query = resolve("SELECT * FROM sky.stars JOIN sky.other USING (id)")
    assert [c.name for c in query.columns].count("id") == 1
    full = resolve("SELECT id FROM sky.stars FULL JOIN sky.other USING (id)")
    assert isinstance(full.tree.expressions[0].this, exp.Coalesce)
    natural = resolve("SELECT id FROM sky.stars NATURAL JOIN sky.other")
    assert len(list(natural.tree.args["joins"][0].args["on"].find_all(exp.EQ))) == 3


def test_every_table_use_has_an_alias_of_its_own() -> None:
    query = resolve("SELECT 1 FROM sky.stars a, sky.stars b WHERE EXISTS (SELECT 1 FROM sky.stars c WHERE c.id = a.id)")
    aliases = [use.alias for use in query.tables]
    assert len(set(aliases)) == 3
    assert {t.meta["use"].alias for t in query.tree.find_all(exp.Table)} == set(aliases)


def test_correlated_sub_queries_see_the_outer_tables_and_derived_tables_do_not() -> None:
    assert resolve("SELECT id FROM sky.stars WHERE EXISTS (SELECT 1 FROM sky.other o WHERE o.id = stars.id)")
    with pytest.raises(BadQuery, match="No table of this name"):
        resolve("SELECT 1 FROM sky.stars s, (SELECT id FROM sky.other o WHERE o.id = s.id) d")


def test_common_tables_see_those_before_them_and_hide_published_ones() -> None:
    query = resolve("WITH a AS (SELECT id FROM sky.stars), stars AS (SELECT id AS other FROM a) SELECT * FROM stars")
    assert [c.name for c in query.columns] == ["other"]
    with pytest.raises(BadQuery, match="There is no table of this name"):
        resolve("WITH a AS (SELECT * FROM b), b AS (SELECT id FROM sky.stars) SELECT * FROM a")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "SELECT rra FROM sky.stars",
            "line 1, column 8: There is no column of this name in the tables of this query. Given: rra. "
            "Did you mean ra?",
        ),
        (
            "SELECT 1\nFROM sky.strs",
            "line 2, column 6: There is no table of this name. Given: sky.strs. Did you mean sky.stars?",
        ),
        (
            "SELECT x.ra FROM sky.stars AS s",
            "line 1, column 8: No table of this name is in the FROM clause. Given: x. Allowed: s. "
            "Where a table has an alias, its columns are written with the alias.",
        ),
        (
            "SELECT id FROM sky.stars, sky.other",
            "line 1, column 8: This column name could mean more than one column. Given: id. "
            "Allowed: sky.stars.id, sky.other.id. Write the table's name or alias before it.",
        ),
        (
            "SELECT 1 FROM sky.stars, sky.stars",
            "line 1, column 26: Two tables in FROM have this name. Given: sky.stars. "
            "Give one of them an alias with AS.",
        ),
        (
            "SELECT squrt(ra) FROM sky.stars",
            "line 1, column 8: There is no function of this name. Given: SQURT. Did you mean SQRT?",
        ),
        (
            "SELECT ivo_healpix_index(30, ra, dec) FROM sky.stars",
            "line 1, column 26: There is no HEALPix order of this number. Given: 30. Allowed: 0 to 29.",
        ),
        (
            "SELECT ivo_healpix_center(-1, 5) FROM sky.stars",
            "line 1, column 27: There is no HEALPix order of this number. Given: -1. Allowed: 0 to 29.",
        ),
        (
            "SELECT zzzz FROM sky.stars",
            "line 1, column 8: There is no column of this name in the tables of this query. Given: zzzz. "
            "Allowed: id, ra, dec, mag, n, count_i, name, seen and 4 more. "
            "SELECT * FROM tap_schema.columns lists all columns of all tables, with what they mean.",
        ),
        (
            "SELECT zzzz(ra) FROM sky.stars",
            "line 1, column 8: There is no function of this name. Given: ZZZZ. The service's capabilities list every "
            "function (see also the reference of ADQL in the documentation).",
        ),
        (
            "SELECT POWER(ra) FROM sky.stars",
            "line 1, column 8: This function takes another number of arguments. Given: 1. "
            "Allowed: power(x DOUBLE, y DOUBLE) -> DOUBLE.",
        ),
        (
            "SELECT SQRT(name) FROM sky.stars",
            "line 1, column 13: SQRT takes a number here. Given: text. Convert it with CAST(… AS DOUBLE PRECISION).",
        ),
        (
            "SELECT ra FROM sky.stars WHERE name = 1",
            "line 1, column 32: These can't be compared. Given: text and a number. Allowed: numbers with numbers, "
            "text with text, timestamps with timestamps or text. Convert one side with CAST.",
        ),
        (
            "SELECT ra FROM sky.stars WHERE CONTAINS(place, CIRCLE(1, 2, 3))",
            "line 1, column 32: A condition is needed here. Given: a number. Allowed: a comparison. "
            "Write 1 = CONTAINS(…).",
        ),
        (
            "SELECT ra FROM sky.stars WHERE COUNT(*) > 1",
            "line 1, column 32: An aggregate can't stand in WHERE. Given: COUNT. Use HAVING, or a sub-query.",
        ),
        (
            "SELECT ra, COUNT(*) FROM sky.stars",
            "line 1, column 8: This column is neither in GROUP BY nor inside an aggregate. Given: ra. "
            "Add it to GROUP BY, or use MIN, MAX, AVG or the like of it.",
        ),
        (
            "SELECT ra FROM sky.stars ORDER BY 2",
            "line 1, column 35: A number in ORDER BY is the place of a column. Given: 2. Allowed: 1 to 1.",
        ),
        (
            "SELECT ra FROM sky.stars UNION SELECT id, ra FROM sky.other",
            "line 1, column 26: Both sides of UNION must have the same number of columns. Given: 1 and 2.",
        ),
        (
            "SELECT CIRCLE(1, 95, 1) FROM sky.stars",
            "line 1, column 18: A declination is out of range. Given: 95. Allowed: -90 to 90 degrees.",
        ),
        (
            "SELECT CIRCLE(1, 5, -1) FROM sky.stars",
            "line 1, column 21: A radius is out of range. Given: -1. Allowed: 0 to 180 degrees.",
        ),
        (
            "SELECT POINT('GALACTIC', ra, dec) FROM sky.stars",
            "line 1, column 14: Positions are ICRS here. Given: GALACTIC. Allowed: 'ICRS', or no coordinate system at "
            "all. Transform the position: ivo_geom_transform('GALACTIC', 'ICRS', POINT(l, b)).",
        ),
        (
            "SELECT IN_UNIT(ra, 'kg') FROM sky.stars",
            "line 1, column 20: A value in deg can't be given in this unit. Given: kg. "
            "Allowed: units of the same kind.",
        ),
        (
            "SELECT IN_UNIT(n, 'kg') FROM sky.stars",
            "line 1, column 16: The unit of this value is not known. "
            "Use IN_UNIT on a column that has a unit, or on a sum, product or quotient of such columns.",
        ),
        (
            "SELECT ra FROM sky.stars WHERE ra IN (SELECT id, ra FROM sky.other)",
            "line 1, column 38: A sub-query used as a value must have one column. Given: 2 columns. Allowed: 1.",
        ),
        (
            "SELECT ra FROM tap_upload.mine",
            "line 1, column 16: There is no table of this name. Given: tap_upload.mine. "
            "Send the table with the query: UPLOAD=name,param:… or UPLOAD=name,https://…",
        ),
        (
            "SELECT ra FROM sky.stars WHERE seen > 59000",
            "line 1, column 32: A timestamp can be compared with a timestamp alone. Given: a number. Allowed: text "
            "such as '2026-01-31T12:00:00'. For a Julian date, compare ivo_to_jd(column) or ivo_to_mjd(column).",
        ),
    ],
)
def test_error_texts_are_whole(text: str, message: str) -> None:
    with pytest.raises(BadQuery) as refused:
        resolve(text)
    assert str(refused.value) == message


@pytest.mark.parametrize(
    "text",
    [
        "SELECT * FROM secret.x",
        "SELECT 1 FROM sky.stars, secret.x",
        "SELECT 1 FROM sky.stars WHERE EXISTS (SELECT 1 FROM secret.x)",
        "SELECT 1 FROM sky.stars WHERE id IN (SELECT hidden_column FROM SECRET.X)",
        "SELECT id FROM sky.stars UNION SELECT hidden_column FROM secret.x",
        "WITH w AS (SELECT * FROM secret.x) SELECT 1 FROM sky.stars",
    ],
)
def test_a_table_without_the_right_is_refused_wherever_it_stands(text: str) -> None:
    with pytest.raises(AccessDenied, match=r"You may not read secret\.x\..*members of team"):
        resolve(text)
    assert resolve(text, LOCAL_ADMIN).tables
    assert resolve(text, Principal("ada", "user", frozenset({"team"}))).tables


def test_hints_never_name_what_the_caller_may_not_read() -> None:
    with pytest.raises(BadQuery) as refused:
        resolve("SELECT * FROM secrt.x")
    assert "secret" not in str(refused.value)
    with pytest.raises(BadQuery) as unqualified:
        resolve("SELECT * FROM x")
    assert "secret" not in str(unqualified.value)


def test_everything_in_the_tree_is_quoted() -> None:
    tree = resolve('SELECT ra AS "a""b", name FROM sky.stars WHERE name = \'x"; DROP TABLE y; --\'').tree
    assert all(identifier.args["quoted"] for identifier in tree.find_all(exp.Identifier))
    assert "'x\"; DROP TABLE y; --'" in tree.sql("duckdb")


def test_the_compiler_remembers_by_text_version_and_rights() -> None:
    compiler = QueryCompiler(RIGHTS)
    text = "SELECT ra FROM sky.stars"
    one = compiler.compile(text, snapshot(), ANONYMOUS)
    assert compiler.compile(text, snapshot(), ANONYMOUS) is one
    assert compiler.compile(text, snapshot("2"), ANONYMOUS) is not one
    assert compiler.compile(text, snapshot(), Principal("ada", "user", frozenset({"team"}))) is not one
    member = Principal("ada", "user", frozenset({"team"}))
    assert compiler.compile("SELECT * FROM secret.x", snapshot(), member)
    with pytest.raises(AccessDenied):
        compiler.compile("SELECT * FROM secret.x", snapshot(), ANONYMOUS)


def test_mutated_queries_resolve_or_are_refused_and_nothing_else() -> None:
    rng = random.Random(7)
    names = [
        "ra",
        "dec",
        "sky.stars",
        "name",
        "flag",
        "place",
        "s_region",
        "NULL",
        "seen",
        "id",
        "COUNT(*)",
        "1",
        "'x'",
    ]
    resolved = 0
    for _ in range(3000):
        words = rng.choice(VALID).replace(" t", " sky.stars").replace("(a", "(ra").split()
        for _ in range(rng.randint(1, 3)):
            words[rng.randrange(1, len(words))] = rng.choice(names)
        try:
            resolve(" ".join(words), LOCAL_ADMIN)
            resolved += 1
        except UserError:
            continue
    assert resolved > 50
