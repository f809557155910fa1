"""The parser accepts ADQL 2.1 and nothing else, and says where and why it stops."""

from __future__ import annotations

import random
import sys

import pytest
from tests.query.adql.corpus import INVALID, VALID

from idac.core.errors import BadQuery, TooLarge
from idac.query.adql.parser import parse_adql
from idac.query.adql.stream import MAX_DEPTH


@pytest.mark.parametrize("text", VALID)
def test_valid_queries_are_accepted(text: str) -> None:
    tree = parse_adql(text.replace("\\n", "\n").replace("\\t", "\t"))
    assert tree.key in ("select", "union", "except", "intersect", "subquery")


@pytest.mark.parametrize(("text", "says"), INVALID)
def test_invalid_queries_are_refused_with_a_reason(text: str, says: str) -> None:
    with pytest.raises(BadQuery) as refused:
        parse_adql(text)
    assert says in str(refused.value)
    assert refused.value.position is not None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "SELECT a\nFROM t\nLIMIT 5",
            "line 3, column 1: The query can't be understood here. Given: LIMIT. Allowed: the end of the query. "
            "ADQL has no LIMIT; write SELECT TOP n … instead.",
        ),
        (
            "SELECT a FROM t JOIN u",
            "line 1, column 23: JOIN needs to say which rows belong together. Given: the end of the query. "
            "Allowed: ON condition, or USING (columns). Write, for example, JOIN b ON a.id = b.id; for all pairs, "
            "write a comma instead of JOIN.",
        ),
        (
            "SELECT a::int FROM t",
            "line 1, column 9: This character does not begin anything that ADQL knows. Given: :. "
            "Write CAST(value AS type) instead of value::type; ADQL has no parameters.",
        ),
        (
            "SELECT date FROM t",
            "line 1, column 8: The query can't be understood here. Given: date. Allowed: a column name, value or "
            "function. Write times as text, like '2026-01-31', or CAST('2026-01-31' AS TIMESTAMP). "
            'As a name it is written "date".',
        ),
    ],
)
def test_error_texts_are_whole(text: str, message: str) -> None:
    with pytest.raises(BadQuery) as refused:
        parse_adql(text)
    assert str(refused.value) == message


def test_intersect_binds_tighter_than_union() -> None:
    tree = parse_adql("SELECT a FROM t UNION SELECT b FROM u INTERSECT SELECT c FROM v")
    assert tree.key == "union"
    assert tree.expression.key == "intersect"


def test_except_groups_from_the_left() -> None:
    tree = parse_adql("SELECT a FROM t EXCEPT SELECT b FROM u UNION SELECT c FROM v")
    assert tree.key == "union"
    assert tree.this.key == "except"


def test_strings_on_two_lines_are_one_and_on_one_line_an_error() -> None:
    tree = parse_adql("SELECT 'a'\n'b' FROM t")
    assert tree.expressions[0].name == "ab"
    with pytest.raises(BadQuery):
        parse_adql("SELECT 'a' 'b' FROM t")


@pytest.mark.parametrize("opening", ["(", "NOT ", "- ", "ABS(", "(SELECT a FROM t WHERE b = "])
def test_endless_nesting_is_an_error_of_the_query(opening: str) -> None:
    with pytest.raises(BadQuery, match="nested too deeply"):
        parse_adql("SELECT a FROM t WHERE 1 = " + opening * 30_000 if opening != "NOT " else
                   "SELECT a FROM t WHERE " + opening * 30_000)  # fmt: skip


def test_the_deepest_nesting_allowed_fits_the_stack_of_a_served_request() -> None:
    text = "SELECT a FROM t WHERE " + "(" * (MAX_DEPTH - 5) + "1 = 1" + ")" * (MAX_DEPTH - 5)

    def deep(frames: int) -> object:
        return deep(frames - 1) if frames else parse_adql(text)

    used = 0
    frame = sys._getframe()
    while frame is not None:
        frame, used = frame.f_back, used + 1
    assert deep(max(0, 150 - used)) is not None


def test_long_chains_of_and_or_and_concatenation_are_fine() -> None:
    assert parse_adql("SELECT a FROM t WHERE " + " OR ".join(f"a = {i}" for i in range(20_000)))
    assert parse_adql("SELECT " + " || ".join(["a"] * 20_000) + " FROM t")


def test_a_sum_of_thousands_of_terms_is_refused() -> None:
    with pytest.raises(BadQuery, match="too many terms"):
        parse_adql("SELECT " + " + ".join(["a"] * 5_000) + " FROM t")


def test_a_text_of_fifty_megabytes_is_refused_unread() -> None:
    with pytest.raises(TooLarge) as refused:
        parse_adql("SELECT " + "a" * 50_000_000)
    assert str(refused.value) == (
        "The query text is too long. Given: 50000007 characters. Allowed: at most 1048576 characters. "
        "Upload long lists as a table (UPLOAD) and join with it."
    )


def test_mutated_queries_parse_or_are_refused_and_nothing_else() -> None:
    rng = random.Random(20261123)
    pieces = [*"()'\".,;*+-/<>=|! \n", "SELECT", "FROM", "WHERE", "NULL", "1e5", "\0", "é", "::", "--", "UNION", "CASE"]
    outcomes = {"ok": 0, "refused": 0}
    for _ in range(4000):
        text = list(rng.choice(VALID))
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(text) + 1)
            if rng.random() < 0.5:
                text.insert(at, rng.choice(pieces))
            elif text:
                del text[min(at, len(text) - 1)]
        outcomes[_outcome("".join(text))] += 1
    assert min(outcomes.values()) > 200


def _outcome(text: str) -> str:
    try:
        parse_adql(text)
    except BadQuery as error:
        return "refused" if error.position is not None else "refused without a place"
    return "ok"
