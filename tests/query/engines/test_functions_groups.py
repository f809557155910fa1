"""Aggregates, texts and times, on the real engine, against numpy, Python's strings and astropy's Time."""

from __future__ import annotations

import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from astropy.time import Time

from engine_fixture import Asking, memory_entry, memory_snapshot, small_engine
from idac.core.errors import BadQuery

RNG = np.random.default_rng(7)
ROWS = 3_000
GROUP = [int(g) for g in RNG.integers(0, 7, ROWS)]
X = [None if i % 11 == 0 else float(v) for i, v in enumerate(RNG.normal(18, 3, ROWS))]
Y = [
    None if i % 13 == 0 else 2 * (x or 0) + float(v)
    for i, (x, v) in enumerate(zip(X, RNG.normal(0, 1, ROWS), strict=True))
]
N = [None if i % 17 == 0 else int(v) for i, v in enumerate(RNG.integers(-(2**51), 2**51, ROWS))]
TEXTS = [
    "",
    "abc",
    "ABC",
    "it's",
    "100%_",
    "a\\b",
    " pad ",
    "\ttab\n",
    "ÄÖ ß",
    "日本語",
    "😀 star",
    "a" * 1000,
    '"q"',
    None,
]
TIMES = [
    datetime(2000, 1, 1, 12),
    datetime(1858, 11, 17),
    datetime(1, 1, 1),
    datetime(9999, 12, 31, 23, 59, 59, 999_999),
    datetime(2016, 12, 31, 23, 59, 59),
    datetime(1969, 12, 31, 23, 59, 59, 999_999),
    None,
]


@pytest.fixture(scope="module")
def asking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asking]:
    numbers = pa.table({"g": GROUP, "x": X, "y": Y, "n": pa.array(N, pa.int64())})
    texts = pa.table({"id": range(len(TEXTS)), "t": TEXTS})
    times = pa.table({"id": range(len(TIMES)), "w": pa.array(TIMES, pa.timestamp("us"))})
    tables = {"t.n": numbers, "t.s": texts, "t.w": times}
    with small_engine(tmp_path_factory.mktemp("engine")) as engine:
        yield Asking(engine, memory_snapshot({name: memory_entry(name, data) for name, data in tables.items()}))


# -- aggregates --------------------------------------------------------------------------------------------------------


def groups(values: Sequence[float | int | None]) -> dict[int, list[float]]:
    result: dict[int, list[float]] = defaultdict(list)
    for group, value in zip(GROUP, values, strict=True):
        if value is not None:
            result[group].append(value)
    return result


@pytest.mark.parametrize(
    ("call", "function"),
    [
        ("COUNT(x)", len),
        ("SUM(x)", np.sum),
        ("AVG(x)", np.mean),
        ("MIN(x)", np.min),
        ("MAX(x)", np.max),
        ("STDDEV(x)", lambda v: np.std(v, ddof=1)),
        ("STDDEV_SAMP(x)", lambda v: np.std(v, ddof=1)),
        ("STDDEV_POP(x)", np.std),
        ("VARIANCE(x)", lambda v: np.var(v, ddof=1)),
        ("VAR_SAMP(x)", lambda v: np.var(v, ddof=1)),
        ("VAR_POP(x)", np.var),
        ("MEDIAN(x)", np.median),
        ("QUANTILE(x, 0)", np.min),
        ("QUANTILE(x, 0.05)", lambda v: np.quantile(v, 0.05)),
        ("QUANTILE(x, 0.5)", np.median),
        ("QUANTILE(x, 1)", np.max),
        ("COUNT(DISTINCT FLOOR(x))", lambda v: len(set(np.floor(v)))),
        ("SUM(DISTINCT FLOOR(x))", lambda v: sum(set(np.floor(v)))),
    ],
)
def test_an_aggregate_is_numpys(asking: Asking, call: str, function: Callable[[list[float]], float]) -> None:
    found = asking.rows(f"SELECT g, {call} FROM t.n GROUP BY g ORDER BY g")
    expected = groups(X)
    assert [g for g, _ in found] == sorted(expected)
    for group, value in found:
        assert value == pytest.approx(function(expected[group]), rel=1e-12)  # type: ignore[index]


def test_correlation_is_of_the_rows_that_have_both(asking: Asking) -> None:
    both = [(x, y) for x, y in zip(X, Y, strict=True) if x is not None and y is not None]
    expected = np.corrcoef(*np.array(both).T)[0, 1]
    assert asking.value("SELECT CORR(y, x) FROM t.n") == pytest.approx(expected, rel=1e-12)


def test_whole_numbers_are_summed_and_averaged_exactly(asking: Asking) -> None:
    whole = [n for n in N if n is not None]
    found = asking.rows("SELECT SUM(n), MIN(n), MAX(n), COUNT(n), COUNT(*), AVG(n) FROM t.n")
    assert found[0][:5] == (sum(whole), min(whole), max(whole), len(whole), ROWS)
    assert found[0][5] == pytest.approx(statistics.fmean(whole), rel=1e-12)


