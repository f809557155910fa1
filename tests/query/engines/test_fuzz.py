"""Random and mutated queries end in an answer or an error for their author, and never in anything else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.query.adql.corpus import VALID

from engine_fixture import Asking
from idac.core.errors import BadQuery
from query_fuzz import Outcomes, open_asking, queries, run_query

#: Enough to meet what breaks often; ``make fuzz`` runs a hundred times as many.
CASES = 1_000


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
