"""Long lists of conditions: a list of values is read as one, and nothing longer than can be planned is let through."""

from __future__ import annotations

import pytest
from sqlglot import exp

from idac.core.errors import BadQuery
from idac.query.adql.parser import parse_adql
from idac.query.adql.parser_values import MAX_CONDITIONS


def where(condition: str) -> exp.Expr:
    clause = parse_adql(f"SELECT a FROM t WHERE {condition}").args["where"]
    assert isinstance(clause, exp.Where)
    return clause.this


def alternatives(column: str, count: int) -> str:
    return " OR ".join(f"{column} = {i}" for i in range(count))


def test_one_column_equal_to_many_constants_is_a_list() -> None:
    tree = where(alternatives("t.a", 50_000))
    assert isinstance(tree, exp.In)
    assert (tree.this.table, tree.this.name) == ("t", "a")
    assert [int(e.name) for e in tree.expressions] == list(range(50_000))


def test_other_conditions_stay_beside_the_list() -> None:
    tree = where(f"b > 1 OR {alternatives('a', 9)} OR c IS NULL OR {alternatives('d', 3)}")
    kinds = [type(n) for n in tree.walk() if isinstance(n, exp.In | exp.EQ | exp.GT | exp.Is)]
    assert sorted(k.__name__ for k in kinds) == ["EQ", "EQ", "EQ", "GT", "In", "Is"]


@pytest.mark.parametrize(
    "condition",
    [
        alternatives("a", 7),
        " OR ".join(f"a = b{i}" for i in range(20)),
        " OR ".join(f"{i} = a" for i in range(20)),
        " OR ".join(f"a <> {i}" for i in range(20)),
        " OR ".join(f"a{i} = {i}" for i in range(20)),
        " AND ".join(f"a = {i}" for i in range(20)),
    ],
)
def test_what_is_no_list_of_values_is_left_as_it_is(condition: str) -> None:
    assert not any(isinstance(n, exp.In) for n in where(condition).walk())


def test_names_in_quotes_are_other_names() -> None:
    tree = where(" OR ".join(f"{name} = {i}" for name in ("a", '"a"') for i in range(10)))
    assert len([n for n in tree.walk() if isinstance(n, exp.In)]) == 2


TOO_MANY = (
    "The query has too many conditions. Given: {given}. "
    "Allowed: 1,000 joined by AND or OR in one place, 4,000 in all. "
    "Write a list of values with IN (…), or upload it as a table (UPLOAD) and join with it."
)


@pytest.mark.parametrize("word", ["AND", "OR"])
def test_a_chain_of_conditions_has_an_end(word: str) -> None:
    where(f" {word} ".join(["a < 1"] * MAX_CONDITIONS))
    with pytest.raises(BadQuery) as caught:
        where(f" {word} ".join(["a < 1"] * (MAX_CONDITIONS + 1)))
    assert str(caught.value.text).endswith(TOO_MANY.format(given="1"))
    assert caught.value.position is not None


def test_conditions_are_counted_over_the_whole_query() -> None:
    chain = " AND ".join(["a < 1"] * 900)
    assert where(" OR ".join(f"({chain})" for _ in range(4))) is not None
    with pytest.raises(BadQuery, match="too many conditions"):
        where(" OR ".join(f"({chain})" for _ in range(5)))