def test_of_no_rows_every_aggregate_is_null_and_the_count_zero(asking: Asking) -> None:
    calls = "COUNT(*), COUNT(x), SUM(x), AVG(x), MIN(x), MAX(x), STDDEV(x), VAR_POP(x), MEDIAN(x), QUANTILE(x, 0.1)"
    calls += ", CORR(x, y)"
    assert asking.rows(f"SELECT {calls} FROM t.n WHERE g > 100") == [(0, 0, *[None] * 9)]
    assert asking.rows(f"SELECT {calls} FROM t.n WHERE g > 100 GROUP BY g") == []


def test_the_spread_of_one_value_is_null_of_a_sample_and_zero_of_a_population(asking: Asking) -> None:
    query = "SELECT STDDEV(id), VARIANCE(id), STDDEV_POP(id), VAR_POP(id), CORR(id, id) FROM t.s WHERE id = 1"
    assert asking.rows(query) == [(None, None, 0.0, 0.0, None)]


@pytest.mark.parametrize(("low", "high", "bins"), [(10, 26, 8), (17.9, 18.1, 1), (-1e300, 1e300, 3), (18, 19, 10_000)])
def test_a_histogram_is_numpys_with_what_lies_outside_at_its_ends(
    asking: Asking, low: float, high: float, bins: int
) -> None:
    values = np.array([x for x in X if x is not None])
    inside = np.clip(np.floor((values - low) * bins / (high - low)).astype(int), 0, bins - 1)
    counts = Counter(inside[(values >= low) & (values < high)].tolist())
    below = int((values < low).sum()) + X.count(None)
    expected = [below, *(counts[i] for i in range(bins)), int((values >= high).sum())]
    found = asking.value(f"SELECT ivo_histogram(x, {low!r}, {high!r}, {bins}) FROM t.n")
    assert found == expected
    assert asking.value(f"SELECT gavo_histogram(x, {low!r}, {high!r}, {bins}) FROM t.n") == expected


def test_a_histogram_of_no_rows_is_all_zeros(asking: Asking) -> None:
    assert asking.value("SELECT ivo_histogram(x, 0, 1, 2) FROM t.n WHERE g > 100") == [0, 0, 0, 0]


def test_joined_texts_leave_no_trace_of_null(asking: Asking) -> None:
    found = asking.value("SELECT ivo_string_agg(t, ' <//> ') FROM t.s")
    assert isinstance(found, str)
    assert sorted(found.split(" <//> ")) == sorted(t for t in TEXTS if t is not None)
    assert asking.value("SELECT ivo_string_agg(t, '-') FROM t.s WHERE t IS NULL") is None
    assert asking.value("SELECT ivo_string_agg(DISTINCT UPPER(t), '-') FROM t.s WHERE t ILIKE 'abc'") == "ABC"


@pytest.mark.parametrize(
    ("query", "text"),
    [
        (
            "SELECT QUANTILE(x, y) FROM t.n",
            "line 1, column 20: The fraction of a quantile is a number that is written out. Allowed: 0 to 1.",
        ),
        (
            "SELECT QUANTILE(x, 1.5) FROM t.n",
            "line 1, column 20: The fraction of a quantile is a number that is written out. Given: 1.5. "
            "Allowed: 0 to 1.",
        ),
        (
            "SELECT ivo_string_agg(t, t) FROM t.s",
            "line 1, column 26: The delimiter is a text that is written out. "
            "Allowed: text in single quotes, such as ', '.",
        ),
        (
            "SELECT ivo_histogram(x, 0, y, 3) FROM t.n",
            "line 1, column 28: The bins of a histogram are numbers that are written out. "
            "Allowed: lower bound, upper bound, number of bins.",
        ),
        (
            "SELECT ivo_histogram(x, 3, 3, 3) FROM t.n",
            "line 1, column 25: A histogram goes from a smaller number to a larger one. Given: 3 and 3.",
        ),
        (
            "SELECT ivo_histogram(x, 0, 1, 1000000) FROM t.n",
            "line 1, column 31: A histogram can't have so many bins. Given: 1e+06. Allowed: 1 to 10,000.",
        ),
        (
            "SELECT ivo_histogram(DISTINCT x, 0, 1, 3) FROM t.n",
            "line 1, column 8: A histogram counts every value; DISTINCT does not go with it. "
            "Select the distinct values in a sub-query first.",
        ),
    ],
)
def test_an_argument_that_is_one_for_all_rows_must_be_written_out(asking: Asking, query: str, text: str) -> None:
    with pytest.raises(BadQuery) as caught:
        asking.ask(query)
    assert caught.value.text == text


