"""Functions of numbers, on the real engine, give what numpy and Python's whole numbers give; NULL stays NULL."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from decimal import ROUND_DOWN, Decimal
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest

from engine_fixture import Asking, memory_entry, memory_snapshot, small_engine
from idac.core.errors import BadQuery

X = [0.0, 1.0, -1.0, 0.5, -0.5, 2.5, -2.5, 1e-300, 1e15, -1e15, 3.0e8, 0.1, 123.456, -123.456, None]
WHOLE = [0, 1, -1, 7, -7, 2**31 - 1, -(2**31), 2**53 + 1, -(2**53) - 1, None]
BYTES = [0, 1, 200, 255, None]


@pytest.fixture(scope="module")
def asking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asking]:
    x = pa.table({"id": range(len(X)), "x": pa.array(X, pa.float64())})
    n = pa.table({"id": range(len(WHOLE)), "n": pa.array(WHOLE, pa.int64())})
    b = pa.table({"id": range(len(BYTES)), "b": pa.array(BYTES, pa.uint8()), "s": pa.array(BYTES, pa.int16())})
    pair = pa.table({"f": pa.array([1.5, 0.0], pa.float32()), "i": pa.array([16_777_217, 16_777_217], pa.int32())})
    tables = {name: memory_entry(name, data) for name, data in {"t.x": x, "t.n": n, "t.b": b, "t.pair": pair}.items()}
    with small_engine(tmp_path_factory.mktemp("engine")) as engine:
        yield Asking(engine, memory_snapshot(tables))


def same(given: object, expected: float | None) -> bool:
    """Equal to the last two bits, which libraries of functions differ in."""
    if given is None or expected is None:
        return given is expected
    return isinstance(given, float) and math.isclose(given, expected, rel_tol=4.5e-16, abs_tol=1e-320)


def applied(function: Callable[[float], float]) -> list[float | None]:
    """*function* of every X, NULL where it has no value."""
    result = []
    for x in X:
        with np.errstate(all="ignore"):
            value = float("nan") if x is None else float(function(np.float64(x)))
        result.append(None if math.isnan(value) else value)
    return result


@pytest.mark.parametrize(
    ("call", "function"),
    [
        ("ABS(x)", np.abs),
        ("CEILING(x)", np.ceil),
        ("FLOOR(x)", np.floor),
        ("DEGREES(x)", np.degrees),
        ("RADIANS(x)", np.radians),
        ("EXP(x / 1e14)", lambda x: np.exp(x / 1e14)),
        ("LOG(x)", lambda x: np.log(x) if x > 0 else np.nan),
        ("LOG10(x)", lambda x: np.log10(x) if x > 0 else np.nan),
        ("POWER(x, 3)", lambda x: np.power(x, 3)),
        ("POWER(x, 0.5)", np.sqrt),
        ("POWER(2, x / 1e14)", lambda x: np.power(2.0, x / 1e14)),
        ("SQRT(x)", np.sqrt),
        ("ACOS(x)", np.arccos),
        ("ASIN(x)", np.arcsin),
        ("ATAN(x)", np.arctan),
        ("ATAN2(x, -2)", lambda x: np.arctan2(x, -2)),
        ("ATAN2(1, x)", lambda x: np.arctan2(1, x)),
        ("COS(x)", np.cos),
        ("SIN(x)", np.sin),
        ("TAN(x)", np.tan),
        ("COT(x)", lambda x: 1 / np.tan(x) if x else np.nan),
        ("SIGN(x)", np.sign),
        ("x * PI()", lambda x: x * np.pi),
        ("MOD(x, 2.5)", lambda x: math.fmod(x, 2.5)),
        ("MOD(x, -2.5)", lambda x: math.fmod(x, -2.5)),
        ("MOD(x, 0)", lambda _: np.nan),
        ("x / 0", lambda _: np.nan),
        ("x / 3", lambda x: x / 3),
        ("-x", lambda x: -x),
        ("+x", lambda x: x),
        ("x * x - x", lambda x: x * x - x),
    ],
)
def test_a_function_of_a_number_is_numpys(asking: Asking, call: str, function: Callable[[float], float]) -> None:
    found = asking.column(f"SELECT {call} FROM t.x ORDER BY id")
    for given, expected in zip(found, applied(function), strict=True):
        assert same(given, expected), (call, given, expected)


def half_away(x: float, places: int) -> float:
    """The nearest decimal of the number as it is written, halves away from zero."""
    scaled = Fraction(repr(x)) * Fraction(10) ** places
    whole = math.floor(abs(scaled) + Fraction(1, 2))
    return float(math.copysign(1, x) * whole / Fraction(10) ** places)


@pytest.mark.parametrize("places", [-3, -1, 0, 1, 2, 5])
@pytest.mark.parametrize("x", [0.0, 2.5, -2.5, 0.5, 1234.5678, -1234.5678, 15.0, 1e15, 3.14159])
def test_round_takes_halves_away_from_zero_at_any_place(asking: Asking, x: float, places: int) -> None:
    found = asking.value(f"SELECT TOP 1 ROUND({x!r}, {places}) FROM t.x")
    assert found == pytest.approx(half_away(x, places), rel=1e-15)


@pytest.mark.parametrize("places", [-3, -1, 0, 1, 2, 5])
@pytest.mark.parametrize("x", [0.0, 2.5, -2.5, 0.75, 1234.5625, -1234.5625, 15.0, 1e15, 1.7e308])
def test_truncate_cuts_towards_zero_at_any_place(asking: Asking, x: float, places: int) -> None:
    exact = Decimal(x).quantize(Decimal(1).scaleb(-places), ROUND_DOWN) if abs(x) < 1e300 else Decimal(x)
    assert asking.value(f"SELECT TOP 1 TRUNCATE({x!r}, {places}) FROM t.x") == pytest.approx(float(exact), rel=1e-15)


def test_round_and_truncate_need_no_places(asking: Asking) -> None:
    assert asking.rows("SELECT TOP 1 ROUND(-2.5), TRUNCATE(-2.5), ROUND(2.4), TRUNCATE(2.9) FROM t.x") == [
        (-3.0, -2.0, 2.0, 2.0)
    ]


def test_places_beyond_all_digits_leave_the_number_as_it_is(asking: Asking) -> None:
    row = "ROUND(1.25, 400), TRUNCATE(1.25, 400), ROUND(1.25, -400), TRUNCATE(1.25, -400)"
    assert asking.rows(f"SELECT TOP 1 {row} FROM t.x") == [(1.25, 1.25, 0.0, 0.0)]


# -- whole numbers -----------------------------------------------------------------------------------------------------


def truncated_quotient(a: int, b: int) -> int:
    return int(Fraction(a, b))


@pytest.mark.parametrize("divisor", [1, 2, -2, 3, -7, 1_000_003])
def test_whole_numbers_divide_to_whole_numbers_cut_towards_zero(asking: Asking, divisor: int) -> None:
    expected = [None if n is None else truncated_quotient(n, divisor) for n in WHOLE]
    assert asking.column(f"SELECT n / {divisor} FROM t.n ORDER BY id") == expected


@pytest.mark.parametrize("divisor", [1, 2, -2, 3, -7, 1_000_003])
def test_mod_has_the_sign_of_what_is_divided(asking: Asking, divisor: int) -> None:
    expected = [None if n is None else n - divisor * truncated_quotient(n, divisor) for n in WHOLE]
    assert asking.column(f"SELECT MOD(n, {divisor}) FROM t.n ORDER BY id") == expected


@pytest.mark.parametrize("call", ["n / 0", "MOD(n, 0)", "n / (n - n)"])
def test_a_division_by_zero_is_null(asking: Asking, call: str) -> None:
    assert asking.column(f"SELECT {call} FROM t.n") == [None] * len(WHOLE)


def test_bytes_and_shorts_are_reckoned_in_64_bits(asking: Asking) -> None:
    rows = asking.rows("SELECT b + b, b * b, b - 255, -b, s * s, -s FROM t.b ORDER BY id")
    assert rows == [(None,) * 6 if n is None else (n + n, n * n, n - 255, -n, n * n, -n) for n in BYTES]


def test_a_float_beside_an_int_is_reckoned_in_doubles(asking: Asking) -> None:
    # 2**24 + 1 is the first whole number that a float can't hold.
    query = "SELECT f + i, f * i, i - f, COALESCE(NULL, i, f), CASE WHEN f > 1 THEN i ELSE f END, MOD(i, f) FROM t.pair"
    first, second = asking.rows(query)
    assert first == (16_777_218.5, 25_165_825.5, 16_777_215.5, 16_777_217.0, 16_777_217.0, math.fmod(16_777_217, 1.5))
    assert second == (16_777_217.0, 0.0, 16_777_217.0, 16_777_217.0, 0.0, None)


def test_a_float_and_an_int_are_compared_as_doubles(asking: Asking) -> None:
    # As floats, 2**24 + 1 and 2**24 are one number.
    tables = "t.pair AS p JOIN (SELECT CAST(16777216 AS REAL) AS g FROM t.pair) AS q ON p.i > 0"
    for condition in ("g = i", "i = g", "g IN (i)", "g IN (SELECT i FROM t.pair)", "i BETWEEN g AND g"):
        assert asking.value(f"SELECT COUNT(*) FROM {tables} WHERE {condition}") == 0, condition
    assert (
        asking.value("SELECT COUNT(*) FROM t.pair JOIN (SELECT CAST(16777216 AS REAL) AS i FROM t.pair) AS q USING (i)")
        == 0
    )


def test_a_set_operation_of_floats_and_ints_gives_doubles(asking: Asking) -> None:
    assert asking.column("SELECT i FROM t.pair UNION SELECT f FROM t.pair ORDER BY 1") == [0.0, 1.5, 16_777_217.0]
    assert (
        asking.column("SELECT f FROM t.pair UNION ALL SELECT i FROM t.pair ORDER BY 1 DESC")[:2] == [16_777_217.0] * 2
    )


def test_the_ends_of_64_bits_are_whole_numbers(asking: Asking) -> None:
    query = "SELECT TOP 1 9223372036854775807, -9223372036854775808, -9223372036854775808 + 1 FROM t.n"
    assert asking.rows(query) == [(2**63 - 1, -(2**63), -(2**63) + 1)]


def test_numbers_beyond_64_bits_are_doubles(asking: Asking) -> None:
    assert asking.rows("SELECT TOP 1 9223372036854775808, 99999999999999999999 FROM t.n") == [(2.0**63, 1e20)]


OUT_OF_RANGE = (
    "A value that the query works out is out of range. Allowed: whole numbers of 64 bits. "
    "Leave out the rows that cause it with WHERE, or work in DOUBLE PRECISION with CAST."
)


@pytest.mark.parametrize(
    "call",
    [
        "9223372036854775807 + n",
        "-9223372036854775808 - n",
        "n * 9223372036854775807",
        "SUM(n + 9223372036854770000)",
        "-(n - 9223372036854775807 - 2)",
        "-9223372036854775808 / (n - 2)",
    ],
)
def test_whole_numbers_that_overflow_are_an_error_of_the_query(asking: Asking, call: str) -> None:
    with pytest.raises(BadQuery) as caught:
        asking.ask(f"SELECT {call} FROM t.n WHERE n = 1 OR n = 7")
    assert caught.value.text == OUT_OF_RANGE


def test_a_sum_that_fits_passes_over_partial_sums_that_do_not(asking: Asking) -> None:
    big = "SELECT 9223372036854775807 AS v FROM t.n WHERE n = 1"
    small = "SELECT -9223372036854775807 AS v FROM t.n WHERE n = 1"
    assert asking.value(f"SELECT SUM(v) FROM ({big} UNION ALL {big} UNION ALL {small}) AS u") == 2**63 - 1


@pytest.mark.parametrize(
    ("call", "function"),
    [
        ("BITWISE_AND(n, 12)", lambda n: n & 12),
        ("BITWISE_OR(n, 12)", lambda n: n | 12),
        ("BITWISE_XOR(n, -1)", lambda n: n ^ -1),
    ],
)
def test_bits_are_those_of_64_bit_numbers(asking: Asking, call: str, function: Callable[[int], int]) -> None:
    expected = [None if n is None else function(n) for n in WHOLE]
    assert asking.column(f"SELECT {call} FROM t.n ORDER BY id") == expected


# -- chance ------------------------------------------------------------------------------------------------------------


def test_random_numbers_are_uniform_and_each_its_own(asking: Asking) -> None:
    query = "SELECT RAND() AS r, RAND(7) AS s FROM t.x AS a, t.x AS b, t.x AS c"
    r, s = (np.array(c) for c in asking.ask(query).columns)
    for values in (r, s):
        assert len(np.unique(values)) == len(X) ** 3
        assert values.min() >= 0
        assert values.max() < 1
        # Six sigma of the mean of a uniform distribution.
        assert abs(values.mean() - 0.5) < 6 / math.sqrt(12 * len(values))
    assert not np.array_equal(r, s)


def test_normal_random_numbers_have_the_mean_and_the_spread_asked_for(asking: Asking) -> None:
    query = "SELECT ivo_normal_random(10, 2) AS a, gavo_normal_random(0, 1) FROM t.x AS a, t.x AS b, t.x AS c, t.x AS d"
    values = np.array(asking.ask(query).column(0))
    count = len(X) ** 4
    assert len(np.unique(values)) == count
    assert abs(values.mean() - 10) < 6 * 2 / math.sqrt(count)
    assert abs(values.std() - 2) < 6 * 2 / math.sqrt(2 * count)
    # The fraction within one sigma, and six of its own.
    assert abs(np.mean(np.abs(values - 10) < 2) - 0.682689) < 6 * math.sqrt(0.6827 * 0.3173 / count)
