"""ADQL's functions in DuckDB's SQL: one template a function, with what DuckDB does otherwise than ADQL put right.

A function of a number outside its domain is NULL: DuckDB would stop the whole query for one negative flux. A template
names an argument once where it can, since calls nest and the text would double with each level.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

#: Longest argument that a template may repeat.
_REPEATABLE = 2_000
#: A word of any script; RE2's own \\w knows ASCII alone, and would find the word b in Bär.
_WORD = r"[\p{L}\p{M}\p{N}_]+"
type Template = Callable[..., str]


def _call(name: str) -> Template:
    return lambda *arguments: f"{name}({', '.join(arguments)})"


def _within_one(name: str) -> Template:
    """Arc sine and arc cosine, NULL beyond -1 and 1."""

    def write(x: str) -> str:
        return f"CASE WHEN abs({x}) <= 1 THEN {name}({x}) END" if len(x) <= _REPEATABLE else f"{name}({x})"

    return write


def _truncate(x: str, places: str = "0") -> str:
    # DuckDB gives x itself where the power of ten is no double.
    if len(places) <= _REPEATABLE:
        places = f"CASE WHEN {places} < -308 THEN -308 ELSE {places} END"
    return f"trunc(CAST({x} AS DOUBLE), CAST({places} AS INTEGER))"


def _timestamp(x: str) -> str:
    return f"CAST({x} AS TIMESTAMP)"


def _days(x: str, epoch_mjd: float) -> str:
    """Days since *epoch_mjd*: microseconds are counted in whole numbers, and rounded in the division alone."""
    offset = int((40587 - epoch_mjd) * 86_400_000_000)
    return f"((epoch_us({_timestamp(x)}) + {offset}) / 86400e6)"


def _histogram(value: str, low: str, high: str, bins: str) -> str:
    value = f"nullif(CAST({value} AS DOUBLE), 'nan'::DOUBLE)"
    place = (
        f"CASE WHEN {value} IS NULL OR {value} < {low} THEN 0 WHEN {value} >= {high} THEN {bins} + 1 "
        f"ELSE least(CAST(floor(({value} - {low}) * {bins} / ({high} - {low})) AS BIGINT) + 1, {bins}) END"
    )
    counts = f"histogram(CAST({place} AS BIGINT))"
    return (
        f"list_transform(range(0, {bins} + 2), lambda i: CAST(coalesce(map_extract_value({counts}, i), 0) AS BIGINT))"
    )


def _has_word(haystack: str, needle: str) -> str:
    words = (f"regexp_extract_all(lower({text}), '{_WORD}')" for text in (haystack, needle))
    return f"CAST(list_has_all({', '.join(words)}) AS INTEGER)"


def _overlaps(low1: str, high1: str, low2: str, high2: str) -> str:
    # An interval that ends before it begins has no point in common with any.
    tests = f"{low1} <= {high2} AND {low2} <= {high1} AND {low1} <= {high1} AND {low2} <= {high2}"
    return f"CAST({tests} AS INTEGER)"


TEMPLATES: dict[str, Template] = {
    "ABS": _call("abs"),
    "CEILING": _call("ceil"),
    "FLOOR": _call("floor"),
    "DEGREES": _call("degrees"),
    "RADIANS": _call("radians"),
    "EXP": _call("exp"),
    # greatest() and nullif() make what has no logarithm NULL, and name the argument once.
    "LOG": lambda x: f"ln(nullif(greatest(CAST({x} AS DOUBLE), 0e0), 0e0))",
    "LOG10": lambda x: f"log10(nullif(greatest(CAST({x} AS DOUBLE), 0e0), 0e0))",
    "MOD": lambda x, y: f"({x} % {y})",
    "PI": lambda: "pi()",
    # A power that does not exist is NaN to DuckDB, which would compare as larger than every number.
    "POWER": lambda x, y: f"nullif(pow({x}, {y}), 'nan'::DOUBLE)",
    "SQRT": lambda x: f"nullif(pow({x}, 0.5e0), 'nan'::DOUBLE)",
    "RAND": lambda *_: "random()",
    "ROUND": lambda x, n="0": f"round(CAST({x} AS DOUBLE), CAST({n} AS INTEGER))",
    "TRUNCATE": _truncate,
    "ACOS": _within_one("acos"),
    "ASIN": _within_one("asin"),
    "ATAN": _call("atan"),
    "ATAN2": _call("atan2"),
    "COS": _call("cos"),
    "COT": lambda x: f"(1e0 / tan({x}))",
    "SIN": _call("sin"),
    "TAN": _call("tan"),
    "LOWER": _call("lower"),
    "UPPER": _call("upper"),
    "SIGN": lambda x: f"CAST(sign({x}) AS DOUBLE)",
    "LENGTH": _call("length"),
    "TRIM": _call("trim"),
    "SUBSTRING": _call("substring"),
    "BITWISE_AND": lambda a, b: f"(CAST({a} AS BIGINT) & CAST({b} AS BIGINT))",
    "BITWISE_OR": lambda a, b: f"(CAST({a} AS BIGINT) | CAST({b} AS BIGINT))",
    "BITWISE_XOR": lambda a, b: f"xor(CAST({a} AS BIGINT), CAST({b} AS BIGINT))",
    "IVO_TO_JD": lambda t: _days(t, -2_400_000.5),
    "IVO_TO_MJD": lambda t: _days(t, 0),
    "IVO_NOCASEMATCH": lambda value, pattern: f"CAST({value} ILIKE {pattern} AS INTEGER)",
    "IVO_HASWORD": _has_word,
    "IVO_HASHLIST_HAS": lambda items, item: (
        f"CAST(list_contains(string_split(lower({items}), '#'), lower({item})) AS INTEGER)"
    ),
    "IVO_INTERVAL_OVERLAPS": _overlaps,
    "IVO_NORMAL_RANDOM": lambda mu, sigma: f"({mu} + {sigma} * sqrt(-2 * ln(1 - random())) * cos(2 * pi() * random()))",
    # Functions of our own, written in Python over whole columns.
    "IVO_HEALPIX_INDEX": _call("idac_healpix"),
    "IVO_HEALPIX_CENTER": _call("idac_healpix_center"),
    "IVO_EPOCH_PROP": _call("idac_epoch_prop"),
    "IVO_EPOCH_PROP_POS": _call("idac_epoch_prop_pos"),
    "IVO_HMS_TO_DEGREES": _call("idac_hms"),
    "IVO_DMS_TO_DEGREES": _call("idac_dms"),
}

AGGREGATES: dict[str, Template] = {
    "COUNT": _call("count"),
    "SUM": _call("sum"),
    "AVG": _call("avg"),
    "MIN": _call("min"),
    "MAX": _call("max"),
    "STDDEV": _call("stddev_samp"),
    "STDDEV_POP": _call("stddev_pop"),
    "VARIANCE": _call("var_samp"),
    "VAR_POP": _call("var_pop"),
    "MEDIAN": _call("median"),
    "QUANTILE": _call("quantile_cont"),
    # Of one value, or of values that are all the same, there is no correlation: NaN to DuckDB.
    "CORR": lambda *pair: f"nullif(corr({', '.join(pair)}), 'nan'::DOUBLE)",
    "IVO_STRING_AGG": _call("string_agg"),
    "IVO_HISTOGRAM": _histogram,
}


def write_function(name: str, arguments: Sequence[str]) -> str:
    return TEMPLATES[name](*arguments)


def write_aggregate(name: str, arguments: Sequence[str], *, distinct: bool, whole: bool) -> str:
    """An aggregate; *whole* where its value is a whole number (DuckDB's sums are of 128 bits)."""
    given = list(arguments)
    if distinct:
        given[0] = f"DISTINCT {given[0]}"
    text = AGGREGATES[name](*given)
    return f"CAST({text} AS BIGINT)" if name == "SUM" and whole else text
