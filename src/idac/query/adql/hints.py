"""What people write by habit from other dialects, and what ADQL has instead: the last sentence of many an error."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from rapidfuzz import fuzz, process

from idac.tables.names import RESERVED_WORDS, adql_name

_QUOTES = "Text is written in straight single quotes, names in straight double quotes."
#: Characters that other dialects give a meaning, or that word processors put in.
CHARACTERS: dict[str, str] = {
    "`": 'Write names that need quoting in double quotes, like "name".',
    "[": "ADQL has no arrays or brackets; write names that need quoting in double quotes.",
    "]": "ADQL has no arrays or brackets; write names that need quoting in double quotes.",
    "{": "ADQL has no braces.",
    "}": "ADQL has no braces.",
    ":": "Write CAST(value AS type) instead of value::type; ADQL has no parameters.",
    "?": "ADQL has no parameters; write the value itself.",
    "@": "ADQL has no variables.",
    "$": "ADQL has no parameters; write the value itself.",
    "%": "Write MOD(a, b) for the remainder.",
    "^": "Write POWER(a, b).",
    "&": "Write BITWISE_AND(a, b), or AND between conditions.",
    "|": "Text is joined with ||; alternatives with OR.",
    "!": "Write NOT before a condition, and <> or != for unequal.",
    "~": "Write LIKE, ILIKE or ivo_nocasematch to compare text with a pattern.",
    "#": "Comments begin with two hyphens.",
    "_": 'Regular names begin with a letter; write this one in double quotes, like "_name".',
    "'": "A string is not closed. Close it with ', and write '' for a quote inside.",
    '"': 'A delimited name is not closed. Close it with ".',
    "\\": "There are no backslash escapes; write '' for a quote inside a string.",
    "\N{LEFT SINGLE QUOTATION MARK}": _QUOTES,
    "\N{RIGHT SINGLE QUOTATION MARK}": _QUOTES,
    "\N{LEFT DOUBLE QUOTATION MARK}": _QUOTES,
    "\N{RIGHT DOUBLE QUOTATION MARK}": _QUOTES,
    "\N{MINUS SIGN}": "Write a plain hyphen for minus.",
    "\N{EN DASH}": "Write a plain hyphen for minus, and two of them before a comment.",
    "\N{LESS-THAN OR EQUAL TO}": "Write <=.",
    "\N{GREATER-THAN OR EQUAL TO}": "Write >=.",
    "\N{NOT EQUAL TO}": "Write <> or !=.",
    "\N{MULTIPLICATION SIGN}": "Write * for times.",
    "\0": "There is a NUL character in the text; was it saved in another encoding than UTF-8?",
}
_LIMIT = "ADQL has no LIMIT; write SELECT TOP n … instead."
_READ_ONLY = "Queries only read: begin with SELECT or WITH."
#: Words that are not expected where they stand, whatever was.
_WORDS: dict[str, str] = {
    "LIMIT": _LIMIT,
    "FETCH": "ADQL has no FETCH; write SELECT TOP n … instead.",
    "NULLS": "ADQL has no NULLS FIRST or LAST; NULLs come last here.",
    "QUALIFY": "ADQL has no window functions.",
    "OVER": "ADQL has no window functions.",
    "WINDOW": "ADQL has no window functions.",
    "PARTITION": "ADQL has no window functions.",
    "MINUS": "Write EXCEPT.",
    "REGEXP": "ADQL has no regular expressions; LIKE knows % and _.",
    "RLIKE": "ADQL has no regular expressions; LIKE knows % and _.",
    "SIMILAR": "ADQL has no regular expressions; LIKE knows % and _.",
    "ESCAPE": "LIKE has no ESCAPE in ADQL.",
    "INTERVAL": "ADQL has no INTERVAL; compute with ivo_to_mjd(time), which is in days.",
    "DATE": "Write times as text, like '2026-01-31', or CAST('2026-01-31' AS TIMESTAMP).",
    "TIMESTAMP": "Write times as text, like '2026-01-31T12:00:00', or CAST('…' AS TIMESTAMP).",
    "CURRENT_TIMESTAMP": "ADQL does not know the time; write it as text, like '2026-01-31T12:00:00'.",
    "CURRENT_DATE": "ADQL does not know the date; write it as text, like '2026-01-31'.",
    "DISTINCT": "DISTINCT stands before TOP: SELECT DISTINCT TOP n …",
    "RETURNING": _READ_ONLY,
    "INTO": _READ_ONLY,
}
#: Those of them that columns are called as well.
_ALSO_NAMES = frozenset({"DATE", "TIMESTAMP", "INTERVAL"})
_STATEMENTS = frozenset(
    {
        *("INSERT", "UPDATE", "DELETE", "CREATE", "DROP", "ALTER", "TRUNCATE", "GRANT", "REVOKE", "COPY", "ATTACH"),
        *("DETACH", "PRAGMA", "SET", "INSTALL", "LOAD", "EXPORT", "IMPORT", "CALL", "EXECUTE", "PREPARE", "EXPLAIN"),
        *("DESCRIBE", "SHOW", "BEGIN", "COMMIT", "ROLLBACK", "VACUUM", "ANALYZE", "MERGE", "VALUES", "USE", "REPLACE"),
    }
)
#: Functions of other dialects and services.
FUNCTIONS_ELSEWHERE: dict[str, str] = {
    "LN": "Write LOG(x), the natural logarithm.",
    "CEIL": "Write CEILING(x).",
    "TRUNC": "Write TRUNCATE(x).",
    "POW": "Write POWER(x, y).",
    "RANDOM": "Write RAND().",
    "NVL": "Write COALESCE(a, b).",
    "IFNULL": "Write COALESCE(a, b).",
    "ISNULL": "Write x IS NULL, or COALESCE(a, b).",
    "NULLIF": "Write CASE WHEN a = b THEN NULL ELSE a END.",
    "IF": "Write CASE WHEN condition THEN a ELSE b END.",
    "IIF": "Write CASE WHEN condition THEN a ELSE b END.",
    "SUBSTRING": "Write SUBSTR(text, start, length).",
    "LEN": "Write LENGTH(text).",
    "CHAR_LENGTH": "Write LENGTH(text).",
    "CHARACTER_LENGTH": "Write LENGTH(text).",
    "TRIM": "Write BTRIM(text).",
    "CONCAT": "Join text with ||.",
    "STDEV": "Write STDDEV(x).",
    "VAR": "Write VARIANCE(x).",
    "PERCENTILE_CONT": "Write QUANTILE(x, q).",
    "STRING_AGG": "Write ivo_string_agg(text, delimiter).",
    "GROUP_CONCAT": "Write ivo_string_agg(text, delimiter).",
    "CONVERT": "Write CAST(value AS type).",
    "TO_CHAR": "Write CAST(value AS VARCHAR).",
    "TO_TIMESTAMP": "Write CAST(text AS TIMESTAMP).",
    "NOW": "ADQL does not know the time; write it as text, like '2026-01-31T12:00:00'.",
    "Q3C_RADIAL_QUERY": "Write DISTANCE(ra, dec, ra0, dec0) < radius.",
    "Q3C_JOIN": "Write DISTANCE(a.ra, a.dec, b.ra, b.dec) < radius.",
    "Q3C_DIST": "Write DISTANCE(ra1, dec1, ra2, dec2).",
    "ELLIPSE": "ADQL has CIRCLE, BOX and POLYGON.",
    "RANGE": "ADQL has CIRCLE, BOX and POLYGON; a range of coordinates is ra BETWEEN a AND b AND dec BETWEEN c AND d.",
    "IVO_SIMBADPOINT": "Names of objects are not looked up here; write the position, POINT(ra, dec).",
    "GAVO_SIMBADPOINT": "Names of objects are not looked up here; write the position, POINT(ra, dec).",
}


def for_word(word: str, text: str) -> str | None:
    """What to do about an upper-case *word*, written as *text*, that may not stand where it does."""
    instead = _WORDS.get(word)
    if word in _ALSO_NAMES:
        return f'{instead} As a name it is written "{text}".'
    if instead is None and word in RESERVED_WORDS:
        return f'{word} is a reserved word; as a name it is written "{text}".'
    return instead


def for_statement(word: str) -> str | None:
    """What to do about a text that begins with an upper-case *word*."""
    return _READ_ONLY if word in _STATEMENTS else None


def nearest(name: str, names: Iterable[str], show: Callable[[str], str] = adql_name) -> str | None:
    """A sentence that names the closest of *names*, for the end of an error; None where none is close."""
    lower = {n.lower(): n for n in names}
    wanted = name.lower()
    close = process.extract(wanted, list(lower), scorer=fuzz.ratio, limit=3, score_cutoff=60)
    # A good match needs no company.
    close = [match for match in close if match[1] > close[0][1] - 10]
    if not close and len(wanted) >= 4:
        # ``mag`` for ``vt_mag``, or a table without its schema: part of a name is as telling as a slip of a finger.
        close = [(n, 100.0, i) for i, n in enumerate(lower) if wanted in n or n in wanted][:3]
    if not close:
        return None
    return f"Did you mean {' or '.join(show(lower[match]) for match, _, _ in close)}?"
