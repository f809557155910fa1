"""Random and mutated queries end in an answer or an error for their author, and never in anything else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.query.adql.corpus import VALID

from engine_fixture import Asking
from idac.core.errors import BadQuery
from query_fuzz import Outcomes, open_asking, queries, run_query

#: Enough to meet what breaks often; ``make fuzz`` runs fifty times as many.
CASES = 2_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(scope="module")
def asking(folder: Path) -> Iterator[Asking]:
    with open_asking(folder) as asking:
        yield asking


def test_random_queries_are_answered_or_refused_with_a_reason(asking: Asking, folder: Path) -> None:
    outcomes = Outcomes()
    for text in queries(2026, CASES, folder, VALID):
        run_query(asking, text, outcomes)
    assert outcomes.faults == []
    # Neither are all refused, nor all answered.
    answered = outcomes.counts["answer"] + outcomes.counts["answer without rows"]
    assert CASES / 10 < answered < CASES * 9 / 10


@pytest.mark.parametrize(
    ("query", "text"),
    [
        (
            "SELECT a.id FROM demo.stars AS a LEFT JOIN demo.visits AS b ON a.id IN (SELECT c.id FROM demo.stars AS c)",
            "The ON of an outer join holds a sub-query, which this service can't answer. "
            "Filter one side in a sub-query of FROM, or move the condition to WHERE.",
        ),
        (
            "SELECT a.id FROM demo.stars AS a, demo.visits AS b FULL JOIN demo.visits AS c ON a.id = c.id",
            "The ON of an outer join names a table that is neither of its two sides. "
            "A comma binds looser than JOIN; write JOIN … ON for every table.",
        ),
        (
            "SELECT MAX(id), name FROM demo.stars GROUP BY 1, name",
            "line 1, column 47: GROUP BY can't name a column that is an aggregate itself. Given: 1. "
            "Name the columns that the aggregates are to be of.",
        ),
        (
            "SELECT MAX(id) AS m FROM demo.stars GROUP BY m",
            "line 1, column 46: GROUP BY can't name a column that is an aggregate itself. Given: m. "
            "Name the columns that the aggregates are to be of.",
        ),
    ],
)
def test_what_an_engine_can_not_do_is_said_in_words_of_adql(asking: Asking, query: str, text: str) -> None:
    with pytest.raises(BadQuery) as caught:
        asking.ask(query)
    assert caught.value.text == text


@pytest.mark.parametrize("constant", ["-2.5", "'a'", "(NULL)", "(('a'))", "REGION('CIRCLE ICRS 1 2 3')", "TRUE"])
def test_a_constant_orders_and_groups_nothing(asking: Asking, constant: str) -> None:
    assert len(asking.rows(f"SELECT id FROM demo.visits ORDER BY {constant}, id")) == 40
    assert asking.value(f"SELECT COUNT(*) FROM demo.visits GROUP BY {constant}") == 40


@pytest.mark.parametrize("clause", ["", " WHERE 1 = CONTAINS(POINT(ra, dec), CIRCLE(0, 0, 1))"])
def test_rows_come_where_no_column_of_the_table_is_asked_for(asking: Asking, clause: str) -> None:
    assert asking.rows(f"SELECT TOP 2 1, 'a', POINT(10, -5) FROM demo.stars{clause}") == [(1, "a", [10.0, -5.0])] * 2


NESTED = [
    *("ABS({})", "SQRT({})", "LOG(2 + {})", "LOG10({})", "ACOS({})", "POWER({}, 2)", "MOD({}, 7)", "ROUND({}, 1)"),
    *("TRUNCATE({}, 1)", "ivo_interval_overlaps({}, 1, 2, 3)", "ivo_interval_overlaps(0, 1, 2, {})", "COALESCE({}, 2)"),
    *("DISTANCE({}, 1, 2, 3)", "CASE WHEN mag > 1 THEN {} END", "ivo_healpix_index(5, {}, 2)", "SIGN({})"),
    *(
        "COORD1(POINT({}, 2))",
        "AREA(CIRCLE(1, 2, {}))",
        "AREA(BOX({}, 2, 3, 4))",
        "CONTAINS(POINT({}, 2), CIRCLE(1, 2, 3))",
    ),
    *(
        "ivo_hms_to_degrees(CAST({} AS VARCHAR))",
        "ivo_hasword(CAST({} AS VARCHAR), '1')",
        "LENGTH(CAST({} AS VARCHAR))",
    ),
    *(
        "ivo_healpix_index(5, ivo_healpix_center(5, CAST({} AS INTEGER)))",
        "ivo_to_mjd(CAST('2000-01-01' AS TIMESTAMP)) + {}",
    ),
    "COORD1(ivo_epoch_prop_pos({}, 2, 3, 4, 5, 6, 7, 8))",
    "COORD1(ivo_geom_transform('ICRS', 'GALACTIC', ivo_geom_transform('FK5', 'FK4', POINT({}, 2))))",
    "COORD1(CENTROID(CIRCLE(CENTROID(CIRCLE(POINT({}, 2), 1)), 1)))",
    "DISTANCE(ivo_geom_transform('ICRS', 'GALACTIC', CENTROID(CIRCLE(ivo_healpix_center(5, 7), {}))), POINT(1, 2))",
]


@pytest.mark.parametrize("innermost", ["mag", "RAND()"])
@pytest.mark.parametrize("form", NESTED)
def test_calls_may_be_nested_as_deep_as_the_grammar_lets_them(asking: Asking, form: str, innermost: str) -> None:
    """What doubles with each level would take hours, and memory without end."""
    text, levels = innermost, 38 // max(form.count("("), 1)
    for _ in range(levels):
        text = form.format(text)
    try:
        answer = asking.rows(f"SELECT TOP 1 {text} FROM demo.stars")
    except BadQuery as error:
        assert error.text in (  # noqa: PT017  either way is good
            "Geometries and functions are nested too deeply in one another. "
            "Work inner values out in a sub-query of FROM, or in WITH.",
            "A value that the query works out is out of range. Allowed: whole numbers of 64 bits. "
            "Leave out the rows that cause it with WHERE, or work in DOUBLE PRECISION with CAST.",
        )
    else:
        assert len(answer) == 1


def test_points_out_of_points_out_of_points_are_refused_before_they_fill_the_memory(asking: Asking) -> None:
    text = "POINT(ra, dec)"
    for _ in range(9):
        text = f"ivo_geom_transform('ICRS', 'FK5', CENTROID(CIRCLE(COALESCE(NULL, {text}), 1)))"
    with pytest.raises(BadQuery) as caught:
        asking.ask(f"SELECT DISTANCE({text}, POINT(1, 2)) FROM demo.stars")
    assert caught.value.text == (
        "Geometries and functions are nested too deeply in one another. "
        "Work inner values out in a sub-query of FROM, or in WITH."
    )


def test_one_region_is_one_value_wherever_it_is_written(asking: Asking) -> None:
    inside = "CASE WHEN 1 = CONTAINS(POINT(ra, dec), CIRCLE(0, 0, 120)) THEN 1 ELSE 0 END"
    counts = asking.rows(f"SELECT {inside}, COUNT(*) FROM demo.stars GROUP BY {inside} ORDER BY {inside}")
    assert [key for key, _ in counts] == [0, 1]
    assert sum(n for _, n in counts if isinstance(n, int)) == asking.value("SELECT COUNT(*) FROM demo.stars")


#: DuckDB 1.5 breaks the plan of this one where it puts off reading columns until the rows are known.
BREAKS = """
SELECT NULL, COALESCE(t2.name, t2.name) AS o4, RAND() AS o5, LENGTH(t1.table_name)
FROM tap_schema.columns AS t1
LEFT JOIN demo.stars AS t2 ON DISTANCE(t2.ra, t2.dec, t2.ra, t2.dec) <= 5.0 / 3600
WHERE (
    1 = CONTAINS(POINT('ICRS', t2.ra, t1.indexed), REGION('POLYGON ICRS 10 10 20 10 15 20'))
    AND t2.flag NOT BETWEEN FALSE AND TRUE
)
AND (t1."size" < t2.ra AND '1' NOT ILIKE t1.table_name)
AND EXISTS (
    SELECT CIRCLE(POINT('ICRS', -1, t3.ra), t3.dec), CASE WHEN INTERSECTS(
        POLYGON(10, 10, NULL, 10, t3.mag, t3.ra), BOX(t3.id, t3.ra, t3.id, t3.ra)
    ) = 0 THEN t3.id ELSE 1 END
    FROM demo.stars AS t3
    WHERE CONTAINS(POINT('ICRS', t3.id, t3.dec), BOX(206.138, 25.453, 2, 3)) = 0 AND t3.flag
    ORDER BY 1 ASC
)
ORDER BY 4
"""


def test_a_plan_that_the_engine_breaks_is_made_another_way(asking: Asking, caplog: pytest.LogCaptureFixture) -> None:
    # No flag lies outside FALSE to TRUE.
    assert asking.ask(BREAKS, max_rows=50).num_rows == 0
    assert "DuckDB's optimiser broke a plan" in caplog.text
    caplog.clear()
    assert len(asking.rows("SELECT TOP 3 id FROM demo.stars ORDER BY mag")) == 3
    assert caplog.text == ""
