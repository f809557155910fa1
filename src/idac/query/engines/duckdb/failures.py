"""DuckDB's errors as errors for people: what went wrong with their query, without a path, an SQL text or its jargon."""

from __future__ import annotations

import logging
import re

import duckdb
import pyarrow as pa

from idac.core.errors import BadQuery, ResourceExhausted, StoreUnavailable, UserError
from idac.query.adql.literals import TIMESTAMP_FORM
from idac.query.engines.parquet_files import unreadable

log = logging.getLogger(__name__)

_DISK = re.compile(r"no space left|max_temp_directory_size|disk full|failed to offload", re.IGNORECASE)
_MANY_ROWS = re.compile(r"more than one row returned by a subquery", re.IGNORECASE)
_TOO_WIDE = re.compile(r"Type (?P<source>\w+) with value (?P<value>\S+) can't be cast because .* type (?P<target>\w+)")
_NO_VALUE = re.compile(
    r"Could not convert string '(?P<value>.*?)' to (?P<target>\w+)|(?:invalid )?timestamp field .*?: \"(?P<time>.*?)\"",
    re.DOTALL,
)
_UNREADABLE = re.compile(r"parquet|snappy|zstd|outside file", re.IGNORECASE)
_ADQL_NAMES = {
    "INT8": "SMALLINT",
    "INT16": "SMALLINT",
    "INT32": "INTEGER",
    "INT64": "BIGINT",
    "FLOAT": "REAL",
    "DOUBLE": "DOUBLE PRECISION",
    "BOOL": "BOOLEAN",
    "VARCHAR": "VARCHAR",
}


def as_user_error(error: BaseException, memory_bytes: int) -> UserError | None:
    """The error to show in place of DuckDB's; None for one that is a fault of ours."""
    if isinstance(error, UserError):
        return error
    text = str(error)
    if isinstance(error, duckdb.OutOfMemoryException) or _DISK.search(text):
        return _exhausted(text, memory_bytes)
    if isinstance(error, duckdb.HTTPException):
        log.warning("the archive's store failed a query: %s", text)
        return StoreUnavailable(
            "The store of this centre does not answer.", next_step="Try again in a minute; then tell the operator."
        )
    if isinstance(error, duckdb.IOException | FileNotFoundError | duckdb.SerializationException):
        log.warning("data of a table can't be read: %s", text)
        return unreadable()
    if type(error) is duckdb.Error:
        # What DuckDB's readers throw without a class of its own: of a page or a footer that is not Parquet.
        log.warning("data of a table can't be read: %s", text)
        return unreadable()
    # Arrow tells what DuckDB meets while its rows are read as an error of the system.
    if isinstance(error, duckdb.InvalidInputException | OSError) and _UNREADABLE.search(text):
        log.warning("data of a table can't be read: %s", text)
        return unreadable()
    return _of_values(error, text)


def _exhausted(text: str, memory_bytes: int) -> ResourceExhausted:
    step = "Select fewer rows or columns, or sort and group less at once; a smaller region helps most."
    if _DISK.search(text):
        return ResourceExhausted("The query needs more temporary disk space than one query may use.", next_step=step)
    return ResourceExhausted(
        "The query needs more memory than one query may use.", value=f"{memory_bytes / 2**30:.2g} GiB", next_step=step
    )


def _of_values(error: BaseException, text: str) -> BadQuery | None:
    if isinstance(error, duckdb.NotImplementedException | duckdb.InternalException):
        return _unsupported(text)
    if _MANY_ROWS.search(text):
        return BadQuery(
            "A sub-query that is used as a value gives more than one row.",
            next_step="Use IN or EXISTS, or make it one row with MAX, MIN or TOP 1.",
        )
    wide = _TOO_WIDE.search(text)
    if isinstance(error, duckdb.ConversionException) and not (wide and wide["source"] == "INT128"):
        return _unconvertible(text, wide)
    if "inf is out of range for numeric function" in text:
        return BadQuery(
            "An angle that the query uses, of a position perhaps, is infinite.",
            allowed="finite numbers",
            next_step="Leave out the rows that have it with WHERE, as in: ra BETWEEN 0 AND 360.",
        )
    if isinstance(error, duckdb.ConversionException | duckdb.OutOfRangeException | pa.ArrowInvalid):
        return BadQuery(
            "A value that the query works out is out of range.",
            allowed="whole numbers of 64 bits",
            next_step="Leave out the rows that cause it with WHERE, or work in DOUBLE PRECISION with CAST.",
        )
    return None


def _unsupported(text: str) -> BadQuery:
    """What ADQL has and DuckDB has not."""
    if "join on subquery" in text:
        return BadQuery(
            "The ON of an outer join holds a sub-query, which this service can't answer.",
            next_step="Filter one side in a sub-query of FROM, or move the condition to WHERE.",
        )
    if "correlated columns" in text:
        return BadQuery(
            "The ON of an outer join names a table that is neither of its two sides.",
            next_step="A comma binds looser than JOIN; write JOIN … ON for every table.",
        )
    log.warning("DuckDB can't do a query that was let through: %s", text)
    return BadQuery(
        "This service can't answer a query of this form.",
        next_step="Say it another way: a sub-query in FROM often helps. Please tell the operator.",
    )


def _unconvertible(text: str, wide: re.Match[str] | None) -> BadQuery:
    """CAST of a value that its type can't hold; the value is one that the caller may read."""
    next_step = "Leave out such rows with WHERE; look at the CASTs of the query, and at texts compared with timestamps."
    found = wide or _NO_VALUE.search(text)
    if found is None:
        return BadQuery("A value can't be converted to the type that the query asks for.", next_step=next_step)
    kind = _ADQL_NAMES.get(found["target"])
    if kind is None:
        time = found["value"] if wide else found["time"]
        return BadQuery("This text is not a timestamp.", value=time, allowed=TIMESTAMP_FORM, next_step=next_step)
    return BadQuery(f"A value can't be converted to {kind}.", value=found["value"], next_step=next_step)
