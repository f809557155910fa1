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
_RANDOM = "random()"
type Template = Callable[..., str]


def _call(name: str) -> Template:
    return lambda *arguments: f"{name}({', '.join(arguments)})"


def _once(x: str, body: Callable[[str], str]) -> str:
    """*body*, which repeats its argument, of *x*: written out where that costs little, else as a lambda.

    DuckDB works out a repeated part once. It has macros that look as though they named their argument once (nullif,
    array_to_string), and double the text with each level of nesting all the same; so none of those is used.
    """
    if len(x) <= _REPEATABLE and _RANDOM not in x:
        return body(x)
    return f"list_transform([{x}], lambda v: {body('v')})[1]"


def _where(condition: str, value: str) -> Template:
    """A function of a number that exists where *condition* holds; both name the number as {x}."""
    return lambda x: _once(
        f"CAST({x} AS DOUBLE)", lambda v: f"CASE WHEN {condition.format(x=v)} THEN {value.format(x=v)} END"
    )


def _no_nan(value: str) -> str:
    return _once(value, lambda v: f"CASE WHEN NOT isnan({v}) THEN {v} END")


def _truncate(x: str, places: str = "0") -> str:
    # DuckDB gives x itself where the power of ten is no double.
    within = _once(places, lambda n: f"CASE WHEN {n} < -308 THEN -308 ELSE {n} END")
    return f"trunc(CAST({x} AS DOUBLE), CAST({within} AS INTEGER))"


def _timestamp(x: str) -> str:
    return f"CAST({x} AS TIMESTAMP)"


def _days(x: str, epoch_mjd: float) -> str:
    """Days since *epoch_mjd*: microseconds are counted in whole numbers, and rounded in the division alone."""
    offset = int((40587 - epoch_mjd) * 86_400_000_000)
    return f"((epoch_us({_timestamp(x)}) + {offset}) / 86400e6)"


def _histogram(value: str, low: str, high: str, bins: str) -> str:
    def place(v: str) -> str:
        return (
            f"CASE WHEN {v} IS NULL OR isnan({v}) OR {v} < {low} THEN 0 WHEN {v} >= {high} THEN {bins} + 1 "
            f"ELSE least(CAST(floor(({v} - {low}) * {bins} / ({high} - {low})) AS BIGINT) + 1, {bins}) END"
        )

    value = _once(f"CAST({value} AS DOUBLE)", place)
    counts = f"histogram(CAST({value} AS BIGINT))"
    return (
        f"list_transform(range(0, {bins} + 2), lambda i: CAST(coalesce(map_extract_value({counts}, i), 0) AS BIGINT))"
    )


def _has_word(haystack: str, needle: str) -> str:
    words = (f"regexp_extract_all(lower({text}), '{_WORD}')" for text in (haystack, needle))
    return f"CAST(list_has_all({', '.join(words)}) AS INTEGER)"


def _overlaps(low1: str, high1: str, low2: str, high2: str) -> str:
    # An interval that ends before it begins has no point in common with any.
    def tests(low1: str, high1: str, low2: str, high2: str) -> str:
        return f"{low1} <= {high2} AND {low2} <= {high1} AND {low1} <= {high1} AND {low2} <= {high2}"

    if len(low1 + high1 + low2 + high2) <= _REPEATABLE:
        return f"CAST({tests(low1, high1, low2, high2)} AS INTEGER)"
    ends = f"[[{low1}, {high1}, {low2}, {high2}]]"
    return f"CAST(list_transform({ends}, lambda v: {tests('v[1]', 'v[2]', 'v[3]', 'v[4]')})[1] AS INTEGER)"


TEMPLATES: dict[str, Template] = {
    "ABS": _call("abs"),
    "CEILING": _call("ceil"),
    "FLOOR": _call("floor"),
    "DEGREES": _call("degrees"),
    "RADIANS": _call("radians"),
    "EXP": _call("exp"),
    "LOG": _where("{x} > 0", "ln({x})"),
    "LOG10": _where("{x} > 0", "log10({x})"),
    "MOD": lambda x, y: f"({x} % {y})",
    "PI": lambda: "pi()",
    # A power that does not exist is NaN to DuckDB, which would compare as larger than every number.
    "POWER": lambda x, y: _no_nan(f"pow({x}, {y})"),
    "SQRT": _where("{x} >= 0", "sqrt({x})"),
    "RAND": lambda *_: _RANDOM,
    "ROUND": lambda x, n="0": f"round(CAST({x} AS DOUBLE), CAST({n} AS INTEGER))",
    "TRUNCATE": _truncate,
    "ACOS": _where("abs({x}) <= 1", "acos({x})"),
    "ASIN": _where("abs({x}) <= 1", "asin({x})"),
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
    "CORR": lambda *pair: _no_nan(f"corr({', '.join(pair)})"),
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