# -- texts -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "function"),
    [
        ("t", lambda t: t),
        ("LOWER(t)", str.lower),
        ("UPPER(t)", lambda t: t.replace("ß", "ẞ").upper()),  # letter by letter
        ("LENGTH(t)", len),
        ("BTRIM(t)", lambda t: t.strip(" ")),
        ("SUBSTR(t, 2)", lambda t: t[1:]),
        ("SUBSTR(t, 2, 3)", lambda t: t[1:4]),
        ("SUBSTR(t, 1, 0)", lambda _: ""),
        ("t || '!' || t", lambda t: f"{t}!{t}"),
        ("'it''s ' || t", lambda t: f"it's {t}"),
        ("CAST(t AS VARCHAR(3))", lambda t: t[:3]),
        ("CAST(t AS CHAR(4))", lambda t: t[:4].ljust(4)),
        ("COALESCE(t, 'none')", lambda t: t),
    ],
)
def test_a_function_of_a_text_is_pythons(asking: Asking, call: str, function: Callable[[str], object]) -> None:
    found = asking.column(f"SELECT {call} FROM t.s ORDER BY id")
    missing = "none" if "COALESCE" in call else None
    assert found == [missing if t is None else function(t) for t in TEXTS]


PATTERNS = [
    "%",
    "_",
    "___",
    "a%",
    "%c",
    "%'%",
    "100%_",
    "100\\%",
    "a\\b",
    "%\\%",
    "%ö%",
    "_Ö%",
    "日_語",
    "😀%",
    "",
    "\\_%",
    "A%C",
    "%*%",
    "[a]%",
]


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("word", ["LIKE", "ILIKE"])
def test_percent_is_any_text_and_underscore_any_character_and_nothing_else_is_special(
    asking: Asking, pattern: str, word: str
) -> None:
    parts = {"%": ".*", "_": "."}
    flags = re.DOTALL | (re.IGNORECASE if word == "ILIKE" else 0)
    regular = re.compile("".join(parts.get(c, re.escape(c)) for c in pattern), flags)
    text = pattern.replace("'", "''")
    found = asking.column(f"SELECT t FROM t.s WHERE t {word} '{text}' ORDER BY id")
    assert found == [t for t in TEXTS if t is not None and regular.fullmatch(t)]
    others = asking.column(f"SELECT t FROM t.s WHERE t NOT {word} '{text}' ORDER BY id")
    assert others == [t for t in TEXTS if t is not None and not regular.fullmatch(t)]


# -- times -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", ["jd", "mjd"])
def test_julian_dates_are_astropys(asking: Asking, function: str) -> None:
    found = asking.column(f"SELECT ivo_to_{function}(w) FROM t.w ORDER BY id")
    for given, time in zip(found, TIMES, strict=True):
        if time is None:
            assert given is None
            continue
        # As days and a fraction, which is exact to the microsecond; dates before 1582 are proleptic Gregorian in both.
        micros = (time - datetime(1858, 11, 17)) // timedelta(microseconds=1)
        exact = Decimal(micros) / Decimal(86_400_000_000) + (Decimal("2400000.5") if function == "jd" else 0)
        assert given == pytest.approx(float(exact), rel=2.3e-16)
        assert function == "jd" or time.year > 2200 or given == float(exact)
        if time.year > 1000:
            assert given == pytest.approx(getattr(Time(time, scale="tai"), function), abs=1e-9)


@pytest.mark.parametrize(
    ("condition", "years"),
    [
        ("w = '2000-01-01T12:00:00'", [2000]),
        ("w = '2000-01-01T12:00:00Z'", [2000]),
        ("w = '2000-01-01 12:00'", [2000]),
        ("w > '2000-01-01'", [2000, 2016, 9999]),
        ("w <= '1858-11-17'", [1, 1858]),
        ("w BETWEEN '1969-12-31' AND '2000-01-02'", [1969, 2000]),
        ("w IN ('1858-11-17', '2016-12-31T23:59:59.0')", [1858, 2016]),
        ("w IS NULL", []),
        ("w <> '2000-01-01T12:00:00'", [1, 1858, 1969, 2016, 9999]),
        ("CAST(w AS VARCHAR) LIKE '%T23:59:59.999999'", [1969, 9999]),
        ("CAST(CAST(w AS VARCHAR) AS TIMESTAMP) = w", [1, 1858, 1969, 2000, 2016, 9999]),
    ],
)
def test_times_are_compared_with_texts_as_times(asking: Asking, condition: str, years: list[int]) -> None:
    found = asking.column(f"SELECT w FROM t.w WHERE {condition} ORDER BY w")
    assert [t.year for t in found if isinstance(t, datetime)] == years


def test_times_become_texts_as_dali_writes_them(asking: Asking) -> None:
    found = asking.column("SELECT CAST(w AS VARCHAR) FROM t.w ORDER BY id")
    assert found == [None if t is None else t.isoformat() for t in TIMES]
